package engine

import (
	"cmp"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/object"
)

// registry is the file ROOT/datasets: what the engine must know of datasets and
// pools before anybody tells it.
type registry struct {
	fs  vfs.FS
	dir string

	mu   sync.Mutex
	data registryData
}

type registryData struct {
	// Opened counts openings; it makes generations of different runs differ.
	Opened   uint64
	Pools    []poolEntry
	Datasets []datasetEntry
}

type poolEntry struct {
	ID    object.PoolID
	Quota int64
}

type datasetEntry struct {
	ID    object.DatasetID
	Pool  object.PoolID
	Quota int64
	// Horizon: versions below it may be swept; reads there are refused.
	Horizon object.Epoch
	// Pins below the horizon, whose versions were kept.
	Pins []object.Epoch `json:",omitempty"`
	// Destroying: to be removed from all targets, then from here.
	Destroying bool `json:",omitempty"`
}

const registryName = "datasets"

func openRegistry(f vfs.FS, dir string, create bool) (*registry, error) {
	r := &registry{fs: f, dir: dir}
	found, err := readSmall(f, dir, registryName, &r.data)
	if err != nil {
		return nil, err
	}
	if !found && !create {
		return nil, damaged(f.PathJoin(dir, registryName))
	}
	return r, r.change(func(d *registryData) { d.Opened++ })
}

// change edits the registry and makes it durable; on an error nothing changes.
func (r *registry) change(edit func(*registryData)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.data
	next.Pools, next.Datasets = slices.Clone(next.Pools), slices.Clone(next.Datasets)
	edit(&next)
	if err := writeSmall(r.fs, r.dir, registryName, &next); err != nil {
		return err
	}
	r.data = next
	return nil
}

// dataset returns the entry of a dataset, made where it is missing.
func (d *registryData) dataset(id object.DatasetID) *datasetEntry {
	i, ok := slices.BinarySearchFunc(d.Datasets, id, func(e datasetEntry, id object.DatasetID) int { return cmp.Compare(e.ID, id) })
	if !ok {
		d.Datasets = slices.Insert(d.Datasets, i, datasetEntry{ID: id})
	}
	return &d.Datasets[i]
}

func (d *registryData) pool(id object.PoolID) *poolEntry {
	i, ok := slices.BinarySearchFunc(d.Pools, id, func(e poolEntry, id object.PoolID) int { return cmp.Compare(e.ID, id) })
	if !ok {
		d.Pools = slices.Insert(d.Pools, i, poolEntry{ID: id})
	}
	return &d.Pools[i]
}

func (d *registryData) remove(id object.DatasetID) {
	d.Datasets = slices.DeleteFunc(d.Datasets, func(e datasetEntry) bool { return e.ID == id })
}
