package flight

import (
	"context"
	"errors"
	"io"

	"daos/dataset/kv"
	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/engine/object"
	"daos/internal/fault"
)

// storePairs puts the uploaded pairs, some thousands in each transaction, in
// their order. What was put before an error stays: the same upload again puts
// the same pairs.
func (u *upload) storePairs(ctx context.Context, d *kv.Dataset) (a putAnswer, err error) {
	name := u.to.address.DatasetName()
	if u.terms.Overwrite || u.terms.Start != 0 || u.terms.ExpectLength != nil {
		return a, fault.New(fault.Invalid, "flight.put", name, "pairs have no places to be written at").Do("leave mode, start and expect_length out: a put replaces what the key had")
	}
	cols, err := tensorarrow.ColumnsOf(u.schema)
	if err != nil {
		return a, err
	}
	places, err := pairColumns(name, cols)
	if err != nil {
		return a, err
	}
	in, err := u.streams()(ctx)
	if err != nil {
		return a, err
	}
	rd, err := tensorarrow.NewReader(in)
	if err != nil {
		return a, err
	}
	defer func() {
		if err != nil && a.Count > 0 {
			err = fault.New(fault.KindOf(err), "flight.put", name, "%v; %d pairs before that are stored", err, a.Count).Do("mend it and upload again: the same puts change nothing")
		}
	}()
	for {
		rec, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return a, err
		}
		rows, err := tensorarrow.RowsOf(rec, cols)
		if err != nil {
			return a, err
		}
		if err := putRows(ctx, d, name, rows, places, &a); err != nil {
			return a, err
		}
	}
}

// pairColumns finds the columns of an upload of pairs: key, akey (-1 where there
// is none) and value.
func pairColumns(name string, cols []tensor.Column) (places [3]int, err error) {
	places = [3]int{-1, -1, -1}
	for i := range cols {
		of := -1
		switch cols[i].Name {
		case columnKey:
			of = 0
		case columnAkey:
			of = 1
		case columnValue:
			of = 2
		}
		if of < 0 || cols[i].Layout != tensor.Bytes && cols[i].Layout != tensor.String {
			return places, fault.New(fault.Invalid, "flight.put", name, "a column %q of this type in an upload of pairs", cols[i].Name).
				Do("give key, value and perhaps akey, as binary or string; values of a declared schema in its encoding")
		}
		places[of] = i
	}
	if places[0] < 0 || places[2] < 0 {
		return places, fault.New(fault.Invalid, "flight.put", name, "an upload of pairs has the columns key and value").Do("name them so")
	}
	return places, nil
}

// putRows puts rows in transactions as large as they may be.
func putRows(ctx context.Context, d *kv.Dataset, name string, rows *tensor.Rows, places [3]int, a *putAnswer) error {
	cell := func(place, row int) ([]byte, bool) {
		c := &rows.Columns[place]
		if c.Valid != nil && c.Valid[row] == 0 {
			return nil, false
		}
		return c.Values[c.Offsets[row]:c.Offsets[row+1]], true
	}
	var ops []kv.Op
	size := 0
	apply := func() error {
		if len(ops) == 0 {
			return nil
		}
		done, err := d.Apply(ctx, object.RequestID{}, ops)
		if err != nil {
			return err
		}
		a.Count += uint64(len(ops))
		a.Epoch = uint64(done.Epoch)
		ops, size = ops[:0], 0
		return nil
	}
	for row := range rows.N {
		op := kv.Op{Kind: kv.OpPut}
		var key, value bool
		op.Key, key = cell(places[0], row)
		op.Value, value = cell(places[2], row)
		if places[1] >= 0 {
			op.Akey, _ = cell(places[1], row)
		}
		if !key || !value {
			return fault.New(fault.Invalid, "flight.put", name, "a null among the keys or values, in row %d of a batch", row).Do("leave the row out, or delete the key with pydaos or `daos kv rm`")
		}
		if len(ops) == kv.MaxBatch || size+len(op.Value) > kv.MaxBatchBytes {
			if err := apply(); err != nil {
				return err
			}
		}
		ops = append(ops, op)
		size += len(op.Value)
	}
	return apply()
}
