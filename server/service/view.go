package service

import (
	"context"
	"strings"
	"sync"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/loader/view"
	queryv1 "daos/proto/gen/daos/query/v1"
	viewv1 "daos/proto/gen/daos/view/v1"
	"daos/server/auth"
	"daos/server/pool"
)

// Views implements daos.view.v1: it runs the query of a view, has its list
// written into the dataset's store (loader/view), and then its record into the
// control store (server/pool), with which it is there.
type Views struct {
	viewv1.UnimplementedViewServiceServer
	Datasets *Datasets
	Loader   *Loader
	Query    *Query

	mu      sync.Mutex
	writing map[pool.Litter]bool // lists that calls under way write or need
}

// SaveView implements the service.
func (s *Views) SaveView(ctx context.Context, r *viewv1.SaveViewRequest) (*viewv1.SaveViewResponse, error) {
	const op = "view.save"
	q := &viewQuery{scan: r.GetScan(), sql: r.GetSql(), of: r.GetOf()}
	if q.scan == nil && q.sql == nil {
		return nil, fault.New(fault.Invalid, op, r.GetName(), "there is no query to make a view of")
	}
	if q.sql == nil && q.of != "" {
		return nil, fault.New(fault.Invalid, op, q.of, "a scan is of one dataset anyway").Do("leave `of` out")
	}
	if err := pool.CheckViewName(r.GetName()); err != nil {
		return nil, err
	}
	request, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	kept, err := q.encode()
	if err != nil {
		return nil, err
	}
	ctx, run := s.begin(ctx, q, "save view "+r.GetName())
	defer run.end()
	t, err := s.find(ctx, q, "", r.GetSeen())
	if err != nil {
		return nil, run.why(ctx, err)
	}
	if v, ok, err := s.Datasets.pools.ReplayedView(ctx, op, t.Address, r.GetName(), request); ok || err != nil {
		if err != nil {
			return nil, err
		}
		out := &viewv1.SaveViewResponse{View: s.message(t.Address, v), Changed: changed(v.Epoch)}
		out.Changed.Replayed = true
		return out, nil
	}
	old, err := s.Datasets.pools.View(ctx, t.Address, r.GetName())
	switch {
	case fault.Is(err, fault.NotFound):
		old = nil
	case err != nil:
		return nil, err
	case !r.GetReplace():
		return nil, fault.New(fault.Exists, op, t.what(), "there is a view %q", r.GetName()).
			Do("choose another name, or replace it: --replace, replace=True")
	}
	v := &pool.View{
		Dataset: t.Dataset.ID, Name: r.GetName(), Revision: 1, Kind: q.kind(), Query: q.text(), Request: kept, Of: q.of,
		User: userOf(ctx), Created: s.Datasets.now().UnixNano(),
	}
	if old != nil {
		v.Revision = old.Revision + 1
	}
	v, _, err = s.make(ctx, op, q, t, v, old, request, nil)
	if err != nil {
		return nil, run.why(ctx, err)
	}
	return &viewv1.SaveViewResponse{View: s.message(t.Address, v), Changed: changed(v.Epoch)}, nil
}

// begin shows the query of a view among those that run.
func (s *Views) begin(ctx context.Context, q *viewQuery, label string) (context.Context, *query) {
	return s.Query.Running.begin(ctx, &queryv1.ScanRequest{Dataset: q.scan.GetDataset(), Label: label + ": " + q.text()})
}

func userOf(ctx context.Context) string {
	id, _ := auth.IdentityOf(ctx)
	return id.Name
}

// make runs the query of a view and keeps its result: first the list, then the
// record. compare sees the result before that.
func (s *Views) make(ctx context.Context, op string, q *viewQuery, t *target, v, old *pool.View, request object.RequestID, compare func(*picked) error) (_ *pool.View, _ *picked, err error) {
	if t.name == "" {
		t.name = pool.OwnSnapshot(v, 1)
	}
	got, err := s.pick(ctx, q, t)
	if err != nil {
		return nil, nil, err
	}
	defer got.Close()
	if compare != nil {
		if err := compare(got); err != nil {
			return nil, nil, err
		}
	}
	pools := s.Datasets.pools
	l, err := s.begun(ctx, t.Dataset.ID)
	if err != nil {
		return nil, nil, err
	}
	defer s.ended(l)
	defer func() {
		if err != nil { // what this leaves Collect finds
			s.clear(context.WithoutCancel(ctx), l, t.Store)
		}
	}()
	w := view.NewWriter(t.Store, l.List)
	if err := got.Each(ctx, func(samples []uint64) error { return w.Add(ctx, samples) }); err != nil {
		return nil, nil, fullName(t.Address, err)
	}
	v.List, v.Ordered, v.LeftOut, v.Epoch, v.Path = l.List, got.ordered, got.leftOut, t.at, []byte(t.path)
	if v.Samples, v.Digest, err = w.Finish(ctx); err != nil {
		return nil, nil, fullName(t.Address, err)
	}
	if v.Snapshot, v.OwnsSnapshot = "", false; t.Snapshot != nil {
		v.Snapshot = t.Snapshot.Name
	}
	if err := s.keep(ctx, t); err != nil {
		return nil, nil, err
	}
	if v, err = pools.PutView(ctx, op, t.Address, v, old, request); err != nil {
		return nil, nil, err
	}
	if v.List != l.List { // another try of the same call was faster
		s.clear(ctx, l, t.Store)
	} else if old != nil {
		s.clear(ctx, pool.Litter{Dataset: t.Dataset.ID, List: old.List}, t.Store)
	}
	return v, got, nil
}

