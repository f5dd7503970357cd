package kvtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"daos/dataset/kv"
	"daos/engine/object"
	"daos/internal/fault"
)

// Random runs steps of random changes and reads against a map, at the newest
// state and at kept epochs. Commits lose their answers now and then, and are
// made again with their request id. The seed is printed; DAOS_TEST_SEED repeats
// one.
func Random(t *testing.T, newStore NewStore, steps int) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DAOS_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("seed %d (repeat with DAOS_TEST_SEED=%d)", seed, seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	m := &model{T: t, ctx: t.Context(), rng: rng, st: NewFlaky(newStore(t), rand.New(rand.NewPCG(seed, 2)), 20), now: map[name]cell{}}
	m.reopen()
	for range steps {
		m.step()
	}
	m.compare(m.now, 0)
	for _, k := range m.kept {
		m.compare(k.state, k.at)
	}
	if m.st.Lost == 0 && steps > 200 {
		t.Error("no answer was lost")
	}
}

type name struct{ key, akey string }

type cell struct {
	value   []byte
	version object.Epoch
}

type kept struct {
	at    object.Epoch
	state map[name]cell
}

type model struct {
	*testing.T
	ctx  context.Context //nolint:containedctx // of the test
	rng  *rand.Rand
	st   *Flaky
	d    *kv.Dataset
	now  map[name]cell
	kept []kept
}

func (m *model) reopen() { m.d = kv.Open(m.st, kv.Options{}) }

func (m *model) id() (id object.RequestID) {
	binary.LittleEndian.PutUint64(id[:], m.rng.Uint64())
	binary.LittleEndian.PutUint64(id[8:], m.rng.Uint64()|1)
	return id
}

// key is one of few, with every kind of byte in some.
func (m *model) name() name {
	keys := []string{"a", "a/b", "a/b/c", "a.txt", "b", "zz", "\x00", "\x00\x00", "\xff", "\xff\xff", "k1", "k10", "k2", strings.Repeat("x", kv.MaxKey), "ключ"}
	akeys := []string{"", "", "", "x", "y\x00", "\xff"}
	return name{keys[m.rng.IntN(len(keys))], akeys[m.rng.IntN(len(akeys))]}
}

func (m *model) value() []byte {
	sizes := []int{0, 1, 10, 1000, 1023, 1024, 1025, 5000, 70 << 10, 300 << 10}
	b := make([]byte, sizes[m.rng.IntN(len(sizes))])
	if m.rng.IntN(200) == 0 {
		b = make([]byte, 5<<20)
	}
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], m.rng.Uint64())
	}
	return b
}

// again calls until there is an answer.
func (m *model) again(call func() error) error {
	for {
		if err := call(); !fault.Is(err, fault.Unreachable) {
			return err
		}
	}
}

func (m *model) step() {
	switch n := m.rng.IntN(100); {
	case n < 60:
		m.batch()
	case n < 66:
		m.stream()
	case n < 70:
		m.reopen()
	case n < 74:
		m.keep()
	case n < 85:
		m.scan(m.now, 0)
	case n < 95 || len(m.kept) == 0:
		m.get(m.now, 0)
	default:
		k := m.kept[m.rng.IntN(len(m.kept))]
		m.scan(k.state, k.at)
		m.get(k.state, k.at)
	}
}

func (m *model) keep() {
	if len(m.kept) > 8 {
		m.kept = m.kept[1:]
	}
	at, err := m.st.ReadEpoch(m.ctx, 0)
	if err != nil {
		m.Fatal(err)
	}
	state := map[name]cell{}
	for k, v := range m.now {
		state[k] = v
	}
	m.kept = append(m.kept, kept{at, state})
}

