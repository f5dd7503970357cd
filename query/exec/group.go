package exec

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"daos/internal/fault"
	"daos/internal/half"
	"daos/query/expr"
)

// groups collects the state of aggregates by group.
type groups struct {
	p     *plan
	index map[string]int // encoded key -> number
	small []int32        // number + 1 by value, where the one key is a narrow integer
	keys  [][]byte       // encoded, by number
	aggs  []state
	ids   []int32 // scratch: the group of each row
	key   []byte
}

// state is one aggregate over all groups.
type state struct {
	count []uint64
	hi    []int64 // sums of integers have 128 bits
	lo    []uint64
	sum   []float64
	best  [][]byte // min, max; nil: none yet
}

func newGroups(p *plan) *groups {
	g := &groups{p: p, index: map[string]int{}, aggs: make([]state, len(p.aggs))}
	if len(p.group) == 1 {
		switch p.schema[p.group[0]].Type {
		case expr.Bool, expr.Uint8, expr.Int8:
			g.small = make([]int32, 1<<8)
		case expr.Uint16, expr.Int16:
			g.small = make([]int32, 1<<16)
		case expr.Int32, expr.Int64, expr.Uint32, expr.Uint64:
			g.small = make([]int32, 1<<16) // for values below it
		}
	}
	return g
}

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
	k := bytes.Clone(key)
	g.keys = append(g.keys, k)
	g.index[string(k)] = n
	for i := range g.aggs {
		g.aggs[i].grow(n + 1)
	}
	return n, nil
}

func (s *state) grow(n int) {
	for len(s.count) < n {
		s.count = append(s.count, 0)
		s.hi = append(s.hi, 0)
		s.lo = append(s.lo, 0)
		s.sum = append(s.sum, 0)
		s.best = append(s.best, nil)
	}
}

// add takes the rows of a chunk: cols are the columns of the groups and then
// those of the aggregates (an empty one for count(*)).
func (g *groups) add(cols []expr.Vector, n int) error {
	if cap(g.ids) < n {
		g.ids = make([]int32, n)
	}
	ids := g.ids[:n]
	if err := g.identify(cols, ids); err != nil {
		return err
	}
	for i := range g.aggs {
		v := &cols[len(g.p.group)+i]
		col := g.p.aggs[i]
		if col < 0 {
			count := g.aggs[i].count
			for _, id := range ids {
				count[id]++
			}
			continue
		}
		if err := g.aggs[i].add(g.p.Aggregates[i], &g.p.schema[col], v, ids); err != nil {
			return err
		}
	}
	return nil
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
	if g.small == nil || !g.identifySmall(&cols[0], ids) {
		return g.identifyAny(cols, ids)
	}
	return nil
}

