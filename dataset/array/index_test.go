package array_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"daos/dataset/array"
	"daos/engine"
	"daos/engine/object"
)

// TestFrozen_OneArrayAtTwoEpochs: what is remembered of an array is that of one epoch.
func TestFrozen_OneArrayAtTwoEpochs(t *testing.T) {
	ctx := t.Context()
	open, d, _ := mapped(t, array.Spec{Shape: []uint64{4}, Chunks: []uint64{2}})
	var at [3]object.Epoch
	for i := range at {
		if _, err := d.Resize(ctx, "x", []uint64{uint64(4 + i)}, object.RequestID{}); err != nil {
			t.Fatal(err)
		}
		axes := []array.Axis{{Count: uint64(4 + i), Step: 1}}
		done, err := d.Write(ctx, "x", axes, bytes.Repeat([]byte{byte(i + 1)}, 4*(4+i)), array.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		at[i] = done.Epoch
	}
	frozen := open(array.Frozen())
	for range 3 {
		for i, e := range at {
			r, err := frozen.Select(ctx, e, "x", nil)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, r.Bytes())
			if err := r.ReadInto(ctx, b); err != nil || !bytes.Equal(b, bytes.Repeat([]byte{byte(i + 1)}, 4*(4+i))) {
				t.Fatalf("epoch %d: %v, %v", i, b, err)
			}
		}
	}
}

// TestFrozen reads selections as a snapshot is read, where the places of chunks
// are remembered, and as anything else is: both are the same, the first time and
// again, of chunks that are whole, cut at the edge, written in bits, never
// written, and after the records have moved.
func TestFrozen(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	ctx := context.Background()
	st, err := e.CreateDataset(ctx, object.DatasetID(1), 1)
	if err != nil {
		t.Fatal(err)
	}
	maps := &array.Mappings{}
	t.Cleanup(maps.Close)
	live := array.Open(st, "p/a")
	frozen := array.Open(st, "p/a", array.WithMappings(maps), array.Frozen())
	dtype, err := array.ParseDType("float32")
	if err != nil {
		t.Fatal(err)
	}
	pick := func(n uint64) array.Axis {
		switch a := (array.Axis{Start: rng.Uint64N(n), Step: 1 + rng.Uint64N(3)}); rng.IntN(6) {
		case 0:
			return array.Axis{Count: n, Step: 1}
		case 1:
			a.Indices = []uint64{rng.Uint64N(n), rng.Uint64N(n), rng.Uint64N(n)}
			return a
		default:
			a.Count = 1 + rng.Uint64N((n-1-a.Start)/a.Step+1)
			return a
		}
	}
	for round := range 6 {
		path := fmt.Sprint("x", round)
		spec := array.Spec{DType: dtype, Shape: []uint64{20, 300, 260}, Chunks: []uint64{7, 128, 512}}
		if round%2 == 1 {
			spec.Chunks = []uint64{8, 300, 260} // of more than one extent
			spec.Fill = []byte{1, 2, 3, 4}
		}
		if _, _, err := live.Create(ctx, path, spec, array.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for range 1 + rng.IntN(5) {
			axes := []array.Axis{pick(20), pick(300), pick(260)}
			for d := range axes {
				axes[d].Indices = nil
				axes[d].Count = max(axes[d].Count, 1)
			}
			data := make([]byte, 4*axes[0].Count*axes[1].Count*axes[2].Count)
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			if _, err := live.Write(ctx, path, axes, data, array.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		at, err := st.ReadEpoch(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		compare := func(axes []array.Axis) {
			t.Helper()
			read := func(d *array.Dataset) []byte {
				r, err := d.Select(ctx, at, path, axes)
				if err != nil {
					t.Fatal(err)
				}
				p := make([]byte, r.Bytes())
				if err := r.ReadInto(ctx, p); err != nil {
					t.Fatal(err)
				}
				return p
			}
			if want, got := read(live), read(frozen); !bytes.Equal(want, got) {
				t.Fatalf("round %d: axes %+v differ", round, axes)
			}
		}
		for range 40 {
			axes := []array.Axis{pick(20), pick(300), pick(260)}
			compare(axes)
			compare(axes)
		}
		// What comes later is not seen at the epoch that is frozen.
		all := []array.Axis{{Count: 20, Step: 1}, {Count: 300, Step: 1}, {Count: 260, Step: 1}}
		if _, err := live.Write(ctx, path, all, make([]byte, 4*20*300*260), array.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		compare(all)
		compare([]array.Axis{pick(20), pick(300), pick(260)})
	}
}
