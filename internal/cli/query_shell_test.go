package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A prompt begins a line; it is drawn again with every letter.
const prompt = `\n\r*daos> $`

// shellWorld is a world with a tensor dataset p/t@v1 and a KV dataset p/pairs.
func shellWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.serve()
	w.must("pool", "create", "p")
	w.write("t.csv", "label,quality,name\n3,0.5,ann\n1,0.25,bob\n3,,cid\n2,-1,\n")
	w.must("tensor", "import", "t.csv", "p/train", "--create", "-q")
	w.must("snapshot", "create", "p/train", "v1")
	w.must("kv", "create", "p/pairs")
	return w
}

// A person at a terminal: statements of many lines, completion, errors, Ctrl-C
// at the prompt, the history, also of the next shell.
func TestShell_OnATerminal(t *testing.T) {
	w := shellWorld(t)
	x := w.terminal(160, "query", "shell")
	x.expect(prompt)

	x.send("SELECT label, count(*) AS n\r")
	x.expect(` \.\.\.> $`)
	x.send("FROM \"p/train\" GROUP BY label ORDER BY label;\r")
	if got := x.expect(prompt); !strings.Contains(got, "label  n") || !strings.Contains(got, "    3  2") || !strings.Contains(got, "rows in") {
		t.Errorf("a table and what was done were expected:\n%s", got)
	}

	// Tab: the address, its snapshot, then a column of it.
	x.send("select * from \"p/tr\t")
	x.expect(`p/train`)
	x.send("@\t")
	x.expect(`@v1`)
	x.send("\" where qual\t")
	x.expect(`where quality`)
	x.send(" > 0.3;\r")
	if got := x.expect(prompt); !strings.Contains(got, "ann") || strings.Contains(got, "bob") {
		t.Errorf("what was completed did not run:\n%s", got)
	}

	// An error has a mark and the nearest name, and the shell goes on.
	x.send("select lable from \"p/train\";\r")
	if got := x.expect(prompt); !strings.Contains(got, "label") || !strings.Contains(got, "^") {
		t.Errorf("the error does not help:\n%s", got)
	}
	x.send(".tabels\r")
	if got := x.expect(prompt); !strings.Contains(got, "did you mean .tables?") {
		t.Errorf("the error does not help:\n%s", got)
	}
	x.send("select 1 +\r")
	x.expect(`\.\.\.> $`)
	x.send("\x03") // Ctrl-C drops what was typed
	x.expect(prompt)
	x.send(".tables\r")
	if got := x.expect(prompt); !strings.Contains(got, `"p/pairs"`) || !strings.Contains(got, "tensor") {
		t.Errorf("tables:\n%s", got)
	}
	x.send("\x04")
	if code := x.wait(); code != 0 {
		t.Errorf("Ctrl-D: exit %d", code)
	}

	name := filepath.Join(w.dir, ".local", "state", "daos", "query_history")
	st, err := os.Stat(name)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("the history: %v, %v", st, err)
	}
	b, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(b), "SELECT label, count(*) AS n FROM \"p/train\" GROUP BY label ORDER BY label;\n") {
		t.Errorf("the statement of two lines is no line of the history: %v\n%s", err, b)
	}
	y := w.terminal(160, "query", "shell")
	y.expect(prompt)
	y.send("\x1b[A") // up
	y.expect(`daos> \.tables$`)
	y.send("\r")
	y.expect(prompt)
	y.send(".quit\r")
	if code := y.wait(); code != 0 {
		t.Errorf(".quit: exit %d", code)
	}
}

// Ctrl-C ends the statement that runs, on the server too, and not the shell.
func TestShell_CtrlC(t *testing.T) {
	w := shellWorld(t)
	x := w.terminal(120, "query", "shell")
	x.expect(prompt)
	// 10^15 sums: nothing that ends by itself.
	x.send("select sum(a.range * b.range * c.range) from range(100000) a, range(100000) b, range(100000) c;\r")
	for {
		if r := w.daos("query", "ps", "--format", "ndjson"); strings.Contains(r.stdout, "range(100000)") {
			break
		}
	}
	x.send("\x03")
	x.expect(`canceled\s+` + prompt)
	for {
		if r := w.daos("query", "ps", "--format", "ndjson"); !strings.Contains(r.stdout, "range(100000)") {
			break
		}
	}
	x.send("select 41 + 1 as answer;\r")
	if got := x.expect(prompt); !strings.Contains(got, "42") {
		t.Errorf("the shell does not go on:\n%s", got)
	}
	// Another at the prompt, where nothing runs, does not end it either.
	if err := x.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	x.send(".timing\r")
	x.expect(`\.timing is on\s+` + prompt)
	x.send("\x04")
	if code := x.wait(); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// SIGTERM ends a shell at its prompt and gives the terminal back as it was.
func TestShell_Terminated(t *testing.T) {
	w := shellWorld(t)
	x := w.terminal(80, "query", "shell")
	x.expect(prompt)
	echoes := func() bool {
		mode, err := unix.IoctlGetTermios(int(x.pty.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return mode.Lflag&unix.ECHO != 0 && mode.Lflag&unix.ICANON != 0 && mode.Lflag&unix.ISIG != 0
	}
	if echoes() {
		t.Fatal("lines are not edited")
	}
	if err := x.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	x.wait()
	if st, ok := x.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !st.Signaled() || st.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", x.cmd.ProcessState)
	}
	if !echoes() {
		t.Error("the terminal is left as editing needs it")
	}
}

// What a statement has read so far is shown on a terminal while its result goes
// to a file, and wiped at the end.
func TestQuery_ProgressOnATerminal(t *testing.T) {
	w := shellWorld(t)
	sql := `select sum(a.range * b.range) as n, max(t.label) as m from range(100000) a, range(500) b, "p/train" t`
	x := w.terminal(100, "query", "sql", sql, "-o", "out.csv")
	x.expect(`rows scanned, .* read  \d`)
	x.expect(`1 rows? in`)
	if code := x.wait(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if b, err := os.ReadFile(w.path("out.csv")); err != nil || !strings.HasPrefix(string(b), "n,m\n") {
		t.Errorf("%q, %v", b, err)
	}
	// Bytes are not for a terminal.
	y := w.terminal(100, "query", "find", "p/train", "--format", "parquet")
	y.expect(`not for a terminal; name a file with -o, or use a pipe`)
	if code := y.wait(); code != 2 {
		t.Errorf("exit %d", code)
	}
}
