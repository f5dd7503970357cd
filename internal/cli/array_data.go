package cli

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/dataset/array"
	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	"daos/internal/npy"
	arrayv1 "daos/proto/gen/daos/array/v1"
)

const (
	// maxPrinted bounds the elements of a slice that is printed as text.
	maxPrinted = 1 << 20
	// arrayPiece is about the bytes of one Write of an import.
	arrayPiece = 16 << 20
)

// arrayPart is a selection of an array, ready to be read.
type arrayPart struct {
	t     array.DType
	shape []uint64
	read  io.Reader
}

func (p *arrayPart) elements() uint64 {
	n := uint64(1)
	for _, k := range p.shape {
		n *= k
	}
	return n
}

// openArray opens a slice of an array at one epoch.
func (a *app) openArray(ctx context.Context, c *client.Client, x address.Address, slice string) (*arrayPart, error) {
	d, err := c.Array.Describe(ctx, &arrayv1.DescribeRequest{Dataset: x.DatasetName(), Path: x.Path})
	if err != nil {
		return nil, err
	}
	if d.GetNode().GetKind() != arrayv1.NodeKind_NODE_KIND_ARRAY {
		return nil, fault.New(fault.Invalid, "array.read", x.DatasetName()+"/"+x.Path, "it is a group, not an array").Do("list it (`daos array ls`)")
	}
	t, err := array.ParseDType(d.GetNode().GetSpec().GetDtype())
	if err != nil {
		return nil, err
	}
	p := &arrayPart{t: t}
	axes, kept, err := parseSlice(slice, d.GetNode().GetSpec().GetShape())
	if err != nil {
		return nil, err
	}
	p.shape = kept
	s, err := c.Array.Read(ctx, &arrayv1.ReadRequest{Dataset: x.DatasetName(), Path: x.Path, Axes: axes, Epoch: d.GetEpoch()})
	if err != nil {
		return nil, err
	}
	p.read = &payloadReader{next: func() ([]byte, error) {
		m, err := s.Recv()
		return m.GetPayload(), err
	}}
	return p, nil
}

// payloadReader joins payloads.
type payloadReader struct {
	next func() ([]byte, error)
	rest []byte
}

// Read implements io.Reader.
func (r *payloadReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		var err error
		if r.rest, err = r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func arraySlice(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "slice POOL/DATASET[@SNAPSHOT]/ARRAY [SLICE]", Short: "Print a slice of an array", Args: cobra.RangeArgs(1, 2),
		Long: `Print a slice of an array, written as in numpy: 0:24,::2,5 (no negative steps); behind the name in brackets too.
csv has a line for each row along the last axis; json is nested lists; npy is
numpy's file, for a pipe.`,
		Example: "  daos array slice p/weather/t2m 0,80:100:10,::90\n  daos array slice p/weather@v1/t2m -1,...  --format npy > last.npy",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			name, slice := cutSlice(strings.Join(args, "")) // p/a/x[0:2] and p/a/x '[0:2]' too
			if slice == "" && len(args) == 2 {
				name, slice = args[0], args[1]
			}
			x, err := arrayAddress(a.parse(name))
			if err != nil {
				return err
			}
			if a.json {
				format = "json"
			}
			p, err := a.openArray(ctx, c, x, slice)
			if err != nil {
				return err
			}
			if format != "npy" && p.elements() > maxPrinted {
				return fault.New(fault.TooBig, "array.slice", args[0], "%d elements, at most %d are printed as text", p.elements(), maxPrinted).
					Do("take a smaller slice, or use --format npy")
			}
			w := bufio.NewWriterSize(a.out, 1<<16)
			switch format {
			case "csv":
				err = p.csv(w)
			case "json":
				err = p.json(w)
			case "npy":
				err = a.writeArrayNpy(w, p)
			default:
				return fault.New(fault.Invalid, "array.slice", format, "not a format").Do("use csv, json or npy")
			}
			return errors.Join(err, w.Flush())
		}),
	}
	cmd.Flags().StringVar(&format, "format", "csv", "csv, json or npy")
	return cmd
}

