package engine

import (
	"bytes"
	"context"
	"iter"

	"daos/engine/kernel"
	"daos/engine/object"
	"daos/engine/placement"
	"daos/engine/target"
	"daos/internal/fault"
)

// List implements object.Lister.
func (d *Dataset) List(ctx context.Context, at object.Epoch, oid object.ID, o object.ListOptions, fn func(object.Item) bool) error {
	return list(ctx, d, at, oid, o, fn,
		func(it object.Item) (dkey, akey []byte) { return it.Dkey, it.Akey },
		func(ctx context.Context, t target.Target, p target.Place, o object.ListOptions, fn func(object.Item) bool) error {
			return t.List(ctx, at, p, o, fn)
		})
}

type arrayKey struct{ dkey, akey []byte }

// ListArrays implements object.Lister.
func (d *Dataset) ListArrays(ctx context.Context, at object.Epoch, oid object.ID, o object.ListOptions, fn func(dkey, akey []byte) bool) error {
	if err := o.CheckArrays(oid); err != nil {
		return err
	}
	return list(ctx, d, at, oid, o, func(k arrayKey) bool { return fn(k.dkey, k.akey) },
		func(k arrayKey) (dkey, akey []byte) { return k.dkey, k.akey },
		func(ctx context.Context, t target.Target, p target.Place, o object.ListOptions, fn func(arrayKey) bool) error {
			return t.ListArrays(ctx, at, p, o, func(dkey, akey []byte) bool { return fn(arrayKey{dkey, akey}) })
		})
}

// list walks the groups of an object as one sequence in byte order.
func list[T any](ctx context.Context, d *Dataset, at object.Epoch, oid object.ID, o object.ListOptions, fn func(T) bool,
	key func(T) (dkey, akey []byte), walk func(context.Context, target.Target, target.Place, object.ListOptions, func(T) bool) error) error {
	if err := o.Check(oid); err != nil {
		return err
	}
	if err := d.readable(ctx, at); err != nil {
		return err
	}
	lo, hi := o.Bounds()
	o.From, o.To, o.After, o.Prefix = lo, hi, nil, nil
	if hi != nil && bytes.Compare(lo, hi) >= 0 {
		return nil
	}
	var err error
	if n := oid.Class().Groups(); n == 1 {
		p, id := kernel.Place(d.e.layout, d.id, oid, 0)
		err = walk(ctx, d.e.targets[id], p, o, fn)
	} else {
		m := merger[T]{key: key, reverse: o.Reverse}
		err = m.run(n, o.Limit, fn, func(group int, fn func(T) bool) error {
			p, id := kernel.Place(d.e.layout, d.id, oid, uint16(group))
			return walk(ctx, d.e.targets[id], p, o, fn)
		})
	}
	if gone := d.above(at); gone != nil {
		return gone
	}
	return err
}

// merger merges sorted walks. Each walk runs as a coroutine that stands still
// inside its callback while its item waits, so nothing is copied or buffered.
// heads is a binary heap, the next item at its top.
type merger[T any] struct {
	key     func(T) (dkey, akey []byte)
	reverse bool
	heads   []head[T]
}

type head[T any] struct {
	item       T
	dkey, akey []byte
	next       func() (T, bool)
	stop       func()
}

func (m *merger[T]) less(a, b *head[T]) bool {
	c := bytes.Compare(a.dkey, b.dkey)
	if c == 0 {
		c = bytes.Compare(a.akey, b.akey)
	}
	return c < 0 != m.reverse
}

// sink moves the head at i down to its place.
func (m *merger[T]) sink(i int) {
	for {
		c := 2*i + 1
		if c >= len(m.heads) {
			return
		}
		if c+1 < len(m.heads) && m.less(&m.heads[c+1], &m.heads[c]) {
			c++
		}
		if !m.less(&m.heads[c], &m.heads[i]) {
			return
		}
		m.heads[c], m.heads[i] = m.heads[i], m.heads[c]
		i = c
	}
}

