// Package feedsocket is a socket for requests and answers that follow each other
// at once: the feed's, at both ends. It speaks no protocol; that is
// internal/feedframe, server/feed and internal/feedclient. Start with New.
package feedsocket

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// lingerFor is how long a goroutine waits for a socket on a thread of its
	// own before it waits in Go's poller. The next request of a loader that
	// waits for its batch comes within that.
	lingerFor = 20 * time.Millisecond
	// maxLingering bounds the threads that wait so.
	maxLingering = 128
	// spinFor is how long a goroutine looks for the next request without going to
	// sleep, where the one before came within that. Asleep its processor goes idle,
	// and waking that takes longer than a loader needs to ask for a small batch.
	spinFor = 120 * time.Microsecond
	// maxGrace bounds by how much longer that may be where the other end is known
	// to have something to read before.
	maxGrace = 6 * spinFor
	// yieldEvery is how often who looks again and again lets others have its
	// processor. If one of them takes it, for longer than shared, waiting is done
	// asleep this time; if it keeps it for longer than crowded, the processors have
	// enough to do, and it is done asleep for calmFor.
	yieldEvery = 15 * time.Microsecond
	shared     = 8 * time.Microsecond
	crowded    = 500 * time.Microsecond
	calmFor    = 100 * time.Millisecond
	// yieldAfter is how long a goroutine that never blocks in Go's eyes keeps its
	// processor: from 10 ms on the runtime takes it away in every system call,
	// which costs more than a small batch.
	yieldAfter = 5 * time.Millisecond
	// readRate is how many bytes a nanosecond somebody reads from files, about.
	readRate = 10
)

// Socket is a connected socket outside of Go's poller. Under the poller every
// arrival and every bit of free space wakes a thread that waits in epoll, which
// then finds the goroutine and a processor for it; a thread that waits in
// poll(2) is woken itself, mostly on the processor of the process that has sent
// something and waits for the answer. That is a third of the time of a small
// batch. Threads are not for free, though: a socket on which nothing happens is
// waited for in the poller like any other, through a second descriptor.
//
// One goroutine may read and another one write.
type Socket struct {
	fd            int
	local, remote net.Addr
	threads       *Threads
	blocked       func()        // called before a write waits; may be nil
	awake         time.Duration // spinFor of this one
	read, write   side
	iov           []unix.Iovec // scratch of WriteBuffers

	mu     sync.Mutex
	users  int
	closed bool
}

// Threads counts those of all sockets that wait, asleep or not.
type Threads struct {
	lingering, spinning atomic.Int32
	calm                atomic.Int64 // until when nobody spins, in nanoseconds since loaded
	yield               func()       // of tests
}

// loaded is when the program began, for times that no change of the clock moves.
var loaded = time.Now()

// side is one direction of a socket.
type side struct {
	deadline atomic.Int64 // unix nanoseconds, 0: none
	since    time.Time    // of the last yield; its goroutine's
	brisk    bool         // the last wait was shorter than one awake; its goroutine's
	grace    atomic.Int64 // nanoseconds for which the other end is busy before it does something; of the next wait

	mu     sync.Mutex
	parked *os.File // while a goroutine waits in the poller
}

// BeforeWait sets what is called before a write waits for room. Set it before the
// first write.
func (s *Socket) BeforeWait(fn func()) { s.blocked = fn }

// StayAwake sets for how long the next arrival is waited for without going to
// sleep, where the one before came within that. Set it before the first read.
func (s *Socket) StayAwake(d time.Duration) { s.awake = d }

// New takes nc's place, if it is a plain TCP or unix connection; else it
// returns nc. The connection given is closed and must not be used any more.
func New(nc net.Conn, threads *Threads) net.Conn {
	var raw syscall.RawConn
	var err error
	switch c := nc.(type) {
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	default:
		return nc
	}
	if err != nil {
		return nc
	}
	fd := -1
	if ctl := raw.Control(func(old uintptr) { fd, err = dup(int(old)) }); ctl != nil || err != nil {
		return nc
	}
	s := &Socket{fd: fd, local: nc.LocalAddr(), remote: nc.RemoteAddr(), threads: threads, users: 1, awake: spinFor}
	_ = nc.Close()
	return s
}

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

// enter begins a use of the descriptor; after it leave must be called.
func (s *Socket) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.users++
	return nil
}

func (s *Socket) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 {
		_ = unix.Close(s.fd)
	}
}

// Close ends all waiting at once. The descriptor is closed when nobody uses it
// any more.
func (s *Socket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.closed = true
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
	s.mu.Unlock()
	s.leave()
	return nil
}

