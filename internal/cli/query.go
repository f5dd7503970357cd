package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/columnar"
	"daos/internal/fault"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
)

func newQuery(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "query", Short: "Datasets as tables: filter, sample, order, group",
		Long: "Datasets of every type are tables: the files of a posix dataset, the pairs of a kv dataset, the elements of an array, the\n" +
			"rows of a tensor dataset. Conditions are evaluated next to the data, at one epoch.\n\n" +
			"A condition: label = 3 and quality > 0.8, path like 'train/%' and size between 1_000 and 2e6, name not in ('a', 'b'),\n" +
			"isnan(x) or y is null, length(tokens) > 512, mtime > '2026-01-31', tokens[1] = 7. NULL and NaN mean what they mean in DuckDB.",
	}
	cmd.AddCommand(querySQL(a), queryFind(a), querySample(a), querySchema(a), queryStats(a), queryExplain(a), queryPs(a), queryKill(a))
	return cmd
}

// queryFlags make a scan.
type queryFlags struct {
	columns      []string
	where        string
	name         string
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
}

func (f *queryFlags) filters(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&f.where, "where", "w", "", "condition that rows must meet")
	fl.StringVar(&f.name, "name", "", "files: glob over the name")
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

// quote makes a text of a condition.
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
	cmd := &cobra.Command{
		Use: "find POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Print the rows of a dataset that meet a condition", Args: cobra.ExactArgs(1),
		Long: "Print the rows of a dataset that meet a condition: all of them, the first of an order, or groups of them. What was done\n" +
			"is said on stderr. A posix dataset has a row for each entry below PATH; PATH of an array dataset names the array.",
		Example: "  daos query find p/photos@v1 --name '*.png' --larger 4KiB\n  daos query find p/photos --top -size -k 5 -c path,size\n" +
			"  daos query find p/photos -g ext -a count -a 'sum(size)'\n  daos query find p/train@v1 -w 'label = 3 and quality > 0.8' -c _id -o ids.npy\n" +
			"  daos query find p/settings -w \"key_text like 'run/%'\" --format json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			r, err := f.request(a, args[0])
			if err != nil {
				return err
			}
			if err := f.defaults(ctx, c, r); err != nil {
				return err
			}
			return a.runScan(ctx, c, r, &f)
		}),
	}
	f.filters(cmd)
	f.rows(cmd)
	f.result(cmd)
	return cmd
}

// defaults chooses the columns of files, which have many.
func (f *queryFlags) defaults(ctx context.Context, c *client.Client, r *queryv1.ScanRequest) error {
	if len(r.GetColumns()) > 0 || len(r.GetGroupBy()) > 0 || len(r.GetAggregates()) > 0 {
		return nil
	}
	s, err := c.Query.Schema(ctx, &queryv1.SchemaRequest{Dataset: r.GetDataset()})
	if err != nil {
		return err
	}
	switch s.GetType() {
	case "posix":
		r.Columns = []string{"path", "type", "size", "mtime"}
	case "kv":
		for _, x := range s.GetFields() {
			if x.GetName() != "key" && x.GetName() != "akey" && x.GetName() != "version" && (x.GetName() != "value" || len(s.GetFields()) == 6) {
				r.Columns = append(r.Columns, x.GetName())
			}
		}
	}
	return nil
}

// runScan runs a scan and writes its result.
func (a *app) runScan(ctx context.Context, c *client.Client, r *queryv1.ScanRequest, f *queryFlags) error {
	format, err := f.formatOf(a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := c.Query.Scan(ctx, r)
	if err != nil {
		return err
	}
	var last *queryv1.ScanResponse
	began := time.Now()
	in := columnar.Payloads(func() ([]byte, error) {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) && !last.GetDone() {
			return nil, fault.New(fault.DataLoss, "query", r.GetDataset(), "the query ended without the proof that its result is complete").Do("run it again")
		}
		if err != nil {
			return nil, err
		}
		last = m
		return m.GetPayload(), nil
	})
	if err := f.write(a, in, format); err != nil {
		return err
	}
	if !a.quiet {
		n := last.GetCounters()
		took := time.Since(began)
		fmt.Fprintf(a.err, "%s rows in %s; scanned %s, chunks pruned %s of %s, read %s, epoch %d\n", formatCount(n.GetRowsOut()), formatDuration(took),
			formatCount(n.GetRowsScanned()), formatCount(n.GetChunksPruned()), formatCount(n.GetChunks()), formatSize(n.GetBytesRead()), last.GetEpoch())
	}
	return nil
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
	if !slices.Contains(columnar.ResultFormats(), format) {
		return "", fault.New(fault.Invalid, "query.format", format, "not a format").Do("use one of %s", strings.Join(columnar.ResultFormats(), ", "))
	}
	return format, nil
}

