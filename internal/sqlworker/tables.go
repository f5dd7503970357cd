//go:build cgo

package sqlworker

import (
	"context"
	"strings"

	"daos/internal/address"
	"daos/internal/fault"
	"daos/internal/querywire"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/expr"
	"daos/query/sql"
	"daos/query/sql/duck"
	"daos/server/wire"
)

// catalog resolves the tables of a statement.
func (j *job) catalog(ctx context.Context) sql.Catalog {
	return sql.Catalog{
		Repeatable: j.task.GetRepeatable(),
		Table:      func(r *sql.Ref) error { return j.table(ctx, r) },
		Param: func(name string) (expr.Value, bool) {
			for _, p := range j.task.GetStatement().GetParams() {
				if p.GetName() == name {
					v, err := querywire.ValueOf(p.GetValue())
					return v, err == nil
				}
			}
			return expr.Value{}, false
		},
	}
}

// resolved is what is known of a table, once for all mentions of it.
type resolved struct {
	schema expr.Schema
	kind   string
	rows   *uint64
	files  *parquet // nil: it is read as a scan
}

// keyOf is one text for all mentions of the same table.
func keyOf(r *sql.Ref) string {
	if r.Call == nil {
		return r.Address
	}
	return strings.Join(append([]string{"", r.Call.Name, r.Call.Dataset}, r.Call.Args...), "\x00") // an address has no NUL
}

// table fills in a mention of a table.
func (j *job) table(ctx context.Context, r *sql.Ref) error {
	known := j.known[keyOf(r)]
	if known == nil {
		var err error
		if known, err = j.resolve(ctx, r); err != nil {
			return err
		}
		j.known[keyOf(r)] = known
	}
	r.Schema, r.Kind = known.schema, known.kind
	if known.files != nil {
		r.Prunes = "leaves out row groups of the files by their statistics"
	}
	return nil
}

func (j *job) resolve(ctx context.Context, r *sql.Ref) (*resolved, error) {
	if c := r.Call; c != nil && j.task.GetRepeatable() && (strings.HasPrefix(c.Name, sql.SystemSchema+".") || c.Name == "snapshots" || c.Name == "view") {
		return nil, fault.New(fault.Invalid, "query.sql", c.Name, "it shows what is there now, and this result must be the same whenever it is read").
			Do("run the statement with daos query sql")
	}
	if names := parquetNames(r); names != nil {
		if known, err := j.parquet(ctx, r, names); known != nil || err != nil {
			return known, err
		}
	}
	q := &queryv1.SchemaRequest{Function: functionOf(r), Seen: j.task.GetStatement().GetSeen()}
	q.Dataset, q.Epoch = j.reading(r)
	x, err := j.schema(ctx, q)
	if err != nil {
		return nil, j.suggest(ctx, q.GetDataset(), err)
	}
	s, err := querywire.SchemaOf(x.GetFields())
	if err != nil {
		return nil, err
	}
	if live := liveOf(r); live != "" {
		j.pin(live, x.GetEpoch())
	}
	return &resolved{schema: s, kind: x.GetType(), rows: x.Rows}, nil
}

// schema asks for the columns of a table.
func (j *job) schema(ctx context.Context, q *queryv1.SchemaRequest) (*queryv1.SchemaResponse, error) {
	c, err := j.feed.take(ctx)
	if err != nil {
		return nil, err
	}
	x, err := queryv1.NewQueryServiceClient(c).Schema(ctx, q)
	j.feed.give(c, ctx.Err() == nil)
	return x, wire.Fault(err)
}

// liveOf is the address that says at which epoch a table is read: of the two of a
// difference, the one that may be live; "" where none says so.
func liveOf(r *sql.Ref) string {
	c := r.Call
	switch {
	case c == nil:
		return r.Address
	case c.Name == "diff" && len(c.Args) == 1 && snapshotOf(c.Args[0]) == "":
		return c.Args[0]
	case c.Name == "view" || c.Name == "snapshots":
		return "" // at an epoch of its own, or at none
	}
	return c.Dataset
}

// reading is the dataset of a table, and the epoch to read it at; 0: its own.
func (j *job) reading(r *sql.Ref) (dataset string, epoch uint64) {
	dataset = r.Address
	if r.Call != nil {
		dataset = r.Call.Dataset
	}
	return dataset, j.pinned(liveOf(r))
}

func functionOf(r *sql.Ref) *queryv1.TableFunction {
	if r.Call == nil {
		return nil
	}
	return &queryv1.TableFunction{Name: r.Call.Name, Args: r.Call.Args}
}

func snapshotOf(name string) string {
	a, err := address.Parse(name)
	if err != nil {
		return ""
	}
	return a.Snapshot
}

// pinned is the epoch at which a live dataset is read, the same for all mentions
// of it; 0: none yet, or it is at a snapshot.
func (j *job) pinned(name string) uint64 {
	a, err := address.Parse(name)
	if err != nil || a.Snapshot != "" {
		return 0
	}
	if e := j.task.GetEpochs()[name]; e != 0 {
		return e
	}
	return j.live[a.DatasetName()]
}

// pin keeps the epoch that was read first.
func (j *job) pin(name string, epoch uint64) {
	j.epochs[name] = epoch
	if a, err := address.Parse(name); err == nil && a.Snapshot == "" && j.live[a.DatasetName()] == 0 {
		j.live[a.DatasetName()] = epoch
	}
}

// suggest adds the nearest address to the error of one that doesn't exist.
func (j *job) suggest(ctx context.Context, name string, err error) error {
	f, ok := err.(*fault.Error) //nolint:errorlint // wire.Fault makes it
	x, bad := address.Parse(name)
	if !ok || f.Kind != fault.NotFound || bad != nil {
		return err
	}
	if n := j.c.Nearest(ctx, x); n != "" {
		return f.Do("did you mean %q?", n)
	}
	return err
}

// open makes the tables that DuckDB reads.
func (j *job) open(ctx context.Context, plan *sql.Plan) map[string]duck.Table {
	tables := map[string]duck.Table{}
	for _, r := range plan.Refs {
		if f := j.known[keyOf(r)].files; f != nil {
			t := &parquetTable{j: j, ctx: ctx, ref: r, files: f}
			tables[r.Handle] = t
			j.files = append(j.files, t)
			continue
		}
		t := &remote{j: j, ctx: ctx, ref: r}
		tables[r.Handle] = t
		j.tables = append(j.tables, t)
	}
	if g := plan.Groups; g != nil {
		t := &remote{j: j, ctx: ctx, ref: g.Ref, groups: g}
		tables[g.Handle] = t
		j.tables = append(j.tables, t)
	}
	return tables
}

// params are the parameters that are left for DuckDB.
func (j *job) params(plan *sql.Plan) ([]duck.Param, error) {
	var out []duck.Param
	for _, p := range j.task.GetStatement().GetParams() {
		if plan.OnlySpent(p.GetName()) {
			continue
		}
		v, err := querywire.ValueOf(p.GetValue())
		if err != nil {
			return nil, err
		}
		out = append(out, duck.Param{Name: p.GetName(), Value: v})
	}
	return out, nil
}
