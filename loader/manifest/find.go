package manifest

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"
)

// Finder finds the number of a sample by its path: by bisection of the blocks
// of the path table, or without it where paths come about in the order of
// samples. It is for one goroutine, and holds the manifest until Close.
type Finder struct {
	m    *Manifest
	v    *View // keeps the mappings
	root string
	cmp  func(a, b []byte) int

	block uint64   // the block in names
	names [][]byte // its paths; none: no block is there yet
	arena []byte
	name  []byte // of Name
}

// NewFinder makes one for a manifest of files or keys.
func (m *Manifest) NewFinder(ctx context.Context) (*Finder, error) {
	v, err := m.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	f := &Finder{m: m, v: v, cmp: comparePaths}
	if _, byKey := m.tree.(namedTree); byKey {
		f.cmp = bytes.Compare
	}
	if root := strings.Trim(m.info.Selection.Path, "/"); root != "" {
		f.root = root + "/"
	}
	return f, nil
}

// Close ends the use of the manifest.
func (f *Finder) Close() { f.v.Release() }

// comparePaths orders paths as samples are: names are compared, not paths, so
// that '/' comes before every other byte.
func comparePaths(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x == '/' {
			return -1
		}
		if y == '/' {
			return 1
		}
		return int(x) - int(y)
	}
	return len(a) - len(b)
}

// Find is the number of the sample with a path below the root of the dataset,
// or a key; ok is false if there is none.
func (f *Finder) Find(path []byte) (i uint64, ok bool, err error) {
	n := f.m.info.Samples
	if n == 0 {
		return 0, false, nil
	}
	if f.root != "" {
		rest, below := bytes.CutPrefix(path, []byte(f.root))
		if !below {
			// A path that is itself the only sample.
			whole := len(path) == len(f.root)-1 && strings.HasPrefix(f.root, string(path)) && n == 1
			if !whole {
				return 0, false, nil
			}
			rest = path[bytes.LastIndexByte(path, '/')+1:]
		}
		path = rest
	}
	err = guarded(f.m.logical.path, func() error {
		i, ok, err = f.find(path)
		return err
	})
	return i, ok, err
}

func (f *Finder) find(path []byte) (uint64, bool, error) {
	blocks := (f.m.info.Samples + pathBlock - 1) / pathBlock
	if len(f.names) > 0 {
		if i, ok, here := f.within(path); here {
			return i, ok, nil
		}
		if f.cmp(path, f.names[0]) > 0 && f.block+1 < blocks { // perhaps in the next one
			if err := f.load(f.block + 1); err != nil {
				return 0, false, err
			}
			if i, ok, here := f.within(path); here {
				return i, ok, nil
			}
		}
	}
	lo, hi := uint64(0), blocks // the first block that begins behind path
	for lo < hi {
		mid := (lo + hi) / 2
		first, err := f.m.paths.first(mid)
		if err != nil {
			return 0, false, err
		}
		if f.cmp(first, path) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return 0, false, nil
	}
	if err := f.load(lo - 1); err != nil {
		return 0, false, err
	}
	k, ok := slices.BinarySearchFunc(f.names, path, f.cmp)
	return f.block*pathBlock + uint64(k), ok, nil
}

// within looks in the block that is there; here says whether path lies between
// its first and its last.
func (f *Finder) within(path []byte) (i uint64, ok, here bool) {
	if f.cmp(path, f.names[0]) < 0 || f.cmp(path, f.names[len(f.names)-1]) > 0 {
		return 0, false, false
	}
	k, ok := slices.BinarySearchFunc(f.names, path, f.cmp)
	return f.block*pathBlock + uint64(k), ok, true
}

func (f *Finder) load(block uint64) error {
	f.block, f.names, f.arena = block, f.names[:0], f.arena[:0]
	from := block * pathBlock
	var ends []int
	err := f.m.paths.each(from, min(pathBlock, f.m.info.Samples-from), func(p []byte) {
		f.arena = append(f.arena, p...)
		ends = append(ends, len(f.arena))
	})
	at := 0
	for _, end := range ends {
		f.names = append(f.names, f.arena[at:end:end])
		at = end
	}
	return err
}

// first is the first path of a block, in the mapping.
func (r *pathReader) first(block uint64) ([]byte, error) {
	b, err := r.index.at(8*block, 8)
	if err != nil {
		return nil, err
	}
	pos := binary.LittleEndian.Uint64(b)
	_, n, head, err := r.head(pos)
	if err != nil {
		return nil, err
	}
	return r.blob.at(pos+head, n)
}

// head reads the lengths of a path at pos, and how many bytes they take.
func (r *pathReader) head(pos uint64) (shared, n, head uint64, err error) {
	if pos > r.blob.n {
		return 0, 0, 0, damaged(r.blob.f.path, "the path table ends early")
	}
	h, err := r.blob.at(pos, min(2*binary.MaxVarintLen64, r.blob.n-pos))
	if err != nil {
		return 0, 0, 0, err
	}
	shared, a := binary.Uvarint(h)
	if a <= 0 {
		return 0, 0, 0, damaged(r.blob.f.path, "the path table is not readable")
	}
	n, c := binary.Uvarint(h[a:])
	if c <= 0 || n > maxPath || shared > maxPath || shared+n > maxPath {
		return 0, 0, 0, damaged(r.blob.f.path, "the path table is not readable")
	}
	return shared, n, uint64(a + c), nil
}

// each calls fn with count paths from sample from on, one after the other; the
// slice is valid during the call.
func (r *pathReader) each(from, count uint64, fn func(path []byte)) error {
	var p []byte
	var pos uint64
	for i := from - from%pathBlock; i < from+count; i++ {
		if i%pathBlock == 0 {
			b, err := r.index.at(8*(i/pathBlock), 8)
			if err != nil {
				return err
			}
			pos, p = binary.LittleEndian.Uint64(b), p[:0]
		}
		shared, n, head, err := r.head(pos)
		if err != nil {
			return err
		}
		if shared > uint64(len(p)) {
			return damaged(r.blob.f.path, "the path table is not readable")
		}
		s, err := r.blob.at(pos+head, n)
		if err != nil {
			return err
		}
		if p = append(p[:shared], s...); i >= from {
			fn(p)
		}
		pos += head + n
	}
	return nil
}

// Unlabelled are the numbers of the samples that lie directly in the path of
// the selection, ascending: with labels by directory they have none, and are
// left out.
func (m *Manifest) Unlabelled(ctx context.Context) ([]uint64, error) {
	v, err := m.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer v.Release()
	var out []uint64
	i := uint64(0)
	for i < m.info.Samples && err == nil {
		err = guarded(m.logical.path, func() error {
			return m.paths.each(i, min(progressEvery, m.info.Samples-i), func(p []byte) {
				if k := bytes.IndexByte(p, '/'); k <= 0 {
					out = append(out, i)
				}
				i++
			})
		})
		if err == nil {
			err = ctx.Err()
		}
	}
	return out, err
}
