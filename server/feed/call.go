package feed

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"daos/engine/object"
	"daos/internal/fault"
	"daos/internal/feedframe"
	feedv1 "daos/proto/gen/daos/feed/v1"
	"daos/server/wire"
)

// call is a CALL or a BATCH from its arrival to its answer.
type call struct {
	header  feedframe.Header
	first   part // of the CALL or BATCH frame itself
	arrived time.Time
	late    bool // arrived after GOAWAY

	// Guarded by conn.mu.
	in       []part // MESSAGE frames that the handler has not taken
	inEnd    bool   // the last one has arrived
	canceled bool
	cancel   context.CancelCauseFunc // while it runs
}

// executor runs calls in order of arrival until the connection ends.
func (c *conn) executor() {
	allowFaults()
	var b batcher
	for {
		k := c.next()
		if k == nil {
			return
		}
		if c.execute(k, &b) != nil {
			c.abort()
			return
		}
	}
}

// allowFaults is for goroutines that run batches: samples are copied and sent
// straight out of mapped files, and a page that can't be read must be an error
// of that batch, not the end of the process.
func allowFaults() { debug.SetPanicOnFault(true) }

// execute runs one call and answers it. The error says that the connection is
// broken.
func (c *conn) execute(k *call, b *batcher) error {
	defer c.finish(k)
	switch {
	case k.late:
		return c.w.status(k.header.ID, fault.New(fault.Unreachable, "feed.call", "", "the server is shutting down and did not begin this call").
			Do("connect again and repeat it"))
	case k.first.err != nil:
		return c.w.status(k.header.ID, k.first.err)
	case k.header.Kind == feedframe.Batch:
		return b.run(c, k)
	}
	return c.call(k)
}

// next waits for a call; nil: the connection has ended.
func (c *conn) next() *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	for (len(c.mu.queue) == 0 || c.mu.busy) && !c.mu.closed {
		c.work.Wait()
	}
	if c.mu.closed {
		return nil
	}
	k := c.mu.queue[0]
	c.mu.queue[0] = nil
	if c.mu.queue = c.mu.queue[1:]; len(c.mu.queue) == 0 {
		c.mu.queue = nil
	}
	c.mu.busy = true
	c.takenLocked(&k.first)
	return k
}

func (c *conn) finish(k *call) {
	c.mu.Lock()
	c.mu.busy = false
	if len(c.mu.queue) > 0 { // arrived while the reader ran this one
		c.work.Signal()
	}
	delete(c.mu.open, k.header.ID)
	for i := range k.in { // sent and never taken
		c.takenLocked(&k.in[i])
	}
	c.mu.Unlock()
	c.release(k)
}

// release gives back what a call holds; nobody uses it any more.
func (c *conn) release(k *call) {
	c.drop(&k.first)
	for i := range k.in {
		c.drop(&k.in[i])
	}
	k.in = nil
}

// call runs a method and answers. The error says that the connection is broken.
func (c *conn) call(k *call) error {
	c.s.stats.calls.Add(1)
	id := k.header.ID
	var m feedv1.Call
	if k.first.meta == nil {
		return c.w.status(id, fault.New(fault.Invalid, "feed.call", "", "a CALL without a meta part"))
	}
	if err := proto.Unmarshal(*k.first.meta, &m); err != nil {
		return c.w.status(id, fault.New(fault.Invalid, "feed.call", "", "the CALL can't be read").Because(err))
	}
	to, ok := c.s.o.Registrar.methods[m.GetMethod()]
	if !ok {
		return c.w.status(id, fault.New(fault.Unsupported, "feed.call", clip(m.GetMethod()), "the server has no such method").Do("use a server as new as the client"))
	}
	if clientStream := to.stream != nil && to.stream.ClientStreams; k.header.More() && !clientStream {
		return c.w.status(id, fault.New(fault.Invalid, "feed.call", to.name, "MORE on a call that takes one message"))
	}
	ctx, cancel := c.callContext(k, &m, to)
	defer cancel()
	if to.unary == nil {
		return c.stream(ctx, k, &m, to)
	}
	out := object.Regions{Short: c.files}
	if c.rows {
		out.Rows = object.RowLimits{Pieces: feedframe.MaxPlaces, Files: feedframe.MaxFiles, Bytes: lendPart, Least: lendFrom}
	}
	defer out.Release()
	resp, err := c.unary(wire.WithRegions(ctx, &out), k, &m, to)
	if err != nil {
		return c.w.status(id, err)
	}
	if out.Size() > 0 {
		return c.w.regions(feedframe.Header{ID: id}, resp, &out)
	}
	if err = c.w.reply(feedframe.Header{ID: id}, resp); err != nil && !errors.Is(err, errEnd) {
		return c.w.status(id, err)
	}
	return err
}