// each calls fn with the elements one by one.
func (p *arrayPart) each(fn func(i uint64, element []byte) error) error {
	b := make([]byte, p.t.Size())
	n := p.elements()
	r := bufio.NewReaderSize(p.read, 1<<20)
	for i := range n {
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		if err := fn(i, b); err != nil {
			return err
		}
	}
	return nil
}

func (p *arrayPart) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	row := uint64(1)
	if len(p.shape) > 0 {
		row = p.shape[len(p.shape)-1]
	}
	cells := make([]string, 0, row)
	err := p.each(func(_ uint64, b []byte) error {
		if cells = append(cells, p.t.Text(b)); uint64(len(cells)) < row {
			return nil
		}
		err := out.Write(cells)
		cells = cells[:0]
		return err
	})
	out.Flush()
	return errors.Join(err, out.Error())
}

// json writes nested lists; what JSON has no number for becomes a string.
func (p *arrayPart) json(w io.Writer) error {
	// A list at depth d has ended after so many elements.
	ends := make([]uint64, len(p.shape))
	n := uint64(1)
	for d := len(p.shape) - 1; d >= 0; d-- {
		n *= p.shape[d]
		ends[d] = n
	}
	if p.elements() == 0 {
		_, err := io.WriteString(w, "[]\n")
		return err
	}
	err := p.each(func(i uint64, b []byte) error {
		text := ""
		for _, end := range ends {
			if i%end == 0 {
				text += "["
			}
		}
		element := p.t.Text(b)
		if !json.Valid([]byte(element)) {
			quoted, _ := json.Marshal(element) // a string always has a form
			element = string(quoted)
		}
		text += element
		closed := 0
		for _, end := range ends {
			if (i+1)%end == 0 {
				text += "]"
				closed++
			}
		}
		if i+1 < p.elements() {
			text += ","
		}
		_, err := io.WriteString(w, text)
		return err
	})
	_, e := io.WriteString(w, "\n")
	return errors.Join(err, e)
}

// npyHeader is the form of an element type in numpy's files; note says what it
// had to become.
func npyHeader(t array.DType) (h npy.Header, note string) {
	if h, err := npy.ParseDType(t.Name()); err == nil {
		return h, ""
	}
	switch {
	case strings.HasPrefix(t.Name(), "complex"):
		return npy.Header{Kind: 'c', Size: t.Size()}, ""
	case strings.Contains(t.Name(), "float"):
		return npy.Header{Kind: 'u', Size: t.Size()}, fmt.Sprintf("numpy has no %s: the file has the bits as uint%d", t, 8*t.Size())
	case t.Size() <= 8 && (t.Size()&(t.Size()-1)) == 0 && !strings.HasPrefix(t.Name(), "fixed") && t.Name() != "interval[day_time]":
		return npy.Header{Kind: 'i', Size: t.Size()}, fmt.Sprintf("the file has %s as int%d", t, 8*t.Size())
	}
	return npy.Header{Kind: 'V', Size: t.Size()}, ""
}

func (a *app) writeArrayNpy(w io.Writer, p *arrayPart) error {
	h, note := npyHeader(p.t)
	if note != "" {
		a.warn("%s", note)
	}
	for _, n := range p.shape {
		h.Shape = append(h.Shape, int64(n))
	}
	if err := npy.Write(w, h); err != nil {
		return err
	}
	n, err := io.Copy(w, p.read)
	if err == nil && uint64(n) != p.elements()*uint64(p.t.Size()) {
		err = fault.New(fault.Internal, "array.export", "", "%d bytes received for %d elements of %s", n, p.elements(), p.t)
	}
	return err
}

// arrayMovedJSON is the result of array import and export in --json.
type arrayMovedJSON struct {
	Array   string   `json:"array"`
	File    string   `json:"file"`
	Shape   []uint64 `json:"shape"`
	Bytes   int64    `json:"bytes"`
	Seconds float64  `json:"seconds"`
}

