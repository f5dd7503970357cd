package tensor

import (
	"context"
	"errors"
	"io"

	"daos/dataset/race"
	"daos/engine/object"
	"daos/internal/fault"
)

// AppendOptions are the terms of an append.
type AppendOptions struct {
	Request object.RequestID
	// ExpectLength, if not nil: fault.Conflict unless the length is this.
	ExpectLength *uint64
}

// AppendResult says what was added.
type AppendResult struct {
	Start, Count uint64
	Epoch        object.Epoch
	Replayed     bool
}

// stageAt is how many bytes of rows an append holds before it stages whole
// chunks; below it the append is one transaction.
const stageAt = 32 << 20

// Append adds all rows of src at the end, in one atomic step, whatever their
// size: a reader sees all of them or none. src gives all columns, in order.
func (t *Table) Append(ctx context.Context, o AppendOptions, src Source) (AppendResult, error) {
	if done, ok, err := t.replayAppend(ctx, o.Request); ok || err != nil {
		return done, err
	}
	s, err := t.load(ctx, 0)
	if err != nil {
		return AppendResult{}, err
	}
	if err := t.expect(o, s.head.length); err != nil {
		return AppendResult{}, err
	}
	a := &appending{t: t, cols: s.cols, opts: o, tails: make([]tail, len(s.cols))}
	res, err := a.run(ctx, src)
	if err != nil && a.stage != nil {
		a.stage.abandon(ctx)
	}
	return res, err
}

func (t *Table) replayAppend(ctx context.Context, id object.RequestID) (AppendResult, bool, error) {
	if id.IsZero() {
		return AppendResult{}, false, nil
	}
	res, ok, err := t.st.Replay(ctx, id)
	if err != nil || !ok {
		return AppendResult{}, false, fault.Wrap(err, "tensor.append", t.name)
	}
	start, count, err := decodeAnswer(res.Answer)
	return AppendResult{Start: start, Count: count, Epoch: res.Epoch, Replayed: true}, err == nil, err
}

func (t *Table) expect(o AppendOptions, length uint64) error {
	if o.ExpectLength != nil && *o.ExpectLength != length {
		return fault.New(fault.Conflict, "tensor.append", t.name, "the length is %d, not %d as expected", length, *o.ExpectLength).
			Do("read what was added meanwhile, then append again")
	}
	return nil
}

// appending is one Append under way.
type appending struct {
	t     *Table
	cols  []Column
	opts  AppendOptions
	tails []tail // rows of each column not staged yet
	rows  uint64 // of all
	held  int64  // bytes in tails
	stage *staging
}

// tail is the rows of one column that are still in memory.
type tail struct {
	first uint64 // relative to the start of the append
	n     int
	Data
}

func (a *appending) run(ctx context.Context, src Source) (AppendResult, error) {
	for {
		r, err := src.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return AppendResult{}, fault.Wrap(err, "tensor.append", a.t.name)
		}
		if err := r.check(a.cols); err != nil {
			return AppendResult{}, err
		}
		for i := range r.Columns {
			tl := &a.tails[i]
			tl.add(&a.cols[i], tl.n, &r.Columns[i], r.N)
			tl.n += r.N
		}
		a.rows += uint64(r.N)
		a.held += r.Bytes()
		if a.held >= stageAt {
			if err := a.stageWhole(ctx); err != nil {
				return AppendResult{}, err
			}
		}
	}
	var out AppendResult
	err := race.Retry(ctx, func() (err error) { out, err = a.finish(ctx); return err })
	return out, err
}

// cut says how many of n rows from row on form the next chunk: up to
// ChunkSamples, and for columns of variable length up to ChunkBytes.
func cut(c *Column, d *Data, from, n int) int {
	k := min(n-from, int(c.ChunkSamples))
	if c.Layout == Fixed {
		return k
	}
	lo := d.Offsets[from]
	for k > 1 && d.Offsets[from+k]-lo > ChunkBytes {
		// Halve until it fits, then grow row by row: chunks of similar size.
		k /= 2
	}
	for from+k < n && k < int(c.ChunkSamples) && d.Offsets[from+k+1]-lo <= ChunkBytes {
		k++
	}
	return k
}

// stageWhole stages the whole chunks among the rows in memory.
func (a *appending) stageWhole(ctx context.Context) error {
	if a.stage == nil {
		a.stage = &staging{t: a.t, columns: len(a.cols)}
		if _, err := a.t.Collect(ctx); err != nil {
			return err
		}
	}
	a.held = 0
	for i := range a.cols {
		c, tl := &a.cols[i], &a.tails[i]
		from := 0
		for {
			k := cut(c, &tl.Data, from, tl.n)
			if k == 0 || from+k == tl.n && !full(c, &tl.Data, from, k) {
				break
			}
			d := tl.slice(c, from, from+k)
			if err := a.stage.add(ctx, i, c, tl.first+uint64(from), &d, k); err != nil {
				return err
			}
			from += k
		}
		if from > 0 {
			rest := tl.slice(c, from, tl.n)
			fresh := tail{first: tl.first + uint64(from), n: tl.n - from}
			fresh.add(c, 0, &rest, fresh.n)
			*tl = fresh
		}
		a.held += int64(len(tl.Values) + 8*len(tl.Offsets) + len(tl.Valid))
	}
	return a.stage.flush(ctx)
}

