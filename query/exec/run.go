package exec

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"sync"

	"daos/internal/fault"
	"daos/query/expr"
)

// Stream is a scan that runs. One goroutine uses it.
type Stream struct {
	p      *plan
	cancel context.CancelFunc
	wg     sync.WaitGroup
	parts  []*running
	at     int
	total  Counters
	skip   uint64 // rows still to leave out
	left   uint64 // rows still wanted, with a limit
	done   bool
	// A scan that has its result only at the end.
	final *Rows
	ready bool
	sent  int
}

// running is a part and what comes of it.
type running struct {
	part   Part
	out    chan batch
	counts Counters // since the last batch
	groups *groups
	keep   *keeper
	sample *sampler
	err    error
}

type batch struct {
	rows   *Rows
	counts Counters
}

// Open checks a request against a table and begins to scan. Close must be called.
func Open(ctx context.Context, s Source, r Request) (*Stream, error) {
	p, err := check(r, s)
	if err != nil {
		return nil, err
	}
	workers := r.Parallel
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	parts, err := s.Split(ctx, r.Where, p.columns(), workers*4)
	if err != nil {
		return nil, err
	}
	st := &Stream{p: p, skip: r.Offset, left: r.Limit}
	for _, x := range parts {
		st.parts = append(st.parts, &running{part: x, out: make(chan batch, 2)})
	}
	ctx, st.cancel = context.WithCancel(ctx)
	next := make(chan int, len(parts))
	for i := range parts {
		next <- i
	}
	close(next)
	for range min(workers, len(parts)) {
		st.wg.Add(1)
		go func() {
			defer st.wg.Done()
			for i := range next {
				x := st.parts[i]
				if x.err = ctx.Err(); x.err == nil {
					w := &worker{p: p, run: x, number: i}
					x.err = guarded(s.Name(), func() error { return w.scan(ctx) })
				}
				x.part.Close()
				close(x.out)
			}
		}()
	}
	return st, nil
}

// guarded runs fn, whose vectors may lie in mapped memory: a page that can't be
// read is an error.
func guarded(name string, fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(interface{ Addr() uintptr }); !ok {
				panic(p)
			}
			err = fault.New(fault.Corrupt, "query.scan", name, "a page of a segment can't be read").Do("restore the dataset from a copy; run a scrub to list what is damaged")
		}
	}()
	return fn()
}

// Schema is the columns of the result.
func (s *Stream) Schema() expr.Schema { return s.p.result }

// Counters are those of what was handed out so far, after io.EOF of all.
func (s *Stream) Counters() Counters { return s.total }

// Next is the next rows, at least one; io.EOF after the last. Then the result
// is complete: a part that failed is an error, never a shorter result.
func (s *Stream) Next() (*Rows, error) {
	if s.p.grouped() || s.p.top >= 0 || s.p.Sample != nil && s.p.Sample.N > 0 {
		return s.nextFinal()
	}
	for !s.done {
		r, err := s.nextBatch()
		if err != nil {
			return nil, err
		}
		if r = s.window(r); r != nil {
			s.total.RowsOut += uint64(r.N)
			s.total.BytesOut += r.Bytes()
			return r, nil
		}
	}
	return nil, io.EOF
}

// nextBatch is the next rows of the parts, in their order.
func (s *Stream) nextBatch() (*Rows, error) {
	for s.at < len(s.parts) {
		x := s.parts[s.at]
		if b, ok := <-x.out; ok {
			s.total.Add(b.counts)
			return b.rows, nil
		}
		if x.err != nil {
			return nil, x.err
		}
		s.total.Add(x.counts)
		s.at++
	}
	return nil, io.EOF
}

// window applies offset and limit; nil if nothing is left of the rows.
func (s *Stream) window(r *Rows) *Rows {
	if s.skip > 0 {
		if s.skip >= uint64(r.N) {
			s.skip -= uint64(r.N)
			return nil
		}
		r = slice(s.p.result, r, int(s.skip), r.N)
		s.skip = 0
	}
	if s.p.Limit > 0 {
		if uint64(r.N) >= s.left {
			r = slice(s.p.result, r, 0, int(s.left))
			s.done = true
			s.cancel()
		}
		s.left -= uint64(r.N)
		if r.N == 0 {
			return nil
		}
	}
	return r
}

// slice is the rows from, ..., to-1.
func slice(fields []expr.Field, r *Rows, from, to int) *Rows {
	if from == 0 && to == r.N {
		return r
	}
	rows := make([]uint32, to-from)
	for i := range rows {
		rows[i] = uint32(from + i)
	}
	out := &Rows{N: len(rows)}
	for c := range fields {
		out.Columns = append(out.Columns, pick(&fields[c], &r.Columns[c], rows))
	}
	return out
}

// nextFinal waits for all parts, merges them and hands out the result.
func (s *Stream) nextFinal() (*Rows, error) {
	if !s.ready {
		if err := s.finish(); err != nil {
			return nil, err
		}
		s.ready = true
	}
	if s.done || s.sent >= s.final.N {
		return nil, io.EOF
	}
	for s.sent < s.final.N && !s.done {
		to := min(s.final.N, s.sent+s.p.BatchRows)
		r := slice(s.p.result, s.final, s.sent, to)
		s.sent = to
		if r = s.window(r); r != nil {
			s.total.RowsOut += uint64(r.N)
			s.total.BytesOut += r.Bytes()
			return r, nil
		}
	}
	return nil, io.EOF
}

