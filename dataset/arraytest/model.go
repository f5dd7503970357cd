package arraytest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"daos/dataset/array"
	"daos/engine/object"
)

// Plain is an array in memory: the model that a stored one is compared with.
type Plain struct {
	Spec array.Spec
	Data []byte // C order
}

func (m *Plain) fill() []byte {
	if m.Spec.Fill == nil {
		return make([]byte, m.Spec.DType.Size())
	}
	return m.Spec.Fill
}

// NewPlain is an array that holds its fill value.
func NewPlain(s array.Spec) *Plain {
	m := &Plain{Spec: s}
	for range product(s.Shape) {
		m.Data = append(m.Data, m.fill()...)
	}
	return m
}

// each calls fn with all positions of a shape, in C order.
func (m *Plain) each(shape []uint64, fn func([]uint64)) {
	if product(shape) == 0 {
		return
	}
	at := make([]uint64, len(shape))
	for {
		fn(at)
		d := len(shape) - 1
		for ; d >= 0; d-- {
			if at[d]++; at[d] < shape[d] {
				break
			}
			at[d] = 0
		}
		if d < 0 {
			return
		}
	}
}

func (m *Plain) element(at []uint64) []byte {
	n := uint64(0)
	for d, i := range at {
		n = n*m.Spec.Shape[d] + i
	}
	size := uint64(m.Spec.DType.Size())
	return m.Data[n*size : (n+1)*size]
}

func position(a *array.Axis, k uint64) uint64 {
	if len(a.Indices) > 0 {
		return a.Indices[k]
	}
	return a.Start + k*a.Step
}

func (m *Plain) selected(axes []array.Axis, fn func(element []byte)) {
	shape := make([]uint64, len(axes))
	for d := range axes {
		shape[d] = axes[d].Len()
	}
	where := make([]uint64, len(axes))
	m.each(shape, func(at []uint64) {
		for d := range at {
			where[d] = position(&axes[d], at[d])
		}
		fn(m.element(where))
	})
}

// Read is the elements of a selection.
func (m *Plain) Read(axes []array.Axis) []byte {
	out := []byte{}
	m.selected(axes, func(x []byte) { out = append(out, x...) })
	return out
}

// Write puts elements into a selection.
func (m *Plain) Write(axes []array.Axis, data []byte) {
	m.selected(axes, func(x []byte) { data = data[copy(x, data):] })
}

// Resize sets the shape.
func (m *Plain) Resize(shape []uint64) {
	s := m.Spec
	s.Shape = shape
	next := NewPlain(s)
	m.each(shape, func(at []uint64) {
		for d := range at {
			if at[d] >= m.Spec.Shape[d] {
				return
			}
		}
		copy(next.element(at), m.element(at))
	})
	*m = *next
}

// chunk is the elements of a chunk inside the shape.
func (m *Plain) chunk(chunks, coords []uint64) (n int, elements [][]byte) {
	shape := make([]uint64, len(coords))
	for d := range shape {
		shape[d] = min(chunks[d], m.Spec.Shape[d]-min(m.Spec.Shape[d], coords[d]*chunks[d]))
	}
	where := make([]uint64, len(coords))
	m.each(shape, func(at []uint64) {
		for d := range at {
			where[d] = coords[d]*chunks[d] + at[d]
		}
		elements = append(elements, m.element(where))
	})
	return len(elements), elements
}

// Types are element types of each kind and width.
var Types = []string{
	"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
	"bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "date32", "timestamp[ns]", "decimal128(20, 3)", "decimal256(70, 0)",
	"fixed_size_binary[3]", "fixed_size_binary[70]", "interval[month_day_nano]",
}

// Elements are n random elements.
func Elements(rng *rand.Rand, t array.DType, n uint64) []byte {
	b := make([]byte, n*uint64(t.Size()))
	for i := range b {
		if b[i] = byte(rng.Uint32()); t.Bool() {
			b[i] &= 1
		}
	}
	return b
}

// RandomSpec is a small array of any type and rank.
func RandomSpec(rng *rand.Rand) array.Spec {
	t := dtype(Types[rng.IntN(len(Types))])
	s := array.Spec{DType: t, Shape: []uint64{}, Chunks: []uint64{}}
	for range rng.IntN(5) {
		s.Shape = append(s.Shape, rng.Uint64N(14))
		s.Chunks = append(s.Chunks, 1+rng.Uint64N(7))
	}
	if rng.IntN(2) == 0 {
		s.Fill = Elements(rng, t, 1)
	}
	return s
}

