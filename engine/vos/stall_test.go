package vos_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine/object"
	"daos/engine/vos"
)

// within fails the test where fn does not return.
func within(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not return", what)
	}
}

func isTable(op errorfs.Op) bool {
	return strings.HasSuffix(op.Path, ".sst") && (isWrite(op) || isSync(op))
}

// noTables says that there is no room for tables.
func noTables(op errorfs.Op) error {
	if isTable(op) {
		return syscall.ENOSPC
	}
	return nil
}

// kept opens a target, and writes to it until the journal takes it.
func kept(t *testing.T, o vos.Options) *vos.Target {
	t.Helper()
	v, _, err := openJournaled(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; vos.Waiting(v) == 0; i++ {
		prepare(t, v, batch(1, put(oid(7), fmt.Sprint("kept", i), "a", "old")))
		time.Sleep(time.Millisecond)
	}
	return v
}

// stalled is a target whose index makes its writers wait, as no table can be
// written; writing is how many values were answered, at epochs from 10 on.
func stalled(t *testing.T, inj *failing) (v *vos.Target, f *vfs.MemFS, writing int) {
	t.Helper()
	f = vfs.NewCrashableMem()
	o := options(errorfs.Wrap(f, inj), "t")
	o.MemTable = 64 << 10
	v = kept(t, o)
	if err := v.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	inj.set(noTables)
	answered := make(chan struct{}, 1000)
	go func() {
		for i := range 3000 {
			if v.Prepare(context.Background(), batch(object.Epoch(10+i), put(oid(1), fmt.Sprint("k", i), "a", strings.Repeat("s", 900)))) != nil {
				return
			}
			answered <- struct{}{}
		}
	}()
	for {
		select {
		case <-answered:
			if writing++; writing == 3000 {
				t.Fatal("it does not stall")
			}
		case <-time.After(time.Second):
			return v, f, writing
		}
	}
}

func readBack(t *testing.T, v *vos.Target, written int) {
	t.Helper()
	within(t, "a read", func() {
		for i := range written {
			if s, ok, err := readValue(v, object.EpochMax, oid(1), fmt.Sprint("k", i), "a"); !ok || len(s) != 900 || err != nil {
				t.Errorf("what was answered at %d can't be read: %v, %v", 10+i, ok, err)
				return
			}
		}
	})
	within(t, "a list", func() {
		n := 0
		err := v.List(context.Background(), object.Epoch(9+written), place(oid(1)), object.ListOptions{}, func(object.Item) bool { n++; return true })
		if n != written || err != nil {
			t.Errorf("%d of %d, %v", n, written, err)
		}
		if _, ok, err := readValue(v, 9, oid(7), "kept0", "a"); !ok || err != nil {
			t.Errorf("what was there before: %v, %v", ok, err)
		}
	})
}

// TestStall_ReadsGoOn: a disk without room for tables makes writers wait, and
// nobody else; with room again everything goes on.
func TestStall_ReadsGoOn(t *testing.T) {
	inj := &failing{}
	v, _, written := stalled(t, inj)
	readBack(t, v, written)
	readBack(t, v, written) // what is laid over the index is there already
	inj.set(nil)
	within(t, "a write with room again", func() {
		if err := v.Prepare(context.Background(), batch(5000, put(oid(8), "d", "a", "x"))); err != nil {
			t.Error(err)
		}
		if err := v.Checkpoint(); err != nil {
			t.Error(err)
		}
	})
	if s, ok := value(t, v, object.EpochMax, oid(8), "d", "a"); !ok || s != "x" {
		t.Error("what was written since is not there")
	}
	if err := v.Prepare(context.Background(), batch(5001, punch(object.OpPunchObject, oid(7), "", ""))); err != nil {
		t.Error(err)
	}
	if _, ok := value(t, v, 5001, oid(7), "kept0", "a"); ok {
		t.Error("what is shown is what was laid over the index")
	}
	readBack(t, v, written)
}

// TestStall_JournalFails: then nobody waits any more, not even who would write.
func TestStall_JournalFails(t *testing.T) {
	inj := &failing{}
	o := options(errorfs.Wrap(vfs.NewMem(), inj), "t")
	o.MemTable = 64 << 10
	v := kept(t, o)
	inj.set(noTables)
	written := 0
	put1 := func() error {
		return v.Prepare(context.Background(), batch(object.Epoch(10+written), put(oid(1), fmt.Sprint("k", written), "a", strings.Repeat("s", 900))))
	}
	for stuck := false; !stuck; written++ {
		if err := put1(); err != nil || written == 3000 {
			t.Fatal("it does not stall", err)
		}
		if vos.Waiting(v) >= 70 { // more than moves at once
			time.Sleep(300 * time.Millisecond)
			stuck = vos.Waiting(v) >= 70
		}
	}
	inj.set(func(op errorfs.Op) error {
		if isSync(op) && strings.HasPrefix(op.Path, "j/") {
			return syscall.EIO
		}
		return noTables(op)
	})
	within(t, "a write", func() {
		if put1() == nil || v.Failed() == nil {
			t.Error("the target goes on")
		}
	})
	readBack(t, v, written)
	within(t, "Close", func() { _ = v.Close() })
}

// dying is a target whose index log can't be written any more.
func dying(t *testing.T) (*vos.Target, *vfs.MemFS, int) {
	t.Helper()
	inj := &failing{}
	f := vfs.NewCrashableMem()
	o := options(errorfs.Wrap(f, inj), "t")
	o.MemTable = 256 << 10
	v := kept(t, o)
	inj.set(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".log") && path.Base(path.Dir(op.Path)) == "index" && isWrite(op) {
			return syscall.EIO
		}
		return nil
	})
	for i := range 100 {
		if v.Prepare(context.Background(), batch(object.Epoch(10+i), put(oid(1), fmt.Sprint("k", i), "a", strings.Repeat("s", 900)))) != nil {
			return v, f, i
		}
		if _, ok := value(t, v, object.EpochMax, oid(1), fmt.Sprint("k", i), "a"); !ok { // it is in the index, and its log
			t.Fatal("not there")
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it goes on")
	return nil, nil, 0
}

// TestStall_OfADyingLog: where the index's log can't be written, the process lives,
// reads go on, and nothing waits for ever.
func TestStall_OfADyingLog(t *testing.T) {
	for what, do := range map[string]func(v *vos.Target) error{
		"Checkpoint": func(v *vos.Target) error { return v.Checkpoint() },
		"Sweep":      func(v *vos.Target) error { _, err := v.Sweep(context.Background(), testDS, nil, 0); return err },
		"Prepare": func(v *vos.Target) error {
			return v.Prepare(context.Background(), batch(5000, put(oid(1), "x", "a", "s")))
		},
		"Abort":   func(v *vos.Target) error { return errors.Join(v.Failed(), v.Abort(context.Background(), testDS, 10)) },
		"Settle":  func(v *vos.Target) error { return v.Settle(5000) },
		"Destroy": func(v *vos.Target) error { return v.Destroy(testDS) },
	} {
		t.Run(what, func(t *testing.T) {
			v, f, written := dying(t)
			within(t, what, func() {
				if err := do(v); err == nil {
					t.Error("it is done, they say")
				}
			})
			readBack(t, v, written)
			within(t, "Close", func() { _ = v.Close() })
			after, j, err := openJournaled(options(f.CrashClone(vfs.CrashCloneCfg{}), "t"))
			if err != nil {
				t.Fatal(err)
			}
			readBack(t, after, written)
			j.Stop()
			if err := errors.Join(after.Close(), j.Close(true)); err != nil {
				t.Error(err)
			}
		})
	}
}
