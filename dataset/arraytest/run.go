// Package arraytest is the conformance suite of array datasets: what they must do
// over any object store, as one function, Run, and random tests against a plain
// array and a plain map, Random and RandomKeys. It knows only package array and
// the store interfaces.
package arraytest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"daos/dataset/array"
	"daos/engine/object"
	"daos/internal/fault"
)

// NewStore makes an empty dataset, and cleans up after itself with t.Cleanup.
type NewStore func(t *testing.T) object.Store

// Run runs the suite.
func Run(t *testing.T, newStore NewStore) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			st := newStore(t)
			c.run(&env{T: t, st: st, set: array.Open(st, "p/a"), ctx: context.Background()})
		})
	}
	for i := range 6 {
		t.Run(fmt.Sprintf("random %d", i), func(t *testing.T) { Random(t, newStore, uint64(i), 40) })
	}
	t.Run("random keys", func(t *testing.T) { RandomKeys(t, newStore, 200) })
}

var cases = []struct {
	name string
	run  func(*env)
}{
	{"tree", testTree},
	{"bad specs", testBadSpecs},
	{"bad selections", testBadSelections},
	{"request ids", testRequestIDs},
	{"lost answers", testLostAnswers},
	{"sent again while under way", testOvertaken},
	{"snapshot", testSnapshot},
	{"scattered part", testScattered},
	{"many chunks cut off", testCutOff},
	{"cut off is cleared by who grows it", testInterruptedCut},
	{"statistics", testStats},
	{"concurrent appends", testConcurrentAppends},
	{"concurrent parts of a chunk", testConcurrentParts},
	{"replaced meanwhile", testReplaced},
	{"part written meanwhile", testPartMeanwhile},
	{"large pieces", testLarge},
	{"scan", testScan},
}

type env struct {
	*testing.T
	st  object.Store
	set *array.Dataset
	ctx context.Context
}

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) kind(err error, k fault.Kind) {
	e.Helper()
	if !fault.Is(err, k) {
		e.Fatalf("got %v, want %v", err, k)
	}
}

func dtype(name string) array.DType {
	d, err := array.ParseDType(name)
	if err != nil {
		panic(err)
	}
	return d
}

func (e *env) create(path string, s array.Spec) {
	e.Helper()
	_, _, err := e.set.Create(e.ctx, path, s, array.CreateOptions{})
	e.ok(err)
}

func (e *env) write(path string, axes []array.Axis, data []byte) {
	e.Helper()
	_, err := e.set.Write(e.ctx, path, axes, data, array.WriteOptions{})
	e.ok(err)
}

func (e *env) read(at object.Epoch, path string, axes []array.Axis) []byte {
	e.Helper()
	r, err := e.set.Select(e.ctx, at, path, axes)
	e.ok(err)
	p := make([]byte, r.Bytes())
	e.ok(r.ReadInto(e.ctx, p))
	return p
}

func (e *env) equal(got, want []byte) {
	e.Helper()
	if !bytes.Equal(got, want) {
		e.Fatalf("got %v\nwant %v", clip(got), clip(want))
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 200)] }

func ints(v ...int32) []byte {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, uint32(x))
	}
	return b
}

func count(n int32) []byte {
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(i)
	}
	return ints(v...)
}

func span(start, n uint64) array.Axis { return array.Axis{Start: start, Count: n, Step: 1} }

