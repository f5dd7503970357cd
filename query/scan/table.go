package scan

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"

	"github.com/apache/arrow/go/v17/arrow"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/query/exec"
	"daos/query/expr"
)

// Table is the namespace of a POSIX dataset below a directory as a table for
// query/exec: one row for each file, directory and symbolic link, in the order
// of the index. Its columns are those of Columns and "ext", the part of the
// name behind its last dot.
type Table struct {
	name   string
	fs     *posix.FS
	v      *posix.View
	path   string
	schema expr.Schema
}

const extColumn = numColumns

// TableSchema is the columns of every Table.
func TableSchema() expr.Schema {
	var s expr.Schema
	for _, f := range table() {
		t := expr.Text
		switch f.Type.ID() {
		case arrow.BINARY:
			t = expr.Bytes
		case arrow.UINT64:
			t = expr.Uint64
		case arrow.UINT32:
			t = expr.Uint32
		case arrow.TIMESTAMP:
			t = expr.Time
		}
		s = append(s, expr.Field{Name: f.Name, Type: t})
	}
	return append(s, expr.Field{Name: "ext", Type: expr.Text})
}

// NewTable makes a table of the entries below a directory at a view's epoch.
func NewTable(name string, fs *posix.FS, v *posix.View, path string) *Table {
	return &Table{name: name, fs: fs, v: v, path: path, schema: TableSchema()}
}

// Name is its address.
func (t *Table) Name() string { return t.name }

// Schema is its columns.
func (t *Table) Schema() expr.Schema { return t.schema }

// Key is the inode number: samples are drawn by it.
func (t *Table) Key() int { return colInode }

// Split cuts the index into ranges. Conditions on size, mtime and type are
// evaluated on the stored records, before a row is made; of a condition on paths
// only the directories are read that it leaves over, of one on times only the
// blocks of the index that have such.
func (t *Table) Split(ctx context.Context, where expr.Expr, columns []int, want int) ([]exec.Part, error) {
	f := lift(where)
	compiled, err := f.compile()
	if err != nil {
		return nil, err
	}
	ds, err := newDirs(ctx, t.v, t.path)
	if err != nil {
		return nil, err
	}
	cols := make([]int, 0, len(columns)+1)
	name := false
	for _, c := range columns {
		if c != extColumn {
			cols = append(cols, c)
		}
		name = name || c == colName
	}
	for _, c := range columns {
		if c == extColumn && !name {
			cols = append(cols, colName)
		}
	}
	var from []rows
	pieces, listed, err := t.subtree(ctx, ds, where)
	switch {
	case err != nil:
		return nil, err
	case listed:
		for _, p := range divide(pieces, want) {
			from = append(from, &listing{p})
		}
	default:
		times := compiled.times()
		for _, a := range t.fs.Anchors(want) {
			from = append(from, &passing{a, times})
		}
	}
	parts := make([]exec.Part, len(from))
	for i := range from {
		parts[i] = &tablePart{t: t, cols: cols, from: from[i],
			w: worker{v: t.v, dirs: ds, filter: compiled, rows: MaxBatchRows, b: newBuilder(cols)}}
	}
	return parts, nil
}

// lift makes a Filter of the conjuncts that the stored records can answer. The
// predicate is evaluated again on the rows, so a Filter may let through more.
func lift(where expr.Expr) Filter {
	var f Filter
	for _, x := range expr.Comparisons(where) {
		col, op, v, ok := expr.Comparison(x)
		if !ok {
			continue
		}
		switch {
		case col == "size" && v.Type == expr.Int64 && v.I >= 0:
			n := uint64(v.I)
			switch op {
			case expr.Gt:
				n++
			case expr.Lt:
				n = max(n, 1) - 1 // below 0 there is none: the predicate says so
			}
			if (op == expr.Eq || op == expr.Gt || op == expr.Ge) && (f.MinSize == nil || *f.MinSize < n) {
				f.MinSize = &n
			}
			if (op == expr.Eq || op == expr.Lt || op == expr.Le) && (f.MaxSize == nil || *f.MaxSize > n) {
				f.MaxSize = &n
			}
		case col == "mtime":
			ns := v.I
			if v.Type == expr.Text {
				if ns, ok = expr.ParseTime(v.S); !ok {
					continue
				}
			} else if v.Type != expr.Time {
				continue
			}
			if op != expr.Lt && op != expr.Le && op != expr.Ne && (f.MinMtime == nil || *f.MinMtime < ns) {
				f.MinMtime = &ns
			}
			if op != expr.Gt && op != expr.Ge && op != expr.Ne && ns < math.MaxInt64 {
				if after := ns + 1; f.MaxMtime == nil || *f.MaxMtime > after {
					f.MaxMtime = &after
				}
			}
		case col == "type" && op == expr.Eq && v.Type == expr.Text && f.Types == nil:
			for ty := posix.TypeFile; ty <= posix.TypeSymlink; ty++ {
				if ty.String() == v.S {
					f.Types = []posix.Type{ty}
				}
			}
		}
	}
	return f
}

