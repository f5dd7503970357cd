package object

import "context"

// ExtentScanner is an ability that a store may have beside Store: one linear
// pass over the byte arrays of a dataset, for who needs the places of very many
// of them (the loader's manifest). It is much cheaper than Extents for each.
type ExtentScanner interface {
	// ExtentParts is how many disjoint parts ScanExtents has; their union is
	// the dataset. Parts can be scanned at the same time.
	ExtentParts() int
	// ScanExtents calls fn for each array with this akey in a part that has
	// visible bytes, with all its visible pieces in order of offset, until fn
	// returns false. What fn gets is valid during the call only, except the
	// Sums of the records. The order is the store's own.
	ScanExtents(ctx context.Context, at Epoch, part int, akey []byte, fn func(oid ID, dkey []byte, xs []Extent) bool) error
}
