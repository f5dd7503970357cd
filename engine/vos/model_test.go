package vos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/journal"
	"daos/engine/object"
	"daos/engine/target"
	"daos/engine/vos"
)

// model is the plain meaning of a history: all writes in order, looked through
// from the beginning for every question.
type model struct {
	log []entry
}

// The arrays of the histories have bytes in two windows only, at zero and at
// the border of a chunk; the model keeps both side by side.
const (
	windowLow  = 80000
	windowBase = vos.ChunkSize - 2000
)

func fold(off uint64) uint64 {
	if off < windowLow {
		return off
	}
	return off - windowBase + windowLow
}

func unfold(i uint64) uint64 {
	if i < windowLow {
		return i
	}
	return i - windowLow + windowBase
}

type entry struct {
	epoch object.Epoch
	w     object.Write
}

func (m *model) apply(b *target.Batch) {
	for _, w := range b.Writes {
		c := w.Write
		c.Data = bytes.Clone(c.Data)
		m.log = append(m.log, entry{b.Epoch, c})
	}
}

func (m *model) undo(e object.Epoch) {
	m.log = slices.DeleteFunc(m.log, func(x entry) bool { return x.epoch == e })
}

type modelKey struct {
	oid        object.ID
	dkey, akey string
}

// state is everything visible at an epoch. Epochs may be applied out of order;
// within one the order of writes counts.
func (m *model) state(at object.Epoch) (single map[modelKey]string, arrays map[modelKey][]int16) {
	single, arrays = map[modelKey]string{}, map[modelKey][]int16{}
	log := slices.Clone(m.log)
	slices.SortStableFunc(log, func(a, b entry) int {
		if a.epoch < b.epoch {
			return -1
		} else if a.epoch > b.epoch {
			return 1
		}
		return 0
	})
	for _, e := range log {
		if e.epoch > at {
			break
		}
		w := e.w
		k := modelKey{w.OID, string(w.Dkey), string(w.Akey)}
		drop := func(match func(modelKey) bool) {
			for x := range single {
				if match(x) {
					delete(single, x)
				}
			}
			for x := range arrays {
				if match(x) {
					delete(arrays, x)
				}
			}
		}
		switch w.Op {
		case object.OpPut:
			single[k] = string(w.Data)
		case object.OpWrite:
			a := arrays[k]
			from := fold(w.Offset)
			if n := int(from) + len(w.Data) - len(a); n > 0 && len(w.Data) > 0 {
				a = append(a, slices.Repeat([]int16{-1}, n)...)
			}
			for i, c := range w.Data {
				a[from+uint64(i)] = int16(c)
			}
			arrays[k] = a
		case object.OpPunchRange:
			a := arrays[k]
			for i := fold(w.Offset); i < uint64(len(a)) && (w.Length == 0 || i < fold(w.Offset)+w.Length); i++ {
				a[i] = -1
			}
		case object.OpPunchAkey:
			drop(func(x modelKey) bool { return x == k })
		case object.OpPunchDkey:
			drop(func(x modelKey) bool { return x.oid == k.oid && x.dkey == k.dkey })
		case object.OpPunchObject:
			drop(func(x modelKey) bool { return x.oid == k.oid })
		}
	}
	for k, a := range arrays {
		for len(a) > 0 && a[len(a)-1] < 0 {
			a = a[:len(a)-1]
		}
		if arrays[k] = a; len(a) == 0 {
			delete(arrays, k)
		}
	}
	return single, arrays
}

