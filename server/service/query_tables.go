package service

import (
	"context"
	"strings"
	"time"

	"daos/dataset/array"
	"daos/dataset/tensor"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/expr"
	"daos/query/source"
	"daos/query/sql"
	"daos/server/pool"
)

// tableOf opens what a scan names: a dataset, or what a table function makes of
// it or of the server.
func (q *Query) tableOf(ctx context.Context, addr string, f *queryv1.TableFunction, named, seen uint64) (*queryTable, error) {
	if f == nil {
		return q.open(ctx, addr, named, seen)
	}
	name, args := f.GetName(), f.GetArgs()
	most := map[string]int{"slice": 1, "diff": 1, "view": 1}[name]
	if len(args) > most {
		return nil, fault.New(fault.Invalid, "query.function", name, "%d arguments, it takes %d", len(args), most)
	}
	if table, ok := strings.CutPrefix(name, sql.SystemSchema+"."); ok {
		return q.system(table)
	}
	switch name {
	case "slice":
		text := ""
		if len(args) == 1 {
			text = args[0]
		}
		return q.slice(ctx, addr, text, named, seen)
	case "chunks":
		return q.chunks(ctx, addr, named, seen)
	case "snapshots":
		return q.snapshots(ctx, addr)
	case "diff":
		if len(args) != 1 {
			return nil, fault.New(fault.Invalid, "query.function", name, "the second address is missing")
		}
		return q.diff(ctx, addr, args[0], named, seen)
	case "view":
		if len(args) != 1 {
			return nil, fault.New(fault.Invalid, "query.function", name, "the name of the view is missing")
		}
		return q.view(ctx, addr, args[0])
	}
	return nil, fault.New(fault.Unsupported, "query.function", name, "there is no such table function").Do("see sys.functions: daos query sql 'FROM sys.functions'")
}

// resolve finds a dataset and the epoch to read it at.
func (q *Query) resolve(ctx context.Context, addr string, named, seen uint64) (*queryTable, error) {
	a, err := address.Parse(addr)
	if err != nil {
		return nil, err
	}
	r, err := q.Datasets.pools.Resolve(ctx, a)
	if err != nil {
		return nil, err
	}
	t := &queryTable{Resolved: r, made: true}
	t.at, err = r.Epoch(ctx, object.Epoch(named), object.Epoch(seen))
	return t, t.err(err)
}

func (q *Query) scanOf(ctx context.Context, t *queryTable) (*array.Scan, error) {
	s, err := array.Open(t.Store, t.Address.DatasetName()).Scan(ctx, t.at, t.Address.Path)
	return s, t.err(err)
}

func (q *Query) slice(ctx context.Context, addr, text string, named, seen uint64) (*queryTable, error) {
	t, err := q.resolve(ctx, addr, named, seen)
	if err != nil {
		return nil, err
	}
	if t.Dataset.Type != pool.TypeArray {
		return nil, wrongFunction("slice", t, "of arrays")
	}
	s, err := q.scanOf(ctx, t)
	if err != nil {
		return nil, err
	}
	e, err := source.Elements(addr, s)
	if err != nil {
		return nil, t.err(err)
	}
	var names []string
	for i := range s.Spec().Shape {
		names = append(names, e.Schema()[i].Name)
	}
	axes, err := source.ParseSlice(text, s.Spec().Shape, names)
	if err != nil {
		return nil, err
	}
	part := source.Slice(e, axes)
	n := part.Rows()
	t.Source, t.rows, t.made = part, &n, false
	return t, nil
}

// wrongFunction is the error of a function that a dataset has no table for.
func wrongFunction(name string, t *queryTable, of string) error {
	return fault.New(fault.Invalid, "query.function", t.Address.String(), "%s makes a table %s, this is a dataset of type %s", name, of, t.Dataset.Type).
		Do("see sys.functions: daos query sql 'FROM sys.functions'")
}

