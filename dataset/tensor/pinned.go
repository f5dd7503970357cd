package tensor

import (
	"context"
	"slices"
	"sort"
	"sync"

	"daos/engine/object"
	"daos/internal/fault"
)

// Pinned is a table at one epoch, for scans: what describes it is read once and
// kept. It may be used by several goroutines.
type Pinned struct {
	t *Table
	s *state

	mu     sync.Mutex
	chunks [][]chunk   // by column, nil until asked for
	sums   [][]Summary // the same
	zones  [][]zone    // the same, until something was learned
}

// Summary is the statistics of one chunk of a column. Min and Max are in the
// column's dtype, little-endian, over all elements that are neither null nor
// NaN; of texts and bytes they are bounds. nil: none is known.
type Summary struct {
	Version      object.Epoch // of the chunk: it changes with any of its values
	First, Count uint64
	Nulls, NaNs  uint64
	Bytes        uint64
	Min, Max     []byte
}

// Pin opens a table at an epoch (0: the newest).
func (t *Table) Pin(ctx context.Context, at object.Epoch) (*Pinned, error) {
	s, err := t.load(ctx, at)
	if err != nil {
		return nil, err
	}
	return &Pinned{t: t, s: s, chunks: make([][]chunk, len(s.cols)), sums: make([][]Summary, len(s.cols)), zones: make([][]zone, len(s.cols))}, nil
}

// Columns are the columns.
func (p *Pinned) Columns() []Column { return p.s.cols }

// Length is the number of rows.
func (p *Pinned) Length() uint64 { return p.s.head.length }

// Epoch is the epoch that is read.
func (p *Pinned) Epoch() object.Epoch { return p.s.at }

func (p *Pinned) of(ctx context.Context, col int) ([]chunk, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.chunks[col] != nil || p.s.head.length == 0 {
		return p.chunks[col], nil
	}
	var all []chunk
	err := p.t.chunks(ctx, p.s, col, func(c chunk) error {
		all = append(all, c)
		return nil
	})
	if err == nil {
		p.chunks[col] = all
	}
	return all, err
}

// Kept is roughly the bytes of what has been read and learned.
func (p *Pinned) Kept() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := uint64(0)
	for i := range p.chunks {
		n += 256*uint64(len(p.chunks[i])) + 128*uint64(len(p.sums[i])) + 32*uint64(len(p.zones[i]))
	}
	return n
}

// Summaries are the statistics of a column's chunks, in order. They are not the
// caller's to change.
func (p *Pinned) Summaries(ctx context.Context, col int) ([]Summary, error) {
	all, err := p.of(ctx, col)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sums[col] != nil {
		return p.sums[col], nil
	}
	out := make([]Summary, len(all))
	for i, c := range all {
		out[i] = Summary{Version: c.version, First: c.first, Count: c.count, Nulls: c.nulls, NaNs: c.nans, Bytes: c.bytes, Min: c.min, Max: c.max}
		if c.open {
			out[i].Max = nil
		}
		if len(c.min) == 0 && c.nulls == c.count {
			out[i].Min, out[i].Max = nil, nil
		}
	}
	p.sums[col] = out
	return out, nil
}

// Range reads rows [from, to) of a column.
func (p *Pinned) Range(ctx context.Context, col int, from, to uint64) (*Data, error) {
	if from > to || to > p.s.head.length {
		return nil, fault.New(fault.Invalid, "tensor.read", p.t.name, "rows %d to %d are out of range, the length is %d", from, to, p.s.head.length)
	}
	cd := &p.s.cols[col]
	all, err := p.of(ctx, col)
	if err != nil {
		return nil, err
	}
	at := sort.Search(len(all), func(i int) bool { return all[i].end() > from })
	var out *Data
	have := 0
	for ; from < to; at++ {
		c := &all[at]
		stop := min(to, c.end())
		d, err := p.t.readRows(ctx, p.s.at, col, cd, c, int(from-c.first), int(stop-c.first))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(d.Valid, func(b byte) bool { return b > 1 }) {
			return nil, corrupt("column "+cd.Name, "the validity of a chunk is not valid")
		}
		n := int(stop - from)
		if out == nil && stop == to {
			return d, nil // within one chunk: no copy
		}
		if out == nil {
			out = &Data{}
		}
		out.add(cd, have, d, n)
		have += n
		from = stop
	}
	if out == nil {
		out = &Data{}
		if cd.Layout != Fixed {
			out.Offsets = []uint64{0}
		}
	}
	return out, nil
}

// Rows reads some rows of columns, in the order given.
func (p *Pinned) Rows(ctx context.Context, cols []int, rows []uint64) ([]Data, error) {
	r := &Reader{t: p.t, s: p.s, sel: Selection{Indices: rows, ByIndex: true}, count: uint64(len(rows)), last: make([]chunk, len(cols))}
	for _, c := range cols {
		r.idx = append(r.idx, c)
		r.cols = append(r.cols, p.s.cols[c])
	}
	out := make([]Data, len(cols))
	for have := 0; have < len(rows); {
		got, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		if have == 0 && got.N == len(rows) {
			return got.Columns, nil
		}
		for c := range cols {
			out[c].add(&r.cols[c], have, &got.Columns[c], got.N)
		}
		have += got.N
	}
	return out, nil
}
