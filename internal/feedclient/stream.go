package feedclient

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"daos/internal/fault"
	"daos/internal/feedframe"
)

// stream is a grpc.ClientStream. A client stream's last message must have MORE
// unset, so the end is an empty MESSAGE of its own.
type stream struct {
	c      *Client
	ctx    context.Context
	id     uint64
	p      *pending
	method string
	many   bool // the client may send more than one message
	ended  bool // the answer is complete
	stop   func() bool

	mu    sync.Mutex
	begun bool // the CALL is sent
}

// NewStream implements grpc.ClientConnInterface for streaming calls.
func (c *Client) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	id, p, err := c.begin(c.window)
	if err != nil {
		return nil, err
	}
	s := &stream{c: c, ctx: ctx, id: id, p: p, method: method, many: d.ClientStreams}
	s.stop = context.AfterFunc(ctx, s.leave)
	return s, nil
}

// leave is for a context that has ended, which is all that a caller has to do who
// wants no more: what is unread must not hold up the other calls.
func (s *stream) leave() {
	s.mu.Lock() // CANCEL goes behind CALL
	defer s.mu.Unlock()
	s.c.abandon(s.id, s.p)
}

// begin sends the CALL with the first message; false: that was done before.
func (s *stream) begin(m any) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return false, nil
	}
	if err := s.ctx.Err(); err != nil { // it may have been left already
		return true, err
	}
	s.begun = true
	return true, s.c.call(s.ctx, s.id, s.method, m, s.many)
}

func (s *stream) Header() (metadata.MD, error) { return nil, nil }
func (s *stream) Trailer() metadata.MD         { return nil }
func (s *stream) Context() context.Context     { return s.ctx }

func (s *stream) SendMsg(m any) error {
	if first, err := s.begin(m); first {
		return err
	}
	meta, payload, err := s.c.messages.Encode(nil, m)
	if err != nil {
		return err
	}
	return s.c.write(feedframe.Header{Kind: feedframe.Message, Flags: feedframe.More, ID: s.id}, meta, payload)
}

// CloseSend ends a client stream.
func (s *stream) CloseSend() error {
	if !s.many {
		return nil
	}
	s.mu.Lock()
	begun := s.begun
	s.mu.Unlock()
	if !begun {
		return fault.New(fault.Invalid, s.method, "", "a stream that ends before its first message")
	}
	return s.c.write(feedframe.Header{Kind: feedframe.Message, ID: s.id}, nil, nil)
}

func (s *stream) RecvMsg(m any) error {
	if s.ended {
		return io.EOF
	}
	defer func() {
		if s.ended {
			s.stop()
		}
	}()
	f, err := s.c.wait(s.ctx, s.id, s.p)
	if err != nil {
		s.ended = true
		return err
	}
	if f.h.Kind == feedframe.Status {
		s.ended = true
		if f.h.Status == 0 {
			return io.EOF
		}
		return statusError(f)
	}
	s.ended = !f.h.More()
	return s.c.messages.Decode(m, f.meta, f.payload)
}
