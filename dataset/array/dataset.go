package array

import (
	"context"

	"daos/engine/object"
)

// Store is what an array dataset needs of its object store.
type Store interface {
	object.Clock
	object.Reader
	object.Lister
	object.Committer
}

// Dataset is one array dataset. It holds no state of its own: any number of
// Datasets over one store, in any process, agree through it.
type Dataset struct {
	st   Store
	name string
	maps *Mappings // nil: segments are mapped for each read anew
	kept bool      // the epoch that is read is a snapshot's
}

// Option changes a Dataset.
type Option func(*Dataset)

// WithMappings keeps segments mapped from one read to the next.
func WithMappings(m *Mappings) Option { return func(d *Dataset) { d.maps = m } }

// Frozen says that all reads are at one epoch, which stays readable as a
// snapshot's does: where the chunks lie then is worth remembering.
func Frozen() Option { return func(d *Dataset) { d.kept = true } }

// Open makes a Dataset of a store. The name ("p/a") is for errors. It reads
// nothing yet.
func Open(st Store, name string, opts ...Option) *Dataset {
	d := &Dataset{st: st, name: name}
	for _, o := range opts {
		o(d)
	}
	return d
}

// at resolves epoch 0 to the newest closed epoch.
func (d *Dataset) at(ctx context.Context, at object.Epoch) (object.Epoch, error) {
	if at != 0 {
		return at, nil
	}
	return d.st.ReadEpoch(ctx, 0)
}

func (d *Dataset) where(path string) string {
	if path == "" {
		return d.name
	}
	return d.name + "/" + path
}
