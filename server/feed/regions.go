package feed

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"daos/engine/object"
	"daos/internal/fault"
	"daos/internal/feedframe"
	"daos/internal/feedsocket"
)

// sendStep is how much of a file one sendfile sends at most, and the size of
// the buffer where a connection has none (TLS).
const sendStep = 1 << 20

// regions writes a response whose payload lies in pieces: memory goes by
// reference, ranges of files by sendfile, from the page cache to the socket, or,
// where the client can read them itself, by their place. They are verified already. Files are not copied and do not count against the
// budget.
func (w *writer) regions(h feedframe.Header, m any, out *object.Regions) (err error) {
	defer func() {
		if p := recover(); p != nil { // a page of a mapped file can't be read: TLS copies, a socket says EFAULT
			if _, ok := p.(interface{ Addr() uintptr }); !ok {
				panic(p)
			}
			w.c.s.o.Log.Error("an answer was broken off", "peer", w.c.peerName(), "panic", fmt.Sprint(p))
			err = w.done(0, errEnd)
		}
		if errors.Is(err, errEnd) {
			out.Doubt(nil)
		}
	}()
	buf := w.c.s.pool.Get(4 << 10)
	defer w.c.s.pool.Put(buf)
	b, payload, err := w.c.s.messages.Encode((*buf)[:feedframe.HeaderSize], m)
	if err == nil && len(payload) > 0 {
		err = fault.New(fault.Internal, "feed.reply", "", "an answer with two payloads")
	}
	if err != nil {
		return w.status(h.ID, err)
	}
	meta := len(b) - feedframe.HeaderSize
	if meta > feedframe.MaxMeta || out.Size() > feedframe.MaxPayload {
		return w.status(h.ID, tooBig(meta, int(min(out.Size(), 1<<62))))
	}
	var pad [feedframe.HeaderSize]byte
	b = append(b, pad[:feedframe.Padded(meta)-meta]...)
	*buf = b
	h.Kind, h.MetaLen, h.PayloadLen = feedframe.Reply, uint32(meta), out.Size()
	if l, ok := w.c.lend(out); ok {
		if sent, err := w.lent(h, b, l, out.Size()); sent {
			if s, ok := w.nc.(*feedsocket.Socket); ok {
				s.Busy(l.span)
			}
			return err
		}
	}
	h.Put(b)
	held := int64(0)
	for i := range out.Parts {
		if out.Parts[i].Mem != nil {
			held += int64(out.Parts[i].Size())
		}
	}
	if held >= accountFrom {
		if err := w.c.s.budget.wait(w.c.ctx, held, 5*time.Second); err != nil {
			w.c.s.reap()
			return w.status(h.ID, err)
		}
		w.held.Store(held)
		defer w.c.s.budget.put(held)
		defer w.held.Store(0)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arr = append(w.arr[:0], b)
	for i := range out.Parts {
		p := &out.Parts[i]
		for row := range p.InMemory() {
			if w.arr = append(w.arr, row); len(w.arr) < gatherVecs {
				continue
			}
			if err := w.flush(); err != nil {
				return err
			}
			w.arr = w.arr[:0]
		}
		if p.Mem != nil {
			continue
		}
		if len(w.arr) > 0 {
			if err := w.flush(); err != nil {
				return err
			}
			w.arr = w.arr[:0]
		}
		n, err := w.send(p)
		if err != nil {
			p.File.Doubt()
		}
		if err := w.done(n, err); err != nil {
			return err
		}
	}
	if len(w.arr) == 0 {
		return nil
	}
	return w.flush()
}

// send sends a range of a file. w.mu is held.
func (w *writer) send(p *object.Region) (sent int64, err error) {
	w.since.Store(time.Now().UnixNano())
	defer w.since.Store(0)
	sc, ok := w.nc.(syscall.Conn)
	if !ok {
		return w.copy(p)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var sendErr error
	off := p.Off
	err = raw.Write(func(fd uintptr) bool {
		for sent < int64(p.Len) {
			n, err := unix.Sendfile(int(fd), int(p.File.Fd()), &off, int(min(int64(p.Len)-sent, sendStep)))
			switch {
			case err == unix.EINTR:
			case err == unix.EAGAIN:
				return false
			case err != nil:
				sendErr = err
				return true
			case n == 0:
				sendErr = io.ErrUnexpectedEOF
				return true
			default:
				sent += int64(n)
				w.since.Store(time.Now().UnixNano())
			}
		}
		return true
	})
	if err == nil {
		err = sendErr
	}
	if sent == 0 && (err == unix.EINVAL || err == unix.ENOSYS) { // a file system without it
		return w.copy(p)
	}
	return sent, err
}

// copy sends a range of a file through a buffer.
func (w *writer) copy(p *object.Region) (sent int64, err error) {
	buf := w.c.s.pool.Get(sendStep)
	defer w.c.s.pool.Put(buf)
	for sent < int64(p.Len) {
		b := (*buf)[:min(int64(p.Len)-sent, sendStep)]
		n, err := unix.Pread(int(p.File.Fd()), b, p.Off+sent)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return sent, err
		case n == 0:
			return sent, io.ErrUnexpectedEOF
		}
		k, err := w.nc.Write(b[:n])
		sent += int64(k)
		if err != nil {
			return sent, err
		}
		w.since.Store(time.Now().UnixNano())
	}
	return sent, nil
}
