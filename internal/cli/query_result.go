package cli

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"daos/internal/client"
	"daos/internal/columnar"
	"daos/internal/fault"
	"daos/internal/near"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/query/expr"
)

// within bounds a query, which may take as long as it wants, by the --timeout
// that was given. The caller cancels it.
func (a *app) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout > 0 {
		return context.WithTimeoutCause(ctx, a.timeout, tookLong("the --timeout of ", a.timeout))
	}
	return context.WithCancel(ctx)
}

// tookLong is the error of a query that a limit of the command line ends.
func tookLong(which string, limit time.Duration) error {
	return fault.New(fault.Timeout, "query", "", "the query was not done within %s%s", which, limit).Do("give a longer --timeout, or filter more")
}

// answered bounds a query that is answered in one piece, and so may be silent
// for longer than other calls. The caller cancels it.
func (a *app) answered(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout > 0 {
		return context.WithTimeoutCause(ctx, a.timeout, tookLong("the --timeout of ", a.timeout))
	}
	return context.WithTimeoutCause(ctx, queryPatience, tookLong("", queryPatience))
}

// runScan runs a scan and writes its result; it returns what was done.
func (a *app) runScan(ctx context.Context, c *client.Client, r *queryv1.ScanRequest, f *queryFlags) (*queryv1.Counters, error) {
	format, err := f.formatOf(a)
	if err != nil {
		return nil, err
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	st, err := c.Query.Scan(ctx, r)
	if err != nil {
		return nil, err
	}
	var last *queryv1.ScanResponse
	began := time.Now()
	p := f.follow(ctx, a, c, format)
	defer p.end()
	in := columnar.Payloads(func() ([]byte, error) {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) && !last.GetDone() {
			return nil, incomplete("query", r.GetDataset())
		}
		if err != nil {
			return nil, err
		}
		p.note(m.GetQuery(), m.GetCounters())
		last = m
		return m.GetPayload(), nil
	})
	if err := f.write(a, in, format, p.end); err != nil {
		return nil, err
	}
	n := last.GetCounters()
	if !a.quiet && !f.silent {
		fmt.Fprintf(a.err, "%s in %s; scanned %s, chunks pruned %s of %s, read %s, epoch %d\n", rowsText(n.GetRowsOut()), formatDuration(time.Since(began)),
			formatCount(n.GetRowsScanned()), formatCount(n.GetChunksPruned()), formatCount(n.GetChunks()), formatSize(n.GetBytesRead()), last.GetEpoch())
	}
	return n, nil
}

func rowsText(n uint64) string {
	if n == 1 {
		return "1 row"
	}
	return formatCount(n) + " rows"
}

// incomplete is the error of an answer without its proof of completeness.
func incomplete(op, resource string) error {
	return fault.New(fault.DataLoss, op, resource, "the query ended without the proof that its result is complete").Do("run it again")
}

// formatOf is the format asked for, or that of the file's name, or what suits
// where the result goes.
func (f *queryFlags) formatOf(a *app) (string, error) {
	format := f.format
	switch {
	case format != "":
	case f.output != "":
		format = map[string]string{".csv": "csv", ".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".arrow": "arrow", ".arrows": "arrow",
			".parquet": "parquet", ".npy": "npy", ".txt": "table"}[strings.ToLower(filepath.Ext(f.output))]
		if format == "" {
			return "", fault.New(fault.Invalid, "query.format", f.output, "the name does not tell a format").Do("end it in .csv, .json, .ndjson, .arrow, .parquet or .npy, or give --format")
		}
	case a.json:
		format = "json"
	case width(a.out, a.getenv) > 0:
		format = "table"
	default:
		format = "ndjson"
	}
	if err := checkFormat(format); err != nil {
		return "", err
	}
	if (format == "arrow" || format == "parquet" || format == "npy") && f.output == "" && width(a.out, a.getenv) > 0 {
		return "", fault.New(fault.Invalid, "query.format", format, "these bytes are not for a terminal").Do("name a file with -o, or use a pipe")
	}
	return format, nil
}

func checkFormat(format string) error {
	if slices.Contains(columnar.ResultFormats(), format) {
		return nil
	}
	e := fault.New(fault.Invalid, "query.format", format, "not a format")
	if n := near.Name(format, columnar.ResultFormats()); n != "" {
		return e.Do("did you mean %s?", n)
	}
	return e.Do("use one of %s", strings.Join(columnar.ResultFormats(), ", "))
}

