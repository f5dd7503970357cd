package feed_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"daos/internal/fault"
	"daos/internal/feedclient"
	"daos/internal/feedframe"
	commonv1 "daos/proto/gen/daos/common/v1"
	feedv1 "daos/proto/gen/daos/feed/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
	"daos/server/feed"
)

// frame is a frame as bytes.
func frame(h feedframe.Header, meta, payload []byte) []byte {
	h.MetaLen, h.PayloadLen = uint32(len(meta)), uint64(len(payload))
	b := make([]byte, 64+feedframe.Padded(len(meta)))
	h.Put(b)
	copy(b[64:], meta)
	return append(b, payload...)
}

func callFrame(id uint64, method string, m proto.Message, flags uint8, payload []byte) []byte {
	msg, _ := proto.Marshal(m)
	meta, _ := proto.Marshal(&feedv1.Call{Method: method, Message: msg})
	return frame(feedframe.Header{Kind: feedframe.Call, ID: id, Flags: flags}, meta, payload)
}

func batchFrame(id, handle uint64, indices ...uint64) []byte {
	var meta [32]byte
	feedframe.BatchRequest{Handle: handle, Count: uint32(len(indices))}.Put(meta[:])
	var p []byte
	for _, i := range indices {
		p = binary.LittleEndian.AppendUint64(p, i)
	}
	return frame(feedframe.Header{Kind: feedframe.Batch, ID: id}, meta[:], p)
}

// next reads one frame.
func next(t testing.TB, nc net.Conn) (feedframe.Header, []byte) {
	t.Helper()
	var b [64]byte
	if _, err := io.ReadFull(nc, b[:]); err != nil {
		t.Fatal(err)
	}
	h, err := feedframe.Parse(b[:])
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, feedframe.Padded(int(h.MetaLen))+int(h.PayloadLen))
	if _, err := io.ReadFull(nc, body); err != nil {
		t.Fatal(err)
	}
	return h, body[:h.MetaLen]
}

// refusal expects a STATUS of a kind.
func refusal(t testing.TB, nc net.Conn, id uint64, want fault.Kind) {
	t.Helper()
	h, meta := next(t, nc)
	var e commonv1.Error
	if err := proto.Unmarshal(meta, &e); err != nil {
		t.Fatal(err)
	}
	if h.Kind != feedframe.Status || h.ID != id || fault.Kind(h.Status) != want || fault.Kind(e.Kind) != want || e.Detail == "" {
		t.Fatalf("%+v %v, want a STATUS %v of call %d", h, &e, want, id)
	}
}

// ended expects the server to have closed the connection.
func ended(t testing.TB, nc net.Conn) {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := nc.Read(make([]byte, 1)); n != 0 || errors.Is(err, errTimeout(err)) {
		t.Fatalf("the connection goes on: %d bytes, %v", n, err)
	}
}

func errTimeout(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return err
	}
	return io.ErrNoProgress
}

