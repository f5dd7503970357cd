package cli

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"daos/dataset/array"
	"daos/dataset/tensor"
	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/columnar"
	"daos/internal/fault"
	"daos/internal/near"
	arrayv1 "daos/proto/gen/daos/array/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	tensorv1 "daos/proto/gen/daos/tensor/v1"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/source"
)

// sliceRows is how many elements of an array become one batch of rows.
const sliceRows = 1 << 15

// cutSlice parts "p/w/t2m[0:24, ::2]" into the address and what is in brackets.
func cutSlice(s string) (addr, slice string) {
	s = strings.TrimSpace(s)
	if body, ok := strings.CutSuffix(s, "]"); ok {
		if i := strings.LastIndexByte(body, '['); i >= 0 {
			return strings.TrimSpace(body[:i]), strings.TrimSpace(body[i+1:])
		}
	}
	return s, ""
}

func querySlice(a *app) *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use: "slice POOL/DATASET[@SNAPSHOT]/NAME[SLICE]", Short: "Print a slice of an array, or of a column of a tensor dataset", Args: cobra.ExactArgs(1),
		Long: "Print a slice, written behind the address as in numpy: [0:24, ::2, 5], [-1], [..., 0]; without negative steps. NAME is an\n" +
			"array of an array dataset, or a column of a tensor dataset, whose first axis is the samples; without NAME a slice of\n" +
			"a tensor dataset has all columns. Only what is asked for is read. Quote it: shells read brackets as patterns.\n\n" +
			"An array gives a row for each element, with its position along each axis (an axis of which one position is taken falls\n" +
			"away) and its value; as a table, the last axis goes across. A tensor dataset gives a row for each sample. npy is one\n" +
			"array of the shape that numpy would give.",
		Example: "  daos query slice 'p/weather@v1/t2m[0:24, ::2, 5]'\n  daos query slice 'p/weather/t2m[-1]' -o last.npy\n" +
			"  daos query slice 'p/train@v1/image[0:16, 0]' --format npy > red.npy\n  daos query slice 'p/train[:3]' --format json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			addr, slice := cutSlice(args[0])
			if i := strings.LastIndexAny(addr, "[]/"); i >= 0 && addr[i] == '[' {
				return fault.New(fault.Invalid, "query.slice", args[0], "the bracket of the slice is not closed").Do("write %s]", args[0])
			}
			x, err := a.parse(addr)
			if err != nil {
				return err
			}
			s, err := c.Query.Schema(ctx, &queryv1.SchemaRequest{Dataset: x.DatasetName()})
			switch {
			case err == nil && s.GetType() == "tensor":
				return a.sliceTensor(ctx, c, x, s, slice, &f)
			case err == nil && s.GetType() != "array":
				return fault.New(fault.Invalid, "query.slice", x.DatasetName(), "it is a dataset of type %s, which has no slices", s.GetType()).
					Do("slice an array dataset or a tensor dataset; for others: daos query find %s", x.DatasetName())
			case err != nil && x.Path == "":
				return err
			}
			return a.sliceArray(ctx, c, x, slice, &f) // the root of an array dataset is a group, which is no table
		}),
	}
	f.result(cmd)
	return cmd
}