func (q *Query) chunks(ctx context.Context, addr string, named, seen uint64) (*queryTable, error) {
	t, err := q.resolve(ctx, addr, named, seen)
	if err != nil {
		return nil, err
	}
	switch t.Dataset.Type {
	case pool.TypeTensor:
		if t.Address.Path != "" {
			return nil, fault.New(fault.Invalid, "query.function", addr, "a tensor dataset has no paths").Do("name the dataset alone: %s", t.Address.DatasetName())
		}
		p, err := tensor.Open(t.Store, t.Address.DatasetName(), tensor.WithClock(q.Datasets.now)).Pin(ctx, t.at)
		if err != nil {
			return nil, t.err(err)
		}
		t.Source = source.TensorChunks(addr, p)
	case pool.TypeArray:
		s, err := q.scanOf(ctx, t)
		if err != nil {
			return nil, err
		}
		t.Source = source.ArrayChunks(addr, s)
	default:
		of, instead := "files", "files"
		if t.Dataset.Type == pool.TypeKV {
			of, instead = "pairs", "kv"
		}
		return nil, fault.New(fault.Unsupported, "query.function", t.Address.String(), "%s have no chunks with statistics: chunks makes a table of tensor datasets and arrays, this is a dataset of type %s", of, t.Dataset.Type).
			Do("ask for the rows: FROM %s('%s')", instead, t.Address)
	}
	return t, nil
}

// snapshotsSchema is the columns of sys.snapshots and of snapshots().
func snapshotsSchema() expr.Schema {
	return expr.Schema{{Name: "address", Type: expr.Text}, {Name: "dataset", Type: expr.Text}, {Name: "name", Type: expr.Text}, {Name: "epoch", Type: expr.Uint64},
		{Name: "created", Type: expr.Time}, {Name: "expires", Type: expr.Time}, {Name: "auto", Type: expr.Bool}}
}

func snapshotRows(dataset string, list []*pool.Snapshot) [][]any {
	var rows [][]any
	for _, s := range list {
		rows = append(rows, []any{dataset + "@" + s.Name, dataset, s.Name, uint64(s.Epoch), s.Created, when(s.Expires), s.Auto})
	}
	return rows
}

// when is a time, nil where there is none.
func when(ns int64) any {
	if ns == 0 {
		return nil
	}
	return ns
}

func (q *Query) snapshots(ctx context.Context, addr string) (*queryTable, error) {
	a, err := address.ParseDataset(addr)
	if err != nil {
		return nil, err
	}
	r, err := q.Datasets.pools.Resolve(ctx, a)
	if err != nil {
		return nil, err
	}
	t := &queryTable{Resolved: r, made: true}
	if t.at, err = r.Epoch(ctx, 0, 0); err != nil {
		return nil, t.err(err)
	}
	t.Source = source.NewMade("snapshots("+addr+")", snapshotsSchema(), func(context.Context) (source.Rows, error) {
		list, err := q.Datasets.pools.Snapshots(a)
		return source.Listed(snapshotRows(a.Live().DatasetName(), list)), err
	})
	return t, nil
}

