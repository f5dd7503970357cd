package control

import (
	"encoding/binary"

	"daos/internal/fault"
)

// The local store's keys in pebble (docs/format/control.md):
//
//	"m" "format"                 u32 version, 1
//	"m" "compacted"              u64 revision: older states are gone
//	"v" key 0x00 ^rev(8, BE)     version of a key, newest first
//	"l" rev(8, BE) key           what changed at a revision, empty value
//	"s" lease(8, BE)             u64 time to live in nanoseconds
//	"k" lease(8, BE) key         a key that hangs on a lease, empty value
//
// A version's value: u8 flags (1: deleted), u64 created revision, u64 lease,
// then the value; little-endian.
const (
	formatVersion = 1
	versionHead   = 1 + 8 + 8
	flagDeleted   = 1
)

var (
	keyFormat    = []byte("mformat")
	keyCompacted = []byte("mcompacted")
)

func versionKey(key string, rev Rev) []byte {
	b := make([]byte, 0, len(key)+10)
	b = append(b, 'v')
	b = append(b, key...)
	b = append(b, 0)
	return binary.BigEndian.AppendUint64(b, ^uint64(rev))
}

// splitVersionKey is the inverse of versionKey.
func splitVersionKey(b []byte) (key string, rev Rev, err error) {
	if len(b) < 10 || b[0] != 'v' || b[len(b)-9] != 0 {
		return "", 0, damaged("version key %x", b)
	}
	return string(b[1 : len(b)-9]), Rev(^binary.BigEndian.Uint64(b[len(b)-8:])), nil
}

type version struct {
	deleted bool
	created Rev
	lease   LeaseID
	value   []byte
}

func (v version) encode() []byte {
	b := make([]byte, versionHead, versionHead+len(v.value))
	if v.deleted {
		b[0] = flagDeleted
	}
	binary.LittleEndian.PutUint64(b[1:], uint64(v.created))
	binary.LittleEndian.PutUint64(b[9:], uint64(v.lease))
	return append(b, v.value...)
}

// decodeVersion copies what it keeps.
func decodeVersion(b []byte) (version, error) {
	if len(b) < versionHead || b[0]&^flagDeleted != 0 {
		return version{}, damaged("version of %d bytes", len(b))
	}
	return version{
		deleted: b[0] == flagDeleted,
		created: Rev(binary.LittleEndian.Uint64(b[1:])),
		lease:   LeaseID(binary.LittleEndian.Uint64(b[9:])),
		value:   append([]byte(nil), b[versionHead:]...),
	}, nil
}

func logKey(rev Rev, key string) []byte {
	b := append(make([]byte, 0, len(key)+9), 'l')
	b = binary.BigEndian.AppendUint64(b, uint64(rev))
	return append(b, key...)
}

func leaseKey(id LeaseID) []byte {
	return binary.BigEndian.AppendUint64([]byte{'s'}, uint64(id))
}

func leaseHold(id LeaseID, key string) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'k'}, uint64(id))
	return append(b, key...)
}

// after is the first key that does not begin with p; p does not end with 0xff
// bytes only.
func after(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			end := append([]byte(nil), p[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

func damaged(format string, args ...any) error {
	return fault.New(fault.Corrupt, "control.read", "control store", "damaged: "+format, args...).
		Do("restore the folder control from a copy")
}
