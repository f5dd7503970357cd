package manifest

import (
	"context"
	"encoding/binary"
	"strings"

	"daos/dataset/posix"
	"daos/dataset/tensor"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/query/glob"
)

// Tree is what a manifest needs of a POSIX dataset at an epoch; *posix.View is one.
type Tree interface {
	// Files walks the regular files below root in the order of samples.
	Files(ctx context.Context, root string, fn func(*posix.Sample) error) error
	// Locate says where the bytes [off, off+n) of a file lie, holes left out.
	Locate(ctx context.Context, a posix.Attr, off, n uint64) ([]object.Extent, error)
}

// linkCounter is a Tree that tells of the symbolic links that it skips.
type linkCounter interface {
	FilesAndLinks(ctx context.Context, root string, fn func(*posix.Sample) error, link func()) error
}

// sampleSize is a record of the logical file: size, object, chunk size, label.
const sampleSize = 32

type sample struct {
	size         uint64
	oid          object.ID
	chunk, label uint32
}

func (s *sample) encode(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, s.size)
	b = le.AppendUint64(b, s.oid.Hi)
	b = le.AppendUint64(b, s.oid.Lo)
	b = le.AppendUint32(b, s.chunk)
	return le.AppendUint32(b, s.label)
}

func decodeSample(b []byte) sample {
	le := binary.LittleEndian
	_ = b[sampleSize-1]
	return sample{le.Uint64(b), object.ID{Hi: le.Uint64(b[8:]), Lo: le.Uint64(b[16:])}, le.Uint32(b[24:]), le.Uint32(b[28:])}
}

// maxClasses bounds the labels of a manifest; their names lie in its description.
const maxClasses = 1 << 20

// progressEvery is how many entries lie between two reports.
const progressEvery = 1 << 14

// buildFiles writes the logical file of a tree.
func buildFiles(ctx context.Context, dir, path string, info Info, src Tree, progress func(uint64)) error {
	var pattern *glob.Pattern
	if g := info.Selection.Glob; g != "" {
		var err error
		if pattern, err = glob.Compile(g); err != nil {
			return err
		}
	}
	w := newWriter(dir)
	samples, err := w.section("samples")
	if err != nil {
		return err
	}
	blob, err := w.section("paths")
	if err != nil {
		w.close()
		return err
	}
	index, err := w.section("path index")
	if err != nil {
		w.close()
		return err
	}
	paths := &pathWriter{blob: blob, index: index}
	root := strings.Trim(info.Selection.Path, "/")
	var entries uint64
	var buf, full []byte
	uniform := true
	lastDir, below := "\x00", ""
	label := uint32(0)
	class, lastClass := "", ""
	walk := src.Files
	if t, ok := src.(linkCounter); ok {
		walk = func(ctx context.Context, root string, fn func(*posix.Sample) error) error {
			return t.FilesAndLinks(ctx, root, fn, func() { info.SymlinksSkipped++ })
		}
	}
	err = walk(ctx, root, func(s *posix.Sample) error {
		if entries++; entries%progressEvery == 0 {
			if progress != nil {
				progress(entries)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if s.Dir != lastDir || entries == 1 {
			lastDir = s.Dir
			below = strings.TrimPrefix(strings.TrimPrefix(s.Dir, root), "/")
			if s.Dir == root || len(s.Dir) < len(root) { // the root itself is a file
				below = ""
			}
			class, _, _ = strings.Cut(below, "/")
		}
		if pattern != nil {
			full = append(full[:0], below...)
			if below != "" {
				full = append(full, '/')
			}
			if full = append(full, s.Name...); !pattern.Match(full) {
				return nil
			}
		}
		if info.Selection.LabelDirname {
			if class == "" { // ImageFolder looks into folders only
				return nil
			}
			if n := len(info.Classes); n == 0 || lastClass != class {
				if n == maxClasses {
					return fault.New(fault.TooBig, "loader.manifest", info.Dataset, "more than %d classes", maxClasses)
				}
				lastClass = class
				info.Classes = append(info.Classes, strings.ToValidUTF8(class, "\ufffd"))
			}
			label = uint32(len(info.Classes) - 1)
		}
		a := &s.Attr
		buf = (&sample{a.Size, a.Object, a.ChunkSize, label}).encode(buf[:0])
		if _, err := samples.Write(buf); err != nil {
			return ioFault(err, path)
		}
		if err := paths.add(below, s.Name); err != nil {
			return ioFault(err, path)
		}
		if info.Samples > 0 && a.Size != info.MaxSampleBytes {
			uniform = false
		}
		info.Samples++
		info.Bytes += a.Size
		info.MaxSampleBytes = max(info.MaxSampleBytes, a.Size)
		return nil
	})
	if err != nil {
		w.close()
		return err
	}
	if progress != nil {
		progress(entries)
	}
	data := tensor.Column{Name: "data", Layout: tensor.Bytes, DType: tensor.Uint8}
	if uniform && info.Samples > 0 && info.MaxSampleBytes > 0 {
		data = tensor.Column{Name: "data", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{info.MaxSampleBytes}}
	}
	info.Columns = []tensor.Column{data}
	if info.Selection.LabelDirname {
		info.Columns = append(info.Columns, tensor.Column{Name: "label", Layout: tensor.Fixed, DType: tensor.Int64})
	}
	return w.finish(path, kindLogical, info)
}

// sample reads a record of the logical file. The caller is guarded.
func (m *Manifest) sample(i uint64) (sample, error) {
	b, err := m.samples.at(sampleSize*i, sampleSize)
	if err != nil {
		return sample{}, err
	}
	return decodeSample(b), nil
}

// describe names a sample for errors.
func (m *Manifest) describe(i uint64) string {
	if !m.isFiles() {
		return m.info.Dataset + "@" + m.info.Snapshot
	}
	p, err := m.paths.path(i)
	if err != nil {
		return m.info.Dataset + "@" + m.info.Snapshot
	}
	root := strings.Trim(m.info.Selection.Path, "/")
	if root != "" {
		root += "/"
	}
	return m.info.Dataset + "@" + m.info.Snapshot + "/" + root + string(p)
}
