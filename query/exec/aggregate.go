package exec

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"
	"runtime"

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

// wide reports whether DuckDB averages such integers as long doubles: those that
// it does not widen to 16 bits.
func wide(t expr.Type) bool { return t != expr.Int8 && t != expr.Int16 && t != expr.Uint8 }

// longDouble is the precision of C's long double.
func longDouble() uint {
	if runtime.GOARCH == "amd64" {
		return 64
	}
	return 113
}

// mean is the average of the integers of a group as DuckDB has it: rounded as a
// quotient of long doubles, and then as a double.
func (s *state) mean(n int, wide bool) float64 {
	if !wide {
		return float64(int64(s.lo[n])) / float64(s.count[n])
	}
	sum := new(big.Int).SetUint64(s.lo[n])
	sum.Add(sum, new(big.Int).Lsh(big.NewInt(s.hi[n]), 64))
	q := new(big.Float).SetPrec(longDouble()).SetInt(sum)
	out, _ := q.Quo(q, new(big.Float).SetPrec(longDouble()).SetUint64(s.count[n])).Float64()
	return out
}

// result appends the value of one aggregate of one group; col is the column that
// it is of, nil for a count of rows.
func (s *state) result(a Aggregate, col, f *expr.Field, n int, v *expr.Vector, have int) error {
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
			if word = math.Float64bits(s.sum[n] / float64(s.count[n])); col != nil && col.Type < expr.Float16 {
				word = math.Float64bits(s.mean(n, wide(col.Type)))
			}
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