// CloseWrite says that nothing more will be written.
func (s *Socket) CloseWrite() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return unix.Shutdown(s.fd, unix.SHUT_WR)
}

// Read implements net.Conn.
func (s *Socket) Read(b []byte) (int, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	for {
		// A read without data would cost as much as the look whether there is some.
		if err := s.wait(&s.read, unix.POLLIN); err != nil {
			return 0, err
		}
		switch n, err := unix.Read(s.fd, b); {
		case err == unix.EINTR, err == unix.EAGAIN:
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write implements net.Conn.
func (s *Socket) Write(b []byte) (int, error) {
	n, err := s.put(len(b), func(done int) (int, error) { return unix.Write(s.fd, b[done:]) })
	return int(n), err
}

// WriteBuffers writes all of bufs with as few system calls as the socket's buffer
// allows. At most gatherVecs+2 of them, which is below the kernel's limit.
func (s *Socket) WriteBuffers(bufs [][]byte) (int64, error) {
	iov, size := s.iov[:0], 0
	for _, b := range bufs {
		if len(b) > 0 {
			v := unix.Iovec{Base: unsafe.SliceData(b)}
			v.SetLen(len(b))
			iov = append(iov, v)
			size += len(b)
		}
	}
	s.iov = iov
	defer clear(s.iov) // keeps no reference to what was written
	if size == 0 {
		return 0, nil
	}
	begun := 0
	return s.put(size, func(done int) (int, error) {
		for n := uint64(done - begun); n > 0; {
			v := &iov[0]
			k := min(n, v.Len)
			if n -= k; k == v.Len {
				iov = iov[1:]
				continue
			}
			v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), k))
			v.Len -= k
		}
		begun = done
		r, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
		if errno != 0 {
			return 0, errno
		}
		return int(r), nil
	})
}

// WriteFiles writes b, and gives the other end, which is a unix socket, copies of
// descriptors with its first byte.
func (s *Socket) WriteFiles(b []byte, fds []int) (int64, error) {
	rights := unix.UnixRights(fds...)
	return s.put(len(b), func(done int) (int, error) {
		if done == 0 {
			return unix.SendmsgN(s.fd, b, rights, nil, unix.MSG_NOSIGNAL)
		}
		return unix.Write(s.fd, b[done:])
	})
}

// Busy says that the other end has so many bytes to read before it asks for more: its
// next request is waited for awake for as much longer, within reason.
func (s *Socket) Busy(bytes uint64) {
	s.read.grace.Store(int64(min(time.Duration(bytes/readRate), maxGrace)))
}

// put calls write until size bytes are written.
func (s *Socket) put(size int, write func(done int) (int, error)) (int64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	for done := 0; ; {
		n, err := write(done)
		switch err {
		case nil:
			if done += n; done == size {
				return int64(done), nil
			}
		case unix.EINTR:
		case unix.EAGAIN:
			if err := s.wait(&s.write, unix.POLLOUT); err != nil {
				return int64(done), err
			}
		default:
			return int64(done), os.NewSyscallError("write", err)
		}
	}
}

// wait returns when an event may be there. The socket is in use.
func (s *Socket) wait(d *side, events int16) error {
	if s.isClosed() {
		return net.ErrClosed
	}
	if d == &s.write && s.blocked != nil {
		s.blocked()
	}
	now := time.Now()
	if now.Sub(d.since) > yieldAfter {
		d.since = now
		runtime.Gosched()
	}
	pause := lingerFor
	if at := d.deadline.Load(); at != 0 {
		left := time.Unix(0, at).Sub(now)
		if left <= 0 && !ready(s.fd, events, 0) {
			return os.ErrDeadlineExceeded
		}
		pause = min(pause, max(left, 0))
	}
	awake := s.awake + time.Duration(d.grace.Swap(0))
	if d == &s.read && d.brisk && s.spin(now, events, min(awake, pause)) {
		return nil
	}
	if s.linger(events, pause) {
		d.brisk = time.Since(now) < awake
		return nil
	}
	d.brisk = false
	return s.park(d, events)
}

// spin looks for an event again and again for a moment. Half of the processors
// do that at most: the others have what is looked for to do.
func (s *Socket) spin(begun time.Time, events int16, awake time.Duration) bool {
	defer s.threads.spinning.Add(-1)
	if int(s.threads.spinning.Add(1)) > runtime.GOMAXPROCS(0)/2 || int64(begun.Sub(loaded)) < s.threads.calm.Load() {
		return false
	}
	for yielded := begun; ; {
		if ready(s.fd, events, 0) {
			return true
		}
		now := time.Now()
		if now.Sub(begun) > awake {
			return false
		}
		if now.Sub(yielded) > yieldEvery {
			s.threads.letOthers() // who asks may wait for this very processor
			yielded = time.Now()
			if yielded.Sub(now) > crowded {
				s.threads.calm.Store(int64(yielded.Sub(loaded) + calmFor))
			}
			if yielded.Sub(now) > shared {
				// Who is woken gets a processor of its own, if there is one.
				return ready(s.fd, events, 0)
			}
		}
	}
}

