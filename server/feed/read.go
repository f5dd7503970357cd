package feed

import (
	"errors"
	"io"
	"sync"
	"time"

	"daos/internal/fault"
	"daos/internal/feedframe"
	"daos/internal/feedsocket"
)

// part is a frame without its header: bytes that a client has sent.
type part struct {
	meta, payload *[]byte // nil where empty
	held          int64   // taken from the server's budget
	bytes         int64   // counted against the connection's
	err           error   // why the parts were thrown away: nothing but err is set
}

// read takes frames off the socket until the connection ends. The error says
// what the client did wrong; errEnd that it has gone.
func (c *conn) read() error {
	idle := c.s.limits.IdleTimeout
	for {
		if idle > 0 && c.br.Buffered() == 0 {
			c.betweenFrames(idle)
		}
		h, err := c.header()
		if err != nil {
			return err
		}
		if err := c.frame(h); err != nil {
			return err
		}
	}
}

func (c *conn) frame(h feedframe.Header) error {
	switch h.Kind {
	case feedframe.Call, feedframe.Batch, feedframe.Message, feedframe.Cancel:
	case feedframe.Credit:
		return fault.New(fault.Unsupported, "feed.frame", "", "CREDIT on a connection without slots").Do("HELLO_REPLY.features says what was granted")
	default:
		return fault.New(fault.Invalid, "feed.frame", "", "a %s frame from a client", h.Kind)
	}
	if h.ID == 0 {
		return fault.New(fault.Invalid, "feed.frame", "", "a %s frame with id 0", h.Kind).Do("ids of calls are not 0")
	}
	if h.Status != 0 {
		return fault.New(fault.Invalid, "feed.frame", "", "a %s frame with a status", h.Kind)
	}
	if h.Kind == feedframe.Cancel {
		if h.MetaLen != 0 || h.PayloadLen != 0 || h.Flags != 0 {
			return fault.New(fault.Invalid, "feed.frame", "", "a CANCEL frame with content")
		}
		c.cancelCall(h.ID)
		return nil
	}
	if h.Flags&feedframe.Slot == 0 && h.PayloadLen > feedframe.MaxPayload {
		return fault.New(fault.Invalid, "feed.frame", "", "a payload of %d bytes, at most %d are allowed", h.PayloadLen, feedframe.MaxPayload).Do("send it in pieces")
	}
	p, err := c.parts(h)
	if err != nil {
		return err
	}
	k, err := c.enqueue(h, p)
	if err != nil || k == nil {
		return err
	}
	return c.inline(k)
}

// inlineMax is how long the reader may be busy with a batch or a call before
// another goroutine reads in its place: a client may send all that is read ahead
// before it takes an answer, and must be able to cancel. With a batch on a socket
// of ours the other one begins when the answer does not fit into the socket's
// buffer, so that no timer runs.
const inlineMax = 2 * time.Millisecond

// errTaken ends a reader in whose place another one reads.
var errTaken = errors.New("another goroutine reads")

// inline answers a batch or a call on the reader's goroutine.
func (c *conn) inline(k *call) error {
	timed := !c.tells || k.header.Kind != feedframe.Batch
	if timed {
		c.relief.Reset(inlineMax)
	}
	err := c.execute(k, &c.batcher)
	if timed {
		c.relief.Stop()
	}
	c.mu.Lock()
	mine := c.mu.inline == k
	if mine {
		c.mu.inline = nil
	}
	c.mu.Unlock()
	if mine {
		return err
	}
	if err != nil {
		c.abort()
	}
	return errTaken
}

// relieve lets another goroutine read if the reader is busy with an answer. A
// timer that fires late may relieve it of the next one: that does no harm. w.mu
// may be held.
func (c *conn) relieve() {
	c.mu.Lock()
	busy := c.mu.inline != nil && !c.mu.closed
	if busy { // else the reader goes on to the connection's end, and says so
		c.mu.inline = nil
		c.readers.Add(1) // the reader that is relieved has not ended: run still waits
	}
	c.mu.Unlock()
	if busy {
		go c.reader()
	}
}

