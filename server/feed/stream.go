package feed

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"daos/internal/fault"
	"daos/internal/feedframe"
	feedv1 "daos/proto/gen/daos/feed/v1"
)

// serverStream is grpc.ServerStream over a call's frames.
type serverStream struct {
	c    *conn
	k    *call
	ctx  context.Context
	m    *feedv1.Call
	many bool // the server may send more than one message

	begun  bool        // the first message, of the CALL frame, was taken
	held   int64       // budget of the message that the handler has now
	sent   atomic.Bool // the one response was sent
	broken atomic.Bool // the socket is

	mu      sync.Mutex // held by a send: a handler may return while it waits (codec.Interruptible)
	closed  bool       // the handler has returned
	refused error      // why a message could not be sent: the stream ends with that
}

// stream runs a streaming method and ends its call. The error says that the
// connection is broken.
func (c *conn) stream(ctx context.Context, k *call, m *feedv1.Call, to *method) error {
	st := &serverStream{c: c, k: k, ctx: ctx, m: m, many: to.stream.ServerStreams}
	err := c.handle(st, to)
	st.mu.Lock() // nothing of the stream may follow its end
	st.closed = true
	if err == nil {
		err = st.refused
	}
	st.mu.Unlock()
	c.s.budget.put(st.held)
	switch {
	case st.broken.Load():
		return errEnd
	case !st.many && st.sent.Load():
		return nil // the REPLY without MORE was the end
	case !st.many && err == nil:
		err = fault.New(fault.Internal, to.name, "", "the server has a bug: the call ended without an answer")
	}
	return c.w.status(k.header.ID, err)
}

func (c *conn) handle(st *serverStream, to *method) (err error) {
	defer c.caught(to.name, &err)
	if err := st.ctx.Err(); err != nil {
		return err
	}
	if c.s.o.Stream == nil {
		return to.stream.Handler(to.impl, st)
	}
	info := &grpc.StreamServerInfo{FullMethod: to.name, IsClientStream: to.stream.ClientStreams, IsServerStream: to.stream.ServerStreams}
	return c.s.o.Stream(to.impl, st, info, to.stream.Handler)
}

func (st *serverStream) SetHeader(metadata.MD) error  { return nil }
func (st *serverStream) SendHeader(metadata.MD) error { return nil }
func (st *serverStream) SetTrailer(metadata.MD)       {}
func (st *serverStream) Context() context.Context     { return st.ctx }

// SendMsg writes a REPLY. The message is the handler's again when it returns.
func (st *serverStream) SendMsg(m any) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.refused != nil {
		return st.refused
	}
	if st.closed || !st.many && st.sent.Swap(true) {
		return fault.New(fault.Internal, "feed.send", "", "a message after the end of its stream")
	}
	if err := st.ctx.Err(); err != nil {
		if !st.many {
			st.sent.Store(false)
		}
		return err
	}
	h := feedframe.Header{ID: st.k.header.ID}
	if st.many {
		h.Flags = feedframe.More
	}
	err := st.c.w.reply(h, m)
	if errors.Is(err, errEnd) {
		st.broken.Store(true)
	} else if err != nil {
		st.refused = err
		st.sent.Store(false)
	}
	return err
}

// RecvMsg takes the next message. Its payload belongs to the handler.
func (st *serverStream) RecvMsg(into any) error {
	st.c.s.budget.put(st.held)
	st.held = 0
	if !st.begun {
		st.begun = true
		p := &st.k.first
		st.held, p.held = p.held, 0
		payload := p.bytesOfPayload()
		p.payload = nil // not for the pool: the handler may keep it
		return st.c.s.messages.Decode(into, st.m.GetMessage(), payload)
	}
	p, err := st.next()
	if err != nil {
		return err
	}
	st.held, p.held = p.held, 0
	err = st.c.s.messages.Decode(into, p.bytesOfMeta(), p.bytesOfPayload())
	p.payload = nil
	st.c.drop(&p)
	return err
}

// next waits for a MESSAGE; io.EOF after the last one.
func (st *serverStream) next() (part, error) {
	c, k := st.c, st.k
	stop := context.AfterFunc(st.ctx, func() {
		c.mu.Lock() // so that the wake-up does not fall between check and wait
		c.inbox.Broadcast()
		c.mu.Unlock()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(k.in) == 0 && !k.inEnd && st.ctx.Err() == nil {
		c.inbox.Wait()
	}
	switch {
	case st.ctx.Err() != nil:
		return part{}, st.ctx.Err()
	case len(k.in) == 0:
		return part{}, io.EOF
	}
	p := k.in[0]
	k.in[0] = part{}
	k.in = k.in[1:]
	c.takenLocked(&p)
	return p, p.err
}
