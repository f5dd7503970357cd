// Package tensortest is the conformance suite of tensor datasets: what a table
// must do over any object store, as one function, Run, and a random test
// against plain slices, Random. Both know only package tensor and the store
// interfaces.
package tensortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"daos/dataset/tensor"
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
			c.run(&env{T: t, st: st, tab: tensor.Open(st, "p/t"), ctx: context.Background()})
		})
	}
	t.Run("random", func(t *testing.T) { Random(t, newStore, 60) })
}

var cases = []struct {
	name string
	run  func(*env)
}{
	{"define", testDefine},
	{"append and read", testAppendRead},
	{"bad rows", testBadRows},
	{"expect length", testExpectLength},
	{"request id", testRequestID},
	{"snapshot", testSnapshot},
	{"overwrite", testOverwrite},
	{"read ranges", testReadRanges},
	{"staged append", testStaged},
	{"staged append fails", testStagedFails},
	{"lease expires", testLeaseExpires},
	{"concurrent appends", testConcurrent},
	{"concurrent staged appends", testConcurrentStaged},
	{"lost races", testLostRaces},
	{"staged append loses a race", testLostRaceStaged},
	{"statistics", testStats},
}

type env struct {
	*testing.T
	st  object.Store
	tab *tensor.Table
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

func (e *env) define(cols ...tensor.Column) []tensor.Column {
	e.Helper()
	_, err := e.tab.Define(e.ctx, object.RequestID{}, cols)
	e.ok(err)
	info, err := e.tab.Describe(e.ctx, 0)
	e.ok(err)
	return info.Columns
}

func (e *env) append(r ...*tensor.Rows) tensor.AppendResult {
	e.Helper()
	res, err := e.tab.Append(e.ctx, tensor.AppendOptions{}, Source(r...))
	e.ok(err)
	return res
}

// read reads all of a selection as cells by column.
func read(ctx context.Context, tab *tensor.Table, at object.Epoch, sel tensor.Selection) ([]Cells, error) {
	r, err := tab.Read(ctx, at, sel)
	if err != nil {
		return nil, err
	}
	cols := r.Columns()
	out := make([]Cells, len(cols))
	n := uint64(0)
	for {
		rows, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		n += uint64(rows.N)
		for i := range cols {
			out[i] = append(out[i], Unpack(&cols[i], &rows.Columns[i], rows.N)...)
		}
	}
	if n != r.Count() {
		return nil, fmt.Errorf("%d samples read, %d announced", n, r.Count())
	}
	return out, nil
}

func (e *env) read(at object.Epoch, sel tensor.Selection) []Cells {
	e.Helper()
	out, err := read(e.ctx, e.tab, at, sel)
	e.ok(err)
	return out
}

var all = tensor.Selection{Stop: 1 << 62}

func sameCells(a, b Cells) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d samples, want %d", len(a), len(b))
	}
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) || string(a[i]) != string(b[i]) {
			return fmt.Errorf("sample %d is %.40x, want %.40x", i, a[i], b[i])
		}
	}
	return nil
}

func (e *env) same(got, want []Cells) {
	e.Helper()
	if len(got) != len(want) {
		e.Fatalf("%d columns, want %d", len(got), len(want))
	}
	for i := range got {
		if err := sameCells(got[i], want[i]); err != nil {
			e.Fatalf("column %d: %v", i, err)
		}
	}
}

func u8(vs ...byte) Cells {
	out := Cells{}
	for _, v := range vs {
		out = append(out, []byte{v})
	}
	return out
}

func text(vs ...string) Cells {
	out := Cells{}
	for _, v := range vs {
		out = append(out, []byte(v))
	}
	return out
}

var (
	colByte = tensor.Column{Name: "x", Layout: tensor.Fixed, DType: tensor.Uint8, ChunkSamples: 4}
	colText = tensor.Column{Name: "s", Layout: tensor.String, Nullable: true, ChunkSamples: 3}
)

