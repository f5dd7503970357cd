package pool_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/memstore"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/server/control"
	"daos/server/pool"
)

// memEngine keeps datasets in memory and remembers what it was told.
type memEngine struct {
	mu        sync.Mutex
	stores    map[object.DatasetID]*memstore.Store
	settings  map[object.DatasetID]pool.Settings
	quotas    map[object.PoolID]uint64
	destroyed []object.DatasetID
	fail      error // of all that changes something
}

func newEngine() *memEngine {
	return &memEngine{stores: map[object.DatasetID]*memstore.Store{}, settings: map[object.DatasetID]pool.Settings{}, quotas: map[object.PoolID]uint64{}}
}

func (e *memEngine) SetPoolQuota(p object.PoolID, bytes uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	e.quotas[p] = bytes
	return nil
}

func (e *memEngine) Configure(_ context.Context, s pool.Settings) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	e.settings[s.Dataset] = s
	if e.stores[s.Dataset] == nil {
		e.stores[s.Dataset] = memstore.New()
	}
	return nil
}

func (e *memEngine) Store(_ context.Context, id object.DatasetID) (object.Store, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.stores[id]; s != nil {
		return s, nil
	}
	return nil, fault.New(fault.Internal, "engine.store", "", "dataset %d is not configured", id)
}

func (e *memEngine) Usage(_ context.Context, id object.DatasetID) (object.Usage, error) {
	s, err := e.Store(context.Background(), id)
	if err != nil {
		return object.Usage{}, err
	}
	return s.(*memstore.Store).Usage(), nil
}

func (e *memEngine) Destroy(_ context.Context, id object.DatasetID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	delete(e.stores, id)
	e.destroyed = append(e.destroyed, id)
	return nil
}

func (e *memEngine) pins(id object.DatasetID) []object.Epoch {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append(slices.Clone(e.settings[id].Pins), e.settings[id].Leases...)
}

type bench struct {
	*pool.Service
	t      *testing.T
	fs     *vfs.MemFS
	ctl    *control.Local
	engine *memEngine
	mu     sync.Mutex
	now    time.Time
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, fs: vfs.NewMem(), engine: newEngine(), now: time.Now()}
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.ctl, err = control.Open("control", control.Options{FS: b.fs, Now: b.clock}); err != nil {
		b.t.Fatal(err)
	}
	if b.Service, err = pool.Open(context.Background(), pool.Options{Control: b.ctl, Engine: b.engine, Now: b.clock}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) close() {
	if err := errors.Join(b.Service.Close(), b.ctl.Close()); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) reopen() { b.close(); b.open() }

