package vos

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/object"
	"daos/engine/segment"
	"daos/engine/target"
	"daos/internal/fault"
	"daos/internal/guardfs"
)

// regionFrom is the size from which bytes are sent out of the file; shorter
// ones are copied, unless short pieces are wanted.
const regionFrom = 16 << 10

var _ target.RegionReader = (*Target)(nil)

// Regions appends the verified bytes [skip, skip+n) of a record to out. Of a
// large record each granule is read and compared once while its segment is
// open; after that it is only named, and goes from the page cache to its reader.
func (t *Target) Regions(ds object.DatasetID, r object.Record, skip, n uint64, out *object.Regions) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	if n == 0 {
		return nil
	}
	if skip > r.Length || n > r.Length-skip {
		return fault.New(fault.Invalid, "vos.read", t.opts.Dir, "bytes [%d, %d) of a record of %d", skip, skip+n, r.Length)
	}
	if r.Inline == nil && (n >= regionFrom || out.Short) && r.Length >= object.Granule {
		f, err := t.segs.Get(uint64(ds), r.Segment)
		if err != nil {
			return err
		}
		if f.Fd() != vfs.InvalidFd {
			defer f.Release()
			return t.inFile(f, ds, r, skip, n, out)
		}
		f.Release()
	}
	b := make([]byte, n)
	if err := t.readVerified(ds, r, skip, b, nil); err != nil {
		return err
	}
	out.Add(b)
	return nil
}

// inFile appends bytes of a large record. Where memory is short, what was written
// past the page cache and has not been read yet is read past it as well, and drives
// nothing out of it; what is read a second time goes through the page cache. Where
// there is room, the first reader leaves it there for the second.
func (t *Target) inFile(f *segment.File, ds object.DatasetID, r object.Record, skip, n uint64, out *object.Regions) error {
	past := f.Past()
	for at, end := skip, skip+n; at < end; {
		lo := at / object.Granule * object.Granule
		to := lo
		for past && to < end && to < lo+pastStep && !f.Seen(r.Pos+to) {
			to += object.Granule
		}
		if to = min(to, r.Length); to > lo && t.past(f, r, lo, to, at, min(to, end), out) {
			at = min(to, end)
			continue
		}
		// Seen, or to be read through the page cache: up to where that changes.
		for to = max(to, lo+object.Granule); to < end && (f.Seen(r.Pos+to) || !past); {
			to += object.Granule
		}
		to = min(to, end)
		if err := t.see(f, ds, r, at, to-at); err != nil {
			return err
		}
		f.Hold()
		out.AddFile(f, int64(r.Pos+at), int(to-at))
		at = to
	}
	return nil
}

// pastStep is the most that one direct read reads.
const pastStep = 1 << 20

var pastBuffers = sync.Pool{New: func() any { b := make([]byte, pastStep); return &b }} // aligned to pages by their size

// past reads the granules [lo, to) of a record directly, verifies them and
// appends [at, end) of them; false where that can't be done, or they don't match:
// then the usual way says what is wrong.
func (t *Target) past(f *segment.File, r object.Record, lo, to, at, end uint64, out *object.Regions) bool {
	buf := pastBuffers.Get().(*[]byte)
	n := int(to - lo)
	ok := f.ReadPast((*buf)[:(n+guardfs.DirectAlign-1)&^(guardfs.DirectAlign-1)], r.Pos+lo, n)
	if !ok || !matches(r, lo, (*buf)[:n]) {
		pastBuffers.Put(buf)
		return false
	}
	for g := lo; g < to; g += object.Granule {
		f.Saw(r.Pos + g)
	}
	out.AddLent((*buf)[at-lo:end-lo], func() { pastBuffers.Put(buf) })
	return true
}

// matches reports whether bytes of a record, whole granules from lo on, are those
// that its checksums were made of.
func matches(r object.Record, lo uint64, b []byte) bool {
	if len(r.Sums) != granules(r.Length) {
		return false
	}
	for ; len(b) > 0; lo += object.Granule {
		n := min(object.Granule, len(b))
		if segment.Sum(b[:n]) != r.Sums[lo/object.Granule] {
			return false
		}
		b = b[n:]
	}
	return true
}

// see verifies the granules of [skip, skip+n) that were not seen yet, in runs.
func (t *Target) see(f *segment.File, ds object.DatasetID, r object.Record, skip, n uint64) error {
	const step = 1 << 20
	lo, end := skip/object.Granule*object.Granule, skip+n
	var s *[]byte
	for at := lo; at < end; {
		if f.Seen(r.Pos + at) {
			at += object.Granule
			continue
		}
		to := at
		for to < end && to < at+step && !f.Seen(r.Pos+to) {
			to += object.Granule
		}
		to = min(to, r.Length)
		if s == nil {
			s = scratch.Get().(*[]byte)
			defer scratch.Put(s)
			if cap(*s) < step {
				*s = make([]byte, step)
			}
		}
		b := (*s)[:to-at]
		if !f.ReadLong(b, r.Pos+at) || !matches(r, at, b) {
			// The usual way says what is wrong.
			if err := t.readVerified(ds, r, at, b, nil); err != nil {
				return err
			}
		}
		for ; at < to; at += object.Granule {
			f.Saw(r.Pos + at)
		}
	}
	return nil
}
