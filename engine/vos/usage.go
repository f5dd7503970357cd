package vos

import (
	"encoding/binary"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/object"
)

// usageTable mirrors the usage rows of the index, which change in the batch
// that changes the versions: after a crash they are exact by construction.
type usageTable struct {
	mu   sync.Mutex
	rows map[object.DatasetID]object.Usage
}

func (u *usageTable) add(ds object.DatasetID, d object.Usage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.rows[ds]
	u.rows[ds] = object.Usage{Bytes: r.Bytes + d.Bytes, Records: r.Records + d.Records}
}

func (u *usageTable) known(ds object.DatasetID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.rows[ds]
	return ok
}

func (u *usageTable) forget(ds object.DatasetID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.rows, ds)
}

// Usage is what a dataset holds here: payload bytes and records (single values
// and extents; punches hold nothing) of all versions kept.
func (t *Target) Usage(ds object.DatasetID) (object.Usage, error) {
	t.usage.mu.Lock()
	defer t.usage.mu.Unlock()
	return t.usage.rows[ds], nil
}

// mergeUsage adds a change to the usage row of a dataset, in b.
func mergeUsage(b *pebble.Batch, ds object.DatasetID, d object.Usage) error {
	v := binary.BigEndian.AppendUint64(nil, uint64(d.Bytes))
	v = binary.BigEndian.AppendUint64(v, uint64(d.Records))
	return b.Merge(usageKey(ds), v, nil)
}

func (t *Target) loadUsage() error {
	t.usage.rows = map[object.DatasetID]object.Usage{}
	return t.eachRow(appendDataset(nil, 0, planeUsage), func(k, v []byte) error {
		if len(k) != 17 || len(v) != 16 {
			return t.badKey("vos.open", k)
		}
		t.usage.rows[object.DatasetID(binary.BigEndian.Uint64(k[9:]))] = object.Usage{
			Bytes:   int64(binary.BigEndian.Uint64(v)),
			Records: int64(binary.BigEndian.Uint64(v[8:])),
		}
		return nil
	})
}

// eachRow calls fn for each row under a prefix; the slices are fn's during the call.
func (t *Target) eachRow(prefix []byte, fn func(k, v []byte) error) error {
	it, err := t.newIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: keyEnd(prefix)})
	if err != nil {
		return t.indexError("vos.read", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return t.indexError("vos.read", err)
		}
		if err := fn(it.Key(), v); err != nil {
			return err
		}
	}
	return t.indexError("vos.read", it.Error())
}
