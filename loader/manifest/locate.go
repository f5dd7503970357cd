package manifest

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"daos/engine/object"
	"daos/internal/fault"
)

// deriver collects locations. One is filled by one goroutine; several are
// joined in order by a locationWriter.
type deriver struct {
	entries []entry
	pieces  []piece
	sums    []uint32
	inline  []byte
	segs    []segment
	index   map[segment]uint32
}

// place keeps the record of an extent and says where.
func (d *deriver) place(r *object.Record) (pos, granule uint64, seg uint32, err error) {
	granule = uint64(len(d.sums))
	if r.Inline != nil {
		if uint64(len(r.Inline)) != r.Length {
			return 0, 0, 0, fault.New(fault.Internal, "loader.location", "record", "an inline record of %d bytes holds %d", r.Length, len(r.Inline))
		}
		pos = uint64(len(d.inline))
		d.inline = append(d.inline, r.Inline...)
		return pos, granule, segInline, nil
	}
	if want := max((r.Length+object.Granule-1)/object.Granule, 1); uint64(len(r.Sums)) != want {
		return 0, 0, 0, fault.New(fault.Internal, "loader.location", "record", "%d checksums for %d bytes", len(r.Sums), r.Length)
	}
	d.sums = append(d.sums, r.Sums...)
	k := segment{r.Target, r.Segment}
	seg, ok := d.index[k]
	if !ok {
		if d.index == nil {
			d.index = map[segment]uint32{}
		}
		seg = uint32(len(d.segs))
		d.segs = append(d.segs, k)
		d.index[k] = seg
	}
	return r.Pos, granule, seg, nil
}

// array keeps the pieces of a byte array.
func (d *deriver) array(xs []object.Extent) (first, count uint64, err error) {
	first = uint64(len(d.pieces))
	for i := range xs {
		x := &xs[i]
		p := piece{off: x.Offset, length: x.Length, skip: x.Skip, record: x.Record.Length}
		if x.Length == 0 || x.Skip > x.Record.Length || x.Length > x.Record.Length-x.Skip {
			return 0, 0, fault.New(fault.Internal, "loader.location", "record", "an extent beyond its record")
		}
		if p.pos, p.granule, p.seg, err = d.place(&x.Record); err != nil {
			return 0, 0, err
		}
		d.pieces = append(d.pieces, p)
	}
	return first, uint64(len(xs)), nil
}

// file keeps a file of size bytes.
func (d *deriver) file(size uint64, xs []object.Extent) error {
	e := entry{size: size, seg: segZeros}
	switch {
	case len(xs) == 0:
	case len(xs) == 1 && xs[0].Offset == 0 && xs[0].Skip == 0 && xs[0].Length == size && xs[0].Record.Length == size:
		var err error
		if e.pos, e.granule, e.seg, err = d.place(&xs[0].Record); err != nil {
			return err
		}
	default:
		first, count, err := d.array(xs)
		if err != nil {
			return err
		}
		e.seg, e.pos, e.pieces = segPieces, first, uint32(count)
	}
	d.entries = append(d.entries, e)
	return nil
}

// locationWriter joins derivers into a location file, in any order.
type locationWriter struct {
	w                             *writer
	pieces, sums, inline, segsOut *sectionWriter
	entries                       []byte   // of all samples, mapped: they come in any order
	located                       []uint64 // a bit for each sample that has its entry
	segs                          map[segment]uint32
	nPieces, nSums                uint64
	buf                           []byte
}

// newLocationWriter makes one for a number of files, 0 for tables.
func newLocationWriter(dir string, samples uint64) (_ *locationWriter, err error) {
	l := &locationWriter{w: newWriter(dir), segs: map[segment]uint32{}, located: make([]uint64, (samples+63)/64)}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	entries, err := l.w.section("entries")
	if err != nil {
		return nil, err
	}
	if entries.n = entrySize * samples; samples > 0 {
		if l.entries, err = mapScratch(entries.f, entries.n); err != nil {
			return nil, err
		}
	}
	for _, s := range []struct {
		name string
		to   **sectionWriter
	}{{"pieces", &l.pieces}, {"sums", &l.sums}, {"inline", &l.inline}, {"segments", &l.segsOut}} {
		if *s.to, err = l.w.section(s.name); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// mapScratch gives a file n bytes of zeros and maps it for writing. The space
// is taken at once: a full disk is an error here, not a fault later.
func mapScratch(f *os.File, n uint64) ([]byte, error) {
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(n)); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, ioFault(err, f.Name())
	} else if err != nil {
		if err := f.Truncate(int64(n)); err != nil {
			return nil, ioFault(err, f.Name())
		}
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return b, ioFault(err, f.Name())
}

// close lets go of everything; after finish there is nothing left to do.
func (l *locationWriter) close() {
	if l.entries != nil {
		_ = unix.Munmap(l.entries)
		l.entries = nil
	}
	l.w.close()
}

// finish writes the file.
func (l *locationWriter) finish(path string, meta locationMeta) error {
	if l.entries != nil {
		err := unix.Munmap(l.entries)
		if l.entries = nil; err != nil {
			return ioFault(err, path)
		}
	}
	return l.w.finish(path, kindLocation, meta)
}

// has reports whether a sample has its entry.
func (l *locationWriter) has(i uint64) bool { return l.located[i>>6]>>(i&63)&1 == 1 }

// add takes over what d has collected; its entries are those of ids. It returns
// the number of d's first piece.
func (l *locationWriter) add(d *deriver, ids []uint64) (firstPiece uint64, err error) {
	remap := make([]uint32, len(d.segs))
	for i, s := range d.segs {
		k, ok := l.segs[s]
		if !ok {
			k = uint32(len(l.segs))
			l.segs[s] = k
			b := binary.LittleEndian.AppendUint64(nil, s.number)
			b = binary.LittleEndian.AppendUint64(b, uint64(s.target))
			if _, err := l.segsOut.Write(b); err != nil {
				return 0, err
			}
		}
		remap[i] = k
	}
	move := func(seg uint32, pos, granule *uint64) uint32 {
		*granule += l.nSums
		if seg == segInline {
			*pos += l.inline.n
			return seg
		}
		return remap[seg]
	}
	b := l.buf[:0]
	for i := range d.entries {
		e := &d.entries[i]
		switch e.seg {
		case segZeros:
		case segPieces:
			e.pos += l.nPieces
		default:
			e.seg = move(e.seg, &e.pos, &e.granule)
		}
		at := entrySize * ids[i]
		e.encode(l.entries[at:at])
		l.located[ids[i]>>6] |= 1 << (ids[i] & 63)
	}
	for i := range d.pieces {
		p := &d.pieces[i]
		p.seg = move(p.seg, &p.pos, &p.granule)
		b = p.encode(b)
	}
	if _, err := l.pieces.Write(b); err != nil {
		return 0, err
	}
	b = b[:0]
	for _, s := range d.sums {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	if _, err := l.sums.Write(b); err != nil {
		return 0, err
	}
	l.buf = b
	if _, err := l.inline.Write(d.inline); err != nil {
		return 0, err
	}
	firstPiece = l.nPieces
	l.nPieces += uint64(len(d.pieces))
	l.nSums += uint64(len(d.sums))
	return firstPiece, nil
}

// reset empties d for further use.
func (d *deriver) reset() {
	d.entries, d.pieces, d.sums, d.inline, d.segs = d.entries[:0], d.pieces[:0], d.sums[:0], d.inline[:0], d.segs[:0]
	clear(d.index)
}
