package segment

import (
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"daos/engine/object"
	"daos/internal/fault"
)

// Mapping is a read-only view of a segment, valid until Release, also after
// the file is unlinked. A segment that still grows is mapped to its cap, so
// that records written later show up; bytes behind the end raise SIGBUS.
type Mapping struct {
	f    *File
	b    []byte
	mmap bool
	once sync.Once
}

// Map maps a segment. On a file system without descriptors (tests) it is a copy.
func (s *Set) Map(ds, n uint64) (*Mapping, error) {
	f, err := s.Get(ds, n)
	if err != nil {
		return nil, err
	}
	st, err := f.f.Stat()
	if err != nil {
		f.Release()
		return nil, fault.New(fault.Internal, "segment.map", f.name, "can't be examined").Because(err)
	}
	size := uint64(st.Size())
	fd := f.f.Fd()
	if fd == vfs.InvalidFd {
		b := make([]byte, size)
		if n, err := f.f.ReadAt(b, 0); n < len(b) && err != nil && err != io.EOF {
			f.Release()
			return nil, fault.New(fault.Internal, "segment.map", f.name, "can't be read").Because(err)
		}
		return &Mapping{f: f, b: b}, nil
	}
	f.mu.Lock()
	if f.open {
		size = max(size, s.opts.Cap)
	}
	f.mu.Unlock()
	// The first mapping stays with the open file, since the pages of a fresh one
	// have to be found one by one.
	f.mapping.Lock()
	defer f.mapping.Unlock()
	if uint64(len(f.mapped)) >= size && size > 0 {
		return &Mapping{f: f, b: f.mapped[:size:size]}, nil
	}
	b, err := unix.Mmap(int(fd), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		f.Release()
		return nil, fault.New(fault.Internal, "segment.map", f.name, "mmap of %d bytes failed", size).Because(err)
	}
	if f.mapped == nil {
		f.mapped = b
		return &Mapping{f: f, b: b}, nil
	}
	return &Mapping{f: f, b: b, mmap: true}, nil
}

// Bytes is the whole file from its first byte, header included.
func (m *Mapping) Bytes() []byte { return m.b }

// Name is the file's path.
func (m *Mapping) Name() string { return m.f.name }

// AddTo implements object.RegionMapping.
func (m *Mapping) AddTo(out *object.Regions, off uint64, n int) bool {
	return m.AddRowsTo(out, off, n, 1, n)
}

// AddRowsTo implements object.RegionMapping.
func (m *Mapping) AddRowsTo(out *object.Regions, off uint64, n, rows, stride int) bool {
	end := off + uint64(rows-1)*uint64(stride) + uint64(n)
	if m.f.f.Fd() == vfs.InvalidFd || end > uint64(len(m.b)) {
		return false
	}
	m.f.Hold()
	out.AddRows(m.b[off:end:end], m.f, int64(off), n, stride)
	return true
}

// Doubt implements object.RegionMapping.
func (m *Mapping) Doubt() { m.f.Doubt() }

var _ object.RegionMapping = (*Mapping)(nil)

// Release ends the use of Bytes; a second call does nothing.
func (m *Mapping) Release() {
	m.once.Do(func() {
		if m.mmap {
			_ = unix.Munmap(m.b)
		}
		m.b = nil
		m.f.Release()
	})
}
