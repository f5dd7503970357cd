package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine/journal"
	"daos/internal/fault"
)

const ledger = "/j/synced"

func content(t *testing.T, f vfs.FS, name string) []byte {
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

func write(t *testing.T, f vfs.FS, name string, b []byte) {
	t.Helper()
	h, err := f.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Write(bytes.Clone(b)); err != nil { // a vfs.File may change it, and does under the race detector
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 2))
}

// TestPowerLossWithAnOlderLedger cuts the power at every write of a journal
// whose files take turns; the ledger, which is not synced, is any earlier one.
func TestPowerLossWithAnOlderLedger(t *testing.T) {
	rng := random(t)
	mem := vfs.NewCrashableMem()
	type cut struct {
		disk        *vfs.MemFS
		kept, acked uint64
		op          string
	}
	var (
		mu                    sync.Mutex
		cuts                  []cut
		ledgers               [][]byte
		appended, kept, acked uint64
	)
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if op.Path == ledger {
			ledgers = append(ledgers, content(t, mem, ledger))
			return nil
		}
		disk := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[rng.IntN(3)], RNG: rng})
		if n := len(ledgers); n > 0 {
			write(t, disk, ledger, ledgers[max(0, n-1-rng.IntN(12))])
		}
		cuts = append(cuts, cut{disk, kept, acked, fmt.Sprintf("%v %s", op.Kind, op.Path)})
		return nil
	})
	l := start(t, options(errorfs.Wrap(mem, inject), 24<<10, func() error {
		mu.Lock()
		defer mu.Unlock()
		kept = appended
		return nil
	}))
	for n := uint64(1); n <= 150; n++ {
		g := add(t, l, 1, n, bytes.Repeat(payload(1, n), 20))
		mu.Lock()
		appended = n
		mu.Unlock()
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		acked = n
		mu.Unlock()
	}
	if err := l.Close(false); err != nil {
		t.Fatal(err)
	}
	for _, c := range cuts {
		after, err := journal.Open(options(c.disk, 0, nil))
		if err != nil {
			t.Fatalf("cut at %s: %v", c.op, err)
		}
		got := replayed(t, after, 1, c.kept)
		if c.kept+uint64(len(got)) < c.acked {
			t.Fatalf("cut at %s: %d in the index, %d answered, %d in the journal", c.op, c.kept, c.acked, len(got))
		}
		for i, e := range got {
			if n := c.kept + uint64(i) + 1; e.number != n || e.payload != string(bytes.Repeat(payload(1, n), 20)) {
				t.Fatalf("cut at %s: record %d is %d", c.op, n, e.number)
			}
		}
	}
	t.Logf("%d power losses", len(cuts))
}

