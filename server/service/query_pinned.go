package service

import (
	"container/list"
	"context"
	"sync"

	"daos/dataset/tensor"
	"daos/engine/object"
	"daos/server/pool"
)

const (
	// maxPinned is how many tensor datasets are kept open for queries, each at one
	// epoch.
	maxPinned = 64
	// maxPinnedBytes is how much these may have read and learned, the one that was
	// used last apart.
	maxPinnedBytes = 128 << 20
)

// pinnedTensors keeps what describes tensor datasets at the epochs at which they
// were queried last: the records of their chunks, which most queries have to look
// at, all of a column's, before they read any row. They never change, and at the
// next query of the same snapshot they are there. It answers for no access: who
// asks has resolved the dataset, and its epoch.
type pinnedTensors struct {
	mu    sync.Mutex
	known map[pinnedKey]*list.Element
	order list.List // of *pinnedTensor, the last used first
}

// pinnedKey tells a dataset from one that had its name before.
type pinnedKey struct {
	id   object.DatasetID
	name string // for errors
	at   object.Epoch
}

type pinnedTensor struct {
	key pinnedKey
	p   *tensor.Pinned
}

// of is a dataset at an epoch, and open how it is opened.
func (c *pinnedTensors) of(ctx context.Context, r *pool.Resolved, name string, at object.Epoch, open func(context.Context) (*tensor.Pinned, error)) (*tensor.Pinned, error) {
	key := pinnedKey{r.Dataset.ID, name, at}
	c.mu.Lock()
	if e := c.known[key]; e != nil {
		c.order.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(*pinnedTensor).p, nil
	}
	c.mu.Unlock()
	p, err := open(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.known[key]; e != nil { // another query was first
		return e.Value.(*pinnedTensor).p, nil
	}
	if c.known == nil {
		c.known = map[pinnedKey]*list.Element{}
	}
	c.known[key] = c.order.PushFront(&pinnedTensor{key, p})
	c.trim()
	return p, nil
}

// trim forgets those that were used longest ago. What they have read grows as they
// are used, so all are counted.
func (c *pinnedTensors) trim() {
	bytes, n := uint64(0), 0
	for e := c.order.Front(); e != nil; {
		x, next := e.Value.(*pinnedTensor), e.Next()
		bytes, n = bytes+x.p.Kept(), n+1
		if n > 1 && (n > maxPinned || bytes > maxPinnedBytes) {
			c.order.Remove(e)
			delete(c.known, x.key)
		}
		e = next
	}
}
