package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"daos/internal/cli"
	"daos/internal/sqltask"
	"daos/internal/sqlworker"
)

// asDaos in the environment makes the test binary the daos binary, so that the
// tests run real processes of exactly this code.
const asDaos = "DAOS_CLI_TEST_MAIN"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == sqltask.Command { // a statement of a server that is this binary
		os.Exit(sqlworker.Run(os.Stdin, os.Stdout))
	}
	if os.Getenv(asDaos) == "1" {
		os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// world is a folder of its own with a runtime folder, a `daos` in its PATH and,
// once started, a server.
type world struct {
	t      *testing.T
	dir    string
	server *exec.Cmd
	exited chan error
	log    bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	// Short, because the path of a unix socket is at most 107 bytes long.
	dir, err := os.MkdirTemp("", "dw")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir}
	t.Cleanup(func() {
		w.stop(syscall.SIGTERM)
		if t.Failed() && w.log.Len() > 0 {
			t.Logf("the server's log:\n%s", w.log.String())
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	for _, d := range []string{"run", "bin", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "bin", "daos")); err != nil {
		t.Fatal(err)
	}
	return w
}

// path is a path in the folder that commands run in.
func (w *world) path(name string) string { return filepath.Join(w.dir, "work", name) }

func (w *world) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	if name == "daos" {
		cmd.Path, cmd.Err = filepath.Join(w.dir, "bin", "daos"), nil
	}
	cmd.Dir = filepath.Join(w.dir, "work")
	cmd.Env = []string{
		asDaos + "=1", "XDG_RUNTIME_DIR=" + filepath.Join(w.dir, "run"), "HOME=" + w.dir, "TZ=UTC", "LC_ALL=C",
		"PATH=" + filepath.Join(w.dir, "bin") + ":" + os.Getenv("PATH"),
	}
	if dir := os.Getenv("GOCOVERDIR"); dir != "" {
		cmd.Env = append(cmd.Env, "GOCOVERDIR="+dir)
	}
	return cmd
}

// serve starts a server and waits until it says that it is ready.
func (w *world) serve(args ...string) {
	w.t.Helper()
	cmd := w.command(context.Background(), "daos", append([]string{"serve", "--root", filepath.Join(w.dir, "root"), "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = &w.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.server, w.exited = cmd, make(chan error, 1)
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		ready <- line
		w.exited <- cmd.Wait()
	}()
	select {
	case line := <-ready:
		if !strings.HasPrefix(line, "ready") {
			w.t.Fatalf("the server said %q and not ready; its log:\n%s", line, w.log.String())
		}
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		w.t.Fatal("the server was not ready within a minute")
	}
}

// stop ends the server and waits for its process.
func (w *world) stop(sig syscall.Signal) {
	if w.server == nil {
		return
	}
	_ = w.server.Process.Signal(sig)
	select {
	case err := <-w.exited:
		if sig == syscall.SIGTERM && err != nil {
			w.t.Errorf("the server ended with %v after SIGTERM", err)
		}
	case <-time.After(time.Minute):
		_ = w.server.Process.Kill()
		w.t.Error("the server did not end within a minute")
	}
	w.server = nil
}

// result is what a command did.
type result struct {
	stdout, stderr string
	code           int
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// daos runs one command.
func (w *world) daos(args ...string) result {
	w.t.Helper()
	return finish(w.t, w.command(w.t.Context(), "daos", args...))
}

// must runs one command that has to succeed, and returns its output.
func (w *world) must(args ...string) string {
	w.t.Helper()
	r := w.daos(args...)
	if r.code != 0 {
		w.t.Fatalf("daos %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// sh runs a line of shell.
func (w *world) sh(line string) result {
	w.t.Helper()
	return finish(w.t, w.command(w.t.Context(), "bash", "-c", line))
}

func (w *world) write(name, content string) {
	w.t.Helper()
	p := w.path(name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (r result) String() string { return fmt.Sprintf("exit %d\n%s%s", r.code, r.stdout, r.stderr) }