// seed is the test's seed: DAOS_SEED, or the clock; it is always logged.
func seed(t testing.TB) *rand.Rand {
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("DAOS_SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		n = v
	}
	t.Logf("seed: DAOS_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 1))
}

// long scales the number of rounds of the random tests.
func long() int {
	if os.Getenv("DAOS_TEST_LONG") != "" {
		return 40
	}
	return 1
}

var (
	someDkeys = []string{"", "a", "a\x00", "a\x00\x00b", "b", "\xff\xff", "long-name"}
	someAkeys = []string{"", "x", "x\x00y", "z"}
	someSizes = []int{0, 1, 3, 40, 1024, 1025, 5000, 65535, 65536, 70000}
)

func pick[T any](r *rand.Rand, s []T) T { return s[r.IntN(len(s))] }

func randomWrite(r *rand.Rand) object.Write {
	w := object.Write{OID: oid(uint64(1 + r.IntN(4))), Dkey: []byte(pick(r, someDkeys)), Akey: []byte(pick(r, someAkeys))}
	data := func() []byte {
		b := make([]byte, pick(r, someSizes))
		c := byte(r.Uint32())
		for i := range b {
			b[i] = c + byte(i/97)
		}
		return b
	}
	// Offsets near the border of a chunk and near zero.
	off := func() uint64 {
		if r.IntN(2) == 0 {
			return uint64(r.IntN(3000))
		}
		return uint64(vos.ChunkSize - 2000 + r.IntN(4000))
	}
	switch n := r.IntN(100); {
	case n < 40:
		w.Op, w.Data = object.OpPut, data()
	case n < 75:
		w.Op, w.Offset, w.Data = object.OpWrite, off(), data()
	case n < 85:
		w.Op, w.Offset = object.OpPunchRange, off()
		if r.IntN(3) > 0 {
			w.Length = uint64(1 + r.IntN(4000))
		}
	case n < 91:
		w.Op = object.OpPunchAkey
	case n < 96:
		w.Op = object.OpPunchDkey
	default:
		w.Op = object.OpPunchObject
	}
	return w
}

// checkAt compares everything that can be asked at an epoch.
func checkAt(v *vos.Target, m *model, at object.Epoch) error {
	single, arrays := m.state(at)
	for n := uint64(1); n <= 4; n++ {
		o := oid(n)
		for _, d := range someDkeys {
			anyDkey := false
			for _, a := range someAkeys {
				k := modelKey{o, d, a}
				want, ok := single[k]
				got, gotOK, err := readValue(v, at, o, d, a)
				if err != nil {
					return err
				}
				if gotOK != ok || got != want {
					return fmt.Errorf("get %v %q %q at %d: %v (%d bytes), want %v (%d bytes)", o, d, a, at, gotOK, len(got), ok, len(want))
				}
				arr := arrays[k]
				end, err := v.ArrayEnd(at, place(o), []byte(d), []byte(a))
				wantEnd := uint64(0)
				if len(arr) > 0 {
					wantEnd = unfold(uint64(len(arr)-1)) + 1
				}
				if err != nil {
					return err
				}
				if end != wantEnd {
					return fmt.Errorf("end of %v %q %q at %d: %d, want %d", o, d, a, at, end, wantEnd)
				}
				if err := checkArray(v, at, o, d, a, arr); err != nil {
					return err
				}
				ex, err := v.Exists(at, place(o), []byte(d), []byte(a))
				if err != nil {
					return err
				}
				if ex != (ok || len(arr) > 0) {
					return fmt.Errorf("exists %v %q %q at %d: %v", o, d, a, at, ex)
				}
				anyDkey = anyDkey || ex
			}
			ex, err := v.Exists(at, place(o), []byte(d), nil)
			if err != nil {
				return err
			}
			if ex != anyDkey {
				return fmt.Errorf("exists %v %q at %d: %v", o, d, at, ex)
			}
		}
		if err := checkLists(v, at, o, single, arrays); err != nil {
			return err
		}
	}
	if err := checkScanExtents(v, at, arrays); err != nil {
		return err
	}
	return checkScan(v, at, single)
}

// checkScanExtents compares the linear pass with the answers one by one.
func checkScanExtents(v *vos.Target, at object.Epoch, arrays map[modelKey][]int16) error {
	n := 0
	for _, akey := range someAkeys {
		var bad error
		err := v.ScanExtents(context.Background(), testDS, at, []byte(akey), func(o object.ID, dkey []byte, xs []object.Extent) bool {
			n++
			if _, ok := arrays[modelKey{o, string(dkey), akey}]; !ok {
				bad = fmt.Errorf("scan of arrays at %d: %v %q %q is not there", at, o, dkey, akey)
				return false
			}
			want, err := v.Extents(at, place(o), dkey, []byte(akey), 0, 2*vos.ChunkSize)
			if err != nil || !reflect.DeepEqual(xs, want) {
				bad = fmt.Errorf("scan of arrays at %d: %v %q %q has %+v, Extents says %+v (%v)", at, o, dkey, akey, xs, want, err)
			}
			return bad == nil
		})
		if err = errors.Join(err, bad); err != nil {
			return err
		}
	}
	if n != len(arrays) {
		return fmt.Errorf("scan of arrays at %d: %d, want %d", at, n, len(arrays))
	}
	return nil
}

func checkArray(v *vos.Target, at object.Epoch, o object.ID, d, a string, want []int16) error {
	ex, err := v.Extents(at, place(o), []byte(d), []byte(a), 0, 2*vos.ChunkSize)
	if err != nil || len(ex) == 0 && len(want) == 0 {
		return err
	}
	got := make([]int16, len(want)+10)
	for i := range got {
		got[i] = -1
	}
	for _, e := range ex {
		p := make([]byte, e.Length)
		if err := v.ReadRecord(testDS, e.Record, e.Skip, p); err != nil {
			return err
		}
		at := fold(e.Offset)
		if at+e.Length > uint64(len(got)) {
			return fmt.Errorf("array %v %q %q: extent [%d, %d) is beyond the end", o, d, a, e.Offset, e.Offset+e.Length)
		}
		for i, c := range p {
			got[at+uint64(i)] = int16(c)
		}
	}
	for i := range got {
		w := int16(-1)
		if i < len(want) {
			w = want[i]
		}
		if got[i] != w {
			return fmt.Errorf("array %v %q %q at %d: byte %d is %d, want %d", o, d, a, at, i, got[i], w)
		}
	}
	return nil
}

func checkLists(v *vos.Target, at object.Epoch, o object.ID, single map[modelKey]string, arrays map[modelKey][]int16) error {
	var want, got, back, wantArr, gotArr []string
	for k, s := range single {
		if k.oid == o {
			want = append(want, fmt.Sprintf("%q %q %d", k.dkey, k.akey, len(s)))
		}
	}
	for k := range arrays {
		if k.oid == o {
			wantArr = append(wantArr, fmt.Sprintf("%q %q", k.dkey, k.akey))
		}
	}
	for _, rev := range []bool{false, true} {
		lastD, lastA := "", ""
		first := true
		err := v.List(context.Background(), at, place(o), object.ListOptions{Reverse: rev}, func(i object.Item) bool {
			d, a := string(i.Dkey), string(i.Akey)
			s := fmt.Sprintf("%q %q %d", d, a, len(i.Value))
			if !first && (d < lastD || d == lastD && a <= lastA) != rev {
				s = "out of order: " + s
			}
			lastD, lastA, first = d, a, false
			if rev {
				back = append(back, s)
			} else {
				got = append(got, s)
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	err := v.ListArrays(context.Background(), at, place(o), object.ListOptions{}, func(d, a []byte) bool {
		gotArr = append(gotArr, fmt.Sprintf("%q %q", d, a))
		return true
	})
	if err != nil {
		return err
	}
	for _, s := range [][]string{want, got, back, wantArr, gotArr} {
		slices.Sort(s)
	}
	if !slices.Equal(want, got) || !slices.Equal(want, back) {
		return fmt.Errorf("list of %v at %d:\n want %v\n got  %v\n back %v", o, at, want, got, back)
	}
	if !slices.Equal(wantArr, gotArr) {
		return fmt.Errorf("arrays of %v at %d: want %v, got %v", o, at, wantArr, gotArr)
	}
	return nil
}

func checkScan(v *vos.Target, at object.Epoch, single map[modelKey]string) error {
	n := 0
	var bad error
	err := v.Scan(context.Background(), testDS, at, 0, 1<<32-1, nil, func(r object.Row, _ []byte) bool {
		n++
		want, ok := single[modelKey{r.OID, string(r.Dkey), string(r.Akey)}]
		if !ok || r.Size != uint64(len(want)) || r.Value != nil && string(r.Value) != want {
			bad = fmt.Errorf("scan at %d: row %v %q %q of %d bytes, want %v, %d bytes", at, r.OID, r.Dkey, r.Akey, r.Size, ok, len(want))
		}
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	if err == nil && n != len(single) {
		err = fmt.Errorf("scan at %d: %d rows, want %d", at, n, len(single))
	}
	return err
}

func TestModel_RandomHistories(t *testing.T) {
	r := seed(t)
	for round := range 4 * long() {
		if err := runModel(r, round%2 == 0); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// runModel compares a target with a model, beside a journal or without one.
func runModel(r *rand.Rand, beside bool) (err error) {
	f := vfs.NewMem()
	o := options(f, "t")
	o.SegmentCap = 256 << 10
	o.MemTable = 64 << 10
	var v *vos.Target
	var j *journal.Log
	start := func() (err error) {
		if beside {
			v, j, err = openJournaled(o)
			return err
		}
		v, err = vos.Open(o)
		return err
	}
	stop := func() error {
		if beside {
			j.Stop()
			return errors.Join(v.Close(), j.Close(true))
		}
		return v.Close()
	}
	if err := start(); err != nil {
		return err
	}
	defer func() { _ = stop() }()
	m := &model{}
	var keep []object.Epoch
	floor, epoch := object.Epoch(0), object.Epoch(100)
	undecided := map[object.Epoch]bool{}
	for step := range 120 {
		switch n := r.IntN(100); {
		case n < 80:
			epoch += object.Epoch(1 + r.IntN(3))
			b := batch(epoch)
			for range 1 + r.IntN(6) {
				b.Writes = append(b.Writes, placed(randomWrite(r)))
			}
			if r.IntN(4) == 0 {
				b.Participants = []uint16{3, 5}
				undecided[epoch] = true
			}
			b.Deferred = r.IntN(5) == 0
			if err := v.Prepare(context.Background(), b); err != nil {
				return fmt.Errorf("step %d: prepare: %w", step, err)
			}
			m.apply(b)
		case n < 85:
			keep = append(keep, epoch)
		case n < 88 && len(keep) > 0:
			keep = slices.Delete(keep, 0, 1)
		case n < 92:
			for e := range undecided {
				if r.IntN(2) == 0 {
					if err := v.Abort(context.Background(), testDS, e); err != nil {
						return fmt.Errorf("step %d: abort: %w", step, err)
					}
					m.undo(e)
				}
				delete(undecided, e)
			}
			if err := v.Settle(epoch); err != nil {
				return err
			}
		case n < 96 && len(undecided) == 0:
			floor = max(floor, epoch-object.Epoch(r.IntN(20)))
			if _, err := v.Sweep(context.Background(), testDS, keep, floor); err != nil {
				return fmt.Errorf("step %d: sweep: %w", step, err)
			}
			if n == 95 {
				if _, err := v.Sweep(context.Background(), testDS, keep, floor); err != nil {
					return fmt.Errorf("step %d: second sweep: %w", step, err)
				}
			}
		case n < 98:
			if err := stop(); err != nil {
				return fmt.Errorf("step %d: close: %w", step, err)
			}
			if err := start(); err != nil {
				return fmt.Errorf("step %d: reopen: %w", step, err)
			}
		}
		if step%15 == 14 {
			for _, at := range append(slices.Clone(keep), max(floor, 100), epoch, max(floor, epoch-2), object.EpochMax) {
				if err := checkAt(v, m, at); err != nil {
					return fmt.Errorf("step %d (keep %v, floor %d): %w", step, keep, floor, err)
				}
			}
			if err := checkUsage(v); err != nil {
				return fmt.Errorf("step %d: %w", step, err)
			}
		}
	}
	// With no keeps and everything decided, what is visible is what is left.
	sweepAll := func() error {
		if err := v.Settle(epoch); err != nil {
			return err
		}
		for range 3 {
			if _, err := v.Sweep(context.Background(), testDS, nil, epoch); err != nil {
				return fmt.Errorf("last sweep: %w", err)
			}
		}
		if err := checkAt(v, m, epoch); err != nil {
			return fmt.Errorf("after the last sweep: %w", err)
		}
		return checkUsage(v)
	}
	if err := sweepAll(); err != nil {
		return err
	}
	epoch++
	b := batch(epoch)
	for n := uint64(1); n <= 4; n++ {
		b.Writes = append(b.Writes, placed(punch(object.OpPunchObject, oid(n), "", "")))
	}
	if err := v.Prepare(context.Background(), b); err != nil {
		return err
	}
	m.apply(b)
	if err := sweepAll(); err != nil {
		return err
	}
	if u, err := v.Usage(testDS); err != nil || u != (object.Usage{}) {
		return fmt.Errorf("everything is punched and swept, but usage is %+v (%v)", u, err)
	}
	names, err := f.List("t/seg/0000000000000007")
	if err != nil || len(names) > 0 {
		return fmt.Errorf("everything is punched and swept, but segments are left: %v (%v)", names, err)
	}
	if n := vos.CountRows(v, testDS); n != 0 {
		return fmt.Errorf("everything is punched and swept, but %d rows are left", n)
	}
	return nil
}

// checkUsage compares the counter with a count of the records.
func checkUsage(v *vos.Target) error {
	u, err := v.Usage(testDS)
	if err != nil {
		return err
	}
	var bad error
	n, err := v.Scrub(context.Background(), testDS, func(e error) { bad = e })
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("scrub: %w", err)
	}
	if n != u.Records {
		return fmt.Errorf("usage says %d records, there are %d", u.Records, n)
	}
	return nil
}
