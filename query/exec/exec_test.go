package exec

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"daos/internal/fault"
	"daos/query/expr"
)

// table is a Source in memory, cut into parts and chunks at random.
type table struct {
	schema expr.Schema
	cols   []expr.Vector
	n      int
	cut    *rand.Rand
	fail   int // the row that can't be read, -1
	slow   bool
}

func (t *table) Name() string        { return "p/t@s" }
func (t *table) Schema() expr.Schema { return t.schema }
func (t *table) Key() int            { return 0 }

func (t *table) Split(_ context.Context, _ expr.Expr, _ []int, _ int) ([]Part, error) {
	var out []Part
	for from := 0; from < t.n; {
		to := min(t.n, from+1+t.cut.IntN(400))
		out = append(out, &part{t: t, at: from, to: to, size: 1 + t.cut.IntN(100)})
		from = to
	}
	return out, nil
}

type part struct {
	t            *table
	at, to, size int
}

func (p *part) Close() {}

func (p *part) Next(context.Context) (Chunk, error) {
	if p.t.slow {
		time.Sleep(time.Millisecond)
	}
	if p.at == p.to {
		return nil, io.EOF
	}
	c := &chunk{p.t, p.at, min(p.to, p.at+p.size)}
	p.at = c.to
	return c, nil
}

type chunk struct {
	t        *table
	from, to int
}

func (c *chunk) Rows() int { return c.to - c.from }

func (c *chunk) Stats() []expr.Stats {
	s := make([]expr.Stats, len(c.t.schema))
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for i := c.from; i < c.to; i++ {
		x := int64(binary.LittleEndian.Uint64(c.t.cols[0].Values[8*i:]))
		lo, hi = min(lo, x), max(hi, x)
	}
	a, b := expr.IntValue(lo), expr.IntValue(hi)
	s[0] = expr.Stats{Known: true, Rows: uint64(c.Rows()), Min: &a, Max: &b}
	return s
}

func (c *chunk) Read(_ context.Context, cols []int, rows []uint32) ([]expr.Vector, error) {
	if rows == nil {
		for i := range c.Rows() {
			rows = append(rows, uint32(i))
		}
	}
	at := make([]uint32, len(rows))
	for i, r := range rows {
		if at[i] = r + uint32(c.from); int(at[i]) == c.t.fail {
			return nil, fault.New(fault.Corrupt, "test", "row", "row %d", at[i])
		}
	}
	var out []expr.Vector
	for _, col := range cols {
		out = append(out, pick(&c.t.schema[col], &c.t.cols[col], at))
	}
	return out, nil
}

// makeTable has the columns id, label (few, some null), x (float, some NaN and
// null), s (text, some null), v (float32[2]).
func makeTable(seed uint64, n int) *table {
	rng := rand.New(rand.NewPCG(seed, 1))
	t := &table{n: n, cut: rng, fail: -1, schema: expr.Schema{{Name: "id", Type: expr.Int64}, {Name: "label", Type: expr.Int16}, {Name: "x", Type: expr.Float64},
		{Name: "s", Type: expr.Text}, {Name: "v", Type: expr.List, Elem: expr.Float32, Shape: []uint64{2}}}}
	t.cols = make([]expr.Vector, 5)
	t.cols[3].Offsets = []uint64{0}
	words := []string{"", "a", "b\x00", "ab", "zebra", "日本"}
	for i := range n {
		t.cols[0].Values = binary.LittleEndian.AppendUint64(t.cols[0].Values, uint64(i))
		t.cols[1].Values = binary.LittleEndian.AppendUint16(t.cols[1].Values, uint16(rng.IntN(7)-2))
		x := rng.NormFloat64()
		if rng.IntN(10) == 0 {
			x = math.NaN()
		}
		t.cols[2].Values = binary.LittleEndian.AppendUint64(t.cols[2].Values, math.Float64bits(x))
		t.cols[3].Values = append(t.cols[3].Values, words[rng.IntN(len(words))]...)
		t.cols[3].Offsets = append(t.cols[3].Offsets, uint64(len(t.cols[3].Values)))
		t.cols[4].Values = binary.LittleEndian.AppendUint64(t.cols[4].Values, rng.Uint64()&0x3fffffff3fffffff)
		for _, c := range []int{1, 2, 3} {
			ok := byte(1)
			if rng.IntN(8) == 0 {
				ok = 0
			}
			t.cols[c].Valid = append(t.cols[c].Valid, ok)
		}
	}
	return t
}

