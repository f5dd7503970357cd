package kvtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"daos/dataset/kv"
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
			c.run(&env{T: t, st: st, d: kv.Open(st, kv.Options{}), ctx: t.Context()})
		})
	}
	t.Run("random", func(t *testing.T) { Random(t, newStore, 600) })
}

var cases = []struct {
	name string
	run  func(*env)
}{
	{"names", testNames},
	{"conditions", testConditions},
	{"counters", testCounters},
	{"appends", testAppends},
	{"batch is atomic", testAtomic},
	{"request id", testRequestID},
	{"snapshot", testSnapshot},
	{"delete", testDelete},
	{"budget", testBudget},
	{"stream", testStream},
	{"lease expires", testLeaseExpires},
	{"concurrent counters", testConcurrentCounters},
	{"concurrent puts of large values", testConcurrentLarge},
	{"schema", testSchema},
	{"schema of a used dataset", testSchemaLate},
	{"limits", testLimits},
}

type env struct {
	*testing.T
	st  object.Store
	d   *kv.Dataset
	ctx context.Context //nolint:containedctx // of the test
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

func (e *env) apply(ops ...kv.Op) kv.Applied {
	e.Helper()
	r, err := e.d.Apply(e.ctx, object.RequestID{}, ops)
	e.ok(err)
	return r
}

func (e *env) fails(k fault.Kind, ops ...kv.Op) {
	e.Helper()
	_, err := e.d.Apply(e.ctx, object.RequestID{}, ops)
	e.kind(err, k)
}

func put(key, value string) kv.Op {
	return kv.Op{Kind: kv.OpPut, Key: []byte(key), Value: []byte(value)}
}

func add(key string, n int64) kv.Op { return kv.Op{Kind: kv.OpAdd, Key: []byte(key), Number: n} }

func appends(key, value string) kv.Op {
	return kv.Op{Kind: kv.OpAppend, Key: []byte(key), Value: []byte(value)}
}

func remove(key string) kv.Op { return kv.Op{Kind: kv.OpDelete, Key: []byte(key)} }

func when(w kv.When, version object.Epoch, o kv.Op) kv.Op {
	o.When, o.Version = w, version
	return o
}

func (e *env) head() *kv.View {
	e.Helper()
	v, err := e.d.Head(e.ctx, 0)
	e.ok(err)
	return v
}

func (e *env) get(v *kv.View, key string) (string, object.Epoch) {
	e.Helper()
	x, err := v.Get(e.ctx, []byte(key), nil)
	e.ok(err)
	b, err := v.Bytes(e.ctx, &x)
	e.ok(err)
	return string(b), x.Version
}

func (e *env) want(key, value string) object.Epoch {
	e.Helper()
	got, version := e.get(e.head(), key)
	if got != value {
		e.Fatalf("%s is %d bytes %.60q, want %d bytes %.60q", key, len(got), got, len(value), value)
	}
	return version
}

func (e *env) absent(key string) {
	e.Helper()
	_, err := e.head().Get(e.ctx, []byte(key), nil)
	e.kind(err, fault.NotFound)
}

// records counts all single values and arrays that there are, so that a test
// sees what is left over.
func (e *env) arrays() int {
	e.Helper()
	n := 0
	at, err := e.st.ReadEpoch(e.ctx, 0)
	e.ok(err)
	for number := uint64(1); number < 64; number++ {
		oid := object.MakeID(object.ClassSX, 0x51, number)
		e.ok(e.st.ListArrays(e.ctx, at, oid, object.ListOptions{}, func(_, _ []byte) bool { n++; return true }))
	}
	return n
}

func testNames(e *env) {
	e.fails(fault.Invalid, put("", "x"))
	e.fails(fault.TooBig, put(strings.Repeat("k", kv.MaxKey+1), "x"))
	e.fails(fault.TooBig, kv.Op{Kind: kv.OpPut, Key: []byte("k"), Akey: make([]byte, kv.MaxAkey+1)})
	long := strings.Repeat("k", kv.MaxKey)
	e.apply(put(long, "x"), kv.Op{Kind: kv.OpPut, Key: []byte(long), Akey: bytes.Repeat([]byte{0xff}, kv.MaxAkey), Value: []byte("y")}, put("\x00", ""))
	e.want(long, "x")
	e.want("\x00", "")
	x, err := e.head().Get(e.ctx, []byte(long), bytes.Repeat([]byte{0xff}, kv.MaxAkey))
	e.ok(err)
	if b, ok := x.Inline(); !ok || string(b) != "y" {
		e.Fatalf("%q, %v", b, ok)
	}
	_, err = e.head().Get(e.ctx, nil, nil)
	e.kind(err, fault.Invalid)
}

func testConditions(e *env) {
	e.fails(fault.NotFound, when(kv.IfPresent, 0, put("k", "1")))
	e.fails(fault.NotFound, when(kv.IfVersion, 1, put("k", "1")))
	v1 := e.apply(when(kv.IfAbsent, 0, put("k", "1"))).Epoch
	e.fails(fault.Exists, when(kv.IfAbsent, 0, put("k", "2")))
	e.want("k", "1")
	e.fails(fault.Conflict, when(kv.IfVersion, v1+1, put("k", "2")))
	v2 := e.apply(when(kv.IfVersion, v1, put("k", "2"))).Epoch
	if got := e.want("k", "2"); got != v2 {
		e.Fatalf("version %d, want %d", got, v2)
	}
	e.fails(fault.Conflict, when(kv.IfVersion, v1, remove("k")))
	e.apply(when(kv.IfPresent, 0, put("k", "3")))
	e.apply(when(kv.IfPresent, 0, remove("k")))
	e.fails(fault.NotFound, when(kv.IfPresent, 0, remove("k")))
	e.apply(when(kv.IfAbsent, 0, put("k", "4")))
	e.fails(fault.Invalid, when(9, 0, put("k", "5")))
	e.fails(fault.Invalid, kv.Op{Kind: 9, Key: []byte("k")})
	e.want("k", "4")
}

func testCounters(e *env) {
	r := e.apply(add("n", 5), add("n", -7), add("m", math.MaxInt64))
	if len(r.Results) != 3 || r.Results[0].Number != 5 || r.Results[1].Number != -2 || r.Results[2].Number != math.MaxInt64 {
		e.Fatalf("%+v", r.Results)
	}
	e.want("n", "-2")
	e.fails(fault.Invalid, add("m", 1))
	e.apply(put("t", "ten"))
	e.fails(fault.Invalid, add("t", 1))
	e.apply(put("big", strings.Repeat("1", 400<<10)))
	e.fails(fault.Invalid, add("big", 1))
	e.apply(put("t", "10"), add("t", 0))
	e.want("t", "10")
	e.apply(add("m", math.MinInt64))
	e.want("m", "-1")
	e.apply(put("low", strconv.Itoa(math.MinInt64)))
	e.fails(fault.Invalid, add("low", -1))
}

func testAppends(e *env) {
	want := ""
	for i := range 40 {
		piece := strings.Repeat(string(rune('a'+i%26)), 1+i*i*40)
		want += piece
		r := e.apply(appends("log", piece))
		if r.Results[0].Size != uint64(len(want)) {
			e.Fatalf("size %d, want %d", r.Results[0].Size, len(want))
		}
	}
	e.want("log", want)
	before := e.head()
	e.apply(appends("log", "one"), appends("log", "two"))
	e.want("log", want+"onetwo")
	if got, _ := e.get(before, "log"); got != want {
		e.Fatal("an append has changed what was there before it")
	}
	// Across the end of a chunk of a large value.
	large := strings.Repeat("x", 4<<20-3)
	e.apply(put("l", large))
	e.apply(appends("l", "12345678"))
	e.want("l", large+"12345678")
	e.apply(remove("l"))
	e.apply(remove("log"))
	if n := e.arrays(); n != 0 {
		e.Fatalf("%d arrays are left", n)
	}
}

func testAtomic(e *env) {
	e.apply(put("a", "1"))
	e.fails(fault.Exists, put("b", "1"), when(kv.IfAbsent, 0, put("a", "2")))
	e.absent("b")
	e.want("a", "1")
	r := e.apply(put("b", "2"), appends("b", "3"), remove("a"), when(kv.IfAbsent, 0, put("a", "new")), add("c", 1))
	if len(r.Results) != 3 || r.Results[1].Removed != 1 {
		e.Fatalf("%+v", r.Results)
	}
	e.want("b", "23")
	if v := e.want("a", "new"); v != r.Epoch {
		e.Fatalf("version %d, want %d", v, r.Epoch)
	}
	// The last of several puts wins, also where nothing is read.
	e.apply(put("d", "1"), put("d", "2"))
	e.want("d", "2")
	if r := e.apply(); len(r.Results) != 0 {
		e.Fatal("an empty batch has results")
	}
}

func testRequestID(e *env) {
	id := object.RequestID{1}
	ops := []kv.Op{add("n", 1), appends("l", "x"), when(kv.IfAbsent, 0, put("k", "v")), remove("none")}
	first, err := e.d.Apply(e.ctx, id, ops)
	e.ok(err)
	e.apply(add("n", 10), appends("l", "y"))
	again, err := e.d.Apply(e.ctx, id, ops)
	e.ok(err)
	if !again.Replayed || again.Epoch != first.Epoch || again.Results[0].Number != 1 || again.Results[1].Size != 1 {
		e.Fatalf("%+v", again)
	}
	e.want("n", "11")
	e.want("l", "xy")
	for _, other := range [][]kv.Op{
		{add("n", 1)}, {add("n", 2), ops[1], ops[2], ops[3]}, {ops[0], appends("l", "z"), ops[2], ops[3]},
		{ops[0], ops[1], put("k", "v"), ops[3]}, {ops[0], ops[1], ops[2], remove("nine")},
	} {
		_, err = e.d.Apply(e.ctx, id, other)
		e.kind(err, fault.Invalid)
	}
	e.want("n", "11")
	e.want("l", "xy")
	// A stream, whose value is compared too.
	id[0] = 3
	for i, value := range []string{"a", "a", "b"} {
		value := strings.Repeat(value, 20<<20)
		_, err := e.d.Put(e.ctx, []byte("s"), nil, kv.PutOptions{Request: id}, func() ([]byte, error) {
			b := value[:min(len(value), 5<<20)]
			if value = value[len(b):]; b == "" {
				return nil, io.EOF
			}
			return []byte(b), nil
		})
		if e.Helper(); i < 2 {
			e.ok(err)
			continue
		}
		e.kind(err, fault.Invalid)
	}
	e.apply(remove("s"))
	// A put of a large value, too.
	id[0] = 2
	large := kv.Op{Kind: kv.OpPut, Key: []byte("large"), Value: make([]byte, 1<<20)}
	for range 3 {
		_, err = e.d.Apply(e.ctx, id, []kv.Op{large})
		e.ok(err)
	}
	e.apply(remove("large"))
	if n := e.arrays(); n != 0 {
		e.Fatalf("%d arrays are left", n)
	}
}

func testSnapshot(e *env) {
	large := strings.Repeat("l", 300<<10)
	e.apply(put("a", "1"), put("b", large), put("c", "3"))
	at := e.head()
	e.apply(put("a", "2"), put("b", "small"), remove("c"), put("d", "4"))
	for key, want := range map[string]string{"a": "1", "b": large, "c": "3"} {
		if got, _ := e.get(at, key); got != want {
			e.Fatalf("%s is %.20q", key, got)
		}
	}
	n, err := at.Count(e.ctx)
	e.ok(err)
	if n != 3 {
		e.Fatalf("%d pairs", n)
	}
	_, err = at.Get(e.ctx, []byte("d"), nil)
	e.kind(err, fault.NotFound)
}

func testDelete(e *env) {
	two := kv.Op{Kind: kv.OpPut, Key: []byte("k"), Akey: []byte("x"), Value: make([]byte, 1<<20)}
	e.apply(put("k", "1"), two, put("kk", "1"))
	r := e.apply(kv.Op{Kind: kv.OpDeleteKey, Key: []byte("k")})
	if r.Results[0].Removed != 2 {
		e.Fatalf("%+v", r.Results)
	}
	e.absent("k")
	e.want("kk", "1")
	if n := e.arrays(); n != 0 {
		e.Fatalf("%d arrays are left", n)
	}
	r = e.apply(kv.Op{Kind: kv.OpDeleteKey, Key: []byte("k")}, remove("kk"), put("kk", "2"), kv.Op{Kind: kv.OpDeleteKey, Key: []byte("kk")}, put("kk", "3"))
	if r.Results[0].Removed != 0 || r.Results[1].Removed != 1 || r.Results[2].Removed != 1 {
		e.Fatalf("%+v", r.Results)
	}
	e.want("kk", "3")
	e.fails(fault.Invalid, kv.Op{Kind: kv.OpDeleteKey, Key: []byte("k"), Akey: []byte("x")})
}

func testBudget(e *env) {
	var names []kv.Name
	for i := range 2000 {
		key := "k" + strconv.Itoa(i)
		e.apply(put(key, strings.Repeat("v", 100)))
		names = append(names, kv.Name{Key: []byte(key)})
	}
	got, err := e.head().GetMany(e.ctx, names, 5000)
	e.ok(err)
	if len(got) != 50 {
		e.Fatalf("%d values within the budget", len(got))
	}
	got, err = e.head().GetMany(e.ctx, names, 1)
	e.ok(err)
	if len(got) != 1 {
		e.Fatalf("%d values within a budget too small for one", len(got))
	}
	got, err = e.head().GetMany(e.ctx, names, 0)
	e.ok(err)
	if len(got) != 2000 {
		e.Fatalf("%d values", len(got))
	}
}

// pieces gives b in pieces of n bytes and then end.
func pieces(b []byte, n int, end error) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(b) == 0 {
			return nil, end
		}
		p := b[:min(n, len(b))]
		b = b[len(p):]
		return p, nil
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	x := uint64(n)
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return b
}

