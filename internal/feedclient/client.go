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
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"daos/internal/fault"
	"daos/internal/feedframe"
	"daos/internal/feedsocket"
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
	// Threads are those of all connections that wait side by side; nil: this one
	// is alone.
	Threads *feedsocket.Threads
}

// awake is how long an answer is waited for awake where the one before came within
// that: a durable write takes 200 us, and falling asleep and being woken adds half
// of that on a machine that has nothing else to do.
const awake = 400 * time.Microsecond

// Client is one connection. Its methods may be used from several goroutines;
// the server runs the calls one after another.
//
// No goroutine reads for all: one that waits for an answer takes the turn, reads
// until its own has come, and hands the others theirs. Waking one goroutine for
// another costs as much as a small answer.
type Client struct {
	nc       net.Conn
	hello    *feedv1.HelloReply
	messages feedframe.Messages
	window   int
	done     chan struct{} // closed when the connection has ended
	closing  chan struct{} // closed by Close: nobody reads answers any more
	closed   sync.Once
	watched  sync.Once

	wmu sync.Mutex // one frame at a time

	turn  chan struct{} // full while somebody reads
	in    frameReader   // who has the turn has it
	owed  *pending      // for whom in.last is that was not handed on; as in
	ended bool          // as in

	mu     sync.Mutex
	next   uint64
	calls  map[uint64]*pending
	err    error // why the connection ended
	goaway bool
}

// pending is a call that waits for frames.
type pending struct {
	frames chan frame    // closed after the last one, and with the connection
	gone   chan struct{} // closed when nobody waits for them any more
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
	threads := o.Threads
	if threads == nil {
		threads = new(feedsocket.Threads)
	}
	nc = feedsocket.New(nc, threads)
	if s, ok := nc.(*feedsocket.Socket); ok {
		s.StayAwake(awake)
	}
	c := &Client{
		nc: nc, done: make(chan struct{}), closing: make(chan struct{}), turn: make(chan struct{}, 1),
		window: o.Window, calls: map[uint64]*pending{},
	}
	c.in.br = bufio.NewReaderSize(nc, 64<<10)
	if c.window == 0 {
		c.window = defaultWindow
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	if err := c.sayHello(o); err != nil {
		stop()
		_ = nc.Close()
		return nil, err
	}
	if !stop() {
		_ = nc.Close()
		return nil, ctx.Err()
	}
	return c, nil
}

func (c *Client) sayHello(o Options) error {
	meta, err := proto.Marshal(&feedv1.Hello{Version: feedframe.Version, Token: o.Token, Client: o.Name, Pid: int64(os.Getpid())})
	if err != nil {
		return err
	}
	if err := c.write(feedframe.Header{Kind: feedframe.Hello}, meta, nil); err != nil {
		return err
	}
	f, err := c.in.read()
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

// Draining reports whether the server has asked its clients to go, as far as
// answers have been read.
func (c *Client) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.goaway
}

// Close ends the connection; calls under way fail.
func (c *Client) Close() error {
	c.closed.Do(func() { close(c.closing) })
	err := c.nc.Close()
	c.turn <- struct{}{} // who reads, or hands on, stops at once
	c.end(nil)
	<-c.turn
	return err
}

// Done is closed when the connection has ended. From the first call on somebody
// waits for that all the time.
func (c *Client) Done() <-chan struct{} {
	c.watched.Do(func() {
		go func() {
			c.turn <- struct{}{}
			defer func() { <-c.turn }()
			_ = c.readFor(context.Background(), nil)
		}()
	})
	return c.done
}

// Err is why the connection ended.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// write sends a frame; the parts are the caller's again when it returns.
func (c *Client) write(h feedframe.Header, meta, payload []byte) error {
	h.MetaLen, h.PayloadLen = uint32(len(meta)), uint64(len(payload))
	n := feedframe.HeaderSize + feedframe.Padded(len(meta))
	b := make([]byte, n, n+min(len(payload), copyMax))
	h.Put(b)
	copy(b[feedframe.HeaderSize:], meta)
	v := [][]byte{b, payload}
	if len(payload) <= copyMax {
		v = [][]byte{append(b, payload...)}
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	var err error
	if s, ok := c.nc.(*feedsocket.Socket); ok {
		_, err = s.WriteBuffers(v)
	} else {
		_, err = (*net.Buffers)(&v).WriteTo(c.nc)
	}
	if err != nil {
		return fault.New(fault.Unreachable, "feed.write", "", "the connection is broken").Because(err)
	}
	return nil
}

// copyMax is the longest payload that is copied behind its meta part.
const copyMax = 16 << 10

// begin registers a call, so many of whose answers may lie unread.
func (c *Client) begin(window int) (uint64, *pending, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		if c.err != nil {
			return 0, nil, c.err
		}
		return 0, nil, fault.New(fault.Unreachable, "feed.call", "", "the connection is closed")
	}
	c.next++
	p := &pending{frames: make(chan frame, window), gone: make(chan struct{})}
	c.calls[c.next] = p
	return c.next, p, nil
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
	id, p, err := c.begin(1)
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
	id, p, err := c.begin(1)
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
