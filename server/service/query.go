package service

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"daos/dataset/array"
	"daos/dataset/tensor"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/columnar"
	"daos/internal/fault"
	"daos/internal/querywire"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/scan"
	"daos/query/source"
	"daos/server/codec"
	"daos/server/pool"
)

// Query implements daos.query.v1.
type Query struct {
	queryv1.UnimplementedQueryServiceServer
	Datasets *Datasets
	Running  *Queries
	SQL      *SQL
	Info     Info
	Loader   *Loader // knows what the samples of views are

	pinned pinnedTensors
}

// table is a dataset as a table at one epoch.
type queryTable struct {
	exec.Source
	pool.Resolved
	at   object.Epoch
	rows *uint64 // where it is known without a scan
	made bool    // by a table function; without a Dataset: of the server
}

// err makes the resource of an error a full address.
func (t *queryTable) err(err error) error {
	if t.Dataset == nil {
		return err
	}
	return fullName(t.Address, err)
}

// open makes a table of a dataset of any type that has one.
func (q *Query) open(ctx context.Context, addr string, named, seen uint64) (*queryTable, error) {
	a, err := address.Parse(addr)
	if err != nil {
		return nil, err
	}
	r, err := q.Datasets.pools.Resolve(ctx, a)
	if err != nil {
		return nil, err
	}
	t := &queryTable{Resolved: r}
	if a.Path != "" && r.Dataset.Type != pool.TypePosix && r.Dataset.Type != pool.TypeArray {
		return nil, fault.New(fault.Invalid, "query.open", addr, "a %s dataset has no paths", r.Dataset.Type).Do("name the dataset alone: %s", a.DatasetName())
	}
	if t.at, err = r.Epoch(ctx, object.Epoch(named), object.Epoch(seen)); err != nil {
		return nil, t.err(err)
	}
	switch r.Dataset.Type {
	case pool.TypePosix:
		fs, err := q.Datasets.open(ctx, r)
		if err != nil {
			return nil, t.err(err)
		}
		t.Source = scan.NewTable(addr, fs, fs.At(t.at), a.Path)
	case pool.TypeTensor:
		p, err := q.pinned.of(ctx, &r, a.DatasetName(), t.at, func(ctx context.Context) (*tensor.Pinned, error) {
			return tensor.Open(r.Store, a.DatasetName(), tensor.WithClock(q.Datasets.now)).Pin(ctx, t.at)
		})
		if err != nil {
			return nil, t.err(err)
		}
		n := p.Length()
		t.Source, t.rows = source.Tensor(addr, p), &n
	case pool.TypeKV:
		d, err := q.Datasets.OpenKV(&r)
		if err != nil {
			return nil, err
		}
		if t.Source, err = source.Pairs(ctx, addr, d.At(t.at)); err != nil {
			return nil, t.err(err)
		}
	case pool.TypeArray:
		s, err := array.Open(r.Store, a.DatasetName()).Scan(ctx, t.at, a.Path)
		if err != nil {
			return nil, t.err(err)
		}
		e, err := source.Elements(addr, s)
		if err != nil {
			return nil, t.err(err)
		}
		n := e.Rows()
		t.Source, t.rows = e, &n
	default:
		return nil, fault.New(fault.Unsupported, "query.open", addr, "%s datasets are no tables", r.Dataset.Type)
	}
	return t, nil
}

