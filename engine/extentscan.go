package engine

import (
	"context"

	"daos/engine/object"
	"daos/internal/fault"
)

var _ object.ExtentScanner = (*Dataset)(nil)

// ExtentParts implements object.ExtentScanner: a part is a target.
func (d *Dataset) ExtentParts() int { return len(d.e.targets) }

// ScanExtents implements object.ExtentScanner.
func (d *Dataset) ScanExtents(ctx context.Context, at object.Epoch, part int, akey []byte, fn func(oid object.ID, dkey []byte, xs []object.Extent) bool) error {
	if part < 0 || part >= len(d.e.targets) {
		return fault.New(fault.Invalid, "object.scan", datasetName(d.id), "part %d of %d", part, len(d.e.targets))
	}
	t, ok := d.e.targets[part].(interface {
		ScanExtents(context.Context, object.DatasetID, object.Epoch, []byte, func(object.ID, []byte, []object.Extent) bool) error
	})
	if !ok {
		return fault.New(fault.Unsupported, "object.scan", datasetName(d.id), "target %d has no scan of extents", part)
	}
	if err := d.readable(ctx, at); err != nil {
		return err
	}
	err := t.ScanExtents(ctx, d.id, at, akey, fn)
	if gone := d.above(at); gone != nil {
		return gone
	}
	return err
}
