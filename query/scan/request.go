package scan

import (
	"encoding/binary"
	"strings"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/query/glob"
)

// Filter says which entries are wanted; all given conditions must hold.
type Filter struct {
	Name     string       // glob over the name, "" matches all
	Path     string       // glob over the path below the scanned directory
	Types    []posix.Type // empty: all
	MinSize  *uint64
	MaxSize  *uint64
	MinMtime *int64 // at or after, ns since 1970
	MaxMtime *int64 // before
	MinDepth *uint32
	MaxDepth *uint32 // an entry of the scanned directory has depth 1
}

// Request says what to scan. The epoch is that of the view it is opened on.
type Request struct {
	Path      string // directory to scan below, links followed; "" is the root. Rows have real paths
	Filter    Filter
	Columns   []string // of Columns; empty: DefaultColumns
	Anchor    Anchor   // where to begin; nil: everything
	BatchRows int      // 0: MaxBatchRows
	Limit     uint64   // stop after so many rows; 0: none
	Parallel  int      // parts scanned at once; 0: one per processor
}

// MaxBatchRows is the largest number of rows in a batch.
const MaxBatchRows = 1 << 16

// Anchor is a position of a scan: opaque, valid at any later time for the same
// dataset and epoch.
//
// It is the byte 'S', a version (1), a number (u16, big-endian) of store
// anchors that are still to be scanned in order, and for each its length (u16)
// and bytes. None left is the end.
type Anchor []byte

const (
	anchorMagic   = 'S'
	anchorVersion = 1
	maxParts      = 1024
)

// AtEnd reports whether nothing is left at a.
func (a Anchor) AtEnd() bool {
	return len(a) == 4 && a[0] == anchorMagic && a[2] == 0 && a[3] == 0
}

func encodeAnchor(parts []object.Anchor) Anchor {
	n := 4
	for _, p := range parts {
		n += 2 + len(p)
	}
	b := make([]byte, 4, n)
	b[0], b[1] = anchorMagic, anchorVersion
	k := 0
	for _, p := range parts {
		if p.AtEnd() {
			continue
		}
		k++
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		b = append(b, p...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(k))
	return b
}

func decodeAnchor(a Anchor) ([]object.Anchor, error) {
	bad := fault.New(fault.Invalid, "scan.anchor", "anchor", "not an anchor of a scan (%d bytes)", len(a)).Do("take anchors from a plan or from an earlier batch")
	if len(a) < 4 || a[0] != anchorMagic || a[1] != anchorVersion {
		return nil, bad
	}
	n := int(binary.BigEndian.Uint16(a[2:]))
	if n > maxParts {
		return nil, bad
	}
	b := a[4:]
	parts := make([]object.Anchor, 0, n)
	for range n {
		if len(b) < 2 {
			return nil, bad
		}
		k := int(binary.BigEndian.Uint16(b))
		if k == 0 || len(b) < 2+k {
			return nil, bad
		}
		parts = append(parts, object.Anchor(b[2:2+k:2+k]))
		b = b[2+k:]
	}
	if len(b) != 0 {
		return nil, bad
	}
	return parts, nil
}

// Plan splits a scan into at most n anchors, disjoint, together everything.
func Plan(fs *posix.FS, n int) []Anchor {
	var out []Anchor
	for _, a := range fs.Anchors(min(max(n, 1), maxParts)) {
		out = append(out, encodeAnchor([]object.Anchor{a}))
	}
	return out
}

// filter is a Filter made ready.
type filter struct {
	name, path         *glob.Pattern
	types              [4]bool
	minSize, maxSize   uint64
	minMtime, maxMtime int64
	minDepth, maxDepth uint32
	mtimeBelow         bool // maxMtime is given
}

func (f *Filter) compile() (*filter, error) {
	c := &filter{maxSize: 1<<64 - 1, minMtime: -1 << 63, maxDepth: 1<<32 - 1}
	var err error
	if f.Name != "" {
		if c.name, err = glob.Compile(f.Name); err != nil {
			return nil, err
		}
		if !c.name.IsName() {
			return nil, fault.New(fault.Invalid, "scan.filter", f.Name, "a pattern for names has no '/'").Do("give it as the pattern for paths")
		}
	}
	if f.Path != "" {
		if c.path, err = glob.Compile(strings.TrimPrefix(f.Path, "/")); err != nil {
			return nil, err
		}
	}
	for _, t := range f.Types {
		if t < posix.TypeFile || t > posix.TypeSymlink {
			return nil, fault.New(fault.Invalid, "scan.filter", "types", "unknown type %d", t).Do("use 1 (file), 2 (directory), 3 (symlink)")
		}
		c.types[t] = true
	}
	if len(f.Types) == 0 {
		c.types = [4]bool{true, true, true, true}
	}
	set(&c.minSize, f.MinSize)
	set(&c.maxSize, f.MaxSize)
	set(&c.minMtime, f.MinMtime)
	set(&c.maxMtime, f.MaxMtime)
	c.mtimeBelow = f.MaxMtime != nil
	set(&c.minDepth, f.MinDepth)
	set(&c.maxDepth, f.MaxDepth)
	return c, nil
}

// times is the span of times that is wanted, nil if any is.
func (c *filter) times() *object.Span {
	s := object.Everything()
	s.Min = c.minMtime
	if c.mtimeBelow {
		if s.Max = c.maxMtime; s.Max > s.Min {
			s.Max--
		}
	}
	if s == object.Everything() {
		return nil
	}
	return &s
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// wants tells by everything but the path, which costs most.
func (c *filter) wants(r posix.Raw, name []byte, depth uint32) bool {
	if !c.types[r.Type()] || depth < c.minDepth || depth > c.maxDepth {
		return false
	}
	if n := r.Size(); n < c.minSize || n > c.maxSize {
		return false
	}
	if m := r.Mtime(); m < c.minMtime || c.mtimeBelow && m >= c.maxMtime {
		return false
	}
	return c.name == nil || c.name.MatchName(name)
}
