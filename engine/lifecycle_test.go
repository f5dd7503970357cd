package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
)

var (
	one  = object.MakeID(object.ClassS1, 0, 1)
	many = object.MakeID(object.ClassSX, 0, 2)
)

func put(oid object.ID, dkey string, n int) object.Write {
	return object.Write{Op: object.OpPut, OID: oid, Dkey: []byte(dkey), Akey: []byte("a"), Data: []byte(strings.Repeat("v", n))}
}

func create(t testing.TB, e *engine.Engine, id object.DatasetID, pool object.PoolID) *engine.Dataset {
	t.Helper()
	d, err := e.CreateDataset(t.Context(), id, pool)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func commit(t testing.TB, d *engine.Dataset, w ...object.Write) object.Epoch {
	t.Helper()
	r, err := d.Commit(t.Context(), &object.Tx{Writes: w})
	if err != nil {
		t.Fatal(err)
	}
	return r.Epoch
}

// putOn puts keys until each of the first targets has some that are on it alone,
// as many as least says, and returns those of each target.
func putOn(t testing.TB, e *engine.Engine, d *engine.Dataset, n int, least ...int) [][]string {
	t.Helper()
	on := make([][]string, len(e.Stats()))
	lack := func() bool {
		for i, n := range least {
			if len(on[i]) < n {
				return true
			}
		}
		return false
	}
	for i := 0; lack(); i++ {
		before := e.Stats()
		name := fmt.Sprint("k", i)
		commit(t, d, put(many, name, n))
		for j, s := range e.Stats() {
			if s.Prepares > before[j].Prepares {
				on[j] = append(on[j], name)
			}
		}
	}
	return on
}

func value(t testing.TB, d *engine.Dataset, at object.Epoch, oid object.ID, dkey string) (string, error) {
	t.Helper()
	v, _, err := d.Get(t.Context(), at, oid, []byte(dkey), []byte("a"))
	return string(v), err
}

func now(t testing.TB, d *engine.Dataset) object.Epoch {
	t.Helper()
	at, err := d.ReadEpoch(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func wantKind(t testing.TB, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("%q does not say %q", err, w)
		}
	}
}

func TestReopen(t *testing.T) {
	root := t.TempDir()
	o := engine.Options{Root: root, Targets: 2, SweepEvery: -1, Logger: quiet()}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Open(o); !fault.Is(err, fault.Overloaded) {
		t.Fatalf("a second engine on one root: %v", err)
	}
	d := create(t, e, 7, 3)
	if _, err := e.CreateDataset(t.Context(), 7, 3); !fault.Is(err, fault.Exists) {
		t.Fatalf("an id twice: %v", err)
	}
	if _, err := e.OpenDataset(8); !fault.Is(err, fault.NotFound) {
		t.Fatalf("an unknown id: %v", err)
	}
	if err := e.SetQuota(7, 1000); err != nil {
		t.Fatal(err)
	}
	first := commit(t, d, put(one, "k", 10), put(many, "k", 20))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Commit(t.Context(), &object.Tx{Writes: []object.Write{put(one, "x", 1)}}); !fault.Is(err, fault.Unreachable) {
		t.Fatalf("commit after close: %v", err)
	}
	o.Targets = 3
	_, err = engine.Open(o)
	wantKind(t, err, fault.Invalid, "2 targets", "--targets 2")
	o.Targets = 0
	e = open(t, o)
	if d, err = e.OpenDataset(7); err != nil {
		t.Fatal(err)
	}
	if v, err := value(t, d, first, many, "k"); err != nil || len(v) != 20 {
		t.Fatalf("after reopen: %q %v", v, err)
	}
	if next := commit(t, d, put(one, "k", 10)); next <= first {
		t.Fatalf("epoch %d after %d", next, first)
	}
	if _, err := d.Commit(t.Context(), &object.Tx{Writes: []object.Write{put(one, "big", 1000)}}); !fault.Is(err, fault.NoSpace) {
		t.Fatalf("the quota was forgotten: %v", err)
	}
	if got := fmt.Sprint(e.Datasets()); got != "[7]" {
		t.Fatalf("datasets %s", got)
	}
}

func TestQuotaIsExact(t *testing.T) {
	e := open(t, engine.Options{Root: "/r", FS: vfs.NewMem(), Logger: quiet()})
	a, b := create(t, e, 1, 9), create(t, e, 2, 9)
	for _, err := range []error{e.SetQuota(1, 60_000), e.SetPoolQuota(9, 100_000)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// Writers at the limit, side by side: what is let in is exactly the quota.
	var in [2]atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			d := []*engine.Dataset{a, b}[g%2]
			for i := range 30 {
				_, err := d.Commit(t.Context(), &object.Tx{Writes: []object.Write{put(many, fmt.Sprint(g, i), 1000)}})
				if err == nil {
					in[g%2].Add(1000)
				} else if !fault.Is(err, fault.NoSpace) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	ua, _ := e.Usage(1)
	ub, _ := e.Usage(2)
	pool, err := e.PoolUsage(9)
	if err != nil || ua.Bytes != in[0].Load() || ub.Bytes != in[1].Load() || pool.Bytes != 100_000 || ua.Bytes > 60_000 {
		t.Fatalf("dataset 1: %d (let in %d), dataset 2: %d (%d), pool %d, %v", ua.Bytes, in[0].Load(), ub.Bytes, in[1].Load(), pool.Bytes, err)
	}
	if ua.Bytes < 60_000 {
		if _, err := a.Commit(t.Context(), &object.Tx{Writes: []object.Write{put(many, "more", 1)}}); !fault.Is(err, fault.NoSpace) {
			t.Fatalf("the pool is full: %v", err)
		}
	}
	// A refused one leaves no reservation behind, a failed condition neither.
	if err := e.SetPoolQuota(9, 0); err != nil {
		t.Fatal(err)
	}
	if err := e.SetQuota(1, ua.Bytes+10); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := a.Commit(t.Context(), &object.Tx{Writes: []object.Write{put(one, "k", 11)}})
		wantKind(t, err, fault.NoSpace, "dataset 1", fmt.Sprint(ua.Bytes+10), "raise the quota")
		_, err = a.Commit(t.Context(), &object.Tx{Writes: []object.Write{put(one, "k", 10)},
			Conds: []object.Cond{{Kind: object.DkeyExists, OID: one, Dkey: []byte("none")}}})
		wantKind(t, err, fault.NotFound)
	}
	req := object.RequestID{4}
	if _, err := a.Commit(t.Context(), &object.Tx{Request: req, Writes: []object.Write{put(one, "k", 10)}}); err != nil {
		t.Fatalf("exactly up to the quota: %v", err)
	}
	if r, err := a.Commit(t.Context(), &object.Tx{Request: req, Writes: []object.Write{put(one, "k", 10)}}); err != nil || !r.Replayed {
		t.Fatalf("the retry of what filled the quota: %+v %v", r, err)
	}
	// A full dataset can be emptied: rename a name, punch an object.
	if _, err := a.Commit(t.Context(), &object.Tx{Writes: []object.Write{{Op: object.OpPunchDkey, OID: many, Dkey: []byte("00")}, put(one, "trash", 50)}}); err != nil {
		t.Fatalf("removing in a full dataset: %v", err)
	}
}

func TestPinsHorizonAndSweep(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return at }
	advance := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); at = at.Add(d) }
	fs := vfs.NewMem()
	o := engine.Options{Root: "/r", FS: fs, Now: clock, SweepEvery: -1, Logger: quiet()}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d := create(t, e, 1, 1)
	e1 := commit(t, d, put(one, "k", 1))
	advance(time.Minute)
	e2 := commit(t, d, put(one, "k", 2))
	advance(time.Minute)
	e3 := commit(t, d, put(one, "k", 3))
	if err := e.SetPins(1, []object.Epoch{e2}); err != nil {
		t.Fatal(err)
	}
	advance(30 * time.Minute)
	s, err := e.Sweep(t.Context())
	if err != nil || s.Versions != 1 || s.Bytes != 1 {
		t.Fatalf("sweep: %+v %v, want the first version", s, err)
	}
	read := func(want string) {
		t.Helper()
		var got string
		for _, ep := range []object.Epoch{e1, e2, e3, now(t, d)} {
			v, err := value(t, d, ep, one, "k")
			switch {
			case fault.Is(err, fault.EpochGone):
				got += "x"
			case err != nil:
				t.Fatal(err)
			default:
				got += fmt.Sprint(len(v))
			}
		}
		if got != want {
			t.Fatalf("reads give %s, want %s", got, want)
		}
	}
	read("x2x3")
	if err := e.SetPins(1, []object.Epoch{e2, e1}); !fault.Is(err, fault.EpochGone) {
		t.Fatalf("pinning what has been swept: %v", err)
	}
	if _, err := d.Commit(t.Context(), &object.Tx{ReadAt: e1, Reads: []object.Read{{OID: one}}}); !fault.Is(err, fault.EpochGone) {
		t.Fatalf("validating reads of a swept epoch: %v", err)
	}
	if u, _ := e.Usage(1); u.Bytes != 5 || u.Records != 2 || e.Accounted(1) != 5 {
		t.Fatalf("usage after the sweep: %+v, accounted %d", u, e.Accounted(1))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	// Horizon and pins survive; nothing is swept before the pins are told again.
	e = open(t, o)
	if d, err = e.OpenDataset(1); err != nil {
		t.Fatal(err)
	}
	read("x2x3")
	if err := e.SetPins(1, []object.Epoch{e1}); !fault.Is(err, fault.EpochGone) {
		t.Fatalf("pinning what had been swept before the restart: %v", err)
	}
	if s, err := e.Sweep(t.Context()); err != nil || s.Versions != 0 {
		t.Fatalf("swept before the pins were known: %+v %v", s, err)
	}
	if err := e.SetPins(1, []object.Epoch{e2}); err != nil {
		t.Fatal(err)
	}
	read("x2x3")
	if err := e.SetPins(1, nil); err != nil {
		t.Fatal(err)
	}
	if s, err := e.Sweep(t.Context()); err != nil || s.Versions != 1 || s.Bytes != 2 {
		t.Fatalf("sweep after the pin is gone: %+v %v", s, err)
	}
	read("xxx3")
	// Inside the window everything stays.
	e4 := commit(t, d, put(one, "k", 4))
	advance(9 * time.Minute)
	if s, err := e.Sweep(t.Context()); err != nil || s.Versions != 0 {
		t.Fatalf("swept inside the window: %+v %v", s, err)
	}
	if v, err := value(t, d, e4-1, one, "k"); err != nil || len(v) != 3 {
		t.Fatalf("inside the window: %q %v", v, err)
	}
}

