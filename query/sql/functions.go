package sql

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"daos/internal/fault"
	"daos/internal/near"
	"daos/query/expr"
)

// Function is a table function, or a table of the server.
type Function struct {
	Name  string
	Usage string // as it is written
	About string

	most  int      // arguments, the address included
	named []string // arguments that may have a name; nil with anyName: all
	any   bool     // names are those of axes
	kind  string   // of the dataset that it reads as it is, "" for what is made of it
}

// Functions are the table functions that a statement may call.
func Functions() []Function {
	return []Function{
		{Name: "files", Usage: "files('POOL/DATASET[@SNAPSHOT][/PATH]' [, 'GLOB'])", About: "files, directories and links below a path of a POSIX dataset, those whose names match",
			most: 2, named: []string{"name"}, kind: "posix"},
		{Name: "kv", Usage: "kv('POOL/DATASET[@SNAPSHOT]' [, 'PREFIX'] [, start := 'KEY'] [, stop := 'KEY'])", About: "values of a KV dataset, those of a prefix or range of keys",
			most: 2, named: []string{"prefix", "start", "stop"}, kind: "kv"},
		{Name: "slice", Usage: "slice('POOL/DATASET[@SNAPSHOT]/ARRAY[0:24, ::2, 5]') or slice('.../ARRAY', 'x=0:24') or slice('.../ARRAY', x := [0, 24])",
			About: "elements of a slice of an array", most: 2, any: true},
		{Name: "chunks", Usage: "chunks('POOL/DATASET[@SNAPSHOT][/ARRAY]')", About: "chunks of a tensor dataset or an array, with their statistics", most: 1},
		{Name: "snapshots", Usage: "snapshots('POOL/DATASET')", About: "snapshots of a dataset, oldest first", most: 1},
		{Name: "diff", Usage: "diff('POOL/DATASET@BEFORE[/PATH]', 'POOL/DATASET[@AFTER]')", About: "what was added, removed or changed between two snapshots of a dataset", most: 2},
		{Name: "view", Usage: "view('POOL/DATASET', 'NAME')", About: "samples of a view in its order, with the columns of the dataset", most: 2},
		{Name: "read_parquet", Usage: "read_parquet('POOL/DATASET[@SNAPSHOT]/PATH'), or a list of them", About: "Parquet files that lie in POSIX datasets: a file, a glob or a folder; FROM \"POOL/DATASET/FILE.parquet\" too", most: 1},
	}
}

// SystemSchema is the schema of the tables of the server.
const SystemSchema = "sys"

// SystemTables are the tables of the server.
func SystemTables() []Function {
	out := []Function{
		{Name: "pools", About: "pools with quota and use"},
		{Name: "datasets", About: "datasets with type, quota and use"},
		{Name: "snapshots", About: "snapshots of all datasets"},
		{Name: "views", About: "views of all datasets"},
		{Name: "queries", About: "queries that run, this one too"},
		{Name: "targets", About: "storage targets with their state and use"},
		{Name: "server", About: "the server: version, addresses, epoch"},
		{Name: "functions", About: "table functions and how they are written"},
		{Name: "tables", About: "these tables"},
	}
	for i := range out {
		out[i].Usage = SystemSchema + "." + out[i].Name
	}
	return out
}

// Call is a table that a function makes.
type Call struct {
	Name    string   // "chunks", "sys.pools"
	Dataset string   // the address, "" for a table of the server
	Args    []string // what else it needs
}

// Catalog knows what the tables of a statement are.
type Catalog struct {
	// Table fills in the Schema of a Ref, its Kind and Prunes.
	Table func(*Ref) error
	// Param is the value of a parameter.
	Param func(name string) (expr.Value, bool)
	// Repeatable says that the result must be the same whenever it is read.
	Repeatable bool
}

// argument is one argument of a call: a constant, or a list of them.
type argument struct {
	name string
	v    expr.Value
	list []expr.Value // nil: it is none
	at   int
}

// text is the argument as the text that it is.
func (a *argument) text() (string, bool) { return a.v.S, a.list == nil && a.v.Type == expr.Text }

func functionNamed(name string) *Function {
	if name == "parquet_scan" {
		name = "read_parquet"
	}
	for _, f := range Functions() {
		if f.Name == name {
			return &f
		}
	}
	return nil
}

