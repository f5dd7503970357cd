package engine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine"
	"daos/engine/object"
)

// TestExtentScan compares the one pass over all arrays with a look-up of each,
// at many epochs of a random history of writes and punches of every kind.
func TestExtentScan(t *testing.T) {
	seed := seeds("DAOS_TEST_SEED", uint64(time.Now().UnixNano()))
	t.Logf("DAOS_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	e := open(t, engine.Options{Root: "/root", FS: vfs.NewMem()})
	d, err := e.CreateDataset(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	var epochs []object.Epoch
	for range 300 {
		tx := &object.Tx{}
		for range 1 + rng.IntN(6) {
			w := object.Write{OID: modelObjects[rng.IntN(4)], Dkey: []byte{byte(rng.IntN(5))}, Akey: []byte{"dx"[rng.IntN(2)]}}
			switch rng.IntN(12) {
			case 0:
				w.Op = object.OpPunchObject
				w.Dkey, w.Akey = nil, nil
			case 1:
				w.Op, w.Akey = object.OpPunchDkey, nil
			case 2:
				w.Op = object.OpPunchAkey
			case 3:
				w.Op, w.Offset, w.Length = object.OpPunchRange, rng.Uint64N(5000), rng.Uint64N(2000)
			case 4:
				w.Op, w.Data = object.OpPut, make([]byte, rng.IntN(2000))
			default:
				w.Op, w.Offset, w.Data = object.OpWrite, rng.Uint64N(3<<19), make([]byte, 1+rng.IntN(3000))
				if rng.IntN(4) > 0 {
					w.Offset %= 5000
				}
				w.Data[0] = byte(rng.Uint32())
			}
			tx.Writes = append(tx.Writes, w)
		}
		res, err := d.Commit(t.Context(), tx)
		if err != nil {
			t.Fatal(err)
		}
		epochs = append(epochs, res.Epoch)
	}
	met := 0
	for _, at := range append([]object.Epoch{epochs[299], epochs[0] - 1}, epochs[rng.IntN(300)], epochs[rng.IntN(300)], epochs[rng.IntN(300)]) {
		got := map[string][]object.Extent{}
		for part := range d.ExtentParts() {
			err := d.ScanExtents(t.Context(), at, part, []byte("d"), func(oid object.ID, dkey []byte, xs []object.Extent) bool {
				k := fmt.Sprintf("%v %x", oid, dkey)
				if got[k] != nil {
					t.Fatalf("%s comes twice", k)
				}
				for _, x := range xs {
					x.Record.Inline = bytes.Clone(x.Record.Inline)
					got[k] = append(got[k], x)
				}
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		want := map[string][]object.Extent{}
		for _, oid := range modelObjects {
			for k := range 5 {
				xs, err := d.Extents(t.Context(), at, oid, []byte{byte(k)}, []byte("d"), 0, object.MaxArray)
				if err != nil {
					t.Fatal(err)
				}
				for i := range xs {
					if xs[i].Record.Inline != nil {
						xs[i].Record.Inline = append([]byte(nil), xs[i].Record.Inline...)
					}
				}
				if len(xs) > 0 {
					want[fmt.Sprintf("%v %x", oid, []byte{byte(k)})] = xs
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("at %d: scanned %v, looked up %v", at, got, want)
		}
		met += len(got)
	}
	if met == 0 {
		t.Fatal("nothing to compare")
	}
}
