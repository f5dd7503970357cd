package engine_test

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/internal/guardfs"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// act is one transaction of the history and what became of it.
type act struct {
	tx      *object.Tx
	acked   bool // durably
	epoch   object.Epoch
	pending bool // acked, but deferred and not synced yet
}

// sight is what a snapshot read saw of everything that is never deferred.
type sight struct {
	at   object.Epoch
	dump string
}

// image is the disks as a power loss leaves them, and what had been answered.
type image struct {
	fs     *vfs.MemFS
	acts   []act
	sights []sight
	top    object.Epoch // highest epoch answered in any way
	op     string
}

// outages takes images while a history runs.
type outages struct {
	mu     sync.Mutex
	mem    *vfs.MemFS
	rng    *rand.Rand
	on     bool
	n      int
	every  int
	acts   []act
	sights []sight
	top    object.Epoch
	images []image
	// What the ledgers of internal/guardfs were: they are not synced, so any
	// earlier one may be on the disk.
	ledgers map[string][][]byte
}

func (o *outages) String() string { return "outages" }

func (o *outages) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if path.Base(op.Path) == guardfs.LedgerName && op.Kind == errorfs.OpFileWriteAt {
		o.ledgers[op.Path] = append(o.ledgers[op.Path], fileBytes(o.mem, op.Path))
	}
	if o.n++; !o.on || o.n%o.every != 0 {
		return nil
	}
	percent := []int{0, 0, 30, 70, 100}[o.rng.IntN(5)]
	disk := o.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: o.rng})
	for _, name := range slices.Sorted(maps.Keys(o.ledgers)) {
		if all := o.ledgers[name]; o.rng.IntN(2) == 0 {
			older(disk, name, all[max(0, len(all)-1-o.rng.IntN(30))])
		}
	}
	o.images = append(o.images, image{
		fs:   disk,
		acts: append([]act(nil), o.acts...), sights: append([]sight(nil), o.sights...), top: o.top,
		op: fmt.Sprintf("write %d (%v %s), %d %% of unsynced data kept", o.n, op.Kind, op.Path, percent),
	})
	return nil
}

// fileBytes is what a file holds; nil if it can't be read.
func fileBytes(f vfs.FS, name string) []byte {
	h, err := f.Open(name)
	if err != nil {
		return nil
	}
	defer h.Close()
	b, _ := io.ReadAll(h)
	return b
}

// older replaces a file, if its folder is there.
func older(f vfs.FS, name string, b []byte) {
	if h, err := f.Create(name, vfs.WriteCategoryUnspecified); err == nil {
		_, _ = h.Write(b)
		_ = h.Close()
	}
}

// deferred is what has been answered and waits for a sync.
func (o *outages) deferred() (out []int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.acts {
		if o.acts[i].pending {
			out = append(out, i)
		}
	}
	return out
}

// durable notes that a sync or barrier was answered; the caller holds mu.
func (o *outages) durable(acts []int) {
	for _, i := range acts {
		o.acts[i].acked = true
	}
}

var (
	stableObjects = []object.ID{object.MakeID(object.ClassS1, 0, 1), object.MakeID(object.ClassSX, 0, 2)}
	stagedObject  = object.MakeID(object.ClassSX, 0, 3)
)

// history is n transactions over both classes: small and big values, arrays,
// punches, deferred ones and barriers. Each writes its own marker keys.
func history(rng *rand.Rand, n int) []act {
	var out []act
	for i := range n {
		tx := &object.Tx{Request: object.RequestID{7, byte(i), byte(i >> 8)}, Answer: fmt.Appendf(nil, "a%d", i)}
		oids := stableObjects
		if i%5 == 3 {
			tx.Deferred, oids = true, []object.ID{stagedObject}
		} else if i%5 == 4 {
			// On one target only: what it makes durable lies on the others.
			tx.Barrier = true
			tx.Writes = append(tx.Writes, put(stableObjects[0], fmt.Sprintf("mark-%d", i), 20))
			tx.Writes[0].Akey = []byte("m")
			out = append(out, act{tx: tx})
			continue
		}
		for _, oid := range oids {
			for j := range 1 + rng.IntN(3) {
				size := 10 + rng.IntN(100)
				if rng.IntN(4) == 0 {
					size = 2000 + rng.IntN(90_000)
				}
				data := []byte(strings.Repeat(fmt.Sprintf("<%d.%d>", i, j), size/5+1)[:size])
				tx.Writes = append(tx.Writes,
					object.Write{Op: object.OpPut, OID: oid, Dkey: fmt.Appendf(nil, "mark-%d-%d", i, j), Akey: []byte("m"), Data: data},
					object.Write{Op: object.OpWrite, OID: oid, Dkey: fmt.Appendf(nil, "array-%d", j), Akey: []byte("m"), Offset: rng.Uint64N(5000), Data: data})
			}
			if rng.IntN(5) == 0 {
				tx.Writes = append(tx.Writes, object.Write{Op: object.OpPunchDkey, OID: oid, Dkey: fmt.Appendf(nil, "array-%d", rng.IntN(3))})
			}
		}
		out = append(out, act{tx: tx})
	}
	return out
}

