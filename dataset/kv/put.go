package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"time"

	"daos/engine/object"
	"daos/internal/fault"
)

const (
	// stageAt is how many bytes of a streamed value are held before it is
	// staged; a shorter one is an ordinary put.
	stageAt = 16 << 20
	// leaseTime is how long a stream may go without a byte.
	leaseTime = 10 * time.Minute
)

// PutOptions are the terms of a Put.
type PutOptions struct {
	Request object.RequestID
	When    When
	Version object.Epoch
}

// Written is the answer to Put.
type Written struct {
	Size     uint64
	Epoch    object.Epoch // the version of the value
	Replayed bool
}

// Put sets one value from a stream of pieces; next ends with io.EOF. The value
// becomes visible whole, in one step, when all of it is durable; of one that
// breaks off nothing is seen, and what was written is collected.
func (d *Dataset) Put(ctx context.Context, key, akey []byte, o PutOptions, next func() ([]byte, error)) (Written, error) {
	if err := CheckName(key, akey); err != nil {
		return Written{}, err
	}
	sum := uint32(0)
	if !o.Request.IsZero() {
		sum, _ = sumOp(0, &Op{Kind: OpPut, Key: key, Akey: akey, When: o.When, Version: o.Version}, nil)
		pieces := next
		next = func() ([]byte, error) {
			b, err := pieces()
			sum = crc32.Update(sum, castagnoli, b)
			return b, err
		}
	}
	var held []byte
	for len(held) <= stageAt {
		b, err := next()
		if errors.Is(err, io.EOF) {
			done, err := d.Apply(ctx, o.Request, []Op{{Kind: OpPut, Key: key, Akey: akey, Value: held, When: o.When, Version: o.Version}})
			return Written{Size: uint64(len(held)), Epoch: done.Epoch, Replayed: done.Replayed}, err
		}
		if err != nil {
			return Written{}, err
		}
		held = append(held, b...)
	}
	// A retry must not send everything to storage again.
	if res, ok, err := d.replay(ctx, o.Request); ok || err != nil {
		if err == nil {
			err = drain(next)
		}
		return written(res, sum, err)
	}
	s := &staged{d: d, key: key}
	if err := s.begin(ctx); err != nil {
		return Written{}, err
	}
	res, err := s.run(ctx, akey, o, &sum, held, next)
	if err != nil {
		s.abandon(ctx)
	}
	return written(res, sum, err)
}

func drain(next func() ([]byte, error)) error {
	for {
		if _, err := next(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func written(res object.Result, sum uint32, err error) (Written, error) {
	if err != nil {
		return Written{}, err
	}
	if len(res.Answer) != 8+sumSize || binary.LittleEndian.Uint32(res.Answer[8:]) != sum {
		return Written{}, misused()
	}
	return Written{Size: binary.LittleEndian.Uint64(res.Answer), Epoch: res.Epoch, Replayed: res.Replayed}, nil
}

// staged is a large value being written under a number that only its lease
// refers to, in deferred transactions. The last transaction is a barrier, ends
// the lease and writes the record.
type staged struct {
	d      *Dataset
	key    []byte
	number uint64
	size   uint64
	until  time.Time
}

func (s *staged) begin(ctx context.Context) (err error) {
	if _, err := s.d.Collect(ctx, collectSome); err != nil {
		return err
	}
	if s.number, err = s.d.number(ctx); err != nil {
		return err
	}
	s.until = s.d.opts.Now().Add(leaseTime)
	return s.commit(ctx, &object.Tx{Writes: []object.Write{s.lease()}})
}

func (s *staged) lease() object.Write {
	return object.Write{Op: object.OpPut, OID: metaOID, Dkey: leaseKey(s.number), Akey: akeyState, Data: encodeLease(s.until.UnixMicro())}
}

// mine is the condition that the lease has not been collected.
func (s *staged) mine() object.Cond {
	return object.Cond{Kind: object.AkeyExists, OID: metaOID, Dkey: leaseKey(s.number), Akey: akeyState}
}

func (s *staged) run(ctx context.Context, akey []byte, o PutOptions, sum *uint32, held []byte, next func() ([]byte, error)) (object.Result, error) {
	var head []byte // for a schema that looks at the value, which is not that large
	for end := false; !end; {
		for !end && len(held) < stageAt {
			b, err := next()
			if end = errors.Is(err, io.EOF); err != nil && !end {
				return object.Result{}, err
			}
			held = append(held, b...)
		}
		if s.size+uint64(len(held)) > MaxValue {
			return object.Result{}, tooLong(s.key, s.size+uint64(len(held)))
		}
		if s.size == 0 {
			head = held
		}
		if err := s.add(ctx, held); err != nil {
			return object.Result{}, err
		}
		held = nil
	}
	return s.d.mutate(ctx, "kv.put", o.Request, func(c *change) error {
		sc, err := c.d.schemaOf(c.super)
		if err != nil {
			return err
		}
		if sc != nil {
			return sc.tooLarge(s.key, s.size, head)
		}
		v, err := c.load(ctx, s.key, akey)
		if err != nil {
			return err
		}
		if err := v.meets(&Op{Key: s.key, When: o.When, Version: o.Version}); err != nil {
			return err
		}
		c.free(v)
		c.tx.Barrier = true
		c.tx.Conds = append(c.tx.Conds, s.mine())
		c.write(object.Write{Op: object.OpPunchDkey, OID: metaOID, Dkey: leaseKey(s.number)})
		c.large(v, place{number: s.number, size: s.size}, 0, nil)
		c.tx.Answer = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(nil, s.size), *sum)
		return nil
	})
}

// add stages bytes, and renews the lease when half of its time is gone.
func (s *staged) add(ctx context.Context, data []byte) error {
	tx := &object.Tx{Deferred: true, Writes: s.d.appendBytes(nil, s.number, s.size, data)}
	if now := s.d.opts.Now(); s.until.Sub(now) < leaseTime/2 {
		s.until = now.Add(leaseTime)
		tx.Conds = append(tx.Conds, s.mine())
		tx.Writes = append(tx.Writes, s.lease())
	}
	if len(tx.Writes) == 0 {
		return nil
	}
	s.size += uint64(len(data))
	err := s.commit(ctx, tx)
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.Timeout, "kv.put", show(s.key), "what was sent of the value was collected, because nothing came for %s", leaseTime).Do("send it again")
	}
	return err
}