// function turns a call of one of our table functions into one of ScanFunction;
// nil for another function.
func (w *rewriter) function(t map[string]any) (*Ref, error) {
	call := child(t, "function")
	f := functionNamed(fold(str(call, "function_name")))
	if f == nil || str(call, "schema") != "" || str(call, "catalog") != "" {
		return nil, nil
	}
	args, err := w.arguments(f, call)
	if err != nil {
		return nil, err
	}
	at := place(call)
	bad := func(at int, format string, args ...any) error {
		return Problem(w.text, at, fault.Invalid, f.Name+": "+format, args...).Do("it is called as %s", f.Usage)
	}
	if len(args) == 0 || args[0].name != "" {
		return nil, bad(at, "the address of a dataset is its first argument")
	}
	address, isText := args[0].text()
	if f.Name != "read_parquet" && (!isText || !strings.Contains(address, "/")) {
		return nil, bad(args[0].at, "%s is not the address of a dataset", shown(&args[0]))
	}
	ref := &Ref{Address: address}
	switch f.Name {
	case "files":
		for i := range args[1:] {
			a := &args[1+i]
			glob, ok := a.text()
			if !ok {
				return nil, bad(a.at, "a pattern of names is a text, not %s", shown(a))
			}
			ref.and(&expr.Call{Fn: expr.Glob, Pos: -1, Args: []expr.Expr{&expr.Column{Name: "name", Pos: -1}, &expr.Literal{Value: expr.TextValue(glob), Pos: -1}}})
		}
	case "kv":
		for i := range args[1:] {
			if err := ref.keys(&args[1+i]); err != "" {
				return nil, bad(args[1+i].at, "%s", err)
			}
		}
	case "slice":
		path, slice, err := sliceText(address, args[1:])
		if err != "" {
			return nil, bad(at, "%s", err)
		}
		ref.Call = &Call{Name: f.Name, Dataset: path, Args: []string{slice}}
		ref.Address = "slice(" + path + "[" + slice + "])"
	case "diff":
		if len(args) != 2 {
			return nil, bad(at, "two addresses are compared")
		}
		other, ok := args[1].text()
		if !ok || !strings.Contains(other, "/") {
			return nil, bad(args[1].at, "%s is not the address of a dataset", shown(&args[1]))
		}
		ref.Call = &Call{Name: f.Name, Dataset: address, Args: []string{other}}
		ref.Address = "diff(" + address + ", " + other + ")"
	case "view":
		if len(args) != 2 {
			return nil, bad(at, "the name of the view is missing")
		}
		name, ok := args[1].text()
		if !ok {
			return nil, bad(args[1].at, "%s is not the name of a view", shown(&args[1]))
		}
		ref.Call = &Call{Name: f.Name, Dataset: address, Args: []string{name}}
		ref.Address = "view(" + address + ", " + name + ")"
	case "read_parquet":
		names := args[0].list
		if names == nil {
			names = []expr.Value{args[0].v}
		}
		c := &Call{Name: f.Name}
		for _, v := range names {
			if v.Type != expr.Text || !strings.Contains(v.S, "/") {
				return nil, bad(args[0].at, "%s is not the address of a file in a dataset", v)
			}
			c.Args = append(c.Args, v.S)
		}
		if len(c.Args) == 0 {
			return nil, bad(args[0].at, "the list is empty")
		}
		ref.Call, ref.Address = c, "read_parquet("+strings.Join(c.Args, ", ")+")"
	default:
		ref.Call = &Call{Name: f.Name, Dataset: address}
		ref.Address = f.Name + "(" + address + ")"
	}
	if ref.alias = str(t, "alias"); ref.alias == "" {
		ref.alias = f.Name
	}
	if err := w.resolve(t, ref, args[0].at); err != nil {
		return nil, err
	}
	for _, x := range expr.Conjuncts(ref.Where) {
		w.plan.Conjuncts = append(w.plan.Conjuncts, Conjunct{Table: ref.Address, Conjunct: x.String(), Pushed: true, Why: "an argument of " + f.Name + ", evaluated at the targets"})
	}
	if f.kind != "" && ref.Kind != "" && ref.Kind != f.kind {
		e := Problem(w.text, args[0].at, fault.Invalid, "%s: %s is a dataset of type %s, not %s", f.Name, address, ref.Kind, f.kind)
		return nil, e.Do(`name it alone: FROM "%s"`, address)
	}
	return ref, nil
}