// reader reads until the connection ends or another goroutine takes over.
func (c *conn) reader() {
	defer c.readers.Done()
	allowFaults()
	if err := c.read(); !errors.Is(err, errTaken) {
		c.ended <- err
	}
}

// parts reads what follows a header. It waits while the client is too far
// ahead; when the server as a whole holds too much, it throws the bytes away
// and says so in part.err.
func (c *conn) parts(h feedframe.Header) (part, error) {
	metaSize, payloadSize := feedframe.Padded(int(h.MetaLen)), int(h.PayloadLen)
	var refused error
	if h.Flags&feedframe.Slot != 0 { // its payload is not in the stream
		payloadSize = 0
		refused = fault.New(fault.Unsupported, "feed.frame", "", "a payload in a slot on a connection without slots").
			Do("send it in the stream; HELLO_REPLY.features says what was granted")
	}
	size := int64(metaSize) + int64(payloadSize)
	var p part
	if size >= accountFrom {
		p.bytes = size
	}
	if !c.waitSpace(p.bytes) {
		return p, errEnd
	}
	if refused == nil && p.bytes > 0 {
		if c.s.budget.try(p.bytes) {
			p.held = p.bytes
		} else {
			c.s.reap()
			refused = c.s.budget.overloaded(p.bytes)
		}
	}
	c.s.stats.bytesIn.Add(feedframe.HeaderSize + size)
	whole := int64(c.br.Buffered()) >= size
	if !whole {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.s.limits.StallTimeout))
	}
	if refused != nil {
		if err := c.discard(size); err != nil {
			return p, err
		}
		p.err = refused
		p.bytes = 0
	} else {
		if metaSize > 0 {
			p.meta = c.s.pool.Get(metaSize)
			if err := c.fill(*p.meta); err != nil {
				c.drop(&p)
				return p, err
			}
			*p.meta = (*p.meta)[:h.MetaLen]
		}
		if payloadSize > 0 {
			p.payload = c.s.pool.Get(payloadSize)
			if err := c.fill(*p.payload); err != nil {
				c.drop(&p)
				return p, err
			}
		}
	}
	if !whole {
		c.betweenFrames(0)
	}
	return p, nil
}

// betweenFrames sets how long the next header may be waited for; 0: for ever.
// drain sets its mark before its deadline, so that one of both is seen here.
func (c *conn) betweenFrames(wait time.Duration) {
	var t time.Time
	if wait > 0 {
		t = time.Now().Add(wait)
	}
	_ = c.nc.SetReadDeadline(t)
	if c.isDraining() {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.s.limits.DrainGrace))
	}
}

// fill reads b; each readStep of it has a StallTimeout of its own.
func (c *conn) fill(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), readStep)
		if _, err := io.ReadFull(c.br, b[:n]); err != nil {
			return errEnd
		}
		if b = b[n:]; len(b) > 0 {
			_ = c.nc.SetReadDeadline(time.Now().Add(c.s.limits.StallTimeout))
		}
	}
	return nil
}

func (c *conn) discard(n int64) error {
	for n > 0 {
		step := min(n, readStep)
		if _, err := c.br.Discard(int(step)); err != nil {
			return errEnd
		}
		if n -= step; n > 0 {
			_ = c.nc.SetReadDeadline(time.Now().Add(c.s.limits.StallTimeout))
		}
	}
	return nil
}

// drop gives back what a part holds. Its payload must not be in use any more.
func (c *conn) drop(p *part) {
	if p.meta != nil {
		c.s.pool.Put(p.meta)
	}
	if p.payload != nil {
		c.s.pool.Put(p.payload)
	}
	c.s.budget.put(p.held)
	p.meta, p.payload, p.held = nil, nil, 0
}

// waitSpace waits until the client is not too far ahead; false: the connection
// has ended.
func (c *conn) waitSpace(bytes int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ahead := func() bool {
		return !c.mu.closed && (c.mu.frames >= feedframe.MaxPipelined ||
			c.mu.bytes > 0 && bytes > 0 && c.mu.bytes+bytes > c.s.limits.ConnBytes)
	}
	if !ahead() {
		return !c.mu.closed
	}
	c.mu.Unlock()
	stop := c.watchHangup()
	c.mu.Lock()
	for ahead() {
		c.space.Wait()
	}
	c.mu.Unlock()
	stop()
	c.mu.Lock()
	return !c.mu.closed
}

