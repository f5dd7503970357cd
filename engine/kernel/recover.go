package kernel

import (
	"cmp"
	"slices"

	"daos/engine/object"
	"daos/engine/target"
)

// Found is what one target holds when it is opened.
type Found struct {
	Target  uint16
	Rows    []target.TxRow
	Settled target.TxID
}

// Outcome is the decision about a transaction whose rows were found.
type Outcome struct {
	ID      target.TxID
	Dataset object.DatasetID
	Commit  bool
	// AbortOn is where an aborted one has to be taken back. While that is not
	// durable on all of them, no target may be settled at or above ID.
	AbortOn []uint16
}

// Resolve decides all undecided transactions, in order of epoch. A row on every
// participant is a commit: prepared on all was the promise. A participant
// without the row was never prepared, so nobody was answered: an abort; unless
// it is settled at or above the transaction: then the row was there and was
// dropped, which only happens to what is durable everywhere.
func Resolve(found []Found) []Outcome {
	type tx struct {
		row  target.TxRow
		have []uint16
	}
	all := map[target.TxID]*tx{}
	settled := map[uint16]target.TxID{}
	for _, f := range found {
		settled[f.Target] = f.Settled
		for _, r := range f.Rows {
			t := all[r.ID]
			if t == nil {
				t = &tx{row: r}
				all[r.ID] = t
			}
			t.have = append(t.have, f.Target)
		}
	}
	out := make([]Outcome, 0, len(all))
	for id, t := range all {
		o := Outcome{ID: id, Dataset: t.row.Dataset, Commit: true}
		for _, p := range t.row.Participants {
			past, known := settled[p]
			if !slices.Contains(t.have, p) && (!known || past < id) {
				o.Commit = false
			}
		}
		if !o.Commit {
			o.AbortOn = t.have
			slices.Sort(o.AbortOn)
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Outcome) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
