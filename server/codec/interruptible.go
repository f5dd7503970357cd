package codec

import (
	"context"

	"daos/internal/rescue"
)

// Stream is the sending half of a stream.
type Stream interface{ SendMsg(m any) error }

// Interruptible is a stream whose sends end with a context of ours: gRPC's own
// end only with the client, and one that takes nothing would hold a query that
// was killed.
type Interruptible struct {
	ctx context.Context //nolint:containedctx // of one call, as a stream has one
	to  Stream
}

// Interrupt makes the sends of a stream end with a context, in place of that of
// an Interruptible.
func Interrupt(ctx context.Context, to Stream) *Interruptible {
	if i, does := to.(*Interruptible); does {
		to = i.to
	}
	return &Interruptible{ctx, to}
}

// SendMsg sends a message, which must not be used any more: it may still be on
// its way. After an error there must be no other.
func (i *Interruptible) SendMsg(m any) error {
	sent := make(chan error, 1)
	go func() {
		err := rescue.Do(func() error { return i.to.SendMsg(m) })
		if pinned, ok := m.(*Message); ok {
			pinned.Discard() // where gRPC did not take it
		}
		sent <- err
	}()
	select {
	case err := <-sent:
		return rescue.Again(err)
	case <-i.ctx.Done():
		return context.Cause(i.ctx)
	}
}
