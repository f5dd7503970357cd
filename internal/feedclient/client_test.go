package feedclient

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"daos/internal/fault"
	"daos/internal/feedframe"
	feedv1 "daos/proto/gen/daos/feed/v1"
)

// other is the other end of a connection: it answers when the test says so.
type other struct {
	t  *testing.T
	nc net.Conn
}

func connected(t *testing.T, o Options) (*Client, *other) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *other, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		p := &other{t, nc}
		p.receive()
		meta, _ := proto.Marshal(&feedv1.HelloReply{Version: feedframe.Version})
		p.send(feedframe.Header{Kind: feedframe.HelloReply}, meta, nil)
		accepted <- p
	}()
	c, err := Dial(t.Context(), "unix:"+path, o)
	if err != nil {
		t.Fatal(err)
	}
	p := <-accepted
	t.Cleanup(func() { c.Close(); p.nc.Close() })
	return c, p
}

// receive reads the next frame of the client.
func (p *other) receive() feedframe.Header {
	p.t.Helper()
	var b [feedframe.HeaderSize]byte
	if _, err := io.ReadFull(p.nc, b[:]); err != nil {
		p.t.Error(err)
		return feedframe.Header{}
	}
	h, err := feedframe.Parse(b[:])
	if err != nil {
		p.t.Error(err)
	}
	_, _ = io.CopyN(io.Discard, p.nc, int64(feedframe.Padded(int(h.MetaLen)))+int64(h.PayloadLen))
	return h
}

func wire(h feedframe.Header, meta, payload []byte) []byte {
	h.MetaLen, h.PayloadLen = uint32(len(meta)), uint64(len(payload))
	b := make([]byte, feedframe.HeaderSize+feedframe.Padded(len(meta)))
	h.Put(b)
	copy(b[feedframe.HeaderSize:], meta)
	return append(b, payload...)
}

func (p *other) send(h feedframe.Header, meta, payload []byte) { p.raw(wire(h, meta, payload)) }

func (p *other) raw(b []byte) {
	if _, err := p.nc.Write(b); err != nil {
		p.t.Error(err)
	}
}

// batchOf is the answer to a batch: one sample of bytes that say its call.
func batchOf(id uint64, size int) []byte {
	m := feedframe.BatchMeta{Count: 1, Columns: []feedframe.Column{{Layout: 1, ItemSize: uint32(size), DataLen: uint64(size)}}}
	meta := make([]byte, m.Size())
	m.Put(meta)
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(id)
	}
	return wire(feedframe.Header{Kind: feedframe.BatchReply, ID: id}, meta, payload)
}

func checkBatch(r BatchReply, err error, size int) (byte, error) {
	if err != nil {
		return 0, err
	}
	if len(r.Payload) != size {
		return 0, fmt.Errorf("%d bytes", len(r.Payload))
	}
	for _, b := range r.Payload {
		if b != r.Payload[0] {
			return 0, errors.New("bytes of two answers")
		}
	}
	return r.Payload[0], nil
}

func TestCalls_SideBySideEachGetTheirs(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c, p := connected(t, Options{})
	const callers, each, size = 8, 50, 70_000
	asked := make(chan uint64, callers)
	go func() {
		defer close(asked)
		for range callers * each {
			asked <- p.receive().ID
		}
	}()
	go func() { // answers in another order, in pieces of any size, with GOAWAYs between
		for id := range asked {
			ids := []uint64{id}
			for len(asked) > 0 {
				ids = append(ids, <-asked)
			}
			var all []byte
			for _, k := range rng.Perm(len(ids)) {
				if rng.IntN(4) == 0 {
					all = append(all, wire(feedframe.Header{Kind: feedframe.GoAway}, nil, nil)...)
				}
				all = append(all, batchOf(ids[k], size)...)
			}
			for len(all) > 0 {
				n := min(len(all), 1+rng.IntN(100_000))
				p.raw(all[:n])
				all = all[n:]
			}
		}
	}()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				if r, err := c.Batch(t.Context(), 1, []uint64{1}); err != nil {
					t.Error(err)
					return
				} else if _, err := checkBatch(r, nil, size); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if !c.Draining() {
		t.Error("GOAWAY was not seen")
	}
}

