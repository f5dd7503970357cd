package feed_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"daos/internal/fault"
	"daos/internal/feedclient"
	"daos/internal/feedframe"
	posixv1 "daos/proto/gen/daos/posix/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
	tensorv1 "daos/proto/gen/daos/tensor/v1"
	"daos/server/auth"
	"daos/server/feed"
)

var token = strings.Repeat("ab", 32)

// posix is a service whose calls show what the feed does with them.
type posix struct {
	posixv1.UnimplementedPosixServiceServer
	started  chan struct{} // Stat sends here and then waits for its context
	statErrs chan error
}

func (p *posix) Read(_ context.Context, r *posixv1.ReadRequest) (*posixv1.ReadResponse, error) {
	if r.Offset == 666 {
		panic("as asked")
	}
	return &posixv1.ReadResponse{Payload: bytes.Repeat([]byte{byte(r.Offset)}, int(r.Length))}, nil
}

func (p *posix) Write(ctx context.Context, r *posixv1.WriteRequest) (*posixv1.WriteResponse, error) {
	if _, ok := auth.IdentityOf(ctx); !ok {
		return nil, errors.New("no identity")
	}
	var sum uint64
	for _, b := range r.Payload {
		sum += uint64(b)
	}
	return &posixv1.WriteResponse{Size: uint64(len(r.Payload)), Offset: sum}, nil
}

func (p *posix) Stat(ctx context.Context, r *posixv1.StatRequest) (*posixv1.StatResponse, error) {
	if string(r.Path) == "missing" {
		return nil, fault.New(fault.NotFound, "posix.stat", "p/d/missing", "no such entry").Do("look with daos fs ls")
	}
	p.started <- struct{}{}
	<-ctx.Done()
	p.statErrs <- context.Cause(ctx)
	return nil, ctx.Err()
}

func (p *posix) Import(st grpc.BidiStreamingServer[posixv1.ImportRequest, posixv1.ImportResponse]) error {
	for {
		r, err := st.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if r.Overwrite {
			return fault.New(fault.Exists, "posix.import", r.Dataset, "as asked")
		}
		if err := st.Send(&posixv1.ImportResponse{Entries: uint64(len(r.Payload))}); err != nil {
			return err
		}
	}
}

type scan struct {
	scanv1.UnimplementedScanServiceServer
}

func (scan) Scan(r *scanv1.ScanRequest, st grpc.ServerStreamingServer[scanv1.ScanResponse]) error {
	resp := &scanv1.ScanResponse{Payload: make([]byte, 100_000)}
	for i := range r.Limit {
		clear(resp.Payload)
		binary.LittleEndian.PutUint64(resp.Payload, i)
		resp.RowsOut = i + 1
		resp.Anchor = nil
		if i == 1 && (string(r.Path) == "large" || string(r.Path) == "deaf") {
			resp.Anchor = make([]byte, feedframe.MaxMeta+1)
		}
		if err := st.Send(resp); err != nil && string(r.Path) != "deaf" {
			return err
		}
	}
	return nil
}

type tensor struct {
	tensorv1.UnimplementedTensorServiceServer
}

func (tensor) Append(st grpc.ClientStreamingServer[tensorv1.AppendRequest, tensorv1.AppendResponse]) error {
	var kept [][]byte
	for {
		r, err := st.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		kept = append(kept, r.Payload) // payloads of a stream are the handler's
	}
	var n uint64
	for i, p := range kept {
		for _, b := range p {
			if b != byte(i) {
				return fault.New(fault.Corrupt, "test", "", "payload %d has changed", i)
			}
		}
		n += uint64(len(p))
	}
	return st.SendAndClose(&tensorv1.AppendResponse{Count: n})
}

// samples is a Batches whose sample i is size bytes of value i.
type samples struct {
	size  int
	n     uint64
	live  atomic.Int64
	total []byte
}

func newSamples(n, size int) *samples {
	s := &samples{size: size, n: uint64(n), total: make([]byte, n*size)}
	for i := range s.total {
		s.total[i] = byte(i / size)
	}
	return s
}

func (s *samples) Plan(_ context.Context, handle uint64, indices []uint64) (feed.Batch, error) {
	if handle != 1 {
		return nil, fault.New(fault.Stale, "loader.batch", "", "handle %d is not of this process", handle).Do("open the manifest again")
	}
	b := &batch{s: s, indices: indices}
	for _, i := range indices {
		if i >= s.n {
			return nil, fault.New(fault.Invalid, "loader.batch", "", "index %d of %d samples", i, s.n)
		}
	}
	m := feedframe.BatchMeta{Count: uint32(len(indices)), Columns: []feedframe.Column{{Layout: 1, ItemSize: uint32(s.size), DataLen: uint64(len(indices) * s.size)}}}
	m.Put(b.meta[:])
	s.live.Add(1)
	return b, nil
}