func TestProtocol_ViolationsEndTheConnectionWithAReason(t *testing.T) {
	r := start(t, "unix", nil)
	read := func(id uint64) []byte {
		return callFrame(id, posixv1.PosixService_Read_FullMethodName, &posixv1.ReadRequest{Length: 1}, 0, nil)
	}
	for name, c := range map[string]struct {
		send []byte
		want fault.Kind
	}{
		"no magic":             {bytes.Repeat([]byte("GET "), 16), fault.Invalid},
		"unknown kind":         {frame(feedframe.Header{Kind: 12, ID: 1}, nil, nil), fault.Invalid},
		"reserved flag":        {frame(feedframe.Header{Kind: feedframe.Call, Flags: 128, ID: 1}, nil, nil), fault.Invalid},
		"a server's frame":     {frame(feedframe.Header{Kind: feedframe.Reply, ID: 1}, nil, nil), fault.Invalid},
		"second HELLO":         {frame(feedframe.Header{Kind: feedframe.Hello}, nil, nil), fault.Invalid},
		"id 0":                 {read(0), fault.Invalid},
		"CANCEL with content":  {frame(feedframe.Header{Kind: feedframe.Cancel, ID: 1}, []byte("x"), nil), fault.Invalid},
		"CREDIT without slots": {frame(feedframe.Header{Kind: feedframe.Credit, ID: 1}, nil, nil), fault.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			nc := hello(t, r)
			if _, err := nc.Write(c.send); err != nil {
				t.Fatal(err)
			}
			refusal(t, nc, 0, c.want)
			ended(t, nc)
		})
	}
	t.Run("payload over the limit", func(t *testing.T) {
		nc := hello(t, r)
		var b [64]byte
		feedframe.Header{Kind: feedframe.Call, ID: 1, PayloadLen: feedframe.MaxPayload + 1}.Put(b[:])
		_, _ = nc.Write(b[:])
		refusal(t, nc, 0, fault.Invalid)
		ended(t, nc)
	})
	t.Run("id in use", func(t *testing.T) {
		nc := hello(t, r)
		stat := callFrame(5, posixv1.PosixService_Stat_FullMethodName, &posixv1.StatRequest{}, 0, nil)
		_, _ = nc.Write(stat)
		<-r.posix.started
		_, _ = nc.Write(stat)
		refusal(t, nc, 0, fault.Invalid)
		ended(t, nc)
		<-r.posix.statErrs
	})
}

func TestProtocol_BadCallsAreAnsweredAndTheConnectionGoesOn(t *testing.T) {
	r := start(t, "unix", nil)
	nc := hello(t, r)
	method := posixv1.PosixService_Read_FullMethodName
	for i, c := range []struct {
		send []byte
		want fault.Kind
	}{
		{frame(feedframe.Header{Kind: feedframe.Call, ID: 1}, nil, nil), fault.Invalid},
		{frame(feedframe.Header{Kind: feedframe.Call, ID: 2}, []byte("\xff\xff\xff"), nil), fault.Invalid},
		{callFrame(3, "/no.Such/Method", &posixv1.ReadRequest{}, 0, nil), fault.Unsupported},
		{callFrame(4, method, &posixv1.ReadRequest{}, 0, []byte("a payload it has no field for")), fault.Invalid},
		{callFrame(5, method, &posixv1.ReadRequest{}, feedframe.More, nil), fault.Invalid},
		{batchFrame(6, 1, 5000), fault.Invalid},
		{batchFrame(7, 9, 1), fault.Stale},
		{frame(feedframe.Header{Kind: feedframe.Batch, ID: 8}, make([]byte, 32), nil), fault.Invalid},
		{frame(feedframe.Header{Kind: feedframe.Batch, ID: 9}, nil, make([]byte, 8)), fault.Invalid},
	} {
		if _, err := nc.Write(c.send); err != nil {
			t.Fatal(err)
		}
		refusal(t, nc, uint64(i+1), c.want)
	}
	var b [64]byte // its payload would lie in a slot: nothing follows
	feedframe.Header{Kind: feedframe.Call, Flags: feedframe.Slot, ID: 10, Slot: 1, SlotOffset: 64, PayloadLen: 1 << 40}.Put(b[:])
	_, _ = nc.Write(b[:])
	refusal(t, nc, 10, fault.Unsupported)
	_, _ = nc.Write(frame(feedframe.Header{Kind: feedframe.Cancel, ID: 77}, nil, nil)) // of no call: ignored
	_, _ = nc.Write(batchFrame(11, 1, 3))
	if h, _ := next(t, nc); h.Kind != feedframe.BatchReply || h.ID != 11 {
		t.Fatalf("%+v", h)
	}
}

