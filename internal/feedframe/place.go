package feedframe

import "encoding/binary"

// FeatureFiles is the feature of HELLO by which a client takes payloads that lie
// in files.
const FeatureFiles = "files"

// PlaceSize is the size of a Place.
const PlaceSize = 32

// PlaceInline as the file of a place: its bytes stand in the stream, behind the
// places, those of all such places one after the other. Off is 0.
const PlaceInline = 1<<32 - 1

// Place is where a part of the payload of a frame with Files lies: Len bytes at
// Off of a file, which is named by its place among the descriptors of the frame.
// One behind the other they are the payload.
type Place struct {
	File     uint32
	Off, Len uint64
}

// Put writes p to b, which has at least PlaceSize bytes.
func (p Place) Put(b []byte) {
	b = b[:PlaceSize]
	clear(b)
	binary.LittleEndian.PutUint32(b, p.File)
	binary.LittleEndian.PutUint64(b[8:], p.Off)
	binary.LittleEndian.PutUint64(b[16:], p.Len)
}

// ParsePlaces reads n places, which are a payload of payloadLen bytes in so many files.
func ParsePlaces(b []byte, n, files int, payloadLen uint64) ([]Place, error) {
	if n < 0 || n > MaxPlaces || len(b) < n*PlaceSize {
		return nil, bad("%d places in %d bytes", n, len(b))
	}
	out, left := make([]Place, n), payloadLen
	for i := range out {
		b := b[i*PlaceSize:]
		p := Place{File: binary.LittleEndian.Uint32(b), Off: binary.LittleEndian.Uint64(b[8:]), Len: binary.LittleEndian.Uint64(b[16:])}
		if int64(p.File) >= int64(files) && (p.File != PlaceInline || p.Off != 0) || p.Off > 1<<62 || p.Len == 0 || p.Len > left {
			return nil, bad("place %d of a payload of %d bytes in %d files is %+v", i, payloadLen, files, p)
		}
		left -= p.Len
		out[i] = p
	}
	if left != 0 {
		return nil, bad("the places of a payload of %d bytes lack %d", payloadLen, left)
	}
	return out, nil
}
