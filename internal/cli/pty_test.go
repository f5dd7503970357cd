package cli_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a command under a pseudo terminal, with everything that it has
// written so far.
type terminal struct {
	t   *testing.T
	cmd *exec.Cmd
	pty *os.File

	mu   sync.Mutex
	came *sync.Cond
	seen strings.Builder
	read int // of seen, by expect
	end  bool
}

// openTerminal starts a command under a terminal of a size.
func openTerminal(t *testing.T, cmd *exec.Cmd, columns int) *terminal {
	t.Helper()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(pty.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: uint16(columns)}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(cmd.Env, "TERM=xterm")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	x := &terminal{t: t, cmd: cmd, pty: pty}
	x.came = sync.NewCond(&x.mu)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := pty.Read(b)
			x.mu.Lock()
			x.seen.Write(b[:n])
			x.end = err != nil
			x.came.Broadcast()
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		pty.Close()
	})
	return x
}

// escapes is what moves a cursor and sets colours.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\x07`)

// screen is what was written behind what expect has found, without escapes.
func (x *terminal) screen() string {
	return escapes.ReplaceAllString(x.seen.String()[x.read:], "")
}

// expect waits until a text comes that matches, and returns what came up to it.
func (x *terminal) expect(pattern string) string {
	x.t.Helper()
	re := regexp.MustCompile(pattern)
	late := false
	timer := time.AfterFunc(30*time.Second, func() {
		x.mu.Lock()
		late = true
		x.came.Broadcast()
		x.mu.Unlock()
	})
	defer timer.Stop()
	x.mu.Lock()
	defer x.mu.Unlock()
	for {
		s := x.screen()
		if at := re.FindStringIndex(s); at != nil {
			x.read = x.seen.Len() // prompts are waited for: nothing is behind them
			return s[:at[1]]
		}
		if late || x.end {
			x.t.Fatalf("%q did not come; the screen:\n%s", pattern, s)
		}
		x.came.Wait()
	}
}

// send types.
func (x *terminal) send(s string) {
	x.t.Helper()
	if _, err := x.pty.WriteString(s); err != nil {
		x.t.Fatal(err)
	}
}

// wait waits for the end of the command and returns its exit status.
func (x *terminal) wait() int {
	x.t.Helper()
	done := make(chan struct{})
	go func() {
		_ = x.cmd.Wait() // the status is asked for
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		x.mu.Lock()
		defer x.mu.Unlock()
		x.t.Fatalf("it did not end; the screen:\n%s", x.screen())
	}
	return x.cmd.ProcessState.ExitCode()
}

func (w *world) terminal(columns int, args ...string) *terminal {
	w.t.Helper()
	return openTerminal(w.t, w.command(context.Background(), "daos", args...), columns)
}