// system makes a table of the server; nil if the name is of another schema.
func (w *rewriter) system(t map[string]any) (*Ref, error) {
	if str(t, "catalog_name") != "" {
		return nil, nil
	}
	switch fold(str(t, "schema_name")) {
	case SystemSchema:
	case "main", "temp", "information_schema", "pg_catalog": // DuckDB's own
		return nil, nil
	default:
		name, table := str(t, "schema_name"), str(t, "table_name")
		return nil, Problem(w.text, place(t), fault.NotFound, "no table %s.%s", name, table).
			Do(`a dataset is named by its address in double quotes: FROM "%s/%s"`, name, table)
	}
	name := fold(str(t, "table_name"))
	var names []string
	found := false
	for _, f := range SystemTables() {
		names = append(names, f.Name)
		found = found || f.Name == name
	}
	if !found {
		e := Problem(w.text, place(t), fault.NotFound, "no table %q in the schema sys", str(t, "table_name"))
		if n := near.Name(name, names); n != "" {
			return nil, e.Do("did you mean sys.%s?", n)
		}
		return nil, e.Do("there are %s", strings.Join(names, ", "))
	}
	if t["at_clause"] != nil {
		return nil, Problem(w.text, place(t), fault.Invalid, "sys.%s shows the server as it is now, not a snapshot", name).Do("leave out AT")
	}
	ref := &Ref{Address: SystemSchema + "." + name, Call: &Call{Name: SystemSchema + "." + name}, alias: str(t, "alias")}
	if ref.alias == "" {
		ref.alias = name
	}
	return ref, w.resolve(t, ref, place(t))
}

// listing makes SHOW TABLES the datasets, and SHOW DATABASES the pools; nil for
// what DuckDB shows.
func (w *rewriter) listing(t map[string]any) (*Ref, error) {
	if t["query"] != nil || str(t, "show_type") != "SHOW_UNQUALIFIED" {
		return nil, nil
	}
	name := map[string]string{"tables": "datasets", "__show_tables_expanded": "datasets", "databases": "pools"}[strings.Trim(str(t, "table_name"), `"`)]
	if name == "" {
		return nil, nil
	}
	ref := &Ref{Address: SystemSchema + "." + name, Call: &Call{Name: SystemSchema + "." + name}, alias: name}
	return ref, w.resolve(t, ref, -1)
}

// arguments reads the arguments of a call.
func (w *rewriter) arguments(f *Function, call map[string]any) ([]argument, error) {
	var out []argument
	for _, x := range list(call, "children") {
		m, _ := x.(map[string]any)
		a := argument{name: str(m, "alias"), at: place(m)}
		if left := child(m, "left"); str(m, "type") == "COMPARE_EQUAL" && str(left, "class") == "COLUMN_REF" && len(list(left, "column_names")) == 1 {
			a.name, _ = list(left, "column_names")[0].(string)
			m = child(m, "right")
		}
		if a.at < 0 {
			a.at = place(call)
		}
		if a.name != "" && !f.any {
			known := false
			for _, n := range f.named {
				known = known || n == fold(a.name)
			}
			if !known {
				e := Problem(w.text, a.at, fault.Invalid, "%s has no argument named %q", f.Name, a.name)
				if n := near.Name(a.name, f.named); n != "" {
					return nil, e.Do("did you mean %s?", n)
				}
				return nil, e.Do("it is called as %s", f.Usage)
			}
			a.name = fold(a.name)
		}
		if str(m, "class") == "FUNCTION" && str(m, "function_name") == "list_value" {
			a.list = []expr.Value{}
			for _, c := range list(m, "children") {
				e, _ := c.(map[string]any)
				v, err := w.constant(f, e, a.at)
				if err != nil {
					return nil, err
				}
				a.list = append(a.list, v)
			}
		} else {
			v, err := w.constant(f, m, a.at)
			if err != nil {
				return nil, err
			}
			a.v = v
		}
		for i := range out {
			switch {
			case a.name == "" && out[i].name != "":
				return nil, Problem(w.text, a.at, fault.Invalid, "%s: an argument without a name follows one with a name", f.Name).Do("it is called as %s", f.Usage)
			case a.name != "" && fold(a.name) == fold(out[i].name):
				return nil, Problem(w.text, a.at, fault.Invalid, "%s: the argument %s is given twice", f.Name, a.name)
			}
		}
		out = append(out, a)
	}
	n := 0
	for i := range out {
		if out[i].name == "" {
			n++
		}
	}
	if n > f.most {
		return nil, Problem(w.text, out[f.most].at, fault.Invalid, "%s takes at most %d arguments, not %d", f.Name, f.most, n).Do("it is called as %s", f.Usage)
	}
	return out, nil
}

// constant is the value of an argument: a constant, or a parameter with one.
func (w *rewriter) constant(f *Function, m map[string]any, at int) (expr.Value, error) {
	if str(m, "class") == "PARAMETER" {
		name := str(m, "identifier")
		if w.catalog.Param != nil {
			if v, ok := w.catalog.Param(name); ok {
				w.plan.Spent = append(w.plan.Spent, name)
				return v, nil
			}
		}
		return expr.Value{}, fault.New(fault.Invalid, "query.sql", "parameter "+name, "it is an argument of %s and has no value", f.Name).Do("give it: --param %s=VALUE", name)
	}
	v, ok := constant(m)
	if str(child(m, "cast_type"), "id") == "BLOB" {
		v, ok = blob(child(m, "child"))
	}
	if !ok {
		return v, Problem(w.text, at, fault.Invalid, "%s: an argument is a constant or a parameter", f.Name).Do("it is called as %s", f.Usage)
	}
	return v, nil
}