// Schema implements the service.
func (q *Query) Schema(ctx context.Context, r *queryv1.SchemaRequest) (*queryv1.SchemaResponse, error) {
	t, err := q.tableOf(ctx, r.GetDataset(), r.GetFunction(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	out := &queryv1.SchemaResponse{Fields: querywire.FromSchema(t.Schema()), Rows: t.rows, Epoch: uint64(t.at)}
	if t.Dataset != nil {
		out.Type = t.Dataset.Type.String()
	}
	return out, nil
}

// Scan implements the service.
func (q *Query) Scan(r *queryv1.ScanRequest, out grpc.ServerStreamingServer[queryv1.ScanResponse]) error {
	ctx, run := q.Running.begin(out.Context(), r)
	defer run.end()
	t, err := q.tableOf(ctx, r.GetDataset(), r.GetFunction(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return err
	}
	req, err := requestOf(r)
	if err != nil {
		return err
	}
	if err := q.pin(ctx, t); err != nil {
		return err
	}
	st, err := exec.Open(ctx, t.Source, req)
	if err != nil {
		return t.err(err)
	}
	defer st.Close()
	return q.stream(ctx, t, run, st, out)
}

// pin keeps the epoch of a live dataset readable; snapshots are kept anyway.
func (q *Query) pin(ctx context.Context, t *queryTable) error {
	if t.Snapshot != nil || t.Dataset == nil {
		return nil
	}
	return t.err(q.Datasets.pools.Pin(ctx, t.Dataset.ID, t.at))
}

func (q *Query) stream(ctx context.Context, t *queryTable, run *query, st *exec.Stream, out grpc.ServerStreamingServer[queryv1.ScanResponse]) error {
	w, err := columnar.NewRowWriter(st.Schema())
	if err != nil {
		return err
	}
	to := codec.Interrupt(ctx, out)
	answer := func(payload []byte, done bool) error {
		err := to.SendMsg(&queryv1.ScanResponse{Payload: payload, Query: run.id, Epoch: uint64(t.at), Done: done, Counters: run.counters(st.Counters())})
		return run.why(ctx, err)
	}
	if err := answer(w.Head(), false); err != nil {
		return err
	}
	pinned := time.Now()
	for {
		rows, err := st.Next()
		if errors.Is(err, io.EOF) {
			return answer([]byte(columnar.EndOfStream), true)
		}
		if err != nil {
			return t.err(run.why(ctx, err))
		}
		payload, err := w.Batch(rows)
		if err != nil {
			return err
		}
		if err := answer(payload, false); err != nil {
			return err
		}
		if time.Since(pinned) > pinAfter {
			if err := q.pin(ctx, t); err != nil {
				return err
			}
			pinned = time.Now()
		}
	}
}

// Explain implements the service.
func (q *Query) Explain(ctx context.Context, r *queryv1.ExplainRequest) (*queryv1.ExplainResponse, error) {
	if r.GetScan() == nil {
		return nil, fault.New(fault.Invalid, "query.explain", "scan", "there is no scan to explain")
	}
	ctx, run := q.Running.begin(ctx, r.GetScan())
	defer run.end()
	t, err := q.tableOf(ctx, r.GetScan().GetDataset(), r.GetScan().GetFunction(), r.GetScan().GetEpoch(), r.GetScan().GetSeen())
	if err != nil {
		return nil, err
	}
	req, err := requestOf(r.GetScan())
	if err != nil {
		return nil, err
	}
	st, err := exec.Open(ctx, t.Source, req)
	if err != nil {
		return nil, t.err(err)
	}
	defer st.Close()
	out := &queryv1.ExplainResponse{Fields: querywire.FromSchema(st.Schema()), Epoch: uint64(t.at)}
	for _, x := range expr.Conjuncts(req.Where) {
		out.Conjuncts = append(out.Conjuncts, &queryv1.Conjunct{Table: t.Name(), Conjunct: x.String(), Pushed: true, Why: whyPushed(t, x)})
	}
	if !r.GetAnalyze() {
		return out, nil
	}
	for {
		_, err := st.Next()
		if errors.Is(err, io.EOF) {
			out.Counters = run.counters(st.Counters())
			return out, nil
		}
		if err != nil {
			return nil, t.err(run.why(ctx, err))
		}
	}
}

// whyPushed says what a condition spares.
func whyPushed(t *queryTable, x expr.Expr) string {
	col, _, _, simple := expr.Comparison(expr.Comparisons(x)[0])
	lo, _, open := expr.Range(x, "path")
	late := "columns that are only shown are read for the rows that match"
	switch {
	case t.made:
		return "evaluated by the server as the rows are made"
	case t.Dataset.Type == pool.TypePosix && (len(lo) > 0 || !open):
		return "only the directories that it leaves over are read"
	case t.Dataset.Type == pool.TypePosix && simple && col == "mtime":
		return "stretches of the index without such times are not read"
	case t.Dataset.Type == pool.TypePosix && simple && (col == "size" || col == "type"):
		return "evaluated on the stored records, before a row is made"
	case t.Dataset.Type == pool.TypePosix:
		return "evaluated at the targets"
	case t.Dataset.Type == pool.TypeKV && simple && (col == "key" || col == "key_text"):
		return "only this range of keys is read"
	case (t.Dataset.Type == pool.TypeTensor || t.Dataset.Type == pool.TypeArray) && expr.Prunes(x):
		return "prunes chunks by their statistics; " + late
	}
	return "evaluated at the targets; " + late
}

// ListQueries implements the service.
func (q *Query) ListQueries(context.Context, *queryv1.ListQueriesRequest) (*queryv1.ListQueriesResponse, error) {
	return &queryv1.ListQueriesResponse{Queries: q.Running.list()}, nil
}

// KillQuery implements the service.
func (q *Query) KillQuery(_ context.Context, r *queryv1.KillQueryRequest) (*queryv1.KillQueryResponse, error) {
	if !q.Running.kill(r.GetId()) {
		return nil, fault.New(fault.NotFound, "query.kill", r.GetId(), "no such query runs here").Do("`daos query ps` shows those that do")
	}
	return &queryv1.KillQueryResponse{}, nil
}
