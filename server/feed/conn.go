package feed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"daos/internal/fault"
	"daos/internal/feedframe"
	"daos/internal/feedsocket"
	feedv1 "daos/proto/gen/daos/feed/v1"
	"daos/server/auth"
)

const (
	readBuffer = 32 << 10
	// accountFrom is the size from which a part counts against the budgets;
	// smaller ones are bounded by the number of frames.
	accountFrom = 16 << 10
	// readStep is what must arrive within a StallTimeout.
	readStep = 4 << 20
	// unixSendBuffer lets the server write a batch without waiting for the
	// reader to be scheduled; on TCP the kernel tunes the buffer itself.
	unixSendBuffer = 4 << 20
)

// errEnd ends a connection without a complaint: the client went away.
var errEnd = fmt.Errorf("end of the connection: %w", context.Canceled)

// conn is one connection.
type conn struct {
	s      *Server
	nc     net.Conn
	peer   auth.Peer
	br     *bufio.Reader
	w      writer
	ctx    context.Context
	cancel context.CancelFunc
	md     metadata.MD // incoming metadata of all calls
	ready  bool        // guarded by s.mu
	files  bool        // the client reads files itself; set by hello
	rows   bool        // it takes places with rows

	batcher batcher        // of batches that the reader answers
	relief  *time.Timer    // runs while the reader answers, but for batches where
	tells   bool           // the socket says when it blocks
	readers sync.WaitGroup // those that read, and have read
	ended   chan error     // why reading has ended; one value

	mu struct {
		sync.Mutex
		open     map[uint64]*call // queued and running calls by id
		queue    []*call          // in order of arrival, the running one is not in it
		busy     bool             // a call is running
		inline   *call            // the one that the reader runs itself, until it is relieved
		frames   int              // read and not taken
		bytes    int64            // of these, where accounted
		closed   bool
		draining bool
	}
	space *sync.Cond // the reader waits here for frames and bytes to be taken
	work  *sync.Cond // the executor waits here for a call
	inbox *sync.Cond // handlers of client streams wait here for messages
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, peer: auth.PeerOf(nc)}
	if u, ok := nc.(*net.UnixConn); ok {
		growSendBuffer(u)
	}
	nc = feedsocket.New(nc, &s.threads)
	c.nc, c.br = nc, bufio.NewReaderSize(nc, readBuffer)
	c.w = writer{c: c, nc: nc}
	c.ended = make(chan error, 1)
	c.relief = time.AfterFunc(time.Hour, c.relieve)
	c.relief.Stop()
	if s, ok := nc.(*feedsocket.Socket); ok {
		s.BeforeWait(c.relieve)
		c.tells = true
	}
	c.mu.open = map[uint64]*call{}
	c.space, c.work, c.inbox = sync.NewCond(&c.mu), sync.NewCond(&c.mu), sync.NewCond(&c.mu)
	c.ctx, c.cancel = context.WithCancel(peer.NewContext(context.Background(), &peer.Peer{Addr: nc.RemoteAddr(), LocalAddr: nc.LocalAddr()}))
	return c
}

func growSendBuffer(u *net.UnixConn) {
	raw, err := u.SyscallConn()
	if err != nil {
		return
	}
	// The forced form passes net.core.wmem_max, where the server may; if
	// neither works the connection is only slower.
	_ = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, unixSendBuffer) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, unixSendBuffer)
		}
	})
}

// run serves the connection to its end.
func (c *conn) run() {
	defer c.cancel()
	if err := c.hello(); err != nil {
		c.complain(err)
		return
	}
	c.s.markReady(c)
	done := make(chan struct{})
	go func() { defer close(done); c.executor() }()
	c.readers.Add(1)
	go c.reader()
	err := <-c.ended
	if err != nil && !errors.Is(err, errEnd) {
		c.s.stats.refused.Add(1)
		c.s.o.Log.Debug("feed connection refused", "peer", c.peerName(), "error", err)
		c.complain(err)
	}
	c.abort()
	<-done
	c.relief.Stop()
	c.readers.Wait()
	c.mu.Lock()
	left := c.mu.open
	c.mu.open = nil
	c.mu.Unlock()
	for _, k := range left {
		c.release(k)
	}
}

func (c *conn) peerName() string {
	if a := c.nc.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// abort ends everything that waits. It can be called from anywhere, repeatedly.
func (c *conn) abort() {
	c.cancel()
	_ = c.nc.Close()
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	c.space.Broadcast()
	c.work.Broadcast()
	c.inbox.Broadcast()
}

// complain sends a STATUS for the connection itself and closes it so that the
// client can read it: a socket closed over unread input would drop it.
func (c *conn) complain(err error) {
	if errors.Is(err, errEnd) {
		_ = c.nc.Close()
		return
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(5 * time.Second))
	if c.w.status(0, err) == nil {
		if h, ok := c.nc.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
			_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
			_, _ = io.CopyN(io.Discard, c.br, 1<<20)
		}
	}
	_ = c.nc.Close()
}

