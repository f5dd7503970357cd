//go:build cgo

package duck

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"daos/internal/fault"
	"daos/internal/half"
	"daos/query/exec"
	"daos/query/expr"
)

// maxArray is the largest array that DuckDB has; longer samples become lists.
const maxArray = 100000

var plainTypes = map[expr.Type]duckdb.Type{expr.Bool: duckdb.TypeBoolean, expr.Int8: duckdb.TypeTinyInt, expr.Int16: duckdb.TypeSmallInt,
	expr.Int32: duckdb.TypeInteger, expr.Int64: duckdb.TypeBigInt, expr.Uint8: duckdb.TypeUTinyInt, expr.Uint16: duckdb.TypeUSmallInt,
	expr.Uint32: duckdb.TypeUInteger, expr.Uint64: duckdb.TypeUBigInt, expr.Float16: duckdb.TypeFloat, expr.Float32: duckdb.TypeFloat,
	expr.Float64: duckdb.TypeDouble, expr.Text: duckdb.TypeVarchar, expr.Bytes: duckdb.TypeBlob, expr.Time: duckdb.TypeTimestampNS}

// logicalType is DuckDB's type of a column: a sample of n elements is an array
// of n, one of several dimensions is flat.
func logicalType(f *expr.Field) (duckdb.LogicalType, error) {
	if f.Type != expr.List {
		t, ok := plainTypes[f.Type]
		if !ok {
			return duckdb.LogicalType{}, fault.New(fault.Unsupported, "query.sql", f.Name, "a column of type %s", f.TypeName())
		}
		return duckdb.CreateLogicalType(t), nil
	}
	e := duckdb.CreateLogicalType(plainTypes[f.Elem])
	defer duckdb.DestroyLogicalType(&e)
	if n := elements(f); n > 0 && n <= maxArray {
		return duckdb.CreateArrayType(e, duckdb.IdxT(n)), nil
	}
	return duckdb.CreateListType(e), nil
}

// elements is the number of elements of a sample, -1 where it varies.
func elements(f *expr.Field) int {
	if f.Shape == nil {
		return -1
	}
	n := 1
	for _, d := range f.Shape {
		n *= int(d)
	}
	return n
}

func bytesAt(p unsafe.Pointer, n int) []byte { return unsafe.Slice((*byte)(p), n) }

// put copies n rows of a column, from row `at` on, into an empty vector.
func put(dst duckdb.Vector, f *expr.Field, src *expr.Vector, at, n int) {
	if src.Valid != nil {
		duckdb.VectorEnsureValidityWritable(dst)
		mask := duckdb.VectorGetValidity(dst)
		words := unsafe.Slice((*uint64)(mask), (n+63)/64)
		for i := range words {
			words[i] = math.MaxUint64
		}
		for i := range n {
			if src.Valid[at+i] == 0 {
				words[i/64] &^= 1 << (i % 64)
			}
		}
	}
	switch {
	case f.Type == expr.Text || f.Type == expr.Bytes:
		putRows(dst, src, at, n, f.Type == expr.Text)
	case f.Type != expr.List:
		putPlain(dst, f.Type, src.Values[at*f.Type.Size():(at+n)*f.Type.Size()])
	default:
		putLists(dst, f, src, at, n)
	}
}

// putRows copies texts or bytes: all of them at once into the memory of the
// vector, as one text, which the others then are parts of.
func putRows(dst duckdb.Vector, src *expr.Vector, at, n int, text bool) {
	out, offsets := bytesAt(duckdb.VectorGetData(dst), 16*n), src.Offsets[at:at+n+1]
	all := src.Values[offsets[0]:offsets[n]]
	whole := len(all) > inlined && len(all) < 1<<30 && (!text || validParts(all, offsets))
	var heap uint64
	if whole {
		duckdb.UnsafeVectorAssignStringElementLen(dst, 0, all)
		heap = binary.LittleEndian.Uint64(out[8:])
	}
	for i := range n {
		if src.Valid != nil && src.Valid[at+i] == 0 {
			continue
		}
		b := src.Values[offsets[i]:offsets[i+1]]
		switch {
		case len(b) <= inlined && (!text || utf8.Valid(b)):
			putText(dst, out, i, b)
		case whole:
			s := out[16*i : 16*i+16]
			binary.LittleEndian.PutUint32(s, uint32(len(b)))
			copy(s[4:8], b)
			binary.LittleEndian.PutUint64(s[8:], heap+offsets[i]-offsets[0])
		default:
			duckdb.VectorAssignStringElementLen(dst, duckdb.IdxT(i), b) // it looks whether it is a text
		}
	}
}

