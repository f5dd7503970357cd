package columnar

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"daos/internal/fault"
	"daos/query/expr"
)

const (
	maxFooter     = 64 << 20 // bytes of a file's metadata
	parquetRows   = 16 << 10 // rows of a record batch, at most
	parquetBytes  = 8 << 20  // of it, roughly
	parquetBuffer = 1 << 20  // of a column that is read, where there are few
	leastBuffer   = 64 << 10 // where there are many: a page's header lies in it whole
	allBuffers    = 256 << 20
)

// ParquetFile is a Parquet file that is read by ranges: columns and row groups
// that nobody asks for are not read. What the file says is not trusted: damage is
// an error that names the file, and no single piece of memory is larger than the
// caller allows. It is for one goroutine.
type ParquetFile struct {
	name   string
	rd     *pqarrow.FileReader
	schema *arrow.Schema
	ranges *ranges
	props  *parquet.ReaderProperties
}

// ranges keeps the error of a read: what Arrow makes of it is a text.
type ranges struct {
	io.ReaderAt
	err error
}

func (r *ranges) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// bounded refuses memory in pieces that only a damaged file asks for.
type bounded struct {
	memory.Allocator
	most int
}

type tooLarge int

func (b bounded) check(n int) {
	if n > b.most {
		panic(tooLarge(n))
	}
}

func (b bounded) Allocate(n int) []byte { b.check(n); return b.Allocator.Allocate(n) }
func (b bounded) Reallocate(n int, p []byte) []byte {
	b.check(n)
	return b.Allocator.Reallocate(n, p)
}

// safely turns a panic of the decoder, which trusts what it reads, into an error.
func (p *ParquetFile) safely(what func() error) (err error) {
	defer func() {
		r := recover()
		big, large := r.(tooLarge)
		switch {
		case p.ranges.err != nil: // the cause of whatever came of it
			err = p.ranges.err
		case large:
			err = fault.New(fault.TooBig, "query.parquet", p.name, "a part of it needs %d bytes of memory at once", int(big)).
				Do("write it with smaller pages or row groups, or give the server's query.memory more")
		case r != nil:
			err = fault.New(fault.Invalid, "query.parquet", p.name, "it is damaged, or not a Parquet file").Because(fmt.Errorf("%v", r))
		case err != nil && err != io.EOF: //nolint:errorlint // within another one it is no end
			var f *fault.Error
			if !errors.As(err, &f) {
				err = fault.New(fault.Invalid, "query.parquet", p.name, "it is damaged, or not a Parquet file: %s", err)
			}
		}
	}()
	return what()
}

// OpenParquetAt reads the metadata of a file of a size. most is the largest
// single piece of memory that may be taken for it.
func OpenParquetAt(name string, r io.ReaderAt, size int64, most int) (*ParquetFile, error) {
	knowLZ4()
	p := &ParquetFile{name: name, ranges: &ranges{ReaderAt: r}}
	return p, p.safely(func() error {
		var tail [8]byte
		if size < 12 {
			return fault.New(fault.Invalid, "query.parquet", name, "it has %d bytes: no Parquet file is that short", size)
		}
		if _, err := p.ranges.ReadAt(tail[:], size-8); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if string(tail[4:]) != "PAR1" {
			return fault.New(fault.Invalid, "query.parquet", name, "it does not end as a Parquet file does").Do("name a Parquet file")
		}
		if n := binary.LittleEndian.Uint32(tail[:]); n > maxFooter {
			return fault.New(fault.TooBig, "query.parquet", name, "its metadata has %d bytes, at most %d are read", n, maxFooter)
		}
		mem := bounded{memory.NewGoAllocator(), most}
		p.props = parquet.NewReaderProperties(mem)
		p.props.BufferedStreamEnabled = true
		f, err := file.NewParquetReader(io.NewSectionReader(p.ranges, 0, size), file.WithReadProps(p.props))
		if err != nil {
			return err
		}
		if p.rd, err = pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: parquetRows}, mem); err != nil {
			return err
		}
		rows := int64(0)
		for k := range f.NumRowGroups() {
			rows += f.MetaData().RowGroup(k).NumRows()
		}
		if rows != f.NumRows() {
			return fault.New(fault.Invalid, "query.parquet", name, "its metadata is damaged: %d rows, of which its groups have %d", f.NumRows(), rows).Do("write the file anew")
		}
		fields := make([]arrow.Field, len(p.rd.Manifest.Fields))
		for i := range fields {
			plainLists(&p.rd.Manifest.Fields[i])
			fields[i] = *p.rd.Manifest.Fields[i].Field
		}
		p.schema = arrow.NewSchema(fields, nil)
		return nil
	})
}

