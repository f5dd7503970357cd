package columnar

import (
	"bufio"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/internal/fault"
	"daos/internal/half"
)

// ResultFormats are the forms in which the result of a query can be written.
func ResultFormats() []string {
	return []string{"table", "csv", "json", "ndjson", "arrow", "parquet", "npy"}
}

// Table is a result for people: the first rows as text.
type Table struct {
	Heads []string
	Right []bool // numbers
	Rows  [][]string
	Total int64
}

// CollectTable reads a whole result and keeps the first rows.
func CollectTable(r io.Reader, keep int) (*Table, error) {
	t := &Table{}
	err := eachRecord(r, func(s *arrow.Schema) error {
		for _, f := range s.Fields() {
			t.Heads = append(t.Heads, f.Name)
			t.Right = append(t.Right, arrow.IsInteger(f.Type.ID()) || arrow.IsFloating(f.Type.ID()))
		}
		return nil
	}, func(rec arrow.Record) error {
		for i := 0; i < int(rec.NumRows()) && len(t.Rows) < keep; i++ {
			row := make([]string, rec.NumCols())
			for c := range row {
				row[c] = show(rec.Column(c), i)
			}
			t.Rows = append(t.Rows, row)
		}
		t.Total += rec.NumRows()
		return nil
	})
	return t, err
}

// show is a cell for people: long ones are cut.
func show(col arrow.Array, i int) string {
	if col.IsNull(i) {
		return "NULL"
	}
	switch a := col.(type) {
	case *array.Binary:
		return showBytes(a.Value(i))
	case *array.FixedSizeList, *array.List:
		s, e := a.(array.ListLike).ValueOffsets(i)
		if e-s > 8 {
			return fmt.Sprintf("%s[%d elements]", a.(array.ListLike).ListValues().DataType(), e-s)
		}
	}
	return plainText(cellOf(col, i))
}

