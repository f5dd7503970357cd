// Package simulate measures an order before anybody reads in it: how well it
// mixes, and what it costs a cache. It is pure: orders, sizes and a map from
// samples to units of storage go in, numbers come out.
//
// It predicts no throughput: what a read costs is measured, not simulated.
// Start at Measure.
package simulate

import (
	"math"
	"slices"

	"daos/internal/fault"
	"daos/loader/order"
)

// Limits: positions are kept, and units counted.
const (
	MaxPositions = 1 << 24
	MaxUnits     = 1 << 26
)

// Input is what is measured.
type Input struct {
	Order   order.Order
	Samples uint64   // that indices go to
	Start   uint64   // first position
	Count   uint64   // positions, at most MaxPositions
	Batch   uint64   // positions of a batch
	Classes []uint64 // samples of each class, which are contiguous; nil: none
	// Unit says in which unit of storage a sample lies, below Units: what a
	// cache keeps or drops as a whole. Nil: nothing is said of caches.
	Unit  func(sample uint64) uint64
	Units uint64
}

// Report is what was measured.
type Report struct {
	Positions uint64 `json:"positions"`
	// Coverage: different samples among the positions, and how often the one
	// that comes most often comes.
	Distinct    uint64 `json:"distinct"`
	MostRepeats uint64 `json:"most_repeats"`
	// Mixing. Displacement is how far samples stand from their own place, as a
	// share of all samples (a random order: 1/3 in the mean). Correlation is that
	// of neighbours in the order, near 0 when it is random; Near the share of
	// neighbours less than a hundredth of all samples apart (random: 0.02).
	MeanDisplacement float64 `json:"mean_displacement"`
	MaxDisplacement  float64 `json:"max_displacement"`
	Correlation      float64 `json:"neighbour_correlation"`
	Near             float64 `json:"near_neighbours"`
	Classes          *Mixing `json:"classes,omitempty"`
	Cache            *Cache  `json:"cache,omitempty"`
}

// Mixing says how classes follow each other.
type Mixing struct {
	MeanRun    float64 `json:"mean_run"` // positions of one class in a row
	LongestRun uint64  `json:"longest_run"`
	// Imbalance is by how much the classes of a batch are off from those of all:
	// total variation, 0 (the same proportions) to 1; mean and worst batch.
	Imbalance      float64 `json:"batch_imbalance"`
	WorstImbalance float64 `json:"worst_batch_imbalance"`
	Absent         float64 `json:"absent_classes"` // classes that a batch has nothing of, mean share
}

// Cache says what a cache of units has to hold.
type Cache struct {
	Touched    uint64  `json:"units_touched"` // different ones
	PerBatch   float64 `json:"units_per_batch"`
	PerHundred float64 `json:"units_per_100_batches"`
	Reuse      []Level `json:"hits"` // by size of the cache
	// WorkingUnits is the smallest cache that has 90 % of the hits that any has.
	WorkingUnits uint64 `json:"units_for_90_percent_of_hits"`
}

// Level is a cache that keeps what was used last.
type Level struct {
	Units   uint64  `json:"units"`
	Hits    float64 `json:"hit_share"` // of the reads
	Fetched uint64  `json:"units_fetched"`
}

// Measure walks the positions once.
func Measure(in *Input) (*Report, error) {
	if in.Count > MaxPositions || in.Units > MaxUnits {
		return nil, fault.New(fault.TooBig, "loader.simulate", "simulation", "%d positions and %d units, at most %d and %d", in.Count, in.Units, MaxPositions, MaxUnits)
	}
	if in.Start > in.Order.Len() || in.Count > in.Order.Len()-in.Start || in.Batch == 0 || in.Batch > 1<<40 {
		return nil, fault.New(fault.Invalid, "loader.simulate", "simulation", "%d positions from %d on, in batches of %d, of an order of %d", in.Count, in.Start, in.Batch, in.Order.Len())
	}
	drawn := make([]uint64, in.Count)
	in.Order.Fill(drawn, in.Start)
	r := &Report{Positions: in.Count}
	r.mixing(in, drawn)
	if len(in.Classes) > 0 {
		r.Classes = classes(in, drawn)
	}
	if in.Unit != nil && in.Units > 0 && in.Count > 0 {
		r.Cache = cache(in, drawn)
	}
	r.coverage(drawn)
	return r, nil
}

// coverage sorts drawn.
func (r *Report) coverage(drawn []uint64) {
	slices.Sort(drawn)
	run := uint64(0)
	for i, s := range drawn {
		if i == 0 || s != drawn[i-1] {
			r.Distinct++
			run = 0
		}
		run++
		r.MostRepeats = max(r.MostRepeats, run)
	}
}