// batch makes a random Apply, and tells what it must do to the map.
func (m *model) batch() {
	n := 1
	if m.rng.IntN(2) == 0 {
		n = 1 + m.rng.IntN(12)
	}
	blind := m.rng.IntN(3) == 0
	next := map[name]cell{}
	for k, v := range m.now {
		next[k] = v
	}
	var want fault.Kind
	var results []kv.Result
	ops := make([]kv.Op, n)
	written := map[name]bool{}
	for i := range ops {
		at := m.name()
		have, there := next[at]
		o := kv.Op{Kind: kv.OpPut, Key: []byte(at.key), Akey: []byte(at.akey)}
		if !blind {
			o.Kind = kv.OpKind(1 + m.rng.IntN(5))
			if o.Kind != kv.OpDeleteKey && m.rng.IntN(3) == 0 {
				o.When = kv.When(1 + m.rng.IntN(3))
				o.Version = have.version
				if m.rng.IntN(4) == 0 {
					o.Version++
				}
			}
		}
		if o.Kind == kv.OpDeleteKey {
			o.Akey = nil
		}
		if o.Kind == kv.OpPut || o.Kind == kv.OpAppend {
			o.Value = m.value()
		}
		if o.Kind == kv.OpPut && m.rng.IntN(3) == 0 {
			o.Value = []byte(strconv.Itoa(m.rng.IntN(1000)))
		}
		if o.Kind == kv.OpAdd {
			o.Number = m.rng.Int64N(100) - 50
		}
		ops[i] = o
		if want != fault.Unknown {
			continue
		}
		switch {
		case o.When == kv.IfAbsent && there:
			want = fault.Exists
		case (o.When == kv.IfPresent || o.When == kv.IfVersion) && !there:
			want = fault.NotFound
		case o.When == kv.IfVersion && !written[at] && have.version != o.Version:
			want = fault.Conflict
		case o.When == kv.IfVersion && written[at]:
			// The version that was there before the batch: not known here.
			ops[i].When = kv.Always
		}
		if want != fault.Unknown {
			continue
		}
		switch o.Kind {
		case kv.OpPut:
			next[at] = cell{value: o.Value}
		case kv.OpDelete:
			r := kv.Result{}
			if there {
				r.Removed = 1
			}
			results = append(results, r)
			delete(next, at)
		case kv.OpDeleteKey:
			r := kv.Result{}
			for k := range next {
				if k.key == at.key {
					r.Removed++
					delete(next, k)
					written[k] = true
				}
			}
			results = append(results, r)
		case kv.OpAdd:
			x := int64(0)
			if there {
				var err error
				if x, err = strconv.ParseInt(string(have.value), 10, 64); err != nil {
					want = fault.Invalid
					continue
				}
			}
			x += o.Number
			next[at] = cell{value: strconv.AppendInt(nil, x, 10)}
			results = append(results, kv.Result{Number: x})
		case kv.OpAppend:
			v := append(slices.Clone(have.value), o.Value...)
			next[at] = cell{value: v}
			results = append(results, kv.Result{Size: uint64(len(v))})
		}
		written[at] = true
	}
	id := m.id()
	var done kv.Applied
	err := m.again(func() (err error) { done, err = m.d.Apply(m.ctx, id, ops); return err })
	if want != fault.Unknown {
		if !fault.Is(err, want) {
			m.Fatalf("batch %s: got %v, want %v", describe(ops), err, want)
		}
		return
	}
	if err != nil {
		m.Fatalf("batch %s: %v", describe(ops), err)
	}
	if !slices.Equal(done.Results, results) {
		m.Fatalf("batch %s: results %v, want %v", describe(ops), done.Results, results)
	}
	m.settle(next, written, done.Epoch)
}

// settle takes a change over, with the version of what it wrote.
func (m *model) settle(next map[name]cell, written map[name]bool, version object.Epoch) {
	for k := range written {
		if c, ok := next[k]; ok {
			c.version = version
			next[k] = c
		}
	}
	m.now = next
}

func describe(ops []kv.Op) string {
	var b strings.Builder
	for _, o := range ops {
		fmt.Fprintf(&b, "{%d %.20q %.20q %d bytes %+d when %d}", o.Kind, o.Key, o.Akey, len(o.Value), o.Number, o.When)
	}
	return b.String()
}

// stream puts a value in pieces, sometimes one that is staged, and sometimes
// breaks off.
func (m *model) stream() {
	at := m.name()
	value := m.value()
	if m.rng.IntN(4) == 0 {
		value = make([]byte, 17<<20+m.rng.IntN(1<<20))
		for i := 0; i+8 <= len(value); i += 4096 {
			binary.LittleEndian.PutUint64(value[i:], m.rng.Uint64())
		}
	}
	breaks := m.rng.IntN(4) == 0
	id := m.id()
	var done kv.Written
	err := m.again(func() (err error) {
		rest := value
		done, err = m.d.Put(m.ctx, []byte(at.key), []byte(at.akey), kv.PutOptions{Request: id}, func() ([]byte, error) {
			if len(rest) == 0 {
				if breaks {
					return nil, io.ErrUnexpectedEOF
				}
				return nil, io.EOF
			}
			n := min(len(rest), 3<<20)
			b := rest[:n]
			rest = rest[n:]
			return b, nil
		})
		return err
	})
	if breaks {
		if err == nil {
			m.Fatal("a stream that breaks off was taken")
		}
		return
	}
	if err != nil || done.Size != uint64(len(value)) {
		m.Fatalf("put of %d bytes: %v, %d", len(value), err, done.Size)
	}
	next := map[name]cell{}
	for k, v := range m.now {
		next[k] = v
	}
	next[at] = cell{value: value}
	m.settle(next, map[name]bool{at: true}, done.Epoch)
}

