package exec

import (
	"context"
	"fmt"
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
	top    *ranker
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
	want := workers * 4
	if few(&r) {
		want = 1
	}
	parts, err := s.Split(ctx, r.Where, p.columns(), want)
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

// fewRows is how many rows a scan begins with that one part gives soon.
const fewRows = 1024

// few reports whether a scan asks for the first rows alone: where further parts
// would begin is not worth finding out.
func few(r *Request) bool {
	return r.Limit > 0 && r.Limit <= fewRows && r.Offset <= fewRows && r.Where == nil && r.Top == nil && r.Sample == nil && !r.grouped()
}

// crashed is a panic of a worker. It goes on where the stream is read: that call
// has a guard, a goroutine of ours has none.
type crashed struct {
	value any
	stack []byte
}

func (c *crashed) Error() string { return fmt.Sprintf("%v\n\n%s", c.value, c.stack) }

// failed is the error of a part.
func failed(err error) error {
	if c, ok := err.(*crashed); ok { //nolint:errorlint // guarded makes it
		panic(c)
	}
	return err
}

// guarded runs fn, whose vectors may lie in mapped memory: a page that can't be
// read is an error.
func guarded(name string, fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(interface{ Addr() uintptr }); !ok {
				err = &crashed{p, debug.Stack()}
				return
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
			return nil, failed(x.err)
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
	all, top, sample := newGroups(s.p), (*ranker)(nil), newSampler(s.p)
	if s.p.top >= 0 {
		top = newRanker(s.p)
	}
	for _, x := range s.parts {
		for range x.out { // nothing comes; it is closed at the end
			continue
		}
		if x.err != nil {
			return failed(x.err)
		}
		s.total.Add(x.counts)
		var err error
		switch {
		case x.groups != nil:
			err = all.merge(x.groups)
		case x.top != nil:
			err = top.merge(x.top)
		case x.sample != nil:
			err = sample.merge(x.sample)
		}
		x.groups, x.top, x.sample = nil, nil, nil
		if err != nil {
			return err
		}
	}
	s.at = len(s.parts)
	var err error
	switch {
	case s.p.grouped():
		s.final, err = all.rows()
	case top != nil:
		s.final = top.rows()
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
