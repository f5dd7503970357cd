package source

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"daos/dataset/array"
	"daos/dataset/kv"
	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/query/expr"
)

// A difference is a table of what was added, removed or changed between two
// epochs of one dataset: the two are walked side by side in the order of their
// keys, a page of each in memory. "Changed" means written again, whatever with.
const (
	added   = "added"
	removed = "removed"
	changed = "changed"
)

// diffPage is how much of each side is held.
const diffPage = 1000

// pages reads what is in order, page by page.
type pages[T any] struct {
	buf  []T
	last *T // taken; nil: none
	end  bool
	read func(ctx context.Context, last *T) (page []T, more bool, err error)
}

// peek is the next one, nil at the end.
func (p *pages[T]) peek(ctx context.Context) (*T, error) {
	for len(p.buf) == 0 {
		if p.end || p.read == nil {
			return nil, nil
		}
		page, more, err := p.read(ctx, p.last)
		if err != nil {
			return nil, err
		}
		p.buf, p.end = page, !more
	}
	return &p.buf[0], nil
}

func (p *pages[T]) take() {
	p.last = &p.buf[0]
	p.buf = p.buf[1:]
}

// forget drops what was read ahead; the next peek reads it again.
func (p *pages[T]) forget() {
	if len(p.buf) == 0 {
		return
	}
	if p.last != nil {
		one := *p.last // and not the page that it lies in
		p.last = &one
	}
	p.buf, p.end = nil, false
}

// both is the next of two ordered sides: either may be nil, where the other comes
// first; both are nil at the end.
func both[T any](ctx context.Context, a, b *pages[T], order func(x, y *T) int) (x, y *T, err error) {
	if x, err = a.peek(ctx); err != nil {
		return nil, nil, err
	}
	if y, err = b.peek(ctx); err != nil {
		return nil, nil, err
	}
	if x != nil && y != nil {
		switch c := order(x, y); {
		case c < 0:
			y = nil
		case c > 0:
			x = nil
		}
	}
	if x != nil {
		a.take()
	}
	if y != nil {
		b.take()
	}
	return x, y, nil
}

// pair is a value of a KV dataset as far as a difference looks at it.
type pair struct {
	key, akey     []byte
	version, size uint64
}

func pairPages(v *kv.View) pages[pair] {
	return pages[pair]{read: func(ctx context.Context, last *pair) (page []pair, more bool, err error) {
		r := kv.Range{KeysOnly: true}
		if last != nil {
			r.After = kv.Name{Key: last.key, Akey: last.akey}
		}
		err = v.Scan(ctx, r, func(x *kv.Pair) bool {
			if more = len(page) == diffPage; more {
				return false
			}
			page = append(page, pair{slices.Clone(x.Key), slices.Clone(x.Akey), uint64(x.Value.Version), x.Value.Size})
			return true
		})
		return page, more, err
	}}
}

// PairsDiff is the difference of a KV dataset, value by value.
func PairsDiff(name string, before, after *kv.View) *Made {
	s := expr.Schema{{Name: "change", Type: expr.Text}, {Name: "key", Type: expr.Bytes}, {Name: "key_text", Type: expr.Text}, {Name: "akey", Type: expr.Bytes},
		{Name: "size_before", Type: expr.Uint64}, {Name: "size_after", Type: expr.Uint64}, {Name: "version_before", Type: expr.Uint64}, {Name: "version_after", Type: expr.Uint64}}
	return NewMade(name, s, func(context.Context) (Rows, error) {
		return &pairsDiff{pairPages(before), pairPages(after)}, nil
	})
}

type pairsDiff struct{ a, b pages[pair] }

func (d *pairsDiff) Close() {}

