package hlc

import (
	"sync"
	"sync/atomic"
	"time"

	"daos/engine/object"
)

// reserve is how far ahead of the wall clock the ceiling is put, and so how far
// ahead epochs can start after a crash.
const reserve = 3 * time.Second

// Source gives epochs to many goroutines.
type Source struct {
	wall func() time.Time
	keep func(object.Epoch) error

	mu    sync.Mutex
	clock Clock

	ceiling atomic.Uint64 // of clock, for Ensure without the mutex
	raising sync.Mutex    // held over keep
	early   atomic.Bool   // an early raise is under way
	wg      sync.WaitGroup
}

// NewSource starts above floor. keep makes a ceiling durable before it returns.
func NewSource(floor object.Epoch, wall func() time.Time, keep func(object.Epoch) error) (*Source, error) {
	s := &Source{wall: wall, keep: keep, clock: New(floor)}
	s.ceiling.Store(uint64(floor))
	return s, s.raise()
}

// Ensure makes room for epochs of the present. It is called before an epoch is
// needed, outside of all locks, and touches the disk about once a second.
func (s *Source) Ensure() error {
	have, now := object.Epoch(s.ceiling.Load()), s.wall()
	if object.EpochAt(now.Add(reserve/2)) < have {
		return nil
	}
	if object.EpochAt(now) < have {
		if s.early.CompareAndSwap(false, true) {
			s.wg.Add(1)
			go func() {
				defer s.wg.Done()
				defer s.early.Store(false)
				_ = s.raise() // an error meets the one who needs the room
			}()
		}
		return nil
	}
	return s.raise()
}

func (s *Source) raise() error {
	s.raising.Lock()
	defer s.raising.Unlock()
	s.mu.Lock()
	last, have := s.clock.Last(), s.clock.Ceiling()
	s.mu.Unlock()
	// Ahead of the wall clock, or of the clock itself where that is in front.
	const step = object.Epoch(reserve/time.Microsecond) << 12
	to := max(object.EpochAt(s.wall()), last) + step
	if to <= have+step/2 {
		return nil // somebody else was here
	}
	if err := s.keep(to); err != nil {
		return err
	}
	s.mu.Lock()
	s.clock.Raise(to)
	s.mu.Unlock()
	s.ceiling.Store(uint64(to))
	return nil
}

// Next gives an epoch above all given and seen before. It never waits for a
// disk; ok is false if the ceiling could not be raised for very long.
func (s *Source) Next() (object.Epoch, bool) {
	now := s.wall()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.Next(now)
}

// Last is the highest epoch given or seen.
func (s *Source) Last() object.Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.Last()
}

// Observe lifts the clock above an epoch from outside.
func (s *Source) Observe(seen object.Epoch) error {
	now := s.wall()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.Observe(now, seen)
}

// Close keeps the last epoch as the ceiling, so that a clean restart starts
// right after it.
func (s *Source) Close() error {
	s.wg.Wait()
	s.raising.Lock()
	defer s.raising.Unlock()
	s.mu.Lock()
	last := s.clock.Last()
	s.clock.ceiling = last + 1 // gives nothing any more
	s.mu.Unlock()
	return s.keep(last + 1)
}
