package service

import (
	"context"
	"os"

	"daos/internal/fault"
	"daos/loader/manifest"
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