func TestDestroy(t *testing.T) {
	fs := vfs.NewMem()
	e := open(t, engine.Options{Root: "/r", FS: fs, Logger: quiet()})
	a, b := create(t, e, 1, 1), create(t, e, 2, 1)
	commit(t, a, put(one, "k", 5000), put(many, "k", 1))
	commit(t, b, put(one, "k", 7))
	if err := e.DestroyDataset(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	_, err := a.Commit(t.Context(), &object.Tx{Writes: []object.Write{put(one, "k", 1)}})
	wantKind(t, err, fault.NotFound, "destroyed")
	_, err = a.ReadEpoch(t.Context(), 0)
	wantKind(t, err, fault.NotFound)
	_, err = e.OpenDataset(1)
	wantKind(t, err, fault.NotFound)
	if u, err := e.PoolUsage(1); err != nil || u.Bytes != 7 {
		t.Fatalf("pool usage %+v %v", u, err)
	}
	if v, err := value(t, b, now(t, b), one, "k"); err != nil || len(v) != 7 {
		t.Fatalf("the neighbour: %q %v", v, err)
	}
}

// faults fails operations on demand.
type faults struct {
	mu   sync.Mutex
	fail func(op errorfs.Op) error
}

func (f *faults) String() string { return "faults" }

func (f *faults) set(fn func(op errorfs.Op) error) { f.mu.Lock(); defer f.mu.Unlock(); f.fail = fn }

func (f *faults) MaybeError(op errorfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(op)
}

// TestFailedSync: a target whose disk fails stops writing; nothing unknown is
// ever read, reads go on, a restart decides.
func TestFailedSync(t *testing.T) {
	for _, c := range []struct {
		name, path string
		size, stop int // of the values; how many targets stop
	}{
		{"bulk bytes of a target", "target-1/", 2000, 1},
		{"the journal of all", "/journal/", 4, 3},
	} {
		t.Run(c.name, func(t *testing.T) { failedSync(t, c.path, c.size, c.stop) })
	}
}

func failedSync(t *testing.T, path string, size, stop int) {
	mem, f := vfs.NewCrashableMem(), &faults{}
	o := engine.Options{Root: "/r", FS: errorfs.Wrap(mem, f), Targets: 3, SweepEvery: -1, Logger: quiet()}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d := create(t, e, 1, 1)
	journaled(t, mem, "/r", d)
	// The next file is whole too: else its sync fails first, and the journal is
	// out of use before a batch is in it.
	for deadline := time.Now().Add(20 * time.Second); !bytes.Contains(readAll(t, mem, "/r/journal/synced"), []byte("0000000000000002.log")); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the journal has one file")
		}
	}
	var all []object.Write
	for i := range 12 {
		all = append(all, put(many, fmt.Sprint("k", i), 3))
	}
	before := commit(t, d, all...)
	f.set(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo {
			if strings.Contains(op.Path, path) {
				return syscall.EIO
			}
		}
		return nil
	})
	for i := range all {
		all[i].Data = []byte(strings.Repeat("h", size))
	}
	if _, err := d.Commit(t.Context(), &object.Tx{Writes: all}); err == nil {
		t.Fatal("a commit was answered although a sync failed")
	}
	f.set(nil)
	_, err = d.Commit(t.Context(), &object.Tx{Writes: []object.Write{put(many, "k0", 1)}})
	wantKind(t, err, fault.Internal, "restart")
	at := now(t, d)
	if at < before {
		t.Fatalf("reads went back to %d, %d had been answered", at, before)
	}
	for i := range all {
		if v, err := value(t, d, at, many, fmt.Sprint("k", i)); err != nil || v != "vvv" {
			t.Fatalf("k%d reads %q %v", i, v, err)
		}
	}
	failed := 0
	for _, s := range e.Stats() {
		if s.Failed != nil {
			failed++
		}
	}
	if failed != stop {
		t.Fatalf("%d targets have stopped", failed)
	}
	_ = e.Close() // says that a target has failed
	o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	e = open(t, o)
	if d, err = e.OpenDataset(1); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range all {
		v, err := value(t, d, now(t, d), many, fmt.Sprint("k", i))
		if err != nil {
			t.Fatal(err)
		}
		seen[v] = true
	}
	if len(seen) != 1 {
		t.Fatalf("half of a transaction after the restart: %v", seen)
	}
	commit(t, d, all...)
}

