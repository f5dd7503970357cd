// Package mux lets one port carry everything: it looks at the first bytes of
// each connection and hands the connection to the server that speaks it.
// "PRI " is HTTP/2 (gRPC and Flight), "DFD1" the feed, the name of an HTTP/1
// method the small web server. Anything else is closed.
//
// Plain sockets are peeked at, so that their owner gets the socket itself with
// nothing read from it: writev and SO_PEERCRED go on working. A TLS connection
// is read and gets its first bytes back.
//
// A connection that does not say in time what it is costs a goroutine until
// then, and there is a limit on these. Start with New and Serve.
package mux

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// headSize is how many bytes tell the protocols apart.
const headSize = 4

// Options of a Mux. A zero field takes its default.
type Options struct {
	// Sniff is how long a connection may take to show what it is; 10 s.
	Sniff time.Duration
	// Pending is how many connections of each listener may be in that state;
	// 1024. Each has its own, so that strangers on TCP don't keep the users of
	// the unix socket waiting.
	Pending int
	// TLS ends TLS here, if set; its NextProtos should have h2 and http/1.1.
	TLS *tls.Config
}

// Mux shares listeners between three protocols.
type Mux struct {
	o     Options
	http2 *listener
	http1 *listener
	feed  func(net.Conn)

	mu struct {
		sync.Mutex
		closed    bool
		listeners map[net.Listener]struct{}
		sniffing  map[net.Conn]struct{}
	}
	running sync.WaitGroup
}

// New returns a Mux. feed is called with each feed connection on a goroutine
// of its own, and owns it.
func New(feed func(net.Conn), o Options) *Mux {
	if o.Sniff == 0 {
		o.Sniff = 10 * time.Second
	}
	if o.Pending == 0 {
		o.Pending = 1024
	}
	m := &Mux{o: o, http2: newListener(), http1: newListener(), feed: feed}
	m.mu.listeners = map[net.Listener]struct{}{}
	m.mu.sniffing = map[net.Conn]struct{}{}
	return m
}

// HTTP2 is the listener for grpc.Server.Serve.
func (m *Mux) HTTP2() net.Listener { return m.http2 }

// HTTP1 is the listener for http.Server.Serve.
func (m *Mux) HTTP1() net.Listener { return m.http1 }

// Serve takes connections from l until l or the Mux is closed. It may be called
// for several listeners.
func (m *Mux) Serve(l net.Listener) error {
	m.mu.Lock()
	if m.mu.closed {
		m.mu.Unlock()
		return net.ErrClosed
	}
	m.mu.listeners[l] = struct{}{}
	m.mu.Unlock()
	m.http2.setAddr(l.Addr())
	m.http1.setAddr(l.Addr())
	pending := make(chan struct{}, m.o.Pending)
	for {
		pending <- struct{}{} // at the limit, connections wait in the kernel
		c, err := l.Accept()
		if err != nil {
			<-pending
			if !temporary(err) {
				if errors.Is(err, net.ErrClosed) {
					return nil
				}
				return err
			}
			if !m.pause(50 * time.Millisecond) { // out of file descriptors: others may end soon
				return nil
			}
			continue
		}
		if !m.begin(c) {
			<-pending
			_ = c.Close()
			return nil
		}
		go m.sniff(c, pending)
	}
}

func temporary(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) ||
		errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ECONNABORTED)
}

func (m *Mux) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-m.http2.done:
		return false
	}
}

func (m *Mux) begin(c net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return false
	}
	m.mu.sniffing[c] = struct{}{}
	m.running.Add(1)
	return true
}

// end forgets a connection; false: Close has closed it.
func (m *Mux) end(c net.Conn) bool {
	m.mu.Lock()
	delete(m.mu.sniffing, c)
	closed := m.mu.closed
	m.mu.Unlock()
	m.running.Done()
	return !closed
}

func (m *Mux) sniff(raw net.Conn, pending <-chan struct{}) {
	_ = raw.SetDeadline(time.Now().Add(m.o.Sniff))
	c, head, err := m.head(raw)
	open := m.end(raw)
	<-pending
	if err != nil || !open || c.SetDeadline(time.Time{}) != nil {
		_ = raw.Close()
		return
	}
	switch kind(head) {
	case isHTTP2:
		m.http2.hand(c)
	case isFeed:
		m.feed(c)
	case isHTTP1:
		m.http1.hand(c)
	default:
		_ = c.Close()
	}
}

type protocol uint8

const (
	isOther protocol = iota
	isHTTP2
	isFeed
	isHTTP1
)

func kind(head [headSize]byte) protocol {
	switch string(head[:]) {
	case "PRI ":
		return isHTTP2
	case "DFD1":
		return isFeed
	case "GET ", "HEAD", "POST", "PUT ", "OPTI", "DELE", "PATC":
		return isHTTP1
	}
	return isOther
}

// head shows the first bytes of c. The connection returned still has them.
func (m *Mux) head(c net.Conn) (net.Conn, [headSize]byte, error) {
	var head [headSize]byte
	if m.o.TLS == nil {
		if s, ok := c.(syscall.Conn); ok {
			err := peek(s, head[:])
			return c, head, err
		}
	} else {
		t := tls.Server(c, m.o.TLS)
		ctx, cancel := context.WithTimeout(context.Background(), m.o.Sniff)
		defer cancel()
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, head, err
		}
		c = t
	}
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, head, err
	}
	return &unread{Conn: c, head: append([]byte(nil), head[:]...)}, head, nil
}

// peek waits until len(b) bytes can be read, and copies them without reading.
func peek(c syscall.Conn, b []byte) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, err := unix.Recvfrom(int(fd), b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				return false
			case err != nil:
				peekErr = err
			case n == 0:
				peekErr = io.EOF
			case n < len(b):
				return false // the poller wakes us for each further arrival
			}
			return true
		}
	})
	if err != nil {
		return err
	}
	return peekErr
}

// unread is a connection whose first bytes have been read.
type unread struct {
	net.Conn
	head []byte
}

func (u *unread) Read(b []byte) (int, error) {
	if len(u.head) > 0 {
		n := copy(b, u.head)
		u.head = u.head[n:]
		return n, nil
	}
	return u.Conn.Read(b)
}

// NetConn is the connection below.
func (u *unread) NetConn() net.Conn { return u.Conn }

// Close closes the listeners and the connections that have not shown what they
// are, and waits for these. Connections handed over are their owners'.
func (m *Mux) Close() error {
	m.mu.Lock()
	m.mu.closed = true
	for l := range m.mu.listeners {
		_ = l.Close()
	}
	for c := range m.mu.sniffing {
		_ = c.Close()
	}
	m.mu.Unlock()
	_ = m.http2.Close()
	_ = m.http1.Close()
	m.running.Wait()
	return nil
}
