package engine_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine"
	"daos/engine/object"
)

// lines is a log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

// TestStoppedTarget: what a stopped target has in the journal stays there until
// the next start; the others go on with a journal whose files take turns, and
// nothing is logged with every round.
func TestStoppedTarget(t *testing.T) {
	mem := vfs.NewCrashableMem()
	f, log := &faults{}, &lines{}
	o := engine.Options{Root: "/r", FS: errorfs.Wrap(mem, f), Targets: 3, SweepEvery: 5 * time.Millisecond, SyncEvery: 5 * time.Millisecond,
		Window: time.Nanosecond, Logger: slog.New(slog.NewTextHandler(log, nil)), JournalBytes: 16 << 10}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	broken, d := create(t, e, 1, 1), create(t, e, 2, 1)
	for _, id := range []object.DatasetID{1, 2} {
		if err := e.SetPins(id, nil); err != nil {
			t.Fatal(err)
		}
	}
	journaled(t, mem, "/r", d)
	// Keys that are on target 0 alone, and keys of target 1.
	on := putOn(t, e, d, 100, 20, 20)
	for _, name := range on[1] { // so that the last of them are not in its index for sure
		commit(t, d, put(many, name, 200))
	}
	f.set(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo {
			if strings.Contains(op.Path, "target-1/") {
				return syscall.EIO
			}
		}
		return nil
	})
	// Deferred bytes can never be made durable there.
	tx := &object.Tx{Deferred: true}
	for i := range 20 {
		tx.Writes = append(tx.Writes, put(many, fmt.Sprint("d", i), 2000))
	}
	_, _ = broken.Commit(t.Context(), tx)
	for deadline := time.Now().Add(20 * time.Second); e.Stats()[1].Failed == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("target 1 goes on")
		}
	}
	f.set(nil)

	newest := func() string {
		names, err := mem.List("/r/journal")
		if err != nil {
			t.Fatal(err)
		}
		return slices.Max(slices.DeleteFunc(names, func(s string) bool { return !strings.HasSuffix(s, ".log") }))
	}
	written := 0
	for deadline := time.Now().Add(20 * time.Second); newest() < "0000000000000020.log"; written++ {
		if time.Now().After(deadline) {
			t.Fatalf("the journal has come to %s", newest())
		}
		commit(t, d, put(many, on[0][written%len(on[0])], 101+written%900))
	}
	log.mu.Lock()
	said := map[string]int{}
	for _, s := range log.all {
		_, msg, _ := strings.Cut(s, "msg=")
		said[msg]++
	}
	log.mu.Unlock()
	for msg, n := range said {
		if n > 2 && !strings.Contains(msg, "index stopped") { // that is said of each write that was under way
			t.Errorf("%d times: %s", n, msg)
		}
	}

	disk := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	lost := disk.CrashClone(vfs.CrashCloneCfg{})
	_ = e.Close() // says that a target has failed
	o.FS, o.SweepEvery = lost, -1
	// Another one loses its index too: the file that has stayed is no hindrance.
	if err := lost.RemoveAll("/r/target-0/index"); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.RebuildTarget(t.Context(), o, 0, func(error) {}); err != nil {
		t.Fatal(err)
	}
	if e, err = engine.Open(o); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	o.FS = disk
	if e, err = engine.Open(o); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if d, err = e.OpenDataset(2); err != nil {
		t.Fatal(err)
	}
	at := now(t, d)
	for _, name := range on[1] {
		if v, err := value(t, d, at, many, name); err != nil || len(v) != 200 {
			t.Fatalf("%s of the target that had stopped: %d bytes, %v", name, len(v), err)
		}
	}
	for i := max(0, written-len(on[0])); i < written; i++ {
		if v, err := value(t, d, at, many, on[0][i%len(on[0])]); err != nil || len(v) != 101+i%900 {
			t.Fatalf("write %d: %d bytes, %v", i, len(v), err)
		}
	}
	if _, err := e.Scrub(t.Context(), 0, func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
}
