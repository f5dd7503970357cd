package feed

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"daos/internal/feedframe"
	"daos/internal/feedsocket"
	"daos/server/wire"
)

const (
	// copyMax is the largest part that is copied beside its neighbours rather
	// than given to writev by itself.
	copyMax = 2 << 10
	// gatherBuffer is what such parts are copied into before a write.
	gatherBuffer = 256 << 10
	// gatherVecs and gatherBytes bound one writev.
	gatherVecs  = 512
	gatherBytes = 8 << 20
)

// writer puts frames on the socket, one at a time.
type writer struct {
	c     *conn
	nc    net.Conn
	since atomic.Int64 // unix nanoseconds since which a write is under way, 0: none
	held  atomic.Int64 // accounted bytes of the answer being written

	mu  sync.Mutex
	vec net.Buffers // scratch
	arr [][]byte    // its backing array
}

// frame writes a frame without a payload; meta gets its padding here.
func (w *writer) frame(h feedframe.Header, meta []byte) error {
	b := w.c.s.pool.Get(feedframe.HeaderSize + feedframe.Padded(len(meta)))
	defer w.c.s.pool.Put(b)
	h.MetaLen = uint32(len(meta))
	n := copy((*b)[feedframe.HeaderSize:], meta)
	clear((*b)[feedframe.HeaderSize+n:])
	h.Put(*b)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(*b)
}

// message writes a frame with a proto message as its meta part.
func (w *writer) message(h feedframe.Header, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return w.frame(h, b)
}

// status writes a STATUS that ends a call, or, with id 0, the connection. A nil
// error is the good end of a stream.
func (w *writer) status(id uint64, err error) error {
	h := feedframe.Header{Kind: feedframe.Status, ID: id}
	if err == nil {
		return w.frame(h, nil)
	}
	d := wire.Detail(err)
	h.Status = uint16(d.GetKind())
	return w.message(h, d)
}

// reply writes a response. Its payload goes by reference; it is not used after
// the return. An error but errEnd says why it can't be sent; nothing is, then.
func (w *writer) reply(h feedframe.Header, m any) error {
	buf := w.c.s.pool.Get(4 << 10)
	defer w.c.s.pool.Put(buf)
	b, payload, err := w.c.s.messages.Encode((*buf)[:feedframe.HeaderSize], m)
	if err != nil {
		return err
	}
	meta := len(b) - feedframe.HeaderSize
	if meta > feedframe.MaxMeta || len(payload) > feedframe.MaxPayload {
		return tooBig(meta, len(payload))
	}
	var pad [feedframe.HeaderSize]byte
	b = append(b, pad[:feedframe.Padded(meta)-meta]...)
	*buf = b // the grown one goes back into the pool, if it fits a tier
	h.Kind, h.MetaLen, h.PayloadLen = feedframe.Reply, uint32(meta), uint64(len(payload))
	h.Put(b)
	if n := int64(len(payload)); n >= accountFrom {
		if err := w.c.s.budget.wait(w.c.ctx, n, 5*time.Second); err != nil {
			w.c.s.reap()
			return err
		}
		w.held.Store(n)
		defer w.c.s.budget.put(n)
		defer w.held.Store(0)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(payload) == 0 {
		return w.write(b)
	}
	if len(payload) <= copyMax {
		b = append(b, payload...)
		*buf = b
		return w.write(b)
	}
	w.arr = append(w.arr[:0], b, payload)
	return w.flush()
}

// gather writes a header, a meta part and a payload that lies in many places.
// The small parts are copied into one buffer, the large ones go by reference.
func (w *writer) gather(h feedframe.Header, meta []byte, parts [][]byte) error {
	buf := w.c.s.pool.Get(gatherBuffer)
	defer w.c.s.pool.Put(buf)
	w.mu.Lock()
	defer w.mu.Unlock()
	b := (*buf)[:feedframe.HeaderSize]
	h.MetaLen = uint32(len(meta))
	h.Put(b)
	b = append(b, meta...)
	if n := len(b); n%feedframe.HeaderSize != 0 {
		b = b[:feedframe.Padded(n)]
		clear(b[n:])
	}
	w.arr = w.arr[:0]
	start, queued := 0, 0 // b[start:] is not in arr yet; bytes in arr
	send := func() error {
		if start < len(b) {
			w.arr = append(w.arr, b[start:])
		}
		err := w.flush()
		w.arr, b, start, queued = w.arr[:0], b[:0], 0, 0
		return err
	}
	for _, p := range parts {
		if len(p) <= copyMax {
			if len(b)+len(p) > cap(b) {
				if err := send(); err != nil {
					return err
				}
			}
			b = append(b, p...)
			continue
		}
		if start < len(b) {
			w.arr = append(w.arr, b[start:])
			queued += len(b) - start
			start = len(b)
		}
		w.arr = append(w.arr, p)
		if queued += len(p); queued >= gatherBytes || len(w.arr) >= gatherVecs {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

// flush writes w.arr. w.mu is held.
func (w *writer) flush() error {
	if len(w.arr) == 1 {
		return w.write(w.arr[0])
	}
	w.vec = w.arr
	w.since.Store(time.Now().UnixNano())
	var n int64
	var err error
	if s, ok := w.nc.(*feedsocket.Socket); ok {
		n, err = s.WriteBuffers(w.vec)
	} else {
		n, err = w.vec.WriteTo(w.nc)
	}
	w.since.Store(0)
	clear(w.arr) // keeps no reference to what was written
	return w.done(n, err)
}

// write writes b. w.mu is held.
func (w *writer) write(b []byte) error {
	w.since.Store(time.Now().UnixNano())
	n, err := w.nc.Write(b)
	w.since.Store(0)
	return w.done(int64(n), err)
}

func (w *writer) done(n int64, err error) error {
	w.c.s.stats.bytesOut.Add(n)
	if err != nil { // half a frame may be out: nothing can follow
		_ = w.nc.Close()
		return errEnd
	}
	return nil
}