func testDefine(e *env) {
	_, err := e.tab.Describe(e.ctx, 0)
	e.kind(err, fault.NotFound)
	for _, bad := range [][]tensor.Column{
		nil,
		{{Name: "", Layout: tensor.Fixed, DType: tensor.Int8}},
		{{Name: "a/b", Layout: tensor.Fixed, DType: tensor.Int8}},
		{{Name: "a\x00", Layout: tensor.Fixed, DType: tensor.Int8}},
		{{Name: "a", Layout: 9, DType: tensor.Int8}},
		{{Name: "a", Layout: tensor.Fixed, DType: 99}},
		{{Name: "a", Layout: tensor.Fixed, DType: tensor.Int8, Shape: []uint64{0}}},
		{{Name: "a", Layout: tensor.Fixed, DType: tensor.Int8, Shape: []uint64{1 << 40, 1 << 40}}},
		{{Name: "a", Layout: tensor.Ragged, DType: tensor.Int8, Shape: []uint64{2}}},
		{{Name: "a", Layout: tensor.String, DType: tensor.Int8}},
		{{Name: "a", Layout: tensor.Fixed, DType: tensor.Int8}, {Name: "a", Layout: tensor.Fixed, DType: tensor.Int8}},
	} {
		_, err := e.tab.Define(e.ctx, object.RequestID{}, bad)
		e.kind(err, fault.Invalid)
	}
	id := object.RequestID{1}
	first, err := e.tab.Define(e.ctx, id, []tensor.Column{colByte, colText})
	e.ok(err)
	again, err := e.tab.Define(e.ctx, id, []tensor.Column{colByte, colText})
	e.ok(err)
	if first != again {
		e.Fatalf("a retry was answered with epoch %d, not %d", again, first)
	}
	_, err = e.tab.Define(e.ctx, object.RequestID{}, []tensor.Column{colByte})
	e.kind(err, fault.Exists)
	info, err := e.tab.Describe(e.ctx, 0)
	e.ok(err)
	if info.Length != 0 || len(info.Columns) != 2 || info.Columns[1].DType != tensor.Uint8 {
		e.Fatalf("described as %+v", info)
	}
	e.same(e.read(0, all), []Cells{nil, nil})
}

func testAppendRead(e *env) {
	cols := e.define(colByte, colText)
	x := u8(1, 2, 3, 4, 5, 6, 7)
	s := Cells{[]byte("a"), nil, {}, []byte("€"), []byte("dd"), nil, []byte("z")}
	for i := 0; i < 7; { // pieces of 1, 2, 4: within and across chunks
		n := i + 1
		res := e.append(PackRows(cols, []Cells{x[i : i+n], s[i : i+n]}))
		if res.Start != uint64(i) || res.Count != uint64(n) {
			e.Fatalf("appended at %+v", res)
		}
		i += n
	}
	e.same(e.read(0, all), []Cells{x, s})
	e.same(e.read(0, tensor.Selection{Columns: []string{"s"}, Stop: 1 << 62}), []Cells{s})
	stats, err := e.tab.Stats(e.ctx, 0, "x")
	e.ok(err)
	if len(stats) != 2 || stats[0].Count != 4 || stats[1].First != 4 {
		e.Fatalf("chunks %+v", stats)
	}
	res := e.append()
	if res.Start != 7 || res.Count != 0 {
		e.Fatalf("an empty append gave %+v", res)
	}
}

func testBadRows(e *env) {
	cols := e.define(colByte, colText, tensor.Column{Name: "b", Layout: tensor.Fixed, DType: tensor.Bool})
	good := func() *tensor.Rows { return PackRows(cols, []Cells{u8(1, 2), text("a", "b"), u8(0, 1)}) }
	for i, spoil := range []func(*tensor.Rows){
		func(r *tensor.Rows) { r.Columns = r.Columns[:2] },
		func(r *tensor.Rows) { r.N = 3 },
		func(r *tensor.Rows) { r.Columns[0].Values = r.Columns[0].Values[:1] },
		func(r *tensor.Rows) { r.Columns[0].Valid = []byte{1, 0} },
		func(r *tensor.Rows) { r.Columns[1].Valid = []byte{1} },
		func(r *tensor.Rows) { r.Columns[1].Valid = []byte{1, 7} },
		func(r *tensor.Rows) { r.Columns[1].Valid = []byte{1, 0} },
		func(r *tensor.Rows) { r.Columns[1].Offsets = []uint64{0, 5, 2} },
		func(r *tensor.Rows) { r.Columns[1].Offsets = []uint64{1, 1, 2} },
		func(r *tensor.Rows) { r.Columns[1].Offsets = []uint64{0, 1, 1 << 63} },
		func(r *tensor.Rows) { r.Columns[1].Offsets = nil },
		func(r *tensor.Rows) { r.Columns[1].Values = []byte{0xc3, 0x28} },
		func(r *tensor.Rows) { r.Columns[2].Values[1] = 2 },
	} {
		r := good()
		spoil(r)
		_, err := e.tab.Append(e.ctx, tensor.AppendOptions{}, Source(r))
		if !fault.Is(err, fault.Invalid) {
			e.Fatalf("bad rows %d: %v", i, err)
		}
	}
	e.append(good())
}

