package service

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"daos/dataset/posix"
	"daos/dataset/tensor"
	"daos/internal/fault"
	"daos/loader/manifest"
	"daos/query/expr"
	"daos/server/pool"
)

// rowNames are the columns of a result that name samples, by type of dataset;
// of each row the first that is not null.
var rowNames = map[pool.Type][]string{
	pool.TypePosix: {"path_bytes", "path"}, pool.TypeKV: {"key", "key_text"}, pool.TypeTensor: {"_id"}, pool.TypeArray: {"_id"},
}

// scanColumns are those that a scan reads for that.
var scanColumns = map[pool.Type][]string{
	pool.TypePosix: {"path_bytes", "path", "type"}, pool.TypeKV: {"key", "akey"}, pool.TypeTensor: {"_id"}, pool.TypeArray: {"_id"},
}

// cells is one column of some rows of a result.
type cells struct {
	name    string
	integer tensor.DType // 0: text or bytes
	expr.Vector
}

func (c *cells) null(row int) bool { return c.Valid != nil && c.Valid[row] == 0 }

func (c *cells) text(row int) []byte { return c.Values[c.Offsets[row]:c.Offsets[row+1]] }

// number is a cell that is not negative.
func (c *cells) number(row int) (n uint64, ok bool) {
	w := c.integer.Size()
	var b [8]byte
	copy(b[:], c.Values[row*w:(row+1)*w])
	n = binary.LittleEndian.Uint64(b[:])
	if c.integer <= tensor.Int64 { // signed
		return n, b[w-1]&0x80 == 0
	}
	return n, true
}

// numberer turns the rows of a result into samples of one dataset.
type numberer struct {
	what    string // for errors: "p/photos"
	kind    pool.Type
	picker  *manifest.Picker
	finder  *manifest.Finder // of files and keys
	stat    func(ctx context.Context, path string) (posix.Type, error)
	each    uint64 // of arrays: elements of a sample
	axis    string // of arrays with several axes: the column of the first
	repeats bool   // a sample may come more than once
	skip    bool   // what is no sample of the manifest is left out
	leftOut uint64
}

// wanted are the columns that name samples.
func (x *numberer) wanted() []string {
	if x.axis != "" {
		return []string{x.axis, "_id"}
	}
	return rowNames[x.kind]
}

// main is the column that people know samples by.
func (x *numberer) main() string {
	switch {
	case x.axis != "":
		return x.axis
	case x.kind == pool.TypePosix:
		return "path"
	}
	return rowNames[x.kind][0]
}

// columns picks the columns that name samples, and those that tell what is none,
// out of those of a result.
func (x *numberer) columns(all []tensor.Column) ([]int, error) {
	var out []int
	find := func(name string, number bool) error {
		for i := range all {
			c := &all[i]
			if c.Name != name {
				continue
			}
			isNumber := c.Layout == tensor.Fixed && len(c.Shape) == 0 && c.DType >= tensor.Int8 && c.DType <= tensor.Uint64
			if number && !isNumber || !number && c.Layout != tensor.String && c.Layout != tensor.Bytes {
				return fault.New(fault.Invalid, "view.save", x.what, "column %s of the result is not what the table has under this name", name).Do("select %s as it is", name)
			}
			out = append(out, i)
			return nil
		}
		return nil
	}
	for _, name := range x.wanted() {
		if err := find(name, x.finder == nil); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		names := make([]string, 0, len(all))
		for i := range all {
			names = append(names, all[i].Name)
		}
		return nil, fault.New(fault.Invalid, "view.save", x.what, "the result has no column that names samples of a %s dataset; it has %s", x.kind, strings.Join(names[:min(len(names), 20)], ", ")).
			Do("select %s too", x.main())
	}
	if x.kind == pool.TypePosix && find("type", false) != nil || x.kind == pool.TypeKV && find("akey", false) != nil {
		return out, nil // it is something else
	}
	return out, nil
}

// add takes rows.
func (x *numberer) add(ctx context.Context, n int, cols []cells) error {
	for row := range n {
		if row%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := x.one(ctx, row, cols); err != nil {
			return err
		}
	}
	return nil
}

