package exec

import (
	"bytes"
	"encoding/binary"

	"daos/query/expr"
)

// extremes is the least or the greatest value of each group; of equal ones the
// first. NaN is the greatest number.
type extremes interface {
	grow(n int)
	add(v *expr.Vector, ids []int32, greatest bool)
	// merge takes what another one, of the same column, has of a group.
	merge(o extremes, from, to int, greatest bool)
	// cell is the value of a group, nil if it has none.
	cell(n int) []byte
}

func newExtremes(f *expr.Field) extremes {
	switch f.Type {
	case expr.Bool, expr.Uint8:
		return &numbers[uint8]{}
	case expr.Int8:
		return &numbers[int8]{}
	case expr.Int16:
		return &numbers[int16]{}
	case expr.Uint16:
		return &numbers[uint16]{}
	case expr.Int32:
		return &numbers[int32]{}
	case expr.Uint32:
		return &numbers[uint32]{}
	case expr.Int64, expr.Time:
		return &numbers[int64]{}
	case expr.Uint64:
		return &numbers[uint64]{}
	case expr.Float32:
		return &numbers[float32]{}
	case expr.Float64:
		return &numbers[float64]{}
	}
	return &cells{f: f}
}

type numeric interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// numbers are extremes of numbers.
type numbers[T numeric] struct {
	best []T
	has  []bool
}

func (e *numbers[T]) grow(n int) {
	for len(e.best) < n {
		var zero T
		e.best, e.has = append(e.best, zero), append(e.has, false)
	}
}

func (e *numbers[T]) add(v *expr.Vector, ids []int32, greatest bool) {
	for i, x := range expr.View[T](v.Values, len(ids)) {
		if id := ids[i]; (v.Valid == nil || v.Valid[i] != 0) && (!e.has[id] || beats(x, e.best[id], greatest)) {
			e.best[id], e.has[id] = x, true
		}
	}
}

// beats reports whether x is below y, or above it; only a NaN is not itself.
func beats[T numeric](x, y T, greatest bool) bool {
	if greatest {
		return x > y || x != x && y == y //nolint:gocritic,staticcheck // NaN
	}
	return x < y || x == x && y != y //nolint:gocritic,staticcheck // NaN
}

func (e *numbers[T]) merge(o extremes, from, to int, greatest bool) {
	p := o.(*numbers[T])
	if p.has[from] && (!e.has[to] || beats(p.best[from], e.best[to], greatest)) {
		e.best[to], e.has[to] = p.best[from], true
	}
}

func (e *numbers[T]) cell(n int) []byte {
	if !e.has[n] {
		return nil
	}
	b, _ := binary.Append(nil, binary.LittleEndian, e.best[n]) // it has a fixed size
	return b
}

// cells are extremes of anything, as they lie in memory.
type cells struct {
	f     *expr.Field
	best  [][]byte // nil: none yet
	bytes uint64   // of them
}

func (e *cells) grow(n int) {
	for len(e.best) < n {
		e.best = append(e.best, nil)
	}
}

func (e *cells) add(v *expr.Vector, ids []int32, greatest bool) {
	for i, id := range ids {
		if valid(v, i) {
			if b := cell(e.f, v, i); e.wants(b, int(id), greatest) {
				e.bytes -= uint64(cap(e.best[id]))
				e.best[id] = append(e.best[id][:0], b...)
				if e.best[id] == nil {
					e.best[id] = []byte{}
				}
				e.bytes += uint64(cap(e.best[id]))
			}
		}
	}
}

func (e *cells) wants(b []byte, n int, greatest bool) bool {
	if e.best[n] == nil {
		return true
	}
	c := compareCells(e.f.Type, b, e.best[n])
	return greatest && c > 0 || !greatest && c < 0
}

func (e *cells) merge(o extremes, from, to int, greatest bool) {
	if b := o.(*cells).best[from]; b != nil && e.wants(b, to, greatest) {
		e.bytes -= uint64(cap(e.best[to]))
		e.best[to] = bytes.Clone(b)
		e.bytes += uint64(cap(e.best[to]))
	}
}

func (e *cells) cell(n int) []byte { return e.best[n] }