// Schema is its columns.
func (p *ParquetFile) Schema() *Schema { return p.schema }

// Rows is their number, RowGroups that of the groups they lie in.
func (p *ParquetFile) Rows() uint64 { return uint64(max(p.rd.ParquetReader().NumRows(), 0)) }

// RowGroups is the number of row groups.
func (p *ParquetFile) RowGroups() int { return p.rd.ParquetReader().NumRowGroups() }

// leaves are the stored columns of a column.
func leaves(f *pqarrow.SchemaField, out []int) []int {
	if len(f.Children) == 0 {
		return append(out, f.ColIndex)
	}
	for i := range f.Children {
		out = leaves(&f.Children[i], out)
	}
	return out
}

// plainLists makes lists of a fixed size plain ones, as which they are stored: with
// nulls, Arrow v17 can't read them otherwise.
func plainLists(f *pqarrow.SchemaField) (changed bool) {
	for i := range f.Children {
		changed = plainLists(&f.Children[i]) || changed
	}
	field := *f.Field
	switch field.Type.(type) {
	case *arrow.FixedSizeListType:
		field.Type = arrow.ListOfField(*f.Children[0].Field)
	case *arrow.ListType:
		if !changed {
			return false
		}
		field.Type = arrow.ListOfField(*f.Children[0].Field)
	case *arrow.StructType:
		if !changed {
			return false
		}
		fields := make([]arrow.Field, len(f.Children))
		for i := range fields {
			fields[i] = *f.Children[i].Field
		}
		field.Type = arrow.StructOf(fields...)
	case *arrow.MapType:
		if pair := f.Children[0].Children; changed && len(pair) == 2 {
			field.Type = arrow.MapOfWithMetadata(pair[0].Field.Type, pair[0].Field.Metadata, pair[1].Field.Type, pair[1].Field.Metadata)
		} else {
			return false
		}
	default:
		return false
	}
	f.Field = &field
	return true
}

// Group is a row group under way.
type Group struct {
	p    *ParquetFile
	rr   pqarrow.RecordReader
	none *arrow.Schema // no column was asked for: rows are only counted
	left int64         // rows
	// Bytes are those of the columns, as they lie in the file.
	Bytes uint64
}

// Read begins to read columns, by place in the schema and ascending, of a row group.
func (p *ParquetFile) Read(ctx context.Context, group int, columns []int) (*Group, error) {
	g := &Group{p: p}
	return g, p.safely(func() error {
		md := p.rd.ParquetReader().MetaData().RowGroup(group)
		rows := md.NumRows()
		g.left = rows
		if rows == 0 || len(columns) == 0 {
			g.none = arrow.NewSchema(nil, nil)
			return nil
		}
		var stored []int
		for _, c := range columns {
			stored = leaves(&p.rd.Manifest.Fields[c], stored)
		}
		wide := int64(0)
		for _, c := range stored {
			cc, err := md.ColumnChunk(c)
			if err != nil {
				return err
			}
			wide += cc.TotalUncompressedSize()
			g.Bytes += uint64(max(cc.TotalCompressedSize(), 0))
		}
		p.props.BufferSize = min(max(allBuffers/int64(len(stored)), leastBuffer), parquetBuffer)
		p.rd.Props.BatchSize = min(max(parquetBytes/max(wide/rows, 1), 1), parquetRows)
		var err error
		g.rr, err = p.rd.GetRecordReader(ctx, stored, []int{group})
		return err
	})
}