// identifySmall looks values up in a table; false if one is not small.
func (g *groups) identifySmall(v *expr.Vector, ids []int32) bool {
	f := &g.p.schema[g.p.group[0]]
	w := f.Type.Size()
	limit := uint64(len(g.small))
	for i := range ids {
		if !valid(v, i) {
			return false
		}
		var x uint64
		switch w {
		case 1:
			x = uint64(v.Values[i])
		case 2:
			x = uint64(binary.LittleEndian.Uint16(v.Values[2*i:]))
		case 4:
			x = uint64(binary.LittleEndian.Uint32(v.Values[4*i:]))
		default:
			x = binary.LittleEndian.Uint64(v.Values[8*i:])
		}
		if x >= limit {
			return false
		}
		n := g.small[x]
		if n == 0 {
			g.key = encode(g.key[:0], f, v, i)
			k, err := g.number(g.key)
			if err != nil {
				return false // identifyAny meets the same and says it
			}
			n = int32(k) + 1
			g.small[x] = n
		}
		ids[i] = n - 1
	}
	return true
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

func (s *state) add(a Aggregate, f *expr.Field, v *expr.Vector, ids []int32) error {
	switch a.Fn {
	case Count:
		for i, id := range ids {
			if valid(v, i) {
				s.count[id]++
			}
		}
	case Min, Max:
		for i, id := range ids {
			if !valid(v, i) {
				continue
			}
			b := cell(f, v, i)
			if best := s.best[id]; best != nil {
				if c := compareCells(f.Type, b, best); a.Fn == Min && c >= 0 || a.Fn == Max && c <= 0 {
					continue
				}
			}
			s.best[id] = append(make([]byte, 0, len(b)), b...)
		}
	default:
		w := f.Type.Size()
		float := f.Type >= expr.Float16 && f.Type <= expr.Float64
		for i, id := range ids {
			if !valid(v, i) {
				continue
			}
			s.count[id]++
			b := v.Values[i*w : (i+1)*w]
			switch {
			case f.Type == expr.Float64:
				s.sum[id] += math.Float64frombits(binary.LittleEndian.Uint64(b))
			case float:
				s.sum[id] += number(f.Type, b)
			case f.Type == expr.Uint64:
				s.addInt(id, 0, binary.LittleEndian.Uint64(b))
			default:
				x := integer(f.Type, b)
				s.addInt(id, x>>63, uint64(x))
			}
		}
	}
	return nil
}

func (s *state) addInt(id int32, hi int64, lo uint64) {
	sum, carry := bits.Add64(s.lo[id], lo, 0)
	s.lo[id] = sum
	s.hi[id] += hi + int64(carry)
}

// merge takes the groups of the next part of the table.
func (g *groups) merge(o *groups) error {
	for m, key := range o.keys {
		n, err := g.number(key)
		if err != nil {
			return err
		}
		for i := range g.aggs {
			s, t := &g.aggs[i], &o.aggs[i]
			s.count[n] += t.count[m]
			s.sum[n] += t.sum[m]
			s.addInt(int32(n), t.hi[m], t.lo[m])
			b := t.best[m]
			if b == nil {
				continue
			}
			if best := s.best[n]; best != nil {
				c := compareCells(g.p.schema[g.p.aggs[i]].Type, b, best)
				if fn := g.p.Aggregates[i].Fn; fn == Min && c >= 0 || fn == Max && c <= 0 {
					continue
				}
			}
			s.best[n] = b
		}
	}
	return nil
}

// rows makes the result, ordered by key.
func (g *groups) rows() (*Rows, error) {
	if len(g.p.group) == 0 && len(g.keys) == 0 {
		if _, err := g.number(nil); err != nil { // an aggregate of nothing is one row
			return nil, err
		}
	}
	order := make([]int, len(g.keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(g.keys[a], g.keys[b]) })
	out := &Rows{N: len(order), Columns: make([]expr.Vector, len(g.p.result))}
	for i, n := range order {
		key := g.keys[n]
		for c, col := range g.p.group {
			key = decode(key, &g.p.schema[col], &out.Columns[c], i)
		}
	}
	for a := range g.aggs {
		v := &out.Columns[len(g.p.group)+a]
		f := &g.p.result[len(g.p.group)+a]
		if variable(f) {
			v.Offsets = []uint64{0}
		}
		for i, n := range order {
			if err := g.aggs[a].result(g.p.Aggregates[a], f, n, v, i); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// result appends the value of one aggregate of one group.
func (s *state) result(a Aggregate, f *expr.Field, n int, v *expr.Vector, have int) error {
	null := false
	var word uint64
	switch a.Fn {
	case Count:
		word = s.count[n]
	case Min, Max:
		if null = s.best[n] == nil; !null {
			v.Values = append(v.Values, s.best[n]...)
		} else {
			v.Values = append(v.Values, make([]byte, width(f))...)
		}
	case Sum:
		if null = s.count[n] == 0; f.Type == expr.Float64 {
			word = math.Float64bits(s.sum[n])
			break
		}
		if word = s.lo[n]; f.Type == expr.Int64 && s.hi[n] != int64(word)>>63 || f.Type == expr.Uint64 && s.hi[n] != 0 {
			return fault.New(fault.Invalid, "query.scan", a.String(), "the sum does not fit into 64 bits").Do("take avg, or use daos query sql")
		}
	case Avg:
		if null = s.count[n] == 0; !null {
			sum := s.sum[n]
			if s.hi[n] != 0 || s.lo[n] != 0 {
				sum = math.Ldexp(float64(s.hi[n]), 64) + float64(s.lo[n])
				if s.hi[n] == int64(s.lo[n])>>63 {
					sum = float64(int64(s.lo[n]))
				}
			}
			word = math.Float64bits(sum / float64(s.count[n]))
		}
	}
	if a.Fn != Min && a.Fn != Max {
		v.Values = binary.LittleEndian.AppendUint64(v.Values, word)
	}
	if v.Offsets != nil {
		v.Offsets = append(v.Offsets, uint64(len(v.Values)))
	}
	if null || v.Valid != nil {
		for len(v.Valid) < have {
			v.Valid = append(v.Valid, 1)
		}
		if null {
			v.Valid = append(v.Valid, 0)
		} else {
			v.Valid = append(v.Valid, 1)
		}
	}
	return nil
}
