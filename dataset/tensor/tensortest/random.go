package tensortest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"daos/dataset/tensor"
	"daos/engine/object"
)

// Random runs steps of random appends, overwrites and reads against plain
// slices, comparing the table, its statistics and kept epochs. The seed is
// printed; DAOS_TEST_SEED repeats one.
func Random(t *testing.T, newStore NewStore, steps int) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DAOS_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("seed %d (repeat with DAOS_TEST_SEED=%d)", seed, seed)
	m := &model{env: env{T: t, st: newStore(t), ctx: context.Background()}, rng: rand.New(rand.NewPCG(seed, 1))}
	m.reopen()
	m.cols = m.define(randomColumns(m.rng)...)
	m.cells = make([]Cells, len(m.cols))
	for range steps {
		m.step()
	}
	m.checkAll()
}

type model struct {
	env
	rng   *rand.Rand
	cols  []tensor.Column
	cells []Cells
	kept  []kept
}

// kept is what the table held at an epoch.
type kept struct {
	at    object.Epoch
	cells []Cells
}

// randomColumns has every dtype, layout and nullability.
func randomColumns(rng *rand.Rand) []tensor.Column {
	var cols []tensor.Column
	for d := tensor.Bool; d <= tensor.Float64; d++ {
		c := tensor.Column{Name: "f" + d.String(), Layout: tensor.Fixed, DType: d, Nullable: rng.IntN(2) == 0, ChunkSamples: 1 + rng.Uint64N(30)}
		for rng.IntN(2) == 0 {
			c.Shape = append(c.Shape, 1+rng.Uint64N(3))
		}
		r := tensor.Column{Name: "r" + d.String(), Layout: tensor.Ragged, DType: d, Nullable: rng.IntN(2) == 0, ChunkSamples: 1 + rng.Uint64N(30)}
		cols = append(cols, c, r)
	}
	for i, l := range []tensor.Layout{tensor.Bytes, tensor.String} {
		for k := range 2 {
			cols = append(cols, tensor.Column{Name: fmt.Sprintf("v%d%d", i, k), Layout: l, Nullable: k == 1, ChunkSamples: 1 + rng.Uint64N(30)})
		}
	}
	rng.Shuffle(len(cols), func(i, j int) { cols[i], cols[j] = cols[j], cols[i] })
	return cols[:6]
}

func (m *model) reopen() { m.tab = tensor.Open(m.st, "p/t") }

func (m *model) length() int { return len(m.cells[0]) }

func (m *model) random(cols []int, n int) (*tensor.Rows, []Cells) {
	picked, cells := make([]tensor.Column, len(cols)), make([]Cells, len(cols))
	for i, c := range cols {
		picked[i], cells[i] = m.cols[c], RandomCells(m.rng, &m.cols[c], n)
	}
	return PackRows(picked, cells), cells
}

func (m *model) step() {
	all := make([]int, len(m.cols))
	for i := range all {
		all[i] = i
	}
	switch m.rng.IntN(6) {
	case 0, 1:
		var pieces []*tensor.Rows
		for range m.rng.IntN(4) {
			rows, cells := m.random(all, m.rng.IntN(25))
			pieces = append(pieces, rows)
			for i := range cells {
				m.cells[i] = append(m.cells[i], cells[i]...)
			}
		}
		m.append(pieces...)
	case 2, 3:
		if m.length() == 0 {
			return
		}
		start := m.rng.IntN(m.length())
		n := m.rng.IntN(min(m.length()-start, 40) + 1)
		cols := m.rng.Perm(len(m.cols))[:1+m.rng.IntN(len(m.cols))]
		rows, cells := m.random(cols, n)
		names := make([]string, len(cols))
		for i, c := range cols {
			names[i] = m.cols[c].Name
			next := append(Cells{}, m.cells[c]...)
			copy(next[start:], cells[i])
			m.cells[c] = next
		}
		_, err := m.tab.Overwrite(m.ctx, tensor.OverwriteOptions{Start: uint64(start), Columns: names}, Source(rows))
		m.ok(err)
	case 4:
		at, err := m.st.ReadEpoch(m.ctx, 0)
		m.ok(err)
		k := kept{at: at}
		for _, c := range m.cells {
			k.cells = append(k.cells, append(Cells{}, c...))
		}
		m.kept = append(m.kept, k)
		m.reopen()
	case 5:
		m.readSome()
	}
}

func (m *model) readSome() {
	sel := tensor.Selection{Columns: []string{m.cols[0].Name, m.cols[3].Name}}
	want := []Cells{nil, nil}
	take := func(i int) {
		want[0], want[1] = append(want[0], m.cells[0][i]), append(want[1], m.cells[3][i])
	}
	n := m.length()
	if m.rng.IntN(2) == 0 && n > 0 {
		sel.ByIndex = true
		for range m.rng.IntN(60) {
			i := m.rng.IntN(n)
			sel.Indices = append(sel.Indices, uint64(i))
			take(i)
		}
	} else {
		sel.Start, sel.Stop, sel.Step = uint64(m.rng.IntN(n+5)), uint64(m.rng.IntN(n+5)), 1+uint64(m.rng.IntN(5))
		for i := sel.Start; i < min(sel.Stop, uint64(n)); i += sel.Step {
			take(int(i))
		}
	}
	m.same(m.read(0, sel), want)
}

func (m *model) checkAll() {
	m.kept = append(m.kept, kept{0, m.cells})
	for _, k := range m.kept {
		m.same(m.read(k.at, all), k.cells)
		for i := range m.cols {
			stats, err := m.tab.Stats(m.ctx, k.at, m.cols[i].Name)
			m.ok(err)
			if err := checkAllStats(&m.cols[i], stats, k.cells[i]); err != nil {
				m.Fatal(err)
			}
		}
	}
}
