package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/loader/batch"
	"daos/loader/loadertest"
	"daos/loader/manifest"
)

var ctx = context.Background()

func seeded(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DAOS_TEST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("DAOS_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 5))
}

func newFS(t testing.TB) (*loadertest.Store, *posix.FS) {
	t.Helper()
	st := loadertest.New(t)
	if err := posix.Create(ctx, st, posix.Properties{}); err != nil {
		t.Fatal(err)
	}
	fs, err := posix.Open(ctx, st, posix.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return st, fs
}

func write(t testing.TB, fs *posix.FS, path, data string) {
	t.Helper()
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		if _, err := fs.MakeDir(ctx, object.RequestID{}, path[:i], posix.MakeDirOptions{Parents: true}); err != nil && !fault.Is(err, fault.Exists) {
			t.Fatal(err)
		}
	}
	if _, err := fs.Create(ctx, object.RequestID{}, path, posix.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Write(ctx, object.RequestID{}, posix.ByPath(path), posix.WriteOptions{}, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func request(t testing.TB, dir string, st manifest.Store, fs *posix.FS, sel manifest.Selection) manifest.Request {
	t.Helper()
	v, err := fs.Head(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Request{Dir: dir, Store: st, Tree: v, Info: manifest.Info{Dataset: "p/d", DatasetID: 7, Snapshot: "v1", Epoch: v.Epoch(), Selection: sel}}
}

func names(t testing.TB, m *manifest.Manifest) []string {
	t.Helper()
	var out []string
	for i := range m.Info().Samples {
		n, err := m.Names(ctx, []uint64{i})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(n[0].Path))
	}
	return out
}

// TestOrderOfSamples: depth first, names in byte order, a folder's samples at
// the place of its name.
func TestOrderOfSamples(t *testing.T) {
	rng := seeded(t)
	st, fs := newFS(t)
	paths := []string{"a/b", "a/c/d", "a.txt", "a0", "B", "z/\xff\xfe", "z/é", "Z", "a/b.x", "10", "9", "a-b/x"}
	for _, i := range rng.Perm(len(paths)) { // whatever the order of creation
		write(t, fs, paths[i], paths[i])
	}
	if _, err := fs.Symlink(ctx, object.RequestID{}, "a.txt", "link"); err != nil {
		t.Fatal(err)
	}
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	m, _, _, err := l.Open(ctx, request(t, t.TempDir(), st, fs, manifest.Selection{}))
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(paths)
	slices.SortFunc(want, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	if got := names(t, m); !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
	if n := m.Info().SymlinksSkipped; n != 1 {
		t.Fatalf("%d symbolic links skipped", n)
	}
	sub, _, _, err := l.Open(ctx, request(t, t.TempDir(), st, fs, manifest.Selection{Path: "/a/", Glob: "**/[bd]*"}))
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, sub); !slices.Equal(got, []string{"b", "b.x", "c/d"}) {
		t.Fatalf("below a: %q", got)
	}
	if _, err := m.Names(ctx, []uint64{uint64(len(paths))}); !fault.Is(err, fault.Invalid) {
		t.Fatal(err)
	}
}

// TestNamesAreBytes: paths, patterns and classes need not be UTF-8, and two that
// differ in such bytes are two.
func TestNamesAreBytes(t *testing.T) {
	st, fs := newFS(t)
	for _, p := range []string{"r/a\xfe/1", "r/a\xff/2", "r/b/3"} {
		write(t, fs, p, p)
	}
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	dir := t.TempDir()
	ids := map[string]bool{}
	for _, c := range []struct {
		sel  manifest.Selection
		want []string
	}{
		{manifest.Selection{Path: "r/a\xfe"}, []string{"1"}},
		{manifest.Selection{Path: "/r//a\xff/"}, []string{"2"}},
		{manifest.Selection{Path: "r", Glob: "a\xff/*"}, []string{"a\xff/2"}},
		{manifest.Selection{Path: "r", LabelDirname: true}, []string{"a\xfe/1", "a\xff/2", "b/3"}},
	} {
		req := request(t, dir, st, fs, c.sel)
		m, h, _, err := l.Open(ctx, req)
		if err != nil {
			t.Fatalf("%+v: %v", c.sel, err)
		}
		if got := names(t, m); !slices.Equal(got, c.want) {
			t.Fatalf("%+v has %q, want %q", c.sel, got, c.want)
		}
		if ids[m.ID()] {
			t.Fatalf("%+v has the id of another", c.sel)
		}
		ids[m.ID()] = true
		if c.sel.LabelDirname && !slices.Equal(m.Info().Classes, []string{"a\ufffd", "a\ufffd", "b"}) {
			t.Fatalf("classes %q", m.Info().Classes)
		}
		req.Info.Selection.Path = "//" + c.sel.Path + "//"
		if _, h2, built, err := l.Open(ctx, req); err != nil || h2 != h || built {
			t.Fatalf("%+v is another manifest: %v", req.Info.Selection, err)
		}
	}
}

func TestEmptyAndMissing(t *testing.T) {
	st, fs := newFS(t)
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	m, _, _, err := l.Open(ctx, request(t, t.TempDir(), st, fs, manifest.Selection{}))
	if err != nil || m.Info().Samples != 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := batch.Plan(ctx, m, []uint64{0}); !fault.Is(err, fault.Invalid) {
		t.Fatal(err)
	}
	for _, sel := range []manifest.Selection{{Path: "nope"}, {Glob: "[a"}, {Columns: []string{"x"}}} {
		_, _, _, err := l.Open(ctx, request(t, t.TempDir(), st, fs, sel))
		if !fault.Is(err, fault.NotFound, fault.Invalid) {
			t.Fatalf("%+v: %v", sel, err)
		}
	}
}

func TestPathsOfManySamples(t *testing.T) {
	l, m := buildSynthetic(t, t.TempDir(), 10_000)
	defer l.Close()
	rng := seeded(t)
	for range 300 {
		i := rng.Uint64N(10_000)
		n, err := m.Names(ctx, []uint64{i})
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("train/class_%06d/image_%06d.jpg", i/1000, i%1000); string(n[0].Path) != want || n[0].Size != 4096+i%7 {
			t.Fatalf("sample %d is %s of %d bytes, want %s", i, n[0].Path, n[0].Size, want)
		}
	}
}

// TestFlips flips bytes all over both files: the manifest is built again, or
// the read fails; nothing wrong is ever given, and nothing crashes.
func TestFlips(t *testing.T) {
	rng := seeded(t)
	st, fs := newFS(t)
	want := map[string]string{}
	for i := range 300 {
		p, d := fmt.Sprintf("dir%d/file%03d", i%3, i), strings.Repeat(strconv.Itoa(i), 400+rng.IntN(400))
		want[p] = d
		write(t, fs, p, d)
	}
	dir := t.TempDir()
	req := request(t, dir, st, fs, manifest.Selection{})
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	m, _, _, err := l.Open(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	id := m.ID()
	l.Close()
	refused, rebuilt, same := 0, 0, 0
	for _, name := range []string{"logical", "location"} {
		path := filepath.Join(dir, id, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		offsets := []int{0, len(good) - 1, len(good) - 60, len(good) - 100, len(good) - 200}
		for range 60 {
			offsets = append(offsets, rng.IntN(len(good)))
		}
		for _, at := range offsets {
			bad := slices.Clone(good)
			bad[at] ^= 1 << rng.IntN(8)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			l := manifest.NewLibrary(0, manifest.MaxOpen)
			m, _, _, err := l.Open(ctx, req)
			if err != nil {
				if !fault.Is(err, fault.Corrupt) {
					t.Fatalf("%s, flip at %d: %v", name, at, err)
				}
				refused++
				_ = os.Remove(path)
				l.Close()
				continue
			}
			now, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(now, bad) {
				rebuilt++
			} else {
				same++
			}
			for i := range m.Info().Samples {
				n, err := m.Names(ctx, []uint64{i})
				if err == nil {
					var b *batch.Batch
					if b, err = batch.Plan(ctx, m, []uint64{i}); err == nil {
						parts, _ := b.Parts(nil)
						meta, perr := batch.ParseMeta(b.Meta(), b.Size())
						if perr != nil {
							t.Fatal(perr)
						}
						all := slices.Concat(parts...)
						got := string(all[meta.Columns[0].Data : meta.Columns[0].Data+meta.Columns[0].DataLen])
						b.Release()
						if got != want[string(n[0].Path)] {
							t.Fatalf("%s, flip at %d: wrong bytes of %s", name, at, n[0].Path)
						}
					}
				}
				if err != nil && !fault.Is(err, fault.Corrupt) {
					t.Fatalf("%s, flip at %d: %v", name, at, err)
				}
			}
			l.Close()
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d refused, %d built again, %d opened with the flip", refused, rebuilt, same)
	if rebuilt == 0 {
		t.Fatal("no flip was noticed when the file was opened")
	}
}

// TestEverybodyGetsOneManifest: built once however many ask, with one handle.
func TestEverybodyGetsOneManifest(t *testing.T) {
	st, fs := newFS(t)
	for i := range 50 {
		write(t, fs, fmt.Sprint(i), "x")
	}
	req := request(t, t.TempDir(), st, fs, manifest.Selection{})
	l := manifest.NewLibrary(1<<40, manifest.MaxOpen)
	var wg sync.WaitGroup
	var mu sync.Mutex
	handles, builds := map[uint64]int{}, 0
	for range 12 {
		wg.Go(func() {
			_, h, built, err := l.Open(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if handles[h]++; built {
				builds++
			}
		})
	}
	wg.Wait()
	if len(handles) != 1 || builds != 1 {
		t.Fatalf("handles %v, built %d times", handles, builds)
	}
	for h := range handles {
		if m, err := l.Get(h); err != nil || m.Info().Samples != 50 {
			t.Fatal(err)
		}
		l.Close()
		if _, err := l.Get(h); !fault.Is(err, fault.Stale) {
			t.Fatal(err)
		}
	}
	if _, err := l.Get(1); !fault.Is(err, fault.Stale) {
		t.Fatal(err)
	}
}

// failing breaks a walk off.
type failing struct {
	synthetic
	err error
}

func (f failing) Files(ctx context.Context, root string, fn func(*posix.Sample) error) error {
	if err := f.synthetic.Files(ctx, root, fn); err != nil {
		return err
	}
	return f.err
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	req := manifest.Request{Dir: dir, Store: bulk{}, Tree: failing{synthetic{5000}, errors.New("broken")}, Info: manifest.Info{Dataset: "p/d", Epoch: 1}}
	if _, _, _, err := l.Open(ctx, req); err == nil {
		t.Fatal("no error")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(files) != 0 {
		t.Fatalf("%v %v", files, err)
	}
	// As one that was killed would have left behind.
	leftover := filepath.Join(dir, req.Info.ID(), ".manifest-1")
	if err := os.WriteFile(leftover, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
			t.Error("the rest of a killed build is still there")
		}
	}()
	req.Tree = synthetic{5000}
	if m, _, built, err := l.Open(ctx, req); err != nil || !built || m.Info().Samples != 5000 {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	req.Info.Epoch = 2
	req.Tree = synthetic{50_000}
	if _, _, _, err := l.Open(canceled, req); !fault.Is(err, fault.Canceled) {
		t.Fatal(err)
	}
}

func TestProgress(t *testing.T) {
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	var seen []uint64
	_, _, _, err := l.Open(ctx, manifest.Request{Dir: t.TempDir(), Store: bulk{}, Tree: synthetic{50_000}, Info: manifest.Info{Epoch: 1}, Progress: func(n uint64) { seen = append(seen, n) }})
	if err != nil || len(seen) < 3 || !slices.IsSorted(seen) || seen[len(seen)-1] != 50_000 {
		t.Fatalf("%v %v", seen, err)
	}
}

// TestMemoryStaysFlat: an open manifest of many samples holds no more of the
// process's memory than one of few.
func TestMemoryStaysFlat(t *testing.T) {
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	dir := t.TempDir()
	l, _ := buildSynthetic(t, dir, 300_000)
	l.Close()
	before := heap()
	l, m := buildSynthetic(t, dir, 300_000)
	defer l.Close()
	if m.Built() {
		t.Fatal("built again")
	}
	if grown := int64(heap()) - int64(before); grown > 1<<20 {
		t.Fatalf("%d bytes for 300,000 samples", grown)
	}
	runtime.KeepAlive(m)
}

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	l, m := buildSynthetic(f, dir, 100)
	id := m.ID()
	l.Close()
	for _, n := range []string{"logical", "location"} {
		b, err := os.ReadFile(filepath.Join(dir, id, n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, n == "logical")
	}
	f.Fuzz(func(t *testing.T, b []byte, logical bool) {
		name := "location"
		if logical {
			name = "logical"
		}
		if err := os.WriteFile(filepath.Join(dir, id, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, m := buildSynthetic(t, dir, 100)
		defer l.Close()
		_, _ = m.Names(ctx, []uint64{0, 50, 99})
		if b, err := batch.Plan(ctx, m, []uint64{0, 99}); err == nil {
			b.Release()
		}
	})
}
