package segment

import (
	"sync/atomic"

	"daos/engine/object"
	"daos/internal/guardfs"
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

// Past reports whether large records are to be read past the page cache, the first
// time: they were written so, and memory is short.
func (f *File) Past() bool { return f.past && !f.set.room.plenty() }

// Hold takes another reference, which Release gives back.
func (f *File) Hold() { f.refs.Add(1) }

// Fd implements object.RegionFile.
func (f *File) Fd() uintptr { return f.f.Fd() }

// ReadPast reads bytes of a large record that was written past the page cache,
// without bringing them into it. len(p) is a multiple of 4096, as is pos; ok is
// false where that can't be done, or where the file ends before need bytes.
func (f *File) ReadPast(p []byte, pos uint64, need int) (ok bool) {
	if !f.past || pos%bulkAlign != 0 || !guardfs.Aligned(p) {
		return false
	}
	d := f.reader.Load()
	if d == nil {
		if d = guardfs.OpenDirectReader(f.f); d == nil {
			return false
		}
		if !f.reader.CompareAndSwap(nil, d) {
			d.Close()
			d = f.reader.Load()
		}
	}
	n, err := d.ReadAt(p, int64(pos))
	return err == nil && n >= need
}

var _ object.RegionFile = (*File)(nil)