// hello reads and answers the first frame.
func (c *conn) hello() error {
	_ = c.nc.SetDeadline(time.Now().Add(c.s.limits.HelloTimeout))
	h, err := c.header()
	if err != nil {
		return err
	}
	if h.Kind != feedframe.Hello || h.Flags != 0 || h.PayloadLen != 0 || h.MetaLen > feedframe.MaxHelloMeta {
		return fault.New(fault.Invalid, "feed.hello", "", "a connection that begins with %s", h.Kind).Do("begin with HELLO")
	}
	meta := make([]byte, feedframe.Padded(int(h.MetaLen)))
	if _, err := io.ReadFull(c.br, meta); err != nil {
		return errEnd
	}
	var m feedv1.Hello
	if err := proto.Unmarshal(meta[:h.MetaLen], &m); err != nil {
		return fault.New(fault.Invalid, "feed.hello", "", "the HELLO can't be read").Because(err)
	}
	if m.GetVersion() < feedframe.Version {
		return fault.New(fault.Invalid, "feed.hello", "", "protocol version %d, this server speaks %d", m.GetVersion(), feedframe.Version).Do("use a newer client")
	}
	id, err := c.s.o.Auth.Check(m.GetToken(), c.peer)
	if err != nil {
		return err
	}
	c.ctx = auth.WithIdentity(c.ctx, id)
	c.md = metadata.Pairs("user-agent", m.GetClient())
	r := &feedv1.HelloReply{
		Version: feedframe.Version, MaxMeta: feedframe.MaxMeta, MaxPayload: feedframe.MaxPayload, Incarnation: c.s.o.Incarnation,
	}
	if c.s.o.Now != nil {
		r.Epoch, r.MapVersion = c.s.o.Now()
	}
	if _, ok := c.nc.(*feedsocket.Socket); ok && slices.Contains(m.GetFeatures(), feedframe.FeatureFiles) && c.s.o.Auth.Own(c.peer) {
		c.files, r.Features = true, []string{feedframe.FeatureFiles}
		if slices.Contains(m.GetFeatures(), feedframe.FeatureRows) {
			c.rows, r.Features = true, append(r.Features, feedframe.FeatureRows)
		}
	}
	if err := c.w.message(feedframe.Header{Kind: feedframe.HelloReply, ID: h.ID}, r); err != nil {
		return errEnd
	}
	return c.nc.SetDeadline(time.Time{})
}

// header reads and checks a header. Only a header may be waited for for long.
func (c *conn) header() (feedframe.Header, error) {
	for {
		b, err := c.br.Peek(feedframe.HeaderSize)
		switch {
		case err == nil:
			h, err := feedframe.Parse(b)
			if err != nil {
				return h, err
			}
			_, _ = c.br.Discard(feedframe.HeaderSize)
			return h, nil
		case errors.Is(err, os.ErrDeadlineExceeded) && c.stay():
		default:
			// A beginning that can't become a frame is worth an answer.
			if len(b) >= 4 && string(b[:4]) != feedframe.Magic {
				_, err := feedframe.Parse(append(b, make([]byte, feedframe.HeaderSize-len(b))...))
				return feedframe.Header{}, err
			}
			return feedframe.Header{}, errEnd
		}
	}
}

// stay says whether a connection goes on whose read deadline has passed between
// two frames, and sets the next deadline.
func (c *conn) stay() bool {
	c.mu.Lock()
	busy, draining, open := c.mu.busy || len(c.mu.queue) > 0, c.mu.draining, !c.mu.closed
	c.mu.Unlock()
	if !open || !busy {
		return false
	}
	wait := c.s.limits.IdleTimeout
	if draining {
		wait = c.s.limits.DrainGrace
	}
	if wait == 0 {
		return false
	}
	return c.nc.SetReadDeadline(time.Now().Add(wait)) == nil
}

// drain tells the client to go and lets the connection end when it is idle.
func (c *conn) drain() {
	c.mu.Lock()
	was := c.mu.draining
	c.mu.draining = true
	c.mu.Unlock()
	if was {
		return
	}
	_ = c.w.frame(feedframe.Header{Kind: feedframe.GoAway}, nil)
	_ = c.nc.SetReadDeadline(time.Now().Add(c.s.limits.DrainGrace))
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.draining
}
