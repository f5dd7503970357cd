package service

import (
	"context"

	"daos/engine/object"
	systemv1 "daos/proto/gen/daos/system/v1"
)

// Info is what the assembly knows of itself.
type Info interface {
	Status(ctx context.Context) (*systemv1.StatusResponse, error)
	// Scrub reads every record of a dataset, or of all where id is 0.
	Scrub(ctx context.Context, id object.DatasetID, report func(error)) (records int64, err error)
	Sweep(ctx context.Context) (versions, bytes int64, err error)
}

// maxScrubErrors bounds the answer of a scrub.
const maxScrubErrors = 1000

// System implements daos.system.v1.
type System struct {
	systemv1.UnimplementedSystemServiceServer
	Info     Info
	Datasets *Datasets
}

// Status implements the service.
func (s *System) Status(ctx context.Context, _ *systemv1.StatusRequest) (*systemv1.StatusResponse, error) {
	return s.Info.Status(ctx)
}

// Ping implements the service.
func (s *System) Ping(context.Context, *systemv1.PingRequest) (*systemv1.PingResponse, error) {
	return &systemv1.PingResponse{}, nil
}

// Scrub implements the service.
func (s *System) Scrub(ctx context.Context, r *systemv1.ScrubRequest) (*systemv1.ScrubResponse, error) {
	var id object.DatasetID
	if r.GetDataset() != "" {
		found, err := s.Datasets.Resolve(ctx, r.GetDataset())
		if err != nil {
			return nil, err
		}
		id = found.Dataset.ID
	}
	out := &systemv1.ScrubResponse{}
	n, err := s.Info.Scrub(ctx, id, func(e error) {
		if len(out.Errors) < maxScrubErrors {
			out.Errors = append(out.Errors, e.Error())
		}
	})
	if err != nil {
		return nil, err
	}
	out.Records = n
	return out, nil
}

// Sweep implements the service. The engine sweeps all datasets in one go, so
// naming one only checks that it is there.
func (s *System) Sweep(ctx context.Context, r *systemv1.SweepRequest) (*systemv1.SweepResponse, error) {
	if r.GetDataset() != "" {
		if _, err := s.Datasets.Resolve(ctx, r.GetDataset()); err != nil {
			return nil, err
		}
	}
	versions, bytes, err := s.Info.Sweep(ctx)
	if err != nil {
		return nil, err
	}
	return &systemv1.SweepResponse{Versions: versions, Bytes: bytes}, nil
}
