package feed

import (
	"context"
	"sync"
	"time"

	"daos/internal/fault"
)

// budget bounds the bytes that all connections together make the server hold:
// requests that were read and not yet answered, answers that were not yet
// taken.
type budget struct {
	max  int64
	mu   sync.Mutex
	used int64
	free chan struct{} // closed and replaced when bytes come back
}

func newBudget(max int64) *budget { return &budget{max: max, free: make(chan struct{})} }

// try takes n bytes if they are there.
func (b *budget) try(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.max {
		return false
	}
	b.used += n
	return true
}

// wait takes n bytes, waiting up to d for them.
func (b *budget) wait(ctx context.Context, n int64, d time.Duration) error {
	if b.try(n) {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		b.mu.Lock()
		free := b.free
		b.mu.Unlock()
		if b.try(n) {
			return nil
		}
		select {
		case <-free:
		case <-t.C:
			return b.overloaded(n)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *budget) put(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	b.used -= n
	close(b.free)
	b.free = make(chan struct{})
	b.mu.Unlock()
}

func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

func (b *budget) overloaded(n int64) error {
	return fault.New(fault.Overloaded, "feed.budget", "", "%d bytes more would exceed the %d that all connections may hold", n, b.max).
		Do("retry after a while")
}