// abandon removes what was staged; a failure is left to Collect.
func (s *staged) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = s.d.collect(ctx, s.number, s.until.UnixMicro())
}

// commit is for transactions that read nothing: one that lost a race is made
// again as it is.
func (s *staged) commit(ctx context.Context, tx *object.Tx) error {
	for attempt := 1; ; attempt++ {
		_, err := s.d.st.Commit(ctx, tx)
		if !fault.Is(err, fault.Conflict) || attempt >= s.d.opts.Attempts {
			return err
		}
		if err := s.d.opts.Backoff(ctx, attempt); err != nil {
			return err
		}
	}
}

// collectSome is how many dead leases the begin of a stream ends.
const collectSome = 16

// Collect frees large values that were never finished and whose lease has
// expired, at most n of them, and says how many it freed.
func (d *Dataset) Collect(ctx context.Context, n int) (int, error) {
	at, err := d.st.ReadEpoch(ctx, 0)
	if err != nil {
		return 0, err
	}
	type dead struct {
		number uint64
		until  int64
	}
	var found []dead
	var failed error
	now := d.opts.Now().UnixMicro()
	err = d.st.List(ctx, at, metaOID, object.ListOptions{Prefix: []byte(prefixLease), Akey: akeyState}, func(it object.Item) bool {
		until, err := decodeLease(it.Value)
		if failed = err; err != nil || len(it.Dkey) != 9 {
			return false
		}
		if until < now {
			found = append(found, dead{binary.BigEndian.Uint64(it.Dkey[1:]), until})
		}
		return len(found) < n
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return 0, err
	}
	for i, l := range found {
		if err := d.collect(ctx, l.number, l.until); err != nil {
			return i, err
		}
	}
	return len(found), nil
}

// collect ends one lease with all that was staged under it, unless it has been
// renewed or ended since. As the last transaction of a stream demands that its
// lease exists, only one of the two can happen.
func (d *Dataset) collect(ctx context.Context, number uint64, until int64) error {
	_, err := d.mutate(ctx, "kv.collect", object.RequestID{}, func(c *change) error {
		b, _, err := d.st.Get(ctx, c.at, metaOID, leaseKey(number), akeyState)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		have, err := decodeLease(b)
		if err != nil || have != until {
			return err
		}
		c.tx.Reads = append(c.tx.Reads, point(metaOID, leaseKey(number), akeyState))
		c.write(object.Write{Op: object.OpPunchObject, OID: d.bulkID(number)},
			object.Write{Op: object.OpPunchDkey, OID: metaOID, Dkey: leaseKey(number)})
		return nil
	})
	return err
}