type batch struct {
	s       *samples
	indices []uint64
	meta    [128]byte
}

func (b *batch) Meta() []byte { return b.meta[:] }
func (b *batch) Size() uint64 { return uint64(len(b.indices) * b.s.size) }
func (b *batch) Release()     { b.s.live.Add(-1) }
func (b *batch) Parts(dst [][]byte) ([][]byte, error) {
	for _, i := range b.indices {
		dst = append(dst, b.s.total[int(i)*b.s.size:][:b.s.size])
	}
	return dst, nil
}

type rig struct {
	*feed.Server
	posix   *posix
	address string
	ln      net.Listener
}

// start serves on a unix socket or on TCP until the test ends.
func start(t testing.TB, network string, change func(*feed.Options)) *rig {
	t.Helper()
	a, err := auth.New(token, uint32(os.Getuid()))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{posix: &posix{started: make(chan struct{}, 64), statErrs: make(chan error, 64)}}
	reg := feed.NewRegistrar()
	posixv1.RegisterPosixServiceServer(reg, r.posix)
	scanv1.RegisterScanServiceServer(reg, scan{})
	tensorv1.RegisterTensorServiceServer(reg, tensor{})
	o := feed.Options{Registrar: reg, Auth: a, Incarnation: 42, Batches: newSamples(1000, 4096)}
	if change != nil {
		change(&o)
	}
	if r.Server, err = feed.New(o); err != nil {
		t.Fatal(err)
	}
	if network == "unix" {
		path := filepath.Join(t.TempDir(), "s")
		r.ln, err = net.Listen("unix", path)
		r.address = "unix:" + path
	} else {
		r.ln, err = net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			r.address = r.ln.Addr().String()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Serve(r.ln) })
	t.Cleanup(func() { _ = r.ln.Close(); r.Close(); wg.Wait(); r.awaitIdle(t) })
	return r
}

