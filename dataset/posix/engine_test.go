package posix_test

import (
	"context"
	"testing"

	"daos/dataset/posix"
	"daos/dataset/posixtest"
	"daos/engine"
	"daos/engine/object"
)

// onEngine makes datasets of one engine in a folder of the test.
func onEngine(t testing.TB) func(t testing.TB) posix.Store {
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	n := object.DatasetID(0)
	return func(t testing.TB) posix.Store {
		n++
		d, err := e.CreateDataset(context.Background(), n, 1)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestConformanceOnEngine(t *testing.T) {
	open := onEngine(t)
	posixtest.Run(t, func(t *testing.T) posix.Store { return open(t) })
}
