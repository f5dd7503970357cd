package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine"
	"daos/engine/memstore"
	"daos/engine/object"
	"daos/internal/fault"
)

func seeds(name string, def uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return def
}

// longer is short, or long in the long campaign (make test-long).
func longer(short, long uint64) uint64 {
	if os.Getenv("DAOS_TEST_LONG") != "" {
		return long
	}
	return short
}

// model drives the engine and the reference store side by side: the same
// transactions, then the same questions at every epoch that is still readable.
type model struct {
	t   *testing.T
	rng *rand.Rand
	now time.Time
	fs  vfs.FS
	n   int
	e   *engine.Engine
	d   *engine.Dataset
	ref *memstore.Store

	epochs  []pair // closed epochs, rising
	pins    []pair
	horizon pair
	count   int
}

// pair is the same moment in both stores.
type pair struct{ eng, ref object.Epoch }

var modelStart = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

var modelObjects = []object.ID{
	object.MakeID(object.ClassS1, 0, 1), object.MakeID(object.ClassS1, 0, 2),
	object.MakeID(object.ClassSX, 0, 3), object.MakeID(object.ClassSX, 0, 4),
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("op %d: %s", m.count, fmt.Sprintf(format, args...))
}

func (m *model) must(err error) {
	m.t.Helper()
	if err != nil {
		m.fatalf("%v", err)
	}
}

func (m *model) open() {
	var err error
	m.e, err = engine.Open(engine.Options{Root: "/r", FS: m.fs, Targets: m.n, Now: func() time.Time { return m.now }, SweepEvery: -1})
	m.must(err)
	if m.d, err = m.e.OpenDataset(1); fault.Is(err, fault.NotFound) {
		m.d, err = m.e.CreateDataset(m.t.Context(), 1, 1)
	}
	m.must(err)
}

func (m *model) setPins() {
	var eng, ref []object.Epoch
	for _, p := range m.pins {
		eng, ref = append(eng, p.eng), append(ref, p.ref)
	}
	m.must(m.e.SetPins(1, eng))
	m.ref.SetHorizon(m.horizon.ref, ref...)
}

func (m *model) oid() object.ID { return modelObjects[m.rng.IntN(len(modelObjects))] }
func (m *model) dkey() []byte   { return fmt.Appendf(nil, "d%d", m.rng.IntN(6)) }
func (m *model) akey() []byte   { return fmt.Appendf(nil, "a%d", m.rng.IntN(3)) }

func (m *model) data() []byte {
	n := m.rng.IntN(60)
	switch m.rng.IntN(12) {
	case 0:
		n = 900 + m.rng.IntN(3000)
	case 1:
		n = m.rng.IntN(150_000)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.count) + byte(i%7) + 1
	}
	return b
}

func (m *model) off() uint64 {
	if m.rng.IntN(10) == 0 {
		return 1<<20 - 50 + m.rng.Uint64N(100)
	}
	return m.rng.Uint64N(200)
}

func (m *model) tx() *object.Tx {
	tx := &object.Tx{Answer: fmt.Appendf(nil, "answer %d", m.count)}
	for range 1 + m.rng.IntN(5) {
		w := object.Write{Op: object.Op(1 + m.rng.IntN(2)), OID: m.oid(), Dkey: m.dkey(), Akey: m.akey(), Data: m.data(), Offset: m.off()}
		switch m.rng.IntN(12) {
		case 0:
			w.Op, w.Data = object.OpPunchObject, nil
		case 1:
			w.Op, w.Data = object.OpPunchDkey, nil
		case 2:
			w.Op, w.Data = object.OpPunchAkey, nil
		case 3, 4:
			w.Op, w.Data, w.Length = object.OpPunchRange, nil, m.rng.Uint64N(100)
		}
		if w.Op == object.OpPut {
			w.Offset = 0
		}
		tx.Writes = append(tx.Writes, w)
	}
	if m.rng.IntN(4) == 0 {
		tx.Conds = append(tx.Conds, object.Cond{Kind: object.CondKind(1 + m.rng.IntN(4)), OID: m.oid(), Dkey: m.dkey(), Akey: m.akey()})
	}
	if m.rng.IntN(3) == 0 {
		r := object.Read{OID: m.oid(), Point: m.rng.IntN(2) == 0, From: m.dkey()}
		if !r.Point && m.rng.IntN(2) == 0 {
			r.To = append(bytes.Clone(r.From), 'x')
		}
		if m.rng.IntN(2) == 0 {
			r.Akey = m.akey()
		}
		tx.Reads = append(tx.Reads, r)
	}
	tx.Deferred, tx.Barrier = m.rng.IntN(8) == 0, m.rng.IntN(8) == 0
	if m.rng.IntN(3) == 0 {
		// Often one that was used before, never one at the edge of its window.
		tx.Request = object.RequestID{1, byte(m.rng.IntN(12)), byte(m.now.Sub(modelStart) / (8 * time.Minute))}
	}
	return tx
}

