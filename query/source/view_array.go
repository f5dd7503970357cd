package source

import (
	"context"
	"encoding/binary"
	"math"
	"slices"

	"daos/dataset/array"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/query/exec"
	"daos/query/expr"
)

// sampleBytes is the most bytes of one sample of an array that is a row.
const sampleBytes = 64 << 20

// arraySamples are positions along the first axis of an array: that position,
// called as the axis, and the value there, a number, or a list of fixed shape where
// the array has further axes. Of an array of one axis RowID is the position too.
type arraySamples struct {
	d      *array.Dataset
	at     object.Epoch
	path   string
	spec   *array.Spec
	schema expr.Schema
	widen  func([]byte) []byte // of elements that are shown as float32; nil: as they are
	row    uint64              // bytes of a sample as it is stored
}

// ArraySamples reads samples of an array at an epoch. fault.Unsupported for an
// element type that is no column type.
func ArraySamples(ctx context.Context, name string, d *array.Dataset, at object.Epoch, path string) (Samples, error) {
	sc, err := d.Scan(ctx, at, path)
	if err != nil {
		return nil, err
	}
	s := &arraySamples{d: d, at: at, path: path, spec: sc.Spec()}
	if s.spec.Rank() == 0 {
		return nil, fault.New(fault.Unsupported, "query.view", name, "an array without axes has no samples")
	}
	ty, widen, known := ElementType(s.spec.DType)
	if !known {
		return nil, fault.New(fault.Unsupported, "query.view", name, "elements of type %s are no column of a table", s.spec.DType).
			Do("read the samples with pydaos.torch.Dataset(..., view=...)")
	}
	s.widen, s.row = widen, uint64(s.spec.DType.Size())
	value := expr.Field{Name: "value", Type: ty}
	if rest := s.spec.Shape[1:]; len(rest) > 0 {
		if ty == expr.Time { // lists have numbers
			ty = expr.Int64
		}
		value = expr.Field{Name: "value", Type: expr.List, Elem: ty, Shape: slices.Clone(rest)}
		for _, n := range rest {
			if s.row *= n; s.row > sampleBytes {
				return nil, fault.New(fault.TooBig, "query.view", name, "a sample has more than %d bytes, which are not a row", sampleBytes).
					Do("read slices of the array, or the samples with pydaos.torch.Dataset(..., view=...)")
			}
		}
	}
	s.schema = expr.Schema{{Name: AxisNames(s.spec.Dims, s.spec.Rank())[0], Type: expr.Uint64}, value}
	if s.spec.Rank() == 1 {
		s.schema = append(s.schema, expr.Field{Name: RowID, Type: expr.Uint64})
	}
	return s, nil
}

func (s *arraySamples) Schema() expr.Schema { return s.schema }

// Rows is as many samples as are a few MiB.
func (s *arraySamples) Rows(_ context.Context, samples []uint64, _ []int) (exec.Chunk, error) {
	n := min(uint64(len(samples)), max(unitBytes/max(s.row, 1), 1), math.MaxInt32)
	return &pickedElements{s, slices.Clone(samples[:n])}, nil
}

type pickedElements struct {
	s   *arraySamples
	ids []uint64
}

func (c *pickedElements) Rows() int           { return len(c.ids) }
func (c *pickedElements) Stats() []expr.Stats { return make([]expr.Stats, len(c.s.schema)) }

func (c *pickedElements) Read(ctx context.Context, columns []int, rows []uint32) ([]expr.Vector, error) {
	ids := chosen(c.ids, rows)
	out := make([]expr.Vector, len(columns))
	for i, col := range columns {
		if col != 1 {
			for _, id := range ids {
				out[i].Values = binary.LittleEndian.AppendUint64(out[i].Values, id)
			}
			continue
		}
		var err error
		if out[i].Values, err = c.s.read(ctx, ids); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// read is the elements of samples.
func (s *arraySamples) read(ctx context.Context, ids []uint64) ([]byte, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	axes := make([]array.Axis, s.spec.Rank())
	for d := range axes {
		axes[d] = array.Axis{Count: s.spec.Shape[d], Step: 1}
	}
	axes[0] = array.Axis{Indices: ids}
	rd, err := s.d.Select(ctx, s.at, s.path, axes)
	if err != nil {
		return nil, err
	}
	b := make([]byte, rd.Bytes())
	if err := rd.ReadInto(ctx, b); err != nil {
		return nil, err
	}
	if s.widen != nil {
		b = s.widen(b)
	}
	return b, nil
}
