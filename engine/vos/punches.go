package vos

import (
	"sync"

	"daos/engine/object"
	"daos/engine/target"
)

// punchSet knows which objects (by redundancy group) have object punches in
// the index, so that a read of one that has none needs no look at them. It may
// know too many, never too few; beyond punchSetMax it knows "any".
type punchSet struct {
	mu   sync.RWMutex
	rows map[punchKey]int32
	all  bool
}

type punchKey struct {
	dataset object.DatasetID
	oid     object.ID
	group   uint16
}

const punchSetMax = 1 << 18

func keyOfPunch(p target.Place) punchKey { return punchKey{p.Dataset, p.OID, p.Group} }

func (s *punchSet) add(p target.Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all {
		return
	}
	s.rows[keyOfPunch(p)]++
	if len(s.rows) > punchSetMax {
		s.rows, s.all = nil, true
	}
}

func (s *punchSet) remove(p target.Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all {
		return
	}
	k := keyOfPunch(p)
	if s.rows[k]--; s.rows[k] <= 0 {
		delete(s.rows, k)
	}
}

func (s *punchSet) removeDataset(ds object.DatasetID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.rows {
		if k.dataset == ds {
			delete(s.rows, k)
		}
	}
}

func (s *punchSet) has(p target.Place) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.all || len(s.rows) > 0 && s.rows[keyOfPunch(p)] > 0
}

func (t *Target) loadPunches() error {
	t.punches.rows = map[punchKey]int32{}
	t.usage.mu.Lock()
	var all []object.DatasetID
	for ds := range t.usage.rows {
		all = append(all, ds)
	}
	t.usage.mu.Unlock()
	for _, ds := range all {
		err := t.eachRow(appendDataset(nil, ds, planePunch), func(k, _ []byte) error {
			p, ok := parseKey(k)
			if !ok {
				return t.badKey("vos.open", k)
			}
			t.punches.add(p.place)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
