package mux

import (
	"net"
	"sync"
)

// listener is a net.Listener that is handed its connections.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	mu    sync.Mutex
	addr  net.Addr
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), done: make(chan struct{}), addr: addr{}}
}

// hand gives c to whoever accepts, or closes it with the listener.
func (l *listener) hand(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.done:
		_ = c.Close()
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) setAddr(a net.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.addr.(addr); ok || a.Network() == "tcp" {
		l.addr = a
	}
}

func (l *listener) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr
}

// addr is the address before the first Serve.
type addr struct{}

func (addr) Network() string { return "mux" }
func (addr) String() string  { return "mux" }
