package posixtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sort"
	"sync"
	"testing"
	"time"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
)

// Lossy is a store whose Commit sometimes has its answer lost, before or after
// it did its work. It loses only calls that have a request id, as a caller can
// make only those again.
type Lossy struct {
	posix.Store
	mu    sync.Mutex
	rnd   *rand.Rand
	odds  int // one in so many, each way; 0: never
	yield int // commits wait for up to so many turns of other goroutines
}

// NewLossy wraps a store.
func NewLossy(s posix.Store, seed uint64, odds int) *Lossy {
	return &Lossy{Store: s, rnd: rand.New(rand.NewPCG(seed, 77)), odds: odds}
}

// Commit implements object.Committer.
func (l *Lossy) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	lost := -1
	if l.odds > 0 && !tx.Request.IsZero() {
		l.mu.Lock()
		lost = l.rnd.IntN(2 * l.odds)
		wait := l.rnd.IntN(l.yield + 1)
		l.mu.Unlock()
		for range wait {
			runtime.Gosched()
		}
	}
	gone := fault.New(fault.Unreachable, "test.commit", "store", "the answer was lost")
	if lost == 0 {
		return object.Result{}, gone
	}
	res, err := l.Store.Commit(ctx, tx)
	if lost == 1 {
		return object.Result{}, gone
	}
	return res, err
}

// names that histories use: few, so that calls meet; one is not UTF-8.
func someName(r *rand.Rand) string {
	return [...]string{"a", "b", "c", "d", "e\xff", "f f"}[r.IntN(6)]
}

func somePath(r *rand.Rand) string {
	p := someName(r)
	for range r.IntN(3) {
		p += "/" + someName(r)
	}
	return p
}

// someCall makes a random mutation.
func someCall(r *rand.Rand) call {
	c := call{path: somePath(r), to: somePath(r), third: somePath(r), a: r.IntN(2) == 0, b: r.IntN(2) == 0}
	data := func(max int) string {
		b := make([]byte, r.IntN(max))
		for i := range b {
			b[i] = byte('A' + r.IntN(26))
		}
		return string(b)
	}
	switch n := r.IntN(112); {
	case n >= 106:
		c.op, c.data = "import", data(5000)
	case n >= 100:
		c.op, c.data = "publish", data(9000)
	case n < 18:
		c.op = "mkdir"
	case n < 36:
		c.op, c.data = "create", data(6000)
		if r.IntN(2) == 0 {
			c.data = ""
		}
	case n < 46:
		c.op, c.off, c.data = "write", uint64(r.IntN(12000)), data(9000)
	case n < 54:
		c.op, c.data = "append", data(5000)
	case n < 60:
		c.op, c.off = "truncate", uint64(r.IntN(12000))
	case n < 76:
		c.op, c.a = "rename", r.IntN(5) == 0
	case n < 84:
		c.op, c.b = "remove", r.IntN(5) == 0
	case n < 90:
		c.op = "link"
	case n < 94:
		c.op = "symlink"
		switch r.IntN(3) {
		case 0:
			c.to = "/" + c.to
		case 1:
			c.to = "../" + c.to
		}
	case n < 97:
		c.op, c.mode = "chmod", uint32(r.IntN(0o1000))
	default:
		c.op, c.to, c.data = "setxattr", someName(r), data(2000)
	}
	c.inodeFirst = r.IntN(3) == 0
	return c
}

// entries are those of an import.
func (c call) entries() []posix.ImportEntry {
	return []posix.ImportEntry{
		{Path: c.path, Type: posix.TypeFile, Content: []byte(c.data)},
		{Path: c.to, Type: posix.TypeDir},
		{Path: c.third, Type: posix.TypeSymlink, Target: c.path},
		{Path: c.path + "/" + c.third, Type: posix.TypeFile},
	}[:3+len(c.data)%2]
}

// publish stages c's data and links it; it makes all of it again after a lost answer.
func (c call) publish(ctx context.Context, t Tree, req object.RequestID) (posix.Attr, error) {
	part := func(n byte) object.RequestID {
		id := req
		id[15] = n
		return id
	}
	inode, err := t.Stage(ctx, part(1), 0)
	if err != nil {
		return posix.Attr{}, err
	}
	half := len(c.data) / 2
	for i, off := range []int{half, 0} {
		if err := t.WriteStaged(ctx, part(byte(2+i)), inode, uint64(off), []byte(c.data[off:min(len(c.data), off+len(c.data)-half)])); err != nil {
			return posix.Attr{}, err
		}
	}
	a, err := t.Publish(ctx, part(4), inode, c.path, posix.PublishOptions{Size: uint64(len(c.data)), Exclusive: c.a, Parents: c.b})
	if err != nil && !fault.Is(err, fault.Unreachable) {
		if err := t.Discard(ctx, inode); err != nil {
			return posix.Attr{}, err
		}
	}
	return a, err
}

func (c call) String() string {
	return fmt.Sprintf("%s(%q, %q, %q, %v, %v, off %d, %d bytes, mode %o)", c.op, c.path, c.to, c.third, c.a, c.b, c.off, len(c.data), c.mode)
}

