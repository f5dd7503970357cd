package scan

import (
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
)

var nanos = &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}

// column numbers, in the order of the table.
const (
	colPath = iota
	colPathBytes
	colName
	colType
	colSize
	colMtime
	colCtime
	colMode
	colUID
	colGID
	colNlink
	colInode
	colDepth
	colTarget
	colEpoch
	numColumns
)

func table() [numColumns]arrow.Field {
	return [numColumns]arrow.Field{
		// Path below the root of the dataset; what is not UTF-8 in it is replaced by U+FFFD ...
		{Name: "path", Type: arrow.BinaryTypes.String},
		// ... and the path itself is here. Null where path is exact.
		{Name: "path_bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "name", Type: arrow.BinaryTypes.String},
		{Name: "type", Type: arrow.BinaryTypes.String}, // file, directory, symlink
		{Name: "size", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "mtime", Type: nanos},
		{Name: "ctime", Type: nanos},
		{Name: "mode", Type: arrow.PrimitiveTypes.Uint32},
		{Name: "uid", Type: arrow.PrimitiveTypes.Uint32},
		{Name: "gid", Type: arrow.PrimitiveTypes.Uint32},
		{Name: "nlink", Type: arrow.PrimitiveTypes.Uint32},
		{Name: "inode", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "depth", Type: arrow.PrimitiveTypes.Uint32}, // below the scanned directory, from 1
		{Name: "symlink_target", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "epoch", Type: arrow.PrimitiveTypes.Uint64}, // of the version
	}
}

// Columns are the names of all columns, in order.
func Columns() []string {
	var names []string
	for _, f := range table() {
		names = append(names, f.Name)
	}
	return names
}

// DefaultColumns are those of a request that names none.
func DefaultColumns() []string {
	return []string{"path", "path_bytes", "type", "size", "mtime", "mode"}
}

// Schema is the schema of batches with these columns, in this order; none: the
// default ones.
func Schema(columns []string) (*arrow.Schema, error) {
	cols, err := columnNumbers(columns)
	if err != nil {
		return nil, err
	}
	return schemaOf(cols), nil
}

func schemaOf(cols []int) *arrow.Schema {
	t := table()
	fields := make([]arrow.Field, len(cols))
	for i, c := range cols {
		fields[i] = t[c]
	}
	return arrow.NewSchema(fields, nil)
}

func columnNumbers(columns []string) ([]int, error) {
	if len(columns) == 0 {
		columns = DefaultColumns()
	}
	var cols []int
	seen := [numColumns]bool{}
	for _, name := range columns {
		n := -1
		for i, f := range table() {
			if f.Name == name {
				n = i
			}
		}
		if n < 0 || seen[n] {
			return nil, fault.New(fault.Invalid, "scan.columns", name, "no such column, or named twice").
				Do("columns are %s", strings.Join(Columns(), ", "))
		}
		seen[n] = true
		cols = append(cols, n)
	}
	return cols, nil
}

// maxBatchBytes ends a batch early, so that long paths cost no unbounded memory
// and offsets stay below 2^31.
const maxBatchBytes = 32 << 20

// varBytes is a column of byte strings under construction, in Arrow's layout.
type varBytes struct {
	offsets []int32
	data    []byte
}

func (v *varBytes) end() { v.offsets = append(v.offsets, int32(len(v.data))) }

// builder collects the rows of one batch. Its slices are Arrow's buffers: they
// go into the record as they are, and the next batch starts new ones of the
// same capacity.
type builder struct {
	schema *arrow.Schema
	cols   []int
	want   [numColumns]bool
	rows   int
	cap    int // rows expected in the next batch

	path, pathBytes, name, typ, target varBytes
	pathValid, targetValid             []byte // bitmaps
	pathNulls, targetNulls             int
	size, inode, epoch                 []uint64
	mtime, ctime                       []int64
	mode, uid, gid, nlink, depth       []uint32
}

func newBuilder(cols []int) *builder {
	b := &builder{cols: cols, schema: schemaOf(cols), cap: 256}
	for _, c := range cols {
		b.want[c] = true
	}
	b.reset(0, 0)
	return b
}

func (b *builder) reset(pathBytes, nameBytes int) {
	n := b.cap
	str := func(c, data int) varBytes {
		if !b.want[c] {
			return varBytes{}
		}
		v := varBytes{offsets: make([]int32, 1, n+1)}
		if data > 0 {
			v.data = make([]byte, 0, data)
		}
		return v
	}
	b.rows, b.pathNulls, b.targetNulls = 0, 0, 0
	b.path, b.pathBytes = str(colPath, pathBytes), str(colPathBytes, 0)
	b.name, b.typ, b.target = str(colName, nameBytes), str(colType, 9*n), str(colTarget, 0)
	b.pathValid, b.targetValid = nil, nil
	b.size, b.inode, b.epoch = fixed[uint64](b, colSize), fixed[uint64](b, colInode), fixed[uint64](b, colEpoch)
	b.mtime, b.ctime = fixed[int64](b, colMtime), fixed[int64](b, colCtime)
	b.mode, b.uid, b.gid = fixed[uint32](b, colMode), fixed[uint32](b, colUID), fixed[uint32](b, colGID)
	b.nlink, b.depth = fixed[uint32](b, colNlink), fixed[uint32](b, colDepth)
}

func fixed[T any](b *builder, c int) []T {
	if !b.want[c] {
		return nil
	}
	return make([]T, 0, b.cap)
}

func (b *builder) full(rows int) bool {
	return b.rows >= rows || len(b.path.data)+len(b.name.data)+len(b.pathBytes.data)+len(b.target.data) > maxBatchBytes
}

// add appends a row. d's prefix and name make the path.
func (b *builder) add(d *dir, name []byte, r posix.Raw, epoch object.Epoch) {
	w := &b.want
	ascii := true
	if w[colPath] || w[colPathBytes] || w[colName] {
		for _, c := range name {
			if c >= utf8.RuneSelf {
				ascii = false
				break
			}
		}
	}
	good := ascii || utf8.Valid(name)
	if w[colPath] {
		if d.valid {
			b.path.data = append(b.path.data, d.prefix...)
		} else {
			b.path.data = append(b.path.data, strings.ToValidUTF8(string(d.prefix), "\ufffd")...)
		}
		b.path.data = appendText(b.path.data, name, good)
		b.path.end()
	}
	if w[colPathBytes] {
		if !good || !d.valid {
			b.pathBytes.data = append(append(b.pathBytes.data, d.prefix...), name...)
			b.pathValid = setBit(b.pathValid, b.rows)
		} else {
			b.pathNulls++
		}
		b.pathBytes.end()
	}
	if w[colName] {
		b.name.data = appendText(b.name.data, name, good)
		b.name.end()
	}
	if w[colType] {
		b.typ.data = append(b.typ.data, r.Type().String()...)
		b.typ.end()
	}
	if w[colSize] {
		b.size = append(b.size, r.Size())
	}
	if w[colMtime] {
		b.mtime = append(b.mtime, r.Mtime())
	}
	if w[colCtime] {
		b.ctime = append(b.ctime, r.Ctime())
	}
	if w[colMode] {
		b.mode = append(b.mode, r.Mode())
	}
	if w[colUID] {
		b.uid = append(b.uid, r.UID())
	}
	if w[colGID] {
		b.gid = append(b.gid, r.GID())
	}
	if w[colNlink] {
		b.nlink = append(b.nlink, r.Nlink())
	}
	if w[colInode] {
		b.inode = append(b.inode, r.Inode())
	}
	if w[colDepth] {
		b.depth = append(b.depth, d.depth+1)
	}
	if w[colTarget] {
		if r.Type() == posix.TypeSymlink {
			b.target.data = append(b.target.data, r.Target()...)
			b.targetValid = setBit(b.targetValid, b.rows)
		} else {
			b.targetNulls++
		}
		b.target.end()
	}
	if w[colEpoch] {
		b.epoch = append(b.epoch, uint64(epoch))
	}
	b.rows++
}

func appendText(to, s []byte, good bool) []byte {
	if good {
		return append(to, s...)
	}
	return append(to, strings.ToValidUTF8(string(s), "\ufffd")...)
}

func setBit(m []byte, i int) []byte {
	for len(m) <= i/8 {
		m = append(m, 0)
	}
	m[i/8] |= 1 << (i % 8)
	return m
}

// finish hands the rows over as a record and starts the next batch.
func (b *builder) finish(more int) arrow.Record {
	arrays := make([]arrow.Array, len(b.cols))
	for i, c := range b.cols {
		arrays[i] = b.array(c)
	}
	rec := array.NewRecord(b.schema, arrays, int64(b.rows))
	for _, a := range arrays {
		a.Release()
	}
	b.cap = max(256, min(more, b.rows+b.rows/4))
	b.reset(len(b.path.data)+len(b.path.data)/4, len(b.name.data)+len(b.name.data)/4)
	return rec
}

func (b *builder) array(c int) arrow.Array {
	switch c {
	case colPath:
		return b.text(c, &b.path, nil, 0)
	case colPathBytes:
		return b.text(c, &b.pathBytes, b.bitmap(b.pathValid), b.pathNulls)
	case colName:
		return b.text(c, &b.name, nil, 0)
	case colType:
		return b.text(c, &b.typ, nil, 0)
	case colTarget:
		return b.text(c, &b.target, b.bitmap(b.targetValid), b.targetNulls)
	case colSize:
		return b.fixed(c, arrow.Uint64Traits.CastToBytes(b.size))
	case colInode:
		return b.fixed(c, arrow.Uint64Traits.CastToBytes(b.inode))
	case colEpoch:
		return b.fixed(c, arrow.Uint64Traits.CastToBytes(b.epoch))
	case colMtime:
		return b.fixed(c, arrow.Int64Traits.CastToBytes(b.mtime))
	case colCtime:
		return b.fixed(c, arrow.Int64Traits.CastToBytes(b.ctime))
	case colMode:
		return b.fixed(c, arrow.Uint32Traits.CastToBytes(b.mode))
	case colUID:
		return b.fixed(c, arrow.Uint32Traits.CastToBytes(b.uid))
	case colGID:
		return b.fixed(c, arrow.Uint32Traits.CastToBytes(b.gid))
	case colNlink:
		return b.fixed(c, arrow.Uint32Traits.CastToBytes(b.nlink))
	default:
		return b.fixed(c, arrow.Uint32Traits.CastToBytes(b.depth))
	}
}

func (b *builder) bitmap(m []byte) []byte {
	out := make([]byte, (b.rows+7)/8)
	copy(out, m)
	return out
}

func (b *builder) typeOf(c int) arrow.DataType {
	for i, n := range b.cols {
		if n == c {
			return b.schema.Field(i).Type
		}
	}
	return nil
}

func (b *builder) fixed(c int, raw []byte) arrow.Array {
	d := array.NewData(b.typeOf(c), b.rows, []*memory.Buffer{nil, memory.NewBufferBytes(raw)}, nil, 0, 0)
	defer d.Release()
	return array.MakeFromData(d)
}

func (b *builder) text(c int, v *varBytes, valid []byte, nulls int) arrow.Array {
	var bits *memory.Buffer
	if valid != nil {
		bits = memory.NewBufferBytes(valid)
	}
	d := array.NewData(b.typeOf(c), b.rows, []*memory.Buffer{bits,
		memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(v.offsets)), memory.NewBufferBytes(v.data)}, nil, nulls, 0)
	defer d.Release()
	return array.MakeFromData(d)
}
