package service

import (
	"strings"

	"daos/internal/fault"
	"daos/internal/querywire"
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
		x, err := querywire.ExprOf(p)
		if err != nil {
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
