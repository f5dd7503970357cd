// Package feedclient speaks the feed protocol (docs/protocol.md) from Go. A
// Client is a grpc.ClientConnInterface, so the generated clients work over it
// unchanged; Batch is the call that gRPC does not have.
//
// It is for tools and tests on one connection: it does not reconnect, and does
// not repeat calls. Start with Dial.
package feedclient

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"daos/internal/fault"
	"daos/internal/feedframe"
	commonv1 "daos/proto/gen/daos/common/v1"
	feedv1 "daos/proto/gen/daos/feed/v1"
)

// Options of a connection.
type Options struct {
	Token string // not needed on a unix socket of the same user
	Name  string // what the client calls itself
	// Window is how many answers of a call may lie unread before the connection
	// waits for their reader; 0: 64.
	Window int
}

// Client is one connection. Its methods may be used from several goroutines;
// the server runs the calls one after another.
type Client struct {
	nc       net.Conn
	hello    *feedv1.HelloReply
	messages feedframe.Messages
	done     chan struct{} // closed when the reader has ended
	closing  chan struct{} // closed by Close: nobody reads answers any more
	ended    sync.Once
	window   int

	wmu sync.Mutex // one frame at a time

	mu     sync.Mutex
	next   uint64
	calls  map[uint64]*pending
	err    error // why the connection ended
	goaway bool
}

// pending is a call that waits for frames.
type pending struct {
	frames chan frame // closed after the last one, and with the connection
}

type frame struct {
	h             feedframe.Header
	meta, payload []byte
}

// defaultWindow is Options.Window.
const defaultWindow = 64

// Dial connects and says HELLO. address is "HOST:PORT" or "unix:PATH".
func Dial(ctx context.Context, address string, o Options) (*Client, error) {
	network := "tcp"
	if len(address) > 5 && address[:5] == "unix:" {
		network, address = "unix", address[5:]
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, fault.New(fault.Unreachable, "feed.dial", address, "can't connect").Because(err)
	}
	c := &Client{nc: nc, done: make(chan struct{}), closing: make(chan struct{}), window: o.Window, calls: map[uint64]*pending{}}
	if c.window == 0 {
		c.window = defaultWindow
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	br := bufio.NewReaderSize(nc, 64<<10)
	if err := c.sayHello(br, o); err != nil {
		_ = nc.Close()
		return nil, err
	}
	if !stop() {
		_ = nc.Close()
		return nil, ctx.Err()
	}
	go c.read(br)
	return c, nil
}

func (c *Client) sayHello(br *bufio.Reader, o Options) error {
	meta, err := proto.Marshal(&feedv1.Hello{Version: feedframe.Version, Token: o.Token, Client: o.Name, Pid: int64(os.Getpid())})
	if err != nil {
		return err
	}
	if err := c.write(feedframe.Header{Kind: feedframe.Hello}, meta, nil); err != nil {
		return err
	}
	f, err := readFrame(br)
	if err != nil {
		return fault.New(fault.Unreachable, "feed.hello", "", "the server did not answer HELLO").Because(err)
	}
	switch f.h.Kind {
	case feedframe.HelloReply:
		c.hello = new(feedv1.HelloReply)
		return proto.Unmarshal(f.meta, c.hello)
	case feedframe.Status:
		return statusError(f)
	}
	return fault.New(fault.Internal, "feed.hello", "", "the server answered HELLO with %s", f.h.Kind)
}

// Hello is what the server said at the beginning.
func (c *Client) Hello() *feedv1.HelloReply { return c.hello }

// Draining reports whether the server has asked its clients to go.
func (c *Client) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.goaway
}

