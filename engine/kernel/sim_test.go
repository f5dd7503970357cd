package kernel_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"daos/engine/kernel"
	"daos/engine/object"
	"daos/engine/placement"
	"daos/engine/target"
	"daos/internal/fault"
)

// sim runs the kernel against targets that crash. Everything that happens is
// drawn from one seed: which event is next, what fails, when the power goes.
// Afterwards the history is checked against a replay in order of epoch.
type sim struct {
	rng     *rand.Rand
	layout  *placement.Layout
	targets []*simTarget
	k       *kernel.Kernel
	clock   object.Epoch
	step    int

	all      []*attempt // every attempt, in order of begin
	requests []*request
	flight   map[uint64]*attempt
	reads    map[uint64]*pendingRead
	lastID   uint64
	events   []func() // what may happen next, in any order
	seen     []observation
	answered object.Epoch
	crashes  int
	doomed   int
	trouble  []string
}

// request is one call of a client, repeated until it is answered.
type request struct {
	id   object.RequestID
	mk   func(readAt object.Epoch) *object.Tx
	done bool
}

type outcome uint8

const (
	inFlight outcome = iota
	acked
	refused
	unknown // in flight at a crash, or a target stopped
)

type attempt struct {
	id       uint64
	req      *request
	tx       *object.Tx
	plan     *kernel.Plan
	found    []string // content of each of tx.Reads when it was read
	epoch    object.Epoch
	out      outcome
	durable  bool // acked, and not deferred or synced since
	begin    int
	end      int
	err      error
	replayed bool
	before   object.Epoch // highest epoch answered when it began
}

type pendingRead struct {
	need object.Epoch
	then func(object.Epoch)
}

// observation is what a snapshot read saw.
type observation struct {
	at      object.Epoch
	read    object.Read
	content string
}

func newSim(seed uint64) *sim {
	s := &sim{
		rng: rand.New(rand.NewPCG(seed, 0x51)), flight: map[uint64]*attempt{}, reads: map[uint64]*pendingRead{}, clock: 1000,
	}
	n := 1 + s.rng.IntN(4)
	for i := range n {
		s.targets = append(s.targets, &simTarget{id: uint16(i)})
	}
	s.layout, _ = placement.Uniform(n).Compute(1)
	s.boot()
	return s
}

func (s *sim) boot() {
	s.k = kernel.New(func() (object.Epoch, bool) { s.clock++; return s.clock, true })
}

func (s *sim) complain(format string, args ...any) {
	s.trouble = append(s.trouble, fmt.Sprintf(format, args...))
}

var simObjects = []object.ID{
	object.MakeID(object.ClassS1, 0, 1), object.MakeID(object.ClassS1, 0, 2), object.MakeID(object.ClassSX, 0, 3),
}

// staging is written by deferred transactions only, and read by nobody: what
// its author may lose must not matter to others.
var staging = object.MakeID(object.ClassSX, 0, 99)

