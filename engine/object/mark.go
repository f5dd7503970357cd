package object

import "context"

// Span is a range of numbers, both ends inclusive.
type Span struct{ Min, Max int64 }

// Everything is the span of all numbers.
func Everything() Span { return Span{-1 << 63, 1<<63 - 1} }

// Meets reports whether two spans have a number in common.
func (s Span) Meets(o Span) bool { return s.Min <= o.Max && o.Min <= s.Max }

// Marker finds the number in a single value that scans may ask a range of (the
// time of a file): a span of one number, or a wider one where the value alone
// does not say; ok is false for a value that no such scan is about. The value is
// nil if it does not lie in the index. It is a pure function and keeps nothing.
type Marker func(oid ID, dkey, akey, value []byte) (s Span, ok bool)

// MarkScanner is an ability of a Scanner that knows between which marks the
// values of each part of its index are, so that others are not read.
type MarkScanner interface {
	// ScanMarked is a Scan of the visible values whose marks meet want: exactly
	// those, in the same order, with the same anchors.
	ScanMarked(ctx context.Context, at Epoch, a Anchor, want Span, fn func(Row) bool) (Anchor, error)
}
