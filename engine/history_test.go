package engine_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine"
	"daos/engine/memstore"
	"daos/engine/object"
	"daos/internal/fault"
)

// deed is a committed transaction as its author saw it.
type deed struct {
	epoch object.Epoch
	tx    *object.Tx
	found []string // of each of tx.Reads, at tx.ReadAt
}

// TestHistory lets goroutines loose on few keys, then replays what was
// committed in order of epoch on the reference store: each transaction must
// find what it had read, its conditions must hold, and each snapshot read must
// have seen exactly the state at its epoch.
func TestHistory(t *testing.T) {
	seed := seeds("DAOS_HISTORY_SEED", uint64(time.Now().UnixNano()))
	t.Logf("DAOS_HISTORY_SEED=%d (the interleaving is not replayed)", seed)
	e := open(t, engine.Options{Root: "/r", FS: vfs.NewMem(), Targets: 3, SyncEvery: 10 * time.Millisecond, Logger: quiet()})
	d := create(t, e, 1, 1)
	var mu sync.Mutex
	var deeds []deed
	var sights []sight
	refusals := map[fault.Kind]int{}
	replays := 0
	var wg sync.WaitGroup
	for g := range 8 {
		rng := rand.New(rand.NewPCG(seed, uint64(g)))
		wg.Go(func() {
			for i := range int(longer(80, 800)) {
				at, err := d.ReadEpoch(t.Context(), 0)
				if err != nil {
					t.Error(err)
					return
				}
				dk := func() []byte { return fmt.Appendf(nil, "d%d", rng.IntN(4)) }
				oid := func() object.ID { return modelObjects[rng.IntN(len(modelObjects))] }
				if rng.IntN(4) == 0 {
					s := sight{at, ""}
					for _, o := range modelObjects {
						s.dump += dump(t.Context(), t, d, at, o, object.ListOptions{})
					}
					mu.Lock()
					sights = append(sights, s)
					mu.Unlock()
					continue
				}
				tx := &object.Tx{ReadAt: at, Answer: fmt.Appendf(nil, "%d.%d", g, i)}
				var found []string
				for range rng.IntN(2) {
					r := object.Read{OID: oid(), From: dk()}
					r.To = append(slices.Clone(r.From), 0xff)
					tx.Reads = append(tx.Reads, r)
					found = append(found, dump(t.Context(), t, d, at, r.OID, object.ListOptions{From: r.From, To: r.To}))
				}
				if rng.IntN(4) == 0 {
					tx.Conds = append(tx.Conds, object.Cond{Kind: object.CondKind(1 + rng.IntN(2)), OID: oid(), Dkey: dk()})
				}
				for range 1 + rng.IntN(3) {
					w := object.Write{Op: object.Op(1 + rng.IntN(2)), OID: oid(), Dkey: dk(), Akey: []byte("a"), Data: fmt.Appendf(nil, "%d.%d", g, i)}
					if rng.IntN(6) == 0 {
						w.Op, w.Data = object.OpPunchDkey, nil
					}
					tx.Writes = append(tx.Writes, w)
				}
				calls := 1
				if rng.IntN(3) == 0 {
					tx.Request = object.RequestID{3, byte(g), byte(i), byte(i >> 8)}
					calls = 2 // at once: one of them happens
				}
				var both sync.WaitGroup
				for range calls {
					both.Go(func() {
						c := *tx
						r, err := d.Commit(t.Context(), &c)
						mu.Lock()
						defer mu.Unlock()
						switch {
						case err != nil:
							refusals[fault.KindOf(err)]++
						case r.Replayed:
							replays++
						default:
							deeds = append(deeds, deed{r.Epoch, tx, found})
						}
					})
				}
				both.Wait()
			}
		})
	}
	wg.Wait()
	for kind := range refusals {
		if kind != fault.Conflict && kind != fault.Exists && kind != fault.NotFound {
			t.Errorf("%d calls were refused: %v", refusals[kind], kind)
		}
	}
	t.Logf("%d committed, %d replayed, refused: %v, %d snapshot reads", len(deeds), replays, refusals, len(sights))
	slices.SortFunc(deeds, func(a, b deed) int { return cmp.Compare(a.epoch, b.epoch) })
	slices.SortFunc(sights, func(a, b sight) int { return cmp.Compare(a.at, b.at) })
	ref := memstore.New()
	latest := func() object.Epoch {
		at, err := ref.ReadEpoch(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	look := func(before object.Epoch) {
		for len(sights) > 0 && sights[0].at < before {
			var want string
			for _, o := range modelObjects {
				want += dump(t.Context(), t, ref, latest(), o, object.ListOptions{})
			}
			if sights[0].dump != want {
				t.Fatalf("a snapshot read at %d saw\n%s\nthe state there is\n%s", sights[0].at, sights[0].dump, want)
			}
			sights = sights[1:]
		}
	}
	for i, x := range deeds {
		if i > 0 && x.epoch == deeds[i-1].epoch {
			t.Fatalf("epoch %d was given twice", x.epoch)
		}
		look(x.epoch)
		for j, r := range x.tx.Reads {
			if got := dump(t.Context(), t, ref, latest(), r.OID, object.ListOptions{From: r.From, To: r.To}); got != x.found[j] {
				t.Fatalf("the transaction at %d read\n%s\nat its place it is\n%s", x.epoch, x.found[j], got)
			}
		}
		if _, err := ref.Commit(t.Context(), &object.Tx{Conds: x.tx.Conds, Writes: x.tx.Writes, Request: x.tx.Request}); err != nil {
			t.Fatalf("the transaction at %d: %v", x.epoch, err)
		}
	}
	look(object.EpochMax)
	if u, err := e.Usage(1); err != nil || u.Bytes != ref.Usage().Bytes || u.Bytes != e.Accounted(1) {
		t.Fatalf("usage %d, replay %d, accounted %d, %v", u.Bytes, ref.Usage().Bytes, e.Accounted(1), err)
	}
}
