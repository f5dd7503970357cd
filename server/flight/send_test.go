package flight

import (
	"context"
	"errors"
	"testing"
	"time"

	"daos/server/codec"
)

// slowStream takes no message before it may.
type slowStream struct{ may chan struct{} }

func (s slowStream) SendMsg(any) error { <-s.may; return errors.New("the stream has ended") }

// TestAMessageUnderWayKeepsItsMemory: a send that is interrupted goes on behind,
// and what it sends must not be given to anybody else meanwhile.
func TestAMessageUnderWayKeepsItsMemory(t *testing.T) {
	free := make(chan struct{})
	m := codec.NewMessage([]byte("header"), nil, [][]byte{make([]byte, 4096)}, codec.NewPin(func() { close(free) }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := slowStream{make(chan struct{})}
	if err := sendPinned(codec.Interrupt(ctx, s), m); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	select {
	case <-free:
		t.Fatal("its memory was given away")
	default:
	}
	close(s.may)
	select {
	case <-free:
	case <-time.After(time.Minute):
		t.Fatal("its memory is kept for ever")
	}
}