// validParts reports whether all parts of a text, which the offsets cut, are UTF-8.
func validParts(all []byte, offsets []uint64) bool {
	for _, o := range offsets {
		if k := o - offsets[0]; k < uint64(len(all)) && !utf8.RuneStart(all[k]) {
			return false
		}
	}
	return utf8.Valid(all)
}

// putPlain copies values of fixed width.
func putPlain(dst duckdb.Vector, t expr.Type, values []byte) {
	out := duckdb.VectorGetData(dst)
	if t == expr.Float16 {
		for i := 0; i < len(values); i += 2 {
			f := half.Float32(binary.LittleEndian.Uint16(values[i:]))
			*(*float32)(unsafe.Add(out, 2*i)) = f
		}
		return
	}
	copy(bytesAt(out, len(values)), values)
}

func putLists(dst duckdb.Vector, f *expr.Field, src *expr.Vector, at, n int) {
	w := f.Elem.Size()
	count := elements(f)
	if count > 0 && count <= maxArray {
		putPlain(duckdb.ArrayVectorGetChild(dst), f.Elem, src.Values[at*count*w:(at+n)*count*w])
		return
	}
	from := func(i int) uint64 {
		if count >= 0 {
			return uint64(i * count * w)
		}
		return src.Offsets[i]
	}
	lo, hi := from(at), from(at+n)
	total := (hi - lo) / uint64(w)
	duckdb.ListVectorReserve(dst, duckdb.IdxT(total))
	duckdb.ListVectorSetSize(dst, duckdb.IdxT(total))
	entries := unsafe.Slice((*[2]uint64)(duckdb.VectorGetData(dst)), n)
	for i := range n {
		a, b := from(at+i), from(at+i+1)
		entries[i] = [2]uint64{(a - lo) / uint64(w), (b - a) / uint64(w)}
	}
	putPlain(duckdb.ListVectorGetChild(dst), f.Elem, src.Values[lo:hi])
}

// resultField is the column that a column of a result becomes. cast says that
// the statement has to turn it into another type first, named so.
func resultField(name string, lt duckdb.LogicalType) (f expr.Field, cast string) {
	f.Name = name
	switch id := duckdb.GetTypeId(lt); id {
	case duckdb.TypeBoolean:
		f.Type = expr.Bool
	case duckdb.TypeTinyInt:
		f.Type = expr.Int8
	case duckdb.TypeSmallInt:
		f.Type = expr.Int16
	case duckdb.TypeInteger, duckdb.TypeSQLNull:
		f.Type = expr.Int32
		if id == duckdb.TypeSQLNull {
			cast = "INTEGER"
		}
	case duckdb.TypeBigInt:
		f.Type = expr.Int64
	case duckdb.TypeUTinyInt:
		f.Type = expr.Uint8
	case duckdb.TypeUSmallInt:
		f.Type = expr.Uint16
	case duckdb.TypeUInteger:
		f.Type = expr.Uint32
	case duckdb.TypeUBigInt:
		f.Type = expr.Uint64
	case duckdb.TypeFloat:
		f.Type = expr.Float32
	case duckdb.TypeDouble:
		f.Type = expr.Float64
	case duckdb.TypeVarchar:
		f.Type = expr.Text
	case duckdb.TypeBlob:
		f.Type = expr.Bytes
	case duckdb.TypeTimestampNS:
		f.Type = expr.Time
	case duckdb.TypeTimestamp, duckdb.TypeTimestampS, duckdb.TypeTimestampMS, duckdb.TypeTimestampTZ:
		f.Type, cast = expr.Time, "TIMESTAMP_NS"
	case duckdb.TypeHugeInt: // what sum() of integers is
		f.Type, cast = expr.Int64, "BIGINT"
	case duckdb.TypeUHugeInt:
		f.Type, cast = expr.Uint64, "UBIGINT"
	case duckdb.TypeDecimal:
		f.Type, cast = expr.Float64, "DOUBLE"
	case duckdb.TypeList, duckdb.TypeArray:
		f.Type = expr.List
		var e duckdb.LogicalType
		if id == duckdb.TypeList {
			e = duckdb.ListTypeChildType(lt)
		} else {
			e = duckdb.ArrayTypeChildType(lt)
			f.Shape = []uint64{uint64(duckdb.ArrayTypeArraySize(lt))}
		}
		defer duckdb.DestroyLogicalType(&e)
		one, c := resultField("", e)
		if f.Elem = one.Type; c != "" || one.Type == expr.List || one.Type == expr.Text || one.Type == expr.Bytes || one.Type == expr.Time {
			return expr.Field{Name: name, Type: expr.Text}, "VARCHAR"
		}
	default:
		f.Type, cast = expr.Text, "VARCHAR"
	}
	return f, cast
}

