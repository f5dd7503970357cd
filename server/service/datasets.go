// Package service implements the services of proto/daos: it maps messages to
// the Go API of the layers below and back, and nothing else. What a service may
// assume (an authenticated caller, a deadline, somebody who catches panics) is
// given by server/api.Guard.
//
// Start with Datasets, through which every service, Flight and the loader name
// and open what they work on; then one file per service.
package service

import (
	"context"
	"sync"
	"time"

	"daos/dataset/array"
	"daos/dataset/kv"
	"daos/dataset/posix"
	"daos/dataset/tensor"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/server/pool"
)

// Datasets opens datasets by address and keeps the open trees.
type Datasets struct {
	pools   *pool.Service
	session uint64 // of this server process; see posix.Options
	now     func() time.Time

	mu    sync.Mutex
	trees map[object.DatasetID]*posix.FS
	kvs   map[object.DatasetID]*kv.Dataset
	maps  map[object.DatasetID]*array.Mappings // of array datasets
}

// NewDatasets makes a Datasets. session is a random number of this process.
func NewDatasets(pools *pool.Service, session uint64, now func() time.Time) *Datasets {
	if now == nil {
		now = time.Now
	}
	return &Datasets{
		pools: pools, session: session, now: now,
		trees: map[object.DatasetID]*posix.FS{}, kvs: map[object.DatasetID]*kv.Dataset{}, maps: map[object.DatasetID]*array.Mappings{},
	}
}

// Pools is the pool service.
func (d *Datasets) Pools() *pool.Service { return d.pools }

// Resolve finds a dataset of any type; the address has no path.
func (d *Datasets) Resolve(ctx context.Context, addr string) (pool.Resolved, error) {
	a, err := address.ParseDataset(addr)
	if err != nil {
		return pool.Resolved{}, err
	}
	return d.pools.Resolve(ctx, a)
}

// Tree is an open POSIX dataset.
type Tree struct {
	pool.Resolved
	FS *posix.FS
}

// View is the tree at the epoch that the address, or else the caller, names, or
// at the newest one that is not below seen.
func (t *Tree) View(ctx context.Context, named, seen uint64) (*posix.View, error) {
	at, err := t.Epoch(ctx, object.Epoch(named), object.Epoch(seen))
	if err != nil {
		return nil, fullName(t.Address, err)
	}
	return t.FS.At(at), nil
}

// Err makes the resource of an error a full address.
func (t *Tree) Err(err error) error { return fullName(t.Address, err) }

// Table is an open tensor dataset.
type Table struct {
	pool.Resolved
	Table *tensor.Table
}

// Err makes the resource of an error a full address.
func (t *Table) Err(err error) error { return fullName(t.Address, err) }

// Tree opens a POSIX dataset for reading.
func (d *Datasets) Tree(ctx context.Context, addr string) (*Tree, error) {
	a, err := address.ParseDataset(addr)
	if err != nil {
		return nil, err
	}
	return d.tree(ctx, a)
}

// LiveTree opens a POSIX dataset for writing: a snapshot is fault.ReadOnly.
func (d *Datasets) LiveTree(ctx context.Context, op, addr string) (*Tree, error) {
	a, err := address.ParseLive(op, addr)
	if err != nil {
		return nil, err
	}
	return d.tree(ctx, a)
}

func (d *Datasets) tree(ctx context.Context, a address.Address) (*Tree, error) {
	r, err := d.pools.Resolve(ctx, a)
	if err != nil {
		return nil, err
	}
	if err := wantType(r, pool.TypePosix); err != nil {
		return nil, err
	}
	fs, err := d.open(ctx, r)
	if err != nil {
		return nil, fullName(a, err)
	}
	return &Tree{Resolved: r, FS: fs}, nil
}

// OpenTree is Tree for a dataset that has been found already.
func (d *Datasets) OpenTree(ctx context.Context, r *pool.Resolved) (*posix.FS, error) {
	if err := wantType(*r, pool.TypePosix); err != nil {
		return nil, err
	}
	return d.open(ctx, *r)
}

