package service

import (
	"bytes"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"daos/internal/fault"
	"daos/internal/sqltask"
	queryv1 "daos/proto/gen/daos/query/v1"
)

const (
	// spareAfter is how long a statement runs before the process of the next one is
	// started beside it; else that is done when it has ended, and
	// spareBehind later: what the client does with the result goes first.
	spareAfter  = 200 * time.Millisecond
	spareBehind = 30 * time.Millisecond
	// spareIdle is how long a process waits for a statement that doesn't come, where
	// SQL.Idle says nothing.
	spareIdle = 5 * time.Minute
)

// spares keeps one process ahead of the statements: to start one and to make its
// database takes longer than most of them. There is none before the first
// statement.
type spares struct {
	mu     sync.Mutex
	ready  *sqlProcess
	idle   *time.Timer
	closed bool
	dying  sync.WaitGroup
}

// sqlProcess is a process that runs one statement, in a folder of its own.
type sqlProcess struct {
	cmd   *osexec.Cmd
	in    *os.File
	out   *os.File
	said  *saidBuffer
	dir   string
	ended chan struct{} // closed when it is gone
}

// start starts a process, which makes its database and waits for its task.
func (s *SQL) start() (*sqlProcess, error) {
	dir, err := os.MkdirTemp(s.TempRoot, "sql-")
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "query.sql", s.TempRoot, "no folder can be made for what the statement spills").Because(err)
	}
	p := &sqlProcess{said: &saidBuffer{}, dir: dir, ended: make(chan struct{})}
	if err := p.begin(s.Command); err != nil {
		_ = os.RemoveAll(dir) // what stays is removed at the next start
		return nil, fault.New(fault.Internal, "query.sql", "statement", "its process can't be started").Because(err)
	}
	limits := &queryv1.SqlTask{TempDir: dir, TempBytes: s.TempBytes, Threads: uint32(s.Threads), MemoryBytes: s.Memory}
	_ = sqltask.WriteFrame(p.in, limits) // a process that is gone shows when it is asked for
	return p, nil
}

// begin starts it. Its ends of the pipes are ours to close: the process is waited
// for while they are read.
func (p *sqlProcess) begin(command []string) error {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = theirIn.Close() }() // the process has its own
	out, theirOut, err := os.Pipe()
	if err != nil {
		_ = in.Close()
		return err
	}
	defer func() { _ = theirOut.Close() }()
	widen(out)
	p.in, p.out = in, out
	p.cmd = osexec.Command(command[0], command[1:]...)
	p.cmd.Env = []string{"HOME=" + p.dir, "TMPDIR=" + p.dir, "LANG=C.UTF-8"}
	p.cmd.Dir = p.dir
	p.cmd.WaitDelay = 2 * time.Second
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirIn, theirOut, p.said
	if err := p.cmd.Start(); err != nil {
		_, _ = in.Close(), out.Close()
		return err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its state
		close(p.ended)
	}()
	return nil
}

// widen gives a pipe room for a part of a result, so that neither side waits for
// the other at each 64 KiB.
func widen(pipe *os.File) {
	if raw, err := pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) }) // else it stays as it is
	}
}

// kill ends it at once; nothing of it is needed any more.
func (p *sqlProcess) kill() { _ = p.cmd.Process.Kill() } // it may have ended

// bury waits until it is gone, and removes its folder.
func (p *sqlProcess) bury() {
	<-p.ended
	_, _ = p.in.Close(), p.out.Close()
	_ = os.RemoveAll(p.dir) // what stays is removed at the next start
}

// alive reports whether it has not ended by itself.
func (p *sqlProcess) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// reading is what it says that it reads: the Parquet files that were open when it
// died.
func (p *sqlProcess) reading() string {
	b, err := os.ReadFile(filepath.Join(p.dir, sqltask.ReadingFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(b[:min(len(b), saidMost)]), ""))
}

// take is the process for a statement: the spare one, or one that is started now.
func (s *SQL) take() (*sqlProcess, error) {
	s.spares.mu.Lock()
	p := s.spares.ready
	s.spares.ready = nil
	s.spares.mu.Unlock()
	if p != nil && !p.alive() {
		p.bury()
		p = nil
	}
	if p != nil {
		return p, nil
	}
	return s.start()
}

// restock starts a process for the next statement where none waits.
func (s *SQL) restock() {
	x := &s.spares
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	wait := s.Idle
	if wait == 0 {
		wait = spareIdle
	}
	if x.idle == nil {
		x.idle = time.AfterFunc(wait, s.unstock)
	}
	x.idle.Reset(wait)
	if x.ready != nil && x.ready.alive() {
		return
	}
	if p, err := s.start(); err == nil { // else the next statement says why
		x.ready = p
	}
}

// unstock ends the process that waits.
func (s *SQL) unstock() {
	s.spares.mu.Lock()
	p := s.spares.ready
	s.spares.ready = nil
	s.spares.mu.Unlock()
	if p != nil {
		p.kill()
		p.bury()
	}
}

// done ends the process of a statement that has its answer: it has nothing left
// to do, and nobody waits until it is gone.
func (s *SQL) done(p *sqlProcess) {
	p.kill()
	_ = os.RemoveAll(p.dir) // and again when it is gone
	s.spares.dying.Add(1)
	go func() {
		defer s.spares.dying.Done()
		p.bury()
	}()
}

// Close ends the process that waits for a statement, and waits for those that
// end. No statement may begin any more.
func (s *SQL) Close() {
	x := &s.spares
	x.mu.Lock()
	x.closed = true
	if x.idle != nil {
		x.idle.Stop()
	}
	x.mu.Unlock()
	s.unstock()
	x.dying.Wait()
}

// saidMost is how much is kept of the beginning of what a process says, and of its
// end.
const saidMost = 1024

// saidBuffer keeps the beginning and the end of what a process says.
type saidBuffer struct {
	head []byte
	tail bytes.Buffer
}

func (t *saidBuffer) Write(p []byte) (int, error) {
	n := min(len(p), saidMost-len(t.head))
	t.head = append(t.head, p[:n]...)
	t.tail.Write(p[n:])
	if over := t.tail.Len() - saidMost; over > 0 {
		t.tail.Next(over)
	}
	return len(p), nil
}

// String is why a process ended, where it is Go that says so: not where in its code.
func (t *saidBuffer) String() string {
	s := string(t.head)
	for _, stack := range []string{"\n\ngoroutine ", "\n\nruntime stack:"} {
		if i := strings.Index(s, stack); i >= 0 {
			return ": " + strings.TrimSpace(strings.ToValidUTF8(s[:i], ""))
		}
	}
	if s = strings.TrimSpace(strings.ToValidUTF8(s+t.tail.String(), "")); s != "" {
		return ": " + s
	}
	return ""
}
