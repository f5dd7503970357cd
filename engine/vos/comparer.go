package vos

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"

	"daos/internal/fault"
)

// Names that the superblock and pebble keep. A change of meaning is a new name.
const (
	comparerName = "daos.vos.1"
	mergerName   = "daos.vos.counters.1"
	prefixBundle = 16
)

// newComparer is byte order, with the prefix (what bloom filters and blocks
// share) ending at the dkey: all of a dkey is met with one filtered seek.
func newComparer() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = comparerName
	c.Split = split
	return &c
}

// split is consistent with byte order for any input: no prefix that ends in an
// escaped string is the start of another, and one without an end is the key.
func split(k []byte) int {
	if len(k) <= headSize || k[8] != planeName && k[8] != planeExtent {
		return len(k)
	}
	if n := escapedLen(k[headSize:]); n >= 0 {
		return headSize + n
	}
	return len(k)
}

func newKeySchema(c *pebble.Comparer) (string, sstable.KeySchemas) {
	s := colblk.DefaultKeySchema(c, prefixBundle)
	return s.Name, sstable.MakeKeySchemas(&s)
}

// newMerger adds counters. A usage row is a list of int64, added one by one;
// the epoch ceiling is one uint64, of which the larger stays.
func newMerger() *pebble.Merger {
	return &pebble.Merger{
		Name: mergerName,
		Merge: func(key, value []byte) (pebble.ValueMerger, error) {
			m := &counter{ceiling: bytes.Equal(key, ceilingKey())}
			return m, m.MergeNewer(value)
		},
	}
}

type counter struct {
	ceiling bool
	sum     []uint64
}

func (m *counter) MergeNewer(value []byte) error {
	if len(value)%8 != 0 {
		return fault.New(fault.Corrupt, "vos.merge", "index", "a counter of %d bytes", len(value))
	}
	for i := 0; i*8 < len(value); i++ {
		v := binary.BigEndian.Uint64(value[i*8:])
		switch {
		case i == len(m.sum):
			m.sum = append(m.sum, v)
		case m.ceiling:
			m.sum[i] = max(m.sum[i], v)
		default:
			m.sum[i] += v // two's complement: the same for signed
		}
	}
	return nil
}

func (m *counter) MergeOlder(value []byte) error { return m.MergeNewer(value) }

func (m *counter) Finish(bool) ([]byte, io.Closer, error) {
	b := make([]byte, 0, 8*len(m.sum))
	for _, v := range m.sum {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b, nil, nil
}

func formatKey(k []byte) string { return fmt.Sprintf("%x", k) }
