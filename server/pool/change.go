package pool

import (
	"context"
	"maps"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/server/control"
)

// Limits of a dataset's attributes and of the number of things.
const (
	MaxAttributes     = 256
	MaxAttributeName  = 255
	MaxAttributeValue = 64 << 10
	MaxAttributeBytes = 512 << 10 // of all of a dataset
	MaxSnapshots      = 100_000   // of one dataset
	MinChunk          = 64 << 10
	MaxChunk          = 64 << 20
	DefaultChunk      = 1 << 20
)

// CreatePool makes a pool.
func (s *Service) CreatePool(ctx context.Context, name string, quota uint64, request object.RequestID) (Pool, error) {
	if err := address.CheckName("pool", name); err != nil {
		return Pool{}, err
	}
	if err := checkQuota(name, quota); err != nil {
		return Pool{}, err
	}
	var p Pool
	err := s.mutate(ctx, mutation{
		op: "pool.create", resource: name, request: request,
		build: func(ctx context.Context) (control.Txn, any, error) {
			if old, ok := s.state.pool(name); ok {
				if old.Dying {
					return control.Txn{}, nil, dying(name)
				}
				return control.Txn{}, nil, fault.New(fault.Exists, "pool.create", name, "there is a pool of this name").Do("choose another name, or use it as it is")
			}
			id, c, o, err := s.nextID(ctx)
			if err != nil {
				return control.Txn{}, nil, err
			}
			p = Pool{ID: object.PoolID(id), Name: name, Quota: quota, Created: s.now().UnixNano()}
			return control.Txn{
				If:   []control.Compare{c, control.Absent(poolKey(name))},
				Then: []control.Op{o, control.Put(poolKey(name), encode(p))},
			}, p, nil
		},
		replay: func(b []byte) error { return decode(name, b, &p) },
	})
	return p, err
}

// SetPool changes a pool's quota. It may be below what the pool holds: then
// only writes are refused.
func (s *Service) SetPool(ctx context.Context, name string, quota uint64, request object.RequestID) (Pool, error) {
	if err := address.CheckName("pool", name); err != nil {
		return Pool{}, err
	}
	if err := checkQuota(name, quota); err != nil {
		return Pool{}, err
	}
	var p Pool
	err := s.mutate(ctx, mutation{
		op: "pool.set", resource: name, request: request,
		build: func(context.Context) (control.Txn, any, error) {
			old, err := s.livePool(name)
			if err != nil {
				return control.Txn{}, nil, err
			}
			p = old
			p.Quota = quota
			return control.Txn{
				If:   []control.Compare{{Key: poolKey(name), Modified: old.modified}},
				Then: []control.Op{control.Put(poolKey(name), encode(p))},
			}, p, nil
		},
		replay: func(b []byte) error { return decode(name, b, &p) },
	})
	return p, err
}

func (s *Service) livePool(name string) (Pool, error) {
	p, ok := s.state.pool(name)
	if !ok {
		return Pool{}, s.noPool(name)
	}
	if p.Dying {
		return Pool{}, dying(name)
	}
	return p, nil
}

func dying(name string) error {
	return fault.New(fault.Conflict, "pool.get", name, "the pool is being destroyed").Do("wait until it is gone")
}

func checkQuota(resource string, quota uint64) error {
	if quota > 1<<62 {
		return fault.New(fault.Invalid, "pool.quota", resource, "a quota of %d bytes is beyond %d", quota, uint64(1)<<62).Do("use 0 for no quota")
	}
	return nil
}

// NewDataset says what to make.
type NewDataset struct {
	Type       Type
	Class      string // empty: SX
	ChunkBytes uint64 // 0: DefaultChunk; only of POSIX datasets
	Quota      uint64
	Attributes map[string][]byte
}

func (n *NewDataset) check(resource string) (object.Class, error) {
	const op = "dataset.create"
	switch n.Type {
	case TypePosix, TypeKV, TypeArray, TypeTensor:
	default:
		return 0, fault.New(fault.Invalid, op, resource, "unknown type %d", n.Type).Do("use posix, kv, array or tensor")
	}
	if n.Class == "" {
		n.Class = "SX"
	}
	class, err := object.ParseClass(n.Class)
	if err != nil {
		return 0, err
	}
	switch {
	case n.Type != TypePosix && n.ChunkBytes != 0:
		return 0, fault.New(fault.Invalid, op, resource, "a %s dataset has no file chunks", n.Type).Do("leave chunk_bytes out")
	case n.Type != TypePosix:
	case n.ChunkBytes == 0:
		n.ChunkBytes = DefaultChunk
	case n.ChunkBytes < MinChunk || n.ChunkBytes > MaxChunk || n.ChunkBytes&(n.ChunkBytes-1) != 0:
		return 0, fault.New(fault.Invalid, op, resource, "a file chunk of %d bytes is not a power of two from 64 KiB to 64 MiB", n.ChunkBytes).Do("leave it out for 1 MiB")
	}
	if err := checkQuota(resource, n.Quota); err != nil {
		return 0, err
	}
	return class, checkAttributes(op, resource, n.Attributes)
}

