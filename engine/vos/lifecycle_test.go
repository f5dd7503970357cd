package vos_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/object"
	"daos/engine/target"
	"daos/engine/vos"
	"daos/internal/fault"
)

func TestDestroy_LeavesNothingAndNoNeighbourIsTouched(t *testing.T) {
	f := vfs.NewMem()
	v := open(t, f, "t")
	big := strings.Repeat("b", 3000)
	for _, ds := range []object.DatasetID{7, 8} {
		b := batch(object.Epoch(10*ds), put(oid(1), "d", "a", big), write(oid(1), "f", "0", 0, []byte(big)), punch(object.OpPunchObject, oid(2), "", ""))
		b.Dataset, b.Participants, b.Request = ds, []uint16{3, 4}, object.RequestID{byte(ds)}
		prepare(t, v, b)
	}
	if err := v.Destroy(7); err != nil {
		t.Fatal(err)
	}
	for range 2 { // before and after reopening
		if n := vos.CountRows(v, 7); n != 0 {
			t.Errorf("%d rows are left", n)
		}
		if u, _ := v.Usage(7); u != (object.Usage{}) {
			t.Errorf("usage %+v is left", u)
		}
		rows, err := v.Undecided()
		if err != nil || len(rows) != 1 || rows[0].Dataset != 8 {
			t.Errorf("rows %+v %v", rows, err)
		}
		if names, err := f.List("t/seg"); err != nil || len(names) != 1 {
			t.Errorf("folders %v %v", names, err)
		}
		p := place(oid(1))
		p.Dataset = 8
		if got, err := v.Get(object.EpochMax, p, []byte("d"), []byte("a")); err != nil || got.Record.Length != 3000 {
			t.Errorf("the neighbour: %+v %v", got, err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		v = open(t, f, "t")
	}
	_ = v.Close()
}

func TestSweep_UnlinksAndRewritesSegments(t *testing.T) {
	dir := t.TempDir()
	o := options(nil, dir)
	o.SegmentCap = 1 << 20
	v, err := vos.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	data := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 100_000) }
	for i := range 40 { // about four segments
		prepare(t, v, batch(object.Epoch(10+i), write(oid(uint64(i)), "f", "0", 0, data(i))))
	}
	ex, err := v.Extents(60, place(oid(1)), []byte("f"), []byte("0"), 0, 10)
	if err != nil || len(ex) != 1 {
		t.Fatal(ex, err)
	}
	old := ex[0].Record
	m, err := v.Segment(testDS, old.Segment)
	if err != nil {
		t.Fatal(err)
	}
	gen := v.Generation()
	del := batch(70)
	for i := range 40 { // one in five stays, nothing of the last segments
		if i%5 != 1 || i > 20 {
			del.Writes = append(del.Writes, placed(punch(object.OpPunchObject, oid(uint64(i)), "", "")))
		}
	}
	prepare(t, v, del)
	if st, err := v.Sweep(context.Background(), testDS, []object.Epoch{60}, 80); err != nil || st.Versions != 0 {
		t.Fatalf("a kept epoch lost versions: %+v %v", st, err)
	}
	st, err := v.Sweep(context.Background(), testDS, nil, 80)
	if err != nil || st.Versions != 40-4+int64(len(del.Writes)) || st.Segments < 3 {
		t.Fatalf("%+v %v", st, err)
	}
	if _, err := v.Sweep(context.Background(), testDS, nil, 80); err != nil {
		t.Fatal(err)
	}
	if v.Generation() == gen {
		t.Error("records moved, the generation did not")
	}
	for _, i := range []int{1, 6, 11, 16} {
		if got := bytesOf(t, v, 90, oid(uint64(i)), "f", "0", 0, 100_000); got != string(data(i)) {
			t.Errorf("object %d differs after the rewrite", i)
		}
	}
	// The mapping and the position from before still give the bytes.
	if got := m.Bytes()[old.Pos : old.Pos+old.Length]; !bytes.Equal(got, data(1)) {
		t.Error("the mapping of an unlinked segment differs")
	}
	m.Release()
	p := make([]byte, 10)
	if err := v.ReadRecord(testDS, old, 5, p); err != nil || p[0] != 1 {
		t.Errorf("an old position: %v", err)
	}
	if u, _ := v.Usage(testDS); u != (object.Usage{Bytes: 400_000, Records: 4}) {
		t.Errorf("usage %+v", u)
	}
	if st, err := v.Sweep(context.Background(), testDS, nil, 90); err != nil || st != (target.SweepStats{}) {
		t.Errorf("a sweep at rest did %+v %v", st, err)
	}
}

