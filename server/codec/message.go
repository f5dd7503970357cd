package codec

import (
	"runtime"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of FlightData.
const (
	fieldDescriptor  = 1
	fieldHeader      = 2
	fieldAppMetadata = 3
	fieldBody        = 1000
)

// bodyAlign is what the body's place in the message is a multiple of, and
// counted is the smallest slice that gRPC counts references to.
const (
	bodyAlign = 64
	counted   = 1025
)

// Message is a FlightData ready to be sent. It can be sent once.
type Message struct {
	prefix []byte   // fields 1 to 3, tag and length of field 1000
	body   [][]byte // joined they are data_body
	pin    *Pin
}

// NewMessage lays out a FlightData. header is an Arrow IPC message; it gets
// zeros behind it, which flatbuffers allow, so that the body begins at a
// multiple of 64 bytes in the message. pin, which may be nil, holds the body
// and is released when it has been sent; NewMessage takes it over.
func NewMessage(header, appMetadata []byte, body [][]byte, pin *Pin) *Message {
	size := 0
	for _, b := range body {
		size += len(b)
	}
	fixed := 0
	if len(appMetadata) > 0 {
		fixed += protowire.SizeTag(fieldAppMetadata) + protowire.SizeBytes(len(appMetadata))
	}
	if size > 0 {
		fixed += protowire.SizeTag(fieldBody) + protowire.SizeVarint(uint64(size))
	}
	padded := len(header)
	if size > 0 && padded > 0 {
		// The length of the header is a varint and may grow with its padding:
		// two rounds settle it.
		for range 2 {
			at := protowire.SizeTag(fieldHeader) + protowire.SizeVarint(uint64(padded)) + padded + fixed
			padded += (bodyAlign - at%bodyAlign) % bodyAlign
		}
	}
	p := make([]byte, 0, padded+fixed+16)
	if padded > 0 {
		p = protowire.AppendTag(p, fieldHeader, protowire.BytesType)
		p = protowire.AppendVarint(p, uint64(padded))
		p = append(p, header...)
		p = append(p, make([]byte, padded-len(header))...)
	}
	if len(appMetadata) > 0 {
		p = protowire.AppendTag(p, fieldAppMetadata, protowire.BytesType)
		p = protowire.AppendBytes(p, appMetadata)
	}
	if size > 0 {
		p = protowire.AppendTag(p, fieldBody, protowire.BytesType)
		p = protowire.AppendVarint(p, uint64(size))
	}
	return &Message{prefix: p, body: body, pin: pin}
}

// Size is the length of the message on the wire.
func (m *Message) Size() int {
	n := len(m.prefix)
	for _, b := range m.body {
		n += len(b)
	}
	return n
}

// buffers hands the message to gRPC, and its pin with it.
func (m *Message) buffers() mem.BufferSlice {
	out := make(mem.BufferSlice, 0, 1+len(m.body))
	out = append(out, mem.SliceBuffer(m.prefix))
	pin := m.pin
	m.pin = nil
	if pin == nil {
		for _, b := range m.body {
			out = append(out, mem.SliceBuffer(b))
		}
		return out
	}
	h := &holder{pin: pin}
	for _, b := range m.body {
		if len(b) < counted || cap(b) < counted { // gRPC would not count it: make it ours
			out = append(out, mem.SliceBuffer(append([]byte(nil), b...)))
			continue
		}
		h.left.Add(1)
		out = append(out, mem.NewBuffer(&b, h))
	}
	if h.left.Load() == 0 {
		pin.Release()
		return out
	}
	// Where gRPC forgets its references, the holder becomes garbage.
	runtime.AddCleanup(h, func(p *Pin) { p.Release() }, pin)
	return out
}

// Discard releases what a message holds that was not sent.
func (m *Message) Discard() {
	if m.pin != nil {
		m.pin.Release()
		m.pin = nil
	}
}

// Pin holds memory that somebody else owns; its release function runs once.
type Pin struct {
	once    sync.Once
	release func()
}

// NewPin returns a Pin. release must not refer to the Pin or to what it holds.
func NewPin(release func()) *Pin { return &Pin{release: release} }

// Release ends the hold; a second call does nothing.
func (p *Pin) Release() { p.once.Do(p.release) }

// holder is the buffer pool that the counted slices of one message go back to.
type holder struct {
	pin  *Pin
	left atomic.Int64
}

// Get implements mem.BufferPool; nobody gets buffers from a holder.
func (h *holder) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put implements mem.BufferPool.
func (h *holder) Put(*[]byte) {
	if h.left.Add(-1) == 0 {
		h.pin.Release()
	}
}
