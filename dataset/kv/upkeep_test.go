package kv_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"daos/dataset/kv"
	"daos/engine"
	"daos/engine/object"
)

// What was overwritten and removed is freed, large values and appends too; what
// a snapshot sees stays.
func TestSweepFreesWhatIsGone(t *testing.T) {
	ctx := context.Background()
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1, Window: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	st, err := e.CreateDataset(ctx, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := kv.Open(st, kv.Options{})
	put := func(key string, value []byte) {
		t.Helper()
		if _, err := d.Apply(ctx, object.RequestID{}, []kv.Op{{Kind: kv.OpPut, Key: []byte(key), Value: value}}); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func() int64 {
		t.Helper()
		if _, err := e.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		u, err := e.Usage(1)
		if err != nil {
			t.Fatal(err)
		}
		return u.Bytes
	}
	first := bytes.Repeat([]byte("first"), 200_000)
	put("k", first)
	head, err := d.Head(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.SetPins(1, []object.Epoch{head.Epoch()}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		put("k", make([]byte, 1_000_000))
		put("small", make([]byte, 100_000))
		if _, err := d.Apply(ctx, object.RequestID{}, []kv.Op{{Kind: kv.OpAppend, Key: []byte("log"), Value: make([]byte, 100_000)}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := sweep(); got < 2_600_000 || got > 2_610_000 {
		t.Errorf("%d bytes are kept, of 2.6 MB that can be seen", got)
	}
	v := d.At(head.Epoch())
	x, err := v.Get(ctx, []byte("k"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := v.Bytes(ctx, &x); err != nil || !bytes.Equal(b, first) {
		t.Errorf("the pinned value is %d bytes: %v", len(b), err)
	}
	if err := e.SetPins(1, nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"k", "small", "log"} {
		if _, err := d.Apply(ctx, object.RequestID{}, []kv.Op{{Kind: kv.OpDeleteKey, Key: []byte(key)}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := sweep(); got > 1000 {
		t.Errorf("%d bytes are kept of nothing", got)
	}
}