// marks counts the marker keys of a transaction that are visible.
func marks(t testing.TB, d *engine.Dataset, at object.Epoch, tx *object.Tx) (have, all int) {
	t.Helper()
	for _, w := range tx.Writes {
		if w.Op != object.OpPut {
			continue
		}
		all++
		v, _, err := d.Get(t.Context(), at, w.OID, w.Dkey, w.Akey)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			t.Fatalf("get %s: %v", w.Dkey, err)
		}
		if string(v) != string(w.Data) {
			t.Fatalf("get %s: other bytes", w.Dkey)
		}
		have++
	}
	return have, all
}

func dumpStable(t testing.TB, d *engine.Dataset, at object.Epoch) (out string) {
	for _, oid := range stableObjects {
		out += dump(t.Context(), t, d, at, oid, object.ListOptions{})
	}
	return out
}

// TestPowerLoss cuts the power at writes of a history (every one of them with
// DAOS_POWER_EVERY=1), reopens, and demands: what was answered is there and
// nothing is half; what was read at a snapshot reads the same; every call
// repeated happens once in all; clocks do not go back; all bytes verify.
func TestPowerLoss(t *testing.T) {
	seed := seeds("DAOS_POWER_SEED", uint64(time.Now().UnixNano()))
	t.Logf("DAOS_POWER_SEED=%d", seed)
	o := &outages{mem: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 5)), every: int(seeds("DAOS_POWER_EVERY", longer(13, 1))),
		ledgers: map[string][][]byte{}}
	options := engine.Options{Root: "/r", FS: errorfs.Wrap(o.mem, o), Targets: 3, SweepEvery: -1, SyncEvery: 50 * time.Millisecond, Logger: quiet(),
		JournalBytes: []int64{16 << 10, 64 << 10, 1 << 20}[seed%3]}
	e, err := engine.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.CreateDataset(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	o.acts = history(rand.New(rand.NewPCG(seed, 6)), 60)
	o.on = true
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			for i := g; i < len(o.acts); i += 3 {
				before := o.deferred()
				r, err := d.Commit(t.Context(), o.acts[i].tx)
				if err != nil {
					t.Errorf("commit %d: %v", i, err)
					return
				}
				o.mu.Lock()
				a := &o.acts[i]
				if a.tx.Barrier {
					o.durable(before)
				}
				a.acked, a.pending, a.epoch = !a.tx.Deferred, a.tx.Deferred, r.Epoch
				o.top = max(o.top, r.Epoch)
				o.mu.Unlock()
				if i%4 != 0 {
					continue
				}
				at, err := d.ReadEpoch(t.Context(), r.Epoch)
				if err != nil {
					t.Error(err)
					return
				}
				s := sight{at, dumpStable(t, d, at)}
				o.mu.Lock()
				o.sights = append(o.sights, s)
				o.top = max(o.top, at)
				o.mu.Unlock()
				if i%16 == 0 {
					covered := o.deferred()
					if err := e.Sync(); err != nil {
						t.Error(err)
					}
					o.mu.Lock()
					o.durable(covered)
					o.mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	o.mu.Lock()
	o.on = false
	o.mu.Unlock()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d writes, %d power losses", o.n, len(o.images))
	for _, im := range o.images {
		if !t.Run("", func(t *testing.T) { im.verify(t, options) }) {
			t.Logf("after %s", im.op)
			return
		}
	}
}

func (im image) verify(t *testing.T, options engine.Options) {
	options.FS, options.Targets = im.fs, 0
	e, err := engine.Open(options)
	if err != nil {
		t.Fatalf("reopen: %v", err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	d, err := e.OpenDataset(1)
	if err != nil {
		t.Fatal(err)
	}
	at, err := d.ReadEpoch(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if at <= im.top {
		t.Errorf("the clock went back: %d after %d", at, im.top)
	}
	if _, err := e.Scrub(t.Context(), 0, func(err error) { t.Errorf("scrub: %v", err) }); err != nil {
		t.Fatal(err)
	}
	for _, s := range im.sights {
		if got := dumpStable(t, d, s.at); got != s.dump {
			t.Errorf("the snapshot at %d reads differently:\n%s\nbefore:\n%s", s.at, got, s.dump)
		}
	}
	var there []bool
	for i, a := range im.acts {
		have, all := marks(t, d, at, a.tx)
		if have != 0 && have != all {
			t.Errorf("half of transaction %d is there: %d of %d", i, have, all)
		}
		if a.acked && have == 0 {
			t.Errorf("the answered transaction %d (epoch %d, deferred %v) is lost", i, a.epoch, a.tx.Deferred)
		}
		r, ok, err := d.Replay(t.Context(), a.tx.Request)
		if err != nil || ok != (have > 0) || ok && (a.epoch != 0 && r.Epoch != a.epoch || string(r.Answer) != string(a.tx.Answer)) {
			t.Errorf("replay of %d: %+v %v %v; there: %v, its epoch was %d", i, r, ok, err, have > 0, a.epoch)
		}
		there = append(there, have > 0)
	}
	u, err := e.Usage(1)
	if err != nil || u.Bytes != e.Accounted(1) {
		t.Errorf("usage %+v, accounted %d, %v", u, e.Accounted(1), err)
	}
	var want int64
	for i, a := range im.acts {
		r, err := d.Commit(t.Context(), a.tx)
		if err != nil || r.Replayed != there[i] {
			t.Errorf("retry of %d: %+v %v; it was there: %v", i, r, err, there[i])
		}
		want += a.tx.Bytes()
	}
	if u, err := e.Usage(1); err != nil || u.Bytes != want {
		t.Errorf("after the retries %d bytes are used (%v), once each is %d", u.Bytes, err, want)
	}
}