// full reports whether no further row would go to a chunk of k rows.
func full(c *Column, d *Data, from, k int) bool {
	if k >= int(c.ChunkSamples) {
		return true
	}
	lo, hi := d.span(c, from, from+k)
	return c.Layout != Fixed && hi-lo >= ChunkBytes
}

// finish makes the last transaction, at the length of now.
func (a *appending) finish(ctx context.Context) (AppendResult, error) {
	s, err := a.t.load(ctx, 0)
	if err != nil {
		return AppendResult{}, err
	}
	if err := a.t.expect(a.opts, s.head.length); err != nil {
		// A concurrent retry of this very request may have moved it.
		if done, ok, rerr := a.t.replayAppend(ctx, a.opts.Request); ok && rerr == nil {
			return done, nil
		}
		return AppendResult{}, err
	}
	start := s.head.length
	if a.rows > 1<<62-start {
		return AppendResult{}, fault.New(fault.TooBig, "tensor.append", a.t.name, "too many samples")
	}
	b := &change{t: a.t, s: s, next: s.head.next}
	b.tx = object.Tx{Request: a.opts.Request, ReadAt: s.at, Answer: encodeAnswer(start, a.rows)}
	b.reads(keyHead)
	if a.stage != nil {
		a.stage.publish(b, start)
	}
	for i := range a.cols {
		if err := b.appendRows(ctx, i, &a.tails[i], start, a.stage == nil); err != nil {
			return AppendResult{}, err
		}
	}
	b.put(keyHead, head{length: start + a.rows, next: b.next}.encode())
	res, err := a.t.commit(ctx, "tensor.append", &b.tx)
	if err != nil && a.stage != nil {
		err = a.stage.expired(err)
	}
	if err != nil {
		return AppendResult{}, err
	}
	if res.Replayed {
		if start, a.rows, err = decodeAnswer(res.Answer); err != nil {
			return AppendResult{}, err
		}
	}
	return AppendResult{Start: start, Count: a.rows, Epoch: res.Epoch, Replayed: res.Replayed}, nil
}

// change is a transaction on a table being put together.
type change struct {
	t    *Table
	s    *state
	next uint64 // first free chunk number
	tx   object.Tx
}

func (b *change) reads(dkey []byte) {
	b.tx.Reads = append(b.tx.Reads, object.Read{OID: tableOID, Point: true, From: dkey})
}

func (b *change) put(dkey, value []byte) {
	b.tx.Writes = append(b.tx.Writes, object.Write{Op: object.OpPut, OID: tableOID, Dkey: dkey, Akey: akeyValue, Data: value})
}

// rows writes n rows of a column into the arrays of a chunk behind the have
// rows and bytes that it holds.
func rowWrites(ws []object.Write, col int, c *Column, number, have, haveBytes uint64, d *Data, n int) []object.Write {
	key := numberKey(number)
	array := func(akey []byte, off uint64, p []byte) {
		for len(p) > 0 {
			k := min(len(p), object.MaxExtent/2)
			ws = append(ws, object.Write{Op: object.OpWrite, OID: columnOID(col), Dkey: key, Akey: akey, Offset: off, Data: p[:k]})
			off, p = off+uint64(k), p[k:]
		}
	}
	array(akeyData, haveBytes, d.Values)
	if c.Layout != Fixed {
		array(akeyOffsets, 8*have, d.ends(haveBytes))
	}
	if c.Nullable {
		v := d.Valid
		if v == nil {
			v = ones(n)
		}
		array(akeyValidity, have, v)
	}
	return ws
}

// appendRows adds the rows of a tail to the transaction: into the last chunk
// of the column as far as it has room (fill), then into new ones.
func (b *change) appendRows(ctx context.Context, col int, tl *tail, start uint64, fill bool) error {
	if tl.n == 0 {
		return nil
	}
	c := &b.s.cols[col]
	from := 0
	if fill && start > 0 {
		last, err := b.t.chunkAt(ctx, b.s, col, start-1)
		if err != nil {
			return err
		}
		if k := room(c, &last, &tl.Data, tl.n); k > 0 {
			d := tl.slice(c, 0, k)
			b.tx.Writes = rowWrites(b.tx.Writes, col, c, last.number, last.count, last.bytes, &d, k)
			more := statsOf(c, &d, k)
			last.widen(c, &more)
			b.reads(chunkKey(col, last.first))
			b.put(chunkKey(col, last.first), last.encode())
			from = k
		}
	}
	for from < tl.n {
		k := cut(c, &tl.Data, from, tl.n)
		d := tl.slice(c, from, from+k)
		ch := chunk{first: start + tl.first + uint64(from), number: b.next, stats: statsOf(c, &d, k)}
		b.next++
		b.tx.Writes = rowWrites(b.tx.Writes, col, c, ch.number, 0, 0, &d, k)
		b.put(chunkKey(col, ch.first), ch.encode())
		from += k
	}
	return nil
}

// room is how many of the first n rows of d still go into chunk last.
func room(c *Column, last *chunk, d *Data, n int) int {
	if last.count >= c.ChunkSamples {
		return 0
	}
	k := min(n, int(c.ChunkSamples-last.count))
	if c.Layout != Fixed {
		for k > 0 && last.bytes+d.Offsets[k] > ChunkBytes {
			k--
		}
	}
	return k
}
