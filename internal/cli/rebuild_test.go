package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRebuild: the index of a target is lost behind a kill. What the journal and
// the segments have comes back.
func TestRebuild(t *testing.T) {
	w := newWorld(t)
	w.serve("--targets", "2")
	w.must("pool", "create", "p")
	w.must("dataset", "create", "p/d", "--type", "posix")
	root := filepath.Join(w.dir, "root")
	for i := 0; ; i++ { // until the journal takes what is written
		w.must("fs", "mkdir", fmt.Sprintf("p/d/w%d", i))
		if b, err := os.ReadFile(filepath.Join(root, "engine", "journal", "0000000000000001.log")); err == nil && len(bytes.TrimRight(b, "\x00")) > 4096 {
			break
		} else if i == 1000 {
			t.Fatal("the journal takes nothing")
		}
	}
	for i := range 12 {
		w.write(fmt.Sprintf("in/%02d", i), strings.Repeat(fmt.Sprint(i), 10+3000*(i%2)))
	}
	w.must("fs", "import", "in", "p/d/in")
	if r := w.daos("system", "rebuild", "1", "--root", root); r.code == 0 || !strings.Contains(r.stderr, "is using this root") {
		t.Fatalf("beside a server: %v", r)
	}
	w.stop(syscall.SIGKILL)
	if r := w.daos("system", "rebuild", "1", "--root", root); r.code == 0 || !strings.Contains(r.stderr, "move the damaged index away first") {
		t.Fatalf("with its index there: %v", r)
	}
	if r := w.daos("system", "rebuild", "7", "--root", root); r.code == 0 || !strings.Contains(r.stderr, "there is no target 7") {
		t.Fatalf("a target that is not there: %v", r)
	}
	if r := w.daos("system", "rebuild", "1", "--root", w.path("in")); r.code == 0 || !strings.Contains(r.stderr, "no root folder of a server") {
		t.Fatalf("another folder: %v", r)
	}
	index := filepath.Join(root, "engine", "target-1", "index")
	if err := os.Rename(index, filepath.Join(w.dir, "damaged")); err != nil {
		t.Fatal(err)
	}
	if r := w.daos("serve", "--targets", "2", "--root", root, "--listen", "127.0.0.1:0"); r.code == 0 || !strings.Contains(r.stderr, "daos system rebuild 1") {
		t.Fatalf("a server without the index: %v", r)
	}
	if s := w.must("system", "rebuild", "1", "--root", root); !strings.Contains(s, "target 1 has an index") {
		t.Fatal(s)
	}
	w.serve("--targets", "2")
	w.must("fs", "export", "p/d/in", "out")
	if r := w.sh("diff -r in out"); r.code != 0 {
		t.Fatal(r)
	}
	w.must("system", "scrub")
}
