package vos_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/object"
	"daos/engine/target"
	"daos/engine/vos"
	"daos/internal/fault"
)

// marked is an object.Marker that counts: a value "x..." has any mark, one of
// eight bytes or more its first eight, and akey "n" has none.
func marked(calls *int) object.Marker {
	return func(_ object.ID, _, akey, value []byte) (s object.Span, ok bool) {
		*calls++
		switch {
		case string(akey) == "n":
			return s, false
		case len(value) < 8 || value[0] == 'x':
			return object.Everything(), true
		}
		x := int64(binary.BigEndian.Uint64(value[1:]))
		return object.Span{Min: x, Max: x}, true
	}
}

func markedValue(x int64) string {
	return "v" + string(binary.BigEndian.AppendUint64(nil, uint64(x))) + strings.Repeat("-", 40)
}

// shown is a scan as text.
func shown(scan func(fn func(object.Row, []byte) bool) error) (out []string, err error) {
	err = scan(func(r object.Row, _ []byte) bool {
		out = append(out, fmt.Sprintf("%v %q %q %d %q %d", r.OID, r.Dkey, r.Akey, r.Epoch, r.Value, r.Size))
		return true
	})
	return out, err
}

// TestScanMarked_EqualsAFilteredScan changes marks back and forth, deletes what
// had them, and puts a table of pebble's between any two steps, so that the newest
// version of a key and the punch that hides it lie in other tables than what they
// hide; zones are made before, between and after.
func TestScanMarked_EqualsAFilteredScan(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	calls := 0
	f := vfs.NewMem()
	o := options(f, "t")
	o.Marker = marked(&calls)
	v, err := vos.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mark := func() int64 {
		switch rng.IntN(12) {
		case 0:
			return math.MinInt64
		case 1:
			return math.MaxInt64
		}
		return int64(rng.IntN(40)) - 20
	}
	ctx := context.Background()
	check := func(at object.Epoch) {
		a, b := mark(), mark()
		want := object.Span{Min: min(a, b), Max: max(a, b)}
		expected, err := shown(func(fn func(object.Row, []byte) bool) error {
			return v.Scan(ctx, testDS, at, 0, math.MaxUint32, nil, func(r object.Row, pos []byte) bool {
				if s, ok := o.Marker(r.OID, r.Dkey, r.Akey, r.Value); !ok || !s.Meets(want) {
					return true
				}
				return fn(r, pos)
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := shown(func(fn func(object.Row, []byte) bool) error {
			return v.ScanMarked(ctx, testDS, at, 0, math.MaxUint32, nil, want, fn)
		})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(expected) {
			t.Fatalf("at %d, marks %v:\n%s\nnot\n%s", at, want, strings.Join(got, "\n"), strings.Join(expected, "\n"))
		}
		// The same in pieces.
		var pieces []string
		var pos []byte
		for {
			n := 1 + rng.IntN(3)
			more := false
			one, err := shown(func(fn func(object.Row, []byte) bool) error {
				return v.ScanMarked(ctx, testDS, at, 0, math.MaxUint32, pos, want, func(r object.Row, p []byte) bool {
					if n == 0 {
						more = true
						return false
					}
					n--
					pos = append([]byte(nil), p...)
					return fn(r, p)
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			if pieces = append(pieces, one...); !more {
				break
			}
		}
		if fmt.Sprint(pieces) != fmt.Sprint(expected) {
			t.Fatalf("at %d, marks %v: in pieces %d rows, not %d", at, want, len(pieces), len(expected))
		}
	}
	var epochs []object.Epoch
	for e := object.Epoch(10); e < 34; e++ {
		var ws []object.Write
		used := map[string]bool{}
		for range 1 + rng.IntN(60) {
			id := oid(uint64(rng.IntN(4)))
			dkey, akey := fmt.Sprintf("d%02d", rng.IntN(30)), []string{"e", "e", "n", "f"}[rng.IntN(4)]
			if name := fmt.Sprint(id, dkey); used[name] {
				continue
			} else {
				used[name] = true
			}
			switch rng.IntN(10) {
			case 0:
				ws = append(ws, punch(object.OpPunchDkey, id, dkey, ""))
			case 1:
				ws = append(ws, punch(object.OpPunchAkey, id, dkey, akey))
			case 2:
				ws = append(ws, put(id, dkey, akey, "x any"))
			case 3: // lies in a segment
				ws = append(ws, put(id, dkey, akey, strings.Repeat("s", object.InlineMax+1)))
			default:
				ws = append(ws, put(id, dkey, akey, markedValue(mark())))
			}
		}
		if rng.IntN(8) == 0 {
			ws = []object.Write{punch(object.OpPunchObject, oid(uint64(rng.IntN(4))), "", "")}
		}
		prepare(t, v, batch(e, ws...))
		epochs = append(epochs, e)
		for range rng.IntN(3) { // zones are kept, and widened by the next batch
			check(e)
		}
		if rng.IntN(3) == 0 { // what is in the buffer becomes a table
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			if v, err = vos.Open(o); err != nil {
				t.Fatal(err)
			}
		}
	}
	defer func() { _ = v.Close() }()
	for range 150 {
		check(epochs[rng.IntN(len(epochs))])
	}
	// Deletions of pebble's own, and merged tables.
	keep := []object.Epoch{15, 22}
	if _, err := v.Sweep(ctx, testDS, keep, 30); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err = vos.Open(o); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		check([]object.Epoch{15, 22, 30, 31, 33}[rng.IntN(5)])
	}
}

// TestScanMarked_ReadsLittle counts the rows that are looked at where marks rise
// with the keys, and that a dense range is passed over like any other.
func TestScanMarked_ReadsLittle(t *testing.T) {
	calls := 0
	o := options(vfs.NewMem(), "t")
	o.Marker = marked(&calls)
	v, err := vos.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	const n = 30000
	var ws []object.Write
	for i := range n {
		ws = append(ws, put(oid(1), fmt.Sprintf("%08d", i), "e", markedValue(int64(i))))
	}
	prepare(t, v, batch(10, ws...))
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err = vos.Open(o); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for i, c := range []struct {
		lo, hi int64
		most   int
	}{{0, n, 2 * n}, {15000, 15009, 1000}, {-5, -1, 0}, {0, n, n}, {100, 20000, 21000}} {
		if i > 0 {
			calls = 0 // the first one makes the zones
		}
		got, err := shown(func(fn func(object.Row, []byte) bool) error {
			return v.ScanMarked(context.Background(), testDS, 10, 0, math.MaxUint32, nil, object.Span{Min: c.lo, Max: c.hi}, fn)
		})
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for i := range int64(n) {
			if i >= c.lo && i <= c.hi {
				want++
			}
		}
		if len(got) != want || calls > c.most {
			t.Errorf("marks %d to %d: %d rows, not %d; %d looked at, not %d", c.lo, c.hi, len(got), want, calls, c.most)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	seen := 0
	err = v.ScanMarked(ctx, testDS, 10, 0, math.MaxUint32, nil, object.Span{Min: 0, Max: n}, func(object.Row, []byte) bool {
		if seen++; seen == 10 {
			cancel()
		}
		return true
	})
	if !fault.Is(err, fault.Canceled) || seen > 5000 {
		t.Errorf("after a cancel: %v, %d rows", err, seen)
	}
}

// TestScanMarked_BesideWrites makes zones while batches are written: whoever has
// seen a batch commit finds its rows.
func TestScanMarked_BesideWrites(t *testing.T) {
	calls := 0
	inner := marked(&calls)
	o := options(vfs.NewMem(), "t")
	var mu sync.Mutex
	o.Marker = func(id object.ID, dkey, akey, value []byte) (object.Span, bool) {
		mu.Lock()
		defer mu.Unlock()
		return inner(id, dkey, akey, value)
	}
	v, err := vos.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 150 {
				e := object.Epoch(10 + 3*i + w)
				x := int64(1000*w + i)
				ds := object.DatasetID(7 + i/30) // zones begin to be kept again and again
				b := &target.Batch{Dataset: ds, Epoch: e, Writes: []target.Placed{placed(put(oid(uint64(i%5)), fmt.Sprintf("%d-%d", w, i), "e", markedValue(x)))}}
				if err := v.Prepare(context.Background(), b); err != nil {
					t.Error(err)
					return
				}
				n := 0
				err := v.ScanMarked(context.Background(), ds, e, 0, math.MaxUint32, nil, object.Span{Min: x, Max: x}, func(object.Row, []byte) bool {
					n++
					return true
				})
				if err != nil || n != 1 {
					t.Errorf("the mark %d was found %d times: %v", x, n, err)
					return
				}
			}
		}()
	}
	wg.Wait()
}