// TestDiskFull: writes are refused whole, reads go on, space that comes back is used.
func TestDiskFull(t *testing.T) {
	mem, f := vfs.NewMem(), &faults{}
	e := open(t, engine.Options{Root: "/r", FS: errorfs.Wrap(mem, f), Targets: 3, Logger: quiet()})
	d := create(t, e, 1, 1)
	first := commit(t, d, put(one, "k", 5), put(many, "k", 5))
	big := make([]object.Write, 12)
	for i := range big {
		big[i] = put(many, fmt.Sprint("big", i), 100_000)
	}
	f.set(func(op errorfs.Op) error {
		if strings.Contains(op.Path, "target-1/seg") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	})
	_, err := d.Commit(t.Context(), &object.Tx{Writes: big})
	wantKind(t, err, fault.NoSpace)
	if v, err := value(t, d, now(t, d), many, "k"); err != nil || len(v) != 5 {
		t.Fatalf("reads on a full disk: %q %v", v, err)
	}
	for i := range big {
		if _, err := value(t, d, now(t, d), many, fmt.Sprint("big", i)); !fault.Is(err, fault.NotFound) {
			t.Fatalf("a piece of the refused transaction is there: %v", err)
		}
	}
	if u, _ := e.Usage(1); u.Bytes != 10 || e.Accounted(1) != 10 {
		t.Fatalf("usage %+v, accounted %d", u, e.Accounted(1))
	}
	f.set(nil)
	if at := commit(t, d, big...); at <= first {
		t.Fatalf("epoch %d after %d", at, first)
	}
}