// write writes a result where it is to go. A file appears whole or not at all.
func (f *queryFlags) write(a *app, in io.Reader, format string) (err error) {
	out := a.out
	if f.output != "" {
		tmp, err := os.CreateTemp(filepath.Dir(f.output), ".daos-*")
		if err != nil {
			return fault.New(fault.KindOf(err), "query.output", f.output, "can't be made").Because(err)
		}
		defer os.Remove(tmp.Name())
		if err := f.writeTo(a, tmp, in, format); err != nil {
			return errors.Join(err, tmp.Close())
		}
		if err := errors.Join(tmp.Chmod(0o644), tmp.Close()); err != nil {
			return err
		}
		return os.Rename(tmp.Name(), f.output)
	}
	return f.writeTo(a, out, in, format)
}

func (f *queryFlags) writeTo(a *app, out io.Writer, in io.Reader, format string) error {
	if format != "table" {
		_, err := columnar.WriteResult(out, in, format)
		return err
	}
	got, err := columnar.CollectTable(in, max(f.maxRows, 1))
	if err != nil {
		return err
	}
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
		_, err = fmt.Fprintf(out, "(%s rows, %s shown; --max-rows shows more, --format csv all)\n", formatCount(got.Total), formatCount(int64(len(got.Rows))))
	}
	return err
}

func querySample(a *app) *cobra.Command {
	var f queryFlags
	var s queryv1.Sample
	cmd := &cobra.Command{
		Use: "sample POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Print a reproducible sample of rows", Args: cobra.ExactArgs(1),
		Long: "Print a sample: rows are drawn by a hash of their key and the seed, so that the same seed draws the same rows at any time\n" +
			"and on any machine. The rows keep the order of the table.",
		Example: "  daos query sample p/train@v1 -n 1000 --stratify label --seed 7\n  daos query sample p/photos@v1 --fraction 0.01 -w \"ext = 'png'\"",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			r, err := f.request(a, args[0])
			if err != nil {
				return err
			}
			if s.N == 0 && s.Fraction == 0 {
				s.N = 10
			}
			r.Sample = &s
			if err := f.defaults(ctx, c, r); err != nil {
				return err
			}
			return a.runScan(ctx, c, r, &f)
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
	return cmd
}

func querySchema(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "schema POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Show the columns of a dataset as a table", Args: cobra.ExactArgs(1),
		Example: "  daos query schema p/train@v1",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			s, err := c.Query.Schema(ctx, &queryv1.SchemaRequest{Dataset: x.String()})
			if err != nil {
				return err
			}
			type field struct {
				Name string `json:"name"`
				Type string `json:"type"`
			}
			v := struct {
				Type   string  `json:"type"`
				Rows   *uint64 `json:"rows"`
				Epoch  uint64  `json:"epoch"`
				Fields []field `json:"columns"`
			}{s.GetType(), s.Rows, s.GetEpoch(), nil}
			t := &table{columns: []column{{head: "COLUMN"}, {head: "TYPE"}}, empty: "no columns"}
			for _, f := range s.GetFields() {
				v.Fields = append(v.Fields, field{f.GetName(), f.GetType()})
				t.row(printable(f.GetName()), f.GetType())
			}
			return a.print(v, func() error {
				if err := a.table(t); err != nil {
					return err
				}
				if s.Rows != nil {
					a.say("%s rows", formatCount(s.GetRows()))
				}
				return nil
			})
		}),
	}
}

func queryStats(a *app) *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use: "stats POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Count rows and values, smallest and greatest of each column", Args: cobra.ExactArgs(1),
		Example: "  daos query stats p/train@v1\n  daos query stats p/train -w 'label = 3' -c quality",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			r, err := f.request(a, args[0])
			if err != nil {
				return err
			}
			s, err := c.Query.Schema(ctx, &queryv1.SchemaRequest{Dataset: r.GetDataset()})
			if err != nil {
				return err
			}
			r.Columns = nil
			r.Aggregates = []*queryv1.Aggregate{{Function: queryv1.AggregateFunction_AGGREGATE_FUNCTION_COUNT}}
			var fields []*queryv1.Field
			for _, x := range s.GetFields() {
				if len(f.columns) > 0 && !slices.Contains(f.columns, x.GetName()) {
					continue
				}
				if len(f.columns) == 0 && s.GetType() == "kv" && x.GetName() == "value" {
					continue // it would read every value
				}
				fields = append(fields, x)
				add := func(fn queryv1.AggregateFunction) {
					r.Aggregates = append(r.Aggregates, &queryv1.Aggregate{Function: fn, Column: x.GetName()})
				}
				add(queryv1.AggregateFunction_AGGREGATE_FUNCTION_COUNT)
				if !strings.HasSuffix(x.GetType(), "]") {
					add(queryv1.AggregateFunction_AGGREGATE_FUNCTION_MIN)
					add(queryv1.AggregateFunction_AGGREGATE_FUNCTION_MAX)
				}
			}
			if len(fields) == 0 {
				return fault.New(fault.NotFound, "query.stats", strings.Join(f.columns, ", "), "no such column").Do("see daos query schema %s", args[0])
			}
			return a.statsTable(ctx, c, r, fields)
		}),
	}
	f.filters(cmd)
	cmd.Flags().StringSliceVarP(&f.columns, "columns", "c", nil, "columns (default: all)")
	return cmd
}

