package vos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine/journal"
	"daos/engine/object"
	"daos/engine/target"
	"daos/engine/vos"
)

// openJournaled opens a target beside a journal of its own.
func openJournaled(o vos.Options) (*vos.Target, *journal.Log, error) {
	var v *vos.Target
	j, err := journal.Open(journal.Options{FS: o.FS, Dir: "j", Logger: slog.New(slog.DiscardHandler), Create: true, Size: 16 << 20,
		Checkpoint: func() ([]uint16, error) { return nil, v.Checkpoint() }})
	if err != nil {
		return nil, nil, err
	}
	o.Journal = j
	if v, err = vos.Open(o); err != nil {
		return nil, nil, err
	}
	return v, j, j.Start()
}

// journaled is a target whose journal takes what is written. Epochs from 10 on
// are free.
func journaled(t *testing.T, o vos.Options) *vos.Target {
	t.Helper()
	v, j, err := openJournaled(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		j.Stop()
		_ = v.Close()
		_ = j.Close(false)
	})
	deadline := time.Now().Add(20 * time.Second)
	for i := 0; vos.Waiting(v) == 0; i++ {
		prepare(t, v, batch(1, put(oid(99), fmt.Sprint("first", i), "x", "s")))
		if time.Now().After(deadline) {
			t.Fatal("the journal takes nothing")
		}
		time.Sleep(time.Millisecond)
	}
	return v
}

// looks are all ways to see a value "new" at dkey d, akey a of object 1, an array
// at akey w of it, and the request and the row of the batch. seen says what
// there was.
var looks = map[string]func(v *vos.Target) (seen bool, err error){
	"Get": func(v *vos.Target) (bool, error) {
		s, ok, err := readValue(v, 10, oid(1), "d", "a")
		return ok && s == "new", err
	},
	"GetMany": func(v *vos.Target) (seen bool, err error) {
		names := []target.Named{{Place: place(oid(2)), Dkey: []byte("other"), Akey: []byte("a")}, {Place: place(oid(1)), Dkey: []byte("d"), Akey: []byte("a")}}
		err = v.GetMany(10, names, func(i int, _ target.Version) error { seen = i == 1; return nil })
		return seen, err
	},
	"Exists value": func(v *vos.Target) (bool, error) { return v.Exists(10, place(oid(1)), []byte("d"), []byte("a")) },
	"Exists array": func(v *vos.Target) (bool, error) { return v.Exists(10, place(oid(1)), []byte("d"), []byte("w")) },
	"Exists dkey":  func(v *vos.Target) (bool, error) { return v.Exists(10, place(oid(1)), []byte("d"), nil) },
	"Newest point": func(v *vos.Target) (bool, error) {
		return newestIs10(v, object.Read{OID: oid(1), Point: true, From: []byte("d")})
	},
	"Newest range": func(v *vos.Target) (bool, error) { return newestIs10(v, object.Read{OID: oid(1), From: []byte("c")}) },
	"Newest punch": func(v *vos.Target) (bool, error) {
		return newestIs10(v, object.Read{OID: oid(3), Point: true, From: []byte("d")})
	},
	"Get punched": func(v *vos.Target) (bool, error) { _, ok, err := readValue(v, 10, oid(3), "d", "a"); return !ok, err },
	"Extents": func(v *vos.Target) (bool, error) {
		s, err := readArray(v, 10, oid(1), "d", "w", 0, 3)
		return s == "abc", err
	},
	"ArrayEnd": func(v *vos.Target) (bool, error) {
		n, err := v.ArrayEnd(10, place(oid(1)), []byte("d"), []byte("w"))
		return n == 3, err
	},
	"List":          func(v *vos.Target) (bool, error) { return listed(v, object.ListOptions{}) },
	"List backward": func(v *vos.Target) (bool, error) { return listed(v, object.ListOptions{Reverse: true}) },
	"ListArrays": func(v *vos.Target) (seen bool, err error) {
		err = v.ListArrays(context.Background(), 10, place(oid(1)), object.ListOptions{}, func(dkey, akey []byte) bool {
			seen = string(dkey) == "d" && string(akey) == "w"
			return true
		})
		return seen, err
	},
	"Scan": func(v *vos.Target) (seen bool, err error) {
		err = v.Scan(context.Background(), testDS, 10, 0, 1<<32-1, nil, func(r object.Row, _ []byte) bool {
			seen = seen || r.OID == oid(1) && string(r.Value) == "new"
			return true
		})
		return seen, err
	},
	"ScanExtents": func(v *vos.Target) (seen bool, err error) {
		err = v.ScanExtents(context.Background(), testDS, 10, []byte("w"), func(o object.ID, _ []byte, xs []object.Extent) bool {
			seen = o == oid(1) && len(xs) == 1
			return true
		})
		return seen, err
	},
	"Request": func(v *vos.Target) (bool, error) {
		r, ok, err := v.Request(testDS, object.RequestID{7})
		return ok && r.Epoch == 10, err
	},
	"Undecided": func(v *vos.Target) (bool, error) {
		rows, err := v.Undecided()
		return len(rows) == 1 && rows[0].ID == 10, err
	},
	"Abort": func(v *vos.Target) (bool, error) {
		if err := v.Abort(context.Background(), testDS, 10); err != nil {
			return false, err
		}
		s, _, err := readValue(v, 10, oid(1), "d", "a")
		return s == "old", err
	},
	"Settle": func(v *vos.Target) (bool, error) {
		if err := v.Settle(10); err != nil {
			return false, err
		}
		rows, err := v.Undecided()
		return len(rows) == 0, err
	},
	"Sweep": func(v *vos.Target) (bool, error) {
		s, err := v.Sweep(context.Background(), testDS, nil, 10)
		return s.Versions == 3, err // what came before "new", what is punched, and its punch
	},
	"Scrub": func(v *vos.Target) (bool, error) {
		n, err := v.Scrub(context.Background(), testDS, func(error) {})
		u, _ := v.Usage(testDS)
		return n == u.Records && n > 4, err
	},
	"Destroy": func(v *vos.Target) (bool, error) {
		err := v.Destroy(testDS)
		return vos.CountRows(v, testDS) == 0, err
	},
	"Checkpoint": func(v *vos.Target) (bool, error) { err := v.Checkpoint(); return vos.Waiting(v) == 0, err },
}