type tablePart struct {
	t    *Table
	cols []int
	w    worker
	from rows
	end  bool

	scanned uint64
}

func (p *tablePart) Close() {}

// ScannedRows is the entries that were looked at since it was asked last.
func (p *tablePart) ScannedRows() uint64 {
	n := p.scanned
	p.scanned = 0
	return n
}

// Next scans on until rows enough have been found for a chunk.
func (p *tablePart) Next(ctx context.Context) (exec.Chunk, error) {
	w := &p.w
	for !p.end {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var n Counters
		var bad error
		end, err := p.from.pass(ctx, w, func(r object.Row) bool {
			if w.b.full(w.rows) || n.Met >= quiet/16 {
				return false
			}
			if bad = w.row(ctx, &r, &n); bad != nil {
				return false
			}
			n.Met++
			return true
		})
		if err = errors.Join(bad, err); err != nil {
			return nil, err
		}
		p.end = end
		p.scanned += n.Scanned
		if w.b.rows == 0 {
			continue
		}
		return &tableChunk{p: p, rec: w.b.finish(w.rows)}, nil
	}
	return nil, io.EOF
}

type tableChunk struct {
	p   *tablePart
	rec arrow.Record
}

func (c *tableChunk) Rows() int           { return int(c.rec.NumRows()) }
func (c *tableChunk) Stats() []expr.Stats { return nil }

func (c *tableChunk) Read(_ context.Context, columns []int, rows []uint32) ([]expr.Vector, error) {
	out := make([]expr.Vector, len(columns))
	for i, col := range columns {
		v := c.column(col)
		if rows != nil {
			v = exec.Pick(&c.p.t.schema[col], &v, rows)
		}
		out[i] = v
	}
	return out, nil
}

func (c *tableChunk) column(col int) expr.Vector {
	if col == extColumn {
		return extensions(c.column(colName), c.Rows())
	}
	for i, have := range c.p.cols {
		if have == col {
			return vectorOf(c.rec.Column(i), c.Rows())
		}
	}
	return expr.Vector{}
}

// vectorOf is an array of a builder as a vector; it begins at offset 0.
func vectorOf(a arrow.Array, n int) expr.Vector {
	bufs := a.Data().Buffers()
	var v expr.Vector
	if a.NullN() > 0 {
		v.Valid = make([]byte, n)
		for i := range v.Valid {
			if a.IsValid(i) {
				v.Valid[i] = 1
			}
		}
	}
	if len(bufs) == 2 {
		v.Values = bufs[1].Bytes()
		return v
	}
	v.Values = bufs[2].Bytes()
	offsets := arrow.Int32Traits.CastFromBytes(bufs[1].Bytes())
	v.Offsets = make([]uint64, n+1)
	for i := range v.Offsets {
		v.Offsets[i] = uint64(offsets[i])
	}
	return v
}

// extensions are the parts of names behind their last dot; a name without one,
// or with one at its beginning only, has the extension "".
func extensions(names expr.Vector, n int) expr.Vector {
	out := expr.Vector{Offsets: make([]uint64, 1, n+1)}
	for i := range n {
		s := names.Values[names.Offsets[i]:names.Offsets[i+1]]
		if dot := bytes.LastIndexByte(s, '.'); dot > 0 {
			out.Values = append(out.Values, s[dot+1:]...)
		}
		out.Offsets = append(out.Offsets, uint64(len(out.Values)))
	}
	return out
}
