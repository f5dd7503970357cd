package service

import (
	"strings"

	"daos/internal/fault"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/query/expr"
)

// requestOf reads a scan off the wire; exec checks it against the table.
func requestOf(r *queryv1.ScanRequest) (exec.Request, error) {
	out := exec.Request{Columns: r.GetColumns(), Offset: r.GetOffset(), Limit: r.GetLimit(), Group: r.GetGroupBy(), Text: r.GetWhere()}
	if r.GetBatchRows() > exec.MaxBatchRows {
		return out, fault.New(fault.Invalid, "query.scan", r.GetDataset(), "%d rows a batch, at most %d are allowed", r.GetBatchRows(), exec.MaxBatchRows)
	}
	out.BatchRows = int(r.GetBatchRows())
	if strings.TrimSpace(r.GetWhere()) != "" {
		x, err := expr.Parse(r.GetWhere())
		if err != nil {
			return out, err
		}
		out.Where = x
	}
	if p := r.GetPredicate(); p != nil {
		x, err := exprOf(p, 0)
		if err != nil {
			return out, err
		}
		if err := expr.Check(x); err != nil {
			return out, err
		}
		if out.Where != nil {
			out.Text = "" // the places of two texts would be mixed up
		}
		out.Where = expr.Conjunction(out.Where, x)
	}
	if t := r.GetTop(); t != nil {
		out.Top = &exec.Top{Column: t.GetColumn(), Desc: t.GetDescending(), K: t.GetK()}
	}
	if s := r.GetSample(); s != nil {
		out.Sample = &exec.Sample{Fraction: s.GetFraction(), N: s.GetN(), Seed: s.GetSeed(), By: s.GetStratifyBy()}
	}
	for _, a := range r.GetAggregates() {
		out.Aggregates = append(out.Aggregates, exec.Aggregate{Fn: exec.AggregateFn(min(a.GetFunction(), 255)), Column: a.GetColumn()})
	}
	return out, nil
}

// exprOf reads a tree. Depth is bounded before anything else.
func exprOf(p *queryv1.Expr, depth int) (expr.Expr, error) {
	if depth > expr.MaxDepth {
		return nil, fault.New(fault.TooBig, "query.where", "predicate", "the predicate is nested deeper than %d", expr.MaxDepth)
	}
	switch n := p.GetNode().(type) {
	case *queryv1.Expr_Column:
		return &expr.Column{Name: n.Column, Pos: -1}, nil
	case *queryv1.Expr_Literal:
		v, err := valueOf(n.Literal)
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

func valueOf(l *queryv1.Literal) (expr.Value, error) {
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
