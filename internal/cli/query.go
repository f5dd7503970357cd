package cli

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/columnar"
	"daos/internal/fault"
	"daos/internal/near"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
)

func newQuery(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "query", Short: "Datasets as tables: filter, sample, order, group",
		Long: `Datasets of every type are tables: the files of a posix dataset, the pairs of a kv dataset, the elements of an array, the
samples of a tensor dataset (daos query schema shows their columns). find takes the rows that meet a condition, slice and kv
take them by place and by key, sample draws some, sql joins and computes. All is evaluated next to the data, at one epoch.

A condition: label = 3 and quality > 0.8, path like 'train/%' and size between 1_000 and 2e6, name not in ('a', 'b'),
isnan(x) or y is null, length(tokens) > 512, mtime > '2026-01-31', tokens[1] = 7. NULL and NaN mean what they mean in DuckDB.

Results go to standard output, as a table on a terminal and as a JSON object a line (ndjson) on a pipe, or to a file (-o),
in the form that its name or --format tells: csv, json (one array of objects), ndjson, arrow, parquet, npy (one column).
What was done is said on standard error; -q leaves that out. A view keeps a result for training: --save-view, daos view.`,
		Example: "  daos query find p/photos@v1 --name '*.png' --larger 4KiB\n  daos query sql 'SELECT label, count(*) FROM \"p/train\" GROUP BY label'\n" +
			"  daos query slice 'p/weather/t2m[0:24, ::2, 5]'\n  daos query kv p/runs --prefix run7/\n  daos query shell",
	}
	cmd.AddCommand(querySQL(a), queryFind(a), querySlice(a), queryKV(a), querySample(a), querySchema(a), queryStats(a), queryExplain(a), queryPs(a), queryKill(a), queryShell(a))
	return cmd
}

// queryFlags make a scan.
type queryFlags struct {
	columns      []string
	where        string
	name         string
	kind         string // of files
	larger       string
	smaller      string
	newer, older string
	limit        uint64
	offset       uint64
	top          string
	k            uint64
	group        []string
	aggregates   []string
	format       string
	output       string
	maxRows      int
	silent       bool   // nothing is said of what was done
	more         string // how the rest of a table can be seen; "": as a flag says
}

func (f *queryFlags) filters(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&f.where, "where", "w", "", "condition that rows must meet")
	fl.StringVar(&f.name, "name", "", "files: glob over the name")
	fl.StringVar(&f.kind, "type", "", "files: file, directory, symlink, or any")
	_ = cmd.RegisterFlagCompletionFunc("type", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return fileKinds(), cobra.ShellCompDirectiveNoFileComp
	})
	fl.StringVar(&f.larger, "larger", "", "files: at least so large: 4KiB, 1MB")
	fl.StringVar(&f.smaller, "smaller", "", "files: at most so large")
	fl.StringVar(&f.newer, "newer", "", "files: changed at or after: 2026-01-31, or an age such as 2h, 7d")
	fl.StringVar(&f.older, "older", "", "files: changed before")
}

func (f *queryFlags) rows(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringSliceVarP(&f.columns, "columns", "c", nil, "columns wanted, in this order (default: all; for files path, type, size, mtime)")
	fl.Uint64VarP(&f.limit, "limit", "n", 0, "at most so many rows")
	fl.Uint64Var(&f.offset, "offset", 0, "leave out so many rows first")
	fl.StringVar(&f.top, "top", "", "order by this column, smallest first; -COLUMN: greatest first. Needs -k")
	fl.Uint64VarP(&f.k, "k", "k", 10, "rows of --top")
	fl.StringSliceVarP(&f.group, "group-by", "g", nil, "one row for each value of these columns")
	fl.StringArrayVarP(&f.aggregates, "agg", "a", nil, "count, or sum, min, max, avg, count of a column: avg(size) (repeatable)")
}

func (f *queryFlags) result(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&f.format, "format", "f", "", "table, csv, json, ndjson, arrow, parquet or npy (default: by the name of -o; table on a terminal, ndjson on a pipe)")
	fl.StringVarP(&f.output, "output", "o", "", "write to this file")
	fl.IntVar(&f.maxRows, "max-rows", 40, "rows that a table shows")
	_ = cmd.RegisterFlagCompletionFunc("format", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return columnar.ResultFormats(), cobra.ShellCompDirectiveNoFileComp
	})
}