func (m *merger[T]) run(groups, limit int, fn func(T) bool, walk func(group int, fn func(T) bool) error) (err error) {
	var first error // of a walk; it ends them all
	defer func() {
		for _, h := range m.heads {
			h.stop()
		}
		if err == nil {
			err = first
		}
	}()
	for g := range groups {
		next, stop := iter.Pull(func(yield func(T) bool) {
			if err := walk(g, yield); err != nil && first == nil {
				first = err
			}
		})
		if item, ok := next(); ok {
			h := head[T]{item: item, next: next, stop: stop}
			h.dkey, h.akey = m.key(item)
			m.heads = append(m.heads, h)
		} else {
			stop()
		}
		if first != nil {
			return first
		}
	}
	for i := len(m.heads) / 2; i >= 0; i-- {
		m.sink(i)
	}
	for n := 0; len(m.heads) > 0; {
		h := &m.heads[0]
		if !fn(h.item) {
			return nil
		}
		if n++; n == limit {
			return nil
		}
		item, ok := h.next()
		if first != nil {
			return first
		}
		if ok {
			h.item = item
			h.dkey, h.akey = m.key(item)
		} else {
			h.stop()
			last := len(m.heads) - 1
			m.heads[0] = m.heads[last]
			m.heads[last] = head[T]{}
			m.heads = m.heads[:last]
		}
		m.sink(0)
	}
	return nil
}

// Anchors implements object.Scanner.
func (d *Dataset) Anchors(n int) []object.Anchor { return placement.Split(n) }

// Scan implements object.Scanner: placement group after placement group, each
// on its target.
func (d *Dataset) Scan(ctx context.Context, at object.Epoch, a object.Anchor, fn func(object.Row) bool) (object.Anchor, error) {
	return d.scan(ctx, at, a, fn, func(t target.Target, from, to uint32, resume []byte, fn func(object.Row, []byte) bool) error {
		return t.Scan(ctx, d.id, at, from, to, resume, fn)
	})
}

// ScanMarked implements object.MarkScanner.
func (d *Dataset) ScanMarked(ctx context.Context, at object.Epoch, a object.Anchor, want object.Span, fn func(object.Row) bool) (object.Anchor, error) {
	return d.scan(ctx, at, a, fn, func(t target.Target, from, to uint32, resume []byte, fn func(object.Row, []byte) bool) error {
		if m, ok := t.(target.MarkScanner); ok && d.e.opts.Marker != nil {
			return m.ScanMarked(ctx, d.id, at, from, to, resume, want, fn)
		}
		return fault.New(fault.Unsupported, "object.scan", datasetName(d.id), "this engine keeps no marks")
	})
}

func (d *Dataset) scan(ctx context.Context, at object.Epoch, a object.Anchor, fn func(object.Row) bool,
	pass func(t target.Target, from, to uint32, resume []byte, fn func(object.Row, []byte) bool) error) (object.Anchor, error) {
	span, ok, err := placement.Decode(a)
	if err != nil {
		return a, err
	}
	if !ok {
		return object.Anchor{}, nil
	}
	if err := d.readable(ctx, at); err != nil {
		return a, err
	}
	resumes := span.Resume != nil
	var pos []byte // of the last row taken, in the group that span.From lies in
	if resumes {
		pos = append(pos, span.Resume...)
	}
	here := func() object.Anchor {
		s := span
		s.Resume = nil
		if resumes {
			s.Resume = pos
		}
		return s.Encode()
	}
	for {
		if err := ctx.Err(); err != nil {
			return here(), fault.Wrap(err, "object.scan", datasetName(d.id))
		}
		pg := placement.GroupOf(span.From)
		_, last := placement.GroupRange(pg)
		to := min(last, span.To)
		stopped := false
		var resume []byte
		if resumes {
			resume = bytes.Clone(pos)
		}
		err := pass(d.e.targets[d.e.layout.Member(pg, 0)], span.From, to, resume, func(r object.Row, p []byte) bool {
			if !fn(r) {
				stopped = true
				return false
			}
			pos, resumes = append(pos[:0], p...), true
			return true
		})
		if gone := d.above(at); gone != nil {
			return here(), gone
		}
		if err != nil || stopped {
			return here(), err
		}
		if to == span.To {
			return object.Anchor{}, nil
		}
		span.From, resumes = to+1, false
	}
}

// CountScan implements object.Scanner.
func (d *Dataset) CountScan(ctx context.Context, at object.Epoch, a object.Anchor) (int64, error) {
	var n int64
	_, err := d.Scan(ctx, at, a, func(object.Row) bool { n++; return true })
	return n, err
}
