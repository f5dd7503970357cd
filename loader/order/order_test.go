package order_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"daos/internal/fault"
	"daos/loader/order"
)

func take(t testing.TB, o order.Order, from, to uint64) []uint64 {
	t.Helper()
	v := make([]uint64, to-from)
	o.Fill(v, from)
	return v
}

func newOrder(t testing.TB, s order.Spec, n uint64, g *order.Groups) order.Order {
	t.Helper()
	o, err := s.New(n, g)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func shuffleOf(t testing.TB, n, seed, pass uint64) order.Inverse {
	return newOrder(t, order.Spec{Kind: order.Shuffle, Seed: seed, Pass: pass}, n, nil).(order.Inverse)
}

// classes divides n samples into four classes, one of them empty.
func classes(n uint64) *order.Groups {
	return &order.Groups{Sizes: []uint64{n / 2, 0, n / 3, n - n/2 - n/3}}
}

// bijections are specs of orders in which every sample comes once.
func bijections() []order.Spec {
	specs := []order.Spec{{Kind: order.Sequential}, {Kind: order.Shuffle}, {Kind: order.Stratified}}
	for _, b := range []uint64{1, 2, 7, 16, 100, 1 << 40} {
		specs = append(specs, order.Spec{Kind: order.Block, Params: order.Params{Block: b}})
	}
	for _, p := range []order.Params{{Window: 4}, {Window: 5}, {Window: 16}, {Window: 17, Block: 5}, {Window: 64, Block: 1}, {Window: 1 << 40}, {Window: 8, Block: 1 << 40}} {
		specs = append(specs, order.Spec{Kind: order.Window, Params: p})
	}
	return specs
}

func TestOrdersAreBijectionsThatCanBeginAnywhere(t *testing.T) {
	for _, s := range bijections() {
		for n := uint64(0); n < 260; n++ {
			s.Seed, s.Pass = 5, n%7
			o := newOrder(t, s, n, classes(n)).(order.Inverse)
			all := take(t, o, 0, n)
			seen := make([]bool, n)
			for x, y := range all {
				if y >= n || seen[y] {
					t.Fatalf("%+v of %d: %d comes twice or is out of range", s, n, y)
				}
				seen[y] = true
				if p := o.Position(y); p != uint64(x) {
					t.Fatalf("%+v of %d: the inverse of %d is %d, want %d", s, n, y, p, x)
				}
			}
			for from := uint64(0); from < n; from += 1 + n/5 {
				if to := min(from+9, n); !slices.Equal(take(t, o, from, to), all[from:to]) {
					t.Fatalf("%+v of %d: positions %d to %d are not those of the whole", s, n, from, to)
				}
			}
		}
	}
}

func TestOrdersOfManySamples(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	for _, s := range bijections() {
		for range 50 {
			n := 1 + rnd.Uint64()>>(2+rnd.UintN(40))
			if s.Kind == order.Stratified {
				n = 1 + n%(1<<32-1)
			}
			s.Seed, s.Pass = rnd.Uint64(), rnd.Uint64()
			o := newOrder(t, s, n, classes(n)).(order.Inverse)
			for _, x := range []uint64{0, n - 1, n / 2, rnd.Uint64N(n)} {
				y := take(t, o, x, x+1)[0]
				if y >= n || o.Position(y) != x {
					t.Fatalf("seed %d: %+v of %d: %d goes to %d and back to %d", seed, s, n, x, y, o.Position(y))
				}
			}
		}
	}
}

func TestWindowReadsWithinItsWindow(t *testing.T) {
	for _, w := range []uint64{4, 5, 10, 64} {
		for _, n := range []uint64{1, 5, 63, 64, 65, 1000} {
			o := newOrder(t, order.Spec{Kind: order.Window, Seed: 3, Params: order.Params{Window: w}}, n, nil)
			half := w / 2
			low, moved := uint64(0), 0
			for x, y := range take(t, o, 0, n) {
				if d := max(y, uint64(x)) - min(y, uint64(x)); d >= w {
					t.Fatalf("window %d of %d: sample %d stands at %d", w, n, y, x)
				}
				// The lower end only moves on: two groups of half a window.
				if at := (uint64(x) + half - half/2) / half * half; at >= half {
					low = max(low, at-half)
				}
				if y < low || y >= low+2*half && low+2*half <= n {
					t.Fatalf("window %d of %d: sample %d at %d is not from %d on", w, n, y, x, low)
				}
				if y != uint64(x) {
					moved++
				}
			}
			if w > 5 && n > 60 && moved < int(n)/2 {
				t.Fatalf("window %d of %d: only %d samples moved", w, n, moved)
			}
		}
	}
}

func TestBlocksStayTogether(t *testing.T) {
	const n, size = 1003, 10
	all := take(t, newOrder(t, order.Spec{Kind: order.Block, Seed: 1, Params: order.Params{Block: size}}, n, nil), 0, n)
	changes, first := 0, []uint64{}
	for x, y := range all {
		if x == 0 || all[x-1]/size != y/size {
			changes++
			first = append(first, y/size)
		}
	}
	if changes != 101 || slices.IsSorted(first) {
		t.Fatalf("%d blocks are read, in the order %v", changes, first[:8])
	}
}

func TestOrdersAreCloseToUniform(t *testing.T) {
	const n, passes = 16, 4000
	for _, s := range []order.Spec{{Kind: order.Shuffle}, {Kind: order.Block, Params: order.Params{Block: 16}}, {Kind: order.Block, Params: order.Params{Block: 1}}, {Kind: order.Window, Params: order.Params{Window: 32}}} {
		var counts [n][n]float64
		for p := range uint64(passes) {
			s.Seed, s.Pass = 9, p
			for x, y := range take(t, newOrder(t, s, n, nil), 0, n) {
				counts[x][y]++
			}
		}
		chi2 := 0.0
		for _, row := range counts {
			for _, c := range row {
				chi2 += (c - passes/n) * (c - passes/n) / (passes / n)
			}
		}
		free := float64((n - 1) * (n - 1))
		if math.Abs(chi2-free) > 6*math.Sqrt(2*free) {
			t.Fatalf("%+v: chi squared %f for %f degrees of freedom", s, chi2, free)
		}
	}
}

// TestStrata: any stretch has the classes in their proportions. At a node of
// the tree a stretch is off by less than 1, and by less than its share of what
// its parent is off: so the bound of a class is 1 + r*(1 + r'*(...)).
func TestStrata(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 2))
	for k := range 60 {
		sizes := make([]uint64, 1+rnd.IntN(9))
		n := uint64(0)
		for i := range sizes {
			if sizes[i] = rnd.Uint64N(1 << rnd.UintN(8)); k == 0 {
				sizes[i] = 5
			}
			n += sizes[i]
		}
		if n == 0 {
			continue
		}
		bound := 4.0
		if nonEmpty := slices.DeleteFunc(slices.Clone(sizes), func(s uint64) bool { return s == 0 }); len(nonEmpty) <= 2 {
			bound = 1
		} else if k == 0 {
			bound = 2
		}
		class := make([]int, 0, n)
		for c, s := range sizes {
			for range s {
				class = append(class, c)
			}
		}
		o := newOrder(t, order.Spec{Kind: order.Stratified, Seed: rnd.Uint64()}, n, &order.Groups{Sizes: sizes})
		// What a stretch is off is the difference of two prefixes.
		least, most, sum := make([]float64, len(sizes)), make([]float64, len(sizes)), make([]float64, len(sizes))
		for x, y := range take(t, o, 0, n) {
			sum[class[y]]++
			for c := range sizes {
				off := sum[c] - float64(x+1)*float64(sizes[c])/float64(n)
				least[c], most[c] = min(least[c], off), max(most[c], off)
				if d := max(off-least[c], most[c]-off); d > bound+1e-9 {
					t.Fatalf("seed %d: sizes %v: class %d is %f off in a stretch that ends at %d", seed, sizes, c, d, x)
				}
			}
		}
	}
}

