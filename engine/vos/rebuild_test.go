package vos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/journal"
	"daos/engine/object"
	"daos/engine/vos"
	"daos/internal/fault"
)

func TestRebuildIndex_FindsWhatSegmentsHold(t *testing.T) {
	mem := vfs.NewCrashableMem()
	v := open(t, mem, "t")
	big := strings.Repeat("b", 3000)
	prepare(t, v, batch(10, put(oid(1), "d", "small", "s"), put(oid(1), "d", "big", big)))
	prepare(t, v, batch(20, write(oid(2), "f", "0", 100, []byte(strings.Repeat("w", 200_000)))))
	// A crash leaves the segment without a footer; the next sweep writes it.
	f := mem.CrashClone(vfs.CrashCloneCfg{})
	_ = v.Close()
	v = open(t, f, "t")
	prepare(t, v, batch(30, put(oid(3), "d", "big", big))) // sealed by Close
	if _, err := v.Sweep(context.Background(), testDS, []object.Epoch{10}, 30); err != nil {
		t.Fatal(err)
	}
	before, err := v.Usage(testDS)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := vos.RebuildIndex(context.Background(), options(f, "t"), 0, nil); !fault.Is(err, fault.Exists) {
		t.Fatalf("an index that is there: %v", err)
	}
	if err := f.RemoveAll("t/index"); err != nil {
		t.Fatal(err)
	}
	if _, err := vos.Open(options(f, "t")); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("a target without its index was opened: %v", err)
	}
	st, err := vos.RebuildIndex(context.Background(), options(f, "t"), 0, func(e error) { t.Error(e) })
	if err != nil || st.Segments != 2 || st.Records != 3 || st.Bare+st.Damaged != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	v = open(t, f, "t")
	defer v.Close()
	for _, o := range []object.ID{oid(1), oid(3)} {
		if s, ok := value(t, v, 30, o, "d", "big"); !ok || s != big {
			t.Errorf("%v: %d bytes, %v", o, len(s), ok)
		}
	}
	if s := bytesOf(t, v, 30, oid(2), "f", "0", 99, 3); s != ".ww" {
		t.Errorf("array: %q", s)
	}
	if after, _ := v.Usage(testDS); after.Records != before.Records-1 || after.Bytes != before.Bytes-1 {
		t.Errorf("usage %+v, before %+v with one small value more", after, before)
	}
	prepare(t, v, batch(40, put(oid(4), "d", "big", big)))
	if e, _ := v.MaxEpoch(); e < 40 {
		t.Errorf("epoch %d", e)
	}
}

// A rebuild that was killed halfway must not be taken for an empty target,
// whose unknown segments may go.
func TestRebuildIndex_HalfwayIsRefused(t *testing.T) {
	mem := vfs.NewCrashableMem()
	v := open(t, mem, "t")
	prepare(t, v, batch(10, put(oid(1), "d", "big", strings.Repeat("b", 3000))))
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mem.RemoveAll("t/index"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := vos.RebuildIndex(ctx, options(mem, "t"), 0, nil); !fault.Is(err, fault.Canceled) {
		t.Fatal(err)
	}
	if _, err := vos.Open(options(mem, "t")); !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), "rebuild") {
		t.Fatalf("a half rebuilt target was opened: %v", err)
	}
	if st, err := vos.RebuildIndex(context.Background(), options(mem, "t"), 0, nil); err != nil || st.Records != 1 {
		t.Fatalf("%+v %v", st, err)
	}
	v = open(t, mem, "t")
	defer v.Close()
	if _, ok := value(t, v, 10, oid(1), "d", "big"); !ok {
		t.Fatal("the value is not there")
	}
}

// TestRebuildIndex_BesideAJournal: what the journal has and a footer knows is
// there once, and counted once.
func TestRebuildIndex_BesideAJournal(t *testing.T) {
	mem := vfs.NewCrashableMem()
	log := func(f vfs.FS, create bool) *journal.Log {
		t.Helper()
		j, err := journal.Open(journal.Options{FS: f, Dir: "j", Logger: slog.New(slog.DiscardHandler), Create: create,
			Checkpoint: func() ([]uint16, error) { return nil, nil }})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	o := options(mem, "t")
	o.SegmentCap, o.Journal = 16<<10, log(mem, true)
	v, err := vos.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Journal.Start(); err != nil {
		t.Fatal(err)
	}
	const n = 40
	big := strings.Repeat("b", 3000)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { // until the journal takes what is written
		prepare(t, v, batch(5, put(oid(2), "d", "x", "s")))
		if b := readFile(t, mem, "j/0000000000000001.log"); len(bytes.TrimRight(b, "\x00")) > 4096 {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the journal takes nothing")
		}
	}
	for i := range n {
		prepare(t, v, batch(object.Epoch(10+i), put(oid(1), "d", fmt.Sprint("big", i), big), put(oid(1), "d", fmt.Sprint("small", i), "s")))
	}
	f := mem.CrashClone(vfs.CrashCloneCfg{})
	_ = v.Close()
	_ = o.Journal.Close(false)
	if err := f.RemoveAll("t/index"); err != nil {
		t.Fatal(err)
	}
	o = options(f, "t")
	o.SegmentCap, o.Journal = 16<<10, log(f, false)
	redone := uint64(0)
	if err := o.Journal.Replay(o.ID, 0, func(uint64, []byte) error { redone++; return nil }); err != nil {
		t.Fatal(err)
	}
	st, err := vos.RebuildIndex(context.Background(), o, 0, func(error) {})
	if err != nil || st.Segments == 0 || redone < 5 {
		t.Fatalf("%+v, %d batches in the journal, %v", st, redone, err)
	}
	_ = o.Journal.Close(false)
	o.Journal = log(f, false)
	v, err = vos.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	want := object.Usage{Bytes: 1, Records: 1} // x
	for i := range n {
		for _, name := range []string{"big", "small"} {
			if s, ok := value(t, v, 100, oid(1), "d", fmt.Sprint(name, i)); ok {
				want.Bytes += int64(len(s))
				want.Records++
			}
		}
	}
	if u, err := v.Usage(testDS); err != nil || u != want || want.Records < n {
		t.Fatalf("usage %+v, there is %+v, %v", u, want, err)
	}
}

func readFile(t *testing.T, f vfs.FS, name string) []byte {
	t.Helper()
	h, err := f.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	b, err := io.ReadAll(h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