// hangupAfter is how long the reader waits before it looks whether the client
// is still there.
const hangupAfter = 500 * time.Millisecond

// watchHangup ends the connection when the client goes away while the reader
// does not read. It looks at the socket only if that lasts; stop ends it.
func (c *conn) watchHangup() (stop func()) {
	sock, ok := c.nc.(*feedsocket.Socket)
	if !ok { // over TLS the deadlines of the calls must do
		return func() {}
	}
	var mu sync.Mutex
	var end func() // ends the watch that has begun
	stopped := false
	done := make(chan struct{})
	t := time.AfterFunc(hangupAfter, func() {
		defer close(done)
		wait, stop, err := sock.Hangup()
		if err != nil {
			return
		}
		mu.Lock()
		if end = stop; stopped {
			stop()
		}
		mu.Unlock()
		if wait() {
			c.abort()
		}
	})
	return func() {
		if t.Stop() {
			return
		}
		mu.Lock()
		if stopped = true; end != nil {
			end()
		}
		mu.Unlock()
		<-done
	}
}

// taken notes that the executor or a handler has taken a frame. c.mu is held.
func (c *conn) takenLocked(p *part) {
	c.mu.frames--
	c.mu.bytes -= p.bytes
	c.space.Signal()
}

// enqueue hands a frame to the executor, or to the stream it belongs to. A BATCH, or
// a CALL whose request is complete, before which nothing waits is returned, for the
// reader to answer itself: it saves waking the executor, which costs as much as a
// small batch.
func (c *conn) enqueue(h feedframe.Header, p part) (*call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.mu.open[h.ID]
	if h.Kind != feedframe.Message {
		if k != nil || c.mu.open == nil {
			c.drop(&p)
			return nil, fault.New(fault.Invalid, "feed.frame", "", "a second call with id %d before the first was answered", h.ID)
		}
		k = &call{header: h, first: p, arrived: time.Now(), inEnd: !h.More(), late: c.mu.draining}
		c.mu.open[h.ID] = k
		if (h.Kind == feedframe.Batch || !h.More()) && !c.mu.busy && len(c.mu.queue) == 0 {
			c.mu.busy, c.mu.inline = true, k
			return k, nil
		}
		c.mu.queue = append(c.mu.queue, k)
		c.mu.frames++
		c.mu.bytes += p.bytes
		c.work.Signal()
		return nil, nil
	}
	if k == nil { // answered before its client had said everything
		c.drop(&p)
		return nil, nil
	}
	if k.inEnd {
		c.drop(&p)
		return nil, fault.New(fault.Invalid, "feed.frame", "", "a MESSAGE after the last one of call %d", h.ID)
	}
	k.inEnd = !h.More()
	if p.meta == nil && p.payload == nil && p.err == nil && k.inEnd {
		c.inbox.Broadcast()
		return nil, nil // just the end
	}
	k.in = append(k.in, p)
	c.mu.frames++
	c.mu.bytes += p.bytes
	c.inbox.Broadcast()
	return nil, nil
}

func (c *conn) cancelCall(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.mu.open[id]
	if k == nil { // answered already
		return
	}
	k.canceled = true
	if k.cancel != nil {
		k.cancel(errCanceled)
	}
}

var errCanceled = fault.New(fault.Canceled, "feed.call", "", "the client has cancelled the call")

// reap closes connections that hold accounted bytes and whose client has not
// taken anything for a StallTimeout: they are why others are refused.
func (s *Server) reap() {
	now := time.Now()
	s.mu.Lock()
	var stuck []*conn
	for c := range s.mu.conns {
		if since := c.w.since.Load(); since != 0 && now.Sub(time.Unix(0, since)) > s.limits.StallTimeout && c.holds() {
			stuck = append(stuck, c)
		}
	}
	s.mu.Unlock()
	for _, c := range stuck {
		s.o.Log.Warn("feed client takes nothing and is disconnected", "peer", c.peerName())
		c.abort()
	}
}

func (c *conn) holds() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.bytes > 0 || c.w.held.Load() > 0
}
