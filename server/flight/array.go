package flight

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	arrowarray "github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"daos/dataset/array"
	"daos/engine/object"
	"daos/internal/fault"
	arrayv1 "daos/proto/gen/daos/array/v1"
	flightv1 "daos/proto/gen/daos/flight/v1"
	"daos/server/pool"
)

// keyDType is the key in a field's metadata that has the element type's own name.
const keyDType = "daos.dtype"

// elementType is the Arrow type of elements; those that Arrow lacks stand for
// their bits.
func elementType(t array.DType) arrow.DataType {
	switch t.Name() {
	case "bool":
		return arrow.FixedWidthTypes.Boolean
	case "float16":
		return arrow.FixedWidthTypes.Float16
	case "float32":
		return arrow.PrimitiveTypes.Float32
	case "float64":
		return arrow.PrimitiveTypes.Float64
	case "int8":
		return arrow.PrimitiveTypes.Int8
	case "int16":
		return arrow.PrimitiveTypes.Int16
	case "int32":
		return arrow.PrimitiveTypes.Int32
	case "int64":
		return arrow.PrimitiveTypes.Int64
	case "uint8", "float8_e4m3fn", "float8_e5m2":
		return arrow.PrimitiveTypes.Uint8
	case "uint16", "bfloat16":
		return arrow.PrimitiveTypes.Uint16
	case "uint32":
		return arrow.PrimitiveTypes.Uint32
	case "uint64":
		return arrow.PrimitiveTypes.Uint64
	case "date32":
		return arrow.FixedWidthTypes.Date32
	case "date64":
		return arrow.FixedWidthTypes.Date64
	case "interval[month]":
		return arrow.FixedWidthTypes.MonthInterval
	case "interval[day_time]":
		return arrow.FixedWidthTypes.DayTimeInterval
	case "interval[month_day_nano]":
		return arrow.FixedWidthTypes.MonthDayNanoInterval
	}
	base, args, _ := strings.Cut(strings.NewReplacer("(", "[", ")", "", "]", "").Replace(t.Name()), "[")
	first, second, _ := strings.Cut(args, ", ")
	number := func(s string) int32 { n, _ := strconv.ParseInt(s, 10, 32); return int32(n) } // the name is a parsed one
	unit := map[string]arrow.TimeUnit{"s": arrow.Second, "ms": arrow.Millisecond, "us": arrow.Microsecond, "ns": arrow.Nanosecond}[first]
	switch base {
	case "timestamp":
		return &arrow.TimestampType{Unit: unit, TimeZone: strings.TrimPrefix(second, "tz=")}
	case "duration":
		return &arrow.DurationType{Unit: unit}
	case "time32":
		return &arrow.Time32Type{Unit: unit}
	case "time64":
		return &arrow.Time64Type{Unit: unit}
	case "decimal128":
		return &arrow.Decimal128Type{Precision: number(first), Scale: number(second)}
	case "decimal256":
		return &arrow.Decimal256Type{Precision: number(first), Scale: number(second)}
	}
	return &arrow.FixedSizeBinaryType{ByteWidth: t.Size()}
}

// arrayColumn is the one column of an array's rows.
type arrayColumn struct {
	schema  *arrow.Schema
	element arrow.DataType
	row     int // elements
	size    int // bytes of an element
}

// columnOfArray describes the rows of a selection.
func columnOfArray(path string, s *array.Spec, shape []uint64) (*arrayColumn, error) {
	c := &arrayColumn{element: elementType(s.DType), row: 1, size: s.DType.Size()}
	f := arrow.Field{Name: path[strings.LastIndexByte(path, '/')+1:], Type: c.element}
	keys, values := []string{keyDType}, []string{s.DType.Name()}
	if len(shape) > 1 {
		n := uint64(1)
		for _, k := range shape[1:] {
			if n *= max(k, 1); n > math.MaxInt32 {
				return nil, fault.New(fault.TooBig, "flight.array", path, "rows of shape %v have too many elements for a list", shape[1:]).Do("select less along the other axes")
			}
		}
		c.row = 1
		for _, k := range shape[1:] {
			c.row *= int(k)
		}
		f.Type = arrow.FixedSizeListOf(int32(c.row), c.element)
		meta := map[string]any{"shape": shape[1:]}
		if len(s.Dims) > 1 {
			meta["dim_names"] = s.Dims[1:]
		}
		m, err := json.Marshal(meta)
		if err != nil {
			return nil, fault.New(fault.Internal, "flight.array", path, "the shape can't be written").Because(err)
		}
		keys, values = append(keys, "ARROW:extension:name", "ARROW:extension:metadata"), append(values, "arrow.fixed_shape_tensor", string(m))
	}
	f.Metadata = arrow.NewMetadata(keys, values)
	c.schema = arrow.NewSchema([]arrow.Field{f}, nil)
	return c, nil
}

// record is n rows over their own memory.
func (c *arrayColumn) record(raw []byte, n int) arrow.Record {
	if c.element.ID() == arrow.BOOL {
		packed := make([]byte, bitutil.BytesForBits(int64(len(raw))))
		for i, v := range raw {
			if v != 0 {
				bitutil.SetBit(packed, i)
			}
		}
		raw = packed
	}
	data := arrowarray.NewData(c.element, n*c.row, []*memory.Buffer{nil, memory.NewBufferBytes(raw)}, nil, 0, 0)
	if t := c.schema.Field(0).Type; t.ID() == arrow.FIXED_SIZE_LIST {
		data = arrowarray.NewData(t, n, []*memory.Buffer{nil}, []arrow.ArrayData{data}, 0, 0)
	}
	return arrowarray.NewRecord(c.schema, []arrow.Array{arrowarray.MakeFromData(data)}, int64(n))
}

