package vos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine/object"
	"daos/engine/target"
	"daos/engine/vos"
)

// deed is one step of the history: a batch, with what has been answered of it.
type deed struct {
	b       *target.Batch
	started bool
	acked   bool // durably: a deferred one with the Sync after it
	aborts  bool // its Abort has begun
	aborted bool // ... and was answered
}

// outage is the disk as a power loss would leave it, and what had been
// answered until then.
type outage struct {
	fs    *vfs.MemFS
	deeds []deed
	floor object.Epoch
	op    string
}

// recorder takes an image of the disk before each writing operation.
type recorder struct {
	mu      sync.Mutex
	mem     *vfs.MemFS
	rng     *rand.Rand
	deeds   []deed
	floor   object.Epoch
	outages []outage
	on      bool
	every   int
	n       int
}

func (r *recorder) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n++; !r.on || r.n%r.every != 0 {
		return nil
	}
	percent := []int{0, 0, 30, 70, 100}[r.rng.IntN(5)]
	r.outages = append(r.outages, outage{
		fs:    r.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: r.rng}),
		deeds: append([]deed(nil), r.deeds...), floor: r.floor,
		op: fmt.Sprintf("operation %d, %v %s, %d %% of unsynced data kept", r.n, op.Kind, op.Path, percent),
	})
	return nil
}

func (r *recorder) String() string { return "recorder" }

func (r *recorder) note(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
}

// marker is the value that tells whether a batch is there.
func marker(e object.Epoch) object.Write {
	return put(oid(1000), fmt.Sprintf("mark-%d", e), "m", "here")
}

func TestPowerLoss_AnsweredStaysAndNothingIsHalf(t *testing.T) {
	rng := seed(t)
	mem := vfs.NewCrashableMem()
	every := 9
	if long() > 1 {
		every = 1
	}
	rec := &recorder{mem: mem, rng: rng, every: every}
	opts := options(errorfs.Wrap(mem, rec), "t")
	opts.SegmentCap, opts.MemTable = 256<<10, 64<<10
	rec.on = true
	v, err := vos.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	epoch := object.Epoch(100)
	for step := range 60 {
		epoch++
		b := batch(epoch, marker(epoch))
		for range 1 + rng.IntN(4) {
			b.Writes = append(b.Writes, placed(randomWrite(rng)))
		}
		b.Deferred = rng.IntN(4) == 0
		if rng.IntN(5) == 0 {
			b.Participants = []uint16{3, 9}
		}
		i := 0
		rec.note(func() {
			i = len(rec.deeds)
			rec.deeds = append(rec.deeds, deed{b: b, started: true})
		})
		if err := v.Prepare(ctx, b); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		rec.note(func() { rec.deeds[i].acked = !b.Deferred })
		if step%7 == 6 {
			n := len(rec.deeds)
			if err := v.Sync(); err != nil {
				t.Fatal(err)
			}
			rec.note(func() {
				for j := range n {
					rec.deeds[j].acked = true
				}
			})
		}
		if len(b.Participants) > 0 && rng.IntN(2) == 0 {
			rec.note(func() { rec.deeds[i].aborts = true })
			if err := v.Abort(ctx, testDS, epoch); err != nil {
				t.Fatal(err)
			}
			rec.note(func() { rec.deeds[i].aborted = true })
		}
		if step%20 == 19 {
			rec.note(func() { rec.floor = epoch })
			if err := v.Settle(epoch); err != nil {
				t.Fatal(err)
			}
			if _, err := v.Sweep(ctx, testDS, nil, epoch); err != nil {
				t.Fatal(err)
			}
		}
		if step == 35 {
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			rec.note(func() {
				for j := range rec.deeds {
					rec.deeds[j].acked = true
				}
			})
			if v, err = vos.Open(opts); err != nil {
				t.Fatal(err)
			}
		}
	}
	rec.note(func() { rec.on = false })
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d power losses", len(rec.outages))
	if len(rec.outages) < 30 {
		t.Fatalf("only %d power losses", len(rec.outages))
	}
	for i := range rec.outages {
		if err := rec.outages[i].check(); err != nil {
			t.Fatalf("power loss at %s: %v", rec.outages[i].op, err)
		}
	}
}

// check opens the target as it was left, finds out which batches are there and
// compares everything with a history of just those.
func (o *outage) check() error {
	opts := options(o.fs, "t")
	opts.SegmentCap, opts.MemTable = 256<<10, 64<<10
	v, err := vos.Open(opts)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = v.Close() }()
	m := &model{}
	last := object.Epoch(100)
	for _, d := range o.deeds {
		w := marker(d.b.Epoch)
		_, there, err := readValue(v, object.EpochMax, w.OID, string(w.Dkey), string(w.Akey))
		switch {
		case err != nil:
			return err
		case !there && d.acked && !d.aborts:
			return fmt.Errorf("batch %d was answered and is gone", d.b.Epoch)
		case there && d.aborted:
			return fmt.Errorf("batch %d was aborted and is there", d.b.Epoch)
		case there:
			m.apply(d.b)
		}
		last = d.b.Epoch
	}
	if e, err := v.MaxEpoch(); err != nil || len(m.log) > 0 && e < m.log[len(m.log)-1].epoch {
		return fmt.Errorf("the epoch went back to %d: %w", e, err)
	}
	if err := checkUsage(v); err != nil {
		return err
	}
	for _, at := range []object.Epoch{max(o.floor, (o.floor+last)/2), last} {
		if err := checkAt(v, m, at); err != nil {
			return err
		}
	}
	// It goes on working: also in what a crash left of segments.
	b := batch(last+1, put(oid(1), "a", "x", "after"), write(oid(2), "a", "x", 0, make([]byte, 70000)))
	if err := v.Prepare(context.Background(), b); err != nil {
		return fmt.Errorf("prepare after the crash: %w", err)
	}
	m.apply(b)
	if _, err := v.Sweep(context.Background(), testDS, nil, last+1); err != nil {
		return fmt.Errorf("sweep after the crash: %w", err)
	}
	return checkAt(v, m, last+1)
}
