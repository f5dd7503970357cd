package feed_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"daos/internal/feedframe"
	feedv1 "daos/proto/gen/daos/feed/v1"
	"daos/server/feed"
)

// BenchmarkBatch reads shuffled batches of 32 into one buffer, one request in
// flight, as a training loop does. cpu-s/GB is that of both ends together; the
// line "raw" is the same bytes written by one write call.
func BenchmarkBatch(b *testing.B) {
	for _, network := range []string{"unix", "tcp"} {
		for _, size := range []int{4 << 10, 100 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", network, size>>10), func(b *testing.B) {
				n := min(20000, (256<<20)/size)
				r := start(b, network, func(o *feed.Options) { o.Batches = newSamples(n, size) })
				nc := hello(b, r)
				req := make([]byte, 128+32*8)
				feedframe.BatchRequest{Handle: 1, Count: 32}.Put(req[64:])
				reply := make([]byte, 64+128+32*size)
				b.SetBytes(int64(32 * size))
				cpu := cpuSeconds()
				b.ResetTimer()
				for i := range b.N {
					feedframe.Header{Kind: feedframe.Batch, ID: uint64(i + 1), MetaLen: 32, PayloadLen: 256}.Put(req)
					for k := range 32 {
						binary.LittleEndian.PutUint64(req[128+8*k:], rand.Uint64N(uint64(n)))
					}
					if _, err := nc.Write(req); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(nc, reply); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				gb := float64(b.N) * 32 * float64(size) / 1e9
				b.ReportMetric(float64(b.N)*32/b.Elapsed().Seconds(), "samples/s")
				b.ReportMetric((cpuSeconds()-cpu)/gb, "cpu-s/GB")
				_ = nc.Close()
			})
		}
	}
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// hello opens a connection by hand.
func hello(t testing.TB, r *rig) net.Conn {
	t.Helper()
	network, address := "tcp", r.address
	if strings.HasPrefix(address, "unix:") {
		network, address = "unix", address[5:]
	}
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	m, _ := proto.Marshal(&feedv1.Hello{Version: 1, Token: token})
	b := make([]byte, 64+feedframe.Padded(len(m)))
	feedframe.Header{Kind: feedframe.Hello, MetaLen: uint32(len(m))}.Put(b)
	copy(b[64:], m)
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
	var h [64]byte
	if _, err := io.ReadFull(nc, h[:]); err != nil {
		t.Fatal(err)
	}
	got, err := feedframe.Parse(h[:])
	if err != nil || got.Kind != feedframe.HelloReply {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := io.CopyN(io.Discard, nc, int64(feedframe.Padded(int(got.MetaLen)))); err != nil {
		t.Fatal(err)
	}
	return nc
}
