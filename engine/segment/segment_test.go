package segment_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine/object"
	"daos/engine/segment"
	"daos/internal/fault"
)

func numbers() func() (uint64, error) {
	var n atomic.Uint64
	return func() (uint64, error) { return n.Add(1), nil }
}

func openSet(t testing.TB, f vfs.FS, dir string, limit uint64) *segment.Set {
	t.Helper()
	if err := f.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := segment.Open(segment.Options{FS: f, Dir: f.PathJoin(dir, "seg"), Target: 2, Cap: limit, Number: numbers()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

type placed struct {
	seg, pos uint64
	data     []byte
}

// appendAll writes records as one batch, commits and ends it.
func appendAll(t testing.TB, s *segment.Set, ds uint64, records ...[]byte) []placed {
	t.Helper()
	out, err := tryAppend(s, ds, records...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryAppend(s *segment.Set, ds uint64, records ...[]byte) (out []placed, err error) {
	total := 0
	for _, r := range records {
		total += len(r)
	}
	w := s.Writer(ds, total)
	defer w.End()
	for _, r := range records {
		n, pos, err := w.Append(r)
		if err != nil {
			return nil, err
		}
		out = append(out, placed{n, pos, r})
	}
	if err := w.Sync(); err != nil {
		return nil, err
	}
	for _, p := range out {
		w.Commit(p.seg, segment.Entry{Key: []byte(fmt.Sprint(p.pos)), Value: []byte{byte(len(p.data))}})
	}
	return out, nil
}

func check(t testing.TB, s *segment.Set, ds uint64, all []placed) {
	t.Helper()
	for _, p := range all {
		f, err := s.Get(ds, p.seg)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len(p.data))
		if err := f.ReadAt(b, p.pos); err != nil || !bytes.Equal(b, p.data) {
			t.Fatalf("record of %d bytes at %d of segment %d differs: %v", len(b), p.pos, p.seg, err)
		}
		f.Release()
	}
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestHeader_Golden(t *testing.T) {
	h := segment.Header{Target: 2, Dataset: 7, Number: 0x1234}
	b := h.Encode()
	want := hex.EncodeToString([]byte("DAOSSEG\n")) + "01000000" + "0200" + "0000" + "0700000000000000" + "3412000000000000" + strings.Repeat("00", 28)
	if got := hex.EncodeToString(b[:60]); got != want {
		t.Fatalf("\n got %s\nwant %s", got, want)
	}
	if got, err := segment.DecodeHeader("x", b); err != nil || got != h {
		t.Fatalf("%+v %v", got, err)
	}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 0x10
		if _, err := segment.DecodeHeader("x", c); !fault.Is(err, fault.Corrupt) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

func TestSums_Granules(t *testing.T) {
	b := random(rand.New(rand.NewPCG(1, 1)), 200)
	for n, want := range map[int]int{0: 1, 1: 1, 64: 1, 65: 2, 128: 2, 129: 3, 200: 4} {
		if got := segment.Sums(nil, b[:n], 64); len(got) != want {
			t.Errorf("%d bytes: %d sums, want %d", n, len(got), want)
		}
	}
	if segment.Sum([]byte("123456789")) != 0xe3069283 {
		t.Error("not CRC32C")
	}
}

func TestWriter_AlignsAndNeverOverlaps(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	s := openSet(t, vfs.NewMem(), "t", 1<<20)
	var mu sync.Mutex
	var all []placed
	var wg sync.WaitGroup
	for range 8 {
		r := rand.New(rand.NewPCG(r.Uint64(), 1))
		wg.Go(func() {
			for range 40 {
				var recs [][]byte
				for range 1 + r.IntN(8) {
					recs = append(recs, random(r, []int{1, 63, 64, 65, 1500, 65535, 65536, 100_000}[r.IntN(8)]))
				}
				out, err := tryAppend(s, 7, recs...)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				all = append(all, out...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	segments := map[uint64]bool{}
	for _, p := range all {
		segments[p.seg] = true
		align := uint64(64)
		if len(p.data) >= 64<<10 {
			align = 4096
		}
		if p.pos%align != 0 || p.pos < segment.HeaderSize {
			t.Fatalf("%d bytes at %d", len(p.data), p.pos)
		}
	}
	if len(segments) < 5 {
		t.Fatalf("only %d segments", len(segments))
	}
	check(t, s, 7, all)
}

func TestFooter_ListsWhatWasCommitted(t *testing.T) {
	f := vfs.NewMem()
	s := openSet(t, f, "t", 4096)
	all := appendAll(t, s, 7, make([]byte, 2000), make([]byte, 1000))
	all = append(all, appendAll(t, s, 7, make([]byte, 3000))...) // fills it: the next one begins
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSet(t, f, "t", 4096)
	nums, err := s.Numbers(7)
	if err != nil || len(nums) != 2 {
		t.Fatalf("%v %v", nums, err)
	}
	for i, want := range []int{2, 1} {
		h, err := s.Get(7, nums[i])
		if err != nil {
			t.Fatal(err)
		}
		es, ok, err := h.Footer()
		if err != nil || !ok || len(es) != want {
			t.Fatalf("segment %d: %d entries %v %v", nums[i], len(es), ok, err)
		}
		h.Release()
	}
	check(t, s, 7, all)
	// Any flip in the footer is noticed.
	name := f.PathJoin("t", "seg", segment.FolderName(7), segment.FileName(nums[0]))
	st, err := f.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := st.Size() - 45; at < st.Size(); at++ {
		flip(t, f, name, at)
		s2 := openSet(t, f, "t", 4096)
		h, err := s2.Get(7, nums[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, err := h.Footer(); ok && err == nil {
			t.Fatalf("a flip at %d of %d is not noticed", at, st.Size())
		}
		h.Release()
		flip(t, f, name, at)
	}
}

func flip(t testing.TB, f vfs.FS, name string, at int64) {
	t.Helper()
	h, err := f.OpenReadWrite(name, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var b [1]byte
	if _, err := h.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := h.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

func TestMap_SeesGrowthAndOutlivesUnlink(t *testing.T) {
	s := openSet(t, vfs.Default, t.TempDir(), 1<<20)
	a := appendAll(t, s, 7, []byte("first"))[0]
	m, err := s.Map(7, a.seg)
	if err != nil {
		t.Fatal(err)
	}
	b := appendAll(t, s, 7, []byte("second"))[0]
	if b.seg != a.seg {
		t.Fatal("another segment")
	}
	if err := s.Remove(7, a.seg); err != nil {
		t.Fatal(err)
	}
	for _, p := range []placed{a, b} {
		if got := m.Bytes()[p.pos : p.pos+uint64(len(p.data))]; !bytes.Equal(got, p.data) {
			t.Errorf("mapped %q, want %q", got, p.data)
		}
	}
	m.Release()
	m.Release()
	// Who took a position before the unlink can still read it.
	check(t, s, 7, []placed{a, b})
	if nums, _ := s.Numbers(7); len(nums) != 0 {
		t.Fatalf("segments %v are left", nums)
	}
}

func TestMap_NamesRowsOfTheFile(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"disk": vfs.Default, "memory": vfs.NewMem()} {
		s := openSet(t, fs, t.TempDir(), 1<<20)
		data := make([]byte, 5000)
		for i := range data {
			data[i] = byte(i * 7 % 251)
		}
		a := appendAll(t, s, 7, data)[0]
		m, err := s.Map(7, a.seg)
		if err != nil {
			t.Fatal(err)
		}
		var out object.Regions
		named := m.AddRowsTo(&out, a.pos+10, 100, 5, 1000) && m.AddRowsTo(&out, a.pos, 1000, 5, 1000) && m.AddRowsTo(&out, a.pos, 9, 1, 1)
		if named != (name == "disk") {
			t.Fatalf("%s: rows are named: %v", name, named)
		}
		end := uint64(len(m.Bytes()))
		if m.AddRowsTo(&out, end-4100, 101, 5, 1000) || m.AddTo(&out, end-1, 2) {
			t.Errorf("%s: rows beyond the end", name)
		}
		if !named && len(out.Parts) > 0 {
			t.Errorf("%s: %d parts of no file", name, len(out.Parts))
		}
		if named {
			if n := len(out.Parts); n != 3 || out.Size() != 5509 || out.Parts[0].Rows != 5 || out.Parts[1].Rows != 0 || out.Parts[2].Rows != 0 {
				t.Fatalf("%d bytes in %+v", out.Size(), out.Parts)
			}
			k := 0
			for row := range out.Parts[0].InMemory() {
				if from := 10 + k*1000; !bytes.Equal(row, data[from:from+100]) {
					t.Errorf("row %d differs", k)
				}
				k++
			}
			if p := &out.Parts[0]; k != 5 || p.Size() != 500 || p.Off != int64(a.pos)+10 {
				t.Errorf("%d rows of %+v", k, p)
			}
		}
		out.Release()
		m.Release()
	}
}

func TestGet_RefusesAForeignFile(t *testing.T) {
	f := vfs.NewMem()
	s := openSet(t, f, "t", 1<<20)
	p := appendAll(t, s, 7, []byte("x"))[0]
	appendAll(t, s, 8, []byte("y"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	from := f.PathJoin("t", "seg", segment.FolderName(7), segment.FileName(p.seg))
	to := f.PathJoin("t", "seg", segment.FolderName(8), segment.FileName(99))
	if err := f.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	s = openSet(t, f, "t", 1<<20)
	if _, err := s.Get(8, 99); !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), to) {
		t.Fatalf("a foreign file: %v", err)
	}
	if _, err := s.Get(7, p.seg); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("a missing file: %v", err)
	}
}

func TestOpenFiles_AreBounded(t *testing.T) {
	f := vfs.NewMem()
	s, err := segment.Open(segment.Options{FS: f, Dir: "seg", Target: 2, Cap: 128, Number: numbers(), OpenFiles: 4})
	if err != nil {
		t.Fatal(err)
	}
	var all []placed
	for i := range 40 {
		all = append(all, appendAll(t, s, 7, bytes.Repeat([]byte{byte(i)}, 100))...)
	}
	check(t, s, 7, all)
	// One small record in each of many datasets leaves none of them open.
	for ds := range uint64(40) {
		p := appendAll(t, s, 100+ds, []byte("small"))
		check(t, s, 100+ds, p)
	}
	check(t, s, 7, all)
	if n := s.OpenHandles(); n > 8 {
		t.Errorf("%d files are open", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Concurrent writers share syncs: far fewer of them than batches.
func TestSync_IsShared(t *testing.T) {
	var syncs atomic.Int64
	gate := make(chan struct{})
	inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".seg") {
			syncs.Add(1)
			<-gate
		}
		return nil
	})
	s := openSet(t, errorfs.Wrap(vfs.NewMem(), inj), "t", 64<<20)
	const writers = 32
	var begun sync.WaitGroup
	var done sync.WaitGroup
	begun.Add(writers)
	for range writers {
		done.Go(func() {
			w := s.Writer(7, 100)
			defer w.End()
			_, _, err := w.Append(make([]byte, 100))
			if err = errors.Join(err, w.Flush()); err != nil {
				t.Error(err)
			}
			begun.Done()
			begun.Wait() // all have written before the first sync begins
			if err := w.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	begun.Wait()
	close(gate)
	done.Wait()
	if n := syncs.Load(); n < 1 || n > 2 {
		t.Errorf("%d syncs for %d writers", n, writers)
	}
}

func TestFailedSync_EndsTheSegment(t *testing.T) {
	var broken atomic.Bool
	inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && broken.Load() {
			return syscall.EIO
		}
		return nil
	})
	s := openSet(t, errorfs.Wrap(vfs.NewMem(), inj), "t", 1<<20)
	a := appendAll(t, s, 7, []byte("before"))
	broken.Store(true)
	if _, err := tryAppend(s, 7, []byte("lost")); !errors.Is(err, segment.ErrSync) {
		t.Fatalf("a failed sync gave %v", err)
	}
	broken.Store(false)
	b := appendAll(t, s, 7, []byte("after"))
	if a[0].seg == b[0].seg {
		t.Error("a segment takes records after a failed sync")
	}
	check(t, s, 7, append(a, b...))
}
