package service

import (
	"context"

	"daos/dataset/tensor"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/loader/manifest"
	"daos/loader/view"
	"daos/query/expr"
	"daos/query/scan"
	"daos/query/source"
	"daos/server/pool"
)

// view is the samples of a view as a table, in its order.
func (q *Query) view(ctx context.Context, addr, name string) (*queryTable, error) {
	a, err := viewDataset(addr)
	if err != nil {
		return nil, err
	}
	v, n, err := q.Datasets.pools.OpenView(ctx, a, name)
	if err != nil {
		return nil, err
	}
	a.Snapshot = n.Name
	r, err := q.Datasets.pools.Resolve(ctx, a)
	if err != nil {
		return nil, q.Datasets.pools.SinceView(ctx, "query.view", a, v, err)
	}
	samples := v.Samples
	t := &queryTable{Resolved: r, at: v.Epoch, rows: &samples, made: true}
	of, err := q.samplesOf(ctx, t, v)
	if err != nil {
		return nil, t.err(err)
	}
	t.Source = source.View("view("+a.Live().DatasetName()+", "+name+")", of, func(ctx context.Context, fn func([]uint64) error) error {
		return q.Datasets.pools.SinceView(ctx, "query.view", a, v, view.Read(ctx, r.Store, v.List, v.Samples, v.Digest, fn))
	})
	return t, nil
}

// samplesOf reads the samples of a view.
func (q *Query) samplesOf(ctx context.Context, t *queryTable, v *pool.View) (source.Samples, error) {
	switch t.Dataset.Type {
	case pool.TypeTensor:
		p, err := tensor.Open(t.Store, t.Address.DatasetName(), tensor.WithClock(q.Datasets.now)).Pin(ctx, t.at)
		if err != nil {
			return nil, err
		}
		return source.TensorSamples(p), nil
	case pool.TypeArray:
		a, err := q.Datasets.Arrays(ctx, t.Address.WithPath("").DatasetName())
		if err != nil {
			return nil, err
		}
		return source.ArraySamples(ctx, v.Name, a.Set, t.at, string(v.Path))
	}
	names, err := q.namesOf(ctx, t, v)
	if err != nil {
		return nil, err
	}
	if t.Dataset.Type == pool.TypeKV {
		d, err := q.Datasets.OpenKV(&t.Resolved)
		if err != nil {
			return nil, err
		}
		pairs, err := source.Pairs(ctx, t.Address.String(), d.At(t.at))
		if err != nil {
			return nil, err
		}
		return source.PairSamples(pairs, names), nil
	}
	fs, err := q.Datasets.open(ctx, t.Resolved)
	if err != nil {
		return nil, err
	}
	return source.FileSamples(fs.At(t.at), scan.TableSchema(), names), nil
}

// namesOf tells paths or keys of samples, by the manifest in which they have
// their numbers.
func (q *Query) namesOf(ctx context.Context, t *queryTable, v *pool.View) (func(context.Context, []uint64) ([]string, error), error) {
	req, err := q.Loader.requestAt(ctx, t.Resolved, t.at, v.Snapshot, manifest.Selection{Path: string(v.Path)})
	if err != nil {
		return nil, err
	}
	if _, err := q.Loader.makeFolder(t.Dataset.ID); err != nil {
		return nil, err
	}
	m, _, _, err := q.Loader.library.Open(ctx, req)
	if err != nil {
		return nil, err
	}
	below := string(v.Path)
	if below != "" {
		below += "/"
	}
	return func(ctx context.Context, samples []uint64) ([]string, error) {
		found, err := m.Names(ctx, samples)
		out := make([]string, len(found))
		for i := range found {
			out[i] = below + string(found[i].Path)
		}
		return out, err
	}, nil
}

// viewsSchema is the columns of sys.views.
func viewsSchema() expr.Schema {
	return expr.Schema{{Name: "dataset", Type: expr.Text}, {Name: "name", Type: expr.Text}, {Name: "revision", Type: expr.Uint64}, {Name: "snapshot", Type: expr.Text},
		{Name: "samples", Type: expr.Uint64}, {Name: "ordered", Type: expr.Bool}, {Name: "kind", Type: expr.Text}, {Name: "query", Type: expr.Text},
		{Name: "user", Type: expr.Text}, {Name: "created", Type: expr.Time}, {Name: "refreshed", Type: expr.Time}}
}

func (q *Query) views(ctx context.Context) (out [][]any, err error) {
	list, err := q.Datasets.pools.Datasets("")
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		views, err := q.Datasets.pools.Views(ctx, address.Address{Pool: d.Pool, Dataset: d.Name})
		if fault.Is(err, fault.NotFound) {
			continue // destroyed meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, v := range views {
			out = append(out, []any{d.Address(), v.Name, v.Revision, v.Snapshot, v.Samples, v.Ordered, v.Kind, v.Query, v.User, v.Created, when(v.Refreshed)})
		}
	}
	return out, nil
}
