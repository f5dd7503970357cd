package source

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"daos/dataset/kv"
	"daos/dataset/posix"
	"daos/dataset/tensor"
	"daos/query/exec"
	"daos/query/expr"
)

// Position is the column that tells the place of a row in a view, from 0.
const Position = "position"

// viewRows is the most samples of a chunk.
const viewRows = 2048

// Samples reads the rows of a dataset by sample number.
type Samples interface {
	Schema() expr.Schema
	// Rows is a chunk of the first of these samples, at least of one; of the
	// columns, by place, others are not asked for.
	Rows(ctx context.Context, samples []uint64, columns []int) (exec.Chunk, error)
}

// ViewTable is the samples of a view in its order: their place, and the columns of
// the dataset.
type ViewTable struct {
	name   string
	of     Samples
	schema expr.Schema
	read   func(ctx context.Context, fn func(samples []uint64) error) error
}

// View makes a table of the samples that read hands out, in pieces.
func View(name string, of Samples, read func(ctx context.Context, fn func(samples []uint64) error) error) *ViewTable {
	s := expr.Schema{{Name: Position, Type: expr.Uint64}}
	for _, f := range of.Schema() {
		if strings.EqualFold(f.Name, Position) {
			f.Name = "value." + f.Name
		}
		s = append(s, f)
	}
	return &ViewTable{name: name, of: of, schema: s, read: read}
}

// Name is what the table is called.
func (t *ViewTable) Name() string { return t.name }

// Schema is its columns.
func (t *ViewTable) Schema() expr.Schema { return t.schema }

// Key is the position.
func (t *ViewTable) Key() int { return 0 }

// Split is one part.
func (t *ViewTable) Split(_ context.Context, _ expr.Expr, columns []int, _ int) ([]exec.Part, error) {
	p := &viewPart{t: t}
	for _, c := range columns {
		if c > 0 {
			p.columns = append(p.columns, c-1)
		}
	}
	return []exec.Part{p}, nil
}

type viewPart struct {
	t       *ViewTable
	columns []int // of the dataset
	next    func() ([]uint64, error, bool)
	stop    func()
	left    []uint64 // of the piece of the list
	at      uint64
}

func (p *viewPart) Close() {
	if p.stop != nil {
		p.stop()
	}
}

var errStopped = errors.New("nobody reads on")

func (p *viewPart) Next(ctx context.Context) (exec.Chunk, error) {
	if p.next == nil {
		p.next, p.stop = iter.Pull2(func(yield func([]uint64, error) bool) {
			err := p.t.read(ctx, func(samples []uint64) error {
				if !yield(samples, nil) {
					return errStopped
				}
				return nil
			})
			if err != nil && !errors.Is(err, errStopped) {
				yield(nil, err)
			}
		})
	}
	for len(p.left) == 0 {
		piece, err, ok := p.next()
		if !ok {
			return nil, io.EOF
		}
		if err != nil {
			return nil, err
		}
		p.left = piece
	}
	c, err := p.t.of.Rows(ctx, p.left[:min(len(p.left), viewRows)], p.columns)
	if err != nil {
		return nil, err
	}
	out := &viewChunk{c, p.at}
	p.left, p.at = p.left[c.Rows():], p.at+uint64(c.Rows())
	return out, nil
}

// viewChunk puts the position before the columns of a chunk.
type viewChunk struct {
	exec.Chunk
	first uint64
}

func (c *viewChunk) Stats() []expr.Stats {
	lo, hi := expr.UintValue(c.first), expr.UintValue(c.first+uint64(c.Rows())-1)
	out := []expr.Stats{{Known: true, Rows: uint64(c.Rows()), Min: &lo, Max: &hi}}
	return append(out, c.Chunk.Stats()...)
}

