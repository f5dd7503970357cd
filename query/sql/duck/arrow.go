//go:build cgo

package duck

import (
	"math"
	"unicode/utf8"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	duckdb "github.com/duckdb/duckdb-go-bindings"

	"daos/internal/fault"
)

// ArrowTable is a Table whose columns have types that expr has not: structs,
// lists of them, maps, decimals, dates. It is read as record batches.
type ArrowTable interface {
	Table
	ArrowSchema() *arrow.Schema
	// OpenArrow begins to read columns, by place in the schema.
	OpenArrow(columns []int) (ArrowReader, error)
}

// ArrowReader is record batches; one goroutine uses it.
type ArrowReader interface {
	// Next is the next batch, with the columns in the order asked for; io.EOF
	// after the last. The caller releases it.
	Next() (arrow.Record, error)
	Close()
}

// plainArrow are the types whose values lie in Arrow as DuckDB has them.
var plainArrow = map[arrow.Type]duckdb.Type{arrow.INT8: duckdb.TypeTinyInt, arrow.INT16: duckdb.TypeSmallInt, arrow.INT32: duckdb.TypeInteger,
	arrow.INT64: duckdb.TypeBigInt, arrow.UINT8: duckdb.TypeUTinyInt, arrow.UINT16: duckdb.TypeUSmallInt, arrow.UINT32: duckdb.TypeUInteger,
	arrow.UINT64: duckdb.TypeUBigInt, arrow.FLOAT32: duckdb.TypeFloat, arrow.FLOAT64: duckdb.TypeDouble, arrow.DATE32: duckdb.TypeDate}

// otherArrow are those that are converted one by one.
var otherArrow = map[arrow.Type]duckdb.Type{arrow.BOOL: duckdb.TypeBoolean, arrow.FLOAT16: duckdb.TypeFloat, arrow.STRING: duckdb.TypeVarchar,
	arrow.LARGE_STRING: duckdb.TypeVarchar, arrow.BINARY: duckdb.TypeBlob, arrow.LARGE_BINARY: duckdb.TypeBlob, arrow.FIXED_SIZE_BINARY: duckdb.TypeBlob,
	arrow.DATE64: duckdb.TypeDate, arrow.TIME32: duckdb.TypeTime, arrow.TIME64: duckdb.TypeTime, arrow.NULL: duckdb.TypeInteger, arrow.DURATION: duckdb.TypeInterval,
	arrow.DECIMAL256: duckdb.TypeDouble}

// maxDepth is how deep a type may be nested.
const maxDepth = 32

// arrowType is DuckDB's type of a column; lists of a fixed size are lists, a
// decimal of more than 38 digits is a double, as in DuckDB's own reader.
func arrowType(name string, t arrow.DataType, depth int) (lt duckdb.LogicalType, err error) {
	if depth > maxDepth {
		return lt, fault.New(fault.Unsupported, "query.parquet", name, "a type that is nested deeper than %d", maxDepth)
	}
	if d, ok := plainArrow[t.ID()]; ok {
		return duckdb.CreateLogicalType(d), nil
	}
	if d, ok := otherArrow[t.ID()]; ok {
		return duckdb.CreateLogicalType(d), nil
	}
	switch x := t.(type) {
	case *arrow.TimestampType:
		return duckdb.CreateLogicalType(timestampType(x)), nil
	case *arrow.Decimal128Type:
		if x.Precision < 1 || x.Precision > 38 || x.Scale < 0 || x.Scale > x.Precision {
			return duckdb.CreateLogicalType(duckdb.TypeDouble), nil
		}
		return duckdb.CreateDecimalType(uint8(x.Precision), uint8(x.Scale)), nil
	case *arrow.MapType:
		key, err := arrowType(name, x.KeyType(), depth+1)
		if err != nil {
			return lt, err
		}
		defer duckdb.DestroyLogicalType(&key)
		value, err := arrowType(name, x.ItemType(), depth+1)
		if err != nil {
			return lt, err
		}
		defer duckdb.DestroyLogicalType(&value)
		return duckdb.CreateMapType(key, value), nil
	case arrow.ListLikeType:
		e, err := arrowType(name, x.Elem(), depth+1)
		if err != nil {
			return lt, err
		}
		defer duckdb.DestroyLogicalType(&e)
		return duckdb.CreateListType(e), nil
	case *arrow.StructType:
		var types []duckdb.LogicalType
		var names []string
		defer func() {
			for i := range types {
				duckdb.DestroyLogicalType(&types[i])
			}
		}()
		for _, f := range x.Fields() {
			c, err := arrowType(name+"."+f.Name, f.Type, depth+1)
			if err != nil {
				return lt, err
			}
			types, names = append(types, c), append(names, f.Name)
		}
		return duckdb.CreateStructType(types, names), nil
	case *arrow.DictionaryType:
		return arrowType(name, x.ValueType, depth+1)
	case arrow.ExtensionType:
		return arrowType(name, x.StorageType(), depth+1)
	}
	return lt, fault.New(fault.Unsupported, "query.parquet", name, "a column of type %s", t)
}