func arrayExport(a *app) *cobra.Command {
	var slice string
	cmd := &cobra.Command{
		Use: "export POOL/DATASET[@SNAPSHOT]/ARRAY FILE.npy", Short: "Write an array to a .npy file", Args: cobra.ExactArgs(2),
		Long:    "Write an array, or a slice of it, to a .npy file, which appears whole or not at all, at one state of the dataset.",
		Example: "  daos array export p/weather@v1/t2m t2m.npy\n  daos array export p/weather/t2m day.npy --slice 0:24",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := arrayAddress(a.parse(args[0]))
			if err != nil {
				return err
			}
			p, err := a.openArray(ctx, c, x, slice)
			if err != nil {
				return err
			}
			began := time.Now()
			size, err := writeWhole(args[1], func(f *os.File) error {
				w := bufio.NewWriterSize(f, 1<<20)
				return errors.Join(a.writeArrayNpy(w, p), w.Flush())
			})
			if err != nil {
				return err
			}
			return a.arrayMoved(arrayMovedJSON{args[0], args[1], p.shape, size, time.Since(began).Seconds()}, args[1])
		}),
	}
	cmd.Flags().StringVar(&slice, "slice", "", "only this part, as in numpy: 0:24,::2,5")
	return cmd
}

func (a *app) arrayMoved(out arrayMovedJSON, to string) error {
	return a.print(out, func() error {
		took := time.Duration(out.Seconds * float64(time.Second))
		a.say("%s: %s, %s in %s: %s/s", printable(to), numbersText(out.Shape), formatSize(uint64(out.Bytes)), formatDuration(took), formatSize(uint64(float64(out.Bytes)/max(out.Seconds, 1e-9))))
		return nil
	})
}

// npyType is the element type of an array file.
func npyType(h *npy.Header, name string) (array.DType, error) {
	switch h.Kind {
	case 'b', 'i', 'u', 'f':
		return array.ParseDType(h.DType())
	case 'c':
		return array.ParseDType(fmt.Sprintf("complex%d", 8*h.Size))
	case 'S', 'V':
		return array.ParseDType(fmt.Sprintf("fixed_size_binary[%d]", h.Size))
	}
	return array.DType{}, fault.New(fault.Unsupported, "array.import", name, "text has no fixed width of bytes here").Do("encode it (numpy.char.encode), or use a tensor dataset")
}

func arrayImport(a *app) *cobra.Command {
	var f arrayFlags
	var appendTo bool
	cmd := &cobra.Command{
		Use: "import FILE.npy POOL/DATASET/ARRAY", Short: "Make an array of a .npy file, or append it", Args: cobra.ExactArgs(2),
		Long: `Make an array of a .npy file, and the dataset where it is missing; or with
--append make one longer along its first axis.

It is written in steps of about 16 MiB, each durable when the next begins.`,
		Example: "  daos array import t2m.npy p/weather/t2m --chunks 24,181,360\n  daos array import more.npy p/weather/t2m --append",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := arrayAddress(a.parseLive("array.import", args[1]))
			if err != nil {
				return err
			}
			file, err := os.Open(args[0])
			if err != nil {
				return fault.New(fault.KindOf(err), "array.import", args[0], "can't be read").Because(unwrapPath(err))
			}
			defer file.Close() //nolint:errcheck // opened for reading
			h, r, err := npy.Read(file, filepath.Base(args[0]))
			if err != nil {
				return err
			}
			t, err := npyType(&h, args[0])
			if err != nil {
				return err
			}
			if h.Fortran && len(h.Shape) > 1 {
				return fault.New(fault.Unsupported, "array.import", args[0], "the file has its first axis fastest").Do("save it with numpy.save(file, numpy.ascontiguousarray(x))")
			}
			shape := make([]uint64, len(h.Shape))
			for d, n := range h.Shape {
				shape[d] = uint64(n)
			}
			began := time.Now()
			in := &arrayInput{c: c, x: x, shape: shape, size: t.Size(), swap: h.Big, r: r}
			if appendTo {
				err = in.append(ctx, t)
			} else {
				err = in.create(ctx, &f, t)
			}
			if err != nil {
				return err
			}
			return a.arrayMoved(arrayMovedJSON{args[1], args[0], shape, in.bytes, time.Since(began).Seconds()}, args[1])
		}),
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&appendTo, "append", false, "append to an array that is there")
	return cmd
}

// arrayInput is a file on its way into an array.
type arrayInput struct {
	c     *client.Client
	x     address.Address
	shape []uint64
	size  int
	swap  bool
	r     io.Reader
	bytes int64
	buf   []byte
}

