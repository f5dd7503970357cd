package pool

import (
	"daos/internal/address"
	"daos/internal/fault"
	"daos/internal/near"
)

// maxNear bounds the names that are compared with one that does not exist.
const maxNear = 4096

// nearest adds the name that was probably meant to an error, or what shows those
// that there are.
func nearest(e *fault.Error, name string, have []string, full func(string) string, list string) error {
	if n := near.Name(name, have[:min(len(have), maxNear)]); n != "" {
		return e.Do("did you mean %s?", full(n))
	}
	return e.Do("`%s` shows those that there are", list)
}

func (s *Service) noPool(name string) error {
	var have []string
	for _, p := range s.state.allPools() {
		have = append(have, p.Name)
	}
	e := fault.New(fault.NotFound, "pool.get", name, "there is no such pool")
	return nearest(e, name, have, func(n string) string { return n }, "daos pool list")
}

func (s *Service) noDataset(a address.Address) error {
	var have []string
	for _, d := range s.state.allDatasets(a.Pool) {
		have = append(have, d.Name)
	}
	e := fault.New(fault.NotFound, "dataset.get", a.Live().DatasetName(), "there is no such dataset")
	return nearest(e, a.Dataset, have, func(n string) string { return a.Pool + "/" + n }, "daos dataset list "+a.Pool)
}

func (s *Service) noSnapshot(a address.Address, d *Dataset) error {
	var have []string
	for _, n := range s.state.snapshots(d.ID) {
		if !n.expired(s.now()) {
			have = append(have, n.Name)
		}
	}
	e := fault.New(fault.NotFound, "snapshot.get", a.DatasetName(), "there is no such snapshot")
	return nearest(e, a.Snapshot, have, func(n string) string { return d.Address() + "@" + n }, "daos snapshot list "+d.Address())
}
