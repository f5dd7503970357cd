package kv

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

// FuzzRecords reads records and values that nobody vouches for: an answer or an
// error, and what is read is written again as it was.
func FuzzRecords(f *testing.F) {
	all := Schema{Encoding: Struct, Fields: []Field{{Name: "b", Type: Bool}, {Name: "i", Type: Int16}, {Name: "s", Type: String, Nullable: true}, {Name: "f", Type: Float64}}}
	if err := all.prepare(); err != nil {
		f.Fatal(err)
	}
	asJSON := Schema{Encoding: JSON, Fields: all.Fields}
	if err := asJSON.prepare(); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{formPlain, 'x'})
	f.Add((&place{number: 7, size: 1 << 20}).encode())
	f.Add(super{next: 9, schema: all.encode()}.encode())
	f.Add(all.encode())
	f.Add(asJSON.encode())
	f.Add(encodeLease(1))
	f.Add([]byte(`{"b": true, "i": -7, "s": null, "f": 1e300}`))
	f.Add(binary.LittleEndian.AppendUint64([]byte{15, 1, 2, 0, 1, 0, 0, 0, 'x'}, math.Float64bits(1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodePlace(b, []byte("k")); err == nil && p.bulk() && !bytes.Equal(p.encode(), b) {
			t.Errorf("%x is read as %x", b, p.encode())
		}
		if s, err := decodeSuper(b); err == nil && !bytes.Equal(s.encode(), b) {
			t.Errorf("%x is read as %x", b, s.encode())
		}
		if s, err := decodeSchema(b); err == nil && !bytes.Equal(s.encode(), b) {
			t.Errorf("%x is read as %x", b, s.encode())
		}
		if until, err := decodeLease(b); err == nil && !bytes.Equal(encodeLease(until), b) {
			t.Errorf("%x is read as %d", b, until)
		}
		for _, s := range []*Schema{&all, &asJSON} {
			if cells, err := s.Decode([]byte("k"), b, nil); err == nil && len(cells) != len(s.Fields) {
				t.Errorf("%d cells of %x", len(cells), b)
			}
		}
	})
}

// Bytes that format version 1 has on disk.
func TestFormat(t *testing.T) {
	for _, c := range []struct {
		got, want []byte
	}{
		{(&place{number: 0x0102, size: 0x0304}).encode(), []byte{2, 2, 1, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0}},
		{super{next: 5, schema: []byte{9}}.encode(), []byte{1, 5, 0, 0, 0, 0, 0, 0, 0, 9}},
		{(&Schema{Encoding: Struct, Fields: []Field{{Name: "x", Type: Float32}, {Name: "yz", Type: Bytes, Nullable: true}}}).encode(), []byte{1, 2, 2, 0, 11, 0, 1, 'x', 14, 1, 2, 'y', 'z'}},
		{encodeLease(0x01020304), []byte{1, 4, 3, 2, 1, 0, 0, 0, 0}},
		{leaseKey(0x0102), []byte{'l', 0, 0, 0, 0, 0, 0, 1, 2}},
		{chunkKey(3), []byte{0, 0, 0, 0, 0, 0, 0, 3}},
		{valueAkey([]byte("x")), []byte("vx")},
		{valueAkey(nil), []byte("v")},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%x, want %x", c.got, c.want)
		}
	}
}
