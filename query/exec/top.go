package exec

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"daos/internal/fault"
	"daos/query/expr"
)

// ranker keeps the first k rows of an order that it is given in the order of the
// table, column by column: rows that are wanted are appended, and when there are
// twice as many as asked for the others are dropped. Over a table of n rows that
// costs O(n), and a sort of k at the end.
type ranker struct {
	p     *plan
	k     int
	cols  []expr.Vector // of the result
	keys  expr.Vector   // of the column of the order, where ranks do not decide
	ranks []rank        // of the rows, in the order of the table
	bar   *barrier      // nil: all rows are wanted
}

// rank is where a value stands in the order: equal values have equal ranks, and
// so have texts that differ in nothing but what is behind their beginning.
type rank struct {
	null bool
	n    uint64
	at   uint32 // number of the row, in the order of the table
}

// barrier is the last of k rows: those that are not before it are not wanted.
type barrier struct {
	rank
	key []byte
}

func newRanker(p *plan) *ranker {
	return &ranker{p: p, k: int(p.Top.K), cols: make([]expr.Vector, len(p.result))}
}

// texts reports whether equal ranks do not say that values are equal.
func (q *ranker) texts() bool { return variable(&q.p.schema[q.p.top]) }

// rankOf is the rank of a value that is not null.
func rankOf(t expr.Type, b []byte, desc bool) uint64 {
	var n uint64
	switch t {
	case expr.Text, expr.Bytes:
		var first [8]byte
		copy(first[:], b)
		n = binary.BigEndian.Uint64(first[:])
	case expr.Float16, expr.Float32, expr.Float64:
		n = floatRank(number(t, b))
	case expr.Uint64:
		n = binary.LittleEndian.Uint64(b)
	default:
		n = uint64(integer(t, b)) ^ 1<<63
	}
	if desc {
		return ^n
	}
	return n
}

// floatRank orders numbers as expr does: -0 is 0, NaN is the greatest.
func floatRank(x float64) uint64 {
	if math.IsNaN(x) {
		return math.MaxUint64
	}
	if x == 0 {
		x = 0 // not -0
	}
	u := math.Float64bits(x)
	if u>>63 != 0 {
		return ^u
	}
	return u | 1<<63
}

// ranksOf are the ranks of n values.
func ranksOf(f *expr.Field, v *expr.Vector, n int, desc bool, out []rank) []rank {
	out = slices.Grow(out[:0], n)[:n]
	flip := uint64(0)
	if desc {
		flip = math.MaxUint64
	}
	switch f.Type {
	case expr.Int64, expr.Time:
		ranksOfInts(expr.View[int64](v.Values, n), flip, out)
	case expr.Int32:
		ranksOfInts(expr.View[int32](v.Values, n), flip, out)
	case expr.Float64:
		ranksOfFloats(expr.View[float64](v.Values, n), flip, out)
	case expr.Float32:
		ranksOfFloats(expr.View[float32](v.Values, n), flip, out)
	default:
		for i := range out {
			out[i] = rank{n: rankOf(f.Type, cell(f, v, i), desc), at: uint32(i)}
		}
	}
	if v.Valid != nil {
		for i := range out {
			if v.Valid[i] == 0 {
				out[i].null, out[i].n = true, 0
			}
		}
	}
	return out
}

func ranksOfInts[T int32 | int64](v []T, flip uint64, out []rank) {
	for i, x := range v {
		out[i] = rank{n: uint64(int64(x)) ^ 1<<63 ^ flip, at: uint32(i)}
	}
}

func ranksOfFloats[T float32 | float64](v []T, flip uint64, out []rank) {
	for i, x := range v {
		out[i] = rank{n: floatRank(float64(x)) ^ flip, at: uint32(i)}
	}
}

// compareRanks orders two rows; key gives the text of one, nil where ranks decide.
func compareRanks(a, b rank, desc bool, key func(uint32) []byte) int {
	switch {
	case a.null != b.null:
		if a.null {
			return 1
		}
		return -1
	case a.n != b.n:
		return cmp.Compare(a.n, b.n)
	case key != nil && !a.null:
		if c := bytes.Compare(key(a.at), key(b.at)); c != 0 {
			if desc {
				return -c
			}
			return c
		}
	}
	return cmp.Compare(a.at, b.at)
}

// first moves the k least of some ranks to their front, in no order (Hoare's
// selection; where that goes wrong too often, a sort).
func first(r []rank, k int, compare func(a, b rank) int) []rank {
	lo, hi, tries := 0, len(r), 4*bits.Len(uint(len(r)))
	for ; hi-lo > 1 && k > lo && k < hi; tries-- {
		if tries == 0 || hi-lo < 64 {
			slices.SortFunc(r[lo:hi], compare)
			break
		}
		pivot := middle(r[lo], r[lo+(hi-lo)/2], r[hi-1], compare)
		i, j := lo, hi-1
		for i <= j {
			for compare(r[i], pivot) < 0 {
				i++
			}
			for compare(r[j], pivot) > 0 {
				j--
			}
			if i <= j {
				r[i], r[j] = r[j], r[i]
				i, j = i+1, j-1
			}
		}
		switch { // r[lo..j] <= pivot <= r[i..hi), and what is between equals it
		case k <= j+1:
			hi = j + 1
		case k >= i:
			lo = i
		default:
			return r[:k]
		}
	}
	return r[:min(k, len(r))]
}

func middle(a, b, c rank, compare func(a, b rank) int) rank {
	if compare(a, b) > 0 {
		a, b = b, a
	}
	if compare(b, c) > 0 {
		b = c
		if compare(a, b) > 0 {
			b = a
		}
	}
	return b
}