func newestIs10(v *vos.Target, r object.Read) (bool, error) {
	e, err := v.Newest(place(r.OID), r)
	return e == 10, err
}

func listed(v *vos.Target, o object.ListOptions) (seen bool, err error) {
	err = v.List(context.Background(), 10, place(oid(1)), o, func(it object.Item) bool {
		seen = seen || string(it.Dkey) == "d" && string(it.Akey) == "a"
		return true
	})
	return seen, err
}

// wait leaves in the backlog what looks look for, behind what is in the index.
func wait(t *testing.T, v *vos.Target) {
	t.Helper()
	prepare(t, v, batch(5, put(oid(1), "d", "a", "old"), put(oid(3), "d", "a", "punched")))
	if err := v.Checkpoint(); err != nil || vos.Waiting(v) != 0 {
		t.Fatalf("%d entries wait, %v", vos.Waiting(v), err)
	}
	b := batch(10, put(oid(1), "d", "a", "new"), write(oid(1), "d", "w", 0, []byte("abc")), punch(object.OpPunchObject, oid(3), "", ""))
	b.Participants, b.Request = []uint16{3, 4}, object.RequestID{7}
	prepare(t, v, b)
	if vos.Waiting(v) == 0 {
		t.Fatal("nothing waits")
	}
}

func TestBacklog_IsSeenByEveryLook(t *testing.T) {
	for name, look := range looks {
		t.Run(name, func(t *testing.T) {
			v := journaled(t, options(vfs.NewMem(), "t"))
			wait(t, v)
			if seen, err := look(v); err != nil || !seen {
				t.Errorf("seen: %v, %v", seen, err)
			}
		})
	}
}

// TestBacklog_StaysWhereOthersAreLookedFor: a writer that reads other keys
// between its batches loses nothing of what a backlog is for.
func TestBacklog_StaysWhereOthersAreLookedFor(t *testing.T) {
	v := journaled(t, options(vfs.NewMem(), "t"))
	prepare(t, v, batch(10, put(oid(1), "kept", "a", "s")))
	if _, ok := value(t, v, 10, oid(1), "kept", "a"); !ok || vos.Waiting(v) != 0 {
		t.Fatalf("there: %v, %d entries wait", ok, vos.Waiting(v))
	}
	for i := range 200 {
		prepare(t, v, batch(object.Epoch(11+i), put(oid(2), fmt.Sprint("k", i), "a", "s")))
		if _, ok := value(t, v, 300, oid(1), "kept", "a"); !ok {
			t.Fatal("it is gone")
		}
		if e, err := v.Newest(place(oid(1)), object.Read{OID: oid(1), Point: true, From: []byte("kept")}); e != 10 || err != nil {
			t.Fatal(e, err)
		}
		if _, ok, err := v.Request(testDS, object.RequestID{9}); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if n := vos.Waiting(v); n < 200 {
		t.Errorf("%d entries wait", n)
	}
	if _, ok := value(t, v, 300, oid(2), "k7", "a"); !ok || vos.Waiting(v) != 0 {
		t.Errorf("there: %v, %d entries wait", ok, vos.Waiting(v))
	}
}

// TestBacklog_IsMovedWhenThereIsEnough: what waits is bounded, and everything is
// there, read meanwhile and afterwards.
func TestBacklog_IsMovedWhenThereIsEnough(t *testing.T) {
	o := options(vfs.NewMem(), "t")
	o.MemTable = 256 << 10
	v := journaled(t, o)
	var wg sync.WaitGroup
	const writers, batches, each = 4, 60, 50
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range batches {
				b := batch(object.Epoch(10 + i*writers + w))
				for k := range each {
					b.Writes = append(b.Writes, placed(put(oid(uint64(w)), fmt.Sprintf("%d.%d", i, k), "a", strings.Repeat("v", 1+rng.IntN(200)))))
				}
				if err := v.Prepare(context.Background(), b); err != nil {
					t.Error(err)
					return
				}
				if n := vos.Waiting(v); n*96 > 4*int(o.MemTable) {
					t.Errorf("%d entries wait", n)
				}
				at := rng.IntN(i + 1)
				if _, ok, err := readValue(v, object.EpochMax, oid(uint64(w)), fmt.Sprintf("%d.%d", at, rng.IntN(each)), "a"); rng.IntN(10) == 0 && (!ok || err != nil) {
					t.Error("not there", err)
				}
			}
		})
	}
	wg.Wait()
	for w := range writers {
		n := 0
		err := v.List(context.Background(), object.EpochMax, place(oid(uint64(w))), object.ListOptions{}, func(object.Item) bool { n++; return true })
		if n != batches*each || err != nil {
			t.Errorf("%d of %d, %v", n, batches*each, err)
		}
	}
	if err := checkUsage(v); err != nil {
		t.Error(err)
	}
}

