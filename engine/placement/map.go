package placement

import (
	"fmt"
	"math/bits"
	"slices"

	"daos/engine/object"
	"daos/internal/fault"
)

// State of a target in the map.
type State uint8

// A target that is Down holds its place in the tree, but is given nothing: its
// shards go to the next candidate of their slot.
const (
	Up   State = 0
	Down State = 1
)

// Target is a leaf of the tree.
type Target struct {
	ID     uint16
	Domain uint32 // fault domain that it lies in
	Weight uint32 // share of the data that it takes, relative to the others
	State  State
}

// Override puts one slot of one placement group on a target whatever its score.
type Override struct {
	Group  uint16
	Slot   uint8
	Target uint16
}

// Map is the pool map as far as placement is concerned: a value with a version.
type Map struct {
	Version   uint64
	Targets   []Target
	Overrides []Override
}

// Uniform is version 1 of a map of n equal targets in one fault domain.
func Uniform(n int) Map {
	m := Map{Version: 1}
	for i := range n {
		m.Targets = append(m.Targets, Target{ID: uint16(i), Weight: 1})
	}
	return m
}

func (m Map) check() error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "placement.map", fmt.Sprintf("pool map %d", m.Version), format, args...)
	}
	if len(m.Targets) == 0 {
		return bad("no targets")
	}
	seen := map[uint16]bool{}
	up := false
	for _, t := range m.Targets {
		if seen[t.ID] {
			return bad("target %d is listed twice", t.ID)
		}
		seen[t.ID] = true
		if t.State != Up && t.State != Down {
			return bad("target %d has an unknown state %d", t.ID, t.State)
		}
		up = up || t.State == Up && t.Weight > 0
	}
	if !up {
		return bad("no target is up")
	}
	for _, o := range m.Overrides {
		if int(o.Group) >= Groups || !seen[o.Target] {
			return bad("override of group %d names target %d", o.Group, o.Target)
		}
	}
	return nil
}

// Layout is a map computed: for each placement group and slot its target.
type Layout struct {
	Version uint64
	slots   int
	members []uint16
}

// Compute places `slots` shards of each placement group on targets of distinct
// fault domains. It is a function of the map alone.
func (m Map) Compute(slots int) (*Layout, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	ds := m.domains()
	up := 0
	for _, d := range ds {
		if d.up() {
			up++
		}
	}
	if slots < 1 || slots > up {
		return nil, fault.New(fault.Invalid, "placement.map", fmt.Sprintf("pool map %d", m.Version),
			"%d shards a group need as many fault domains, %d are up", slots, up).Do("use an object class with fewer shards or add fault domains")
	}
	over := map[[2]int]uint16{}
	for _, o := range m.Overrides {
		over[[2]int{int(o.Group), int(o.Slot)}] = o.Target
	}
	l := &Layout{Version: m.Version, slots: slots, members: make([]uint16, Groups*slots)}
	for pg := range Groups {
		used := map[uint32]bool{}
		for s := range slots {
			t, ok := Target{}, false
			if id, is := over[[2]int{pg, s}]; is {
				i := slices.IndexFunc(m.Targets, func(t Target) bool { return t.ID == id })
				t, ok = m.Targets[i], m.Targets[i].State == Up && !used[m.Targets[i].Domain]
			}
			if !ok {
				t = choose(ds, used, pg, s)
			}
			used[t.Domain] = true
			l.members[pg*slots+s] = t.ID
		}
	}
	return l, nil
}

// Target is the target of a slot of the placement group that a hash lies in.
func (l *Layout) Target(hash uint32, slot int) uint16 { return l.members[GroupOf(hash)*l.slots+slot] }

// Member is the target of a slot of a placement group.
func (l *Layout) Member(pg, slot int) uint16 { return l.members[pg*l.slots+slot] }

// domain is an inner node of the tree; its weight is that of all its targets,
// so that a target that goes down moves nothing between domains.
type domain struct {
	id      uint32
	weight  uint64
	targets []Target
}

func (d *domain) up() bool {
	return slices.ContainsFunc(d.targets, func(t Target) bool { return t.State == Up && t.Weight > 0 })
}

func (m Map) domains() []domain {
	var out []domain
	for _, t := range m.Targets {
		i := slices.IndexFunc(out, func(d domain) bool { return d.id == t.Domain })
		if i < 0 {
			out = append(out, domain{id: t.Domain})
			i = len(out) - 1
		}
		out[i].weight += uint64(t.Weight)
		out[i].targets = append(out[i].targets, t)
	}
	return out
}

func choose(ds []domain, used map[uint32]bool, pg, slot int) Target {
	var best *domain
	var bestScore score
	for i := range ds {
		d := &ds[i]
		if used[d.id] || !d.up() {
			continue
		}
		s := rate(domainSeed, uint64(d.id), pg, slot, d.weight)
		if best == nil || s.beats(bestScore) {
			best, bestScore = d, s
		}
	}
	var out Target
	found := false
	for _, t := range best.targets {
		if t.State != Up || t.Weight == 0 {
			continue
		}
		s := rate(targetSeed, uint64(t.ID), pg, slot, uint64(t.Weight))
		if !found || s.beats(bestScore) {
			out, bestScore, found = t, s, true
		}
	}
	return out
}

const (
	domainSeed = 0x646f6d61696e0000 // "domain"
	targetSeed = 0x7461726765740000 // "target"
)

// score is weight / -log2(u) for a hash u in (0, 1): the winner's share of all
// groups is its share of the weight.
type score struct {
	weight, log uint64 // log: -log2(u) with 32 binary places
	id          uint64
}

func rate(seed, id uint64, pg, slot int, weight uint64) score {
	h := object.Mix64(seed ^ id*golden)
	h = object.Mix64(h ^ uint64(pg)<<8 ^ uint64(slot))
	return score{weight, negLog2(h | 1), id}
}

// beats compares weight/log as a cross product; the lower id wins a tie.
func (a score) beats(b score) bool {
	ahi, alo := bits.Mul64(a.weight, b.log)
	bhi, blo := bits.Mul64(b.weight, a.log)
	switch {
	case ahi != bhi:
		return ahi > bhi
	case alo != blo:
		return alo > blo
	}
	return a.id < b.id
}

// negLog2 is 64 - log2(h) with 32 binary places, by squaring, in integers: the
// same in every language.
func negLog2(h uint64) uint64 {
	lz := bits.LeadingZeros64(h)
	m := h << lz
	log := uint64(63 - lz)
	for range 32 {
		hi, lo := bits.Mul64(m, m)
		log <<= 1
		if hi>>63 == 1 {
			log |= 1
			m = hi
		} else {
			m = hi<<1 | lo>>63
		}
	}
	return 64<<32 - log
}
