package vos

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/object"
	"daos/engine/segment"
	"daos/engine/target"
	"daos/internal/fault"
)

// regionFrom is the size from which bytes are sent out of the file; shorter
// ones are copied.
const regionFrom = 16 << 10

// readAhead is how far behind the bytes asked for the disk is set to work: who
// reads a large file goes on with what lies behind them.
const readAhead = 8 << 20

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
	if r.Inline == nil && n >= regionFrom && r.Length >= object.Granule {
		f, err := t.segs.Get(uint64(ds), r.Segment)
		if err != nil {
			return err
		}
		if f.Fd() != vfs.InvalidFd {
			if err := t.see(f, ds, r, skip, n); err != nil {
				f.Release()
				return err
			}
			out.AddFile(f, int64(r.Pos+skip), int(n))
			return nil
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
			f.Ahead(r.Pos+at, end-at+readAhead)
			s = scratch.Get().(*[]byte)
			defer scratch.Put(s)
			if cap(*s) < step {
				*s = make([]byte, step)
			}
		}
		if err := t.readVerified(ds, r, at, (*s)[:to-at], nil); err != nil {
			return err
		}
		for ; at < to; at += object.Granule {
			f.Saw(r.Pos + at)
		}
	}
	return nil
}
