package segment_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"daos/engine/segment"
	"daos/internal/guardfs"
)

// direct reports whether files in a folder can be written past the page cache.
func direct(t testing.TB, g vfs.FS, dir string) bool {
	t.Helper()
	f, err := g.Create(filepath.Join(dir, "probe"), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := guardfs.OpenDirect(f)
	if d == nil {
		return false
	}
	d.Close()
	return true
}

func appendPast(t testing.TB, s *segment.Set, ds uint64, records ...[]byte) (out []placed) {
	w := s.Writer(ds, 64<<20)
	w.Past()
	defer w.End()
	for _, r := range records {
		n, pos, err := w.Append(r)
		if err != nil {
			t.Error(err)
			return nil
		}
		out = append(out, placed{n, pos, r})
	}
	if err := w.Sync(); err != nil {
		t.Error(err)
	}
	for _, p := range out {
		w.Commit(p.seg, segment.Entry{Key: []byte("k"), Value: []byte("v")})
	}
	return out
}

func TestPast_BytesAreOnDiskAndNotInMemory(t *testing.T) {
	dir := t.TempDir()
	g := guardfs.New(vfs.Default, "target")
	s := openSet(t, g, dir, 64<<20)
	r := rand.New(rand.NewPCG(1, 1))
	const page = guardfs.DirectAlign
	var all []placed
	// Whole blocks, blocks and a rest, memory at odd addresses, small ones between.
	for _, n := range []int{1 << 20, 256 << 10, 300_001, 5000, 1<<20 + 1, 100, 3<<20 - 1, 64 << 10, 1 << 20} {
		odd := random(r, n+7)[7:]
		all = append(all, appendPast(t, s, 7, random(r, n), odd)...)
	}
	check(t, s, 7, all)
	if err := s.Close(); err != nil { // footers go behind the records
		t.Fatal(err)
	}
	for seg, f := range segmentsOf(t, dir, 7) {
		for _, p := range all {
			if p.seg == seg && !bytes.Equal(f[p.pos:p.pos+uint64(len(p.data))], p.data) {
				t.Fatalf("record of %d bytes at %d of segment %d is not on disk as it was written", len(p.data), p.pos, p.seg)
			}
		}
	}
	if !direct(t, g, dir) {
		t.Log("no direct writes on this file system: contents were compared only")
		return
	}
	s = openSet(t, g, filepath.Join(dir, "2"), 64<<20)
	p := appendPast(t, s, 7, random(r, 4<<20))[0]
	m, err := s.Map(7, p.seg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	in := make([]byte, len(p.data)/page)
	if err := mincore(m.Bytes()[p.pos:p.pos+uint64(len(p.data))], in); err != nil {
		t.Fatal(err)
	}
	for i, b := range in {
		if b&1 != 0 {
			t.Fatalf("page %d of %d is in the page cache", i, len(in))
		}
	}
	check(t, s, 7, []placed{p})
}

func segmentsOf(t testing.TB, dir string, ds uint64) map[uint64][]byte {
	t.Helper()
	out := map[uint64][]byte{}
	for n := range uint64(100) {
		if b, err := os.ReadFile(filepath.Join(dir, "seg", segment.FolderName(ds), segment.FileName(n))); err == nil {
			out[n] = b
		}
	}
	return out
}

// Readers go through the page cache while others append past it.
func TestPast_ReadersBesideWriters(t *testing.T) {
	s := openSet(t, guardfs.New(vfs.Default, "target"), t.TempDir(), 8<<20)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(w)))
			var mine []placed
			for range 12 {
				mine = append(mine, appendPast(t, s, 7, random(r, 256<<10+r.IntN(300_000)), random(r, r.IntN(100_000)+1))...)
				for _, p := range mine {
					f, err := s.Get(7, p.seg)
					if err != nil {
						t.Error(err)
						return
					}
					b := make([]byte, len(p.data))
					err = f.ReadAt(b, p.pos)
					f.Release()
					if err != nil || !bytes.Equal(b, p.data) {
						t.Errorf("record of %d bytes at %d of segment %d differs: %v", len(b), p.pos, p.seg, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestPast_OneWriterASegment(t *testing.T) {
	dir := t.TempDir()
	g := guardfs.New(vfs.Default, "target")
	s := openSet(t, g, dir, 64<<20)
	past := direct(t, g, dir)
	record := make([]byte, 1<<20)
	used := map[uint64]int{}
	for range 12 {
		w := s.Writer(7, len(record))
		w.Past()
		n, _, err := w.Append(record)
		if err != nil {
			t.Fatal(err)
		}
		if used[n]++; past && len(used) <= 8 && used[n] > 1 {
			t.Fatalf("two writers share segment %d", n)
		}
		defer w.End()
	}
	if len(used) > 8+3 {
		t.Fatalf("%d segments for 12 writers", len(used))
	}
}

func TestPast_NothingIsWrittenAfterAFailedSync(t *testing.T) {
	dir := t.TempDir()
	g := guardfs.New(vfs.Default, "target")
	if !direct(t, g, dir) {
		t.Log("no direct writes on this file system")
		return
	}
	f, err := g.Create(filepath.Join(dir, "f"), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := guardfs.OpenDirect(f)
	defer d.Close()
	b := make([]byte, 1<<20)
	if n, err := d.WriteAt(b, 0); err != nil || n != len(b) {
		t.Fatal(n, err)
	}
	g.Fail("f", "sync", unix.EIO)
	if n, err := d.WriteAt(b, 1<<20); err == nil || n != 0 {
		t.Fatalf("%d bytes were written after a failed sync: %v", n, err)
	}
	if st, err := os.Stat(filepath.Join(dir, "f")); err != nil || st.Size() != 1<<20 {
		t.Fatal(st.Size(), err)
	}
}

func mincore(b, vec []byte) error {
	_, _, e := unix.Syscall(unix.SYS_MINCORE, addr(b), uintptr(len(b)), addr(vec))
	if e != 0 {
		return e
	}
	return nil
}

func addr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
