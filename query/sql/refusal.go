package sql

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"daos/internal/fault"
	"daos/internal/near"
)

// Refusal is what DuckDB says of a statement that it doesn't run, or not to its
// end (errors_as_json, version 1.5).
type Refusal struct {
	Type       string // "Binder", "Catalog", "Conversion", "Out of Memory", ...
	Subtype    string // "COLUMN_NOT_FOUND", "MISSING_ENTRY", "NO_MATCHING_FUNCTION", ..., often ""
	Message    string
	Name       string // what it is about, where Subtype says so
	Kind       string // of a missing entry: "Scalar Function", "Table", ...
	Candidates []string
	At         int // place in the text that was run, -1: none
}

// ReadRefusal takes a message apart. One that is not JSON is "TYPE Error: TEXT".
func ReadRefusal(message string) Refusal {
	var x struct {
		Type       string `json:"exception_type"`
		Message    string `json:"exception_message"`
		Subtype    string `json:"error_subtype"`
		Name       string `json:"name"`
		Kind       string `json:"type"`
		Candidates string `json:"candidates"`
		Position   string `json:"position"`
	}
	if json.Unmarshal([]byte(message), &x) != nil || x.Type == "" {
		head, rest, ok := strings.Cut(message, " Error: ")
		if !ok {
			head, rest = "", message
		}
		return Refusal{Type: head, Message: rest, At: -1}
	}
	r := Refusal{Type: x.Type, Subtype: x.Subtype, Message: x.Message, Name: x.Name, Kind: x.Kind, At: -1}
	if n, err := strconv.Atoi(x.Position); err == nil && n >= 0 {
		r.At = n
	}
	for _, c := range strings.Split(x.Candidates, ",") {
		if c = strings.Trim(strings.TrimSpace(c), `"`); c != "" {
			r.Candidates = append(r.Candidates, c)
		}
	}
	return r
}

// Places tells where in the text of a statement lies what is at a place of the
// text that DuckDB made of its tree: ran is the tree of that text. It gives -1
// for a place where nothing begins.
func Places(tree, ran []byte) func(int) int {
	places := map[int]int{}
	var a, b any
	if decode(tree, &a) == nil && decode(ran, &b) == nil {
		pair(a, b, places)
	}
	return func(at int) int {
		if to, ok := places[at]; ok {
			return to
		}
		return -1
	}
}

func decode(b []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // places are 64-bit numbers
	return d.Decode(to)
}

// pair walks two trees as long as they are alike.
func pair(a, b any, places map[int]int) {
	switch x := a.(type) {
	case []any:
		y, _ := b.([]any)
		for i := range min(len(x), len(y)) {
			pair(x[i], y[i], places)
		}
	case map[string]any:
		y, _ := b.(map[string]any)
		if str(x, "class") != str(y, "class") || str(x, "type") != str(y, "type") {
			return
		}
		if from, to := place(y), place(x); from >= 0 && to >= 0 {
			if _, ok := places[from]; !ok {
				places[from] = to
			}
		}
		for k := range x {
			pair(x[k], y[k], places)
		}
	}
}

// scanCall is how a dataset is written in the text that is run.
var scanCall = regexp.MustCompile(ScanFunction + `\('(s[0-9]+)'(?:::VARCHAR)?\)`)

// Refused is the error of a statement that DuckDB refuses, with the names that
// its writer uses and the place in his text.
func (p *Plan) Refused(r Refusal) error {
	kind := fault.Invalid
	switch r.Type {
	case "Out of Memory":
		line, rest, _ := strings.Cut(r.Message, "\n")
		e := fault.New(fault.TooBig, "query.sql", "statement", "%s", line)
		if strings.Contains(rest, "'max_temp_directory_size'") {
			return e.Do("select fewer columns, filter more, or give the server's query.temp or query.memory more")
		}
		return e.Do("select fewer columns, filter more, or give the server's query.memory more")
	case "INTERRUPT":
		return fault.New(fault.Canceled, "query.sql", "statement", "interrupted")
	case "INTERNAL", "FATAL":
		kind = fault.Internal
	case "Permission":
		kind = fault.Permission
	}
	what, do := p.say(&r)
	if r.Kind == "Type" || r.Kind == "Collation" { // the place is that of the cast, if there is any
		r.At = -1
	}
	if name := quoted(what, 0); r.At < 0 && name != "" {
		r.At = only(p.text, name)
	}
	e := Problem(p.text, r.At, kind, "%s", what)
	if do != "" {
		return e.Do("%s", do)
	}
	return e
}

