package manifest

import (
	"context"
	"fmt"
	"strings"

	"daos/dataset/array"
	"daos/dataset/tensor"
	"daos/engine/object"
	"daos/internal/fault"
)

// Arrays is what a manifest needs of an array dataset; *array.Dataset is one.
type Arrays interface {
	Scan(ctx context.Context, at object.Epoch, path string) (*array.Scan, error)
}

// TableOf shows one array as a table with one column, named as the array is: a
// sample is a position along the first axis.
func TableOf(a Arrays, path string) Table { return &rowTable{a, path} }

type rowTable struct {
	a    Arrays
	path string
}

// column is the column's description. Types that a table does not have stand for
// their bits.
func (t *rowTable) column(s *array.Spec) (tensor.Column, error) {
	c := tensor.Column{Name: t.path[strings.LastIndexByte(t.path, '/')+1:], Layout: tensor.Fixed, Shape: append([]uint64{}, s.RowShape()...)}
	for d, n := range c.Shape {
		if n == 0 {
			return c, fault.New(fault.Unsupported, "loader.manifest", t.path, "axis %d has no elements", d+1)
		}
	}
	if c.Name == "" {
		c.Name = "array"
	}
	var err error
	if c.DType, err = tensor.ParseDType(s.DType.Name()); err == nil {
		return c, nil
	}
	float := strings.Contains(s.DType.Name(), "float")
	switch size := s.DType.Size(); {
	case strings.HasPrefix(s.DType.Name(), "fixed_size_binary") || size > 8:
		c.DType, c.Shape = tensor.Uint8, append(c.Shape, uint64(size))
	case float:
		c.DType, err = tensor.ParseDType(fmt.Sprintf("uint%d", 8*size))
	default:
		c.DType, err = tensor.ParseDType(fmt.Sprintf("int%d", 8*size))
	}
	if err != nil {
		return c, fault.New(fault.Unsupported, "loader.manifest", t.path, "elements of type %s can't be samples", s.DType)
	}
	return c, nil
}

// Describe implements Table.
func (t *rowTable) Describe(ctx context.Context, at object.Epoch) (tensor.Info, error) {
	s, err := t.a.Scan(ctx, at, t.path)
	if err != nil {
		return tensor.Info{}, err
	}
	if s.Spec().Rank() == 0 {
		return tensor.Info{}, fault.New(fault.Unsupported, "loader.manifest", t.path, "an array without axes has no samples")
	}
	c, err := t.column(s.Spec())
	if err == nil {
		// A fault of the places is said now, not when the first batch is asked for.
		err = s.Rows(ctx, func(array.Place) error { return nil })
	}
	return tensor.Info{Columns: []tensor.Column{c}, Length: s.Spec().Shape[0], Epoch: s.Epoch()}, err
}

// Chunks implements Table.
func (t *rowTable) Chunks(ctx context.Context, at object.Epoch, _ string, fn func(tensor.ChunkPlace) error) error {
	s, err := t.a.Scan(ctx, at, t.path)
	if err != nil {
		return err
	}
	return s.Rows(ctx, func(p array.Place) error {
		return fn(tensor.ChunkPlace{First: p.First, Count: p.Count, Bytes: p.Bytes, Object: p.Object, Dkey: p.Dkey, Values: p.Akey})
	})
}

// Largest implements Table.
func (t *rowTable) Largest(ctx context.Context, at object.Epoch, _ string) (uint64, error) {
	s, err := t.a.Scan(ctx, at, t.path)
	if err != nil {
		return 0, err
	}
	n := uint64(s.Spec().DType.Size())
	for _, k := range s.Spec().RowShape() {
		n *= k
	}
	return n, nil
}
