package tensor

import (
	"context"
	"errors"
	"io"

	"daos/dataset/race"
	"daos/engine/object"
	"daos/internal/fault"
)

// OverwriteOptions are the terms of an overwrite.
type OverwriteOptions struct {
	Request object.RequestID
	Start   uint64   // first sample to replace
	Columns []string // what src gives, in its order; nil: all columns
}

// OverwriteResult says what was replaced.
type OverwriteResult struct {
	Start, Count uint64
	Epoch        object.Epoch
	Replayed     bool
}

// overwriteMax bounds the rows of one overwrite: it is one transaction, with
// room for what has to be written again around them.
const overwriteMax = 192 << 20

// Overwrite replaces samples from Start on, in one atomic step. It writes new
// versions of what it changes; older epochs keep what they see. fault.Invalid
// if the rows do not lie within the length, fault.TooBig if they do not fit
// into one transaction.
func (t *Table) Overwrite(ctx context.Context, o OverwriteOptions, src Source) (OverwriteResult, error) {
	if !o.Request.IsZero() {
		res, ok, err := t.st.Replay(ctx, o.Request)
		if err != nil {
			return OverwriteResult{}, fault.Wrap(err, "tensor.overwrite", t.name)
		}
		if ok {
			start, n, err := decodeAnswer(res.Answer)
			return OverwriteResult{start, n, res.Epoch, true}, err
		}
	}
	s, err := t.load(ctx, 0)
	if err != nil {
		return OverwriteResult{}, err
	}
	idx, cols, err := t.pick(s, o.Columns)
	if err != nil {
		return OverwriteResult{}, err
	}
	rows := &Rows{Columns: make([]Data, len(cols))}
	for {
		r, err := src.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return OverwriteResult{}, fault.Wrap(err, "tensor.overwrite", t.name)
		}
		if err := r.check(cols); err != nil {
			return OverwriteResult{}, err
		}
		for i := range r.Columns {
			rows.Columns[i].add(&cols[i], rows.N, &r.Columns[i], r.N)
		}
		rows.N += r.N
		if rows.Bytes() > overwriteMax {
			return OverwriteResult{}, fault.New(fault.TooBig, "tensor.overwrite", t.name, "more than %d bytes in one overwrite", overwriteMax).Do("overwrite in pieces")
		}
	}
	var out OverwriteResult
	err = race.Retry(ctx, func() (err error) { out, err = t.overwrite(ctx, o, idx, rows); return err })
	return out, err
}

// pick resolves column names; none: all.
func (t *Table) pick(s *state, names []string) (idx []int, cols []Column, err error) {
	if len(names) == 0 {
		for i := range s.cols {
			idx = append(idx, i)
		}
		return idx, s.cols, nil
	}
	if len(names) > MaxColumns {
		return nil, nil, fault.New(fault.TooBig, "tensor.column", t.name, "%d columns named, at most %d are allowed", len(names), MaxColumns)
	}
	seen := map[int]bool{}
	for _, n := range names {
		i, err := t.column(s, n)
		if err != nil {
			return nil, nil, err
		}
		if seen[i] {
			return nil, nil, fault.New(fault.Invalid, "tensor.column", t.name, "column %q is named twice", n)
		}
		seen[i] = true
		idx, cols = append(idx, i), append(cols, s.cols[i])
	}
	return idx, cols, nil
}

func (t *Table) overwrite(ctx context.Context, o OverwriteOptions, idx []int, rows *Rows) (OverwriteResult, error) {
	s, err := t.load(ctx, 0)
	if err != nil {
		return OverwriteResult{}, err
	}
	n := uint64(rows.N)
	if o.Start > s.head.length || n > s.head.length-o.Start {
		return OverwriteResult{}, fault.New(fault.Invalid, "tensor.overwrite", t.name, "samples %d to %d are beyond the length %d", o.Start, o.Start+n, s.head.length).
			Do("append what is new")
	}
	b := &change{t: t, s: s, next: s.head.next}
	b.tx = object.Tx{Request: o.Request, ReadAt: s.at, Answer: encodeAnswer(o.Start, n)}
	for k, col := range idx {
		for at := o.Start; at < o.Start+n; {
			c, err := t.chunkAt(ctx, s, col, at)
			if err != nil {
				return OverwriteResult{}, err
			}
			hi := min(c.end(), o.Start+n)
			d := rows.Columns[k].slice(&s.cols[col], int(at-o.Start), int(hi-o.Start))
			if err := b.replace(ctx, col, c, at, hi, &d); err != nil {
				return OverwriteResult{}, err
			}
			at = hi
		}
	}
	if b.next != s.head.next {
		b.reads(keyHead)
		b.put(keyHead, head{length: s.head.length, next: b.next}.encode())
	}
	if b.tx.Bytes() > object.MaxTx {
		return OverwriteResult{}, fault.New(fault.TooBig, "tensor.overwrite", t.name, "the change needs %d bytes with what has to be written again around it", b.tx.Bytes()).Do("overwrite in pieces")
	}
	res, err := t.commit(ctx, "tensor.overwrite", &b.tx)
	if err != nil {
		return OverwriteResult{}, err
	}
	out := OverwriteResult{o.Start, n, res.Epoch, res.Replayed}
	if res.Replayed {
		out.Start, out.Count, err = decodeAnswer(res.Answer)
	}
	return out, err
}

// replace puts d in the place of samples [lo, hi) of chunk c.
func (b *change) replace(ctx context.Context, col int, c chunk, lo, hi uint64, d *Data) error {
	cd := &b.s.cols[col]
	from, to, n := int(lo-c.first), int(hi-c.first), int(c.count)
	b.reads(chunkKey(col, c.first))
	whole := *d
	if from > 0 || to < n {
		old, err := b.t.readRows(ctx, b.s.at, col, cd, &c, 0, n)
		if err != nil {
			return err
		}
		before, after := old.slice(cd, 0, from), old.slice(cd, to, n)
		whole = Data{}
		whole.add(cd, 0, &before, from)
		whole.add(cd, from, d, to-from)
		whole.add(cd, to, &after, n-to)
	}
	if cd.Layout == Fixed {
		b.tx.Writes = rowWrites(b.tx.Writes, col, cd, c.number, uint64(from), uint64(from*cd.ItemSize()), d, to-from)
		c.stats = statsOf(cd, &whole, n)
		b.put(chunkKey(col, c.first), c.encode())
		return nil
	}
	// Rows of another length move all that follow: the chunk is written anew
	// under new numbers, in as many chunks as its bytes ask for.
	b.tx.Writes = append(b.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: columnOID(col), Dkey: numberKey(c.number)})
	tl := tail{n: n, Data: whole}
	return b.appendRows(ctx, col, &tl, c.first, false)
}
