package engine_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine"
	"daos/engine/object"
)

// TestRebuildTarget_LeavesTheOthers: the rows of transactions are lost with the
// index of a target. What other targets have of these, and was answered, stays.
func TestRebuildTarget_LeavesTheOthers(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := engine.Options{Root: "/r", FS: mem, Targets: 2, SweepEvery: -1, SyncEvery: time.Hour, Logger: quiet()}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d := create(t, e, 1, 1)
	journaled(t, mem, "/r", d)
	on := putOn(t, e, d, 10, 1, 400)
	writes := []object.Write{put(many, on[0][0], 200)}
	for _, name := range on[1] { // more than the journal takes
		writes = append(writes, put(many, name, 1000))
	}
	commit(t, d, writes...)
	disk := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := disk.RemoveAll("/r/target-1/index"); err != nil {
		t.Fatal(err)
	}
	o.FS = disk
	if _, err := engine.RebuildTarget(t.Context(), o, 1, func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	e = open(t, o)
	if d, err = e.OpenDataset(1); err != nil {
		t.Fatal(err)
	}
	if v, err := value(t, d, now(t, d), many, on[0][0]); err != nil || len(v) != 200 {
		t.Fatalf("of the other target: %d bytes, %v", len(v), err)
	}
	commit(t, d, put(many, on[0][0], 300), put(many, on[1][0], 300))
	for _, name := range []string{on[0][0], on[1][0]} {
		if v, err := value(t, d, now(t, d), many, name); err != nil || len(v) != 300 {
			t.Fatalf("written behind it: %d bytes, %v", len(v), err)
		}
	}
}
