package exec

import (
	"context"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"daos/internal/fault"
	"daos/query/expr"
)

// manyStrata is a table whose every row is a stratum of its own; reads counts
// how often columns were read.
type manyStrata struct {
	*table
	reads int
}

type countedPart struct {
	*part
	t *manyStrata
}

type countedChunk struct {
	Chunk
	t *manyStrata
}

func (t *manyStrata) Split(context.Context, expr.Expr, []int, int) ([]Part, error) {
	return []Part{&countedPart{&part{t: t.table, to: t.n, size: 1 << 15}, t}}, nil
}

func (p *countedPart) Next(ctx context.Context) (Chunk, error) {
	c, err := p.part.Next(ctx)
	return &countedChunk{c, p.t}, err
}

func (c *countedChunk) Read(ctx context.Context, cols []int, rows []uint32) ([]expr.Vector, error) {
	c.t.reads++
	return c.Chunk.Read(ctx, cols, rows)
}

// TestManyStrata reads a chunk a few times, however many strata are in it, and
// refuses too many soon.
func TestManyStrata(t *testing.T) {
	tb := &manyStrata{table: &table{n: 3 << 15, fail: -1, schema: expr.Schema{{Name: "id", Type: expr.Int64}}, cols: make([]expr.Vector, 1)}}
	for i := range tb.n {
		tb.cols[0].Values = binary.LittleEndian.AppendUint64(tb.cols[0].Values, uint64(i))
	}
	r := Request{Sample: &Sample{N: 2, By: "id"}, Where: where(t, "id < 60000")}
	got, _ := run(t, tb, r)
	if len(got) != 60000 || tb.reads > 12 {
		t.Errorf("%d rows, %d reads", len(got), tb.reads)
	}
	tb.reads, r.Where = 0, nil
	st, err := Open(context.Background(), tb, r)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err = st.Next(); err == nil || err == io.EOF || !fault.Is(err, fault.TooBig) || !strings.Contains(err.Error(), "65536 strata") || tb.reads > 9 {
		t.Errorf("%v after %d reads", err, tb.reads)
	}
}
