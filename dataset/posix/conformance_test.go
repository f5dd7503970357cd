package posix_test

import (
	"testing"

	"daos/dataset/posix"
	"daos/dataset/posixtest"
	"daos/engine/memstore"
)

func TestConformance(t *testing.T) {
	posixtest.Run(t, func(t *testing.T) posix.Store { return memstore.New() })
}