func testExpectLength(e *env) {
	cols := e.define(colByte)
	rows := PackRows(cols, []Cells{u8(1, 2)})
	n := uint64(1)
	_, err := e.tab.Append(e.ctx, tensor.AppendOptions{ExpectLength: &n}, Source(rows))
	e.kind(err, fault.Conflict)
	n = 0
	_, err = e.tab.Append(e.ctx, tensor.AppendOptions{ExpectLength: &n}, Source(rows))
	e.ok(err)
}

func testRequestID(e *env) {
	cols := e.define(colByte)
	o := tensor.AppendOptions{Request: object.RequestID{7}}
	first, err := e.tab.Append(e.ctx, o, Source(PackRows(cols, []Cells{u8(1, 2)})))
	e.ok(err)
	e.append(PackRows(cols, []Cells{u8(9)}))
	again, err := e.tab.Append(e.ctx, o, Source(PackRows(cols, []Cells{u8(1, 2)})))
	e.ok(err)
	if !again.Replayed || again.Start != 0 || again.Count != 2 || again.Epoch != first.Epoch {
		e.Fatalf("a retry was answered with %+v, first %+v", again, first)
	}
	ow := tensor.OverwriteOptions{Request: object.RequestID{8}, Start: 1}
	_, err = e.tab.Overwrite(e.ctx, ow, Source(PackRows(cols, []Cells{u8(5)})))
	e.ok(err)
	_, err = e.tab.Overwrite(e.ctx, tensor.OverwriteOptions{Start: 1}, Source(PackRows(cols, []Cells{u8(6)})))
	e.ok(err)
	res, err := e.tab.Overwrite(e.ctx, ow, Source(PackRows(cols, []Cells{u8(5)})))
	e.ok(err)
	if !res.Replayed {
		e.Fatal("the retry of an overwrite happened again")
	}
	e.same(e.read(0, all), []Cells{u8(1, 6, 9)})
}

func testSnapshot(e *env) {
	cols := e.define(colByte, colText)
	e.append(PackRows(cols, []Cells{u8(1, 2, 3), text("a", "b", "c")}))
	at, err := e.st.ReadEpoch(e.ctx, 0)
	e.ok(err)
	e.append(PackRows(cols, []Cells{u8(4, 5), text("d", "e")}))
	_, err = e.tab.Overwrite(e.ctx, tensor.OverwriteOptions{Start: 0}, Source(PackRows(cols, []Cells{u8(7, 8, 9), text("long and longer", "", "y")})))
	e.ok(err)
	e.same(e.read(at, all), []Cells{u8(1, 2, 3), text("a", "b", "c")})
	e.same(e.read(0, all), []Cells{u8(7, 8, 9, 4, 5), text("long and longer", "", "y", "d", "e")})
	info, err := e.tab.Describe(e.ctx, at)
	e.ok(err)
	if info.Length != 3 {
		e.Fatalf("length %d at the old epoch", info.Length)
	}
}

