package manifest_test

import (
	"fmt"
	"testing"

	"daos/internal/fault"
	"daos/loader/manifest"
)

// TestAFullLibraryClosesTheOneUsedLongestAgo: a server that opens a manifest for
// every run goes on for ever, and who comes back is told to open again.
func TestAFullLibraryClosesTheOneUsedLongestAgo(t *testing.T) {
	st, fs := newFS(t)
	for i := range 5 {
		write(t, fs, fmt.Sprintf("%d.a", i), "x")
	}
	dir := t.TempDir()
	l := manifest.NewLibrary(0, 2)
	t.Cleanup(l.Close)
	open := func(glob string) uint64 {
		t.Helper()
		_, h, _, err := l.Open(ctx, request(t, dir, st, fs, manifest.Selection{Glob: glob}))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first, second := open("*.a"), open("0.*")
	held, err := l.Get(second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Get(first); err != nil { // now the second one is older
		t.Fatal(err)
	}
	third := open("1.*")
	if _, err := l.Get(second); !fault.Is(err, fault.Stale) {
		t.Fatalf("the one used longest ago: %v", err)
	}
	if _, err := held.Names(ctx, []uint64{0}); err != nil && !fault.Is(err, fault.Stale) {
		t.Fatalf("who still holds it: %v", err)
	}
	for _, h := range []uint64{first, third} {
		if m, err := l.Get(h); err != nil || m.Info().Samples == 0 {
			t.Fatalf("handle %d: %v", h, err)
		}
	}
	if again := open("0.*"); again == second {
		t.Fatal("a manifest opened again has the handle of the closed one")
	}
}
