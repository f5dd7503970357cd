// Package rescue carries a panic from a goroutine of a call to the goroutine that
// waits for it: the call has a guard that answers it as an error (server/api,
// server/feed), a goroutine of its own has none and would end the process. It is
// not a way to go on after a panic.
//
// Start at Do.
package rescue

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Panic is a panic that was caught, with the stack that it came from.
type Panic struct {
	Value any
	Stack []byte
}

func (p *Panic) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// Do runs fn. A panic comes back as a *Panic, for Again.
func Do(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Panic{p, debug.Stack()}
		}
	}()
	return fn()
}

// Again panics with what Do has caught; it returns any other error.
func Again(err error) error {
	var p *Panic
	if errors.As(err, &p) {
		panic(p)
	}
	return err
}
