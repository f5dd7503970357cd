package service

import (
	"context"
	"time"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
	"daos/server/pool"
)

// Pools implements daos.pool.v1.
type Pools struct {
	poolv1.UnimplementedPoolServiceServer
	Service *pool.Service
}

func poolMessage(p pool.PoolInfo) *poolv1.Pool {
	return &poolv1.Pool{
		Name: p.Name, Id: uint64(p.ID), QuotaBytes: p.Quota, UsedBytes: uint64(max(p.Usage.Bytes, 0)), Records: uint64(max(p.Usage.Records, 0)),
		Datasets: uint32(p.Datasets), CreatedUnixNanos: p.Created,
	}
}

// CreatePool implements the service.
func (s *Pools) CreatePool(ctx context.Context, r *poolv1.CreatePoolRequest) (*poolv1.CreatePoolResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	p, err := s.Service.CreatePool(ctx, r.GetName(), r.GetQuotaBytes(), id)
	if err != nil {
		return nil, err
	}
	return &poolv1.CreatePoolResponse{Pool: poolMessage(pool.PoolInfo{Pool: p})}, nil
}

// GetPool implements the service.
func (s *Pools) GetPool(ctx context.Context, r *poolv1.GetPoolRequest) (*poolv1.GetPoolResponse, error) {
	p, err := s.Service.GetPool(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	return &poolv1.GetPoolResponse{Pool: poolMessage(p)}, nil
}

// ListPools implements the service.
func (s *Pools) ListPools(ctx context.Context, _ *poolv1.ListPoolsRequest) (*poolv1.ListPoolsResponse, error) {
	all, err := s.Service.ListPools(ctx)
	if err != nil {
		return nil, err
	}
	out := &poolv1.ListPoolsResponse{}
	for _, p := range all {
		out.Pools = append(out.Pools, poolMessage(p))
	}
	return out, nil
}

// SetPool implements the service.
func (s *Pools) SetPool(ctx context.Context, r *poolv1.SetPoolRequest) (*poolv1.SetPoolResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	if _, err := s.Service.SetPool(ctx, r.GetName(), r.GetQuotaBytes(), id); err != nil {
		return nil, err
	}
	p, err := s.Service.GetPool(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	return &poolv1.SetPoolResponse{Pool: poolMessage(p)}, nil
}

// DestroyPool implements the service.
func (s *Pools) DestroyPool(ctx context.Context, r *poolv1.DestroyPoolRequest) (*poolv1.DestroyPoolResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	if err := s.Service.DestroyPool(ctx, r.GetName(), r.GetForce(), id); err != nil {
		return nil, err
	}
	return &poolv1.DestroyPoolResponse{}, nil
}

// DatasetService implements daos.dataset.v1.
type DatasetService struct {
	datasetv1.UnimplementedDatasetServiceServer
	Datasets *Datasets
}

func (s *DatasetService) describe(ctx context.Context, d *pool.Dataset, r *pool.Resolved) (*datasetv1.Dataset, error) {
	info, err := s.Datasets.pools.Describe(ctx, d)
	if err != nil {
		return nil, err
	}
	out := &datasetv1.Dataset{
		Pool: d.Pool, Name: d.Name, Id: uint64(d.ID), Type: datasetv1.Type(d.Type), ObjectClass: d.Class.String(), ChunkBytes: d.ChunkBytes,
		QuotaBytes: d.Quota, UsedBytes: uint64(max(info.Usage.Bytes, 0)), Records: uint64(max(info.Usage.Records, 0)), Attributes: d.Attributes,
		CreatedUnixNanos: d.Created, Snapshots: uint32(info.Snapshots),
	}
	if r == nil {
		resolved, err := s.Datasets.pools.Resolve(ctx, address.Address{Pool: d.Pool, Dataset: d.Name})
		if err != nil {
			return nil, err
		}
		r = &resolved
	}
	epoch, err := r.Epoch(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	out.Epoch, out.Snapshot = uint64(epoch), r.Address.Snapshot
	return out, nil
}

// CreateDataset implements the service.
func (s *DatasetService) CreateDataset(ctx context.Context, r *datasetv1.CreateDatasetRequest) (*datasetv1.CreateDatasetResponse, error) {
	a, err := address.ParseLive("dataset.create", r.GetDataset())
	if err != nil {
		return nil, err
	}
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	d, err := s.Datasets.pools.CreateDataset(ctx, a, pool.NewDataset{
		Type: pool.Type(min(r.GetType(), 255)), Class: r.GetObjectClass(), ChunkBytes: r.GetChunkBytes(), Quota: r.GetQuotaBytes(), Attributes: r.GetAttributes(),
	}, id)
	if err != nil {
		return nil, err
	}
	if err := s.Datasets.Prepare(ctx, a); err != nil {
		return nil, err
	}
	m, err := s.describe(ctx, d, nil)
	if err != nil {
		return nil, err
	}
	return &datasetv1.CreateDatasetResponse{Dataset: m}, nil
}

// GetDataset implements the service.
func (s *DatasetService) GetDataset(ctx context.Context, r *datasetv1.GetDatasetRequest) (*datasetv1.GetDatasetResponse, error) {
	found, err := s.Datasets.Resolve(ctx, r.GetDataset())
	if err != nil {
		return nil, err
	}
	m, err := s.describe(ctx, found.Dataset, &found)
	if err != nil {
		return nil, err
	}
	return &datasetv1.GetDatasetResponse{Dataset: m}, nil
}

// ListDatasets implements the service.
func (s *DatasetService) ListDatasets(ctx context.Context, r *datasetv1.ListDatasetsRequest) (*datasetv1.ListDatasetsResponse, error) {
	all, err := s.Datasets.pools.Datasets(r.GetPool())
	if err != nil {
		return nil, err
	}
	out := &datasetv1.ListDatasetsResponse{}
	for _, d := range all {
		m, err := s.describe(ctx, d, nil)
		if fault.Is(err, fault.NotFound) {
			continue // destroyed meanwhile
		}
		if err != nil {
			return nil, err
		}
		out.Datasets = append(out.Datasets, m)
	}
	return out, nil
}

// SetDataset implements the service.
func (s *DatasetService) SetDataset(ctx context.Context, r *datasetv1.SetDatasetRequest) (*datasetv1.SetDatasetResponse, error) {
	a, err := address.ParseLive("dataset.set", r.GetDataset())
	if err != nil {
		return nil, err
	}
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	change := pool.DatasetChange{Set: r.GetSetAttributes(), Remove: r.GetRemoveAttributes()}
	if r.GetSetQuota() {
		change.Quota = &r.QuotaBytes
	}
	d, err := s.Datasets.pools.SetDataset(ctx, a, change, id)
	if err != nil {
		return nil, err
	}
	m, err := s.describe(ctx, d, nil)
	if err != nil {
		return nil, err
	}
	return &datasetv1.SetDatasetResponse{Dataset: m}, nil
}

// DestroyDataset implements the service.
func (s *DatasetService) DestroyDataset(ctx context.Context, r *datasetv1.DestroyDatasetRequest) (*datasetv1.DestroyDatasetResponse, error) {
	a, err := address.ParseDataset(r.GetDataset())
	if err != nil {
		return nil, err
	}
	if a.Snapshot != "" {
		return nil, fault.New(fault.Invalid, "dataset.destroy", a.DatasetName(), "this names a snapshot").
			Do("destroy the snapshot with `daos snapshot destroy`, or name the dataset %s", a.Live().DatasetName())
	}
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	if err := s.Datasets.pools.DestroyDataset(ctx, a, id); err != nil {
		return nil, err
	}
	return &datasetv1.DestroyDatasetResponse{}, nil
}

func snapshotMessage(n *pool.Snapshot) *datasetv1.Snapshot {
	return &datasetv1.Snapshot{Name: n.Name, Epoch: uint64(n.Epoch), CreatedUnixNanos: n.Created, ExpiresUnixNanos: n.Expires, Auto: n.Auto}
}

// CreateSnapshot implements the service.
func (s *DatasetService) CreateSnapshot(ctx context.Context, r *datasetv1.CreateSnapshotRequest) (*datasetv1.CreateSnapshotResponse, error) {
	a, err := address.ParseLive("snapshot.create", r.GetDataset())
	if err != nil {
		return nil, err
	}
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	if r.GetTtlSeconds() > uint64(pool.MaxTTL/time.Second) {
		return nil, fault.New(fault.Invalid, "snapshot.create", a.DatasetName(), "a life of %d seconds is out of range", r.GetTtlSeconds()).
			Do("use 0 for ever, or up to 100 years")
	}
	n, err := s.Datasets.pools.CreateSnapshot(ctx, a, pool.NewSnapshot{
		Name: r.GetName(), TTL: time.Duration(r.GetTtlSeconds()) * time.Second, Auto: r.GetAuto(), Seen: object.Epoch(r.GetSeen()),
	}, id)
	if err != nil {
		return nil, err
	}
	return &datasetv1.CreateSnapshotResponse{Snapshot: snapshotMessage(n)}, nil
}

// ListSnapshots implements the service.
func (s *DatasetService) ListSnapshots(_ context.Context, r *datasetv1.ListSnapshotsRequest) (*datasetv1.ListSnapshotsResponse, error) {
	a, err := address.ParseDataset(r.GetDataset())
	if err != nil {
		return nil, err
	}
	all, err := s.Datasets.pools.Snapshots(a)
	if err != nil {
		return nil, err
	}
	out := &datasetv1.ListSnapshotsResponse{}
	for _, n := range all {
		out.Snapshots = append(out.Snapshots, snapshotMessage(n))
	}
	return out, nil
}

// DestroySnapshot implements the service.
func (s *DatasetService) DestroySnapshot(ctx context.Context, r *datasetv1.DestroySnapshotRequest) (*datasetv1.DestroySnapshotResponse, error) {
	a, err := address.ParseSnapshot(r.GetDataset())
	if err != nil {
		return nil, err
	}
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	if err := s.Datasets.pools.DestroySnapshot(ctx, a, r.GetForce(), id); err != nil {
		return nil, err
	}
	return &datasetv1.DestroySnapshotResponse{}, nil
}

// TouchSnapshot implements the service.
func (s *DatasetService) TouchSnapshot(ctx context.Context, r *datasetv1.TouchSnapshotRequest) (*datasetv1.TouchSnapshotResponse, error) {
	a, err := address.ParseSnapshot(r.GetDataset())
	if err != nil {
		return nil, err
	}
	n, err := s.Datasets.pools.Touch(ctx, a)
	if err != nil {
		return nil, err
	}
	return &datasetv1.TouchSnapshotResponse{Snapshot: snapshotMessage(n)}, nil
}
