package server_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"daos/internal/address"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	"daos/server"
)

// TestViewsOfCancelledCallsAreWhole: a call that is cancelled just when its view is
// made fails, and its view, which is there, keeps its list.
func TestViewsOfCancelledCallsAreWhole(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c := r.clients()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	c.put("p/d", "f", "x")
	pools, a := r.Views().Datasets.Pools(), address.Address{Pool: "p", Dataset: "d"}
	made := 0
	for i := 0; i < 100 && made < 5; i++ {
		name := fmt.Sprintf("v%d", i)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := pools.View(t.Context(), a, name); err == nil {
					cancel()
				}
			}
		})
		_, failed := r.Views().SaveView(ctx, saveScan(name, "p/d", ""))
		cancel()
		wg.Wait()
		v, err := pools.View(t.Context(), a, name)
		if err != nil {
			continue
		}
		if failed != nil {
			made++
		}
		if !slices.Contains(lists(t, r, "p/d"), v.List) {
			t.Fatalf("view %s has no list: %v", name, failed)
		}
	}
	t.Logf("%d calls failed whose view was made", made)
}
