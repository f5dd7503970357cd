package flight

import (
	"context"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/float16"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"daos/dataset/kv"
	"daos/engine/object"
	"daos/internal/fault"
	flightv1 "daos/proto/gen/daos/flight/v1"
	"daos/server/pool"
)

// Limits of a batch of pairs, and of one value in it.
const (
	kvRows     = 16 << 10
	maxKVValue = 256 << 20
)

// Columns of pairs beside the fields of their values.
const (
	columnKey     = "key"
	columnAkey    = "akey"
	columnValue   = "value"
	columnVersion = "version"
)

var kvTypes = map[kv.FieldType]arrow.DataType{
	kv.Bool: arrow.FixedWidthTypes.Boolean, kv.Int8: arrow.PrimitiveTypes.Int8, kv.Int16: arrow.PrimitiveTypes.Int16, kv.Int32: arrow.PrimitiveTypes.Int32,
	kv.Int64: arrow.PrimitiveTypes.Int64, kv.Uint8: arrow.PrimitiveTypes.Uint8, kv.Uint16: arrow.PrimitiveTypes.Uint16, kv.Uint32: arrow.PrimitiveTypes.Uint32,
	kv.Uint64: arrow.PrimitiveTypes.Uint64, kv.Float16: arrow.FixedWidthTypes.Float16, kv.Float32: arrow.PrimitiveTypes.Float32,
	kv.Float64: arrow.PrimitiveTypes.Float64, kv.String: arrow.BinaryTypes.String, kv.Bytes: arrow.BinaryTypes.Binary,
}

// kvColumns is the rows of pairs: which columns, and where each comes from.
type kvColumns struct {
	schema *arrow.Schema
	fields *kv.Schema // nil: values are bytes
	from   []int      // of each column: a field of the values, or one of those below
	values bool       // a column needs the values
}

const (
	fromKey = -1 - iota
	fromAkey
	fromValue
	fromVersion
)

// kvSchema chooses columns. A field of the values that is called as one of the
// pair's own columns is "value.NAME".
func kvSchema(dataset string, s *kv.Schema, names []string) (*kvColumns, error) {
	all := []arrow.Field{{Name: columnKey, Type: arrow.BinaryTypes.Binary}, {Name: columnAkey, Type: arrow.BinaryTypes.Binary}}
	from := []int{fromKey, fromAkey}
	if s == nil {
		all, from = append(all, arrow.Field{Name: columnValue, Type: arrow.BinaryTypes.Binary}), append(from, fromValue)
	} else {
		for i, f := range s.Fields {
			name := f.Name
			if name == columnKey || name == columnAkey || name == columnVersion {
				name = columnValue + "." + name
			}
			all, from = append(all, arrow.Field{Name: name, Type: kvTypes[f.Type], Nullable: f.Nullable}), append(from, i)
		}
	}
	all, from = append(all, arrow.Field{Name: columnVersion, Type: arrow.PrimitiveTypes.Uint64}), append(from, fromVersion)
	c := &kvColumns{fields: s}
	var chosen []arrow.Field
	if len(names) == 0 {
		chosen, c.from = all, from
	}
	for _, n := range names {
		i := slices.IndexFunc(all, func(f arrow.Field) bool { return f.Name == n })
		if i < 0 {
			return nil, fault.New(fault.NotFound, "flight.info", dataset, "no column %q", n).Do("GetSchema of the dataset names the columns")
		}
		chosen, c.from = append(chosen, all[i]), append(c.from, from[i])
	}
	c.values = slices.ContainsFunc(c.from, func(i int) bool { return i >= 0 || i == fromValue })
	c.schema = arrow.NewSchema(chosen, nil)
	return c, nil
}

func (s *Server) kvInfo(ctx context.Context, t *target, r pool.Resolved, pieces int) (*info, error) {
	if t.entries != nil || t.tensor != nil || t.array != nil {
		return nil, wrongType(t.address, r.Dataset.Type, t.command())
	}
	req := &flightv1.KvRead{}
	if t.kv != nil {
		req = t.kv
	}
	prefix := req.GetPrefix()
	if t.address.Path != "" {
		prefix = []byte(t.address.Path)
	}
	epoch, err := r.Epoch(ctx, object.Epoch(req.GetEpoch()), 0)
	if err != nil {
		return nil, err
	}
	v, c, err := s.pairs(ctx, &r, epoch, req.GetColumns())
	if err != nil {
		return nil, err
	}
	rng := kv.Range{Prefix: prefix, Start: req.GetStart(), Reverse: req.GetReverse()}
	if len(req.GetStop()) > 0 {
		rng.Stop = req.GetStop()
	}
	if err := rng.Check(); err != nil {
		return nil, err
	}
	var cuts [][]byte
	if req.GetLimit() == 0 { // a limit is one for all pieces together
		if cuts, err = v.Cuts(ctx, rng, pieces); err != nil {
			return nil, err
		}
	}
	i := &info{sources: []source{{r, epoch}}, schema: c.schema, records: -1, bytes: -1}
	for _, p := range rng.Pieces(cuts) {
		i.commands = append(i.commands, &flightv1.Command{Of: &flightv1.Command_Kv{Kv: &flightv1.KvRead{
			Dataset: r.Address.WithPath("").DatasetName(), Columns: req.GetColumns(), Prefix: prefix, Start: p.Start, Stop: p.Stop,
			Reverse: req.GetReverse(), Limit: req.GetLimit(), Epoch: uint64(epoch),
		}}})
	}
	return i, nil
}