func TestDraws(t *testing.T) {
	g := &order.Groups{Sizes: []uint64{10, 0, 1000, 5}, Weights: []uint64{1, 0, 2, 5}}
	const n = 80000
	o := newOrder(t, order.Spec{Kind: order.Weighted, Seed: 4, Params: order.Params{Samples: n}}, 1015, g)
	counts := make([]float64, 1015)
	for _, y := range take(t, o, 0, n) {
		counts[y]++
	}
	sums := []float64{0, 0, 0}
	for i, c := range counts {
		switch {
		case i < 10:
			sums[0] += c
		case i < 1010:
			sums[1] += c
		default:
			sums[2] += c
		}
		want := []float64{1000, 20, 10000}[map[bool]int{i < 10: 0, i >= 10 && i < 1010: 1, i >= 1010: 2}[true]]
		if math.Abs(c-want) > 6*math.Sqrt(want) {
			t.Errorf("sample %d is drawn %f times, want about %f", i, c, want)
		}
	}
	if sums[0] < 9400 || sums[0] > 10600 || sums[2] < 49000 {
		t.Errorf("classes are drawn %v times", sums)
	}
	each := &order.Groups{Weights: []uint64{0, 3, 0, 1}}
	o = newOrder(t, order.Spec{Kind: order.Weighted, Params: order.Params{Samples: 4000}}, 4, each)
	ones := 0
	for _, y := range take(t, o, 0, 4000) {
		if y != 1 && y != 3 {
			t.Fatalf("sample %d has weight 0", y)
		}
		ones += int(y & 2 >> 1)
	}
	if ones < 850 || ones > 1150 {
		t.Errorf("sample 3 is drawn %d times of 4000", ones)
	}
}

