package kv

import (
	"context"
	"encoding/binary"
	"strconv"

	"daos/engine/object"
	"daos/internal/fault"
)

// OpKind says what an Op does. The numbers are those of the wire.
type OpKind uint8

// The kinds.
const (
	OpPut       OpKind = 1 // set the value
	OpDelete    OpKind = 2 // remove the value
	OpAdd       OpKind = 3 // add Number to a decimal integer
	OpAppend    OpKind = 4 // append Value
	OpDeleteKey OpKind = 5 // remove all values of the key
)

// When is a condition on the value that is there. The numbers are the wire's.
type When uint8

// The conditions.
const (
	Always    When = 0
	IfAbsent  When = 1 // else fault.Exists
	IfPresent When = 2 // else fault.NotFound
	IfVersion When = 3 // else fault.Conflict, or fault.NotFound if there is none
)

// Op is one change of one value. Its slices are the caller's and must not
// change until Apply returns.
type Op struct {
	Kind      OpKind
	Key, Akey []byte
	Value     []byte // of OpPut and OpAppend
	Number    int64  // of OpAdd
	When      When
	Version   object.Epoch // of IfVersion
}

// Result is what became of an op that is no put.
type Result struct {
	Number  int64  // of OpAdd: the new number
	Size    uint64 // of OpAppend: the new length
	Removed uint64 // of OpDelete and OpDeleteKey: how many values there were
}

// Applied is the answer to Apply.
type Applied struct {
	Results  []Result     // of the ops that are no puts, in order
	Epoch    object.Epoch // the version of all values written
	Replayed bool
}

// slot is a value as a change sees it.
type slot struct {
	key, akey []byte
	found     bool
	version   object.Epoch // of what was there before the change
	place
}

