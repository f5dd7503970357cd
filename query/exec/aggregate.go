package exec

import (
	"encoding/binary"
	"math"
	"math/bits"

	"daos/internal/fault"
	"daos/query/expr"
)

// state is one aggregate over all groups.
type state struct {
	count []uint64
	hi    []int64 // sums of integers have 128 bits
	lo    []uint64
	sum   []float64
	best  extremes // of min and max
}

func (s *state) grow(n int) {
	if s.best != nil {
		s.best.grow(n)
	}
	for len(s.count) < n {
		s.count = append(s.count, 0)
		s.hi = append(s.hi, 0)
		s.lo = append(s.lo, 0)
		s.sum = append(s.sum, 0)
	}
}

func (s *state) add(a Aggregate, f *expr.Field, v *expr.Vector, ids []int32) error {
	switch a.Fn {
	case Count:
		for i, id := range ids {
			if v.Valid == nil || v.Valid[i] != 0 {
				s.count[id]++
			}
		}
	case Min, Max:
		s.best.add(v, ids, a.Fn == Max)
		return s.fits(a)
	default:
		s.sums(f.Type, v, ids)
	}
	return nil
}

// fits is an error where the least or greatest values of all groups take too much.
func (s *state) fits(a Aggregate) error {
	if c, ok := s.best.(*cells); ok && c.bytes > MaxKeptBytes {
		return fault.New(fault.TooBig, "query.scan", a.String(), "the values of %d groups take over %d MiB", len(s.count), MaxKeptBytes>>20).
			Do("group by fewer columns, or take a column with shorter values")
	}
	return nil
}

// sums adds values up, and counts them.
func (s *state) sums(t expr.Type, v *expr.Vector, ids []int32) {
	n := len(ids)
	switch t {
	case expr.Float64:
		addFloats(s, expr.View[float64](v.Values, n), v.Valid, ids)
	case expr.Float32:
		addFloats(s, expr.View[float32](v.Values, n), v.Valid, ids)
	case expr.Int8:
		addInts(s, expr.View[int8](v.Values, n), v.Valid, ids)
	case expr.Int16:
		addInts(s, expr.View[int16](v.Values, n), v.Valid, ids)
	case expr.Int32:
		addInts(s, expr.View[int32](v.Values, n), v.Valid, ids)
	case expr.Int64:
		addInts(s, expr.View[int64](v.Values, n), v.Valid, ids)
	case expr.Uint8:
		addInts(s, expr.View[uint8](v.Values, n), v.Valid, ids)
	case expr.Uint16:
		addInts(s, expr.View[uint16](v.Values, n), v.Valid, ids)
	case expr.Uint32:
		addInts(s, expr.View[uint32](v.Values, n), v.Valid, ids)
	default:
		w := t.Size()
		for i, id := range ids {
			if !valid(v, i) {
				continue
			}
			s.count[id]++
			if b := v.Values[i*w : (i+1)*w]; t == expr.Uint64 {
				s.addInt(id, 0, binary.LittleEndian.Uint64(b))
			} else {
				s.sum[id] += number(t, b)
			}
		}
	}
}

func addFloats[T float32 | float64](s *state, v []T, valid []byte, ids []int32) {
	for i, id := range ids {
		if valid == nil || valid[i] != 0 {
			s.count[id]++
			s.sum[id] += float64(v[i])
		}
	}
}

func addInts[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32](s *state, v []T, valid []byte, ids []int32) {
	for i, id := range ids {
		if valid == nil || valid[i] != 0 {
			s.count[id]++
			x := int64(v[i])
			s.addInt(id, x>>63, uint64(x))
		}
	}
}

func (s *state) addInt(id int32, hi int64, lo uint64) {
	sum, carry := bits.Add64(s.lo[id], lo, 0)
	s.lo[id] = sum
	s.hi[id] += hi + int64(carry)
}

// result appends the value of one aggregate of one group.
func (s *state) result(a Aggregate, f *expr.Field, n int, v *expr.Vector, have int) error {
	null := false
	var word uint64
	switch a.Fn {
	case Count:
		word = s.count[n]
	case Min, Max:
		if b := s.best.cell(n); b != nil {
			v.Values = append(v.Values, b...)
		} else {
			null = true
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
