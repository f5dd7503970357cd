package segment

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"daos/engine/object"
)

// A file remembers which granules of large records were compared with their
// checksums since it was opened, so that bytes that are read again and again
// (a checkpoint, by each rank) are verified when they enter memory and not each
// time. Such records start at multiples of bulkAlign, and so do their granules.

// seenMap has a bit for each bulkAlign bytes below the cap of a segment.
type seenMap []atomic.Uint64

func (f *File) seenBit(pos uint64) (*atomic.Uint64, uint64) {
	m := f.seen.Load()
	if m == nil {
		fresh := make(seenMap, (f.set.opts.Cap/bulkAlign+63)/64)
		if f.seen.CompareAndSwap(nil, &fresh) {
			m = &fresh
		} else {
			m = f.seen.Load()
		}
	}
	i := pos / bulkAlign
	if pos%bulkAlign != 0 || i/64 >= uint64(len(*m)) {
		return nil, 0
	}
	return &(*m)[i/64], 1 << (i % 64)
}

// Seen reports whether the granule at pos has been verified.
func (f *File) Seen(pos uint64) bool {
	w, bit := f.seenBit(pos)
	return w != nil && w.Load()&bit != 0
}

// Saw notes that the granule at pos has been verified.
func (f *File) Saw(pos uint64) {
	if w, bit := f.seenBit(pos); w != nil {
		w.Or(bit)
	}
}

// Doubt implements object.RegionFile: everything is verified again.
func (f *File) Doubt() { f.seen.Store(nil) }

// Fd implements object.RegionFile.
func (f *File) Fd() uintptr { return f.f.Fd() }

// Ahead lets the disk begin to read a range.
func (f *File) Ahead(pos, n uint64) {
	_ = unix.Fadvise(int(f.f.Fd()), int64(pos), int64(n), unix.FADV_WILLNEED) // only slower without
}

var _ object.RegionFile = (*File)(nil)