// sliceArray prints a part of an array.
func (a *app) sliceArray(ctx context.Context, c *client.Client, x address.Address, slice string, f *queryFlags) error {
	x, err := arrayAddress(x, nil)
	if err != nil {
		return err
	}
	format, err := f.formatOf(a)
	if err != nil {
		return err
	}
	d, err := c.Array.Describe(ctx, &arrayv1.DescribeRequest{Dataset: x.DatasetName(), Path: x.Path})
	if err != nil {
		return err
	}
	if d.GetNode().GetKind() != arrayv1.NodeKind_NODE_KIND_ARRAY {
		return fault.New(fault.Invalid, "query.slice", x.String(), "it is a group, not an array").Do("`daos array ls %s` shows what is in it", x.String())
	}
	spec := d.GetNode().GetSpec()
	axes, _, err := parseSlice(slice, spec.GetShape())
	if err != nil {
		return err
	}
	p := &arrayPart{}
	if p.t, err = array.ParseDType(spec.GetDtype()); err != nil {
		return err
	}
	names := source.AxisNames(spec.GetDims(), len(spec.GetShape()))
	var kept []keptAxis
	for i, ax := range axes {
		if ax.GetStep() > 0 { // a single position has none
			p.shape = append(p.shape, ax.GetCount())
			kept = append(kept, keptAxis{names[i], ax.GetStart(), ax.GetStep()})
		}
	}
	st, err := c.Array.Read(ctx, &arrayv1.ReadRequest{Dataset: x.DatasetName(), Path: x.Path, Axes: axes, Epoch: d.GetEpoch()})
	if err != nil {
		return err
	}
	p.read = &payloadReader{next: func() ([]byte, error) {
		m, err := st.Recv()
		return m.GetPayload(), err
	}}
	switch {
	case format == "npy":
		return f.toOutput(a, func(w io.Writer) error {
			b := bufio.NewWriterSize(w, 1<<20)
			return errors.Join(a.writeArrayNpy(b, p), b.Flush())
		})
	case format == "table" && len(kept) > 1:
		return f.toOutput(a, func(w io.Writer) error { return a.printGrid(w, p, kept, f.maxRows) })
	}
	in, err := elementRows(p, kept)
	if err != nil {
		return err
	}
	return f.write(a, in, format, func() {})
}

// keptAxis is an axis of a slice, at positions start, start+step, ...
type keptAxis struct {
	name        string
	start, step uint64
}

// elementRows is a part of an array as rows of positions and value.
func elementRows(p *arrayPart, kept []keptAxis) (io.Reader, error) {
	var s expr.Schema
	for _, ax := range kept {
		s = append(s, expr.Field{Name: ax.name, Type: expr.Uint64})
	}
	ty, widen, known := source.ElementType(p.t)
	if !known {
		ty = expr.Text // such as "1+2j": no type of a column holds it
	}
	s = append(s, expr.Field{Name: "value", Type: ty})
	left, at := p.elements(), make([]uint64, len(kept))
	buf := make([]byte, int(min(left, sliceRows))*p.t.Size())
	return columnar.Stream(s, func() (*exec.Rows, error) {
		if left == 0 {
			return nil, io.EOF
		}
		n := int(min(left, sliceRows))
		left -= uint64(n)
		b := buf[:n*p.t.Size()]
		if _, err := io.ReadFull(p.read, b); err != nil {
			return nil, cutShort(err)
		}
		cols := make([]expr.Vector, len(s))
		for range n {
			for d, ax := range kept {
				cols[d].Values = binary.LittleEndian.AppendUint64(cols[d].Values, ax.start+at[d]*ax.step)
			}
			for d := len(at) - 1; d >= 0; d-- {
				if at[d]++; at[d] < p.shape[d] {
					break
				}
				at[d] = 0
			}
		}
		v := &cols[len(kept)]
		switch {
		case !known:
			v.Offsets = append(v.Offsets, 0)
			for i := range n {
				v.Values = append(v.Values, p.t.Text(b[i*p.t.Size():(i+1)*p.t.Size()])...)
				v.Offsets = append(v.Offsets, uint64(len(v.Values)))
			}
		case widen != nil:
			v.Values = widen(b)
		default:
			v.Values = b
		}
		return &exec.Rows{N: n, Columns: cols}, nil
	})
}

// cutShort is the error of a stream that ends too early.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.New(fault.DataLoss, "query.slice", "slice", "the answer ended before the slice was whole").Do("run it again")
	}
	return err
}

