// Package bufpool is a buffer pool for gRPC that does not clear what it hands
// out. grpc's own clears the whole capacity of every buffer at Get, 1 MiB for a
// message of 100 KB. Nobody may read beyond what he wrote into a buffer, so
// clearing buys nothing here.
//
// Set it once, in main (experimental.SetDefaultBufferPool), so that the proto
// codec uses it too.
package bufpool

import (
	"math/bits"
	"sync"

	"google.golang.org/grpc/mem"
)

const (
	minShift = 8  // 256 B: below it grpc does not pool
	maxShift = 26 // 64 MiB: the largest message of the service
)

// Pool hands out buffers from one sync.Pool per power of two. Its zero value is
// ready; it is safe for concurrent use.
type Pool struct {
	tiers [maxShift - minShift + 1]sync.Pool
}

var _ mem.BufferPool = (*Pool)(nil)

// Get returns a buffer of length n whose bytes are whatever they were.
func (p *Pool) Get(n int) *[]byte {
	shift := minShift
	if n > 1<<minShift {
		shift = bits.Len(uint(n - 1))
	}
	if shift > maxShift {
		b := make([]byte, n)
		return &b
	}
	if b, ok := p.tiers[shift-minShift].Get().(*[]byte); ok {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n, 1<<shift)
	return &b
}

// Put takes a buffer back. One whose capacity is no tier's is left to the
// garbage collector.
func (p *Pool) Put(b *[]byte) {
	c := cap(*b)
	if c&(c-1) != 0 || c < 1<<minShift || c > 1<<maxShift {
		return
	}
	p.tiers[bits.Len(uint(c))-1-minShift].Put(b)
}