func testTree(e *env) {
	s := array.Spec{DType: dtype("int32"), Shape: []uint64{4}}
	attrs := map[string]json.RawMessage{"unit": json.RawMessage(`"K"`)}
	_, _, err := e.set.Create(e.ctx, "a/b/x", s, array.CreateOptions{Attributes: attrs})
	e.ok(err)
	_, _, err = e.set.Create(e.ctx, "a/b/x", s, array.CreateOptions{})
	e.kind(err, fault.Exists)
	_, _, err = e.set.Create(e.ctx, "a/b/x/y", s, array.CreateOptions{})
	e.kind(err, fault.NotDirectory)
	_, _, err = e.set.Create(e.ctx, "a/b", s, array.CreateOptions{Overwrite: true})
	e.kind(err, fault.Exists)
	for _, p := range []string{"a-b", "a/b-c", "a/b0", "z"} {
		e.create(p, s)
	}
	_, err = e.set.CreateGroup(e.ctx, "a", array.CreateOptions{})
	e.kind(err, fault.Exists)
	_, err = e.set.CreateGroup(e.ctx, "a", array.CreateOptions{ExistOK: true})
	e.ok(err)
	_, err = e.set.SetAttributes(e.ctx, "", object.RequestID{}, attrs, nil, false)
	e.ok(err)
	at, err := e.st.ReadEpoch(e.ctx, 0)
	e.ok(err)
	list := func(path string, recursive bool, page int) (names []string) {
		for after := ""; ; {
			nodes, more, err := e.set.List(e.ctx, at, path, array.ListOptions{Recursive: recursive, After: after, Limit: page})
			e.ok(err)
			for _, n := range nodes {
				names, after = append(names, n.Path), n.Path
			}
			if !more {
				return names
			}
		}
	}
	for _, page := range []int{1, 2, 100} {
		if got, want := list("", false, page), []string{"a", "a-b", "z"}; !slices.Equal(got, want) {
			e.Fatalf("page %d: %v, want %v", page, got, want)
		}
		if got, want := list("a", false, page), []string{"a/b", "a/b-c", "a/b0"}; !slices.Equal(got, want) {
			e.Fatalf("page %d: %v, want %v", page, got, want)
		}
		if got, want := list("", true, page), []string{"a", "a-b", "a/b", "a/b-c", "a/b/x", "a/b0", "z"}; !slices.Equal(got, want) {
			e.Fatalf("page %d: %v, want %v", page, got, want)
		}
	}
	n, _, err := e.set.Describe(e.ctx, 0, "a/b/x")
	e.ok(err)
	if string(n.Attributes["unit"]) != `"K"` || n.Spec.DType.Name() != "int32" || n.ID == 0 {
		e.Fatalf("described as %+v", n)
	}
	_, err = e.set.Remove(e.ctx, "a", object.RequestID{}, false)
	e.kind(err, fault.NotEmpty)
	_, err = e.set.Remove(e.ctx, "a", object.RequestID{}, true)
	e.ok(err)
	_, _, err = e.set.Describe(e.ctx, 0, "a/b/x")
	e.kind(err, fault.NotFound)
	if _, _, err = e.set.Describe(e.ctx, at, "a/b/x"); err != nil {
		e.Fatal("an older epoch lost it:", err)
	}
	_, err = e.set.Remove(e.ctx, "a", object.RequestID{}, true)
	e.kind(err, fault.NotFound)
	for _, bad := range []string{"/a", "a/", "a//b", "..", "a/./b", "a\x00", "\xff", string(make([]byte, 2000))} {
		_, err := e.set.CreateGroup(e.ctx, bad, array.CreateOptions{})
		e.kind(err, fault.Invalid)
	}
	// More nodes than one transaction removes.
	for i := range 300 {
		_, err := e.set.CreateGroup(e.ctx, fmt.Sprintf("many/%d", i), array.CreateOptions{})
		e.ok(err)
	}
	_, err = e.set.Remove(e.ctx, "many", object.RequestID{}, true)
	e.ok(err)
	at, err = e.st.ReadEpoch(e.ctx, 0)
	e.ok(err)
	if got := list("", true, 100); !slices.Equal(got, []string{"a-b", "z"}) {
		e.Fatalf("left: %v", got)
	}
}

