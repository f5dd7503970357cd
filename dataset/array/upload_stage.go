package array

import (
	"context"
	"slices"
	"time"

	"daos/engine/object"
	"daos/internal/fault"
)

// An append that is larger than what is held is staged where it will lie: in
// chunks behind the end of the array, which no reader looks at. Before the first
// of them the shape record says that there are stale chunks behind the end, as it
// does while what a smaller shape cut off is being cleared; so whoever makes the
// array longer drops them first, and nothing else has to know of uploads that were
// broken off. The last transaction sets the length. All of them demand that the
// shape record is the one that the upload has written: another append or resize
// has won otherwise.
type stage struct {
	mark  object.Epoch // of the shape record
	start uint64       // the length of the first axis
	edge  []byte       // the rows up to the first border of chunks: those chunks are seen, and are written last
	need  int          // bytes of edge
	from  uint64       // where staged rows begin
	to    uint64       // where they end
}

// stageRows stages held rows once they are many.
func (u *Upload) stageRows(ctx context.Context) error {
	if !u.many() {
		return nil
	}
	if u.stage == nil {
		if err := u.beginStage(ctx); err != nil {
			return err
		}
	}
	g := u.stage
	if k := min(g.need-len(g.edge), len(u.held)); k > 0 {
		g.edge = append(g.edge, u.held[:k]...)
		u.held = u.held[k:]
	}
	for u.many() {
		rows := u.stageable(g.to, uint64(min(max(stageAt/u.row, 1), len(u.held)/u.row)))
		data := u.held[:int(rows)*u.row]
		err := u.again(ctx, func() error {
			c, n, err := u.marked(ctx)
			if err != nil {
				return err
			}
			c.tx.Deferred = true
			if err := u.putRows(ctx, c, n.until(g.to), g.to, g.to+rows, data); err != nil {
				return err
			}
			_, err = u.d.commit(ctx, "array.upload", u.path, c)
			return err
		})
		if err != nil {
			return err
		}
		g.to += rows
		u.held = u.held[len(data):]
	}
	u.held = slices.Clone(u.held)
	return nil
}

// many reports whether more is held than one transaction should have: of bytes,
// or of chunks.
func (u *Upload) many() bool {
	if u.row == 0 || len(u.held) < u.row {
		return false
	}
	axes := slices.Clone(u.axes)
	axes[0] = Axis{Count: uint64(len(u.held) / u.row), Step: 1}
	return len(u.held) >= stageAt || axes[0].Count > 1 && touchedChunks(axes, u.node.Spec.Chunks) > maxChunksTouched/4
}

// stageable is how many of n rows from a position on go into one transaction: up
// to the end of chunks where there is one, and of not too many chunks.
func (u *Upload) stageable(from, n uint64) uint64 {
	s := u.node.Spec
	axes := all(s.Shape)
	for {
		if end := (from + n) / s.Chunks[0] * s.Chunks[0]; end > from {
			n = end - from
		}
		axes[0] = Axis{Start: from, Count: n, Step: 1}
		if n == 1 || touchedChunks(axes, s.Chunks) <= maxChunksTouched/4 {
			return n
		}
		n = max(n/2, 1)
	}
}

// until is the array with an end up to which everything is written.
func (n *Node) until(end uint64) *Node {
	s := *n.Spec
	s.Shape = slices.Clone(s.Shape)
	s.Shape[0] = end
	return &Node{Path: n.Path, Spec: &s, ID: n.ID, extent: extent{shape: s.Shape}}
}

// again makes a change that others may be faster than.
func (u *Upload) again(ctx context.Context, f func() error) error {
	_, _, err := u.d.once(ctx, call{}, 0, func(*Done) error { return f() })
	return err
}

// beginStage writes down that there will be chunks behind the end.
func (u *Upload) beginStage(ctx context.Context) error {
	g := &stage{}
	err := u.again(ctx, func() error {
		c, n, err := u.d.clean(ctx, u.path, object.RequestID{})
		if err == nil {
			err = u.same(n)
		}
		if err == nil {
			err = u.d.expect(n, u.o.ExpectLength)
		}
		if err != nil {
			return err
		}
		s := n.Spec
		g.start = s.Shape[0]
		g.from = (g.start + s.Chunks[0] - 1) / s.Chunks[0] * s.Chunks[0]
		if (g.from-g.start)*uint64(u.row) > uploadMax/2 {
			return fault.New(fault.TooBig, "array.upload", u.d.where(u.path), "%d rows are missing to the end of a chunk, which are more than %d bytes", g.from-g.start, uploadMax/2).
				Do("upload fewer rows at a time")
		}
		g.to, g.need = g.from, int(g.from-g.start)*u.row
		stale := slices.Clone(s.Shape)
		stale[0] = MaxLength
		c.put(catalogOID, nodeKey(u.path), akeyShape, extent{shape: s.Shape, stale: stale}.encode())
		g.mark, err = u.d.commit(ctx, "array.upload", u.path, c)
		return err
	})
	if err != nil {
		return err
	}
	u.stage = g
	return nil
}

// marked begins a transaction on the array as the stage has left it.
func (u *Upload) marked(ctx context.Context) (*change, *Node, error) {
	c, err := u.d.change(ctx, object.RequestID{}, nil)
	if err != nil {
		return nil, nil, err
	}
	n, err := u.d.array(ctx, c.tx.ReadAt, u.path)
	if err != nil {
		return nil, nil, err
	}
	_, version, err := u.d.st.Get(ctx, c.tx.ReadAt, catalogOID, nodeKey(u.path), akeyShape)
	if err != nil {
		return nil, nil, fault.Wrap(err, "array.upload", u.d.where(u.path))
	}
	if n.ID != u.node.ID || version != u.stage.mark {
		return nil, nil, fault.New(fault.Conflict, "array.upload", u.d.where(u.path), "the array was appended to, or given another shape, while the upload was under way").
			Do("upload again; one upload at a time goes to the end of an array")
	}
	c.reads(catalogOID, nodeKey(u.path), akeyShape)
	return c, n, nil
}

// publish makes what was staged seen, with what is still held.
func (u *Upload) publish(ctx context.Context, done *Done) (start uint64, err error) {
	g := u.stage
	c, n, err := u.marked(ctx)
	if err != nil {
		return 0, err
	}
	c.tx.Request, c.tx.Barrier = u.o.Request, true
	end := g.start + u.rows
	if err := u.putRows(ctx, c, n.until(g.start), g.start, end, g.edge); err != nil {
		return 0, err
	}
	if err := u.putRows(ctx, c, n.until(g.to), g.to, end, u.held); err != nil {
		return 0, err
	}
	return g.start, u.lengthen(ctx, c, n, g.start, done)
}

// abandonTime is how long the end of a broken upload may take.
const abandonTime = 30 * time.Second

// Abandon drops what was staged, if it still is. What it can't drop is dropped by
// the next append or resize.
func (u *Upload) Abandon(ctx context.Context) {
	if u.stage == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTime)
	defer cancel()
	if _, _, err := u.marked(ctx); err == nil {
		_ = u.again(ctx, func() error {
			_, _, err := u.d.clean(ctx, u.path, object.RequestID{})
			return err
		})
	}
	u.stage = nil
}
