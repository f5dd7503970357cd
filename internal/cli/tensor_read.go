package cli

import (
	"archive/zip"
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"daos/dataset/tensor"
	"daos/internal/client"
	"daos/internal/columnar"
	"daos/internal/fault"
	"daos/internal/near"
	commonv1 "daos/proto/gen/daos/common/v1"
	tensorv1 "daos/proto/gen/daos/tensor/v1"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

func mutation() *commonv1.Mutation { return &commonv1.Mutation{RequestId: client.NewRequestID()} }

// readTensor opens a read and returns its joined payloads, one Arrow IPC stream.
func readTensor(ctx context.Context, c *client.Client, req *tensorv1.ReadRequest) (io.Reader, error) {
	s, err := c.Tensor.Read(ctx, req)
	if err != nil {
		return nil, err
	}
	return columnar.Payloads(func() ([]byte, error) {
		m, err := s.Recv()
		return m.GetPayload(), err
	}), nil
}

func tensorHead(a *app) *cobra.Command {
	var n, start uint64
	var columns []string
	cmd := &cobra.Command{
		Use: "head POOL/DATASET[@SNAPSHOT]", Short: "Print some samples", Args: cobra.ExactArgs(1),
		Long:    "Print some samples. Long ones are cut; with --json each sample is one object a line, whole, bytes in hex.",
		Example: "  daos tensor head p/train\n  daos tensor head p/train@v1 -n 3 --start 1000 --columns label --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			if n == 0 || n > 1<<20 {
				return fault.New(fault.Invalid, "tensor.head", args[0], "-n %d", n).Do("use 1 to 1048576, or tensor export")
			}
			r, err := readTensor(ctx, c, &tensorv1.ReadRequest{Dataset: x.DatasetName(), Columns: columns, Start: start, Stop: start + n})
			if err != nil {
				return err
			}
			t := &table{empty: "no samples"}
			row := start
			err = columnar.Records(r, func(_ columnar.Record, cols []tensor.Column, rows *tensor.Rows) error {
				if t.columns == nil {
					t.columns = []column{{head: "SAMPLE", right: true}}
					for i := range cols {
						t.columns = append(t.columns, column{head: printable(cols[i].Name), shrink: true})
					}
				}
				for k := range rows.N {
					if a.json {
						obj := map[string]any{"sample": row, "values": cellsJSON(cols, rows, k)}
						if err := printJSONLine(a.out, obj); err != nil {
							return err
						}
					} else {
						cells := []string{formatPlain(row)}
						for i := range cols {
							text, _ := columnar.Cell(&cols[i], &rows.Columns[i], k, 8)
							cells = append(cells, printable(text))
						}
						t.row(cells...)
					}
					row++
				}
				return nil
			})
			if err != nil || a.json {
				return err
			}
			return a.table(t)
		}),
	}
	f := cmd.Flags()
	f.Uint64VarP(&n, "number", "n", 10, "how many samples")
	f.Uint64Var(&start, "start", 0, "the first one")
	f.StringSliceVar(&columns, "columns", nil, "only these columns")
	return cmd
}

// cellsJSON are the values of one sample: numbers and flat lists of them as
// JSON, text as text, bytes as hex.
func cellsJSON(cols []tensor.Column, rows *tensor.Rows, k int) map[string]any {
	out := make(map[string]any, len(cols))
	for i := range cols {
		c, d := &cols[i], &rows.Columns[i]
		text, _ := columnar.Cell(c, d, k, 0)
		switch {
		case text == "null" && d.Valid != nil && d.Valid[k] == 0:
			out[c.Name] = nil
		case c.Layout == tensor.String || c.Layout == tensor.Bytes:
			out[c.Name] = text
		default:
			out[c.Name] = numbersJSON(text)
		}
	}
	return out
}

// numbersJSON turns "[1 2 3]" or "1" into JSON; NaN and infinities, which JSON
// has no numbers for, become strings.
func numbersJSON(text string) any {
	scalar := func(s string) any {
		if s == "NaN" || strings.HasSuffix(s, "Inf") {
			return s
		}
		return json.RawMessage(s)
	}
	body, ok := strings.CutPrefix(text, "[")
	if !ok {
		return scalar(text)
	}
	list := []any{}
	for _, s := range strings.Fields(strings.TrimSuffix(body, "]")) {
		list = append(list, scalar(s))
	}
	return list
}