func fileKinds() []string { return []string{"file", "directory", "symlink", "any"} }

// quoteText makes a text of a condition.
func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// request makes a scan of the flags.
func (f *queryFlags) request(a *app, addr string) (*queryv1.ScanRequest, error) {
	x, err := a.parse(addr)
	if err != nil {
		return nil, err
	}
	r := &queryv1.ScanRequest{Dataset: x.String(), Columns: f.columns, Limit: f.limit, Offset: f.offset, GroupBy: f.group}
	var conds []string
	if f.name != "" {
		conds = append(conds, "name glob "+quoteText(f.name))
	}
	if f.kind != "" && !slices.Contains(fileKinds(), f.kind) {
		e := fault.New(fault.Invalid, "cli.type", f.kind, "not a type of entry")
		if n := near.Name(f.kind, fileKinds()); n != "" {
			return nil, e.Do("did you mean %s?", n)
		}
		return nil, e.Do("use one of %s", strings.Join(fileKinds(), ", "))
	}
	if f.kind != "" && f.kind != "any" {
		conds = append(conds, "type = "+quoteText(f.kind))
	}
	for _, s := range []struct{ text, op string }{{f.larger, ">="}, {f.smaller, "<="}} {
		if s.text == "" {
			continue
		}
		n, err := parseSize(s.text)
		if err != nil {
			return nil, err
		}
		conds = append(conds, fmt.Sprintf("size %s %d", s.op, n))
	}
	for _, t := range []struct{ text, op string }{{f.newer, ">="}, {f.older, "<"}} {
		if t.text == "" {
			continue
		}
		when, err := parseTime(t.text, a.now())
		if err != nil {
			return nil, err
		}
		conds = append(conds, "mtime "+t.op+" timestamp '"+when.UTC().Format("2006-01-02 15:04:05.999999999")+"'")
	}
	// The user's own condition stays as it is where it is alone, so that a mark
	// in an error points into what was typed.
	if r.Where = f.where; len(conds) > 0 {
		if strings.TrimSpace(f.where) != "" {
			conds = append(conds, "("+f.where+")")
		}
		r.Where = strings.Join(conds, " and ")
	}
	if f.top != "" {
		col, desc := strings.CutPrefix(f.top, "-")
		r.Top = &queryv1.Top{Column: col, Descending: desc, K: f.k}
	}
	for _, s := range f.aggregates {
		g, err := exec.ParseAggregate(s)
		if err != nil {
			return nil, err
		}
		r.Aggregates = append(r.Aggregates, &queryv1.Aggregate{Function: queryv1.AggregateFunction(g.Fn), Column: g.Column})
	}
	if len(f.group) > 0 && len(r.Aggregates) == 0 {
		r.Aggregates = append(r.Aggregates, &queryv1.Aggregate{Function: queryv1.AggregateFunction_AGGREGATE_FUNCTION_COUNT})
	}
	return r, nil
}

func queryFind(a *app) *cobra.Command {
	var f queryFlags
	var keep saving
	cmd := &cobra.Command{
		Use: "find POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Print the rows of a dataset that meet a condition", Args: cobra.ExactArgs(1),
		Long: "Print the rows of a dataset that meet a condition: all of them, the first of an order, or groups of them. What was done\n" +
			"is said on stderr. A posix dataset has a row for each entry below PATH; PATH of an array dataset names the array.",
		Example: "  daos query find p/photos@v1 --name '*.png' --larger 4KiB\n  daos query find p/photos --top -size -k 5 -c path,size\n" +
			"  daos query find p/photos -g ext -a count -a 'sum(size)'\n  daos query find p/train@v1 -w 'label = 3 and quality > 0.8' -c _id -o ids.npy\n" +
			"  daos query find p/settings -w \"key_text like 'run/%'\" --format json\n" +
			"  daos query find p/photos -w 'size > 1_000_000' --save-view large",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			r, err := f.request(a, args[0])
			if err != nil {
				return err
			}
			if err := keep.check(); err != nil {
				return err
			}
			if keep.name != "" {
				return keep.save(ctx, a, c, r, nil)
			}
			if err := f.defaults(ctx, a, c, r); err != nil {
				return err
			}
			_, err = a.runScan(ctx, c, r, &f)
			return err
		}),
	}
	f.filters(cmd)
	f.rows(cmd)
	f.result(cmd)
	keep.add(cmd, false)
	return cmd
}