// wanted are the rows of a chunk that may be among the first k, ascending: v is
// the column of the order, for n rows, and ranks are theirs.
func (q *ranker) wanted(v *expr.Vector, ranks []rank) []rank {
	f, desc := &q.p.schema[q.p.top], q.p.Top.Desc
	key := q.keyOf(f, v)
	out := ranks
	if b := q.bar; b != nil {
		out = ranks[:0]
		for _, r := range ranks {
			switch {
			case r.null || !b.null && r.n > b.n: // equal nulls are behind
				continue
			case b.null || r.n < b.n:
			case key == nil:
				continue // an equal row before it is kept
			default:
				if c := bytes.Compare(key(r.at), b.key); c >= 0 && !desc || c <= 0 && desc {
					continue
				}
			}
			out = append(out, r)
		}
	}
	if len(out) > q.k {
		out = first(out, q.k, func(a, b rank) int { return compareRanks(a, b, desc, key) })
		slices.SortFunc(out, func(a, b rank) int { return cmp.Compare(a.at, b.at) })
	}
	return out
}

// keyOf gives the texts of a column; nil where ranks decide.
func (q *ranker) keyOf(f *expr.Field, v *expr.Vector) func(uint32) []byte {
	if !q.texts() {
		return nil
	}
	return func(i uint32) []byte { return cell(f, v, int(i)) }
}

// add appends rows, with their ranks, the column of the order and the result's.
func (q *ranker) add(ranks []rank, key *expr.Vector, cols []expr.Vector) error {
	have := len(q.ranks)
	for i, r := range ranks {
		r.at = uint32(have + i)
		q.ranks = append(q.ranks, r)
	}
	for c := range cols {
		appendRows(&q.p.result[c], &q.cols[c], have, &cols[c], nil, len(ranks))
	}
	if q.texts() {
		appendRows(&q.p.schema[q.p.top], &q.keys, have, key, nil, len(ranks))
	}
	// Few rows are cut at once, so that the barrier stands where it can.
	if n := len(q.ranks); n > q.k && (n >= 2*q.k || q.k <= 1<<12) || q.bytes() > MaxKeptBytes {
		q.cut()
	}
	if q.bytes() > MaxKeptBytes {
		return fault.New(fault.TooBig, "query.scan", "rows", "the %d rows that are kept take over %d MiB", q.k, MaxKeptBytes>>20).
			Do("ask for fewer rows or columns; take the key first and read the rest by it")
	}
	return nil
}

func (q *ranker) bytes() uint64 {
	n := 24*uint64(len(q.ranks)) + vectorBytes(&q.keys)
	for i := range q.cols {
		n += vectorBytes(&q.cols[i])
	}
	return n
}

// compare orders the rows that are kept.
func (q *ranker) compare() func(a, b rank) int {
	key := q.keyOf(&q.p.schema[q.p.top], &q.keys)
	return func(a, b rank) int { return compareRanks(a, b, q.p.Top.Desc, key) }
}

// cut drops the rows behind the first k and notes the last of these.
func (q *ranker) cut() {
	if len(q.ranks) < q.k {
		return
	}
	compare := q.compare()
	kept := first(q.ranks, q.k, compare)
	last := slices.MaxFunc(kept, compare)
	q.bar = &barrier{rank: last}
	if q.texts() && !last.null {
		q.bar.key = bytes.Clone(cell(&q.p.schema[q.p.top], &q.keys, int(last.at)))
	}
	if len(q.ranks) == q.k {
		return
	}
	slices.SortFunc(kept, func(a, b rank) int { return cmp.Compare(a.at, b.at) })
	rows := make([]uint32, len(kept))
	for i := range kept {
		rows[i], kept[i].at = kept[i].at, uint32(i)
	}
	q.ranks = slices.Clone(kept)
	for c := range q.cols {
		q.cols[c] = pick(&q.p.result[c], &q.cols[c], rows)
	}
	if q.texts() {
		q.keys = pick(&q.p.schema[q.p.top], &q.keys, rows)
	}
}

// merge takes the rows of the next part of the table.
func (q *ranker) merge(o *ranker) error {
	if len(o.ranks) == 0 {
		return nil
	}
	if len(q.ranks) == 0 {
		*q = *o
		return nil
	}
	return q.add(o.ranks, &o.keys, o.cols)
}

// rows are the first k, in their order.
func (q *ranker) rows() *Rows {
	q.cut()
	slices.SortFunc(q.ranks, q.compare())
	rows := make([]uint32, min(len(q.ranks), q.k))
	for i := range rows {
		rows[i] = q.ranks[i].at
	}
	out := &Rows{N: len(rows), Columns: make([]expr.Vector, len(q.cols))}
	for c := range q.cols {
		out.Columns[c] = pick(&q.p.result[c], &q.cols[c], rows)
	}
	return out
}

// best puts rows into the top k: first by the column of the order alone, then
// the other columns of those that are wanted.
func (w *worker) best(ctx context.Context, c Chunk, have map[int]expr.Vector, rows []uint32, n int) error {
	q, f := w.run.top, &w.p.schema[w.p.top]
	vs, err := w.read(ctx, c, have, []int{w.p.top}, rows)
	if err != nil {
		return err
	}
	w.ranks = ranksOf(f, &vs[0], n, w.p.Top.Desc, w.ranks)
	wanted := q.wanted(&vs[0], w.ranks)
	if len(wanted) == 0 {
		return nil
	}
	named, at := make([]uint32, len(wanted)), make([]uint32, len(wanted))
	for i, r := range wanted {
		named[i], at[i] = rowAt(rows, int(r.at)), r.at
	}
	key := expr.Vector{}
	if q.texts() {
		key = pick(f, &vs[0], at)
	}
	cols, err := w.read(ctx, c, have, w.p.out, named)
	if err != nil {
		return err
	}
	return q.add(wanted, &key, cols)
}
