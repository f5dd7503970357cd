package feedclient

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"daos/internal/fault"
	"daos/internal/feedframe"
)

type frame struct {
	h             feedframe.Header
	meta, payload []byte
}

// frameReader reads frames. After os.ErrDeadlineExceeded it goes on where it was.
type frameReader struct {
	br   *bufio.Reader
	last frame // the one being read, or read last
	part int   // of it: 0 header, 1 meta, 2 payload
	at   int   // bytes of the part that are there
}

func (r *frameReader) read() (frame, error) {
	if r.part == 0 {
		b, err := r.br.Peek(feedframe.HeaderSize)
		if err != nil {
			return frame{}, err
		}
		h, err := feedframe.Parse(b)
		if err != nil {
			return frame{}, err
		}
		if h.PayloadLen > feedframe.MaxBatchReply {
			return frame{}, fault.New(fault.Internal, "feed.read", "", "a payload of %d bytes from the server", h.PayloadLen)
		}
		_, _ = r.br.Discard(feedframe.HeaderSize)
		r.last = frame{h: h, meta: make([]byte, feedframe.Padded(int(h.MetaLen)))}
		if h.PayloadLen > 0 {
			r.last.payload = make([]byte, h.PayloadLen)
		}
		r.part, r.at = 1, 0
	}
	if r.part == 1 {
		if err := r.fill(r.last.meta); err != nil {
			return frame{}, err
		}
		r.last.meta = r.last.meta[:r.last.h.MetaLen]
		r.part, r.at = 2, 0
	}
	if err := r.fill(r.last.payload); err != nil {
		return frame{}, err
	}
	r.part = 0
	return r.last, nil
}

func (r *frameReader) fill(b []byte) error {
	for r.at < len(b) {
		n, err := r.br.Read(b[r.at:])
		if r.at += n; err != nil && r.at < len(b) {
			return err
		}
	}
	return nil
}

// wait returns the next frame of a call. When ctx ends it sends CANCEL; the rest
// is thrown away when it comes.
func (c *Client) wait(ctx context.Context, id uint64, p *pending) (frame, error) {
	for {
		select {
		case f, ok := <-p.frames:
			return c.got(f, ok)
		default:
		}
		select {
		case f, ok := <-p.frames:
			return c.got(f, ok)
		case <-ctx.Done():
			c.abandon(id, p)
			return frame{}, ctx.Err()
		case c.turn <- struct{}{}:
			err := c.readFor(ctx, p)
			<-c.turn
			if err != nil {
				c.abandon(id, p)
				return frame{}, err
			}
		}
	}
}

func (c *Client) got(f frame, ok bool) (frame, error) {
	if ok {
		return f, nil
	}
	if err := c.Err(); err != nil {
		return frame{}, err
	}
	return frame{}, io.EOF
}

// abandon is for a call whose frames nobody wants any more. It does nothing if that
// was said before, or the last one is there.
func (c *Client) abandon(id uint64, p *pending) {
	c.mu.Lock()
	open := c.calls[id] != nil
	delete(c.calls, id)
	c.mu.Unlock()
	if !open {
		return
	}
	close(p.gone)
	_ = c.write(feedframe.Header{Kind: feedframe.Cancel, ID: id}, nil, nil)
}

// readFor reads frames and hands them to their calls until there is one for p, or
// the connection has ended. The caller has the turn. The error is that of ctx.
func (c *Client) readFor(ctx context.Context, p *pending) error {
	if c.ended || len(p.waiting()) > 0 {
		return nil
	}
	if ctx.Done() != nil {
		told := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			_ = c.nc.SetReadDeadline(time.Unix(1, 0))
			close(told)
		})
		defer func() {
			if !stop() {
				<-told
				_ = c.nc.SetReadDeadline(time.Time{})
			}
		}()
	}
	for {
		if to := c.owed; to != nil {
			if err := c.hand(ctx, to); err != nil {
				return err
			}
			if to == p || c.ended {
				return nil
			}
		}
		switch to, err := c.readOne(); {
		case err == nil:
			c.owed = to
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
			return ctx.Err()
		default:
			c.end(err)
			return nil
		}
	}
}

// waiting are the frames of a call that are there; of no call there are none.
func (p *pending) waiting() chan frame {
	if p == nil {
		return nil
	}
	return p.frames
}

// readOne reads a frame, which is in.last, and returns for whom it is; nil: for
// nobody.
func (c *Client) readOne() (*pending, error) {
	f, err := c.in.read()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.h.ID != 0 {
		return c.calls[f.h.ID], nil
	}
	switch f.h.Kind {
	case feedframe.GoAway:
		c.goaway = true
		return nil, nil
	case feedframe.Status:
		return nil, statusError(f)
	}
	return nil, fault.New(fault.Internal, "feed.read", "", "a %s frame without a call", f.h.Kind)
}

// hand gives the frame read last to its call, when there is room.
func (c *Client) hand(ctx context.Context, to *pending) error {
	f := c.in.last
	select {
	case to.frames <- f:
	case <-to.gone:
	case <-c.closing:
		c.end(nil)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	c.owed, c.in.last = nil, frame{}
	if f.h.Kind == feedframe.Status || !f.h.More() {
		c.mu.Lock()
		delete(c.calls, f.h.ID)
		c.mu.Unlock()
		close(to.frames)
	}
	return nil
}

// end notes that the connection has ended; nil: it was closed. The caller has the
// turn.
func (c *Client) end(err error) {
	if c.ended {
		return
	}
	c.ended = true
	_ = c.nc.Close()
	var known *fault.Error
	if err != nil && !errors.As(err, &known) {
		err = fault.New(fault.Unreachable, "feed.read", "", "the server has closed the connection").Because(err)
	}
	if err == nil {
		err = fault.New(fault.Unreachable, "feed.call", "", "the connection is closed")
	}
	c.mu.Lock()
	c.err = err
	for _, p := range c.calls {
		close(p.frames)
	}
	c.calls = nil
	c.mu.Unlock()
	close(c.done)
}