func TestSweep_KeepsRequestsForTenMinutes(t *testing.T) {
	v, _ := mem(t)
	b := batch(1000, put(oid(1), "d", "a", "x"))
	b.Request, b.Answer = object.RequestID{1}, []byte("yes")
	prepare(t, v, b)
	later := func(e object.Epoch) bool {
		prepare(t, v, batch(e, put(oid(1), "d", "a", "y")))
		if _, err := v.Sweep(context.Background(), testDS, nil, e); err != nil {
			t.Fatal(err)
		}
		_, ok, err := v.Request(testDS, object.RequestID{1})
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !later(1000 + vos.RequestKept - 1) {
		t.Error("a request row went too early: its retry would happen twice")
	}
	if later(1000 + 2*vos.RequestKept) {
		t.Error("a request row stayed")
	}
}

func TestSweep_MergesSmallExtents(t *testing.T) {
	v, _ := mem(t)
	var want strings.Builder
	for i := range 200 {
		s := strings.Repeat(string(rune('a'+i%26)), 50)
		prepare(t, v, batch(object.Epoch(10+i), write(oid(1), "f", "0", uint64(want.Len()), []byte(s))))
		want.WriteString(s)
	}
	if _, err := v.Sweep(context.Background(), testDS, []object.Epoch{50}, 300); err != nil {
		t.Fatal(err)
	}
	if got := bytesOf(t, v, 50, oid(1), "f", "0", 0, 3000); got != want.String()[:41*50]+strings.Repeat(".", 3000-41*50) {
		t.Error("a kept epoch sees something else")
	}
	if _, err := v.Sweep(context.Background(), testDS, nil, 400); err != nil {
		t.Fatal(err)
	}
	ex, err := v.Extents(400, place(oid(1)), []byte("f"), []byte("0"), 0, 1<<20)
	if err != nil || len(ex) != 1 {
		t.Fatalf("%d extents, %v", len(ex), err)
	}
	if got := bytesOf(t, v, 400, oid(1), "f", "0", 0, 10_000); got != want.String() {
		t.Error("merged bytes differ")
	}
	if u, _ := v.Usage(testDS); u != (object.Usage{Bytes: 10_000, Records: 1}) {
		t.Errorf("usage %+v", u)
	}
}

func TestBadInput_IsRefused(t *testing.T) {
	v, _ := mem(t)
	ctx := context.Background()
	long := strings.Repeat("k", object.MaxKey+1)
	for name, b := range map[string]*target.Batch{
		"dataset 0":       {Epoch: 5},
		"epoch 0":         {Dataset: 7},
		"long dkey":       batch(5, put(oid(1), long, "a", "")),
		"long akey":       batch(5, put(oid(1), "a", long, "")),
		"long value":      batch(5, object.Write{Op: object.OpPut, OID: oid(1), Data: make([]byte, object.MaxSingle+1)}),
		"extent past end": batch(5, write(oid(1), "a", "b", 1<<64-3, []byte("abcd"))),
		"operation 99":    batch(5, object.Write{Op: 99, OID: oid(1)}),
	} {
		if err := v.Prepare(ctx, b); !fault.Is(err, fault.Invalid, fault.TooBig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := v.Prepare(canceled, batch(5, put(oid(1), "a", "b", "c"))); !errors.Is(err, fault.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if vos.CountRows(v, testDS) != 0 {
		t.Error("a refused batch left rows")
	}
	prepare(t, v, batch(5, put(oid(1), "a", "b", "c"), write(oid(1), "a", "b", 1<<64-5, []byte("abcd"))))
	for _, pos := range [][]byte{{}, {1}, make([]byte, 45), bytes.Repeat([]byte{0xff}, 60)} {
		if err := v.Scan(ctx, testDS, 9, 0, 1<<32-1, pos, func(object.Row, []byte) bool { return true }); !fault.Is(err, fault.Invalid) {
			t.Errorf("position %x: %v", pos, err)
		}
	}
	if end, err := v.ArrayEnd(9, place(oid(1)), []byte("a"), []byte("b")); err != nil || end != 1<<64-1 {
		t.Errorf("the end of the longest array: %d %v", end, err)
	}
	for _, r := range []object.Record{
		{Length: 10, Segment: 99, Pos: 64, Sums: []uint32{1}},
		{Length: 10, Segment: 1, Pos: 1 << 62, Sums: []uint32{1}},
		{Length: 1 << 60, Segment: 1, Sums: []uint32{1}},
		{Length: 10, Inline: []byte("x"), Sums: []uint32{1}},
	} {
		if err := v.ReadRecord(testDS, r, 0, make([]byte, 10)); err == nil {
			t.Errorf("record %+v was read", r)
		}
	}
}

func TestOpen_IsExclusiveAndNamesTheTarget(t *testing.T) {
	dir := t.TempDir()
	v := open(t, nil, dir)
	if _, err := vos.Open(options(nil, dir)); err == nil {
		t.Error("a target was opened twice")
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := v.Prepare(context.Background(), batch(5, put(oid(1), "a", "b", "c"))); !fault.Is(err, fault.Unreachable) {
		t.Errorf("a closed target: %v", err)
	}
	o := options(nil, dir)
	o.ID = 9
	if _, err := vos.Open(o); !fault.Is(err, fault.Invalid) {
		t.Errorf("another target's folder: %v", err)
	}
}

// A callback may call the target while somebody closes it.
func TestClose_WaitsForCallbacks(t *testing.T) {
	v, _ := mem(t)
	prepare(t, v, batch(5, put(oid(1), "a", "b", "c"), put(oid(1), "b", "b", "c")))
	closed := make(chan error, 1)
	n := 0
	err := v.Scan(context.Background(), testDS, 9, 0, 1<<32-1, nil, func(object.Row, []byte) bool {
		if n++; n == 1 {
			go func() { closed <- v.Close() }()
		}
		for n == 1 { // until Close has begun
			if _, err := v.Get(9, place(oid(1)), []byte("a"), []byte("b")); fault.Is(err, fault.Unreachable) {
				break
			}
		}
		return true
	})
	if err != nil || n != 2 {
		t.Errorf("%d rows, %v", n, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