func testBadSpecs(e *env) {
	i4 := dtype("int32")
	many := make([]uint64, array.MaxRank+1)
	for i := range many {
		many[i] = 1
	}
	for _, c := range []struct {
		s    array.Spec
		kind fault.Kind
	}{
		{array.Spec{}, fault.Invalid},
		{array.Spec{DType: i4, Shape: many}, fault.Invalid},
		{array.Spec{DType: i4, Shape: []uint64{1 << 62, 1 << 62}}, fault.Invalid},
		{array.Spec{DType: i4, Shape: []uint64{1 << 40, 1 << 40}}, fault.Invalid},
		{array.Spec{DType: i4, Shape: []uint64{4}, Chunks: []uint64{0}}, fault.Invalid},
		{array.Spec{DType: i4, Shape: []uint64{4}, Chunks: []uint64{1, 1}}, fault.Invalid},
		{array.Spec{DType: i4, Shape: []uint64{4}, Chunks: []uint64{1 << 30}}, fault.TooBig},
		{array.Spec{DType: i4, Shape: []uint64{4, 4}, Chunks: []uint64{1 << 63, 2}}, fault.TooBig},
		{array.Spec{DType: i4, Shape: []uint64{4}, Fill: []byte{1}}, fault.Invalid},
		{array.Spec{DType: dtype("bool"), Shape: []uint64{4}, Fill: []byte{2}}, fault.Invalid},
		{array.Spec{DType: i4, Shape: []uint64{4}, Dims: []string{"a", "b"}}, fault.Invalid},
		{array.Spec{DType: i4, Shape: []uint64{4}, Dims: []string{"a\x00"}}, fault.Invalid},
	} {
		_, _, err := e.set.Create(e.ctx, "x", c.s, array.CreateOptions{})
		e.kind(err, c.kind)
	}
	for _, name := range []string{"", "int33", "timestamp", "timestamp[h]", "fixed_size_binary[0]", "fixed_size_binary[99999999999]", "decimal128(0, 0)", "decimal128(39, 2)", "time32[ns]", "a[", "[]", "timestamp[s, tz=]"} {
		if _, err := array.ParseDType(name); !fault.Is(err, fault.Invalid) {
			e.Fatalf("dtype %q: %v", name, err)
		}
	}
	_, _, err := e.set.Create(e.ctx, "x", array.Spec{DType: i4, Shape: []uint64{4}}, array.CreateOptions{Attributes: map[string]json.RawMessage{"a": json.RawMessage("{")}})
	e.kind(err, fault.Invalid)
	for i, s := range [][]uint64{{}, {0}, {1 << 40}, {3, 1 << 30, 7}, {1, 1, 1, 1}, {0, 1000, 1000}} {
		e.create(fmt.Sprintf("d%d", i), array.Spec{DType: dtype("float64"), Shape: s})
	}
}

func product(v []uint64) uint64 {
	n := uint64(1)
	for _, x := range v {
		n *= x
	}
	return n
}

func testBadSelections(e *env) {
	e.create("x", array.Spec{DType: dtype("int32"), Shape: []uint64{10, 10}, Chunks: []uint64{3, 3}})
	for _, axes := range [][]array.Axis{
		{span(0, 1)},
		{span(0, 11), span(0, 1)},
		{span(10, 1), span(0, 1)},
		{{Start: 5, Count: 3, Step: 3}, span(0, 1)},
		{{Start: 0, Count: 2, Step: 1 << 63}, span(0, 1)},
		{{Start: 1 << 63, Count: 1 << 63, Step: 1}, span(0, 1)},
		{{Indices: []uint64{1, 10}}, span(0, 1)},
	} {
		_, err := e.set.Select(e.ctx, 0, "x", axes)
		e.kind(err, fault.Invalid)
		_, err = e.set.Write(e.ctx, "x", axes, ints(1), array.WriteOptions{Broadcast: true})
		e.kind(err, fault.Invalid)
	}
	_, err := e.set.Write(e.ctx, "x", []array.Axis{{Indices: []uint64{2, 2}}, span(0, 1)}, ints(1, 2), array.WriteOptions{})
	e.kind(err, fault.Invalid)
	_, err = e.set.Write(e.ctx, "x", nil, ints(1), array.WriteOptions{})
	e.kind(err, fault.Invalid)
	_, err = e.set.Write(e.ctx, "nope", nil, ints(1), array.WriteOptions{})
	e.kind(err, fault.NotFound)
	_, _, err = e.set.Append(e.ctx, "x", ints(1), array.AppendOptions{Axis: 2, Count: 1})
	e.kind(err, fault.Invalid)
	_, _, err = e.set.Append(e.ctx, "x", ints(1), array.AppendOptions{Count: 1})
	e.kind(err, fault.Invalid)
	_, err = e.set.Resize(e.ctx, "x", []uint64{1}, object.RequestID{})
	e.kind(err, fault.Invalid)
	e.create("huge", array.Spec{DType: dtype("uint8"), Shape: []uint64{1 << 40}, Chunks: []uint64{1}})
	_, err = e.set.Write(e.ctx, "huge", []array.Axis{span(0, 1<<20)}, make([]byte, 1<<20), array.WriteOptions{})
	e.kind(err, fault.TooBig)
	_, err = e.set.Write(e.ctx, "huge", nil, []byte{1}, array.WriteOptions{Broadcast: true})
	e.kind(err, fault.TooBig)
	r, err := e.set.Select(e.ctx, 0, "huge", []array.Axis{span(0, 1<<22)})
	e.ok(err)
	e.kind(r.ReadInto(e.ctx, make([]byte, 1<<22)), fault.TooBig)
}

