package sql

import (
	"slices"
	"strconv"
	"strings"

	"daos/query/exec"
	"daos/query/expr"
)

// Groups is a statement that is nothing but aggregates of one dataset by some of
// its columns, perhaps ordered and cut: the targets can make the groups. DuckDB
// has bound the statement as it was written before, so that names, types and
// errors are its own; and it runs that where the groups can't be had.
type Groups struct {
	Handle     string
	Ref        *Ref
	By         []string // columns of the dataset
	Aggregates []exec.Aggregate
	Show       []int  // for each column of the result, its place in By and then Aggregates
	Tail       string // ORDER BY and LIMIT of the result
	Left       string // why DuckDB made them after all, "" if it didn't

	fields expr.Schema // of By and then Aggregates, as a scan gives them
	types  []expr.Type // what DuckDB's result has for them
}

// Fields are the columns of the table of groups: those of the result, by number.
func (g *Groups) Fields() expr.Schema {
	out := make(expr.Schema, len(g.Show))
	for i, k := range g.Show {
		out[i] = g.fields[k]
		out[i].Name = "c" + strconv.Itoa(i)
	}
	return out
}

// Text is the statement that reads the table of groups, in the types that DuckDB
// gave the result; "" where these are not those that were counted on.
func (g *Groups) Text(result expr.Schema) string {
	if len(result) != len(g.Show) {
		return ""
	}
	var list []string
	for i, k := range g.Show {
		have, want := g.fields[k].Type, g.types[k]
		if result[i].Type != want {
			return ""
		}
		c := "c" + strconv.Itoa(i)
		switch {
		case have == want || have == expr.Float16: // which is a FLOAT in SQL
		case want == expr.Int64:
			c = "CAST(" + c + " AS BIGINT)"
		default:
			return ""
		}
		list = append(list, c)
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM " + ScanFunction + "('" + g.Handle + "')" + g.Tail
}

// about shows the groups as a row of the plan does.
func (g *Groups) about() string {
	var out []string
	for _, a := range g.Aggregates {
		out = append(out, a.String())
	}
	s := strings.Join(out, ", ")
	if len(g.By) > 0 {
		s = strings.TrimSpace(s + " GROUP BY " + strings.Join(g.By, ", "))
	}
	return s
}

// Keys that the nodes of such a statement have. One that is not known may mean
// anything.
var (
	selectKeys = keySet("type modifiers cte_map select_list from_table where_clause group_expressions group_sets aggregate_handling having sample qualify")
	callKeys   = keySet("class type alias query_location function_name schema children filter order_bys distinct is_operator export_state catalog")
	columnKeys = keySet("class type alias query_location column_names")
	orderKeys  = keySet("type null_order expression")
	limitKeys  = keySet("type limit offset")
)

func keySet(s string) map[string]bool {
	out := map[string]bool{}
	for _, k := range strings.Fields(s) {
		out[k] = true
	}
	return out
}

func onlyKeys(m map[string]any, known map[string]bool) bool {
	for k := range m {
		if !known[k] {
			return false
		}
	}
	return m != nil
}

// taken is a select that was taken apart.
type taken struct {
	from []source
	all  bool // its conditions were lifted, all of them
}

// grouping makes the groups of a statement, and says in its plan why not.
func (w *rewriter) grouping(root map[string]any, top taken) {
	stmts := list(root, "statements")
	if len(stmts) != 1 {
		return
	}
	stmt, _ := stmts[0].(map[string]any)
	q := child(stmt, "node")
	if str(q, "type") != "SELECT_NODE" || !aggregates(q) {
		return
	}
	g, why := w.groups(q, top)
	row := Conjunct{Conjunct: w.grouped(q), Pushed: true, Why: "the targets make the groups"}
	if len(top.from) == 1 && top.from[0].ref != nil {
		row.Table = top.from[0].ref.Address
	}
	if why != "" {
		row.Pushed, row.Why = false, why
	} else {
		row.Conjunct = g.about()
		w.plan.Groups = g
	}
	w.plan.Conjuncts = append(w.plan.Conjuncts, row)
}

// aggregates reports whether a select has groups, or an aggregate that the
// targets know.
func aggregates(q map[string]any) bool {
	if len(list(q, "group_expressions")) > 0 || len(list(q, "group_sets")) > 0 || str(q, "aggregate_handling") != "STANDARD_HANDLING" {
		return true
	}
	for _, x := range list(q, "select_list") {
		m, _ := x.(map[string]any)
		if _, ok := aggregateNames[fold(str(m, "function_name"))]; ok && str(m, "class") == "FUNCTION" {
			return true
		}
	}
	return false
}

// grouped shows groups that are not made as they were written.
func (w *rewriter) grouped(q map[string]any) string {
	var by []string
	for _, x := range list(q, "group_expressions") {
		m, _ := x.(map[string]any)
		by = append(by, w.show(m, nil))
	}
	if len(by) > 0 {
		return "GROUP BY " + strings.Join(by, ", ")
	}
	if str(q, "aggregate_handling") != "STANDARD_HANDLING" {
		return "GROUP BY ALL"
	}
	for _, x := range list(q, "select_list") {
		m, _ := x.(map[string]any)
		if fn, ok := aggregateNames[fold(str(m, "function_name"))]; ok {
			return fn.String() + "(...)"
		}
	}
	return "GROUP BY ALL"
}

var aggregateNames = map[string]exec.AggregateFn{"count_star": exec.Count, "count": exec.Count, "sum": exec.Sum, "min": exec.Min, "max": exec.Max,
	"avg": exec.Avg, "mean": exec.Avg}

// groups takes a select apart; why says what can't be made of it.
func (w *rewriter) groups(q map[string]any, top taken) (g *Groups, why string) {
	switch {
	case !onlyKeys(q, selectKeys):
		return nil, "it has a part that is not known"
	case len(top.from) != 1 || top.from[0].ref == nil || str(child(q, "from_table"), "type") != "TABLE_FUNCTION":
		return nil, "it is not about one dataset alone"
	case len(list(child(q, "cte_map"), "map")) > 0:
		return nil, "it has common table expressions"
	case q["having"] != nil:
		return nil, "HAVING is left to SQL"
	case q["qualify"] != nil || q["sample"] != nil:
		return nil, "QUALIFY and samples are left to SQL"
	case str(q, "aggregate_handling") != "STANDARD_HANDLING" || !oneSet(q):
		return nil, "several sets of groups, and ALL, are left to SQL"
	case !top.all:
		return nil, "a condition is left to SQL, which comes first"
	}
	ref := top.from[0].ref
	switch {
	case ref.blocked != "":
		return nil, ref.blocked
	case ref.Prunes != "":
		return nil, "files are read by SQL itself"
	}
	g = &Groups{Ref: ref, Handle: ref.Handle + "g"}
	names := ref.Columns()
	for _, x := range list(q, "group_expressions") {
		m, _ := x.(map[string]any)
		if v, ok := constant(m); ok && str(m, "class") == "CONSTANT" && v.Type == expr.Int64 && v.I >= 1 && v.I <= int64(len(list(q, "select_list"))) {
			m, _ = list(q, "select_list")[v.I-1].(map[string]any) // the number of a column of the result
		}
		i, ok := ref.plain(m)
		if !ok {
			return nil, "it groups by what is not a column of the dataset: " + w.show(m, nil)
		}
		f := &ref.Schema[i]
		switch f.Type {
		case expr.Float16, expr.Float32, expr.Float64, expr.List:
			return nil, "groups by " + f.TypeName() + " are left to SQL"
		}
		g.By = append(g.By, f.Name)
		g.fields, g.types = append(g.fields, *f), append(g.types, f.Type)
	}
	keys := len(g.By)
	for _, x := range list(q, "select_list") {
		m, _ := x.(map[string]any)
		if i, ok := ref.plain(m); ok {
			at := slices.Index(g.By, ref.Schema[i].Name)
			if at < 0 {
				return nil, names[i].Name + " is not one of the groups"
			}
			g.Show = append(g.Show, at)
			continue
		}
		a, t, why := ref.aggregate(m, w.catalog.Repeatable)
		if why != "" {
			return nil, why
		}
		g.Show = append(g.Show, keys+len(g.Aggregates))
		g.Aggregates = append(g.Aggregates, a)
		g.fields, g.types = append(g.fields, expr.Field{Name: a.String(), Type: t.scan}), append(g.types, t.result)
	}
	if len(g.By) == 0 && len(g.Aggregates) == 0 {
		return nil, "it has no aggregate"
	}
	if g.Tail, why = w.tail(q, ref, g); why != "" {
		return nil, why
	}
	return g, ""
}

// oneSet reports whether the groups are by all of the expressions together.
func oneSet(q map[string]any) bool {
	n, sets := len(list(q, "group_expressions")), list(q, "group_sets")
	if n == 0 {
		return len(sets) == 0
	}
	if len(sets) != 1 {
		return false
	}
	one, _ := sets[0].([]any)
	seen := map[string]bool{}
	for _, x := range one {
		k, ok := x.(interface{ String() string })
		if !ok {
			return false
		}
		seen[k.String()] = true
	}
	for i := range n {
		if !seen[strconv.Itoa(i)] {
			return false
		}
	}
	return len(one) == n
}

// plain is the column of the dataset that an expression is, and nothing else.
func (r *Ref) plain(m map[string]any) (int, bool) {
	if str(m, "class") != "COLUMN_REF" || str(m, "type") != "COLUMN_REF" || !onlyKeys(m, columnKeys) {
		return 0, false
	}
	names := list(m, "column_names")
	if len(names) == 0 || len(names) > 2 {
		return 0, false
	}
	last, _ := names[len(names)-1].(string)
	if first, _ := names[0].(string); len(names) == 2 && fold(first) != fold(r.alias) {
		return 0, false
	}
	i := r.column(last)
	return i, i >= 0
}

// aggregateType is the type of an aggregate: as a scan gives it, and in the
// result of SQL, where integers of 128 bits have become BIGINT.
type aggregateType struct{ scan, result expr.Type }

// aggregate is an aggregate over a column; why says what the targets have not, or
// not exactly so.
func (r *Ref) aggregate(m map[string]any, repeatable bool) (a exec.Aggregate, t aggregateType, why string) {
	name := fold(str(m, "function_name"))
	fn, ok := aggregateNames[name]
	switch {
	case str(m, "class") != "FUNCTION" || str(m, "type") != "FUNCTION" || !ok:
		return a, t, "the targets have count, sum, min, max and avg of columns alone"
	case !onlyKeys(m, callKeys) || str(m, "schema") != "" || str(m, "catalog") != "" || m["is_operator"] == true || m["export_state"] == true:
		return a, t, name + " is called in a way that is not known"
	case m["distinct"] == true || m["filter"] != nil || len(list(child(m, "order_bys"), "orders")) > 0:
		return a, t, name + " with DISTINCT, FILTER or ORDER BY is left to SQL"
	}
	args := list(m, "children")
	a.Fn = fn
	if fn == exec.Count && len(args) == 0 {
		return a, aggregateType{expr.Int64, expr.Int64}, ""
	}
	if len(args) != 1 || name == "count_star" {
		return a, t, name + " of several values is left to SQL"
	}
	arg, _ := args[0].(map[string]any)
	i, ok := r.plain(arg)
	if !ok {
		return a, t, name + " of what is not a column of the dataset is left to SQL"
	}
	f := &r.Schema[i]
	a.Column = f.Name
	number := f.Type >= expr.Int8 && f.Type <= expr.Float64
	float := f.Type >= expr.Float16 && f.Type <= expr.Float64
	switch {
	case fn == exec.Count:
		return a, aggregateType{expr.Int64, expr.Int64}, ""
	case fn == exec.Min || fn == exec.Max:
		if f.Type == expr.List {
			break
		}
		result := f.Type
		if result == expr.Float16 {
			result = expr.Float32
		}
		return a, aggregateType{f.Type, result}, ""
	case !number:
	case float && repeatable:
		return a, t, "floats are added in the order of SQL where a result must always be the same"
	case float:
		return a, aggregateType{expr.Float64, expr.Float64}, ""
	case fn == exec.Sum && f.Type == expr.Uint64:
		return a, aggregateType{expr.Uint64, expr.Int64}, ""
	case fn == exec.Sum:
		return a, aggregateType{expr.Int64, expr.Int64}, ""
	case f.Type != expr.Uint64:
		return a, aggregateType{expr.Float64, expr.Float64}, ""
	}
	return a, t, name + " of " + f.TypeName() + " is left to SQL"
}

// tail is ORDER BY and LIMIT over the columns of the result.
func (w *rewriter) tail(q map[string]any, ref *Ref, g *Groups) (text, why string) {
	for _, x := range list(q, "modifiers") {
		m, _ := x.(map[string]any)
		switch str(m, "type") {
		case "ORDER_MODIFIER":
			var by []string
			for _, x := range list(m, "orders") {
				o, _ := x.(map[string]any)
				at := 0
				if onlyKeys(o, orderKeys) {
					at = w.ordered(child(o, "expression"), q, ref, g)
				}
				how, ok := orders[str(o, "type")]
				nulls, fine := nullOrders[str(o, "null_order")]
				if at == 0 || !ok || !fine {
					return "", "it is ordered by what is not a column of the result"
				}
				by = append(by, strconv.Itoa(at)+how+nulls)
			}
			if text += " ORDER BY " + strings.Join(by, ", "); len(by) == 0 || strings.Contains(text, " LIMIT ") {
				return "", "it is ordered in a way that is not known"
			}
		case "LIMIT_MODIFIER":
			if !onlyKeys(m, limitKeys) {
				return "", "its LIMIT is not known"
			}
			for _, k := range []string{"limit", "offset"} {
				if m[k] == nil {
					continue
				}
				v, ok := constant(child(m, k))
				if !ok || v.Type != expr.Int64 || v.I < 0 {
					return "", "a LIMIT that is not a number is left to SQL"
				}
				text += " " + strings.ToUpper(k) + " " + strconv.FormatInt(v.I, 10)
			}
		default:
			return "", strings.ToLower(strings.TrimSuffix(str(m, "type"), "_MODIFIER")) + " is left to SQL"
		}
	}
	return text, ""
}

var (
	orders     = map[string]string{"ORDER_DEFAULT": "", "ASCENDING": " ASC", "DESCENDING": " DESC"}
	nullOrders = map[string]string{"ORDER_DEFAULT": "", "NULLS FIRST": " NULLS FIRST", "NULLS LAST": " NULLS LAST", "NULLS_FIRST": " NULLS FIRST", "NULLS_LAST": " NULLS LAST"}
)

// ordered is the column of the result, from 1, that an order is by; 0: none.
func (w *rewriter) ordered(m, q map[string]any, ref *Ref, g *Groups) int {
	items := list(q, "select_list")
	switch str(m, "class") {
	case "CONSTANT":
		if v, ok := constant(m); ok && v.Type == expr.Int64 && v.I >= 1 && v.I <= int64(len(items)) {
			return int(v.I)
		}
	case "COLUMN_REF":
		names := list(m, "column_names")
		at := 0
		for i, x := range items { // a name of the select list comes first
			item, _ := x.(map[string]any)
			if n, _ := names[0].(string); len(names) == 1 && str(item, "alias") != "" && fold(str(item, "alias")) == fold(n) {
				if at != 0 {
					return 0
				}
				at = i + 1
			}
		}
		if at != 0 {
			return at
		}
		if c, ok := ref.plain(m); ok {
			for i, k := range g.Show {
				if k < len(g.By) && g.By[k] == ref.Schema[c].Name {
					return i + 1
				}
			}
		}
	case "FUNCTION":
		a, _, why := ref.aggregate(m, false)
		for i, k := range g.Show {
			if why == "" && k >= len(g.By) && g.Aggregates[k-len(g.By)] == a {
				return i + 1
			}
		}
	}
	return 0
}