func (q *Query) diff(ctx context.Context, before, after string, named, seen uint64) (*queryTable, error) {
	x, err := q.resolve(ctx, before, 0, seen)
	if err != nil {
		return nil, err
	}
	y, err := q.resolve(ctx, after, 0, seen)
	if err != nil {
		return nil, err
	}
	bad := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "query.diff", before+", "+after, format, args...)
	}
	path := x.Address.Path
	switch {
	case x.Dataset.ID != y.Dataset.ID:
		return nil, bad("these are two datasets").Do("name two snapshots of one dataset, or a snapshot and the live dataset")
	case x.Snapshot == nil && y.Snapshot == nil:
		return nil, bad("both are the live dataset").Do("name a snapshot in one of them: %s@NAME", x.Address.DatasetName())
	case path != "" && y.Address.Path != "" && path != y.Address.Path:
		return nil, bad("the paths %q and %q are not the same", path, y.Address.Path)
	case path == "":
		path = y.Address.Path
	}
	t := x
	if y.Snapshot == nil {
		t = y
	}
	if t.Snapshot == nil && named != 0 {
		t.at = object.Epoch(named)
	}
	name := "diff(" + before + ", " + after + ")"
	ds := t.Address.Live().DatasetName()
	if path != "" && (t.Dataset.Type == pool.TypeKV || t.Dataset.Type == pool.TypeTensor) {
		return nil, bad("a %s dataset has no paths", t.Dataset.Type).Do("name the datasets alone")
	}
	switch t.Dataset.Type {
	case pool.TypePosix:
		fs, err := q.Datasets.open(ctx, t.Resolved)
		if err != nil {
			return nil, t.err(err)
		}
		t.Source = source.FilesDiff(name, fs.At(x.at), fs.At(y.at), path)
	case pool.TypeKV:
		d, err := q.Datasets.OpenKV(&t.Resolved)
		if err != nil {
			return nil, err
		}
		t.Source = source.PairsDiff(name, d.At(x.at), d.At(y.at))
	case pool.TypeArray:
		t.Source = source.ElementsDiff(name, array.Open(t.Store, ds), x.at, y.at, path)
	case pool.TypeTensor:
		table := tensor.Open(t.Store, ds, tensor.WithClock(q.Datasets.now))
		var pins [2]*tensor.Pinned
		for i, at := range []object.Epoch{x.at, y.at} {
			p, err := table.Pin(ctx, at)
			if err != nil && !fault.Is(err, fault.NotFound) { // no columns yet: no samples
				return nil, t.err(err)
			}
			if err == nil {
				pins[i] = p
			}
		}
		t.Source = source.RowsDiff(name, pins[0], pins[1])
	default:
		return nil, wrongFunction("diff", t, "of datasets with keys")
	}
	return t, nil
}

