package server

import (
	"net"
	"sync"
	"time"
)

// countListener counts the connections of a listener and refuses those beyond a
// limit.
type countListener struct {
	net.Listener
	max     int
	changed func(n int)

	mu sync.Mutex
	n  int
}

// Accept implements net.Listener.
func (l *countListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.add(1) {
			return &countedConn{Conn: c, l: l}, nil
		}
		_ = c.Close()
	}
}

// add moves the count; it refuses to go beyond the limit.
func (l *countListener) add(d int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d > 0 && l.n >= l.max {
		return false
	}
	l.n += d
	l.changed(l.n)
	return true
}

type countedConn struct {
	net.Conn
	l    *countListener
	once sync.Once
}

// NetConn is the connection below.
func (c *countedConn) NetConn() net.Conn { return c.Conn }

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.once.Do(func() { c.l.add(-1) })
	return c.Conn.Close()
}

// presence knows how many clients there are, and when there has been none for
// long enough.
type presence struct {
	mu     sync.Mutex
	counts map[string]int // by transport
	total  int
	linger time.Duration
	timer  *time.Timer // runs while there is nobody; nil: this server does not end by itself
	gone   chan struct{}
}

// newPresence makes a presence. An ephemeral one closes Gone when nobody has
// been there for linger; the first client may take six times as long to come.
func newPresence(ephemeral bool, linger time.Duration) *presence {
	p := &presence{counts: map[string]int{}, linger: linger, gone: make(chan struct{})}
	if ephemeral {
		p.timer = time.AfterFunc(6*linger, p.end)
	}
	return p
}

// set tells how many connections a transport has.
func (p *presence) set(transport string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.total
	p.total += n - p.counts[transport]
	p.counts[transport] = n
	switch {
	case p.timer == nil:
	case p.total > 0 && before == 0:
		p.timer.Stop()
	case p.total == 0 && before > 0:
		p.timer.Reset(p.linger)
	}
}

func (p *presence) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total > 0 { // somebody came while the timer fired
		return
	}
	select {
	case <-p.gone:
	default:
		close(p.gone)
	}
}

func (p *presence) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// stop ends the timer.
func (p *presence) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
}
