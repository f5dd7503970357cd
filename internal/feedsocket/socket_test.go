package feedsocket

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ends returns a socket and the plain connection at its other end.
func ends(t *testing.T, network string, all *Threads) (*Socket, net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, ok := New(c, all).(*Socket)
	if !ok {
		t.Fatal("not taken over")
	}
	t.Cleanup(func() { s.Close(); other.Close() })
	return s, other
}

// each runs fn for both networks, with threads to wait on, awake or not, and without.
func each(t *testing.T, fn func(t *testing.T, s *Socket, other net.Conn)) {
	for _, network := range []string{"unix", "tcp"} {
		for _, where := range []string{"awake", "thread", "poller"} {
			t.Run(network+"/"+where, func(t *testing.T) {
				var all Threads
				if where == "poller" {
					all.lingering.Store(maxLingering)
				}
				s, other := ends(t, network, &all)
				s.read.brisk = where == "awake"
				fn(t, s, other)
			})
		}
	}
}

// TestSocket_SpinsOnlyBehindABriskPeer looks at who stays awake: a reader whose
// last wait was short, for a moment, and never more of them than there is room for.
func TestSocket_SpinsOnlyBehindABriskPeer(t *testing.T) {
	var all Threads
	s, other := ends(t, "unix", &all)
	b := make([]byte, 1)
	read := func(after time.Duration) {
		t.Helper()
		timer := time.AfterFunc(after, func() { _, _ = other.Write([]byte{1}) })
		defer timer.Stop()
		if _, err := s.Read(b); err != nil {
			t.Fatal(err)
		}
		if n := all.spinning.Load(); n != 0 {
			t.Fatalf("%d sockets spin behind a read", n)
		}
	}
	for i := 0; !s.read.brisk; i++ { // on a busy machine a read takes long that waits for nothing
		if i == 100 {
			t.Fatal("a reader that waited for nothing falls asleep")
		}
		if _, err := other.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		read(time.Hour) // it is there already
	}
	if s.spin(time.Now(), unix.POLLIN, spinFor) {
		t.Error("found what is not there")
	}
	awake := false
	for range 100 { // on a busy machine the byte may come late
		s.read.brisk = true
		s.read.grace.Store(int64(time.Second))
		read(5 * spinFor)
		if awake = s.read.brisk; s.read.grace.Load() != 0 {
			t.Error("a grace counts for more than one wait")
		}
		if awake {
			break
		}
	}
	if !awake {
		t.Error("a reader whose peer was busy for as long as expected falls asleep")
	}
	if s.Busy(1 << 20); s.read.grace.Swap(0) < int64(50*time.Microsecond) {
		t.Error("a peer that has a lot to read is expected at once")
	}
	read(20 * spinFor)
	if s.read.brisk {
		t.Error("a reader that waited for long stays awake")
	}
	if _, err := other.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if all.calm.Store(int64(time.Since(loaded))); !s.spin(time.Now(), unix.POLLIN, spinFor) {
		t.Error("none spins any more")
	}
	all.calm.Store(int64(time.Since(loaded) + time.Hour)) // somebody has used a processor for long
	if s.spin(time.Now(), unix.POLLIN, spinFor) {
		t.Error("one spins where the processors have enough to do")
	}
	all.calm.Store(0)
	all.spinning.Store(int32(runtime.GOMAXPROCS(0))) // all that there may be, and more
	if s.spin(time.Now(), unix.POLLIN, spinFor) {
		t.Error("one more spins than may")
	}
}

// TestSocket_LetsOthersGoFirst looks at who stays awake on a processor that somebody
// else waits for: it is let, and if it keeps the processor for long, the next wait is
// asleep.
func TestSocket_LetsOthersGoFirst(t *testing.T) {
	for _, long := range []bool{false, true} {
		var all Threads
		s, other := ends(t, "unix", &all)
		times := 0
		all.yield = func() {
			if times++; times > 1 {
				return
			}
			if long {
				time.Sleep(2 * crowded)
			}
			_, _ = other.Write([]byte{1})
		}
		begun := time.Now()
		if !s.spin(begun, unix.POLLIN, time.Hour) || times == 0 {
			t.Fatalf("not let, %d times", times)
		}
		if calm := time.Duration(all.calm.Load()); long && calm < begun.Sub(loaded)+calmFor {
			t.Errorf("the processors have enough to do until %v, at %v", calm, begun.Sub(loaded))
		} else if took := time.Since(begun); !long && calm != 0 && took < crowded {
			t.Errorf("let for %v, the processors have enough to do", took)
		}
	}
}