func TestDamagedRoot(t *testing.T) {
	for _, name := range []string{"engine", "clock", "datasets"} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			o := engine.Options{Root: "/r", FS: mem, Targets: 2, SweepEvery: -1, Logger: quiet()}
			e, err := engine.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			create(t, e, 1, 1)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			path := "/r/" + name
			info, err := mem.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			w, err := mem.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			for _, off := range []int64{20, info.Size()/2 + 20} { // both slots of the clock
				b := make([]byte, 1)
				if _, err := w.ReadAt(b, off); err != nil {
					t.Fatal(err)
				}
				b[0] ^= 0x55 // whatever stands there, it changes
				if _, err := w.WriteAt(b, off); err != nil {
					t.Fatal(err)
				}
			}
			_ = w.Close()
			if _, err := engine.Open(o); !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), path) {
				t.Fatalf("damaged %s: %v", name, err)
			}
			if err := mem.Remove(path); err != nil {
				t.Fatal(err)
			}
			if _, err := engine.Open(o); !fault.Is(err, fault.Corrupt) {
				t.Fatalf("missing %s: %v", name, err)
			}
		})
	}
	if _, err := engine.Open(engine.Options{}); !fault.Is(err, fault.Invalid) {
		t.Fatalf("no root: %v", err)
	}
	if _, err := engine.Open(engine.Options{Root: "/r", FS: vfs.NewMem(), Targets: 5000}); !fault.Is(err, fault.Invalid) {
		t.Fatalf("5000 targets: %v", err)
	}
}

