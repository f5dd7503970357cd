package exec

import (
	"bytes"
	"encoding/binary"
	"math"

	"daos/internal/fault"
	"daos/internal/half"
	"daos/query/expr"
)

// encode appends a value so that equal values, and only those, are equal bytes
// and their order is that of the values, nulls last.
func encode(out []byte, f *expr.Field, v *expr.Vector, row int) []byte {
	if !valid(v, row) {
		return append(out, 1)
	}
	out = append(out, 0)
	b := cell(f, v, row)
	switch f.Type {
	case expr.Text, expr.Bytes:
		for _, c := range b {
			if out = append(out, c); c == 0 {
				out = append(out, 0xff)
			}
		}
		return append(out, 0, 0)
	case expr.Float16, expr.Float32, expr.Float64:
		x := number(f.Type, b)
		if x == 0 {
			x = 0 // not -0
		}
		if math.IsNaN(x) {
			return binary.BigEndian.AppendUint64(out, math.MaxUint64)
		}
		u := math.Float64bits(x)
		if u>>63 != 0 {
			u = ^u
		} else {
			u |= 1 << 63
		}
		return binary.BigEndian.AppendUint64(out, u)
	case expr.Uint64:
		return binary.BigEndian.AppendUint64(out, binary.LittleEndian.Uint64(b))
	}
	return binary.BigEndian.AppendUint64(out, uint64(integer(f.Type, b))^1<<63)
}

// decode puts an encoded value back into a column.
func decode(key []byte, f *expr.Field, v *expr.Vector, have int) []byte {
	null := key[0] == 1
	key = key[1:]
	if null {
		for len(v.Valid) < have {
			v.Valid = append(v.Valid, 1)
		}
		v.Valid = append(v.Valid, 0)
	} else if v.Valid != nil {
		v.Valid = append(v.Valid, 1)
	}
	if f.Type == expr.Text || f.Type == expr.Bytes {
		if v.Offsets == nil {
			v.Offsets = []uint64{0}
		}
		if !null {
			for {
				i := bytes.IndexByte(key, 0)
				v.Values = append(v.Values, key[:i]...)
				if key[i+1] == 0 {
					key = key[i+2:]
					break
				}
				v.Values = append(v.Values, 0)
				key = key[i+2:]
			}
		}
		v.Offsets = append(v.Offsets, uint64(len(v.Values)))
		return key
	}
	w := f.Type.Size()
	var out [8]byte
	if !null {
		u := binary.BigEndian.Uint64(key)
		key = key[8:]
		switch f.Type {
		case expr.Float16, expr.Float32, expr.Float64:
			x := math.NaN()
			switch {
			case u == math.MaxUint64:
			case u>>63 != 0:
				x = math.Float64frombits(u &^ (1 << 63))
			default:
				x = math.Float64frombits(^u)
			}
			switch w {
			case 8:
				binary.LittleEndian.PutUint64(out[:], math.Float64bits(x))
			case 4:
				binary.LittleEndian.PutUint32(out[:], math.Float32bits(float32(x)))
			default:
				binary.LittleEndian.PutUint16(out[:], half.Exact(float32(x)))
			}
		case expr.Uint64:
			binary.LittleEndian.PutUint64(out[:], u)
		default:
			binary.LittleEndian.PutUint64(out[:], u^1<<63)
		}
	}
	v.Values = append(v.Values, out[:w]...)
	return key
}

func (g *groups) number(key []byte) (int, error) {
	if n, ok := g.index[string(key)]; ok {
		return n, nil
	}
	n := len(g.keys)
	if n >= MaxGroups {
		return 0, fault.New(fault.TooBig, "query.scan", "groups", "over %d groups", MaxGroups).Do("group by fewer columns, or use daos query sql")
	}
	if g.bytes += uint64(len(key)); g.bytes > MaxKeptBytes {
		return 0, fault.New(fault.TooBig, "query.scan", "groups", "the keys of %d groups take over %d MiB", n, MaxKeptBytes>>20).Do("group by shorter columns, or use daos query sql")
	}
	k := bytes.Clone(key)
	g.keys = append(g.keys, k)
	g.index[string(k)] = n
	for i := range g.aggs {
		g.aggs[i].grow(n + 1)
	}
	return n, nil
}

