package array

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strconv"

	"daos/engine/object"
	"daos/internal/fault"
)

const (
	// uploadMax bounds what one transaction of an upload holds, with room for what
	// has to be written again around it.
	uploadMax = 192 << 20
	// stageAt is how many bytes of an append are held before they are staged.
	stageAt = 32 << 20
)

// UploadOptions are the terms of an Upload. Without Start and Axes its data is
// appended along the first axis.
type UploadOptions struct {
	Request object.RequestID
	// Start, if not nil, is the position along the first axis where the data goes.
	Start *uint64
	// Axes, if not empty, is the selection that the data goes to.
	Axes []Axis
	// ExpectLength, if not nil: fault.Conflict unless the first axis is so long.
	ExpectLength *uint64
}

// Uploaded says what an Upload did: positions along the first axis.
type Uploaded struct {
	Start, Count uint64
	Done
}

// Upload is a write or an append whose data comes in pieces, and is seen whole
// when Finish has returned, or never. What Start and Axes write is held in memory
// and is one transaction; an append of any size is staged behind the end of the
// array (upload_stage.go). One goroutine uses it.
type Upload struct {
	d    *Dataset
	path string
	o    UploadOptions
	node *Node
	axes []Axis // with Axes: checked
	row  int    // bytes of one position along the first axis
	most int    // bytes, where they are held

	call  call
	rows  uint64
	seen  bool   // the request was carried out before: only the sum is of interest
	held  []byte // in C order
	stage *stage
}

// Upload begins one. It must be ended by Finish or Abandon.
func (d *Dataset) Upload(ctx context.Context, path string, o UploadOptions) (*Upload, error) {
	u := &Upload{d: d, path: path, o: o, most: uploadMax}
	number := func(n *uint64) []byte {
		if n == nil {
			return []byte("any")
		}
		return strconv.AppendUint(nil, *n, 10)
	}
	u.call = newCall(opUpload, o.Request, []byte(path), number(o.Start), encodeAxes(o.Axes), number(o.ExpectLength))
	if !o.Request.IsZero() {
		_, ok, err := d.st.Replay(ctx, o.Request)
		if err != nil {
			return nil, fault.Wrap(err, "array.upload", d.where(path))
		}
		u.seen = ok
	}
	at, err := d.st.ReadEpoch(ctx, 0)
	if err != nil {
		return nil, err
	}
	if u.node, err = d.array(ctx, at, path); err != nil {
		return nil, err
	}
	s := u.node.Spec
	if len(s.Shape) == 0 {
		return nil, fault.New(fault.Unsupported, "array.upload", d.where(path), "an array without axes has no rows").Do("write its element with pydaos or `daos array import`")
	}
	if len(o.Axes) > 0 && o.Start != nil {
		return nil, fault.New(fault.Invalid, "array.upload", d.where(path), "a start and a selection").Do("give one of the two")
	}
	for _, a := range o.Axes {
		if err := unique(d.where(path), a.Indices); err != nil {
			return nil, err
		}
	}
	if u.axes, err = checkAxes(d.where(path), o.Axes, s.Shape); err != nil && !u.seen {
		return nil, err
	}
	if u.seen && err != nil { // what it wrote to is not there any more
		u.axes = all(s.Shape)
	}
	if err := d.expect(u.node, o.ExpectLength); err != nil && !u.seen {
		return nil, err
	}
	row := uint64(s.DType.size)
	for _, n := range lengths(u.axes)[1:] {
		if row *= n; row > uploadMax {
			return nil, fault.New(fault.TooBig, "array.upload", d.where(path), "one position along the first axis has more than %d bytes", uploadMax).
				Do("write parts of it: a selection along the other axes, or pydaos")
		}
	}
	u.row = int(row)
	return u, nil
}

// expect is the condition on the length of the first axis.
func (d *Dataset) expect(n *Node, want *uint64) error {
	if want == nil || n.Spec.Shape[0] == *want {
		return nil
	}
	return fault.New(fault.Conflict, "array.upload", d.where(n.Path), "the length is %d, not %d as expected", n.Spec.Shape[0], *want).
		Do("read what was added meanwhile, then upload again")
}

// DType is the type of the elements.
func (u *Upload) DType() DType { return u.node.Spec.DType }

// Row is the lengths of one row, which is a position along the first axis, of
// what is uploaded.
func (u *Upload) Row() []uint64 { return lengths(u.axes)[1:] }

// Add takes further rows, in C order. The data stays the caller's.
func (u *Upload) Add(ctx context.Context, rows uint64, data []byte) error {
	if uint64(len(data)) != rows*uint64(u.row) || rows > MaxLength {
		return fault.New(fault.Invalid, "array.upload", u.d.where(u.path), "%d bytes for %d rows of %d bytes", len(data), rows, u.row)
	}
	if !u.o.Request.IsZero() {
		u.call.sum = crc32.Update(u.call.sum, castagnoli, data)
	}
	if u.rows += rows; u.rows > MaxLength {
		return fault.New(fault.TooBig, "array.upload", u.d.where(u.path), "more than %d rows", uint64(MaxLength))
	}
	if u.seen {
		return nil
	}
	if len(u.o.Axes) > 0 && u.rows > u.axes[0].Len() {
		return fault.New(fault.Invalid, "array.upload", u.d.where(u.path), "more rows than the %d of the selection", u.axes[0].Len())
	}
	u.held = append(u.held, data...)
	if u.o.Start == nil && len(u.o.Axes) == 0 {
		return u.stageRows(ctx)
	}
	if len(u.held) > u.most {
		return fault.New(fault.TooBig, "array.upload", u.d.where(u.path), "more than %d bytes, which are written in one step", u.most).Do("upload in pieces")
	}
	return nil
}

