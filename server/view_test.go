package server_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"daos/internal/address"
	"daos/internal/fault"
	"daos/loader/view"
	commonv1 "daos/proto/gen/daos/common/v1"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	loaderv1 "daos/proto/gen/daos/loader/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	viewv1 "daos/proto/gen/daos/view/v1"
	"daos/server"
	"daos/server/pool"
	"daos/server/wire"
)

func viewsOf(r *running) viewv1.ViewServiceClient {
	return viewv1.NewViewServiceClient(dial(r.site.t, "unix:"+r.Socket(), ""))
}

func saveScan(name, dataset, where string) *viewv1.SaveViewRequest {
	return &viewv1.SaveViewRequest{Name: name, Query: &viewv1.SaveViewRequest_Scan{Scan: &queryv1.ScanRequest{Dataset: dataset, Where: where}}}
}

// lists are the numbers of the lists in the store of a dataset.
func lists(t *testing.T, r *running, dataset string) []uint64 {
	t.Helper()
	a, err := address.ParseDataset(dataset)
	if err != nil {
		t.Fatal(err)
	}
	found, err := r.Views().Datasets.Pools().Resolve(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	out, err := view.Lists(t.Context(), found.Store)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantFault(t *testing.T, what string, err error, kinds ...fault.Kind) {
	t.Helper()
	if !fault.Is(wire.Fault(err), kinds...) {
		t.Errorf("%s: %v, want %v", what, err, kinds)
	}
}

// TestListsAreRemoved: of views that are removed, replaced and refreshed, of
// queries that fail, and what a crash has left.
func TestListsAreRemoved(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, v, ctx := r.clients(), viewsOf(r), t.Context()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	for i := range 40 {
		c.put("p/d", fmt.Sprintf("f%02d", i), strings.Repeat("x", i))
	}
	save := saveScan("big", "p/d", "size >= 20")
	save.Mutation = &commonv1.Mutation{RequestId: []byte("0123456789abcdef")}
	first, err := v.SaveView(ctx, save)
	if err != nil || first.GetView().GetSamples() != 20 {
		t.Fatalf("%v: %v", first, err)
	}
	again, err := v.SaveView(ctx, save)
	if err != nil || !again.GetChanged().GetReplayed() || again.GetView().GetDigest() != first.GetView().GetDigest() {
		t.Fatalf("the same call again: %v: %v", again, err)
	}
	one := lists(t, r, "p/d")
	if len(one) != 1 {
		t.Fatalf("lists %v", one)
	}
	c.put("p/d", "f99", strings.Repeat("y", 99))
	fresh, err := v.RefreshView(ctx, &viewv1.RefreshViewRequest{Dataset: "p/d", Name: "big", Names: 5})
	if err != nil || fresh.GetAdded() != 1 || fresh.GetRemoved() != 0 || string(fresh.GetAddedNames()[0]) != "f99" {
		t.Fatalf("%v: %v", fresh, err)
	}
	two := lists(t, r, "p/d")
	if len(two) != 1 || two[0] == one[0] {
		t.Fatalf("lists %v after %v", two, one)
	}
	// What a crash leaves: a list, and the word that there is one.
	pools := r.Views().Datasets.Pools()
	all, err := pools.Datasets("p")
	if err != nil {
		t.Fatal(err)
	}
	l, err := pools.NewList(ctx, all[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	_, st, err := pools.ByID(ctx, all[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	w := view.NewWriter(st, l.List)
	if err := w.Add(ctx, []uint64{1, 2}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	if got := lists(t, r, "p/d"); len(got) != 2 {
		t.Fatalf("lists %v", got)
	}
	if err := r.Views().Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if got := lists(t, r, "p/d"); !slices.Equal(got, two) {
		t.Fatalf("lists %v, want %v", got, two)
	}
	if _, err := v.RemoveView(ctx, &viewv1.RemoveViewRequest{Dataset: "p/d", Name: "big"}); err != nil {
		t.Fatal(err)
	}
	if left, err := pools.AllLitter(ctx); err != nil || len(left) > 0 || len(lists(t, r, "p/d")) > 0 {
		t.Fatalf("left: %v, %v: %v", left, lists(t, r, "p/d"), err)
	}
}

// TestRefreshesAtTheSameTime: one of them has it, the others are told so.
func TestRefreshesAtTheSameTime(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, v, ctx := r.clients(), viewsOf(r), t.Context()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	for i := range 40 {
		c.put("p/d", fmt.Sprintf("f%02d", i), "x")
	}
	if _, err := v.SaveView(ctx, saveScan("all", "p/d", "")); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				if _, err := v.RefreshView(ctx, &viewv1.RefreshViewRequest{Dataset: "p/d", Name: "all"}); err != nil {
					wantFault(t, "a refresh beside others", err, fault.Conflict)
				}
			}
		})
	}
	all.Wait()
	if got, err := v.GetView(ctx, &viewv1.GetViewRequest{Dataset: "p/d", Name: "all"}); err != nil || got.GetView().GetRevision() < 2 {
		t.Fatalf("%v: %v", got, err)
	}
}

// TestCollectLeavesListsThatBecameViews: which lists were left is read once, and
// may be old when their turn comes.
func TestCollectLeavesListsThatBecameViews(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, v, ctx := r.clients(), viewsOf(r), t.Context()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	c.put("p/d", "f", "x")
	if _, err := v.SaveView(ctx, saveScan("big", "p/d", "")); err != nil {
		t.Fatal(err)
	}
	one := lists(t, r, "p/d")
	all, err := r.Views().Datasets.Pools().Datasets("p")
	if err != nil || len(one) != 1 {
		t.Fatalf("%v: %v", one, err)
	}
	if err := r.Views().CollectLists(ctx, []pool.Litter{{Dataset: all[0].ID, List: one[0]}}); err != nil {
		t.Fatal(err)
	}
	if got := lists(t, r, "p/d"); !slices.Equal(got, one) {
		t.Fatalf("the view's list is gone: %v of %v", got, one)
	}
}

// TestViewsRefuseBadRequests: each in words, and the server goes on.
func TestViewsRefuseBadRequests(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, v, ctx := r.clients(), viewsOf(r), t.Context()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	c.put("p/d", "f", "x")
	group := saveScan("g", "p/d", "")
	group.GetScan().GroupBy = []string{"ext"}
	of := saveScan("g", "p/d", "")
	of.Of = "p/d"
	id := saveScan("g", "p/d", "")
	id.Mutation = &commonv1.Mutation{RequestId: []byte("short")}
	for what, bad := range map[string]*viewv1.SaveViewRequest{
		"no query": {Name: "x"}, "no name": saveScan("", "p/d", ""), "a name with a slash": saveScan("a/b", "p/d", ""),
		"no dataset": saveScan("x", "", ""), "groups": group, "of": of, "a request id": id, "a condition": saveScan("x", "p/d", "size >"),
	} {
		_, err := v.SaveView(ctx, bad)
		wantFault(t, what, err, fault.Invalid)
	}
	_, err := v.SaveView(ctx, saveScan(strings.Repeat("x", 101), "p/d", ""))
	wantFault(t, "a long name", err, fault.TooBig)
	_, err = v.SaveView(ctx, saveScan("x", "p/d", "size in ("+strings.Repeat("1000000, ", 40_000)+"1)"))
	wantFault(t, "a long query", err, fault.TooBig)
	_, err = v.SaveView(ctx, saveScan("x", "p/none", ""))
	wantFault(t, "no such dataset", err, fault.NotFound)
	_, err = v.SaveView(ctx, saveScan("x", "p/d@none", ""))
	wantFault(t, "no such snapshot", err, fault.NotFound)
	_, err = v.GetView(ctx, &viewv1.GetViewRequest{Dataset: "p/d", Name: "x"})
	wantFault(t, "no such view", err, fault.NotFound)
	_, err = v.GetView(ctx, &viewv1.GetViewRequest{Dataset: "p/d@s", Name: "x"})
	wantFault(t, "a snapshot in the address", err, fault.Invalid)
	_, err = v.RefreshView(ctx, &viewv1.RefreshViewRequest{Dataset: "p/d", Name: "x"})
	wantFault(t, "refresh of nothing", err, fault.NotFound)
	_, err = v.RefreshView(ctx, &viewv1.RefreshViewRequest{Dataset: "p/d", Name: "x", Names: 1001})
	wantFault(t, "too many names", err, fault.Invalid)
	_, err = v.RemoveView(ctx, &viewv1.RemoveViewRequest{Dataset: "p/d", Name: "x"})
	wantFault(t, "removal of nothing", err, fault.NotFound)
	if got := lists(t, r, "p/d"); len(got) > 0 {
		t.Errorf("lists %v", got)
	}
	if got, err := v.SaveView(ctx, saveScan("good", "p/d", "")); err != nil || got.GetView().GetSamples() != 1 {
		t.Errorf("%v: %v", got, err)
	}
}

// TestViewsOfManyCallersAtOnce: one of those that save under one name wins, and
// who opens while others refresh gets a whole revision.
func TestViewsOfManyCallersAtOnce(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, v, ctx := r.clients(), viewsOf(r), t.Context()
	loader := loaderv1.NewLoaderServiceClient(dial(t, "unix:"+r.Socket(), ""))
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	for i := range 100 {
		c.put("p/d", fmt.Sprintf("f%02d", i), strings.Repeat("x", i))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 8 {
		wg.Go(func() {
			_, err := v.SaveView(ctx, saveScan("one", "p/d", "size > 50"))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !fault.Is(wire.Fault(err), fault.Exists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || len(lists(t, r, "p/d")) != 1 {
		t.Fatalf("%d saved it, lists %v", won, lists(t, r, "p/d"))
	}
	for k := range 4 {
		wg.Go(func() {
			for range 5 {
				if k == 0 {
					if _, err := v.RefreshView(ctx, &viewv1.RefreshViewRequest{Dataset: "p/d", Name: "one"}); err != nil {
						t.Error(err)
					}
					continue
				}
				st, err := loader.OpenManifest(ctx, &loaderv1.OpenManifestRequest{Dataset: "p/d", View: "one", Where: fmt.Sprintf("size <> %d", 60+k)})
				for err == nil {
					var m *loaderv1.OpenManifestResponse
					if m, err = st.Recv(); err == nil && m.GetManifest() != nil {
						if n := m.GetManifest().GetSamples(); n != 48 {
							t.Errorf("%d samples", n)
						}
						break
					}
				}
				if err != nil && !fault.Is(wire.Fault(err), fault.Stale) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := lists(t, r, "p/d"); len(got) != 1 {
		t.Errorf("lists %v", got)
	}
}
