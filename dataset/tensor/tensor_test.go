package tensor_test

import (
	"testing"

	"daos/dataset/tensor/tensortest"
	"daos/engine/memstore"
	"daos/engine/object"
)

func TestConformance(t *testing.T) {
	tensortest.Run(t, func(t *testing.T) object.Store { return memstore.New() })
}
