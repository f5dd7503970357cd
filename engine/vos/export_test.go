package vos

import "daos/engine/object"

// CountRows counts the rows of a dataset in all planes.
func CountRows(t *Target, ds object.DatasetID) (n int) {
	for plane := byte(0); plane < planeUsage; plane++ {
		_ = t.eachRow(appendDataset(nil, ds, plane), func(_, _ []byte) error {
			n++
			return nil
		})
	}
	return n
}

// AssumeRoom makes a target act as if there were room in memory, or none.
func AssumeRoom(t *Target, enough bool) { t.segs.AssumeRoom(enough) }

// Waiting is how many entries the backlog has.
func Waiting(t *Target) (n int) {
	t.backlog.mu.RLock()
	defer t.backlog.mu.RUnlock()
	for _, p := range []*pile{t.backlog.open, t.backlog.going} {
		if p != nil {
			n += int(p.count)
		}
	}
	return n
}

// MergeRuns sorts keys, of which [runs[i], runs[i+1]) are in order, with the
// place of each, as a pile is sorted.
func MergeRuns(keys [][]byte, runs []int) (sorted [][]byte, places []byte) {
	ops := make([]op, len(keys))
	for i, k := range keys {
		ops[i] = op{k, []byte{byte(i)}}
	}
	for _, o := range mergeRuns(ops, runs) {
		sorted, places = append(sorted, o.key), append(places, o.bytes[0])
	}
	return sorted, places
}
