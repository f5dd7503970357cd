package batch_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"daos/dataset/posix"
	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/loader/batch"
	"daos/loader/manifest"
)

// engineTree is a tree on a real engine in a folder of the test.
type engineTree struct {
	root string
	e    *engine.Engine
	d    *engine.Dataset
	fs   *posix.FS
}

func (x *engineTree) open(t testing.TB) {
	t.Helper()
	x.e = must[*engine.Engine](t)(engine.Open(engine.Options{Root: x.root, SweepEvery: -1}))
	var err error
	if x.d, err = x.e.OpenDataset(1); fault.Is(err, fault.NotFound) {
		x.d = must[*engine.Dataset](t)(x.e.CreateDataset(ctx, 1, 1))
		if err := posix.Create(ctx, x.d, posix.Properties{}); err != nil {
			t.Fatal(err)
		}
	} else if err != nil {
		t.Fatal(err)
	}
	x.fs = must[*posix.FS](t)(posix.Open(ctx, x.d, posix.Options{}))
}

func (x *engineTree) close(t testing.TB) {
	t.Helper()
	if err := x.e.Close(); err != nil {
		t.Error(err)
	}
}

func (x *engineTree) fill(t testing.TB, n int, size func(int) int, rng *rand.Rand) map[string][]byte {
	t.Helper()
	want := map[string][]byte{}
	var entries []posix.ImportEntry
	flush := func() {
		if _, err := x.fs.Import(ctx, [16]byte{}, entries, false); err != nil {
			t.Fatal(err)
		}
		entries = nil
	}
	for i := range n {
		p := fmt.Sprintf("c%02d/%06d", i%10, i)
		b := random(rng, size(i))
		want[p] = b
		entries = append(entries, posix.ImportEntry{Path: p, Type: posix.TypeFile, Mode: 0o644, Content: b})
		if len(entries) == 2000 {
			flush()
		}
	}
	flush()
	return want
}

func (x *engineTree) request(t testing.TB, dir string, v *posix.View) manifest.Request {
	return manifest.Request{Dir: dir, Store: x.d, Tree: v, Info: manifest.Info{Dataset: "p/d", DatasetID: 1, Snapshot: "v1", Epoch: v.Epoch()}}
}

func TestOverTheEngine(t *testing.T) {
	rng := seeded(t)
	x := &engineTree{root: t.TempDir()}
	x.open(t)
	defer func() { x.close(t) }()
	want := x.fill(t, 3000, func(i int) int { return rng.IntN(6000) }, rng)
	v := must[*posix.View](t)(x.fs.Head(ctx, 0))
	at := v.Epoch()
	// Writers that go on after the epoch must not be seen.
	if _, err := x.fs.Write(ctx, [16]byte{}, posix.ByPath("c00/000000"), posix.WriteOptions{}, random(rng, 7000)); err != nil {
		t.Fatal(err)
	}
	if _, err := x.fs.Remove(ctx, [16]byte{}, "c01", posix.RemoveOptions{Recursive: true}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	check := func(built bool) {
		t.Helper()
		l := manifest.NewLibrary(0, manifest.MaxOpen)
		defer l.Close()
		m, _, b, err := l.Open(ctx, x.request(t, dir, x.fs.At(at)))
		if err != nil || b != built {
			t.Fatalf("built %v, want %v: %v", b, built, err)
		}
		if int(m.Info().Samples) != len(want) {
			t.Fatalf("%d samples, want %d", m.Info().Samples, len(want))
		}
		var idx []uint64
		for range 200 {
			idx = append(idx, rng.Uint64N(uint64(len(want))))
		}
		names := must[[]manifest.Name](t)(m.Names(ctx, idx))
		meta, p := payload(t, m, idx)
		checkRegions(t, m, idx, p)
		for k, c := range column(meta, p, 0) {
			if !bytes.Equal(c, want[string(names[k].Path)]) {
				t.Fatalf("%s differs", names[k].Path)
			}
		}
	}
	check(true)
	check(false)
	x.close(t)
	x.open(t)
	check(false)
	// A flipped byte in a segment, with the engine down, is named and not returned.
	x.close(t)
	segs := must[[]string](t)(filepath.Glob(filepath.Join(x.root, "target-*", "seg", "*", "*")))
	flipped := 0
	for _, s := range segs {
		b, err := os.ReadFile(s)
		if err != nil || len(b) < 100_000 || !strings.HasPrefix(string(b), "DAOSSEG") {
			continue
		}
		b[len(b)/3] ^= 1
		if err := os.WriteFile(s, b, 0o600); err != nil {
			t.Fatal(err)
		}
		flipped++
	}
	if flipped == 0 {
		t.Fatalf("no segments among %q", segs)
	}
	x.open(t)
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	m, _, _, err := l.Open(ctx, x.request(t, dir, x.fs.At(at)))
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := range m.Info().Samples {
		b, err := batch.Plan(ctx, m, []uint64{i})
		if err == nil {
			parts, _ := b.Parts(nil)
			meta := must[*batch.Meta](t)(batch.ParseMeta(b.Meta(), b.Size()))
			got := bytes.Clone(column(meta, bytes.Join(parts, nil), 0)[0])
			b.Release()
			name := must[[]manifest.Name](t)(m.Names(ctx, []uint64{i}))[0]
			if !bytes.Equal(got, want[string(name.Path)]) {
				t.Fatalf("wrong bytes of %s", name.Path)
			}
			continue
		}
		failed++
		if !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), "p/d@v1/c") {
			t.Fatal(err)
		}
	}
	t.Logf("%d segments flipped, %d samples refused", flipped, failed)
	if failed > flipped {
		t.Fatalf("%d samples refused for %d flips", failed, flipped)
	}
}