func (d *pairsDiff) Next(ctx context.Context, out *Cells) error {
	for {
		x, y, err := both(ctx, &d.a, &d.b, func(x, y *pair) int {
			return cmp.Or(bytes.Compare(x.key, y.key), bytes.Compare(x.akey, y.akey))
		})
		if err != nil {
			return err
		}
		change, one := "", x
		switch {
		case x == nil && y == nil:
			return io.EOF
		case x == nil:
			change, one = added, y
		case y == nil:
			change = removed
		case x.version != y.version:
			change = changed
		default:
			continue
		}
		var text any
		if utf8.Valid(one.key) {
			text = string(one.key)
		}
		row := []any{change, one.key, text, one.akey, nil, nil, nil, nil}
		if x != nil {
			row[4], row[6] = x.size, x.version
		}
		if y != nil {
			row[5], row[7] = y.size, y.version
		}
		out.Add(row...)
		return nil
	}
}

// FilesDiff is the difference of a POSIX dataset below a path, depth first in
// the byte order of names. A directory counts as changed where its owner or mode
// is another; what it holds has rows of its own.
func FilesDiff(name string, before, after *posix.View, path string) *Made {
	s := expr.Schema{{Name: "change", Type: expr.Text}, {Name: "path", Type: expr.Text}, {Name: "path_bytes", Type: expr.Bytes}, {Name: "type", Type: expr.Text},
		{Name: "size_before", Type: expr.Uint64}, {Name: "size_after", Type: expr.Uint64}, {Name: "mtime_before", Type: expr.Time}, {Name: "mtime_after", Type: expr.Time}}
	return NewMade(name, s, func(ctx context.Context) (Rows, error) {
		d := &filesDiff{before: before, after: after}
		return d, d.start(ctx, path)
	})
}

type filesDiff struct {
	before, after *posix.View
	stack         []*dirDiff
}

// dirDiff is a directory whose entries are compared; a side without it has no
// pages.
type dirDiff struct {
	path string // with a '/' behind it, "" for the root
	a, b pages[posix.Entry]
}

// shallow is how many directories may keep their pages while one below them is
// walked; those deeper read on from the last name.
const shallow = 32

func (d *filesDiff) Close() {}

func entryPages(v *posix.View, inode uint64) pages[posix.Entry] {
	return pages[posix.Entry]{read: func(ctx context.Context, last *posix.Entry) ([]posix.Entry, bool, error) {
		after := ""
		if last != nil {
			after = last.Name
		}
		return v.ListDir(ctx, posix.ByInode(inode), after, diffPage)
	}}
}

func (d *filesDiff) start(ctx context.Context, path string) error {
	top := &dirDiff{}
	if path != "" {
		top.path = path + "/"
	}
	found := false
	for _, side := range []struct {
		v  *posix.View
		to *pages[posix.Entry]
	}{{d.before, &top.a}, {d.after, &top.b}} {
		at, err := side.v.Stat(ctx, posix.ByPath(path), true)
		switch {
		case fault.Is(err, fault.NotFound):
			continue
		case err != nil:
			return err
		case at.Type != posix.TypeDir:
			return fault.New(fault.NotDirectory, "query.diff", path, "a %s, not a directory", at.Type).Do("compare the directory that holds it")
		}
		found = true
		*side.to = entryPages(side.v, at.Inode)
	}
	if !found {
		return fault.New(fault.NotFound, "query.diff", path, "there is no such directory in either")
	}
	d.stack = []*dirDiff{top}
	return nil
}

// enter begins with a directory below the last one; a side of 0 has none.
func (d *filesDiff) enter(path string, before, after uint64) {
	if n := len(d.stack); n > shallow {
		up := d.stack[n-1]
		for _, p := range []*pages[posix.Entry]{&up.a, &up.b} {
			p.forget()
		}
	}
	next := &dirDiff{path: path + "/"}
	if before != 0 {
		next.a = entryPages(d.before, before)
	}
	if after != 0 {
		next.b = entryPages(d.after, after)
	}
	d.stack = append(d.stack, next)
}

