package vos_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"daos/engine/object"
	"daos/engine/vos"
)

// Staged bytes go past the page cache into segments of their own: they outlive
// a restart, a sweep moves what lives of them, and an index can be built from
// their footers.
func TestStaged_SegmentsLiveAsOthers(t *testing.T) {
	dir := t.TempDir()
	o := options(nil, dir)
	o.SegmentCap = 2 << 20
	v, err := vos.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	data := func(i int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%08d", i)), 37_501) } // 300,008 bytes
	stage := func(i int) error {
		b := batch(object.Epoch(10+i), write(oid(uint64(i)), "f", "0", 0, data(i)))
		b.Deferred = true
		return v.Prepare(context.Background(), b)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < 40; i += 4 {
				if err := stage(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := v.Sync(); err != nil {
		t.Fatal(err)
	}
	check := func(when string, live func(int) bool) {
		t.Helper()
		for i := range 40 {
			want := ""
			if live(i) {
				want = string(data(i))
			}
			if got := bytesOf(t, v, 90, oid(uint64(i)), "f", "0", 0, 300_008); want != "" && got != want {
				t.Errorf("%s: object %d differs", when, i)
			}
		}
	}
	all := func(int) bool { return true }
	check("written", all)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err = vos.Open(o); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	check("opened again", all)
	ex, err := v.Extents(60, place(oid(1)), []byte("f"), []byte("0"), 0, 10)
	if err != nil || len(ex) != 1 {
		t.Fatal(ex, err)
	}
	old := ex[0].Record

	del := batch(70)
	some := func(i int) bool { return i%5 == 1 }
	for i := range 40 {
		if !some(i) {
			del.Writes = append(del.Writes, placed(punch(object.OpPunchObject, oid(uint64(i)), "", "")))
		}
	}
	prepare(t, v, del)
	for range 2 {
		if _, err := v.Sweep(context.Background(), testDS, nil, 80); err != nil {
			t.Fatal(err)
		}
	}
	check("swept", some)
	if u, _ := v.Usage(testDS); u != (object.Usage{Bytes: 8 * 300_008, Records: 8}) {
		t.Errorf("usage %+v", u)
	}
	// What a reader found before still gives the bytes, in pieces as well.
	var out object.Regions
	if err := v.Regions(testDS, old, 5, 100_000, &out); err != nil || out.Size() != 100_000 {
		t.Errorf("an old position: %d bytes, %v", out.Size(), err)
	}
	out.Release()
	if n, err := v.Scrub(context.Background(), testDS, func(err error) { t.Error(err) }); err != nil || n == 0 {
		t.Error(n, err)
	}
}

// What was written past the page cache is read through it where there is room, and
// lies there for the next reader; where there is none, it is read past it once.
func TestStaged_ReadsLeaveThePagesWhereThereIsRoom(t *testing.T) {
	for _, room := range []bool{true, false} {
		v, err := vos.Open(options(nil, t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		vos.AssumeRoom(v, room)
		data := bytes.Repeat([]byte("sixteen bytes . "), 40_000) // not whole granules
		b := batch(10, write(oid(1), "f", "0", 0, data))
		b.Deferred = true
		prepare(t, v, b)
		if err := v.Sync(); err != nil {
			t.Fatal(err)
		}
		ex, err := v.Extents(20, place(oid(1)), []byte("f"), []byte("0"), 0, uint64(len(data)))
		if err != nil || len(ex) != 1 {
			t.Fatal(ex, err)
		}
		for _, first := range []bool{true, false} {
			var out object.Regions
			if err := v.Regions(testDS, ex[0].Record, 100, uint64(len(data))-200, &out); err != nil {
				t.Fatal(err)
			}
			inFile := 0
			for _, p := range out.Parts {
				inFile += p.Len
			}
			if whole := inFile == len(data)-200; whole != (room || !first) {
				t.Errorf("room %v, first %v: %d bytes in files", room, first, inFile)
			}
			out.Release()
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
