package placement

import (
	"encoding/binary"

	"daos/engine/object"
	"daos/internal/fault"
)

// Span is what an anchor stands for: the hashes [From, To], after the position
// Resume (a key; nil: from the start).
type Span struct {
	From, To uint32
	Resume   []byte
}

// anchorVersion is the first byte of an anchor; after it lie From and To
// (big-endian) and the position. The bounds are hashes, so that an anchor stays
// valid when the number of placement groups doubles.
const anchorVersion = 1

const maxAnchor = 4 * object.MaxKey

// Encode is the anchor of s.
func (s Span) Encode() object.Anchor {
	b := make([]byte, 9, 9+len(s.Resume))
	b[0] = anchorVersion
	binary.BigEndian.PutUint32(b[1:], s.From)
	binary.BigEndian.PutUint32(b[5:], s.To)
	return append(b, s.Resume...)
}

// Decode reads an anchor, which may come from a client. A nil anchor is the
// whole space; one at the end has no span (ok is false).
func Decode(a object.Anchor) (s Span, ok bool, err error) {
	if a == nil {
		return Span{To: 1<<32 - 1}, true, nil
	}
	if a.AtEnd() {
		return Span{}, false, nil
	}
	if len(a) < 9 || len(a) > maxAnchor || a[0] != anchorVersion {
		return Span{}, false, fault.New(fault.Invalid, "scan.anchor", "anchor", "not an anchor of this version (%d bytes)", len(a)).
			Do("start with a fresh anchor")
	}
	s.From, s.To = binary.BigEndian.Uint32(a[1:]), binary.BigEndian.Uint32(a[5:])
	if s.From > s.To {
		return Span{}, false, fault.New(fault.Invalid, "scan.anchor", "anchor", "range ends before it starts").Do("start with a fresh anchor")
	}
	if len(a) > 9 {
		s.Resume = append([]byte(nil), a[9:]...)
	}
	return s, true, nil
}

// Split returns n anchors (1 to Groups; other n are bounded to that) that cut
// the whole space into ranges of placement groups.
func Split(n int) []object.Anchor {
	n = min(max(n, 1), Groups)
	out := make([]object.Anchor, n)
	for i := range n {
		from, _ := GroupRange(i * Groups / n)
		_, to := GroupRange((i+1)*Groups/n - 1)
		out[i] = Span{From: from, To: to}.Encode()
	}
	return out
}
