package array_test

import (
	"context"
	"testing"

	"daos/dataset/arraytest"
	"daos/engine"
	"daos/engine/memstore"
	"daos/engine/object"
)

func TestConformance(t *testing.T) {
	arraytest.Run(t, func(t *testing.T) object.Store { return memstore.New() })
}

func TestConformanceOnEngine(t *testing.T) {
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
	arraytest.Run(t, func(t *testing.T) object.Store {
		n++
		d, err := e.CreateDataset(context.Background(), n, 1)
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}