// content renders what a Read sees at an epoch, from the targets.
func (s *sim) content(at object.Epoch, r object.Read) string {
	var out []string
	for g := range r.OID.Class().Groups() {
		p, id := kernel.Place(s.layout, 1, r.OID, uint16(g))
		s.targets[id].values(at, p, func(d, a, v string) {
			if covers(r, d, a) {
				out = append(out, d+"/"+a+"="+v)
			}
		})
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func covers(r object.Read, d, a string) bool {
	if r.Point && d != string(r.From) || !r.Point && (d < string(r.From) || r.To != nil && d >= string(r.To)) {
		return false
	}
	return r.Akey == nil || a == string(r.Akey)
}

func (s *sim) pick(from ...string) []byte { return []byte(from[s.rng.IntN(len(from))]) }

func (s *sim) oid() object.ID { return simObjects[s.rng.IntN(len(simObjects))] }

func (s *sim) read() object.Read {
	r := object.Read{OID: s.oid(), Point: true, From: s.pick("a", "b", "c")}
	if s.rng.IntN(3) == 0 {
		r.Point = false
		r.From, r.To = nil, nil
		if s.rng.IntN(2) == 0 {
			r.From, r.To = []byte("a"), s.pick("b", "c", "d")
		}
	}
	if s.rng.IntN(2) == 0 {
		r.Akey = s.pick("x", "y")
	}
	return r
}

// newRequest draws a transaction.
func (s *sim) newRequest(n int) *request {
	r := &request{}
	if s.rng.IntN(5) > 0 {
		r.id = object.RequestID{1, byte(n), byte(n >> 8)}
	}
	value := fmt.Sprintf("v%d", n)
	tx := object.Tx{Request: r.id, Answer: []byte(value)}
	if s.rng.IntN(8) == 0 {
		tx.Deferred = true
		for i := range 1 + s.rng.IntN(3) {
			tx.Writes = append(tx.Writes, object.Write{Op: object.OpPut, OID: staging, Dkey: fmt.Appendf(nil, "%d.%d", n, i), Akey: []byte("x"), Data: []byte(value)})
		}
	} else {
		for range s.rng.IntN(3) {
			tx.Reads = append(tx.Reads, s.read())
		}
		for range s.rng.IntN(5) / 3 {
			tx.Conds = append(tx.Conds, object.Cond{Kind: object.CondKind(1 + s.rng.IntN(4)), OID: s.oid(), Dkey: s.pick("a", "b", "c"), Akey: s.pick("x", "y")})
		}
		tx.Barrier = s.rng.IntN(8) == 0
		for range s.rng.IntN(4) {
			w := object.Write{Op: object.OpPut, OID: s.oid(), Dkey: s.pick("a", "b", "c"), Akey: s.pick("x", "y"), Data: []byte(value)}
			switch s.rng.IntN(12) {
			case 0:
				w.Op = object.OpPunchObject
			case 1:
				w.Op = object.OpPunchDkey
			case 2:
				w.Op = object.OpPunchAkey
			}
			tx.Writes = append(tx.Writes, w)
		}
	}
	r.mk = func(readAt object.Epoch) *object.Tx {
		c := tx
		c.ReadAt = readAt
		return &c
	}
	return r
}

// do performs the kernel's actions.
func (s *sim) do(actions []kernel.Action) {
	for _, a := range actions {
		switch a.Kind {
		case kernel.Closed:
			p := s.reads[a.ID]
			delete(s.reads, a.ID)
			if a.Err != nil {
				continue // a target has stopped: nobody gets an epoch
			}
			if a.Epoch < p.need && s.ok() {
				s.complain("step %d: read epoch %d, below %d", s.step, a.Epoch, p.need)
			}
			p.then(a.Epoch)
		case kernel.Validate:
			t := s.flight[a.ID]
			t.epoch = a.Epoch
			s.later(func() { s.validate(t) })
		case kernel.Prepare:
			t := s.flight[a.ID]
			for i := range t.plan.Batches {
				s.later(func() { s.prepare(t, i) })
			}
		case kernel.Abort:
			t := s.flight[a.ID]
			for _, id := range a.Targets {
				s.later(func() {
					err := s.targets[id].Abort(nil, 1, t.epoch)
					s.do(s.k.Aborted(t.id, err, nil))
				})
			}
		case kernel.Done:
			s.answer(s.flight[a.ID], a)
		}
	}
}

// ok reports whether no target has stopped.
func (s *sim) ok() bool {
	return !slices.ContainsFunc(s.targets, func(t *simTarget) bool { return t.failed != nil })
}

func (s *sim) later(fn func()) { s.events = append(s.events, fn) }

func (s *sim) validate(t *attempt) {
	ts := make([]target.Target, len(s.targets))
	for i := range ts {
		ts[i] = s.targets[i]
	}
	replay, err := kernel.Check(t.plan, t.epoch, s.layout, ts)
	s.do(s.k.Validated(t.id, replay, err, nil))
}

func (s *sim) prepare(t *attempt, i int) {
	b, id := &t.plan.Batches[i], t.plan.Targets[i]
	tg := s.targets[id]
	answer := func(err error, clean bool) { s.later(func() { s.do(s.k.Prepared(t.id, id, err, clean, nil)) }) }
	switch {
	case tg.failed != nil:
		answer(tg.failed, false)
		return
	case s.rng.IntN(40) == 0:
		answer(errFull, true)
		return
	}
	tg.apply(b)
	if b.Deferred {
		answer(nil, true)
		return
	}
	s.later(func() {
		if tg.failed != nil || s.rng.IntN(400) == 0 {
			tg.failed = errSync
			answer(errSync, false)
			return
		}
		tg.sync()
		answer(nil, true)
	})
}

func (s *sim) answer(t *attempt, a kernel.Action) {
	delete(s.flight, t.id)
	if a.Doomed {
		s.doomed++
		for _, tg := range s.targets {
			if r, ok, _ := tg.Request(1, t.tx.Request); ok && !t.tx.Request.IsZero() {
				r.Replayed = true
				a.Err, a.Result = nil, r
			}
		}
	}
	t.end, t.err = s.step, a.Err
	switch {
	case a.Err == nil && a.Result.Replayed:
		t.out, t.replayed, t.epoch = refused, true, a.Result.Epoch
		if string(a.Result.Answer) != string(t.tx.Answer) {
			s.complain("replayed answer %q of %q", a.Result.Answer, t.tx.Answer)
		}
	case a.Err == nil:
		t.out = acked
		t.durable = !t.tx.Deferred
		s.answered = max(s.answered, t.epoch)
		if a.Result.Epoch != t.epoch {
			s.complain("answered epoch %d, prepared at %d", a.Result.Epoch, t.epoch)
		}
	case fault.Is(a.Err, fault.Internal):
		t.out = unknown
	default:
		t.out = refused
	}
	if a.Err == nil || !fault.Is(a.Err, fault.Internal) {
		t.req.done = true
	}
	if fault.Is(a.Err, fault.Conflict, fault.NoSpace) && s.rng.IntN(2) == 0 {
		t.req.done = false
		s.later(func() { s.start(t.req) })
	}
}

// withEpoch asks for a closed epoch and goes on with it.
func (s *sim) withEpoch(then func(object.Epoch)) {
	s.lastID++
	s.reads[s.lastID] = &pendingRead{need: s.answered, then: then}
	s.do(s.k.ReadEpoch(s.lastID, 0, nil))
}

// start is one try of a request: read, then commit some time later.
func (s *sim) start(r *request) {
	s.withEpoch(func(at object.Epoch) {
		tx := r.mk(at)
		found := make([]string, len(tx.Reads))
		for i, rd := range tx.Reads {
			found[i] = s.content(at, rd)
			s.seen = append(s.seen, observation{at, rd, found[i]})
		}
		s.later(func() { s.commit(r, tx, found) })
	})
}

func (s *sim) commit(r *request, tx *object.Tx, found []string) {
	if tx.Barrier {
		s.syncAll()
	}
	s.lastID++
	t := &attempt{id: s.lastID, req: r, tx: tx, found: found, begin: s.step, before: s.answered, plan: kernel.NewPlan(1, tx, s.layout)}
	s.all = append(s.all, t)
	s.flight[t.id] = t
	id := t.id
	s.do(s.k.Begin(id, t.plan, nil))
	if s.rng.IntN(30) == 0 {
		s.later(func() {
			if t, ok := s.flight[id]; ok && s.k.Cancel(id) {
				delete(s.flight, id)
				t.out, t.end = refused, s.step
				r.done = true
			}
		})
	}
}

// syncAll is the driver's Barrier: note what is deferred, sync, tell.
func (s *sim) syncAll() {
	n := s.k.Deferred()
	var covered []*attempt
	for _, t := range s.all {
		if t.out == acked && t.tx.Deferred {
			covered = append(covered, t)
		}
	}
	for _, t := range s.targets {
		if t.Sync() != nil {
			return
		}
	}
	s.k.SyncedUpTo(n)
	for _, t := range covered {
		t.durable = true
	}
}

func (s *sim) settle() {
	upTo := min(s.clock, s.k.Settled())
	for _, t := range s.targets {
		_ = t.Settle(upTo)
		if s.rng.IntN(2) == 0 {
			t.sync()
		}
	}
}

// crash ends the process at any point, often in the middle of recovery again.
func (s *sim) crash() {
	s.crashes++
	s.events = nil
	for _, t := range s.flight {
		t.out, t.end = unknown, s.step
	}
	for _, t := range s.all {
		if t.out == acked && !t.durable {
			t.out = unknown // deferred and never synced: may be lost, whole
		}
	}
	s.flight, s.reads = map[uint64]*attempt{}, map[uint64]*pendingRead{}
	for {
		power := s.rng.IntN(3) > 0
		for _, t := range s.targets {
			t.crash(s.rng, power)
		}
		if !power {
			// The log of a killed process is in the page cache: the targets
			// make it durable while they open.
			for _, t := range s.targets {
				t.sync()
			}
		}
		if s.recover() {
			break
		}
	}
	s.boot()
	for _, t := range s.all {
		if t.out == unknown && !t.req.done && !t.req.id.IsZero() {
			t.req.done = true // one retry each
			r := t.req
			s.later(func() { r.done = false; s.start(r) })
		}
	}
}

func (s *sim) recover() bool {
	var found []kernel.Found
	for _, t := range s.targets {
		rows, _ := t.Undecided()
		settled, _ := t.Settled()
		found = append(found, kernel.Found{Target: t.id, Rows: rows, Settled: settled})
	}
	for _, o := range kernel.Resolve(found) {
		for _, id := range o.AbortOn {
			if s.rng.IntN(10) == 0 {
				return false
			}
			_ = s.targets[id].Abort(nil, o.Dataset, o.ID)
		}
	}
	for _, t := range s.targets {
		if s.rng.IntN(10) == 0 {
			return false
		}
		_ = t.Settle(s.clock)
	}
	return true
}

// run plays n requests out and returns what was wrong.
func (s *sim) run(n int) []string {
	for i := range n {
		r := s.newRequest(i)
		s.requests = append(s.requests, r)
		s.later(func() { s.start(r) })
		if !r.id.IsZero() && s.rng.IntN(6) == 0 {
			s.later(func() { s.start(r) }) // the client sends it twice
		}
	}
	for i := 0; len(s.events) > 0 && len(s.trouble) == 0; i++ {
		s.step++
		switch {
		case s.rng.IntN(150) == 0 && s.crashes < 4, !s.ok() && s.rng.IntN(20) == 0:
			s.crash()
			continue
		case s.rng.IntN(25) == 0:
			s.settle()
		case s.rng.IntN(40) == 0:
			s.syncAll()
		case s.rng.IntN(10) == 0:
			s.withEpoch(func(at object.Epoch) {
				r := s.read()
				s.seen = append(s.seen, observation{at, r, s.content(at, r)})
			})
		}
		// Mostly in order, so that there is some progress; often not.
		j := 0
		if s.rng.IntN(3) > 0 {
			j = s.rng.IntN(len(s.events))
		}
		fn := s.events[j]
		s.events = slices.Delete(s.events, j, j+1)
		fn()
	}
	if !s.ok() {
		s.crash()
		s.events = nil
	}
	s.check()
	return s.trouble
}

func (s *sim) check() {
	if len(s.trouble) > 0 {
		return
	}
	for _, t := range s.flight {
		s.complain("attempt %d began at step %d and was never answered", t.id, t.begin)
	}
	if len(s.reads) > 0 {
		s.complain("%d reads wait for ever", len(s.reads))
	}
	if s.k.Busy() {
		s.complain("the kernel is busy with nothing")
	}
	if !s.k.Idle() && len(s.events) == 0 {
		s.complain("the kernel keeps claims of nobody")
	}
	committed := s.atomicity()
	if len(s.trouble) > 0 {
		return
	}
	s.once(committed)
	s.replay(committed)
}

// atomicity looks which attempts are on the targets: all of one or nothing.
func (s *sim) atomicity() []*attempt {
	have := make([]map[object.Epoch]int, len(s.targets))
	total := map[object.Epoch]bool{}
	for i, t := range s.targets {
		have[i] = map[object.Epoch]int{}
		t.batches(func(b *target.Batch) {
			have[i][b.Epoch] += 1 + len(b.Writes)
			total[b.Epoch] = true
		})
	}
	var committed []*attempt
	for _, t := range s.all {
		if t.epoch == 0 || t.replayed {
			continue
		}
		delete(total, t.epoch)
		in, out := 0, 0
		for i, id := range t.plan.Targets {
			if n := have[id][t.epoch]; n == 1+len(t.plan.Batches[i].Writes) {
				in++
			} else if n == 0 {
				out++
			} else {
				s.complain("attempt %d at %d: %d entries on target %d", t.id, t.epoch, n, id)
			}
		}
		switch {
		case in > 0 && out > 0:
			s.complain("half of the transaction at %d is there (%d of %d targets), it was %v", t.epoch, in, in+out, t.out)
		case t.out == acked && t.durable && out > 0:
			s.complain("the acknowledged transaction at %d is lost: %+v, steps %d to %d, targets %v", t.epoch, t.tx, t.begin, t.end, t.plan.Targets)
		case t.out == refused && in > 0:
			s.complain("the refused transaction at %d is there: %v", t.epoch, t.err)
		}
		if in > 0 || t.out == acked && len(t.plan.Targets) == 0 {
			committed = append(committed, t)
		}
	}
	for e := range total {
		s.complain("versions of nobody at %d", e)
	}
	slices.SortFunc(committed, func(a, b *attempt) int { return int(a.epoch) - int(b.epoch) })
	return committed
}

// once checks request ids: one execution each, and every answer is that one's.
func (s *sim) once(committed []*attempt) {
	done := map[object.RequestID]object.Epoch{}
	over := map[object.RequestID]int{} // the step since which it has happened
	for _, t := range committed {
		if t.tx.Request.IsZero() {
			continue
		}
		if e := done[t.tx.Request]; e != 0 {
			s.complain("request %v happened at %d and at %d", t.tx.Request, e, t.epoch)
		}
		done[t.tx.Request], over[t.tx.Request] = t.epoch, t.end
	}
	for _, t := range s.all {
		if e := done[t.tx.Request]; e != 0 && t.out == refused && !t.replayed && t.err != nil && t.begin > over[t.tx.Request] {
			s.complain("request %v had happened at %d, its retry at step %d was refused: %v", t.tx.Request, e, t.begin, t.err)
		}
		if t.replayed && done[t.tx.Request] != t.epoch && !t.tx.Deferred {
			s.complain("request %v was answered with epoch %d, it happened at %d", t.tx.Request, t.epoch, done[t.tx.Request])
		}
	}
}

// replay executes the committed attempts in order of epoch on a map, and checks
// that each read and condition holds at its place, that each snapshot read saw
// exactly the state at its epoch, and that order agrees with real time.
func (s *sim) replay(committed []*attempt) {
	type key struct {
		oid  object.ID
		d, a string
	}
	state := map[key]string{}
	content := func(r object.Read) string {
		var out []string
		for k, v := range state {
			if k.oid == r.OID && covers(r, k.d, k.a) {
				out = append(out, k.d+"/"+k.a+"="+v)
			}
		}
		sort.Strings(out)
		return strings.Join(out, " ")
	}
	slices.SortStableFunc(s.seen, func(a, b observation) int { return int(a.at) - int(b.at) })
	seen := s.seen
	look := func(before object.Epoch) {
		for len(seen) > 0 && seen[0].at < before {
			if got := content(seen[0].read); got != seen[0].content {
				s.complain("a read of %s at %d saw [%s], the state there is [%s]", seen[0].read.OID, seen[0].at, seen[0].content, got)
			}
			seen = seen[1:]
		}
	}
	for _, t := range committed {
		look(t.epoch)
		if t.epoch <= t.before {
			s.complain("the transaction at %d began after %d had been answered", t.epoch, t.before)
		}
		for i, r := range t.tx.Reads {
			if got := content(r); got != t.found[i] {
				s.complain("the transaction at %d read [%s], at its place it is [%s]", t.epoch, t.found[i], got)
			}
		}
		for _, c := range t.tx.Conds {
			r := object.Read{OID: c.OID, Point: true, From: c.Dkey}
			if c.Kind == object.AkeyAbsent || c.Kind == object.AkeyExists {
				r.Akey = c.Akey
			}
			exists := content(r) != ""
			if exists != (c.Kind == object.DkeyExists || c.Kind == object.AkeyExists) {
				s.complain("the transaction at %d: condition %d does not hold", t.epoch, c.Kind)
			}
		}
		for _, w := range t.tx.Writes {
			if w.Op == object.OpPut {
				state[key{w.OID, string(w.Dkey), string(w.Akey)}] = string(w.Data)
				continue
			}
			for k := range state {
				if k.oid == w.OID && (w.Op == object.OpPunchObject || k.d == string(w.Dkey) && (w.Op == object.OpPunchDkey || bytes.Equal([]byte(k.a), w.Akey))) {
					delete(state, k)
				}
			}
		}
	}
	look(object.EpochMax)
}

func env(name string, def uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return def
}

// TestSimulator plays many seeds, and many more with DAOS_TEST_LONG.
// DAOS_SIM_SEEDS says how many, DAOS_SIM_FIRST where to begin; one failing seed
// is played again with DAOS_SIM_FIRST=<seed> DAOS_SIM_SEEDS=1.
func TestSimulator(t *testing.T) {
	first, n := env("DAOS_SIM_FIRST", 1), env("DAOS_SIM_SEEDS", 3000)
	if os.Getenv("DAOS_TEST_LONG") != "" {
		n = env("DAOS_SIM_SEEDS", 100_000)
	}
	var attempts, acks, crashes, unknowns, replays, conflicts, doomed, failed int
	for seed := first; seed < first+n; seed++ {
		s := newSim(seed)
		if trouble := s.run(30); len(trouble) > 0 {
			t.Errorf("seed %d: %s", seed, strings.Join(trouble, "\n\t"))
			if failed++; failed == 5 {
				break
			}
		}
		crashes += s.crashes
		doomed += s.doomed
		for _, a := range s.all {
			attempts++
			switch {
			case a.out == acked:
				acks++
			case a.out == unknown:
				unknowns++
			case a.replayed:
				replays++
			case fault.Is(a.err, fault.Conflict):
				conflicts++
			}
		}
	}
	t.Logf("%d seeds: %d attempts, %d acknowledged, %d unknown, %d replayed, %d conflicts (%d found while waiting), %d crashes", n, attempts, acks, unknowns, replays, conflicts, doomed, crashes)
}
