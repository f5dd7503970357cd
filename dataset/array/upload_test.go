package array_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"daos/dataset/array"
	"daos/engine/memstore"
	"daos/engine/object"
	"daos/internal/fault"
)

// uploads is an array of rows of 4,000 bytes, in chunks of 7 rows and 300 of 1,000
// columns, and what should be in it.
type uploads struct {
	*testing.T
	d    *array.Dataset
	want []byte
	rng  *rand.Rand
	// holes: some chunks were never written.
	holes bool
}

const uploadRow = 4000

func newUploads(t *testing.T, rows int) *uploads {
	u := &uploads{T: t, d: array.Open(memstore.New(), "p/a"), rng: rand.New(rand.NewPCG(uint64(rows), 1))}
	dt, err := array.ParseDType("float32")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := u.d.Create(t.Context(), "x", array.Spec{DType: dt, Shape: []uint64{0, 1000}, Chunks: []uint64{7, 300}, Fill: []byte{0, 0, 128, 63}}, array.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if rows > 0 {
		u.want = u.data(rows)
		if _, _, err := u.d.Append(t.Context(), "x", u.want, array.AppendOptions{Count: uint64(rows)}); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

// data is numbers, so that statistics mean something.
func (u *uploads) data(rows int) []byte {
	b := make([]byte, rows*uploadRow)
	for i := 0; i < len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = byte(u.rng.Uint32()), byte(u.rng.Uint32()), byte(u.rng.IntN(128)), 0x40
	}
	return b
}

// send begins an upload and adds data in pieces.
func (u *uploads) send(o array.UploadOptions, data []byte) (*array.Upload, error) {
	u.Helper()
	x, err := u.d.Upload(u.Context(), "x", o)
	if err != nil {
		return nil, err
	}
	for len(data) > 0 {
		n := min(len(data)/uploadRow, 1+u.rng.IntN(3000)) * uploadRow
		if err := x.Add(u.Context(), uint64(n/uploadRow), data[:n]); err != nil {
			x.Abandon(u.Context())
			return nil, err
		}
		data = data[n:]
	}
	return x, nil
}

// check compares the array, and the statistics of its chunks, with what should be there.
func (u *uploads) check(what string) {
	u.Helper()
	r, err := u.d.Select(u.Context(), 0, "x", nil)
	if err != nil {
		u.Fatal(err)
	}
	if n := len(u.want) / uploadRow; r.Shape()[0] != uint64(n) {
		u.Fatalf("%s: %d rows, not %d", what, r.Shape()[0], n)
	}
	got := make([]byte, r.Bytes())
	if err := r.ReadInto(u.Context(), got); err != nil {
		u.Fatal(err)
	}
	if !bytes.Equal(got, u.want) {
		u.Fatalf("%s: other elements", what)
	}
	s, err := u.d.Scan(u.Context(), 0, "x")
	if err != nil {
		u.Fatal(err)
	}
	elements := uint64(0)
	err = s.Chunks(u.Context(), nil, func(c *array.ChunkStats) bool {
		elements += c.Count
		return true
	})
	if all := uint64(len(u.want) / 4); err != nil || elements > all || elements < all && !u.holes {
		u.Fatalf("%s: statistics of %d elements: %v", what, elements, err)
	}
}

func (u *uploads) wantKind(what string, err error, kind fault.Kind) {
	u.Helper()
	if !fault.Is(err, kind) {
		u.Fatalf("%s: %v, want %v", what, err, kind)
	}
}

// TestAnUploadIsSeenWhole: of any size, behind whatever is there, and once.
func TestAnUploadIsSeenWhole(t *testing.T) {
	for _, have := range []int{0, 7, 702} {
		u := newUploads(t, have)
		id := object.RequestID{9, byte(have)}
		more := u.data(9_500) // 38 MB: staged
		x, err := u.send(array.UploadOptions{Request: id}, more)
		if err != nil {
			t.Fatal(err)
		}
		u.check("before its end")
		if _, err := u.d.Write(t.Context(), "x", []array.Axis{{Start: 0, Count: uint64(have), Step: 1}, {Count: 1000, Step: 1}}, u.want, array.WriteOptions{}); err != nil {
			t.Fatal(err) // what is there can be written meanwhile
		}
		done, err := x.Finish(t.Context())
		if err != nil || done.Start != uint64(have) || done.Count != 9_500 || done.Replayed {
			t.Fatalf("%+v: %v", done, err)
		}
		u.want = append(u.want, more...)
		u.check("after it")
		x, err = u.send(array.UploadOptions{Request: id}, more)
		if err != nil {
			t.Fatal(err)
		}
		again, err := x.Finish(t.Context())
		if err != nil || !again.Replayed || again.Start != done.Start || again.Count != done.Count || again.Epoch != done.Epoch {
			t.Fatalf("again: %+v: %v", again, err)
		}
		if x, err = u.send(array.UploadOptions{Request: id}, more[uploadRow:]); err != nil {
			t.Fatal(err)
		}
		_, err = x.Finish(t.Context())
		u.wantKind("the id of another upload", err, fault.Invalid)
		u.check("after all")
	}
}

// TestAnUploadThatIsBrokenOffLeavesNothing: whether it is abandoned, or its server
// has died.
func TestAnUploadThatIsBrokenOffLeavesNothing(t *testing.T) {
	u := newUploads(t, 10)
	for _, crash := range []bool{false, true} {
		x, err := u.send(array.UploadOptions{}, u.data(9_000))
		if err != nil {
			t.Fatal(err)
		}
		if !crash {
			x.Abandon(t.Context())
		}
		u.check("broken off")
		rows := uint64(len(u.want)/uploadRow) + 100
		u.holes = true
		if _, err := u.d.Resize(t.Context(), "x", []uint64{rows, 1000}, object.RequestID{}); err != nil {
			t.Fatal(err)
		}
		for range 100 * 1000 {
			u.want = append(u.want, 0, 0, 128, 63)
		}
		r, err := u.d.Select(t.Context(), 0, "x", nil)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, r.Bytes())
		if err := r.ReadInto(t.Context(), got); err != nil || !bytes.Equal(got, u.want) {
			t.Fatalf("what was staged is seen: %v", err)
		}
		small := u.data(3)
		if x, err = u.send(array.UploadOptions{}, small); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		u.want = append(u.want, small...)
	}
}

// TestUploadsAtTheSameTime: one of them goes to the end, the other is told.
func TestUploadsAtTheSameTime(t *testing.T) {
	u := newUploads(t, 3)
	first, err := u.send(array.UploadOptions{}, u.data(9_000))
	if err != nil {
		t.Fatal(err)
	}
	more := u.data(9_200)
	second, err := u.send(array.UploadOptions{}, more)
	if err != nil {
		t.Fatal(err)
	}
	_, err = first.Finish(t.Context())
	u.wantKind("the first", err, fault.Conflict)
	if _, err := second.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.want = append(u.want, more...)
	u.check("the second")
	third, err := u.send(array.UploadOptions{}, u.data(9_000))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.d.Remove(t.Context(), "x", object.RequestID{}, false); err != nil {
		t.Fatal(err)
	}
	_, err = third.Finish(t.Context())
	u.wantKind("of an array that is gone", err, fault.NotFound)
}

// TestAnUploadToAPlace replaces what is there.
func TestAnUploadToAPlace(t *testing.T) {
	u := newUploads(t, 50)
	at, length := uint64(20), uint64(50)
	data := u.data(13)
	x, err := u.send(array.UploadOptions{Start: &at, ExpectLength: &length}, data)
	if err != nil {
		t.Fatal(err)
	}
	u.check("before its end")
	done, err := x.Finish(t.Context())
	if err != nil || done.Start != 20 || done.Count != 13 {
		t.Fatalf("%+v: %v", done, err)
	}
	copy(u.want[20*uploadRow:], data)
	u.check("a start")
	axes := []array.Axis{{Start: 1, Count: 10, Step: 4}, {Start: 500, Count: 100, Step: 1}}
	y, err := u.d.Upload(t.Context(), "x", array.UploadOptions{Axes: axes})
	if err != nil || len(y.Row()) != 1 || y.Row()[0] != 100 {
		t.Fatal(y, err)
	}
	part := u.data(1)
	for range 10 {
		if err := y.Add(t.Context(), 1, part[:400]); err != nil {
			t.Fatal(err)
		}
	}
	if err := y.Add(t.Context(), 1, part[:400]); err == nil {
		t.Fatal("more rows than the selection has")
	}
	if y, err = u.d.Upload(t.Context(), "x", array.UploadOptions{Axes: axes}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := y.Add(t.Context(), 1, part[400*i:400*i+400]); err != nil {
			t.Fatal(err)
		}
		copy(u.want[(1+4*i)*uploadRow+2000:], part[400*i:400*i+400])
	}
	if _, err := y.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.check("a selection")

	beyond, short := uint64(45), uint64(49)
	if x, err = u.send(array.UploadOptions{Start: &beyond}, data); err != nil {
		t.Fatal(err)
	}
	_, err = x.Finish(t.Context())
	u.wantKind("beyond the end", err, fault.Invalid)
	if y, err = u.d.Upload(t.Context(), "x", array.UploadOptions{Axes: axes}); err != nil {
		t.Fatal(err)
	}
	_, err = y.Finish(t.Context())
	u.wantKind("too few rows", err, fault.Invalid)
	_, err = u.send(array.UploadOptions{ExpectLength: &short}, data)
	u.wantKind("another length", err, fault.Conflict)
	_, err = u.send(array.UploadOptions{Start: &at}, make([]byte, 51_000*uploadRow))
	u.wantKind("more than one step takes", err, fault.TooBig)
	_, err = u.d.Upload(t.Context(), "nope", array.UploadOptions{})
	u.wantKind("no array", err, fault.NotFound)
	u.check("after errors")
}
