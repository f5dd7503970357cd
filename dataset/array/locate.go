package array

import (
	"context"

	"daos/engine/object"
	"daos/internal/fault"
)

// maxRowChunks bounds the chunks along the first axis that places are kept of.
const maxRowChunks = 1 << 22

// Place says where the rows of one chunk lie, for readers that keep locations
// (the loader's manifest): Bytes bytes from the beginning of a byte array. What
// of them was never written is zeros.
type Place struct {
	First, Count uint64 // positions along the first axis
	Bytes        uint64
	Object       object.ID
	Dkey, Akey   []byte
}

// RowShape is the shape of one position along the first axis.
func (s *Spec) RowShape() []uint64 { return s.Shape[1:] }

// Rows calls fn for each chunk along the first axis, in order, with the place of
// its rows. fault.Unsupported where a row is not one stretch of bytes (chunks
// that cut other axes), or where there are rows, or parts of them, that were
// never written and the fill value is not zeros.
func (s *Scan) Rows(ctx context.Context, fn func(Place) error) error {
	spec := s.node.Spec
	where := s.d.where(s.node.Path)
	if len(spec.Shape) == 0 {
		return fault.New(fault.Unsupported, "array.rows", where, "an array without axes has no rows")
	}
	for d := 1; d < len(spec.Shape); d++ {
		if spec.Chunks[d] != spec.Shape[d] {
			return fault.New(fault.Unsupported, "array.rows", where, "chunks of shape %v cut the rows of shape %v", spec.Chunks, spec.RowShape()).
				Do("copy it into an array whose chunks are cut along the first axis only")
		}
	}
	grid := spec.grid()[0]
	if grid > maxRowChunks {
		return fault.New(fault.TooBig, "array.rows", where, "%d chunks along the first axis, at most %d are allowed", grid, maxRowChunks).Do("use larger chunks")
	}
	row := product(spec.RowShape()) * uint64(spec.DType.size)
	coords := make([]uint64, len(spec.Shape))
	for c := range grid {
		coords[0] = c
		first := c * spec.Chunks[0]
		p := Place{First: first, Count: min(spec.Chunks[0], spec.Shape[0]-first), Object: chunksOID(s.node.ID), Dkey: chunkKey(coords), Akey: akeyData}
		p.Bytes = p.Count * row
		if spec.Fill != nil {
			if err := s.written(ctx, &p, where); err != nil {
				return err
			}
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

// written checks that all bytes of a place were written.
func (s *Scan) written(ctx context.Context, p *Place, where string) error {
	xs, err := s.d.st.Extents(ctx, s.at, p.Object, p.Dkey, p.Akey, 0, p.Bytes)
	if err != nil {
		return fault.Wrap(err, "array.rows", where)
	}
	n := uint64(0)
	for _, x := range xs {
		n += x.Length
	}
	if n != p.Bytes {
		return fault.New(fault.Unsupported, "array.rows", where, "rows %d to %d were not all written, and the fill value is not zeros", p.First, p.First+p.Count).
			Do("write them, or make the array without a fill value")
	}
	return nil
}