// text is a row of some columns, for comparing.
func rowText(fields []expr.Field, cols []expr.Vector, i int) string {
	var out []string
	for c := range fields {
		if !valid(&cols[c], i) {
			out = append(out, "NULL")
			continue
		}
		b := cell(&fields[c], &cols[c], i)
		switch fields[c].Type {
		case expr.Text, expr.List:
			out = append(out, fmt.Sprintf("%q", b))
		case expr.Float64:
			out = append(out, fmt.Sprintf("%.9g", number(expr.Float64, b)))
		default:
			out = append(out, fmt.Sprint(integer(fields[c].Type, b)))
		}
	}
	return strings.Join(out, "|")
}

func run(t *testing.T, s Source, r Request) ([]string, Counters) {
	t.Helper()
	st, err := Open(context.Background(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	out := []string{}
	for {
		rows, err := st.Next()
		if err == io.EOF {
			return out, st.Counters()
		}
		if err != nil {
			t.Fatal(err)
		}
		if rows.N == 0 || rows.N > MaxBatchRows || r.BatchRows > 0 && rows.N > r.BatchRows {
			t.Fatalf("a batch of %d rows", rows.N)
		}
		for i := range rows.N {
			out = append(out, rowText(st.Schema(), rows.Columns, i))
		}
	}
}

func where(t *testing.T, s string) expr.Expr {
	t.Helper()
	if s == "" {
		return nil
	}
	x, err := expr.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// matching is the rows that a predicate keeps, evaluated at once.
func matching(t *testing.T, tb *table, w string) []int {
	t.Helper()
	var out []int
	if w == "" {
		for i := range tb.n {
			out = append(out, i)
		}
		return out
	}
	p, err := expr.Bind(where(t, w), tb.schema, w)
	if err != nil {
		t.Fatal(err)
	}
	keep, err := p.Filter(&expr.Batch{N: tb.n, Columns: tb.cols}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range keep {
		out = append(out, int(i))
	}
	return out
}

var predicates = []string{"", "label = 3", "x > 0.5 and label <> 1", "id between 100 and 140", "s like 'a%' or s is null", "isnan(x)", "id < 0", "v[2] > 0.1"}

func TestRowsAreThoseOfTheTableInItsOrder(t *testing.T) {
	for seed := range uint64(20) {
		tb := makeTable(seed, 1+int(seed)*97)
		for _, w := range predicates {
			want := []string{}
			for _, i := range matching(t, tb, w) {
				want = append(want, rowText(tb.schema, tb.cols, i))
			}
			got, n := run(t, tb, Request{Where: where(t, w), BatchRows: 1 + int(seed)*7})
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %q: %d rows, not %d", seed, w, len(got), len(want))
			}
			if n.RowsOut != uint64(len(want)) || n.RowsMatched != n.RowsOut || n.Pruned+n.Read != n.Chunks {
				t.Fatalf("seed %d, %q: counters %+v for %d rows", seed, w, n, len(want))
			}
			from, k := len(want)/3, len(want)/2+1
			got, _ = run(t, tb, Request{Where: where(t, w), Offset: uint64(from), Limit: uint64(k), Columns: []string{"s", "id"}})
			want = []string{}
			for _, i := range matching(t, tb, w) {
				want = append(want, rowText([]expr.Field{tb.schema[3], tb.schema[0]}, []expr.Vector{tb.cols[3], tb.cols[0]}, i))
			}
			if want = want[from:min(len(want), from+k)]; !slices.Equal(got, want) {
				t.Fatalf("seed %d, %q, rows %d+%d:\n%v\n%v", seed, w, from, k, got, want)
			}
		}
	}
}

func TestPruningReadsLittle(t *testing.T) {
	tb := makeTable(3, 5000)
	_, n := run(t, tb, Request{Where: where(t, "id between 100 and 140")})
	if n.Read*5 > n.Chunks || n.RowsMatched != 41 {
		t.Errorf("counters %+v", n)
	}
}

func TestTopIsASort(t *testing.T) {
	for seed := range uint64(20) {
		tb := makeTable(seed, 1+int(seed)*53)
		for col, name := range []string{"id", "label", "x", "s"} {
			for _, desc := range []bool{false, true} {
				rows := matching(t, tb, "id % 3 <> 1")
				v, f := &tb.cols[col], &tb.schema[col]
				sort.SliceStable(rows, func(i, j int) bool {
					a, b := rows[i], rows[j]
					if va, vb := valid(v, a), valid(v, b); !va || !vb {
						return va && !vb
					}
					c := compareCells(f.Type, cell(f, v, a), cell(f, v, b))
					return c < 0 && !desc || c > 0 && desc
				})
				k := 1 + int(seed)*3
				want := []string{}
				for _, i := range rows[:min(k, len(rows))] {
					want = append(want, rowText(tb.schema, tb.cols, i))
				}
				got, _ := run(t, tb, Request{Where: where(t, "id % 3 <> 1"), Top: &Top{name, desc, uint64(k)}})
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, top %d by %s desc=%v\n%v\n%v", seed, k, name, desc, got, want)
				}
			}
		}
	}
}

func TestGroupsAreThoseOfAMap(t *testing.T) {
	for seed := range uint64(20) {
		tb := makeTable(seed, int(seed)*211)
		for _, by := range [][]string{{"label"}, {"s"}, {"s", "label"}, {"x"}, {}} {
			for _, w := range []string{"", "id % 2 = 0"} {
				type acc struct {
					n, xs  int
					sum    float64
					ids    int64
					lo, hi string
				}
				want := map[string]*acc{}
				for _, i := range matching(t, tb, w) {
					var fs []expr.Field
					var vs []expr.Vector
					for _, name := range by {
						c := tb.schema.Index(name)
						fs, vs = append(fs, tb.schema[c]), append(vs, tb.cols[c])
					}
					key := rowText(fs, vs, i)
					a := want[key]
					if a == nil {
						a = &acc{}
						want[key] = a
					}
					a.n++
					a.ids += int64(i)
					if valid(&tb.cols[2], i) {
						a.xs++
						a.sum += number(expr.Float64, cell(&tb.schema[2], &tb.cols[2], i))
					}
					if valid(&tb.cols[3], i) {
						s := string(cell(&tb.schema[3], &tb.cols[3], i))
						if a.lo == "" || s < a.lo[1:] {
							a.lo = "x" + s
						}
						if a.hi == "" || s > a.hi[1:] {
							a.hi = "x" + s
						}
					}
				}
				if len(by) == 0 && len(want) == 0 {
					want[""] = &acc{}
				}
				got, _ := run(t, tb, Request{Where: where(t, w), Group: by, Aggregates: []Aggregate{
					{Count, ""}, {Count, "x"}, {Sum, "id"}, {Avg, "x"}, {Min, "s"}, {Max, "s"}}})
				if len(got) != len(want) {
					t.Fatalf("seed %d by %v: %d groups, not %d", seed, by, len(got), len(want))
				}
				text := func(s string) string {
					if s == "" {
						return "NULL"
					}
					return fmt.Sprintf("%q", s[1:])
				}
				for _, line := range got {
					cells := strings.Split(line, "|")
					key := strings.Join(cells[:len(by)], "|")
					a := want[key]
					if a == nil {
						t.Fatalf("seed %d by %v: no group %q", seed, by, key)
					}
					ids, avg := fmt.Sprint(a.ids), "NULL"
					if a.n == 0 {
						ids = "NULL"
					}
					if a.xs > 0 {
						avg = fmt.Sprintf("%.9g", a.sum/float64(a.xs))
					}
					w := []string{fmt.Sprint(a.n), fmt.Sprint(a.xs), ids, avg, text(a.lo), text(a.hi)}
					if g := cells[len(by):]; !slices.Equal(g, w) {
						t.Fatalf("seed %d by %v, group %s: %v, not %v", seed, by, key, g, w)
					}
				}
			}
		}
	}
}

func TestSamplesAreReproducible(t *testing.T) {
	tb := makeTable(5, 4000)
	again := makeTable(5, 4000)
	again.cut = rand.New(rand.NewPCG(99, 99)) // other chunks
	for _, q := range []*Sample{{Fraction: 0.25, Seed: 7}, {N: 100, Seed: 7}, {N: 30, Seed: 7, By: "label"}, {Fraction: 1}} {
		r := Request{Where: where(t, "x < 1"), Sample: q}
		a, _ := run(t, tb, r)
		r.Parallel = 1
		b, _ := run(t, again, r)
		if !slices.Equal(a, b) {
			t.Errorf("%+v: two runs differ", q)
		}
		all, _ := run(t, tb, Request{Where: where(t, "x < 1")})
		switch {
		case q.Fraction == 1:
			if len(a) != len(all) {
				t.Errorf("%d of %d", len(a), len(all))
			}
		case q.Fraction > 0:
			if math.Abs(float64(len(a))-0.25*float64(len(all))) > 120 {
				t.Errorf("%d of %d for a quarter", len(a), len(all))
			}
		case q.By != "":
			if len(a) != 30*8 { // labels -2 to 4, and null
				t.Errorf("%d rows of 8 strata", len(a))
			}
		default:
			if len(a) != 100 {
				t.Errorf("%d rows", len(a))
			}
		}
		other := *q
		other.Seed++
		if c, _ := run(t, tb, Request{Where: where(t, "x < 1"), Sample: &other}); q.Fraction != 1 && slices.Equal(a, c) {
			t.Errorf("%+v: another seed draws the same", q)
		}
	}
}

func TestAFailedPartIsAnError(t *testing.T) {
	for _, r := range []Request{{}, {Top: &Top{"x", false, 3}}, {Group: []string{"label"}, Aggregates: []Aggregate{{Count, ""}}}, {Sample: &Sample{N: 5}}} {
		tb := makeTable(1, 3000)
		tb.fail = 1700
		st, err := Open(context.Background(), tb, r)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = st.Next()
		}
		if !fault.Is(err, fault.Corrupt) {
			t.Errorf("%+v ends with %v", r, err)
		}
		st.Close()
	}
}

// crashing has a part that panics, as a mistake in a source would.
type crashing struct{ *table }

type crashingPart struct{ Part }

func (crashingPart) Next(context.Context) (Chunk, error) { panic("a mistake") }

func (c crashing) Split(ctx context.Context, where expr.Expr, columns []int, want int) ([]Part, error) {
	parts, err := c.table.Split(ctx, where, columns, want)
	parts[len(parts)-1] = crashingPart{parts[len(parts)-1]}
	return parts, err
}

// TestAPanicIsTheReaders: that of a worker would end the process.
func TestAPanicIsTheReaders(t *testing.T) {
	for _, r := range []Request{{}, {Group: []string{"label"}, Aggregates: []Aggregate{{Count, ""}}}} {
		st, err := Open(context.Background(), crashing{makeTable(1, 3000)}, r)
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.Contains(p, "a mistake") || !strings.Contains(p, "exec_test.go") {
					t.Errorf("%+v: %s", r, p)
				}
			}()
			for err == nil {
				_, err = st.Next()
			}
			t.Errorf("%+v ends with %v", r, err)
		}()
		st.Close()
	}
}

