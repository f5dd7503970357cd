package array

import (
	"context"
	"slices"

	"daos/engine/object"
	"daos/internal/fault"
)

// ChunkStats summarises one chunk, as far as it lies inside the shape.
type ChunkStats struct {
	Coords []uint64 // in the grid of chunks
	Count  uint64   // elements inside the shape
	NaNs   uint64   // at most so many, where not Exact
	// Min and Max are the smallest and largest element that is not NaN,
	// little-endian; nil: unknown (a type without an order) or there is none.
	Min, Max []byte
	// Exact: they are those of the elements. Else they are bounds, since a part
	// of the chunk was written anew.
	Exact bool
	// Version is the epoch of the last write to the chunk.
	Version object.Epoch
}

// Scan is an array at an epoch, to be walked chunk by chunk: what a query reads
// by. Which chunks to read is decided by their statistics alone.
type Scan struct {
	d    *Dataset
	at   object.Epoch
	node *Node
}

// Scan opens an array for a walk over its chunks at an epoch; 0: the newest.
func (d *Dataset) Scan(ctx context.Context, at object.Epoch, path string) (*Scan, error) {
	at, err := d.at(ctx, at)
	if err != nil {
		return nil, err
	}
	n, err := d.array(ctx, at, path)
	if err != nil {
		return nil, err
	}
	return &Scan{d: d, at: at, node: n}, nil
}

// Epoch is the epoch that is read.
func (s *Scan) Epoch() object.Epoch { return s.at }

// Spec describes the array at that epoch.
func (s *Scan) Spec() *Spec { return s.node.Spec }

// Chunks calls fn for each chunk that has been written, in C order of the
// coordinates, after a chunk (nil: from the first), until fn returns false. A
// chunk that is left out has the fill value in all its elements. It reads no
// elements; fn must not use the store.
func (s *Scan) Chunks(ctx context.Context, after []uint64, fn func(*ChunkStats) bool) error {
	spec := s.node.Spec
	o := object.ListOptions{Akey: akeyRecord}
	if after != nil {
		if len(after) != len(spec.Shape) {
			return fault.New(fault.Invalid, "array.chunks", s.d.where(s.node.Path), "chunk coordinates %v in an array of %d axes", after, len(spec.Shape))
		}
		o.After = chunkKey(after)
	}
	var failed error
	err := s.d.st.List(ctx, s.at, chunksOID(s.node.ID), o, func(it object.Item) bool {
		c, err := s.summary(it)
		if err != nil {
			failed = err
			return false
		}
		return c == nil || fn(c)
	})
	if err == nil {
		err = failed
	}
	return fault.Wrap(err, "array.chunks", s.d.where(s.node.Path))
}

// summary is what a chunk's record says of its part inside the shape; nil: all of
// it was cut off.
func (s *Scan) summary(it object.Item) (*ChunkStats, error) {
	spec := s.node.Spec
	coords, err := decodeChunkKey(it.Dkey, len(spec.Shape))
	if err != nil {
		return nil, err
	}
	c, err := decodeChunk(it.Value, spec.DType.size)
	if err != nil {
		return nil, err
	}
	in := product(inside(coords, spec.Chunks, spec.Shape))
	if in == 0 {
		return nil, nil
	}
	st := c.stats
	st.settle(spec, in, s.node.extent.stale != nil)
	return &ChunkStats{Coords: coords, Count: st.count, NaNs: st.nans, Min: slices.Clone(st.min), Max: slices.Clone(st.max), Exact: st.exact, Version: it.Epoch}, nil
}

// Read reads the part of a chunk that lies inside the shape: its elements in C
// order, and the lengths of that part.
func (s *Scan) Read(ctx context.Context, coords []uint64) (data []byte, shape []uint64, err error) {
	spec := s.node.Spec
	where := s.d.where(s.node.Path)
	if len(coords) != len(spec.Shape) {
		return nil, nil, fault.New(fault.Invalid, "array.chunks", where, "chunk coordinates %v in an array of %d axes", coords, len(spec.Shape))
	}
	for d, g := range spec.grid() {
		if coords[d] >= g {
			return nil, nil, fault.New(fault.Invalid, "array.chunks", where, "there is no chunk %v, the grid is %v", coords, spec.grid())
		}
	}
	shape = inside(coords, spec.Chunks, spec.Shape)
	axes := make([]Axis, len(shape))
	for d := range axes {
		axes[d] = Axis{Start: coords[d] * spec.Chunks[d], Count: shape[d], Step: 1}
	}
	r := &Reader{d: s.d, at: s.at, node: s.node, axes: axes, shape: shape}
	data = make([]byte, product(shape)*uint64(spec.DType.size))
	return data, shape, r.read(ctx, axes, data)
}
