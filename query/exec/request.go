package exec

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"daos/internal/fault"
	"daos/query/expr"
)

// Limits of a request.
const (
	MaxBatchRows = 1 << 16
	MaxKept      = 1 << 20   // rows of a top k or of a sample of n
	MaxKeptBytes = 256 << 20 // of them
	MaxGroups    = 1 << 20
	MaxColumns   = 4096
	batchBytes   = 4 << 20 // of one batch, unless one row is larger
)

// AggregateFn is an aggregate. The numbers are on the wire.
type AggregateFn uint8

// The aggregates. An average is a sum and a count on its way, and a quotient at
// the end.
const (
	Count AggregateFn = 1 // of rows, or of the values of a column that are not null
	Sum   AggregateFn = 2
	Min   AggregateFn = 3
	Max   AggregateFn = 4
	Avg   AggregateFn = 5
)

var aggregateNames = [...]string{"", "count", "sum", "min", "max", "avg"}

func (f AggregateFn) String() string {
	if f > 0 && int(f) < len(aggregateNames) {
		return aggregateNames[f]
	}
	return fmt.Sprintf("aggregate(%d)", uint8(f))
}

// ParseAggregate reads "count", "count(*)", "avg(size)".
func ParseAggregate(s string) (Aggregate, error) {
	name, rest, call := strings.Cut(strings.TrimSpace(s), "(")
	a := Aggregate{}
	for i, n := range aggregateNames {
		if i > 0 && strings.EqualFold(strings.TrimSpace(name), n) {
			a.Fn = AggregateFn(i)
		}
	}
	col := ""
	if call {
		inner, ok := strings.CutSuffix(strings.TrimSpace(rest), ")")
		if !ok {
			a.Fn = 0
		}
		if col = strings.TrimSpace(inner); col == "*" {
			col = ""
		}
	}
	if q, ok := strings.CutPrefix(col, `"`); ok {
		col = strings.ReplaceAll(strings.TrimSuffix(q, `"`), `""`, `"`)
	}
	a.Column = col
	if a.Fn == 0 || col == "" && a.Fn != Count {
		return a, fault.New(fault.Invalid, "query.aggregate", s, "%q is not an aggregate", s).
			Do("write count, or one of sum, min, max, avg and count with a column: avg(size)")
	}
	return a, nil
}

// Aggregate is one column of a grouped result.
type Aggregate struct {
	Fn     AggregateFn
	Column string // "" for count: rows
}

func (a Aggregate) String() string {
	if a.Column == "" {
		return a.Fn.String() + "(*)"
	}
	return a.Fn.String() + "(" + a.Column + ")"
}

// Top asks for the first K rows of an order. Nulls come last, NaN is the
// greatest number, rows that are equal keep the order of the table.
type Top struct {
	Column string
	Desc   bool
	K      uint64
}

// Sample asks for a part of the rows that match, drawn by a hash of their key
// and the seed: the same rows at every call, on any machine.
type Sample struct {
	Fraction float64 // of the rows, each by itself; or
	N        uint64  // exactly so many, or all if there are fewer
	Seed     uint64
	By       string // with N: so many for each value of this column
}

// Request is a scan.
type Request struct {
	Columns    []string // wanted, in this order; empty: all
	Where      expr.Expr
	Text       string // that Where was parsed from, for errors
	Offset     uint64 // rows to leave out first
	Limit      uint64 // 0: no limit
	Top        *Top
	Sample     *Sample
	Group      []string
	Aggregates []Aggregate
	BatchRows  int // 0: MaxBatchRows
	Parallel   int // 0: one for each core
}

// plan is a request that was checked against a schema.
type plan struct {
	Request
	schema  expr.Schema
	pred    *expr.Predicate
	whereAt []int // columns of the predicate
	out     []int // columns of rows
	top     int
	by      int // the column of Sample.By, -1
	key     int
	group   []int
	aggs    []int // columns of the aggregates, -1 for count(*)
	result  expr.Schema
	draw    uint64 // of 2^64: the fraction
	all     bool   // the fraction is 1
}

