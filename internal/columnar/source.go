package columnar

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// Source is a file of tensors as rows of columns. Close releases the file.
type Source struct {
	Columns []tensor.Column
	Rows    int64 // -1: not known before the end
	// Notes say what was converted on the way.
	Notes []string

	next  func(ctx context.Context) (*tensor.Rows, error)
	close func() error
}

// Next returns further rows, io.EOF after the last; they are valid until the
// next call.
func (s *Source) Next(ctx context.Context) (*tensor.Rows, error) { return s.next(ctx) }

// Close releases the file.
func (s *Source) Close() error { return s.close() }

// batchBytes is how much Next returns at a time, about.
const batchBytes = 8 << 20

// formats are the file formats by extension.
var formats = map[string]string{
	".npy": "npy", ".npz": "npz", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow", ".arrows": "arrow",
	".parquet": "parquet", ".pq": "parquet", ".csv": "csv",
}

// FormatOf is the format of a file name: npy, npz, arrow, parquet or csv.
func FormatOf(name string) (string, error) {
	if f, ok := formats[strings.ToLower(filepath.Ext(name))]; ok {
		return f, nil
	}
	return "", fault.New(fault.Invalid, "tensor.format", name, "the name does not tell a format").
		Do("use .npy, .npz, .arrow, .parquet or .csv, or --format")
}

// Open opens a file of tensors. format is empty or one of FormatOf's; column
// names the single column of an .npy file.
func Open(name, format, column string) (*Source, error) {
	if format == "" {
		var err error
		if format, err = FormatOf(name); err != nil {
			return nil, err
		}
	}
	switch format {
	case "npy":
		if column == "" {
			column = strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
		}
		return openNpy(name, column)
	case "npz":
		return openNpz(name)
	case "arrow":
		return openArrow(name)
	case "parquet":
		return openParquet(name)
	case "csv":
		return openCSV(name)
	}
	return nil, fault.New(fault.Invalid, "tensor.format", format, "not a format").Do("use npy, npz, arrow, parquet or csv")
}

// Select returns s with the named columns only, in that order.
func (s *Source) Select(names []string) error {
	if len(names) == 0 {
		return nil
	}
	at := make([]int, 0, len(names))
	var cols []tensor.Column
	for _, n := range names {
		i := -1
		for k := range s.Columns {
			if s.Columns[k].Name == n {
				i = k
			}
		}
		if i < 0 {
			var have []string
			for k := range s.Columns {
				have = append(have, s.Columns[k].Name)
			}
			return fault.New(fault.NotFound, "tensor.columns", n, "the file has no such column").Do("it has %s", strings.Join(have, ", "))
		}
		at = append(at, i)
		cols = append(cols, s.Columns[i])
	}
	next := s.next
	s.Columns = cols
	s.next = func(ctx context.Context) (*tensor.Rows, error) {
		r, err := next(ctx)
		if err != nil {
			return nil, err
		}
		out := &tensor.Rows{N: r.N}
		for _, i := range at {
			out.Columns = append(out.Columns, r.Columns[i])
		}
		return out, nil
	}
	return nil
}

func openError(name string, err error) error {
	return fault.New(fault.KindOf(err), "tensor.open", name, "can't be opened").Because(unwrapPath(err))
}

func closeAll(cs ...io.Closer) error {
	var errs []error
	for _, c := range cs {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
