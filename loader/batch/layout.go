package batch

import (
	"encoding/binary"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// Sizes of the BatchMeta of docs/protocol.md.
const (
	metaHeader = 64
	metaColumn = 64
	align      = 64
)

// Column is one column of a batch's layout: a descriptor of BatchMeta.
type Column struct {
	Layout   tensor.Layout
	Nulls    bool
	ItemSize uint32
	// Offsets are in bytes of the payload.
	Data, DataLen     uint64
	Offsets, Validity uint64
}

// Meta is a parsed BatchMeta.
type Meta struct {
	Count   uint32
	Columns []Column
}

func up(n uint64) uint64 { return (n + align - 1) &^ (align - 1) }

// place lays out offsets and validity of all columns and returns where the
// values begin.
func (m *Meta) place() uint64 {
	at := uint64(0)
	for i := range m.Columns {
		c := &m.Columns[i]
		if c.Layout != tensor.Fixed {
			c.Offsets = at
			at = up(at + 8*(uint64(m.Count)+1))
		}
		if c.Nulls {
			c.Validity = at
			at = up(at + uint64(m.Count))
		}
	}
	return at
}

// Append appends the encoded BatchMeta to b.
func (m *Meta) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, m.Count)
	b = le.AppendUint32(b, uint32(len(m.Columns)))
	b = append(b, make([]byte, metaHeader-8)...)
	for i := range m.Columns {
		c := &m.Columns[i]
		nulls := byte(0)
		if c.Nulls {
			nulls = 1
		}
		b = append(b, byte(c.Layout), nulls, 0, 0)
		b = le.AppendUint32(b, c.ItemSize)
		b = le.AppendUint64(b, c.Data)
		b = le.AppendUint64(b, c.DataLen)
		b = le.AppendUint64(b, c.Offsets)
		b = le.AppendUint64(b, c.Validity)
		b = append(b, make([]byte, 24)...)
	}
	return b
}

// ParseMeta reads a BatchMeta and checks it against the length of its payload:
// every part lies within, aligned, and holds what Count asks for.
func ParseMeta(b []byte, payload uint64) (*Meta, error) {
	bad := func(what string) error {
		return fault.New(fault.Invalid, "loader.batch", "batch meta", "%s", what)
	}
	le := binary.LittleEndian
	if len(b) < metaHeader {
		return nil, bad("cut short")
	}
	m := &Meta{Count: le.Uint32(b)}
	n := le.Uint32(b[4:])
	if n > tensor.MaxColumns || len(b) != metaHeader+metaColumn*int(n) {
		return nil, bad("its length does not match its columns")
	}
	if !zero(b[8:metaHeader]) {
		return nil, bad("reserved bytes are not zero")
	}
	within := func(off, n uint64) bool { return off%align == 0 && off <= payload && n <= payload-off }
	for b = b[metaHeader:]; len(b) > 0; b = b[metaColumn:] {
		c := Column{
			Layout: tensor.Layout(b[0]), Nulls: b[1] == 1, ItemSize: le.Uint32(b[4:]),
			Data: le.Uint64(b[8:]), DataLen: le.Uint64(b[16:]), Offsets: le.Uint64(b[24:]), Validity: le.Uint64(b[32:]),
		}
		switch {
		case c.Layout < tensor.Fixed || c.Layout > tensor.String || b[1] > 1 || !zero(b[2:4]) || !zero(b[40:metaColumn]) || c.ItemSize == 0:
			return nil, bad("a column that is not valid")
		case !within(c.Data, c.DataLen):
			return nil, bad("values beyond the payload")
		case c.Layout == tensor.Fixed && c.DataLen != uint64(m.Count)*uint64(c.ItemSize):
			return nil, bad("values that do not match the count")
		case c.Layout != tensor.Fixed && !within(c.Offsets, 8*(uint64(m.Count)+1)):
			return nil, bad("offsets beyond the payload")
		case c.Nulls && !within(c.Validity, uint64(m.Count)):
			return nil, bad("validity beyond the payload")
		}
		m.Columns = append(m.Columns, c)
	}
	return m, nil
}

func zero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}
