package feedframe

import (
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"daos/internal/fault"
)

// Messages splits proto messages into the part that goes into a frame's meta
// part and the top-level bytes field `payload`, which goes behind it. The field
// is looked up once a message type. The zero value is ready.
type Messages struct {
	fields sync.Map // protoreflect.MessageDescriptor -> protoreflect.FieldDescriptor, nil inside if it has none
}

func (p *Messages) field(m protoreflect.Message) protoreflect.FieldDescriptor {
	d := m.Descriptor()
	if f, ok := p.fields.Load(d); ok {
		fd, _ := f.(protoreflect.FieldDescriptor)
		return fd
	}
	fd := d.Fields().ByName("payload")
	if fd == nil || fd.Kind() != protoreflect.BytesKind || fd.IsList() {
		p.fields.Store(d, noField{})
		return nil
	}
	p.fields.Store(d, fd)
	return fd
}

type noField struct{}

// Decode reads a message and gives it its payload without copying it.
func (p *Messages) Decode(into any, message, payload []byte) error {
	m, ok := into.(proto.Message)
	if !ok {
		return fault.New(fault.Internal, "feed.decode", "", "%T is not a message", into)
	}
	if err := proto.Unmarshal(message, m); err != nil {
		return fault.New(fault.Invalid, "feed.decode", string(m.ProtoReflect().Descriptor().FullName()), "the message can't be read").Because(err)
	}
	if len(payload) == 0 {
		return nil
	}
	r := m.ProtoReflect()
	fd := p.field(r)
	if fd == nil {
		return fault.New(fault.Invalid, "feed.decode", string(r.Descriptor().FullName()), "a payload of %d bytes for a message without a payload field", len(payload))
	}
	r.Set(fd, protoreflect.ValueOfBytes(payload))
	return nil
}

// Encode appends a message without its payload to b, and returns the payload,
// which stays the message's.
func (p *Messages) Encode(b []byte, from any) (_, payload []byte, err error) {
	m, ok := from.(proto.Message)
	if !ok {
		return b, nil, fault.New(fault.Internal, "feed.encode", "", "%T is not a message", from)
	}
	r := m.ProtoReflect()
	if fd := p.field(r); fd != nil && r.IsValid() {
		if payload = r.Get(fd).Bytes(); len(payload) > 0 {
			// Handlers may use their message again: it gets its payload back.
			r.Clear(fd)
			defer r.Set(fd, protoreflect.ValueOfBytes(payload))
		}
	}
	b, err = proto.MarshalOptions{}.MarshalAppend(b, m)
	return b, payload, err
}