// begun gives out the number of a list that Collect leaves alone until it is
// ended.
func (s *Views) begun(ctx context.Context, id object.DatasetID) (pool.Litter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.Datasets.pools.NewList(ctx, id)
	if err != nil {
		return l, err
	}
	if s.writing == nil {
		s.writing = map[pool.Litter]bool{}
	}
	s.writing[l] = true
	return l, nil
}

func (s *Views) ended(l pool.Litter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.writing, l)
}

// clear removes a list, unless a view has it: a call that was cancelled may have
// made its view all the same. What fails is left to Collect.
func (s *Views) clear(ctx context.Context, l pool.Litter, st view.Store) {
	if left, err := s.Datasets.pools.IsLitter(ctx, l); err != nil || !left {
		return
	}
	if view.Remove(ctx, st, l.List) == nil {
		_ = s.Datasets.pools.Cleared(ctx, l)
	}
}

// Collect removes lists that crashes and errors have left.
func (s *Views) Collect(ctx context.Context) error {
	all, err := s.Datasets.pools.AllLitter(ctx)
	if err != nil {
		return err
	}
	return s.CollectLists(ctx, all)
}

// CollectLists removes those of some lists that no view has and no call writes.
// Removing takes a while: what was left when they were found may be a view's now.
func (s *Views) CollectLists(ctx context.Context, all []pool.Litter) error {
	for _, l := range all {
		if left, err := s.left(ctx, l); err != nil {
			return err
		} else if !left {
			continue
		}
		d, st, err := s.Datasets.pools.ByID(ctx, l.Dataset)
		if err != nil {
			return err
		}
		if d != nil {
			if err := view.Remove(ctx, st, l.List); err != nil {
				return fault.Wrap(err, "view.collect", d.Address())
			}
		}
		if err := s.Datasets.pools.Cleared(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// left says whether no view has a list, and no call that is under way will.
func (s *Views) left(ctx context.Context, l pool.Litter) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing[l] {
		return false, nil
	}
	return s.Datasets.pools.IsLitter(ctx, l)
}

// message describes a view.
func (s *Views) message(a address.Address, v *pool.View) *viewv1.View {
	_, gone := s.Datasets.pools.SnapshotOf(a, v)
	return &viewv1.View{
		Dataset: a.Live().WithPath("").DatasetName(), Name: v.Name, Revision: v.Revision, Snapshot: v.Snapshot, OwnsSnapshot: v.OwnsSnapshot,
		Epoch: uint64(v.Epoch), SnapshotGone: gone != nil, Path: v.Path, Samples: v.Samples, Ordered: v.Ordered, Digest: v.Digest, LeftOut: v.LeftOut,
		Kind: v.Kind, Query: v.Query, User: v.User, CreatedUnixNanos: v.Created, RefreshedUnixNanos: v.Refreshed, RefreshedBy: v.RefreshedBy,
	}
}

// viewDataset reads the address of a call about a view.
func viewDataset(addr string) (address.Address, error) {
	a, err := address.ParseDataset(addr)
	if err == nil && a.Snapshot != "" {
		return a, fault.New(fault.Invalid, "view.get", addr, "a view belongs to the dataset, whatever snapshot it is at").Do("name the dataset alone: %s", a.Live().DatasetName())
	}
	return a, err
}

// maxListed is how much of a query a list shows; GetView has all of it.
const maxListed = 4096

// ListViews implements the service.
func (s *Views) ListViews(ctx context.Context, r *viewv1.ListViewsRequest) (*viewv1.ListViewsResponse, error) {
	a, err := viewDataset(r.GetDataset())
	if err != nil {
		return nil, err
	}
	all, err := s.Datasets.pools.Views(ctx, a)
	if err != nil {
		return nil, err
	}
	out := &viewv1.ListViewsResponse{}
	for _, v := range all {
		m := s.message(a, v)
		m.Query = strings.ToValidUTF8(m.GetQuery()[:min(len(m.GetQuery()), maxListed)], "") // the cut may be within a letter
		out.Views = append(out.Views, m)
	}
	return out, nil
}

// GetView implements the service.
func (s *Views) GetView(ctx context.Context, r *viewv1.GetViewRequest) (*viewv1.GetViewResponse, error) {
	a, err := viewDataset(r.GetDataset())
	if err != nil {
		return nil, err
	}
	v, err := s.Datasets.pools.View(ctx, a, r.GetName())
	if err != nil {
		return nil, err
	}
	return &viewv1.GetViewResponse{View: s.message(a, v)}, nil
}

// RemoveView implements the service.
func (s *Views) RemoveView(ctx context.Context, r *viewv1.RemoveViewRequest) (*viewv1.RemoveViewResponse, error) {
	a, err := viewDataset(r.GetDataset())
	if err != nil {
		return nil, err
	}
	request, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	gone, err := s.Datasets.pools.RemoveView(ctx, a, r.GetName(), request)
	if err != nil {
		return nil, err
	}
	v := &gone.View
	if found, err := s.Datasets.pools.Resolve(ctx, a); err == nil && found.Dataset.ID == v.Dataset {
		s.clear(ctx, pool.Litter{Dataset: v.Dataset, List: v.List}, found.Store)
	}
	out := &viewv1.RemoveViewResponse{KeptFor: gone.Heir}
	if gone.Snapshot {
		out.Snapshot = v.Snapshot
	}
	return out, nil
}
