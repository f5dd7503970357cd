package service

import (
	"daos/dataset/kv"
	"daos/engine/object"
	"daos/internal/fault"
	kvv1 "daos/proto/gen/daos/kv/v1"
)

// opsOf are the changes of a batch: first the puts that come as columns, then the
// others. Their keys and values are parts of the request.
func opsOf(r *kvv1.ApplyRequest) ([]kv.Op, error) {
	puts := r.GetPuts()
	n := len(puts.GetKeySizes())
	if n+len(r.GetOps()) > kv.MaxBatch || len(r.GetPayload()) > maxKVBytes {
		return nil, fault.New(fault.TooBig, "kv.apply", "batch", "%d changes with %d bytes in one call, at most %d with %d are allowed",
			n+len(r.GetOps()), len(r.GetPayload()), kv.MaxBatch, maxKVBytes).Do("split the batch; stream large values")
	}
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "kv.apply", "batch", format, args...).Do("send the values one behind the other, and so the keys of puts")
	}
	rest, keys := r.GetPayload(), puts.GetKeys()
	take := func(i int, size uint64) ([]byte, error) {
		if size > uint64(len(rest)) {
			return nil, bad("change %d has a value of %d bytes, but only %d are left of the payload", i, size, len(rest))
		}
		v := rest[:size:size]
		rest = rest[size:]
		return v, nil
	}
	if len(puts.GetSizes()) != n {
		return nil, bad("%d puts with %d values", n, len(puts.GetSizes()))
	}
	ops := make([]kv.Op, n+len(r.GetOps()))
	for i, size := range puts.GetKeySizes() {
		if uint64(size) > uint64(len(keys)) {
			return nil, bad("put %d has a key of %d bytes, but only %d are left of the keys", i, size, len(keys))
		}
		value, err := take(i, uint64(puts.GetSizes()[i]))
		if err != nil {
			return nil, err
		}
		ops[i] = kv.Op{Kind: kv.OpPut, Key: keys[:size:size], Akey: puts.GetAkey(), Value: value}
		keys = keys[size:]
	}
	if len(keys) != 0 {
		return nil, bad("%d bytes of the keys belong to no put", len(keys))
	}
	for i, m := range r.GetOps() {
		value, err := take(n+i, m.GetSize())
		if err != nil {
			return nil, err
		}
		ops[n+i] = kv.Op{
			Kind: kv.OpKind(min(uint32(m.GetKind()), 255)), Key: m.GetKey(), Akey: m.GetAkey(), Value: value,
			Number: m.GetNumber(), When: kv.When(min(uint32(m.GetWhen()), 255)), Version: object.Epoch(m.GetVersion()),
		}
	}
	if len(rest) != 0 {
		return nil, bad("%d bytes of the payload belong to no change", len(rest))
	}
	return ops, nil
}