// TestCanceledWaiters: a call whose context ends while it waits leaves, and
// nobody behind it hangs.
func TestCanceledWaiters(t *testing.T) {
	e := open(t, engine.Options{Root: t.TempDir(), Logger: quiet()})
	d := create(t, e, 1, 1)
	var wg sync.WaitGroup
	var canceled, done atomic.Int64
	for g := range 16 {
		wg.Go(func() {
			for i := range 40 {
				ctx, cancel := contextFor(t, g, i)
				_, err := d.Commit(ctx, &object.Tx{Conds: []object.Cond{{Kind: object.AkeyAbsent, OID: one, Dkey: []byte("none"), Akey: []byte("a")}},
					Writes: []object.Write{put(one, "none-written", 3), {Op: object.OpPunchDkey, OID: one, Dkey: []byte("none")}}})
				cancel()
				switch {
				case err == nil:
					done.Add(1)
				case fault.Is(err, fault.Canceled, fault.Timeout):
					canceled.Add(1)
				default:
					t.Errorf("commit: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if done.Load() == 0 || canceled.Load() == 0 {
		t.Errorf("%d done, %d canceled: the test shows nothing", done.Load(), canceled.Load())
	}
	commit(t, d, put(one, "end", 1))
}

// contextFor ends at once, soon, or never.
func contextFor(t *testing.T, g, i int) (context.Context, context.CancelFunc) {
	switch (g + i) % 4 {
	case 0:
		return context.WithTimeout(t.Context(), time.Duration(i*20)*time.Microsecond)
	case 1:
		return context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond/4)
	}
	return context.WithCancel(t.Context())
}
