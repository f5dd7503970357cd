package expr

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// truth is a condition.
type truth interface {
	// eval sets out, of b.N bytes, to no, yes or unknown for each row.
	eval(b *Batch, out []uint8) error
	// may is which answers are possible for rows of a chunk with these
	// statistics; too many is right, too few is not.
	may(s []Stats) outcome
}

// Filter appends to keep the rows of a batch for which the predicate is true.
func (p *Predicate) Filter(b *Batch, keep []uint32) ([]uint32, error) {
	out := b.take()
	defer b.give(out)
	if err := p.root.eval(b, out); err != nil {
		return keep, err
	}
	n := len(keep)
	keep = slices.Grow(keep, len(out))[:n+len(out)]
	i := 0
	for ; i+8 <= len(out); i += 8 {
		for w := wordAt(out, i) & ones; w != 0; w &= w - 1 {
			keep[n] = uint32(i + bits.TrailingZeros64(w)/8)
			n++
		}
	}
	for ; i < len(out); i++ {
		if out[i] == yes {
			keep[n] = uint32(i)
			n++
		}
	}
	return keep[:n], nil
}

// Answers are combined eight at a time: a byte of a word is one of them, bit 0
// of it is yes and bit 1 unknown.
const ones = 0x0101010101010101

func wordAt(b []uint8, i int) uint64     { return binary.LittleEndian.Uint64(b[i:]) }
func putWord(b []uint8, i int, w uint64) { binary.LittleEndian.PutUint64(b[i:], w) }

// some has a 1 for each byte of w that is not 0.
func some(w uint64) uint64 {
	const low = 0x7f * ones
	return (w&low + low | w) >> 7 & ones
}

// nulls sets the answers of null rows to unknown.
func nulls(out []uint8, valid []byte) {
	n := min(len(valid), len(out))
	i := 0
	for ; i+8 <= n; i += 8 {
		w := wordAt(valid, i)
		if w == ones {
			continue
		}
		there := some(w) * 0xff
		putWord(out, i, wordAt(out, i)&there|unknown*ones&^there)
	}
	for ; i < n; i++ {
		if valid[i] == 0 {
			out[i] = unknown
		}
	}
}

func set(out []uint8, t uint8) {
	for i := range out {
		out[i] = t
	}
}

func truthOf(b bool) uint8 {
	if b {
		return yes
	}
	return no
}

// constant is TRUE and FALSE.
type constant bool

func (c constant) eval(_ *Batch, out []uint8) error {
	set(out, truthOf(bool(c)))
	return nil
}

// unknownness is a comparison with NULL.
type unknownness struct{}

func (unknownness) eval(_ *Batch, out []uint8) error {
	set(out, unknown)
	return nil
}

// decided has one answer for all values, unknown for null.
type decided struct {
	node   value
	answer uint8
}

func (c *decided) eval(b *Batch, out []uint8) error {
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	set(out, c.answer)
	nulls(out, v.valid)
	return nil
}

// junction is and, or.
type junction struct {
	or    bool
	parts []truth
}

func (c *junction) eval(b *Batch, out []uint8) error {
	if err := c.parts[0].eval(b, out); err != nil {
		return err
	}
	next := b.take()
	defer b.give(next)
	for _, p := range c.parts[1:] {
		if err := p.eval(b, next); err != nil {
			return err
		}
		if c.or {
			each(out, next, either)
		} else {
			each(out, next, both)
		}
	}
	return nil
}

// each combines two lists of answers into the first.
func each(out, next []uint8, combine func(x, y uint64) uint64) {
	next = next[:len(out)]
	i := 0
	for ; i+8 <= len(out); i += 8 {
		putWord(out, i, combine(wordAt(out, i), wordAt(next, i)))
	}
	for ; i < len(out); i++ {
		out[i] = uint8(combine(uint64(out[i]), uint64(next[i])))
	}
}

func both(x, y uint64) uint64 {
	yes := x & y & ones
	open := (x | x>>1) & (y | y>>1) & ones // neither is no
	return yes | (open&^yes)<<1
}

func either(x, y uint64) uint64 {
	yes := (x | y) & ones
	return yes | ((x|y)>>1&ones&^yes)<<1
}

func neither(x, _ uint64) uint64 {
	return ^(x|x>>1)&ones | x&(unknown*ones)
}

type negation struct{ of truth }

func (c *negation) eval(b *Batch, out []uint8) error {
	if err := c.of.eval(b, out); err != nil {
		return err
	}
	each(out, out, neither)
	return nil
}

// nullness is "is null" and "is not null".
type nullness struct {
	node value
	not  bool
	col  int
}

func (c *nullness) eval(b *Batch, out []uint8) error {
	var valid []byte
	if c.col >= 0 {
		valid = b.Columns[c.col].Valid
	} else {
		v, err := c.node.eval(b)
		if err != nil {
			return err
		}
		valid = v.valid
	}
	for i := range out {
		out[i] = truthOf(ok(valid, i) == c.not)
	}
	return nil
}

type nanness struct{ node value }

func (c *nanness) eval(b *Batch, out []uint8) error {
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	set(out, no)
	for i, f := range v.f {
		if f != f {
			out[i] = yes
		}
	}
	nulls(out, v.valid)
	return nil
}
