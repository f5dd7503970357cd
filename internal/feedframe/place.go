package feedframe

import "encoding/binary"

// FeatureFiles is the feature of HELLO by which a client takes payloads that lie
// in files.
const FeatureFiles = "files"

// FeatureRows is the feature by which a client of FeatureFiles takes places with
// rows.
const FeatureRows = "rows"

// PlaceSize is the size of a Place.
const PlaceSize = 32

// PlaceInline as the file of a place: its bytes stand in the stream, behind the
// places, those of all such places one after the other. Off is 0.
const PlaceInline = 1<<32 - 1

// Place is where a part of the payload of a frame with Files lies: Len bytes at
// Off of a file, which is named by its place among the descriptors of the frame.
// One behind the other they are the payload. With Rows, which is 0 or at least 2,
// it is so many pieces of Len bytes, each Stride bytes behind the beginning of the
// one before.
type Place struct {
	File     uint32
	Rows     uint32
	Off, Len uint64
	Stride   uint64
}

// maxStride bounds Stride.
const maxStride = 1 << 31

// Size is the number of bytes of a place.
func (p *Place) Size() uint64 { return p.Len * uint64(max(p.Rows, 1)) }

// bad tells whether p is no place in so many files of a payload with so many bytes left.
func (p *Place) bad(files int, left uint64) bool {
	switch {
	case p.Len == 0, p.Len > left, p.Off > 1<<62:
		return true
	case p.File == PlaceInline:
		return p.Off != 0 || p.Rows != 0 || p.Stride != 0
	case p.Rows == 0:
		return p.Stride != 0 || int64(p.File) >= int64(files)
	}
	return p.Rows == 1 || p.Stride < p.Len || p.Stride > maxStride || uint64(p.Rows) > left/p.Len || int64(p.File) >= int64(files)
}

// Put writes p to b, which has at least PlaceSize bytes.
func (p Place) Put(b []byte) {
	b = b[:PlaceSize]
	clear(b)
	binary.LittleEndian.PutUint32(b, p.File)
	binary.LittleEndian.PutUint32(b[4:], p.Rows)
	binary.LittleEndian.PutUint64(b[8:], p.Off)
	binary.LittleEndian.PutUint64(b[16:], p.Len)
	binary.LittleEndian.PutUint64(b[24:], p.Stride)
}

// ParsePlaces reads n places, which are a payload of payloadLen bytes in so many files.
func ParsePlaces(b []byte, n, files int, payloadLen uint64) ([]Place, error) {
	if n < 0 || n > MaxPlaces || len(b) < n*PlaceSize {
		return nil, bad("%d places in %d bytes", n, len(b))
	}
	out, left := make([]Place, n), payloadLen
	for i := range out {
		b := b[i*PlaceSize:]
		p := Place{
			File: binary.LittleEndian.Uint32(b), Rows: binary.LittleEndian.Uint32(b[4:]),
			Off: binary.LittleEndian.Uint64(b[8:]), Len: binary.LittleEndian.Uint64(b[16:]), Stride: binary.LittleEndian.Uint64(b[24:]),
		}
		if p.bad(files, left) {
			return nil, bad("place %d of a payload of %d bytes in %d files is %+v", i, payloadLen, files, p)
		}
		left -= p.Size()
		out[i] = p
	}
	if left != 0 {
		return nil, bad("the places of a payload of %d bytes lack %d", payloadLen, left)
	}
	return out, nil
}
