package array

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"

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
	if fault.Is(err, fault.Conflict) {
		return 0, raceLost{err}
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
)

// replay finds the answer of a request that was carried out before.
func (d *Dataset) replay(ctx context.Context, id object.RequestID, op byte, values int) (done Done, v []uint64, err error) {
	if id.IsZero() {
		return Done{}, nil, nil
	}
	res, ok, err := d.st.Replay(ctx, id)
	if err != nil || !ok {
		return Done{}, nil, fault.Wrap(err, "array.replay", d.name)
	}
	b := res.Answer
	if len(b) != 1+8*values || b[0] != op {
		return Done{}, nil, fault.New(fault.Invalid, "array.replay", "request id", "it was used for another call").Do("give each call its own request id")
	}
	for b = b[1:]; len(b) > 0; b = b[8:] {
		v = append(v, binary.LittleEndian.Uint64(b))
	}
	return Done{Epoch: res.Epoch, Replayed: true}, v, nil
}

// maxTries bounds how often a change is tried again after it lost a race.
const maxTries = 1000

// retry runs f until it does not lose a race any more, with a growing pause.
func retry(ctx context.Context, f func() error) error {
	pause := 250 * time.Microsecond
	for try := 1; ; try++ {
		err := f()
		lost, ok := err.(raceLost)
		if !ok {
			return err
		}
		if try == maxTries {
			return lost.error
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// raceLost marks a Conflict of the store, which a new try may resolve, and keeps
// it apart from one that the caller asked for.
type raceLost struct{ error }

func (r raceLost) Unwrap() error { return r.error }
