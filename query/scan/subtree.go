package scan

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/query/expr"
)

// This file finds the part of a tree that a condition on paths, or the path of
// an address, leaves over: its directories are listed one by one, and nothing
// else is read. Rows come in the order of the index all the same.

// span is the paths that can match: lo <= path < hi.
type span struct {
	lo, hi []byte
	open   bool // there is no hi
}

func (s *span) everything() bool { return len(s.lo) == 0 && s.open }

// meets reports whether a path below a directory can match; prefix is its path
// as it is shown, with a '/' at the end ("" is the root).
func (s *span) meets(prefix []byte) bool {
	if len(prefix) == 0 {
		return true
	}
	end := bytes.Clone(prefix)
	end[len(end)-1]++ // all paths below begin with prefix
	return bytes.Compare(end, s.lo) > 0 && (s.open || bytes.Compare(prefix, s.hi) < 0)
}

// names is the range of names in a directory that can match themselves or lead
// to what does; nil: no bound. Names are listed in the order of their bytes and
// compared as they are shown, where what is not UTF-8 is U+FFFD: both orders
// agree on ASCII alone.
func (s *span) names(prefix []byte) (from, to []byte) {
	if rest, ok := bytes.CutPrefix(s.lo, prefix); ok {
		name, _, _ := bytes.Cut(rest, []byte("/"))
		// A directory "a" holds "a/x", which is behind "a!".
		if i := bytes.IndexFunc(name, func(r rune) bool { return r < '/' || r >= utf8.RuneSelf }); i >= 0 {
			name = name[:i]
		}
		from = name
	}
	if s.open {
		return from, nil
	}
	if rest, ok := bytes.CutPrefix(s.hi, prefix); ok {
		name, _, deeper := bytes.Cut(rest, []byte("/"))
		if i := bytes.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
			return from, object.PrefixEnd(name[:i])
		}
		to = bytes.Clone(name)
		if deeper { // "a!" is before "a/x"
			to = append(to, '/')
		}
	}
	return from, to
}

// Bounds of a part of a tree that is listed; beyond them all of it is passed over.
const (
	maxListed     = 1 << 15  // directories
	maxListedPath = 64 << 20 // bytes of their paths
	pieceEntries  = 1 << 14
)

// piece is some neighbours in a directory.
type piece struct {
	dir      *dir
	oid      object.ID
	from, to []byte // names; nil: no bound
	entries  int
}

var errTooMany = errors.New("too many directories")

// subtree finds what there is to list for a condition. ok is false if that is
// everything, or too much: then the whole namespace has to be passed over.
func (t *Table) subtree(ctx context.Context, ds *dirs, where expr.Expr) (pieces []piece, ok bool, err error) {
	var s span
	s.lo, s.hi, s.open = expr.Range(where, "path")
	if t.path == "" && s.everything() {
		return nil, false, nil
	}
	top, oid := ds.start, ds.top
	common := string(expr.Common(s.lo, s.hi, s.open))
	if i := strings.IndexRune(common, utf8.RuneError); i >= 0 {
		common = common[:i] // it stands for names that are not UTF-8
	}
	common = common[:strings.LastIndexByte(common, '/')+1]
	switch shown := string(shown(top.prefix)); {
	case strings.HasPrefix(shown, common): // the scanned directory is there, or deeper
	case strings.HasPrefix(common, shown):
		names := strings.Split(strings.TrimSuffix(common, "/"), "/")
		if oid, ok, err = t.v.Real(ctx, names); err != nil || !ok {
			return nil, err == nil, err
		}
		depth := len(names) - bytes.Count(top.prefix, []byte("/"))
		top = &dir{inside: true, valid: true, prefix: []byte(common), below: top.below, depth: top.depth + uint32(depth)}
	default:
		return nil, true, nil // nothing of it is below the scanned directory
	}
	l := lister{t: t, span: s}
	if err := l.walk(ctx, top, oid); err != nil {
		if errors.Is(err, errTooMany) {
			return nil, false, nil
		}
		return nil, false, err
	}
	slices.SortStableFunc(l.out, func(a, b piece) int {
		return cmp.Or(cmp.Compare(a.oid.Hash(0), b.oid.Hash(0)), cmp.Compare(a.oid.Hi, b.oid.Hi), cmp.Compare(a.oid.Lo, b.oid.Lo))
	})
	return l.out, true, nil
}

// shown is a path as a table shows it.
func shown(path []byte) []byte {
	if utf8.Valid(path) {
		return path
	}
	return []byte(strings.ToValidUTF8(string(path), "\ufffd"))
}

// lister finds the directories of a part of a tree.
type lister struct {
	t    *Table
	span span
	out  []piece
	dirs int
	path int
}

type found struct {
	oid  object.ID
	name []byte
}

