package server

import (
	"errors"
	"slices"
	"testing"

	"daos/engine/object"
	"daos/internal/fault"
)

// TestPinAll: an epoch that is gone is left out, and takes no other with it.
func TestPinAll(t *testing.T) {
	type epochs = []object.Epoch
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		want, have, gone epochs
		fail             error
		kept, lost       epochs
	}{
		"all there":        {want: epochs{1, 5, 9}, kept: epochs{1, 5, 9}},
		"a new one gone":   {want: epochs{1, 5, 9}, have: epochs{1}, gone: epochs{5}, kept: epochs{1, 9}, lost: epochs{5}},
		"old ones are":     {want: epochs{1, 5}, have: epochs{1, 5, 7}, gone: epochs{}, kept: epochs{1, 5}},
		"pinned below":     {want: epochs{1, 2, 9}, have: epochs{1}, gone: epochs{2}, kept: epochs{1, 9}, lost: epochs{2}},
		"nothing but gone": {want: epochs{2}, gone: epochs{2}, kept: nil, lost: epochs{2}},
		"engine broken":    {want: epochs{1}, have: epochs{1}, fail: broken, kept: epochs{1}},
	} {
		var now, lost epochs
		kept, err := pinAll(c.want, c.have, func(e []object.Epoch) error {
			for _, g := range c.gone {
				if slices.Contains(e, g) {
					return fault.New(fault.EpochGone, "engine.pin", "", "gone")
				}
			}
			now = slices.Clone(e)
			return c.fail
		}, func(e object.Epoch) { lost = append(lost, e) })
		if !errors.Is(err, c.fail) || !slices.Equal(kept, c.kept) || !slices.Equal(lost, c.lost) || c.fail == nil && !slices.Equal(now, c.kept) {
			t.Errorf("%s: kept %v (the engine %v), lost %v, %v; want %v, %v, %v", name, kept, now, lost, err, c.kept, c.lost, c.fail)
		}
	}
}

func TestMerge(t *testing.T) {
	got := merge([]object.Epoch{1, 3, 3, 8}, []object.Epoch{0, 3, 9})
	if want := []object.Epoch{0, 1, 3, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("merged to %v, want %v", got, want)
	}
}
