package source

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"unicode/utf8"

	"daos/dataset/kv"
	"daos/internal/fault"
	"daos/query/exec"
	"daos/query/expr"
)

// The columns that every KV dataset has, before the fields of its schema, or the
// value as text where it has none.
const (
	kvKey = iota
	kvKeyText
	kvAkey
	kvVersion
	kvSize
	kvValue
	kvFields
	kvValueText = kvFields
)

// PairsTable is a KV dataset as a table: one row for each value, in the byte
// order of keys. The columns are key, key_text (null where the key is not
// UTF-8), akey, version, size, value, and the fields of the declared schema; a
// field with the name of one of these is called "value.NAME". Where there is no
// schema the last is value_text, null where the value is not UTF-8.
type PairsTable struct {
	name   string
	v      *kv.View
	fields *kv.Schema // nil: none
	schema expr.Schema
}

var fieldTypes = [...]expr.Type{kv.Bool: expr.Bool, kv.Int8: expr.Int8, kv.Int16: expr.Int16, kv.Int32: expr.Int32, kv.Int64: expr.Int64,
	kv.Uint8: expr.Uint8, kv.Uint16: expr.Uint16, kv.Uint32: expr.Uint32, kv.Uint64: expr.Uint64,
	kv.Float16: expr.Float16, kv.Float32: expr.Float32, kv.Float64: expr.Float64, kv.String: expr.Text, kv.Bytes: expr.Bytes}

// Pairs makes a table of a KV dataset at a view's epoch.
func Pairs(ctx context.Context, name string, v *kv.View) (*PairsTable, error) {
	t := &PairsTable{name: name, v: v, schema: expr.Schema{{Name: "key", Type: expr.Bytes}, {Name: "key_text", Type: expr.Text}, {Name: "akey", Type: expr.Bytes},
		{Name: "version", Type: expr.Uint64}, {Name: "size", Type: expr.Uint64}, {Name: "value", Type: expr.Bytes}}}
	var err error
	if t.fields, err = v.Schema(ctx); err != nil {
		return nil, err
	}
	if t.fields == nil {
		t.schema = append(t.schema, expr.Field{Name: "value_text", Type: expr.Text})
		return t, nil
	}
	for _, f := range t.fields.Fields {
		name := f.Name
		if t.schema.Index(name) >= 0 {
			name = "value." + name
		}
		t.schema = append(t.schema, expr.Field{Name: name, Type: fieldTypes[f.Type]})
	}
	return t, nil
}

// Name is its address.
func (t *PairsTable) Name() string { return t.name }

// Schema is its columns.
func (t *PairsTable) Schema() expr.Schema { return t.schema }

// Key is the key.
func (t *PairsTable) Key() int { return kvKey }

// Split cuts the order of the keys into ranges of about as many pairs. Conditions
// on the key make the whole a range.
func (t *PairsTable) Split(ctx context.Context, where expr.Expr, columns []int, want int) ([]exec.Part, error) {
	var p pairsPart
	for _, c := range columns {
		p.values = p.values || c >= kvValue
		p.whole = p.whole || t.isValue(c)
	}
	for _, name := range []string{"key", "key_text"} {
		lo, hi, unbounded := expr.Range(where, name)
		if slices.Compare(lo, p.r.Start) > 0 {
			p.r.Start = lo
		}
		if !unbounded && (p.r.Stop == nil || slices.Compare(hi, p.r.Stop) < 0) {
			p.r.Stop = slices.Concat([]byte{}, hi)
		}
	}
	if len(p.r.Start) > kv.MaxKey || p.r.Stop != nil && len(p.r.Stop) == 0 {
		return nil, nil // no key is there
	}
	p.r.Stop = p.r.Stop[:min(len(p.r.Stop), kv.MaxKey+1)]
	p.r.KeysOnly = !p.values
	cuts, err := t.v.Cuts(ctx, p.r, want)
	if err != nil {
		return nil, err
	}
	parts := make([]exec.Part, 0, len(cuts)+1)
	for _, r := range p.r.Pieces(cuts) {
		parts = append(parts, &pairsPart{t: t, r: r, values: p.values, whole: p.whole})
	}
	return parts, nil
}

// isValue reports whether a column is the value itself, as bytes or text.
func (t *PairsTable) isValue(column int) bool {
	return column == kvValue || column == kvValueText && t.fields == nil
}

const (
	pairsRows  = 8192
	pairsBytes = 8 << 20
	// pairsValue is the largest value that a table has; `kv get` streams larger ones.
	pairsValue = 64 << 20
)

type pairsPart struct {
	t      *PairsTable
	r      kv.Range
	values bool // they are looked at
	whole  bool // value itself is asked for
	end    bool
}

func (p *pairsPart) Close() {}

