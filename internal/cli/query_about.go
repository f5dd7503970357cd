package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/columnar"
	"daos/internal/fault"
	"daos/internal/near"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/expr"
)

// columnsOf is a schema of columns "NAME TYPE"; text where no type is given.
func columnsOf(list ...string) expr.Schema {
	var s expr.Schema
	for _, x := range list {
		name, ty, _ := strings.Cut(x, " ")
		f := expr.Field{Name: name, Type: expr.Text}
		for t := expr.Bool; t <= expr.Time; t++ {
			if t.String() == ty {
				f.Type = t
			}
		}
		s = append(s, f)
	}
	return s
}

func querySchema(a *app) *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use: "schema POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Show the columns of a dataset as a table", Args: cobra.ExactArgs(1),
		Long: "Show the columns of a dataset as a table, in their order, with their types: the names that conditions, --columns and SQL\n" +
			"take. The columns of a posix dataset are always the same; those of a kv dataset follow its declared schema.",
		Example: "  daos query schema p/train@v1\n  daos query schema p/weather/t2m --format csv",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			return a.showSchema(ctx, c, x.String(), &f)
		}),
	}
	f.result(cmd)
	return cmd
}

// showSchema prints the columns of a table.
func (a *app) showSchema(ctx context.Context, c *client.Client, dataset string, f *queryFlags) error {
	s, err := c.Query.Schema(ctx, &queryv1.SchemaRequest{Dataset: dataset})
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
	var rows [][]any
	for _, x := range s.GetFields() {
		v.Fields = append(v.Fields, field{x.GetName(), x.GetType()})
		rows = append(rows, []any{x.GetName(), x.GetType()})
		t.row(printable(x.GetName()), x.GetType())
	}
	return f.printMade(a, v, columnsOf("column", "type"), rows, func(w io.Writer) error {
		if err := t.print(w, width(w, a.getenv)); err != nil || s.Rows == nil || a.quiet {
			return err
		}
		_, err := fmt.Fprintln(w, rowsText(s.GetRows()))
		return err
	})
}

func queryStats(a *app) *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use: "stats POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Count rows and values, smallest and greatest of each column", Args: cobra.ExactArgs(1),
		Long: "Count the values of each column that are not null, and find the smallest and the greatest of them: of all rows, or of\n" +
			"those that meet a condition.",
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
			fields, err := f.fieldsOf(r, s)
			if err != nil {
				return err
			}
			return a.showStats(ctx, c, r, fields, &f)
		}),
	}
	f.filters(cmd)
	cmd.Flags().StringSliceVarP(&f.columns, "columns", "c", nil, "columns (default: all)")
	f.result(cmd)
	return cmd
}

// fieldsOf chooses the columns that statistics are wanted of, and asks a scan
// for them.
func (f *queryFlags) fieldsOf(r *queryv1.ScanRequest, s *queryv1.SchemaResponse) ([]*queryv1.Field, error) {
	r.Columns = nil
	r.Aggregates = []*queryv1.Aggregate{{Function: queryv1.AggregateFunction_AGGREGATE_FUNCTION_COUNT}}
	var fields []*queryv1.Field
	var names []string
	for _, x := range s.GetFields() {
		names = append(names, x.GetName())
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
	for _, n := range f.columns {
		if slices.Contains(names, n) {
			continue
		}
		e := fault.New(fault.NotFound, "query.stats", r.GetDataset(), "no column %q", n)
		if found := near.Name(n, names); found != "" {
			return nil, e.Do("did you mean %q?", found)
		}
		return nil, e.Do("see its columns: daos query schema %s", r.GetDataset())
	}
	return fields, nil
}

// showStats prints the aggregates of columns: a count, and for all but lists
// the smallest and the greatest.
func (a *app) showStats(ctx context.Context, c *client.Client, r *queryv1.ScanRequest, fields []*queryv1.Field, f *queryFlags) error {
	ctx, cancel := a.within(ctx)
	defer cancel()
	st, err := c.Query.Scan(ctx, r)
	if err != nil {
		return err
	}
	done := false
	p := f.follow(ctx, a, c, "table")
	got, err := columnar.CollectTable(columnar.Payloads(func() ([]byte, error) {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) && !done {
			return nil, incomplete("query", r.GetDataset())
		}
		p.note(m.GetQuery(), m.GetCounters())
		done = m.GetDone()
		return m.GetPayload(), err
	}), 1)
	p.end()
	if err != nil {
		return err
	}
	type stat struct {
		Column string  `json:"column"`
		Type   string  `json:"type"`
		Values uint64  `json:"values"`
		Min    *string `json:"min"`
		Max    *string `json:"max"`
	}
	cells := got.Rows[0]
	number := func(s string) uint64 {
		n, _ := strconv.ParseUint(s, 10, 64) // a count, as the server sends it
		return n
	}
	all := number(cells[0])
	out, rows := []stat{}, [][]any{}
	t := &table{columns: []column{{head: "COLUMN"}, {head: "TYPE"}, {head: "VALUES", right: true}, {head: "MIN", shrink: true}, {head: "MAX", shrink: true}}}
	at := 1
	for _, x := range fields {
		s := stat{Column: x.GetName(), Type: x.GetType(), Values: number(cells[at])}
		at++
		row := []any{s.Column, s.Type, s.Values, nil, nil}
		line := []string{printable(s.Column), s.Type, formatCount(s.Values), "", ""}
		if !strings.HasSuffix(x.GetType(), "]") {
			if s.Values > 0 {
				s.Min, s.Max = &cells[at], &cells[at+1]
				row[3], row[4] = cells[at], cells[at+1]
				line[3], line[4] = printable(cells[at]), printable(cells[at+1])
			}
			at += 2
		}
		out, rows = append(out, s), append(rows, row)
		t.row(line...)
	}
	v := struct {
		Rows    uint64 `json:"rows"`
		Columns []stat `json:"columns"`
	}{all, out}
	return f.printMade(a, v, columnsOf("column", "type", "values uint64", "min", "max"), rows, func(w io.Writer) error {
		if !a.quiet {
			fmt.Fprintln(w, rowsText(all))
		}
		return t.print(w, width(w, a.getenv))
	})
}