// checkRegions reads a batch where it lies, in files and in memory.
func checkRegions(t *testing.T, m *manifest.Manifest, idx []uint64, want []byte) {
	t.Helper()
	b, err := batch.Plan(ctx, m, idx)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	var out object.Regions
	defer out.Release()
	if !b.Regions(&out) || out.Size() != uint64(len(want)) {
		t.Fatalf("regions of %d bytes for a payload of %d", out.Size(), len(want))
	}
	var got []byte
	inFiles := 0
	for _, r := range out.Parts {
		if r.Mem != nil {
			got = append(got, r.Mem...)
			continue
		}
		p := make([]byte, r.Len)
		if n, err := unix.Pread(int(r.File.Fd()), p, r.Off); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
		got = append(got, p...)
		inFiles += len(p)
	}
	if !bytes.Equal(got, want) || inFiles < len(want)/2 {
		t.Fatalf("the regions have other bytes than the payload; %d of %d bytes in files", inFiles, len(want))
	}
}

// TestBuildWhileWritersWrite builds manifests of a pinned epoch again and again
// while files are written, renamed, removed and made around it.
func TestBuildWhileWritersWrite(t *testing.T) {
	rng := seeded(t)
	x := &engineTree{root: t.TempDir()}
	x.open(t)
	defer func() { x.close(t) }()
	want := x.fill(t, 5000, func(int) int { return rng.IntN(3000) }, rng)
	at := must[*posix.View](t)(x.fs.Head(ctx, 0)).Epoch()
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		rng := rand.New(rand.NewPCG(9, 9))
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			n := rng.IntN(5000)
			p := fmt.Sprintf("c%02d/%06d", n%10, n)
			var err error
			switch i % 4 {
			case 0:
				_, err = x.fs.Write(ctx, [16]byte{}, posix.ByPath(p), posix.WriteOptions{}, random(rng, 500))
			case 1:
				_, err = x.fs.Rename(ctx, [16]byte{}, p, fmt.Sprintf("c%02d/new%d", rng.IntN(10), i), false)
			case 2:
				_, err = x.fs.Remove(ctx, [16]byte{}, p, posix.RemoveOptions{})
			case 3:
				_, err = x.fs.Create(ctx, [16]byte{}, fmt.Sprintf("c%02d/more%d", rng.IntN(10), i), posix.CreateOptions{})
			}
			if err != nil && !fault.Is(err, fault.NotFound) {
				stopped <- err
				return
			}
		}
	}()
	for range 5 {
		l := manifest.NewLibrary(0, manifest.MaxOpen)
		m, _, built, err := l.Open(ctx, x.request(t, t.TempDir(), x.fs.At(at)))
		if err != nil || !built || int(m.Info().Samples) != len(want) {
			t.Fatalf("%d samples, want %d: %v", m.Info().Samples, len(want), err)
		}
		var idx []uint64
		for i := range uint64(len(want)) {
			idx = append(idx, i)
		}
		names := must[[]manifest.Name](t)(m.Names(ctx, idx))
		meta, p := payload(t, m, idx)
		for k, c := range column(meta, p, 0) {
			if !bytes.Equal(c, want[string(names[k].Path)]) {
				t.Fatalf("%s differs", names[k].Path)
			}
		}
		l.Close()
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

func BenchmarkBuildOverTheEngine(b *testing.B) {
	const n = 50_000
	x := &engineTree{root: b.TempDir()}
	x.open(b)
	defer func() { x.close(b) }()
	rng := rand.New(rand.NewPCG(1, 1))
	x.fill(b, n, func(int) int { return 1200 }, rng)
	v := must[*posix.View](b)(x.fs.Head(ctx, 0))
	var walk time.Duration
	for b.Loop() {
		l := manifest.NewLibrary(0, manifest.MaxOpen)
		start := time.Now()
		k := 0
		if err := v.Files(ctx, "", func(*posix.Sample) error { k++; return nil }); err != nil || k != n {
			b.Fatal(err)
		}
		walk += time.Since(start)
		if _, _, _, err := l.Open(ctx, x.request(b, b.TempDir(), v)); err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
	b.ReportMetric(float64(n)*float64(b.N)/walk.Seconds(), "walked/s")
	b.ReportMetric(float64(n)*float64(b.N)/(b.Elapsed()-walk).Seconds(), "entries/s")
}

// TestWhileTheSweeperWorks keeps reading a pinned epoch while most of the files
// are removed and rewritten and the sweeper gives their space back: segments are
// compacted and removed under the manifest.
func TestWhileTheSweeperWorks(t *testing.T) {
	rng := seeded(t)
	now := time.Now()
	root := t.TempDir()
	e := must[*engine.Engine](t)(engine.Open(engine.Options{Root: root, SweepEvery: -1, Now: func() time.Time { return now }}))
	x := &engineTree{root: root, e: e}
	defer func() { x.close(t) }()
	x.d = must[*engine.Dataset](t)(e.CreateDataset(ctx, 1, 1))
	if err := posix.Create(ctx, x.d, posix.Properties{}); err != nil {
		t.Fatal(err)
	}
	x.fs = must[*posix.FS](t)(posix.Open(ctx, x.d, posix.Options{Now: func() time.Time { return now }}))
	// What is to stay lies between what is to go.
	want := x.fill(t, 1000, func(int) int { return 2000 + rng.IntN(60_000) }, rng)
	for i := range 1000 {
		if i%5 != 0 {
			p := fmt.Sprintf("c%02d/%06d", i%10, i)
			if _, err := x.fs.Remove(ctx, [16]byte{}, p, posix.RemoveOptions{}); err != nil {
				t.Fatal(err)
			}
			delete(want, p)
		}
	}
	at := must[*posix.View](t)(x.fs.Head(ctx, 0)).Epoch()
	if err := e.SetPins(1, nil); err != nil {
		t.Fatal(err)
	}
	if err := e.SetPins(1, []object.Epoch{at}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	m, _, _, err := l.Open(ctx, x.request(t, dir, x.fs.At(at)))
	if err != nil || int(m.Info().Samples) != len(want) {
		t.Fatalf("%d samples, want %d: %v", m.Info().Samples, len(want), err)
	}
	check := func(m *manifest.Manifest) {
		t.Helper()
		var idx []uint64
		for range 64 {
			idx = append(idx, rng.Uint64N(uint64(len(want))))
		}
		names := must[[]manifest.Name](t)(m.Names(ctx, idx))
		meta, p := payload(t, m, idx)
		for k, c := range column(meta, p, 0) {
			if !bytes.Equal(c, want[string(names[k].Path)]) {
				t.Fatalf("%s differs", names[k].Path)
			}
		}
	}
	generation := x.d.Generation()
	for range 6 {
		check(m)
		now = now.Add(time.Hour)
		// Everything is rewritten, so that the live tree leaves nothing alone.
		for p := range want {
			if _, err := x.fs.Write(ctx, [16]byte{}, posix.ByPath(p), posix.WriteOptions{}, random(rng, 3000)); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(time.Hour)
		if _, err := e.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		check(m)
	}
	if x.d.Generation() == generation {
		t.Fatal("the sweeper moved nothing: this test shows nothing")
	}
	fresh := manifest.NewLibrary(0, manifest.MaxOpen) // another process: the locations on disk are old
	defer fresh.Close()
	m2, _, built, err := fresh.Open(ctx, x.request(t, dir, x.fs.At(at)))
	if err != nil || built {
		t.Fatalf("built %v: %v", built, err)
	}
	for range 10 {
		check(m2)
	}
	if err := e.SetPins(1, nil); err != nil {
		t.Fatal(err)
	}
}
