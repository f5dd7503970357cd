package fault_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"daos/internal/fault"
)

func TestWrapKeepsKindAndSaysWhatToDo(t *testing.T) {
	base := fault.New(fault.NotFound, "posix.lookup", "p/d/x", "no such file").Do("list with `daos fs ls %s`", "p/d")
	err := fmt.Errorf("outer: %w", base)
	if !errors.Is(err, fault.NotFound) || fault.KindOf(err) != fault.NotFound {
		t.Fatalf("kind lost: %v", err)
	}
	if want := "outer: p/d/x: no such file; list with `daos fs ls p/d`"; err.Error() != want {
		t.Fatalf("got %q want %q", err, want)
	}
	if got := fault.Wrap(fs.ErrNotExist, "op", "res"); !errors.Is(got, fault.NotFound) || !errors.Is(got, fs.ErrNotExist) {
		t.Fatalf("std error not classified: %v", got)
	}
	if fault.Wrap(nil, "op", "res") != nil {
		t.Fatal("Wrap(nil) must be nil")
	}
}
