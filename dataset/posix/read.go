package posix

import (
	"context"
	"encoding/binary"

	"daos/engine/object"
	"daos/internal/fault"
)

// ReadAt fills p from a file at off. It returns how many bytes there were (fewer
// than len(p) only at the end of the file) and the file's attributes at the
// view's epoch. Links at the end of a path are followed.
func (v *View) ReadAt(ctx context.Context, r Ref, p []byte, off uint64) (int, Attr, error) {
	pl, err := v.ref(ctx, r, true)
	if err != nil {
		return 0, Attr{}, err
	}
	a := pl.rec.attr()
	n, err := v.ReadObject(ctx, a, p, off)
	return n, a, fault.Wrap(err, "posix.read", r.String())
}

// ReadObject is ReadAt for a file that has been looked up already, in this view.
func (v *View) ReadObject(ctx context.Context, a Attr, p []byte, off uint64) (int, error) {
	if err := wantFile(a.Type, "inode "+utoa(a.Inode)); err != nil {
		return 0, err
	}
	if off >= a.Size {
		return 0, nil
	}
	if left := a.Size - off; uint64(len(p)) > left {
		p = p[:left]
	}
	chunk := uint64(a.ChunkSize)
	for done := 0; done < len(p); {
		at := off + uint64(done)
		n := min(uint64(len(p)-done), chunk-at%chunk)
		if err := v.fs.store.ReadArray(ctx, v.at, a.Object, chunkKey(at/chunk), akeyData, at%chunk, p[done:done+int(n)]); err != nil {
			return done, err
		}
		done += int(n)
	}
	return len(p), nil
}

// ReadRegions is ReadObject for who sends the bytes: it appends at most n
// verified bytes from off to out, as they lie in memory and in files. After an
// error out has a part of them.
func (v *View) ReadRegions(ctx context.Context, a Attr, off, n uint64, out *object.Regions) error {
	if err := wantFile(a.Type, "inode "+utoa(a.Inode)); err != nil {
		return err
	}
	if off >= a.Size {
		return nil
	}
	n = min(n, a.Size-off)
	s, ok := v.fs.store.(object.RegionReader)
	if !ok {
		b := make([]byte, n)
		n, err := v.ReadObject(ctx, a, b, off)
		out.Add(b[:n])
		return err
	}
	chunk := uint64(a.ChunkSize)
	for end := off + n; off < end; {
		step := min(end-off, chunk-off%chunk)
		if err := s.ReadRegions(ctx, v.at, a.Object, chunkKey(off/chunk), akeyData, off%chunk, step, out); err != nil {
			return err
		}
		off += step
	}
	return nil
}

// Locate says where the bytes [off, off+n) of a file lie, clipped to its size,
// as pieces of records in order of their offset in the file; holes are left out.
func (v *View) Locate(ctx context.Context, a Attr, off, n uint64) ([]object.Extent, error) {
	if err := wantFile(a.Type, "inode "+utoa(a.Inode)); err != nil {
		return nil, err
	}
	if off >= a.Size {
		return nil, nil
	}
	end := a.Size
	if n < end-off {
		end = off + n
	}
	chunk := uint64(a.ChunkSize)
	var out []object.Extent
	one := func(i uint64) error {
		lo, hi := max(off, i*chunk), min(end, (i+1)*chunk)
		xs, err := v.fs.store.Extents(ctx, v.at, a.Object, chunkKey(i), akeyData, lo%chunk, hi-lo)
		for _, x := range xs {
			x.Offset += i * chunk
			out = append(out, x)
		}
		return err
	}
	first, last := off/chunk, (end-1)/chunk
	if last-first < manyChunks {
		for i := first; i <= last; i++ {
			if err := one(i); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	// A sparse file may have more chunks than anybody can ask for: ask which
	// of them there are.
	var there []uint64
	err := v.fs.store.ListArrays(ctx, v.at, a.Object, object.ListOptions{From: chunkKey(first), To: chunkKey(last + 1), Akey: akeyData},
		func(dkey, _ []byte) bool {
			if len(dkey) == 8 {
				there = append(there, binary.BigEndian.Uint64(dkey))
			}
			return true
		})
	if err != nil {
		return nil, err
	}
	for _, i := range there {
		if err := one(i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// manyChunks is from how many chunks on Locate lists those that there are.
const manyChunks = 256

func wantFile(t Type, what string) error {
	switch t {
	case TypeFile:
		return nil
	case TypeDir:
		return fault.New(fault.IsDirectory, "posix.file", what, "a directory, not a file")
	}
	return fault.New(fault.Invalid, "posix.file", what, "a %s, not a regular file", t)
}
