package flight

import (
	"context"
	"errors"
	"io"

	"daos/dataset/array"
	"daos/dataset/tensor/tensorarrow"
	"daos/internal/fault"
	"daos/server/pool"
)

// storeArray puts the uploaded rows into an array: behind its end, or where the
// terms say. They are seen when all of them are there.
func (u *upload) storeArray(ctx context.Context, r *pool.Resolved) (a putAnswer, err error) {
	w := u.to.arrayWrite
	path := u.to.address.Path
	if w != nil {
		path = w.GetPath()
	}
	if path == "" {
		return a, fault.New(fault.Invalid, "flight.put", u.to.address.DatasetName(), "an array of the dataset has to be named").
			Do(`use the path ["POOL", "DATASET", "ARRAY"], or the command array_write; "daos array create" makes one`)
	}
	o := array.UploadOptions{ExpectLength: u.terms.ExpectLength}
	copy(o.Request[:], u.terms.RequestId)
	if u.terms.Overwrite {
		o.Start = &u.terms.Start
	}
	if len(w.GetAxes()) > 0 {
		o.Axes = axesOf(w.GetAxes())
	}
	to, err := array.Open(r.Store, r.Address.WithPath("").DatasetName()).Upload(ctx, path, o)
	if err != nil {
		return a, err
	}
	defer func() {
		if err != nil {
			to.Abandon(ctx)
		}
	}()
	in, err := u.streams()(ctx)
	if err != nil {
		return a, err
	}
	rd, err := tensorarrow.NewElements(in)
	if err != nil {
		return a, err
	}
	element, row := elementType(to.DType()), to.Row()
	for {
		rec, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return a, err
		}
		n, data, err := tensorarrow.ElementsOf(rec, element, row)
		if err != nil {
			return a, err
		}
		if err := to.Add(ctx, uint64(n), data); err != nil {
			return a, err
		}
	}
	done, err := to.Finish(ctx)
	return putAnswer{Start: done.Start, Count: done.Count, Epoch: uint64(done.Epoch), Replayed: done.Replayed}, err
}