func (c *viewChunk) Read(ctx context.Context, columns []int, rows []uint32) ([]expr.Vector, error) {
	var inner []int
	for _, col := range columns {
		if col > 0 {
			inner = append(inner, col-1)
		}
	}
	var got []expr.Vector
	if len(inner) > 0 {
		var err error
		if got, err = c.Chunk.Read(ctx, inner, rows); err != nil {
			return nil, err
		}
	}
	out := make([]expr.Vector, len(columns))
	for i, col := range columns {
		if col > 0 {
			out[i], got = got[0], got[1:]
			continue
		}
		for k := range c.Rows() {
			if rows == nil {
				out[i].Values = binary.LittleEndian.AppendUint64(out[i].Values, c.first+uint64(k))
			}
		}
		for _, r := range rows {
			out[i].Values = binary.LittleEndian.AppendUint64(out[i].Values, c.first+uint64(r))
		}
	}
	return out, nil
}

// TensorSamples reads rows of a tensor dataset.
func TensorSamples(p *tensor.Pinned) Samples { return &tensorSamples{t: Tensor("", p)} }

type tensorSamples struct {
	t    *TensorTable
	unit uint64
}

func (s *tensorSamples) Schema() expr.Schema { return s.t.schema }

func (s *tensorSamples) Rows(ctx context.Context, samples []uint64, _ []int) (exec.Chunk, error) {
	if s.unit == 0 {
		n, err := unit(ctx, s.t.p)
		if err != nil {
			return nil, err
		}
		s.unit = n
	}
	return &pickedRows{s.t, slices.Clone(samples[:min(uint64(len(samples)), s.unit)])}, nil
}

type pickedRows struct {
	t   *TensorTable
	ids []uint64
}

func (c *pickedRows) Rows() int           { return len(c.ids) }
func (c *pickedRows) Stats() []expr.Stats { return make([]expr.Stats, len(c.t.schema)) }

// chosen are the samples of some rows of a chunk; nil: of all.
func chosen(ids []uint64, rows []uint32) []uint64 {
	if rows == nil {
		return ids
	}
	out := make([]uint64, len(rows))
	for k, r := range rows {
		out[k] = ids[r]
	}
	return out
}

func (c *pickedRows) Read(ctx context.Context, columns []int, rows []uint32) ([]expr.Vector, error) {
	ids := chosen(c.ids, rows)
	out := make([]expr.Vector, len(columns))
	var stored, places []int
	for i, col := range columns {
		if col < len(c.t.cols) {
			stored, places = append(stored, col), append(places, i)
			continue
		}
		for _, id := range ids {
			out[i].Values = binary.LittleEndian.AppendUint64(out[i].Values, id)
		}
	}
	if len(stored) == 0 {
		return out, nil
	}
	data, err := c.t.p.Rows(ctx, stored, ids)
	for k := range data {
		out[places[k]] = vector(&data[k])
	}
	return out, err
}

// PairSamples reads values of a KV dataset, whose keys names tells.
func PairSamples(t *PairsTable, names func(ctx context.Context, samples []uint64) ([]string, error)) Samples {
	return &pairSamples{t, names}
}

type pairSamples struct {
	t     *PairsTable
	names func(context.Context, []uint64) ([]string, error)
}

func (s *pairSamples) Schema() expr.Schema { return s.t.schema }