func (m *model) commit() {
	ctx := m.t.Context()
	tx := m.tx()
	a, b := *tx, *tx
	if len(tx.Reads) > 0 {
		// Not at a pin below the horizon: what came and went after it, and can't
		// be seen any more, is not a conflict in the engine.
		p := m.readable()
		for p.eng < m.horizon.eng {
			p = m.readable()
		}
		a.ReadAt, b.ReadAt = p.eng, p.ref
	}
	ra, ea := m.d.Commit(ctx, &a)
	rb, eb := m.ref.Commit(ctx, &b)
	if fault.KindOf(ea) != fault.KindOf(eb) || ra.Replayed != rb.Replayed || !bytes.Equal(ra.Answer, rb.Answer) {
		m.fatalf("%+v: engine %+v %v, reference %+v %v", tx, ra, ea, rb, eb)
	}
}

// readable is a random moment that both stores still answer for.
func (m *model) readable() pair {
	ok := m.pins[:len(m.pins):len(m.pins)]
	for _, p := range m.epochs {
		if p.eng >= m.horizon.eng {
			ok = append(ok, p)
		}
	}
	return ok[m.rng.IntN(len(ok))]
}

func (m *model) mark() {
	a, err := m.d.ReadEpoch(m.t.Context(), 0)
	m.must(err)
	b, err := m.ref.ReadEpoch(m.t.Context(), 0)
	m.must(err)
	if n := len(m.epochs); n > 0 && a <= m.epochs[n-1].eng {
		m.fatalf("read epoch %d after %d", a, m.epochs[n-1].eng)
	}
	m.epochs = append(m.epochs, pair{a, b})
}

func (m *model) advance() { m.now = m.now.Add(time.Duration(m.rng.Int64N(int64(4 * time.Minute)))) }

func (m *model) sweep() {
	if m.rng.IntN(2) == 0 {
		p := m.readable()
		m.pins = append(m.pins, p)
	} else if len(m.pins) > 0 {
		i := m.rng.IntN(len(m.pins))
		m.pins = append(m.pins[:i:i], m.pins[i+1:]...)
	}
	m.setPins()
	floor := object.EpochAt(m.now.Add(-10 * time.Minute))
	_, err := m.e.Sweep(m.t.Context())
	m.must(err)
	// The same moment in the reference: the first epoch marked above the floor.
	if floor > m.horizon.eng {
		m.horizon.eng = floor
		for _, p := range m.epochs {
			if p.eng >= floor {
				m.horizon.ref = p.ref
				break
			}
		}
	}
	m.setPins()
	m.mark() // there is always one above the horizon
	for _, p := range m.epochs {
		if p.eng >= m.horizon.eng {
			break
		}
		pinned := false
		for _, q := range m.pins {
			pinned = pinned || q == p
		}
		if _, _, err := m.d.Get(m.t.Context(), p.eng, m.oid(), m.dkey(), m.akey()); !pinned && !fault.Is(err, fault.EpochGone) {
			m.fatalf("a read at %d below the horizon %d: %v", p.eng, m.horizon.eng, err)
		}
	}
}

