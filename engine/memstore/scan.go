package memstore

import (
	"context"
	"encoding/binary"
	"slices"
	"sort"

	"daos/engine/object"
	"daos/engine/placement"
	"daos/internal/fault"
)

// Anchors implements object.Scanner.
func (s *Store) Anchors(n int) []object.Anchor { return placement.Split(n) }

// position is the place of a row in the scan's order.
type position struct {
	hash       uint32
	oid        object.ID
	group      uint16
	dkey, akey string
}

// A position in an anchor: hash, oid, group, length of dkey, dkey, akey.
func (p position) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, p.hash)
	id := p.oid.Bytes()
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint16(b, p.group)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.dkey)))
	return append(append(b, p.dkey...), p.akey...)
}

func decodePosition(b []byte, span placement.Span) (position, error) {
	bad := fault.New(fault.Invalid, "scan.anchor", "anchor", "damaged position").Do("start with a fresh anchor")
	if len(b) < 24 {
		return position{}, bad
	}
	p := position{
		hash: binary.BigEndian.Uint32(b), oid: object.IDFromBytes(b[4:]), group: binary.BigEndian.Uint16(b[20:]),
	}
	n := int(binary.BigEndian.Uint16(b[22:]))
	if len(b) < 24+n || p.hash < span.From || p.hash > span.To {
		return position{}, bad
	}
	p.dkey, p.akey = string(b[24:24+n]), string(b[24+n:])
	return p, nil
}

func (b *bucket) compare(hash uint32, oid object.ID, group uint16) int {
	switch {
	case b.hash != hash:
		if b.hash < hash {
			return -1
		}
		return 1
	case b.oid != oid:
		return b.oid.Compare(oid)
	}
	return int(b.group) - int(group)
}

// Scan implements object.Scanner.
func (s *Store) Scan(ctx context.Context, at object.Epoch, a object.Anchor, fn func(object.Row) bool) (object.Anchor, error) {
	span, ok, err := placement.Decode(a)
	if err != nil {
		return a, err
	}
	if !ok {
		return object.Anchor{}, nil
	}
	pos := position{hash: span.From}
	if span.Resume != nil {
		if pos, err = decodePosition(span.Resume, span); err != nil {
			return a, err
		}
	}
	for {
		rows, ends, done, err := s.scanChunk(ctx, at, span.To, pos)
		if err != nil {
			return span.Encode(), err
		}
		for i, r := range rows {
			if !fn(r) {
				return span.Encode(), nil
			}
			pos = ends[i]
			span.Resume = pos.encode()
		}
		if done {
			return object.Anchor{}, nil
		}
	}
}

// scanChunk collects rows after pos, up to hash to.
func (s *Store) scanChunk(ctx context.Context, at object.Epoch, to uint32, pos position) (rows []object.Row, ends []position, done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.readable(ctx, at); err != nil {
		return nil, nil, false, err
	}
	if s.dirty {
		slices.SortFunc(s.buckets, func(x, y *bucket) int { return x.compare(y.hash, y.oid, y.group) })
		s.dirty = false
	}
	i := sort.Search(len(s.buckets), func(i int) bool { return s.buckets[i].compare(pos.hash, pos.oid, pos.group) >= 0 })
	for ; i < len(s.buckets) && s.buckets[i].hash <= to; i++ {
		b := s.buckets[i]
		here := b.compare(pos.hash, pos.oid, pos.group) == 0
		floor := cover(b.obj.punches, at)
		keys := b.order.sorted()
		j := 0
		if here {
			j = sort.SearchStrings(keys, pos.dkey)
		}
		for ; j < len(keys); j++ {
			d := b.obj.dkeys[keys[j]]
			dfloor := later(floor, cover(d.punches, at))
			for _, k := range d.order.sorted() {
				if here && keys[j] == pos.dkey && k <= pos.akey {
					continue
				}
				v, ok := d.akeys[k].visible(dfloor, at)
				if !ok {
					continue
				}
				row := object.Row{OID: b.oid, Dkey: []byte(keys[j]), Akey: []byte(k), Epoch: v.epoch, Size: uint64(len(v.data))}
				if len(v.data) <= object.InlineMax {
					row.Value = append([]byte{}, v.data...)
				}
				rows = append(rows, row)
				ends = append(ends, position{b.hash, b.oid, b.group, keys[j], k})
			}
			if len(rows) >= chunk {
				return rows, ends, false, nil
			}
		}
	}
	return rows, ends, true, nil
}

// CountScan implements object.Scanner.
func (s *Store) CountScan(ctx context.Context, at object.Epoch, a object.Anchor) (int64, error) {
	var n int64
	_, err := s.Scan(ctx, at, a, func(object.Row) bool { n++; return true })
	return n, err
}

// Segment implements object.Bulk: there are none.
func (s *Store) Segment(target uint16, segment uint64) (object.Mapping, error) {
	return nil, fault.New(fault.Unsupported, "object.segment", "dataset", "a store in memory has no segments").
		Do("read through ReadArray")
}

// Generation implements object.Bulk: records never move.
func (s *Store) Generation() uint64 { return 1 }