func testStream(e *env) {
	for _, n := range []int{0, 10, 100 << 10, 16 << 20, 16<<20 + 1, 37<<20 + 11} {
		b := random(n)
		w, err := e.d.Put(e.ctx, []byte("k"), nil, kv.PutOptions{}, pieces(b, 3<<20, io.EOF))
		e.ok(err)
		if w.Size != uint64(n) {
			e.Fatalf("%d bytes written of %d", w.Size, n)
		}
		if v := e.want("k", string(b)); v != w.Epoch {
			e.Fatalf("version %d, want %d", v, w.Epoch)
		}
	}
	before := e.arrays()
	boom := errors.New("boom")
	_, err := e.d.Put(e.ctx, []byte("k"), nil, kv.PutOptions{}, pieces(random(40<<20), 3<<20, boom))
	if !errors.Is(err, boom) {
		e.Fatalf("%v", err)
	}
	if n := e.arrays(); n != before {
		e.Fatalf("%d arrays, %d before a stream that broke off", n, before)
	}
	_, err = e.d.Put(e.ctx, []byte("k"), nil, kv.PutOptions{When: kv.IfAbsent}, pieces(random(40<<20), 3<<20, io.EOF))
	e.kind(err, fault.Exists)
	if n := e.arrays(); n != before {
		e.Fatalf("%d arrays, %d before a stream that was refused", n, before)
	}
	id := object.RequestID{7}
	first, err := e.d.Put(e.ctx, []byte("k"), nil, kv.PutOptions{Request: id}, pieces(random(20<<20), 3<<20, io.EOF))
	e.ok(err)
	e.apply(put("k", "newer"))
	again, err := e.d.Put(e.ctx, []byte("k"), nil, kv.PutOptions{Request: id}, pieces(random(20<<20), 3<<20, io.EOF))
	e.ok(err)
	if !again.Replayed || again.Epoch != first.Epoch || again.Size != first.Size {
		e.Fatalf("%+v, %+v", first, again)
	}
	e.want("k", "newer")
	if n := e.arrays(); n != 0 {
		e.Fatalf("%d arrays are left", n)
	}
}

