package array

import (
	"context"
	"slices"
	"strconv"

	"daos/dataset/race"
	"daos/engine/object"
	"daos/internal/fault"
)

// AppendOptions are the terms of an Append.
type AppendOptions struct {
	Request object.RequestID
	Axis    int
	// Count is how many positions are added along the axis.
	Count uint64
	// ExpectLength, if not nil: fault.Conflict unless the array is so long.
	ExpectLength *uint64
}

// Append makes an array longer along one axis and fills the new part, in one
// transaction. It returns the first new position.
func (d *Dataset) Append(ctx context.Context, path string, data []byte, o AppendOptions) (uint64, Done, error) {
	expect := []byte("any")
	if o.ExpectLength != nil {
		expect = strconv.AppendUint(nil, *o.ExpectLength, 10)
	}
	k := newCall(opAppend, o.Request, []byte(path), data, strconv.AppendInt(nil, int64(o.Axis), 10), strconv.AppendUint(nil, o.Count, 10), expect)
	var start uint64
	done, v, err := d.once(ctx, k, 1, func(done *Done) error {
		c, n, err := d.clean(ctx, path, o.Request)
		if err != nil {
			return err
		}
		s := n.Spec
		if o.Axis < 0 || o.Axis >= len(s.Shape) {
			return fault.New(fault.Invalid, "array.append", d.where(path), "there is no axis %d, the shape is %v", o.Axis, s.Shape)
		}
		start = s.Shape[o.Axis]
		if o.ExpectLength != nil && *o.ExpectLength != start {
			return fault.New(fault.Conflict, "array.append", d.where(path), "the length is %d, not %d as expected", start, *o.ExpectLength).
				Do("read what was added meanwhile, then append again")
		}
		if o.Count > MaxLength {
			return fault.New(fault.TooBig, "array.append", d.where(path), "%d positions in one append", o.Count)
		}
		shape := slices.Clone(s.Shape)
		shape[o.Axis] += o.Count
		if err := checkShape(s.DType, shape); err != nil {
			return fault.New(fault.TooBig, "array.append", d.where(path), "%s", err)
		}
		axes := all(shape)
		axes[o.Axis] = Axis{Start: start, Count: o.Count, Step: 1}
		size, err := d.checkData(path, s, lengths(axes), data, false)
		if err != nil {
			return err
		}
		c.tx.Answer = k.answer(start)
		if size > 0 {
			if err := d.put(ctx, c, n, shape, axes, data); err != nil {
				return err
			}
		}
		c.put(catalogOID, nodeKey(path), akeyShape, extent{shape: shape}.encode())
		done.Epoch, err = d.commit(ctx, "array.append", path, c)
		return err
	})
	if done.Replayed {
		start = v[0]
	}
	return start, done, err
}

// Resize sets the shape of an array. What is cut off is gone: where the array
// grows again it has the fill value. A change that makes one axis shorter and
// another one longer is made in two steps, the shorter one first.
func (d *Dataset) Resize(ctx context.Context, path string, shape []uint64, req object.RequestID) (Done, error) {
	call := newCall(opResize, req, []byte(path), extent{shape: shape}.encode())
	done, _, err := d.once(ctx, call, 0, func(done *Done) error {
		at, err := d.st.ReadEpoch(ctx, 0)
		if err != nil {
			return err
		}
		n, err := d.array(ctx, at, path)
		if err != nil {
			return err
		}
		s := n.Spec
		if len(shape) != len(s.Shape) {
			return fault.New(fault.Invalid, "array.resize", d.where(path), "a shape of %d axes, the array has %d", len(shape), len(s.Shape))
		}
		if err := checkShape(s.DType, shape); err != nil {
			return fault.New(fault.TooBig, "array.resize", d.where(path), "%s", err)
		}
		shorter, stale := slices.Clone(shape), slices.Clone(s.Shape)
		for k := range shape {
			shorter[k] = min(shape[k], s.Shape[k])
			if n.extent.stale != nil {
				stale[k] = max(stale[k], n.extent.stale[k])
			}
		}
		if !slices.Equal(shorter, s.Shape) {
			c := &change{object.Tx{ReadAt: at}}
			if slices.Equal(shorter, shape) {
				c.tx.Request, c.tx.Answer = req, call.answer()
			}
			c.reads(catalogOID, nodeKey(path), akeyShape)
			c.put(catalogOID, nodeKey(path), akeyShape, extent{shape: shorter, stale: stale}.encode())
			if done.Epoch, err = d.commit(ctx, "array.resize", path, c); err != nil {
				return err
			}
			if slices.Equal(shorter, shape) {
				// The shape is set. What fails now is finished by whoever grows it.
				_, _, err := d.clean(ctx, path, object.RequestID{})
				if err != nil && ctx.Err() == nil && !fault.Is(err, fault.NotFound) {
					if !race.WasLost(err) {
						return err
					}
				}
				return nil
			}
		}
		c, _, err := d.clean(ctx, path, req)
		if err != nil {
			return err
		}
		c.tx.Answer = call.answer()
		c.put(catalogOID, nodeKey(path), akeyShape, extent{shape: shape}.encode())
		done.Epoch, err = d.commit(ctx, "array.resize", path, c)
		return err
	})
	return done, err
}

