package vos_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine/object"
	"daos/engine/vos"
	"daos/internal/fault"
)

// failing injects an error into operations that a test chooses.
type failing struct {
	mu   sync.Mutex
	when func(op errorfs.Op) error
}

func (f *failing) MaybeError(op errorfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.when == nil {
		return nil
	}
	return f.when(op)
}

func (f *failing) String() string { return "failing" }

func (f *failing) set(when func(op errorfs.Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.when = when
}

func isSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
}

func isWrite(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileWriteAt || op.Kind == errorfs.OpCreate
}

func TestFailedSync_StopsWritesAndKeepsReads(t *testing.T) {
	for _, where := range []string{".seg", ".log"} {
		t.Run(where, func(t *testing.T) {
			mem, inj := vfs.NewCrashableMem(), &failing{}
			v := open(t, errorfs.Wrap(mem, inj), "t")
			defer v.Close()
			big := strings.Repeat("b", 5000)
			prepare(t, v, batch(10, put(oid(1), "d", "a", "small"), put(oid(1), "d", "big", big)))
			inj.set(func(op errorfs.Op) error {
				if isSync(op) && strings.HasSuffix(op.Path, where) {
					return syscall.EIO
				}
				return nil
			})
			err := v.Prepare(context.Background(), batch(20, put(oid(1), "d", "a", big)))
			if err == nil || !strings.Contains(err.Error(), "restart the server") {
				t.Fatalf("a failed sync was not reported with what to do: %v", err)
			}
			inj.set(nil) // the disk is fine again, or says so
			if err := v.Prepare(context.Background(), batch(30, put(oid(1), "d", "a", "x"))); err == nil {
				t.Fatal("a target went on writing after a failed sync")
			}
			if v.Failed() == nil || v.Sync() == nil {
				t.Fatal("the failure is not remembered")
			}
			if s, ok := value(t, v, 10, oid(1), "d", "big"); !ok || s != big {
				t.Fatal("reads do not go on")
			}
			// After a restart what was answered is there, what failed is whole or absent.
			w := open(t, mem.CrashClone(vfs.CrashCloneCfg{}), "t")
			defer w.Close()
			if s, ok := value(t, w, 15, oid(1), "d", "a"); !ok || s != "small" {
				t.Fatalf("an answered write is gone after the restart: %q", s)
			}
			prepare(t, w, batch(40, put(oid(1), "d", "a", "again")))
		})
	}
}

func TestFullDisk_RefusesWritesAndKeepsReads(t *testing.T) {
	mem, inj := vfs.NewMem(), &failing{}
	v := open(t, errorfs.Wrap(mem, inj), "t")
	defer func() { _ = v.Close() }()
	prepare(t, v, batch(10, put(oid(1), "d", "a", "one"), put(oid(1), "d", "big", strings.Repeat("b", 3000))))
	inj.set(func(op errorfs.Op) error {
		if isWrite(op) && strings.HasSuffix(op.Path, ".seg") {
			return syscall.ENOSPC
		}
		return nil
	})
	for e := range object.Epoch(5) {
		err := v.Prepare(context.Background(), batch(20+e, put(oid(2), "d", "a", strings.Repeat("x", 100_000))))
		if !fault.Is(err, fault.NoSpace) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("a full disk gave %v", err)
		}
		if _, ok := value(t, v, 30, oid(2), "d", "a"); ok {
			t.Fatal("a refused write is seen")
		}
	}
	if s, _ := value(t, v, 30, oid(1), "d", "big"); len(s) != 3000 {
		t.Fatal("reads do not go on")
	}
	inj.set(nil)
	prepare(t, v, batch(40, put(oid(2), "d", "a", strings.Repeat("x", 100_000))))
	if s, _ := value(t, v, 40, oid(2), "d", "a"); len(s) != 100_000 {
		t.Fatal("a write after space is back is not seen")
	}
}