func TestOrder_PipelinedFramesAreAnsweredAsAsked(t *testing.T) {
	both(t, func(t *testing.T, network string) {
		r := start(t, network, nil)
		nc := hello(t, r)
		var sent []byte
		for i := range uint64(200) { // far more than the server reads ahead
			if i%3 == 0 {
				sent = append(sent, batchFrame(i+1, 1, i%1000, 7)...)
			} else {
				sent = append(sent, callFrame(i+1, posixv1.PosixService_Read_FullMethodName, &posixv1.ReadRequest{Offset: i, Length: i * 100}, 0, nil)...)
			}
		}
		go func() { _, _ = nc.Write(sent) }()
		for i := range uint64(200) {
			if h, _ := next(t, nc); h.ID != i+1 {
				t.Fatalf("answer %d is that of call %d", i+1, h.ID)
			}
		}
	})
}

func TestPipeline_StopsReadingBeyondItsLimit(t *testing.T) {
	r := start(t, "unix", nil)
	nc := hello(t, r)
	_, _ = nc.Write(callFrame(1, posixv1.PosixService_Stat_FullMethodName, &posixv1.StatRequest{}, 0, nil))
	<-r.posix.started
	before := r.Stats().BytesIn
	one := callFrame(2, posixv1.PosixService_Read_FullMethodName, &posixv1.ReadRequest{Length: 1}, 0, nil)
	for i := range uint64(60) {
		_, _ = nc.Write(callFrame(i+2, posixv1.PosixService_Read_FullMethodName, &posixv1.ReadRequest{Length: 1}, 0, nil))
	}
	most := before + int64(feedframe.MaxPipelined*len(one))
	for r.Stats().BytesIn < most {
		time.Sleep(time.Millisecond)
	}
	if _, err := r.dial(t).Batch(t.Context(), 1, []uint64{1}); err != nil { // others are served
		t.Fatal(err)
	}
	if n := r.Stats().BytesIn; n > most+1024 {
		t.Fatalf("%d bytes were read ahead of a call under way, %d are %d frames", n-before, most-before, feedframe.MaxPipelined)
	}
	// CANCEL waits behind frames that are not read; the deadline of the call or
	// the end of the connection does not.
	_ = nc.Close()
	<-r.posix.statErrs
}

func TestHello_TimesOut(t *testing.T) {
	r := start(t, "tcp", func(o *feed.Options) { o.Limits.HelloTimeout = 30 * time.Millisecond })
	for _, say := range []string{"", "DFD1", string(frame(feedframe.Header{Kind: feedframe.Hello}, make([]byte, 100), nil)[:80])} {
		nc, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, say)
		ended(t, nc)
		_ = nc.Close()
	}
}

func TestHello_ComesFirst(t *testing.T) {
	r := start(t, "tcp", nil)
	nc, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = nc.Write(batchFrame(1, 1, 1))
	refusal(t, nc, 0, fault.Invalid)
	ended(t, nc)
}

func TestStall_InsideAFrameEndsTheConnection(t *testing.T) {
	r := start(t, "tcp", func(o *feed.Options) { o.Limits.StallTimeout = 30 * time.Millisecond })
	nc := hello(t, r)
	_, _ = nc.Write(callFrame(1, posixv1.PosixService_Write_FullMethodName, &posixv1.WriteRequest{}, 0, make([]byte, 100_000))[:50_000])
	ended(t, nc)
	r.awaitIdle(t)
}

func TestIdle_EndsOnlyIdleConnections(t *testing.T) {
	r := start(t, "unix", func(o *feed.Options) { o.Limits.IdleTimeout = 400 * time.Millisecond })
	busy := hello(t, r) // says something within that
	_, _ = busy.Write(callFrame(1, posixv1.PosixService_Stat_FullMethodName, &posixv1.StatRequest{}, 0, nil))
	<-r.posix.started
	ended(t, hello(t, r)) // and more than an idle time has passed for the other by now
	_, _ = busy.Write(frame(feedframe.Header{Kind: feedframe.Cancel, ID: 1}, nil, nil))
	refusal(t, busy, 1, fault.Canceled)
	<-r.posix.statErrs
	ended(t, busy)
}