// TestNamesAreUsedAnew: a run that wrote nothing lets generations begin anew;
// the ledger of the run before must not be met after a power loss.
func TestNamesAreUsedAnew(t *testing.T) {
	mem := vfs.NewCrashableMem()
	one := func(l *journal.Log, n uint64) {
		if err := add(t, l, 0, n, payload(0, n)).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	first := start(t, options(mem, 0, nil))
	one(first, 1)
	first.Stop() // and is killed
	f, err := mem.OpenReadWrite(ledger, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // as the kernel does after a while
		t.Fatal(err)
	}
	start(t, options(mem, 0, nil)).Stop()
	one(start(t, options(mem, 0, nil)), 2)
	after, err := journal.Open(options(mem.CrashClone(vfs.CrashCloneCfg{}), 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := replayed(t, after, 0, 1); len(got) != 1 {
		t.Fatalf("%d records", len(got))
	}
}

// grouped writes groups of records, one sync each, and returns the disk as a
// kill leaves it, the file's bytes and where the last group begins.
func grouped(t *testing.T, groups [][]int) (disk *vfs.MemFS, name string, b []byte, last int) {
	t.Helper()
	mem := vfs.NewMem()
	l := start(t, options(mem, 64<<10, nil))
	numbers := map[uint16]uint64{}
	last = 4096
	size := 0
	for _, sizes := range groups {
		last += (size + 4095) &^ 4095
		size = 0
		var waits []*journal.Group
		for i, n := range sizes {
			target := uint16(i % 2)
			numbers[target]++
			waits = append(waits, add(t, l, target, numbers[target], bytes.Repeat([]byte{byte(i + 1)}, n)))
			size += 24 + n
		}
		for _, g := range waits {
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	name = "/j/0000000000000001.log"
	return mem, name, content(t, mem, name), last
}

// TestTornGroup loses sectors of the last group, which nobody was answered:
// whatever is left, the journal opens, and each target gets a beginning.
func TestTornGroup(t *testing.T) {
	rng := random(t)
	// The second and fourth records end where a block does.
	_, name, whole, last := grouped(t, [][]int{{50}, {300, 4096 - 300 - 48, 100, 8192 - 100 - 48, 700, 30}})
	end := last + 4096*4
	for range 3000 {
		b := bytes.Clone(whole)
		for at := last; at < end; at += 512 {
			switch rng.IntN(6) {
			case 0:
				clear(b[at : at+512])
			case 1:
				copy(b[at:at+512], bytes.Repeat([]byte{0xa5}, 512))
			}
		}
		mem := vfs.NewMem()
		if err := mem.MkdirAll("/j", 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, mem, name, b)
		l, err := journal.Open(options(mem, 0, nil))
		if err != nil {
			t.Fatal(err)
		}
		for target := range uint16(2) {
			got := replayed(t, l, target, 0)
			if target == 0 && len(got) == 0 {
				t.Fatal("what was answered before is lost")
			}
			for i, e := range got {
				if e.number != uint64(i+1) {
					t.Fatalf("target %d: record %d is number %d", target, i, e.number)
				}
			}
		}
	}
}

// TestFlips inverts bits of a journal that was killed. With the ledger, all
// that was answered is there or the file is named; without it, what precedes
// the last group is, and never are other bytes read.
func TestFlips(t *testing.T) {
	rng := random(t)
	disk, name, whole, last := grouped(t, [][]int{{50, 5000}, {300, 20, 900}, {4072}, {100, 200}})
	synced := last + 4096
	want := map[uint16][]entry{}
	l, err := journal.Open(options(disk, 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	for target := range uint16(2) {
		want[target] = replayed(t, l, target, 0)
	}
	for range 4000 {
		at := rng.IntN(synced + 4096)
		b := bytes.Clone(whole)
		b[at] ^= 1 << rng.IntN(8)
		mem := vfs.NewMem()
		if err := mem.MkdirAll("/j", 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, mem, name, b)
		known := rng.IntN(2) == 0
		if known {
			write(t, mem, ledger, content(t, disk, ledger))
		}
		l, err := journal.Open(options(mem, 0, nil))
		got := map[uint16][]entry{}
		for target := uint16(0); target < 2 && err == nil; target++ {
			err = l.Replay(target, 0, func(n uint64, p []byte) error {
				got[target] = append(got[target], entry{n, string(p)})
				return nil
			})
		}
		if err != nil {
			if !fault.Is(err, fault.Corrupt, fault.Unsupported) || !strings.Contains(err.Error(), name) || at >= synced {
				t.Fatalf("a bit at %d: %v", at, err)
			}
			continue
		}
		lost := 0
		for target, w := range want {
			for i, e := range got[target] {
				if e != w[i] {
					t.Fatalf("a bit at %d: target %d: record %d is %d", at, target, i, e.number)
				}
			}
			lost += len(w) - len(got[target])
		}
		if known && at < synced {
			t.Fatalf("a bit at %d, which was synced: not named", at)
		}
		if lost > 0 && at < last {
			t.Fatalf("a bit at %d: %d records are lost, and nobody says so", at, lost)
		}
	}
}

// TestFullDisk: a file that can't be made leaves nothing, and the journal goes
// on when there is room again.
func TestFullDisk(t *testing.T) {
	for _, where := range []string{"spare", ".log", "/j"} {
		t.Run(where, func(t *testing.T) {
			var mu sync.Mutex
			full, failed := false, 0
			inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if !full || !strings.HasSuffix(op.Path, where) {
					return nil
				}
				switch op.Kind {
				case errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData:
					failed++
					return errors.Join(syscall.ENOSPC)
				}
				return nil
			})
			mem := vfs.NewMem()
			full = true
			l := start(t, options(errorfs.Wrap(mem, inject), 16<<10, nil))
			l.Append(0, 1, payload(0, 1)) // asks for a file
			for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				mu.Lock()
				n := failed
				mu.Unlock()
				if n > 0 {
					break
				}
			}
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
				names, err := mem.List("/j")
				if err != nil {
					t.Fatal(err)
				}
				if s := strings.Join(names, " "); !strings.Contains(s, "spare") && !strings.Contains(s, ".log") {
					break
				} else if time.Now().After(deadline) {
					t.Fatalf("left behind: %s", s)
				}
			}
			mu.Lock()
			full = false
			mu.Unlock()
			if err := add(t, l, 0, 1, payload(0, 1)).Wait(); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(true); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestLaterGroupFirst: who waits for a group while one before it is still to be
// written, to the file before, returns when both are.
func TestLaterGroupFirst(t *testing.T) {
	l := start(t, options(vfs.NewMem(), 16<<10, nil))
	all := []*journal.Group{add(t, l, 0, 1, make([]byte, 900))}
	for n := uint64(2); all[0] == all[len(all)-1]; n++ {
		all = append(all, add(t, l, 0, n, make([]byte, 900)))
	}
	for i := len(all) - 1; i >= 0; i-- {
		if err := all[i].Wait(); err != nil || !all[0].Written() || !all[i].Written() {
			t.Fatalf("record %d: %v; written: %v, that of the first: %v", i+1, err, all[i].Written(), all[0].Written())
		}
	}
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
}

// TestManyWaiters: whoever appended hears of it, in whatever order they wait,
// twice, late, or beside each other, while files take turns.
func TestManyWaiters(t *testing.T) {
	rng := random(t)
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData {
			time.Sleep(50 * time.Microsecond)
		}
		return nil
	})
	l := start(t, options(errorfs.Wrap(vfs.NewMem(), inject), 16<<10, nil))
	var wg sync.WaitGroup
	for target := range uint16(16) {
		seed := rng.Uint64()
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 3))
			var open []*journal.Group
			number := uint64(0)
			for range 300 {
				if g := l.Append(target, number+1, make([]byte, rng.IntN(900))); g != nil {
					number++
					open = append(open, g)
					if rng.IntN(2) == 0 {
						wg.Go(func() {
							if err := g.Wait(); err != nil || !g.Written() {
								t.Errorf("target %d: %v, written %v", target, err, g.Written())
							}
						})
					}
				} else if len(open) == 0 {
					time.Sleep(20 * time.Microsecond)
				}
				for len(open) > rng.IntN(4) {
					i := rng.IntN(len(open))
					if err := open[i].Wait(); err != nil || !open[i].Written() {
						t.Errorf("target %d: %v, written %v", target, err, open[i].Written())
					}
					open = append(open[:i], open[i+1:]...)
				}
			}
			for _, g := range open {
				if err := g.Wait(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("somebody waits for ever")
	}
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
}

// TestIndexCantBeSynced: the journal tries again, says so once, and says when it
// goes on.
func TestIndexCantBeSynced(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	tries := 0
	o := options(vfs.NewMem(), 16<<10, func() error {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries <= 2 {
			return errors.New("no luck")
		}
		return nil
	})
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	l := start(t, o)
	for n := uint64(1); ; n++ {
		if err := add(t, l, 0, n, make([]byte, 900)).Wait(); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		done := tries > 3
		mu.Unlock()
		if done {
			break
		}
	}
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	if s := log.String(); strings.Count(s, "no luck") != 1 || strings.Count(s, "has room again") != 1 {
		t.Fatal(s)
	}
}