func (d *filesDiff) Next(ctx context.Context, out *Cells) error {
	for rows := out.n; out.n == rows; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(d.stack) == 0 {
			return io.EOF
		}
		dir := d.stack[len(d.stack)-1]
		x, y, err := both(ctx, &dir.a, &dir.b, func(x, y *posix.Entry) int { return strings.Compare(x.Name, y.Name) })
		if err != nil {
			return err
		}
		if x == nil && y == nil {
			d.stack = d.stack[:len(d.stack)-1]
			continue
		}
		if x != nil && y != nil && x.Attr.Type == y.Attr.Type {
			d.compare(dir, x, y, out)
			continue
		}
		var gone, come uint64
		if x != nil {
			fileRow(out, removed, dir.path+x.Name, &x.Attr, nil)
			if x.Attr.Type == posix.TypeDir {
				gone = x.Attr.Inode
			}
		}
		if y != nil {
			fileRow(out, added, dir.path+y.Name, nil, &y.Attr)
			if y.Attr.Type == posix.TypeDir {
				come = y.Attr.Inode
			}
		}
		if name := x; gone != 0 || come != 0 {
			if name == nil {
				name = y
			}
			d.enter(dir.path+name.Name, gone, come)
		}
	}
	return nil
}

// compare is an entry that is in both, of one type.
func (d *filesDiff) compare(dir *dirDiff, x, y *posix.Entry, out *Cells) {
	a, b := &x.Attr, &y.Attr
	if a.Type == posix.TypeDir {
		if a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID {
			fileRow(out, changed, dir.path+x.Name, a, b)
		}
		d.enter(dir.path+x.Name, a.Inode, b.Inode)
		return
	}
	if a.Epoch != b.Epoch || a.Inode != b.Inode {
		fileRow(out, changed, dir.path+x.Name, a, b)
	}
}

func fileRow(out *Cells, change, path string, a, b *posix.Attr) {
	row := []any{change, strings.ToValidUTF8(path, "\uFFFD"), nil, nil, nil, nil, nil, nil}
	if !utf8.ValidString(path) {
		row[2] = path
	}
	if a != nil {
		row[3], row[4], row[6] = a.Type.String(), a.Size, a.Mtime
	}
	if b != nil {
		row[3], row[5], row[7] = b.Type.String(), b.Size, b.Mtime
	}
	out.Add(row...)
}

// ElementsDiff is the difference of an array, or of all arrays of a group, chunk
// by chunk; an array that came, went or has another shape has a row without a
// chunk besides.
func ElementsDiff(name string, d *array.Dataset, before, after object.Epoch, path string) *Made {
	s := expr.Schema{{Name: "change", Type: expr.Text}, {Name: "path", Type: expr.Text}, {Name: "chunk", Type: expr.List, Elem: expr.Uint64},
		{Name: "size_before", Type: expr.Uint64}, {Name: "size_after", Type: expr.Uint64}}
	return NewMade(name, s, func(ctx context.Context) (Rows, error) {
		e := &elementsDiff{d: d, before: before, after: after}
		return e, e.start(ctx, path)
	})
}

type elementsDiff struct {
	d             *array.Dataset
	before, after object.Epoch
	a, b          pages[*array.Node]
	open          *chunksDiff // of the array that is compared
}

// chunksDiff compares the chunks of an array.
type chunksDiff struct {
	path         string
	sizeA, sizeB uint64 // of an element
	a, b         pages[array.ChunkStats]
}

func (e *elementsDiff) Close() {}

func (e *elementsDiff) start(ctx context.Context, path string) error {
	found := false
	for _, side := range []struct {
		at object.Epoch
		to *pages[*array.Node]
	}{{e.before, &e.a}, {e.after, &e.b}} {
		n, at, err := e.d.Describe(ctx, side.at, path)
		switch {
		case fault.Is(err, fault.NotFound):
			continue
		case err != nil:
			return err
		}
		found = true
		if n.Spec != nil {
			side.to.buf, side.to.end = []*array.Node{n}, true
			continue
		}
		side.to.read = func(ctx context.Context, last **array.Node) ([]*array.Node, bool, error) {
			o := array.ListOptions{Recursive: true, Limit: diffPage}
			if last != nil {
				o.After = (*last).Path
			}
			return e.d.List(ctx, at, path, o)
		}
	}
	if !found {
		return fault.New(fault.NotFound, "query.diff", path, "there is no such array or group in either")
	}
	return nil
}