// Next is the next rows, which the caller releases; io.EOF after the last.
func (g *Group) Next() (rec Record, err error) {
	err = g.p.safely(func() error {
		if g.none != nil {
			n := min(g.left, 1<<20)
			if n == 0 {
				return io.EOF
			}
			g.left -= n
			rec = array.NewRecord(g.none, nil, n)
			return nil
		}
		if !g.rr.Next() {
			err := errOrEOF(g.rr.Err())
			if errors.Is(err, io.EOF) && g.left > 0 {
				return fault.New(fault.Invalid, "query.parquet", g.p.name, "it is damaged: %d rows of a row group are missing", g.left)
			}
			return err
		}
		rec = g.rr.Record()
		if g.left -= rec.NumRows(); g.left < 0 {
			rec = nil
			return fault.New(fault.Invalid, "query.parquet", g.p.name, "it is damaged: a row group has more rows than it says")
		}
		rec.Retain()
		return nil
	})
	return rec, err
}

// Close gives back what the group holds.
func (g *Group) Close() {
	if g.rr != nil {
		g.rr.Release()
	}
}

// ComparedColumns are the columns that conditions can compare, with their places
// in the schema: those whose comparison is DuckDB's.
func ComparedColumns(s *Schema) (fields expr.Schema, places []int) {
	for i, f := range s.Fields() {
		t := expr.Null
		switch x := f.Type.(type) {
		case *arrow.BooleanType:
			t = expr.Bool
		case *arrow.StringType, *arrow.LargeStringType:
			t = expr.Text
		case *arrow.TimestampType:
			if x.TimeZone == "" { // with one, comparing depends on the session's
				t = expr.Time
			}
		case *arrow.Float32Type:
			t = expr.Float32
		case *arrow.Float64Type:
			t = expr.Float64
		case *arrow.Int8Type:
			t = expr.Int8
		case *arrow.Int16Type:
			t = expr.Int16
		case *arrow.Int32Type:
			t = expr.Int32
		case *arrow.Int64Type:
			t = expr.Int64
		case *arrow.Uint8Type:
			t = expr.Uint8
		case *arrow.Uint16Type:
			t = expr.Uint16
		case *arrow.Uint32Type:
			t = expr.Uint32
		case *arrow.Uint64Type:
			t = expr.Uint64
		}
		if t != expr.Null {
			fields, places = append(fields, expr.Field{Name: f.Name, Type: t}), append(places, i)
		}
	}
	return fields, places
}

// Stats are the statistics of columns, by place in the schema, in a row group.
func (p *ParquetFile) Stats(group int, fields expr.Schema, places []int) []expr.Stats {
	out := make([]expr.Stats, len(fields))
	err := p.safely(func() error {
		md := p.rd.ParquetReader().MetaData().RowGroup(group)
		for i, c := range places {
			if c < 0 {
				continue
			}
			stored := leaves(&p.rd.Manifest.Fields[c], nil)
			if len(stored) != 1 {
				continue
			}
			cc, err := md.ColumnChunk(stored[0])
			if err != nil {
				return err
			}
			if set, err := cc.StatsSet(); !set || err != nil {
				continue
			}
			st, err := cc.Statistics()
			if err != nil || st == nil || !st.HasNullCount() || st.NullCount() < 0 {
				continue
			}
			out[i] = groupStats(st, fields[i].Type, p.schema.Field(c).Type, uint64(md.NumRows()))
		}
		return nil
	})
	if err != nil { // nothing is known: everything is read, and says what is wrong
		return make([]expr.Stats, len(fields))
	}
	return out
}

