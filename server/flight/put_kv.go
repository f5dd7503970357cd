package flight

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"

	"daos/dataset/kv"
	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/engine/object"
	"daos/internal/fault"
)

// storePairs puts the uploaded pairs, some thousands in each transaction, in
// their order. What was put before an error stays: the same upload again, with the
// request id that it had, goes on behind it, and changes nothing that was written
// since.
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
	p := &pairsPut{d: d, name: name, request: u.terms.RequestId, answer: putAnswer{Replayed: true}}
	defer func() {
		if a = p.answer; a.Count == 0 {
			a.Replayed = false
		}
		if err != nil && a.Count > 0 {
			err = fault.New(fault.KindOf(err), "flight.put", name, "%v; %d pairs before that are stored", err, a.Count).
				Do("mend it and upload again: the same puts with the same request id happen once")
		}
	}()
	for {
		rec, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return a, p.apply(ctx)
		}
		if err != nil {
			return a, err
		}
		rows, err := tensorarrow.RowsOf(rec, cols)
		if err != nil {
			return a, err
		}
		if err := p.add(ctx, rows, places); err != nil {
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

// pairsPut gathers pairs into transactions as large as they may be. Where they
// are cut depends on the pairs alone and not on the messages that they come in, so
// that each transaction of a retry is the one that it was.
type pairsPut struct {
	d       *kv.Dataset
	name    string
	request []byte // of the upload; empty: none
	done    uint64 // transactions
	ops     []kv.Op
	size    int // bytes of the values in ops
	answer  putAnswer
}

// add takes the rows of a message.
func (p *pairsPut) add(ctx context.Context, rows *tensor.Rows, places [3]int) error {
	cell := func(place, row int) ([]byte, bool) {
		c := &rows.Columns[place]
		if c.Valid != nil && c.Valid[row] == 0 {
			return nil, false
		}
		return c.Values[c.Offsets[row]:c.Offsets[row+1]], true
	}
	held := len(p.ops)
	for row := range rows.N {
		op := kv.Op{Kind: kv.OpPut}
		var key, value bool
		op.Key, key = cell(places[0], row)
		op.Value, value = cell(places[2], row)
		if places[1] >= 0 {
			op.Akey, _ = cell(places[1], row)
		}
		if !key || !value {
			return fault.New(fault.Invalid, "flight.put", p.name, "a null among the keys or values, in row %d of a batch", row).Do("leave the row out, or delete the key with pydaos or `daos kv rm`")
		}
		if len(p.ops) == kv.MaxBatch || len(p.ops) > 0 && p.size+len(op.Value) > kv.MaxBatchBytes {
			if err := p.apply(ctx); err != nil {
				return err
			}
			held = 0
		}
		p.ops = append(p.ops, op)
		p.size += len(op.Value)
	}
	for i := held; i < len(p.ops); i++ { // their memory is the message's
		o := &p.ops[i]
		o.Key, o.Akey, o.Value = bytes.Clone(o.Key), bytes.Clone(o.Akey), bytes.Clone(o.Value)
	}
	return nil
}

// apply makes the next transaction.
func (p *pairsPut) apply(ctx context.Context) error {
	if len(p.ops) == 0 {
		return nil
	}
	done, err := p.d.Apply(ctx, partOf(p.request, p.done), p.ops)
	if err != nil {
		return err
	}
	p.done++
	p.answer.Count += uint64(len(p.ops))
	p.answer.Epoch = uint64(done.Epoch)
	p.answer.Replayed = p.answer.Replayed && done.Replayed
	p.ops, p.size = p.ops[:0], 0
	return nil
}

// partOf is the request id of one transaction of an upload: that of the upload
// and its number, hashed. None without one.
func partOf(request []byte, number uint64) (id object.RequestID) {
	if len(request) == 0 {
		return id
	}
	h := sha256.New()
	h.Write([]byte("daos flight put"))
	h.Write(request)
	h.Write(binary.BigEndian.AppendUint64(nil, number))
	copy(id[:], h.Sum(nil))
	return id
}
