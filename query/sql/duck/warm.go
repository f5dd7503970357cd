//go:build cgo

package duck

import (
	"context"
	"encoding/binary"
	"io"

	"daos/query/exec"
	"daos/query/expr"
	"daos/query/sql"
)

// warm runs a statement over a table of one row, so that the first one of others
// need not wait for what DuckDB makes when it is first asked for it.
func (d *DB) warm() error {
	const text = `SELECT i, s FROM "w/t" WHERE i >= 0 AND s <> 'a'`
	tree, err := d.Tree(text)
	if err != nil {
		return err
	}
	plan, err := sql.Rewrite(tree, text, func(string) (expr.Schema, error) { return oneRow{}.Schema(), nil })
	if err != nil {
		return err
	}
	tables := map[string]Table{}
	for _, r := range plan.Refs {
		tables[r.Handle] = oneRow{}
	}
	err = d.Query(context.Background(), plan, tables, nil, func(expr.Schema) error { return nil }, func(*exec.Rows) error { return nil })
	d.tables = nil
	return err
}

// oneRow is a table of one row.
type oneRow struct{}

func (oneRow) Schema() expr.Schema {
	return expr.Schema{{Name: "i", Type: expr.Int64}, {Name: "s", Type: expr.Text}}
}

func (oneRow) Rows() (uint64, bool) { return 1, true }

func (oneRow) Open(columns []int) (Reader, error) { return &oneRowReader{columns: columns}, nil }

type oneRowReader struct {
	columns []int
	done    bool
}

func (r *oneRowReader) Close() {}

func (r *oneRowReader) Next() (*exec.Rows, error) {
	if r.done {
		return nil, io.EOF
	}
	r.done = true
	const long = "a text that is not kept within its vector"
	all := []expr.Vector{{Values: binary.LittleEndian.AppendUint64(nil, 1)}, {Values: []byte(long), Offsets: []uint64{0, uint64(len(long))}}}
	out := &exec.Rows{N: 1}
	for _, c := range r.columns {
		out.Columns = append(out.Columns, all[c])
	}
	return out, nil
}
