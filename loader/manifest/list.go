package manifest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// A list file says which samples of another manifest, its base, are in a
// selection, and in which order: the manifest of a view, or of a condition.
const (
	kindList   = 3
	listName   = "list"
	listNumber = 8 // bytes of one
	listBlock  = 4096
)

// listMeta is the description in a list file's tail.
type listMeta struct {
	Info   Info   `json:"info"`
	Base   string `json:"base"`   // id of the base
	Digest string `json:"digest"` // SHA-256 of the numbers, in hex
	// Sizes: the section "class sizes" is there, classes are contiguous.
	Sizes bool `json:"sizes,omitempty"`
}

// listID is the id of a manifest that is a list over a base.
func listID(base, digest string) string {
	return sha([]any{"list", Version, base, digest})
}

// listKey names the folder of a list on disk: what it is of must be known
// before the list is.
func listKey(base, source string) string {
	return sha([]any{"source", Version, base, source})
}

func sha(parts []any) string {
	b, err := json.Marshal(parts)
	if err != nil {
		panic(err) // numbers and strings
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:16])
}

// Pick asks for the manifest of some samples of another one.
type Pick struct {
	Base Request
	// View, Revision, Where and Scattered say what it is of; only these are used.
	Info Info
	// Source names the list: the same source and base is the same list.
	Source string
	// Fill gives the numbers of the samples in their order, in pieces, each
	// number once. It is called where the list is not on disk.
	Fill func(ctx context.Context, base *Manifest, add func(samples []uint64) error) error
}

// openPicked finds the list of a pick on disk, or makes it.
func openPicked(ctx context.Context, p *Pick, base *Manifest) (*Manifest, error) {
	m := &Manifest{base: base, st: base.st, tree: base.tree, table: base.table, dir: filepath.Join(p.Base.Dir, listKey(base.id, p.Source))}
	m.ctx, m.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, ioFault(err, m.dir)
	}
	if err := tidy(m.dir); err != nil {
		return nil, err
	}
	path := filepath.Join(m.dir, listName)
	err := m.openList(path)
	if fault.Is(err, fault.NotFound, fault.Corrupt, fault.Unsupported) {
		if err = writeList(ctx, m.dir, path, base, p); err == nil {
			m.built = true
			err = m.openList(path)
		}
	}
	if err != nil {
		return nil, err
	}
	m.info.Dataset, m.info.Snapshot = base.info.Dataset, base.info.Snapshot
	m.info.View, m.info.ViewRevision, m.info.Where = p.Info.View, p.Info.ViewRevision, p.Info.Where
	return m, nil
}

// openList maps a list file. It is verified as a whole: a damaged one is made
// again here, and not missed in the middle of a pass.
func (m *Manifest) openList(path string) error {
	f, err := openFile(path, kindList)
	if err != nil {
		return err
	}
	var meta listMeta
	m.list, m.classSizes = f.part("numbers"), f.part("class sizes")
	err = guarded(path, func() error {
		if json.Unmarshal(f.meta, &meta) != nil || meta.Base != m.base.id || m.list.n != listNumber*meta.Info.Samples ||
			meta.Sizes && m.classSizes.n != 8*uint64(len(meta.Info.Classes)) || len(meta.Info.Columns) != len(m.base.info.Columns) {
			return damaged(path, "a description of something else")
		}
		for at := uint64(0); at < m.list.n; at += listNumber * listBlock {
			b, err := m.list.at(at, min(listNumber*listBlock, m.list.n-at))
			if err != nil {
				return err
			}
			for ; len(b) > 0; b = b[listNumber:] {
				if binary.LittleEndian.Uint64(b) >= m.base.info.Samples {
					return damaged(path, "numbers of no samples")
				}
			}
		}
		return nil
	})
	if err != nil {
		f.close()
		return err
	}
	_ = os.Chtimes(m.dir, time.Time{}, time.Now()) // used: see Library.Trim
	m.logical, m.info = f, meta.Info
	m.info.Scattered = len(m.info.Classes) > 0 && !meta.Sizes
	m.id = listID(meta.Base, meta.Digest)
	m.ends = make([]elementEnds, len(m.info.Columns))
	m.users.Store(1)
	return nil
}

// listWriter writes a list and adds up what it is of.
type listWriter struct {
	path    string
	base    *Manifest
	v       *View
	numbers *sectionWriter
	sum     hash.Hash
	info    Info
	least   uint64   // smallest file
	sizes   []uint64 // of classes; nil: they are not contiguous, or there are none
	last    uint32   // label
	buf     []byte
	spans   []Span
}