// TestBacklog_PowerLoss: what is only in the backlog is in the journal.
func TestBacklog_PowerLoss(t *testing.T) {
	mem := vfs.NewCrashableMem()
	v := journaled(t, options(mem, "t"))
	wait(t, v)
	f := mem.CrashClone(vfs.CrashCloneCfg{})
	for name, look := range looks {
		if name == "Abort" || name == "Settle" || name == "Sweep" || name == "Destroy" {
			continue
		}
		after, j, err := openJournaled(options(f, "t"))
		if err != nil {
			t.Fatal(err)
		}
		if seen, err := look(after); err != nil || !seen {
			t.Errorf("%s after a loss of power: %v, %v", name, seen, err)
		}
		if err := checkUsage(after); err != nil {
			t.Error(err)
		}
		j.Stop()
		if err := errors.Join(after.Close(), j.Close(true)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBacklog_OfAStoppedTarget: what was answered is read on after the disk has
// failed, however full the write buffer is by then.
func TestBacklog_OfAStoppedTarget(t *testing.T) {
	for times := range 8 {
		mem, inj := vfs.NewCrashableMem(), &failing{}
		o := options(errorfs.Wrap(mem, inj), "t")
		o.MemTable = 64 << 10
		v := journaled(t, o)
		epoch := object.Epoch(10)
		fill := func(n int) {
			for range n {
				prepare(t, v, batch(epoch, put(oid(1), fmt.Sprint("k", epoch), "a", strings.Repeat("s", 100))))
				epoch++
			}
		}
		for range times {
			fill(25)
			if err := v.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
		fill(40)
		inj.set(func(op errorfs.Op) error {
			if isSync(op) {
				return errors.New("the disk is gone")
			}
			return nil
		})
		if err := v.Prepare(context.Background(), batch(epoch, put(oid(1), "d", "more", "x"))); err == nil || v.Failed() == nil {
			t.Fatal("it was taken", err, v.Failed())
		}
		if vos.Waiting(v) < 40 {
			t.Fatalf("%d entries wait", vos.Waiting(v))
		}
		for e := object.Epoch(10); e < epoch; e++ {
			if _, ok := value(t, v, epoch-1, oid(1), fmt.Sprint("k", e), "a"); !ok {
				t.Fatalf("what was answered at %d of %d can't be read", e, epoch)
			}
		}
		n, want := 0, int(epoch-10)
		if err := v.List(context.Background(), epoch-1, place(oid(1)), object.ListOptions{}, func(object.Item) bool { n++; return true }); n != want || err != nil {
			t.Errorf("%d of %d, %v", n, want, err)
		}
		if _, err := v.Sweep(context.Background(), testDS, nil, epoch); err == nil {
			t.Error("it was swept")
		}
		inj.set(nil)
		_ = v.Close() // it returns
		after, j, err := openJournaled(options(mem.CrashClone(vfs.CrashCloneCfg{}), "t"))
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := value(t, after, epoch-1, oid(1), fmt.Sprint("k", epoch-1), "a"); !ok || len(s) != 100 {
			t.Errorf("what was answered is not there after a restart: %v", ok)
		}
		j.Stop()
		_ = after.Close()
		_ = j.Close(false)
	}
}

func TestMergeRuns(t *testing.T) {
	rng := seed(t)
	for range 500 {
		var keys [][]byte
		var runs []int
		for range rng.IntN(12) {
			runs = append(runs, len(keys))
			n := len(keys)
			for range 1 + rng.IntN(9) {
				keys = append(keys, []byte{byte(rng.IntN(6))})
			}
			slices.SortFunc(keys[n:], bytes.Compare)
		}
		got, places := vos.MergeRuns(keys, append(runs, len(keys)))
		want := make([]int, len(keys))
		for i := range want {
			want[i] = i
		}
		slices.SortStableFunc(want, func(i, j int) int { return bytes.Compare(keys[i], keys[j]) })
		for i, w := range want {
			if int(places[i]) != w || !bytes.Equal(got[i], keys[w]) {
				t.Fatalf("%v in runs %v: %v", keys, runs, places)
			}
		}
	}
}
