package placement_test

import (
	"hash/fnv"
	"math"
	"testing"

	"daos/engine/object"
	"daos/engine/placement"
	"daos/internal/fault"
)

// TestGolden holds the hash and the layout still: both are formats.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		oid   object.ID
		group uint16
		want  uint32
	}{
		{object.ID{}, 0, 0x568a9b0b},
		{object.MakeID(object.ClassS1, 1, 1), 0, 0x9df41f7a},
		{object.MakeID(object.ClassSX, 1, 1), 0, 0x2dbba943},
		{object.MakeID(object.ClassSX, 1, 1), 63, 0xdc132744},
		{object.ID{Hi: math.MaxUint64, Lo: math.MaxUint64}, 65535, 0x8d17ed3a},
	} {
		if got := placement.Hash32(c.oid, c.group); got != c.want {
			t.Errorf("hash of %v group %d: got %#08x, want %#08x", c.oid, c.group, got, c.want)
		}
	}
	for _, c := range []struct {
		name  string
		m     placement.Map
		slots int
		first [8]uint16
		sum   uint64
	}{
		{"4 equal", placement.Uniform(4), 1, [8]uint16{1, 0, 3, 0, 3, 0, 3, 3}, 0x1aa281f33f832272},
		{"cluster", cluster(6, 4), 3, [8]uint16{5, 23, 9, 0, 5, 12, 22, 10}, 0x9464d70f5a56f638},
	} {
		l, err := c.m.Compute(c.slots)
		if err != nil {
			t.Fatal(err)
		}
		h := fnv.New64a()
		var first [8]uint16
		for pg := range placement.Groups {
			for s := range c.slots {
				id := l.Member(pg, s)
				h.Write([]byte{byte(id >> 8), byte(id)})
				if n := pg*c.slots + s; n < 8 {
					first[n] = id
				}
			}
		}
		if first != c.first || h.Sum64() != c.sum {
			t.Errorf("%s: got %v, %#x", c.name, first, h.Sum64())
		}
	}
}

// cluster is a map of domains with targets of weight 1 to 3 in each.
func cluster(domains, targets int) placement.Map {
	m := placement.Map{Version: 1}
	for d := range domains {
		for i := range targets {
			m.Targets = append(m.Targets, placement.Target{ID: uint16(d*targets + i), Domain: uint32(d), Weight: uint32(1 + i%3)})
		}
	}
	return m
}

func compute(t *testing.T, m placement.Map, slots int) *placement.Layout {
	t.Helper()
	l, err := m.Compute(slots)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestBalanceAndMovement(t *testing.T) {
	const n = 8
	before := compute(t, placement.Uniform(n), 1)
	count := make([]int, n+1)
	for pg := range placement.Groups {
		count[before.Member(pg, 0)]++
	}
	for id, c := range count[:n] {
		if mean := placement.Groups / n; c < mean*6/10 || c > mean*14/10 {
			t.Errorf("target %d has %d groups, mean %d", id, c, mean)
		}
	}
	after := compute(t, placement.Uniform(n+1), 1)
	moved := 0
	for pg := range placement.Groups {
		if a, b := before.Member(pg, 0), after.Member(pg, 0); a != b {
			moved++
			if b != n {
				t.Fatalf("group %d moved from %d to %d, neither is new", pg, a, b)
			}
		}
	}
	if low, high := placement.Groups/(n+1)/2, placement.Groups/(n+1)*3/2; moved < low || moved > high {
		t.Errorf("%d groups moved, expected %d to %d", moved, low, high)
	}
	m := placement.Uniform(n)
	m.Targets[3].State = placement.Down
	down := compute(t, m, 1)
	for pg := range placement.Groups {
		if a, b := before.Member(pg, 0), down.Member(pg, 0); b == 3 || a != 3 && a != b {
			t.Fatalf("group %d: %d became %d when target 3 went down", pg, a, b)
		}
	}
}

func TestWeights(t *testing.T) {
	m := placement.Map{Version: 1, Targets: []placement.Target{{ID: 0, Weight: 1}, {ID: 1, Weight: 3}}}
	l := compute(t, m, 1)
	heavy := 0
	for pg := range placement.Groups {
		heavy += int(l.Member(pg, 0))
	}
	if share := float64(heavy) / placement.Groups; share < 0.70 || share > 0.80 {
		t.Fatalf("weight 3 of 4 got %.3f of the groups", share)
	}
}

func TestDistinctDomainsAndOverrides(t *testing.T) {
	m := cluster(6, 4)
	l := compute(t, m, 3)
	for pg := range placement.Groups {
		a, b, c := l.Member(pg, 0)/4, l.Member(pg, 1)/4, l.Member(pg, 2)/4
		if a == b || b == c || a == c {
			t.Fatalf("group %d lies twice in a domain: %d %d %d", pg, a, b, c)
		}
	}
	m.Overrides = []placement.Override{{Group: 7, Slot: 0, Target: 23}}
	if o := compute(t, m, 3); o.Member(7, 0) != 23 {
		t.Fatalf("override ignored: %d", o.Member(7, 0))
	}
	m.Targets[23].State = placement.Down
	if o := compute(t, m, 3); o.Member(7, 0) == 23 {
		t.Fatal("override to a target that is down")
	}
}

func TestBadMaps(t *testing.T) {
	for name, m := range map[string]placement.Map{
		"empty":    {},
		"twice":    {Targets: []placement.Target{{ID: 1, Weight: 1}, {ID: 1, Weight: 1}}},
		"down":     {Targets: []placement.Target{{ID: 1, Weight: 1, State: placement.Down}}},
		"override": {Targets: []placement.Target{{ID: 1, Weight: 1}}, Overrides: []placement.Override{{Group: 1, Target: 9}}},
	} {
		if _, err := m.Compute(1); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := placement.Uniform(4).Compute(2); !fault.Is(err, fault.Invalid) {
		t.Errorf("two shards in one domain: %v", err)
	}
}

func TestAnchors(t *testing.T) {
	for _, n := range []int{-1, 0, 1, 2, 3, 7, 1000, 1024, 5000} {
		next := uint64(0)
		for _, a := range placement.Split(n) {
			s, ok, err := placement.Decode(a)
			if err != nil || !ok || uint64(s.From) != next || s.To < s.From {
				t.Fatalf("%d anchors: %+v %v %v, expected to start at %d", n, s, ok, err, next)
			}
			next = uint64(s.To) + 1
		}
		if next != 1<<32 {
			t.Fatalf("%d anchors end at %d", n, next)
		}
	}
	for _, bad := range []object.Anchor{{1}, {2, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 0, 0, 0, 9, 0, 0, 0, 1}, make([]byte, 1<<20)} {
		if _, _, err := placement.Decode(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("anchor of %d bytes: %v", len(bad), err)
		}
	}
}

// FuzzAnchor: what Decode takes, Encode gives back.
func FuzzAnchor(f *testing.F) {
	f.Add([]byte(placement.Split(3)[1]))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok, err := placement.Decode(b)
		if err == nil && ok && b != nil && string(s.Encode()) != string(b) {
			t.Fatalf("%x became %x", b, s.Encode())
		}
	})
}
