package memstore_test

import (
	"context"
	"testing"
	"time"

	"daos/engine/memstore"
	"daos/engine/object"
	"daos/engine/objecttest"
	"daos/internal/fault"
)

func TestConformance(t *testing.T) {
	objecttest.Run(t, func(t *testing.T) object.Store { return memstore.New() })
}

func TestQuotaHorizonAndRequestWindow(t *testing.T) {
	ctx := context.Background()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := memstore.New(memstore.WithQuota(10), memstore.WithClock(func() time.Time { return now }))
	oid := object.MakeID(object.ClassS1, 0, 1)
	tx := func(n int) *object.Tx {
		return &object.Tx{Request: object.RequestID{9}, Writes: []object.Write{{Op: object.OpPut, OID: oid, Dkey: []byte("d"), Akey: []byte("a"), Data: make([]byte, n)}}}
	}
	if _, err := s.Commit(ctx, tx(11)); !fault.Is(err, fault.NoSpace) {
		t.Fatalf("over quota: %v", err)
	}
	first, err := s.Commit(ctx, tx(10))
	if err != nil || s.Usage().Bytes != 10 {
		t.Fatalf("within quota: %v, %+v", err, s.Usage())
	}
	now = now.Add(11 * time.Minute)
	if _, ok, _ := s.Replay(ctx, object.RequestID{9}); ok {
		t.Fatal("a request id outlived its window")
	}
	e, _ := s.ReadEpoch(ctx, 0)
	s.SetHorizon(e)
	if _, _, err := s.Get(ctx, first.Epoch, oid, []byte("d"), []byte("a")); !fault.Is(err, fault.EpochGone) {
		t.Fatalf("below the horizon: %v", err)
	}
	s.SetHorizon(e, first.Epoch)
	if _, _, err := s.Get(ctx, first.Epoch, oid, []byte("d"), []byte("a")); err != nil {
		t.Fatalf("pinned below the horizon: %v", err)
	}
}
