// Package querywire maps the values of query/* to the messages of
// proto/daos/query and back. It is shared by the server, which takes requests,
// and by the process that runs a statement, which makes them; neither trusts
// the other.
//
// Start at ExprOf.
package querywire

import (
	"strconv"
	"strings"

	"daos/internal/fault"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/expr"
)

// ExprOf reads a tree. Depth is bounded before anything else; expr.Check has
// the other limits.
func ExprOf(p *queryv1.Expr) (expr.Expr, error) {
	x, err := exprOf(p, 0)
	if err != nil {
		return nil, err
	}
	return x, expr.Check(x)
}

func exprOf(p *queryv1.Expr, depth int) (expr.Expr, error) {
	if depth > expr.MaxDepth {
		return nil, fault.New(fault.TooBig, "query.where", "predicate", "the predicate is nested deeper than %d", expr.MaxDepth)
	}
	switch n := p.GetNode().(type) {
	case *queryv1.Expr_Column:
		return &expr.Column{Name: n.Column, Pos: -1}, nil
	case *queryv1.Expr_Literal:
		v, err := ValueOf(n.Literal)
		return &expr.Literal{Value: v, Pos: -1}, err
	case *queryv1.Expr_Call:
		c := &expr.Call{Fn: expr.Fn(max(0, min(n.Call.GetFunction(), 255))), Pos: -1}
		for _, a := range n.Call.GetArgs() {
			x, err := exprOf(a, depth+1)
			if err != nil {
				return nil, err
			}
			c.Args = append(c.Args, x)
		}
		return c, nil
	}
	return nil, fault.New(fault.Invalid, "query.where", "predicate", "a part of the predicate is empty")
}

// ValueOf reads a constant.
func ValueOf(l *queryv1.Literal) (expr.Value, error) {
	switch v := l.GetValue().(type) {
	case *queryv1.Literal_Null:
		return expr.NullValue(), nil
	case *queryv1.Literal_Boolean:
		return expr.BoolValue(v.Boolean), nil
	case *queryv1.Literal_Integer:
		return expr.IntValue(v.Integer), nil
	case *queryv1.Literal_Unsigned:
		return expr.UintValue(v.Unsigned), nil
	case *queryv1.Literal_Number:
		return expr.FloatValue(v.Number), nil
	case *queryv1.Literal_Decimal:
		return expr.DecimalValue(v.Decimal)
	case *queryv1.Literal_Text:
		return expr.TextValue(v.Text), nil
	case *queryv1.Literal_Blob:
		return expr.BytesValue(v.Blob), nil
	case *queryv1.Literal_TimeUnixNanos:
		return expr.TimeValue(v.TimeUnixNanos), nil
	}
	return expr.Value{}, fault.New(fault.Invalid, "query.where", "predicate", "a literal without a value")
}

// FromExpr writes a tree; nil for nil.
func FromExpr(x expr.Expr) *queryv1.Expr {
	switch e := x.(type) {
	case *expr.Column:
		return &queryv1.Expr{Node: &queryv1.Expr_Column{Column: e.Name}}
	case *expr.Literal:
		return &queryv1.Expr{Node: &queryv1.Expr_Literal{Literal: FromValue(e.Value)}}
	case *expr.Call:
		c := &queryv1.Call{Function: queryv1.Function(e.Fn)}
		for _, a := range e.Args {
			c.Args = append(c.Args, FromExpr(a))
		}
		return &queryv1.Expr{Node: &queryv1.Expr_Call{Call: c}}
	}
	return nil
}

// FromValue writes a constant.
func FromValue(v expr.Value) *queryv1.Literal {
	switch v.Type {
	case expr.Bool:
		return &queryv1.Literal{Value: &queryv1.Literal_Boolean{Boolean: v.B}}
	case expr.Int64:
		return &queryv1.Literal{Value: &queryv1.Literal_Integer{Integer: v.I}}
	case expr.Uint64:
		return &queryv1.Literal{Value: &queryv1.Literal_Unsigned{Unsigned: v.U}}
	case expr.Float64:
		if v.Dec != "" {
			return &queryv1.Literal{Value: &queryv1.Literal_Decimal{Decimal: v.Dec}}
		}
		return &queryv1.Literal{Value: &queryv1.Literal_Number{Number: v.F}}
	case expr.Text:
		return &queryv1.Literal{Value: &queryv1.Literal_Text{Text: v.S}}
	case expr.Bytes:
		return &queryv1.Literal{Value: &queryv1.Literal_Blob{Blob: []byte(v.S)}}
	case expr.Time:
		return &queryv1.Literal{Value: &queryv1.Literal_TimeUnixNanos{TimeUnixNanos: v.I}}
	}
	return &queryv1.Literal{Value: &queryv1.Literal_Null{Null: true}}
}

// FromSchema writes columns.
func FromSchema(s expr.Schema) []*queryv1.Field {
	var out []*queryv1.Field
	for i := range s {
		out = append(out, &queryv1.Field{Name: s[i].Name, Type: s[i].TypeName()})
	}
	return out
}

// SchemaOf reads columns: "int64", "text", "float32[3,224]", "int16[]".
func SchemaOf(fields []*queryv1.Field) (expr.Schema, error) {
	var out expr.Schema
	for _, f := range fields {
		name, dims, list := strings.Cut(f.GetType(), "[")
		one := expr.Field{Name: f.GetName()}
		t := expr.Null
		for k := expr.Bool; k < expr.List; k++ {
			if k.String() == name {
				t = k
			}
		}
		if t == expr.Null {
			return nil, fault.New(fault.Unsupported, "query.schema", f.GetName(), "a column of type %q", f.GetType())
		}
		if one.Type = t; list {
			one.Type, one.Elem = expr.List, t
			dims = strings.TrimSuffix(dims, "]")
			for _, d := range strings.Split(dims, ",") {
				if dims == "" {
					break
				}
				n, err := strconv.ParseUint(d, 10, 32)
				if err != nil {
					return nil, fault.New(fault.Unsupported, "query.schema", f.GetName(), "a column of type %q", f.GetType())
				}
				one.Shape = append(one.Shape, n)
			}
		}
		out = append(out, one)
	}
	return out, nil
}
