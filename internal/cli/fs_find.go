package cli

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/columnar"
	"daos/internal/fault"
	scanv1 "daos/proto/gen/daos/scan/v1"
)

// filterFlags are the flags of find and scan that become a scan filter.
type filterFlags struct {
	name, path       string
	types            []string
	size             []string
	minSize, maxSize string
	newer, older     string
	depth            string
	limit            uint64
}

func (f *filterFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "glob over the name: * ? [a-z] [!a]")
	fl.StringVar(&f.path, "path", "", "glob over the path below the directory; ** crosses directories")
	fl.StringSliceVar(&f.types, "type", nil, "file (f), directory (d) or symlink (l)")
	fl.StringArrayVar(&f.size, "size", nil, "+4KiB: at least, -1MiB: at most, 100: exactly (repeatable)")
	fl.StringVar(&f.minSize, "min-size", "", "smallest size")
	fl.StringVar(&f.maxSize, "max-size", "", "largest size")
	fl.StringVar(&f.newer, "newer", "", "changed at or after: 2026-01-31, 2026-01-31T15:04:05Z, or an age such as 2h, 7d")
	fl.StringVar(&f.older, "older", "", "changed before: the same forms")
	fl.StringVar(&f.depth, "depth", "", "depth below the directory: 1, 1-3, 2-")
	fl.Uint64Var(&f.limit, "limit", 0, "stop after so many entries (default: all)")
}

func (f *filterFlags) filter(now time.Time) (*scanv1.Filter, error) {
	out := &scanv1.Filter{Name: f.name, Path: f.path}
	for _, t := range f.types {
		n, ok := map[string]uint32{"f": 1, "file": 1, "d": 2, "dir": 2, "directory": 2, "l": 3, "link": 3, "symlink": 3}[strings.ToLower(t)]
		if !ok {
			return nil, fault.New(fault.Invalid, "cli.type", t, "not a type of entry").Do("use file, directory or symlink")
		}
		out.Types = append(out.Types, n)
	}
	if f.minSize != "" {
		f.size = append(f.size, "+"+f.minSize)
	}
	if f.maxSize != "" {
		f.size = append(f.size, "-"+f.maxSize)
	}
	for _, s := range f.size {
		n, err := parseSize(strings.TrimLeft(s, "+-"))
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(s, "-") {
			out.MinSize = &n
		}
		if !strings.HasPrefix(s, "+") {
			out.MaxSize = &n
		}
	}
	for _, t := range []struct {
		text string
		into **int64
	}{{f.newer, &out.MinMtimeUnixNanos}, {f.older, &out.MaxMtimeUnixNanos}} {
		if t.text == "" {
			continue
		}
		when, err := parseTime(t.text, now)
		if err != nil {
			return nil, err
		}
		n := when.UnixNano()
		*t.into = &n
	}
	var err error
	out.MinDepth, out.MaxDepth, err = parseDepth(f.depth)
	return out, err
}

// parseDepth reads "2", "1-3", "2-" or "-3".
func parseDepth(s string) (lo, hi *uint32, err error) {
	if s == "" {
		return nil, nil, nil
	}
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	for _, b := range []struct {
		text string
		into **uint32
	}{{from, &lo}, {to, &hi}} {
		if b.text == "" {
			continue
		}
		n, perr := strconv.ParseUint(b.text, 10, 32)
		if perr != nil {
			return nil, nil, fault.New(fault.Invalid, "cli.depth", s, "not a depth").Do("write 2, 1-3 or 2-")
		}
		d := uint32(n)
		*b.into = &d
	}
	return lo, hi, nil
}

// scanCounts is what a scan says at its end.
type scanCounts struct{ scanned, out uint64 }

// scanStream opens a scan and returns its joined payloads. At its end it
// demands the server's proof that nothing is missing.
func scanStream(ctx context.Context, c *client.Client, req *scanv1.ScanRequest, counts *scanCounts) (io.Reader, error) {
	s, err := c.Scan.Scan(ctx, req)
	if err != nil {
		return nil, err
	}
	done := false
	return columnar.Payloads(func() ([]byte, error) {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) && !done {
			return nil, fault.New(fault.DataLoss, "scan", req.GetDataset(), "the scan ended without the proof that it is complete").Do("run it again")
		}
		if err != nil {
			return nil, err
		}
		done = m.GetDone()
		counts.scanned, counts.out = m.GetRowsScanned(), m.GetRowsOut()
		return m.GetPayload(), nil
	}), nil
}

func fsFind(a *app) *cobra.Command {
	var f filterFlags
	var long bool
	cmd := &cobra.Command{
		Use: "find POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Print the paths of the entries that pass the filters", Args: cobra.ExactArgs(1),
		Long: "Print the paths of the entries that pass all filters, which are evaluated beside the data. The order is that of the\n" +
			"storage: the same at every run, not that of the names. With --json one object a line.",
		Example: "  daos fs find p/photos@v1 --name '*.png' --size +4KiB\n  daos fs find p/photos/train --type d --depth 1\n  daos fs find p/photos --newer 2h -l",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			filter, err := f.filter(a.now())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			var n scanCounts
			r, err := scanStream(ctx, c, &scanv1.ScanRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), Filter: filter, Limit: f.limit}, &n)
			if err != nil {
				return err
			}
			out := bufio.NewWriterSize(a.out, 256<<10)
			if err := columnar.Entries(r, func(e *columnar.Entry) error { return findLine(out, e, long, a.json) }); err != nil {
				return errors.Join(out.Flush(), err)
			}
			return out.Flush()
		}),
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&long, "long", "l", false, "show mode, size and time")
	return cmd
}

