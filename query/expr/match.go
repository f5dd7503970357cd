package expr

import (
	"bytes"
	"math"
	"slices"
)

// compareBytes compares a text or a blob with a constant, byte by byte.
type compareBytes struct {
	col  int
	node value
	op   Fn
	c    []byte
}

func (c *compareBytes) eval(b *Batch, out []uint8) error {
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	if c.op == Eq || c.op == Ne {
		want := truthOf(c.op == Eq)
		for i := range out {
			out[i] = 1 - want
			if s := v.data[v.off[i]:v.off[i+1]]; len(s) == len(c.c) && string(s) == string(c.c) {
				out[i] = want
			}
		}
	} else {
		for i := range out {
			out[i] = truthOf(holds(c.op, bytes.Compare(v.data[v.off[i]:v.off[i+1]], c.c)))
		}
	}
	nulls(out, v.valid)
	return nil
}

// membership is x in (constants).
type membership struct {
	col   int
	node  value
	t     Type
	ints  []int64 // ascending
	texts []string
	has   map[string]struct{}
	hasI  map[int64]struct{}
	null  bool // NULL is among them: what is not in is unknown
}

func (c *membership) finish() {
	slices.Sort(c.ints)
	c.ints = slices.Compact(c.ints)
	slices.Sort(c.texts)
	c.texts = slices.Compact(c.texts)
	if len(c.texts) > 4 {
		c.has = make(map[string]struct{}, len(c.texts))
		for _, s := range c.texts {
			c.has[s] = struct{}{}
		}
	}
	if len(c.ints) > 4 {
		c.hasI = make(map[int64]struct{}, len(c.ints))
		for _, i := range c.ints {
			c.hasI[i] = struct{}{}
		}
	}
}

func (c *membership) eval(b *Batch, out []uint8) error {
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	miss := uint8(no)
	if c.null {
		miss = unknown
	}
	set(out, miss)
	switch {
	case len(c.ints) > 0:
		for i := range out {
			x := int64(0)
			if v.t == Uint64 {
				if v.u[i] > math.MaxInt64 {
					continue
				}
				x = int64(v.u[i])
			} else {
				x = v.i[i]
			}
			in := false
			if c.hasI != nil {
				_, in = c.hasI[x]
			} else {
				in = slices.Contains(c.ints, x)
			}
			if in {
				out[i] = yes
			}
		}
	case len(c.texts) > 0:
		for i := range out {
			s := v.data[v.off[i]:v.off[i+1]]
			in := false
			if c.has != nil {
				_, in = c.has[string(s)]
			} else {
				for _, t := range c.texts {
					in = in || string(s) == t
				}
			}
			if in {
				out[i] = yes
			}
		}
	}
	nulls(out, v.valid)
	return nil
}

// matching is like, glob, prefix, suffix and contains.
type matching struct {
	col  int
	node value
	m    *pattern
}

func (c *matching) eval(b *Batch, out []uint8) error {
	v, err := c.node.eval(b)
	if err != nil {
		return err
	}
	for i := range out {
		out[i] = truthOf(c.m.match(v.data[v.off[i]:v.off[i+1]]))
	}
	nulls(out, v.valid)
	return nil
}