// stringT is duckdb_string_t: 16 bytes, the text within if it has up to 12.
func stringAt(p unsafe.Pointer, i int) []byte {
	s := unsafe.Add(p, 16*i)
	n := *(*uint32)(s)
	if n <= 12 {
		return bytesAt(unsafe.Add(s, 4), int(n))
	}
	return bytesAt(*(*unsafe.Pointer)(unsafe.Add(s, 8)), int(n))
}

// get copies the rows of a chunk of a result into out, whose memory it uses again.
func get(chunk duckdb.DataChunk, fields expr.Schema, out *exec.Rows) {
	out.N = int(duckdb.DataChunkGetSize(chunk))
	if out.Columns == nil {
		out.Columns = make([]expr.Vector, len(fields))
	}
	for i := range fields {
		getVector(&out.Columns[i], &fields[i], duckdb.DataChunkGetVector(chunk, duckdb.IdxT(i)), out.N)
	}
}

func getVector(v *expr.Vector, f *expr.Field, src duckdb.Vector, n int) {
	*v = expr.Vector{Values: v.Values[:0], Offsets: v.Offsets[:0]}
	if mask := duckdb.VectorGetValidity(src); mask != nil {
		words := unsafe.Slice((*uint64)(mask), (n+63)/64)
		valid := make([]byte, n)
		nulls := false
		for i := range valid {
			valid[i] = byte(words[i/64] >> (i % 64) & 1)
			nulls = nulls || valid[i] == 0
		}
		if nulls {
			v.Valid = valid
		}
	}
	data := duckdb.VectorGetData(src)
	ok := func(i int) bool { return v.Valid == nil || v.Valid[i] != 0 }
	switch {
	case f.Type == expr.Text || f.Type == expr.Bytes:
		v.Offsets = append(slices.Grow(v.Offsets, n+1), 0)
		for i := range n {
			if ok(i) {
				v.Values = append(v.Values, stringAt(data, i)...)
			}
			v.Offsets = append(v.Offsets, uint64(len(v.Values)))
		}
	case f.Type != expr.List:
		v.Offsets = nil
		v.Values = append(v.Values, bytesAt(data, n*f.Type.Size())...)
		for i := range v.Valid {
			if v.Valid[i] == 0 { // a null row is zeros
				clear(v.Values[i*f.Type.Size() : (i+1)*f.Type.Size()])
			}
		}
	default:
		getLists(v, f, src, n, ok)
	}
}

// getLists copies lists and arrays. Of a null row there are no elements, or, in
// an array, zeros.
func getLists(v *expr.Vector, f *expr.Field, src duckdb.Vector, n int, ok func(int) bool) {
	w := f.Elem.Size()
	var child duckdb.Vector
	var entries [][2]uint64
	length := 0
	if f.Shape != nil {
		child, length = duckdb.ArrayVectorGetChild(src), int(f.Shape[0])
		v.Offsets = nil
	} else {
		child, entries = duckdb.ListVectorGetChild(src), unsafe.Slice((*[2]uint64)(duckdb.VectorGetData(src)), n)
		v.Offsets = append(slices.Grow(v.Offsets, n+1), 0)
	}
	values, mask := duckdb.VectorGetData(child), duckdb.VectorGetValidity(child)
	for i := range n {
		at, count := i*length, length
		if entries != nil && ok(i) {
			at, count = int(entries[i][0]), int(entries[i][1])
		}
		have := len(v.Values) / w
		if !ok(i) {
			v.Values = append(v.Values, make([]byte, count*w)...)
		} else if count > 0 {
			v.Values = append(v.Values, bytesAt(unsafe.Add(values, at*w), count*w)...)
			for k := range count {
				if !validAt(mask, at+k) {
					nullElement(v, w, have+k)
				}
			}
		}
		if entries != nil {
			v.Offsets = append(v.Offsets, uint64(len(v.Values)))
		}
	}
	if v.Elements != nil {
		padElements(v, len(v.Values)/w)
	}
}

// nullElement marks element k of a list; its value becomes 0.
func nullElement(v *expr.Vector, w, k int) {
	padElements(v, k+1)
	v.Elements[k] = 0
	clear(v.Values[k*w : (k+1)*w])
}

func padElements(v *expr.Vector, n int) {
	for len(v.Elements) < n {
		v.Elements = append(v.Elements, 1)
	}
}

// validAt is a bit of DuckDB's mask of what is not null; nil: nothing is.
func validAt(mask unsafe.Pointer, i int) bool {
	return mask == nil || *(*uint64)(unsafe.Add(mask, 8*(i/64)))>>(i%64)&1 == 1
}
