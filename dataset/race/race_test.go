package race_test

import (
	"context"
	"errors"
	"testing"

	"daos/dataset/race"
)

func TestRetry(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	conflict, other := errors.New("conflict"), errors.New("another")
	if err := race.Lost(conflict); !race.WasLost(err) || !errors.Is(err, conflict) || race.WasLost(conflict) {
		t.Errorf("%v", err)
	}
	for tries, last := range []error{nil, other, nil} {
		n := 0
		err := race.Retry(ctx, func() error {
			if n++; n <= tries {
				return race.Lost(conflict)
			}
			return last
		})
		if err != last || n != tries+1 {
			t.Errorf("%d races lost: %v after %d tries", tries, err, n)
		}
	}
	// A caller that has gone is not tried for.
	n := 0
	err := race.Retry(ctx, func() error {
		n++
		cancel()
		return race.Lost(conflict)
	})
	if !errors.Is(err, context.Canceled) || n > 10 {
		t.Errorf("%v after %d tries", err, n)
	}
}
