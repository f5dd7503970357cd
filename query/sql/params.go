package sql

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"daos/internal/fault"
	"daos/query/expr"
)

// InTree reports whether a value can be a constant of a tree, whose texts end at
// a NUL.
func InTree(v expr.Value) bool { return v.Type != expr.Text || strings.IndexByte(v.S, 0) < 0 }

// WithValues is a tree with constants in the places of its parameters; those that
// can't be constants stay, with their type, and have to be bound. DuckDB finds the
// types of a statement's columns before it knows the values of the parameters, and
// finds none where a type depends on them: SELECT ? + 1.
func WithValues(ast []byte, values map[string]expr.Value) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(ast))
	d.UseNumber()
	var root any
	if err := d.Decode(&root); err != nil {
		return nil, fault.New(fault.Internal, "query.sql", "statement", "the tree of the statement is not readable").Because(err)
	}
	putValues(root, values)
	return json.Marshal(root)
}

func putValues(x any, values map[string]expr.Value) {
	visit(x, func(v map[string]any) bool {
		if str(v, "class") != "PARAMETER" {
			return true
		}
		value, ok := values[GivenAs(str(v, "identifier"))]
		switch {
		case !ok: // DuckDB says that it has none
		case InTree(value):
			replaceNode(v, constantNode(value))
		default:
			inner := maps.Clone(v)
			inner["alias"] = ""
			nameNumbers(inner)
			by := castNode("VARCHAR", "")
			by["child"] = inner
			replaceNode(v, by)
		}
		return false
	})
}

// numbered is before the number of a parameter in a tree that has lost others:
// DuckDB takes numbers from 1 on, without gaps, or names.
const numbered = "number_"

// nameNumbers gives names to the parameters of a tree that have numbers.
func nameNumbers(x any) {
	visit(x, func(v map[string]any) bool {
		if id := str(v, "identifier"); str(v, "class") == "PARAMETER" && isNumber(id) {
			v["identifier"] = numbered + id
		}
		return true
	})
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// GivenAs is the name under which a parameter of a tree was given.
func GivenAs(name string) string {
	if n, ok := strings.CutPrefix(name, numbered); ok && isNumber(n) {
		return n
	}
	return name
}

// replaceNode puts a node into the place of another one, under its alias.
func replaceNode(v, by map[string]any) {
	alias, location := v["alias"], v["query_location"]
	clear(v)
	maps.Copy(v, by)
	v["alias"], v["query_location"] = alias, location
}

// constantNode is the node of a constant as it is written in a statement; what
// the tree would carry inexactly is a text that is cast.
func constantNode(v expr.Value) map[string]any {
	switch v.Type {
	case expr.Null:
		return plainNode("NULL", nil)
	case expr.Bool:
		return plainNode("BOOLEAN", v.B)
	case expr.Int64:
		if v.I < math.MinInt32 || v.I > math.MaxInt32 {
			return castNode("BIGINT", strconv.FormatInt(v.I, 10))
		}
		return plainNode("INTEGER", v.I)
	case expr.Uint64:
		return castNode("UBIGINT", strconv.FormatUint(v.U, 10))
	case expr.Float64:
		return castNode("DOUBLE", strings.TrimPrefix(strconv.FormatFloat(v.F, 'g', -1, 64), "+"))
	case expr.Time:
		return castNode("TIMESTAMP_NS", time.Unix(0, v.I).UTC().Format("2006-01-02 15:04:05.999999999"))
	case expr.Bytes:
		var text strings.Builder
		for i := range len(v.S) {
			fmt.Fprintf(&text, `\x%02X`, v.S[i])
		}
		return castNode("BLOB", text.String())
	default:
		return plainNode("VARCHAR", v.S)
	}
}

func plainNode(id string, value any) map[string]any {
	constant := map[string]any{"type": map[string]any{"id": id, "type_info": nil}, "is_null": value == nil}
	if value != nil {
		constant["value"] = value
	}
	return map[string]any{"class": "CONSTANT", "type": "VALUE_CONSTANT", "value": constant}
}

func castNode(id, text string) map[string]any {
	inner := plainNode("VARCHAR", text)
	inner["alias"], inner["query_location"] = "", json.Number("18446744073709551615")
	return map[string]any{"class": "CAST", "type": "OPERATOR_CAST", "child": inner, "cast_type": map[string]any{"id": id, "type_info": nil}, "try_cast": false}
}