func (s *pairSamples) Rows(ctx context.Context, samples []uint64, columns []int) (exec.Chunk, error) {
	keys, err := s.names(ctx, samples)
	if err != nil {
		return nil, err
	}
	names := make([]kv.Name, len(keys))
	for i, k := range keys {
		names[i].Key = []byte(k)
	}
	whole := slices.ContainsFunc(columns, s.t.isValue)
	values, err := s.t.v.GetMany(ctx, names, pairsBytes)
	if err != nil {
		return nil, err
	}
	c := &pairsChunk{p: &pairsPart{t: s.t, values: true, whole: whole}, cols: make([]expr.Vector, kvValue)}
	for _, i := range []int{kvKey, kvKeyText, kvAkey} {
		c.cols[i].Offsets = []uint64{0}
	}
	bytes := uint64(0)
	for i := range values {
		x := &values[i]
		if c.n > 0 && bytes > pairsBytes {
			break
		}
		if whole || len(columns) > 0 {
			bytes += x.Size
		}
		key := names[i].Key
		text := utf8.Valid(key)
		c.cols[kvKey].Values = append(c.cols[kvKey].Values, key...)
		c.cols[kvKey].Offsets = append(c.cols[kvKey].Offsets, uint64(len(c.cols[kvKey].Values)))
		if text {
			c.cols[kvKeyText].Values = append(c.cols[kvKeyText].Values, key...)
		}
		c.cols[kvKeyText].Offsets = append(c.cols[kvKeyText].Offsets, uint64(len(c.cols[kvKeyText].Values)))
		c.cols[kvKeyText].Valid = append(c.cols[kvKeyText].Valid, flag(text))
		c.cols[kvAkey].Offsets = append(c.cols[kvAkey].Offsets, 0)
		c.cols[kvVersion].Values = binary.LittleEndian.AppendUint64(c.cols[kvVersion].Values, uint64(x.Version))
		c.cols[kvSize].Values = binary.LittleEndian.AppendUint64(c.cols[kvSize].Values, x.Size)
		b, inline := x.Inline()
		c.values, c.inline = append(c.values, *x), append(c.inline, nil)
		if inline {
			c.inline[c.n] = append(make([]byte, 0, len(b)), b...)
		}
		c.n++
	}
	return c, nil
}

// FileSamples reads entries of a POSIX dataset, whose paths names tells; schema is
// that of its table (query/scan).
func FileSamples(v *posix.View, schema expr.Schema, names func(ctx context.Context, samples []uint64) ([]string, error)) Samples {
	return &fileSamples{v, schema, names}
}

type fileSamples struct {
	v      *posix.View
	schema expr.Schema
	names  func(context.Context, []uint64) ([]string, error)
}

func (s *fileSamples) Schema() expr.Schema { return s.schema }

// byName are columns that a path tells.
var byName = []string{"path", "path_bytes", "name", "ext", "depth", "type"}

func (s *fileSamples) Rows(ctx context.Context, samples []uint64, columns []int) (exec.Chunk, error) {
	paths, err := s.names(ctx, samples)
	if err != nil {
		return nil, err
	}
	look := slices.ContainsFunc(columns, func(c int) bool { return !slices.Contains(byName, s.schema[c].Name) })
	out := newCells(s.schema)
	row := make([]any, len(s.schema))
	for _, path := range paths {
		a := posix.Attr{Type: posix.TypeFile}
		if look {
			if a, err = s.v.Stat(ctx, posix.ByPath(path), false); err != nil {
				return nil, err
			}
		}
		for i := range s.schema {
			row[i] = fileCell(s.schema[i].Name, path, &a)
		}
		out.Add(row...)
	}
	return out, nil
}

func fileCell(column, path string, a *posix.Attr) any {
	name := path[strings.LastIndexByte(path, '/')+1:]
	switch column {
	case "path":
		return strings.ToValidUTF8(path, "\uFFFD")
	case "path_bytes":
		if utf8.ValidString(path) {
			return nil
		}
		return path
	case "name":
		return strings.ToValidUTF8(name, "\uFFFD")
	case "ext":
		if dot := strings.LastIndexByte(name, '.'); dot > 0 {
			return strings.ToValidUTF8(name[dot+1:], "\uFFFD")
		}
		return ""
	case "type":
		return a.Type.String()
	case "size":
		return a.Size
	case "mtime":
		return a.Mtime
	case "ctime":
		return a.Ctime
	case "mode":
		return uint64(a.Mode)
	case "uid":
		return uint64(a.UID)
	case "gid":
		return uint64(a.GID)
	case "nlink":
		return uint64(a.Nlink)
	case "inode":
		return a.Inode
	case "depth":
		return uint64(min(strings.Count(path, "/")+1, math.MaxUint32))
	case "epoch":
		return uint64(a.Epoch)
	}
	return nil // the target of a link: samples are files
}
