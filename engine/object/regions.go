package object

import (
	"context"
	"iter"
	"slices"
)

// Region is a piece of an answer whose bytes have been verified: in memory, or,
// where Mem is nil, the Len bytes at Off of an open file. With Rows it is so many
// pieces of Len bytes, each Stride bytes behind the beginning of the one before, in
// both: in the file from Off on, and in Mem.
type Region struct {
	Mem    []byte
	File   RegionFile
	Off    int64
	Len    int
	Rows   int // 0, or at least 2
	Stride int
}

// Size is the number of bytes.
func (r *Region) Size() int {
	if r.Rows > 0 {
		return r.Len * r.Rows
	}
	return len(r.Mem) + r.Len
}

// InMemory is what of r lies in memory, row by row.
func (r *Region) InMemory() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if r.Rows == 0 {
			if r.Mem != nil {
				yield(r.Mem)
			}
			return
		}
		for at := 0; at < len(r.Mem); at += r.Stride {
			if !yield(r.Mem[at : at+r.Len]) {
				return
			}
		}
	}
}

// RegionFile is an open file whose committed bytes never change.
type RegionFile interface {
	Fd() uintptr
	// Doubt is called when bytes could not be sent: they are verified again
	// before they are given out the next time.
	Doubt()
	Release()
}

// LentFile is an ability that a RegionFile may have: a process of the server's own
// user can read the bytes itself.
type LentFile interface {
	// Lend is a descriptor that was opened for reading only, to be given away; it
	// is the file's until Release. ok is false where there is none.
	Lend() (fd int, ok bool)
}

// RegionMapping is an ability that a Mapping may have: its bytes lie in a file.
type RegionMapping interface {
	// AddTo appends n bytes from off on; false where there is no file.
	AddTo(out *Regions, off uint64, n int) bool
	// AddRowsTo appends at least one row of n bytes, the first at off, each stride
	// bytes behind the beginning of the one before; false as above.
	AddRowsTo(out *Regions, off uint64, n, rows, stride int) bool
	// Doubt is RegionFile's.
	Doubt()
}

// RowLimits is what who reads the pieces of an answer out of files takes at most:
// so many pieces, of Bytes on average and Least together, in so many files. With
// none, all are sent, and each row is a piece by itself.
type RowLimits struct {
	Pieces, Files int
	Bytes, Least  uint64
}

// Regions is an answer in pieces, in order, for who sends it without copying
// it. It belongs to one goroutine, until Release.
type Regions struct {
	Parts []Region
	// Short asks for short pieces of files as such, too: they are not sent, but read
	// by who gets the answer.
	Short bool
	// Rows says whether regions with rows may be among the pieces.
	Rows  RowLimits
	held  []RegionFile
	lent  []func()
	doubt []func()
	size  uint64
}

// Add appends bytes, which stay as they are until Release.
func (r *Regions) Add(b []byte) {
	if len(b) > 0 {
		r.Parts = append(r.Parts, Region{Mem: b})
		r.size += uint64(len(b))
	}
}

// AddLent appends bytes of memory that is given back by calling back.
func (r *Regions) AddLent(b []byte, back func()) {
	r.Add(b)
	r.lent = append(r.lent, back)
}

// Grow makes room for so many more pieces, of which so many are in files.
func (r *Regions) Grow(n, files int) {
	r.Parts, r.held = slices.Grow(r.Parts, n), slices.Grow(r.held, files)
}

// OnRelease calls back when the memory that was added is not used any more.
func (r *Regions) OnRelease(back func()) { r.lent = append(r.lent, back) }

// OnDoubt calls doubt when bytes that were added could not be sent.
func (r *Regions) OnDoubt(doubt func()) { r.doubt = append(r.doubt, doubt) }

// Doubt says that bytes could not be sent: those in memory that is mapped, and in
// a file, are verified again before they are given out the next time.
func (r *Regions) Doubt(f RegionFile) {
	if f != nil {
		f.Doubt()
	}
	for _, doubt := range r.doubt {
		doubt()
	}
}

// AddFile appends a range of a file; the file is released with the Regions.
func (r *Regions) AddFile(f RegionFile, off int64, n int) {
	r.held = append(r.held, f)
	if l := len(r.Parts) - 1; l >= 0 && r.Parts[l].File == f && r.Parts[l].Rows == 0 && r.Parts[l].Off+int64(r.Parts[l].Len) == off {
		r.Parts[l].Len += n
	} else {
		r.Parts = append(r.Parts, Region{File: f, Off: off, Len: n})
	}
	r.size += uint64(n)
}

// AddRows appends rows of n bytes, stride bytes apart, that fill mapped memory and
// lie at off of a file, which is released with the Regions.
func (r *Regions) AddRows(mem []byte, f RegionFile, off int64, n, stride int) {
	if len(mem) == n || n == stride {
		r.AddFile(f, off, len(mem))
		return
	}
	rows := (len(mem)-n)/stride + 1
	r.held = append(r.held, f)
	r.Parts = append(r.Parts, Region{Mem: mem, File: f, Off: off, Len: n, Rows: rows, Stride: stride})
	r.size += uint64(n) * uint64(rows)
}

var zeros [256 << 10]byte // never written

// AddZeros appends n zeros.
func (r *Regions) AddZeros(n uint64) {
	for n > 0 {
		step := min(n, uint64(len(zeros)))
		r.Add(zeros[:step])
		n -= step
	}
}

// Size is the number of bytes of all pieces.
func (r *Regions) Size() uint64 { return r.size }

// Release gives the files back; a second call does nothing.
func (r *Regions) Release() {
	for _, f := range r.held {
		f.Release()
	}
	for _, back := range r.lent {
		back()
	}
	*r = Regions{Short: r.Short, Rows: r.Rows}
}

// RegionReader is an ability that a store may have beside Store: it finds and
// verifies bytes without bringing them together.
type RegionReader interface {
	// ReadRegions appends the bytes [off, off+n) of an array, holes as zeros,
	// to out. After an error out has a part of them.
	ReadRegions(ctx context.Context, at Epoch, oid ID, dkey, akey []byte, off, n uint64, out *Regions) error
}