func check(r Request, s Source) (*plan, error) {
	p := &plan{Request: r, schema: s.Schema(), top: -1, by: -1, key: s.Key()}
	bad := func(what, format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "query.scan", s.Name()+": "+what, format, args...)
	}
	if r.BatchRows < 0 || r.BatchRows > MaxBatchRows {
		return nil, bad("batch rows", "%d rows in a batch", r.BatchRows).Do("use 1 to %d", MaxBatchRows)
	}
	if p.BatchRows == 0 {
		p.BatchRows = MaxBatchRows
	}
	find := func(name string) (int, error) {
		if i := p.schema.Index(name); i >= 0 {
			return i, nil
		}
		e := fault.New(fault.NotFound, "query.scan", s.Name(), "no column %q", name)
		if n := p.schema.Nearest(name); n != "" {
			return 0, e.Do("did you mean %q?", n)
		}
		return 0, e.Do("see its columns: daos query schema %s", s.Name())
	}
	if len(r.Columns) > MaxColumns || len(r.Group) > 64 || len(r.Aggregates) > 256 {
		return nil, fault.New(fault.TooBig, "query.scan", s.Name(), "%d columns, %d to group by and %d aggregates are too many", len(r.Columns), len(r.Group), len(r.Aggregates)).
			Do("ask for at most %d, 64 and 256", MaxColumns)
	}
	if r.Where != nil {
		var err error
		if p.pred, err = expr.Bind(r.Where, p.schema, r.Text); err != nil {
			return nil, fault.Wrap(err, "query.where", s.Name())
		}
		p.whereAt = p.pred.Columns()
	}
	if r.Top != nil {
		var err error
		if p.top, err = find(r.Top.Column); err != nil {
			return nil, err
		}
		if p.schema[p.top].Type == expr.List {
			return nil, bad(r.Top.Column, "rows can't be ordered by %s", p.schema[p.top].TypeName())
		}
		if r.Top.K == 0 || r.Top.K > MaxKept {
			return nil, bad("top", "the first %d rows of an order", r.Top.K).Do("ask for 1 to %d, or order the result yourself", MaxKept)
		}
		if r.Sample != nil || r.grouped() {
			return nil, bad("top", "the first rows of an order can't be taken of a sample or of groups here").Do("use daos query sql")
		}
	}
	if q := r.Sample; q != nil {
		if err := p.checkSample(q, bad, find); err != nil {
			return nil, err
		}
	}
	if r.grouped() {
		return p, p.checkGroups(bad, find)
	}
	p.out = make([]int, 0, len(p.schema))
	for _, name := range r.Columns {
		i, err := find(name)
		if err != nil {
			return nil, err
		}
		p.out = append(p.out, i)
	}
	if len(r.Columns) == 0 {
		for i := range p.schema {
			p.out = append(p.out, i)
		}
	}
	for _, i := range p.out {
		p.result = append(p.result, p.schema[i])
	}
	return p, nil
}

func (r *Request) grouped() bool { return len(r.Group) > 0 || len(r.Aggregates) > 0 }

func (p *plan) checkSample(q *Sample, bad func(string, string, ...any) *fault.Error, find func(string) (int, error)) error {
	switch {
	case (q.N > 0) == (q.Fraction > 0):
		return bad("sample", "a sample is a fraction of the rows or a number of them").Do("give one of the two")
	case math.IsNaN(q.Fraction) || q.Fraction < 0 || q.Fraction > 1:
		return bad("sample", "a fraction of %v", q.Fraction).Do("give one above 0 and up to 1")
	case q.N > MaxKept:
		return bad("sample", "a sample of %d rows", q.N).Do("ask for at most %d, or for a fraction", MaxKept)
	case q.By != "" && q.N == 0:
		return bad("sample", "strata go with a number of rows for each").Do("leave out the column for a fraction: it keeps proportions")
	case p.grouped() && q.N > 0:
		return bad("sample", "a sample of n rows can't be grouped here").Do("sample a fraction, or use daos query sql")
	}
	if q.N == 0 {
		p.all = q.Fraction == 1
		p.draw = uint64(math.Ldexp(q.Fraction, 53)) << 11
	}
	if q.By != "" {
		i, err := find(q.By)
		if err != nil {
			return err
		}
		if p.schema[i].Type == expr.List {
			return bad(q.By, "%s makes no strata", p.schema[i].TypeName())
		}
		p.by = i
	}
	return nil
}

func (p *plan) checkGroups(bad func(string, string, ...any) *fault.Error, find func(string) (int, error)) error {
	for _, name := range p.Group {
		i, err := find(name)
		if err != nil {
			return err
		}
		if p.schema[i].Type == expr.List {
			return bad(name, "%s makes no groups", p.schema[i].TypeName())
		}
		p.group = append(p.group, i)
		p.result = append(p.result, p.schema[i])
	}
	for _, a := range p.Aggregates {
		if a.Fn == 0 || a.Fn > Avg || a.Column == "" && a.Fn != Count {
			return bad(a.String(), "is not an aggregate")
		}
		col, t := -1, expr.Int64
		if a.Column != "" {
			var err error
			if col, err = find(a.Column); err != nil {
				return err
			}
			ct := p.schema[col].Type
			number := ct >= expr.Int8 && ct <= expr.Float64
			switch {
			case a.Fn == Count:
			case ct == expr.List || (a.Fn == Sum || a.Fn == Avg) && !number:
				return bad(a.String(), "%s of %s", a.Fn, p.schema[col].TypeName())
			case a.Fn == Avg, a.Fn == Sum && ct >= expr.Float16:
				t = expr.Float64
			case a.Fn == Sum && ct == expr.Uint64:
				t = expr.Uint64
			case a.Fn == Min, a.Fn == Max:
				t = ct
			}
		}
		p.aggs = append(p.aggs, col)
		p.result = append(p.result, expr.Field{Name: a.String(), Type: t})
	}
	return nil
}

// columns are the places of all columns that may be read, ascending.
func (p *plan) columns() []int {
	all := slices.Concat(p.whereAt, p.out, p.group, p.aggs)
	if p.top >= 0 {
		all = append(all, p.top)
	}
	if p.by >= 0 {
		all = append(all, p.by)
	}
	if p.Sample != nil {
		all = append(all, p.key)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > 0 && all[0] < 0 {
		all = all[1:]
	}
	return all
}