// showBytes is bytes for people, as DuckDB shows them: ASCII as it is, others as
// \\xNN; long ones are cut.
func showBytes(b []byte) string {
	const most = 48
	var out strings.Builder
	for i, c := range b {
		if out.Len() >= most {
			fmt.Fprintf(&out, "... (%d bytes)", len(b))
			return out.String()
		}
		if c < ' ' || c > '~' || c == '\\' {
			fmt.Fprintf(&out, "\\x%02X", b[i])
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// plainText is a cell as text, without quotes.
func plainText(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case json.RawMessage:
		return string(x)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// cellOf is a cell as a value for JSON: bytes in hex, times as RFC 3339, numbers
// that JSON has not ("NaN", "Infinity") as text.
func cellOf(col arrow.Array, i int) any {
	if col.IsNull(i) {
		return nil
	}
	switch a := col.(type) {
	case *array.Boolean:
		return a.Value(i)
	case *array.Int8:
		return a.Value(i)
	case *array.Int16:
		return a.Value(i)
	case *array.Int32:
		return a.Value(i)
	case *array.Int64:
		return a.Value(i)
	case *array.Uint8:
		return a.Value(i)
	case *array.Uint16:
		return a.Value(i)
	case *array.Uint32:
		return a.Value(i)
	case *array.Uint64:
		return a.Value(i)
	case *array.Float16:
		return number32(half.Float32(a.Value(i).Uint16())) // Arrow's own has no subnormal numbers
	case *array.Float32:
		return number32(a.Value(i))
	case *array.Float64:
		return number64(a.Value(i), 64)
	case *array.String:
		return a.Value(i)
	case *array.Binary:
		return hex.EncodeToString(a.Value(i))
	case *array.Timestamp:
		unit := a.DataType().(*arrow.TimestampType).Unit
		return a.Value(i).ToTime(unit).UTC().Format(time.RFC3339Nano)
	case *array.FixedSizeList, *array.List:
		l := a.(array.ListLike)
		from, to := l.ValueOffsets(i)
		out := make([]any, 0, to-from)
		for k := from; k < to; k++ {
			out = append(out, cellOf(l.ListValues(), int(k)))
		}
		return out
	}
	return col.ValueStr(i)
}

func number32(f float32) any { return number64(float64(f), 32) }

func number64(f float64, bits int) any {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return json.RawMessage(strconv.FormatFloat(f, 'g', -1, bits))
}

func eachRecord(r io.Reader, head func(*arrow.Schema) error, each func(arrow.Record) error) error {
	rd, err := ipc.NewReader(r)
	if err != nil {
		return wrap(err)
	}
	defer rd.Release()
	if err := head(rd.Schema()); err != nil {
		return err
	}
	for rd.Next() {
		if err := each(rd.Record()); err != nil {
			return err
		}
	}
	if err := rd.Err(); err != nil && !errors.Is(err, io.EOF) {
		return wrap(err)
	}
	return nil
}

// WriteResult writes a result, one Arrow IPC stream, in a format of
// ResultFormats but "table". It returns the number of rows.
func WriteResult(w io.Writer, r io.Reader, format string) (rows int64, err error) {
	out := bufio.NewWriterSize(w, 256<<10)
	count := func(each func(arrow.Record) error) func(arrow.Record) error {
		return func(rec arrow.Record) error {
			rows += rec.NumRows()
			return each(rec)
		}
	}
	none := func(*arrow.Schema) error { return nil }
	switch format {
	case "ndjson":
		err = eachRecord(r, none, count(func(rec arrow.Record) error { return jsonRows(out, rec, "", "", "\n") }))
	case "json":
		begin := func(*arrow.Schema) error { return out.WriteByte('[') }
		err = eachRecord(r, begin, func(rec arrow.Record) error {
			sep := "\n "
			if rows > 0 {
				sep = ",\n "
			}
			rows += rec.NumRows()
			return jsonRows(out, rec, sep, ",\n ", "")
		})
		if err == nil {
			_, err = out.WriteString("\n]\n")
		}
	case "csv":
		c := csv.NewWriter(out)
		err = eachRecord(r, func(s *arrow.Schema) error { return c.Write(fieldNames(s)) }, count(func(rec arrow.Record) error { return csvRecord(c, rec) }))
		c.Flush()
		err = errors.Join(err, c.Error())
	case "arrow":
		var iw *ipc.Writer
		err = eachRecord(r, func(s *arrow.Schema) error { iw = ipc.NewWriter(out, ipc.WithSchema(s)); return nil },
			count(func(rec arrow.Record) error { return iw.Write(rec) }))
		if iw != nil {
			err = errors.Join(err, iw.Close())
		}
	case "parquet":
		var pw RecordWriter
		err = eachRecord(r, func(s *arrow.Schema) (err error) {
			pw, err = NewParquetWriter(out, s)
			return err
		}, count(func(rec arrow.Record) error { return pw.Write(rec) }))
		if pw != nil {
			err = errors.Join(err, pw.Close())
		}
	case "npy":
		rows, err = npyRows(out, r, false)
	default:
		return 0, fault.New(fault.Invalid, "query.format", format, "not a format").Do("use one of %s", strings.Join(ResultFormats(), ", "))
	}
	return rows, errors.Join(err, out.Flush())
}

// WriteArrowFile writes a result as an Arrow IPC file, which can be read at any
// place, not as a stream.
func WriteArrowFile(w io.WriteSeeker, r io.Reader) error {
	var fw RecordWriter
	err := eachRecord(r, func(s *arrow.Schema) (err error) {
		fw, err = NewArrowWriter(w, s)
		return err
	}, func(rec arrow.Record) error { return fw.Write(rec) })
	if fw != nil {
		err = errors.Join(err, fw.Close())
	}
	return err
}

func fieldNames(s *arrow.Schema) []string {
	var out []string
	for _, f := range s.Fields() {
		out = append(out, f.Name)
	}
	return out
}

// shapesOf are the shapes of the columns of tensors, which Arrow has as flat lists.
func shapesOf(s *arrow.Schema) [][]int {
	out := make([][]int, s.NumFields())
	for i := range out {
		f := s.Field(i)
		var meta struct {
			Shape []int `json:"shape"`
		}
		if k := f.Metadata.FindKey("ARROW:extension:metadata"); k >= 0 && json.Unmarshal([]byte(f.Metadata.Values()[k]), &meta) == nil {
			out[i] = meta.Shape
		}
	}
	return out
}

// nested is a cell with the lists of a tensor as deep as its shape.
func nested(v any, shape []int) any {
	flat, ok := v.([]any)
	for d := len(shape) - 1; ok && d > 0; d-- {
		n := shape[d]
		if n == 0 || len(flat)%n != 0 {
			return v
		}
		rows := make([]any, 0, len(flat)/n)
		for at := 0; at < len(flat); at += n {
			rows = append(rows, flat[at:at+n])
		}
		flat = rows
	}
	if !ok {
		return v
	}
	return flat
}

func csvRecord(c *csv.Writer, rec arrow.Record) error {
	row := make([]string, rec.NumCols())
	shapes := shapesOf(rec.Schema())
	for i := range int(rec.NumRows()) {
		for k := range row {
			row[k] = plainText(nested(cellOf(rec.Column(k), i), shapes[k]))
		}
		if err := c.Write(row); err != nil {
			return err
		}
	}
	return nil
}

// appendRow appends one row as an object, its members in the order of the columns.
func appendRow(out []byte, rec arrow.Record, i int, shapes [][]int) ([]byte, error) {
	out = append(out, '{')
	for c := range int(rec.NumCols()) {
		name, err := marshal(rec.ColumnName(c))
		if err != nil {
			return nil, err
		}
		v, err := marshal(nested(cellOf(rec.Column(c), i), shapes[c]))
		if err != nil {
			return nil, err
		}
		if c > 0 {
			out = append(out, ", "...)
		}
		out = append(append(append(out, name...), ": "...), v...)
	}
	return append(out, '}'), nil
}

// marshal is JSON with characters as they are.
func marshal(v any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return []byte(strings.TrimSuffix(b.String(), "\n")), err
}

// jsonRows writes rows as objects, first before the first of them and next before
// the others, after behind each.
func jsonRows(out *bufio.Writer, rec arrow.Record, first, next, after string) error {
	var line []byte
	shapes := shapesOf(rec.Schema())
	for i := range int(rec.NumRows()) {
		line = append(line[:0], first...)
		first = next
		var err error
		if line, err = appendRow(line, rec, i, shapes); err != nil {
			return err
		}
		if _, err := out.Write(append(line, after...)); err != nil {
			return err
		}
	}
	return nil
}

// WriteSample writes a result of one row and one column as an .npy file without
// an axis of rows.
func WriteSample(w io.Writer, r io.Reader) error {
	out := bufio.NewWriterSize(w, 256<<10)
	_, err := npyRows(out, r, true)
	return errors.Join(err, out.Flush())
}

// npyRows writes a result of one column of numbers or equal tensors. The file
// begins with the number of rows, so the result is kept until it is known; it is
// bounded. alone leaves out the axis of the rows, of which there is one.
func npyRows(out io.Writer, r io.Reader, alone bool) (int64, error) {
	const most = 1 << 30
	var cols []tensor.Column
	var parts []*tensor.Rows
	rows, bytes := int64(0), int64(0)
	err := eachRecord(r, func(s *arrow.Schema) (err error) {
		if cols, err = tensorarrow.ColumnsOf(s); err == nil && len(cols) != 1 {
			err = fault.New(fault.Invalid, "query.format", "npy", "an .npy file has one column, the result has %d", len(cols)).Do("choose one (--columns; in SQL, select it)")
		}
		return err
	}, func(rec arrow.Record) error {
		got, err := tensorarrow.RowsOf(rec, cols)
		if err != nil {
			return err
		}
		if got.Columns[0].Valid != nil {
			for _, v := range got.Columns[0].Valid {
				if v == 0 {
					return fault.New(fault.Invalid, "query.format", "npy", "the column %q has nulls, which an .npy file can't hold", cols[0].Name).
						Do("leave them out: --where %q", cols[0].Name+" is not null")
				}
			}
		}
		one := tensor.Data{Values: append([]byte(nil), got.Columns[0].Values...), Offsets: append([]uint64(nil), got.Columns[0].Offsets...)}
		parts = append(parts, &tensor.Rows{N: got.N, Columns: []tensor.Data{one}})
		rows += int64(got.N)
		if bytes += int64(len(one.Values)); bytes > most {
			return fault.New(fault.TooBig, "query.format", "npy", "the result has over 1 GiB").Do("use --format arrow or parquet")
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	longest := 1
	for _, p := range parts {
		if o := p.Columns[0].Offsets; cols[0].Layout != tensor.Fixed {
			for i := range p.N {
				longest = max(longest, int(o[i+1]-o[i]))
			}
		}
	}
	w, err := newNpyWriter(out, cols[0], rows, longest, alone && rows == 1)
	if err != nil {
		return 0, err
	}
	for _, p := range parts {
		if err := w.Write(&p.Columns[0], p.N); err != nil {
			return 0, err
		}
	}
	return rows, w.Close()
}
