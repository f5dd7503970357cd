package columnar

import (
	"math/bits"
	"sync"
)

const (
	reuseFrom = 4 << 10 // smaller pieces are not kept
	reuseMost = 16      // pieces of one size are
)

// reuse is Arrow's allocator for a stream whose batches are gone when the next one
// comes: their memory is used again, which costs less than what the system has to
// clear and map.
type reuse struct {
	mu   sync.Mutex
	free [64][][]byte // by the binary logarithm of their size
}

// Allocate implements memory.Allocator. The memory is not cleared: a reader
// fills all of it.
func (r *reuse) Allocate(size int) []byte {
	if size < reuseFrom {
		return make([]byte, size)
	}
	class := bits.Len(uint(size - 1))
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.free[class]); n > 0 {
		b := r.free[class][n-1]
		r.free[class] = r.free[class][:n-1]
		return b[:size]
	}
	return make([]byte, size, 1<<class)
}

// Reallocate implements memory.Allocator.
func (r *reuse) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		return b[:size]
	}
	out := r.Allocate(size)
	copy(out, b)
	r.Free(b)
	return out
}

// Free implements memory.Allocator.
func (r *reuse) Free(b []byte) {
	if n := cap(b); n >= reuseFrom && n&(n-1) == 0 {
		class := bits.Len(uint(n - 1))
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.free[class]) < reuseMost {
			r.free[class] = append(r.free[class], b[:0])
		}
	}
}