func testLeaseExpires(e *env) {
	now := time.Now()
	clock := func() time.Time { return now }
	d := kv.Open(e.st, kv.Options{Now: clock})
	n := 0
	_, err := d.Put(e.ctx, []byte("k"), nil, kv.PutOptions{}, func() ([]byte, error) {
		if n++; n < 30 {
			return random(2 << 20), nil
		}
		if n == 30 { // nothing comes for long, and somebody collects
			now = now.Add(11 * time.Minute)
			c, err := kv.Open(e.st, kv.Options{Now: clock}).Collect(e.ctx, 10)
			e.ok(err)
			if c != 1 {
				e.Fatalf("%d leases collected", c)
			}
			return random(2 << 20), nil
		}
		return nil, io.EOF
	})
	e.kind(err, fault.Timeout)
	e.absent("k")
	if n := e.arrays(); n != 0 {
		e.Fatalf("%d arrays are left", n)
	}
}

func testConcurrentCounters(e *env) {
	var wg sync.WaitGroup
	for w := range 8 {
		d := e.d
		if w%2 == 1 {
			d = kv.Open(e.st, kv.Options{}) // another one, which shares no mutex
		}
		wg.Go(func() {
			for range 25 {
				if _, err := d.Apply(e.ctx, object.RequestID{}, []kv.Op{add("n", 1), appends("l", "x")}); err != nil {
					e.Error(err)
				}
				if _, err := d.Apply(e.ctx, object.RequestID{}, []kv.Op{add("n", 1)}); err != nil {
					e.Error(err)
				}
			}
		})
	}
	wg.Wait()
	e.want("n", "400")
	e.want("l", strings.Repeat("x", 200))
}