func testRequestIDs(e *env) {
	ids := byte(0)
	next := func() object.RequestID { ids++; return object.RequestID{ids} }
	s := array.Spec{DType: dtype("int32"), Shape: []uint64{0}, Chunks: []uint64{4}}
	id := next()
	n1, d1, err := e.set.Create(e.ctx, "x", s, array.CreateOptions{Request: id})
	e.ok(err)
	n2, d2, err := e.set.Create(e.ctx, "x", s, array.CreateOptions{Request: id})
	e.ok(err)
	if n1 != n2 || !d2.Replayed || d1.Epoch != d2.Epoch {
		e.Fatalf("%d %+v, then %d %+v", n1, d1, n2, d2)
	}
	id = next()
	for i := range 3 {
		at, d, err := e.set.Append(e.ctx, "x", ints(1, 2, 3), array.AppendOptions{Request: id, Count: 3})
		e.ok(err)
		if at != 0 || d.Replayed != (i > 0) {
			e.Fatalf("append %d: at %d, %+v", i, at, d)
		}
	}
	e.equal(e.read(0, "x", nil), ints(1, 2, 3))
	_, err = e.set.Write(e.ctx, "x", nil, ints(1, 2, 3), array.WriteOptions{Request: id})
	e.kind(err, fault.Invalid)
	length := uint64(3)
	for _, o := range []array.AppendOptions{{Count: 2}, {Count: 3, ExpectLength: &length}} {
		o.Request = id
		_, _, err = e.set.Append(e.ctx, "x", ints(1, 2, 3), o)
		e.kind(err, fault.Invalid)
	}
	_, _, err = e.set.Append(e.ctx, "x", ints(1, 2, 4), array.AppendOptions{Request: id, Count: 3})
	e.kind(err, fault.Invalid)
	_, _, err = e.set.Append(e.ctx, "y", ints(1, 2, 3), array.AppendOptions{Request: id, Count: 3})
	e.kind(err, fault.Invalid)
	id = next()
	axes := []array.Axis{{Start: 1, Count: 2, Step: 1}}
	_, err = e.set.Write(e.ctx, "x", axes, ints(8, 9), array.WriteOptions{Request: id})
	e.ok(err)
	_, err = e.set.Write(e.ctx, "x", axes, ints(8, 7), array.WriteOptions{Request: id})
	e.kind(err, fault.Invalid)
	_, err = e.set.Write(e.ctx, "x", []array.Axis{{Start: 0, Count: 2, Step: 1}}, ints(8, 9), array.WriteOptions{Request: id})
	e.kind(err, fault.Invalid)
	e.equal(e.read(0, "x", nil), ints(1, 8, 9))
	id = next()
	_, err = e.set.Resize(e.ctx, "x", []uint64{4}, id)
	e.ok(err)
	_, err = e.set.Resize(e.ctx, "x", []uint64{5}, id)
	e.kind(err, fault.Invalid)
	id = next()
	_, err = e.set.Remove(e.ctx, "x", id, false)
	e.ok(err)
	e.create("x", s)
	_, err = e.set.Remove(e.ctx, "x", id, false)
	e.ok(err)
	if _, _, err = e.set.Describe(e.ctx, 0, "x"); err != nil {
		e.Fatal("a retried remove removed what was made since:", err)
	}
	length = 5
	_, _, err = e.set.Append(e.ctx, "x", ints(1), array.AppendOptions{Count: 1, ExpectLength: &length})
	e.kind(err, fault.Conflict)
}

// lossy loses answers, and races that it says were lost.
type lossy struct {
	object.Store
	mu   sync.Mutex
	turn int
}

