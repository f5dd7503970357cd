// Package feedframe is the layout of the feed's frames and of a batch's
// request and description, as docs/protocol.md ("Feed") gives them. It is used
// by both ends and does no I/O of its own; start with Header.
package feedframe

import (
	"encoding/binary"

	"daos/internal/fault"
)

// HeaderSize is the size of a frame's header, and the alignment of what follows.
const HeaderSize = 64

// Magic begins every frame.
const Magic = "DFD1"

// Version is the protocol version that HELLO negotiates.
const Version = 1

// Limits of a frame's parts.
const (
	MaxMeta         = 1 << 20
	MaxPayload      = 64 << 20
	MaxHelloMeta    = 16 << 10
	MaxPipelined    = 16
	MaxBatchCount   = 1 << 16
	MaxBatchReply   = 1 << 30
	MaxBatchColumns = (MaxMeta - BatchMetaSize) / ColumnSize
	MaxPlaces       = 512
	MaxFiles        = 16 // descriptors of one frame
)

// Kind is a frame's kind.
type Kind uint8

// Kinds of frames.
const (
	Hello      Kind = 1
	HelloReply Kind = 2
	Call       Kind = 3
	Message    Kind = 4
	Reply      Kind = 5
	Status     Kind = 6
	Cancel     Kind = 7
	Batch      Kind = 8
	BatchReply Kind = 9
	Credit     Kind = 10
	GoAway     Kind = 11
)

var kindNames = [...]string{"0", "HELLO", "HELLO_REPLY", "CALL", "MESSAGE", "REPLY", "STATUS", "CANCEL", "BATCH", "BATCH_REPLY", "CREDIT", "GOAWAY"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Flags of a frame.
const (
	More = 1 << 0 // further messages of this call follow in this direction
	Slot = 1 << 1 // the payload lies in a slot, not in the stream
	// Files: the payload lies in files whose descriptors came with the frame.
	// Header.Slot says how many Places, padded, stand where it would.
	Files = 1 << 2
)

// Header is a frame's header.
type Header struct {
	Kind       Kind
	Flags      uint8
	Status     uint16
	ID         uint64
	MetaLen    uint32
	Slot       uint32
	PayloadLen uint64
	SlotOffset uint64
}

// More reports whether further messages of the call follow in this direction.
func (h Header) More() bool { return h.Flags&More != 0 }

// Padded is n rounded up to the alignment of a frame's parts.
func Padded(n int) int { return (n + HeaderSize - 1) &^ (HeaderSize - 1) }

// Put writes h to b, which has at least HeaderSize bytes.
func (h Header) Put(b []byte) {
	b = b[:HeaderSize]
	clear(b)
	copy(b, Magic)
	b[4] = byte(h.Kind)
	b[5] = h.Flags
	binary.LittleEndian.PutUint16(b[6:], h.Status)
	binary.LittleEndian.PutUint64(b[8:], h.ID)
	binary.LittleEndian.PutUint32(b[16:], h.MetaLen)
	binary.LittleEndian.PutUint32(b[20:], h.Slot)
	binary.LittleEndian.PutUint64(b[24:], h.PayloadLen)
	binary.LittleEndian.PutUint64(b[32:], h.SlotOffset)
}

// Parse reads a header and checks everything that does not depend on who
// reads: magic, kind, flags, reserved bytes, the limits of both parts.
func Parse(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, bad("a header of %d bytes, it has %d", len(b), HeaderSize)
	}
	b = b[:HeaderSize]
	if string(b[:4]) != Magic {
		return Header{}, bad("a frame that begins with %q instead of %q", b[:4], Magic)
	}
	h := Header{
		Kind:       Kind(b[4]),
		Flags:      b[5],
		Status:     binary.LittleEndian.Uint16(b[6:]),
		ID:         binary.LittleEndian.Uint64(b[8:]),
		MetaLen:    binary.LittleEndian.Uint32(b[16:]),
		Slot:       binary.LittleEndian.Uint32(b[20:]),
		PayloadLen: binary.LittleEndian.Uint64(b[24:]),
		SlotOffset: binary.LittleEndian.Uint64(b[32:]),
	}
	switch {
	case h.Kind < Hello || h.Kind > GoAway:
		return Header{}, bad("an unknown frame kind %d", h.Kind)
	case h.Flags&^(More|Slot|Files) != 0 || h.Flags&Files != 0 && (h.Kind != Reply || h.Flags&Slot != 0):
		return Header{}, bad("reserved flags %#x in a %s frame", h.Flags, h.Kind)
	case h.Flags&Files != 0 && (h.Slot == 0 || h.Slot > MaxPlaces || h.SlotOffset != 0):
		return Header{}, bad("a payload in %d places in a %s frame, at most %d are allowed", h.Slot, h.Kind, MaxPlaces)
	case h.Flags&(Slot|Files) == 0 && (h.Slot != 0 || h.SlotOffset != 0):
		return Header{}, bad("a slot in a %s frame without the SLOT flag", h.Kind)
	case h.MetaLen > MaxMeta:
		return Header{}, bad("a meta part of %d bytes in a %s frame, at most %d are allowed", h.MetaLen, h.Kind, MaxMeta)
	}
	for _, c := range b[40:] {
		if c != 0 {
			return Header{}, bad("a reserved byte that is not 0 in a %s frame", h.Kind)
		}
	}
	return h, nil
}

func bad(format string, args ...any) error {
	return fault.New(fault.Invalid, "feed.frame", "", format, args...)
}