// outcome is what a tree said to a call.
type outcome struct {
	epoch     object.Epoch
	size, off uint64
	err       error
}

func (o outcome) String() string {
	return fmt.Sprintf("epoch %d, size %d, offset %d, error %v", o.epoch, o.size, o.off, o.err)
}

// on makes the call on a tree.
func (c call) on(ctx context.Context, t Tree, req object.RequestID) (o outcome) {
	ref := posix.ByPath(c.path)
	if c.inodeFirst {
		at, err := t.Now(ctx)
		if err != nil {
			return outcome{err: err}
		}
		switch c.op {
		case "write", "append", "truncate", "chmod", "setxattr":
			a, err := t.Stat(ctx, at, ref, true)
			if err != nil {
				return outcome{err: err}
			}
			ref = posix.ByInode(a.Inode)
		}
	}
	attr := func(a posix.Attr, err error) outcome { return outcome{a.Epoch, a.Size, 0, err} }
	only := func(e object.Epoch, err error) outcome { return outcome{e, 0, 0, err} }
	switch c.op {
	case "mkdir":
		o = attr(t.MakeDir(ctx, req, c.path, posix.MakeDirOptions{Parents: c.a}))
	case "create":
		o = attr(t.Create(ctx, req, c.path, posix.CreateOptions{Exclusive: c.a, Truncate: c.b, Content: []byte(c.data)}))
	case "write", "append":
		var w posix.Written
		w, o.err = t.Write(ctx, req, ref, posix.WriteOptions{Offset: c.off, Append: c.op == "append"}, []byte(c.data))
		o.epoch, o.size, o.off = w.Epoch, w.Size, w.Offset
	case "import":
		im, err := t.Import(ctx, req, c.entries(), c.a)
		return outcome{epoch: im.Epoch, err: err}
	case "publish":
		return attr(c.publish(ctx, t, req))
	case "truncate":
		return only(t.Truncate(ctx, req, ref, c.off))
	case "rename":
		return only(t.Rename(ctx, req, c.path, c.to, c.a))
	case "remove":
		return only(t.Remove(ctx, req, c.path, posix.RemoveOptions{Recursive: c.a, Directory: c.b}))
	case "link":
		o = attr(t.Link(ctx, req, c.path, c.to))
		o.size = 0
	case "symlink":
		o = attr(t.Symlink(ctx, req, c.to, c.path))
		o.size = 0
	case "chmod":
		o = attr(t.SetAttr(ctx, req, ref, posix.SetAttr{Mode: &c.mode}))
		o.size = 0
	case "setxattr":
		return only(t.SetXattr(ctx, req, ref, c.to, []byte(c.data), posix.SetXattrOptions{Exclusive: c.a, Remove: c.b}))
	}
	return o
}

// until makes the call again while its answer gets lost.
func (c call) until(ctx context.Context, t Tree, req object.RequestID) outcome {
	for {
		if o := c.on(ctx, t, req); !fault.Is(o.err, fault.Unreachable) {
			return o
		}
	}
}

func agrees(c call, o outcome, size, off uint64, err error) bool {
	if o.err != nil || err != nil {
		return o.err != nil && err != nil && errors.Is(o.err, fault.KindOf(err))
	}
	switch c.op {
	case "write", "append":
		return o.size == size && o.off == off
	case "create", "publish":
		return o.size == size
	}
	return true
}

func newSeed() uint64 { return uint64(time.Now().UnixNano()) }

// request makes request ids that differ in a test.
func request(seed uint64, n int) (id object.RequestID) {
	binary.LittleEndian.PutUint64(id[:], seed|1)
	binary.LittleEndian.PutUint64(id[8:], uint64(n))
	return id
}

// Reaper is a tree that frees what removals left.
type Reaper interface {
	Reap(ctx context.Context, budget int) (posix.Reaped, error)
}

// Keeper is a store that sweeps: it is told which epochs are read again later.
type Keeper interface{ Keep(at object.Epoch) }

// Random makes runs of random calls, some with lost answers and made again, and
// compares every answer and, now and then, the whole tree with a model. Some
// states are read again at the end, at their epochs.
func Random(t *testing.T, open OpenStore, runs, steps int) {
	for range runs {
		seed := newSeed()
		t.Logf("seed %d", seed)
		RandomSeed(t, open(t), seed, steps)
		if t.Failed() {
			return
		}
	}
}

