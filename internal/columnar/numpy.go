package columnar

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"daos/dataset/tensor"
	"daos/internal/fault"
	"daos/internal/npy"
)

// maxTranspose bounds an array in Fortran order, which is turned in memory.
const maxTranspose = 2 << 30

func unwrapPath(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// npyArray is one array being read along its first axis.
type npyArray struct {
	name   string
	h      npy.Header
	r      io.Reader
	col    tensor.Column
	sample int // bytes of one sample as stored in the file
}

func newNpyArray(name string, r io.Reader) (*npyArray, error) {
	h, body, err := npy.Read(r, name)
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) && f.Resource == "" {
			f.Resource = name
		}
		return nil, err
	}
	if len(h.Shape) == 0 {
		return nil, fault.New(fault.Invalid, "tensor.npy", name, "a single value has no sample axis").Do("give it one: numpy.atleast_1d")
	}
	a := &npyArray{name: name, h: h, r: body, col: tensor.Column{Name: name, Layout: tensor.Fixed}, sample: h.Size}
	for _, n := range h.Shape[1:] {
		if n == 0 {
			return nil, fault.New(fault.Invalid, "tensor.npy", name, "shape %v has no elements in a sample", h.Shape)
		}
		a.col.Shape = append(a.col.Shape, uint64(n))
		a.sample *= int(n)
	}
	if a.sample > tensor.MaxSampleBytes {
		return nil, fault.New(fault.TooBig, "tensor.npy", name, "samples of %d bytes, at most %d are allowed", a.sample, tensor.MaxSampleBytes)
	}
	switch h.Kind {
	case 'S', 'U':
		if len(h.Shape) != 1 {
			return nil, fault.New(fault.Unsupported, "tensor.npy", name, "an array of strings with %d axes", len(h.Shape)).Do("save one axis: a string for each sample")
		}
		a.col.DType, a.col.Layout = tensor.Uint8, tensor.Bytes
		if h.Kind == 'U' {
			a.col.Layout = tensor.String
		}
		return a, nil
	}
	if a.col.DType, err = tensor.ParseDType(h.DType()); err != nil {
		return nil, err
	}
	if h.Fortran && len(h.Shape) > 1 {
		return a, a.transpose()
	}
	return a, nil
}

// transpose reads the whole array and turns it into C order.
func (a *npyArray) transpose() error {
	total := int64(a.sample) * a.h.Shape[0]
	if total > maxTranspose {
		return fault.New(fault.TooBig, "tensor.npy", a.name, "an array of %d bytes in Fortran order", total).Do("save it in C order: numpy.ascontiguousarray")
	}
	in := make([]byte, total)
	if _, err := io.ReadFull(a.r, in); err != nil {
		return a.short(err)
	}
	out := make([]byte, total)
	shape, size := a.h.Shape, a.h.Size
	index := make([]int64, len(shape))
	for at := 0; at < len(out); at += size {
		off, stride := int64(0), int64(1)
		for k, i := range index { // first axis fastest
			off += i * stride
			stride *= shape[k]
		}
		copy(out[at:at+size], in[off*int64(size):])
		for k := len(index) - 1; k >= 0; k-- {
			if index[k]++; index[k] < shape[k] {
				break
			}
			index[k] = 0
		}
	}
	a.r = bytes.NewReader(out)
	return nil
}

func (a *npyArray) short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.New(fault.Invalid, "tensor.npy", a.name, "the array is cut short")
	}
	return fault.New(fault.KindOf(err), "tensor.npy", a.name, "can't be read").Because(err)
}

// read returns n further samples.
func (a *npyArray) read(n int) (tensor.Data, error) {
	raw := make([]byte, n*a.sample)
	if _, err := io.ReadFull(a.r, raw); err != nil {
		return tensor.Data{}, a.short(err)
	}
	if a.h.Big {
		unit := a.h.Size
		if a.h.Kind == 'U' {
			unit = 4
		}
		npy.Swap(raw, unit)
	}
	if a.h.Kind != 'S' && a.h.Kind != 'U' {
		return tensor.Data{Values: raw}, nil
	}
	d := tensor.Data{Offsets: make([]uint64, 1, n+1)}
	for i := range n {
		cell := raw[i*a.sample : (i+1)*a.sample]
		if a.h.Kind == 'S' {
			d.Values = append(d.Values, bytes.TrimRight(cell, "\x00")...)
		} else {
			for k := 0; k+4 <= len(cell); k += 4 {
				r := rune(binary.LittleEndian.Uint32(cell[k:]))
				if r == 0 {
					break
				}
				d.Values = utf8.AppendRune(d.Values, r)
			}
		}
		d.Offsets = append(d.Offsets, uint64(len(d.Values)))
	}
	return d, nil
}

func openNpy(name, column string) (*Source, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, openError(name, err)
	}
	a, err := newNpyArray(column, f)
	if err != nil {
		_ = f.Close() // opened for reading
		var e *fault.Error
		if errors.As(err, &e) {
			e.Resource = name
		}
		return nil, err
	}
	return arraysSource([]*npyArray{a}, f.Close), nil
}

