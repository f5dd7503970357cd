package server_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	systemv1 "daos/proto/gen/daos/system/v1"
	"daos/server"
)

// TestGarbage sends nonsense in every protocol, and nothing at all over many
// connections; the server goes on answering, and nothing is left of it.
func TestGarbage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := newSite(t).start(server.Options{})
	sys := systemv1.NewSystemServiceClient(dial(t, "unix:"+r.Socket(), ""))
	ping := func() {
		t.Helper()
		must[*systemv1.PingResponse](t)(sys.Ping(t.Context(), &systemv1.PingRequest{}))
	}
	ping()
	before := runtime.NumGoroutine()
	idle := make([]net.Conn, 300)
	for i := range idle {
		c, err := net.Dial("tcp", r.Addr())
		if err != nil {
			t.Fatal(err)
		}
		idle[i] = c
	}
	heads := []string{
		"", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "DFD1", "GET /metrics HTTP/1.1\r\nHost: x\r\n", "GET / HTTP/1.1\r\nX: " + strings.Repeat("y", 1<<20),
		"POST /daos.system.v1.SystemService/Ping HTTP/1.1\r\n\r\n", "\x16\x03\x01", "PRI ", "DFD1\x01\x00\x00\x00",
	}
	var wg sync.WaitGroup
	for w := range 8 {
		rng := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			for range 25 {
				network, addr := "tcp", r.Addr()
				if rng.IntN(2) == 0 {
					network, addr = "unix", r.Socket()
				}
				c, err := net.Dial(network, addr)
				if err != nil {
					t.Error(err)
					return
				}
				junk := make([]byte, rng.IntN(5000))
				for i := range junk {
					junk[i] = byte(rng.Uint32())
				}
				_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
				_, _ = c.Write(append([]byte(heads[rng.IntN(len(heads))]), junk...)) // the server may have hung up
				buf := make([]byte, 1<<16)
				for {
					n, err := c.Read(buf)
					if bytes.Contains(buf[:n], []byte("goroutine ")) {
						t.Error("an answer shows a stack")
					}
					if err != nil {
						break
					}
				}
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	ping()
	for _, c := range idle {
		_ = c.Close()
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) { // they end by themselves
		if now := runtime.NumGoroutine(); now <= before+10 {
			break
		} else if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before\n%s", now, before, buf[:runtime.Stack(buf, true)])
		}
	}
	ping()
	if got := fmt.Sprint(must[*systemv1.StatusResponse](t)(sys.Status(t.Context(), &systemv1.StatusRequest{})).GetConnections()); got != "1" {
		t.Errorf("%s connections are counted, there is one", got)
	}
}