func (l *lossy) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	l.mu.Lock()
	l.turn++
	turn := l.turn
	l.mu.Unlock()
	switch turn % 3 {
	case 0:
		return object.Result{}, fault.New(fault.Conflict, "test", "commit", "lost a race")
	case 1:
		res, err := l.Store.Commit(ctx, tx)
		if err != nil {
			return res, err
		}
		return object.Result{}, fault.New(fault.Unreachable, "test", "commit", "the answer is lost")
	}
	return l.Store.Commit(ctx, tx)
}

// meddling runs something once before the next commit.
type meddling struct {
	object.Store
	before func()
}

func (m *meddling) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	if f := m.before; f != nil {
		m.before = nil
		f()
	}
	return m.Store.Commit(ctx, tx)
}

// again repeats a call until it is answered.
func again(f func() error) error {
	for {
		if err := f(); !fault.Is(err, fault.Unreachable) {
			return err
		}
	}
}

func testLostAnswers(e *env) {
	set := array.Open(&lossy{Store: e.st}, "p/a")
	e.create("x", array.Spec{DType: dtype("int32"), Shape: []uint64{0}, Chunks: []uint64{4}, Fill: ints(9)})
	var want []byte
	for i := range int32(20) {
		id := object.RequestID{1, byte(i)}
		e.ok(again(func() error {
			_, _, err := set.Append(e.ctx, "x", ints(i, i+100), array.AppendOptions{Request: id, Count: 2})
			return err
		}))
		want = append(want, ints(i, i+100)...)
		if i%5 == 4 {
			id := object.RequestID{2, byte(i)}
			n := uint64(len(want)/4) - 3
			e.ok(again(func() error { _, err := set.Resize(e.ctx, "x", []uint64{n}, id); return err }))
			want = want[:4*n]
		}
	}
	e.equal(e.read(0, "x", nil), want)
}

func testSnapshot(e *env) {
	e.create("x", array.Spec{DType: dtype("int32"), Shape: []uint64{3, 4}, Chunks: []uint64{2, 3}})
	e.write("x", nil, count(12))
	at, err := e.st.ReadEpoch(e.ctx, 0)
	e.ok(err)
	e.write("x", []array.Axis{span(1, 1), span(0, 4)}, ints(-1, -2, -3, -4))
	_, err = e.set.Resize(e.ctx, "x", []uint64{1, 1}, object.RequestID{})
	e.ok(err)
	_, _, err = e.set.Create(e.ctx, "x", array.Spec{DType: dtype("uint8"), Shape: []uint64{2}}, array.CreateOptions{Overwrite: true})
	e.ok(err)
	e.equal(e.read(at, "x", nil), count(12))
	e.equal(e.read(0, "x", nil), []byte{0, 0})
}

// testScattered writes a part of a chunk in more pieces than extents are worth.
func testScattered(e *env) {
	for _, fill := range [][]byte{nil, ints(7)} {
		for _, before := range []bool{false, true} {
			path := fmt.Sprintf("x%v%v", fill != nil, before)
			e.create(path, array.Spec{DType: dtype("int32"), Shape: []uint64{200, 200}, Chunks: []uint64{200, 200}, Fill: fill})
			want := make([]int32, 200*200)
			for i := range want {
				if want[i] = 0; fill != nil {
					want[i] = 7
				}
			}
			if before {
				e.write(path, []array.Axis{span(50, 50), span(0, 200)}, count(50*200))
				for i := range 50 * 200 {
					want[50*200+i] = int32(i)
				}
			}
			e.write(path, []array.Axis{{Start: 1, Count: 99, Step: 2}, span(3, 1)}, count(99))
			for i := range 99 {
				want[(1+2*i)*200+3] = int32(i)
			}
			e.write(path, []array.Axis{span(10, 70), {Start: 4, Count: 60, Step: 3}}, count(70*60))
			for i := range 70 {
				for j := range 60 {
					want[(10+i)*200+4+3*j] = int32(i*60 + j)
				}
			}
			e.equal(e.read(0, path, nil), ints(want...))
		}
	}
}

