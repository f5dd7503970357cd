package source_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine/object"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/source"
)

// risingTable has one chunk of each column: ts and f rise, f has nulls and NaNs,
// some stretches of it nothing else.
func risingTable(t testing.TB, rng *rand.Rand, n int) *tensor.Table {
	t.Helper()
	tab := tensor.Open(store(t), "p/t")
	cols := []tensor.Column{
		{Name: "ts", Layout: tensor.Fixed, DType: tensor.Int64, ChunkSamples: 1 << 20},
		{Name: "f", Layout: tensor.Fixed, DType: tensor.Float32, Nullable: true, ChunkSamples: 1 << 20},
		{Name: "b", Layout: tensor.Fixed, DType: tensor.Bool, ChunkSamples: 1 << 20},
	}
	if _, err := tab.Define(ctx, object.RequestID{}, cols); err != nil {
		t.Fatal(err)
	}
	rows := &tensor.Rows{N: n, Columns: make([]tensor.Data, len(cols))}
	d := rows.Columns
	for i := range n {
		d[0].Values = binary.LittleEndian.AppendUint64(d[0].Values, uint64(int64(i-n/2+rng.IntN(500))))
		f, kind := float32(i)/1000, rng.IntN(10)
		switch stretch := i / 6000 % 5; {
		case kind == 0 || stretch == 1:
			f = float32(math.NaN())
		case kind == 1 || stretch == 2:
			f = float32(math.Copysign(0, -1))
		}
		null := kind == 2 || i/6000%5 == 3
		if null {
			f = 0
		}
		d[1].Values = binary.LittleEndian.AppendUint32(d[1].Values, math.Float32bits(f))
		d[1].Valid = append(d[1].Valid, boolByte(!null))
		d[2].Values = append(d[2].Values, boolByte(i > n/2))
	}
	if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(rows)); err != nil {
		t.Fatal(err)
	}
	return tab
}

// TestLearnedZonesPruneAndLoseNothing asks one pinned table again and again, whose
// zones are learned meanwhile, and compares with one that knows nothing.
func TestLearnedZonesPruneAndLoseNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	n := 50_000 + rng.IntN(3*tensor.ZoneRows)
	tab := risingTable(t, rng, n)
	pin := func() *tensor.Pinned {
		p, err := tab.Pin(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	known := pin()
	if _, ok := known.Learned(0, 0, 10); ok {
		t.Error("zones are known before anything was read")
	}
	scan := func(p *tensor.Pinned, unit uint64, w string) (string, exec.Counters) {
		table := source.Tensor("p/t", p)
		table.Unit = unit
		x, err := expr.Parse(w)
		if err != nil {
			t.Fatal(err)
		}
		rows, c := collect(t, table, exec.Request{Where: x, Columns: []string{source.RowID, "ts"}})
		return fmt.Sprintf("%d %x", rows.N, rows.Columns), c
	}
	for range 120 {
		at := rng.IntN(n) - n/2
		f := float64(rng.IntN(60)) - 2
		w := []string{
			fmt.Sprintf("ts between %d and %d", at, at+rng.IntN(3000)),
			fmt.Sprintf("f > %v and f < %v", f, f+1),
			fmt.Sprintf("f = %v", f), "isnan(f)", "f is null", "f is not null and not isnan(f)", "f = 0", "b", "not b",
			fmt.Sprintf("f >= %v or ts < %d", f, at), fmt.Sprintf("not (ts < %d)", at),
		}[rng.IntN(11)]
		unit := []uint64{tensor.ZoneRows, 3 * tensor.ZoneRows, 5000, 700, 0}[rng.IntN(5)]
		got, _ := scan(known, unit, w)
		if want, _ := scan(pin(), unit, w); got != want {
			t.Fatalf("%s in units of %d gives other rows once zones are known", w, unit)
		}
	}
	for _, w := range []string{"ts > -100000", "f > -1"} { // all of them are read
		scan(known, tensor.ZoneRows, w)
	}
	for w, most := range map[string]uint64{"ts = 1000": 2, "f = 20.25": 7} {
		_, c := scan(known, tensor.ZoneRows, w)
		_, before := scan(pin(), tensor.ZoneRows, w)
		if c.Read > most || before.Read < 12 || c.RowsMatched != before.RowsMatched {
			t.Errorf("%s: %d chunks are read, %d where nothing is known", w, c.Read, before.Read)
		}
	}
	if known.Kept() < 24*uint64(n/tensor.ZoneRows) {
		t.Errorf("%d bytes are kept", known.Kept())
	}
}
