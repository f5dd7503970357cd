package pool

import (
	"context"
	"slices"
	"strings"
	"sync"

	"daos/engine/object"
	"daos/server/control"
)

// state is the control state in memory, so that naming a dataset costs a map
// look-up. It is fed by a watch of the control store and by nothing else; a
// mutation waits until it has passed its own revision before it is answered.
type state struct {
	mu struct {
		sync.RWMutex
		rev      control.Rev
		moved    chan struct{} // closed and replaced when rev moves
		pools    map[string]*Pool
		datasets map[string]*Dataset // by "POOL/DATASET"
		byID     map[object.DatasetID]*Dataset
		snaps    map[object.DatasetID]map[string]*Snapshot
		pins     map[object.DatasetID]map[object.Epoch]bool
		failed   error // the watch ended: the state is stale for good
	}
}

func newState() *state {
	s := &state{}
	s.mu.moved = make(chan struct{})
	s.mu.pools = map[string]*Pool{}
	s.mu.datasets = map[string]*Dataset{}
	s.mu.byID = map[object.DatasetID]*Dataset{}
	s.mu.snaps = map[object.DatasetID]map[string]*Snapshot{}
	s.mu.pins = map[object.DatasetID]map[object.Epoch]bool{}
	return s
}

// touched is what an application of events has changed, for the engine.
type touched struct {
	pools    map[string]bool
	datasets map[object.DatasetID]bool
}

// apply takes events over and says what they touched. It does not move rev:
// the engine hears of the change first.
func (s *state) apply(events []control.Event) (touched, error) {
	t := touched{pools: map[string]bool{}, datasets: map[object.DatasetID]bool{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		var err error
		switch {
		case strings.HasPrefix(e.Key, prefixPool):
			err = s.applyPool(e, t)
		case strings.HasPrefix(e.Key, prefixDataset):
			err = s.applyDataset(e, t)
		case strings.HasPrefix(e.Key, prefixSnapshot):
			err = s.applySnapshot(e, t)
		case strings.HasPrefix(e.Key, prefixPin):
			if id, epoch, ok := parsePinKey(e.Key); ok {
				set(s.mu.pins, id, epoch, !e.Deleted)
				t.datasets[id] = true
			}
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

func set(m map[object.DatasetID]map[object.Epoch]bool, id object.DatasetID, epoch object.Epoch, on bool) {
	if on {
		if m[id] == nil {
			m[id] = map[object.Epoch]bool{}
		}
		m[id][epoch] = true
		return
	}
	delete(m[id], epoch)
	if len(m[id]) == 0 {
		delete(m, id)
	}
}

func (s *state) applyPool(e control.Event, t touched) error {
	name := strings.TrimPrefix(e.Key, prefixPool)
	t.pools[name] = true
	if e.Deleted {
		delete(s.mu.pools, name)
		return nil
	}
	p := &Pool{modified: e.Rev}
	if err := decode(e.Key, e.Value, p); err != nil {
		return err
	}
	s.mu.pools[name] = p
	return nil
}

func (s *state) applyDataset(e control.Event, t touched) error {
	name := strings.TrimPrefix(e.Key, prefixDataset)
	if old := s.mu.datasets[name]; old != nil {
		t.datasets[old.ID] = true
		delete(s.mu.byID, old.ID)
	}
	if e.Deleted {
		delete(s.mu.datasets, name)
		return nil
	}
	d := &Dataset{modified: e.Rev}
	if err := decode(e.Key, e.Value, d); err != nil {
		return err
	}
	s.mu.datasets[name], s.mu.byID[d.ID] = d, d
	t.datasets[d.ID] = true
	return nil
}

func (s *state) applySnapshot(e control.Event, t touched) error {
	hex, name, _ := strings.Cut(strings.TrimPrefix(e.Key, prefixSnapshot), "/")
	id, err := parseID(hex)
	if err != nil {
		return err
	}
	t.datasets[id] = true
	if e.Deleted {
		delete(s.mu.snaps[id], name)
		if len(s.mu.snaps[id]) == 0 {
			delete(s.mu.snaps, id)
		}
		return nil
	}
	n := &Snapshot{modified: e.Rev}
	if err := decode(e.Key, e.Value, n); err != nil {
		return err
	}
	if s.mu.snaps[id] == nil {
		s.mu.snaps[id] = map[string]*Snapshot{}
	}
	s.mu.snaps[id][name] = n
	return nil
}

// advance makes a revision the state's, once the engine knows of it.
func (s *state) advance(rev control.Rev) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rev > s.mu.rev {
		s.mu.rev = rev
		close(s.mu.moved)
		s.mu.moved = make(chan struct{})
	}
}

// fail ends the state: nothing will be learned any more.
func (s *state) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.failed == nil {
		s.mu.failed = err
		close(s.mu.moved)
		s.mu.moved = make(chan struct{})
	}
}

// wait returns when the state has reached a revision.
func (s *state) wait(ctx context.Context, rev control.Rev) error {
	for {
		s.mu.RLock()
		have, moved, failed := s.mu.rev, s.mu.moved, s.mu.failed
		s.mu.RUnlock()
		if have >= rev {
			return nil
		}
		if failed != nil {
			return failed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *state) pool(name string) (Pool, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.mu.pools[name]
	if p == nil {
		return Pool{}, false
	}
	return *p, true
}

// dataset returns a record that the caller must not change.
func (s *state) dataset(address string) (*Dataset, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.mu.datasets[address]
	return d, d != nil
}

func (s *state) snapshot(id object.DatasetID, name string) (*Snapshot, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.mu.snaps[id][name]
	return n, n != nil
}

func (s *state) snapshots(id object.DatasetID) []*Snapshot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*Snapshot, 0, len(s.mu.snaps[id]))
	for _, n := range s.mu.snaps[id] {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *Snapshot) int {
		if a.Epoch != b.Epoch {
			return compare(a.Epoch, b.Epoch)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

func (s *state) countSnapshots(id object.DatasetID) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.mu.snaps[id])
}

func (s *state) allPools() []Pool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Pool, 0, len(s.mu.pools))
	for _, p := range s.mu.pools {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// allDatasets returns the datasets of a pool, or of all where pool is empty.
func (s *state) allDatasets(pool string) []*Dataset {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*Dataset
	for _, d := range s.mu.datasets {
		if pool == "" || d.Pool == pool {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *Dataset) int {
		if c := strings.Compare(a.Pool, b.Pool); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// settings is what the engine has to know of a dataset; ok is false if it is
// gone.
func (s *state) settings(id object.DatasetID) (set Settings, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.mu.byID[id]
	if d == nil {
		return Settings{}, false
	}
	set = Settings{Dataset: id, Pool: d.PoolID, Quota: d.Quota}
	for _, n := range s.mu.snaps[id] {
		set.Pins = append(set.Pins, n.Epoch)
	}
	for e := range s.mu.pins[id] {
		set.Leases = append(set.Leases, e)
	}
	slices.Sort(set.Pins)
	slices.Sort(set.Leases)
	set.Pins = slices.Compact(set.Pins)
	return set, true
}

func compare(a, b object.Epoch) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