// blob is a text that is cast to bytes: each \xNN in it is one.
func blob(m map[string]any) (expr.Value, bool) {
	v, ok := constant(m)
	if !ok || v.Type != expr.Text {
		return v, false
	}
	var out []byte
	for s := v.S; s != ""; {
		if s[0] != '\\' {
			out, s = append(out, s[0]), s[1:]
			continue
		}
		if len(s) < 4 || s[1] != 'x' {
			return v, false
		}
		n, err := strconv.ParseUint(s[2:4], 16, 8)
		if err != nil {
			return v, false
		}
		out, s = append(out, byte(n)), s[4:]
	}
	return expr.BytesValue(out), true
}

func shown(a *argument) string {
	if a.list != nil {
		return "a list"
	}
	return a.v.String()
}

// and adds a condition that is part of the table.
func (r *Ref) and(x expr.Expr) { r.Where = expr.Conjunction(r.Where, x) }

// keys makes a range of keys of an argument of kv; why says what is wrong.
func (r *Ref) keys(a *argument) (why string) {
	if a.list != nil || a.v.Type != expr.Text && a.v.Type != expr.Bytes {
		return "a key is a text or bytes, not " + shown(a)
	}
	bound := func(fn expr.Fn, b string) {
		r.and(&expr.Call{Fn: fn, Pos: -1, Args: []expr.Expr{&expr.Column{Name: "key", Pos: -1}, &expr.Literal{Value: expr.BytesValue([]byte(b)), Pos: -1}}})
	}
	switch a.name {
	case "start":
		bound(expr.Ge, a.v.S)
	case "stop":
		bound(expr.Lt, a.v.S)
	default:
		bound(expr.Ge, a.v.S)
		end := a.v.S
		for strings.HasSuffix(end, "\xff") {
			end = end[:len(end)-1]
		}
		if end != "" { // the first key behind all that begin so
			bound(expr.Lt, end[:len(end)-1]+string([]byte{end[len(end)-1] + 1}))
		}
	}
	return ""
}

// sliceText is the path of an array and what to take of it: in brackets behind
// the path, as a text, or by the names of axes.
func sliceText(address string, args []argument) (path, slice, why string) {
	path = address
	if i := strings.LastIndexByte(address, '['); i >= 0 && strings.HasSuffix(address, "]") {
		path, slice = address[:i], address[i+1:len(address)-1]
	}
	var parts []string
	if slice != "" {
		parts = append(parts, slice)
	}
	number := func(v expr.Value) (string, bool) {
		if v.Type == expr.Null {
			return "", true
		}
		return v.String(), v.Type == expr.Int64
	}
	for i := range args {
		a := &args[i]
		text, isText := a.text()
		switch {
		case a.name == "" && slice != "":
			return "", "", "the slice is given twice"
		case a.name == "" && !isText:
			return "", "", "a slice is a text as '0:24, ::2', not " + shown(a)
		case a.name == "":
			slice = text
			parts = append(parts, text)
		case isText:
			parts = append(parts, a.name+"="+text)
		case a.list == nil:
			n, ok := number(a.v)
			if !ok {
				return "", "", fmt.Sprintf("%s := %s is neither a position nor [start, stop, step]", a.name, a.v)
			}
			parts = append(parts, a.name+"="+n)
		default:
			var bounds []string
			for _, v := range a.list {
				n, ok := number(v)
				if !ok {
					return "", "", fmt.Sprintf("%s := [..., %s, ...] is not [start, stop, step]", a.name, v)
				}
				bounds = append(bounds, n)
			}
			if len(bounds) < 2 || len(bounds) > 3 {
				return "", "", fmt.Sprintf("%s := [...] has %d numbers, not [start, stop] or [start, stop, step]", a.name, len(bounds))
			}
			parts = append(parts, a.name+"="+strings.Join(bounds, ":"))
		}
	}
	return path, strings.Join(parts, ", "), ""
}

// OnlySpent reports whether a parameter was an argument of a table function and
// is nothing else.
func (p *Plan) OnlySpent(name string) bool {
	return slices.Contains(p.Spent, name) && !p.left[name]
}

// parametersOf adds the names of the parameters in a tree.
func parametersOf(x any, names map[string]bool) map[string]bool {
	visit(x, func(v map[string]any) bool {
		if str(v, "class") == "PARAMETER" {
			names[str(v, "identifier")] = true
		}
		return true
	})
	return names
}