func testConcurrentLarge(e *env) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 8 {
				o := put("k", strings.Repeat("x", 300<<10))
				if i%3 == 2 {
					o = put("k", "small")
				}
				if _, err := e.d.Apply(e.ctx, object.RequestID{}, []kv.Op{o}); err != nil {
					e.Error(err)
				}
			}
		})
	}
	wg.Wait()
	e.apply(put("k", "end"))
	if n := e.arrays(); n != 0 {
		e.Fatalf("%d arrays are left of values that were overwritten", n)
	}
}

func testSchema(e *env) {
	sc := kv.Schema{Encoding: kv.JSON, Fields: []kv.Field{{Name: "loss", Type: kv.Float64}, {Name: "step", Type: kv.Int32}, {Name: "note", Type: kv.String, Nullable: true}}}
	_, err := e.d.Define(e.ctx, object.RequestID{}, kv.Schema{Encoding: kv.JSON})
	e.kind(err, fault.Invalid)
	_, err = e.d.Define(e.ctx, object.RequestID{}, sc)
	e.ok(err)
	_, err = e.d.Define(e.ctx, object.RequestID{}, sc)
	e.kind(err, fault.Exists)
	e.apply(put("a", `{"loss": 0.5, "step": 3}`), put("b", `{"step": -1, "loss": 1e3, "note": "fine", "more": [1]}`))
	for value, field := range map[string]string{
		`{"loss": 0.5}`:                         `"step"`,
		`{"loss": "x", "step": 3}`:              `"loss"`,
		`{"loss": 0.5, "step": 3000000000}`:     `"step"`,
		`{"loss": 0.5, "step": 1.5}`:            `"step"`,
		`{"loss": 0.5, "step": 1, "note": 1}`:   `"note"`,
		`{"loss": null, "step": 1, "note": ""}`: `"loss"`,
		`[1]`:                                   "JSON object",
		`null`:                                  "JSON object",
		"\xff":                                  "UTF-8",
	} {
		_, err := e.d.Apply(e.ctx, object.RequestID{}, []kv.Op{put("good", `{"loss": 0.5, "step": 3}`), put("c", value)})
		e.kind(err, fault.Invalid)
		if !strings.Contains(err.Error(), field) || !strings.Contains(err.Error(), `"c"`) {
			e.Errorf("%s: %v says neither key nor %s", value, err, field)
		}
	}
	e.absent("good")
	e.fails(fault.Invalid, add("n", 1))
	e.fails(fault.Invalid, appends("a", "x"))
	_, err = e.d.Put(e.ctx, []byte("k"), nil, kv.PutOptions{}, pieces(random(17<<20), 3<<20, io.EOF))
	e.kind(err, fault.TooBig)
	got, err := e.head().Schema(e.ctx)
	e.ok(err)
	cells, err := got.Decode([]byte("k"), []byte(`{"step": -1, "loss": 1e3, "note": "fine"}`), nil)
	e.ok(err)
	if cells[0].Float != 1000 || cells[1].Int != -1 || string(cells[2].Bytes) != "fine" {
		e.Fatalf("%+v", cells)
	}
}

