package transfer

import (
	"context"
	"errors"
	"io"
	"time"

	"daos/internal/client"
	"daos/internal/fault"
	commonv1 "daos/proto/gen/daos/common/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// Limits of one Import message. The server takes 8192 entries of 16 MiB
// together; smaller ones keep several in flight and the counts moving. The
// first message of a stream is small and each further one twice as large, so
// that something is known of the pace soon.
const (
	minEntries = 64
	maxEntries = 2048
	maxPayload = 6 << 20
	inFlight   = 3
)

// sender sends Import messages over one stream, keeps each until it is
// answered, and after a lost connection sends the unanswered ones again on a
// new stream: their request ids make that harmless.
type sender struct {
	c        *client.Client
	dataset  string
	retryFor time.Duration

	stream   posixv1.PosixService_ImportClient
	cancel   context.CancelFunc
	unsent   []*message // answered in this order
	sent     int        // how many of unsent are on the present stream
	answered func(*message)
	spare    [][]byte // payloads for reuse
}

// message is one transaction with what it adds to the counts.
type message struct {
	req          *posixv1.ImportRequest
	files, links int64
	dirs, bytes  int64
}

func (s *sender) newMessage(overwrite bool) *message {
	var payload []byte
	if n := len(s.spare); n > 0 {
		payload, s.spare = s.spare[n-1][:0], s.spare[:n-1]
	}
	return &message{req: &posixv1.ImportRequest{
		Dataset: s.dataset, Overwrite: overwrite, Payload: payload,
		Mutation: &commonv1.Mutation{RequestId: client.NewRequestID()},
	}}
}

// put sends m; it waits for an answer first when too many are out.
func (s *sender) put(ctx context.Context, m *message) error {
	s.unsent = append(s.unsent, m)
	return s.pump(ctx, inFlight-1)
}

// flush waits until everything is answered and ends the stream.
func (s *sender) flush(ctx context.Context) error {
	if err := s.pump(ctx, 0); err != nil {
		return err
	}
	if s.stream == nil {
		return nil
	}
	err := s.stream.CloseSend()
	if err == nil {
		_, err = s.stream.Recv()
	}
	s.drop()
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if fault.Is(err, fault.Unreachable, fault.Overloaded) {
		return nil // everything was answered; only the goodbye got lost
	}
	return err
}

// pump sends what is unsent and receives until at most `left` are unanswered.
func (s *sender) pump(ctx context.Context, left int) error {
	var since time.Time
	for try := 0; ; try++ {
		before := len(s.unsent)
		err := s.step(ctx, left)
		if err == nil {
			return nil
		}
		s.drop()
		if len(s.unsent) < before {
			since, try = time.Time{}, 0 // it went on: the patience starts anew
		}
		if since.IsZero() {
			since = time.Now()
		}
		if !fault.Is(err, fault.Unreachable, fault.Overloaded) || time.Since(since) > s.retryFor {
			return err
		}
		t := time.NewTimer(min(50*time.Millisecond<<min(try, 5), time.Second))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (s *sender) step(ctx context.Context, left int) error {
	if s.stream == nil {
		sctx, cancel := context.WithCancel(ctx)
		stream, err := s.c.Posix.Import(sctx)
		if err != nil {
			cancel()
			return err
		}
		s.stream, s.cancel, s.sent = stream, cancel, 0
	}
	for s.sent < len(s.unsent) {
		err := s.stream.Send(s.unsent[s.sent].req)
		if errors.Is(err, io.EOF) {
			// The stream has failed: Recv tells why.
			for err = nil; err == nil; {
				err = s.recv()
			}
		}
		if err != nil {
			return err
		}
		s.sent++
	}
	for len(s.unsent) > left {
		if err := s.recv(); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) recv() error {
	_, err := s.stream.Recv()
	if errors.Is(err, io.EOF) {
		return fault.New(fault.Unreachable, "import", s.dataset, "the server ended the stream early")
	}
	if err != nil {
		return err
	}
	if len(s.unsent) == 0 || s.sent == 0 {
		return fault.New(fault.Internal, "import", s.dataset, "the server answered a message that was not sent")
	}
	m := s.unsent[0]
	s.unsent = s.unsent[1:]
	s.sent--
	s.answered(m)
	if cap(m.req.Payload) > 0 && len(s.spare) < inFlight {
		s.spare = append(s.spare, m.req.Payload)
	}
	return nil
}

func (s *sender) drop() {
	if s.cancel != nil {
		s.cancel()
	}
	s.stream, s.cancel, s.sent = nil, nil, 0
}
