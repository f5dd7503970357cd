package posix_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"daos/dataset/posix"
	"daos/dataset/posixtest"
	"daos/engine/memstore"
	"daos/engine/object"
	"daos/internal/fault"
)

var none object.RequestID

// rows counts everything visible in a store: single values and arrays.
func rows(t *testing.T, s object.Store) int {
	t.Helper()
	ctx := context.Background()
	at, err := s.ReadEpoch(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if _, err = s.Scan(ctx, at, nil, func(object.Row) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

func arrays(t *testing.T, s object.Store, inode uint64) int {
	t.Helper()
	at, err := s.ReadEpoch(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	oid := object.MakeID(object.ClassSX, 1, inode)
	if err := s.ListArrays(context.Background(), at, oid, object.ListOptions{}, func(_, _ []byte) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestReapFreesWhatRemovalsLeave(t *testing.T) {
	ctx := context.Background()
	s := memstore.New()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	posixtest.Mount(t, s)
	fs := posixtest.Remount(t, s, posix.Options{Now: func() time.Time { return now }})
	must[posix.Attr](t)(fs.Create(ctx, none, "keep", posix.CreateOptions{Content: []byte("k")}))
	before := rows(t, s)

	// A tree of several batches, with a file that has a name outside of it.
	var in []posix.ImportEntry
	for i := range 1500 {
		in = append(in, posix.ImportEntry{Path: fmt.Sprintf("t/%d/%d/f%d", i%7, i%3, i), Type: posix.TypeFile, Content: []byte("x")})
	}
	must[posix.Imported](t)(fs.Import(ctx, none, in, false))
	linked := must[posix.Attr](t)(fs.Link(ctx, none, "t/0/0/f0", "outside"))
	must[posix.Attr](t)(fs.Link(ctx, none, "t/0/0/f0", "t/twin"))
	first := must[*posix.View](t)(fs.Head(ctx, 0))
	must[object.Epoch](t)(fs.Remove(ctx, none, "t", posix.RemoveOptions{Recursive: true}))
	for range 1000 {
		r, err := fs.Reap(ctx, 100)
		if err != nil {
			t.Fatal(err)
		}
		if !r.More {
			break
		}
	}
	v := must[*posix.View](t)(fs.Head(ctx, 0))
	a := must[posix.Attr](t)(v.Stat(ctx, posix.ByPath("outside"), false))
	if a.Nlink != 1 || a.Inode != linked.Inode {
		t.Fatalf("%+v", a)
	}
	if n := arrays(t, s, linked.Inode); n == 0 {
		t.Fatal("the linked file has lost its bytes")
	}
	must[object.Epoch](t)(fs.Remove(ctx, none, "outside", posix.RemoveOptions{}))
	if n := rows(t, s); n != before {
		t.Fatalf("%d rows, %d before", n, before)
	}
	if n := arrays(t, s, linked.Inode); n != 0 {
		t.Fatalf("%d arrays of a removed file", n)
	}
	if es, _, err := first.ListDir(ctx, posix.ByPath("t"), "", 0); err != nil || len(es) != 8 {
		t.Fatalf("the state before is gone: %d, %v", len(es), err)
	}

	// A file of many chunks: its bytes go in bounded transactions.
	big := must[posix.Attr](t)(fs.Create(ctx, none, "big", posix.CreateOptions{Content: make([]byte, 4096*1200)}))
	must[posix.Attr](t)(fs.Create(ctx, none, "big2", posix.CreateOptions{}))
	must[object.Epoch](t)(fs.Rename(ctx, none, "big2", "big", false))
	if n := arrays(t, s, big.Inode); n < 1000 {
		t.Fatalf("%d arrays right after", n)
	}
	r, err := fs.Reap(ctx, 1<<20)
	if err != nil || r.More || arrays(t, s, big.Inode) != 0 {
		t.Fatalf("%+v %v, %d arrays left", r, err, arrays(t, s, big.Inode))
	}
	must[object.Epoch](t)(fs.Remove(ctx, none, "big", posix.RemoveOptions{}))

	// Staged files: one renewed by a write, one forgotten.
	old := must[uint64](t)(fs.Stage(ctx, none, time.Minute))
	young := must[uint64](t)(fs.Stage(ctx, none, time.Minute))
	if err := fs.WriteStaged(ctx, none, old, 0, []byte("bytes")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(50 * time.Second)
	if err := fs.WriteStaged(ctx, none, young, 0, []byte("bytes")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(20 * time.Second)
	if r, err = fs.Reap(ctx, 1000); err != nil || r.Staged != 1 || arrays(t, s, old) != 0 || arrays(t, s, young) != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	if err := fs.WriteStaged(ctx, none, old, 0, []byte("x")); !fault.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	must[posix.Attr](t)(fs.Publish(ctx, none, young, "young", posix.PublishOptions{Size: 5}))
	must[object.Epoch](t)(fs.Remove(ctx, none, "young", posix.RemoveOptions{}))
	if n := rows(t, s); n != before {
		t.Fatalf("%d rows, %d before", n, before)
	}
}

func TestStagedBytesOfAnEarlierSessionAreNotPublished(t *testing.T) {
	ctx := context.Background()
	s := memstore.New()
	fs := posixtest.Mount(t, s)
	n := must[uint64](t)(fs.Stage(ctx, none, 0))
	if err := fs.WriteStaged(ctx, none, n, 0, []byte("x")); err != nil {
		t.Fatal(err)
	}
	next := posixtest.Remount(t, s, posix.Options{})
	if err := next.WriteStaged(ctx, none, n, 0, []byte("x")); !fault.Is(err, fault.Stale) {
		t.Fatal(err)
	}
	if _, err := next.Publish(ctx, none, n, "f", posix.PublishOptions{Size: 1}); !fault.Is(err, fault.Stale) {
		t.Fatal(err)
	}
	if err := next.Discard(ctx, n); err != nil {
		t.Fatal(err)
	}
}

func TestStoreErrorsPassThrough(t *testing.T) {
	ctx := context.Background()
	s := memstore.New(memstore.WithQuota(100_000))
	fs := posixtest.Mount(t, s)
	a := must[posix.Attr](t)(fs.Create(ctx, none, "f", posix.CreateOptions{Content: []byte("x")}))
	v := must[*posix.View](t)(fs.Head(ctx, 0))
	if _, err := fs.Write(ctx, none, posix.ByPath("f"), posix.WriteOptions{}, make([]byte, 200_000)); !fault.Is(err, fault.NoSpace) {
		t.Fatal(err)
	}
	if got := must[posix.Attr](t)(v.Stat(ctx, posix.ByInode(a.Inode), false)); got.Size != 1 {
		t.Fatalf("%+v", got)
	}
	later := must[*posix.View](t)(fs.Head(ctx, 0))
	s.SetHorizon(later.Epoch())
	if _, err := v.Stat(ctx, posix.ByPath("f"), false); !fault.Is(err, fault.EpochGone) {
		t.Fatal(err)
	}
	if _, _, err := v.ListDir(ctx, posix.ByPath(""), "", 0); !fault.Is(err, fault.EpochGone) {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := fs.Create(canceled, none, "g", posix.CreateOptions{}); !fault.Is(err, fault.Canceled) {
		t.Fatal(err)
	}
	if _, err := posix.Open(ctx, memstore.New(), posix.Options{}); !fault.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	if err := posix.Create(ctx, s, posix.Properties{}); !fault.Is(err, fault.Exists) {
		t.Fatal(err)
	}
	if err := posix.Create(ctx, memstore.New(), posix.Properties{ChunkSize: 5000}); !fault.Is(err, fault.Invalid) {
		t.Fatal(err)
	}
}

func TestDamagedRecordsAreNamed(t *testing.T) {
	ctx := context.Background()
	s := memstore.New()
	fs := posixtest.Mount(t, s)
	must[posix.Attr](t)(fs.Create(ctx, none, "dir/broken", posix.CreateOptions{Parents: true}))
	v := must[*posix.View](t)(fs.Head(ctx, 0))
	dir := must[posix.Attr](t)(v.Stat(ctx, posix.ByPath("dir"), false))
	for _, b := range [][]byte{{}, {9}, {1, 2}, bytes.Repeat([]byte{1, 7}, 40)} {
		if _, err := s.Commit(ctx, &object.Tx{Writes: []object.Write{{Op: object.OpPut, OID: dir.Object, Dkey: []byte("broken"), Akey: []byte("e"), Data: b}}}); err != nil {
			t.Fatal(err)
		}
		v := must[*posix.View](t)(fs.Head(ctx, 0))
		_, err := v.Stat(ctx, posix.ByPath("dir/broken"), false)
		_, _, lerr := v.ListDir(ctx, posix.ByPath("dir"), "", 0)
		ferr := v.Files(ctx, "", func(*posix.Sample) error { return nil })
		_, werr := fs.Write(ctx, none, posix.ByPath("dir/broken"), posix.WriteOptions{}, []byte("x"))
		for _, err := range []error{err, lerr, ferr, werr} {
			if !fault.Is(err, fault.Corrupt, fault.Unsupported) || !strings.Contains(err.Error(), "broken") {
				t.Fatalf("%x: %v", b, err)
			}
		}
	}
}

// A tree made deep by renames has paths of any length; a walk holds one a level.
func TestWalkBoundsThePathsItHolds(t *testing.T) {
	ctx := context.Background()
	fs := posixtest.Mount(t, memstore.New())
	must[posix.Attr](t)(fs.Create(ctx, none, "deep/file", posix.CreateOptions{Parents: true}))
	part := strings.Repeat("/"+strings.Repeat("n", posix.MaxName), 12)
	walk := func() (n int, err error) {
		v := must[*posix.View](t)(fs.Head(ctx, 0))
		err = v.Files(ctx, "", func(*posix.Sample) error { n++; return nil })
		return n, err
	}
	for bytes := 0; bytes < posix.MaxWalkPath; bytes += len(part) {
		if n, err := walk(); n != 1 || err != nil {
			t.Fatalf("a path of %d bytes: %d samples, %v", bytes, n, err)
		}
		must[posix.Attr](t)(fs.MakeDir(ctx, none, "top"+part, posix.MakeDirOptions{Parents: true}))
		must[object.Epoch](t)(fs.Rename(ctx, none, "deep", "top"+part+"/deep", true))
		must[object.Epoch](t)(fs.Rename(ctx, none, "top", "deep", true))
	}
	if _, err := walk(); !fault.Is(err, fault.TooBig) {
		t.Fatalf("a longer one gave %v", err)
	}
}

// gate lets commits with a request id (or all) wait until n have come.
type gate struct {
	posix.Store
	all  bool
	mu   sync.Mutex
	n    int
	open chan struct{}
}

func (g *gate) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	if g.all || !tx.Request.IsZero() {
		g.mu.Lock()
		if g.n--; g.n == 0 {
			close(g.open)
		}
		open := g.open
		g.mu.Unlock()
		<-open
	}
	return g.Store.Commit(ctx, tx)
}

// TestRaces lets pairs of calls read the same state before either commits. The
// outcome must be that of one after the other.
func TestRaces(t *testing.T) {
	ctx := context.Background()
	type op func(fs *posix.FS, req object.RequestID) error
	rename := func(from, to string) op {
		return func(fs *posix.FS, req object.RequestID) error {
			_, err := fs.Rename(ctx, req, from, to, false)
			return err
		}
	}
	create := func(p string) op {
		return func(fs *posix.FS, req object.RequestID) error {
			_, err := fs.Create(ctx, req, p, posix.CreateOptions{Exclusive: true})
			return err
		}
	}
	remove := func(p string, rec bool) op {
		return func(fs *posix.FS, req object.RequestID) error {
			_, err := fs.Remove(ctx, req, p, posix.RemoveOptions{Recursive: rec})
			return err
		}
	}
	link := func(from, to string) op {
		return func(fs *posix.FS, req object.RequestID) error { _, err := fs.Link(ctx, req, from, to); return err }
	}
	write := func(p string, n int) op {
		return func(fs *posix.FS, req object.RequestID) error {
			_, err := fs.Write(ctx, req, posix.ByPath(p), posix.WriteOptions{Append: true}, make([]byte, n))
			return err
		}
	}
	var inode uint64 // of a/f, the same in all trees
	numbered := func(n int) op {
		return func(fs *posix.FS, req object.RequestID) error {
			_, err := fs.Write(ctx, req, posix.ByInode(inode), posix.WriteOptions{Append: true}, make([]byte, n))
			return err
		}
	}
	truncate := func(p string) op {
		return func(fs *posix.FS, req object.RequestID) error {
			_, err := fs.Truncate(ctx, req, posix.ByPath(p), 0)
			return err
		}
	}
	ops := []op{
		rename("a", "b/sub/a"), rename("b", "a/sub/b"), rename("a/sub", "c"), rename("b/sub", "c"), rename("a/f", "b/f"), rename("b/f", "a/sub/f"),
		create("a/sub/new"), create("c"), remove("a/sub", false), remove("a", true), remove("b/f", false), remove("e", false),
		link("a/f", "b/sub/l"), link("b/f", "e/l"), write("a/f", 10), write("b/f", 20), truncate("a/f"), rename("a/f", "b/sub/f"), rename("e", "a/sub"),
		write("e/h1", 3), write("e/h2", 4), remove("e/h1", false), remove("e/h2", false), rename("a/f", "e/h1"), numbered(5), numbered(6),
	}
	make_ := func(s posix.Store) *posix.FS {
		fs := posixtest.Mount(t, s)
		for _, d := range []string{"a/sub", "b/sub", "e"} {
			must[posix.Attr](t)(fs.MakeDir(ctx, none, d, posix.MakeDirOptions{Parents: true}))
		}
		inode = must[posix.Attr](t)(fs.Create(ctx, none, "a/f", posix.CreateOptions{Content: []byte("fa")})).Inode
		must[posix.Attr](t)(fs.Create(ctx, none, "e/h1", posix.CreateOptions{Content: []byte("h")}))
		must[posix.Attr](t)(fs.Link(ctx, none, "e/h1", "e/h2"))
		must[posix.Attr](t)(fs.Create(ctx, none, "b/f", posix.CreateOptions{Content: []byte("fbfb")}))
		return fs
	}
	dump := func(fs *posix.FS, errs [2]error) map[string]string {
		t.Helper()
		tree := posixtest.Local(fs)
		at := must[object.Epoch](t)(tree.Now(ctx))
		d, err := posixtest.Dump(ctx, tree, at, "")
		if err != nil {
			t.Fatal(err)
		}
		for i, err := range errs {
			d[fmt.Sprintf("/error %d", i)] = fault.KindOf(err).String()
		}
		return d
	}
	ids := [2]object.RequestID{{1}, {2}}
	for i := range ops {
		for j := range i {
			pair := [2]op{ops[i], ops[j]}
			var want []map[string]string
			for _, order := range [][2]int{{0, 1}, {1, 0}} {
				fs := make_(memstore.New())
				var errs [2]error
				for _, k := range order {
					errs[k] = pair[k](fs, none)
				}
				want = append(want, dump(fs, errs))
			}
			g := &gate{Store: memstore.New()}
			make_(g)
			g.n, g.open = 2, make(chan struct{})
			var errs [2]error
			var wg sync.WaitGroup
			for k := range pair {
				fs := posixtest.Remount(t, g, posix.Options{})
				wg.Add(1)
				go func() {
					defer wg.Done()
					errs[k] = pair[k](fs, ids[k])
					g.mu.Lock() // a call that never came to its commit does not come any more
					if g.n > 0 {
						if g.n--; g.n == 0 {
							close(g.open)
						}
					}
					g.mu.Unlock()
				}()
			}
			wg.Wait()
			got := dump(posixtest.Remount(t, g, posix.Options{}), errs)
			if posixtest.Diff(got, want[0]) != "" && posixtest.Diff(got, want[1]) != "" {
				t.Errorf("calls %d and %d at once (%v, %v): neither order\n%s-- or --\n%s", i, j, errs[0], errs[1],
					posixtest.Diff(got, want[0]), posixtest.Diff(got, want[1]))
			}
		}
	}
}

func TestInodeNumbersAreNeverGivenOutTwice(t *testing.T) {
	ctx := context.Background()
	s := memstore.New()
	posixtest.Mount(t, s)
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	for w := range 6 { // processes that start, make files and are gone
		wg.Add(1)
		go func() {
			defer wg.Done()
			for r := range 4 {
				fs, err := posix.Open(ctx, s, posix.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				for i := range 5 {
					a, err := fs.Create(ctx, none, fmt.Sprintf("%d.%d.%d", w, r, i), posix.CreateOptions{Exclusive: true})
					mu.Lock()
					if err != nil || seen[a.Inode] {
						t.Errorf("inode %d, %v", a.Inode, err)
					}
					seen[a.Inode] = true
					mu.Unlock()
				}
			}
		}()
	}
	wg.Wait()

	// Two that take their first block at the same time.
	g := &gate{Store: s, all: true, n: 2, open: make(chan struct{})}
	var inodes [2]uint64
	for k := range inodes {
		fs, err := posix.Open(ctx, g, posix.Options{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			a, err := fs.Create(ctx, none, fmt.Sprint("at once ", k), posix.CreateOptions{})
			if err != nil {
				t.Error(err)
			}
			inodes[k] = a.Inode
		}()
	}
	wg.Wait()
	if inodes[0] == inodes[1] {
		t.Errorf("both took inode %d", inodes[0])
	}
}

func TestSamplesComeInTheOrderOfNames(t *testing.T) {
	ctx := context.Background()
	for _, class := range []object.Class{object.ClassS1, object.ClassSX} {
		s := memstore.New()
		if err := posix.Create(ctx, s, posix.Properties{DirClass: class}); err != nil {
			t.Fatal(err)
		}
		fs := posixtest.Remount(t, s, posix.Options{})
		want := []string{"a/b", "a/c/d", "a/c/e", "a/c.txt", "a.txt", "b/x\xff", "b!", "z"}
		for i := range want {
			must[posix.Attr](t)(fs.Create(ctx, none, want[(i*5)%8], posix.CreateOptions{Parents: true}))
		}
		must[posix.Attr](t)(fs.Symlink(ctx, none, "z", "a/ln"))
		must[posix.Attr](t)(fs.Link(ctx, none, "z", "a/c/hard"))
		must[posix.Attr](t)(fs.MakeDir(ctx, none, "empty", posix.MakeDirOptions{}))
		want = slices.Insert(want, 3, "a/c/hard")
		v := must[*posix.View](t)(fs.Head(ctx, 0))
		list := func(root string) (got []string) {
			if err := v.Files(ctx, root, func(s *posix.Sample) error { got = append(got, s.Path()); return nil }); err != nil {
				t.Fatal(err)
			}
			return got
		}
		if got := list(""); !slices.Equal(got, want) {
			t.Fatalf("%v: %q", class, got)
		}
		if got := list("a/c"); !slices.Equal(got, want[1:4]) {
			t.Fatalf("%v: %q", class, got)
		}
		if got := list("a.txt"); !slices.Equal(got, []string{"a.txt"}) {
			t.Fatalf("%v: %q", class, got)
		}
	}
}

func TestLocateSaysWhereBytesLie(t *testing.T) {
	ctx := context.Background()
	fs := posixtest.Mount(t, memstore.New())
	a := must[posix.Attr](t)(fs.Create(ctx, none, "f", posix.CreateOptions{Content: bytes.Repeat([]byte("a"), 5000)}))
	must[posix.Written](t)(fs.Write(ctx, none, posix.ByInode(a.Inode), posix.WriteOptions{Offset: 20_000}, bytes.Repeat([]byte("b"), 100)))
	must[posix.Written](t)(fs.Write(ctx, none, posix.ByInode(a.Inode), posix.WriteOptions{Offset: 4000}, bytes.Repeat([]byte("c"), 200)))
	v := must[*posix.View](t)(fs.Head(ctx, 0))
	a = must[posix.Attr](t)(v.Stat(ctx, posix.ByPath("f"), false))
	whole := make([]byte, a.Size)
	if n := must[int](t)(v.ReadObject(ctx, a, whole, 0)); n != 20_100 {
		t.Fatal(n)
	}
	for _, r := range [][2]uint64{{0, 1 << 62}, {4090, 20}, {10_000, 5}, {19_999, 2}, {20_050, 1 << 40}, {30_000, 1}} {
		xs, err := v.Locate(ctx, a, r[0], r[1])
		if err != nil {
			t.Fatal(err)
		}
		end := min(a.Size, r[0]+r[1])
		got := make([]byte, max(end, r[0])-r[0])
		for _, x := range xs {
			copy(got[x.Offset-r[0]:], x.Record.Inline[x.Skip:x.Skip+x.Length])
		}
		if r[0] < end && !bytes.Equal(got, whole[r[0]:end]) {
			t.Fatalf("%v: wrong bytes", r)
		}
	}
}
