package vos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/object"
	"daos/engine/vos"
	"daos/internal/fault"
)

func readValue(v *vos.Target, at object.Epoch, o object.ID, dkey, akey string) (string, bool, error) {
	got, err := v.Get(at, place(o), []byte(dkey), []byte(akey))
	if errors.Is(err, fault.NotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	p := make([]byte, got.Record.Length)
	if err := v.ReadRecord(testDS, got.Record, 0, p); err != nil {
		return "", false, err
	}
	return string(p), true, nil
}

func readArray(v *vos.Target, at object.Epoch, o object.ID, dkey, akey string, off, n uint64) (string, error) {
	ex, err := v.Extents(at, place(o), []byte(dkey), []byte(akey), off, n)
	if err != nil {
		return "", err
	}
	p := bytes.Repeat([]byte{'.'}, int(n))
	last := off
	for _, e := range ex {
		if e.Offset < last || e.Offset+e.Length > off+n || e.Length == 0 {
			return "", fmt.Errorf("extent [%d, %d) is out of order or range", e.Offset, e.Offset+e.Length)
		}
		last = e.Offset + e.Length
		if err := v.ReadRecord(testDS, e.Record, e.Skip, p[e.Offset-off:last-off]); err != nil {
			return "", err
		}
	}
	return string(p), nil
}

func TestGet_SeesNewestAtOrBelowEpoch(t *testing.T) {
	v, _ := mem(t)
	o := oid(1)
	big := strings.Repeat("x", 5000)
	prepare(t, v, batch(10, put(o, "d", "a", "one")))
	prepare(t, v, batch(20, put(o, "d", "a", big)))
	prepare(t, v, batch(30, punch(object.OpPunchAkey, o, "d", "a")))
	prepare(t, v, batch(40, put(o, "d", "a", "four"), put(o, "d", "b", "")))
	prepare(t, v, batch(50, punch(object.OpPunchDkey, o, "d", "")))
	prepare(t, v, batch(60, put(o, "d", "a", "six")))
	prepare(t, v, batch(70, punch(object.OpPunchObject, o, "", "")))
	// Within one batch the order of its writes decides.
	prepare(t, v, batch(80, put(o, "d", "a", "gone"), punch(object.OpPunchObject, o, "", ""), put(o, "d", "a", "x"), put(o, "d", "a", "eight")))
	for _, c := range []struct {
		at   object.Epoch
		want string
		ok   bool
	}{
		{9, "", false}, {10, "one", true}, {19, "one", true}, {20, big, true}, {30, "", false}, {39, "", false},
		{40, "four", true}, {50, "", false}, {60, "six", true}, {70, "", false}, {79, "", false}, {80, "eight", true},
		{object.EpochMax, "eight", true},
	} {
		if got, ok := value(t, v, c.at, o, "d", "a"); got != c.want || ok != c.ok {
			t.Errorf("at %d: got %.20q %v, want %.20q %v", c.at, got, ok, c.want, c.ok)
		}
	}
	if got, ok := value(t, v, 45, o, "d", "b"); !ok || got != "" {
		t.Errorf("empty value: got %q, %v", got, ok)
	}
	if _, ok := value(t, v, 80, o, "d", "b"); ok {
		t.Error("a value below an object punch is seen")
	}
}

func TestExtents_OverlayNewestFirst(t *testing.T) {
	v, _ := mem(t)
	o := oid(2)
	w := func(off uint64, s string) object.Write { return write(o, "f", "0", off, []byte(s)) }
	prepare(t, v, batch(10, w(0, "aaaaaaaaaa")))
	prepare(t, v, batch(20, w(3, "bbb"), w(4, "c")))
	prepare(t, v, batch(30, object.Write{Op: object.OpPunchRange, OID: o, Dkey: []byte("f"), Akey: []byte("0"), Offset: 8}))
	prepare(t, v, batch(40, w(9, "dd")))
	prepare(t, v, batch(50, object.Write{Op: object.OpPunchRange, OID: o, Dkey: []byte("f"), Akey: []byte("0"), Offset: 1, Length: 2}))
	for _, c := range []struct {
		at   object.Epoch
		want string
		end  uint64
	}{
		{9, "............", 0}, {10, "aaaaaaaaaa..", 10}, {20, "aaabcbaaaa..", 10},
		{30, "aaabcbaa....", 8}, {40, "aaabcbaa.dd.", 11}, {50, "a..bcbaa.dd.", 11},
	} {
		if got := bytesOf(t, v, c.at, o, "f", "0", 0, 12); got != c.want {
			t.Errorf("at %d: got %q, want %q", c.at, got, c.want)
		}
		if end, err := v.ArrayEnd(c.at, place(o), []byte("f"), []byte("0")); err != nil || end != c.end {
			t.Errorf("at %d: end %d (%v), want %d", c.at, end, err, c.end)
		}
	}
	if got := bytesOf(t, v, 50, o, "f", "0", 4, 3); got != "cba" {
		t.Errorf("inner range: %q", got)
	}
}

func TestExtents_LargeWritesComeAsOneRecord(t *testing.T) {
	v, _ := mem(t)
	data := make([]byte, 3<<20+1234)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	prepare(t, v, batch(10, write(oid(3), "f", "0", 0, data)))
	ex, err := v.Extents(10, place(oid(3)), []byte("f"), []byte("0"), 0, uint64(len(data)))
	if err != nil || len(ex) != 1 || ex[0].Length != uint64(len(data)) {
		t.Fatalf("got %d extents (%v), want one", len(ex), err)
	}
	for _, r := range [][2]uint64{{0, 3}, {65535, 2}, {1<<20 - 5, 10}, {3 << 20, 1234}, {100, 2 << 20}} {
		if got := bytesOf(t, v, 10, oid(3), "f", "0", r[0], r[1]); got != string(data[r[0]:r[0]+r[1]]) {
			t.Errorf("range %v differs", r)
		}
	}
	m, err := v.Segment(testDS, ex[0].Record.Segment)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	if p := ex[0].Record.Pos; !bytes.Equal(m.Bytes()[p:p+uint64(len(data))], data) || p%4096 != 0 {
		t.Errorf("mapping differs at %d", p)
	}
}

func TestReopen_KeepsEverything(t *testing.T) {
	f := vfs.NewMem()
	v := open(t, f, "t")
	o := oid(1)
	prepare(t, v, batch(10, put(o, "d", "a", "one"), write(o, "f", "0", 5, bytes.Repeat([]byte("z"), 70000))))
	b := batch(20, put(o, "d", "b", "two"))
	b.Participants, b.Request, b.Answer = []uint16{3, 4}, object.RequestID{1, 2}, []byte("answer")
	prepare(t, v, b)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = open(t, f, "t")
	defer v.Close()
	if s, _ := value(t, v, 20, o, "d", "a"); s != "one" {
		t.Errorf("got %q", s)
	}
	if s := bytesOf(t, v, 20, o, "f", "0", 4, 3); s != ".zz" {
		t.Errorf("got %q", s)
	}
	if e, err := v.MaxEpoch(); err != nil || e < 20 {
		t.Errorf("max epoch %d, %v", e, err)
	}
	rows, err := v.Undecided()
	if err != nil || len(rows) != 1 || rows[0].ID != 20 || rows[0].Dataset != testDS || len(rows[0].Participants) != 2 {
		t.Fatalf("rows %v, %v", rows, err)
	}
	res, ok, err := v.Request(testDS, object.RequestID{1, 2})
	if err != nil || !ok || res.Epoch != 20 || string(res.Answer) != "answer" {
		t.Errorf("request %v %v %v", res, ok, err)
	}
	if err := v.Abort(context.Background(), testDS, 20); err != nil {
		t.Fatal(err)
	}
	if _, ok := value(t, v, 20, o, "d", "b"); ok {
		t.Error("an aborted version is seen")
	}
	if _, ok, _ := v.Request(testDS, object.RequestID{1, 2}); ok {
		t.Error("the request row of an aborted transaction is kept")
	}
	if u, _ := v.Usage(testDS); u != (object.Usage{Bytes: 70003, Records: 2}) {
		t.Errorf("usage %+v", u)
	}
}

func TestListAndScan_Order(t *testing.T) {
	v, _ := mem(t)
	o := oid(1)
	keys := []string{"", "a", "a\x00", "a\x00b", "a\x01", "ab", "b", "b\xff", "c"}
	for i, k := range keys {
		prepare(t, v, batch(object.Epoch(10+i), put(o, k, "x", "v"+k), put(o, k, "y\x00", "w"+k)))
	}
	prepare(t, v, batch(40, punch(object.OpPunchDkey, o, "ab", "")))
	prepare(t, v, batch(41, punch(object.OpPunchAkey, o, "b", "x")))
	list := func(o object.ListOptions) (out []string) {
		if err := v.List(context.Background(), 50, place(oid(1)), o, func(i object.Item) bool {
			out = append(out, string(i.Dkey)+"|"+string(i.Akey))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	var want []string
	for _, k := range keys {
		if k != "ab" {
			if k != "b" {
				want = append(want, k+"|x")
			}
			want = append(want, k+"|y\x00")
		}
	}
	if got := list(object.ListOptions{}); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("list\n got %q\nwant %q", got, want)
	}
	rev := list(object.ListOptions{Reverse: true})
	for i := range want {
		if i >= len(rev) || rev[len(want)-1-i] != want[i] {
			t.Fatalf("reverse\n got %q\nwant %q backwards", rev, want)
		}
	}
	if got := list(object.ListOptions{Prefix: []byte("a\x00"), Akey: []byte("x")}); fmt.Sprintf("%q", got) != `["a\x00|x" "a\x00b|x"]` {
		t.Errorf("prefix: %q", got)
	}
	if got := list(object.ListOptions{After: []byte("a\x00"), To: []byte("b\xff"), Limit: 3}); fmt.Sprintf("%q", got) != `["a\x00b|x" "a\x00b|y\x00" "a\x01|x"]` {
		t.Errorf("after: %q", got)
	}
	prepare(t, v, batch(60, put(oid(2), "other", "x", strings.Repeat("L", 2000)), punch(object.OpPunchObject, oid(1), "", "")))
	for at, wantN := range map[object.Epoch]int{50: len(want), 60: 1, 9: 0} {
		var resume []byte
		n := 0
		for { // one row at a time
			got := false
			err := v.Scan(context.Background(), testDS, at, 0, 1<<32-1, resume, func(r object.Row, pos []byte) bool {
				resume, got = append([]byte(nil), pos...), true
				n++
				return false
			})
			if err != nil {
				t.Fatal(err)
			}
			if !got {
				break
			}
		}
		if n != wantN {
			t.Errorf("scan at %d: %d rows, want %d", at, n, wantN)
		}
	}
}
