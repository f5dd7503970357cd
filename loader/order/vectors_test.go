package order_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"testing"

	"daos/loader/order"
)

// The files of testdata are read by pydaos' tests too.
var update = flag.Bool("update", false, "write new kinds of vectors; those of version 1 never change")

const (
	shuffleFile = "testdata/order.json"
	kindsFile   = "testdata/kinds.json"
)

// vector is an order of the kinds without parameters.
type vector struct {
	Kind   order.Kind `json:"kind"`
	N      uint64     `json:"n"`
	Seed   uint64     `json:"seed"`
	Pass   uint64     `json:"pass"`
	First  []uint64   `json:"first"`
	Last   []uint64   `json:"last"`
	SHA256 string     `json:"sha256_first_1000"`
}

func vectorOf(t *testing.T, s order.Spec, n uint64, g *order.Groups) vector {
	o := newOrder(t, s, n, g)
	n = o.Len()
	head := take(t, o, 0, min(n, 1000))
	var b []byte
	for _, x := range head {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	sum := sha256.Sum256(b)
	return vector{s.Kind, n, s.Seed, s.Pass, head[:min(n, 8)], take(t, o, n-min(n, 4), n), hex.EncodeToString(sum[:])}
}

func load(t *testing.T, path string, to any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func store(t *testing.T, path string, what any) {
	t.Helper()
	b, err := json.MarshalIndent(map[string]any{"vectors": what}, "", " ")
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestVectorsOfShuffle(t *testing.T) {
	var f struct{ Vectors []vector }
	load(t, shuffleFile, &f)
	if len(f.Vectors) < 40 {
		t.Fatalf("%d vectors", len(f.Vectors))
	}
	for _, v := range f.Vectors {
		if got := vectorOf(t, order.Spec{Kind: v.Kind, Seed: v.Seed, Pass: v.Pass}, v.N, nil); !reflect.DeepEqual(got, v) {
			t.Fatalf("%+v, want %+v", got, v)
		}
	}
}

// kindVector is an order of a kind with parameters.
type kindVector struct {
	vector
	Samples uint64   `json:"samples"`
	Block   uint64   `json:"block,omitempty"`
	Window  uint64   `json:"window,omitempty"`
	Sizes   []uint64 `json:"class_sizes,omitempty"`
	Weights []uint64 `json:"weights,omitempty"`
	Digest  string   `json:"digest,omitempty"`
}

func (v *kindVector) make(t *testing.T) kindVector {
	s := order.Spec{Kind: v.Kind, Seed: v.Seed, Pass: v.Pass, Params: order.Params{Block: v.Block, Window: v.Window}}
	out := *v
	var g *order.Groups
	if v.Kind.ByGroups() {
		g = &order.Groups{Sizes: v.Sizes, Weights: v.Weights}
		out.Digest = g.Digest(v.Kind)
	}
	if v.Kind == order.Weighted {
		s.Params.Samples = v.N
	}
	out.vector = vectorOf(t, s, v.Samples, g)
	return out
}

func wantedKinds() []kindVector {
	var out []kindVector
	add := func(v kindVector, n uint64) {
		for _, sp := range [][2]uint64{{0, 0}, {42, 7}, {1<<64 - 1, 3}} {
			v.Samples, v.N, v.Seed, v.Pass = n, n, sp[0], sp[1]
			out = append(out, v)
		}
	}
	for _, n := range []uint64{1, 2, 7, 64, 1000, 70001, 1<<33 + 5, order.MaxSamples} {
		for _, b := range []uint64{1, 5, 64, 4096} {
			add(kindVector{vector: vector{Kind: order.Block}, Block: b}, n)
		}
		for _, w := range [][2]uint64{{4, 0}, {9, 0}, {64, 10}, {65536, 0}, {65536, 256}} {
			add(kindVector{vector: vector{Kind: order.Window}, Window: w[0], Block: w[1]}, n)
		}
	}
	many := make([]uint64, 300)
	sum := uint64(0)
	for i := range many {
		many[i] = uint64(i * i % 97)
		sum += many[i]
	}
	for _, sizes := range [][]uint64{{1}, {5}, {3, 4}, {1, 1, 1, 1, 1}, {0, 100, 7, 0, 1, 50}, {1000, 999, 1, 30}, many, {1 << 31, 1 << 30, 12345}} {
		n := uint64(0)
		weights := make([]uint64, len(sizes))
		for i, s := range sizes {
			n += s
			if s > 0 {
				weights[i] = uint64(i*7919%13) + 1
			}
		}
		add(kindVector{vector: vector{Kind: order.Stratified}, Sizes: sizes}, n)
		add(kindVector{vector: vector{Kind: order.Weighted}, Sizes: sizes, Weights: weights}, n)
		add(kindVector{vector: vector{Kind: order.Weighted}, Weights: weights}, uint64(len(weights)))
	}
	for i := range out {
		if v := &out[i]; v.Kind == order.Weighted {
			v.N += 11 // draws of a pass
			if i%2 == 0 && v.Weights[0] > 0 {
				v.Weights = slices.Clone(v.Weights)
				v.Weights[0] += 1 << 60
			}
		}
	}
	return out
}

func TestVectorsOfKinds(t *testing.T) {
	if *update {
		want := wantedKinds()
		for i := range want {
			want[i] = want[i].make(t)
		}
		store(t, kindsFile, want)
	}
	var f struct{ Vectors []kindVector }
	load(t, kindsFile, &f)
	if len(f.Vectors) < 200 {
		t.Fatalf("%d vectors", len(f.Vectors))
	}
	for i := range f.Vectors {
		if got := f.Vectors[i].make(t); !reflect.DeepEqual(got, f.Vectors[i]) {
			t.Fatalf("%+v, want %+v", got, f.Vectors[i])
		}
	}
}

const mixtureFile = "testdata/mixture.json"

type mixtureVector struct {
	Sizes   []uint64    `json:"sizes"`
	Weights []uint64    `json:"weights"`
	Seed    uint64      `json:"seed"`
	Start   uint64      `json:"start"`
	Draws   [][2]uint64 `json:"draws"` // part and sample
}

func (v *mixtureVector) make(t *testing.T) mixtureVector {
	m, err := order.NewMixture(v.Sizes, v.Weights, v.Seed)
	if err != nil {
		t.Fatal(err)
	}
	out := *v
	out.Draws = nil
	for x := range uint64(40) {
		p, s := m.At(v.Start + x)
		out.Draws = append(out.Draws, [2]uint64{uint64(p), s})
	}
	return out
}

func TestVectorsOfMixtures(t *testing.T) {
	if *update {
		var want []mixtureVector
		for _, c := range [][2][]uint64{
			{{10}, {1}}, {{3, 50, 7}, {2, 5, 1}}, {{1, 1000000}, {1, 9}}, {{5, 0, 6}, {1, 0, 1}}, {{1 << 40, 1 << 62}, {1 << 31, 12345}},
		} {
			for _, start := range []uint64{0, 1000, 1 << 50} {
				v := mixtureVector{Sizes: c[0], Weights: c[1], Seed: start + 3, Start: start}
				want = append(want, v.make(t))
			}
		}
		store(t, mixtureFile, want)
	}
	var f struct{ Vectors []mixtureVector }
	load(t, mixtureFile, &f)
	if len(f.Vectors) < 15 {
		t.Fatalf("%d vectors", len(f.Vectors))
	}
	for i := range f.Vectors {
		if got := f.Vectors[i].make(t); !reflect.DeepEqual(got, f.Vectors[i]) {
			t.Fatalf("%+v, want %+v", got, f.Vectors[i])
		}
	}
}

// TestReference computes the definitions of docs/order.md word for word.
func TestReference(t *testing.T) {
	mix := func(h uint64) uint64 {
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		return h ^ h>>31
	}
	seed, pass := uint64(11), uint64(4)
	s1 := mix(mix(seed+0x9E3779B97F4A7C15) ^ (pass + 0xD1B54A32D192ED03))
	sides := func(n uint64) (a, b uint64) {
		for a*a < n {
			a++
		}
		return a, (n + a - 1) / a
	}
	for _, n := range []uint64{2, 5, 99, 100, 101, 4097} {
		a, b := sides(n)
		walk := func(x uint64) uint64 {
			l, r := x%a, x/a
			for i := uint64(0); i < 8; i++ {
				k := mix(s1 + (i+1)*0x9E3779B97F4A7C15)
				if i%2 == 0 {
					l = (l + mix(r^k)%a) % a
				} else {
					r = (r + mix(l^k)%b) % b
				}
			}
			return r*a + l
		}
		for x, got := range take(t, shuffleOf(t, n, seed, pass), 0, n) {
			want := walk(uint64(x))
			for want >= n {
				want = walk(want)
			}
			if got != want {
				t.Fatalf("n %d: position %d is %d, want %d", n, x, got, want)
			}
		}
	}
	sub := func(tag, j uint64) uint64 { return mix(mix(s1^tag) + (j+1)*0x9E3779B97F4A7C15) }
	bij := func(m, k, x uint64) uint64 {
		a, b := sides(m)
		for {
			l, r := x%a, x/a
			for i := uint64(0); i < 8; i++ {
				if i%2 == 0 {
					l = (l + (mix(r^(k+(i+1)*0x9E3779B97F4A7C15))>>32)*a>>32) % a
				} else {
					r = (r + (mix(l^(k+(i+1)*0x9E3779B97F4A7C15))>>32)*b>>32) % b
				}
			}
			if x = r*a + l; x < m {
				return x
			}
		}
	}
	const n, size = 103, 10
	o := newOrder(t, order.Spec{Kind: order.Block, Seed: seed, Pass: pass, Params: order.Params{Block: size}}, n, nil)
	var want []uint64
	for place := range uint64(11) {
		block := bij(11, sub(1, 0), place)
		m := min(size, n-block*size)
		for x := range m {
			want = append(want, block*size+bij(m, sub(2, block), x))
		}
	}
	if got := take(t, o, 0, n); !slices.Equal(got, want) {
		t.Fatalf("blocks: %v, want %v", got, want)
	}
}