func TestCancelEndsAScan(t *testing.T) {
	tb := makeTable(1, 200000)
	tb.slow = true
	ctx, cancel := context.WithCancel(context.Background())
	st, err := Open(ctx, tb, Request{Group: []string{"label"}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := st.Next(); !fault.Is(err, fault.Canceled) {
		t.Errorf("a cancelled scan ends with %v", err)
	}
	st.Close()
}

func TestBadRequestsSaySo(t *testing.T) {
	tb := makeTable(1, 10)
	for _, c := range []struct {
		r      Request
		wanted string
	}{
		{Request{Columns: []string{"lable"}}, `did you mean "label"?`},
		{Request{Top: &Top{"v", false, 3}}, "can't be ordered by float32[2]"},
		{Request{Top: &Top{"x", false, 0}}, "ask for 1 to"},
		{Request{Sample: &Sample{}}, "give one of the two"},
		{Request{Sample: &Sample{Fraction: 1.5}}, "up to 1"},
		{Request{Group: []string{"v"}}, "makes no groups"},
		{Request{Aggregates: []Aggregate{{Sum, "s"}}}, "sum of text"},
		{Request{Group: slices.Repeat([]string{"label"}, 65)}, "at most 4096, 64 and 256"},
		{Request{BatchRows: -1}, "use 1 to 65536"},
		{Request{Where: &expr.Column{Name: "x"}}, "not a condition"},
	} {
		_, err := Open(context.Background(), tb, c.r)
		if err == nil || !strings.Contains(err.Error(), c.wanted) {
			t.Errorf("%+v: %v, not %s", c.r, err, c.wanted)
		}
	}
	for _, s := range []string{"median(x)", "sum", "count(", ""} {
		if a, err := ParseAggregate(s); err == nil {
			t.Errorf("%q is %v", s, a)
		}
	}
	if a, err := ParseAggregate(` Avg("odd name") `); err != nil || a != (Aggregate{Avg, "odd name"}) {
		t.Errorf("%v %v", a, err)
	}
}
