package order_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math"
	"os"
	"slices"
	"testing"

	"daos/internal/fault"
	"daos/loader/order"
)

var update = flag.Bool("update", false, "write testdata/order.json anew")

const vectorFile = "testdata/order.json"

type vector struct {
	Kind   order.Kind `json:"kind"`
	N      uint64     `json:"n"`
	Seed   uint64     `json:"seed"`
	Pass   uint64     `json:"pass"`
	First  []uint64   `json:"first"`
	Last   []uint64   `json:"last"`
	SHA256 string     `json:"sha256_first_1000"`
}

func take(t *testing.T, o order.Order, from, to uint64) []uint64 {
	t.Helper()
	v := make([]uint64, to-from)
	o.Fill(v, from)
	return v
}

func newOrder(t *testing.T, k order.Kind, n, seed, pass uint64) order.Order {
	t.Helper()
	o, err := order.Spec{Kind: k, Seed: seed, Pass: pass}.New(n)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func vectorOf(t *testing.T, k order.Kind, n, seed, pass uint64) vector {
	o := newOrder(t, k, n, seed, pass)
	head := take(t, o, 0, min(n, 1000))
	var b []byte
	for _, x := range head {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	sum := sha256.Sum256(b)
	return vector{k, n, seed, pass, head[:min(n, 8)], take(t, o, n-min(n, 4), n), hex.EncodeToString(sum[:])}
}

func TestGoldenVectors(t *testing.T) {
	if *update {
		var vs []vector
		for _, n := range []uint64{1, 2, 3, 7, 64, 1000, 70000, 1<<33 + 5} {
			for _, sp := range [][2]uint64{{0, 0}, {0, 1}, {1, 0}, {42, 7}, {1<<64 - 1, 3}} {
				vs = append(vs, vectorOf(t, order.Shuffle, n, sp[0], sp[1]))
			}
		}
		vs = append(vs, vectorOf(t, order.Sequential, 1000, 5, 5))
		b, err := json.MarshalIndent(map[string]any{"vectors": vs}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Vectors []vector }
	if err := json.Unmarshal(b, &f); err != nil || len(f.Vectors) < 40 {
		t.Fatalf("%d vectors: %v", len(f.Vectors), err)
	}
	for _, v := range f.Vectors {
		got := vectorOf(t, v.Kind, v.N, v.Seed, v.Pass)
		if got.SHA256 != v.SHA256 || !slices.Equal(got.First, v.First) || !slices.Equal(got.Last, v.Last) {
			t.Fatalf("%+v, want %+v", got, v)
		}
	}
}

// TestReference computes the definition of docs/order.md word for word.
func TestReference(t *testing.T) {
	mix := func(h uint64) uint64 {
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		return h ^ h>>31
	}
	for _, n := range []uint64{2, 5, 99, 100, 101, 4097} {
		a := uint64(1)
		for a*a < n {
			a++
		}
		b := n / a
		if n%a != 0 {
			b++
		}
		seed, pass := uint64(11), uint64(4)
		s0 := mix(seed + 0x9E3779B97F4A7C15)
		s1 := mix(s0 ^ (pass + 0xD1B54A32D192ED03))
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
		o := newOrder(t, order.Shuffle, n, seed, pass)
		for x, got := range take(t, o, 0, n) {
			want := walk(uint64(x))
			for want >= n {
				want = walk(want)
			}
			if got != want {
				t.Fatalf("n %d: position %d is %d, want %d", n, x, got, want)
			}
		}
	}
}

func TestShuffleIsABijectionAndInvertible(t *testing.T) {
	for _, n := range []uint64{0, 1, 2, 3, 4, 5, 63, 64, 65, 99, 100, 101, 1000, 70000} {
		o := newOrder(t, order.Shuffle, n, 5, 3)
		seen := make([]bool, n)
		for x, y := range take(t, o, 0, n) {
			if y >= n || seen[y] {
				t.Fatalf("n %d: %d comes twice or is out of range", n, y)
			}
			seen[y] = true
			if o.Position(y) != uint64(x) {
				t.Fatalf("n %d: the inverse of %d is %d, want %d", n, y, o.Position(y), x)
			}
		}
	}
	for _, n := range []uint64{1<<33 + 5, order.MaxSamples, order.MaxSamples - 1} {
		o := newOrder(t, order.Shuffle, n, 5, 3)
		for _, x := range []uint64{0, 1, n / 2, n - 1} {
			y := take(t, o, x, x+1)[0]
			if y >= n || o.Position(y) != x {
				t.Fatalf("n %d: %d goes to %d and back to %d", n, x, y, o.Position(y))
			}
		}
	}
}

func TestShuffleIsCloseToUniform(t *testing.T) {
	const n, passes = 16, 4000
	var counts [n][n]float64
	for p := uint64(0); p < passes; p++ {
		for x, y := range take(t, newOrder(t, order.Shuffle, n, 9, p), 0, n) {
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
		t.Fatalf("chi squared %f for %f degrees of freedom", chi2, free)
	}
}

func TestBadSpecs(t *testing.T) {
	for _, s := range []order.Spec{{Kind: "riffle"}, {Kind: order.Shuffle, Version: 2}, {Kind: ""}} {
		if _, err := s.New(10); !fault.Is(err, fault.Unsupported) {
			t.Fatalf("%+v: %v", s, err)
		}
	}
	if _, err := (order.Spec{Kind: order.Shuffle}).New(order.MaxSamples + 1); !fault.Is(err, fault.TooBig) {
		t.Fatal(err)
	}
}

func TestPlanCoversThePassOnceInOrder(t *testing.T) {
	for _, ranks := range []uint64{1, 2, 4} {
		for _, workers := range []uint64{1, 2, 3} {
			p := order.Plan{Start: 24, Samples: 1003, Batch: 8, Ranks: ranks, Workers: workers}
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			next := p.Start
			for step := range p.Steps() {
				if p.Worker(step) != step%workers {
					t.Fatal("worker", p.Worker(step))
				}
				for r := range ranks {
					s, ok := p.At(step, r)
					if !ok {
						continue
					}
					if s.From != next || s.To <= s.From || s.To-s.From > p.Batch {
						t.Fatalf("step %d rank %d reads %+v, want from %d", step, r, s, next)
					}
					next = s.To
				}
			}
			if next != p.Samples {
				t.Fatalf("%d of %d samples are read", next, p.Samples)
			}
			p.DropLast = true
			if want := (p.Samples - p.Start) / (8 * ranks); p.Steps() != want {
				t.Fatalf("%d whole steps, want %d", p.Steps(), want)
			}
		}
	}
	for _, p := range []order.Plan{{}, {Batch: 1, Ranks: 1, Workers: 1, Start: 2, Samples: 1}, {Batch: 1 << 40, Ranks: 1, Workers: 1}} {
		if p.Check() == nil {
			t.Fatalf("%+v is taken", p)
		}
	}
}

func BenchmarkShuffle(b *testing.B) {
	o, err := order.Spec{Kind: order.Shuffle}.New(10_000_000)
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]uint64, 8192)
	b.SetBytes(8 * int64(len(dst)))
	for i := 0; b.Loop(); i++ {
		o.Fill(dst, uint64(i*len(dst))%9_000_000)
	}
}