// Finish makes what was added seen. An Upload that fails leaves nothing.
func (u *Upload) Finish(ctx context.Context) (Uploaded, error) {
	if !u.o.Request.IsZero() {
		u.call.sum = crc32.Update(u.call.sum, castagnoli, binary.LittleEndian.AppendUint64(nil, u.rows))
	}
	if n := u.axes[0].Len(); len(u.o.Axes) > 0 && u.rows != n && !u.seen {
		return Uploaded{}, fault.New(fault.Invalid, "array.upload", u.d.where(u.path), "%d rows for a selection of %d", u.rows, n)
	}
	out := Uploaded{Count: u.rows}
	done, v, err := u.d.once(ctx, u.call, 2, func(done *Done) (err error) {
		switch {
		case u.seen: // the answer is gone since the upload began
			return errReplayed
		case u.stage != nil:
			out.Start, err = u.publish(ctx, done)
		case u.o.Start == nil && len(u.o.Axes) == 0:
			out.Start, err = u.append(ctx, done)
		default:
			out.Start, err = u.write(ctx, done)
		}
		return err
	})
	if err != nil || done.Replayed {
		u.Abandon(ctx)
	}
	if done.Replayed {
		out.Start, out.Count = v[0], v[1]
	}
	out.Done = done
	return out, err
}

// same refuses an array that is not the one that the upload began with.
func (u *Upload) same(n *Node) error {
	if n.ID == u.node.ID && slices.Equal(n.Spec.Shape[1:], u.node.Spec.Shape[1:]) {
		return nil
	}
	return fault.New(fault.Conflict, "array.upload", u.d.where(u.path), "the array was made anew or given another shape meanwhile").Do("upload again")
}

// within refuses transactions that the store would.
func (u *Upload) within(c *change) error {
	if c.tx.Bytes() <= object.MaxTx {
		return nil
	}
	return fault.New(fault.TooBig, "array.upload", u.d.where(u.path), "the change needs %d bytes with what has to be written again around it", c.tx.Bytes()).Do("upload in pieces")
}

// write is the one transaction of an upload to a place.
func (u *Upload) write(ctx context.Context, done *Done) (start uint64, err error) {
	d := u.d
	c, err := d.change(ctx, u.o.Request, nil)
	if err != nil {
		return 0, err
	}
	n, err := d.array(ctx, c.tx.ReadAt, u.path)
	if err == nil {
		err = u.same(n)
	}
	if err == nil {
		err = d.expect(n, u.o.ExpectLength)
	}
	if err != nil {
		return 0, err
	}
	asked := u.o.Axes
	if u.o.Start != nil {
		asked = all(n.Spec.Shape)
		asked[0] = Axis{Start: *u.o.Start, Count: u.rows, Step: 1}
	}
	axes, err := checkAxes(d.where(u.path), asked, n.Spec.Shape)
	if err != nil {
		return 0, err
	}
	if start = axes[0].Start; len(axes[0].Indices) > 0 {
		start = axes[0].Indices[0]
	}
	if len(u.held) == 0 {
		done.Epoch = c.tx.ReadAt
		return start, nil
	}
	c.reads(catalogOID, nodeKey(u.path), akeyShape)
	if err := d.put(ctx, c, n, n.Spec.Shape, axes, u.held); err != nil {
		return 0, err
	}
	if err := u.within(c); err != nil {
		return 0, err
	}
	c.tx.Answer = u.call.answer(start, u.rows)
	done.Epoch, err = d.commit(ctx, "array.upload", u.path, c)
	return start, err
}

// append is the one transaction of an append that was not staged.
func (u *Upload) append(ctx context.Context, done *Done) (start uint64, err error) {
	c, n, err := u.d.clean(ctx, u.path, u.o.Request)
	if err == nil {
		err = u.same(n)
	}
	if err == nil {
		err = u.d.expect(n, u.o.ExpectLength)
	}
	if err != nil {
		return 0, err
	}
	start = n.Spec.Shape[0]
	if err := u.putRows(ctx, c, n, start, start+u.rows, u.held); err != nil {
		return 0, err
	}
	return start, u.lengthen(ctx, c, n, start, done)
}

// putRows adds rows from a position on, where end is the length of the array
// after all of the upload; n is the array before them.
func (u *Upload) putRows(ctx context.Context, c *change, n *Node, from, end uint64, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	shape := slices.Clone(n.Spec.Shape)
	shape[0] = end
	if err := checkShape(n.Spec.DType, shape); err != nil {
		return fault.New(fault.TooBig, "array.upload", u.d.where(u.path), "%s", err)
	}
	axes := all(shape)
	axes[0] = Axis{Start: from, Count: uint64(len(data) / u.row), Step: 1}
	return u.d.put(ctx, c, n, shape, axes, data)
}

// lengthen ends the last transaction of an append: the new rows are seen with it.
func (u *Upload) lengthen(ctx context.Context, c *change, n *Node, start uint64, done *Done) (err error) {
	shape := slices.Clone(n.Spec.Shape)
	shape[0] = start + u.rows
	if err := checkShape(n.Spec.DType, shape); err != nil {
		return fault.New(fault.TooBig, "array.upload", u.d.where(u.path), "%s", err)
	}
	if err := u.within(c); err != nil {
		return err
	}
	c.put(catalogOID, nodeKey(u.path), akeyShape, extent{shape: shape}.encode())
	c.tx.Answer = u.call.answer(start, u.rows)
	done.Epoch, err = u.d.commit(ctx, "array.upload", u.path, c)
	return err
}
