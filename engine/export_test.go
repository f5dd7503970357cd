package engine

import "daos/engine/object"

// Accounted is what the ledger holds a dataset to use.
func (e *Engine) Accounted(id object.DatasetID) int64 {
	d, err := e.OpenDataset(id)
	if err != nil {
		return -1
	}
	return e.ledger.used(&d.account)
}