// walk lists a directory and those in it. Its stack is its own: a tree may be
// deep.
func (l *lister) walk(ctx context.Context, top *dir, oid object.ID) error {
	type level struct {
		d   *dir
		sub []found
	}
	sub, err := l.list(ctx, top, oid)
	if err != nil {
		return err
	}
	stack := []level{{top, sub}}
	for len(stack) > 0 {
		at := &stack[len(stack)-1]
		if len(at.sub) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		next := at.sub[0]
		at.sub = at.sub[1:]
		prefix := slices.Concat(at.d.prefix, next.name, []byte("/"))
		d := &dir{inside: true, valid: at.d.valid && utf8.Valid(next.name), prefix: prefix, below: at.d.below, depth: at.d.depth + 1}
		if !l.span.meets(shown(prefix)) {
			continue
		}
		if sub, err = l.list(ctx, d, next.oid); err != nil {
			return err
		}
		stack = append(stack, level{d, sub})
	}
	return nil
}

// list cuts a directory into pieces and returns the directories in it.
func (l *lister) list(ctx context.Context, d *dir, oid object.ID) (sub []found, err error) {
	l.dirs++
	l.path += len(d.prefix)
	if l.dirs > maxListed || l.path > maxListedPath || oid.Class().Groups() != 1 {
		return nil, errTooMany
	}
	p := piece{dir: d, oid: oid}
	p.from, p.to = l.span.names(shown(d.prefix))
	var bad error
	to := p.to
	err = l.t.v.Entries(ctx, oid, p.from, to, func(e posix.Below) bool {
		if p.entries == pieceEntries {
			p.to = bytes.Clone(e.Name)
			l.out = append(l.out, p)
			p.from, p.to, p.entries = p.to, to, 0
		}
		p.entries++
		var raw posix.Raw
		if e.Value == nil {
			raw, bad = l.t.v.EntryRaw(ctx, oid, e.Name)
		} else {
			raw, bad = posix.ParseRaw(e.Value)
		}
		if bad != nil {
			bad = damaged(bad, d, e.Name)
			return false
		}
		if child, ok := posix.DirOf(raw); ok {
			sub = append(sub, found{child, bytes.Clone(e.Name)})
		}
		return true
	})
	if p.entries > 0 {
		l.out = append(l.out, p)
	}
	return sub, errors.Join(err, bad)
}

// divide makes at most want runs of pieces, about equally large.
func divide(pieces []piece, want int) [][]piece {
	total := 0
	for _, p := range pieces {
		total += p.entries
	}
	size := max(total/max(want, 1)+1, pieceEntries/4)
	var out [][]piece
	for from, n, i := 0, 0, 0; i < len(pieces); i++ {
		n += pieces[i].entries
		if n >= size || i == len(pieces)-1 {
			out = append(out, pieces[from:i+1])
			from, n = i+1, 0
		}
	}
	return out
}

// rows is where a part of a table reads its rows from.
type rows interface {
	// pass gives the next rows to fn until that returns false; end says that
	// there are none behind them. A row that fn did not take comes again.
	pass(ctx context.Context, w *worker, fn func(object.Row) bool) (end bool, err error)
	// place is where they begin, and how far they go.
	place() []byte
}

// Place is what the part is of the table.
func (p *tablePart) Place() []byte { return p.from.place() }

// passing goes through a range of the index.
type passing struct {
	pos   object.Anchor
	times *object.Span // of interest alone; nil: all
}

func (p *passing) pass(ctx context.Context, w *worker, fn func(object.Row) bool) (bool, error) {
	var err error
	if p.times != nil {
		p.pos, err = w.v.ScanTimes(ctx, p.pos, *p.times, fn)
	} else {
		p.pos, err = w.v.Scan(ctx, p.pos, fn)
	}
	return p.pos.AtEnd(), err
}

func (p *passing) place() []byte { return p.pos }

// listing goes through pieces of directories.
type listing struct{ pieces []piece }

var entryKey = []byte("e") // what posix.KindOfRow takes for an entry

func (l *listing) pass(ctx context.Context, w *worker, fn func(object.Row) bool) (bool, error) {
	for len(l.pieces) > 0 {
		p := &l.pieces[0]
		w.oid, w.dir = p.oid, p.dir
		stopped := false
		err := w.v.Entries(ctx, p.oid, p.from, p.to, func(e posix.Below) bool {
			if fn(object.Row{OID: p.oid, Dkey: e.Name, Akey: entryKey, Epoch: e.Epoch, Value: e.Value}) {
				return true
			}
			p.from, stopped = bytes.Clone(e.Name), true
			return false
		})
		if err != nil || stopped {
			return false, err
		}
		l.pieces = l.pieces[1:]
	}
	return true, nil
}

func (l *listing) place() []byte {
	b := []byte("listing")
	for _, p := range l.pieces {
		b = binary.BigEndian.AppendUint64(b, p.oid.Lo)
		b = append(append(binary.BigEndian.AppendUint32(b, uint32(len(p.from))), p.from...), p.to...)
	}
	return b
}