// pairs opens a KV dataset at an epoch with its columns.
func (s *Server) pairs(ctx context.Context, r *pool.Resolved, at object.Epoch, columns []string) (*kv.View, *kvColumns, error) {
	if s.o.Pairs == nil {
		return nil, nil, fault.New(fault.Unsupported, "flight.info", r.Address.DatasetName(), "this server does not serve KV datasets over Flight")
	}
	d, err := s.o.Pairs(r)
	if err != nil {
		return nil, nil, err
	}
	v := d.At(at)
	sc, err := v.Schema(ctx)
	if err != nil {
		return nil, nil, err
	}
	c, err := kvSchema(r.Address.DatasetName(), sc, columns)
	return v, c, err
}

// getKV sends pairs in batches that stay below maxBatch, single large values
// apart.
func (s *Server) getKV(ctx context.Context, req *flightv1.KvRead, r *pool.Resolved, out stream) error {
	v, c, err := s.pairs(ctx, r, object.Epoch(req.GetEpoch()), req.GetColumns())
	if err != nil {
		return err
	}
	w, err := newSender(out, c.schema)
	if err != nil {
		return err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, c.schema)
	defer b.Release()
	rows, size := 0, 0
	flush := func() error {
		if rows == 0 {
			return nil
		}
		rec := b.NewRecord()
		defer rec.Release()
		rows, size = 0, 0
		return w.send(rec, nil)
	}
	left := req.GetLimit()
	rng := kv.Range{Prefix: req.GetPrefix(), Start: req.GetStart(), Reverse: req.GetReverse(), KeysOnly: !c.values}
	if len(req.GetStop()) > 0 {
		rng.Stop = req.GetStop()
	}
	var cells []kv.Cell
	var failed error
	err = v.Scan(ctx, rng, func(p *kv.Pair) bool {
		var value []byte
		if c.values {
			if p.Value.Size > maxKVValue {
				failed = fault.New(fault.TooBig, "flight.get", r.Address.DatasetName(), "the value of %q has %d bytes, at most %d go into a row", p.Key, p.Value.Size, maxKVValue).
					Do("leave the column value out, and read large values with pydaos or `daos kv get`")
				return false
			}
			if value, failed = v.Bytes(ctx, &p.Value); failed != nil {
				return false
			}
		}
		if rows > 0 && size+len(p.Key)+len(value) > maxBatch || rows == kvRows {
			if failed = flush(); failed != nil {
				return false
			}
		}
		if c.fields != nil && c.values {
			if cells, failed = c.fields.Decode(p.Key, value, cells[:0]); failed != nil {
				return false
			}
		}
		c.add(b, p, value, cells)
		rows++
		size += len(p.Key) + len(p.Akey) + len(value) + 24
		if left--; left == 0 && req.GetLimit() > 0 {
			return false
		}
		return true
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	return flush()
}

func (c *kvColumns) add(b *array.RecordBuilder, p *kv.Pair, value []byte, cells []kv.Cell) {
	for i, from := range c.from {
		to := b.Field(i)
		switch from {
		case fromKey:
			to.(*array.BinaryBuilder).Append(p.Key)
		case fromAkey:
			to.(*array.BinaryBuilder).Append(p.Akey)
		case fromValue:
			to.(*array.BinaryBuilder).Append(value)
		case fromVersion:
			to.(*array.Uint64Builder).Append(uint64(p.Value.Version))
		default:
			addCell(to, &cells[from])
		}
	}
}

func addCell(to array.Builder, x *kv.Cell) {
	if x.Null {
		to.AppendNull()
		return
	}
	switch b := to.(type) {
	case *array.BooleanBuilder:
		b.Append(x.Int == 1)
	case *array.Int8Builder:
		b.Append(int8(x.Int))
	case *array.Int16Builder:
		b.Append(int16(x.Int))
	case *array.Int32Builder:
		b.Append(int32(x.Int))
	case *array.Int64Builder:
		b.Append(x.Int)
	case *array.Uint8Builder:
		b.Append(uint8(x.Uint))
	case *array.Uint16Builder:
		b.Append(uint16(x.Uint))
	case *array.Uint32Builder:
		b.Append(uint32(x.Uint))
	case *array.Uint64Builder:
		b.Append(x.Uint)
	case *array.Float16Builder:
		b.Append(float16.FromBits(uint16(x.Uint)))
	case *array.Float32Builder:
		b.Append(float32(x.Float))
	case *array.Float64Builder:
		b.Append(x.Float)
	case *array.StringBuilder:
		b.BinaryBuilder.Append(x.Bytes)
	case *array.BinaryBuilder:
		b.Append(x.Bytes)
	}
}