// RandomSeed is one run of Random.
func RandomSeed(t *testing.T, s posix.Store, seed uint64, steps int) {
	ctx := context.Background()
	r := rand.New(rand.NewPCG(seed, 1))
	lossy := NewLossy(s, seed, 0)
	fs := Mount(t, lossy)
	lossy.odds = 8
	tree := Local(fs)
	m := newModel()
	kept := map[object.Epoch]map[string]string{}
	for i := range steps {
		if r.IntN(40) == 0 { // another server goes on
			fs = Remount(t, lossy, posix.Options{})
			tree = Local(fs)
		}
		if r.IntN(25) == 0 {
			if _, err := fs.Reap(ctx, 1<<20); err != nil {
				t.Fatalf("seed %d, step %d: reap: %v", seed, i, err)
			}
			if _, _, err := m.apply(call{op: "reap"}); err != nil {
				t.Fatal(err)
			}
		}
		c := someCall(r)
		o := c.until(ctx, tree, request(seed, i))
		size, off, err := m.apply(c)
		if !agrees(c, o, size, off, err) {
			t.Fatalf("seed %d, step %d: %v\ngot  %v\nwant size %d, offset %d, %v", seed, i, c, o, size, off, err)
		}
		if i%10 == 9 || i == steps-1 {
			at, err := tree.Now(ctx)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Dump(ctx, tree, at, "")
			if err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, err)
			}
			if d := Diff(got, m.dump()); d != "" {
				t.Fatalf("seed %d, step %d, after %v:\n%s", seed, i, c, d)
			}
			if r.IntN(4) == 0 {
				kept[at] = got
				if k, ok := s.(Keeper); ok {
					k.Keep(at)
				}
			}
		}
	}
	for at, want := range kept {
		got, err := Dump(ctx, tree, at, "")
		if err != nil {
			t.Fatalf("seed %d: at %d: %v", seed, at, err)
		}
		if d := Diff(got, want); d != "" {
			t.Fatalf("seed %d: the state at %d has changed:\n%s", seed, at, d)
		}
	}
}

// Concurrent makes runs in which several writers change one tree at once, with
// lost answers. The calls that succeeded, in the order of their epochs, must
// give the same answers on the model, and the trees at those epochs; a call
// that failed must fail so on the model in some state between its begin and
// its end.
func Concurrent(t *testing.T, open OpenStore, runs, writers, steps int) {
	for range runs {
		seed := newSeed()
		t.Logf("seed %d", seed)
		concurrentSeed(t, open(t), seed, writers, steps)
		if t.Failed() {
			return
		}
	}
}

func concurrentSeed(t *testing.T, s posix.Store, seed uint64, writers, steps int) {
	ctx := context.Background()
	lossy := NewLossy(s, seed, 0)
	first := Local(Mount(t, lossy))
	lossy.odds, lossy.yield = 10, 40
	type done struct {
		c           call
		o           outcome
		begin, end  object.Epoch
		writer, num int
	}
	var mu sync.Mutex
	var all []done
	var wg sync.WaitGroup
	for w := range writers {
		tree := Local(Remount(t, lossy, posix.Options{})) // a process each
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(seed, uint64(w)+10))
			for i := range steps {
				c := someCall(r)
				c.inodeFirst = false
				begin, err := tree.Now(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				o := c.until(ctx, tree, request(seed, w*steps+i))
				end, err := tree.Now(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				all = append(all, done{c: c, o: o, begin: begin, end: end, writer: w, num: i})
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	var ok, failed []done
	for _, d := range all {
		if d.o.err == nil {
			ok = append(ok, d)
		} else {
			failed = append(failed, d)
		}
	}
	sort.SliceStable(ok, func(i, j int) bool { return ok[i].o.epoch < ok[j].o.epoch })
	m := newModel()
	type state struct {
		from object.Epoch
		m    *model
	}
	states := []state{{0, m.clone()}}
	for i, d := range ok {
		if d.o.epoch < d.begin || d.o.epoch > d.end {
			t.Fatalf("seed %d: %v has epoch %d, begun after %d and ended before %d", seed, d.c, d.o.epoch, d.begin, d.end)
		}
		size, off, err := m.apply(d.c)
		if !agrees(d.c, d.o, size, off, err) {
			t.Fatalf("seed %d, writer %d, call %d: %v at epoch %d\ngot  %v\nwant size %d, offset %d, %v",
				seed, d.writer, d.num, d.c, d.o.epoch, d.o, size, off, err)
		}
		states = append(states, state{d.o.epoch, m.clone()})
		if i%20 == 0 || i == len(ok)-1 {
			got, err := Dump(ctx, first, d.o.epoch, "")
			if err != nil {
				t.Fatalf("seed %d: at %d: %v", seed, d.o.epoch, err)
			}
			if d := Diff(got, m.dump()); d != "" {
				t.Fatalf("seed %d: after call %d of %d in order of epochs:\n%s", seed, i, len(ok), d)
			}
		}
	}
	for _, d := range failed {
		fits := false
		for i := range states {
			last := i == len(states)-1 || states[i+1].from > d.begin
			if states[i].from <= d.end && last && !fits {
				_, _, err := states[i].m.clone().apply(d.c)
				fits = err != nil && errors.Is(d.o.err, fault.KindOf(err))
			}
		}
		if !fits {
			t.Fatalf("seed %d, writer %d: %v failed with %v, which fits no state between epochs %d and %d",
				seed, d.writer, d.c, d.o.err, d.begin, d.end)
		}
	}
}
