package exec

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"daos/internal/fault"
	"daos/query/expr"
)

// TestFirstIsASort selects from ranks of many kinds, also those that make a
// selection by the middle one slow.
func TestFirstIsASort(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		n := 1 + rng.IntN(3000)
		r := make([]rank, n)
		for i := range r {
			r[i] = rank{null: rng.IntN(20) == 0, n: rng.Uint64N(1 + rng.Uint64N(uint64(n))), at: uint32(i)}
			switch seed % 4 {
			case 1:
				r[i] = rank{n: uint64(i), at: uint32(i)}
			case 2:
				r[i] = rank{n: uint64(min(i, n-i)), at: uint32(i)}
			case 3:
				r[i].n = 7
			}
		}
		compare := func(a, b rank) int { return compareRanks(a, b, false, nil) }
		want := slices.SortedFunc(slices.Values(r), compare)
		k := rng.IntN(n + 2)
		got := first(r, k, compare)
		slices.SortFunc(got, compare)
		if !slices.Equal(got, want[:min(k, n)]) {
			t.Fatalf("seed %d: the first %d of %d", seed, k, n)
		}
		if len(r) != n || !slices.Equal(slices.SortedFunc(slices.Values(r), compare), want) {
			t.Fatalf("seed %d: some are lost", seed)
		}
	}
}

// TestLargeTopIsASort takes as many rows as make it cut and merge.
func TestLargeTopIsASort(t *testing.T) {
	for seed := range uint64(8) {
		tb := makeTable(seed, 9000)
		col := []string{"x", "s", "label", "id"}[seed%4]
		for _, k := range []int{1, 700, 4500, 8999, 20000} {
			for _, desc := range []bool{false, true} {
				got, _ := run(t, tb, Request{Top: &Top{col, desc, uint64(k)}, Columns: []string{"s", "v", col}, Parallel: 3})
				c := tb.schema.Index(col)
				rows := make([]int, tb.n)
				for i := range rows {
					rows[i] = i
				}
				f, v := &tb.schema[c], &tb.cols[c]
				slices.SortStableFunc(rows, func(a, b int) int {
					if va, vb := valid(v, a), valid(v, b); !va || !vb {
						return cmp.Compare(one(vb), one(va))
					}
					d := compareCells(f.Type, cell(f, v, a), cell(f, v, b))
					if desc {
						return -d
					}
					return d
				})
				var want []string
				for _, i := range rows[:min(k, tb.n)] {
					want = append(want, rowText([]expr.Field{tb.schema[3], tb.schema[4], *f}, []expr.Vector{tb.cols[3], tb.cols[4], *v}, i))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, %d by %s, desc %v", seed, k, col, desc)
				}
			}
		}
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestTopIsBounded refuses rows that take too much, and takes many that don't stay.
func TestTopIsBounded(t *testing.T) {
	const n, width = 600, 1 << 20
	tb := &table{n: n, fail: -1, cut: rand.New(rand.NewPCG(1, 1)), schema: expr.Schema{{Name: "id", Type: expr.Int64}, {Name: "s", Type: expr.Text}}, cols: make([]expr.Vector, 2)}
	tb.cols[1].Offsets = []uint64{0}
	text := []byte(strings.Repeat("x", width))
	for i := range n {
		tb.cols[0].Values = binary.LittleEndian.AppendUint64(tb.cols[0].Values, uint64(i))
		tb.cols[1].Values = append(tb.cols[1].Values, text...)
		tb.cols[1].Offsets = append(tb.cols[1].Offsets, uint64(len(tb.cols[1].Values)))
	}
	for k, fine := range map[uint64]bool{100: true, 500: false} {
		st, err := Open(context.Background(), &onePart{tb}, Request{Top: &Top{"id", true, k}})
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = st.Next()
		}
		st.Close()
		if fine != (err == io.EOF) || !fine && !fault.Is(err, fault.TooBig) {
			t.Errorf("the first %d: %v", k, err)
		}
	}
}

// onePart is a table that is not split, in chunks of 32.
type onePart struct{ *table }

func (t *onePart) Split(context.Context, expr.Expr, []int, int) ([]Part, error) {
	return []Part{&part{t: t.table, to: t.n, size: 32}}, nil
}

// BenchmarkTop takes 100,000 of a million rows.
func BenchmarkTop(b *testing.B) {
	const n = 1 << 20
	rng := rand.New(rand.NewPCG(1, 1))
	tb := &table{n: n, fail: -1, schema: expr.Schema{{Name: "id", Type: expr.Int64}, {Name: "x", Type: expr.Float64}}, cols: make([]expr.Vector, 2)}
	for i := range n {
		tb.cols[0].Values = binary.LittleEndian.AppendUint64(tb.cols[0].Values, uint64(i))
		tb.cols[1].Values = binary.LittleEndian.AppendUint64(tb.cols[1].Values, rng.Uint64()>>2)
	}
	for _, k := range []uint64{10, 100_000} {
		b.Run(fmt.Sprint(k), func(b *testing.B) {
			for range b.N {
				st, err := Open(context.Background(), &eightParts{tb}, Request{Top: &Top{"x", false, k}})
				for err == nil {
					_, err = st.Next()
				}
				if err != io.EOF {
					b.Fatal(err)
				}
				st.Close()
			}
		})
	}
}

type eightParts struct{ *table }

func (t *eightParts) Split(context.Context, expr.Expr, []int, int) (out []Part, _ error) {
	for i := range 8 {
		out = append(out, &part{t: t.table, at: i * t.n / 8, to: (i + 1) * t.n / 8, size: 1 << 16})
	}
	return out, nil
}
