package engine_test

import (
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine"
	"daos/internal/fault"
)

func readAll(t *testing.T, f vfs.FS, name string) []byte {
	t.Helper()
	h, err := f.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	b, err := io.ReadAll(h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// journaled waits until the journal takes what is written: it begins with the
// first write, and until then targets sync one by one.
func journaled(t *testing.T, f vfs.FS, root string, d *engine.Dataset) {
	t.Helper()
	size := func() (n int) {
		names, err := f.List(f.PathJoin(root, "journal"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.HasSuffix(name, ".log") {
				continue
			}
			n += len(strings.TrimRight(string(readAll(t, f, f.PathJoin(root, "journal", name))), "\x00"))
		}
		return n
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		commit(t, d, put(many, "first", 10))
		if size() > 100 {
			return
		}
	}
	t.Fatal("the journal takes nothing")
}

// TestJournal_PowerLossTakesTheIndexes: with every unsynced byte gone, what was
// answered is there, from the journal.
func TestJournal_PowerLossTakesTheIndexes(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := engine.Options{Root: "/r", FS: mem, Targets: 4, SweepEvery: -1, SyncEvery: time.Hour, Logger: quiet()}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d := create(t, e, 1, 1)
	journaled(t, mem, "/r", d)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				commit(t, d, put(many, fmt.Sprintf("k%d-%d", g, i), 20+i), put(one, fmt.Sprintf("k%d-%d", g, i), 20+i),
					put(many, fmt.Sprintf("other%d-%d", g, i), 20+i))
			}
		})
	}
	wg.Wait()
	disk := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{"first", "second"} {
		o.FS = disk
		e, err := engine.Open(o)
		if err != nil {
			t.Fatal(again, err)
		}
		d, err := e.OpenDataset(1)
		if err != nil {
			t.Fatal(err)
		}
		at := now(t, d)
		for g := range 4 {
			for i := range 50 {
				for _, key := range []string{fmt.Sprintf("k%d-%d", g, i), fmt.Sprintf("other%d-%d", g, i)} {
					if v, err := value(t, d, at, many, key); err != nil || len(v) != 20+i {
						t.Fatalf("%s opening: %s: %d bytes, %v", again, key, len(v), err)
					}
				}
			}
		}
		if u, err := e.Usage(1); err != nil || u.Bytes != e.Accounted(1) {
			t.Fatalf("%s opening: usage %+v, accounted %d, %v", again, u, e.Accounted(1), err)
		}
		if _, err := e.Scrub(t.Context(), 0, func(err error) { t.Error(err) }); err != nil {
			t.Fatal(err)
		}
		// The power goes again, right after the recovery.
		disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestJournal_RootWithoutOne: a root of format 1 is taken over.
func TestJournal_RootWithoutOne(t *testing.T) {
	root := t.TempDir()
	o := engine.Options{Root: root, Targets: 2, SweepEvery: -1, Logger: quiet()}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, create(t, e, 1, 1), put(many, "old", 10))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(root, "engine")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(b), "\n")
	if !strings.Contains(body, `"Format": 2`) {
		t.Fatalf("the superblock is %s", body)
	}
	body = strings.Replace(body, `"Format": 2`, `"Format": 1`, 1)
	sum := crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli))
	if err := os.WriteFile(name, fmt.Appendf(nil, "DAOS engine 1 %08x\n%s", sum, body), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "journal")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e, err = engine.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.OpenDataset(1)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := value(t, d, now(t, d), many, "old"); err != nil || len(v) != 10 {
			t.Fatal(v, err)
		}
		journaled(t, vfs.Default, root, d)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if b, err = os.ReadFile(name); err != nil || !strings.Contains(string(b), `"Format": 2`) {
		t.Fatalf("the superblock is %s, %v", b, err)
	}
	if err := os.RemoveAll(filepath.Join(root, "journal")); err != nil {
		t.Fatal(err)
	}
	_, err = engine.Open(o)
	wantKind(t, err, fault.Corrupt, "journal is missing")
}

// TestJournal_TargetOfAnotherTime: a target that was put back alone is refused,
// not read with a hole in it.
func TestJournal_TargetOfAnotherTime(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := engine.Options{Root: "/r", FS: mem, Targets: 2, SweepEvery: -1, SyncEvery: time.Hour, Logger: quiet(), JournalBytes: 64 << 10}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d := create(t, e, 1, 1)
	journaled(t, mem, "/r", d)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	old := mem.CrashClone(vfs.CrashCloneCfg{})
	if e, err = engine.Open(o); err != nil {
		t.Fatal(err)
	}
	if d, err = e.OpenDataset(1); err != nil {
		t.Fatal(err)
	}
	journaled(t, mem, "/r", d)
	oldest := func() string {
		names, err := mem.List("/r/journal")
		if err != nil {
			t.Fatal(err)
		}
		return slices.Min(slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".log") }))
	}
	// Until the first of it is gone from the journal, and so long that the folder
	// has been synced since.
	last, gone := oldest(), 0
	for i := 0; gone < 2; i++ {
		commit(t, d, put(many, fmt.Sprintf("k%d", i%1000), 100))
		if now := oldest(); now != last {
			last, gone = now, gone+1
		}
	}
	for range 3 { // of target 0, to the file that has just been begun
		commit(t, d, put(many, "first", 100))
	}
	disk := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := disk.RemoveAll("/r/target-0"); err != nil {
		t.Fatal(err)
	}
	if ok, err := vfs.Clone(old, disk, "/r/target-0", "/r/target-0"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	o.FS = disk
	_, err = engine.Open(o)
	wantKind(t, err, fault.Corrupt, "the journal goes on at", "restore the whole root")
}
