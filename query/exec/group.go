package exec

import (
	"bytes"
	"slices"

	"daos/query/expr"
)

// groups collects the state of aggregates by group.
type groups struct {
	p     *plan
	index map[string]int // encoded key -> number
	small []int32        // number + 1 by value, where the one key is a narrow integer
	ints  map[uint64]int32
	texts map[string]int32 // number by value, where the one key is an integer, a text
	null  int32            // number + 1 of the group of nulls, of one key
	keys  [][]byte         // encoded, by number
	bytes uint64           // of them
	aggs  []state
	ids   []int32 // scratch: the group of each row
	key   []byte
}

func newGroups(p *plan) *groups {
	g := &groups{p: p, index: map[string]int{}, aggs: make([]state, len(p.aggs))}
	for i, col := range p.aggs {
		if fn := p.Aggregates[i].Fn; fn == Min || fn == Max {
			g.aggs[i].best = newExtremes(&p.schema[col])
		}
	}
	if len(p.group) == 1 {
		switch p.schema[p.group[0]].Type {
		case expr.Bool, expr.Uint8, expr.Int8:
			g.small = make([]int32, 1<<8)
		case expr.Uint16, expr.Int16:
			g.small = make([]int32, 1<<16)
		case expr.Int32, expr.Int64, expr.Uint32, expr.Uint64, expr.Time:
			g.small = make([]int32, 1<<16) // for values below it
			g.ints = map[uint64]int32{}
		case expr.Text, expr.Bytes:
			g.texts = map[string]int32{}
		}
	}
	return g
}

// add takes the rows of a chunk: cols are the columns of the groups and then
// those of the aggregates (an empty one for count(*)).
func (g *groups) add(cols []expr.Vector, n int) error {
	if cap(g.ids) < n {
		g.ids = make([]int32, n)
	}
	ids := g.ids[:n]
	if err := g.identify(cols, ids); err != nil {
		return err
	}
	for i := range g.aggs {
		v := &cols[len(g.p.group)+i]
		col := g.p.aggs[i]
		if col < 0 {
			count := g.aggs[i].count
			for _, id := range ids {
				count[id]++
			}
			continue
		}
		if err := g.aggs[i].add(g.p.Aggregates[i], &g.p.schema[col], v, ids); err != nil {
			return err
		}
	}
	return nil
}

// merge takes the groups of the next part of the table.
func (g *groups) merge(o *groups) error {
	for m, key := range o.keys {
		n, err := g.number(key)
		if err != nil {
			return err
		}
		for i := range g.aggs {
			s, t := &g.aggs[i], &o.aggs[i]
			s.count[n] += t.count[m]
			s.sum[n] += t.sum[m]
			s.addInt(int32(n), t.hi[m], t.lo[m])
			if s.best != nil {
				s.best.merge(t.best, m, n, g.p.Aggregates[i].Fn == Max)
				if err := s.fits(g.p.Aggregates[i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// rows makes the result, ordered by key.
func (g *groups) rows() (*Rows, error) {
	if len(g.p.group) == 0 && len(g.keys) == 0 {
		if _, err := g.number(nil); err != nil { // an aggregate of nothing is one row
			return nil, err
		}
	}
	order := make([]int, len(g.keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(g.keys[a], g.keys[b]) })
	out := &Rows{N: len(order), Columns: make([]expr.Vector, len(g.p.result))}
	for i, n := range order {
		key := g.keys[n]
		for c, col := range g.p.group {
			key = decode(key, &g.p.schema[col], &out.Columns[c], i)
		}
	}
	for a := range g.aggs {
		v := &out.Columns[len(g.p.group)+a]
		f := &g.p.result[len(g.p.group)+a]
		var col *expr.Field
		if g.p.aggs[a] >= 0 {
			col = &g.p.schema[g.p.aggs[a]]
		}
		if variable(f) {
			v.Offsets = []uint64{0}
		}
		for i, n := range order {
			if err := g.aggs[a].result(g.p.Aggregates[a], col, f, n, v, i); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
