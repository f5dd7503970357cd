package tensor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine"
	"daos/engine/memstore"
	"daos/engine/object"
	"daos/internal/fault"
)

var ctx = context.Background()

var blobs = []tensor.Column{{Name: "x", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{1 << 20}}}

// blob is pieces of 8 samples of 1 MiB.
func blob(n int) []*tensor.Rows {
	var out []*tensor.Rows
	for i := range n / 8 {
		v := bytes.Repeat([]byte{byte(i)}, 8<<20)
		out = append(out, &tensor.Rows{N: 8, Columns: []tensor.Data{{Values: v}}})
	}
	return out
}

func TestQuotaPassesThroughAndLeavesNothing(t *testing.T) {
	st := memstore.New(memstore.WithQuota(100 << 20))
	tab := tensor.Open(st, "p/t")
	if _, err := tab.Define(ctx, object.RequestID{}, blobs); err != nil {
		t.Fatal(err)
	}
	if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(blob(16)...)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(blob(160)...)); !fault.Is(err, fault.NoSpace) {
			t.Fatal(err)
		}
	}
	info, err := tab.Describe(ctx, 0)
	if err != nil || info.Length != 16 {
		t.Fatalf("length %d, %v", info.Length, err)
	}
	later := tensor.Open(st, "p/t", tensor.WithClock(func() time.Time { return time.Now().Add(24 * time.Hour) }))
	if n, err := later.Collect(ctx); err != nil || n != 0 {
		t.Fatalf("%d leases left, %v", n, err)
	}
}

// dying breaks off in the middle of a staged append as a killed process does:
// nothing after it reaches the store.
type dying struct {
	object.Store
	dead bool
}

func (d *dying) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	if d.dead {
		return object.Result{}, fault.New(fault.Unreachable, "test", "store", "killed")
	}
	return d.Store.Commit(ctx, tx)
}

type killing struct {
	tensor.Source
	d *dying
}

func (k *killing) Next(ctx context.Context) (*tensor.Rows, error) {
	r, err := k.Source.Next(ctx)
	if errors.Is(err, io.EOF) {
		k.d.dead = true
	}
	return r, err
}

// TestKilledAppend: an append that dies after it has staged its data is not
// there after a restart, and what it staged is given back.
func TestKilledAppend(t *testing.T) {
	now := time.Now()
	opts := engine.Options{Root: t.TempDir(), SweepEvery: -1, Now: func() time.Time { return now }}
	e, err := engine.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.CreateDataset(ctx, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	kill := &dying{Store: d}
	tab := tensor.Open(kill, "p/t")
	if _, err := tab.Define(ctx, object.RequestID{}, blobs); err != nil {
		t.Fatal(err)
	}
	if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(blob(8)...)); err != nil {
		t.Fatal(err)
	}
	before, err := e.Usage(1)
	if err != nil {
		t.Fatal(err)
	}
	o := tensor.AppendOptions{Request: object.RequestID{5}}
	if _, err := tab.Append(ctx, o, &killing{tensortest.Source(blob(80)...), kill}); !fault.Is(err, fault.Unreachable) {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = engine.Open(opts); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	if d, err = e.OpenDataset(1); err != nil {
		t.Fatal(err)
	}
	tab = tensor.Open(d, "p/t", tensor.WithClock(func() time.Time { return now }))
	info, err := tab.Describe(ctx, 0)
	if err != nil || info.Length != 8 {
		t.Fatalf("length %d, %v", info.Length, err)
	}
	if n, err := tab.Collect(ctx); err != nil || n != 0 {
		t.Fatalf("%d leases collected before their time, %v", n, err)
	}
	now = now.Add(2 * time.Hour)
	if n, err := tab.Collect(ctx); err != nil || n != 1 {
		t.Fatalf("%d leases collected, %v", n, err)
	}
	if err := e.SetPins(1, nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		now = now.Add(time.Hour)
		if _, err := e.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	after, err := e.Usage(1)
	if err != nil || after.Bytes > before.Bytes+1024 {
		t.Fatalf("%d bytes held, %d before the append that died, %v", after.Bytes, before.Bytes, err)
	}
	res, err := tab.Append(ctx, o, tensortest.Source(blob(80)...)) // the retry
	if err != nil || res.Start != 8 || res.Replayed {
		t.Fatalf("%+v, %v", res, err)
	}
}

// TestFlippedSegment: a flipped bit is reported and never returned.
func TestFlippedSegment(t *testing.T) {
	root := t.TempDir()
	e, err := engine.Open(engine.Options{Root: root, SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.CreateDataset(ctx, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	tab := tensor.Open(d, "p/t")
	if _, err := tab.Define(ctx, object.RequestID{}, blobs); err != nil {
		t.Fatal(err)
	}
	if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(blob(40)...)); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	segs, err := filepath.Glob(filepath.Join(root, "target-*", "seg", "*", "*"))
	if err != nil || len(segs) == 0 {
		t.Fatal(segs, err)
	}
	for _, s := range segs {
		b, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 1<<20 {
			b[len(b)/2] ^= 8
			if err := os.WriteFile(s, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if e, err = engine.Open(engine.Options{Root: root, SweepEvery: -1}); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if d, err = e.OpenDataset(1); err != nil {
		t.Fatal(err)
	}
	tab = tensor.Open(d, "p/t")
	refused := 0
	for i := range uint64(40) {
		r, err := tab.Read(ctx, 0, tensor.Selection{Start: i, Stop: i + 1})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := r.Next(ctx)
		if err != nil {
			if !fault.Is(err, fault.Corrupt) {
				t.Fatal(err)
			}
			refused++
			continue
		}
		if !bytes.Equal(rows.Columns[0].Values, bytes.Repeat([]byte{byte(i / 8)}, 1<<20)) {
			t.Fatalf("wrong bytes of sample %d", i)
		}
	}
	if refused == 0 || refused > len(segs) {
		t.Fatalf("%d samples refused, %d segments", refused, len(segs))
	}
}