func groupStats(st metadata.TypedStatistics, t expr.Type, at arrow.DataType, rows uint64) expr.Stats {
	out := expr.Stats{Known: true, Rows: rows, Nulls: uint64(st.NullCount())}
	if out.Nulls > rows {
		return expr.Stats{}
	}
	if out.Nulls == rows {
		return out
	}
	if t == expr.Float32 || t == expr.Float64 {
		// NaNs are not counted: some may be there, and some may not be.
		out.NaNs, out.Rows = 1, max(rows, out.Nulls+2)
	}
	if st.HasMinMax() {
		out.Min, out.Max = statValue(st.EncodeMin(), t, at), statValue(st.EncodeMax(), t, at)
	}
	if out.Min == nil || out.Max == nil {
		out.Min, out.Max = nil, nil
	}
	return out
}

// statValue is a bound as the file has it (plain encoded), nil where it says nothing.
func statValue(b []byte, t expr.Type, at arrow.DataType) *expr.Value {
	var v expr.Value
	word := func() (int64, bool) {
		switch len(b) {
		case 4:
			return int64(int32(binary.LittleEndian.Uint32(b))), true
		case 8:
			return int64(binary.LittleEndian.Uint64(b)), true
		}
		return 0, false
	}
	n, ok := word()
	switch {
	case t == expr.Text:
		v, ok = expr.TextValue(string(b)), true
	case t == expr.Bool && len(b) == 1:
		v, ok = expr.BoolValue(b[0] != 0), true
	case t == expr.Float32 && len(b) == 4:
		v = expr.FloatValue(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
	case t == expr.Float64 && len(b) == 8:
		v = expr.FloatValue(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case t == expr.Time && len(b) == 8:
		unit, _ := at.(*arrow.TimestampType)
		scale := int64(unit.Unit.Multiplier())
		if n > math.MaxInt64/scale || n < math.MinInt64/scale {
			return nil
		}
		v = expr.TimeValue(n * scale)
	case t >= expr.Int8 && t <= expr.Int64 && ok:
		v = expr.IntValue(n)
	case t >= expr.Uint8 && t <= expr.Uint64 && ok:
		u := uint64(n)
		if len(b) == 4 {
			u = uint64(uint32(n))
		}
		v = expr.UintValue(u)
	default:
		return nil
	}
	if !ok || v.Type == expr.Float64 && math.IsNaN(v.F) {
		return nil
	}
	return &v
}

// Reorder puts the columns of a batch in another order; it takes the batch over.
func Reorder(rec Record, order []int) Record {
	if slices.IsSorted(order) {
		return rec
	}
	defer rec.Release()
	fields := make([]arrow.Field, len(order))
	cols := make([]arrow.Array, len(order))
	for i, k := range order {
		fields[i], cols[i] = rec.Schema().Field(k), rec.Column(k)
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), cols, rec.NumRows())
}

// FieldLike is the place of a column of another schema in s, by name and type; -1
// where there is none.
func FieldLike(s, other *Schema, c int) int {
	f := other.Field(c)
	for i, g := range s.Fields() {
		if g.Name == f.Name && arrow.TypeEqual(g.Type, f.Type) {
			return i
		}
	}
	return -1
}

// FieldText is a column for people: its name and type.
func FieldText(s *Schema, c int) string {
	f := s.Field(c)
	return fmt.Sprintf("%q of type %s", f.Name, f.Type)
}

// Distinct is s with names that differ not only in case, as SQL has them: s itself
// where they do.
func Distinct(s *Schema) *Schema {
	fields, taken, last, same := s.Fields(), map[string]bool{}, map[string]int{}, true
	for i := range fields {
		name := fields[i].Name
		for first := name; taken[strings.ToLower(name)]; {
			last[first]++
			name, same = fmt.Sprintf("%s_%d", first, last[first]), false
		}
		taken[strings.ToLower(name)] = true
		fields[i].Name = name
	}
	if same {
		return s
	}
	return arrow.NewSchema(fields, nil)
}
