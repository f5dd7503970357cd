// Package hlc is the hybrid logical clock that gives epochs: wall clock where
// that moves forward, a counter where it does not.
//
// Clock is a pure value: times go in, epochs come out, nothing waits. It never
// goes back: not when the wall clock jumps, and not through a restart, because
// it gives nothing at or above a ceiling that its owner has made durable
// before, and starts at that ceiling. Source is the thin driver around it: a
// mutex, the wall clock and a function that keeps the ceiling.
package hlc

import (
	"time"

	"daos/engine/object"
	"daos/internal/fault"
)

// Bound is how far ahead of this clock an epoch from outside may lie.
const Bound = time.Second

// Clock is the state of a clock. The zero Clock gives nothing: raise its
// ceiling first.
type Clock struct {
	last    object.Epoch // highest given or seen
	ceiling object.Epoch // everything given lies below
}

// New is a clock that starts above floor and has no ceiling yet.
func New(floor object.Epoch) Clock { return Clock{last: floor, ceiling: floor} }

// Last is the highest epoch given or seen.
func (c *Clock) Last() object.Epoch { return c.last }

// Ceiling is what everything given lies below.
func (c *Clock) Ceiling() object.Epoch { return c.ceiling }

// Raise moves the ceiling up; the caller has made it durable.
func (c *Clock) Raise(to object.Epoch) { c.ceiling = max(c.ceiling, to) }

// Next gives the next epoch. While the ceiling is below the wall clock it
// counts on below the ceiling; ok is false when that room is used up.
func (c *Clock) Next(wall time.Time) (e object.Epoch, ok bool) {
	if c.last+1 >= c.ceiling {
		return 0, false
	}
	c.last = max(c.last+1, min(object.EpochAt(wall), c.ceiling-1))
	return c.last, true
}

// Observe lifts the clock to an epoch from outside, so that everything given
// later lies above it. Too far in the future is fault.Invalid.
func (c *Clock) Observe(wall time.Time, seen object.Epoch) error {
	if seen <= c.last {
		return nil
	}
	if seen > object.EpochAt(wall.Add(Bound)) {
		return fault.New(fault.Invalid, "clock.observe", "epoch", "epoch %d lies more than %v in the future", uint64(seen), Bound).
			Do("use an epoch that this server has answered, and check the clocks of both machines")
	}
	if seen+1 >= c.ceiling {
		return fault.New(fault.Overloaded, "clock.observe", "epoch", "the clock has not reached epoch %d", uint64(seen)).Do("retry")
	}
	c.last = seen
	return nil
}
