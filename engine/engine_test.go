package engine_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine"
	"daos/engine/object"
	"daos/engine/objecttest"
)

// open opens an engine in memory or in a folder; it is closed with the test.
func open(t testing.TB, o engine.Options) *engine.Engine {
	t.Helper()
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	if o.SweepEvery == 0 {
		o.SweepEvery = -1
	}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

func TestConformance(t *testing.T) {
	objecttest.Run(t, func(t *testing.T) object.Store {
		e := open(t, engine.Options{Root: "/root", FS: vfs.NewMem()})
		d, err := e.CreateDataset(t.Context(), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}