// Apply carries out ops in order, in one transaction: all of them, or none if
// one can't be done. A later op sees what an earlier one did; a condition on a
// version is about the value that was there before.
func (d *Dataset) Apply(ctx context.Context, req object.RequestID, ops []Op) (Applied, error) {
	large, blind, err := checkOps(ops)
	if err != nil {
		return Applied{}, err
	}
	if len(ops) == 0 {
		at, err := d.st.ReadEpoch(ctx, 0)
		return Applied{Epoch: at}, err
	}
	numbers := make([]uint64, large)
	for i := range numbers { // before the change reads the superblock
		if numbers[i], err = d.number(ctx); err != nil {
			return Applied{}, err
		}
	}
	if len(ops) == 1 && !blind {
		lane := d.lane(ops[0].Key)
		lane.Lock()
		defer lane.Unlock()
	}
	sum := sumOps(req, ops)
	res, err := d.mutate(ctx, "kv.apply", req, func(c *change) error {
		c.spare = append(c.spare[:0], numbers...)
		c.tx.Answer = binary.LittleEndian.AppendUint32(nil, sum)
		sc, err := d.schemaOf(c.super)
		if err != nil {
			return err
		}
		c.tx.Writes = make([]object.Write, 0, len(ops))
		if blind && c.super.next == 0 {
			return c.putAll(ops, sc)
		}
		for i := range ops {
			if c.tx.Answer, err = c.apply(ctx, &ops[i], sc, c.tx.Answer); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Applied{}, err
	}
	out := Applied{Epoch: res.Epoch, Replayed: res.Replayed}
	out.Results, err = decodeResults(ops, sum, res.Answer)
	return out, err
}

// lane is a mutex that changes of the same key take before they begin: not for
// correctness, which the kernel sees to, but so that those of one hot counter
// wait for each other instead of losing against each other.
func (d *Dataset) lane(key []byte) interface {
	Lock()
	Unlock()
} {
	return &d.lanes[object.Hash64(key)%uint64(len(d.lanes))]
}

// checkOps checks what can be checked without reading: large is the number of
// puts that need a number, blind says that no op depends on what is there.
func checkOps(ops []Op) (large int, blind bool, err error) {
	if len(ops) > MaxBatch {
		return 0, false, fault.New(fault.TooBig, "kv.apply", "batch", "%d changes in one call, at most %d are allowed", len(ops), MaxBatch).Do("split the batch")
	}
	blind = true
	reads, size := 0, 0
	for i := range ops {
		o := &ops[i]
		if err := CheckName(o.Key, o.Akey); err != nil {
			return 0, false, err
		}
		if o.Kind != OpPut || o.When != Always {
			blind = false
		}
		switch o.Kind {
		case OpPut:
			if len(o.Value) > bulkAt {
				large++
			}
		case OpAdd, OpAppend:
			reads++
		case OpDelete:
		case OpDeleteKey:
			if o.When != Always || len(o.Akey) > 0 {
				return 0, false, fault.New(fault.Invalid, "kv.apply", show(o.Key), "a key is removed as a whole without akey and condition")
			}
		default:
			return 0, false, fault.New(fault.Invalid, "kv.apply", show(o.Key), "unknown change %d", o.Kind)
		}
		if o.When > IfVersion {
			return 0, false, fault.New(fault.Invalid, "kv.apply", show(o.Key), "unknown condition %d", o.When)
		}
		size += len(o.Value)
	}
	if reads > MaxReads {
		return 0, false, fault.New(fault.TooBig, "kv.apply", "batch", "%d additions and appends in one call, at most %d are allowed", reads, MaxReads).Do("split the batch")
	}
	if size > MaxBatchBytes {
		return 0, false, fault.New(fault.TooBig, "kv.apply", "batch", "values of %d bytes in one call, at most %d are allowed", size, MaxBatchBytes).Do("split the batch, or stream large values")
	}
	return large, blind, nil
}

// putAll is apply for puts without conditions in a dataset without large
// values: nothing has to be read.
func (c *change) putAll(ops []Op, sc *Schema) error {
	total := 0
	for i := range ops {
		total += 1 + len(ops[i].Value)
	}
	buf := make([]byte, 0, total)
	for i := range ops {
		o := &ops[i]
		if sc != nil {
			if err := sc.Check(o.Key, o.Value); err != nil {
				return err
			}
		}
		from := len(buf)
		buf = append(append(buf, formPlain), o.Value...)
		c.write(object.Write{Op: object.OpPut, OID: c.d.values, Dkey: o.Key, Akey: valueAkey(o.Akey), Data: buf[from:len(buf):len(buf)]})
	}
	return nil
}

// load finds a value as the change sees it.
func (c *change) load(ctx context.Context, key, akey []byte) (*slot, error) {
	row := c.rows[string(key)]
	if s := row[string(akey)]; s != nil {
		return s, nil
	}
	s := &slot{key: key, akey: akey}
	a := valueAkey(akey)
	b, e, err := c.d.st.Get(ctx, c.at, c.d.values, key, a)
	switch {
	case err == nil:
		s.found, s.version = true, e
		if s.place, err = decodePlace(b, key); err != nil {
			return nil, err
		}
	case !fault.Is(err, fault.NotFound):
		return nil, err
	}
	c.tx.Reads = append(c.tx.Reads, point(c.d.values, key, a))
	if row == nil {
		if c.rows == nil {
			c.rows = map[string]map[string]*slot{}
		}
		row = map[string]*slot{}
		c.rows[string(key)] = row
	}
	row[string(akey)] = s
	return s, nil
}

func (c *change) apply(ctx context.Context, o *Op, sc *Schema, answer []byte) ([]byte, error) {
	if o.Kind == OpDeleteKey {
		n, err := c.deleteKey(ctx, o.Key)
		return binary.AppendUvarint(answer, n), err
	}
	s, err := c.load(ctx, o.Key, o.Akey)
	if err != nil {
		return nil, err
	}
	if err := s.meets(o); err != nil {
		return nil, err
	}
	switch o.Kind {
	case OpPut:
		if sc != nil {
			if err := sc.Check(o.Key, o.Value); err != nil {
				return nil, err
			}
		}
		return answer, c.put(ctx, s, o.Value)
	case OpDelete:
		n := uint64(0)
		if s.found {
			n = 1
			c.drop(s)
		}
		return binary.AppendUvarint(answer, n), nil
	}
	if sc != nil {
		return nil, fault.New(fault.Invalid, "kv.apply", show(o.Key), "the values of this dataset have fields: none can be added to or appended to").
			Do("put the whole value, with the condition that its version is the one that was read")
	}
	if o.Kind == OpAdd {
		n, err := c.add(ctx, s, o.Number)
		return binary.AppendVarint(answer, n), err
	}
	return c.append(ctx, s, o.Value, answer)
}

// meets checks the condition of an op.
func (s *slot) meets(o *Op) error {
	switch {
	case o.When == IfAbsent && s.found:
		return fault.New(fault.Exists, "kv.apply", show(o.Key), "there is a value of this key")
	case (o.When == IfPresent || o.When == IfVersion) && !s.found:
		return notFound(o.Key)
	case o.When == IfVersion && s.version != o.Version:
		return asked{fault.New(fault.Conflict, "kv.apply", show(o.Key), "the version is %d, not %d as expected", uint64(s.version), uint64(o.Version)).
			Do("get the value again and decide anew")}
	}
	return nil
}

func notFound(key []byte) error {
	return fault.New(fault.NotFound, "kv.get", show(key), "there is no such key")
}

// free gives back what a value occupies beside its record.
func (c *change) free(s *slot) {
	if !s.bulk() {
		return
	}
	oid := c.d.bulkID(s.number)
	if n := chunks(s.size); n <= uint64(oid.Class().Groups()) {
		for i := range n {
			c.write(object.Write{Op: object.OpPunchDkey, OID: oid, Dkey: chunkKey(i)})
		}
		return
	}
	c.write(object.Write{Op: object.OpPunchObject, OID: oid})
}

func chunks(size uint64) uint64 { return (size + chunkSize - 1) / chunkSize }

// put sets a value.
func (c *change) put(ctx context.Context, s *slot, value []byte) error {
	c.free(s)
	s.found = true
	if len(value) <= bulkAt {
		c.plain(s, append(append(make([]byte, 0, 1+len(value)), formPlain), value...))
		return nil
	}
	n, err := c.number(ctx)
	if err != nil {
		return err
	}
	c.large(s, place{number: n, size: uint64(len(value))}, 0, value)
	return nil
}

// plain writes a record with its value in it.
func (c *change) plain(s *slot, record []byte) {
	s.place = place{plain: record[1:], size: uint64(len(record) - 1)}
	c.write(object.Write{Op: object.OpPut, OID: c.d.values, Dkey: s.key, Akey: valueAkey(s.akey), Data: record})
}

// large writes bytes of a large value from an offset on, and its record.
func (c *change) large(s *slot, p place, off uint64, data []byte) {
	s.place = p
	c.tx.Writes = c.d.appendBytes(c.tx.Writes, p.number, off, data)
	c.write(object.Write{Op: object.OpPut, OID: c.d.values, Dkey: s.key, Akey: valueAkey(s.akey), Data: p.encode()})
}

func (d *Dataset) appendBytes(ws []object.Write, number, off uint64, data []byte) []object.Write {
	oid := d.bulkID(number)
	for len(data) > 0 {
		n := min(uint64(len(data)), chunkSize-off%chunkSize)
		ws = append(ws, object.Write{Op: object.OpWrite, OID: oid, Dkey: chunkKey(off / chunkSize), Akey: akeyData, Offset: off % chunkSize, Data: data[:n]})
		data, off = data[n:], off+n
	}
	return ws
}

// number is one that an attempt before has taken, or a new one.
func (c *change) number(ctx context.Context) (uint64, error) {
	if n := len(c.spare); n > 0 {
		x := c.spare[n-1]
		c.spare = c.spare[:n-1]
		return x, nil
	}
	return c.d.number(ctx)
}

// drop removes a value.
func (c *change) drop(s *slot) {
	c.free(s)
	s.found, s.place = false, place{}
	c.write(object.Write{Op: object.OpPunchAkey, OID: c.d.values, Dkey: s.key, Akey: valueAkey(s.akey)})
}

// deleteKey removes all values of a key.
func (c *change) deleteKey(ctx context.Context, key []byte) (uint64, error) {
	c.tx.Reads = append(c.tx.Reads, object.Read{OID: c.d.values, Point: true, From: key})
	var akeys [][]byte
	end := append(append(make([]byte, 0, len(key)+1), key...), 0)
	err := c.d.st.List(ctx, c.at, c.d.values, object.ListOptions{From: key, To: end, KeysOnly: true}, func(it object.Item) bool {
		akeys = append(akeys, append([]byte(nil), it.Akey[1:]...))
		return true
	})
	if err != nil {
		return 0, err
	}
	for _, a := range akeys {
		if _, err := c.load(ctx, key, a); err != nil {
			return 0, err
		}
	}
	n := uint64(0)
	for _, s := range c.rows[string(key)] {
		if s.found {
			n++
			c.free(s)
			s.found, s.place = false, place{}
		}
	}
	if n > 0 {
		c.write(object.Write{Op: object.OpPunchDkey, OID: c.d.values, Dkey: key})
	}
	return n, nil
}

// add adds to a counter: the value is its decimal form.
func (c *change) add(ctx context.Context, s *slot, by int64) (int64, error) {
	n := int64(0)
	if s.found {
		var err error
		if n, err = strconv.ParseInt(string(s.plain), 10, 64); err != nil || s.bulk() {
			return 0, fault.New(fault.Invalid, "kv.add", show(s.key), "the value is not a decimal integer of 64 bits").Do("put a number first, or use another key")
		}
	}
	sum := n + by
	if (sum > n) != (by > 0) && by != 0 {
		return 0, fault.New(fault.Invalid, "kv.add", show(s.key), "%d and %d are more than 64 bits", n, by)
	}
	return sum, c.put(ctx, s, strconv.AppendInt(nil, sum, 10))
}

// append adds bytes at the end of a value.
func (c *change) append(ctx context.Context, s *slot, data, answer []byte) ([]byte, error) {
	size := s.size + uint64(len(data))
	if size > MaxValue {
		return nil, tooLong(s.key, size)
	}
	answer = binary.AppendUvarint(answer, size)
	s.found = true
	switch {
	case s.bulk():
		c.large(s, place{number: s.number, size: size}, s.size, data)
	case size <= growAt:
		b := append(make([]byte, 0, 1+size), formPlain)
		c.plain(s, append(append(b, s.plain...), data...))
	default:
		n, err := c.number(ctx)
		if err != nil {
			return nil, err
		}
		c.large(s, place{number: n, size: size}, 0, append(append(make([]byte, 0, size), s.plain...), data...))
	}
	return answer, nil
}

// decodeResults reads the answer that was kept with the request id.
func decodeResults(ops []Op, sum uint32, b []byte) ([]Result, error) {
	if len(b) < sumSize || binary.LittleEndian.Uint32(b) != sum {
		return nil, misused()
	}
	b = b[sumSize:]
	var out []Result
	for i := range ops {
		var r Result
		var n int
		switch ops[i].Kind {
		case OpPut:
			continue
		case OpAdd:
			r.Number, n = binary.Varint(b)
		case OpAppend:
			r.Size, n = binary.Uvarint(b)
		default:
			r.Removed, n = binary.Uvarint(b)
		}
		if n <= 0 {
			return nil, misused()
		}
		b = b[n:]
		out = append(out, r)
	}
	if len(b) != 0 {
		return nil, misused()
	}
	return out, nil
}
