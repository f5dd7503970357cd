package feed_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"daos/internal/fault"
	"daos/internal/feedclient"
	posixv1 "daos/proto/gen/daos/posix/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
	"daos/server/feed"
	"daos/server/wire"
)

// file is an open file that counts its holders.
type file struct {
	*os.File
	held, doubts atomic.Int32
}

func (f *file) Release() { f.held.Add(-1) }
func (f *file) Doubt()   { f.doubts.Add(1) }

// pieces is a service whose answers lie in memory and in a file.
type pieces struct {
	posixv1.UnimplementedPosixServiceServer
	f    *file
	data []byte
}

func (p *pieces) Read(ctx context.Context, r *posixv1.ReadRequest) (*posixv1.ReadResponse, error) {
	out := wire.RegionsOf(ctx)
	if out == nil {
		return nil, errors.New("the feed takes no regions")
	}
	rng := rand.New(rand.NewPCG(r.GetOffset(), r.GetLength()))
	for off, end := r.GetOffset(), r.GetOffset()+r.GetLength(); off < end; {
		n := min(end-off, 1+rng.Uint64N(1+r.GetLength()/3))
		switch rng.IntN(3) {
		case 0:
			out.Add(p.data[off : off+n])
		default:
			p.f.held.Add(1)
			out.AddFile(p.f, int64(off), int(n))
		}
		off += n
	}
	if r.GetInode() == 1 {
		return nil, fault.New(fault.NotFound, "test", "", "found out late")
	}
	if r.GetInode() == 2 { // beyond the end of the file
		p.f.held.Add(1)
		out.AddFile(p.f, int64(len(p.data)), 100)
	}
	return &posixv1.ReadResponse{Size: uint64(len(p.data))}, nil
}

// plain hides that a connection has a socket, as TLS does.
type plain struct{ net.Listener }

func (l plain) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{c}, nil
}

func TestCall_AnswersInPieces(t *testing.T) {
	data := make([]byte, 20<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := &pieces{f: &file{File: f}, data: data}
	r := start(t, "unix", func(o *feed.Options) {
		o.Registrar = feed.NewRegistrar()
		posixv1.RegisterPosixServiceServer(o.Registrar, p)
		scanv1.RegisterScanServiceServer(o.Registrar, scan{})
	})
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer tcp.Close()
	wg.Go(func() { _ = r.Serve(plain{tcp}) })
	for _, address := range []string{r.address, tcp.Addr().String()} {
		c, err := feedclient.Dial(t.Context(), address, feedclient.Options{Token: token, Name: "test"})
		if err != nil {
			t.Fatal(err)
		}
		client := posixv1.NewPosixServiceClient(c)
		for _, n := range []uint64{1, 100, 70_000, 1 << 20, 16 << 20} {
			off := rng.Uint64N(uint64(len(data)) - n)
			got, err := client.Read(t.Context(), &posixv1.ReadRequest{Offset: off, Length: n})
			if err != nil || !bytes.Equal(got.GetPayload(), data[off:off+n]) || got.GetSize() != uint64(len(data)) {
				t.Fatalf("%s: %d bytes at %d: %d came, %v", address, n, off, len(got.GetPayload()), err)
			}
		}
		if _, err := client.Read(t.Context(), &posixv1.ReadRequest{Length: 100_000, Inode: 1}); !fault.Is(err, fault.NotFound) {
			t.Fatalf("an error behind some pieces: %v", err)
		}
		if got, err := client.Read(t.Context(), &posixv1.ReadRequest{Length: 5}); err != nil || !bytes.Equal(got.GetPayload(), data[:5]) {
			t.Fatalf("after an error: %v", err)
		}
		doubts := p.f.doubts.Load()
		if _, err := client.Read(t.Context(), &posixv1.ReadRequest{Length: 100, Inode: 2}); err == nil {
			t.Fatal("a file that is too short gave an answer")
		}
		if p.f.doubts.Load() != doubts+1 {
			t.Fatal("bytes that could not be sent are trusted")
		}
		_ = c.Close()
	}
	r.Close()
	r.awaitIdle(t)
	if n := p.f.held.Load(); n != 0 {
		t.Fatalf("%d holders of the file are left", n)
	}
}