func (x *numberer) one(ctx context.Context, row int, cols []cells) error {
	var by *cells
	kind := ""
	for i := range cols {
		c := &cols[i]
		switch {
		case c.name == "type" && x.kind == pool.TypePosix && c.integer == 0 && !c.null(row):
			kind = string(c.text(row))
		case c.name == "akey" && x.kind == pool.TypeKV:
			if c.integer == 0 && !c.null(row) && len(c.text(row)) > 0 {
				x.leftOut++ // only values of the default akey are samples
				return nil
			}
		case by == nil && c.name != "type" && c.name != "akey" && !c.null(row):
			by = c
		}
	}
	if by == nil {
		return fault.New(fault.Invalid, "view.save", x.what, "a row of the result names no sample: its %s is null", x.main()).
			Do("leave such rows out: WHERE ... IS NOT NULL")
	}
	if kind == posix.TypeDir.String() || kind == posix.TypeSymlink.String() {
		x.leftOut++
		return nil
	}
	if x.finder == nil {
		i, ok := by.number(row)
		if !ok {
			return fault.New(fault.Invalid, "view.save", x.what, "sample %d", int64(i)).Do("select %s as it is", by.name)
		}
		if by.name == "_id" && x.each > 1 {
			i /= x.each
		}
		return x.pick(i, func() string { return fmt.Sprintf("sample %d", i) })
	}
	name := by.text(row)
	i, ok, err := x.finder.Find(name)
	switch {
	case err != nil:
		return err
	case ok:
		return x.pick(i, func() string { return fmt.Sprintf("%q", printableName(name)) })
	case x.skip:
		return nil
	case x.stat != nil:
		t, err := x.stat(ctx, string(name))
		if err == nil && t != posix.TypeFile {
			x.leftOut++
			return nil
		}
		if err != nil && !fault.Is(err, fault.NotFound, fault.NotDirectory, fault.Invalid) {
			return err
		}
	}
	return fault.New(fault.NotFound, "view.save", x.what, "the result names %q, which is no sample of it", printableName(name)).
		Do("select %s as the table has it, from the dataset that the view is of", by.name)
}

func printableName(b []byte) string {
	return strings.ToValidUTF8(string(b[:min(len(b), 256)]), "\ufffd")
}

func (x *numberer) pick(i uint64, name func() string) error {
	fresh, err := x.picker.Add(i)
	if err != nil {
		return fault.Wrap(err, "view.save", x.what)
	}
	if !fresh && !x.repeats {
		return fault.New(fault.Invalid, "view.save", x.what, "%s comes more than once in the result", name()).Do("select each sample once: SELECT DISTINCT, or GROUP BY")
	}
	return nil
}

// vectors makes cells of the columns of a scan.
func vectors(s expr.Schema, cols []expr.Vector) []cells {
	out := make([]cells, len(cols))
	for i := range cols {
		out[i] = cells{name: s[i].Name, Vector: cols[i]}
		if t := s[i].Type; t >= expr.Int8 && t <= expr.Uint64 {
			out[i].integer = tensor.Int8 + tensor.DType(t-expr.Int8)
		}
	}
	return out
}

// datas makes cells of columns of an Arrow stream.
func datas(cols []tensor.Column, rows *tensor.Rows, places []int) []cells {
	out := make([]cells, len(places))
	for k, i := range places {
		d := &rows.Columns[i]
		out[k] = cells{name: cols[i].Name, Vector: expr.Vector{Values: d.Values, Offsets: d.Offsets, Valid: d.Valid}}
		if cols[i].Layout == tensor.Fixed {
			out[k].integer = cols[i].DType
		}
	}
	return out
}

// statOf tells the type of a path at an epoch.
func statOf(v *posix.View) func(ctx context.Context, path string) (posix.Type, error) {
	return func(ctx context.Context, path string) (posix.Type, error) {
		a, err := v.Stat(ctx, posix.ByPath(path), false)
		return a.Type, err
	}
}