func findLine(out *bufio.Writer, e *columnar.Entry, long, asJSON bool) error {
	switch {
	case asJSON:
		return printJSONLine(out, entryOfRow(e))
	case long:
		_, err := fmt.Fprintf(out, "%s %12s  %s  %s\n", modeString(e.Type, e.Mode), formatSize(e.Size), formatTime(e.Mtime), printable(e.Path))
		return err
	}
	_, err := out.WriteString(printable(e.Path) + "\n")
	return err
}

func fsScan(a *app) *cobra.Command {
	var f filterFlags
	var format string
	var columns []string
	cmd := &cobra.Command{
		Use: "scan POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Stream the namespace as a table", Args: cobra.ExactArgs(1),
		Long: "Stream the namespace, or what passes the filters, as a table; say on stderr how many entries were looked at and returned.\n" +
			"Formats: summary (counts by type, the default), table, csv, json (one object a line), arrow (an IPC stream).",
		Example: "  daos fs scan p/photos@v1\n  daos fs scan p/photos@v1 --format csv > files.csv\n  daos fs scan p/photos --format arrow --columns path,size | python -c 'import sys, pyarrow as pa; print(pa.ipc.open_stream(sys.stdin.buffer).read_all())'",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			filter, err := f.filter(a.now())
			if err != nil {
				return err
			}
			if a.json && format == "summary" {
				format = "json"
			}
			write, ok := scanFormats[format]
			if !ok {
				return fault.New(fault.Invalid, "fs.scan", format, "not a format").Do("use summary, table, csv, json or arrow")
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			var n scanCounts
			began := time.Now()
			r, err := scanStream(ctx, c, &scanv1.ScanRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), Filter: filter, Limit: f.limit, Columns: columns}, &n)
			if err != nil {
				return err
			}
			out := bufio.NewWriterSize(a.out, 256<<10)
			if err := write(a, out, r); err != nil {
				return errors.Join(out.Flush(), err)
			}
			if err := out.Flush(); err != nil {
				return err
			}
			if !a.quiet {
				took := time.Since(began)
				fmt.Fprintf(a.err, "%s entries looked at, %s returned in %s (%s entries/s)\n",
					formatCount(n.scanned), formatCount(n.out), formatDuration(took), formatCount(int64(perSecond(int64(n.scanned), took))))
			}
			return nil
		}),
	}
	f.add(cmd)
	cmd.Flags().StringVar(&format, "format", "summary", "summary, table, csv, json or arrow")
	cmd.Flags().StringSliceVar(&columns, "columns", nil, "columns: path, path_bytes, name, type, size, mtime, ctime, mode, uid, gid, nlink, inode, depth, symlink_target, epoch")
	return cmd
}

// scanFormats write a scan in one format each.
var scanFormats = map[string]func(*app, *bufio.Writer, io.Reader) error{
	"arrow": func(_ *app, out *bufio.Writer, r io.Reader) error { _, err := io.Copy(out, r); return err },
	"json": func(_ *app, out *bufio.Writer, r io.Reader) error {
		return columnar.Entries(r, func(e *columnar.Entry) error { return printJSONLine(out, entryOfRow(e)) })
	},
	"table": func(_ *app, out *bufio.Writer, r io.Reader) error {
		return columnar.Entries(r, func(e *columnar.Entry) error { return findLine(out, e, true, false) })
	},
	"csv":     scanCSV,
	"summary": scanSummary,
}

func scanCSV(_ *app, out *bufio.Writer, r io.Reader) error {
	w := csv.NewWriter(out)
	if err := w.Write([]string{"path", "type", "size", "mtime", "mode"}); err != nil {
		return err
	}
	err := columnar.Entries(r, func(e *columnar.Entry) error {
		return w.Write([]string{e.Path, e.Type, strconv.FormatUint(e.Size, 10), jsonTime(e.Mtime), fmt.Sprintf("%04o", e.Mode)})
	})
	w.Flush()
	return errors.Join(err, w.Error())
}

func scanSummary(a *app, out *bufio.Writer, r io.Reader) error {
	count, size := map[string]int64{}, map[string]uint64{}
	if err := columnar.Entries(r, func(e *columnar.Entry) error { count[e.Type]++; size[e.Type] += e.Size; return nil }); err != nil {
		return err
	}
	t := &table{columns: []column{{head: "TYPE"}, {head: "ENTRIES", right: true}, {head: "BYTES", right: true}}, empty: "no entries"}
	for _, typ := range []string{"file", "directory", "symlink"} {
		if count[typ] > 0 {
			t.row(typ, formatCount(count[typ]), formatSize(size[typ]))
		}
	}
	return t.print(out, width(a.out, a.getenv))
}
