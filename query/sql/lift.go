package sql

import (
	"encoding/json"
	"strconv"
	"strings"

	"daos/query/expr"
)

// lifter makes an expression of one condition. All its columns must be of one
// dataset.
type lifter struct {
	from   []source
	shadow map[string]bool // names of the select list
	ref    *Ref
}

// comparisons are those whose meaning is ours.
var comparisons = map[string]expr.Fn{"COMPARE_EQUAL": expr.Eq, "COMPARE_NOTEQUAL": expr.Ne, "COMPARE_LESSTHAN": expr.Lt,
	"COMPARE_LESSTHANOREQUALTO": expr.Le, "COMPARE_GREATERTHAN": expr.Gt, "COMPARE_GREATERTHANOREQUALTO": expr.Ge}

// functions that can be lifted; lower and upper can't: which letters they know
// depends on a version of Unicode.
var functions = map[string]expr.Fn{"~~": expr.Like, "~~~": expr.Glob, "prefix": expr.Prefix, "starts_with": expr.Prefix, "^@": expr.Prefix,
	"suffix": expr.Suffix, "ends_with": expr.Suffix, "contains": expr.Contains, "isnan": expr.IsNaN, "length": expr.Length, "len": expr.Length}

// lift returns the expression, or why there is none.
func (l *lifter) lift(m map[string]any) (expr.Expr, string) {
	class, kind := str(m, "class"), str(m, "type")
	switch class {
	case "COLUMN_REF":
		return l.column(m)
	case "CONSTANT", "CAST":
		if v, ok := constant(m); ok {
			return &expr.Literal{Value: v, Pos: -1}, ""
		}
		if class == "CAST" && str(child(m, "child"), "class") != "CONSTANT" {
			return nil, "a cast is left to SQL"
		}
		return nil, "a constant of this type is not lifted"
	case "CONJUNCTION":
		fn := expr.And
		if kind == "CONJUNCTION_OR" {
			fn = expr.Or
		}
		return l.call(fn, list(m, "children"))
	case "COMPARISON":
		fn, ok := comparisons[kind]
		if !ok {
			return nil, strings.ToLower(strings.TrimPrefix(kind, "COMPARE_")) + " is not in the list of functions"
		}
		return l.call(fn, []any{m["left"], m["right"]})
	case "BETWEEN":
		return l.call(expr.Between, []any{m["input"], m["lower"], m["upper"]})
	case "OPERATOR":
		args := list(m, "children")
		switch kind {
		case "OPERATOR_NOT":
			return l.call(expr.Not, args)
		case "OPERATOR_IS_NULL":
			return l.call(expr.IsNull, args)
		case "OPERATOR_IS_NOT_NULL":
			return l.call(expr.NotNull, args)
		case "COMPARE_IN", "COMPARE_NOT_IN":
			x, why := l.call(expr.In, args)
			if why == "" && kind == "COMPARE_NOT_IN" {
				x = &expr.Call{Fn: expr.Not, Args: []expr.Expr{x}, Pos: -1}
			}
			return x, why
		case "ARRAY_EXTRACT":
			return l.call(expr.Element, args)
		}
		return nil, strings.ToLower(strings.ReplaceAll(kind, "_", " ")) + " is not in the list of functions"
	case "FUNCTION":
		name := strings.ToLower(str(m, "function_name"))
		if str(m, "schema") != "" || m["filter"] != nil || m["distinct"] == true {
			return nil, name + " is called in a way that is not lifted"
		}
		if name == "!~~" {
			x, why := l.call(expr.Like, list(m, "children"))
			if why != "" {
				return nil, why
			}
			return &expr.Call{Fn: expr.Not, Args: []expr.Expr{x}, Pos: -1}, ""
		}
		fn, ok := functions[name]
		switch {
		case ok:
			return l.call(fn, list(m, "children"))
		case name == "lower" || name == "upper":
			return nil, name + " is left to SQL: which letters it changes depends on the version of Unicode"
		case name == "+" || name == "-" || name == "*" || name == "/" || name == "%" || name == "//":
			return nil, "arithmetic is left to SQL, where it may overflow in another type"
		}
		return nil, name + " is not in the list of functions"
	case "SUBQUERY":
		return nil, "it has a subquery"
	case "PARAMETER":
		return nil, "a parameter without a value"
	}
	return nil, strings.ToLower(class) + " is not lifted"
}

func (l *lifter) call(fn expr.Fn, args []any) (expr.Expr, string) {
	c := &expr.Call{Fn: fn, Pos: -1}
	for _, a := range args {
		m, _ := a.(map[string]any)
		x, why := l.lift(m)
		if why != "" {
			return nil, why
		}
		c.Args = append(c.Args, x)
	}
	if err := expr.Check(c); err != nil {
		return nil, detail(err)
	}
	return c, ""
}