// printGrid prints a part of an array with its last axis across: as many lines
// as are asked for, and as many columns as fit the terminal.
func (a *app) printGrid(w io.Writer, p *arrayPart, kept []keptAxis, lines int) error {
	const most = 64 // columns where nothing is narrow
	last := len(kept) - 1
	across := p.shape[last]
	all := uint64(0)
	if across > 0 {
		all = p.elements() / across
	}
	if all == 0 {
		_, err := fmt.Fprintf(w, "no elements in a slice of shape %s\n", numbersText(p.shape))
		return err
	}
	shown := min(all, uint64(max(lines, 1)))
	columns := min(across, most)
	heads := make([]string, 0, last+int(columns))
	for _, ax := range kept[:last] {
		heads = append(heads, ax.name)
	}
	for k := range columns {
		heads = append(heads, fmt.Sprint(kept[last].start+k*kept[last].step))
	}
	heads[last] = kept[last].name + "=" + heads[last]
	rows := make([][]string, 0, shown)
	r := bufio.NewReaderSize(p.read, 1<<20)
	cell := make([]byte, p.t.Size())
	for line := range shown {
		row := make([]string, 0, len(heads))
		for d, rest := last-1, line; d >= 0; d-- {
			row = append(row, fmt.Sprint(kept[d].start+rest%p.shape[d]*kept[d].step))
			rest /= p.shape[d]
		}
		slices.Reverse(row)
		for k := range across {
			if _, err := io.ReadFull(r, cell); err != nil {
				return cutShort(err)
			}
			if k < columns {
				row = append(row, printable(p.t.Text(cell)))
			}
		}
		rows = append(rows, row)
	}
	fit := fitting(heads, rows, width(w, a.getenv), last+1)
	t := &table{}
	for _, h := range heads[:fit] {
		t.columns = append(t.columns, column{head: printable(h), right: true})
	}
	for _, row := range rows {
		t.row(row[:fit]...)
	}
	if err := t.print(w, 0); err != nil {
		return err
	}
	if fit-last < int(across) || shown < all {
		_, err := fmt.Fprintf(w, "(shape %s; %s of %s columns and %s of %s lines shown; --format npy or csv has all)\n", numbersText(p.shape),
			formatCount(uint64(fit-last)), formatCount(across), formatCount(shown), formatCount(all))
		return err
	}
	return nil
}

// fitting is how many columns of a table fit a width, at least so many; all of
// them where the width is 0.
func fitting(heads []string, rows [][]string, width, least int) int {
	if width == 0 {
		return len(heads)
	}
	used := -2
	for i, h := range heads {
		n := len([]rune(h))
		for _, r := range rows {
			n = max(n, len([]rune(r[i])))
		}
		if used += n + 2; used > width && i >= least {
			return i
		}
	}
	return len(heads)
}

// sliceTensor prints samples of a tensor dataset, cut.
func (a *app) sliceTensor(ctx context.Context, c *client.Client, x address.Address, s *queryv1.SchemaResponse, slice string, f *queryFlags) error {
	format, err := f.formatOf(a)
	if err != nil {
		return err
	}
	d, err := c.Tensor.Describe(ctx, &tensorv1.DescribeRequest{Dataset: x.DatasetName()})
	if err != nil {
		return err
	}
	t := &tensorSlice{}
	var names []string
	for _, col := range d.GetColumns() {
		names = append(names, col.GetName())
		if x.Path == "" || x.Path == col.GetName() {
			o, err := columnOf(col)
			if err != nil {
				return err
			}
			t.cols = append(t.cols, o)
		}
	}
	if len(t.cols) == 0 {
		e := fault.New(fault.NotFound, "query.slice", x.DatasetName(), "no column %q", x.Path)
		if n := near.Name(x.Path, names); n != "" {
			return e.Do("did you mean %s/%s?", x.DatasetName(), n)
		}
		return e.Do("it has %s", strings.Join(names, ", "))
	}
	shape := []uint64{d.GetLength()}
	if x.Path != "" && t.cols[0].Layout == tensor.Fixed {
		shape = append(shape, t.cols[0].Shape...)
	}
	if t.axes, _, err = parseSlice(slice, shape); err != nil {
		return err
	}
	for d, ax := range t.axes[1:] {
		if ax.GetCount() == 0 {
			return fault.New(fault.Invalid, "query.slice", x.String(), "nothing is left of a sample along its axis %d", d).Do("take at least one position of it")
		}
	}
	if format == "npy" && len(t.cols) != 1 {
		return fault.New(fault.Invalid, "query.slice", x.String(), "an .npy file has one column, the dataset has %d", len(t.cols)).
			Do("name one: %s/%s[...]", x.DatasetName(), names[0])
	}
	first := t.axes[0]
	t.at, t.step, t.alone = first.GetStart(), max(first.GetStep(), 1), first.GetStep() == 0
	req := &tensorv1.ReadRequest{Dataset: x.DatasetName(), Start: t.at, Stop: t.at, Step: t.step, Epoch: d.GetEpoch()}
	if first.GetCount() > 0 {
		req.Stop = t.at + (first.GetCount()-1)*t.step + 1
	}
	for i := range t.cols {
		req.Columns = append(req.Columns, t.cols[i].Name)
	}
	r, err := readTensor(ctx, c, req)
	if err != nil {
		return err
	}
	in, err := t.rows(r, first.GetCount(), format == "npy")
	if err != nil {
		return err
	}
	if format == "npy" && t.alone {
		return f.toOutput(a, func(w io.Writer) error { return columnar.WriteSample(w, in) })
	}
	return f.write(a, in, format, func() {})
}

