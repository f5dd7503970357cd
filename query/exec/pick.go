package exec

import (
	"context"
	"slices"

	"daos/query/expr"
)

// draws is the numbers that rows draw and the column are drawn by, of all rows or of those named.
func (w *worker) draws(ctx context.Context, c Chunk, have map[int]expr.Vector, key int, rows []uint32, n int) (*expr.Vector, []uint64, error) {
	vs, err := w.read(ctx, c, have, []int{key}, rows)
	if err != nil {
		return nil, nil, err
	}
	f := &w.p.schema[key]
	out := make([]uint64, n)
	for i := range out {
		out[i] = drawOf(w.p.Sample.Seed, cell(f, &vs[0], i))
	}
	return &vs[0], out, nil
}

// draw keeps a fraction of the rows.
func (w *worker) draw(ctx context.Context, c Chunk, have map[int]expr.Vector, rows []uint32, n int) ([]uint32, error) {
	if rows != nil {
		n = len(rows)
	}
	_, draws, err := w.draws(ctx, c, have, w.p.key, rows, n)
	if err != nil {
		return nil, err
	}
	kept := make([]uint32, 0, n/4+1)
	for i, d := range draws {
		if d < w.p.draw {
			if rows != nil {
				kept = append(kept, rows[i])
			} else {
				kept = append(kept, uint32(i))
			}
		}
	}
	return kept, nil
}

// rowAt is the row of the chunk that is number i of those named.
func rowAt(rows []uint32, i int) uint32 {
	if rows != nil {
		return rows[i]
	}
	return uint32(i)
}

// candidate is a row of this chunk and where it goes.
type candidate struct {
	*kept
	q *keeper
}

// fill reads the cells of rows of a chunk, all at once, and puts them into their
// keepers.
func (w *worker) fill(ctx context.Context, c Chunk, have map[int]expr.Vector, rows []candidate) error {
	if len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, func(a, b candidate) int { return a.at.compare(b.at) })
	named := make([]uint32, len(rows))
	for i, r := range rows {
		named[i] = r.at.row
	}
	vs, err := w.read(ctx, c, have, w.p.out, named)
	if err != nil {
		return err
	}
	for i, r := range rows {
		if !r.q.wants(r.kept) {
			continue
		}
		r.cells = make([][]byte, len(vs))
		for k := range vs {
			if valid(&vs[k], i) {
				r.cells[k] = append(make([]byte, 0, 8), cell(&w.p.result[k], &vs[k], i)...)
			}
		}
		if err := r.q.put(r.kept); err != nil {
			return err
		}
	}
	return nil
}

// sampled puts rows into a sample of n.
func (w *worker) sampled(ctx context.Context, c Chunk, have map[int]expr.Vector, rows []uint32, n int) error {
	key, draws, err := w.draws(ctx, c, have, w.p.key, rows, n)
	if err != nil {
		return err
	}
	var by []expr.Vector
	if w.p.by >= 0 {
		if by, err = w.read(ctx, c, have, []int{w.p.by}, rows); err != nil {
			return err
		}
	}
	kf := &w.p.schema[w.p.key]
	var stratum []byte
	var touched []*keeper
	for i, d := range draws {
		if by != nil {
			stratum = encode(stratum[:0], &w.p.schema[w.p.by], &by[0], i)
		}
		q, err := w.run.sample.of(stratum)
		if err != nil {
			return err
		}
		r := kept{draw: d, key: cell(kf, key, i), at: place{w.number, w.chunk, rowAt(rows, i)}}
		if !q.wants(&r) {
			continue
		}
		// The best of this chunk alone, without cells.
		if q.local == nil {
			q.local = newKeeper(w.p.Sample.N)
			touched = append(touched, q)
		}
		if q.local.wants(&r) {
			one := r
			one.key = append([]byte(nil), r.key...)
			if err := q.local.put(&one); err != nil {
				return err
			}
		}
	}
	var all []candidate
	for _, q := range touched {
		for _, r := range q.local.rows {
			all = append(all, candidate{r, q})
		}
		q.local = nil
	}
	return w.fill(ctx, c, have, all)
}