// defaults chooses the columns of files and pairs, which have many.
func (f *queryFlags) defaults(ctx context.Context, a *app, c *client.Client, r *queryv1.ScanRequest) error {
	if len(r.GetColumns()) > 0 || len(r.GetGroupBy()) > 0 || len(r.GetAggregates()) > 0 {
		return nil
	}
	s, err := c.Query.Schema(ctx, &queryv1.SchemaRequest{Dataset: r.GetDataset()})
	if err != nil {
		return err
	}
	f.chooseColumns(a, r, s)
	return nil
}

// chooseColumns names the columns that people want to see where none are named.
func (f *queryFlags) chooseColumns(a *app, r *queryv1.ScanRequest, s *queryv1.SchemaResponse) {
	if len(r.GetColumns()) > 0 {
		return
	}
	switch s.GetType() {
	case "posix":
		r.Columns = []string{"path", "type", "size", "mtime"}
	case "kv":
		r.Columns = f.pairColumns(a, s.GetFields())
	}
}

// pairColumns are the key as text, the size, and the fields of the values; of
// values that have none the bytes, behind their text in formats that write bytes
// in hexadecimal.
func (f *queryFlags) pairColumns(a *app, fields []*queryv1.Field) []string {
	out := []string{"key_text", "size"}
	for _, x := range fields {
		switch x.GetName() {
		case "key", "key_text", "akey", "version", "size", "value":
		case "value_text":
			if len(fields) > 7 { // a field of the values has this name
				out = append(out, x.GetName())
				continue
			}
			if format, err := f.formatOf(a); err == nil && (format == "csv" || format == "json" || format == "ndjson") {
				out = append(out, x.GetName())
			}
			return append(out, "value")
		default:
			out = append(out, x.GetName())
		}
	}
	return out
}

var namesType = regexp.MustCompile(`(?i)\btype\b`)

// sampleFiles narrows a sample of a posix dataset to files, unless it says
// itself which types of entries it is of.
func (f *queryFlags) sampleFiles(ctx context.Context, a *app, c *client.Client, addr string) error {
	if f.kind != "" || namesType.MatchString(f.where) {
		return nil
	}
	x, err := a.parse(addr)
	if err != nil {
		return err
	}
	s, err := c.Query.Schema(ctx, &queryv1.SchemaRequest{Dataset: x.String()})
	if err == nil && s.GetType() == "posix" {
		f.kind = "file"
	}
	return err
}

func querySample(a *app) *cobra.Command {
	var f queryFlags
	var s queryv1.Sample
	var keep saving
	cmd := &cobra.Command{
		Use: "sample POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Print a reproducible sample of rows", Args: cobra.ExactArgs(1),
		Long: "Print a sample: rows are drawn by a hash of their key and the seed, so that the same seed draws the same rows at any time\n" +
			"and on any machine. The rows keep the order of the table.\n\n" +
			"Of a posix dataset files are drawn, not directories and links, unless --type or the condition says which.",
		Example: "  daos query sample p/train@v1 -n 1000 --stratify label --seed 7\n  daos query sample p/photos@v1 --fraction 0.01 -w \"ext = 'png'\"",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			if err := f.sampleFiles(ctx, a, c, args[0]); err != nil {
				return err
			}
			r, err := f.request(a, args[0])
			if err != nil {
				return err
			}
			if s.N == 0 && s.Fraction == 0 {
				s.N = 10
			}
			r.Sample = &s
			if err := keep.check(); err != nil {
				return err
			}
			if keep.name != "" {
				return keep.save(ctx, a, c, r, nil)
			}
			if err := f.defaults(ctx, a, c, r); err != nil {
				return err
			}
			_, err = a.runScan(ctx, c, r, &f)
			return err
		}),
	}
	f.filters(cmd)
	fl := cmd.Flags()
	fl.StringSliceVarP(&f.columns, "columns", "c", nil, "columns wanted, in this order")
	fl.Uint64VarP(&s.N, "rows", "n", 0, "so many rows (default 10)")
	fl.Float64Var(&s.Fraction, "fraction", 0, "this part of the rows, above 0 and up to 1")
	fl.StringVar(&s.StratifyBy, "stratify", "", "with -n: so many for each value of this column")
	fl.Uint64Var(&s.Seed, "seed", 0, "the same seed draws the same rows")
	f.result(cmd)
	keep.add(cmd, false)
	return cmd
}
