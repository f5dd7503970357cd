package order_test

import (
	"reflect"
	"testing"

	"daos/internal/fault"
	"daos/loader/order"
)

const planFile = "testdata/plan.json"

// planVector is a plan and all that it says: for each rank its batches in
// order, as step, from, to, first, again.
type planVector struct {
	Start    uint64        `json:"start"`
	Samples  uint64        `json:"n"`
	Batch    uint64        `json:"batch"`
	Ranks    uint64        `json:"ranks"`
	Workers  uint64        `json:"workers"`
	DropLast bool          `json:"drop_last"`
	Uneven   order.Uneven  `json:"uneven"`
	Batches  [][][5]uint64 `json:"batches"` // [rank]
	Worker   [][]uint64    `json:"worker"`  // [rank] of each batch
}

func (v *planVector) plan() order.Plan {
	return order.Plan{Start: v.Start, Samples: v.Samples, Batch: v.Batch, Ranks: v.Ranks, Workers: v.Workers, DropLast: v.DropLast, Uneven: v.Uneven}
}

func (v *planVector) make(t *testing.T) planVector {
	p := v.plan()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	out := *v
	out.Batches, out.Worker = make([][][5]uint64, v.Ranks), make([][]uint64, v.Ranks)
	for r := range v.Ranks {
		out.Batches[r], out.Worker[r] = [][5]uint64{}, []uint64{}
		for step := range p.Steps() {
			if s, ok := p.At(step, r); ok {
				out.Batches[r] = append(out.Batches[r], [5]uint64{step, s.From, s.To, s.First, s.Again})
				out.Worker[r] = append(out.Worker[r], p.Worker(step))
			}
		}
	}
	return out
}

func TestVectorsOfPlans(t *testing.T) {
	if *update {
		var want []planVector
		for _, uneven := range []order.Uneven{order.Keep, order.Pad, order.Drop} {
			for _, c := range [][5]uint64{
				// start, n, batch, ranks, workers
				{0, 0, 4, 1, 1}, {0, 0, 4, 3, 2}, {0, 1, 4, 3, 1}, {0, 12, 4, 3, 1}, {0, 13, 4, 3, 2}, {0, 14, 4, 3, 1}, {0, 22, 4, 3, 3}, {24, 103, 8, 4, 3},
				{5, 5, 8, 2, 1}, {4, 5, 8, 4, 1}, {0, 2, 1, 5, 1}, {0, 3, 16, 7, 2}, {90, 100, 3, 2, 4}, {0, 100, 100, 1, 1}, {0, 101, 100, 1, 2},
			} {
				for _, drop := range []bool{false, true} {
					v := planVector{Start: c[0], Samples: c[1], Batch: c[2], Ranks: c[3], Workers: c[4], DropLast: drop, Uneven: uneven}
					want = append(want, v.make(t))
				}
			}
		}
		store(t, planFile, want)
	}
	var f struct{ Vectors []planVector }
	load(t, planFile, &f)
	if len(f.Vectors) < 90 {
		t.Fatalf("%d vectors", len(f.Vectors))
	}
	for i := range f.Vectors {
		if got := f.Vectors[i].make(t); !reflect.DeepEqual(got, f.Vectors[i]) {
			t.Fatalf("%+v, want %+v", got, f.Vectors[i])
		}
	}
}

func TestPlanReadsAllOnceAndInOrder(t *testing.T) {
	for n := uint64(0); n < 70; n++ {
		for _, ranks := range []uint64{1, 2, 3, 5} {
			for _, batch := range []uint64{1, 3, 8} {
				for _, start := range []uint64{0, n / 3, n} {
					checkPlan(t, order.Plan{Start: start, Samples: n, Batch: batch, Ranks: ranks, Workers: 2})
				}
			}
		}
	}
}

func checkPlan(t *testing.T, p order.Plan) {
	t.Helper()
	for _, p.Uneven = range []order.Uneven{order.Keep, order.Pad, order.Drop, ""} {
		next, again := p.Start, uint64(0)
		counts := make([]int, p.Ranks)
		for step := range p.Steps() {
			size := uint64(0)
			for r := range p.Ranks {
				s, ok := p.At(step, r)
				if !ok {
					continue
				}
				counts[r]++
				if s.From < s.To && s.From != next || s.Len() == 0 || s.Len() > p.Batch {
					t.Fatalf("%+v: step %d rank %d reads %+v, want from %d", p, step, r, s, next)
				}
				if s.Again > 0 && s.First != again {
					t.Fatalf("%+v: step %d rank %d repeats %+v, want from %d", p, step, r, s, again)
				}
				if size > 0 && s.Len() != size && p.Uneven != order.Keep && p.Uneven != "" {
					t.Fatalf("%+v: step %d has batches of %d and %d", p, step, size, s.Len())
				}
				size = s.Len()
				next += s.To - s.From
				again += s.Again
			}
		}
		left := p.Samples - next
		if r, l := p.Tail(); r != again || l != left {
			t.Fatalf("%+v: the tail is said to repeat %d and leave %d, it does %d and %d", p, r, l, again, left)
		}
		switch p.Uneven {
		case order.Keep, "":
			if left > 0 || again > 0 {
				t.Fatalf("%+v: %d are left, %d come again", p, left, again)
			}
			continue // ranks may have batches of different number
		case order.Pad:
			if left > 0 || again >= p.Ranks {
				t.Fatalf("%+v: %d are left, %d come again", p, left, again)
			}
		case order.Drop:
			if left >= p.Ranks || again > 0 {
				t.Fatalf("%+v: %d are left, %d come again", p, left, again)
			}
		}
		for _, c := range counts {
			if c != counts[0] {
				t.Fatalf("%+v: ranks get %v batches", p, counts)
			}
		}
		p.DropLast = true
		if want := (p.Samples - p.Start) / (p.Batch * p.Ranks); p.Steps() != want {
			t.Fatalf("%+v: %d whole steps, want %d", p, p.Steps(), want)
		}
		p.DropLast = false
	}
}

func TestBadPlans(t *testing.T) {
	for _, p := range []order.Plan{{}, {Batch: 1, Ranks: 1, Workers: 1, Start: 2, Samples: 1}, {Batch: 1 << 40, Ranks: 1, Workers: 1}, {Batch: 1, Ranks: 1, Workers: 1, Uneven: "skip"}} {
		if err := p.Check(); !fault.Is(err, fault.Invalid, fault.TooBig) {
			t.Fatalf("%+v is taken: %v", p, err)
		}
	}
}
