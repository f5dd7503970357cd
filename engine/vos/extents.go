package vos

import (
	"bytes"
	"encoding/binary"
	"math"

	"daos/engine/object"
	"daos/engine/target"
)

// Extents returns the visible pieces of [off, off+n), in order of offset.
// Neighbours that lie side by side in one segment come as one record.
func (t *Target) Extents(at object.Epoch, p target.Place, dkey, akey []byte, off, n uint64) ([]object.Extent, error) {
	if err := t.enter(); err != nil {
		return nil, err
	}
	defer t.leave()
	if n == 0 {
		return nil, nil
	}
	end := uint64(math.MaxUint64)
	if n < end-off {
		end = off + n
	}
	cover, err := t.objectCover(at, p)
	if err != nil {
		return nil, err
	}
	c, err := t.cursor()
	if err != nil {
		return nil, err
	}
	defer c.close()
	a, err := c.array(at, p, cover, dkey, akey)
	if err != nil {
		return nil, err
	}
	var out []object.Extent
	ok := c.it.SeekPrefixGE(appendChunk(bytes.Clone(a.prefix), off/ChunkSize))
	for ok && a.owns(c.it.Key()) {
		chunk := a.chunkOf(c.it.Key())
		if chunk > (end-1)/ChunkSize {
			break
		}
		if ok, err = c.loadChunk(&a, at, chunk); err != nil {
			return nil, err
		}
		lo, hi := chunkSpan(chunk)
		a.paint.reset(max(lo, off), min(hi, end))
		a.paint.overlay(at, &a.holes, len(a.recs), a.span)
		for _, pc := range a.paint.pieces() {
			r := a.recs[pc.at]
			out = appendExtent(out, object.Extent{
				Offset: pc.lo, Length: pc.hi - pc.lo, Skip: pc.lo - r.rec.offset, Record: r.rec.object(t.opts.ID),
			})
		}
	}
	return out, c.err()
}

func chunkSpan(chunk uint64) (lo, hi uint64) {
	lo = chunk * ChunkSize
	if hi = lo + ChunkSize; hi < lo {
		hi = math.MaxUint64
	}
	return lo, hi
}

// appendExtent joins e to the last extent where both records lie side by side.
func appendExtent(out []object.Extent, e object.Extent) []object.Extent {
	if len(out) == 0 || e.Record.Inline != nil || e.Skip != 0 {
		return append(out, e)
	}
	l := &out[len(out)-1]
	if l.Record.Inline == nil && l.Record.Segment == e.Record.Segment &&
		l.Skip+l.Length == l.Record.Length && l.Record.Length%object.Granule == 0 &&
		l.Record.Pos+l.Record.Length == e.Record.Pos && l.Offset+l.Length == e.Offset &&
		l.Record.Length+e.Record.Length <= object.MaxExtent {
		l.Length += e.Length
		l.Record.Length += e.Record.Length
		l.Record.Sums = append(l.Record.Sums, e.Record.Sums...)
		return out
	}
	return append(out, e)
}

// array is one byte array being read: its holes and the records of one chunk.
type array struct {
	prefix []byte // up to and with the akey
	holes  holes
	recs   []versionRecord // newest first
	bytes  []byte          // what recs alias
	paint  painter
}

type versionRecord struct {
	v   version
	rec record
}

func (a *array) span(i int) (version, span) {
	r := &a.recs[i]
	return r.v, span{r.rec.offset, r.rec.end()}
}

func (a *array) owns(key []byte) bool { return bytes.HasPrefix(key, a.prefix) }

func (a *array) chunkOf(key []byte) uint64 {
	return binary.BigEndian.Uint64(key[len(a.prefix)+1:])
}

