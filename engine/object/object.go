package object

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"daos/internal/fault"
)

// DatasetID names a dataset in the system; it is given out once and never reused.
type DatasetID uint64

// PoolID names a pool in the system.
type PoolID uint64

// Epoch is a version timestamp from the server's hybrid logical clock:
// microseconds since 2020-01-01T00:00:00Z in the upper 52 bits, a logical
// counter in the lower 12.
type Epoch uint64

// EpochMax is above every epoch that a clock gives out.
const EpochMax = Epoch(1<<64 - 1)

const logicalBits = 12

var epochZero = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// EpochAt is the first epoch of the microsecond that contains t.
func EpochAt(t time.Time) Epoch {
	us := t.Sub(epochZero).Microseconds()
	if us < 0 {
		us = 0
	}
	return Epoch(us) << logicalBits
}

// Time is the wall clock of an epoch, to the microsecond.
func (e Epoch) Time() time.Time {
	return epochZero.Add(time.Duration(e>>logicalBits) * time.Microsecond)
}

// ID names an object in its dataset. Hi holds the object class in its top byte
// and the kind of use in the next (free for the dataset layer); Lo is a number
// that the dataset layer gives out, unique in the dataset.
type ID struct{ Hi, Lo uint64 }

// MakeID builds an ID of a class, a use and a number.
func MakeID(c Class, use uint8, n uint64) ID {
	return ID{Hi: uint64(c)<<56 | uint64(use)<<48, Lo: n}
}

// Class is the object class in the ID.
func (id ID) Class() Class { return Class(id.Hi >> 56) }

// Use is the dataset layer's own byte in the ID.
func (id ID) Use() uint8 { return uint8(id.Hi >> 48) }

// IsZero reports whether id names no object.
func (id ID) IsZero() bool { return id == ID{} }

// Bytes is the big-endian form of id.
func (id ID) Bytes() [16]byte {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], id.Hi)
	binary.BigEndian.PutUint64(b[8:], id.Lo)
	return b
}

// IDFromBytes is the inverse of ID.Bytes; b has at least 16 bytes.
func IDFromBytes(b []byte) ID {
	return ID{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
}

func (id ID) String() string { return fmt.Sprintf("%016x.%016x", id.Hi, id.Lo) }

// Compare orders IDs by (Hi, Lo).
func (id ID) Compare(o ID) int {
	switch {
	case id.Hi < o.Hi || id.Hi == o.Hi && id.Lo < o.Lo:
		return -1
	case id == o:
		return 0
	}
	return 1
}

// Class is an object class: how an object is spread and protected.
type Class uint8

// Object classes. The numbers are part of every object ID on disk.
const (
	ClassUnknown Class = 0
	ClassS1      Class = 1 // one redundancy group, no redundancy
	ClassSX      Class = 2 // SXGroups redundancy groups, no redundancy
)

// SXGroups is the number of redundancy groups of a class that ends in X. It is
// fixed, so that objects spread over targets that are added later.
const SXGroups = 64

// Groups is the number of redundancy groups of the class.
func (c Class) Groups() int {
	if c == ClassSX {
		return SXGroups
	}
	return 1
}

func (c Class) String() string {
	switch c {
	case ClassS1:
		return "S1"
	case ClassSX:
		return "SX"
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// ParseClass reads a class name. The names of replicated and coded classes are
// known and answered with fault.Unsupported.
func ParseClass(s string) (Class, error) {
	u := strings.ToUpper(s)
	switch u {
	case "S1":
		return ClassS1, nil
	case "SX":
		return ClassSX, nil
	}
	if strings.HasPrefix(u, "RP_") || strings.HasPrefix(u, "EC_") {
		return 0, fault.New(fault.Unsupported, "object.class", s, "replicated and erasure-coded object classes are not there yet").
			Do("use S1 (one target) or SX (spread over all targets)")
	}
	return 0, fault.New(fault.Invalid, "object.class", s, "unknown object class").Do("use S1 or SX")
}

// Group is the redundancy group of a dkey in an object of class c:
// FNV-1a 64 of the dkey, finished with splitmix64, modulo the number of groups.
// It is part of the on-disk format.
func (c Class) Group(dkey []byte) uint16 {
	n := c.Groups()
	if n == 1 {
		return 0
	}
	return uint16(Hash64(dkey) % uint64(n))
}

// Hash64 is FNV-1a 64 followed by the splitmix64 finaliser. Part of the format.
func Hash64(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h ^= uint64(c)
		h *= 1099511628211
	}
	return Mix64(h)
}

// Mix64 is the splitmix64 finaliser (Steele, Lea, Flood 2014). Part of the format.
func Mix64(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	h ^= h >> 31
	return h
}

// Hash is the placement hash of one redundancy group of an object. It stands in
// every index key, so it is part of the format; scans go by it, then by ID.
func (id ID) Hash(group uint16) uint32 {
	const golden = 0x9e3779b97f4a7c15
	h := Mix64(id.Hi + golden)
	h = Mix64(h ^ id.Lo)
	h = Mix64(h + golden*(uint64(group)+1))
	return uint32(h >> 32)
}

// RequestID names one call of one client, so that a retry of it is recognised.
// The zero value means "none".
type RequestID [16]byte

// IsZero reports whether r names no request.
func (r RequestID) IsZero() bool { return r == RequestID{} }

func (r RequestID) String() string { return hex.EncodeToString(r[:]) }

// Limits of one key, value and transaction.
const (
	MaxKey    = 4096      // bytes of a dkey or an akey
	MaxSingle = 64 << 20  // bytes of a single value
	MaxExtent = 64 << 20  // bytes of one extent
	MaxTx     = 256 << 20 // bytes of all values of one transaction
	MaxOps    = 1 << 17   // writes, reads and conditions of one transaction
	// InlineMax is the largest value that lies in the index itself; longer
	// ones lie in a segment.
	InlineMax = 1024
	// Granule is the checksum granule of a record longer than itself.
	Granule = 64 << 10
)
