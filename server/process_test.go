package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"daos/internal/client"
	"daos/internal/fault"
	"daos/internal/sqltask"
	queryv1 "daos/proto/gen/daos/query/v1"
	systemv1 "daos/proto/gen/daos/system/v1"
	"daos/server"
	"daos/server/config"
	"daos/server/wire"
)

// TestMain runs the server itself where a test has started this binary for that.
// It is the process of a statement too, as one of a build without cgo: with the
// real binary statements are tested in pydaos/tests/test_sql.py.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == sqltask.Command {
		err := fault.New(fault.Unsupported, "query.sql", "statement", "this build of daos has no SQL")
		if sqltask.WriteFrame(os.Stdout, &queryv1.SqlReply{Error: wire.Detail(err)}) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv("DAOS_TEST_SERVE") == "" {
		os.Exit(m.Run())
	}
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.Flags(fs)
	err := fs.Parse(os.Args[1:])
	var cfg config.Config
	if err == nil {
		cfg, err = config.Load(fs, os.LookupEnv)
	}
	if err == nil {
		err = server.Run(context.Background(), cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(fault.KindOf(err).ExitCode())
	}
}

// process is a server in a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	line   string // that says ready
	stderr *bytes.Buffer
	exited chan struct{}
	err    error // of Wait, after exited
}

// spawn starts a server process and waits until it is ready, or has ended.
func (s *site) spawn(args ...string) *process {
	s.t.Helper()
	p := &process{t: s.t, stderr: &bytes.Buffer{}, exited: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], append([]string{"--root", s.root, "--targets", "2", "--listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Env = append(os.Environ(), "DAOS_TEST_SERVE=1", "XDG_RUNTIME_DIR="+s.runtime)
	p.cmd.Stderr = p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	p.line, _ = bufio.NewReader(out).ReadString('\n') // empty: it has ended
	go func() { p.err = p.cmd.Wait(); close(p.exited) }()
	s.t.Cleanup(func() { p.kill() })
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // may have ended
	<-p.exited
}

// wait waits for the end and returns the exit status.
func (p *process) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("the server is still there after %s; it said:\n%s", limit, p.stderr)
		return -1
	}
}

func (p *process) field(name string) string {
	p.t.Helper()
	for f := range strings.FieldsSeq(p.line) {
		if v, ok := strings.CutPrefix(f, name+"="); ok {
			return v
		}
	}
	p.t.Fatalf("no %s in %q; it said:\n%s", name, p.line, p.stderr)
	return ""
}

func TestReadyLineAndRegistration(t *testing.T) {
	s := newSite(t)
	p := s.spawn()
	if !strings.HasPrefix(p.line, "ready ") {
		t.Fatalf("it said %q and\n%s", p.line, p.stderr)
	}
	files, err := filepath.Glob(filepath.Join(s.runtime, "daos", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("registered: %v %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var e client.Entry
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	if e.Root != s.root || e.Address != p.field("listen") || e.Socket != p.field("socket") || e.PID != int64(p.cmd.Process.Pid) || e.TokenFile != filepath.Join(s.root, "token") {
		t.Errorf("registered %+v, ready line %q", e, p.line)
	}
	for path, mode := range map[string]os.FileMode{s.root: 0o700, e.Socket: 0o600, e.TokenFile: 0o600, filepath.Dir(e.Socket): 0o700} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v; want %v", path, info.Mode().Perm(), err, mode)
		}
	}
	// Clients of this user find it by themselves.
	found, err := client.Find(t.Context(), client.Where{Runtime: filepath.Join(s.runtime, "daos")})
	if err != nil || found.Addr != e.Socket {
		t.Errorf("found %+v, %v", found, err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(10 * time.Second); code != 0 {
		t.Errorf("ended with status %d:\n%s", code, p.stderr)
	}
	for _, path := range []string{files[0], e.Socket} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
}

func TestLockNamesTheOther(t *testing.T) {
	s := newSite(t)
	first := s.spawn()
	second := s.spawn()
	if code := second.wait(10 * time.Second); code != fault.Exists.ExitCode() {
		t.Errorf("the second server ended with status %d", code)
	}
	if want := fmt.Sprintf("pid %d", first.cmd.Process.Pid); !strings.Contains(second.stderr.String(), want) {
		t.Errorf("the second server says %q, which does not name %s", second.stderr, want)
	}
	first.kill()
	if third := s.spawn(); third.line == "" { // after kill -9, over its stale socket
		t.Errorf("no start after kill -9: %s", third.stderr)
	}
}

func TestRefusesAFolderOfOtherThings(t *testing.T) {
	s := newSite(t)
	s.root = t.TempDir()
	if err := os.WriteFile(filepath.Join(s.root, "thesis.tex"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := s.spawn()
	if code := p.wait(10 * time.Second); code != fault.Invalid.ExitCode() || !strings.Contains(p.stderr.String(), "thesis.tex") {
		t.Errorf("status %d, said %s", code, p.stderr)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newSite(t)
	p := s.spawn("--listen", l.Addr().String())
	if code := p.wait(10 * time.Second); code != fault.Exists.ExitCode() || !strings.Contains(p.stderr.String(), "in use") {
		t.Errorf("status %d, said %s", code, p.stderr)
	}
}

func TestEphemeralEndsWithItsLastClient(t *testing.T) {
	s := newSite(t)
	p := s.spawn("--ephemeral", "--linger", "300ms")
	ctx := t.Context()
	cc := dial(t, "unix:"+p.field("socket"), "")
	sys := systemv1.NewSystemServiceClient(cc)
	must[*systemv1.PingResponse](t)(sys.Ping(ctx, &systemv1.PingRequest{}))
	select { // longer than the first client may take: only the connection keeps it
	case <-p.exited:
		t.Fatalf("it ended under its client:\n%s", p.stderr)
	case <-time.After(2500 * time.Millisecond):
	}
	must[*systemv1.PingResponse](t)(sys.Ping(ctx, &systemv1.PingRequest{}))
	_ = cc.Close()
	if code := p.wait(10 * time.Second); code != 0 {
		t.Errorf("status %d:\n%s", code, p.stderr)
	}
	lonely := s.spawn("--ephemeral", "--linger", "50ms")
	if code := lonely.wait(10 * time.Second); code != 0 {
		t.Errorf("without any client: status %d:\n%s", code, lonely.stderr)
	}
}
