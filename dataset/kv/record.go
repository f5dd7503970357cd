package kv

import (
	"encoding/binary"
	"fmt"

	"daos/engine/object"
	"daos/internal/fault"
)

// Limits.
const (
	MaxKey   = 1024
	MaxAkey  = 255
	MaxValue = 1 << 30
	// MaxBatch bounds the ops of one Apply, MaxReads those of them that add or
	// append: their answers are kept with the request id.
	MaxBatch = 16384
	MaxReads = 4096
	// MaxBatchBytes bounds the values of one Apply.
	MaxBatchBytes = 64 << 20
)

const (
	// bulkAt: a put of more bytes goes into an object of its own.
	bulkAt = 256 << 10
	// growAt: a value that an append makes longer than this does too, so that
	// the next append writes what is new only.
	growAt = 64 << 10
	// chunkSize is the bytes of a large value under one dkey. Part of the format.
	chunkSize = 4 << 20
)

// Uses of object ids in a KV dataset (object.ID.Use).
const (
	useValues = 0x50
	useBulk   = 0x51
	useMeta   = 0x52
)

var metaOID = object.MakeID(object.ClassS1, useMeta, 1)

// Keys of the meta object, and the akey of everything that is no value.
var (
	keySuper  = []byte("super")
	akeyState = []byte("s")
	akeyData  = []byte("d")
)

const prefixLease = "l"

func leaseKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixLease), number)
}

func chunkKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// akeyPrefix begins the akey of every value; the user's akey follows.
const akeyPrefix = 'v'

var akeyDefault = []byte{akeyPrefix}

func valueAkey(akey []byte) []byte {
	if len(akey) == 0 {
		return akeyDefault
	}
	return append([]byte{akeyPrefix}, akey...)
}

func point(oid object.ID, dkey, akey []byte) object.Read {
	return object.Read{OID: oid, Point: true, From: dkey, Akey: akey}
}

func corrupt(what, format string, args ...any) error {
	return fault.New(fault.Corrupt, "kv.record", what, format, args...)
}

// Forms of a value's record: its first byte.
const (
	formPlain = 1 // the value follows
	formBulk  = 2 // u64 number of its object, u64 length, little-endian
)

// Place is what the record of a value says.
type place struct {
	plain  []byte // of formPlain, a part of the record
	number uint64 // of formBulk; numbers begin at 1
	size   uint64
}

func (p *place) bulk() bool { return p.number != 0 }

func (p *place) encode() []byte {
	b := make([]byte, 1, 17)
	b[0] = formBulk
	b = binary.LittleEndian.AppendUint64(b, p.number)
	return binary.LittleEndian.AppendUint64(b, p.size)
}

func decodePlace(b, key []byte) (place, error) {
	switch {
	case len(b) > 0 && b[0] == formPlain:
		return place{plain: b[1:], size: uint64(len(b) - 1)}, nil
	case len(b) == 17 && b[0] == formBulk:
		p := place{number: binary.LittleEndian.Uint64(b[1:]), size: binary.LittleEndian.Uint64(b[9:])}
		if p.number != 0 && p.size <= MaxValue {
			return p, nil
		}
	}
	return place{}, corrupt(show(key), "the record of a value is not readable (%d bytes)", len(b))
}

// super is the superblock: what every change reads.
type super struct {
	next   uint64 // first number of a large value that was never given out; 0: there never was one
	schema []byte // encoded; empty: none
}

const recordVersion = 1

func (s super) encode() []byte {
	b := append(make([]byte, 0, 9+len(s.schema)), recordVersion)
	b = binary.LittleEndian.AppendUint64(b, s.next)
	return append(b, s.schema...)
}

func decodeSuper(b []byte) (super, error) {
	if len(b) < 9 || b[0] != recordVersion {
		return super{}, corrupt("superblock", "the superblock is not readable")
	}
	return super{next: binary.LittleEndian.Uint64(b[1:]), schema: b[9:]}, nil
}

// lease says until when (microseconds since 1970) a large value may be written
// under a number; akey "s" of dkey "l" and the number.
func encodeLease(until int64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{recordVersion}, uint64(until))
}

func decodeLease(b []byte) (int64, error) {
	if len(b) != 9 || b[0] != recordVersion {
		return 0, corrupt("lease", "the lease of a large value is not readable")
	}
	return int64(binary.LittleEndian.Uint64(b[1:])), nil
}

// show writes a key for errors: as text where it is some.
func show(key []byte) string {
	const most = 80
	if len(key) > most {
		return fmt.Sprintf("%q...", key[:most])
	}
	return fmt.Sprintf("%q", key)
}

// CheckName refuses keys and akeys that can't be.
func CheckName(key, akey []byte) error {
	switch {
	case len(key) == 0:
		return fault.New(fault.Invalid, "kv.key", "key", "an empty key").Do("keys have 1 to %d bytes", MaxKey)
	case len(key) > MaxKey:
		return fault.New(fault.TooBig, "kv.key", show(key), "a key of %d bytes, at most %d are allowed", len(key), MaxKey)
	case len(akey) > MaxAkey:
		return fault.New(fault.TooBig, "kv.key", show(key), "an akey of %d bytes, at most %d are allowed", len(akey), MaxAkey)
	}
	return nil
}

func tooLong(key []byte, size uint64) error {
	return fault.New(fault.TooBig, "kv.value", show(key), "a value of %d bytes, at most %d are allowed", size, MaxValue).
		Do("split it, or use a POSIX dataset")
}