func openNpz(name string) (*Source, error) {
	z, err := zip.OpenReader(name)
	if err != nil {
		if errors.Is(err, zip.ErrFormat) {
			return nil, fault.New(fault.Invalid, "tensor.open", name, "not a .npz file").Do("save it with numpy.savez")
		}
		return nil, openError(name, err)
	}
	var arrays []*npyArray
	closers := []io.Closer{z}
	fail := func(err error) (*Source, error) {
		_ = closeAll(closers...) // opened for reading; err says what matters
		return nil, err
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return fail(fault.New(fault.Invalid, "tensor.open", name+": "+f.Name, "can't be read").Because(err))
		}
		closers = append(closers, r)
		a, err := newNpyArray(strings.TrimSuffix(f.Name, ".npy"), r)
		if err != nil {
			return fail(err)
		}
		if len(arrays) > 0 && a.h.Shape[0] != arrays[0].h.Shape[0] {
			return fail(fault.New(fault.Invalid, "tensor.open", name, "array %q has %d samples and %q has %d", a.name, a.h.Shape[0], arrays[0].name, arrays[0].h.Shape[0]).
				Do("all columns of a tensor dataset have one length; choose some with --columns"))
		}
		arrays = append(arrays, a)
	}
	if len(arrays) == 0 {
		return fail(fault.New(fault.Invalid, "tensor.open", name, "there is no array in it"))
	}
	return arraysSource(arrays, func() error { return closeAll(closers...) }), nil
}

func arraysSource(arrays []*npyArray, closer func() error) *Source {
	s := &Source{Rows: arrays[0].h.Shape[0], close: closer}
	sample := 0
	for _, a := range arrays {
		s.Columns = append(s.Columns, a.col)
		sample += a.sample
	}
	left := s.Rows
	s.next = func(context.Context) (*tensor.Rows, error) {
		if left == 0 {
			return nil, io.EOF
		}
		n := int(min(left, int64(max(1, batchBytes/max(sample, 1)))))
		left -= int64(n)
		rows := &tensor.Rows{N: n}
		for _, a := range arrays {
			d, err := a.read(n)
			if err != nil {
				return nil, err
			}
			rows.Columns = append(rows.Columns, d)
		}
		return rows, nil
	}
	return s
}

// NpyWriter writes one column as an array file: the header first, so the
// number of samples must be known.
type NpyWriter struct {
	w    io.Writer
	col  tensor.Column
	left int64
	text int // bytes of one element of text; 0 for numbers
}

// NewNpyWriter writes the header. longest is the longest sample of a column of
// bytes (in bytes) or strings (in characters), which numpy stores padded.
func NewNpyWriter(w io.Writer, col tensor.Column, samples int64, longest int) (*NpyWriter, error) {
	return newNpyWriter(w, col, samples, longest, false)
}

// newNpyWriter is NewNpyWriter; alone leaves out the axis of the samples.
func newNpyWriter(w io.Writer, col tensor.Column, samples int64, longest int, alone bool) (*NpyWriter, error) {
	h := npy.Header{Shape: []int64{samples}}
	out := &NpyWriter{w: w, col: col, left: samples}
	switch col.Layout {
	case tensor.Fixed:
		n, err := npy.ParseDType(col.DType.String())
		if err != nil {
			return nil, err
		}
		h.Kind, h.Size = n.Kind, n.Size
		for _, d := range col.Shape {
			h.Shape = append(h.Shape, int64(d))
		}
	case tensor.Bytes:
		h.Kind, h.Size = 'S', max(longest, 1)
		out.text = h.Size
	case tensor.String:
		h.Kind, h.Size = 'U', 4*max(longest, 1)
		out.text = h.Size
	default:
		return nil, fault.New(fault.Unsupported, "tensor.npy", col.Name, "samples of different lengths have no form in numpy's files").Do("export to .arrow or .parquet")
	}
	if alone {
		h.Shape = h.Shape[1:]
	}
	return out, npy.Write(w, h)
}

// Write appends rows.
func (n *NpyWriter) Write(d *tensor.Data, rows int) error {
	if n.left -= int64(rows); n.left < 0 {
		return fault.New(fault.Internal, "tensor.npy", n.col.Name, "more samples than announced")
	}
	for i, v := range d.Valid {
		if v == 0 {
			return fault.New(fault.Unsupported, "tensor.npy", n.col.Name, "sample %d of this piece is null, which numpy's files can't say", i).Do("export to .arrow or .parquet")
		}
	}
	if n.text == 0 {
		_, err := n.w.Write(d.Values)
		return err
	}
	buf := make([]byte, 0, rows*n.text)
	for i := range rows {
		cell := d.Values[d.Offsets[i]:d.Offsets[i+1]]
		start := len(buf)
		if n.col.Layout == tensor.Bytes {
			if len(cell) > 0 && cell[len(cell)-1] == 0 {
				return fault.New(fault.Unsupported, "tensor.npy", n.col.Name, "a sample ends in a zero byte, which numpy's files drop").Do("export to .arrow or .parquet")
			}
			buf = append(buf, cell...)
		} else {
			for _, r := range string(cell) {
				buf = binary.LittleEndian.AppendUint32(buf, uint32(r))
			}
		}
		if len(buf)-start > n.text {
			return fault.New(fault.Internal, "tensor.npy", n.col.Name, "a sample is longer than the longest one")
		}
		buf = append(buf, make([]byte, n.text-(len(buf)-start))...)
	}
	_, err := n.w.Write(buf)
	return err
}

// Close reports a column that had fewer samples than announced.
func (n *NpyWriter) Close() error {
	if n.left != 0 {
		return fault.New(fault.Internal, "tensor.npy", n.col.Name, "%d samples are missing", n.left)
	}
	return nil
}