func testCutOff(e *env) {
	for _, fill := range [][]byte{nil, {9}} {
		path := fmt.Sprintf("x%d", len(fill))
		e.create(path, array.Spec{DType: dtype("uint8"), Shape: []uint64{100, 100}, Chunks: []uint64{2, 2}, Fill: fill})
		data := make([]byte, 100*100)
		for i := range data {
			data[i] = byte(i%250 + 1)
		}
		e.write(path, nil, data)
		_, err := e.set.Resize(e.ctx, path, []uint64{7, 9}, object.RequestID{})
		e.ok(err)
		_, err = e.set.Resize(e.ctx, path, []uint64{50, 101}, object.RequestID{})
		e.ok(err)
		want := bytes.Repeat(append([]byte{0}, fill...)[len(fill):len(fill)+1], 50*101)
		for i := range 7 {
			copy(want[i*101:i*101+9], data[i*100:])
		}
		e.equal(e.read(0, path, nil), want)
		scan, err := e.set.Scan(e.ctx, 0, path)
		e.ok(err)
		n := 0
		e.ok(scan.Chunks(e.ctx, nil, func(*array.ChunkStats) bool { n++; return true }))
		if n != 4*5 {
			e.Fatalf("%d chunks are left", n)
		}
	}
}

// failing fails all commits after so many.
type failing struct {
	object.Store
	left int
}

func (f *failing) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	if f.left--; f.left < 0 {
		return object.Result{}, fault.New(fault.Unreachable, "test", "commit", "the server is gone")
	}
	return f.Store.Commit(ctx, tx)
}

func testInterruptedCut(e *env) {
	e.create("x", array.Spec{DType: dtype("int32"), Shape: []uint64{10}, Chunks: []uint64{3}, Fill: ints(5)})
	e.write("x", nil, count(10))
	broken := array.Open(&failing{Store: e.st, left: 1}, "p/a")
	if _, err := broken.Resize(e.ctx, "x", []uint64{4}, object.RequestID{}); err == nil {
		e.Fatal("the resize did not meet the failure")
	}
	e.equal(e.read(0, "x", nil), count(4)) // the shape is set
	e.write("x", []array.Axis{span(2, 2)}, ints(20, 30))
	_, _, err := e.set.Append(e.ctx, "x", ints(-1), array.AppendOptions{Count: 1})
	e.ok(err)
	_, err = e.set.Resize(e.ctx, "x", []uint64{8}, object.RequestID{})
	e.ok(err)
	e.equal(e.read(0, "x", nil), ints(0, 1, 20, 30, -1, 5, 5, 5))
}

func testConcurrentAppends(e *env) {
	e.create("x", array.Spec{DType: dtype("int32"), Shape: []uint64{0, 2}, Chunks: []uint64{3, 2}})
	const writers, each = 6, 15
	starts := make([][]uint64, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range each {
				v := int32(w*100 + i)
				at, _, err := e.set.Append(e.ctx, "x", ints(v, -v), array.AppendOptions{Count: 1})
				if err != nil {
					e.Error(err)
					return
				}
				starts[w] = append(starts[w], at)
			}
		}()
	}
	all.Wait()
	got := e.read(0, "x", nil)
	if len(got) != writers*each*8 {
		e.Fatalf("%d bytes", len(got))
	}
	for w := range writers {
		for i, at := range starts[w] {
			v := int32(w*100 + i)
			e.equal(got[8*at:8*at+8], ints(v, -v))
		}
	}
}

func testConcurrentParts(e *env) {
	e.create("x", array.Spec{DType: dtype("int32"), Shape: []uint64{64}, Chunks: []uint64{64}, Fill: ints(1)})
	var all sync.WaitGroup
	for w := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := w; i < 64; i += 8 {
				if _, err := e.set.Write(e.ctx, "x", []array.Axis{span(uint64(i), 1)}, ints(int32(i)), array.WriteOptions{}); err != nil {
					e.Error(err)
				}
			}
		}()
	}
	all.Wait()
	e.equal(e.read(0, "x", nil), count(64))
	scan, err := e.set.Scan(e.ctx, 0, "x")
	e.ok(err)
	e.ok(scan.Chunks(e.ctx, nil, func(c *array.ChunkStats) bool {
		if binary.LittleEndian.Uint32(c.Min) > 0 || binary.LittleEndian.Uint32(c.Max) < 63 {
			e.Errorf("statistics %+v leave out what was written", c)
		}
		return true
	}))
}

