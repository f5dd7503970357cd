package exec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"daos/internal/fault"
	"daos/query/expr"
)

// randomColumn has n values of a type, few of them different, with NaN, -0,
// extremes and nulls.
func randomColumn(rng *rand.Rand, t expr.Type, n int) expr.Vector {
	var v expr.Vector
	if t == expr.Text {
		v.Offsets = []uint64{0}
	}
	for range n {
		var b [8]byte
		u := []uint64{0, 1, 2, 200, 1 << 16, 1<<16 + 1, 1 << 31, 1 << 40, 1 << 63, math.MaxUint64, 7}[rng.IntN(11)]
		switch t {
		case expr.Text:
			v.Values = append(v.Values, []string{"", "a", "a\x00", "ab", "b"}[rng.IntN(5)]...)
			v.Offsets = append(v.Offsets, uint64(len(v.Values)))
		case expr.Bool:
			b[0] = byte(u & 1)
		case expr.Float32:
			binary.LittleEndian.PutUint32(b[:], math.Float32bits([]float32{0, float32(math.Copysign(0, -1)), 1.5, -7, float32(math.NaN()), float32(math.Inf(1))}[rng.IntN(6)]))
		case expr.Float64:
			binary.LittleEndian.PutUint64(b[:], math.Float64bits([]float64{0, math.Copysign(0, -1), 1.5, -7, math.NaN(), math.Inf(-1)}[rng.IntN(6)]))
		default:
			binary.LittleEndian.PutUint64(b[:], u)
		}
		v.Values = append(v.Values, b[:t.Size()]...)
		v.Valid = append(v.Valid, bit(rng.IntN(6) > 0))
	}
	if rng.IntN(3) == 0 {
		v.Valid = nil
	}
	return v
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// TestGroupsOfEveryType groups random columns of every type by every type, in
// chunks and parts, and compares with values taken one by one.
func TestGroupsOfEveryType(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	types := []expr.Type{expr.Bool, expr.Int8, expr.Int16, expr.Int32, expr.Int64, expr.Uint8, expr.Uint16, expr.Uint32, expr.Uint64,
		expr.Float16, expr.Float32, expr.Float64, expr.Text, expr.Time}
	for _, kt := range types {
		for _, vt := range types {
			p := &plan{schema: expr.Schema{{Name: "k", Type: kt}, {Name: "v", Type: vt}}, group: []int{0}, aggs: []int{-1, 1, 1, 1}}
			p.Aggregates = []Aggregate{{Count, ""}, {Count, "v"}, {Min, "v"}, {Max, "v"}}
			p.result = expr.Schema{p.schema[0], {Type: expr.Int64}, {Type: expr.Int64}, p.schema[1], p.schema[1]}
			type acc struct {
				rows, values int
				lo, hi       []byte
			}
			want := map[string]*acc{}
			all := newGroups(p)
			for range 1 + rng.IntN(3) { // parts
				g := newGroups(p)
				for range 1 + rng.IntN(3) { // chunks
					n := rng.IntN(60)
					k, v := randomColumn(rng, kt, n), randomColumn(rng, vt, n)
					if err := g.add([]expr.Vector{k, {}, v, v, v}, n); err != nil {
						t.Fatal(err)
					}
					for i := range n {
						key := string(encode(nil, &p.schema[0], &k, i))
						a := want[key]
						if a == nil {
							a = &acc{}
							want[key] = a
						}
						a.rows++
						if !valid(&v, i) {
							continue
						}
						b := bytes.Clone(cell(&p.schema[1], &v, i))
						if a.values++; a.values == 1 || compareCells(vt, b, a.lo) < 0 {
							a.lo = b
						}
						if a.values == 1 || compareCells(vt, b, a.hi) > 0 {
							a.hi = b
						}
					}
				}
				if err := all.merge(g); err != nil {
					t.Fatal(err)
				}
			}
			rows, err := all.rows()
			if err != nil {
				t.Fatal(err)
			}
			if rows.N != len(want) {
				t.Fatalf("%s by %s: %d groups, not %d", vt, kt, rows.N, len(want))
			}
			for i := range rows.N {
				a := want[string(encode(nil, &p.schema[0], &rows.Columns[0], i))]
				if a == nil {
					t.Fatalf("%s by %s: a group that is not there", vt, kt)
				}
				got := fmt.Sprint(integer(expr.Int64, cell(&p.result[1], &rows.Columns[1], i)), integer(expr.Int64, cell(&p.result[2], &rows.Columns[2], i)))
				for c := 3; c < 5; c++ {
					if valid(&rows.Columns[c], i) {
						got += fmt.Sprintf(" %x", cell(&p.result[c], &rows.Columns[c], i))
					}
				}
				w := fmt.Sprint(a.rows, a.values)
				if a.values > 0 {
					w += fmt.Sprintf(" %x %x", a.lo, a.hi)
				}
				if got != w {
					t.Fatalf("%s by %s: %s, not %s", vt, kt, got, w)
				}
			}
		}
	}
}

// TestExtremesAreBounded: long values of many groups end a query, in a part and
// where parts come together; one group may have seen as many as there are.
func TestExtremesAreBounded(t *testing.T) {
	p := &plan{schema: expr.Schema{{Name: "k", Type: expr.Int64}, {Name: "v", Type: expr.Bytes}}, group: []int{0}, aggs: []int{1}}
	p.Aggregates, p.result = []Aggregate{{Max, "v"}}, p.schema
	value := bytes.Repeat([]byte("x"), MaxKeptBytes/16)
	one := func(g *groups, key uint64) error {
		k := expr.Vector{Values: binary.LittleEndian.AppendUint64(nil, key)}
		return g.add([]expr.Vector{k, {Values: value, Offsets: []uint64{0, uint64(len(value))}}}, 1)
	}
	fill := func(from, to uint64) (g *groups, err error) {
		g = newGroups(p)
		for key := from; key < to && err == nil; key++ {
			err = one(g, key)
		}
		return g, err
	}
	a, err := fill(0, 10)
	for range 100 {
		err = errors.Join(err, one(a, 3))
	}
	b, berr := fill(10, 20)
	if err = errors.Join(err, berr); err != nil {
		t.Fatal(err)
	}
	all := newGroups(p)
	if err := all.merge(a); err != nil {
		t.Fatal(err)
	}
	if err := all.merge(b); !fault.Is(err, fault.TooBig) {
		t.Errorf("20 large values of two parts: %v", err)
	}
	if _, err := fill(0, 20); !fault.Is(err, fault.TooBig) {
		t.Errorf("20 large values: %v", err)
	}
}
