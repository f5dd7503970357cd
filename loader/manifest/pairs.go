package manifest

import (
	"context"
	"strings"

	"daos/dataset/kv"
	"daos/dataset/posix"
	"daos/engine/object"
)

// Pairs is what a manifest needs of a KV dataset at an epoch; *kv.View is one.
type Pairs interface {
	// Scan meets the pairs of a range in the byte order of their keys.
	Scan(ctx context.Context, r kv.Range, fn func(*kv.Pair) bool) error
	// LocateRange says where the values of the default akey lie, for the keys
	// from first to last (both inclusive), in order.
	LocateRange(ctx context.Context, first, last []byte, fn func(key []byte, xs []object.Extent) error) error
}

// namedTree is a Tree whose files are found by their path: they are no objects.
type namedTree interface {
	// LocatePaths says where the files from the path first to the path last lie,
	// in the order of samples, perhaps with others between them.
	LocatePaths(ctx context.Context, first, last []byte, fn func(path []byte, xs []object.Extent) error) error
}

// TreeOf shows the pairs of a KV dataset as files, in the byte order of their
// keys: a key is a path, and what stands before its last '/' a directory. Only
// the values of the default akey are samples. root selects the keys below a
// directory.
func TreeOf(p Pairs, root string) Tree {
	root = strings.Trim(root, "/")
	if root != "" {
		root += "/"
	}
	return &pairTree{p: p, root: root}
}

type pairTree struct {
	p    Pairs
	root string // empty, or a directory with a '/' behind
}

// Files implements Tree.
func (t *pairTree) Files(ctx context.Context, _ string, fn func(*posix.Sample) error) error {
	top := strings.TrimSuffix(t.root, "/")
	var s posix.Sample
	var failed error
	r := kv.Range{KeysOnly: true}
	if t.root != "" {
		r.Prefix = []byte(t.root)
	}
	err := t.p.Scan(ctx, r, func(p *kv.Pair) bool {
		if len(p.Akey) > 0 {
			return true
		}
		rest := string(p.Key[len(t.root):])
		dir, name := "", rest
		// A path has no '/' at its beginning: such a key is all name.
		if i := strings.LastIndexByte(rest, '/'); i > 0 && rest[0] != '/' {
			dir, name = rest[:i], rest[i+1:]
		}
		if top != "" && dir != "" {
			dir = t.root + dir
		} else if dir == "" {
			dir = top
		}
		if s.Dir != dir {
			s.Dir = dir
		}
		s.Name = name
		s.Attr = posix.Attr{Type: posix.TypeFile, Size: p.Value.Size}
		failed = fn(&s)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// Locate implements Tree; LocatePaths is asked instead.
func (t *pairTree) Locate(context.Context, posix.Attr, uint64, uint64) ([]object.Extent, error) {
	return nil, nil
}

// LocatePaths implements namedTree.
func (t *pairTree) LocatePaths(ctx context.Context, first, last []byte, fn func(path []byte, xs []object.Extent) error) error {
	key := func(path []byte) []byte { return append([]byte(t.root), path...) }
	return t.p.LocateRange(ctx, key(first), key(last), func(k []byte, xs []object.Extent) error { return fn(k[len(t.root):], xs) })
}