func timestampType(t *arrow.TimestampType) duckdb.Type {
	switch {
	case t.TimeZone != "":
		return duckdb.TypeTimestampTZ
	case t.Unit == arrow.Nanosecond:
		return duckdb.TypeTimestampNS
	}
	return duckdb.TypeTimestamp
}

// putArrow copies n rows of an array, from row `at` on, into an empty vector. name
// is the column, for errors.
func putArrow(name string, dst duckdb.Vector, a arrow.Array, at, n int) error {
	if n == 0 {
		return nil
	}
	if a.NullN() > 0 || a.DataType().ID() == arrow.NULL {
		duckdb.VectorEnsureValidityWritable(dst)
		words := unsafe.Slice((*uint64)(duckdb.VectorGetValidity(dst)), (n+63)/64)
		for i := range words {
			words[i] = math.MaxUint64
		}
		for i := range n {
			if a.IsNull(at + i) {
				words[i/64] &^= 1 << (i % 64)
			}
		}
	}
	if _, ok := plainArrow[a.DataType().ID()]; ok {
		w := a.DataType().(arrow.FixedWidthDataType).Bytes()
		from := (a.Data().Offset() + at) * w
		copy(bytesAt(duckdb.VectorGetData(dst), n*w), a.Data().Buffers()[1].Bytes()[from:from+n*w])
		return nil
	}
	switch x := a.(type) {
	case *array.Null:
	case *array.Boolean:
		out := bytesAt(duckdb.VectorGetData(dst), n)
		for i := range out {
			out[i] = 0
			if x.IsValid(at+i) && x.Value(at+i) {
				out[i] = 1
			}
		}
	case *array.String:
		return putTexts(name, dst, a, at, n, func(i int) []byte { return unsafeBytes(x.Value(i)) }, true)
	case *array.LargeString:
		return putTexts(name, dst, a, at, n, func(i int) []byte { return unsafeBytes(x.Value(i)) }, true)
	case *array.Binary:
		return putTexts(name, dst, a, at, n, x.Value, false)
	case *array.LargeBinary:
		return putTexts(name, dst, a, at, n, x.Value, false)
	case *array.FixedSizeBinary:
		return putTexts(name, dst, a, at, n, x.Value, false)
	case *array.Dictionary:
		return putDictionary(name, dst, x, at, n)
	case array.ExtensionArray:
		return putArrow(name, dst, x.Storage(), at, n)
	case *array.Struct:
		for i := range x.NumField() {
			if err := putArrow(name, duckdb.StructVectorGetChild(dst, duckdb.IdxT(i)), x.Field(i), at, n); err != nil {
				return err
			}
		}
	case *array.Map:
		lo, hi := putEntries(dst, x, at, n)
		child := duckdb.ListVectorGetChild(dst)
		if err := putArrow(name, duckdb.StructVectorGetChild(child, 0), x.Keys(), lo, hi-lo); err != nil {
			return err
		}
		return putArrow(name, duckdb.StructVectorGetChild(child, 1), x.Items(), lo, hi-lo)
	case array.ListLike:
		lo, hi := putEntries(dst, x, at, n)
		return putArrow(name, duckdb.ListVectorGetChild(dst), x.ListValues(), lo, hi-lo)
	default:
		return putNumbers(name, dst, a, at, n)
	}
	return nil
}

func unsafeBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// inlined is the longest text that lies within its 16 bytes of a vector.
const inlined = 12

// putTexts copies texts or bytes; only texts have to be UTF-8.
func putTexts(name string, dst duckdb.Vector, a arrow.Array, at, n int, value func(int) []byte, text bool) error {
	out := bytesAt(duckdb.VectorGetData(dst), 16*n)
	for i := range n {
		if a.IsNull(at + i) {
			continue
		}
		b := value(at + i)
		if text && !utf8.Valid(b) {
			return fault.New(fault.Invalid, "query.parquet", name, "a text in it is not UTF-8").Do("write the column as bytes")
		}
		putText(dst, out, i, b)
	}
	return nil
}

// putText puts bytes, or a text that is UTF-8, into a vector, whose data is out:
// within that where it is short.
func putText(dst duckdb.Vector, out []byte, i int, b []byte) {
	if len(b) > inlined {
		duckdb.UnsafeVectorAssignStringElementLen(dst, duckdb.IdxT(i), b)
		return
	}
	s := out[16*i : 16*i+16]
	clear(s)
	s[0] = byte(len(b)) // and three bytes of 0
	copy(s[4:], b)
}

// putEntries makes the entries of lists, and says which elements they have: all
// from lo to hi.
func putEntries(dst duckdb.Vector, x array.ListLike, at, n int) (lo, hi int) {
	first, _ := x.ValueOffsets(at)
	_, last := x.ValueOffsets(at + n - 1)
	duckdb.ListVectorReserve(dst, duckdb.IdxT(last-first))
	duckdb.ListVectorSetSize(dst, duckdb.IdxT(last-first))
	entries := unsafe.Slice((*[2]uint64)(duckdb.VectorGetData(dst)), n)
	for i := range entries {
		a, b := x.ValueOffsets(at + i)
		entries[i] = [2]uint64{uint64(a - first), uint64(b - a)}
	}
	return int(first), int(last)
}

// putDictionary copies the values that the codes stand for.
func putDictionary(name string, dst duckdb.Vector, x *array.Dictionary, at, n int) error {
	values := x.Dictionary()
	text := func(value func(int) []byte, isText bool) error {
		return putTexts(name, dst, x, at, n, func(i int) []byte { return value(x.GetValueIndex(i)) }, isText)
	}
	switch v := values.(type) {
	case *array.String:
		return text(func(i int) []byte { return unsafeBytes(v.Value(i)) }, true)
	case *array.LargeString:
		return text(func(i int) []byte { return unsafeBytes(v.Value(i)) }, true)
	case *array.Binary:
		return text(v.Value, false)
	case *array.FixedSizeBinary:
		return text(v.Value, false)
	}
	if _, ok := plainArrow[values.DataType().ID()]; !ok {
		return fault.New(fault.Unsupported, "query.parquet", name, "a dictionary of %s", values.DataType()).Do("write the column without a dictionary type")
	}
	w := values.DataType().(arrow.FixedWidthDataType).Bytes()
	from := values.Data().Buffers()[1].Bytes()[values.Data().Offset()*w:]
	out := bytesAt(duckdb.VectorGetData(dst), n*w)
	for i := range n {
		if x.IsValid(at + i) {
			k := x.GetValueIndex(at+i) * w
			copy(out[i*w:], from[k:k+w])
		}
	}
	return nil
}

func out[T any](dst duckdb.Vector, n int) []T {
	return unsafe.Slice((*T)(duckdb.VectorGetData(dst)), n)
}

