package feed

import (
	"context"

	"daos/loader/batch"
	"daos/loader/manifest"
)

// FromLibrary answers BATCH frames from open manifests.
func FromLibrary(l *manifest.Library) Batches { return library{l} }

type library struct{ l *manifest.Library }

func (l library) Plan(ctx context.Context, handle uint64, indices []uint64) (Batch, error) {
	m, err := l.l.Get(handle)
	if err != nil {
		return nil, err
	}
	b, err := batch.Plan(ctx, m, indices)
	if err != nil {
		return nil, err
	}
	return b, nil
}