// Next reads on from the last pair, so that no iterator stays open meanwhile.
func (p *pairsPart) Next(ctx context.Context) (exec.Chunk, error) {
	if p.end {
		return nil, io.EOF
	}
	c := &pairsChunk{p: p, cols: make([]expr.Vector, kvValue)}
	for _, i := range []int{kvKey, kvKeyText, kvAkey} {
		c.cols[i].Offsets = []uint64{0}
	}
	full := false
	bytes := uint64(0)
	err := p.t.v.Scan(ctx, p.r, func(x *kv.Pair) bool {
		if full = c.n == pairsRows || bytes >= pairsBytes; full {
			return false
		}
		add := func(col int, b []byte, ok bool) {
			v := &c.cols[col]
			if ok {
				v.Values = append(v.Values, b...)
			}
			v.Offsets = append(v.Offsets, uint64(len(v.Values)))
		}
		text := utf8.Valid(x.Key)
		add(kvKey, x.Key, true)
		add(kvAkey, x.Akey, true)
		add(kvKeyText, x.Key, text)
		c.cols[kvKeyText].Valid = append(c.cols[kvKeyText].Valid, flag(text))
		c.cols[kvVersion].Values = binary.LittleEndian.AppendUint64(c.cols[kvVersion].Values, uint64(x.Value.Version))
		c.cols[kvSize].Values = binary.LittleEndian.AppendUint64(c.cols[kvSize].Values, x.Value.Size)
		bytes += uint64(len(x.Key) + len(x.Akey) + 64)
		if p.values {
			b, inline := x.Value.Inline()
			c.values = append(c.values, x.Value)
			c.inline = append(c.inline, nil)
			if inline {
				c.inline[c.n] = append(make([]byte, 0, len(b)), b...)
				bytes += uint64(len(b))
			}
			if p.whole {
				bytes += x.Value.Size
			}
		}
		c.n++
		return true
	})
	if err != nil {
		return nil, err
	}
	if p.end = !full; c.n == 0 {
		return nil, io.EOF
	}
	last := func(col int) []byte {
		v := &c.cols[col]
		return v.Values[v.Offsets[c.n-1]:v.Offsets[c.n]]
	}
	p.r.After = kv.Name{Key: last(kvKey), Akey: last(kvAkey)}
	return c, nil
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

type pairsChunk struct {
	p      *pairsPart
	n      int
	cols   []expr.Vector
	values []kv.Value
	inline [][]byte
}

func (c *pairsChunk) Rows() int           { return c.n }
func (c *pairsChunk) Stats() []expr.Stats { return nil }

func (c *pairsChunk) Read(ctx context.Context, columns []int, rows []uint32) ([]expr.Vector, error) {
	out := make([]expr.Vector, len(columns))
	var fields []int // places in out
	for i, col := range columns {
		switch {
		case col < kvValue:
			out[i] = c.cols[col]
			if rows != nil {
				out[i] = exec.Pick(&c.p.t.schema[col], &out[i], rows)
			}
		case c.p.t.isValue(col):
			out[i].Offsets = []uint64{0}
			fields = append(fields, i)
		default:
			if f := &c.p.t.schema[col]; f.Type == expr.Text || f.Type == expr.Bytes {
				out[i].Offsets = []uint64{0}
			}
			fields = append(fields, i)
		}
	}
	if len(fields) == 0 {
		return out, nil
	}
	n := c.n
	if rows != nil {
		n = len(rows)
	}
	var cells []kv.Cell
	for k := range n {
		row := k
		if rows != nil {
			row = int(rows[k])
		}
		b, key, err := c.value(ctx, row)
		if err != nil {
			return nil, err
		}
		decoded := false
		for _, i := range fields {
			col := columns[i]
			if c.p.t.isValue(col) {
				show := true
				if col == kvValueText {
					show = utf8.Valid(b)
					out[i].Valid = append(out[i].Valid, flag(show))
				}
				if show {
					out[i].Values = append(out[i].Values, b...)
				}
				out[i].Offsets = append(out[i].Offsets, uint64(len(out[i].Values)))
				continue
			}
			if !decoded {
				if cells, err = c.p.t.fields.Decode(key, b, cells[:0]); err != nil {
					return nil, err
				}
				decoded = true
			}
			putCell(&out[i], c.p.t.schema[col].Type, &cells[col-kvFields], k)
		}
	}
	return out, nil
}

// value is the bytes of a row's value, and its key.
func (c *pairsChunk) value(ctx context.Context, row int) (b, key []byte, err error) {
	v := &c.cols[kvKey]
	key = v.Values[v.Offsets[row]:v.Offsets[row+1]]
	if b = c.inline[row]; b != nil {
		return b, key, nil
	}
	x := &c.values[row]
	if x.Size > pairsValue {
		return nil, nil, fault.New(fault.TooBig, "query.scan", string(key), "the value has %d bytes, a table shows up to %d", x.Size, pairsValue).
			Do("leave out the column value, or read it with `daos kv get`")
	}
	b, err = c.p.t.v.Bytes(ctx, x)
	return b, key, err
}

// putCell appends a field.
func putCell(v *expr.Vector, t expr.Type, c *kv.Cell, have int) {
	if c.Null || v.Valid != nil {
		for len(v.Valid) < have {
			v.Valid = append(v.Valid, 1)
		}
		v.Valid = append(v.Valid, flag(!c.Null))
	}
	var word uint64
	switch t {
	case expr.Text, expr.Bytes:
		if !c.Null {
			v.Values = append(v.Values, c.Bytes...)
		}
		v.Offsets = append(v.Offsets, uint64(len(v.Values)))
		return
	case expr.Float32:
		word = uint64(math.Float32bits(float32(c.Float)))
	case expr.Float64:
		word = math.Float64bits(c.Float)
	case expr.Uint8, expr.Uint16, expr.Uint32, expr.Uint64, expr.Float16:
		word = c.Uint
	default:
		word = uint64(c.Int)
	}
	if c.Null {
		word = 0
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], word)
	v.Values = append(v.Values, b[:t.Size()]...)
}