func TestBudget_OverloadedInsteadOfMemory(t *testing.T) {
	r := start(t, "unix", func(o *feed.Options) { o.Limits.TotalBytes = 1 << 20 })
	a, b := r.dial(t), hello(t, r)
	// b's request is begun and holds most of the budget.
	_, _ = b.Write(callFrame(1, posixv1.PosixService_Write_FullMethodName, &posixv1.WriteRequest{}, 0, make([]byte, 900_000))[:800_000])
	for r.Stats().Held == 0 {
		time.Sleep(time.Millisecond)
	}
	p := posixv1.NewPosixServiceClient(a)
	_, err := p.Write(t.Context(), &posixv1.WriteRequest{Payload: make([]byte, 500_000)})
	if !fault.Is(err, fault.Overloaded) {
		t.Fatal(err)
	}
	if _, err := p.Write(t.Context(), &posixv1.WriteRequest{Payload: make([]byte, 1000)}); err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	for r.Stats().Held != 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := p.Write(t.Context(), &posixv1.WriteRequest{Payload: make([]byte, 500_000)}); err != nil {
		t.Fatal(err)
	}
}

func TestSlowReader_HoldsOneBatchAndNobodyElse(t *testing.T) {
	src := newSamples(64, 1<<20)
	r := start(t, "tcp", func(o *feed.Options) { o.Batches = src })
	idx := make([]uint64, 64)
	var slow []net.Conn
	for range 20 {
		nc := hello(t, r)
		slow = append(slow, nc)
		go func() { // asks for 64 MiB a time and reads nothing
			for i := range uint64(30) {
				if _, err := nc.Write(batchFrame(i+1, 1, idx...)); err != nil {
					return
				}
			}
		}()
	}
	for src.live.Load() < 20 {
		time.Sleep(time.Millisecond)
	}
	good := r.dial(t)
	b, err := good.Batch(t.Context(), 1, []uint64{3})
	if err != nil || b.Payload[0] != 3 {
		t.Fatal(err)
	}
	_ = good.Close()
	for r.Stats().Conns > 20 { // its batch was released before it went
		time.Sleep(time.Millisecond)
	}
	if n := src.live.Load(); n > 20 {
		t.Errorf("%d batches are held for 20 slow readers", n)
	}
	for _, nc := range slow {
		_ = nc.Close()
	}
	r.awaitIdle(t)
	if n := src.live.Load(); n != 0 {
		t.Errorf("%d batches are held for readers that are gone", n)
	}
}

// TestSoak_RandomBytesAndFrames throws garbage at the server from several
// connections while a well-behaved client goes on working.
func TestSoak_RandomBytesAndFrames(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := start(t, "unix", func(o *feed.Options) { o.Limits.TotalBytes = 64 << 20 })
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var done atomic.Int64
	for w := range uint64(4) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, w))
			for range 150 {
				soakOne(t, r, rnd)
				done.Add(1)
			}
		})
	}
	drained := make(chan struct{})
	go func() { // the handlers of Stat report to somebody
		defer close(drained)
		for {
			select {
			case <-r.posix.started:
			case <-r.posix.statErrs:
			case <-stop:
				return
			}
		}
	}()
	good := r.dial(t)
	for done.Load() < 600 {
		b, err := good.Batch(t.Context(), 1, []uint64{5, 6})
		if err != nil || b.Payload[4096] != 6 {
			t.Fatal(err)
		}
	}
	wg.Wait()
	_ = good.Close()
	r.awaitIdle(t)
	close(stop)
	<-drained
}

