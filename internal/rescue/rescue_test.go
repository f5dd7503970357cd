package rescue_test

import (
	"errors"
	"strings"
	"testing"

	"daos/internal/rescue"
)

func TestAPanicComesAgain(t *testing.T) {
	if err := rescue.Do(func() error { return nil }); err != nil || rescue.Again(err) != nil {
		t.Fatal(err)
	}
	plain := errors.New("plain")
	if err := rescue.Again(rescue.Do(func() error { return plain })); !errors.Is(err, plain) {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- rescue.Do(func() error { var m map[int]int; m[1] = 1; return nil }) }()
	err := <-done
	defer func() {
		p, ok := recover().(*rescue.Panic)
		if !ok || !strings.Contains(p.Error(), "nil map") || !strings.Contains(p.Error(), "rescue_test.go") {
			t.Fatalf("%v", p)
		}
	}()
	_ = rescue.Again(errors.Join(err, plain))
	t.Fatal("no panic")
}