func (s *Stream) finish() error {
	all, keep, sample := newGroups(s.p), (*keeper)(nil), newSampler(s.p)
	if s.p.top >= 0 {
		keep = newKeeper(s.p, s.p.Top.K)
	}
	for _, x := range s.parts {
		for range x.out { // nothing comes; it is closed at the end
			continue
		}
		if x.err != nil {
			return x.err
		}
		s.total.Add(x.counts)
		var err error
		switch {
		case x.groups != nil:
			err = all.merge(x.groups)
		case x.keep != nil:
			err = keep.merge(x.keep)
		case x.sample != nil:
			err = sample.merge(x.sample)
		}
		x.groups, x.keep, x.sample = nil, nil, nil
		if err != nil {
			return err
		}
	}
	s.at = len(s.parts)
	var err error
	switch {
	case s.p.grouped():
		s.final, err = all.rows()
	case keep != nil:
		s.final = toRows(s.p.result, keep.inOrder())
	default:
		s.final = toRows(s.p.result, sample.inOrder())
	}
	return err
}

// Close ends the scan and waits for its workers. It may be called twice.
func (s *Stream) Close() {
	s.cancel()
	for _, x := range s.parts {
		for range x.out {
			continue
		}
	}
	s.wg.Wait()
	s.at, s.done = len(s.parts), true
}

// worker scans one part.
type worker struct {
	p      *plan
	run    *running
	number int
	chunk  uint64
	b      *builder
	keep   []uint32 // scratch
	counts *Counters
}

func (w *worker) scan(ctx context.Context) error {
	w.counts = &w.run.counts
	switch {
	case w.p.grouped():
		w.run.groups = newGroups(w.p)
	case w.p.top >= 0:
		w.run.keep = newKeeper(w.p, w.p.Top.K)
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
		b := expr.Batch{N: n, Columns: make([]expr.Vector, len(w.p.schema))}
		for i, col := range w.p.whereAt {
			b.Columns[col] = vs[i]
			have[col] = vs[i]
			w.counts.BytesRead += vectorBytes(&vs[i])
		}
		if w.keep, err = w.p.pred.Filter(&b, w.keep[:0]); err != nil {
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
	case w.run.keep != nil:
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

// best puts rows into the top k: first by the column of the order alone, then
// the other columns of those that are wanted.
func (w *worker) best(ctx context.Context, c Chunk, have map[int]expr.Vector, rows []uint32, n int) error {
	vs, err := w.read(ctx, c, have, []int{w.p.top}, rows)
	if err != nil {
		return err
	}
	f, q := &w.p.schema[w.p.top], w.run.keep
	// The best of this chunk alone, without cells.
	local := newKeeper(w.p, w.p.Top.K)
	for i := range n {
		r := kept{at: place{w.number, w.chunk, rowAt(rows, i)}, null: !valid(&vs[0], i)}
		if !r.null {
			r.key = cell(f, &vs[0], i)
		}
		if q.wants(&r) && local.wants(&r) {
			one := r
			one.key = append([]byte(nil), r.key...)
			if err := local.put(&one); err != nil {
				return err
			}
		}
	}
	return w.fill(ctx, c, have, local, q)
}

// fill reads the cells of the rows of a chunk and puts them into a keeper.
func (w *worker) fill(ctx context.Context, c Chunk, have map[int]expr.Vector, local, q *keeper) error {
	if len(local.rows) == 0 {
		return nil
	}
	order := local.rows
	sortByPlace(order)
	named := make([]uint32, len(order))
	for i, r := range order {
		named[i] = r.at.row
	}
	vs, err := w.read(ctx, c, have, w.p.out, named)
	if err != nil {
		return err
	}
	for i, r := range order {
		if !q.wants(r) {
			continue
		}
		r.cells = make([][]byte, len(vs))
		for k := range vs {
			if valid(&vs[k], i) {
				r.cells[k] = append(make([]byte, 0, 8), cell(&w.p.result[k], &vs[k], i)...)
			}
		}
		if err := q.put(r); err != nil {
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
	local := newSampler(w.p)
	kf := &w.p.schema[w.p.key]
	var stratum []byte
	for i, d := range draws {
		if by != nil {
			stratum = encode(stratum[:0], &w.p.schema[w.p.by], &by[0], i)
		}
		q, err := w.run.sample.of(stratum)
		if err != nil {
			return err
		}
		mine, err := local.of(stratum)
		if err != nil {
			return err
		}
		r := kept{draw: d, key: cell(kf, key, i), at: place{w.number, w.chunk, rowAt(rows, i)}}
		if q.wants(&r) && mine.wants(&r) {
			one := r
			one.key = append([]byte(nil), r.key...)
			if err := mine.put(&one); err != nil {
				return err
			}
		}
	}
	for k, mine := range local.strata {
		q, err := w.run.sample.of([]byte(k))
		if err != nil {
			return err
		}
		if err := w.fill(ctx, c, have, mine, q); err != nil {
			return err
		}
	}
	return nil
}
