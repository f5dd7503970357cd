package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"daos/dataset/array"
	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	arrayv1 "daos/proto/gen/daos/array/v1"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
)

func newArray(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "array", Short: "Arrays: N-D arrays in chunks, in groups",
		Long: "Arrays: N-D arrays in chunks, in groups. An array has one type of elements of a fixed width, a shape that can grow, and a fill value where nothing was written.",
	}
	cmd.AddCommand(arrayCreate(a), arrayShow(a), arrayList(a), arraySlice(a), arrayImport(a), arrayExport(a), arrayRemove(a))
	return cmd
}

// arrayJSON is an array or a group in --json.
type arrayJSON struct {
	Path       string                     `json:"path"`
	Kind       string                     `json:"kind"`
	DType      string                     `json:"dtype,omitempty"`
	Shape      []uint64                   `json:"shape,omitempty"`
	Chunks     []uint64                   `json:"chunks,omitempty"`
	Fill       string                     `json:"fill_value,omitempty"`
	Dims       []string                   `json:"dims,omitempty"`
	Attributes map[string]json.RawMessage `json:"attributes,omitempty"`
	Stats      []arrayChunkJSON           `json:"stats,omitempty"`
}

type arrayChunkJSON struct {
	Coords   []uint64 `json:"coords"`
	Elements uint64   `json:"elements"`
	NaNs     uint64   `json:"nans"`
	Min      string   `json:"min"`
	Max      string   `json:"max"`
	Exact    bool     `json:"exact"`
}

func arrayOf(n *arrayv1.Node) (arrayJSON, array.DType, error) {
	out := arrayJSON{Path: n.GetPath(), Kind: "group", Attributes: map[string]json.RawMessage{}}
	for k, v := range n.GetAttributes() {
		out.Attributes[k] = v
	}
	if n.GetKind() != arrayv1.NodeKind_NODE_KIND_ARRAY {
		return out, array.DType{}, nil
	}
	s := n.GetSpec()
	t, err := array.ParseDType(s.GetDtype())
	if err != nil {
		return out, t, err
	}
	fill := s.GetFillValue()
	if len(fill) == 0 {
		fill = make([]byte, t.Size())
	}
	out.Kind, out.DType, out.Shape, out.Chunks, out.Dims, out.Fill = "array", t.Name(), s.GetShape(), s.GetChunks(), s.GetDims(), t.Text(fill)
	return out, t, nil
}

// numbersText is a shape: 24,181,360; - without axes.
func numbersText(v []uint64) string {
	if len(v) == 0 {
		return "-"
	}
	parts := make([]string, len(v))
	for i, n := range v {
		parts[i] = strconv.FormatUint(n, 10)
	}
	return strings.Join(parts, ",")
}

func parseNumbers(flag, s string) ([]uint64, error) {
	var out []uint64
	if s == "" || s == "-" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 63)
		if err != nil {
			return nil, fault.New(fault.Invalid, "array", s, "--%s is not a list of numbers", flag).Do("write it as 24,181,360")
		}
		out = append(out, n)
	}
	return out, nil
}

// arrayAddress parses an address that names an array.
func arrayAddress(x address.Address, err error) (address.Address, error) {
	if err == nil && x.Path == "" {
		err = fault.New(fault.Invalid, "array", x.DatasetName(), "an array of the dataset has to be named").Do("write %s/NAME", x.DatasetName())
	}
	return x, err
}

func ensureArrays(ctx context.Context, c *client.Client, x address.Address) error {
	_, err := c.Datasets.CreateDataset(ctx, &datasetv1.CreateDatasetRequest{Dataset: x.DatasetName(), Type: datasetv1.Type_TYPE_ARRAY})
	if fault.Is(err, fault.Exists) {
		return nil
	}
	return err
}

// arrayFlags are the flags that describe a new array.
type arrayFlags struct {
	dtype, shape, chunks, fill string
	dims, attrs                []string
	overwrite                  bool
}

func (f *arrayFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.chunks, "chunks", "", "elements of a chunk along each axis (default: about 1 MiB)")
	fs.StringVar(&f.fill, "fill", "", "what stands where nothing was written (default 0)")
	fs.StringSliceVar(&f.dims, "dims", nil, "names of the axes")
	fs.StringArrayVar(&f.attrs, "attr", nil, "attribute NAME=JSON; what is not JSON is taken as text (repeatable)")
	fs.BoolVar(&f.overwrite, "overwrite", false, "replace an array of this name")
}

