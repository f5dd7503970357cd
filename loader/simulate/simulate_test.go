package simulate_test

import (
	"math"
	"slices"
	"testing"

	"daos/internal/fault"
	"daos/loader/order"
	"daos/loader/simulate"
)

const n = 20000

func measure(t testing.TB, s order.Spec, g *order.Groups) *simulate.Report {
	t.Helper()
	o, err := s.New(n, g)
	if err != nil {
		t.Fatal(err)
	}
	in := &simulate.Input{
		Order: o, Samples: n, Count: o.Len(), Batch: 50, Classes: []uint64{n / 2, n / 4, n / 4},
		Unit: func(s uint64) uint64 { return s / 100 }, Units: n / 100,
	}
	r, err := simulate.Measure(in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func close(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tolerance {
		t.Errorf("%s is %f, want %f", what, got, want)
	}
}

func TestSequential(t *testing.T) {
	r := measure(t, order.Spec{Kind: order.Sequential}, nil)
	if r.Positions != n || r.Distinct != n || r.MostRepeats != 1 || r.MaxDisplacement != 0 || r.MeanDisplacement != 0 || r.Near != 1 {
		t.Errorf("%+v", r)
	}
	close(t, "correlation", r.Correlation, 1, 1e-6)
	if c := r.Classes; c.LongestRun != n/2 || c.MeanRun != float64(n)/3 {
		t.Errorf("%+v", c)
	}
	close(t, "imbalance", r.Classes.Imbalance, (0.5*0.5 + 0.5*0.75), 1e-9)
	close(t, "absent", r.Classes.Absent, 2.0/3, 1e-9)
	c := r.Cache
	if c.Touched != n/100 || c.WorkingUnits != 1 || c.PerBatch != 1 || c.PerHundred != 50 {
		t.Errorf("%+v", c)
	}
	if l := c.Reuse[0]; l.Units != 2 || l.Fetched != n/100 {
		t.Errorf("%+v", l)
	}
}

func TestShuffle(t *testing.T) {
	r := measure(t, order.Spec{Kind: order.Shuffle, Seed: 1}, nil)
	close(t, "displacement", r.MeanDisplacement, 1.0/3, 0.01)
	close(t, "correlation", r.Correlation, 0, 0.03)
	close(t, "near", r.Near, 0.02, 0.005)
	close(t, "run", r.Classes.MeanRun, 1/(1-(0.25+2*0.0625)), 0.03)
	if r.Classes.Imbalance > 0.15 || r.Classes.Imbalance < 0.03 {
		t.Errorf("%+v", r.Classes)
	}
	for _, l := range r.Cache.Reuse { // a cache of a share of the units has that share of the reads
		close(t, "hits", l.Hits, float64(l.Units)/(n/100)*(1-100.0/n), 0.02)
	}
}

func TestBlocksAndWindowsNeedSmallCaches(t *testing.T) {
	r := measure(t, order.Spec{Kind: order.Block, Params: order.Params{Block: 100}}, nil)
	if r.Cache.WorkingUnits != 1 || r.Cache.Reuse[0].Fetched != n/100 {
		t.Errorf("%+v", r.Cache)
	}
	w := measure(t, order.Spec{Kind: order.Window, Params: order.Params{Window: 1000}}, nil)
	if w.Cache.WorkingUnits > 10 || w.MaxDisplacement > 1000.0/n || w.Cache.PerBatch < 5 {
		t.Errorf("%+v %+v", w, w.Cache)
	}
}

func TestStrataAndDraws(t *testing.T) {
	sizes := []uint64{n / 2, n / 4, n / 4}
	s := measure(t, order.Spec{Kind: order.Stratified}, &order.Groups{Sizes: sizes})
	if s.Classes.WorstImbalance > 0.04 || s.Distinct != n {
		t.Errorf("%+v", s.Classes)
	}
	d := measure(t, order.Spec{Kind: order.Weighted, Params: order.Params{Samples: 2 * n}}, &order.Groups{Sizes: sizes, Weights: []uint64{1, 0, 0}})
	if d.Positions != 2*n || d.Distinct > n/2 || d.MostRepeats < 8 || d.Classes.LongestRun != 2*n {
		t.Errorf("%+v", d)
	}
}

// TestDistances compares with a cache that is simulated word for word.
func TestDistances(t *testing.T) {
	o, err := order.Spec{Kind: order.Window, Seed: 3, Params: order.Params{Window: 300, Block: 7}}.New(2000, nil)
	if err != nil {
		t.Fatal(err)
	}
	unit := func(s uint64) uint64 { return s * s % 23 }
	r, err := simulate.Measure(&simulate.Input{Order: o, Samples: 2000, Count: 2000, Batch: 10, Unit: unit, Units: 23})
	if err != nil {
		t.Fatal(err)
	}
	drawn := make([]uint64, 2000)
	o.Fill(drawn, 0)
	for _, l := range r.Cache.Reuse {
		var lru []uint64
		misses := uint64(0)
		for _, s := range drawn {
			u := unit(s)
			if i := slices.Index(lru, u); i >= 0 {
				lru = slices.Delete(lru, i, i+1)
			} else if misses++; uint64(len(lru)) == l.Units {
				lru = lru[1:]
			}
			lru = append(lru, u)
		}
		if misses != l.Fetched {
			t.Errorf("%d units: %d are fetched, want %d", l.Units, l.Fetched, misses)
		}
	}
	units := 0
	for at := 0; at < 2000; at += 10 {
		seen := map[uint64]bool{}
		for _, s := range drawn[at : at+10] {
			seen[unit(s)] = true
		}
		units += len(seen)
	}
	close(t, "units per batch", r.Cache.PerBatch, float64(units)/200, 1e-9)
}

func TestBounds(t *testing.T) {
	o, err := order.Spec{Kind: order.Sequential}.New(10, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []simulate.Input{
		{Order: o, Count: 11, Batch: 1}, {Order: o, Start: 5, Count: 6, Batch: 1}, {Order: o, Start: 11, Batch: 1}, {Order: o, Count: 1},
		{Order: o, Count: simulate.MaxPositions + 1, Batch: 1}, {Order: o, Count: 1, Batch: 1, Units: simulate.MaxUnits + 1},
	} {
		if _, err := simulate.Measure(&in); !fault.Is(err, fault.Invalid, fault.TooBig) {
			t.Errorf("%+v: %v", in, err)
		}
	}
	r, err := simulate.Measure(&simulate.Input{Order: o, Batch: 5, Classes: []uint64{10}, Unit: func(uint64) uint64 { return 0 }, Units: 1})
	if err != nil || r.Positions != 0 || math.IsNaN(r.MeanDisplacement+r.Classes.MeanRun) {
		t.Errorf("%+v, %v", r, err)
	}
}