func axesOf(ms []*arrayv1.Axis) []array.Axis {
	axes := make([]array.Axis, len(ms))
	for i, m := range ms {
		axes[i] = array.Axis{Start: m.GetStart(), Count: m.GetCount(), Step: m.GetStep(), Indices: m.GetIndices()}
	}
	return axes
}

// selectArray opens what a command asks for, with the column of its rows.
func selectArray(ctx context.Context, r *pool.Resolved, at object.Epoch, req *flightv1.ArrayRead) (*array.Reader, *arrayColumn, error) {
	rd, err := array.Open(r.Store, r.Address.WithPath("").DatasetName()).Select(ctx, at, req.GetPath(), axesOf(req.GetAxes()))
	if err != nil {
		return nil, nil, err
	}
	c, err := columnOfArray(req.GetPath(), rd.Spec(), rd.Shape())
	return rd, c, err
}

func (s *Server) arrayInfo(ctx context.Context, t *target, r pool.Resolved) (*info, error) {
	if t.entries != nil || t.tensor != nil || t.kv != nil {
		return nil, wrongType(t.address, r.Dataset.Type, t.command())
	}
	req := &flightv1.ArrayRead{Path: t.address.Path}
	if t.array != nil {
		req = t.array
	}
	if req.GetPath() == "" {
		return nil, fault.New(fault.NotFound, "flight.info", t.address.DatasetName(), "an array of the dataset has to be named").
			Do(`use the path ["POOL", "DATASET", "ARRAY"], or the command array`)
	}
	epoch, err := r.Epoch(ctx, object.Epoch(req.GetEpoch()), 0)
	if err != nil {
		return nil, err
	}
	rd, c, err := selectArray(ctx, &r, epoch, req)
	if err != nil {
		return nil, err
	}
	rows := uint64(1)
	if shape := rd.Shape(); len(shape) > 0 {
		rows = shape[0]
	}
	if rd.Bytes() > math.MaxInt64/2 {
		return nil, fault.New(fault.TooBig, "flight.info", req.GetPath(), "the selection has more than %d bytes", uint64(math.MaxInt64/2))
	}
	i := &info{sources: []source{{r, epoch}}, schema: c.schema, records: int64(rows), bytes: int64(rd.Bytes())}
	n := min(uint64(s.o.Endpoints), max(rd.Bytes()/rangeBytes, 1), max(rows, 1))
	axes := req.GetAxes()
	if len(axes) == 0 {
		for _, k := range rd.Shape() {
			axes = append(axes, &arrayv1.Axis{Count: k, Step: 1})
		}
	}
	for k := range n {
		part := &flightv1.ArrayRead{Dataset: r.Address.WithPath("").DatasetName(), Path: req.GetPath(), Axes: axes, Epoch: uint64(epoch)}
		if n > 1 {
			part.Axes = append([]*arrayv1.Axis{rowsOf(axes[0], rows*k/n, rows*(k+1)/n)}, axes[1:]...)
		}
		i.commands = append(i.commands, &flightv1.Command{Of: &flightv1.Command_Array{Array: part}})
	}
	return i, nil
}

// rowsOf is positions [from, to) of an axis.
func rowsOf(a *arrayv1.Axis, from, to uint64) *arrayv1.Axis {
	if len(a.GetIndices()) > 0 {
		return &arrayv1.Axis{Indices: a.GetIndices()[from:to]}
	}
	step := max(a.GetStep(), 1)
	return &arrayv1.Axis{Start: a.GetStart() + from*step, Count: to - from, Step: step}
}

// getArray sends the rows of a selection in batches that stay below maxBatch; a
// single large row goes alone.
func getArray(ctx context.Context, req *flightv1.ArrayRead, r *pool.Resolved, out stream) error {
	at := object.Epoch(req.GetEpoch())
	rd, c, err := selectArray(ctx, r, at, req)
	if err != nil {
		return err
	}
	w, err := newSender(out, c.schema)
	if err != nil {
		return err
	}
	shape := rd.Shape()
	if len(shape) == 0 {
		shape = []uint64{1}
	}
	row := uint64(c.row) * uint64(c.size)
	if row > 1<<30 {
		return fault.New(fault.TooBig, "flight.array", req.GetPath(), "a row of %d bytes, at most %d are allowed", row, 1<<30).Do("select less along the other axes")
	}
	step := max(maxBatch/max(row, 1), 1)
	if row == 0 {
		step = max(shape[0], 1)
	}
	for from := uint64(0); from < shape[0]; from += step {
		to := min(from+step, shape[0])
		part := rd
		if to-from < shape[0] {
			p := &flightv1.ArrayRead{Path: req.GetPath(), Axes: append([]*arrayv1.Axis{rowsOf(req.GetAxes()[0], from, to)}, req.GetAxes()[1:]...)}
			if part, _, err = selectArray(ctx, r, at, p); err != nil {
				return err
			}
		}
		raw := make([]byte, (to-from)*row)
		if err := readRows(ctx, part, raw); err != nil {
			return err
		}
		rec := c.record(raw, int(to-from))
		err := w.send(rec, nil)
		rec.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// readRows fills raw piece by piece, however many chunks the rows touch.
func readRows(ctx context.Context, rd *array.Reader, raw []byte) error {
	n := 0
	err := rd.Pieces(ctx, func(p []byte) error {
		n += copy(raw[n:], p)
		return nil
	})
	if err == nil && n != len(raw) {
		err = fault.New(fault.Internal, "flight.array", "", "%s", fmt.Sprintf("%d bytes read of %d", n, len(raw)))
	}
	return err
}
