package order

import (
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"sort"

	"daos/engine/object"
	"daos/internal/fault"
)

// Groups are the classes of what is ordered, or its single samples: what
// weighted and stratified orders go by.
type Groups struct {
	// Sizes are the samples of each class; classes lie one behind the other in
	// the index space. Nil: every sample is a group of its own.
	Sizes []uint64
	// Weights are the weights of each group, for weighted orders: their sum is
	// from 1 to 2^63-1.
	Weights []uint64
}

// Digest is what a token has of g: 16 hex digits.
func (g *Groups) Digest(k Kind) string {
	h := sha256.New()
	word := func(v uint64) { h.Write(binary.LittleEndian.AppendUint64(nil, v)) }
	switch {
	case k == Stratified:
		h.Write([]byte("stratified:classes\x00"))
		for _, s := range g.Sizes {
			word(s)
		}
	case g.Sizes != nil:
		h.Write([]byte("weighted:classes\x00"))
		for i, s := range g.Sizes {
			word(s)
			word(g.Weights[i])
		}
	default:
		h.Write([]byte("weighted:samples\x00"))
		for _, w := range g.Weights {
			word(w)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (g *Groups) check(k Kind, n uint64) error {
	invalid := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "loader.order", string(k), format, args...)
	}
	if g.Sizes != nil || k == Stratified {
		sum := uint64(0)
		for _, s := range g.Sizes {
			if s > n-sum {
				return invalid("the classes have more samples than there are (%d)", n)
			}
			sum += s
		}
		if sum != n {
			return invalid("the classes have %d samples together, and there are %d", sum, n)
		}
	}
	if k == Stratified {
		if n >= 1<<32 {
			return fault.New(fault.TooBig, "loader.order", string(k), "%d samples, a stratified order has less than 2^32", n)
		}
		return nil
	}
	if g.Sizes == nil && uint64(len(g.Weights)) != n || g.Sizes != nil && len(g.Weights) != len(g.Sizes) {
		return invalid("%d weights", len(g.Weights)).(*fault.Error).Do("give one for each sample, or for each class")
	}
	sum := uint64(0)
	for i, w := range g.Weights {
		if w > math.MaxInt64-sum {
			return invalid("the weights sum up to 2^63 or more").(*fault.Error).Do("divide them by a common number")
		}
		if w > 0 && g.Sizes != nil && g.Sizes[i] == 0 {
			return invalid("class %d has a weight and no samples", i)
		}
		sum += w
	}
	if sum == 0 {
		return invalid("no weight above 0: nothing could be drawn")
	}
	return nil
}

// Quantise makes weights whole numbers: as they are if they all are whole and
// below 2^53, else rounded to so many bits of the largest. The scale is a
// power of two, so that every machine gets the same.
func Quantise(weights []float64, bits int) ([]uint64, error) {
	largest, whole := 0.0, true
	for _, w := range weights {
		if math.IsNaN(w) || math.IsInf(w, 0) || w < 0 {
			return nil, fault.New(fault.Invalid, "loader.order", "weights", "weight %v is not a finite number from 0 on", w)
		}
		largest = max(largest, w)
		whole = whole && w == math.Trunc(w) && w < 1<<53
	}
	if largest == 0 {
		return nil, fault.New(fault.Invalid, "loader.order", "weights", "no weight above 0: nothing could be drawn")
	}
	_, e := math.Frexp(largest)
	out := make([]uint64, len(weights))
	for i, w := range weights {
		if whole {
			out[i] = uint64(w)
		} else {
			out[i] = uint64(math.RoundToEven(math.Ldexp(w, bits-e)))
		}
	}
	return out, nil
}

// draws is sampling with replacement: what stands at a position is drawn by
// weight, independently of the others.
type draws struct {
	n      uint64
	key    uint64
	ends   []uint64 // cumulative weights
	starts []uint64 // first sample of each class; nil: group = sample
	sizes  []uint64
}

func newDraws(n uint64, g *Groups, key uint64) *draws {
	d := &draws{n: n, key: object.Mix64(key ^ tagDraw), ends: make([]uint64, len(g.Weights)), sizes: g.Sizes}
	sum := uint64(0)
	for i, w := range g.Weights {
		sum += w
		d.ends[i] = sum
	}
	if g.Sizes != nil {
		d.starts = startsOf(g.Sizes)
	}
	return d
}

func startsOf(sizes []uint64) []uint64 {
	out, sum := make([]uint64, len(sizes)), uint64(0)
	for i, s := range sizes {
		out[i] = sum
		sum += s
	}
	return out
}

func (d *draws) Len() uint64 { return d.n }

func (d *draws) Fill(dst []uint64, start uint64) {
	total := d.ends[len(d.ends)-1]
	for i := range dst {
		u := object.Mix64(d.key + (start+uint64(i)+1)*golden)
		t := mulhi(u, total)
		g := sort.Search(len(d.ends), func(k int) bool { return d.ends[k] > t })
		dst[i] = uint64(g)
		if d.starts != nil {
			dst[i] = d.starts[g] + mulhi(object.Mix64(u+golden), d.sizes[g])
		}
	}
}

// Interleave puts sequences into one so that every stretch has them in their
// proportions: a Huffman tree over their sizes, at each node of which left and
// right come as evenly as the pixels of Bresenham's line. The pattern repeats
// after Total elements.
type Interleave struct {
	leaves []uint64
	nodes  []node
	up     []int // parent of a leaf or node, -1 for the root
	root   int
	Total  uint64
}

// node joins two sequences: numbers below len(leaves) are leaves.
type node struct {
	left, right int
	size, all   uint64 // of the left one, of both
}

type tip struct {
	size   uint64
	number int
}

type tips []tip

func (t tips) Len() int      { return len(t) }
func (t tips) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *tips) Push(x any)   { *t = append(*t, x.(tip)) }
func (t *tips) Pop() any {
	x := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return x
}