// open returns the tree of a dataset, laid out if it is new: the record of a
// dataset is written first, so a crash can leave it without a layout.
func (d *Datasets) open(ctx context.Context, r pool.Resolved) (*posix.FS, error) {
	id := r.Dataset.ID
	d.mu.Lock()
	fs := d.trees[id]
	d.mu.Unlock()
	if fs != nil {
		return fs, nil
	}
	o := posix.Options{Session: d.session, Now: d.now}
	fs, err := posix.Open(ctx, r.Store, o)
	if fault.Is(err, fault.NotFound) {
		err = posix.Create(ctx, r.Store, posix.Properties{ChunkSize: uint32(r.Dataset.ChunkBytes), FileClass: r.Dataset.Class})
		if err != nil && !fault.Is(err, fault.Exists) {
			return nil, err
		}
		fs, err = posix.Open(ctx, r.Store, o)
	}
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if have := d.trees[id]; have != nil { // another call was faster
		return have, nil
	}
	d.trees[id] = fs
	return fs, nil
}

// Table opens a tensor dataset for reading.
func (d *Datasets) Table(ctx context.Context, addr string) (*Table, error) {
	a, err := address.ParseDataset(addr)
	if err != nil {
		return nil, err
	}
	return d.table(ctx, a)
}

// LiveTable opens a tensor dataset for writing: a snapshot is fault.ReadOnly.
func (d *Datasets) LiveTable(ctx context.Context, op, addr string) (*Table, error) {
	a, err := address.ParseLive(op, addr)
	if err != nil {
		return nil, err
	}
	return d.table(ctx, a)
}

func (d *Datasets) table(ctx context.Context, a address.Address) (*Table, error) {
	r, err := d.pools.Resolve(ctx, a)
	if err != nil {
		return nil, err
	}
	if err := wantType(r, pool.TypeTensor); err != nil {
		return nil, err
	}
	return &Table{Resolved: r, Table: tensor.Open(r.Store, a.DatasetName(), tensor.WithClock(d.now))}, nil
}

func wantType(r pool.Resolved, want pool.Type) error {
	if r.Dataset.Type == want {
		return nil
	}
	return fault.New(fault.Invalid, "dataset.open", r.Address.DatasetName(), "it is a %s dataset, not a %s one", r.Dataset.Type, want).
		Do("use the calls for %s datasets", r.Dataset.Type)
}

// Prepare lays a new dataset out, so that its first user does not have to.
func (d *Datasets) Prepare(ctx context.Context, a address.Address) error {
	r, err := d.pools.Resolve(ctx, a)
	if err != nil || r.Dataset.Type != pool.TypePosix {
		return err
	}
	_, err = d.open(ctx, r)
	return fullName(a, err)
}

// Collect frees what removals and dead clients have left in the datasets, a
// bounded part of it each time, and forgets the trees of destroyed datasets.
func (d *Datasets) Collect(ctx context.Context) (more bool, err error) {
	all, err := d.pools.Datasets("")
	if err != nil {
		return false, err
	}
	alive := map[object.DatasetID]bool{}
	for _, ds := range all {
		alive[ds.ID] = true
		if err := ctx.Err(); err != nil {
			return false, err
		}
		a := address.Address{Pool: ds.Pool, Dataset: ds.Name}
		m, e := d.collectOne(ctx, a, ds.Type)
		more = more || m
		if e != nil && !fault.Is(e, fault.NotFound) { // destroyed meanwhile
			err = fullName(a, e)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.trees {
		if !alive[id] {
			delete(d.trees, id)
		}
	}
	for id := range d.kvs {
		if !alive[id] {
			delete(d.kvs, id)
		}
	}
	for id, m := range d.maps {
		if !alive[id] {
			m.Close()
			delete(d.maps, id)
		}
	}
	return more, err
}

// reapBudget is how many entries and chunks one round frees in one dataset.
const reapBudget = 20_000

// reapLeases is how many broken-off large values one round frees in one dataset.
const reapLeases = 64

func (d *Datasets) collectOne(ctx context.Context, a address.Address, t pool.Type) (more bool, err error) {
	switch t {
	case pool.TypePosix:
		tree, err := d.tree(ctx, a)
		if err != nil {
			return false, err
		}
		r, err := tree.FS.Reap(ctx, reapBudget)
		return r.More, err
	case pool.TypeKV:
		pairs, err := d.pairs(ctx, a)
		if err != nil {
			return false, err
		}
		n, err := pairs.KV.Collect(ctx, reapLeases)
		return n == reapLeases, err
	case pool.TypeArray:
		set, err := d.arrays(ctx, a)
		if err != nil {
			return false, err
		}
		d.mappings(set.Dataset.ID).Tidy(set.Store.Generation())
		return false, nil
	case pool.TypeTensor:
		table, err := d.table(ctx, a)
		if err != nil {
			return false, err
		}
		_, err = table.Table.Collect(ctx)
		return false, err
	}
	return false, nil
}