// testReplaced replaces an array between the moment a write has looked at it and
// its commit: the write must not go to an array that is not there any more.
func testReplaced(e *env) {
	s := array.Spec{DType: dtype("int32"), Shape: []uint64{4}, Chunks: []uint64{2}}
	e.create("x", s)
	l := &meddling{Store: e.st}
	set := array.Open(l, "p/a")
	l.before = func() {
		_, err := e.set.Remove(e.ctx, "x", object.RequestID{}, false)
		e.ok(err)
	}
	_, err := set.Write(e.ctx, "x", nil, count(4), array.WriteOptions{})
	e.kind(err, fault.NotFound)
	e.create("x", s)
	l.before = func() {
		_, _, err := e.set.Create(e.ctx, "x", s, array.CreateOptions{Overwrite: true})
		e.ok(err)
	}
	_, err = set.Write(e.ctx, "x", nil, count(4), array.WriteOptions{})
	e.ok(err)
	e.equal(e.read(0, "x", nil), count(4))
	l.before = func() {
		_, err := e.set.Resize(e.ctx, "x", []uint64{2}, object.RequestID{})
		e.ok(err)
	}
	_, err = set.Write(e.ctx, "x", []array.Axis{span(2, 2)}, ints(1, 2), array.WriteOptions{})
	e.kind(err, fault.Invalid)
}

// testPartMeanwhile changes a chunk between the moment a write has read it, to write
// a scattered part of it, and its commit.
func testPartMeanwhile(e *env) {
	e.create("x", array.Spec{DType: dtype("int32"), Shape: []uint64{300}, Chunks: []uint64{300}})
	e.write("x", nil, count(300))
	m := &meddling{Store: e.st}
	m.before = func() { e.write("x", []array.Axis{span(1, 1)}, ints(-1)) }
	_, err := array.Open(m, "p/a").Write(e.ctx, "x", []array.Axis{{Count: 150, Step: 2}}, ints(5), array.WriteOptions{Broadcast: true})
	e.ok(err)
	e.equal(e.read(0, "x", []array.Axis{span(0, 5)}), ints(5, -1, 5, 3, 5))
}

func testLarge(e *env) {
	const rows, cols = 3000, 2000
	e.create("x", array.Spec{DType: dtype("int32"), Shape: []uint64{rows, cols}, Chunks: []uint64{512, 1024}})
	data := count(rows * cols)
	const half = rows / 2
	e.write("x", []array.Axis{span(0, half), span(0, cols)}, data[:half*cols*4])
	e.write("x", []array.Axis{span(half, rows-half), span(0, cols)}, data[half*cols*4:])
	e.equal(e.read(0, "x", nil), data)
	r, err := e.set.Select(e.ctx, 0, "x", []array.Axis{{Start: 1, Count: 1400, Step: 2}, span(7, 1900)})
	e.ok(err)
	var got []byte
	e.ok(r.Pieces(e.ctx, func(p []byte) error { got = append(got, p...); return nil }))
	var want []byte
	for i := 1; i < 1+2*1400; i += 2 {
		want = append(want, data[4*(i*cols+7):4*(i*cols+7+1900)]...)
	}
	e.equal(got, want)
}

func testScan(e *env) {
	e.create("x", array.Spec{DType: dtype("int32"), Shape: []uint64{5, 5}, Chunks: []uint64{2, 2}, Fill: ints(3)})
	e.write("x", []array.Axis{span(0, 5), span(2, 3)}, count(15))
	scan, err := e.set.Scan(e.ctx, 0, "x")
	e.ok(err)
	var got [][]uint64
	e.ok(scan.Chunks(e.ctx, []uint64{0, 1}, func(c *array.ChunkStats) bool {
		got = append(got, c.Coords)
		return len(got) < 3
	}))
	if fmt.Sprint(got) != "[[0 2] [1 1] [1 2]]" {
		e.Fatalf("chunks %v", got)
	}
	data, shape, err := scan.Read(e.ctx, []uint64{2, 2})
	e.ok(err)
	if fmt.Sprint(shape) != "[1 1]" {
		e.Fatalf("shape %v", shape)
	}
	e.equal(data, ints(14))
	data, _, err = scan.Read(e.ctx, []uint64{1, 0})
	e.ok(err)
	e.equal(data, ints(3, 3, 3, 3))
	_, _, err = scan.Read(e.ctx, []uint64{3, 0})
	e.kind(err, fault.Invalid)
}