// Close ends the connection; calls under way fail.
func (c *Client) Close() error {
	c.ended.Do(func() { close(c.closing) })
	err := c.nc.Close()
	<-c.done
	return err
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection ended.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// write sends a frame; the parts are the caller's again when it returns.
func (c *Client) write(h feedframe.Header, meta, payload []byte) error {
	h.MetaLen, h.PayloadLen = uint32(len(meta)), uint64(len(payload))
	b := make([]byte, feedframe.HeaderSize+feedframe.Padded(len(meta)))
	h.Put(b)
	copy(b[feedframe.HeaderSize:], meta)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	v := net.Buffers{b, payload}
	if _, err := v.WriteTo(c.nc); err != nil {
		return fault.New(fault.Unreachable, "feed.write", "", "the connection is broken").Because(err)
	}
	return nil
}

func readFrame(br *bufio.Reader) (frame, error) {
	var b [feedframe.HeaderSize]byte
	if _, err := io.ReadFull(br, b[:]); err != nil {
		return frame{}, err
	}
	h, err := feedframe.Parse(b[:])
	if err != nil {
		return frame{}, err
	}
	if h.PayloadLen > feedframe.MaxBatchReply {
		return frame{}, fault.New(fault.Internal, "feed.read", "", "a payload of %d bytes from the server", h.PayloadLen)
	}
	f := frame{h: h, meta: make([]byte, feedframe.Padded(int(h.MetaLen)))}
	if _, err := io.ReadFull(br, f.meta); err != nil {
		return frame{}, err
	}
	f.meta = f.meta[:h.MetaLen]
	if h.PayloadLen > 0 {
		f.payload = make([]byte, h.PayloadLen)
		if _, err := io.ReadFull(br, f.payload); err != nil {
			return frame{}, err
		}
	}
	return f, nil
}

// read hands frames to their calls until the connection ends.
func (c *Client) read(br *bufio.Reader) {
	defer close(c.done)
	err := c.readAll(br)
	_ = c.nc.Close()
	c.mu.Lock()
	c.err = err
	for _, p := range c.calls {
		close(p.frames)
	}
	c.calls = nil
	c.mu.Unlock()
}

func (c *Client) readAll(br *bufio.Reader) error {
	for {
		f, err := readFrame(br)
		if err != nil {
			var known *fault.Error
			if errors.As(err, &known) {
				return err
			}
			return fault.New(fault.Unreachable, "feed.read", "", "the server has closed the connection").Because(err)
		}
		if f.h.ID == 0 {
			if f.h.Kind == feedframe.GoAway {
				c.mu.Lock()
				c.goaway = true
				c.mu.Unlock()
				continue
			}
			if f.h.Kind == feedframe.Status {
				return statusError(f)
			}
			return fault.New(fault.Internal, "feed.read", "", "a %s frame without a call", f.h.Kind)
		}
		c.mu.Lock()
		p := c.calls[f.h.ID]
		if last := f.h.Kind == feedframe.Status || !f.h.More(); p != nil && last {
			delete(c.calls, f.h.ID) // the channel is closed here, not by read
			c.mu.Unlock()
			c.hand(p, f)
			close(p.frames)
			continue
		}
		c.mu.Unlock()
		if p != nil {
			c.hand(p, f)
		}
	}
}

// hand gives a frame to its call, when there is room.
func (c *Client) hand(p *pending, f frame) {
	select {
	case p.frames <- f:
	case <-c.closing:
	}
}

// begin registers a call.
func (c *Client) begin() (uint64, *pending, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		if c.err != nil {
			return 0, nil, c.err
		}
		return 0, nil, fault.New(fault.Unreachable, "feed.call", "", "the connection is closed")
	}
	c.next++
	p := &pending{frames: make(chan frame, c.window)}
	c.calls[c.next] = p
	return c.next, p, nil
}

// wait returns the next frame of a call. When ctx ends it sends CANCEL and
// leaves the rest to be thrown away.
func (c *Client) wait(ctx context.Context, id uint64, p *pending) (frame, error) {
	select {
	case f, ok := <-p.frames:
		if !ok {
			if err := c.Err(); err != nil {
				return frame{}, err
			}
			return frame{}, io.EOF
		}
		return f, nil
	case <-ctx.Done():
		c.abandon(id, p)
		return frame{}, ctx.Err()
	}
}

func (c *Client) abandon(id uint64, p *pending) {
	_ = c.write(feedframe.Header{Kind: feedframe.Cancel, ID: id}, nil, nil)
	go func() {
		for range p.frames { //nolint:revive // thrown away until the server has ended the call
		}
	}()
}

func statusError(f frame) error {
	var e commonv1.Error
	if err := proto.Unmarshal(f.meta, &e); err != nil || f.h.Status == 0 {
		return fault.New(fault.Kind(f.h.Status), "feed.status", "", "the call failed")
	}
	return &fault.Error{Kind: fault.Kind(f.h.Status), Op: e.GetOp(), Resource: e.GetResource(), Detail: e.GetDetail(), Resolution: e.GetResolution()}
}

// call builds a CALL frame.
func (c *Client) call(ctx context.Context, id uint64, method string, args any, more bool) error {
	msg, payload, err := c.messages.Encode(nil, args)
	if err != nil {
		return err
	}
	m := &feedv1.Call{Method: method, Message: msg}
	if d, ok := ctx.Deadline(); ok {
		m.TimeoutMillis = uint32(max(1, min(time.Until(d).Milliseconds(), 1<<31)))
	}
	meta, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	h := feedframe.Header{Kind: feedframe.Call, ID: id}
	if more {
		h.Flags = feedframe.More
	}
	return c.write(h, meta, payload)
}

// Invoke implements grpc.ClientConnInterface for unary calls.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	id, p, err := c.begin()
	if err != nil {
		return err
	}
	if err := c.call(ctx, id, method, args, false); err != nil {
		return err
	}
	f, err := c.wait(ctx, id, p)
	if err != nil {
		return err
	}
	if f.h.Kind == feedframe.Status {
		return statusError(f)
	}
	return c.messages.Decode(reply, f.meta, f.payload)
}

// BatchReply is an answered batch.
type BatchReply struct {
	Meta    feedframe.BatchMeta
	Payload []byte
}

// Batch asks for samples of a manifest by index.
func (c *Client) Batch(ctx context.Context, handle uint64, indices []uint64) (BatchReply, error) {
	id, p, err := c.begin()
	if err != nil {
		return BatchReply{}, err
	}
	var meta [feedframe.BatchRequestSize]byte
	feedframe.BatchRequest{Handle: handle, Count: uint32(len(indices))}.Put(meta[:])
	payload := make([]byte, 0, 8*len(indices))
	for _, i := range indices {
		payload = binary.LittleEndian.AppendUint64(payload, i)
	}
	if err := c.write(feedframe.Header{Kind: feedframe.Batch, ID: id}, meta[:], payload); err != nil {
		return BatchReply{}, err
	}
	f, err := c.wait(ctx, id, p)
	if err != nil {
		return BatchReply{}, err
	}
	if f.h.Kind == feedframe.Status {
		return BatchReply{}, statusError(f)
	}
	m, err := feedframe.ParseBatchMeta(f.meta, f.h.PayloadLen)
	return BatchReply{Meta: m, Payload: f.payload}, err
}