// column finds the dataset of a column. A name that could be something else is
// left alone.
func (l *lifter) column(m map[string]any) (expr.Expr, string) {
	var names []string
	for _, n := range list(m, "column_names") {
		s, _ := n.(string)
		names = append(names, s)
	}
	shown := strings.Join(names, ".")
	var ref *Ref
	switch len(names) {
	case 1:
		if l.shadow[fold(names[0])] {
			return nil, shown + " is a name of the select list too"
		}
		for _, f := range l.from {
			if f.ref == nil {
				return nil, shown + " may be of a subquery or function of the FROM clause"
			}
			if f.ref.column(names[0]) >= 0 {
				if ref != nil {
					return nil, shown + " is in several tables"
				}
				ref = f.ref
			}
		}
	case 2:
		for _, f := range l.from {
			if fold(f.alias) == fold(names[0]) {
				if ref != nil || f.ref == nil {
					return nil, shown + " is no column of a dataset"
				}
				ref = f.ref
			}
		}
	}
	if ref == nil {
		return nil, shown + " is no column of a dataset of this FROM clause"
	}
	i := ref.column(names[len(names)-1])
	if i < 0 {
		return nil, shown + " is no column of " + ref.Address
	}
	if l.ref != nil && l.ref != ref {
		return nil, "it is about several tables"
	}
	l.ref = ref
	return &expr.Column{Name: ref.Schema[i].Name, Pos: -1}, ""
}

// digits up to which a decimal becomes the same double by any way.
const exactDigits = 15

// constant reads a constant whose meaning is sure.
func constant(m map[string]any) (expr.Value, bool) {
	if str(m, "class") == "CAST" {
		return timestamp(m)
	}
	if str(m, "class") != "CONSTANT" {
		return expr.Value{}, false
	}
	v := child(m, "value")
	id := str(child(v, "type"), "id")
	if v["is_null"] == true {
		return expr.NullValue(), true
	}
	switch x := v["value"].(type) {
	case map[string]any: // what is beyond 63 bits comes as two numbers
		upper, _ := x["upper"].(json.Number)
		lower, _ := x["lower"].(json.Number)
		u, err := strconv.ParseUint(lower.String(), 10, 64)
		return expr.UintValue(u), id == "HUGEINT" && upper == "0" && err == nil
	case bool:
		return expr.BoolValue(x), id == "BOOLEAN"
	case string:
		return expr.TextValue(x), id == "VARCHAR"
	case json.Number:
		switch id {
		case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT":
			n, err := expr.Parse(x.String())
			if err != nil {
				return expr.Value{}, false
			}
			l, ok := n.(*expr.Literal)
			return l.Value, ok && l.Value.Type != expr.Float64
		case "DOUBLE":
			f, err := x.Float64()
			return expr.FloatValue(f), err == nil
		case "DECIMAL":
			info := child(child(v, "type"), "type_info")
			scale, _ := info["scale"].(json.Number)
			n, err := scale.Int64()
			if err != nil {
				return expr.Value{}, false
			}
			return decimal(x.String(), int(n))
		}
	}
	return expr.Value{}, false
}

// decimal is digits with a point.
func decimal(digits string, scale int) (expr.Value, bool) {
	sign := ""
	if d, ok := strings.CutPrefix(digits, "-"); ok {
		sign, digits = "-", d
	}
	if len(digits) > exactDigits || scale > exactDigits || scale < 0 {
		return expr.Value{}, false
	}
	for len(digits) <= scale {
		digits = "0" + digits
	}
	if scale == 0 {
		digits, scale = digits+"0", 1 // "3." is no number
	}
	v, err := expr.DecimalValue(sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:])
	return v, err == nil
}

// timestamp reads TIMESTAMP '...' and '...'::DATE.
func timestamp(m map[string]any) (expr.Value, bool) {
	c := child(m, "child")
	v, ok := constant(c)
	to := str(child(m, "cast_type"), "id")
	if !ok || v.Type != expr.Text || str(c, "class") != "CONSTANT" || m["try_cast"] == true {
		return expr.Value{}, false
	}
	if to != "TIMESTAMP" && to != "TIMESTAMP_NS" && to != "DATE" || len(v.S) > 29 || strings.ContainsAny(v.S, "Zz+") || strings.Count(v.S, "-") > 2 {
		return expr.Value{}, false
	}
	if to == "DATE" && len(v.S) != len("2006-01-02") {
		return expr.Value{}, false
	}
	ns, ok := expr.ParseTime(v.S)
	if to == "TIMESTAMP" && ns%1000 != 0 { // it has microseconds
		return expr.Value{}, false
	}
	return expr.TimeValue(ns), ok
}