func TestQuantise(t *testing.T) {
	for _, c := range []struct{ in, want []float64 }{
		{[]float64{3, 0, 1}, []float64{3, 0, 1}},
		{[]float64{0.5, 0.25}, []float64{1 << 32 * 0.5, 1 << 30}},
		{[]float64{0.75, 1e-30}, []float64{3 << 30, 0}},
	} {
		got, err := order.Quantise(c.in, 32)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range c.want {
			if r := float64(got[i]) / float64(got[0]); got[0] == 0 || math.Abs(r-w/c.want[0]) > 1e-9 {
				t.Errorf("%v: %v", c.in, got)
			}
		}
	}
	for _, bad := range [][]float64{{}, {0}, {-1, 2}, {math.NaN()}, {math.Inf(1)}} {
		if _, err := order.Quantise(bad, 32); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestMixture(t *testing.T) {
	sizes, weights := []uint64{3, 50, 7}, []uint64{2, 5, 0}
	m, err := order.NewMixture(sizes, weights, 8)
	if err != nil {
		t.Fatal(err)
	}
	var seen [3][]uint64
	for x := range uint64(7000) {
		p, s := m.At(x)
		if s >= sizes[p] {
			t.Fatalf("draw %d is sample %d of part %d", x, s, p)
		}
		seen[p] = append(seen[p], s)
		if off := float64(len(seen[0])) - float64(x+1)*2/7; math.Abs(off) > 1 {
			t.Fatalf("part 0 is %f off after %d draws", off, x+1)
		}
	}
	for p := range 2 { // each internal pass has every sample once, and no two are alike
		prev := []uint64(nil)
		for at := 0; at+int(sizes[p]) <= len(seen[p]); at += int(sizes[p]) {
			pass := seen[p][at : at+int(sizes[p])]
			if sorted := slices.Sorted(slices.Values(pass)); sorted[0] != 0 || len(slices.Compact(sorted)) != int(sizes[p]) {
				t.Fatalf("internal pass %v of part %d", pass, p)
			}
			if p == 1 && slices.Equal(prev, pass) {
				t.Fatal("an internal pass repeats the one before")
			}
			prev = pass
		}
	}
	for _, bad := range [][2][]uint64{{{}, {}}, {{1}, {0}}, {{0}, {1}}, {{1, 2}, {1}}, {{1}, {1 << 32}}} {
		if _, err := order.NewMixture(bad[0], bad[1], 0); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestBadSpecs(t *testing.T) {
	for _, c := range []struct {
		s    order.Spec
		g    *order.Groups
		kind fault.Kind
	}{
		{order.Spec{Kind: "riffle"}, nil, fault.Unsupported},
		{order.Spec{Kind: order.Shuffle, Version: 2}, nil, fault.Unsupported},
		{order.Spec{Kind: ""}, nil, fault.Unsupported},
		{order.Spec{Kind: order.Shuffle, Params: order.Params{Block: 1}}, nil, fault.Invalid},
		{order.Spec{Kind: order.Block}, nil, fault.Invalid},
		{order.Spec{Kind: order.Window, Params: order.Params{Window: 3}}, nil, fault.Invalid},
		{order.Spec{Kind: order.Window, Params: order.Params{Window: 1 << 63}}, nil, fault.Invalid},
		{order.Spec{Kind: order.Stratified}, nil, fault.Invalid},
		{order.Spec{Kind: order.Stratified}, &order.Groups{Sizes: []uint64{9}}, fault.Invalid},
		{order.Spec{Kind: order.Stratified}, &order.Groups{Sizes: []uint64{9, math.MaxUint64}}, fault.Invalid},
		{order.Spec{Kind: order.Stratified, Params: order.Params{Strata: "0123456789abcdef"}}, &order.Groups{Sizes: []uint64{10}}, fault.Conflict},
		{order.Spec{Kind: order.Weighted}, &order.Groups{Weights: []uint64{1}}, fault.Invalid},
		{order.Spec{Kind: order.Weighted}, &order.Groups{Weights: make([]uint64, 10)}, fault.Invalid},
		{order.Spec{Kind: order.Weighted}, &order.Groups{Sizes: []uint64{10, 0}, Weights: []uint64{1, 1}}, fault.Invalid},
		{order.Spec{Kind: order.Weighted}, &order.Groups{Sizes: []uint64{10}, Weights: []uint64{1 << 63}}, fault.Invalid},
	} {
		if _, err := c.s.New(10, c.g); !fault.Is(err, c.kind) {
			t.Errorf("%+v: %v", c.s, err)
		}
	}
	if _, err := (order.Spec{Kind: order.Shuffle}).New(order.MaxSamples+1, nil); !fault.Is(err, fault.TooBig) {
		t.Error(err)
	}
	if _, err := (order.Spec{Kind: order.Stratified}).New(1<<32, &order.Groups{Sizes: []uint64{1 << 32}}); !fault.Is(err, fault.TooBig) {
		t.Error(err)
	}
}

func BenchmarkFill(b *testing.B) {
	const n = 10_000_000
	sizes := make([]uint64, 1000)
	for i := range sizes {
		sizes[i] = n / 1000
	}
	for _, s := range []order.Spec{
		{Kind: order.Shuffle}, {Kind: order.Block, Params: order.Params{Block: 4096}}, {Kind: order.Window, Params: order.Params{Window: 65536, Block: 256}}, {Kind: order.Stratified},
	} {
		b.Run(fmt.Sprint(s.Kind), func(b *testing.B) {
			o := newOrder(b, s, n, &order.Groups{Sizes: sizes})
			dst := make([]uint64, 8192)
			b.SetBytes(8 * int64(len(dst)))
			for i := 0; b.Loop(); i++ {
				o.Fill(dst, uint64(i*len(dst))%9_000_000)
			}
		})
	}
}
