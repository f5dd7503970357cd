package object

import "context"

// Region is a piece of an answer whose bytes have been verified: in memory, or,
// where Mem is nil, the Len bytes at Off of an open file.
type Region struct {
	Mem  []byte
	File RegionFile
	Off  int64
	Len  int
}

// Size is the number of bytes.
func (r *Region) Size() int { return len(r.Mem) + r.Len }

// RegionFile is an open file whose committed bytes never change.
type RegionFile interface {
	Fd() uintptr
	// Doubt is called when bytes could not be sent: they are verified again
	// before they are given out the next time.
	Doubt()
	Release()
}

// Regions is an answer in pieces, in order, for who sends it without copying
// it. It belongs to one goroutine, until Release.
type Regions struct {
	Parts []Region
	held  []RegionFile
	lent  []func()
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

// AddFile appends a range of a file; the file is released with the Regions.
func (r *Regions) AddFile(f RegionFile, off int64, n int) {
	r.held = append(r.held, f)
	if l := len(r.Parts) - 1; l >= 0 && r.Parts[l].File == f && r.Parts[l].Off+int64(r.Parts[l].Len) == off {
		r.Parts[l].Len += n
	} else {
		r.Parts = append(r.Parts, Region{File: f, Off: off, Len: n})
	}
	r.size += uint64(n)
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
	r.Parts, r.held, r.lent, r.size = nil, nil, nil, 0
}

// RegionReader is an ability that a store may have beside Store: it finds and
// verifies bytes without bringing them together.
type RegionReader interface {
	// ReadRegions appends the bytes [off, off+n) of an array, holes as zeros,
	// to out. After an error out has a part of them.
	ReadRegions(ctx context.Context, at Epoch, oid ID, dkey, akey []byte, off, n uint64, out *Regions) error
}