func (a *app) statsTable(ctx context.Context, c *client.Client, r *queryv1.ScanRequest, fields []*queryv1.Field) error {
	st, err := c.Query.Scan(ctx, r)
	if err != nil {
		return err
	}
	done := false
	got, err := columnar.CollectTable(columnar.Payloads(func() ([]byte, error) {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) && !done {
			return nil, fault.New(fault.DataLoss, "query", r.GetDataset(), "the query ended without the proof that its result is complete").Do("run it again")
		}
		done = m.GetDone()
		return m.GetPayload(), err
	}), 1)
	if err != nil {
		return err
	}
	type stat struct {
		Column string  `json:"column"`
		Type   string  `json:"type"`
		Values string  `json:"values"`
		Min    *string `json:"min"`
		Max    *string `json:"max"`
	}
	cells := got.Rows[0]
	rows := cells[0]
	var out []stat
	t := &table{columns: []column{{head: "COLUMN"}, {head: "TYPE"}, {head: "VALUES", right: true}, {head: "MIN", shrink: true}, {head: "MAX", shrink: true}}}
	at := 1
	for _, f := range fields {
		s := stat{Column: f.GetName(), Type: f.GetType(), Values: cells[at]}
		at++
		row := []string{printable(s.Column), s.Type, s.Values, "", ""}
		if !strings.HasSuffix(f.GetType(), "]") {
			s.Min, s.Max = &cells[at], &cells[at+1]
			row[3], row[4] = printable(cells[at]), printable(cells[at+1])
			at += 2
		}
		out = append(out, s)
		t.row(row...)
	}
	return a.print(struct {
		Rows    string `json:"rows"`
		Columns []stat `json:"columns"`
	}{rows, out}, func() error {
		a.say("%s rows", rows)
		return a.table(t)
	})
}

func queryExplain(a *app) *cobra.Command {
	var f queryFlags
	var analyze bool
	cmd := &cobra.Command{
		Use: "explain POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Show how a scan would be done, a row for each condition", Args: cobra.ExactArgs(1),
		Example: "  daos query explain p/train@v1 -w 'label = 3 and lower(name) = ''x''' --analyze",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			r, err := f.request(a, args[0])
			if err != nil {
				return err
			}
			got, err := c.Query.Explain(ctx, &queryv1.ExplainRequest{Scan: r, Analyze: analyze})
			if err != nil {
				return err
			}
			return a.conjuncts(got.GetConjuncts(), got.GetCounters(), analyze)
		}),
	}
	f.filters(cmd)
	f.rows(cmd)
	cmd.Flags().BoolVar(&analyze, "analyze", false, "run it, and show what it did")
	return cmd
}

func queryPs(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "ps", Short: "List the queries that run", Args: cobra.NoArgs,
		Example: "  daos query ps\n  daos query ps --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			got, err := c.Query.ListQueries(ctx, &queryv1.ListQueriesRequest{})
			if err != nil {
				return err
			}
			type row struct {
				ID      string `json:"id"`
				Dataset string `json:"dataset"`
				Text    string `json:"text"`
				User    string `json:"user"`
				Begun   string `json:"begun"`
				Scanned uint64 `json:"rows_scanned"`
				Out     uint64 `json:"rows_out"`
			}
			out := []row{}
			t := &table{columns: []column{{head: "ID"}, {head: "DATASET"}, {head: "RUNS", right: true}, {head: "SCANNED", right: true}, {head: "OUT", right: true}, {head: "USER"}, {head: "QUERY", shrink: true}}, empty: "no query runs"}
			for _, q := range got.GetQueries() {
				begun := time.Unix(0, q.GetBegunUnixNanos())
				out = append(out, row{q.GetId(), q.GetDataset(), q.GetText(), q.GetUser(), jsonTime(q.GetBegunUnixNanos()), q.GetCounters().GetRowsScanned(), q.GetCounters().GetRowsOut()})
				t.row(q.GetId(), printable(q.GetDataset()), formatDuration(a.now().Sub(begun)), formatCount(q.GetCounters().GetRowsScanned()), formatCount(q.GetCounters().GetRowsOut()), q.GetUser(), printable(q.GetText()))
			}
			return a.print(out, func() error { return a.table(t) })
		}),
	}
}

func queryKill(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "kill ID", Short: "End a query; its client gets an error that says so", Args: cobra.ExactArgs(1),
		Example: "  daos query kill q5gb-9",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			if _, err := c.Query.KillQuery(ctx, &queryv1.KillQueryRequest{Id: args[0]}); err != nil {
				return err
			}
			a.say("killed %s", args[0])
			return nil
		}),
	}
}