// compare asks both stores everything about one moment.
func (m *model) compare(p pair) {
	ctx := m.t.Context()
	for _, oid := range modelObjects {
		o := object.ListOptions{Reverse: m.rng.IntN(2) == 0}
		if a, b := dump(ctx, m.t, m.d, p.eng, oid, o), dump(ctx, m.t, m.ref, p.ref, oid, o); a != b {
			m.fatalf("%v at %d:\nengine    %.2000s\nreference %.2000s", oid, p.eng, a, b)
		}
	}
	var a, b []string
	walk := func(s object.Store, at object.Epoch, out *[]string) {
		end, err := s.Scan(ctx, at, nil, func(r object.Row) bool {
			*out = append(*out, fmt.Sprintf("%v %s %s %d %x", r.OID, r.Dkey, r.Akey, r.Size, r.Value))
			return true
		})
		m.must(err)
		if !end.AtEnd() {
			m.fatalf("scan ended in the middle")
		}
	}
	walk(m.d, p.eng, &a)
	walk(m.ref, p.ref, &b)
	if fmt.Sprint(a) != fmt.Sprint(b) {
		m.fatalf("scan at %d:\nengine    %.2000v\nreference %.2000v", p.eng, a, b)
	}
}

// dump renders an object with its values, arrays and their holes.
func dump(ctx context.Context, t testing.TB, s object.Store, at object.Epoch, oid object.ID, o object.ListOptions) string {
	t.Helper()
	var out bytes.Buffer
	err := s.List(ctx, at, oid, o, func(it object.Item) bool {
		fmt.Fprintf(&out, "%s/%s=%d:%x ", it.Dkey, it.Akey, len(it.Value), hash(it.Value))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Reverse = false
	err = s.ListArrays(ctx, at, oid, o, func(dkey, akey []byte) bool {
		end, err := s.ArrayEnd(ctx, at, oid, dkey, akey)
		if err != nil {
			t.Error(err)
			return false
		}
		p := make([]byte, end+10)
		if err := s.ReadArray(ctx, at, oid, dkey, akey, 0, p); err != nil {
			t.Error(err)
			return false
		}
		fmt.Fprintf(&out, "%s/%s[%d]:%x ", dkey, akey, end, hash(p))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func hash(b []byte) uint64 { return object.Hash64(b) }

func (m *model) checkUsage() {
	u, err := m.e.Usage(1)
	m.must(err)
	if got := m.e.Accounted(1); got != u.Bytes {
		m.fatalf("the ledger says %d bytes, the targets %d", got, u.Bytes)
	}
	pu, err := m.e.PoolUsage(1)
	m.must(err)
	if pu != u {
		m.fatalf("pool %+v, its only dataset %+v", pu, u)
	}
}

func (m *model) run(ops int) {
	m.open()
	m.setPins()
	m.mark()
	for m.count = range ops {
		switch m.rng.IntN(40) {
		case 0:
			m.must(m.e.Close())
			m.open()
			m.setPins()
		case 1, 2:
			m.advance()
		case 3:
			m.sweep()
			m.checkUsage()
		case 4, 5:
			m.compare(m.readable())
		case 6, 7, 8, 9:
			m.mark()
		default:
			m.commit()
		}
	}
	m.mark()
	for _, p := range m.epochs {
		if p.eng >= m.horizon.eng {
			m.compare(p)
		}
	}
	for _, p := range m.pins {
		m.compare(p)
	}
	m.checkUsage()
	m.must(m.e.Close())
}

// TestModel is the engine against the reference store. DAOS_MODEL_SEEDS and
// DAOS_MODEL_FIRST choose the seeds.
func TestModel(t *testing.T) {
	first, n := seeds("DAOS_MODEL_FIRST", 1), seeds("DAOS_MODEL_SEEDS", longer(12, 400))
	for seed := first; seed < first+n; seed++ {
		t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) {
			m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 3)), now: modelStart, fs: vfs.NewMem()}
			m.n = 1 + m.rng.IntN(5)
			m.ref = memstore.New(memstore.WithClock(func() time.Time { return m.now }))
			m.run(300)
		})
	}
}
