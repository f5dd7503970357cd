package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/columnar"
	"daos/internal/fault"
	queryv1 "daos/proto/gen/daos/query/v1"
)

// sqlFlags are those of a statement.
type sqlFlags struct {
	file    string
	params  []string
	memory  string
	explain bool
	analyze bool
}

func querySQL(a *app) *cobra.Command {
	var f queryFlags
	var s sqlFlags
	var keep saving
	cmd := &cobra.Command{
		Use: "sql [STATEMENT]", Short: "Run one SELECT over datasets", Args: cobra.MaximumNArgs(1),
		Long: "Run one SELECT of DuckDB's dialect. Datasets of every type are tables, named by their address in double quotes; at a\n" +
			"snapshot with @SNAPSHOT or AT (VERSION => 'NAME'). Conditions, columns and limits are evaluated next to the data where\n" +
			"that is exact: --explain says which, and why not. A statement runs in a process of its own, within the server's\n" +
			"query.memory, query.temp and query.threads. Without STATEMENT it is read from -F FILE or standard input.",
		Example: "  daos query sql 'SELECT label, count(*) FROM \"p/train@v1\" WHERE quality > 0.8 GROUP BY label'\n" +
			"  daos query sql 'SELECT f.path, l.label FROM \"p/photos@v1\" f JOIN \"p/labels\" l ON f.name = l.name' -o labels.parquet\n" +
			"  daos query sql 'SELECT * FROM \"p/t\" WHERE id = $id' --param id=7\n" +
			"  daos query sql 'SELECT path FROM \"p/photos\" ORDER BY mtime DESC' --save-view newest",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			text, err := s.text(a, args)
			if err != nil {
				return err
			}
			r := &queryv1.SqlRequest{Text: text}
			if s.memory != "" {
				if r.MemoryBytes, err = parseSize(s.memory); err != nil {
					return err
				}
			}
			if r.Params, err = parseParams(s.params); err != nil {
				return err
			}
			if s.explain || s.analyze {
				return a.explainSQL(ctx, c, r, s.analyze, &f)
			}
			if err := keep.check(); err != nil {
				return err
			}
			if keep.name != "" {
				return keep.save(ctx, a, c, nil, r)
			}
			return a.runSQL(ctx, c, r, &f)
		}),
	}
	fl := cmd.Flags()
	fl.StringVarP(&s.file, "file", "F", "", "read the statement from this file (-: standard input)")
	fl.StringArrayVarP(&s.params, "param", "p", nil, "value of a parameter: NAME=VALUE for $NAME, 1=VALUE for the first ? (repeatable)")
	fl.StringVar(&s.memory, "memory", "", "memory that it may use (default: the server's query.memory)")
	fl.BoolVar(&s.explain, "explain", false, "show what is evaluated next to the data, a row for each condition")
	fl.BoolVar(&s.analyze, "analyze", false, "run it, and show that and what was done")
	f.result(cmd)
	keep.add(cmd, true)
	return cmd
}

// text is the statement: the argument, a file, or standard input.
func (s *sqlFlags) text(a *app, args []string) (string, error) {
	const most = 1 << 20
	switch {
	case len(args) == 1 && s.file != "":
		return "", fault.New(fault.Invalid, "query.sql", s.file, "a statement and a file were both given").Do("give one of them")
	case len(args) == 1:
		return args[0], nil
	}
	var in io.Reader = a.in
	if s.file != "" && s.file != "-" {
		file, err := os.Open(s.file)
		if err != nil {
			return "", fault.New(fault.KindOf(err), "query.sql", s.file, "can't be read").Because(err)
		}
		defer file.Close()
		in = file
	}
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return "", fault.New(fault.KindOf(err), "query.sql", s.file, "can't be read").Because(err)
	}
	if len(b) > most {
		return "", fault.New(fault.TooBig, "query.sql", s.file, "a statement of over 1 MiB")
	}
	if strings.TrimSpace(string(b)) == "" {
		return "", fault.New(fault.Invalid, "query.sql", "", "there is no statement").Do(`give one: daos query sql 'SELECT count(*) FROM "POOL/DATASET"'`)
	}
	return string(b), nil
}

