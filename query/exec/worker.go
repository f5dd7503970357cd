package exec

import (
	"context"
	"errors"
	"io"

	"daos/internal/fault"
	"daos/query/expr"
)

// worker scans one part.
type worker struct {
	p      *plan
	run    *running
	number int
	chunk  uint64
	b      *builder
	keep   []uint32   // scratch
	batch  expr.Batch // scratch
	ranks  []rank     // scratch
	counts *Counters
}

func (w *worker) scan(ctx context.Context) error {
	w.counts = &w.run.counts
	switch {
	case w.p.grouped():
		w.run.groups = newGroups(w.p)
	case w.p.top >= 0:
		w.run.top = newRanker(w.p)
	case w.p.Sample != nil && w.p.Sample.N > 0:
		w.run.sample = newSampler(w.p)
	}
	w.b = newBuilder(w.p.result)
	for {
		// Deadline and cancel are minded at every chunk.
		if err := ctx.Err(); err != nil {
			return fault.Wrap(context.Cause(ctx), "query.scan", "scan")
		}
		c, err := w.run.part.Next(ctx)
		if s, ok := w.run.part.(ScannedCounter); ok {
			w.counts.RowsScanned += s.ScannedRows()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		w.chunk++
		w.counts.Chunks++
		if err := w.one(ctx, c); err != nil {
			return err
		}
		if w.b.rows >= w.p.BatchRows || w.b.bytes >= batchBytes {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
	}
	if w.b.rows > 0 {
		return w.flush(ctx)
	}
	return nil
}

// flush hands out what was built, in batches.
func (w *worker) flush(ctx context.Context) error {
	r := w.b.take()
	for from := 0; from < r.N; from += w.p.BatchRows {
		b := batch{rows: slice(w.p.result, r, from, min(r.N, from+w.p.BatchRows)), counts: *w.counts}
		*w.counts = Counters{}
		select {
		case w.run.out <- b:
		case <-ctx.Done():
			return fault.Wrap(context.Cause(ctx), "query.scan", "scan")
		}
	}
	return nil
}

// one takes a chunk: prune, read what the predicate needs, filter, draw, read
// the rest for what is left.
func (w *worker) one(ctx context.Context, c Chunk) error {
	n := c.Rows()
	if n == 0 {
		return nil
	}
	verdict := expr.Some
	if w.p.pred == nil {
		verdict = expr.All
	} else if st := c.Stats(); st != nil {
		verdict = w.p.pred.Prune(st)
	}
	if verdict == expr.None {
		w.counts.Pruned++
		return nil
	}
	w.counts.Read++
	if _, ok := w.run.part.(ScannedCounter); !ok {
		w.counts.RowsScanned += uint64(n)
	}
	have := map[int]expr.Vector{}
	var rows []uint32 // nil: all
	if verdict == expr.Some {
		vs, err := c.Read(ctx, w.p.whereAt, nil)
		if err != nil {
			return err
		}
		w.batch.N = n
		if w.batch.Columns == nil {
			w.batch.Columns = make([]expr.Vector, len(w.p.schema))
		}
		for i, col := range w.p.whereAt {
			w.batch.Columns[col] = vs[i]
			have[col] = vs[i]
			w.counts.BytesRead += vectorBytes(&vs[i])
		}
		if w.keep, err = w.p.pred.Filter(&w.batch, w.keep[:0]); err != nil {
			return err
		}
		if rows = w.keep; len(rows) == 0 {
			return nil
		}
		if len(rows) == n {
			rows = nil
		}
	}
	if w.p.Sample != nil && w.p.Sample.N == 0 && !w.p.all {
		var err error
		if rows, err = w.draw(ctx, c, have, rows, n); err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
	}
	matched := n
	if rows != nil {
		matched = len(rows)
	}
	w.counts.RowsMatched += uint64(matched)
	return w.use(ctx, c, have, rows, matched)
}

func (w *worker) use(ctx context.Context, c Chunk, have map[int]expr.Vector, rows []uint32, n int) error {
	switch {
	case w.run.groups != nil:
		cols := make([]expr.Vector, 0, len(w.p.group)+len(w.p.aggs))
		want := append(append([]int(nil), w.p.group...), w.p.aggs...)
		vs, err := w.read(ctx, c, have, want, rows)
		if err != nil {
			return err
		}
		cols = append(cols, vs...)
		return w.run.groups.add(cols, n)
	case w.run.top != nil:
		return w.best(ctx, c, have, rows, n)
	case w.run.sample != nil:
		return w.sampled(ctx, c, have, rows, n)
	}
	vs, err := w.read(ctx, c, have, w.p.out, rows)
	if err != nil {
		return err
	}
	w.b.add(vs, nil, n)
	return nil
}

// read is the columns of the rows: picked out of what is there already, else
// read. A column -1 is left empty.
func (w *worker) read(ctx context.Context, c Chunk, have map[int]expr.Vector, cols []int, rows []uint32) ([]expr.Vector, error) {
	var missing []int
	at := map[int]int{}
	for _, col := range cols {
		if col < 0 {
			continue
		}
		if _, ok := have[col]; ok {
			continue
		}
		if _, ok := at[col]; !ok {
			at[col] = len(missing)
			missing = append(missing, col)
		}
	}
	var vs []expr.Vector
	if len(missing) > 0 {
		var err error
		if vs, err = c.Read(ctx, missing, rows); err != nil {
			return nil, err
		}
		for i := range vs {
			w.counts.BytesRead += vectorBytes(&vs[i])
		}
	}
	out := make([]expr.Vector, len(cols))
	picked := map[int]expr.Vector{}
	for i, col := range cols {
		if col < 0 {
			continue
		}
		v, ok := have[col]
		switch {
		case !ok:
			out[i] = vs[at[col]]
		case rows == nil:
			out[i] = v
		default:
			p, ok := picked[col]
			if !ok {
				p = pick(&w.p.schema[col], &v, rows)
				picked[col] = p
			}
			out[i] = p
		}
	}
	return out, nil
}
