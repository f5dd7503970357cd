package feed

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"daos/internal/bufpool"
	"daos/internal/fault"
	"daos/internal/feedframe"
	"daos/internal/feedsocket"
	"daos/server/auth"
)

// Options are what a Server needs. Registrar and Auth must be there.
type Options struct {
	// Registrar has the methods that CALL frames reach.
	Registrar *Registrar
	// Unary and Stream run around every call, as they do in the gRPC server.
	Unary  grpc.UnaryServerInterceptor
	Stream grpc.StreamServerInterceptor
	// Auth checks the token of a HELLO.
	Auth *auth.Authenticator
	// Batches answers BATCH frames; nil: they are answered with UNSUPPORTED.
	Batches Batches
	// Incarnation is a random number of this process.
	Incarnation uint64
	// Now tells the newest closed epoch and the version of the pool map; may be nil.
	Now func() (epoch, mapVersion uint64)
	// Trace puts a W3C traceparent into the context of a call; may be nil.
	Trace func(ctx context.Context, traceparent string) context.Context
	// OnBatch is told of every answered batch; may be nil.
	OnBatch func(took time.Duration, samples int, bytes uint64, err error)
	// OnConns is called with the number of authenticated connections whenever
	// it changes; may be nil. It must not block.
	OnConns func(n int)
	// Log gets what goes wrong inside; nil: nothing is logged.
	Log *slog.Logger

	Limits Limits
}

// Limits bound what clients can use. A zero field takes its default.
type Limits struct {
	Conns        int           // connections; 4096
	ConnBytes    int64         // request bytes of one connection read and not yet taken; 128 MiB
	TotalBytes   int64         // bytes held for all connections; 1 GiB
	HelloTimeout time.Duration // until HELLO is complete; 10 s
	StallTimeout time.Duration // without progress inside a frame, either way; 60 s
	IdleTimeout  time.Duration // without a frame and without a call; 0: none
	CallTimeout  time.Duration // of a unary call that names none; 60 s
	DrainGrace   time.Duration // from the last answer to the close, while draining; 250 ms
}

func (l Limits) withDefaults() Limits {
	if l.Conns == 0 {
		l.Conns = 4096
	}
	if l.ConnBytes == 0 {
		l.ConnBytes = 128 << 20
	}
	if l.TotalBytes == 0 {
		l.TotalBytes = 1 << 30
	}
	if l.HelloTimeout == 0 {
		l.HelloTimeout = 10 * time.Second
	}
	if l.StallTimeout == 0 {
		l.StallTimeout = time.Minute
	}
	if l.CallTimeout == 0 {
		l.CallTimeout = time.Minute
	}
	if l.DrainGrace == 0 {
		l.DrainGrace = 250 * time.Millisecond
	}
	return l
}

// Server serves the feed on the connections that it is given.
type Server struct {
	o        Options
	limits   Limits
	messages feedframe.Messages
	pool     bufpool.Pool
	budget   *budget
	stats    stats

	threads feedsocket.Threads // that wait for a socket

	mu struct {
		sync.Mutex
		conns    map[*conn]struct{}
		ready    int // conns that have said HELLO
		draining bool
		closed   bool
	}
	running sync.WaitGroup // ServeConn calls
}

type stats struct {
	calls, batches, samples, bytesIn, bytesOut, refused atomic.Int64
}

// Stats are counters since the start.
type Stats struct {
	Calls, Batches, Samples, BytesIn, BytesOut int64
	Refused                                    int64 // connections ended for what they sent
	Held                                       int64 // bytes held for clients now
	Conns                                      int   // authenticated connections now
}

// New returns a Server.
func New(o Options) (*Server, error) {
	if o.Registrar == nil || o.Auth == nil {
		return nil, fault.New(fault.Internal, "feed.new", "", "a feed server needs a registrar and an authenticator")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, limits: o.Limits.withDefaults()}
	s.budget = newBudget(s.limits.TotalBytes)
	s.mu.conns = map[*conn]struct{}{}
	return s, nil
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	n := s.mu.ready
	s.mu.Unlock()
	return Stats{
		Calls: s.stats.calls.Load(), Batches: s.stats.batches.Load(), Samples: s.stats.samples.Load(),
		BytesIn: s.stats.bytesIn.Load(), BytesOut: s.stats.bytesOut.Load(), Refused: s.stats.refused.Load(),
		Held: s.budget.inUse(), Conns: n,
	}
}

// Serve serves the connections of a listener until it is closed.
func (s *Server) Serve(l net.Listener) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		go s.ServeConn(nc)
	}
}

// ServeConn serves one connection and closes it. It returns when the
// connection has ended and nothing of it is left.
func (s *Server) ServeConn(nc net.Conn) {
	c := newConn(s, nc)
	if !s.admit(c) {
		_ = c.nc.Close()
		return
	}
	defer s.running.Done()
	defer s.forget(c)
	c.run()
}

func (s *Server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || s.mu.draining || len(s.mu.conns) >= s.limits.Conns {
		return false
	}
	s.mu.conns[c] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.mu.conns, c)
	n := -1
	if c.ready {
		s.mu.ready--
		n = s.mu.ready
	}
	s.mu.Unlock()
	if n >= 0 && s.o.OnConns != nil {
		s.o.OnConns(n)
	}
}

// markReady counts a connection that has been authenticated.
func (s *Server) markReady(c *conn) {
	s.mu.Lock()
	c.ready = true
	s.mu.ready++
	n := s.mu.ready
	draining := s.mu.draining
	s.mu.Unlock()
	if s.o.OnConns != nil {
		s.o.OnConns(n)
	}
	if draining { // Shutdown has missed it
		c.drain()
	}
}

// Shutdown lets every connection finish what it has been asked, tells the
// clients to go, and waits for that until ctx ends; then it closes what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.mu.draining = true
	for c := range s.mu.conns {
		if c.ready {
			go c.drain()
		} else {
			_ = c.nc.Close()
		}
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.Close()
	<-done
	return ctx.Err()
}

// Close ends all connections at once. Their calls are cancelled.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	for c := range s.mu.conns {
		c.abort()
	}
}
