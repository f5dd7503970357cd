package sql

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"daos/internal/fault"
	"daos/query/expr"
)

// Ref is one mention of a dataset in a statement.
type Ref struct {
	Handle  string
	Address string // "POOL/DATASET[@SNAPSHOT][/PATH]"
	Schema  expr.Schema
	Where   expr.Expr // lifted; nil: nothing
	Limit   uint64    // lifted; 0: none
	At      int       // place in the text

	Call   *Call  // what makes the table out of the dataset; nil: it is the dataset
	Kind   string // of the dataset: "posix", "kv", "array", "tensor"; "": not known
	Prunes string // not "": conditions only spare reading, as this says; all are evaluated later

	alias   string
	blocked string // why nothing can be lifted to it, "" if something can
	parts   int    // of Where
}

// Conjunct is one condition of a statement's WHERE clauses.
type Conjunct struct {
	Table    string // "" where it is about several, or none
	Conjunct string
	Pushed   bool
	Why      string
}

// Plan is a statement that was taken apart.
type Plan struct {
	AST       []byte // with calls of ScanFunction
	Refs      []*Ref
	Conjuncts []Conjunct
	Spent     []string // parameters that were arguments of table functions
	Groups    *Groups  // of the whole statement; nil: DuckDB makes them

	// OneThread says that all of it is one pipeline, from one table to the result:
	// a second thread would only wait for the first, awake.
	OneThread bool

	left map[string]bool // parameters that the tree still has
	text string
}

// Rewrite takes a statement apart. schemaOf resolves the address of a dataset.
func Rewrite(ast []byte, text string, schemaOf func(address string) (expr.Schema, error)) (*Plan, error) {
	return Catalog{Table: func(r *Ref) (err error) {
		r.Schema, err = schemaOf(r.Address)
		return err
	}}.Rewrite(ast, text)
}

// Rewrite takes a statement apart.
func (c Catalog) Rewrite(ast []byte, text string) (*Plan, error) {
	d := json.NewDecoder(bytes.NewReader(ast))
	d.UseNumber() // places are 64-bit numbers
	var root map[string]any
	if err := d.Decode(&root); err != nil {
		return nil, fault.New(fault.Internal, "query.sql", "statement", "the tree of the statement is not readable").Because(err)
	}
	w := &rewriter{text: text, catalog: c, plan: &Plan{text: text}}
	if err := w.node(root, nil); err != nil {
		return nil, err
	}
	w.grouping(root, w.last)
	w.plan.OneThread = w.plan.Groups != nil || w.onePipeline(root)
	keepDoubles(root)
	if w.plan.Spent != nil {
		w.plan.left = parametersOf(root, map[string]bool{})
		nameNumbers(root)
	}
	var err error
	w.plan.AST, err = json.Marshal(root)
	return w.plan, err
}

// onePipeline reports whether a statement does nothing but filter the rows of one
// table, and compute what is shown of each.
func (w *rewriter) onePipeline(root map[string]any) bool {
	stmts := list(root, "statements")
	if len(stmts) != 1 || len(w.plan.Refs) != 1 {
		return false
	}
	stmt, _ := stmts[0].(map[string]any)
	q := child(stmt, "node")
	if str(q, "type") != "SELECT_NODE" || str(child(q, "from_table"), "type") != "TABLE_FUNCTION" || len(w.last.from) != 1 || w.last.from[0].ref == nil ||
		len(list(child(q, "cte_map"), "map")) > 0 || q["sample"] != nil || q["qualify"] != nil || q["having"] != nil || aggregates(q) || within(q["select_list"], "WINDOW", "SUBQUERY") || within(q["where_clause"], "SUBQUERY") {
		return false
	}
	for _, x := range list(q, "modifiers") {
		if m, _ := x.(map[string]any); str(m, "type") != "LIMIT_MODIFIER" {
			return false
		}
	}
	return true
}

// visit calls fn with every object of a tree, an outer one before those in it,
// which are left out where fn says false.
func visit(x any, fn func(map[string]any) bool) {
	switch v := x.(type) {
	case []any:
		for _, c := range v {
			visit(c, fn)
		}
	case map[string]any:
		if fn(v) {
			for _, c := range v {
				visit(c, fn)
			}
		}
	}
}

// within reports whether a tree has a node of one of some classes.
func within(x any, classes ...string) bool {
	found := false
	visit(x, func(v map[string]any) bool {
		found = found || slices.Contains(classes, str(v, "class"))
		return !found
	})
	return found
}

