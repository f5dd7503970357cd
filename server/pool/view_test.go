package pool_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"daos/engine/object"
	"daos/internal/fault"
	"daos/server/pool"
)

// newView makes a list's number and the record that goes with it.
func (b *bench) newView(d *pool.Dataset, name string, revision uint64) *pool.View {
	b.t.Helper()
	l, err := b.NewList(b.t.Context(), d.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	st, err := b.engine.Store(b.t.Context(), d.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	at, err := st.ReadEpoch(b.t.Context(), 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return &pool.View{Dataset: d.ID, Name: name, Revision: revision, Epoch: at, List: l.List, Samples: 3, Kind: "scan", Query: "q"}
}

func (b *bench) litter() []uint64 {
	b.t.Helper()
	all, err := b.AllLitter(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	var out []uint64
	for _, l := range all {
		out = append(out, l.List)
	}
	slices.Sort(out)
	return out
}

func (b *bench) snapshots(d string) []string {
	b.t.Helper()
	all, err := b.Snapshots(addr(b.t, d))
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for _, s := range all {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return out
}

// TestAViewComesAndGoesWithItsSnapshotAndList: record, snapshot and what is known
// of the list change together, also over a restart.
func TestAViewComesAndGoesWithItsSnapshotAndList(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	b.pool("p")
	d := b.dataset("p/d")
	a := addr(t, "p/d")
	v := b.newView(d, "big", 1)
	if got := b.litter(); !slices.Equal(got, []uint64{v.List}) {
		t.Fatalf("lists that no view has: %v", got)
	}
	request := object.RequestID{1}
	made, err := b.PutView(ctx, "view.save", a, v, nil, request)
	if err != nil || made.Snapshot != "view-big-1" || !made.OwnsSnapshot {
		t.Fatalf("%+v: %v", made, err)
	}
	if again, err := b.PutView(ctx, "view.save", a, v, nil, request); err != nil || again.List != made.List || again.Snapshot != made.Snapshot {
		t.Fatalf("the same call again: %+v: %v", again, err)
	}
	if _, ok, err := b.ReplayedView(ctx, "view.save", a, "big", request); !ok || err != nil {
		t.Fatalf("not known any more: %v", err)
	}
	if !slices.Contains(b.engine.pins(d.ID), v.Epoch) {
		t.Fatal("the engine does not keep the epoch")
	}
	_, err = b.PutView(ctx, "view.save", a, b.newView(d, "big", 1), nil, object.RequestID{})
	wantKind(t, err, fault.Exists)
	b.reopen()
	old, err := b.View(ctx, a, "big")
	if err != nil || old.List != v.List || old.Revision != 1 {
		t.Fatalf("%+v: %v", old, err)
	}
	if _, err := b.SnapshotOf(a, old); err != nil {
		t.Fatal(err)
	}
	left := b.litter() // of the call that came too late
	next := b.newView(d, "big", 2)
	made, err = b.PutView(ctx, "view.refresh", a, next, old, object.RequestID{})
	if err != nil || made.Snapshot != "view-big-2" {
		t.Fatalf("%+v: %v", made, err)
	}
	want := append(left, old.List)
	slices.Sort(want)
	if got := b.litter(); !slices.Equal(got, want) {
		t.Fatalf("lists that no view has: %v, want %v", got, want)
	}
	_, err = b.PutView(ctx, "view.refresh", a, b.newView(d, "big", 2), old, object.RequestID{})
	wantKind(t, err, fault.Conflict)
	if got := b.snapshots("p/d"); !slices.Equal(got, []string{"view-big-1", "view-big-2"}) {
		t.Fatalf("snapshots %v", got)
	}
	b.advance(pool.ReplacedTTL + time.Second)
	if err := b.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if got := b.snapshots("p/d"); !slices.Equal(got, []string{"view-big-2"}) {
		t.Fatalf("snapshots a day later: %v", got)
	}
	gone, err := b.RemoveView(ctx, a, "big", object.RequestID{2})
	if err != nil || !gone.Snapshot || gone.View.List != next.List || !slices.Contains(b.litter(), next.List) {
		t.Fatalf("%+v: %v", gone, err)
	}
	if again, err := b.RemoveView(ctx, a, "big", object.RequestID{2}); err != nil || !again.Snapshot || again.View.List != next.List {
		t.Fatalf("the same call again: %+v: %v", again, err)
	}
	if got := b.snapshots("p/d"); len(got) > 0 {
		t.Fatalf("snapshots %v", got)
	}
	_, err = b.RemoveView(ctx, a, "big", object.RequestID{})
	wantKind(t, err, fault.NotFound)
}

// TestAViewOfASnapshotNamesIt: where it is gone, or has been made anew.
func TestAViewOfASnapshotNamesIt(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	b.pool("p")
	d := b.dataset("p/d")
	a := addr(t, "p/d")
	s, err := b.CreateSnapshot(ctx, a, pool.NewSnapshot{Name: "s"}, object.RequestID{})
	if err != nil {
		t.Fatal(err)
	}
	v := b.newView(d, "w", 1)
	v.Snapshot, v.Epoch = "nope", s.Epoch
	_, err = b.PutView(ctx, "view.save", a, v, nil, object.RequestID{})
	wantKind(t, err, fault.NotFound)
	v.Snapshot = "s"
	made, err := b.PutView(ctx, "view.save", a, v, nil, object.RequestID{})
	if err != nil || made.OwnsSnapshot {
		t.Fatalf("%+v: %v", made, err)
	}
	err = b.DestroySnapshot(ctx, addr(t, "p/d@s"), false, object.RequestID{})
	wantKind(t, err, fault.NotEmpty)
	if !strings.Contains(err.Error(), "read by view w") || !strings.Contains(err.Error(), "--force") {
		t.Fatal(err)
	}
	if _, err := b.SnapshotOf(a, made); err != nil {
		t.Fatalf("what was refused has happened: %v", err)
	}
	if err := b.DestroySnapshot(ctx, addr(t, "p/d@s"), true, object.RequestID{}); err != nil {
		t.Fatal(err)
	}
	_, err = b.SnapshotOf(a, made)
	wantKind(t, err, fault.NotFound)
	for range 3 { // until the clock has moved
		if _, err := b.CreateSnapshot(ctx, a, pool.NewSnapshot{Name: "s"}, object.RequestID{}); err != nil && !fault.Is(err, fault.Exists) {
			t.Fatal(err)
		}
	}
	if now, err := b.SnapshotOf(a, made); err == nil && now.Epoch != made.Epoch {
		t.Fatal("another snapshot of that name was taken for the view's")
	}
	if gone, err := b.RemoveView(ctx, a, "w", object.RequestID{}); err != nil || gone.Snapshot {
		t.Fatalf("a snapshot that the view did not make went with it: %+v, %v", gone, err)
	}
}

// TestAViewKeepsTheSnapshotThatItMade: also where its query is run again there.
func TestAViewKeepsTheSnapshotThatItMade(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	b.pool("p")
	d := b.dataset("p/d")
	a := addr(t, "p/d")
	old, err := b.PutView(ctx, "view.save", a, b.newView(d, "w", 1), nil, object.RequestID{})
	if err != nil {
		t.Fatal(err)
	}
	if old, err = b.View(ctx, a, "w"); err != nil {
		t.Fatal(err)
	}
	next := b.newView(d, "w", 2)
	next.Snapshot, next.Epoch = old.Snapshot, old.Epoch
	made, err := b.PutView(ctx, "view.refresh", a, next, old, object.RequestID{})
	if err != nil || !made.OwnsSnapshot {
		t.Fatalf("%+v: %v", made, err)
	}
	if gone, err := b.RemoveView(ctx, a, "w", object.RequestID{}); err != nil || !gone.Snapshot || len(b.snapshots("p/d")) > 0 {
		t.Fatalf("its snapshot stays: %v: %v", b.snapshots("p/d"), err)
	}
}

// TestASnapshotIsKeptForAnotherView: that reads what the removed, or refreshed, one
// has made; and goes with the last.
func TestASnapshotIsKeptForAnotherView(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	b.pool("p")
	d := b.dataset("p/d")
	a := addr(t, "p/d")
	put := func(name string, old, of *pool.View) *pool.View {
		t.Helper()
		v := b.newView(d, name, 1)
		if old != nil {
			v.Revision = old.Revision + 1
		}
		if of != nil {
			v.Snapshot, v.Epoch = of.Snapshot, of.Epoch
		}
		if _, err := b.PutView(ctx, "view.save", a, v, old, object.RequestID{}); err != nil {
			t.Fatal(err)
		}
		made, err := b.View(ctx, a, name)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	first := put("first", nil, nil)
	second, third := put("second", nil, first), put("third", nil, first)
	if second.OwnsSnapshot || third.OwnsSnapshot {
		t.Fatal("it has not made its snapshot")
	}
	gone, err := b.RemoveView(ctx, a, "first", object.RequestID{7})
	if err != nil || gone.Snapshot || gone.Heir != "second" {
		t.Fatalf("%+v: %v", gone, err)
	}
	if again, err := b.RemoveView(ctx, a, "first", object.RequestID{7}); err != nil || again.Heir != "second" {
		t.Fatalf("the same call again: %+v: %v", again, err)
	}
	if _, err := b.SnapshotOf(a, third); err != nil {
		t.Fatal(err)
	}
	if second, err = b.View(ctx, a, "second"); err != nil || !second.OwnsSnapshot {
		t.Fatalf("%+v: %v", second, err)
	}
	put("second", second, nil) // its next revision has a snapshot of its own
	b.advance(pool.ReplacedTTL + time.Second)
	if err := b.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SnapshotOf(a, third); err != nil {
		t.Fatalf("the snapshot of another view has expired: %v", err)
	}
	if gone, err := b.RemoveView(ctx, a, "third", object.RequestID{}); err != nil || !gone.Snapshot {
		t.Fatalf("%+v: %v", gone, err)
	}
	if got := b.snapshots("p/d"); !slices.Equal(got, []string{"view-second-2"}) {
		t.Fatalf("snapshots %v", got)
	}
}

// TestViewsGoWithTheirDataset: also the lists that are known of.
func TestViewsGoWithTheirDataset(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	b.pool("p")
	d := b.dataset("p/d")
	a := addr(t, "p/d")
	v := b.newView(d, "w", 1)
	if _, err := b.PutView(ctx, "view.save", a, v, nil, object.RequestID{}); err != nil {
		t.Fatal(err)
	}
	late := b.newView(d, "late", 1)
	if err := b.DestroyDataset(ctx, a, object.RequestID{}); err != nil {
		t.Fatal(err)
	}
	if got := b.litter(); len(got) > 0 {
		t.Fatalf("lists of a dataset that is gone: %v", got)
	}
	b.dataset("p/d")
	if all, err := b.Views(ctx, a); err != nil || len(all) > 0 {
		t.Fatalf("views of the one before: %v: %v", all, err)
	}
	_, err := b.PutView(ctx, "view.save", a, late, nil, object.RequestID{})
	wantKind(t, err, fault.Conflict)
	if d, _, err := b.ByID(ctx, d.ID); d != nil || err != nil {
		t.Fatalf("%+v: %v", d, err)
	}
	for _, name := range []string{"", "a/b", "-x"} {
		wantKind(t, pool.CheckViewName(name), fault.Invalid)
	}
	if err := pool.CheckViewName(string(make([]byte, 101))); err == nil {
		t.Fatal("a name of 101 NULs")
	}
}
