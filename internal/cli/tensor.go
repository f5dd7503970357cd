package cli

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/dataset/tensor"
	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/columnar"
	"daos/internal/fault"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	tensorv1 "daos/proto/gen/daos/tensor/v1"
)

func newTensor(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "tensor", Short: "Tensors: named columns along one sample axis",
		Long: "Tensors: named columns along one sample axis. Samples of a column have one shape, or each its own length (bytes, strings, 1-D arrays).",
	}
	cmd.AddCommand(tensorCreate(a), tensorImport(a), tensorShow(a), tensorHead(a), tensorExport(a))
	return cmd
}

// columnJSON is a column in --json.
type columnJSON struct {
	Name         string       `json:"name"`
	Layout       string       `json:"layout"`
	DType        string       `json:"dtype"`
	Shape        []uint64     `json:"shape"`
	Nullable     bool         `json:"nullable"`
	ChunkSamples uint64       `json:"chunk_samples"`
	Chunks       []chunksJSON `json:"chunks,omitempty"`
}

type chunksJSON struct {
	First uint64 `json:"first"`
	Count uint64 `json:"count"`
	Nulls uint64 `json:"nulls"`
	NaNs  uint64 `json:"nans"`
	Min   string `json:"min"`
	Max   string `json:"max"`
	Bytes uint64 `json:"bytes"`
}

// tensorJSON is a tensor dataset in --json.
type tensorJSON struct {
	Dataset string       `json:"dataset"`
	Length  uint64       `json:"length"`
	Epoch   uint64       `json:"epoch"`
	Columns []columnJSON `json:"columns"`
}

// columnOf is the dataset layer's form of a column.
func columnOf(c *tensorv1.Column) (tensor.Column, error) {
	d, err := tensor.ParseDType(c.GetDtype())
	return tensor.Column{
		Name: c.GetName(), Layout: tensor.Layout(c.GetLayout()), DType: d, Shape: c.GetShape(), Nullable: c.GetNullable(), ChunkSamples: c.GetChunkSamples(),
	}, err
}

func wireColumns(cols []tensor.Column) []*tensorv1.Column {
	out := make([]*tensorv1.Column, 0, len(cols))
	for i := range cols {
		c := &cols[i]
		out = append(out, &tensorv1.Column{
			Name: c.Name, Layout: tensorv1.Layout(c.Layout), Dtype: c.DType.String(), Shape: c.Shape, Nullable: c.Nullable, ChunkSamples: c.ChunkSamples,
		})
	}
	return out
}

// typeText is how a column's type is written: float32[3,224,224], int32[*].
func typeText(c *tensorv1.Column) string {
	switch tensor.Layout(c.GetLayout()) {
	case tensor.Bytes:
		return "bytes"
	case tensor.String:
		return "string"
	case tensor.Ragged:
		return c.GetDtype() + "[*]"
	}
	if len(c.GetShape()) == 0 {
		return c.GetDtype()
	}
	dims := make([]string, 0, len(c.GetShape()))
	for _, n := range c.GetShape() {
		dims = append(dims, strconv.FormatUint(n, 10))
	}
	return c.GetDtype() + "[" + strings.Join(dims, ",") + "]"
}

var columnRE = regexp.MustCompile(`^(.+):([a-z]+[0-9]*)(?:\[([0-9,* ]+)\])?(\?)?$`)

// parseColumn reads NAME:TYPE, the inverse of typeText; a ? behind it makes it
// nullable.
func parseColumn(s string) (tensor.Column, error) {
	bad := fault.New(fault.Invalid, "tensor.column", s, "not a column").Do("write NAME:TYPE, such as x:float32[3,32,32], y:int64, words:string, tokens:int32[*], score:float64?")
	m := columnRE.FindStringSubmatch(s)
	if m == nil {
		return tensor.Column{}, bad
	}
	c := tensor.Column{Name: m[1], Layout: tensor.Fixed, DType: tensor.Uint8, Nullable: m[4] != ""}
	switch {
	case m[2] == "bytes" && m[3] == "":
		c.Layout = tensor.Bytes
		return c, nil
	case m[2] == "string" && m[3] == "":
		c.Layout = tensor.String
		return c, nil
	}
	var err error
	if c.DType, err = tensor.ParseDType(m[2]); err != nil {
		return c, err
	}
	switch m[3] {
	case "":
		return c, nil
	case "*":
		c.Layout = tensor.Ragged
		return c, nil
	}
	for part := range strings.SplitSeq(m[3], ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 32)
		if err != nil || n == 0 {
			return c, bad
		}
		c.Shape = append(c.Shape, n)
	}
	return c, nil
}