// next reads the next elements of the file.
func (in *arrayInput) next(elements uint64) ([]byte, error) {
	n := int(elements) * in.size
	if cap(in.buf) < n {
		in.buf = make([]byte, n)
	}
	b := in.buf[:n]
	if _, err := io.ReadFull(in.r, b); err != nil {
		return nil, fault.New(fault.Invalid, "array.import", in.x.Path, "the file is cut short").Because(err)
	}
	if in.swap {
		npy.Swap(b, in.size)
	}
	in.bytes += int64(n)
	return b, nil
}

func (in *arrayInput) create(ctx context.Context, f *arrayFlags, t array.DType) error {
	r, err := f.request(in.x, t, in.shape)
	if err != nil {
		return err
	}
	if err := ensureArrays(ctx, in.c, in.x); err != nil {
		return err
	}
	res, err := in.c.Array.Create(ctx, r)
	if err != nil {
		return err
	}
	axes := make([]*arrayv1.Axis, len(in.shape))
	for d, n := range in.shape {
		axes[d] = &arrayv1.Axis{Count: n}
	}
	return in.write(ctx, axes, res.GetNode().GetSpec().GetChunks(), 0)
}

// write puts the next elements of the file into a part of the array, cut along
// the first axis that it is longer than one along, at the ends of chunks.
func (in *arrayInput) write(ctx context.Context, axes []*arrayv1.Axis, chunks []uint64, d int) error {
	inner := uint64(in.size)
	for _, x := range axes[min(d+1, len(axes)):] {
		inner *= max(x.GetCount(), 1)
	}
	if d == len(axes) || axes[d].GetCount()*inner <= arrayPiece {
		n := uint64(1)
		for _, x := range axes {
			n *= x.GetCount()
		}
		if n == 0 {
			return nil
		}
		b, err := in.next(n)
		if err != nil {
			return err
		}
		_, err = in.c.Array.Write(ctx, &arrayv1.WriteRequest{Dataset: in.x.DatasetName(), Path: in.x.Path, Axes: axes, Payload: b, Mutation: mutation()})
		return err
	}
	step := max(arrayPiece/inner, 1)
	if step > chunks[d] {
		step -= step % chunks[d]
	}
	for at := uint64(0); at < axes[d].GetCount(); at += step {
		part := append([]*arrayv1.Axis{}, axes...)
		part[d] = &arrayv1.Axis{Start: axes[d].GetStart() + at, Count: min(step, axes[d].GetCount()-at)}
		next := d + 1
		if part[d].GetCount() > 1 {
			next = d // fits now
		}
		if err := in.write(ctx, part, chunks, next); err != nil {
			return err
		}
	}
	return nil
}

func (in *arrayInput) append(ctx context.Context, t array.DType) error {
	d, err := in.c.Array.Describe(ctx, &arrayv1.DescribeRequest{Dataset: in.x.DatasetName(), Path: in.x.Path})
	if err != nil {
		return err
	}
	s := d.GetNode().GetSpec()
	if s.GetDtype() != t.Name() || len(s.GetShape()) != len(in.shape) || len(in.shape) == 0 || numbersText(s.GetShape()[1:]) != numbersText(in.shape[1:]) {
		return fault.New(fault.Invalid, "array.import", in.x.DatasetName()+"/"+in.x.Path, "it has %s of shape %s, the file %s of shape %s",
			s.GetDtype(), numbersText(s.GetShape()), t, numbersText(in.shape)).Do("append the same type, with the same axes but the first")
	}
	row := uint64(1)
	for _, n := range in.shape[1:] {
		row *= n
	}
	step := max(arrayPiece/max(row*uint64(in.size), 1), 1)
	for at := uint64(0); at < in.shape[0]; at += step {
		n := min(step, in.shape[0]-at)
		b, err := in.next(n * row)
		if err != nil {
			return err
		}
		if _, err := in.c.Array.Append(ctx, &arrayv1.AppendRequest{Dataset: in.x.DatasetName(), Path: in.x.Path, Count: n, Payload: b, Mutation: mutation()}); err != nil {
			return err
		}
	}
	return nil
}