// system is a table of the server itself.
func (q *Query) system(name string) (*queryTable, error) {
	var s expr.Schema
	var rows func(ctx context.Context) ([][]any, error)
	text, number, stamp := expr.Text, expr.Uint64, expr.Time
	pools := q.Datasets.pools
	switch name {
	case "pools":
		s = expr.Schema{{Name: "name", Type: text}, {Name: "datasets", Type: number}, {Name: "quota_bytes", Type: number}, {Name: "used_bytes", Type: number},
			{Name: "records", Type: number}, {Name: "created", Type: stamp}}
		rows = func(ctx context.Context) (out [][]any, err error) {
			list, err := pools.ListPools(ctx)
			for _, p := range list {
				out = append(out, []any{p.Name, uint64(p.Datasets), quota(p.Quota), uint64(p.Usage.Bytes), uint64(p.Usage.Records), p.Created})
			}
			return out, err
		}
	case "datasets":
		s = expr.Schema{{Name: "address", Type: text}, {Name: "pool", Type: text}, {Name: "name", Type: text}, {Name: "type", Type: text}, {Name: "class", Type: text},
			{Name: "quota_bytes", Type: number}, {Name: "used_bytes", Type: number}, {Name: "records", Type: number}, {Name: "snapshots", Type: number}, {Name: "created", Type: stamp}}
		rows = func(ctx context.Context) (out [][]any, err error) {
			list, err := pools.Datasets("")
			for _, d := range list {
				i, err := pools.Describe(ctx, d)
				if fault.Is(err, fault.NotFound) {
					continue // destroyed meanwhile
				}
				if err != nil {
					return nil, err
				}
				out = append(out, []any{d.Address(), d.Pool, d.Name, d.Type.String(), d.Class.String(), quota(d.Quota), uint64(i.Usage.Bytes), uint64(i.Usage.Records),
					uint64(i.Snapshots), d.Created})
			}
			return out, err
		}
	case "snapshots":
		s = snapshotsSchema()
		rows = func(context.Context) (out [][]any, err error) {
			list, err := pools.Datasets("")
			for _, d := range list {
				snaps, err := pools.Snapshots(address.Address{Pool: d.Pool, Dataset: d.Name})
				if fault.Is(err, fault.NotFound) {
					continue // destroyed meanwhile
				}
				if err != nil {
					return nil, err
				}
				out = append(out, snapshotRows(d.Address(), snaps)...)
			}
			return out, err
		}
	case "views":
		s, rows = viewsSchema(), q.views
	case "queries":
		s = expr.Schema{{Name: "id", Type: text}, {Name: "dataset", Type: text}, {Name: "text", Type: text}, {Name: "user", Type: text}, {Name: "begun", Type: stamp},
			{Name: "elapsed_ms", Type: number}, {Name: "rows_scanned", Type: number}, {Name: "rows_out", Type: number}, {Name: "bytes_read", Type: number}}
		rows = func(context.Context) (out [][]any, err error) {
			for _, x := range q.Running.list() {
				c := x.GetCounters()
				out = append(out, []any{x.GetId(), x.GetDataset(), x.GetText(), x.GetUser(), x.GetBegunUnixNanos(), c.GetElapsedNanos() / uint64(time.Millisecond),
					c.GetRowsScanned(), c.GetRowsOut(), c.GetBytesRead()})
			}
			return out, nil
		}
	case "targets":
		s = expr.Schema{{Name: "id", Type: number}, {Name: "state", Type: text}, {Name: "index_bytes", Type: number}, {Name: "segment_bytes", Type: number}, {Name: "segments", Type: number}}
		rows = func(ctx context.Context) (out [][]any, err error) {
			st, err := q.Info.Status(ctx)
			for _, x := range st.GetTargets() {
				out = append(out, []any{uint64(x.GetId()), x.GetState(), uint64(x.GetIndexBytes()), uint64(x.GetSegmentBytes()), uint64(x.GetSegments())})
			}
			return out, err
		}
	case "server":
		s = expr.Schema{{Name: "version", Type: text}, {Name: "addresses", Type: text}, {Name: "root", Type: text}, {Name: "pid", Type: number}, {Name: "uptime_seconds", Type: expr.Float64},
			{Name: "epoch", Type: number}, {Name: "map_version", Type: number}, {Name: "connections", Type: number}}
		rows = func(ctx context.Context) (out [][]any, err error) {
			x, err := q.Info.Status(ctx)
			if err != nil {
				return nil, err
			}
			return [][]any{{x.GetVersion(), strings.Join(x.GetAddresses(), ", "), x.GetRoot(), uint64(x.GetPid()), x.GetUptimeSeconds(), x.GetEpoch(), x.GetMapVersion(),
				uint64(max(x.GetConnections(), 0))}}, nil
		}
	case "functions", "tables":
		s = expr.Schema{{Name: "name", Type: text}, {Name: "usage", Type: text}, {Name: "about", Type: text}}
		list := sql.Functions()
		if name == "tables" {
			list = sql.SystemTables()
		}
		rows = func(context.Context) (out [][]any, err error) {
			for _, f := range list {
				out = append(out, []any{f.Name, f.Usage, f.About})
			}
			return out, nil
		}
	default:
		return nil, fault.New(fault.NotFound, "query.function", sql.SystemSchema+"."+name, "there is no such table").Do("see sys.tables: daos query sql 'FROM sys.tables'")
	}
	t := &queryTable{made: true}
	t.Source = source.NewMade(sql.SystemSchema+"."+name, s, func(ctx context.Context) (source.Rows, error) {
		list, err := rows(ctx)
		return source.Listed(list), err
	})
	return t, nil
}

// quota is a limit, nil where there is none.
func quota(n uint64) any {
	if n == 0 {
		return nil
	}
	return n
}
