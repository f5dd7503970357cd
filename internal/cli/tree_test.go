package cli_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// seeded is a random source whose seed is printed and can be given again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DAOS_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("DAOS_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 7))
}

// oddTree makes a folder with everything that trips copiers.
func oddTree(t *testing.T, rng *rand.Rand, root string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dirs := []string{"", "empty", "ünïcødé/日本語", "spaces and \"quotes\"", "new\nline", "bytes-\xff\xfe", "deep/a/b/c/d/e/f"}
	for i, d := range dirs {
		check(os.MkdirAll(filepath.Join(root, d), 0o755))
		for k := range 3 {
			b := make([]byte, rng.IntN(3000))
			for j := range b {
				b[j] = byte(rng.Uint32())
			}
			if d == "empty" {
				continue
			}
			p := filepath.Join(root, d, fmt.Sprintf("file-%d-%d", i, k))
			check(os.WriteFile(p, b, 0o644))
			check(os.Chmod(p, os.FileMode(0o400+rng.IntN(0o400))))
			check(os.Chtimes(p, time.Time{}, time.Unix(int64(rng.IntN(2e9)), int64(rng.IntN(1e9)))))
		}
	}
	check(os.WriteFile(filepath.Join(root, "nothing"), nil, 0o644))
	check(os.WriteFile(filepath.Join(root, "bad-\xc3\x28"), []byte("not UTF-8"), 0o644))
	// Sparse: data at both ends and in the middle of 24 MiB.
	f, err := os.Create(filepath.Join(root, "sparse"))
	check(err)
	for _, off := range []int64{0, 11<<20 + 5, 24<<20 - 4} {
		_, err := f.WriteAt([]byte("data"), off)
		check(err)
	}
	check(f.Close())
	big := bytes.Repeat([]byte("0123456789abcdef"), 700<<10)
	check(os.WriteFile(filepath.Join(root, "big"), big, 0o600))
	for name, target := range map[string]string{"link": "big", "dangling": "nowhere/at/all", "out": "/etc/passwd", "up": "../../..", "dirlink": "deep"} {
		check(os.Symlink(target, filepath.Join(root, name)))
	}
	check(syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644))
	for i := len(dirs) - 1; i > 0; i-- {
		p := filepath.Join(root, dirs[i])
		check(os.Chmod(p, os.FileMode(0o700+rng.IntN(0o100))))
		check(os.Chtimes(p, time.Time{}, time.Unix(int64(rng.IntN(2e9)), 0)))
	}
}

