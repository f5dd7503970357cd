// Package race is what a change of a typed dataset does when another writer was
// faster: it marks the conflict, waits a little, and is made again on what is
// there then. It is not for calls that failed, nor for conflicts that a caller
// asked for (a version, a length), which no further try resolves.
//
// Start at Retry.
package race

import (
	"context"
	"math/rand/v2"
	"time"
)

// maxTries bounds how often a change is made again.
const maxTries = 1000

// lost is a Conflict of the store that a new try may resolve.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

// Lost marks a Conflict of the store, to keep it apart from others.
func Lost(conflict error) error { return lost{conflict} }

// WasLost says whether an error is one that Lost has marked.
func WasLost(err error) bool {
	_, ok := err.(lost)
	return ok
}

// Retry runs f until it does not lose a race any more; of the last try the
// conflict is returned as it was.
func Retry(ctx context.Context, f func() error) error {
	for attempt := 1; ; attempt++ {
		err := f()
		l, ok := err.(lost)
		if !ok {
			return err
		}
		if attempt == maxTries {
			return l.error
		}
		if err := Pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// Pause waits before attempt n (from 1) a random time up to 200 us * 2^n, at
// most 20 ms.
func Pause(ctx context.Context, attempt int) error {
	t := time.NewTimer(rand.N(min(200*time.Microsecond<<min(attempt, 10), 20*time.Millisecond)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