// RandomAxes selects something of a shape; with lists also by lists.
func RandomAxes(rng *rand.Rand, shape []uint64, repeats bool) []array.Axis {
	axes := make([]array.Axis, len(shape))
	for d, n := range shape {
		a := &axes[d]
		switch {
		case n == 0 || rng.IntN(20) == 0:
			*a = array.Axis{Start: rng.Uint64N(n + 1), Step: 1}
		case rng.IntN(4) == 0:
			*a = array.Axis{Count: n, Step: 1}
		case rng.IntN(3) == 0:
			for _, i := range rng.Perm(int(n))[:1+rng.IntN(int(n))] {
				a.Indices = append(a.Indices, uint64(i))
			}
			if rng.IntN(2) == 0 {
				sort.Slice(a.Indices, func(i, j int) bool { return a.Indices[i] < a.Indices[j] })
			}
			if repeats && rng.IntN(2) == 0 {
				a.Indices = append(a.Indices, a.Indices[0])
			}
		default:
			a.Start, a.Step = rng.Uint64N(n), 1
			if rng.IntN(2) == 0 {
				a.Step = 1 + rng.Uint64N(4)
			}
			a.Count = 1 + rng.Uint64N((n-a.Start-1)/a.Step+1)
		}
	}
	return axes
}

func lengths(axes []array.Axis) uint64 {
	n := uint64(1)
	for d := range axes {
		n *= axes[d].Len()
	}
	return n
}

func seeded(t *testing.T, stream uint64) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DAOS_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("seed %d (repeat with DAOS_TEST_SEED=%d)", seed, seed)
	return rand.New(rand.NewPCG(seed, stream))
}

// Random runs steps of random writes, appends and resizes of one array against a
// Plain, over a store that loses answers and races, and compares elements,
// statistics and kept epochs. The seed is printed; DAOS_TEST_SEED repeats one.
func Random(t *testing.T, newStore NewStore, stream uint64, steps int) {
	rng := seeded(t, stream)
	e := &env{T: t, st: newStore(t), ctx: context.Background()}
	e.set = array.Open(&lossy{Store: e.st}, "p/a")
	m := NewPlain(RandomSpec(rng))
	t.Logf("%s, shape %v, chunks %v, fill %v", m.Spec.DType, m.Spec.Shape, m.Spec.Chunks, m.Spec.Fill)
	request := func() (id object.RequestID) {
		for i := range id {
			id[i] = byte(rng.Uint32())
		}
		return id
	}
	id := request()
	e.ok(again(func() error {
		_, _, err := e.set.Create(e.ctx, "g/x", m.Spec, array.CreateOptions{Request: id})
		return err
	}))
	type kept struct {
		at object.Epoch
		m  Plain
	}
	var old []kept
	for range steps {
		id := request()
		switch op := rng.IntN(10); {
		case op < 5:
			axes := RandomAxes(rng, m.Spec.Shape, false)
			n := lengths(axes)
			o := array.WriteOptions{Request: id, Broadcast: rng.IntN(4) == 0}
			data := Elements(rng, m.Spec.DType, n)
			if o.Broadcast {
				data = Elements(rng, m.Spec.DType, 1)
			}
			e.ok(again(func() error { _, err := e.set.Write(e.ctx, "g/x", axes, data, o); return err }))
			if o.Broadcast {
				data = []byte(strings.Repeat(string(data), int(n)))
			}
			m.Write(axes, data)
		case op < 7 && len(m.Spec.Shape) > 0:
			axis := rng.IntN(len(m.Spec.Shape))
			shape := append([]uint64{}, m.Spec.Shape...)
			start, n := shape[axis], rng.Uint64N(4)
			if start+n > 40 {
				continue
			}
			shape[axis] = n
			data := Elements(rng, m.Spec.DType, product(shape))
			e.ok(again(func() error {
				at, _, err := e.set.Append(e.ctx, "g/x", data, array.AppendOptions{Request: id, Axis: axis, Count: n})
				if err == nil && at != start {
					t.Fatalf("appended at %d, not %d", at, start)
				}
				return err
			}))
			shape[axis] = start + n
			m.Resize(shape)
			axes := make([]array.Axis, len(shape))
			for d := range axes {
				axes[d] = span(0, shape[d])
			}
			axes[axis] = span(start, n)
			m.Write(axes, data)
		case op < 8:
			shape := append([]uint64{}, m.Spec.Shape...)
			for d := range shape {
				if rng.IntN(2) == 0 {
					shape[d] = rng.Uint64N(16)
				}
			}
			e.ok(again(func() error { _, err := e.set.Resize(e.ctx, "g/x", shape, id); return err }))
			m.Resize(shape)
		case op < 9:
			at, err := e.st.ReadEpoch(e.ctx, 0)
			e.ok(err)
			old = append(old, kept{at, Plain{m.Spec, append([]byte{}, m.Data...)}})
		}
		axes := RandomAxes(rng, m.Spec.Shape, true)
		e.equal(e.read(0, "g/x", axes), m.Read(axes))
		e.checkStats(0, "g/x", m)
	}
	e.equal(e.read(0, "g/x", nil), m.Data)
	for _, k := range old {
		e.equal(e.read(k.at, "g/x", nil), k.m.Data)
		e.checkStats(k.at, "g/x", &k.m)
	}
}