// writeList makes the list file of a pick.
func writeList(ctx context.Context, dir, path string, base *Manifest, p *Pick) error {
	v, err := base.Acquire(ctx)
	if err != nil {
		return err
	}
	defer v.Release()
	w := newWriter(dir)
	numbers, err := w.section("numbers")
	if err != nil {
		return err
	}
	l := &listWriter{path: path, base: base, v: v, numbers: numbers, sum: sha256.New(), info: base.info, least: math.MaxUint64}
	l.info.Samples, l.info.Bytes, l.info.SymlinksSkipped, l.info.Columns = 0, 0, 0, slices.Clone(base.info.Columns)
	if base.isFiles() {
		l.info.MaxSampleBytes = 0
		if n := len(base.info.Classes); n > 0 {
			l.sizes = make([]uint64, n)
		}
	}
	err = p.Fill(ctx, base, func(samples []uint64) error {
		for len(samples) > 0 {
			n := min(len(samples), listBlock)
			if err := v.Guard(func() error { return l.add(samples[:n]) }); err != nil {
				return err
			}
			samples = samples[n:]
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.close()
		return err
	}
	if l.sizes != nil {
		s, err := w.section("class sizes")
		if err != nil {
			w.close()
			return err
		}
		for _, n := range l.sizes {
			l.buf = binary.LittleEndian.AppendUint64(l.buf[:0], n)
			if _, err := s.Write(l.buf); err != nil {
				w.close()
				return ioFault(err, path)
			}
		}
	}
	if base.isFiles() {
		data := tensor.Column{Name: "data", Layout: tensor.Bytes, DType: tensor.Uint8}
		if n := l.info.MaxSampleBytes; l.least == n && n > 0 {
			data = tensor.Column{Name: "data", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{n}}
		}
		l.info.Columns[0] = data
	}
	return w.finish(path, kindList, listMeta{Info: l.info, Base: base.id, Digest: hex.EncodeToString(l.sum.Sum(nil)), Sizes: l.sizes != nil})
}

// add writes numbers of samples of the base.
func (l *listWriter) add(samples []uint64) error {
	if err := l.v.Check(samples); err != nil {
		return err
	}
	l.buf = l.buf[:0]
	for _, i := range samples {
		l.buf = binary.LittleEndian.AppendUint64(l.buf, i)
	}
	l.sum.Write(l.buf)
	if _, err := l.numbers.Write(l.buf); err != nil {
		return ioFault(err, l.path)
	}
	l.info.Samples += uint64(len(samples))
	if !l.base.isFiles() {
		return l.rows(samples)
	}
	for _, i := range samples {
		s, err := l.base.sample(i)
		if err != nil {
			return err
		}
		l.info.Bytes += s.size
		l.info.MaxSampleBytes, l.least = max(l.info.MaxSampleBytes, s.size), min(l.least, s.size)
		if l.sizes == nil {
			continue
		}
		if s.label < l.last || uint64(s.label) >= uint64(len(l.sizes)) {
			l.sizes = nil
			continue
		}
		l.last = s.label
		l.sizes[s.label]++
	}
	return nil
}

// rows adds up the bytes of rows.
func (l *listWriter) rows(samples []uint64) error {
	for k := range l.info.Columns {
		c := &l.info.Columns[k]
		if c.Layout == tensor.Fixed {
			l.info.Bytes += uint64(c.ItemSize()) * uint64(len(samples))
			continue
		}
		l.spans = slices.Grow(l.spans[:0], len(samples))[:len(samples)]
		if err := l.v.Spans(k, samples, l.spans); err != nil {
			return err
		}
		for i := range l.spans {
			l.info.Bytes += l.spans[i].Len()
		}
	}
	return nil
}

// Picked reports whether m is a list over another manifest.
func (m *Manifest) Picked() bool { return m.base != nil }

// Base is the manifest that a list is over, nil where m is none.
func (m *Manifest) Base() *Manifest { return m.base }

// Resolve fills dst, as long as indices, with the numbers in the base of samples
// of a list. fault.Invalid names the first that is out of range.
func (m *Manifest) Resolve(indices, dst []uint64) error {
	if !m.hold() {
		return m.closed()
	}
	defer m.leave()
	return guarded(m.logical.path, func() error {
		n := m.info.Samples
		for k, i := range indices {
			if i >= n {
				return fault.New(fault.Invalid, "loader.batch", m.info.Dataset+"@"+m.info.Snapshot, "index %d (number %d of the batch) is out of range, there are %d samples in %s", i, k, n, m.what())
			}
			b, err := m.list.at(listNumber*i, listNumber)
			if err != nil {
				return err
			}
			dst[k] = binary.LittleEndian.Uint64(b)
		}
		return nil
	})
}

// Numbers calls fn with the base's numbers of all samples of a list, in pieces.
func (m *Manifest) Numbers(fn func(samples []uint64) error) error {
	var indices, dst [listBlock]uint64
	for at := uint64(0); at < m.info.Samples; at += listBlock {
		n := min(listBlock, m.info.Samples-at)
		for k := range indices[:n] {
			indices[k] = at + uint64(k)
		}
		if err := m.Resolve(indices[:n], dst[:n]); err != nil {
			return err
		}
		if err := fn(dst[:n]); err != nil {
			return err
		}
	}
	return nil
}

// what names a selection for errors.
func (m *Manifest) what() string {
	switch {
	case m.info.View != "":
		return "view " + m.info.View
	case m.info.Where != "":
		return "the selection by its condition"
	}
	return "the selection"
}

func (m *Manifest) closed() error {
	return fault.New(fault.Stale, "loader.manifest", m.info.Dataset, "the manifest is closed").Do("open it again")
}

// hold keeps the mapping of the logical part, or of the list, until leave.
func (m *Manifest) hold() bool {
	for {
		n := m.users.Load()
		if n <= 0 {
			return false
		}
		if m.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// listSizes are the samples of each class of a list whose classes are contiguous.
func (m *Manifest) listSizes() ([]uint64, error) {
	if m.info.Scattered {
		return nil, nil
	}
	if !m.hold() {
		return nil, m.closed()
	}
	defer m.leave()
	out := make([]uint64, len(m.info.Classes))
	err := guarded(m.logical.path, func() error {
		b, err := m.classSizes.at(0, 8*uint64(len(out)))
		for k := range out {
			if err != nil {
				return err
			}
			out[k] = binary.LittleEndian.Uint64(b[8*k:])
		}
		return err
	})
	return out, err
}