// letOthers lets another thread have the processor, if one waits for it.
func (t *Threads) letOthers() {
	if t.yield != nil {
		t.yield()
		return
	}
	_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
}

// linger waits for an event on a thread of its own.
func (s *Socket) linger(events int16, pause time.Duration) bool {
	defer s.threads.lingering.Add(-1)
	return s.threads.lingering.Add(1) <= maxLingering && ready(s.fd, events, pause)
}

// ready says whether an event, an error or the end is there.
func ready(fd int, events int16, wait time.Duration) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	n, err := unix.Poll(p[:], int((wait+time.Millisecond-1)/time.Millisecond))
	return err == nil && n > 0
}

// park waits in Go's poller.
func (s *Socket) park(d *side, events int16) error {
	f, err := s.poller()
	if err != nil {
		return err
	}
	defer f.Close()
	d.mu.Lock()
	d.parked = f
	_ = setDeadline(f, d.deadline.Load())
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.parked = nil
		d.mu.Unlock()
	}()
	return await(f, events)
}

// poller returns the socket as a file in Go's poller.
func (s *Socket) poller() (*os.File, error) {
	fd, err := dup(s.fd)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(fd), "socket"), nil // non-blocking, as the socket is
}

// await waits for an event, the deadline of f or its close.
func await(f *os.File, events int16) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	in := func(fd uintptr) bool { return ready(int(fd), events, 0) }
	if events == unix.POLLOUT {
		return raw.Write(in)
	}
	return raw.Read(in)
}

func setDeadline(f *os.File, at int64) error {
	if at == 0 {
		return f.SetDeadline(time.Time{})
	}
	return f.SetDeadline(time.Unix(0, at))
}

func (s *Socket) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (d *side) set(t time.Time) error {
	at := int64(0)
	if !t.IsZero() {
		at = max(t.UnixNano(), 1)
	}
	d.deadline.Store(at)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.parked != nil {
		return setDeadline(d.parked, at)
	}
	return nil
}

// SetDeadline implements net.Conn. A goroutine that lingers looks at the new
// deadline after lingerFor at the latest.
func (s *Socket) SetDeadline(t time.Time) error {
	if err := s.read.set(t); err != nil {
		return err
	}
	return s.write.set(t)
}

// SetReadDeadline implements net.Conn.
func (s *Socket) SetReadDeadline(t time.Time) error { return s.read.set(t) }

// SetWriteDeadline implements net.Conn.
func (s *Socket) SetWriteDeadline(t time.Time) error { return s.write.set(t) }

// LocalAddr implements net.Conn.
func (s *Socket) LocalAddr() net.Addr { return s.local }

// RemoteAddr implements net.Conn.
func (s *Socket) RemoteAddr() net.Addr { return s.remote }

// SyscallConn implements syscall.Conn.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return rawSocket{s}, nil }

// Hangup returns a function that waits until the other end has closed its
// sending half, and one that ends the waiting.
func (s *Socket) Hangup() (wait func() bool, stop func(), err error) {
	if err := s.enter(); err != nil {
		return nil, nil, err
	}
	defer s.leave()
	f, err := s.poller()
	if err != nil {
		return nil, nil, err
	}
	wait = func() bool {
		defer f.Close()
		return await(f, unix.POLLRDHUP) == nil
	}
	return wait, func() { _ = f.SetDeadline(time.Unix(1, 0)) }, nil
}

// rawSocket is a Socket for those who make system calls themselves.
type rawSocket struct{ s *Socket }

func (r rawSocket) Control(f func(fd uintptr)) error {
	if err := r.s.enter(); err != nil {
		return err
	}
	defer r.s.leave()
	f(uintptr(r.s.fd))
	return nil
}

func (r rawSocket) Read(f func(fd uintptr) bool) error {
	return r.do(f, &r.s.read, unix.POLLIN)
}

func (r rawSocket) Write(f func(fd uintptr) bool) error {
	return r.do(f, &r.s.write, unix.POLLOUT)
}

func (r rawSocket) do(f func(fd uintptr) bool, d *side, events int16) error {
	if err := r.s.enter(); err != nil {
		return err
	}
	defer r.s.leave()
	for !f(uintptr(r.s.fd)) {
		if err := r.s.wait(d, events); err != nil {
			return err
		}
	}
	return nil
}