// exportJSON is the result of tensor export in --json.
type exportJSON struct {
	File    string  `json:"file"`
	Samples uint64  `json:"samples"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

func tensorExport(a *app) *cobra.Command {
	var e tensorExporter
	var format string
	cmd := &cobra.Command{
		Use: "export POOL/DATASET[@SNAPSHOT] FILE", Short: "Write samples to a file: npz, npy, Arrow, Parquet or CSV", Args: cobra.ExactArgs(2),
		Long: `Write samples to a file, which appears whole or not at all, at one state of the
dataset. FILE - writes an Arrow IPC stream to standard output.

Samples of different lengths and nulls need Arrow or Parquet; CSV takes numbers,
strings and bytes (in hex).`,
		Example: "  daos tensor export p/train@v1 train.npz\n  daos tensor export p/train labels.npy --columns label --start 0 --stop 1000",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			d, err := c.Tensor.Describe(ctx, &tensorv1.DescribeRequest{Dataset: x.DatasetName()})
			if err != nil {
				return err
			}
			e.c, e.dataset, e.epoch = c, x.DatasetName(), d.GetEpoch()
			if e.stop == 0 || e.stop > d.GetLength() {
				e.stop = d.GetLength()
			}
			if e.start > e.stop {
				return fault.New(fault.Invalid, "tensor.export", args[0], "start %d is behind stop %d", e.start, e.stop)
			}
			if err := e.choose(d.GetColumns()); err != nil {
				return err
			}
			if args[1] == "-" {
				r, err := e.read(ctx, e.names)
				if err != nil {
					return err
				}
				_, err = io.Copy(a.out, r)
				return err
			}
			if format == "" {
				if format, err = columnar.FormatOf(args[1]); err != nil {
					return err
				}
			}
			write, ok := exportFormats[format]
			if !ok {
				return fault.New(fault.Invalid, "tensor.export", format, "not a format").Do("use npy, npz, arrow, parquet or csv")
			}
			began := time.Now()
			size, err := writeWhole(args[1], func(f *os.File) error { return write(ctx, &e, f) })
			if err != nil {
				return err
			}
			out := exportJSON{args[1], e.stop - e.start, size, time.Since(began).Seconds()}
			return a.print(out, func() error {
				a.say("%s: %s samples, %s in %s", printable(out.File), formatCount(out.Samples), formatSize(uint64(size)), formatDuration(time.Since(began)))
				return nil
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&format, "format", "", "npy, npz, arrow, parquet or csv (default: by the name)")
	f.StringSliceVar(&e.names, "columns", nil, "only these columns")
	f.Uint64Var(&e.start, "start", 0, "first sample")
	f.Uint64Var(&e.stop, "stop", 0, "end, exclusive (default: the length)")
	return cmd
}

// tensorExporter is what the formats write: columns of a range at one epoch.
type tensorExporter struct {
	c           *client.Client
	dataset     string
	epoch       uint64
	names       []string
	columns     []tensor.Column
	start, stop uint64
}

func (e *tensorExporter) choose(have []*tensorv1.Column) error {
	byName := map[string]*tensorv1.Column{}
	var all []string
	for _, c := range have {
		byName[c.GetName()] = c
		all = append(all, c.GetName())
	}
	if len(e.names) == 0 {
		e.names = all
	}
	for _, n := range e.names {
		if byName[n] == nil {
			f := fault.New(fault.NotFound, "tensor.export", e.dataset, "no column %q", n)
			if near := near.Name(n, all); near != "" {
				return f.Do("did you mean %s?", near)
			}
			return f.Do("it has %s", strings.Join(all, ", "))
		}
		c, err := columnOf(byName[n])
		if err != nil {
			return err
		}
		e.columns = append(e.columns, c)
	}
	if len(e.columns) == 0 {
		return fault.New(fault.Invalid, "tensor.export", e.dataset, "the dataset has no columns yet")
	}
	return nil
}

func (e *tensorExporter) read(ctx context.Context, columns []string) (io.Reader, error) {
	return readTensor(ctx, e.c, &tensorv1.ReadRequest{Dataset: e.dataset, Columns: columns, Start: e.start, Stop: e.stop, Epoch: e.epoch})
}

// writeWhole writes a temporary file beside name, makes it durable and renames it.
func writeWhole(name string, fill func(*os.File) error) (int64, error) {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".daos-export-*")
	if err != nil {
		return 0, fault.New(fault.KindOf(err), "tensor.export", name, "can't be written").Because(unwrapPath(err))
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := fill(tmp); err != nil {
		return 0, err
	}
	st, err := tmp.Stat()
	if err == nil {
		err = errors.Join(tmp.Chmod(0o644), tmp.Sync(), tmp.Close(), os.Rename(tmp.Name(), name))
	}
	if err != nil {
		return 0, fault.New(fault.KindOf(err), "tensor.export", name, "can't be written").Because(err)
	}
	return st.Size(), nil
}

var exportFormats = map[string]func(context.Context, *tensorExporter, *os.File) error{
	"npy": func(ctx context.Context, e *tensorExporter, f *os.File) error {
		if len(e.columns) != 1 {
			return fault.New(fault.Invalid, "tensor.export", e.dataset, "an .npy file holds one column, %d are asked for", len(e.columns)).Do("choose one with --columns, or write .npz")
		}
		w := bufio.NewWriterSize(f, 1<<20)
		return errors.Join(e.writeNpy(ctx, w, 0), w.Flush())
	},
	"npz": func(ctx context.Context, e *tensorExporter, f *os.File) error {
		z := zip.NewWriter(f)
		for i := range e.columns {
			// Stored, as numpy.savez does: readers map it.
			w, err := z.CreateHeader(&zip.FileHeader{Name: e.columns[i].Name + ".npy", Method: zip.Store})
			if err != nil {
				return err
			}
			if err := e.writeNpy(ctx, w, i); err != nil {
				return err
			}
		}
		return z.Close()
	},
	"arrow": func(ctx context.Context, e *tensorExporter, f *os.File) error {
		return e.writeRecords(ctx, func(s *columnar.Schema) (columnar.RecordWriter, error) { return columnar.NewArrowWriter(f, s) })
	},
	"parquet": func(ctx context.Context, e *tensorExporter, f *os.File) error {
		return e.writeRecords(ctx, func(s *columnar.Schema) (columnar.RecordWriter, error) {
			return columnar.NewParquetWriter(f, s)
		})
	},
	"csv": func(ctx context.Context, e *tensorExporter, f *os.File) error { return e.writeCSV(ctx, f) },
}

// writeNpy writes one column as an array file.
func (e *tensorExporter) writeNpy(ctx context.Context, w io.Writer, i int) error {
	col := e.columns[i]
	longest := 0
	if col.Layout == tensor.Bytes || col.Layout == tensor.String {
		// Read twice: the header has the length of the longest.
		r, err := e.read(ctx, []string{col.Name})
		if err != nil {
			return err
		}
		if err := columnar.Records(r, func(_ columnar.Record, _ []tensor.Column, rows *tensor.Rows) error {
			d := &rows.Columns[0]
			for k := range rows.N {
				cell := d.Values[d.Offsets[k]:d.Offsets[k+1]]
				n := len(cell)
				if col.Layout == tensor.String {
					n = utf8.RuneCount(cell)
				}
				longest = max(longest, n)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	nw, err := columnar.NewNpyWriter(w, col, int64(e.stop-e.start), longest)
	if err != nil {
		return err
	}
	r, err := e.read(ctx, []string{col.Name})
	if err != nil {
		return err
	}
	if err := columnar.Records(r, func(_ columnar.Record, _ []tensor.Column, rows *tensor.Rows) error {
		return nw.Write(&rows.Columns[0], rows.N)
	}); err != nil {
		return err
	}
	return nw.Close()
}

func (e *tensorExporter) writeRecords(ctx context.Context, open func(*columnar.Schema) (columnar.RecordWriter, error)) error {
	r, err := e.read(ctx, e.names)
	if err != nil {
		return err
	}
	var w columnar.RecordWriter
	n := uint64(0)
	if err := columnar.Records(r, func(rec columnar.Record, _ []tensor.Column, rows *tensor.Rows) error {
		if w == nil {
			if w, err = open(rec.Schema()); err != nil {
				return err
			}
		}
		n += uint64(rows.N)
		return w.Write(rec)
	}); err != nil {
		return err
	}
	if w == nil {
		if w, err = open(columnar.SchemaOf(e.columns)); err != nil {
			return err
		}
	}
	if n != e.stop-e.start {
		return fault.New(fault.DataLoss, "tensor.export", e.dataset, "%d samples came of %d", n, e.stop-e.start).Do("try again")
	}
	return w.Close()
}

func (e *tensorExporter) writeCSV(ctx context.Context, f *os.File) error {
	for i := range e.columns {
		if c := &e.columns[i]; c.Layout == tensor.Ragged || len(c.Shape) > 0 {
			return fault.New(fault.Unsupported, "tensor.export", e.dataset, "column %q holds arrays, which CSV has no form for", c.Name).Do("export to .parquet or .npz, or choose other --columns")
		}
	}
	r, err := e.read(ctx, e.names)
	if err != nil {
		return err
	}
	buf := bufio.NewWriterSize(f, 1<<20)
	w := csv.NewWriter(buf)
	if err := w.Write(e.names); err != nil {
		return err
	}
	cells := make([]string, len(e.names))
	if err := columnar.Records(r, func(_ columnar.Record, cols []tensor.Column, rows *tensor.Rows) error {
		for k := range rows.N {
			for i := range cols {
				cells[i], _ = columnar.Cell(&cols[i], &rows.Columns[i], k, 0)
				if v := rows.Columns[i].Valid; v != nil && v[k] == 0 {
					cells[i] = ""
				}
			}
			if err := w.Write(cells); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	w.Flush()
	return errors.Join(w.Error(), buf.Flush())
}