// request makes the message; the shape is the caller's.
func (f *arrayFlags) request(x address.Address, t array.DType, shape []uint64) (*arrayv1.CreateRequest, error) {
	chunks, err := parseNumbers("chunks", f.chunks)
	if err != nil {
		return nil, err
	}
	r := &arrayv1.CreateRequest{
		Dataset: x.DatasetName(), Path: x.Path, Overwrite: f.overwrite, Mutation: mutation(), Attributes: map[string][]byte{},
		Spec: &arrayv1.ArraySpec{Dtype: t.Name(), Shape: shape, Chunks: chunks, Dims: f.dims},
	}
	if f.fill != "" {
		if r.Spec.FillValue, err = t.Parse(f.fill); err != nil {
			return nil, err
		}
	}
	for _, s := range f.attrs {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return nil, fault.New(fault.Invalid, "array.create", s, "not an attribute").Do("write NAME=VALUE")
		}
		if !json.Valid([]byte(v)) {
			text, _ := json.Marshal(v) // a string always has a form
			v = string(text)
		}
		r.Attributes[k] = []byte(v)
	}
	return r, nil
}

func arrayCreate(a *app) *cobra.Command {
	var f arrayFlags
	cmd := &cobra.Command{
		Use: "create POOL/DATASET/ARRAY --dtype TYPE --shape N,N,...", Short: "Make an array", Args: cobra.ExactArgs(1),
		Long: "Make an array, the groups above it, and the dataset where it is missing. Types are those of numpy by their\n" +
			"names (float32, not f4), bfloat16, float8_e4m3fn, float8_e5m2, and Arrow's of fixed width (timestamp[ns], decimal128(10, 2), fixed_size_binary[16]).",
		Example: "  daos array create p/weather/t2m --dtype float32 --shape 0,181,360 --chunks 24,181,360 --dims time,lat,lon --attr units=K",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := arrayAddress(a.parseLive("array.create", args[0]))
			if err != nil {
				return err
			}
			t, err := array.ParseDType(f.dtype)
			if err != nil {
				return err
			}
			shape, err := parseNumbers("shape", f.shape)
			if err != nil {
				return err
			}
			r, err := f.request(x, t, shape)
			if err != nil {
				return err
			}
			if err := ensureArrays(ctx, c, x); err != nil {
				return err
			}
			res, err := c.Array.Create(ctx, r)
			if err != nil {
				return err
			}
			return a.showArray(x, res.GetNode(), nil)
		}),
	}
	cmd.Flags().StringVar(&f.dtype, "dtype", "", "type of the elements")
	cmd.Flags().StringVar(&f.shape, "shape", "", "elements along each axis; - for a scalar")
	f.add(cmd)
	mustMark(cmd, "dtype")
	mustMark(cmd, "shape")
	return cmd
}

func arrayShow(a *app) *cobra.Command {
	var stats bool
	cmd := &cobra.Command{
		Use: "show POOL/DATASET[@SNAPSHOT]/ARRAY", Short: "Describe an array or a group, and its chunks", Args: cobra.ExactArgs(1),
		Example: "  daos array show p/weather/t2m\n  daos array show p/weather@v1/t2m --stats --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			d, err := c.Array.Describe(ctx, &arrayv1.DescribeRequest{Dataset: x.DatasetName(), Path: x.Path})
			if err != nil {
				return err
			}
			var chunks []*arrayv1.ChunkStats
			for r := (&arrayv1.ChunksRequest{Dataset: x.DatasetName(), Path: x.Path, Epoch: d.GetEpoch()}); stats; {
				page, err := c.Array.Chunks(ctx, r)
				if err != nil {
					return err
				}
				chunks = append(chunks, page.GetChunks()...)
				if !page.GetMore() {
					break
				}
				r.After = chunks[len(chunks)-1].GetCoords()
			}
			return a.showArray(x, d.GetNode(), chunks)
		}),
	}
	cmd.Flags().BoolVar(&stats, "stats", false, "show minimum, maximum and NaNs of each chunk that has been written")
	return cmd
}

