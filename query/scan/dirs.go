package scan

import (
	"context"
	"strconv"
	"sync"
	"unicode/utf8"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
)

// dir is a directory as its entries see it.
type dir struct {
	inside bool   // at or below the scanned directory; hidden ones are not
	valid  bool   // prefix is UTF-8
	prefix []byte // path below the root with a '/' at the end, "" for the root
	below  int    // bytes of prefix that lead to the scanned directory
	depth  uint32 // 0 for the scanned directory
}

// hidden is a directory whose entries nobody sees: in the trash, or outside of
// the scanned directory.
var hidden = &dir{}

// Bounds of what is remembered: beyond them all is forgotten and found again.
const (
	maxCached      = 1 << 18  // directories
	maxCachedBytes = 64 << 20 // of their paths
)

// dirs finds the path of a directory by walking its parents, and remembers
// every directory on the way. It is shared by the parts of a scan.
type dirs struct {
	v *posix.View

	mu    sync.RWMutex
	known map[object.ID]*dir
	bytes int       // of the paths in known
	top   object.ID // the scanned directory
	start *dir
}

func newDirs(ctx context.Context, v *posix.View, path string) (*dirs, error) {
	oid, real, err := v.Dir(ctx, path)
	if err != nil {
		return nil, err
	}
	d := &dir{inside: true, prefix: []byte(real)}
	if real != "" {
		d.prefix = append(d.prefix, '/')
	}
	d.valid, d.below = utf8.Valid(d.prefix), len(d.prefix)
	return &dirs{v: v, top: oid, start: d, known: map[object.ID]*dir{oid: d}}, nil
}

// find returns the directory oid. If the caller has met its self record he
// gives its parent and name.
func (ds *dirs) find(ctx context.Context, oid object.ID, self func() (object.ID, string, bool)) (*dir, error) {
	ds.mu.RLock()
	d := ds.known[oid]
	ds.mu.RUnlock()
	if d != nil {
		return d, nil
	}
	type step struct {
		oid  object.ID
		name string
	}
	var way []step
	for at := oid; d == nil; {
		if len(way) > posix.MaxDepth {
			return nil, fault.New(fault.TooBig, "scan.directory", "inode "+strconv.FormatUint(oid.Lo, 10), "nested deeper than %d directories", posix.MaxDepth).
				Do("move the innermost of them up")
		}
		var parent object.ID
		var name string
		known := false
		if at == oid && self != nil {
			parent, name, known = self()
		}
		if !known {
			var err error
			if parent, name, err = ds.v.Parent(ctx, at); err != nil {
				return nil, err
			}
		}
		way = append(way, step{at, name})
		if parent.IsZero() { // the root, above the scanned directory, or the trash
			d = hidden
			break
		}
		at = parent
		ds.mu.RLock()
		d = ds.known[at]
		ds.mu.RUnlock()
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for i := len(way) - 1; i >= 0; i-- {
		if d.inside {
			p := make([]byte, 0, len(d.prefix)+len(way[i].name)+1)
			p = append(append(append(p, d.prefix...), way[i].name...), '/')
			d = &dir{inside: true, valid: d.valid && utf8.ValidString(way[i].name), prefix: p, below: d.below, depth: d.depth + 1}
		}
		if len(ds.known) >= maxCached || ds.bytes+len(d.prefix) > maxCachedBytes {
			ds.known, ds.bytes = map[object.ID]*dir{ds.top: ds.start}, 0
		}
		ds.known[way[i].oid] = d
		ds.bytes += len(d.prefix)
	}
	return d, nil
}
