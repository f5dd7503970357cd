package expr

import (
	"daos/internal/fault"
)

// Check verifies the limits of a tree, whatever it was made from.
func Check(x Expr) error {
	nodes := 0
	tooMany := fault.New(fault.TooBig, "query.where", "predicate", "the predicate has more than %d parts", MaxNodes).
		Do("split it, or join with a table of the values")
	var visit func(x Expr, depth int) error
	visit = func(x Expr, depth int) error {
		if nodes++; nodes > MaxNodes {
			return tooMany
		}
		if depth > MaxDepth {
			return fault.New(fault.TooBig, "query.where", "predicate", "the predicate is nested deeper than %d", MaxDepth)
		}
		switch e := x.(type) {
		case *Column:
			if e == nil || e.Name == "" || len(e.Name) > 1024 {
				return fault.New(fault.Invalid, "query.where", "predicate", "a column without a name, or with one of over 1024 bytes")
			}
		case *Literal:
			if e == nil || e.Value.Type > Time {
				return fault.New(fault.Invalid, "query.where", "predicate", "a literal of an unknown type")
			}
			if len(e.Value.S) > MaxLiteral {
				return fault.New(fault.TooBig, "query.where", "predicate", "a literal of over %d bytes", MaxLiteral)
			}
		case *Call:
			if e == nil || e.Fn == 0 || e.Fn > lastFn {
				return fault.New(fault.Invalid, "query.where", "predicate", "a function that is not known")
			}
			if nodes+len(e.Args) > MaxNodes {
				return tooMany
			}
			if err := arity(e); err != nil {
				return err
			}
			for _, a := range e.Args {
				if err := visit(a, depth+1); err != nil {
					return err
				}
			}
		default:
			return fault.New(fault.Invalid, "query.where", "predicate", "a part that is missing")
		}
		return nil
	}
	return visit(x, 1)
}

func arity(c *Call) error {
	lo, hi := 2, 2
	switch c.Fn {
	case Between:
		lo, hi = 3, 3
	case And, Or:
		hi = MaxNodes
	case In:
		hi = MaxNodes
	case IsNull, NotNull, Not, Length, Lower, Upper, Abs, Negate, IsNaN:
		lo, hi = 1, 1
	}
	if n := len(c.Args); n < lo || n > hi {
		return fault.New(fault.Invalid, "query.where", "predicate", "%s has %d arguments, not %d", c.Fn, len(c.Args), lo)
	}
	return nil
}
