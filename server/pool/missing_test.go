package pool

import (
	"testing"

	"daos/internal/fault"
)

// A name that does not exist is answered with the one that was probably meant.
func TestNearest(t *testing.T) {
	e := fault.New(fault.NotFound, "pool.get", "phtos", "there is no such pool")
	full := func(n string) string { return "p/" + n }
	if got := nearest(e, "phtos", []string{"labels", "photos"}, full, "daos dataset list p").Error(); got != "phtos: there is no such pool; did you mean p/photos?" {
		t.Error(got)
	}
	if got := nearest(e, "phtos", []string{"labels"}, full, "daos dataset list p").Error(); got != "phtos: there is no such pool; `daos dataset list p` shows those that there are" {
		t.Error(got)
	}
	many := make([]string, maxNear+1)
	many[maxNear] = "phtos"
	if got := nearest(e, "phtos", many, full, "x").Error(); got != "phtos: there is no such pool; `x` shows those that there are" {
		t.Errorf("more than %d names were compared: %s", maxNear, got)
	}
}