func testOverwrite(e *env) {
	cols := e.define(colByte, colText)
	e.append(PackRows(cols, []Cells{u8(1, 2, 3, 4, 5, 6), text("a", "b", "c", "d", "e", "f")}))
	_, err := e.tab.Overwrite(e.ctx, tensor.OverwriteOptions{Start: 2, Columns: []string{"s"}}, Source(PackRows(cols[1:], []Cells{{[]byte("C"), nil, []byte("EEE")}})))
	e.ok(err)
	_, err = e.tab.Overwrite(e.ctx, tensor.OverwriteOptions{Start: 3, Columns: []string{"x"}}, Source(PackRows(cols[:1], []Cells{u8(40, 50)})))
	e.ok(err)
	e.same(e.read(0, all), []Cells{u8(1, 2, 3, 40, 50, 6), {[]byte("a"), []byte("b"), []byte("C"), nil, []byte("EEE"), []byte("f")}})
	for _, o := range []tensor.OverwriteOptions{{Start: 6}, {Start: 1 << 63}} {
		_, err = e.tab.Overwrite(e.ctx, o, Source(PackRows(cols, []Cells{u8(1), text("")})))
		e.kind(err, fault.Invalid)
	}
	_, err = e.tab.Overwrite(e.ctx, tensor.OverwriteOptions{Columns: []string{"nope"}}, Source())
	e.kind(err, fault.NotFound)
}

func testReadRanges(e *env) {
	cols := e.define(colByte, colText)
	e.append(PackRows(cols, []Cells{u8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), text("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")}))
	for _, c := range []struct {
		sel  tensor.Selection
		want []byte
	}{
		{tensor.Selection{Start: 2, Stop: 5}, []byte{2, 3, 4}},
		{tensor.Selection{Start: 1, Stop: 100, Step: 4}, []byte{1, 5, 9}},
		{tensor.Selection{Start: 5, Stop: 5}, nil},
		{tensor.Selection{Start: 50, Stop: 60}, nil},
		{tensor.Selection{Start: 7, Stop: 2}, nil},
		{tensor.Selection{Start: 9, Stop: 1<<64 - 1, Step: 1<<64 - 1}, []byte{9}},
		{tensor.Selection{ByIndex: true, Indices: []uint64{9, 0, 3, 3, 4, 5, 0}}, []byte{9, 0, 3, 3, 4, 5, 0}},
		{tensor.Selection{ByIndex: true}, nil},
	} {
		want := []Cells{nil, nil}
		for _, v := range c.want {
			want[0], want[1] = append(want[0], []byte{v}), append(want[1], []byte{'0' + v})
		}
		e.same(e.read(0, c.sel), want)
	}
	_, err := e.tab.Read(e.ctx, 0, tensor.Selection{ByIndex: true, Indices: []uint64{1, 10}})
	e.kind(err, fault.Invalid)
	_, err = e.tab.Read(e.ctx, 0, tensor.Selection{Columns: []string{"x", "x"}})
	e.kind(err, fault.Invalid)
	_, err = e.tab.Read(e.ctx, 0, tensor.Selection{Columns: []string{"y"}})
	e.kind(err, fault.NotFound)
}

// bigRows makes pieces of 8 MiB: samples of 1 MiB whose bytes are their number
// plus add, and a text of it.
func bigRows(cols []tensor.Column, samples, add int) []*tensor.Rows {
	var out []*tensor.Rows
	for i := 0; i < samples; i += 8 {
		var x, s Cells
		for k := i; k < min(i+8, samples); k++ {
			v := make([]byte, 1<<20)
			for j := range v {
				v[j] = byte(k + add)
			}
			x, s = append(x, v), append(s, []byte(fmt.Sprint(k+add)))
		}
		out = append(out, PackRows(cols, []Cells{x, s}))
	}
	return out
}

var bigCols = []tensor.Column{
	{Name: "x", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{1 << 20}},
	{Name: "s", Layout: tensor.String},
}

func (e *env) checkBig(at object.Epoch, want []int) {
	e.Helper()
	for i, v := range want {
		got := e.read(at, tensor.Selection{Start: uint64(i), Stop: uint64(i) + 1})
		if string(got[1][0]) != fmt.Sprint(v) || got[0][0][0] != byte(v) || got[0][0][1<<20-1] != byte(v) {
			e.Fatalf("sample %d is %s and %d, want %d", i, got[1][0], got[0][0][0], v)
		}
	}
}