// awaitIdle fails the test if the server keeps something for clients that are gone.
func (r *rig) awaitIdle(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		s := r.Stats()
		if s.Held == 0 && s.Conns == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes and %d connections are still held", s.Held, s.Conns)
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *rig) dial(t testing.TB) *feedclient.Client {
	t.Helper()
	c, err := feedclient.Dial(t.Context(), r.address, feedclient.Options{Token: token, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func both(t *testing.T, fn func(t *testing.T, network string)) {
	for _, n := range []string{"unix", "tcp"} {
		t.Run(n, func(t *testing.T) { fn(t, n) })
	}
}

func TestCall_Unary(t *testing.T) {
	both(t, func(t *testing.T, network string) {
		c := start(t, network, nil).dial(t)
		p := posixv1.NewPosixServiceClient(c)
		for _, n := range []int{0, 1, 4096, 100_000, 16 << 20} {
			r, err := p.Read(t.Context(), &posixv1.ReadRequest{Offset: 7, Length: uint64(n)})
			if err != nil || len(r.Payload) != n || bytes.Count(r.Payload, []byte{7}) != n {
				t.Fatalf("read of %d: %d bytes, %v", n, len(r.GetPayload()), err)
			}
			w, err := p.Write(t.Context(), &posixv1.WriteRequest{Dataset: "p/d", Payload: r.Payload})
			if err != nil || w.Size != uint64(n) || w.Offset != uint64(7*n) {
				t.Fatalf("write of %d: %v, %v", n, w, err)
			}
		}
		if got := c.Hello().GetIncarnation(); got != 42 {
			t.Errorf("incarnation %d", got)
		}
	})
}

func TestCall_ErrorsKeepTheirKindAndTexts(t *testing.T) {
	c := start(t, "unix", nil).dial(t)
	p := posixv1.NewPosixServiceClient(c)
	_, err := p.Stat(t.Context(), &posixv1.StatRequest{Path: []byte("missing")})
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.NotFound || f.Resource != "p/d/missing" || f.Resolution == "" {
		t.Fatalf("%#v", err)
	}
	if _, err := p.Read(t.Context(), &posixv1.ReadRequest{Offset: 666}); !fault.Is(err, fault.Internal) {
		t.Fatalf("a panic gave %v", err)
	}
	if err := c.Invoke(t.Context(), "/daos.posix.v1.PosixService/Nope", &posixv1.StatRequest{}, &posixv1.StatResponse{}); !fault.Is(err, fault.Unsupported) {
		t.Fatalf("an unknown method gave %v", err)
	}
	if _, err := p.Read(t.Context(), &posixv1.ReadRequest{Offset: 1, Length: 70 << 20}); !fault.Is(err, fault.TooBig) {
		t.Fatalf("an answer over the limit gave %v", err)
	}
	if r, err := p.Read(t.Context(), &posixv1.ReadRequest{Offset: 1, Length: 5}); err != nil || len(r.Payload) != 5 {
		t.Fatalf("after all that: %v", err)
	}
}

// TestStream_EndsWithAMessageThatCantBeSent: no frame of the call may follow the
// STATUS, or it is taken for the answer of the next one.
func TestStream_EndsWithAMessageThatCantBeSent(t *testing.T) {
	both(t, func(t *testing.T, network string) {
		nc := hello(t, start(t, network, nil))
		for i, how := range []string{"large", "deaf"} { // who is deaf goes on to send
			id := uint64(2*i + 1)
			_, _ = nc.Write(callFrame(id, scanv1.ScanService_Scan_FullMethodName, &scanv1.ScanRequest{Limit: 4, Path: []byte(how)}, 0, nil))
			_, _ = nc.Write(batchFrame(id+1, 1, 3))
			if h, _ := next(t, nc); h.Kind != feedframe.Reply || h.ID != id {
				t.Fatalf("%s: %+v", how, h)
			}
			refusal(t, nc, id, fault.TooBig)
			if h, _ := next(t, nc); h.Kind != feedframe.BatchReply || h.ID != id+1 {
				t.Fatalf("%s: after the end of the stream comes %+v", how, h)
			}
		}
	})
}

func TestCall_Streams(t *testing.T) {
	both(t, func(t *testing.T, network string) {
		c := start(t, network, nil).dial(t)
		st, err := scanv1.NewScanServiceClient(c).Scan(t.Context(), &scanv1.ScanRequest{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		var n uint64
		for ; ; n++ {
			r, err := st.Recv()
			if err == io.EOF {
				break
			}
			if err != nil || binary.LittleEndian.Uint64(r.Payload) != n || r.RowsOut != n+1 {
				t.Fatalf("message %d: %v, %v", n, r.GetRowsOut(), err)
			}
		}
		if n != 100 {
			t.Fatalf("%d messages", n)
		}
		im, err := posixv1.NewPosixServiceClient(c).Import(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 { // more than the server reads ahead
			if err := im.Send(&posixv1.ImportRequest{Payload: make([]byte, i)}); err != nil {
				t.Fatal(err)
			}
			r, err := im.Recv()
			if err != nil || r.Entries != uint64(i) {
				t.Fatalf("%v, %v", r, err)
			}
		}
		_ = im.CloseSend()
		if _, err := im.Recv(); err != io.EOF {
			t.Fatal(err)
		}
		ap, err := tensorv1.NewTensorServiceClient(c).Append(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 40 {
			if err := ap.Send(&tensorv1.AppendRequest{Payload: bytes.Repeat([]byte{byte(i)}, 300_000)}); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := ap.CloseAndRecv(); err != nil || r.Count != 40*300_000 {
			t.Fatalf("%v, %v", r, err)
		}
	})
}

func TestStream_AnsweredEarlyLeavesTheConnectionUsable(t *testing.T) {
	c := start(t, "unix", nil).dial(t)
	p := posixv1.NewPosixServiceClient(c)
	im, err := p.Import(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 30 { // the first is refused, the others are for a call that has ended
		if err := im.Send(&posixv1.ImportRequest{Overwrite: true, Payload: make([]byte, 200_000)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := im.Recv(); !fault.Is(err, fault.Exists) {
		t.Fatal(err)
	}
	if r, err := p.Read(t.Context(), &posixv1.ReadRequest{Length: 5}); err != nil || len(r.Payload) != 5 {
		t.Fatalf("%v", err)
	}
}

func TestCancel_OvertakesAndEndsTheCall(t *testing.T) {
	r := start(t, "unix", nil)
	c := r.dial(t)
	p := posixv1.NewPosixServiceClient(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { _, err := p.Stat(ctx, &posixv1.StatRequest{}); done <- err }()
	<-r.posix.started
	// Queued behind the first: cancelled before it begins.
	go func() { _, err := p.Stat(ctx, &posixv1.StatRequest{}); done <- err }()
	cancel()
	<-done
	<-done
	if err := <-r.posix.statErrs; !fault.Is(err, fault.Canceled) {
		t.Fatalf("the handler's cause: %v", err)
	}
	if _, err := p.Read(t.Context(), &posixv1.ReadRequest{Length: 5}); err != nil {
		t.Fatal(err)
	}
}

func TestCall_DeadlineOfTheCaller(t *testing.T) {
	r := start(t, "unix", nil)
	p := posixv1.NewPosixServiceClient(r.dial(t))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // the call must begin within that
	defer cancel()
	_, err := p.Stat(ctx, &posixv1.StatRequest{})
	if !fault.Is(err, fault.Timeout) {
		t.Fatal(err)
	}
	if err := <-r.posix.statErrs; !errors.Is(err, context.DeadlineExceeded) && !fault.Is(err, fault.Canceled) {
		t.Fatal(err)
	}
}

func TestDisconnect_CancelsTheRunningCall(t *testing.T) {
	r := start(t, "unix", nil)
	c := r.dial(t)
	go func() { _, _ = posixv1.NewPosixServiceClient(c).Stat(context.Background(), &posixv1.StatRequest{}) }()
	<-r.posix.started
	_ = c.Close()
	<-r.posix.statErrs // or the test times out
	r.awaitIdle(t)
}

func TestHello_WrongTokenIsRefusedWithAReason(t *testing.T) {
	both(t, func(t *testing.T, network string) {
		r := start(t, network, nil)
		_, err := feedclient.Dial(t.Context(), r.address, feedclient.Options{Token: strings.Repeat("00", 32)})
		if !fault.Is(err, fault.Unauthenticated) {
			t.Fatal(err)
		}
		_, err = feedclient.Dial(t.Context(), r.address, feedclient.Options{})
		if want := network == "tcp"; fault.Is(err, fault.Unauthenticated) != want {
			t.Fatalf("without a token over %s: %v", network, err)
		}
	})
}

func TestBatch_BytesAndErrors(t *testing.T) {
	for _, size := range []int{1, 64, 4096, 100 << 10, 1 << 20} {
		both(t, func(t *testing.T, network string) {
			src := newSamples(200, size)
			r := start(t, network, func(o *feed.Options) { o.Batches = src })
			c := r.dial(t)
			idx := []uint64{3, 199, 0, 3, 77}
			for range 60 {
				idx = append(idx, idx[len(idx)-5]*31%200)
			}
			b, err := c.Batch(t.Context(), 1, idx)
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range idx {
				if bytes.Count(b.Payload[i*size:(i+1)*size], []byte{byte(x)}) != size {
					t.Fatalf("size %d: sample %d of the batch is not sample %d", size, i, x)
				}
			}
			if _, err := c.Batch(t.Context(), 2, idx); !fault.Is(err, fault.Stale) {
				t.Fatal(err)
			}
			if _, err := c.Batch(t.Context(), 1, []uint64{200}); !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			if _, err := c.Batch(t.Context(), 1, idx); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			r.awaitIdle(t)
			if n := src.live.Load(); n != 0 {
				t.Fatalf("%d batches are not released", n)
			}
		})
	}
}

func TestBatch_TooBigIsRefused(t *testing.T) {
	r := start(t, "unix", func(o *feed.Options) { o.Batches = newSamples(10, 1<<20) })
	idx := make([]uint64, 1025)
	if _, err := r.dial(t).Batch(t.Context(), 1, idx); !fault.Is(err, fault.TooBig) {
		t.Fatal(err)
	}
}

func TestShutdown_FinishesWhatWasAskedAndRefusesTheRest(t *testing.T) {
	counts := make(chan int, 16)
	r := start(t, "unix", func(o *feed.Options) { o.OnConns = func(n int) { counts <- n } })
	c := r.dial(t)
	p := posixv1.NewPosixServiceClient(c)
	if n := <-counts; n != 1 {
		t.Fatalf("%d connections", n)
	}
	st, err := scanv1.NewScanServiceClient(c).Scan(t.Context(), &scanv1.ScanRequest{Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Dial("unix", strings.TrimPrefix(r.address, "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	down := make(chan error, 1)
	go func() { down <- r.Shutdown(t.Context()) }()
	ended(t, silent) // it has begun: now the scan may go on
	for !c.Draining() {
		if _, err := st.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	late := make(chan error, 1)
	go func() { _, err := p.Read(t.Context(), &posixv1.ReadRequest{Length: 1}); late <- err }()
	for {
		if _, err := st.Recv(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-late; !fault.Is(err, fault.Unreachable) {
		t.Fatalf("a call after GOAWAY: %v", err)
	}
	if err := <-down; err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if n := <-counts; n != 0 {
		t.Fatalf("%d connections", n)
	}
}