const (
	// cleanChunks and cleanBytes bound one transaction of clean.
	cleanChunks = 2048
	cleanBytes  = 32 << 20
)

// clean drops the chunks that lie outside the shape of an array, if there are
// any, and then begins a transaction that has read the shape.
func (d *Dataset) clean(ctx context.Context, path string, req object.RequestID) (*change, *Node, error) {
	var after []byte
	for {
		c, err := d.change(ctx, object.RequestID{}, nil)
		if err != nil {
			return nil, nil, err
		}
		n, err := d.array(ctx, c.tx.ReadAt, path)
		if err != nil {
			return nil, nil, err
		}
		c.reads(catalogOID, nodeKey(path), akeyShape)
		if n.extent.stale == nil {
			c.tx.Request = req
			return c, n, nil
		}
		next, err := d.cleanSome(ctx, c, n, after)
		if err != nil {
			return nil, nil, fault.Wrap(err, "array.clean", d.where(path))
		}
		if next == nil {
			c.put(catalogOID, nodeKey(path), akeyShape, extent{shape: n.Spec.Shape}.encode())
		}
		if len(c.tx.Writes) > 0 {
			if _, err := d.commit(ctx, "array.clean", path, c); err != nil {
				return nil, nil, err
			}
		}
		after = next
	}
}

// cleanSome puts into c what drops stale chunks after a key, and says where to go
// on; nil: that was all.
func (d *Dataset) cleanSome(ctx context.Context, c *change, n *Node, after []byte) (next []byte, err error) {
	s, oid := n.Spec, chunksOID(n.ID)
	type edge struct {
		key    []byte
		coords []uint64
	}
	var edges []edge
	var failed error
	held, seen := 0, 0
	err = d.st.List(ctx, c.tx.ReadAt, oid, object.ListOptions{After: after, Akey: akeyRecord}, func(it object.Item) bool {
		if seen++; len(c.tx.Writes) >= cleanChunks || held >= cleanBytes || seen > 64*cleanChunks {
			return false
		}
		next = slices.Clone(it.Dkey)
		coords, err := decodeChunkKey(it.Dkey, len(s.Shape))
		if err != nil {
			failed = err
			return false
		}
		in := inside(coords, s.Chunks, s.Shape)
		if product(in) == 0 && len(in) > 0 {
			c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: oid, Dkey: next})
			return true
		}
		for k := range in {
			if in[k] < s.Chunks[k] && n.extent.stale[k] > s.Shape[k] {
				edges = append(edges, edge{next, coords})
				held += s.chunkBytes()
				break
			}
		}
		return true
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	stopped := len(c.tx.Writes) >= cleanChunks || held >= cleanBytes || seen > 64*cleanChunks
	for _, e := range edges {
		if err := d.trim(ctx, c, n, e.key, e.coords); err != nil {
			return nil, err
		}
	}
	if !stopped {
		return nil, nil
	}
	return next, nil
}

// trim writes a chunk anew that lies inside the shape in part only.
func (d *Dataset) trim(ctx context.Context, c *change, n *Node, key []byte, coords []uint64) error {
	s, oid := n.Spec, chunksOID(n.ID)
	in := inside(coords, s.Chunks, s.Shape)
	axes := make([]Axis, len(in))
	for k := range axes {
		axes[k] = Axis{Start: coords[k] * s.Chunks[k], Count: in[k], Step: 1}
	}
	data := make([]byte, product(in)*uint64(s.DType.size))
	r := &Reader{d: d, at: c.tx.ReadAt, node: n, axes: axes, shape: in}
	if err := r.read(ctx, axes, data); err != nil {
		return err
	}
	c.reads(oid, key, akeyRecord)
	c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: oid, Dkey: key})
	return d.put(ctx, c, n, s.Shape, axes, data)
}