// soakOne opens a connection, sends frames that are more or less well-formed,
// reads a little of the answers, and goes away at any point.
func soakOne(t *testing.T, r *rig, rnd *rand.Rand) {
	nc := hello(t, r)
	defer nc.Close()
	some := rnd.Int64N(1 << 20)
	go func() { _, _ = io.CopyN(io.Discard, nc, some) }()
	_ = nc.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	methods := []string{
		posixv1.PosixService_Read_FullMethodName, posixv1.PosixService_Write_FullMethodName, posixv1.PosixService_Import_FullMethodName,
		posixv1.PosixService_Stat_FullMethodName, "/daos.scan.v1.ScanService/Scan", "/daos.tensor.v1.TensorService/Append",
	}
	for id := range uint64(1 + rnd.IntN(20)) {
		var b []byte
		switch rnd.IntN(6) {
		case 0:
			b = make([]byte, rnd.IntN(300))
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
		case 1:
			b = batchFrame(id+1, rnd.Uint64N(3), rnd.Uint64N(1200), rnd.Uint64N(1200))
		case 2:
			b = frame(feedframe.Header{Kind: feedframe.Cancel, ID: rnd.Uint64N(id + 2)}, nil, nil)
		case 3:
			b = frame(feedframe.Header{Kind: feedframe.Message, ID: rnd.Uint64N(id + 2), Flags: uint8(rnd.IntN(2))}, make([]byte, rnd.IntN(3)), make([]byte, rnd.IntN(40_000)))
		default:
			var m proto.Message = &posixv1.ReadRequest{Length: rnd.Uint64N(100_000)}
			b = callFrame(id+1, methods[rnd.IntN(len(methods))], m, uint8(rnd.IntN(2)), make([]byte, rnd.IntN(3)*rnd.IntN(60_000)))
		}
		if rnd.IntN(4) == 0 && len(b) > 0 {
			b[rnd.IntN(min(len(b), 64))] ^= 1 << rnd.IntN(8)
		}
		if _, err := nc.Write(b); err != nil {
			return
		}
	}
}

// FuzzConnection feeds the server arbitrary bytes after a good HELLO.
func FuzzConnection(f *testing.F) {
	f.Add(batchFrame(1, 1, 3))
	f.Add(callFrame(1, posixv1.PosixService_Read_FullMethodName, &posixv1.ReadRequest{Length: 3}, 0, nil))
	f.Add(append(callFrame(1, posixv1.PosixService_Import_FullMethodName, &posixv1.ImportRequest{}, 1, []byte("abc")), frame(feedframe.Header{Kind: feedframe.Message, ID: 1}, nil, nil)...))
	r := start(f, "unix", nil)
	go func() {
		for range r.posix.started { //nolint:revive // nobody waits for it
		}
	}()
	go func() {
		for range r.posix.statErrs { //nolint:revive // nobody waits for it
		}
	}()
	f.Fuzz(func(t *testing.T, in []byte) {
		nc := hello(t, r)
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = nc.Write(in)
		_ = nc.(*net.UnixConn).CloseWrite()
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, errTimeout(err)) {
			t.Fatalf("%x: the server neither answers nor ends", in)
		}
	})
}

func TestClient_DialHonoursItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := feedclient.Dial(ctx, l.Addr().String(), feedclient.Options{}); err == nil {
		t.Fatal("connected to a server that says nothing")
	}
}

// A client may send all that the server reads ahead before it reads an answer.
func TestPipeline_NobodyWaitsForTheOther(t *testing.T) {
	both(t, func(t *testing.T, network string) {
		r := start(t, network, func(o *feed.Options) { o.Batches = newSamples(64, 1<<20) })
		nc := hello(t, r)
		_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
		idx := make([]uint64, 64)
		for round := range uint64(3) {
			base := round * 100
			sent := batchFrame(base+1, 1, idx...) // answered by 64 MiB
			for i := range uint64(feedframe.MaxPipelined - 1) {
				sent = append(sent, callFrame(base+i+2, posixv1.PosixService_Write_FullMethodName, &posixv1.WriteRequest{}, 0, make([]byte, 2<<20))...)
			}
			if _, err := nc.Write(sent); err != nil {
				t.Fatalf("round %d: the server has stopped reading: %v", round, err)
			}
			for i := range uint64(feedframe.MaxPipelined) {
				if h, _ := next(t, nc); h.ID != base+i+1 || h.Kind == feedframe.Status {
					t.Fatalf("answer %d is %+v", i, h)
				}
			}
		}
	})
}
