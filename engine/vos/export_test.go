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