// ensureTensor makes the dataset where it is missing.
func ensureTensor(ctx context.Context, c *client.Client, x address.Address) error {
	_, err := c.Datasets.CreateDataset(ctx, &datasetv1.CreateDatasetRequest{Dataset: x.DatasetName(), Type: datasetv1.Type_TYPE_TENSOR})
	if fault.Is(err, fault.Exists) {
		return nil
	}
	return err
}

// liveDataset is parseLive for an address without a path.
func (a *app) liveDataset(op, s string) (address.Address, error) {
	x, err := a.parseLive(op, s)
	if err == nil && x.Path != "" {
		return x, fault.New(fault.Invalid, op, s, "a tensor dataset has no paths").Do("write %s", x.DatasetName())
	}
	return x, err
}

func tensorCreate(a *app) *cobra.Command {
	var columns []string
	cmd := &cobra.Command{
		Use: "create POOL/DATASET --column NAME:TYPE...", Short: "Make a tensor dataset and set its columns", Args: cobra.ExactArgs(1),
		Long: "Make a tensor dataset, or take an empty one, and set its columns. Types are those of numpy with a shape behind (float32[3,32,32]),\n" +
			"a 1-D array of any length (int32[*]), bytes, or string; a ? behind allows nulls.",
		Example: "  daos tensor create p/train --column image:uint8[28,28] --column label:int64 --column caption:string?",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.liveDataset("tensor.create", args[0])
			if err != nil {
				return err
			}
			var cols []tensor.Column
			for _, s := range columns {
				col, err := parseColumn(s)
				if err != nil {
					return err
				}
				cols = append(cols, col)
			}
			if err := ensureTensor(ctx, c, x); err != nil {
				return err
			}
			if _, err := c.Tensor.Define(ctx, &tensorv1.DefineRequest{Dataset: x.DatasetName(), Columns: wireColumns(cols)}); err != nil {
				return err
			}
			return a.showTensor(ctx, c, x, nil)
		}),
	}
	cmd.Flags().StringArrayVar(&columns, "column", nil, "column NAME:TYPE (repeatable, in order)")
	mustMark(cmd, "column")
	return cmd
}

func tensorShow(a *app) *cobra.Command {
	var stats []string
	var all bool
	cmd := &cobra.Command{
		Use: "show POOL/DATASET[@SNAPSHOT]", Short: "Describe columns, length and chunk statistics", Args: cobra.ExactArgs(1),
		Example: "  daos tensor show p/train\n  daos tensor show p/train@v1 --stats label --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			if all {
				d, err := c.Tensor.Describe(ctx, &tensorv1.DescribeRequest{Dataset: x.DatasetName()})
				if err != nil {
					return err
				}
				stats = nil
				for _, col := range d.GetColumns() {
					stats = append(stats, col.GetName())
				}
			}
			return a.showTensor(ctx, c, x, stats)
		}),
	}
	cmd.Flags().StringSliceVar(&stats, "stats", nil, "show minimum, maximum and nulls of each chunk of these columns")
	cmd.Flags().BoolVar(&all, "all-stats", false, "show them of all columns")
	return cmd
}

