package client

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"daos/internal/fault"
	commonv1 "daos/proto/gen/daos/common/v1"
	"daos/server/wire"
)

// endless are the methods whose work grows with what is stored: no deadline of ours, but one that was asked for.
func endless(method string) bool {
	for _, m := range []string{"/Scrub", "/Sweep", "/DestroyDataset", "/DestroyPool", "/SaveView", "/RefreshView"} {
		if strings.HasSuffix(method, m) {
			return true
		}
	}
	return false
}

func (c *Client) outgoing(ctx context.Context) context.Context {
	if c.server.Token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.server.Token)
}

// unary is the interceptor of every unary call. The request id is made once,
// before the first try, so that all tries are one call to the server.
func (c *Client) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if _, ok := ctx.Deadline(); !ok && (c.limited || !endless(method)) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.opts.Timeout, c.tooLong())
		defer cancel()
	}
	ctx = c.outgoing(ctx)
	identify(req)
	began := time.Now()
	for try := 0; ; try++ {
		c.fillSeen(req)
		err := invoke(ctx, method, req, reply, conn, opts...)
		if err == nil {
			c.met.Store(true)
			c.noteSeen(reply)
			return nil
		}
		wait, again := c.again(err, try, time.Since(began))
		if !again {
			return c.fault(ctx, err)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return c.fault(ctx, err)
		case <-t.C:
		}
	}
}

// again says whether and when a failed call is tried again: only where the
// server said it did nothing (overloaded), or where doing it twice is the same
// as once, which reads and identified mutations are.
func (c *Client) again(err error, try int, spent time.Duration) (time.Duration, bool) {
	switch fault.KindOf(wire.Fault(err)) {
	case fault.Overloaded:
	case fault.Unreachable:
		if !c.met.Load() {
			return 0, false
		}
	default:
		return 0, false
	}
	wait := 25 * time.Millisecond << min(try, 5)
	wait += time.Duration(mathrand.Int64N(int64(wait)/2 + 1))
	if hint := retryAfter(err); hint > wait {
		wait = hint
	}
	return wait, spent+wait < c.opts.RetryFor
}

func retryAfter(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if e, ok := d.(*commonv1.Error); ok {
			return min(time.Duration(e.GetRetryAfterMillis())*time.Millisecond, 5*time.Second)
		}
	}
	return 0
}

// fault is the fault behind a failed call, with the server's address where the
// connection is what failed.
func (c *Client) fault(ctx context.Context, err error) error {
	err = wire.Fault(err)
	if fault.Is(err, fault.Timeout) {
		if why := limit(ctx); why != nil {
			return why
		}
	}
	var f *fault.Error
	if errors.As(err, &f) && f.Op == "rpc" {
		switch f.Kind {
		case fault.Unreachable:
			return fault.New(f.Kind, "client.call", c.server.Name(), "the server can't be reached: %s", lastLine(f.Detail)).
				Do("see whether it runs (daos system status), or name another with --addr or DAOS_ADDR")
		case fault.Timeout:
			return fault.New(f.Kind, "client.call", c.server.Name(), "no answer in time")
		case fault.Canceled:
			return fault.New(f.Kind, "client.call", "", "interrupted")
		}
	}
	return err
}

// tooLong is the error of a call that the client's own limit ends.
func (c *Client) tooLong() error {
	what := "no answer within %s"
	if c.limited {
		what = "no answer within the --timeout of %s"
	}
	return fault.New(fault.Timeout, "client.call", c.server.Name(), what, c.opts.Timeout).Do("give a longer --timeout, or see what the server does (daos system status, daos query ps)")
}

// limit is the error of a call whose context has come to its deadline, as whoever
// set it has put it; nil where it has not, or nothing was said. The server knows
// the deadline too, and may have been a little faster.
func limit(ctx context.Context) error {
	end, ok := ctx.Deadline()
	if !ok || time.Until(end) > time.Second {
		return nil
	}
	<-ctx.Done()
	var f *fault.Error
	if errors.As(context.Cause(ctx), &f) {
		return f
	}
	return nil
}

// lastLine keeps the cause of gRPC's "connection error: desc = ..." chain.
func lastLine(s string) string {
	if i := strings.LastIndex(s, "desc = "); i >= 0 {
		s = s[i+len("desc = "):]
	}
	return strings.Trim(s, `"`)
}

// stream is the interceptor of every stream: token and epochs as for a unary
// call, and errors as faults. A stream is not retried here and gets no request
// ids: who sends it knows what was answered and what a retry must repeat.
func (c *Client) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := streamer(c.outgoing(ctx), desc, conn, method, opts...)
	if err != nil {
		return nil, c.fault(ctx, err)
	}
	return &clientStream{ClientStream: s, c: c, ctx: ctx}, nil
}

type clientStream struct {
	grpc.ClientStream
	c *Client
	// ctx is the caller's. The stream's own is cancelled by gRPC when the server's
	// answer comes, and would not say why then.
	ctx context.Context
}

func (s *clientStream) SendMsg(m any) error {
	s.c.fillSeen(m)
	return s.c.streamFault(s.ctx, s.ClientStream.SendMsg(m))
}

func (s *clientStream) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return s.c.streamFault(s.ctx, err)
	}
	s.c.met.Store(true)
	s.c.noteSeen(m)
	return nil
}

// streamFault leaves io.EOF alone: on Recv the end, on Send "ask Recv why".
func (c *Client) streamFault(ctx context.Context, err error) error {
	if _, ok := status.FromError(err); err == nil || !ok {
		return err
	}
	return c.fault(ctx, err)
}

// NewRequestID is a new random id of one call.
func NewRequestID() []byte {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails: crypto/rand ends the process instead
	return id
}

// identify gives a mutation without a request id a new one.
func identify(m any) {
	msg, ok := m.(proto.Message)
	if !ok {
		return
	}
	r := msg.ProtoReflect()
	f := r.Descriptor().Fields().ByName("mutation")
	if f == nil || f.Kind() != protoreflect.MessageKind || f.IsList() {
		return
	}
	mut, ok := r.Mutable(f).Message().Interface().(*commonv1.Mutation)
	if ok && len(mut.GetRequestId()) == 0 {
		mut.RequestId = NewRequestID()
	}
}

// fillSeen raises a request's `seen` to the highest epoch met so far.
func (c *Client) fillSeen(m any) {
	msg, ok := m.(proto.Message)
	if !ok {
		return
	}
	r := msg.ProtoReflect()
	if f := r.Descriptor().Fields().ByName("seen"); f != nil && f.Kind() == protoreflect.Uint64Kind {
		if seen := c.seen.Load(); seen > r.Get(f).Uint() {
			r.Set(f, protoreflect.ValueOfUint64(seen))
		}
	}
}

// noteSeen keeps the epoch of an answered mutation.
func (c *Client) noteSeen(m any) {
	a, ok := m.(interface{ GetChanged() *commonv1.Changed })
	if !ok {
		return
	}
	epoch := a.GetChanged().GetEpoch()
	for {
		have := c.seen.Load()
		if epoch <= have || c.seen.CompareAndSwap(have, epoch) {
			return
		}
	}
}