func (m *model) view(at object.Epoch) *kv.View {
	if at != 0 {
		return m.d.At(at)
	}
	v, err := m.d.Head(m.ctx, 0)
	if err != nil {
		m.Fatal(err)
	}
	return v
}

func (m *model) same(v *kv.View, n name, x *kv.Value, want cell) {
	m.Helper()
	got, err := v.Bytes(m.ctx, x)
	if err != nil || !bytes.Equal(got, want.value) || x.Size != uint64(len(want.value)) {
		m.Fatalf("%.20q: got %d bytes (%.20x), want %d (%.20x), %v", n, len(got), got, len(want.value), want.value, err)
	}
	if x.Version != want.version {
		m.Fatalf("%.20q: version %d, want %d", n, x.Version, want.version)
	}
}

// get compares some values.
func (m *model) get(state map[name]cell, at object.Epoch) {
	v := m.view(at)
	names := make([]kv.Name, 1+m.rng.IntN(10))
	want := make([]name, len(names))
	for i := range names {
		want[i] = m.name()
		names[i] = kv.Name{Key: []byte(want[i].key), Akey: []byte(want[i].akey)}
	}
	got, err := v.GetMany(m.ctx, names, 0)
	if err != nil {
		m.Fatal(err)
	}
	for i := range got {
		c, there := state[want[i]]
		if there != got[i].Found() {
			m.Fatalf("%.20q: found %v, want %v", want[i], got[i].Found(), there)
		}
		if !there {
			continue
		}
		m.same(v, want[i], &got[i], c)
		if n := len(c.value); n > 0 {
			from := m.rng.IntN(n)
			p := make([]byte, m.rng.IntN(n-from+1))
			if err := v.ReadAt(m.ctx, &got[i], uint64(from), p); err != nil || !bytes.Equal(p, c.value[from:from+len(p)]) {
				m.Fatalf("%.20q: %d bytes at %d of %d are wrong: %v", want[i], len(p), from, n, err)
			}
		}
	}
}

// order lists the names of a state that a range has, as it must meet them.
func order(state map[name]cell, r *kv.Range) []name {
	var out []name
	for n := range state {
		k := n.key
		if strings.HasPrefix(k, string(r.Prefix)) && k >= string(r.Start) && (r.Stop == nil || k < string(r.Stop)) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b name) int {
		c := strings.Compare(a.key, b.key)
		if c == 0 {
			c = strings.Compare(a.akey, b.akey)
		}
		if r.Reverse {
			return -c
		}
		return c
	})
	return out
}

// scan lists a random range in pages of random size.
func (m *model) scan(state map[name]cell, at object.Epoch) {
	r := kv.Range{Reverse: m.rng.IntN(2) == 0, KeysOnly: m.rng.IntN(2) == 0}
	if m.rng.IntN(3) == 0 {
		k := m.name().key
		r.Prefix = []byte(k[:1+m.rng.IntN(len(k))])
	}
	if m.rng.IntN(3) == 0 {
		r.Start = []byte(m.name().key)
	}
	if m.rng.IntN(3) == 0 {
		r.Stop = []byte(m.name().key)
	}
	want := order(state, &r)
	v := m.view(at)
	page := 1 + m.rng.IntN(8)
	var got []name
	for {
		n := 0
		err := v.Scan(m.ctx, r, func(p *kv.Pair) bool {
			if n == page {
				return false
			}
			n++
			x := name{string(p.Key), string(p.Akey)}
			got = append(got, x)
			c := state[x]
			if p.Value.Size != uint64(len(c.value)) || p.Value.Version != c.version {
				m.Fatalf("%.20q: size %d and version %d, want %d and %d", x, p.Value.Size, p.Value.Version, len(c.value), c.version)
			}
			if !r.KeysOnly {
				m.same(v, x, &p.Value, c)
			}
			return true
		})
		if err != nil {
			m.Fatal(err)
		}
		if n < page {
			break
		}
		last := got[len(got)-1]
		r.After = kv.Name{Key: []byte(last.key), Akey: []byte(last.akey)}
	}
	if !slices.Equal(got, want) {
		m.Fatalf("range %.20q %.20q %.20q reverse %v: %d pairs %.10q, want %d %.10q", r.Prefix, r.Start, r.Stop, r.Reverse, len(got), got, len(want), want)
	}
}

// compare looks at everything.
func (m *model) compare(state map[name]cell, at object.Epoch) {
	v := m.view(at)
	n, err := v.Count(m.ctx)
	if err != nil || n != uint64(len(state)) {
		m.Fatalf("%d pairs, want %d: %v", n, len(state), err)
	}
	for k, c := range state {
		x, err := v.Get(m.ctx, []byte(k.key), []byte(k.akey))
		if err != nil {
			m.Fatalf("%.20q: %v", k, err)
		}
		m.same(v, k, &x, c)
	}
}