func testStaged(e *env) {
	cols := e.define(bigCols...)
	e.append(bigRows(cols, 3, 100)...)
	at, err := e.st.ReadEpoch(e.ctx, 0)
	e.ok(err)
	e.append(bigRows(cols, 70, 0)...)
	want := []int{100, 101, 102}
	e.checkBig(at, want)
	for i := range 70 {
		want = append(want, i)
	}
	e.checkBig(0, want)
	info, err := e.tab.Describe(e.ctx, at)
	e.ok(err)
	if info.Length != 3 {
		e.Fatalf("length %d before", info.Length)
	}
	e.noLeases()
}

func (e *env) noLeases() {
	e.Helper()
	later := tensor.Open(e.st, "p/t", tensor.WithClock(func() time.Time { return time.Now().Add(24 * time.Hour) }))
	n, err := later.Collect(e.ctx)
	e.ok(err)
	if n != 0 {
		e.Fatalf("%d staging leases are left", n)
	}
}

// breaking fails after some pieces, as a client that goes away.
type breaking struct {
	tensor.Source
	after func() error
}

func (b *breaking) Next(ctx context.Context) (*tensor.Rows, error) {
	r, err := b.Source.Next(ctx)
	if errors.Is(err, io.EOF) {
		if err := b.after(); err != nil {
			return nil, err
		}
	}
	return r, err
}

func testStagedFails(e *env) {
	cols := e.define(bigCols...)
	e.append(bigRows(cols, 1, 5)...)
	_, err := e.tab.Append(e.ctx, tensor.AppendOptions{}, &breaking{Source(bigRows(cols, 40, 0)...), func() error { return context.Canceled }})
	e.kind(err, fault.Canceled)
	e.noLeases()
	e.checkBig(0, []int{5})
	info, err := e.tab.Describe(e.ctx, 0)
	e.ok(err)
	if info.Length != 1 {
		e.Fatalf("length %d after a failed append", info.Length)
	}
}

func testLeaseExpires(e *env) {
	cols := e.define(bigCols...)
	later := tensor.Open(e.st, "p/t", tensor.WithClock(func() time.Time { return time.Now().Add(2 * time.Hour) }))
	_, err := e.tab.Append(e.ctx, tensor.AppendOptions{}, &breaking{Source(bigRows(cols, 40, 0)...), func() error {
		n, err := later.Collect(e.ctx)
		if n != 1 {
			e.Errorf("%d leases collected", n)
		}
		return err
	}})
	e.kind(err, fault.Timeout)
	info, err := e.tab.Describe(e.ctx, 0)
	e.ok(err)
	if info.Length != 0 {
		e.Fatalf("length %d", info.Length)
	}
	e.append(bigRows(cols, 2, 0)...)
	e.checkBig(0, []int{0, 1})
}

func testConcurrent(e *env) {
	// Chunks of two: every append begins chunks of its own, so that nothing but
	// the length keeps two of them apart.
	x, s := colByte, colText
	x.ChunkSamples, s.ChunkSamples = 2, 2
	cols := e.define(x, s)
	const writers, each = 6, 8
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				v := byte(w*each + i)
				// Two rows at a time, which must stay neighbours.
				_, err := e.tab.Append(e.ctx, tensor.AppendOptions{}, Source(PackRows(cols, []Cells{u8(v, v), text(string('A'+rune(w)), string('a'+rune(i)))})))
				if err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		e.Fatal(err)
	}
	got := e.read(0, all)
	if len(got[0]) != 2*writers*each {
		e.Fatalf("%d samples, want %d", len(got[0]), 2*writers*each)
	}
	seen := map[byte]bool{}
	for i := 0; i < len(got[0]); i += 2 {
		v := got[0][i][0]
		want := []string{string('A' + rune(v/each)), string('a' + rune(v%each))}
		if got[0][i+1][0] != v || seen[v] || !slices.Equal([]string{string(got[1][i]), string(got[1][i+1])}, want) {
			e.Fatalf("the rows at %d are torn: %v %v", i, got[0][i:i+2], got[1][i:i+2])
		}
		seen[v] = true
	}
}