func (a *app) showTensor(ctx context.Context, c *client.Client, x address.Address, stats []string) error {
	d, err := c.Tensor.Describe(ctx, &tensorv1.DescribeRequest{Dataset: x.DatasetName(), Stats: stats})
	if err != nil {
		return err
	}
	out := tensorJSON{Dataset: x.DatasetName(), Length: d.GetLength(), Epoch: d.GetEpoch(), Columns: []columnJSON{}}
	t := &table{columns: []column{{head: "COLUMN", shrink: true}, {head: "TYPE", shrink: true}, {head: "NULLS"}, {head: "CHUNK", right: true}}, empty: "no columns yet; `daos tensor import FILE " + x.DatasetName() + "` makes them"}
	st := &table{columns: []column{{head: "COLUMN", shrink: true}, {head: "FIRST", right: true}, {head: "SAMPLES", right: true}, {head: "NULLS", right: true}, {head: "NANS", right: true}, {head: "MIN", shrink: true}, {head: "MAX", shrink: true}, {head: "SIZE", right: true}}}
	for _, col := range d.GetColumns() {
		j := columnJSON{
			Name: col.GetName(), Layout: strings.ToLower(strings.TrimPrefix(col.GetLayout().String(), "LAYOUT_")), DType: col.GetDtype(),
			Shape: append([]uint64{}, col.GetShape()...), Nullable: col.GetNullable(), ChunkSamples: col.GetChunkSamples(),
		}
		tc, err := columnOf(col)
		if err != nil {
			return err
		}
		for _, ch := range d.GetStats()[col.GetName()].GetChunks() {
			lo, hi := statText(&tc, ch.GetMin()), statText(&tc, ch.GetMax())
			j.Chunks = append(j.Chunks, chunksJSON{ch.GetFirst(), ch.GetCount(), ch.GetNulls(), ch.GetNans(), lo, hi, ch.GetBytes()})
			st.row(printable(col.GetName()), formatCount(ch.GetFirst()), formatCount(ch.GetCount()), formatCount(ch.GetNulls()), formatCount(ch.GetNans()), printable(lo), printable(hi), formatSize(ch.GetBytes()))
		}
		out.Columns = append(out.Columns, j)
		nulls := "no"
		if col.GetNullable() {
			nulls = "yes"
		}
		t.row(printable(col.GetName()), typeText(col), nulls, formatCount(col.GetChunkSamples()))
	}
	return a.print(out, func() error {
		if a.quiet {
			return nil
		}
		if err := fields(a.out, "dataset", out.Dataset, "samples", formatCount(out.Length), "epoch", formatPlain(out.Epoch)); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(a.out); err != nil {
			return err
		}
		if err := a.table(t); err != nil {
			return err
		}
		if len(st.rows) == 0 {
			return nil
		}
		if _, err := fmt.Fprintln(a.out); err != nil {
			return err
		}
		return a.table(st)
	})
}

// statText renders a bound of a chunk; empty: unknown.
func statText(c *tensor.Column, b []byte) string {
	switch {
	case len(b) == 0:
		return ""
	case c.Layout == tensor.String:
		return string(b)
	case c.Layout == tensor.Bytes:
		return fmt.Sprintf("0x%x", b)
	}
	return columnar.Element(c.DType, b)
}