// A disk that fills up while the index writes its log can't be gone on with,
// but nothing acknowledged may be lost and reads go on.
func TestFullDisk_InTheLogStopsTheTarget(t *testing.T) {
	mem, inj := vfs.NewCrashableMem(), &failing{}
	v := open(t, errorfs.Wrap(mem, inj), "t")
	defer func() { _ = v.Close() }()
	acked := object.Epoch(0)
	var left atomic.Int64
	left.Store(60)
	inj.set(func(op errorfs.Op) error {
		if isWrite(op) && strings.Contains(op.Path, "index") && left.Add(-1) < 0 {
			return syscall.ENOSPC
		}
		return nil
	})
	var err error
	for e := object.Epoch(10); e < 500; e++ {
		if err = v.Prepare(context.Background(), batch(e, put(oid(1), fmt.Sprint(e), "a", strings.Repeat("i", 900)))); err != nil {
			break
		}
		acked = e
	}
	if !fault.Is(err, fault.NoSpace) {
		t.Fatalf("a full disk gave %v", err)
	}
	for e := object.Epoch(10); e <= acked; e++ {
		if _, ok := value(t, v, e, oid(1), fmt.Sprint(e), "a"); !ok {
			t.Fatalf("batch %d can't be read on a full disk", e)
		}
	}
	w := open(t, mem.CrashClone(vfs.CrashCloneCfg{}), "t")
	defer w.Close()
	for e := object.Epoch(10); e <= acked; e++ {
		if _, ok := value(t, w, e, oid(1), fmt.Sprint(e), "a"); !ok {
			t.Fatalf("batch %d was answered and is gone after the restart", e)
		}
	}
}

// A full disk must not make opening wait for ever: the index has a log to flush.
func TestFullDisk_RefusesToOpen(t *testing.T) {
	mem, inj := vfs.NewCrashableMem(), &failing{}
	v := open(t, mem, "t")
	defer func() { _ = v.Close() }()
	prepare(t, v, batch(10, put(oid(1), "d", "a", "kept")))
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	inj.set(func(op errorfs.Op) error {
		if isWrite(op) && strings.HasSuffix(op.Path, ".sst") {
			return syscall.ENOSPC
		}
		return nil
	})
	o := options(errorfs.Wrap(crashed, inj), "t")
	failed := make(chan error, 1)
	go func() {
		w, err := vos.Open(o)
		if err == nil {
			_ = w.Close()
		}
		failed <- err
	}()
	select {
	case err := <-failed:
		if !fault.Is(err, fault.NoSpace) {
			t.Fatalf("opening on a full disk gave %v", err)
		}
	case <-time.After(20 * time.Second):
		inj.set(nil)
		<-failed
		t.Fatal("opening on a full disk waits")
	}
	w := open(t, mem.CrashClone(vfs.CrashCloneCfg{}), "t") // another disk of the same content, with room
	defer func() { _ = w.Close() }()
	if s, _ := value(t, w, 10, oid(1), "d", "a"); s != "kept" {
		t.Fatalf("an answered write reads %q", s)
	}
	inj.set(nil)
}

// usage reports a disk of a given size, whatever is on it.
type sized struct {
	vfs.FS
	avail atomic.Uint64
}

func (s *sized) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: s.avail.Load(), TotalBytes: 1 << 40}, nil
}

func TestReserve_RefusesBeforeTheDiskIsFull(t *testing.T) {
	f := &sized{FS: vfs.NewMem()}
	f.avail.Store(1 << 30)
	o := options(f, "t")
	o.ReserveBytes = 0
	v, err := vos.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	prepare(t, v, batch(10, put(oid(1), "d", "a", "one")))
	f.avail.Store(100 << 20) // less than is kept free
	big := strings.Repeat("x", 1<<20)
	for e := range object.Epoch(40) {
		if err = v.Prepare(context.Background(), batch(20+e, put(oid(1), "d", "a", big))); err != nil {
			break
		}
	}
	if !fault.Is(err, fault.NoSpace) || !strings.Contains(err.Error(), "free space") {
		t.Fatalf("a nearly full disk gave %v", err)
	}
	if s, _ := value(t, v, 10, oid(1), "d", "a"); s != "one" {
		t.Fatal("reads do not go on")
	}
	f.avail.Store(1 << 30)
	prepare(t, v, batch(99, put(oid(1), "d", "a", "again")))
}
