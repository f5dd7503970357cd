package array

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"daos/dataset/race"
	"daos/engine/object"
	"daos/internal/fault"
)

// change is a transaction being made.
type change struct {
	tx object.Tx
}

func (d *Dataset) change(ctx context.Context, req object.RequestID, answer []byte) (*change, error) {
	at, err := d.st.ReadEpoch(ctx, 0)
	return &change{object.Tx{Request: req, ReadAt: at, Answer: answer}}, err
}

// reads says that the author has read one value.
func (c *change) reads(oid object.ID, dkey, akey []byte) {
	c.tx.Reads = append(c.tx.Reads, object.Read{OID: oid, Point: true, From: dkey, Akey: akey})
}

func (c *change) put(oid object.ID, dkey, akey, value []byte) {
	c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPut, OID: oid, Dkey: dkey, Akey: akey, Data: value})
}

func (d *Dataset) commit(ctx context.Context, op, path string, c *change) (object.Epoch, error) {
	res, err := d.st.Commit(ctx, &c.tx)
	switch {
	case fault.Is(err, fault.Conflict):
		return 0, race.Lost(err)
	case err == nil && res.Replayed:
		return 0, errReplayed // its first sending has committed meanwhile: once finds its answer
	}
	return res.Epoch, fault.Wrap(err, op, d.where(path))
}

// Done is the outcome of a change.
type Done struct {
	Epoch object.Epoch
	// Replayed: this request id had been carried out before.
	Replayed bool
}

// The calls that an answer belongs to, so that a request id that is used twice
// for different calls is noticed.
const (
	opGroup byte = iota + 1
	opCreate
	opAttributes
	opResize
	opRemove
	opWrite
	opAppend
	opPutKey
	opDeleteKey
	opUpload
)

// call is one call that changes something: its request id, which call it is and
// a sum over what it asks for. An id that comes again for something else is noticed.
type call struct {
	id  object.RequestID
	op  byte
	sum uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newCall makes a call of what it asks for.
func newCall(op byte, id object.RequestID, parts ...[]byte) call {
	k := call{id: id, op: op}
	if id.IsZero() {
		return k
	}
	for _, p := range parts {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(p)))
		k.sum = crc32.Update(crc32.Update(k.sum, castagnoli, n[:]), castagnoli, p)
	}
	return k
}

// answer is what is kept with the request id: the call, its sum, its numbers.
func (k call) answer(v ...uint64) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{k.op}, k.sum)
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b
}

var (
	// errReplayed says that a transaction had been committed before.
	errReplayed = errors.New("carried out before")
	// errNothing says that there was nothing to be done.
	errNothing = errors.New("nothing to be done")
)

// once carries out a call, unless it was before: then it gives the numbers of its
// answer. A call that is sent again may overtake its first sending, so it is
// looked for before it begins, and again before any failure, or that there is nothing
// to be done, is believed: what the first one did may be in the way of the second.
func (d *Dataset) once(ctx context.Context, k call, values int, f func(done *Done) error) (done Done, v []uint64, err error) {
	if done, v, err = d.replay(ctx, k, values); done.Replayed || err != nil {
		return done, v, err
	}
	err = race.Retry(ctx, func() error { return f(&done) })
	if err != nil && ctx.Err() == nil {
		if again, v, rerr := d.replay(ctx, k, values); again.Replayed || rerr != nil {
			return again, v, rerr
		}
	}
	switch err {
	case errNothing:
		err = nil
	case errReplayed: // and its answer is gone meanwhile: request ids are kept for minutes
		err = fault.New(fault.Timeout, "array.replay", d.name, "the call was carried out before, too long ago to know its answer").Do("look at what is there")
	}
	return done, nil, err
}

// replay finds the answer of a call that was carried out before.
func (d *Dataset) replay(ctx context.Context, k call, values int) (done Done, v []uint64, err error) {
	if k.id.IsZero() {
		return Done{}, nil, nil
	}
	res, ok, err := d.st.Replay(ctx, k.id)
	if err != nil || !ok {
		return Done{}, nil, fault.Wrap(err, "array.replay", d.name)
	}
	b := res.Answer
	if len(b) != 5+8*values || b[0] != k.op || binary.LittleEndian.Uint32(b[1:]) != k.sum {
		return Done{}, nil, fault.New(fault.Invalid, "array.replay", "request id", "it was used for another call").Do("give each call its own request id")
	}
	for b = b[5:]; len(b) > 0; b = b[8:] {
		v = append(v, binary.LittleEndian.Uint64(b))
	}
	return Done{Epoch: res.Epoch, Replayed: true}, v, nil
}