// TestCall_EndedInTheMiddleOfItsAnswer ends a call whose answer has begun: the
// rest of it must not be taken for the answer of the next one.
func TestCall_EndedInTheMiddleOfItsAnswer(t *testing.T) {
	c, p := connected(t, Options{})
	const size = 300_000
	for _, at := range []int{0, 10, feedframe.HeaderSize, feedframe.HeaderSize + 70, feedframe.HeaderSize + 128, 200_000} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := c.Batch(ctx, 1, []uint64{1})
			ended <- err
		}()
		h := p.receive()
		answer := batchOf(h.ID, size)
		p.raw(answer[:at])
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatalf("ended at %d: %v", at, err)
		}
		if cancelled := p.receive(); cancelled.Kind != feedframe.Cancel || cancelled.ID != h.ID {
			t.Fatalf("ended at %d: the server is told %s of %d", at, cancelled.Kind, cancelled.ID)
		}
		go func() {
			p.raw(answer[at:])
			p.raw(batchOf(p.receive().ID, size))
		}()
		r, err := c.Batch(t.Context(), 1, []uint64{1})
		who, err := checkBatch(r, err, size)
		if err != nil {
			t.Fatalf("after one that ended at %d: %v", at, err)
		}
		if who == byte(h.ID) {
			t.Fatalf("ended at %d: its answer was given to the next call", at)
		}
	}
}

func TestCall_OfWhoReadsEndsAndOthersGoOn(t *testing.T) {
	c, p := connected(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := c.Batch(ctx, 1, []uint64{1}); first <- err }()
	p.receive() // it reads, or is about to
	go func() {
		r, err := c.Batch(t.Context(), 1, []uint64{1})
		_, err = checkBatch(r, err, 100)
		second <- err
	}()
	h := p.receive()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p.receive()
	p.raw(batchOf(h.ID, 100))
	if err := <-second; err != nil {
		t.Fatal(err)
	}
}

// TestStream_ThatNobodyReadsHoldsUpNobodyForEver fills the window of a stream: the
// call behind it goes on when the stream's caller ends it, whether he reads on or not.
func TestStream_ThatNobodyReadsHoldsUpNobodyForEver(t *testing.T) {
	for _, how := range []string{"read on", "left"} {
		t.Run(how, func(t *testing.T) { unread(t, how == "read on") })
	}
}

func unread(t *testing.T, readOn bool) {
	c, p := connected(t, Options{Window: 2})
	ctx, cancel := context.WithCancel(t.Context())
	st, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.SendMsg(&feedv1.Hello{}); err != nil {
		t.Fatal(err)
	}
	h := p.receive()
	for range 5 {
		p.send(feedframe.Header{Kind: feedframe.Message, Flags: feedframe.More, ID: h.ID}, nil, nil)
	}
	call := make(chan error, 1)
	go func() {
		r, err := c.Batch(t.Context(), 1, []uint64{1})
		_, err = checkBatch(r, err, 100)
		call <- err
	}()
	p.raw(batchOf(p.receive().ID, 100))
	select {
	case err := <-call:
		t.Fatalf("the window of another call was passed over: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	for readOn { // what is there, then the end
		if err := st.RecvMsg(&feedv1.Hello{}); err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
	}
	if err := <-call; err != nil {
		t.Fatal(err)
	}
	if told := p.receive(); told.Kind != feedframe.Cancel || told.ID != h.ID {
		t.Fatalf("the server is told %s of %d", told.Kind, told.ID)
	}
}

func TestClose_EndsCallsAndIsTheirError(t *testing.T) {
	for _, how := range []string{"closed here", "closed there", "watched"} {
		t.Run(how, func(t *testing.T) {
			c, p := connected(t, Options{})
			done := make(chan error, 3)
			for range cap(done) {
				go func() {
					_, err := c.Batch(t.Context(), 1, []uint64{1})
					done <- err
				}()
				p.receive()
			}
			switch how {
			case "closed here":
				c.Close()
			case "watched":
				go p.nc.Close()
				<-c.Done()
			default:
				p.nc.Close()
			}
			for range cap(done) {
				if err := <-done; !fault.Is(err, fault.Unreachable) {
					t.Error(err)
				}
			}
			<-c.Done()
			if _, err := c.Batch(t.Context(), 1, []uint64{1}); !fault.Is(err, fault.Unreachable) {
				t.Error(err)
			}
			c.Close()
		})
	}
}

func TestAnswers_ThatAreNoneEndTheConnection(t *testing.T) {
	long := wire(feedframe.Header{Kind: feedframe.Reply, ID: 1}, nil, nil)
	binary.LittleEndian.PutUint64(long[24:], 1<<62) // whatever field lies there, no header is valid then
	for name, b := range map[string][]byte{
		"noise":         make([]byte, 64),
		"without call":  wire(feedframe.Header{Kind: feedframe.Reply}, nil, nil),
		"much too long": long,
	} {
		t.Run(name, func(t *testing.T) {
			c, p := connected(t, Options{})
			ended := make(chan error, 1)
			go func() { _, err := c.Batch(t.Context(), 1, []uint64{1}); ended <- err }()
			p.receive()
			p.raw(b)
			if err := <-ended; err == nil {
				t.Fatal("taken for an answer")
			}
			<-c.Done()
		})
	}
}