func testConcurrentStaged(e *env) {
	cols := e.define(bigCols...)
	var wg sync.WaitGroup
	res := make([]tensor.AppendResult, 2)
	errs := make([]error, 2)
	for w := range res {
		wg.Add(1)
		go func() {
			defer wg.Done()
			res[w], errs[w] = e.tab.Append(e.ctx, tensor.AppendOptions{}, Source(bigRows(cols, 36, 50*w)...))
		}()
	}
	wg.Wait()
	want := make([]int, 72)
	for w := range res {
		e.ok(errs[w])
		for i := range 36 {
			want[int(res[w].Start)+i] = 50*w + i
		}
	}
	e.checkBig(0, want)
	e.noLeases()
}

// racing does something before the next transaction that it is asked for.
type racing struct {
	object.Store
	which  func(*object.Tx) bool
	before func()
}

func (r *racing) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	if f := r.before; f != nil && r.which(tx) {
		r.before = nil
		f()
	}
	return r.Store.Commit(ctx, tx)
}

// testLostRaces lets another writer in between the reads and the commit of each
// kind of change: both must be there afterwards.
func testLostRaces(e *env) {
	x, s := colByte, colText
	x.ChunkSamples, s.ChunkSamples = 2, 2
	cols := e.define(x, s)
	rows := func(v byte, n int) *tensor.Rows {
		c := []Cells{nil, nil}
		for range n {
			c[0], c[1] = append(c[0], []byte{v}), append(c[1], []byte{'a' + v})
		}
		return PackRows(cols, c)
	}
	e.append(rows(0, 2)) // full chunks: nothing but the length keeps appends apart
	r := &racing{Store: e.st, which: func(*object.Tx) bool { return true }}
	mine := tensor.Open(r, "p/t")
	r.before = func() { e.append(rows(1, 2)) }
	res, err := mine.Append(e.ctx, tensor.AppendOptions{}, Source(rows(2, 2)))
	e.ok(err)
	if res.Start != 4 {
		e.Fatalf("appended at %d", res.Start)
	}
	r.before = func() { e.append(rows(3, 1)) }
	_, err = mine.Overwrite(e.ctx, tensor.OverwriteOptions{Start: 1}, Source(rows(4, 2)))
	e.ok(err)
	r.before = func() {
		_, err := e.tab.Overwrite(e.ctx, tensor.OverwriteOptions{Start: 4, Columns: []string{"s"}}, Source(PackRows(cols[1:], []Cells{text("long")})))
		e.ok(err)
	}
	_, err = mine.Overwrite(e.ctx, tensor.OverwriteOptions{Start: 5}, Source(rows(5, 2)))
	e.ok(err)
	e.same(e.read(0, all), []Cells{u8(0, 4, 4, 1, 2, 5, 5), text("a", "e", "e", "b", "long", "f", "f")})
	r.before = func() {
		_, err := e.tab.Overwrite(e.ctx, tensor.OverwriteOptions{Start: 4, Columns: []string{"x"}}, Source(PackRows(cols[:1], []Cells{u8(200)})))
		e.ok(err)
	}
	_, err = mine.Overwrite(e.ctx, tensor.OverwriteOptions{Start: 5, Columns: []string{"x"}}, Source(PackRows(cols[:1], []Cells{u8(100)})))
	e.ok(err)
	stats, err := e.tab.Stats(e.ctx, 0, "x")
	e.ok(err)
	if err := checkAllStats(&cols[0], stats, e.read(0, all)[0]); err != nil {
		e.Fatal(err)
	}
	n := uint64(7)
	r.before = func() { e.append(rows(6, 1)) }
	_, err = mine.Append(e.ctx, tensor.AppendOptions{ExpectLength: &n}, Source(rows(7, 1)))
	e.kind(err, fault.Conflict)

}

func testLostRaceStaged(e *env) {
	big := e.define(bigCols...)
	r := &racing{Store: e.st, which: func(tx *object.Tx) bool { return tx.Barrier }}
	r.before = func() { e.append(bigRows(big, 2, 90)...) }
	res, err := tensor.Open(r, "p/t").Append(e.ctx, tensor.AppendOptions{}, Source(bigRows(big, 34, 0)...))
	e.ok(err)
	if res.Start != 2 {
		e.Fatalf("the staged append is at %d", res.Start)
	}
	want := []int{90, 91}
	for i := range 34 {
		want = append(want, i)
	}
	e.checkBig(0, want)
	e.noLeases()
}