// toOutput lets fn write where the result is to go. A file appears whole or not
// at all.
func (f *queryFlags) toOutput(a *app, fn func(io.Writer) error) error {
	if f.output == "" {
		return fn(a.out)
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.output), ".daos-*")
	if err != nil {
		return fault.New(fault.KindOf(err), "query.output", f.output, "can't be made").Because(unwrapPath(err))
	}
	defer os.Remove(tmp.Name())
	if err := fn(tmp); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), f.output)
}

// write writes a result, an Arrow IPC stream; before is called when the last of
// it is known and nothing is on the terminal yet.
func (f *queryFlags) write(a *app, in io.Reader, format string, before func()) error {
	return f.toOutput(a, func(out io.Writer) error {
		if file, ok := out.(io.WriteSeeker); ok && format == "arrow" && strings.EqualFold(filepath.Ext(f.output), ".arrow") {
			return columnar.WriteArrowFile(file, in) // what other programs expect of that name; .arrows is a stream
		}
		if format != "table" {
			_, err := columnar.WriteResult(out, in, format)
			return err
		}
		got, err := columnar.CollectTable(in, max(f.maxRows, 1))
		before()
		if err != nil {
			return err
		}
		return f.printRows(a, out, got)
	})
}

// printRows prints a result for people.
func (f *queryFlags) printRows(a *app, out io.Writer, got *columnar.Table) error {
	t := &table{empty: "no rows"}
	for i, h := range got.Heads {
		t.columns = append(t.columns, column{head: printable(h), right: got.Right[i], shrink: !got.Right[i]})
	}
	for _, r := range got.Rows {
		for i := range r {
			r[i] = printable(r[i])
		}
		t.row(r...)
	}
	if err := t.print(out, width(out, a.getenv)); err != nil {
		return err
	}
	if n := got.Total - int64(len(got.Rows)); n > 0 {
		more := cmp.Or(f.more, "--max-rows shows more, --format csv all")
		_, err := fmt.Fprintf(out, "(%s rows, %s shown; %s)\n", formatCount(got.Total), formatCount(int64(len(got.Rows))), more)
		return err
	}
	return nil
}

// printMade prints rows that were made here, in any format: as a table with
// what human adds around them, else the rows alone. With --json and no format
// it is v, one value with all there is to say.
func (f *queryFlags) printMade(a *app, v any, s expr.Schema, rows [][]any, human func(io.Writer) error) error {
	if a.json && f.format == "" && f.output == "" {
		return printJSON(a.out, v)
	}
	format, err := f.formatOf(a)
	if err != nil {
		return err
	}
	if format == "table" {
		return f.toOutput(a, human)
	}
	done := false
	in, err := columnar.Stream(s, func() (*exec.Rows, error) {
		if done || len(rows) == 0 {
			return nil, io.EOF
		}
		done = true
		return rowsOf(s, rows), nil
	})
	if err != nil {
		return err
	}
	return f.write(a, in, format, func() {})
}

// rowsOf are cells as columns: text, bool, uint64, time.Time, *uint64 and
// *string; nil is null.
func rowsOf(s expr.Schema, rows [][]any) *exec.Rows {
	out := &exec.Rows{N: len(rows), Columns: make([]expr.Vector, len(s))}
	for i := range s {
		v := &out.Columns[i]
		v.Valid = make([]byte, len(rows))
		if s[i].Type == expr.Text {
			v.Offsets = append(v.Offsets, 0)
		}
		for k, r := range rows {
			v.Valid[k] = 1
			switch x := r[i].(type) {
			case string:
				v.Values = append(v.Values, x...)
			case bool:
				b := byte(0)
				if x {
					b = 1
				}
				v.Values = append(v.Values, b)
			case uint64:
				v.Values = binary.LittleEndian.AppendUint64(v.Values, x)
			case time.Time:
				v.Values = binary.LittleEndian.AppendUint64(v.Values, uint64(x.UnixNano()))
			default:
				v.Valid[k] = 0
				v.Values = append(v.Values, make([]byte, s[i].Type.Size())...)
			}
			if s[i].Type == expr.Text {
				v.Offsets = append(v.Offsets, uint64(len(v.Values)))
			}
		}
	}
	return out
}