// callContext is the context of one call: deadline, cancellation, metadata and
// grpc's own handles, so that handlers and interceptors see what they know.
func (c *conn) callContext(k *call, m *feedv1.Call, to *method) (context.Context, context.CancelFunc) {
	md := c.md
	ctx := c.ctx
	if tp := m.GetTraceparent(); tp != "" {
		md = metadata.Join(md, metadata.Pairs("traceparent", tp))
		if c.s.o.Trace != nil {
			ctx = c.s.o.Trace(ctx, tp)
		}
	}
	ctx = metadata.NewIncomingContext(ctx, md)
	ctx = grpc.NewContextWithServerTransportStream(ctx, transportStream(to.name))
	ctx, cause := context.WithCancelCause(ctx)
	stop := func() { cause(nil) }
	d := time.Duration(m.GetTimeoutMillis()) * time.Millisecond
	if d == 0 && to.unary != nil {
		d = c.s.limits.CallTimeout
	}
	if d > 0 {
		var stopTimer context.CancelFunc
		ctx, stopTimer = context.WithDeadline(ctx, k.arrived.Add(d))
		stop = func() { stopTimer(); cause(nil) }
	}
	c.mu.Lock()
	k.cancel = cause
	if k.canceled {
		cause(errCanceled)
	}
	c.mu.Unlock()
	return ctx, stop
}

func (c *conn) unary(ctx context.Context, k *call, m *feedv1.Call, to *method) (resp any, err error) {
	defer c.caught(to.name, &err)
	if err := ctx.Err(); err != nil { // cancelled or late before it began
		return nil, err
	}
	decode := func(v any) error { return c.s.messages.Decode(v, m.GetMessage(), k.first.bytesOfPayload()) }
	return to.unary(to.impl, ctx, decode, c.s.o.Unary)
}

// caught turns a panic of a handler into an error of its call.
func (c *conn) caught(name string, err *error) {
	if r := recover(); r != nil {
		c.s.o.Log.Error("a handler has panicked", "method", name, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		*err = fault.New(fault.Internal, name, "", "the server has a bug: %v", r).Do("report it with the server's log")
	}
}

func (p *part) bytesOfPayload() []byte {
	if p.payload == nil {
		return nil
	}
	return *p.payload
}

func (p *part) bytesOfMeta() []byte {
	if p.meta == nil {
		return nil
	}
	return *p.meta
}

func tooBig(meta, payload int) error {
	return fault.New(fault.TooBig, "feed.reply", "", "an answer with a meta part of %d and a payload of %d bytes, at most %d and %d are allowed",
		meta, payload, feedframe.MaxMeta, feedframe.MaxPayload).Do("ask for less at a time")
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

// transportStream satisfies grpc.SetHeader and friends. The feed has no
// headers and trailers: what handlers set is dropped.
type transportStream string

func (t transportStream) Method() string             { return string(t) }
func (transportStream) SetHeader(metadata.MD) error  { return nil }
func (transportStream) SendHeader(metadata.MD) error { return nil }
func (transportStream) SetTrailer(metadata.MD) error { return nil }