func queryExplain(a *app) *cobra.Command {
	var f queryFlags
	var analyze bool
	cmd := &cobra.Command{
		Use: "explain POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Show how a scan would be done, a row for each condition", Args: cobra.ExactArgs(1),
		Long: "Show how a scan would be done: a row for each condition, with its table, whether it is evaluated at the targets (pushed)\n" +
			"and how, or why not. With --analyze it is run, and what was pruned and read is said. `daos query sql --explain` does\n" +
			"the same for a statement.",
		Example: "  daos query explain p/train@v1 -w \"label = 3 and lower(name) = 'x'\" --analyze",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			r, err := f.request(a, args[0])
			if err != nil {
				return err
			}
			ctx, cancel := a.answered(ctx) // with --analyze it runs
			defer cancel()
			got, err := c.Query.Explain(ctx, &queryv1.ExplainRequest{Scan: r, Analyze: analyze})
			if err != nil {
				return err
			}
			return a.conjuncts(got.GetConjuncts(), got.GetCounters(), analyze, &f)
		}),
	}
	f.filters(cmd)
	f.rows(cmd)
	f.result(cmd)
	cmd.Flags().BoolVar(&analyze, "analyze", false, "run it, and show what it did")
	return cmd
}

// conjuncts prints a plan.
func (a *app) conjuncts(all []*queryv1.Conjunct, n *queryv1.Counters, analyze bool, f *queryFlags) error {
	type conjunct struct {
		Table    string `json:"table"`
		Conjunct string `json:"conjunct"`
		Pushed   bool   `json:"pushed"`
		Why      string `json:"why"`
	}
	out, rows := []conjunct{}, [][]any{}
	t := &table{columns: []column{{head: "TABLE"}, {head: "CONJUNCT", shrink: true}, {head: "PUSHED"}, {head: "WHY", shrink: true}}, empty: "no conditions: every row is read"}
	for _, x := range all {
		out = append(out, conjunct{x.GetTable(), x.GetConjunct(), x.GetPushed(), x.GetWhy()})
		rows = append(rows, []any{x.GetTable(), x.GetConjunct(), x.GetPushed(), x.GetWhy()})
		t.row(printable(x.GetTable()), printable(x.GetConjunct()), strconv.FormatBool(x.GetPushed()), x.GetWhy())
	}
	var v any = out
	if analyze {
		v = map[string]any{"conjuncts": out, "counters": n}
	}
	s := columnsOf("table", "conjunct", "pushed bool", "why")
	err := f.printMade(a, v, s, rows, func(w io.Writer) error { return t.print(w, width(w, a.getenv)) })
	if err != nil || !analyze || a.json || a.quiet {
		return err
	}
	fmt.Fprintf(a.err, "chunks %s, pruned %s, read %s; rows scanned %s, matched %s, out %s; bytes read %s; ran in %s\n", formatCount(n.GetChunks()), formatCount(n.GetChunksPruned()),
		formatCount(n.GetChunksRead()), formatCount(n.GetRowsScanned()), formatCount(n.GetRowsMatched()), formatCount(n.GetRowsOut()), formatSize(n.GetBytesRead()),
		formatDuration(time.Duration(n.GetElapsedNanos())))
	return nil
}

func queryPs(a *app) *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use: "ps", Short: "List the queries that run", Args: cobra.NoArgs,
		Long:    "List the scans and statements that run in this server, oldest first. `daos query kill ID` ends one.",
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
			out, rows := []row{}, [][]any{}
			t := &table{columns: []column{{head: "ID"}, {head: "DATASET"}, {head: "RUNS", right: true}, {head: "SCANNED", right: true}, {head: "OUT", right: true}, {head: "USER"}, {head: "QUERY", shrink: true}}, empty: "no query runs"}
			for _, q := range got.GetQueries() {
				begun, n := time.Unix(0, q.GetBegunUnixNanos()), q.GetCounters()
				out = append(out, row{q.GetId(), q.GetDataset(), q.GetText(), q.GetUser(), jsonTime(q.GetBegunUnixNanos()), n.GetRowsScanned(), n.GetRowsOut()})
				rows = append(rows, []any{q.GetId(), q.GetDataset(), begun, n.GetRowsScanned(), n.GetRowsOut(), q.GetUser(), q.GetText()})
				t.row(q.GetId(), printable(q.GetDataset()), formatDuration(a.now().Sub(begun)), formatCount(n.GetRowsScanned()), formatCount(n.GetRowsOut()), q.GetUser(), printable(q.GetText()))
			}
			s := columnsOf("id", "dataset", "begun timestamp", "rows_scanned uint64", "rows_out uint64", "user", "text")
			return f.printMade(a, out, s, rows, func(w io.Writer) error { return t.print(w, width(w, a.getenv)) })
		}),
	}
	f.result(cmd)
	return cmd
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
