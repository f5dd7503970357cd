package service

import (
	"context"
	"os"

	"daos/internal/fault"
	"daos/internal/querywire"
	"daos/loader/manifest"
	loaderv1 "daos/proto/gen/daos/loader/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/server/flight"
	"daos/server/pool"
)

// Table opens the manifest of a tensor dataset at its snapshot, for Flight.
func (s *Loader) Table(ctx context.Context, r *pool.Resolved, columns []string) (*manifest.Manifest, error) {
	if r.Snapshot == nil {
		return nil, fault.New(fault.Internal, "loader.open", r.Address.DatasetName(), "a manifest of a live dataset")
	}
	t, err := s.datasets.table(ctx, r.Address.WithPath(""))
	if err != nil {
		return nil, err
	}
	req := manifest.Request{
		Dir: s.folder(r.Dataset.ID), Store: r.Store, Table: t.Table,
		Info: manifest.Info{
			Dataset: r.Address.Live().WithPath("").DatasetName(), DatasetID: r.Dataset.ID, Snapshot: r.Address.Snapshot, Epoch: r.Snapshot.Epoch,
			Tensor: true, Selection: manifest.Selection{Columns: columns},
		},
	}
	if err := os.MkdirAll(req.Dir, 0o700); err != nil {
		return nil, fault.New(fault.KindOf(err), "loader.open", req.Dir, "the folder of the manifests can't be made").Because(err)
	}
	m, _, _, err := s.library.Open(ctx, req)
	return m, fullName(r.Address, err)
}

// View opens the manifest of a view, for Flight.
func (s *Loader) View(ctx context.Context, dataset, name string, columns []string) (*manifest.Manifest, error) {
	p, a, err := s.request(ctx, &loaderv1.OpenManifestRequest{Dataset: dataset, View: name, Columns: columns})
	if err != nil {
		return nil, err
	}
	if _, err := s.makeFolder(p.Base.Info.DatasetID); err != nil {
		return nil, err
	}
	m, _, _, err := s.library.OpenPicked(ctx, p)
	return m, fullName(a, err)
}

// FlightQueries is Query as Flight uses it.
type FlightQueries struct{ *Query }

// Table implements flight.Queries.
func (q FlightQueries) Table(ctx context.Context, r *queryv1.ScanRequest) (*flight.Table, error) {
	if f := r.GetFunction(); f != nil {
		return nil, fault.New(fault.Unsupported, "flight.scan", f.GetName(), "a table function has no descriptor of its own").Do("send a statement: SELECT * FROM %s(...)", f.GetName())
	}
	t, err := q.open(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	req, err := requestOf(r)
	if err != nil {
		return nil, err
	}
	lists := t.Dataset.Type == pool.TypeTensor || t.Dataset.Type == pool.TypeArray
	return &flight.Table{Resolved: t.Resolved, Source: t.Source, Epoch: t.at, Rows: t.rows, Request: req, Lists: lists, Err: t.err}, nil
}

// Begin implements flight.Queries.
func (q FlightQueries) Begin(ctx context.Context, r *queryv1.ScanRequest) (context.Context, flight.Running) {
	ctx, run := q.Running.begin(ctx, r)
	return ctx, flightRun{run}
}

type flightRun struct{ *query }

func (r flightRun) Note(c exec.Counters)                     { r.now.Store(&c) }
func (r flightRun) Why(ctx context.Context, err error) error { return r.why(ctx, err) }
func (r flightRun) End()                                     { r.end() }

// Describe implements flight.Queries.
func (q FlightQueries) Describe(ctx context.Context, r *queryv1.SqlRequest) (*flight.Statement, error) {
	ctx, run := q.Running.begin(ctx, &queryv1.ScanRequest{Label: "describe " + label(r)})
	defer run.end()
	plan, err := q.SQL.plan(ctx, &queryv1.SqlTask{Statement: r, Explain: true, Describe: true, Repeatable: true})
	if err != nil {
		return nil, run.why(ctx, err)
	}
	fields, err := querywire.SchemaOf(plan.GetFields())
	return &flight.Statement{Fields: fields, Epochs: plan.GetEpochs()}, err
}

// Run implements flight.Queries.
func (q FlightQueries) Run(ctx context.Context, r *queryv1.SqlRequest, epochs map[string]uint64, fn flight.Take) error {
	ctx, run := q.Running.begin(ctx, &queryv1.ScanRequest{Label: label(r)})
	defer run.end()
	err := q.SQL.run(ctx, &queryv1.SqlTask{Statement: r, Epochs: epochs, Repeatable: true}, func(ctx context.Context, m *queryv1.SqlReply) error {
		b := m.GetBatch()
		if b == nil {
			return fault.New(fault.Internal, "query.sql", "statement", "its process sent a plan in place of rows")
		}
		run.note(b.GetCounters())
		return fn(ctx, b.GetPayload(), b.GetDone(), b.GetCounters())
	})
	return run.why(ctx, err)
}
