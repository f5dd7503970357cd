package service

import (
	"bytes"
	"context"
	"slices"
	"strconv"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/loader/manifest"
	"daos/loader/view"
	viewv1 "daos/proto/gen/daos/view/v1"
	"daos/server/pool"
)

// maxTold is how many names of added, and of removed samples are said.
const maxTold = 1000

// RefreshView implements the service.
func (s *Views) RefreshView(ctx context.Context, r *viewv1.RefreshViewRequest) (*viewv1.RefreshViewResponse, error) {
	const op = "view.refresh"
	a, err := viewDataset(r.GetDataset())
	if err != nil {
		return nil, err
	}
	if r.GetNames() > maxTold {
		return nil, fault.New(fault.Invalid, op, a.String(), "%d names, at most %d are told", r.GetNames(), maxTold)
	}
	request, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	pools := s.Datasets.pools
	if v, ok, err := pools.ReplayedView(ctx, op, a, r.GetName(), request); ok || err != nil {
		if err != nil {
			return nil, err
		}
		// What it changed was told once; the view is what it became.
		out := &viewv1.RefreshViewResponse{View: s.message(a, v), NotCompared: true, Changed: changed(v.Epoch)}
		out.Changed.Replayed = true
		return out, nil
	}
	old, err := pools.View(ctx, a, r.GetName())
	if err != nil {
		return nil, err
	}
	q, err := queryOf(old)
	if err != nil {
		return nil, err
	}
	if q.scan != nil { // at the present state or at the snapshot, whatever it was made at
		x, err := address.Parse(q.scan.GetDataset())
		if err != nil {
			return nil, err
		}
		q.scan.Dataset, q.scan.Epoch = x.Live().String(), 0
	}
	ctx, run := s.begin(ctx, q, "refresh view "+r.GetName())
	defer run.end()
	t, err := s.find(ctx, q, r.GetSnapshot(), r.GetSeen())
	if err != nil {
		return nil, run.why(ctx, err)
	}
	if t.Dataset.ID != old.Dataset {
		return nil, fault.New(fault.Conflict, op, a.String(), "the dataset was made anew").Do("try again")
	}
	v := *old
	v.Revision, v.Refreshed, v.RefreshedBy = old.Revision+1, s.Datasets.now().UnixNano(), userOf(ctx)
	out := &viewv1.RefreshViewResponse{Changed: changed(t.at)}
	made, _, err := s.make(ctx, op, q, t, &v, old, request, func(got *picked) error {
		err := s.compare(ctx, t, old, got, int(r.GetNames()), out)
		if now, gone := pools.View(ctx, a, old.Name); err != nil && (gone != nil || now.List != old.List) {
			return fault.New(fault.Conflict, op, a.String(), "view %q was changed meanwhile", old.Name).Do("try again")
		}
		return err
	})
	if err != nil {
		return nil, run.why(ctx, err)
	}
	out.View = s.message(a, made)
	return out, nil
}

// compare counts what is in one of the two, and names the first.
func (s *Views) compare(ctx context.Context, t *target, old *pool.View, got *picked, names int, out *viewv1.RefreshViewResponse) error {
	dir, err := s.Loader.makeFolder(t.Dataset.ID)
	if err != nil {
		return err
	}
	side := func(samples uint64) (*manifest.Picker, error) { return manifest.NewPicker(dir, samples, false) }
	var before, after *manifest.Finder
	samples := got.Samples()
	if t.Dataset.Type == pool.TypePosix || t.Dataset.Type == pool.TypeKV {
		n, err := s.Datasets.pools.SnapshotOf(t.Address, old)
		if fault.Is(err, fault.NotFound) {
			out.NotCompared = true
			return nil
		}
		if err != nil {
			return err
		}
		at := t.Address.WithPath("")
		at.Snapshot = n.Name
		then, err := s.Datasets.pools.Resolve(ctx, at)
		if err != nil {
			return err
		}
		if before, samples, err = s.names(ctx, then, old.Epoch, old.Snapshot, string(old.Path)); err != nil {
			return err
		}
		defer before.Close()
		if after, _, err = s.names(ctx, t.Resolved, t.at, t.name, t.path); err != nil {
			return err
		}
		defer after.Close()
	} else {
		err := view.Read(ctx, t.Store, old.List, old.Samples, old.Digest, func(x []uint64) error {
			samples = max(samples, slices.Max(x)+1)
			return nil
		})
		if err != nil {
			return fullName(t.Address, err)
		}
	}
	was, err := side(samples)
	if err != nil {
		return err
	}
	defer was.Close()
	err = view.Read(ctx, t.Store, old.List, old.Samples, old.Digest, func(x []uint64) error {
		for _, i := range x {
			if _, err := was.Add(i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fullName(t.Address, err)
	}
	return merge(ctx, was, got.Picker, before, after, names, out)
}

// names finds the names of samples at a state.
func (s *Views) names(ctx context.Context, r pool.Resolved, at object.Epoch, snapshot, path string) (*manifest.Finder, uint64, error) {
	req, err := s.Loader.requestAt(ctx, r, at, snapshot, manifest.Selection{Path: path})
	if err != nil {
		return nil, 0, err
	}
	m, _, _, err := s.Loader.library.Open(ctx, req)
	if err != nil {
		return nil, 0, fullName(r.Address, err)
	}
	f, err := m.NewFinder(ctx)
	return f, m.Info().Samples, err
}

// merge walks two sets of samples in the order of their names; without names, of
// their numbers.
func merge(ctx context.Context, was, is *manifest.Picker, before, after *manifest.Finder, names int, out *viewv1.RefreshViewResponse) error {
	name := func(f *manifest.Finder, i uint64, ok bool) ([]byte, error) {
		if f == nil || !ok {
			return strconv.AppendUint(nil, i, 10), nil
		}
		return f.Name(i)
	}
	i, more := was.Next(0)
	j, fresh := is.Next(0)
	for n := 0; more || fresh; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		x, err := name(before, i, more)
		if err != nil {
			return err
		}
		y, err := name(after, j, fresh)
		if err != nil {
			return err
		}
		c := 0
		switch {
		case !more:
			c = 1
		case !fresh:
			c = -1
		case after != nil:
			c = after.Compare(x, y)
		case i != j:
			if c = 1; i < j {
				c = -1
			}
		}
		if c < 0 {
			if out.Removed++; len(out.GetRemovedNames()) < names {
				out.RemovedNames = append(out.RemovedNames, bytes.Clone(x))
			}
		}
		if c > 0 {
			if out.Added++; len(out.GetAddedNames()) < names {
				out.AddedNames = append(out.AddedNames, bytes.Clone(y))
			}
		}
		if c <= 0 {
			i, more = was.Next(i + 1)
		}
		if c >= 0 {
			j, fresh = is.Next(j + 1)
		}
	}
	return nil
}
