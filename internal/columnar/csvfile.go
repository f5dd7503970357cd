package columnar

import (
	"context"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// csvKind is what all cells of a column can be read as; each includes those
// before it, but for bools.
type csvKind uint8

const (
	csvEmpty csvKind = iota
	csvBool
	csvInt
	csvFloat
	csvText
)

// csvRows is how many rows of a CSV file Next returns.
const csvRows = 16 << 10

// openCSV reads a CSV file with a header line. It reads it twice: the first
// time to learn the type of each column: bool, int64, float64, else string.
// An empty cell of a number is null.
func openCSV(name string) (*Source, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, openError(name, err)
	}
	s, err := csvSource(name, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.close = f.Close
	return s, nil
}

func csvSource(name string, f *os.File) (*Source, error) {
	bad := func(err error) error {
		return fault.New(fault.Invalid, "tensor.csv", name, "not a CSV file").Because(err)
	}
	rd := csv.NewReader(f)
	rd.ReuseRecord = true
	head, err := rd.Read()
	if err != nil {
		return nil, bad(err)
	}
	cols := make([]tensor.Column, len(head))
	kinds, holes := make([]csvKind, len(head)), make([]bool, len(head))
	for i, h := range head {
		cols[i] = tensor.Column{Name: strings.TrimPrefix(h, "\ufeff"), Layout: tensor.Fixed}
	}
	rows := int64(0)
	for {
		rec, err := rd.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, bad(err)
		}
		for i, cell := range rec {
			if cell == "" {
				holes[i] = true
			} else {
				kinds[i] = widen(kinds[i], cell)
			}
		}
		rows++
	}
	for i, k := range kinds {
		switch k {
		case csvBool:
			cols[i].DType = tensor.Bool
		case csvInt:
			cols[i].DType = tensor.Int64
		case csvFloat:
			cols[i].DType = tensor.Float64
		default:
			cols[i].Layout, cols[i].DType = tensor.String, tensor.Uint8
		}
		cols[i].Nullable = holes[i] && cols[i].Layout == tensor.Fixed
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, bad(err)
	}
	rd = csv.NewReader(f)
	rd.ReuseRecord = true
	if _, err := rd.Read(); err != nil {
		return nil, bad(err)
	}
	s := &Source{Columns: cols, Rows: rows}
	s.next = func(context.Context) (*tensor.Rows, error) {
		out := &tensor.Rows{Columns: make([]tensor.Data, len(cols))}
		for i := range cols {
			if cols[i].Layout != tensor.Fixed {
				out.Columns[i].Offsets = []uint64{0}
			}
		}
		for out.N < csvRows {
			rec, err := rd.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, bad(err)
			}
			for i, cell := range rec {
				if err := appendCell(&cols[i], &out.Columns[i], cell); err != nil {
					return nil, fault.New(fault.Invalid, "tensor.csv", name, "the file changed while it was read").Because(err)
				}
			}
			out.N++
		}
		if out.N == 0 {
			return nil, io.EOF
		}
		return out, nil
	}
	return s, nil
}

// widen is the narrowest kind that holds what k holds, and cell.
func widen(k csvKind, cell string) csvKind {
	have := csvText
	if _, err := strconv.ParseInt(cell, 10, 64); err == nil {
		have = csvInt
	} else if _, err := strconv.ParseFloat(cell, 64); err == nil {
		have = csvFloat
	} else if cell == "true" || cell == "false" || cell == "True" || cell == "False" {
		have = csvBool
	}
	switch {
	case k == csvEmpty || k == have:
		return have
	case k == csvBool || have == csvBool:
		return csvText
	}
	return max(k, have)
}

func appendCell(c *tensor.Column, d *tensor.Data, cell string) error {
	if c.Layout != tensor.Fixed {
		d.Values = append(d.Values, strings.ToValidUTF8(cell, "\uFFFD")...)
		d.Offsets = append(d.Offsets, uint64(len(d.Values)))
		return nil
	}
	if c.Nullable {
		valid := byte(1)
		if cell == "" {
			valid, cell = 0, "0"
			if c.DType == tensor.Bool {
				cell = "false"
			}
		}
		d.Valid = append(d.Valid, valid)
	}
	switch c.DType {
	case tensor.Bool:
		b, err := strconv.ParseBool(cell)
		v := byte(0)
		if b {
			v = 1
		}
		d.Values = append(d.Values, v)
		return err
	case tensor.Int64:
		n, err := strconv.ParseInt(cell, 10, 64)
		d.Values = binary.LittleEndian.AppendUint64(d.Values, uint64(n))
		return err
	default:
		x, err := strconv.ParseFloat(cell, 64)
		d.Values = binary.LittleEndian.AppendUint64(d.Values, math.Float64bits(x))
		return err
	}
}
