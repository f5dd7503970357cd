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
	c, err := t.cursor(p, dkey, planeExtent)
	if err != nil {
		return nil, err
	}
	defer c.close()
	a, ok, err := c.array(at, p, cover, dkey, akey)
	if err != nil {
		return nil, err
	}
	var out []object.Extent
	if ok && a.chunkOf(c.it.Key()) < off/ChunkSize {
		ok = c.it.SeekPrefixGE(appendChunk(bytes.Clone(a.prefix), off/ChunkSize))
	}
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

// array gathers the punches of an array at or below an epoch. ok says that the
// cursor is then on the first row of its first chunk; where nothing is punched
// one seek does it all.
func (c cursor) array(at object.Epoch, p target.Place, cover version, dkey, akey []byte) (a array, ok bool, err error) {
	prefix, n := appendAkey(make([]byte, 0, 160), planeExtent, p, dkey, akey)
	a.prefix, a.holes.cover = prefix, cover
	seek := append(make([]byte, 0, 160), prefix[:n]...)
	ok = c.it.SeekPrefixGE(appendAt(append(seek, tagDkey), at))
	if ok && c.it.Key()[n] == tagDkey {
		if v := versionOf(c.it.Key()); v.newer(cover) {
			a.holes.cover = v
		}
		ok = c.it.SeekPrefixGE(appendAt(append(append(seek[:0], prefix...), subHole), at))
	} else if ok && !a.owns(c.it.Key()) {
		ok = c.it.SeekPrefixGE(appendAt(append(append(seek[:0], prefix...), subHole), at))
	}
	if !ok || !a.owns(c.it.Key()) {
		return a, false, c.err()
	}
	if c.it.Key()[len(prefix)] == subHole {
		if ok, err = c.scanHoles(&a, at, a.holes.cover); err != nil {
			return a, false, err
		}
	}
	return a, ok && a.owns(c.it.Key()), c.err()
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
	c, err := t.cursor(p, dkey, planeExtent)
	if err != nil {
		return 0, err
	}
	defer c.close()
	return c.arrayEnd(at, p, cover, dkey, akey)
}

// arrayEnd looks at the first chunk, since most arrays have no other, then
// walks from the last one back until something shows.
func (c cursor) arrayEnd(at object.Epoch, p target.Place, cover version, dkey, akey []byte) (uint64, error) {
	a, ok, err := c.array(at, p, cover, dkey, akey)
	if err != nil || !ok {
		return 0, err
	}
	show := func(chunk uint64) (end uint64, more bool, err error) {
		if more, err = c.loadChunk(&a, at, chunk); err != nil {
			return 0, false, err
		}
		a.paint.reset(chunkSpan(chunk))
		a.paint.overlay(at, &a.holes, len(a.recs), a.span)
		if ps := a.paint.pieces(); len(ps) > 0 {
			end = ps[len(ps)-1].hi
		}
		return end, more && a.owns(c.it.Key()), nil
	}
	end, more, err := show(a.chunkOf(c.it.Key()))
	if err != nil || !more {
		return end, err
	}
	from := keyEnd(a.prefix)
	for c.it.SeekLT(from) && a.owns(c.it.Key()) && c.it.Key()[len(a.prefix)] == subChunk {
		chunk := a.chunkOf(c.it.Key())
		from = appendChunk(bytes.Clone(a.prefix), chunk)
		if !c.it.SeekGE(from) {
			break
		}
		if end, _, err := show(chunk); err != nil || end > 0 {
			return end, err
		}
	}
	return 0, c.err()
}