// say is what is wrong, and what to do.
func (p *Plan) say(r *Refusal) (what, do string) {
	text := scanCall.ReplaceAllStringFunc(r.Message, func(s string) string {
		for _, ref := range p.Refs {
			if ref.Handle == scanCall.FindStringSubmatch(s)[1] {
				return `"` + ref.Address + `"`
			}
		}
		return s
	})
	first, rest, _ := strings.Cut(text, "\n")
	first = strings.TrimSuffix(strings.TrimSpace(first), "!")
	name := r.Name
	switch {
	case r.Subtype == "COLUMN_NOT_FOUND":
		if name == "" {
			name = quoted(first, 0)
		}
		what = first
		if strings.Contains(first, "not found in FROM clause") {
			what = "no column " + strconv.Quote(name)
		}
		return what, p.columnLike(name, r.Candidates)
	case strings.Contains(first, "does not have a column named"):
		return first, p.columnLike(quoted(first, 1), nil)
	case strings.HasPrefix(first, "Column \"") && (strings.Contains(first, "not found in FROM") || strings.HasSuffix(first, "side of join")):
		return first, p.columnLike(quoted(first, 0), nil)
	case strings.HasPrefix(first, "Referenced table "):
		name = quoted(first, 0)
		var names []string
		for _, ref := range p.Refs {
			names = append(names, ref.alias)
		}
		return "no table " + strconv.Quote(name) + " in this FROM clause", meant(name, append(names, r.Candidates...))
	case r.Subtype == "MISSING_ENTRY" && strings.HasSuffix(r.Kind, "Function"):
		if r.Kind == "Table Function" {
			for _, f := range Functions() {
				r.Candidates = append(r.Candidates, f.Name)
			}
		}
		return "no " + strings.ToLower(strings.TrimPrefix(r.Kind, "Scalar ")) + " " + strconv.Quote(name), meant(name, r.Candidates)
	case r.Subtype == "MISSING_ENTRY" && r.Kind == "Type":
		return "no type " + strconv.Quote(name), meant(name, types())
	case r.Subtype == "MISSING_ENTRY" && r.Kind == "Collation":
		return "no collation " + strconv.Quote(name), meant(name, r.Candidates)
	case strings.HasPrefix(first, "Type INT128 with value ") && strings.Contains(first, "destination type INT64"):
		number, _, _ := strings.Cut(strings.TrimPrefix(first, "Type INT128 with value "), " ")
		return number + " does not fit into 64 bits, which integers of a result have", "make it a double: sum(x)::DOUBLE"
	case strings.HasSuffix(first, "file system operations are disabled by configuration"):
		return strconv.Quote(quoted(first, 0)) + " is a file, and statements read datasets alone",
			"import it: Parquet with `daos fs import`, for read_parquet('POOL/DATASET/FILE'), CSV and others with `daos tensor import`"
	case r.Subtype == "NO_MATCHING_FUNCTION":
		do = strings.TrimSpace(strings.ReplaceAll(rest, "\t", "  "))
		if lines := strings.Split(do, "\n"); len(lines) > mostCandidates {
			do = strings.Join(append(lines[:mostCandidates], "  ..."), "\n")
		}
		return first, do
	}
	if i := strings.Index(rest, "Did you mean"); i >= 0 && !strings.Contains(rest[i:], ScanFunction) {
		do, _, _ = strings.Cut(rest[i:], "\n")
	}
	return first, lowerFirst(do)
}

// mostCandidates is how many lines of suggestions are shown.
const mostCandidates = 6

// columnLike suggests a column.
func (p *Plan) columnLike(name string, candidates []string) string {
	var names []string
	for _, ref := range p.Refs {
		for _, f := range ref.Columns() {
			names = append(names, f.Name)
		}
	}
	if do := meant(name, names); do != "" {
		return do
	}
	for i, c := range candidates { // "alias.column"
		if _, column, ok := strings.Cut(c, "."); ok {
			candidates[i] = strings.Trim(column, `"`)
		}
	}
	if do := meant(name, candidates); do != "" || len(names) == 0 {
		return do
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > 2*mostCandidates {
		names = append(names[:2*mostCandidates], "...")
	}
	return "there are " + strings.Join(names, ", ")
}

func meant(name string, names []string) string {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return fold(n) == fold(name) }) // it is not meant: it is not there
	if n := near.Name(name, names); n != "" {
		return "did you mean " + strconv.Quote(n) + "?"
	}
	return ""
}

// quoted is the n-th text in double quotes.
func quoted(s string, n int) string {
	parts := strings.Split(s, `"`)
	if 2*n+1 < len(parts) {
		return parts[2*n+1]
	}
	return ""
}

// only is where a name is in a text, in any case, if it is there once; else -1.
func only(text, name string) int {
	text, name = fold(text), fold(name)
	at := strings.Index(text, name)
	if at < 0 || strings.Contains(text[at+len(name):], name) {
		return -1
	}
	return at
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