// putNumbers copies what is counted otherwise in DuckDB.
func putNumbers(name string, dst duckdb.Vector, a arrow.Array, at, n int) error {
	switch x := a.(type) {
	case *array.Float16:
		for i, o := 0, out[float32](dst, n); i < n; i++ {
			o[i] = x.Value(at + i).Float32()
		}
	case *array.Date64:
		for i, o := 0, out[int32](dst, n); i < n; i++ {
			o[i] = int32(floorDiv(int64(x.Value(at+i)), 86400_000))
		}
	case *array.Time32:
		scale := int64(x.DataType().(*arrow.Time32Type).Unit.Multiplier()) / 1000
		for i, o := 0, out[int64](dst, n); i < n; i++ {
			o[i] = int64(x.Value(at+i)) * scale
		}
	case *array.Time64:
		div := 1000 / int64(x.DataType().(*arrow.Time64Type).Unit.Multiplier()) // 1 of microseconds, 1000 of nanoseconds
		for i, o := 0, out[int64](dst, n); i < n; i++ {
			o[i] = int64(x.Value(at+i)) / div
		}
	case *array.Timestamp:
		return putTimestamps(name, dst, x, at, n)
	case *array.Duration:
		unit := int64(x.DataType().(*arrow.DurationType).Unit.Multiplier())
		for i, o := 0, out[interval](dst, n); i < n; i++ {
			v := int64(x.Value(at + i))
			if unit >= 1000 {
				o[i] = interval{micros: v * (unit / 1000)}
			} else {
				o[i] = interval{micros: floorDiv(v, 1000)}
			}
		}
	case *array.Decimal128:
		t := x.DataType().(*arrow.Decimal128Type)
		for i := range n {
			if x.IsNull(at + i) {
				continue
			}
			v := x.Value(at + i)
			switch {
			case t.Precision < 1 || t.Precision > 38 || t.Scale < 0 || t.Scale > t.Precision:
				out[float64](dst, n)[i] = v.ToFloat64(t.Scale)
			case t.Precision <= 4:
				out[int16](dst, n)[i] = int16(v.LowBits())
			case t.Precision <= 9:
				out[int32](dst, n)[i] = int32(v.LowBits())
			case t.Precision <= 18:
				out[int64](dst, n)[i] = int64(v.LowBits())
			default:
				out[[2]uint64](dst, n)[i] = [2]uint64{v.LowBits(), uint64(v.HighBits())}
			}
		}
	case *array.Decimal256:
		t := x.DataType().(*arrow.Decimal256Type)
		for i, o := 0, out[float64](dst, n); i < n; i++ {
			if x.IsValid(at + i) {
				o[i] = x.Value(at + i).ToFloat64(t.Scale)
			}
		}
	default:
		return fault.New(fault.Unsupported, "query.parquet", name, "a column of type %s", a.DataType())
	}
	return nil
}

// interval is DuckDB's.
type interval struct {
	_      [2]int32 // months, days
	micros int64
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// putTimestamps copies times: as microseconds, or nanoseconds without a time zone.
func putTimestamps(name string, dst duckdb.Vector, x *array.Timestamp, at, n int) error {
	t := x.DataType().(*arrow.TimestampType)
	o := out[int64](dst, n)
	if timestampType(t) == duckdb.TypeTimestampNS || t.Unit == arrow.Microsecond {
		for i := range n {
			o[i] = int64(x.Value(at + i))
		}
		return nil
	}
	for i := range n {
		v := int64(x.Value(at + i))
		if t.Unit == arrow.Nanosecond {
			o[i] = floorDiv(v, 1000)
			continue
		}
		scale := int64(t.Unit.Multiplier()) / 1000
		if x.IsValid(at+i) && (v > math.MaxInt64/scale || v < math.MinInt64/scale) {
			return fault.New(fault.Invalid, "query.parquet", name, "a time in it is beyond what SQL has")
		}
		o[i] = v * scale
	}
	return nil
}