func (r *Report) mixing(in *Input, drawn []uint64) {
	n := float64(max(in.Samples, 1))
	sum, near := 0.0, 0
	var sx, sy, sxx, syy, sxy float64
	for i, s := range drawn {
		d := math.Abs(float64(s) - float64(in.Start+uint64(i)))
		sum += d
		r.MaxDisplacement = max(r.MaxDisplacement, d/n)
		if i == 0 {
			continue
		}
		x, y := float64(drawn[i-1])/n-0.5, float64(s)/n-0.5
		sx, sy, sxx, syy, sxy = sx+x, sy+y, sxx+x*x, syy+y*y, sxy+x*y
		if math.Abs(x-y) < 0.01 {
			near++
		}
	}
	if len(drawn) > 0 {
		r.MeanDisplacement = sum / n / float64(len(drawn))
	}
	if m := float64(len(drawn) - 1); m > 0 {
		r.Near = float64(near) / m
		if v := (sxx - sx*sx/m) * (syy - sy*sy/m); v > 0 {
			r.Correlation = (sxy - sx*sy/m) / math.Sqrt(v)
		}
	}
}

func classes(in *Input, drawn []uint64) *Mixing {
	ends, sum := make([]uint64, len(in.Classes)), uint64(0)
	for i, n := range in.Classes {
		sum += n
		ends[i] = sum
	}
	m := &Mixing{}
	counts := make([]uint64, len(in.Classes))
	var seen []int // classes of the batch
	batches, runs, run, last := 0, 0, uint64(0), -1
	for i, s := range drawn {
		c, _ := slices.BinarySearch(ends, s+1)
		if c != last {
			runs, run, last = runs+1, 0, c
		}
		run++
		m.LongestRun = max(m.LongestRun, run)
		if counts[c] == 0 {
			seen = append(seen, c)
		}
		counts[c]++
		size := (uint64(i))%in.Batch + 1
		if size < in.Batch && i+1 < len(drawn) {
			continue
		}
		// Classes that are not in the batch are off by their whole share.
		off, here := 0.0, 0.0
		for _, c := range seen {
			share := float64(in.Classes[c]) / float64(sum)
			off += math.Abs(float64(counts[c])/float64(size) - share)
			here += share
			counts[c] = 0
		}
		off = (off + 1 - here) / 2
		m.Imbalance += off
		m.WorstImbalance = max(m.WorstImbalance, off)
		m.Absent += 1 - float64(len(seen))/float64(len(in.Classes))
		batches++
		seen = seen[:0]
	}
	if batches > 0 {
		m.Imbalance /= float64(batches)
		m.Absent /= float64(batches)
		m.MeanRun = float64(len(drawn)) / float64(runs)
	}
	return m
}

// cache counts, for each read, how many other units were used since its own was
// used last: a cache of that many units and one more, that drops what was not
// used for longest, has it still (Mattson et al., IBM Systems Journal 1970).
func cache(in *Input, drawn []uint64) *Cache {
	out := &Cache{}
	last := make([]uint32, in.Units)        // position of the last use, from 1 on
	marks := make(fenwick, len(drawn)+1)    // positions that are the last use of their unit
	distances := make([]uint64, in.Units+1) // reads by distance
	batch, hundred := &within{size: in.Batch}, &within{size: 100 * in.Batch}
	live := uint32(0)
	for i, s := range drawn {
		u, at := in.Unit(s), uint32(i+1)
		if l := last[u]; l > 0 {
			distances[live-marks.upTo(l)]++
			marks.add(l, -1)
			live--
		} else {
			out.Touched++
		}
		batch.use(uint64(i), last[u])
		hundred.use(uint64(i), last[u])
		last[u] = at
		marks.add(at, 1)
		live++
	}
	out.PerBatch, out.PerHundred = batch.mean(uint64(len(drawn))), hundred.mean(uint64(len(drawn)))
	hits := make([]uint64, out.Touched+1) // by size of the cache
	possible := uint64(len(drawn)) - out.Touched
	for k := uint64(1); k <= out.Touched; k++ {
		hits[k] = hits[k-1] + distances[k-1]
		if out.WorkingUnits == 0 && 10*hits[k] >= 9*possible {
			out.WorkingUnits = k
		}
	}
	previous := uint64(0)
	for _, percent := range []float64{1, 2, 5, 10, 25, 50, 75, 100} {
		k := max(uint64(math.Ceil(percent/100*float64(in.Units))), 1)
		if k == previous {
			continue
		}
		previous = k
		h := hits[min(k, out.Touched)]
		out.Reuse = append(out.Reuse, Level{Units: k, Hits: float64(h) / float64(len(drawn)), Fetched: uint64(len(drawn)) - h})
	}
	return out
}

// within counts the different units used in each stretch of size positions.
type within struct{ size, begin, used uint64 }

func (w *within) use(i uint64, last uint32) {
	if i%w.size == 0 {
		w.begin = i
	}
	if uint64(last) <= w.begin { // not used since: last counts from 1
		w.used++
	}
}

func (w *within) mean(positions uint64) float64 {
	return float64(w.used) / float64((positions+w.size-1)/w.size)
}

// fenwick counts marks up to a position, both in logarithmic time.
type fenwick []uint32

func (f fenwick) add(i uint32, d int32) {
	for ; int(i) < len(f); i += i & -i {
		f[i] += uint32(d)
	}
}

func (f fenwick) upTo(i uint32) (sum uint32) {
	for ; i > 0; i -= i & -i {
		sum += f[i]
	}
	return sum
}
