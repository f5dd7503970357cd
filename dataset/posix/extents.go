package posix

import (
	"context"
	"encoding/binary"

	"daos/engine/object"
)

// DataParts is how many parts ScanData has, 0 where the store can't scan.
func (v *View) DataParts() int {
	if s, ok := v.fs.store.(object.ExtentScanner); ok {
		return s.ExtentParts()
	}
	return 0
}

// ScanData calls fn for each chunk of each file of the dataset that has bytes,
// in the store's own order, with the pieces of the chunk: their offsets are in
// the chunk, and they may reach beyond the end of the file. Parts can be
// scanned at the same time. It is for who needs the places of most files; for
// one file there is Locate.
func (v *View) ScanData(ctx context.Context, part int, fn func(file object.ID, chunk uint64, xs []object.Extent) bool) error {
	s := v.fs.store.(object.ExtentScanner)
	return s.ScanExtents(ctx, v.at, part, akeyData, func(oid object.ID, dkey []byte, xs []object.Extent) bool {
		if oid.Use() != useFile || len(dkey) != 8 {
			return true
		}
		return fn(oid, binary.BigEndian.Uint64(dkey), xs)
	})
}
