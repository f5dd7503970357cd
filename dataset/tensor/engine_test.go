package tensor_test

import (
	"context"
	"testing"

	"daos/dataset/tensor/tensortest"
	"daos/engine"
	"daos/engine/object"
)

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
	tensortest.Run(t, func(t *testing.T) object.Store {
		n++
		d, err := e.CreateDataset(context.Background(), n, 1)
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}