// tensorSlice is some samples of columns; of a single column also a part of
// each sample.
type tensorSlice struct {
	cols     []tensor.Column
	axes     []*arrayv1.Axis // of the samples, then of one sample
	at, step uint64
	alone    bool // one sample: its axis falls away
}

// rows is the slice as rows, with the sample's index unless it is bare.
func (t *tensorSlice) rows(r io.Reader, want uint64, bare bool) (io.Reader, error) {
	src, err := columnar.NewRowReader(r)
	if err != nil {
		return nil, err
	}
	var s expr.Schema
	if !bare {
		s = append(s, expr.Field{Name: source.RowID, Type: expr.Uint64})
	}
	inner := t.axes[1:]
	var picks []uint64 // elements of a sample that are kept
	cut := len(inner) > 0 && len(t.cols) == 1
	for _, c := range t.cols {
		f := fieldOf(&c)
		if cut {
			f.Shape = nil
			for _, ax := range inner {
				if ax.GetStep() > 0 {
					f.Shape = append(f.Shape, ax.GetCount())
				}
			}
			if len(f.Shape) == 0 {
				f.Type = f.Elem
			}
			picks = pickElements(c.Shape, inner)
		}
		s = append(s, f)
	}
	got := uint64(0)
	return columnar.Stream(s, func() (*exec.Rows, error) {
		rows, err := src.Next()
		if errors.Is(err, io.EOF) && got < want {
			return nil, fault.New(fault.DataLoss, "query.slice", "slice", "%d samples came of %d", got, want).Do("run it again")
		}
		if err != nil {
			return nil, err
		}
		out := &exec.Rows{N: rows.N}
		if !bare {
			var ids []byte
			for k := range rows.N {
				ids = binary.LittleEndian.AppendUint64(ids, t.at+(got+uint64(k))*t.step)
			}
			out.Columns = append(out.Columns, expr.Vector{Values: ids})
		}
		got += uint64(rows.N)
		for i := range rows.Columns {
			d := &rows.Columns[i]
			v := expr.Vector{Values: d.Values, Offsets: d.Offsets, Valid: d.Valid}
			if cut {
				v.Values = gatherElements(d.Values, t.cols[i].DType.Size(), rows.N, len(d.Values)/max(rows.N, 1), picks)
			}
			out.Columns = append(out.Columns, v)
		}
		return out, nil
	})
}

// fieldOf is a column of samples as a column of a table.
func fieldOf(c *tensor.Column) expr.Field {
	f := expr.Field{Name: c.Name}
	for ty := expr.Bool; ty <= expr.Float64; ty++ {
		if ty.String() == c.DType.String() {
			f.Type = ty
		}
	}
	switch {
	case c.Layout == tensor.String:
		f.Type = expr.Text
	case c.Layout == tensor.Bytes:
		f.Type = expr.Bytes
	case c.Layout == tensor.Ragged:
		f.Type, f.Elem = expr.List, f.Type
	case len(c.Shape) > 0:
		f.Type, f.Elem, f.Shape = expr.List, f.Type, c.Shape
	}
	return f
}

// pickElements are the elements of a sample of a shape that a slice keeps, in C order.
func pickElements(shape []uint64, axes []*arrayv1.Axis) []uint64 {
	out := []uint64{0}
	for d, n := range shape {
		ax := axes[d]
		next := make([]uint64, 0, uint64(len(out))*ax.GetCount())
		for _, base := range out {
			for k := range ax.GetCount() {
				next = append(next, base*n+ax.GetStart()+k*max(ax.GetStep(), 1))
			}
		}
		out = next
	}
	return out
}

// gatherElements copies the picked elements of n samples of so many bytes each.
func gatherElements(in []byte, size, n, sample int, picks []uint64) []byte {
	out := make([]byte, 0, n*len(picks)*size)
	for k := range n {
		one := in[k*sample : (k+1)*sample]
		for _, i := range picks {
			out = append(out, one[int(i)*size:(int(i)+1)*size]...)
		}
	}
	return out
}