func (t tips) Less(i, j int) bool {
	return t[i].size < t[j].size || t[i].size == t[j].size && t[i].number < t[j].number
}

// NewInterleave makes the interleaving of sequences of so many elements, less
// than 2^32 together.
func NewInterleave(sizes []uint64) (*Interleave, error) {
	v := &Interleave{leaves: sizes, root: -1}
	var h tips
	for i, s := range sizes {
		if s >= 1<<32-v.Total {
			return nil, fault.New(fault.TooBig, "loader.order", "interleave", "sequences of 2^32 elements or more can't be interleaved")
		}
		v.Total += s
		if s > 0 {
			h = append(h, tip{s, i})
		}
	}
	if v.Total == 0 {
		return v, nil
	}
	heap.Init(&h)
	for h.Len() > 1 {
		l, r := heap.Pop(&h).(tip), heap.Pop(&h).(tip)
		v.nodes = append(v.nodes, node{l.number, r.number, l.size, l.size + r.size})
		heap.Push(&h, tip{l.size + r.size, len(sizes) + len(v.nodes) - 1})
	}
	v.root = h[0].number
	v.up = make([]int, len(sizes)+len(v.nodes))
	v.up[v.root] = -1
	for i, n := range v.nodes {
		v.up[n.left], v.up[n.right] = len(sizes)+i, len(sizes)+i
	}
	return v, nil
}

// shift is where the line of a node begins, a function of the key.
func (v *Interleave) shift(key uint64, number int) uint64 {
	return mulhi(sub(key, tagNode, uint64(number)), v.nodes[number-len(v.leaves)].all)
}

// At says which sequence stands at a position below Total, and which element
// of it.
func (v *Interleave) At(p, key uint64) (which int, k uint64) {
	at := v.root
	for at >= len(v.leaves) {
		n := &v.nodes[at-len(v.leaves)]
		line := p*n.size + v.shift(key, at)
		before := line / n.all
		if line-before*n.all+n.size >= n.all {
			at, p = n.left, before
		} else {
			at, p = n.right, p-before
		}
	}
	return at, p
}

// Position is where element k of a sequence stands, the inverse of At.
func (v *Interleave) Position(which int, k, key uint64) uint64 {
	for at, up := which, v.up[which]; up >= 0; at, up = up, v.up[up] {
		n := &v.nodes[up-len(v.leaves)]
		o := v.shift(key, up)
		if at == n.left {
			k = ((k+1)*n.all-o+n.size-1)/n.size - 1
		} else {
			k = (k*n.all + o) / (n.all - n.size)
		}
	}
	return k
}

// strata interleaves the classes in their proportions and walks each by a
// bijection of its own.
type strata struct {
	n, key   uint64
	v        *Interleave
	classes  []bijection
	starts   []uint64
	nonEmpty []int // classes that have samples
}

func newStrata(n uint64, g *Groups, key uint64) (*strata, error) {
	v, err := NewInterleave(g.Sizes)
	if err != nil {
		return nil, err
	}
	s := &strata{n: n, key: key, v: v, starts: startsOf(g.Sizes)}
	for c, m := range g.Sizes {
		s.classes = append(s.classes, newBijection(m, sub(key, tagClass, uint64(c))))
		if m > 0 {
			s.nonEmpty = append(s.nonEmpty, c)
		}
	}
	return s, nil
}

func (s *strata) Len() uint64 { return s.n }

func (s *strata) Fill(dst []uint64, start uint64) {
	for i := range dst {
		c, k := s.v.At(start+uint64(i), s.key)
		dst[i] = s.starts[c] + s.classes[c].forward(k)
	}
}

func (s *strata) Position(y uint64) uint64 {
	at := sort.Search(len(s.nonEmpty), func(i int) bool { return s.starts[s.nonEmpty[i]] > y }) - 1
	c := s.nonEmpty[at]
	return s.v.Position(c, s.classes[c].backward(y-s.starts[c]), s.key)
}
