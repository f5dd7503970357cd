package exec

import (
	"bytes"
	"cmp"
	"container/heap"
	"slices"

	"daos/internal/fault"
	"daos/query/expr"
)

// place says where a row is in the table: rows are compared by it last.
type place struct {
	part  int
	chunk uint64
	row   uint32
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.part, o.part), cmp.Compare(p.chunk, o.chunk), cmp.Compare(p.row, o.row))
}

// kept is one row of a sample of n, with its cells.
type kept struct {
	draw  uint64
	key   []byte // for equal draws
	at    place
	cells [][]byte // nil: null
}

// keeper keeps the k rows with the least draws, of those that it is given.
type keeper struct {
	k     int
	rows  []*kept // a heap, the last of them first
	bytes *uint64 // of them, and of the keepers beside this one
	local *keeper // what a chunk has for it, while that is looked at
}

func newKeeper(k uint64) *keeper { return &keeper{k: int(k), bytes: new(uint64)} }

func (q *keeper) less(a, b *kept) int {
	return cmp.Or(cmp.Compare(a.draw, b.draw), bytes.Compare(a.key, b.key), a.at.compare(b.at))
}

func (q *keeper) Len() int           { return len(q.rows) }
func (q *keeper) Less(i, j int) bool { return q.less(q.rows[i], q.rows[j]) > 0 }
func (q *keeper) Swap(i, j int)      { q.rows[i], q.rows[j] = q.rows[j], q.rows[i] }

// Push is for container/heap.
func (q *keeper) Push(x any) { q.rows = append(q.rows, x.(*kept)) }

// Pop is for container/heap.
func (q *keeper) Pop() any {
	last := q.rows[len(q.rows)-1]
	q.rows = q.rows[:len(q.rows)-1]
	return last
}

// wants reports whether a row would be among the first k.
func (q *keeper) wants(r *kept) bool { return len(q.rows) < q.k || q.less(r, q.rows[0]) < 0 }

// put takes a row that is wanted.
func (q *keeper) put(r *kept) error {
	if len(q.rows) == q.k {
		*q.bytes -= size(heap.Pop(q).(*kept))
	}
	heap.Push(q, r)
	if *q.bytes += size(r); *q.bytes > MaxKeptBytes {
		return fault.New(fault.TooBig, "query.scan", "rows", "the %d rows that are kept take over %d MiB", q.k, MaxKeptBytes>>20).
			Do("ask for fewer rows or columns; take the key first and read the rest by it")
	}
	return nil
}

func size(r *kept) uint64 {
	n := uint64(96 + len(r.key))
	for _, c := range r.cells {
		n += 24 + uint64(len(c))
	}
	return n
}

// merge takes the rows of another keeper.
func (q *keeper) merge(o *keeper) error {
	for _, r := range o.rows {
		if q.wants(r) {
			if err := q.put(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// toRows makes a result of kept rows.
func toRows(fields []expr.Field, rows []*kept) *Rows {
	out := &Rows{N: len(rows), Columns: make([]expr.Vector, len(fields))}
	for c := range fields {
		f, v := &fields[c], &out.Columns[c]
		w := width(f)
		if variable(f) {
			v.Offsets = append(v.Offsets, 0)
		}
		for i, r := range rows {
			b := r.cells[c]
			if b == nil {
				if v.Valid == nil {
					v.Valid = bytes.Repeat([]byte{1}, len(rows))
				}
				v.Valid[i] = 0
				b = make([]byte, w)
			}
			v.Values = append(v.Values, b...)
			if v.Offsets != nil {
				v.Offsets = append(v.Offsets, uint64(len(v.Values)))
			}
		}
	}
	return out
}

// sampler keeps n rows, or n of each stratum.
type sampler struct {
	p      *plan
	strata map[string]*keeper
	bytes  uint64 // of all strata
}

// maxStrata is how many values the column of a stratified sample may have.
const maxStrata = 1 << 16

func newSampler(p *plan) *sampler { return &sampler{p: p, strata: map[string]*keeper{}} }

func (s *sampler) of(stratum []byte) (*keeper, error) {
	q := s.strata[string(stratum)]
	if q == nil {
		if len(s.strata) >= maxStrata {
			return nil, fault.New(fault.TooBig, "query.scan", s.p.Sample.By, "over %d strata", len(s.strata)).Do("take a column with fewer values")
		}
		q = newKeeper(s.p.Sample.N)
		q.bytes = &s.bytes
		s.strata[string(stratum)] = q
		if s.bytes += uint64(len(stratum)); s.bytes > MaxKeptBytes {
			return nil, fault.New(fault.TooBig, "query.scan", s.p.Sample.By, "the values of %d strata take over %d MiB", len(s.strata), MaxKeptBytes>>20).
				Do("take a column with shorter values")
		}
	}
	return q, nil
}

func (s *sampler) merge(o *sampler) error {
	for k, q := range o.strata {
		mine, err := s.of([]byte(k))
		if err != nil {
			return err
		}
		if err := mine.merge(q); err != nil {
			return err
		}
	}
	return nil
}

func (s *sampler) inOrder() []*kept {
	var all []*kept
	for _, q := range s.strata {
		all = append(all, q.rows...)
	}
	slices.SortFunc(all, func(a, b *kept) int { return a.at.compare(b.at) })
	return all
}