func testSchemaLate(e *env) {
	e.apply(put("k", "v"))
	sc := kv.Schema{Encoding: kv.Struct, Fields: []kv.Field{{Name: "x", Type: kv.Float32}}}
	_, err := e.d.Define(e.ctx, object.RequestID{}, sc)
	e.kind(err, fault.NotEmpty)
	e.apply(remove("k"))
	_, err = e.d.Define(e.ctx, object.RequestID{}, sc)
	e.ok(err)
	e.apply(put("k", "\x00\x00\x80\x3f"))
	e.fails(fault.Invalid, put("k", "\x00\x00\x80"))
	e.fails(fault.Invalid, put("k", "\x00\x00\x80\x3f\x00"))
}

func testLimits(e *env) {
	many := make([]kv.Op, kv.MaxBatch+1)
	for i := range many {
		many[i] = put(strconv.Itoa(i), "")
	}
	e.fails(fault.TooBig, many...)
	e.apply(many[1:]...)
	n, err := e.head().Count(e.ctx)
	e.ok(err)
	if n != kv.MaxBatch {
		e.Fatalf("%d pairs", n)
	}
	for i := range many {
		many[i] = add(strconv.Itoa(i), 1)
	}
	e.fails(fault.TooBig, many[:kv.MaxReads+1]...)
	_, err = e.d.Put(e.ctx, []byte("k"), nil, kv.PutOptions{}, func() ([]byte, error) { return nil, io.ErrUnexpectedEOF })
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		e.Fatal(err)
	}
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err = e.d.Apply(ctx, object.RequestID{}, []kv.Op{put("k", "v")})
	e.kind(err, fault.Canceled)
}
