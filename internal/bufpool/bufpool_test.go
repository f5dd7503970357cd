package bufpool_test

import (
	"testing"

	"daos/internal/bufpool"
)

func TestGet_LengthAndCapacity(t *testing.T) {
	var p bufpool.Pool
	for _, n := range []int{0, 1, 255, 256, 257, 4096, 4097, 100_000, 1 << 20, 1<<20 + 1, 64 << 20, 64<<20 + 1} {
		b := p.Get(n)
		if len(*b) != n {
			t.Errorf("Get(%d): length %d", n, len(*b))
		}
		if n > 256 && n <= 64<<20 && cap(*b) >= 2*n {
			t.Errorf("Get(%d): capacity %d wastes half", n, cap(*b))
		}
		p.Put(b)
	}
}

func TestPut_ForeignCapacityIsDropped(t *testing.T) {
	var p bufpool.Pool
	odd := make([]byte, 1000)
	p.Put(&odd)
	if b := p.Get(1000); cap(*b) != 1024 {
		t.Fatalf("capacity %d, want 1024: a buffer that fits no tier came back", cap(*b))
	}
}