func TestSocket_BytesArriveBothWays(t *testing.T) {
	each(t, func(t *testing.T, s *Socket, other net.Conn) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		data := make([]byte, 8<<20) // more than the buffers of both ends: writes must wait
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		blocked := 0
		s.blocked = func() { blocked++ }
		errs := make(chan error, 2)
		go func() { // echoes
			_, err := io.Copy(other, io.LimitReader(other, int64(len(data))))
			errs <- err
		}()
		go func() {
			for at := 0; at < len(data); {
				var bufs [][]byte
				for range 1 + rng.IntN(40) {
					n := min(rng.IntN(100_000), len(data)-at)
					bufs = append(bufs, data[at:at+n])
					at += n
				}
				if _, err := s.WriteBuffers(bufs); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
		got := make([]byte, len(data))
		time.Sleep(10 * time.Millisecond) // lets the buffers fill; the bytes are right without it
		if _, err := io.ReadFull(s, got); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, data) {
			t.Fatal("other bytes came back")
		}
		other.Close()
		if n, err := s.Read(got); n != 0 || err != io.EOF {
			t.Fatalf("at the end: %d, %v", n, err)
		}
	})
}

func TestSocket_DeadlinesEndWaiting(t *testing.T) {
	each(t, func(t *testing.T, s *Socket, other net.Conn) {
		b := make([]byte, 1)
		for _, wait := range []time.Duration{-time.Second, time.Millisecond, 2 * lingerFor} {
			begun := time.Now()
			_ = s.SetReadDeadline(begun.Add(wait))
			if _, err := s.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("after %v: %v", wait, err)
			}
			if took := time.Since(begun); took < wait {
				t.Fatalf("a deadline in %v passed after %v", wait, took)
			}
		}
		// One that is set while a goroutine waits, in any stage of that.
		for _, after := range []time.Duration{0, lingerFor / 2, 2 * lingerFor} {
			_ = s.SetReadDeadline(time.Time{})
			end := make(chan error, 1)
			go func() { _, err := s.Read(b); end <- err }()
			time.Sleep(after)
			_ = s.SetDeadline(time.Now())
			if err := <-end; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
		_ = s.SetDeadline(time.Time{})
		if _, err := other.Write([]byte{7}); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Read(b); n != 1 || err != nil || b[0] != 7 {
			t.Fatal(n, err, b)
		}
		_ = s.SetWriteDeadline(time.Now().Add(lingerFor))
		if _, err := s.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	})
}

func TestSocket_CloseEndsWaitingAndTheDescriptor(t *testing.T) {
	each(t, func(t *testing.T, s *Socket, other net.Conn) {
		for _, after := range []time.Duration{0, lingerFor / 2, 2 * lingerFor} {
			var all Threads
			all.lingering.Store(s.threads.lingering.Load())
			mine, peer := ends(t, s.local.Network(), &all)
			end := make(chan error, 2)
			go func() { _, err := mine.Read(make([]byte, 1)); end <- err }()
			go func() { _, err := mine.Write(make([]byte, 64<<20)); end <- err }()
			time.Sleep(after)
			mine.Close()
			for range 2 {
				if err := <-end; err == nil {
					t.Fatal("no error")
				}
			}
			if mine.users != 0 {
				t.Fatalf("%d users", mine.users)
			}
			if _, err := mine.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
			if all.lingering.Load() != s.threads.lingering.Load() {
				t.Fatalf("%d threads left", all.lingering.Load())
			}
			if _, err := io.Copy(io.Discard, peer); err != nil {
				t.Logf("the other end saw %v", err) // TCP resets where something was unread
			}
		}
	})
}

func TestSocket_Hangup(t *testing.T) {
	each(t, func(t *testing.T, s *Socket, other net.Conn) {
		if _, err := other.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		wait, stop, err := s.Hangup()
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan bool, 1)
		go func() { gone <- wait() }()
		time.Sleep(time.Millisecond)
		stop()
		if <-gone {
			t.Fatal("nobody has hung up")
		}
		if wait, _, err = s.Hangup(); err != nil {
			t.Fatal(err)
		}
		go func() { gone <- wait() }()
		other.Close()
		if !<-gone {
			t.Fatal("not seen")
		}
	})
}

// TestSocket_DescriptorsAreGivenBack waits often enough in the poller that a
// descriptor lost each time would show.
func TestSocket_DescriptorsAreGivenBack(t *testing.T) {
	var all Threads
	all.lingering.Store(maxLingering)
	s, other := ends(t, "unix", &all)
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before := open()
	b := make([]byte, 1)
	for range 200 {
		go func() { _, _ = other.Write([]byte{1}) }()
		if _, err := s.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	if after := open(); after > before+20 {
		t.Fatalf("%d descriptors, then %d", before, after)
	}
}