func (a *app) showArray(x address.Address, n *arrayv1.Node, chunks []*arrayv1.ChunkStats) error {
	out, t, err := arrayOf(n)
	if err != nil {
		return err
	}
	st := &table{columns: []column{{head: "CHUNK"}, {head: "ELEMENTS", right: true}, {head: "NANS", right: true}, {head: "MIN", shrink: true}, {head: "MAX", shrink: true}, {head: "EXACT"}}}
	for _, ch := range chunks {
		lo, hi := t.Text(ch.GetMin()), t.Text(ch.GetMax())
		out.Stats = append(out.Stats, arrayChunkJSON{append([]uint64{}, ch.GetCoords()...), ch.GetCount(), ch.GetNans(), lo, hi, ch.GetExact()})
		exact := "bounds"
		if ch.GetExact() {
			exact = "yes"
		}
		st.row(numbersText(ch.GetCoords()), formatCount(ch.GetCount()), formatCount(ch.GetNans()), lo, hi, exact)
	}
	return a.print(out, func() error {
		if a.quiet {
			return nil
		}
		pairs := []string{out.Kind, printable(x.DatasetName() + "/" + x.Path)}
		if out.Kind == "array" {
			pairs = append(pairs, "type", out.DType, "shape", numbersText(out.Shape), "chunks", numbersText(out.Chunks), "fill", out.Fill)
			if len(out.Dims) > 0 {
				pairs = append(pairs, "dims", printable(strings.Join(out.Dims, ",")))
			}
		}
		for _, k := range slices.Sorted(maps.Keys(out.Attributes)) {
			pairs = append(pairs, printable("@"+k), printable(string(out.Attributes[k])))
		}
		if err := fields(a.out, pairs...); err != nil || len(st.rows) == 0 {
			return err
		}
		if _, err := fmt.Fprintln(a.out); err != nil {
			return err
		}
		return a.table(st)
	})
}

func arrayList(a *app) *cobra.Command {
	var recursive bool
	cmd := &cobra.Command{
		Use: "ls POOL/DATASET[@SNAPSHOT][/GROUP]", Aliases: []string{"list"}, Short: "List groups and arrays", Args: cobra.ExactArgs(1),
		Long:    "List groups and arrays. With --json one object a line.",
		Example: "  daos array ls p/weather\n  daos array ls p/weather@v1/obs -r --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			t := &table{columns: []column{{head: "PATH", shrink: true}, {head: "TYPE"}, {head: "SHAPE"}, {head: "CHUNKS"}}, empty: "no arrays; `daos array create " + x.DatasetName() + "/NAME` makes one"}
			for r := (&arrayv1.ListRequest{Dataset: x.DatasetName(), Path: x.Path, Recursive: recursive}); ; {
				page, err := c.Array.List(ctx, r)
				if err != nil {
					return err
				}
				for _, n := range page.GetNodes() {
					j, _, err := arrayOf(n)
					if err != nil {
						return err
					}
					if a.json {
						if err := printJSONLine(a.out, j); err != nil {
							return err
						}
					} else if j.Kind == "group" {
						t.row(printable(j.Path)+"/", "", "", "")
					} else {
						t.row(printable(j.Path), j.DType, numbersText(j.Shape), numbersText(j.Chunks))
					}
					r.After = n.GetPath()
				}
				if r.Epoch = page.GetEpoch(); !page.GetMore() {
					break
				}
			}
			if a.json {
				return nil
			}
			if len(t.rows) == 0 {
				keys, err := c.Array.ListKeys(ctx, &arrayv1.ListKeysRequest{Dataset: x.DatasetName(), Limit: 1})
				if err != nil {
					return err
				}
				if len(keys.GetKeys()) > 0 {
					t.empty = fmt.Sprintf("no arrays of the dataset's own here, but the keys of a zarr store; open it with pydaos.zarr.DaosStore(%q)", x.DatasetName())
				}
			}
			return a.table(t)
		}),
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "all that is below, not only the next level")
	return cmd
}

func arrayRemove(a *app) *cobra.Command {
	var recursive bool
	cmd := &cobra.Command{
		Use: "rm POOL/DATASET/ARRAY", Aliases: []string{"remove"}, Short: "Remove an array or a group", Args: cobra.ExactArgs(1),
		Example: "  daos array rm p/weather/t2m\n  daos array rm p/weather/obs -r",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := arrayAddress(a.parseLive("array.remove", args[0]))
			if err != nil {
				return err
			}
			_, err = c.Array.Remove(ctx, &arrayv1.RemoveRequest{Dataset: x.DatasetName(), Path: x.Path, Recursive: recursive, Mutation: mutation()})
			return err
		}),
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "a group with all that is in it")
	return cmd
}