// parseParams reads NAME=VALUE: numbers, true, false and null as such, all else
// as text; 'text' in quotes too.
func parseParams(list []string) ([]*queryv1.Param, error) {
	var out []*queryv1.Param
	for _, p := range list {
		name, v, ok := strings.Cut(p, "=")
		if name = strings.TrimPrefix(name, "$"); !ok || name == "" {
			return nil, fault.New(fault.Invalid, "cli.param", p, "not a parameter").Do("write --param NAME=VALUE")
		}
		l := &queryv1.Literal{Value: &queryv1.Literal_Text{Text: v}}
		if i, err := strconv.ParseInt(v, 10, 64); err == nil {
			l.Value = &queryv1.Literal_Integer{Integer: i}
		} else if f, err := strconv.ParseFloat(v, 64); err == nil {
			l.Value = &queryv1.Literal_Number{Number: f}
		} else if b, err := strconv.ParseBool(v); err == nil {
			l.Value = &queryv1.Literal_Boolean{Boolean: b}
		} else if strings.EqualFold(v, "null") {
			l.Value = &queryv1.Literal_Null{Null: true}
		} else if n := len(v); n > 1 && v[0] == '\'' && v[n-1] == '\'' {
			l.Value = &queryv1.Literal_Text{Text: strings.ReplaceAll(v[1:n-1], "''", "'")}
		}
		out = append(out, &queryv1.Param{Name: name, Value: l})
	}
	return out, nil
}

// runSQL runs a statement and writes its result.
func (a *app) runSQL(ctx context.Context, c *client.Client, r *queryv1.SqlRequest, f *queryFlags) error {
	format, err := f.formatOf(a)
	if err != nil {
		return err
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	st, err := c.Query.Sql(ctx, r)
	if err != nil {
		return err
	}
	var last *queryv1.SqlResponse
	began := time.Now()
	p := f.follow(ctx, a, c, format)
	defer p.end()
	in := columnar.Payloads(func() ([]byte, error) {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) && !last.GetDone() {
			return nil, incomplete("query.sql", "statement")
		}
		if err != nil {
			return nil, err
		}
		p.note(m.GetQuery(), m.GetCounters())
		last = m
		return m.GetPayload(), nil
	})
	if err := f.write(a, in, format, p.end); err != nil {
		return err
	}
	if !a.quiet && !f.silent {
		n := last.GetCounters()
		fmt.Fprintf(a.err, "%s in %s; scanned %s, matched %s, chunks pruned %s of %s, read %s\n", rowsText(n.GetRowsOut()), formatDuration(time.Since(began)),
			formatCount(n.GetRowsScanned()), formatCount(n.GetRowsMatched()), formatCount(n.GetChunksPruned()), formatCount(n.GetChunks()), formatSize(n.GetBytesRead()))
	}
	return nil
}

// explainSQL shows what is lifted out of a statement, or was.
func (a *app) explainSQL(ctx context.Context, c *client.Client, r *queryv1.SqlRequest, analyze bool, f *queryFlags) error {
	ctx, cancel := a.answered(ctx) // with --analyze it runs
	defer cancel()
	got, err := c.Query.ExplainSql(ctx, &queryv1.ExplainSqlRequest{Statement: r, Analyze: analyze})
	if err != nil {
		return err
	}
	if err := a.conjuncts(got.GetConjuncts(), got.GetCounters(), analyze, f); err != nil {
		return err
	}
	if !a.json && !a.quiet {
		names := make([]string, 0, len(got.GetEpochs()))
		for name := range got.GetEpochs() {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, n := range names {
			fmt.Fprintf(a.err, "%s is read at epoch %d\n", printable(n), got.GetEpochs()[n])
		}
	}
	return nil
}