// RandomKeys runs steps of random changes of keys against a map.
func RandomKeys(t *testing.T, newStore NewStore, steps int) {
	rng := seeded(t, 99)
	e := &env{T: t, st: newStore(t), ctx: context.Background()}
	e.set = array.Open(&lossy{Store: e.st}, "p/a")
	want := map[string][]byte{}
	name := func() string {
		parts := make([]string, 1+rng.IntN(3))
		for i := range parts {
			parts[i] = []string{"a", "a-b", "a.c", "b", "c0", "zarr.json"}[rng.IntN(6)]
		}
		return strings.Join(parts, "/")
	}
	for i := range steps {
		id := object.RequestID{byte(i), byte(i >> 8), 7}
		key := name()
		switch rng.IntN(6) {
		case 0, 1, 2:
			v := make([]byte, []int{0, 3, 512, 513, 2000, 70_000}[rng.IntN(6)])
			for j := range v {
				v[j] = byte(rng.Uint32())
			}
			absent := rng.IntN(3) == 0
			e.ok(again(func() error { _, _, err := e.set.PutKey(e.ctx, key, v, id, absent); return err }))
			if _, there := want[key]; !there || !absent {
				want[key] = v
			}
		case 3:
			e.ok(again(func() error { _, _, err := e.set.DeleteKey(e.ctx, key, id); return err }))
			delete(want, key)
		case 4:
			if rng.IntN(4) == 0 {
				e.ok(again(func() error { _, _, err := e.set.DeletePrefix(e.ctx, key+"/"); return err }))
				for k := range want {
					if strings.HasPrefix(k, key+"/") {
						delete(want, k)
					}
				}
			}
		case 5:
			e.checkNames(want, strings.TrimSuffix(name(), "zarr.json"), 1+rng.IntN(3))
		}
		v, there := want[key]
		rg := array.KeyRange{Offset: rng.Uint64N(600), Length: rng.Uint64N(600)}
		if rng.IntN(3) == 0 {
			rg = array.KeyRange{Suffix: 1 + rng.Uint64N(600)}
		}
		size, got, err := e.set.GetKey(e.ctx, 0, key, rg, func(n uint64) ([]byte, error) { return make([]byte, n), nil })
		if !there {
			if err == nil {
				t.Fatalf("key %q is still there", key)
			}
			continue
		}
		e.ok(err)
		lo, hi := min(rg.Offset, uint64(len(v))), uint64(len(v))
		if rg.Suffix > 0 {
			lo = hi - min(rg.Suffix, hi)
		} else if rg.Length > 0 {
			hi = min(hi, lo+rg.Length)
		}
		if size != uint64(len(v)) {
			t.Fatalf("key %q has %d bytes, not %d", key, size, len(v))
		}
		e.equal(got, v[lo:hi])
	}
	e.checkNames(want, "", 100)
}

// checkNames compares listings of keys, page by page.
func (e *env) checkNames(want map[string][]byte, prefix string, page int) {
	e.Helper()
	at, err := e.st.ReadEpoch(e.ctx, 0)
	e.ok(err)
	var keys []string
	names := map[string]bool{}
	for k := range want {
		if rest, ok := strings.CutPrefix(k, prefix); ok {
			keys = append(keys, k)
			if first, _, _ := strings.Cut(rest, "/"); first != "" {
				names[first] = true
			}
		}
	}
	sort.Strings(keys)
	walk := func(list func(after string, fn func(array.KeyEntry) bool) error) (out []string) {
		for after := ""; ; {
			n := 0
			e.ok(list(after, func(k array.KeyEntry) bool {
				if n == page {
					return false
				}
				n++
				out, after = append(out, k.Name), k.Name
				return true
			}))
			if n < page {
				return out
			}
		}
	}
	got := walk(func(after string, fn func(array.KeyEntry) bool) error {
		return e.set.ListKeys(e.ctx, at, prefix, after, fn)
	})
	if fmt.Sprint(got) != fmt.Sprint(keys) {
		e.Fatalf("keys with %q: %v, want %v", prefix, got, keys)
	}
	got = walk(func(after string, fn func(array.KeyEntry) bool) error {
		return e.set.ListNames(e.ctx, at, prefix, after, fn)
	})
	if len(got) != len(names) {
		e.Fatalf("names below %q: %v, want %v", prefix, got, names)
	}
	for _, n := range got {
		if !names[n] {
			e.Fatalf("names below %q: %v, want %v", prefix, got, names)
		}
	}
}
