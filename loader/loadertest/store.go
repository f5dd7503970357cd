// Package loadertest has a store for tests of the loader: package memstore's,
// with its array extents laid into segment files that are mapped, can be
// damaged, and can move.
package loadertest

import (
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"daos/engine/memstore"
	"daos/engine/object"
	"daos/internal/fault"
)

// Store is a memstore whose records lie in segments.
type Store struct {
	*memstore.Store
	dir string

	mu         sync.Mutex
	generation uint64
	current    uint64 // segment that is being filled
	size       int64
	places     map[string]object.Record // by content, in this generation
}

// SegmentSize is the size at which a next segment is begun.
const SegmentSize = 1 << 20

// New makes a Store with its segments in a folder of the test.
func New(t testing.TB) *Store {
	return &Store{Store: memstore.New(), dir: t.TempDir(), generation: 1, places: map[string]object.Record{}}
}

// Path is the file of a segment.
func (s *Store) Path(n uint64) string { return filepath.Join(s.dir, fmt.Sprintf("%08d", n)) }

// Extents implements object.Reader.
func (s *Store) Extents(ctx context.Context, at object.Epoch, oid object.ID, dkey, akey []byte, off, n uint64) ([]object.Extent, error) {
	xs, err := s.Store.Extents(ctx, at, oid, dkey, akey, off, n)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range xs {
		if r := &xs[i].Record; len(r.Inline) > object.InlineMax {
			if *r, err = s.place(r.Inline); err != nil {
				return nil, err
			}
		}
	}
	return xs, nil
}

func (s *Store) place(b []byte) (object.Record, error) {
	if r, ok := s.places[string(b)]; ok {
		return r, nil
	}
	if s.current == 0 || s.size+int64(len(b)) > SegmentSize {
		s.current, s.size = s.current+1, 0
	}
	f, err := os.OpenFile(s.Path(s.current), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return object.Record{}, err
	}
	defer f.Close()
	r := object.Record{Target: 3, Segment: s.current, Pos: uint64(s.size), Length: uint64(len(b))}
	if _, err := f.WriteAt(b, s.size); err != nil {
		return object.Record{}, err
	}
	s.size += int64(len(b)) + 63
	s.size &^= 63
	key := string(b)
	for ; len(b) > 0; b = b[min(len(b), object.Granule):] {
		r.Sums = append(r.Sums, crc32.Checksum(b[:min(len(b), object.Granule)], crc32.MakeTable(crc32.Castagnoli)))
	}
	s.places[key] = r
	return r, nil
}

// Move forgets where everything lies and removes the old segments, as a
// compaction does; the generation changes.
func (s *Store) Move() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := uint64(1); n <= s.current; n++ {
		_ = os.Remove(s.Path(n))
	}
	s.generation++
	s.current++
	s.size = 0
	clear(s.places)
}

// Touch changes the generation and nothing else.
func (s *Store) Touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
}

// Segments are the numbers of the segments there are.
func (s *Store) Segments() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []uint64
	for n := uint64(1); n <= s.current; n++ {
		if _, err := os.Stat(s.Path(n)); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// Generation implements object.Bulk.
func (s *Store) Generation() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}

// Segment implements object.Bulk.
func (s *Store) Segment(target uint16, n uint64) (object.Mapping, error) {
	f, err := os.Open(s.Path(n))
	if err != nil || target != 3 {
		return nil, fault.New(fault.NotFound, "segment.map", s.Path(n), "no such segment")
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &mapping{b: b, name: s.Path(n)}, nil
}

type mapping struct {
	b    []byte
	name string
	once sync.Once
}

func (m *mapping) Bytes() []byte { return m.b }
func (m *mapping) Name() string  { return m.name }
func (m *mapping) Release()      { m.once.Do(func() { _ = unix.Munmap(m.b) }) }