// listing describes a tree: path, type, mode, size, mtime, content or target.
func listing(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		desc := fmt.Sprintf("%v %d", st.Mode(), st.ModTime().UnixNano())
		switch {
		case st.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			desc += " " + to
		case st.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			desc += fmt.Sprintf(" %d %x", len(b), md5.Sum(b))
		case st.Mode()&os.ModeNamedPipe != 0:
			return nil // is not copied
		}
		out[rel] = desc
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameTree(t *testing.T, want, got map[string]string) {
	t.Helper()
	for p, w := range want {
		if g, ok := got[p]; !ok {
			t.Errorf("%q is missing", p)
		} else if g != w {
			t.Errorf("%q: want %s, got %s", p, w, g)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%q is too many", p)
		}
	}
}

type counts struct {
	Files   int `json:"files"`
	Skipped int `json:"skipped"`
	Special int `json:"special_skipped"`
}

func parseCounts(t *testing.T, s string) counts {
	t.Helper()
	var c counts
	if err := json.Unmarshal([]byte(s), &c); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return c
}

func TestImportExport_OddTreeComesBackTheSame(t *testing.T) {
	rng := seeded(t)
	w := newWorld(t)
	w.serve()
	src, dst := w.path("src"), w.path("dst")
	oddTree(t, rng, src)
	want := listing(t, src)
	w.must("pool", "create", "p")
	w.must("dataset", "create", "p/d", "--type", "posix")
	c := parseCounts(t, w.must("fs", "import", "src", "p/d/below/here/", "--json"))
	if c.Special != 1 || c.Skipped != 0 {
		t.Errorf("the pipe was not left out, or something was skipped: %+v", c)
	}
	again := parseCounts(t, w.must("fs", "import", "src", "p/d/below/here", "--json"))
	if again.Files != 0 || again.Skipped == 0 {
		t.Errorf("a second import copied %d files and skipped %d entries", again.Files, again.Skipped)
	}
	w.must("fs", "export", "p/d/below/here", "dst")
	sameTree(t, want, listing(t, dst))
	if st, err := os.Stat(filepath.Join(dst, "sparse")); err != nil || st.Sys().(*syscall.Stat_t).Blocks*512 > 4<<20 {
		t.Errorf("the sparse file came back full: %v, %v", st, err)
	}
	if r := w.daos("fs", "export", "p/d/below/here", "dst", "--json"); r.code != 0 || parseCounts(t, r.stdout).Files != 0 {
		t.Errorf("a second export copied again: %v", r)
	}

	// A changed file, and only that, is copied again, and replaces the old one.
	if err := os.Chmod(filepath.Join(src, "nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.write("src/nothing", "now something")
	if c := parseCounts(t, w.must("fs", "import", "src", "p/d/below/here", "--json")); c.Files != 1 {
		t.Errorf("after one change %d files were copied", c.Files)
	}
	if got := w.must("fs", "cat", "p/d/below/here/nothing"); got != "now something" {
		t.Errorf("the dataset has %q", got)
	}
	if r := w.daos("fs", "import", "src", "p/d/below/here", "--no-replace"); r.code != 4 {
		t.Errorf("--no-replace over existing files: %v", r)
	}
}

// Nothing outside the destination is written through what lies there.
func TestExport_StaysInside(t *testing.T) {
	w := newWorld(t)
	w.serve()
	w.must("pool", "create", "p")
	w.must("dataset", "create", "p/d", "--type", "posix")
	w.write("src/sub/file", "from the dataset")
	w.must("fs", "import", "src", "p/d")
	w.write("outside/file", "untouched")
	if err := os.MkdirAll(w.path("dst"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", w.path("dst/sub")); err != nil {
		t.Fatal(err)
	}
	if r := w.daos("fs", "export", "p/d", "dst"); r.code == 0 {
		t.Errorf("a folder that is a link out was taken: %v", r)
	}
	if b, err := os.ReadFile(w.path("outside/file")); err != nil || string(b) != "untouched" {
		t.Errorf("a file outside was written: %q, %v", b, err)
	}
}

// smallTree makes many small files in a few folders.
func smallTree(t *testing.T, root string, n int) {
	t.Helper()
	for i := range n {
		p := filepath.Join(root, strconv.Itoa(i%7), strconv.Itoa(i)+".bin")
		if i < 7 {
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(p, bytes.Repeat([]byte{byte(i)}, 200+i%4000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// An import that is killed leaves whole files only, and the next one finishes it.
func TestImport_KilledAndRunAgain(t *testing.T) {
	rng := seeded(t)
	w := newWorld(t)
	w.serve()
	smallTree(t, w.path("src"), 5000)
	w.must("pool", "create", "p")
	w.must("dataset", "create", "p/d", "--type", "posix")
	kills := 0
	for range 6 {
		cmd := w.command(context.Background(), "daos", "fs", "import", "src", "p/d", "-q")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case <-done:
		case <-time.After(time.Duration(30+rng.IntN(400)) * time.Millisecond):
			_ = cmd.Process.Kill()
			<-done
			kills++
		}
	}
	t.Logf("%d of 6 imports were killed", kills)
	c := parseCounts(t, w.must("fs", "import", "src", "p/d", "--json"))
	if c.Files+c.Skipped != 5000 {
		t.Errorf("%d copied and %d there already of 5000", c.Files, c.Skipped)
	}
	w.must("fs", "export", "p/d", "dst", "-q")
	sameTree(t, listing(t, w.path("src")), listing(t, w.path("dst")))
}

// A server that is killed while an import runs, and comes back, costs a wait
// and nothing else: the import goes on and every file is there once.
func TestImport_GoesOnWhenTheServerIsKilled(t *testing.T) {
	rng := seeded(t)
	w := newWorld(t)
	sock := filepath.Join(w.dir, "s")
	w.serve("--socket", sock)
	smallTree(t, w.path("src"), 5000)
	w.must("pool", "create", "p")
	w.must("dataset", "create", "p/d", "--type", "posix")
	cmd := w.command(t.Context(), "daos", "fs", "import", "src", "p/d", "--json", "--addr", "unix:"+sock, "--retry-for", "60s")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	kills := 0
	for finished := false; !finished && kills < 3; {
		select {
		case err := <-done:
			finished = true
			done <- err
		case <-time.After(time.Duration(50+rng.IntN(300)) * time.Millisecond):
			w.stop(syscall.SIGKILL)
			kills++
			w.serve("--socket", sock)
		}
	}
	if err := <-done; err != nil {
		t.Fatalf("after %d kills of the server: %v\n%s%s", kills, err, out.String(), errs.String())
	}
	t.Logf("the server was killed %d times", kills)
	if c := parseCounts(t, out.String()); c.Files != 5000 {
		t.Errorf("%d files of 5000 were reported", c.Files)
	}
	w.must("fs", "export", "p/d", "dst", "-q", "--addr", "unix:"+sock)
	sameTree(t, listing(t, w.path("src")), listing(t, w.path("dst")))
}

// A staged upload that is killed leaves the old file, whole.
func TestPut_KilledLeavesTheOldFile(t *testing.T) {
	rng := seeded(t)
	w := newWorld(t)
	w.serve()
	w.must("pool", "create", "p")
	w.must("dataset", "create", "p/d", "--type", "posix")
	w.write("old", "the old content")
	w.must("fs", "put", "old", "p/d/x")
	big := make([]byte, 64<<20)
	for i := range big {
		big[i] = byte(rng.Uint32())
	}
	w.write("new", string(big))
	cmd := w.command(context.Background(), "daos", "fs", "put", "new", "p/d/x", "-q")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(60*time.Millisecond, func() { _ = cmd.Process.Kill() })
	killed := cmd.Wait() != nil
	r := finish(t, w.command(t.Context(), "daos", "fs", "cat", "p/d/x"))
	// It may have been killed behind its last step.
	if r.stdout != string(big) && (!killed || r.stdout != "the old content") {
		t.Errorf("killed %v: the file has %d bytes", killed, len(r.stdout))
	}
	// From standard input, through a pipe, whole.
	in := exec.CommandContext(t.Context(), "cat", w.path("new"))
	pipe, err := in.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Start(); err != nil {
		t.Fatal(err)
	}
	put := w.command(t.Context(), "daos", "fs", "put", "-", "p/d/x", "-q")
	put.Stdin = pipe
	if r := finish(t, put); r.code != 0 {
		t.Fatal(r)
	}
	if err := in.Wait(); err != nil {
		t.Fatal(err)
	}
	w.must("fs", "get", "p/d/x", "back")
	b, err := os.ReadFile(w.path("back"))
	if err != nil || !bytes.Equal(b, big) {
		t.Errorf("%d bytes came back, %v", len(b), err)
	}
}