// appendJSON is the result of tensor import in --json.
type appendJSON struct {
	Dataset string  `json:"dataset"`
	Start   uint64  `json:"start"`
	Samples uint64  `json:"samples"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Epoch   uint64  `json:"epoch"`
}

func tensorImport(a *app) *cobra.Command {
	var format, column string
	var columns []string
	var create bool
	cmd := &cobra.Command{
		Use: "import FILE POOL/DATASET", Short: "Append the samples of a file: npz, npy, Arrow, Parquet or CSV", Args: cobra.ExactArgs(2),
		Long: `Append the samples of a file to a tensor dataset, in one step: all of them or none.

The first axis of each array is the sample axis; an empty dataset gets its
columns from the file. Times become integers. Text in numpy's files becomes
strings, byte strings bytes; arrays of Python objects are refused.`,
		Example: "  daos tensor import mnist.npz p/train --create\n  daos tensor import more.parquet p/train --columns image,label",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.liveDataset("tensor.import", args[1])
			if err != nil {
				return err
			}
			src, err := columnar.Open(args[0], format, column)
			if err != nil {
				return err
			}
			defer src.Close() //nolint:errcheck // opened for reading
			if err := src.Select(columns); err != nil {
				return err
			}
			if create {
				if err := ensureTensor(ctx, c, x); err != nil {
					return err
				}
			}
			defined, err := isDefined(ctx, c, x)
			if err != nil {
				return err
			}
			if !defined {
				if _, err := c.Tensor.Define(ctx, &tensorv1.DefineRequest{Dataset: x.DatasetName(), Columns: wireColumns(src.Columns)}); err != nil {
					return err
				}
			}
			for _, n := range src.Notes {
				a.warn("%s", printable(n))
			}
			out, err := a.appendSource(ctx, c, x, src)
			if err != nil {
				return err
			}
			return a.print(out, func() error {
				a.say("appended %s samples at %s, %s in %s: %s samples/s, %s/s", formatCount(out.Samples), formatCount(out.Start), formatSize(uint64(out.Bytes)),
					formatDuration(time.Duration(out.Seconds*float64(time.Second))), formatCount(int64(float64(out.Samples)/out.Seconds)), formatSize(uint64(float64(out.Bytes)/out.Seconds)))
				return nil
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&format, "format", "", "npy, npz, arrow, parquet or csv (default: by the name)")
	f.StringVar(&column, "column", "", "name of the column of an .npy file (default: the file's name)")
	f.StringSliceVar(&columns, "columns", nil, "only these columns of the file")
	f.BoolVar(&create, "create", false, "make the dataset if it doesn't exist")
	return cmd
}

// isDefined tells whether a tensor dataset has columns yet. A dataset that
// isn't there is an error.
func isDefined(ctx context.Context, c *client.Client, x address.Address) (bool, error) {
	d, err := c.Tensor.Describe(ctx, &tensorv1.DescribeRequest{Dataset: x.DatasetName()})
	if fault.Is(err, fault.NotFound) {
		_, err = c.Datasets.GetDataset(ctx, &datasetv1.GetDatasetRequest{Dataset: x.DatasetName()})
		if fault.Is(err, fault.NotFound) {
			err = fault.New(fault.NotFound, "tensor.import", x.DatasetName(), "there is no such dataset").Do("add --create to make it")
		}
		return false, err
	}
	return len(d.GetColumns()) > 0, err
}

// appendSource streams a file as one append.
func (a *app) appendSource(ctx context.Context, c *client.Client, x address.Address, src *columnar.Source) (appendJSON, error) {
	began := time.Now()
	rows, size := int64(0), int64(0)
	prog := make(chan [2]int64, 1)
	var seen [2]int64
	end := a.watch(func(elapsed time.Duration) string {
		select {
		case seen = <-prog:
		default:
		}
		return fmt.Sprintf("import  %s samples  %s/s%s", gauge(seen[0], src.Rows), formatSize(uint64(perSecond(seen[1], elapsed))), eta(seen[0], src.Rows, elapsed))
	})
	defer end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Tensor.Append(ctx)
	if err != nil {
		return appendJSON{}, err
	}
	first := &tensorv1.AppendRequest{Dataset: x.DatasetName(), Mutation: mutation()}
	for {
		r, err := src.Next(ctx)
		if isEOF(err) {
			break
		}
		if err != nil {
			return appendJSON{}, err
		}
		payload, err := columnar.Encode(ctx, src.Columns, r)
		if err != nil {
			return appendJSON{}, err
		}
		msg := first
		if msg == nil {
			msg = &tensorv1.AppendRequest{}
		}
		first = nil
		msg.Payload = payload
		if err := stream.Send(msg); err != nil {
			if isEOF(err) {
				break // the answer tells why
			}
			return appendJSON{}, err
		}
		rows += int64(r.N)
		size += r.Bytes()
		select {
		case prog <- [2]int64{rows, size}:
		default:
		}
	}
	if first != nil {
		return appendJSON{}, fault.New(fault.Invalid, "tensor.import", x.DatasetName(), "the file has no samples")
	}
	res, err := stream.CloseAndRecv()
	if err != nil {
		return appendJSON{}, err
	}
	if int64(res.GetCount()) != rows {
		return appendJSON{}, fault.New(fault.Internal, "tensor.import", x.DatasetName(), "%d samples sent, %d taken", rows, res.GetCount())
	}
	return appendJSON{x.DatasetName(), res.GetStart(), res.GetCount(), size, time.Since(began).Seconds(), res.GetChanged().GetEpoch()}, nil
}
