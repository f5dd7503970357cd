package array

import (
	"bytes"
	"testing"
)

// FuzzRecords reads records that nobody vouches for: an answer or an error, and
// what is read is written again as it was.
func FuzzRecords(f *testing.F) {
	dtype, err := ParseDType("float32")
	if err != nil {
		f.Fatal(err)
	}
	one := chunk{stats: stats{count: 9, nans: 2, min: []byte{1, 2, 3, 4}, max: []byte{5, 6, 7, 8}, exact: true}}
	f.Add(one.encode())
	f.Add((&chunk{sparse: true}).encode())
	// A length of 255, which plus one is no byte.
	f.Add(append(append(append((&chunk{}).encode()[:18], 255), make([]byte, 255)...), 255, 0))
	f.Add(extent{shape: []uint64{3, 4}}.encode())
	f.Add(extent{shape: []uint64{3, 4}, stale: []uint64{5, 6}}.encode())
	f.Add((&keyRecord{size: 3, inline: []byte("abc")}).encode())
	f.Add((&keyRecord{size: 1 << 20}).encode())
	f.Add(chunkKey([]uint64{1, 1 << 40}))
	f.Add(encodeSpec(7, &Spec{DType: dtype, Shape: []uint64{3}, Chunks: []uint64{2}, Fill: []byte{1, 2, 3, 4}, Dims: []string{"x"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeChunk(b, 4); err == nil {
			if !bytes.Equal(c.encode(), b) {
				t.Errorf("%x is read as %x", b, c.encode())
			}
			c.settle(&Spec{DType: dtype, Chunks: []uint64{8}, Shape: []uint64{8}}, 8, false)
		}
		if e, err := decodeExtent("x", b, 2); err == nil && !bytes.Equal(e.encode(), b) {
			t.Errorf("%x is read as %x", b, e.encode())
		}
		if r, err := decodeKeyRecord("x", b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("%x is read as %x", b, r.encode())
		}
		if coords, err := decodeChunkKey(b, 2); err == nil && !bytes.Equal(chunkKey(coords), b) {
			t.Errorf("%x is read as %v", b, coords)
		}
		if id, s, err := decodeSpec("x", b); err == nil && s != nil {
			if again, _, err := decodeSpec("x", encodeSpec(id, s)); err != nil || again != id {
				t.Errorf("%q is read as %d %+v, which is read as %d, %v", b, id, s, again, err)
			}
		}
		_, _ = decodeAttributes("x", b)
	})
}