func (b *bench) pool(name string) pool.Pool {
	b.t.Helper()
	p, err := b.CreatePool(b.t.Context(), name, 0, object.RequestID{})
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *bench) dataset(name string) *pool.Dataset {
	b.t.Helper()
	d, err := b.CreateDataset(b.t.Context(), addr(b.t, name), pool.NewDataset{Type: pool.TypePosix}, object.RequestID{})
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

func addr(t *testing.T, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantKind(t *testing.T, err error, k fault.Kind) {
	t.Helper()
	if !fault.Is(err, k) {
		t.Fatalf("got %v, want kind %v", err, k)
	}
}

func TestNamesAndNumbers(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	p := b.pool("p")
	d := b.dataset("p/d")
	if uint64(d.ID) == uint64(p.ID) || d.Class != object.ClassSX || d.ChunkBytes != 1<<20 {
		t.Fatalf("dataset %+v of pool %+v", d, p)
	}
	_, err := b.CreatePool(ctx, "p", 0, object.RequestID{})
	wantKind(t, err, fault.Exists)
	_, err = b.CreateDataset(ctx, addr(t, "p/d"), pool.NewDataset{Type: pool.TypePosix}, object.RequestID{})
	wantKind(t, err, fault.Exists)
	_, err = b.CreateDataset(ctx, addr(t, "q/d"), pool.NewDataset{Type: pool.TypePosix}, object.RequestID{})
	wantKind(t, err, fault.NotFound)
	for _, c := range []struct {
		n    pool.NewDataset
		kind fault.Kind
	}{
		{pool.NewDataset{Type: pool.TypeKV, ChunkBytes: 1 << 20}, fault.Invalid},
		{pool.NewDataset{Type: pool.TypeArray, ChunkBytes: 1 << 20}, fault.Invalid},
		{pool.NewDataset{}, fault.Invalid},
		{pool.NewDataset{Type: pool.TypePosix, Class: "RP_2GX"}, fault.Unsupported},
		{pool.NewDataset{Type: pool.TypePosix, Class: "EC_4P2GX"}, fault.Unsupported},
		{pool.NewDataset{Type: pool.TypePosix, Class: "XX"}, fault.Invalid},
		{pool.NewDataset{Type: pool.TypePosix, ChunkBytes: 100_000}, fault.Invalid},
		{pool.NewDataset{Type: pool.TypeTensor, ChunkBytes: 1 << 20}, fault.Invalid},
		{pool.NewDataset{Type: pool.TypePosix, Attributes: map[string][]byte{"": nil}}, fault.Invalid},
		{pool.NewDataset{Type: pool.TypePosix, Attributes: map[string][]byte{"a": make([]byte, 65<<10)}}, fault.TooBig},
		{pool.NewDataset{Type: pool.TypePosix, Quota: 1 << 63}, fault.Invalid},
	} {
		_, err := b.CreateDataset(ctx, addr(t, "p/x"), c.n, object.RequestID{})
		wantKind(t, err, c.kind)
	}
	// A number is given out once, also when its owner is gone and the server restarts.
	if err := b.DestroyDataset(ctx, addr(t, "p/d"), object.RequestID{}); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	if again := b.dataset("p/d"); again.ID <= d.ID {
		t.Fatalf("number %d given out after %d", again.ID, d.ID)
	}
}

func TestRetriesHappenOnce(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	id := func(n byte) object.RequestID { return object.RequestID{n, 1} }
	p1, err := b.CreatePool(ctx, "p", 7, id(1))
	if err != nil {
		t.Fatal(err)
	}
	b.reopen() // the answer was lost with the server
	p2, err := b.CreatePool(ctx, "p", 7, id(1))
	if err != nil || p1.ID != p2.ID || p2.Quota != 7 {
		t.Fatalf("retry: %+v, %v; first %+v", p2, err, p1)
	}
	_, err = b.CreatePool(ctx, "other", 7, id(1))
	wantKind(t, err, fault.Invalid)

	d1, err := b.CreateDataset(ctx, addr(t, "p/d"), pool.NewDataset{Type: pool.TypeTensor}, id(2))
	if err != nil {
		t.Fatal(err)
	}
	s1, err := b.CreateSnapshot(ctx, addr(t, "p/d"), pool.NewSnapshot{Name: "s"}, id(3))
	if err != nil {
		t.Fatal(err)
	}
	d2, err := b.CreateDataset(ctx, addr(t, "p/d"), pool.NewDataset{Type: pool.TypeTensor}, id(2))
	if err != nil || d2.ID != d1.ID {
		t.Fatal(d2, err)
	}
	s2, err := b.CreateSnapshot(ctx, addr(t, "p/d"), pool.NewSnapshot{Name: "s"}, id(3))
	if err != nil || s2.Epoch != s1.Epoch {
		t.Fatal(s2, err)
	}
	for range 2 {
		if err := b.DestroyDataset(ctx, addr(t, "p/d"), id(4)); err != nil {
			t.Fatal(err)
		}
		if err := b.DestroyPool(ctx, "p", false, id(5)); err != nil {
			t.Fatal(err)
		}
	}
	// After the window a request id is new again.
	b.advance(11 * time.Minute)
	if err := b.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	wantKind(t, b.DestroyPool(ctx, "p", false, id(5)), fault.NotFound)
}

func TestSnapshotsArePinnedBeforeTheyAreAnswered(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	b.pool("p")
	d := b.dataset("p/d")
	r, err := b.Resolve(ctx, addr(t, "p/d"))
	if err != nil {
		t.Fatal(err)
	}
	oid := object.MakeID(object.ClassS1, 1, 1)
	res, err := r.Store.Commit(ctx, &object.Tx{Writes: []object.Write{{Op: object.OpPut, OID: oid, Dkey: []byte("k"), Akey: []byte("a"), Data: []byte("v")}}})
	if err != nil {
		t.Fatal(err)
	}
	s1, err := b.CreateSnapshot(ctx, addr(t, "p/d"), pool.NewSnapshot{Name: "s1", Seen: res.Epoch}, object.RequestID{})
	if err != nil {
		t.Fatal(err)
	}
	if s1.Epoch < res.Epoch {
		t.Fatalf("snapshot at %d leaves out the write at %d", s1.Epoch, res.Epoch)
	}
	if !slices.Contains(b.engine.pins(d.ID), s1.Epoch) {
		t.Fatalf("pins %v without %d", b.engine.pins(d.ID), s1.Epoch)
	}
	s2, err := b.CreateSnapshot(ctx, addr(t, "p/d"), pool.NewSnapshot{Auto: true, TTL: time.Hour}, object.RequestID{})
	if err != nil || s2.Name == "" || s2.Expires == 0 {
		t.Fatal(s2, err)
	}
	_, err = b.CreateSnapshot(ctx, addr(t, "p/d"), pool.NewSnapshot{Name: "s1"}, object.RequestID{})
	wantKind(t, err, fault.Exists)
	_, err = b.CreateSnapshot(ctx, addr(t, "p/d"), pool.NewSnapshot{}, object.RequestID{})
	wantKind(t, err, fault.Invalid)
	if err := b.Pin(ctx, d.ID, s2.Epoch+5); err != nil {
		t.Fatal(err)
	}

	b.engine.settings = map[object.DatasetID]pool.Settings{} // a new engine has to be told again
	b.reopen()
	want := []object.Epoch{s1.Epoch, s2.Epoch, s2.Epoch + 5}
	if got := b.engine.pins(d.ID); !slices.Equal(got, want) {
		t.Fatalf("pins after a restart %v, want %v", got, want)
	}
	list, err := b.Snapshots(addr(t, "p/d"))
	if err != nil || len(list) != 2 || list[0].Name != "s1" || list[1].Name != s2.Name {
		t.Fatal(list, err)
	}

	// Use renews: without it the snapshot would end at 60 minutes.
	b.advance(50 * time.Minute)
	at := addr(t, "p/d@"+s2.Name)
	r, err = b.Resolve(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := r.Epoch(ctx, 0, 0); err != nil || e != s2.Epoch {
		t.Fatal(e, err)
	}
	_, err = r.Epoch(ctx, s2.Epoch+1, 0)
	wantKind(t, err, fault.Invalid)
	b.advance(50 * time.Minute)
	if err := b.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Touch(ctx, at); err != nil {
		t.Fatal(err)
	}
	b.advance(61 * time.Minute)
	_, err = b.Resolve(ctx, at)
	wantKind(t, err, fault.NotFound) // expired, though not collected yet
	if err := b.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if got := b.engine.pins(d.ID); !slices.Equal(got, []object.Epoch{s1.Epoch}) {
		t.Fatalf("pins %v, want only the snapshot that does not expire", got)
	}
	if err := b.DestroySnapshot(ctx, addr(t, "p/d@s1"), false, object.RequestID{}); err != nil {
		t.Fatal(err)
	}
	if got := b.engine.pins(d.ID); len(got) != 0 {
		t.Fatalf("pins %v after the last snapshot is gone", got)
	}
}

func TestDestroyIsFinishedAfterACrash(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	b.pool("p")
	d := b.dataset("p/d")
	if _, err := b.CreateSnapshot(ctx, addr(t, "p/d"), pool.NewSnapshot{Name: "s"}, object.RequestID{}); err != nil {
		t.Fatal(err)
	}
	b.engine.fail = errors.New("crash")
	if err := b.DestroyDataset(ctx, addr(t, "p/d"), object.RequestID{}); err != nil {
		t.Fatal(err)
	}
	_, err := b.Resolve(ctx, addr(t, "p/d"))
	wantKind(t, err, fault.NotFound)
	b.engine.fail = nil
	b.reopen()
	if !slices.Contains(b.engine.destroyed, d.ID) {
		t.Fatalf("destroyed %v without %d", b.engine.destroyed, d.ID)
	}
	for _, prefix := range []string{"dead/", "snapshot/", "dataset/"} {
		if kvs, _, err := b.ctl.Range(ctx, prefix, 0); err != nil || len(kvs) != 0 {
			t.Fatalf("left behind: %v, %v", kvs, err)
		}
	}
}

func TestDestroyPool(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	b.pool("p")
	for _, n := range []string{"p/a", "p/b", "p/c"} {
		b.dataset(n)
	}
	wantKind(t, b.DestroyPool(ctx, "p", false, object.RequestID{}), fault.NotEmpty)
	if err := b.DestroyPool(ctx, "p", true, object.RequestID{}); err != nil {
		t.Fatal(err)
	}
	if len(b.engine.destroyed) != 3 {
		t.Fatalf("destroyed %v", b.engine.destroyed)
	}
	_, err := b.GetPool(ctx, "p")
	wantKind(t, err, fault.NotFound)
	if p := b.pool("p"); p.ID == 0 {
		t.Fatal("no new pool of the same name")
	}
}

// meddler does something just before a transaction is committed.
type meddler struct {
	control.Store
	before func(control.Txn)
}

func (m *meddler) Commit(ctx context.Context, txn control.Txn) (control.Rev, bool, error) {
	if fn := m.before; fn != nil {
		m.before = nil // not for what fn does itself
		fn(txn)
	}
	return m.Store.Commit(ctx, txn)
}

// TestCreateAgainstDestroy makes a dataset after the destroy of its pool has
// found the pool empty: no dataset may be left without a pool.
func TestCreateAgainstDestroy(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	m := &meddler{Store: b.ctl}
	s, err := pool.Open(ctx, pool.Options{Control: m, Engine: b.engine, Now: b.clock})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreatePool(ctx, "p", 0, object.RequestID{}); err != nil {
		t.Fatal(err)
	}
	m.before = func(control.Txn) {
		if _, err := s.CreateDataset(ctx, addr(t, "p/d"), pool.NewDataset{Type: pool.TypePosix}, object.RequestID{}); err != nil {
			t.Error(err)
		}
	}
	wantKind(t, s.DestroyPool(ctx, "p", false, object.RequestID{}), fault.NotEmpty)
	if _, err := s.Resolve(ctx, addr(t, "p/d")); err != nil {
		t.Errorf("the dataset that was made: %v", err)
	}
	// And the other way round: the pool is gone when the dataset is to be made.
	m.before = func(control.Txn) {
		if err := s.DestroyPool(ctx, "p", true, object.RequestID{}); err != nil {
			t.Error(err)
		}
	}
	_, err = s.CreateDataset(ctx, addr(t, "p/e"), pool.NewDataset{Type: pool.TypePosix}, object.RequestID{})
	wantKind(t, err, fault.NotFound)
	if kvs, _, err := b.ctl.Range(ctx, "dataset/", 0); err != nil || len(kvs) != 0 {
		t.Fatalf("datasets without a pool: %v, %v", kvs, err)
	}
}

func TestQuotaAndAttributes(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	p := b.pool("p")
	d := b.dataset("p/d")
	if _, err := b.SetPool(ctx, "p", 1000, object.RequestID{}); err != nil {
		t.Fatal(err)
	}
	q := uint64(500)
	got, err := b.SetDataset(ctx, addr(t, "p/d"), pool.DatasetChange{Quota: &q, Set: map[string][]byte{"a": []byte("1"), "b": nil}}, object.RequestID{})
	if err != nil {
		t.Fatal(err)
	}
	if b.engine.quotas[p.ID] != 1000 || b.engine.settings[d.ID].Quota != 500 {
		t.Fatalf("the engine was told %v and %v", b.engine.quotas, b.engine.settings)
	}
	got, err = b.SetDataset(ctx, addr(t, "p/d"), pool.DatasetChange{Remove: []string{"b", "none"}}, object.RequestID{})
	if err != nil || len(got.Attributes) != 1 || string(got.Attributes["a"]) != "1" || got.Quota != 500 {
		t.Fatal(got, err)
	}
	if len(d.Attributes) != 0 {
		t.Fatal("a record that was handed out has changed")
	}
}

// TestService_WaitsForDescriptors: where the engine can open no more files, a change
// waits until it can, and nothing is lost with it.
func TestService_WaitsForDescriptors(t *testing.T) {
	b := newBench(t)
	set := func(err error) {
		b.engine.mu.Lock()
		defer b.engine.mu.Unlock()
		b.engine.fail = err
	}
	set(fault.New(fault.Internal, "engine.registry", "", "can't be written").Because(&os.PathError{Op: "open", Path: "datasets", Err: syscall.EMFILE}))
	made := make(chan error, 1)
	go func() {
		_, err := b.CreatePool(t.Context(), "p", 1<<30, object.RequestID{})
		made <- err
	}()
	select {
	case err := <-made:
		t.Fatalf("made without descriptors: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	set(nil)
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	b.dataset("p/d")
}