// array gathers the punches of an array at or below an epoch and leaves the
// cursor behind them.
func (c cursor) array(at object.Epoch, p target.Place, cover version, dkey, akey []byte) (a array, err error) {
	prefix, n := appendAkey(make([]byte, 0, 160), planeExtent, p, dkey, akey)
	a.prefix = prefix
	if a.holes.cover, err = c.dkeyCover(at, prefix[:n], cover); err != nil {
		return a, err
	}
	seek := appendAt(append(bytes.Clone(prefix), subHole), at)
	for ok := c.it.SeekPrefixGE(seek); ok; ok = c.it.Next() {
		k := c.it.Key()
		if !a.owns(k) || k[len(prefix)] != subHole {
			break
		}
		v := versionOf(k)
		if a.holes.cover.newer(v) {
			break // hidden, and so are all older ones
		}
		r, err := c.record(true)
		if err != nil {
			return a, err
		}
		if r.typ == typePunch {
			a.holes.cover = v
			break
		}
		a.holes.list = append(a.holes.list, hole{r.offset, r.end(), v})
	}
	return a, c.err()
}

// loadChunk reads the records of the chunk under the cursor that an epoch may
// see, newest first, and leaves the cursor behind the chunk.
func (c cursor) loadChunk(a *array, at object.Epoch, chunk uint64) (ok bool, err error) {
	a.recs, a.bytes = a.recs[:0], a.bytes[:0]
	for ok = true; ok; ok = c.it.Next() {
		k := c.it.Key()
		if !a.owns(k) || a.chunkOf(k) != chunk {
			break
		}
		v := versionOf(k)
		if v.epoch > at || a.holes.cover.newer(v) {
			continue
		}
		val, err := c.it.ValueAndErr()
		if err != nil {
			return false, c.t.indexError("vos.read", err)
		}
		// A grown buffer leaves earlier records on the old one: still theirs.
		from := len(a.bytes)
		a.bytes = append(a.bytes, val...)
		r, okRec := decodeRecord(a.bytes[from:len(a.bytes):len(a.bytes)], true)
		if !okRec {
			return false, c.t.badKey("vos.read", k)
		}
		if r.typ == typeInline {
			if _, err := c.record(true); err != nil { // verifies the payload
				return false, err
			}
		}
		a.recs = append(a.recs, versionRecord{v, r})
	}
	return ok, c.err()
}

// ArrayEnd is the end of the last visible byte of an array, 0 if there is none.
func (t *Target) ArrayEnd(at object.Epoch, p target.Place, dkey, akey []byte) (uint64, error) {
	if err := t.enter(); err != nil {
		return 0, err
	}
	defer t.leave()
	cover, err := t.objectCover(at, p)
	if err != nil {
		return 0, err
	}
	c, err := t.cursor()
	if err != nil {
		return 0, err
	}
	defer c.close()
	return c.arrayEnd(at, p, cover, dkey, akey)
}

// arrayEnd walks the chunks from the last one back until something shows.
func (c cursor) arrayEnd(at object.Epoch, p target.Place, cover version, dkey, akey []byte) (uint64, error) {
	a, err := c.array(at, p, cover, dkey, akey)
	if err != nil {
		return 0, err
	}
	it, err := c.t.db.NewIter(iterOptions(append(bytes.Clone(a.prefix), subChunk), keyEnd(a.prefix)))
	if err != nil {
		return 0, c.t.indexError("vos.read", err)
	}
	b := cursor{c.t, it}
	defer b.close()
	for ok := it.Last(); ok; {
		chunk := a.chunkOf(it.Key())
		start := appendChunk(bytes.Clone(a.prefix), chunk)
		if !it.SeekGE(start) {
			break
		}
		if _, err := b.loadChunk(&a, at, chunk); err != nil {
			return 0, err
		}
		a.paint.reset(chunkSpan(chunk))
		a.paint.overlay(at, &a.holes, len(a.recs), a.span)
		if ps := a.paint.pieces(); len(ps) > 0 {
			return ps[len(ps)-1].hi, nil
		}
		ok = it.SeekLT(start)
	}
	return 0, b.err()
}
