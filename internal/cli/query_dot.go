package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"daos/internal/fault"
	"daos/internal/near"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
)

// dotCommand is a command of the shell.
type dotCommand struct {
	name, args, about string
	run               func(s *shell, ctx context.Context, arg string) error
}

// dotCommands are all of them, by name.
func dotCommands() []dotCommand {
	return []dotCommand{
		{".explain", "[on|off|STATEMENT]", "show what is evaluated next to the data: before each result, or of a statement", (*shell).doExplain},
		{".format", "[FORMAT|auto]", "form of results: table, csv, json, ndjson; arrow, parquet and npy go to a file (.once)", (*shell).doFormat},
		{".help", "", "this", (*shell).doHelp},
		{".once", "FILE", "write the next result to a file, in the form that its name tells", (*shell).doOnce},
		{".quit", "", "end the shell (Ctrl-D)", func(*shell, context.Context, string) error { return errQuit }},
		{".rows", "[N]", "rows that a table shows", (*shell).doRows},
		{".schema", "ADDRESS", "columns of a dataset as a table", (*shell).doSchema},
		{".tables", "[PREFIX]", "datasets that there are, those that begin so", (*shell).doTables},
		{".timing", "[on|off]", "say behind each result how long it took and what was read", (*shell).doTiming},
	}
}

// command runs a line that begins with a dot.
func (s *shell) command(ctx context.Context, line string) error {
	name, arg, _ := strings.Cut(line, " ")
	arg = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(arg), ";"))
	name = strings.ToLower(strings.TrimSuffix(name, ";"))
	if name == ".exit" {
		name = ".quit"
	}
	var names []string
	for _, c := range dotCommands() {
		if c.name == name {
			ctx, done := s.interruptible(ctx)
			defer done()
			return c.run(s, ctx, arg)
		}
		names = append(names, c.name)
	}
	e := fault.New(fault.Invalid, "query.shell", name, "not a command")
	if n := near.Name(name, names); n != "" {
		return e.Do("did you mean %s?", n)
	}
	return e.Do(".help lists them")
}

func (s *shell) doHelp(context.Context, string) error {
	t := &table{columns: []column{{head: "COMMAND"}, {head: "WHAT IT DOES"}}}
	for _, c := range dotCommands() {
		t.row(strings.TrimSpace(c.name+" "+c.args), c.about)
	}
	if err := t.print(s.a.out, 0); err != nil {
		return err
	}
	_, err := io.WriteString(s.a.out, `
A statement ends in a semicolon and may have many lines:
  SELECT label, count(*) FROM "POOL/DATASET@SNAPSHOT" WHERE quality > 0.8 GROUP BY label;
EXPLAIN STATEMENT says which conditions are evaluated next to the data; EXPLAIN ANALYZE runs it too.
FROM sys.functions; lists table functions (files, kv, slice, diff, ...), FROM sys.tables; what the server says of itself.
`)
	return err
}

func (s *shell) doFormat(_ context.Context, arg string) error {
	switch arg = strings.ToLower(arg); arg {
	case "":
		now := s.f.format
		if now == "" {
			now = "auto: table on a terminal, ndjson on a pipe"
		}
		s.a.say("%s", now)
		return nil
	case "auto":
		s.f.format = ""
		return nil
	}
	if err := checkFormat(arg); err != nil {
		return err
	}
	s.f.format = arg
	return nil
}

func (s *shell) doOnce(_ context.Context, arg string) error {
	if arg == "" {
		return fault.New(fault.Invalid, "query.shell", ".once", "the file is missing").Do("write .once FILE")
	}
	f := queryFlags{output: arg}
	format, err := f.formatOf(s.a)
	if err != nil {
		if s.f.format == "" {
			return err
		}
		format = s.f.format
	}
	s.once = once{arg, format}
	return nil
}

func (s *shell) doRows(_ context.Context, arg string) error {
	if arg == "" {
		s.a.say("%d", s.f.maxRows)
		return nil
	}
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 {
		return fault.New(fault.Invalid, "query.shell", arg, "not a number of rows").Do("write .rows 100")
	}
	s.f.maxRows = n
	return nil
}

func (s *shell) doTiming(_ context.Context, arg string) (err error) {
	s.timing, err = s.toggle(".timing", arg, s.timing)
	return err
}

func (s *shell) doExplain(ctx context.Context, arg string) (err error) {
	if word, _, more := strings.Cut(arg, " "); more && !strings.EqualFold(word, "on") && !strings.EqualFold(word, "off") {
		return s.a.explainSQL(ctx, s.c, &queryv1.SqlRequest{Text: arg}, false, &s.f)
	}
	s.explain, err = s.toggle(".explain", arg, s.explain)
	return err
}

// toggle reads on or off; without an argument it says which it is.
func (s *shell) toggle(name, arg string, now bool) (bool, error) {
	switch strings.ToLower(arg) {
	case "on":
		return true, nil
	case "off":
		return false, nil
	case "":
		s.a.say("%s is %s", name, map[bool]string{true: "on", false: "off"}[now])
		return now, nil
	}
	return now, fault.New(fault.Invalid, "query.shell", arg, "neither on nor off").Do("write %s on, or %s off", name, name)
}

func (s *shell) doSchema(ctx context.Context, arg string) error {
	x, err := s.a.parse(strings.Trim(arg, `"`))
	if err != nil {
		return err
	}
	return s.a.showSchema(ctx, s.c, x.String(), &s.f)
}

func (s *shell) doTables(ctx context.Context, prefix string) error {
	prefix = strings.Trim(prefix, `"`)
	all, err := s.c.Datasets.ListDatasets(ctx, &datasetv1.ListDatasetsRequest{})
	if err != nil {
		return err
	}
	type tableJSON struct {
		Name      string `json:"name"`
		Type      string `json:"type"`
		Snapshots uint64 `json:"snapshots"`
		Bytes     uint64 `json:"bytes"`
	}
	var rows [][]any
	out := []tableJSON{}
	t := &table{columns: []column{{head: "TABLE"}, {head: "TYPE"}, {head: "SNAPSHOTS", right: true}, {head: "BYTES", right: true}}, empty: "no datasets"}
	sets := all.GetDatasets()
	slices.SortFunc(sets, func(x, y *datasetv1.Dataset) int {
		return strings.Compare(x.GetPool()+"/"+x.GetName(), y.GetPool()+"/"+y.GetName())
	})
	for _, d := range sets {
		j := tableJSON{d.GetPool() + "/" + d.GetName(), typeName(d.GetType()), uint64(d.GetSnapshots()), d.GetUsedBytes()}
		if !strings.HasPrefix(j.Name, prefix) {
			continue
		}
		out = append(out, j)
		rows = append(rows, []any{j.Name, j.Type, j.Snapshots, j.Bytes})
		t.row(`"`+j.Name+`"`, j.Type, fmt.Sprint(j.Snapshots), formatSize(j.Bytes))
	}
	columns := columnsOf("name", "type", "snapshots uint64", "bytes uint64")
	return s.f.printMade(s.a, out, columns, rows, func(w io.Writer) error { return t.print(w, width(w, s.a.getenv)) })
}
