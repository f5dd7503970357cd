package service

import (
	"context"

	"daos/dataset/array"
	"daos/internal/fault"
	arrayv1 "daos/proto/gen/daos/array/v1"
)

// PutKey implements the service.
func (s *Array) PutKey(ctx context.Context, r *arrayv1.PutKeyRequest) (*arrayv1.PutKeyResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := s.Datasets.LiveArrays(ctx, "array.key", r.GetDataset())
	if err != nil {
		return nil, err
	}
	present, d, err := a.Set.PutKey(ctx, r.GetKey(), r.GetPayload(), id, r.GetIfAbsent())
	if err != nil {
		return nil, a.Err(err)
	}
	return &arrayv1.PutKeyResponse{Changed: done(d), Present: present}, nil
}

// GetKey implements the service.
func (s *Array) GetKey(ctx context.Context, r *arrayv1.GetKeyRequest) (*arrayv1.GetKeyResponse, error) {
	a, at, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	alloc := func(n uint64) ([]byte, error) {
		if n > maxGet {
			return nil, fault.New(fault.TooBig, "array.key", r.GetKey(), "%d bytes, at most %d go into one reply", n, maxGet).Do("read it in ranges")
		}
		return make([]byte, n), nil
	}
	if r.GetSizeOnly() {
		alloc = nil
	}
	size, data, err := a.Set.GetKey(ctx, at, r.GetKey(), array.KeyRange{Offset: r.GetOffset(), Length: r.GetLength(), Suffix: r.GetSuffix()}, alloc)
	if err != nil {
		return nil, a.Err(err)
	}
	return &arrayv1.GetKeyResponse{Size: size, Epoch: uint64(at), Payload: data}, nil
}

// DeleteKeys implements the service.
func (s *Array) DeleteKeys(ctx context.Context, r *arrayv1.DeleteKeysRequest) (*arrayv1.DeleteKeysResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := s.Datasets.LiveArrays(ctx, "array.key", r.GetDataset())
	if err != nil {
		return nil, err
	}
	if r.GetByPrefix() {
		n, d, err := a.Set.DeletePrefix(ctx, r.GetPrefix())
		if err != nil {
			return nil, a.Err(err)
		}
		return &arrayv1.DeleteKeysResponse{Changed: done(d), Removed: n}, nil
	}
	removed, d, err := a.Set.DeleteKey(ctx, r.GetKey(), id)
	if err != nil {
		return nil, a.Err(err)
	}
	out := &arrayv1.DeleteKeysResponse{Changed: done(d)}
	if removed {
		out.Removed = 1
	}
	return out, nil
}

// ListKeys implements the service.
func (s *Array) ListKeys(ctx context.Context, r *arrayv1.ListKeysRequest) (*arrayv1.ListKeysResponse, error) {
	a, at, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	out := &arrayv1.ListKeysResponse{Epoch: uint64(at)}
	limit := pageOf(r.GetLimit(), maxKeyPage)
	add := func(e array.KeyEntry) bool {
		if out.More = len(out.Keys) == limit; out.More {
			return false
		}
		out.Keys, out.Sizes = append(out.Keys, e.Name), append(out.Sizes, e.Size)
		return true
	}
	if r.GetDirectory() {
		err = a.Set.ListNames(ctx, at, r.GetPrefix(), r.GetAfter(), add)
	} else {
		err = a.Set.ListKeys(ctx, at, r.GetPrefix(), r.GetAfter(), add)
	}
	if err != nil {
		return nil, a.Err(err)
	}
	return out, nil
}