func (e *elementsDiff) chunks(ctx context.Context, at object.Epoch, n *array.Node) (pages[array.ChunkStats], error) {
	s, err := e.d.Scan(ctx, at, n.Path)
	if err != nil {
		return pages[array.ChunkStats]{}, err
	}
	return pages[array.ChunkStats]{read: func(ctx context.Context, last *array.ChunkStats) (page []array.ChunkStats, more bool, err error) {
		var after []uint64
		if last != nil {
			after = last.Coords
		}
		err = s.Chunks(ctx, after, func(c *array.ChunkStats) bool {
			if more = len(page) == diffPage; more {
				return false
			}
			page = append(page, array.ChunkStats{Coords: slices.Clone(c.Coords), Count: c.Count, Version: c.Version})
			return true
		})
		return page, more, err
	}}, nil
}

func (e *elementsDiff) Next(ctx context.Context, out *Cells) error {
	for rows := out.n; out.n == rows; {
		if e.open != nil {
			more, err := e.open.next(ctx, out)
			if err != nil {
				return err
			}
			if !more {
				e.open = nil
			}
			continue
		}
		x, y, err := both(ctx, &e.a, &e.b, func(x, y **array.Node) int { return strings.Compare((*x).Path, (*y).Path) })
		if err != nil {
			return err
		}
		if x == nil && y == nil {
			return io.EOF
		}
		if err := e.node(ctx, x, y, out); err != nil {
			return err
		}
	}
	return nil
}

// node begins with a node that is in one or both.
func (e *elementsDiff) node(ctx context.Context, x, y **array.Node, out *Cells) (err error) {
	c := &chunksDiff{}
	var bytesA, bytesB any
	if x != nil && (*x).Spec != nil {
		c.path, c.sizeA = (*x).Path, uint64((*x).Spec.DType.Size())
		bytesA = (*x).Spec.Elements() * c.sizeA
		if c.a, err = e.chunks(ctx, e.before, *x); err != nil {
			return err
		}
	}
	if y != nil && (*y).Spec != nil {
		c.path, c.sizeB = (*y).Path, uint64((*y).Spec.DType.Size())
		bytesB = (*y).Spec.Elements() * c.sizeB
		if c.b, err = e.chunks(ctx, e.after, *y); err != nil {
			return err
		}
	}
	switch {
	case bytesA == nil && bytesB == nil:
		return nil // a group
	case bytesA == nil:
		out.Add(added, c.path, nil, nil, bytesB)
	case bytesB == nil:
		out.Add(removed, c.path, nil, bytesA, nil)
	case (*x).ID != (*y).ID || !slices.Equal((*x).Spec.Shape, (*y).Spec.Shape):
		out.Add(changed, c.path, nil, bytesA, bytesB)
	}
	e.open = c
	return nil
}

func (c *chunksDiff) next(ctx context.Context, out *Cells) (more bool, err error) {
	x, y, err := both(ctx, &c.a, &c.b, func(x, y *array.ChunkStats) int { return slices.Compare(x.Coords, y.Coords) })
	switch {
	case err != nil:
		return false, err
	case x == nil && y == nil:
		return false, nil
	case x == nil:
		out.Add(added, c.path, y.Coords, nil, y.Count*c.sizeB)
	case y == nil:
		out.Add(removed, c.path, x.Coords, x.Count*c.sizeA, nil)
	case x.Version != y.Version || x.Count != y.Count:
		out.Add(changed, c.path, x.Coords, x.Count*c.sizeA, y.Count*c.sizeB)
	}
	return true, nil
}