// keepDoubles writes the constants that are doubles as casts: DuckDB makes a text
// of the tree before it runs it, and 1e0 would come back as the decimal 1.0.
func keepDoubles(x any) {
	visit(x, func(v map[string]any) bool {
		n, number := child(v, "value")["value"].(json.Number)
		id := str(child(child(v, "value"), "type"), "id")
		if str(v, "class") != "CONSTANT" || !number || id != "DOUBLE" && id != "FLOAT" {
			return true
		}
		digits := n.String()
		if f, err := n.Float64(); err != nil && math.IsInf(f, 1) {
			digits = "inf"
		} else if err != nil && math.IsInf(f, -1) {
			digits = "-inf"
		}
		replaceNode(v, castNode(id, digits))
		return false
	})
}

// scope is the names of common table expressions, innermost first.
type scope struct {
	names map[string]bool
	outer *scope
}

func (s *scope) has(name string) bool {
	for ; s != nil; s = s.outer {
		if s.names[fold(name)] {
			return true
		}
	}
	return false
}

type rewriter struct {
	text    string
	catalog Catalog
	plan    *Plan
	last    taken // the select that was looked at last: at the end, the outermost
}

func str(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func child(m map[string]any, key string) map[string]any {
	c, _ := m[key].(map[string]any)
	return c
}

func list(m map[string]any, key string) []any {
	l, _ := m[key].([]any)
	return l
}

func place(m map[string]any) int {
	n, _ := m["query_location"].(json.Number)
	i, err := n.Int64()
	if err != nil {
		return -1
	}
	return int(i)
}

// node walks the tree. Selects are taken apart, everything else is only passed.
func (w *rewriter) node(x any, s *scope) error {
	switch v := x.(type) {
	case []any:
		for _, c := range v {
			if err := w.node(c, s); err != nil {
				return err
			}
		}
	case map[string]any:
		if _, ok := v["cte_map"]; ok {
			return w.query(v, s)
		}
		if str(v, "type") == "BASE_TABLE" { // where no select expects one
			_, err := w.table(v, s)
			return err
		}
		for _, k := range keys(v) {
			if err := w.node(v[k], s); err != nil {
				return err
			}
		}
	}
	return nil
}

// keys are the keys of an object in an order that is always the same.
func keys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// query walks a node that can have common table expressions.
func (w *rewriter) query(q map[string]any, outer *scope) error {
	s := &scope{names: map[string]bool{}, outer: outer}
	for _, c := range list(child(q, "cte_map"), "map") {
		m, _ := c.(map[string]any)
		name := fold(str(m, "key"))
		within := s // a name is known behind its expression; within only where that is recursive
		if str(child(child(child(m, "value"), "query"), "node"), "type") == "RECURSIVE_CTE_NODE" {
			within = &scope{names: map[string]bool{name: true}, outer: s}
		}
		if err := w.node(m["value"], within); err != nil {
			return err
		}
		s.names[name] = true
	}
	if str(q, "type") == "SELECT_NODE" {
		return w.selects(q, s)
	}
	for _, k := range keys(q) {
		if k != "cte_map" {
			if err := w.node(q[k], s); err != nil {
				return err
			}
		}
	}
	return nil
}

// source is one table of a FROM clause, as far as names in WHERE go.
type source struct {
	alias string
	ref   *Ref // nil: a subquery, a function, a common table expression
}

func (w *rewriter) selects(q map[string]any, s *scope) error {
	var from []source
	if f := child(q, "from_table"); f != nil {
		var err error
		if from, err = w.from(f, s); err != nil {
			return err
		}
	}
	for _, k := range keys(q) {
		if k == "cte_map" || k == "from_table" {
			continue
		}
		if err := w.node(q[k], s); err != nil { // subqueries in expressions
			return err
		}
	}
	all := true
	if c := child(q, "where_clause"); c != nil {
		all = w.where(q, c, from)
	}
	if len(from) == 1 && from[0].ref != nil && str(child(q, "from_table"), "type") == "TABLE_FUNCTION" && all {
		w.limit(q, from[0].ref)
	}
	w.last = taken{from, all}
	return nil
}

// from collects the tables of a FROM clause and puts calls in the place of
// datasets. Tables on a side that can't be filtered first are marked.
func (w *rewriter) from(f map[string]any, s *scope) ([]source, error) {
	switch str(f, "type") {
	case "BASE_TABLE":
		ref, err := w.table(f, s)
		if err != nil {
			return nil, err
		}
		alias := str(f, "alias")
		if ref == nil {
			if alias == "" {
				alias = str(f, "table_name")
			}
			return []source{{alias, nil}}, nil
		}
		return []source{{ref.alias, ref}}, nil
	case "TABLE_FUNCTION":
		if ref, err := w.function(f); ref != nil || err != nil {
			return []source{{alias(ref), ref}}, err
		}
	case "SHOW_REF":
		if ref, err := w.listing(f); ref != nil || err != nil {
			return []source{{alias(ref), ref}}, err
		}
	case "JOIN":
		left, err := w.from(child(f, "left"), s)
		if err != nil {
			return nil, err
		}
		right, err := w.from(child(f, "right"), s)
		if err != nil {
			return nil, err
		}
		if err := w.node(f["condition"], s); err != nil {
			return nil, err
		}
		kind, how := str(f, "join_type"), str(f, "ref_type")
		regular := how == "REGULAR" || how == "CROSS" || how == "NATURAL" || how == "DEPENDENT"
		why := "its side of the " + strings.ToLower(kind) + " join is filled up with NULLs, or decides what is joined"
		if !regular {
			why = "what is on its side of the " + strings.ToLower(how) + " join decides what is joined"
		}
		if kind != "INNER" && kind != "LEFT" || !regular {
			block(left, why)
		}
		if kind != "INNER" && kind != "RIGHT" || !regular {
			block(right, why)
		}
		return append(left, right...), nil
	}
	for _, k := range keys(f) {
		if err := w.node(f[k], s); err != nil {
			return nil, err
		}
	}
	if str(f, "type") == "EMPTY" {
		return nil, nil
	}
	return []source{{str(f, "alias"), nil}}, nil
}

func block(from []source, why string) {
	for _, f := range from {
		if f.ref != nil && f.ref.blocked == "" {
			f.ref.blocked = why
		}
	}
}

// table turns the name of a dataset into a call; nil if it names something else.
func (w *rewriter) table(t map[string]any, s *scope) (*Ref, error) {
	name := str(t, "table_name")
	schema, catalog := str(t, "schema_name"), str(t, "catalog_name")
	// Tools put the catalog before the name of a table: "p"."p/t".
	qualified := catalog == "" && schema != "" && strings.HasPrefix(name, schema+"/")
	if !qualified && (schema != "" || catalog != "") {
		return w.system(t)
	}
	if !qualified && s.has(name) {
		return nil, nil
	}
	at := place(t)
	if !strings.Contains(name, "/") {
		return nil, Problem(w.text, at, fault.NotFound, "no table %q", name).
			Do(`a dataset is named by its address in double quotes: FROM "POOL/DATASET[@SNAPSHOT]"`)
	}
	address := name
	if c := child(t, "at_clause"); c != nil {
		v, ok := constant(child(c, "expr"))
		if str(c, "unit") != "VERSION" || !ok || v.Type != expr.Text || v.S == "" {
			return nil, Problem(w.text, at, fault.Invalid, "AT names a snapshot").Do("write AT (VERSION => 'NAME')")
		}
		ds, path, _ := cutPath(name)
		if strings.Contains(ds, "@") {
			return nil, Problem(w.text, at, fault.Invalid, "%s and AT (VERSION => %s) both name a snapshot", name, v).Do("give one of them")
		}
		address = ds + "@" + v.S + path
	}
	ref := &Ref{Address: address, alias: str(t, "alias")}
	if ref.alias == "" {
		ref.alias = name
	}
	return ref, w.resolve(t, ref, at)
}

func alias(r *Ref) string {
	if r == nil {
		return ""
	}
	return r.alias
}

// resolve finds the columns of a table and puts a call in its place.
func (w *rewriter) resolve(t map[string]any, ref *Ref, at int) error {
	ref.Handle, ref.At = fmt.Sprintf("s%d", len(w.plan.Refs)), at
	if err := w.catalog.Table(ref); err != nil {
		return mark(w.text, at, err)
	}
	switch {
	case t["sample"] != nil:
		ref.blocked = "its rows are sampled first"
	case len(list(t, "column_name_alias")) > 0:
		ref.blocked = "its columns are renamed"
	}
	w.plan.Refs = append(w.plan.Refs, ref)
	sample, location, names := t["sample"], t["query_location"], t["column_name_alias"]
	if names == nil {
		names = []any{}
	}
	clear(t)
	for k, v := range map[string]any{
		"type": "TABLE_FUNCTION", "alias": ref.alias, "sample": sample, "query_location": location, "column_name_alias": names,
		"with_ordinality": "WITHOUT_ORDINALITY",
		"function": map[string]any{
			"class": "FUNCTION", "type": "FUNCTION", "alias": "", "query_location": location, "function_name": ScanFunction, "schema": "",
			"children": []any{map[string]any{"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": location,
				"value": map[string]any{"type": map[string]any{"id": "VARCHAR", "type_info": nil}, "is_null": false, "value": ref.Handle}}},
			"filter": nil, "order_bys": map[string]any{"type": "ORDER_MODIFIER", "orders": []any{}}, "distinct": false, "is_operator": false,
			"export_state": false, "catalog": "",
		},
	} {
		t[k] = v
	}
	return nil
}

// cutPath splits "POOL/DATASET[@SNAPSHOT]" from "/PATH".
func cutPath(name string) (dataset, path string, ok bool) {
	i := strings.IndexByte(name, '/')
	if i < 0 {
		return name, "", false
	}
	j := strings.IndexByte(name[i+1:], '/')
	if j < 0 {
		return name, "", false
	}
	return name[:i+1+j], name[i+1+j:], true
}

// Problem is the error of a statement with the place in its text marked.
func Problem(text string, at int, kind fault.Kind, format string, args ...any) *fault.Error {
	e := expr.Problem(text, at, format, args...)
	e.Kind, e.Op, e.Resource = kind, "query.sql", "statement"
	return e
}

// mark puts the place in the text into the error of a name.
func mark(text string, at int, err error) error {
	e := fault.New(fault.KindOf(err), "query.sql", "statement", "%s", err)
	if f, ok := err.(*fault.Error); ok {
		e.Detail, e.Resolution = f.Detail, f.Resolution
		if f.Resource != "" {
			e.Detail = f.Resource + ": " + f.Detail
		}
	}
	e.Detail += strings.TrimPrefix(Problem(text, at, e.Kind, "").Detail, "")
	return e
}

// where lifts the conditions of a select. It reports whether all were lifted.
func (w *rewriter) where(q, clause map[string]any, from []source) bool {
	conds := []any{clause}
	if str(clause, "class") == "CONJUNCTION" && str(clause, "type") == "CONJUNCTION_AND" {
		conds = list(clause, "children")
	}
	shadow := map[string]bool{}
	for _, x := range list(q, "select_list") {
		m, _ := x.(map[string]any)
		if a := str(m, "alias"); a != "" {
			shadow[fold(a)] = true
		}
	}
	all := true
	for _, c := range conds {
		m, _ := c.(map[string]any)
		l := &lifter{from: from, shadow: shadow}
		x, why := l.lift(m)
		report := Conjunct{Conjunct: w.show(m, x)}
		if l.ref != nil {
			report.Table = l.ref.Address
		}
		switch {
		case why != "":
		case q["sample"] != nil:
			why = "the rows are sampled first"
		case l.ref == nil:
			why = "it names no column of a dataset"
		case l.ref.blocked != "":
			why = l.ref.blocked
		default:
			why = l.ref.takes(x)
		}
		if why == "" {
			l.ref.Where, l.ref.parts = expr.Conjunction(l.ref.Where, x), l.ref.parts+expr.Parts(x)
			report.Pushed, report.Why = true, "evaluated at the targets"
			if l.ref.Prunes != "" {
				all = false // rows that don't match come too
				if report.Pushed, report.Why = expr.Prunes(x), l.ref.Prunes; !report.Pushed {
					report.Why = "only comparisons with constants spare reading here"
				}
				w.plan.Conjuncts = append(w.plan.Conjuncts, report)
				continue
			}
			if expr.Prunes(x) {
				report.Why = "evaluated at the targets, prunes by statistics where there are some"
			}
		} else {
			report.Why = why
			all = false
		}
		w.plan.Conjuncts = append(w.plan.Conjuncts, report)
	}
	return all
}

func detail(err error) string {
	if f, ok := err.(*fault.Error); ok {
		return f.Detail
	}
	return err.Error()
}

// takes says why a condition can't be one of a scan's, "" if it can: a predicate
// has limits, which all conditions together must keep.
func (r *Ref) takes(x expr.Expr) string {
	if r.parts+expr.Parts(x) >= expr.MaxNodes {
		return "the conditions that are evaluated at the targets already are as many as can be"
	}
	if err := expr.Check(&expr.Call{Fn: expr.Not, Args: []expr.Expr{x}, Pos: -1}); err != nil { // as deep as behind an AND
		return detail(err)
	}
	if _, err := expr.Bind(x, r.Schema, ""); err != nil {
		return detail(err)
	}
	return ""
}

// show is a condition as text: as it was lifted, else as it was written.
func (w *rewriter) show(m map[string]any, x expr.Expr) string {
	if x != nil {
		return x.String()
	}
	lo, hi := span(m, len(w.text)+1, -1)
	if lo > hi || hi > len(w.text) {
		return strings.ToLower(str(m, "type"))
	}
	return strings.TrimSpace(w.text[opened(w.text, lo, hi):closed(w.text, lo, min(len(w.text), wordEnd(w.text, hi)))])
}

// opened moves the beginning of a part of a text before the brackets that are
// closed in it, and the names of functions before them.
func opened(text string, lo, hi int) int {
	for depth := unclosed(text[lo:hi], ')', '('); depth > 0 && lo > 0; {
		if lo--; text[lo] == '(' {
			depth--
		}
	}
	for lo > 0 && (text[lo] == '(' || isWord(text[lo])) && isWord(text[lo-1]) {
		lo--
	}
	return lo
}

// closed moves the end behind the brackets that are opened, the END of a CASE,
// and what an operator at the end is applied to.
func closed(text string, lo, hi int) int {
	if s := strings.ToLower(text[lo:hi]); strings.HasPrefix(s, "case ") && !strings.Contains(s, " end") {
		if i := strings.Index(strings.ToLower(text[hi:]), "end"); i >= 0 {
			hi += i + len("end")
		}
	}
	for i := hi; i < len(text) && hi > lo && strings.IndexByte("=<>!~+-*/%|", text[hi-1]) >= 0; i++ {
		if text[i] != ' ' && text[i] != '\t' && text[i] != '\n' {
			hi = wordEnd(text, i)
		}
	}
	for depth := unclosed(text[lo:hi], '(', ')'); depth > 0 && hi < len(text); hi++ {
		switch text[hi] {
		case '(':
			depth++
		case ')':
			depth--
		}
	}
	return hi
}

// unclosed is how many brackets of one kind have none of the other.
func unclosed(s string, open, shut byte) int {
	return max(0, strings.Count(s, string(open))-strings.Count(s, string(shut)))
}

func isWord(c byte) bool {
	return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
}

// span is the first and last place that a tree mentions.
func span(x any, lo, hi int) (int, int) {
	visit(x, func(v map[string]any) bool {
		if at := place(v); at >= 0 {
			lo, hi = min(lo, at), max(hi, at)
		}
		return true
	})
	return lo, hi
}

// wordEnd is where the word, number or text that begins at i ends.
func wordEnd(s string, i int) int {
	if i < len(s) && (s[i] == '\'' || s[i] == '"') {
		if j := strings.IndexByte(s[i+1:], s[i]); j >= 0 {
			return i + j + 2
		}
	}
	for i < len(s) && !strings.ContainsRune(" \t\n),;", rune(s[i])) {
		i++
	}
	return i
}

// limit lifts LIMIT where the rows go straight from the dataset to the result.
func (w *rewriter) limit(q map[string]any, ref *Ref) {
	mods := list(q, "modifiers")
	if len(mods) != 1 || ref.blocked != "" || q["sample"] != nil || q["having"] != nil || q["qualify"] != nil ||
		len(list(q, "group_expressions")) > 0 || len(list(q, "group_sets")) > 0 || str(q, "aggregate_handling") != "STANDARD_HANDLING" { // GROUP BY ALL has no group_expressions
		return
	}
	for _, x := range list(q, "select_list") {
		m, _ := x.(map[string]any)
		if c := str(m, "class"); c != "STAR" && c != "COLUMN_REF" || len(list(m, "replace_list")) > 0 {
			return // it may be an aggregate, or what is put in a column's place
		}
	}
	m, _ := mods[0].(map[string]any)
	if str(m, "type") != "LIMIT_MODIFIER" {
		return
	}
	total := uint64(0)
	for _, k := range []string{"limit", "offset"} {
		if m[k] == nil {
			continue
		}
		v, ok := constant(child(m, k))
		if !ok || v.Type != expr.Int64 || v.I < 0 || v.I > 1<<40 {
			return
		}
		total += uint64(v.I)
	}
	if m["limit"] != nil && total > 0 {
		ref.Limit = total
	}
}
