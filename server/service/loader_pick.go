package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"daos/internal/address"
	"daos/internal/fault"
	"daos/loader/manifest"
	"daos/loader/view"
	loaderv1 "daos/proto/gen/daos/loader/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/server/pool"
)

// ofView says which manifest the view of a message is, and which samples of it.
func (s *Loader) ofView(ctx context.Context, r *loaderv1.OpenManifestRequest, a address.Address) (*manifest.Pick, address.Address, error) {
	invalid := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "loader.open", a.DatasetName(), format, args...)
	}
	v, n, err := s.datasets.pools.OpenView(ctx, a, r.GetView())
	if err != nil {
		return nil, a, err
	}
	sel := selectionOf(r)
	switch own, path := strings.Trim(string(v.Path), "/"), strings.Trim(sel.Path, "/"); {
	case a.Snapshot != "" && a.Snapshot != v.Snapshot:
		return nil, a, invalid("view %q is at snapshot %s, not %s", v.Name, v.Snapshot, a.Snapshot).
			Do("name the dataset alone, or run the view's query there: daos view refresh %s %s --snapshot %s", a.Live().DatasetName(), v.Name, a.Snapshot)
	case path != "" && path != own:
		return nil, a, invalid("view %q is of %s, not of the path %q", v.Name, strings.TrimSuffix(a.Live().DatasetName()+"/"+own, "/"), path).
			Do("leave the path out, or add a condition: where=\"prefix(path, '%s/')\"", path)
	case sel.Glob != "":
		return nil, a, invalid("a view has its samples already, a glob does not go with it").Do("add a condition: where=\"path glob '%s'\"", sel.Glob)
	}
	a.Snapshot, sel.Path = n.Name, string(v.Path)
	since := func(err error) error { return s.datasets.pools.SinceView(ctx, "loader.open", a, v, err) }
	found, err := s.datasets.pools.Resolve(ctx, a)
	if err != nil {
		return nil, a, since(err)
	}
	base, err := s.requestAt(ctx, found, v.Epoch, n.Name, sel)
	if err != nil {
		return nil, a, since(err)
	}
	p := &manifest.Pick{Base: base, Source: fmt.Sprintf("view %s %d %s", v.Name, v.Revision, v.Digest)}
	p.Info.View, p.Info.ViewRevision = v.Name, v.Revision
	p.Fill = func(ctx context.Context, base *manifest.Manifest, add func([]uint64) error) error {
		renumber, err := s.unlabelled(ctx, found, v, sel, base)
		if err != nil {
			return err
		}
		err = view.Read(ctx, found.Store, v.List, v.Samples, v.Digest, func(samples []uint64) error { return add(renumber(samples)) })
		return s.datasets.pools.SinceView(ctx, "loader.open", a, v, err)
	}
	if r.GetWhere() != "" {
		s.addWhere(p, found, r)
	}
	return p, a, nil
}

// unlabelled turns the numbers of a view, which count all files, into those of
// its base: with labels by directory, files that have none are left out of that.
func (s *Loader) unlabelled(ctx context.Context, found pool.Resolved, v *pool.View, sel manifest.Selection, base *manifest.Manifest) (func([]uint64) []uint64, error) {
	same := func(samples []uint64) []uint64 { return samples }
	if !sel.LabelDirname {
		return same, nil
	}
	sel.LabelDirname = false
	req, err := s.requestAt(ctx, found, v.Epoch, v.Snapshot, sel)
	if err != nil {
		return nil, err
	}
	all, _, _, err := s.library.Open(ctx, req)
	if err != nil {
		return nil, err
	}
	if all.Info().Samples == base.Info().Samples {
		return same, nil
	}
	out, err := all.Unlabelled(ctx)
	if err != nil {
		return nil, err
	}
	return func(samples []uint64) []uint64 {
		kept := samples[:0]
		for _, i := range samples {
			if before, left := slices.BinarySearch(out, i); !left {
				kept = append(kept, i-uint64(before))
			}
		}
		return kept
	}, nil
}

// addWhere adds a condition to a pick: of all samples of its base, or of those
// that it has already.
func (s *Loader) addWhere(p *manifest.Pick, found pool.Resolved, r *loaderv1.OpenManifestRequest) {
	fill, path := p.Fill, p.Base.Info.Selection.Path
	p.Info.Where = r.GetWhere()
	p.Source += "\nwhere " + r.GetWhere()
	p.Fill = func(ctx context.Context, base *manifest.Manifest, add func([]uint64) error) error {
		hits, err := s.matching(ctx, found, path, r.GetWhere(), base)
		if err != nil {
			return err
		}
		defer hits.Close()
		if fill == nil {
			return hits.Each(ctx, add)
		}
		return fill(ctx, base, func(samples []uint64) error {
			return add(slices.DeleteFunc(samples, func(i uint64) bool { return !hits.Has(i) }))
		})
	}
}

// matching is the samples of a manifest that meet a condition.
func (s *Loader) matching(ctx context.Context, found pool.Resolved, path, where string, base *manifest.Manifest) (_ *manifest.Picker, err error) {
	addr := found.Address.WithPath(path)
	q := &Query{Datasets: s.datasets}
	table, err := q.open(ctx, addr.String(), 0, 0)
	if err != nil {
		return nil, err
	}
	req, err := requestOf(&queryv1.ScanRequest{Dataset: addr.String(), Where: where, Columns: scanColumns[found.Dataset.Type]})
	if err != nil {
		return nil, fault.Wrap(err, "loader.where", addr.String())
	}
	x := &numberer{what: addr.String(), kind: found.Dataset.Type, each: 1, repeats: true, skip: true}
	defer x.close()
	if found.Dataset.Type == pool.TypePosix || found.Dataset.Type == pool.TypeKV {
		if x.finder, err = base.NewFinder(ctx); err != nil {
			return nil, err
		}
	} else if n := base.Info().Samples; table.rows != nil && n > 0 {
		x.each = max(*table.rows/n, 1)
	}
	if x.picker, err = manifest.NewPicker(s.folder(found.Dataset.ID), base.Info().Samples, false); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			x.picker.Close()
		}
	}()
	st, err := exec.Open(ctx, table.Source, req)
	if err != nil {
		return nil, table.err(err)
	}
	defer st.Close()
	for {
		rows, err := st.Next()
		if errors.Is(err, io.EOF) {
			return x.picker, nil
		}
		if err == nil {
			err = x.add(ctx, rows.N, vectors(st.Schema(), rows.Columns))
		}
		if err != nil {
			return nil, table.err(err)
		}
	}
}