// identify sets the group of each row.
func (g *groups) identify(cols []expr.Vector, ids []int32) error {
	if len(g.p.group) == 0 {
		n, err := g.number(nil)
		for i := range ids {
			ids[i] = int32(n)
		}
		return err
	}
	if len(g.p.group) > 1 {
		return g.identifyAny(cols, ids)
	}
	v, n := &cols[0], len(ids)
	switch {
	case g.texts != nil:
		return g.identifyTexts(v, ids)
	case g.small == nil:
		return g.identifyAny(cols, ids)
	}
	switch g.p.schema[g.p.group[0]].Type.Size() {
	case 1:
		return identifyInts(g, expr.View[uint8](v.Values, n), v, ids)
	case 2:
		return identifyInts(g, expr.View[uint16](v.Values, n), v, ids)
	case 4:
		return identifyInts(g, expr.View[uint32](v.Values, n), v, ids)
	}
	return identifyInts(g, expr.View[uint64](v.Values, n), v, ids)
}

// one is the group of one row, by its one key.
func (g *groups) one(v *expr.Vector, row int) (int32, error) {
	g.key = encode(g.key[:0], &g.p.schema[g.p.group[0]], v, row)
	n, err := g.number(g.key)
	return int32(n), err
}

// nulls is the group of nulls.
func (g *groups) nulls(v *expr.Vector, row int) (int32, error) {
	if g.null == 0 {
		n, err := g.one(v, row)
		if err != nil {
			return 0, err
		}
		g.null = n + 1
	}
	return g.null - 1, nil
}

// identifyInts looks values up in a table, large ones in a map.
func identifyInts[T uint8 | uint16 | uint32 | uint64](g *groups, values []T, v *expr.Vector, ids []int32) (err error) {
	limit := uint64(len(g.small))
	for i, x := range values {
		if v.Valid != nil && v.Valid[i] == 0 {
			if ids[i], err = g.nulls(v, i); err != nil {
				return err
			}
			continue
		}
		u := uint64(x)
		if u < limit {
			n := g.small[u]
			if n == 0 {
				if n, err = g.one(v, i); err != nil {
					return err
				}
				n++
				g.small[u] = n
			}
			ids[i] = n - 1
			continue
		}
		n, ok := g.ints[u]
		if !ok {
			if n, err = g.one(v, i); err != nil {
				return err
			}
			g.ints[u] = n
		}
		ids[i] = n
	}
	return nil
}

// identifyTexts looks texts up in a map, but those that repeat.
func (g *groups) identifyTexts(v *expr.Vector, ids []int32) (err error) {
	var last []byte
	for i := range ids {
		if v.Valid != nil && v.Valid[i] == 0 {
			if ids[i], err = g.nulls(v, i); err != nil {
				return err
			}
			last = nil
			continue
		}
		b := v.Values[v.Offsets[i]:v.Offsets[i+1]]
		if last != nil && bytes.Equal(b, last) {
			ids[i] = ids[i-1]
			continue
		}
		n, ok := g.texts[string(b)]
		if !ok {
			if n, err = g.one(v, i); err != nil {
				return err
			}
			g.texts[string(b)] = n
		}
		ids[i], last = n, b
	}
	return nil
}

func (g *groups) identifyAny(cols []expr.Vector, ids []int32) error {
	for i := range ids {
		g.key = g.key[:0]
		for c, col := range g.p.group {
			g.key = encode(g.key, &g.p.schema[col], &cols[c], i)
		}
		n, err := g.number(g.key)
		if err != nil {
			return err
		}
		ids[i] = int32(n)
	}
	return nil
}