func checkAttributes(op, resource string, attrs map[string][]byte) error {
	if len(attrs) > MaxAttributes {
		return fault.New(fault.TooBig, op, resource, "%d attributes, at most %d are allowed", len(attrs), MaxAttributes)
	}
	sum := 0
	for name, value := range attrs {
		switch {
		case name == "" || len(name) > MaxAttributeName:
			return fault.New(fault.Invalid, op, resource, "the name of an attribute has %d bytes", len(name)).Do("use 1 to %d bytes", MaxAttributeName)
		case len(value) > MaxAttributeValue:
			return fault.New(fault.TooBig, op, resource, "the attribute %q has %d bytes, at most %d are allowed", name, len(value), MaxAttributeValue)
		}
		sum += len(name) + len(value)
	}
	if sum > MaxAttributeBytes {
		return fault.New(fault.TooBig, op, resource, "all attributes have %d bytes, at most %d are allowed", sum, MaxAttributeBytes)
	}
	return nil
}

// CreateDataset makes a dataset.
func (s *Service) CreateDataset(ctx context.Context, a address.Address, n NewDataset, request object.RequestID) (*Dataset, error) {
	name := a.DatasetName()
	class, err := n.check(name)
	if err != nil {
		return nil, err
	}
	var d *Dataset
	err = s.mutate(ctx, mutation{
		op: "dataset.create", resource: name, request: request,
		build: func(ctx context.Context) (control.Txn, any, error) {
			p, err := s.livePool(a.Pool)
			if err != nil {
				return control.Txn{}, nil, err
			}
			if _, ok := s.state.dataset(name); ok {
				return control.Txn{}, nil, fault.New(fault.Exists, "dataset.create", name, "there is a dataset of this name").Do("choose another name, or use it as it is")
			}
			id, c, o, err := s.nextID(ctx)
			if err != nil {
				return control.Txn{}, nil, err
			}
			d = &Dataset{
				ID: object.DatasetID(id), PoolID: p.ID, Pool: a.Pool, Name: a.Dataset, Type: n.Type, Class: class,
				ChunkBytes: n.ChunkBytes, Quota: n.Quota, Attributes: n.Attributes, Created: s.now().UnixNano(),
			}
			return control.Txn{
				If: []control.Compare{c, {Key: poolKey(p.Name), Modified: p.modified}, control.Absent(datasetKey(a.Pool, a.Dataset))},
				// The pool is written again as it is, so that a destroy that has
				// not seen this dataset fails its comparison.
				Then: []control.Op{o, control.Put(poolKey(p.Name), encode(p)), control.Put(datasetKey(a.Pool, a.Dataset), encode(d))},
			}, d, nil
		},
		replay: func(b []byte) error { d = &Dataset{}; return decode(name, b, d) },
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// DatasetChange says what to change of a dataset.
type DatasetChange struct {
	Quota  *uint64
	Set    map[string][]byte
	Remove []string
}

// SetDataset changes quota and attributes.
func (s *Service) SetDataset(ctx context.Context, a address.Address, ch DatasetChange, request object.RequestID) (*Dataset, error) {
	const op = "dataset.set"
	name := a.DatasetName()
	if ch.Quota != nil {
		if err := checkQuota(name, *ch.Quota); err != nil {
			return nil, err
		}
	}
	var d *Dataset
	err := s.mutate(ctx, mutation{
		op: op, resource: name, request: request,
		build: func(context.Context) (control.Txn, any, error) {
			old, err := s.lookup(a)
			if err != nil {
				return control.Txn{}, nil, err
			}
			next := *old
			next.Attributes = maps.Clone(old.Attributes)
			if next.Attributes == nil {
				next.Attributes = map[string][]byte{}
			}
			for _, k := range ch.Remove {
				delete(next.Attributes, k)
			}
			maps.Copy(next.Attributes, ch.Set)
			if err := checkAttributes(op, name, next.Attributes); err != nil {
				return control.Txn{}, nil, err
			}
			if ch.Quota != nil {
				next.Quota = *ch.Quota
			}
			d = &next
			key := datasetKey(a.Pool, a.Dataset)
			return control.Txn{
				If:   []control.Compare{{Key: key, Modified: old.modified}},
				Then: []control.Op{control.Put(key, encode(d))},
			}, d, nil
		},
		replay: func(b []byte) error { d = &Dataset{}; return decode(name, b, d) },
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}
