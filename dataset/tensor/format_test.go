package tensor

import (
	"encoding/hex"
	"reflect"
	"testing"

	"daos/internal/fault"
)

// TestGoldenRecords pins the records of docs/format/tensor.md.
func TestGoldenRecords(t *testing.T) {
	c := chunk{first: 0x0102, number: 7, stats: stats{count: 3, bytes: 12, nulls: 1, nans: 2, min: []byte{0xaa}, max: []byte{0xbb, 0xcc}, open: true}}
	for _, g := range []struct {
		what string
		got  []byte
		want string
	}{
		{"chunk key", chunkKey(5, 0x0102), "63" + "00000005" + "0000000000000102"},
		{"lease key", leaseKey(9), "6c" + "0000000000000009"},
		{"chunk number", numberKey(9), "0000000000000009"},
		{"chunk", c.encode(), "01" + "0700000000000000" + "0300000000000000" + "0c00000000000000" + "0100000000000000" + "0200000000000000" + "01" + "01aa" + "02bbcc"},
		{"head", head{258, 3}.encode(), "01" + "0201000000000000" + "0300000000000000"},
		{"lease", lease{1, 257, 5}.encode(), "01" + "0100000000000000" + "0101000000000000" + "0500000000000000"},
		{"schema", encodeSchema([]Column{{Name: "x", Layout: Fixed, DType: Float32, Shape: []uint64{2}, ChunkSamples: 9}, {Name: "s", Layout: String, DType: Uint8, Nullable: true, ChunkSamples: 4}}),
			hex.EncodeToString([]byte(`{"format":1,"columns":[{"name":"x","layout":"fixed","dtype":"float32","shape":[2],"chunk_samples":9},{"name":"s","layout":"string","dtype":"uint8","nullable":true,"chunk_samples":4}]}`))},
	} {
		if hex.EncodeToString(g.got) != g.want {
			t.Errorf("%s is %x, want %s", g.what, g.got, g.want)
		}
	}
	back, err := decodeChunk(chunkKey(5, 0x0102), c.encode())
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := decodeSchema([]byte(`{"format":2,"columns":[]}`)); !fault.Is(err, fault.Unsupported) {
		t.Error(err)
	}
}

// FuzzRecords: whatever lies in the store, the decoders answer with a value
// that encodes to the same bytes, or with an error.
func FuzzRecords(f *testing.F) {
	f.Add((&chunk{number: 1, stats: stats{count: 1, min: []byte("a"), max: []byte("b")}}).encode())
	f.Add(head{1, 2}.encode())
	f.Add(lease{1, 2, 3}.encode())
	f.Add(encodeSchema([]Column{{Name: "x", Layout: Fixed, DType: Int8, ChunkSamples: 1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeChunk(chunkKey(1, 2), b); err == nil && string(c.encode()) != string(b) {
			t.Fatalf("chunk %x became %x", b, c.encode())
		}
		if h, err := decodeHead(b); err == nil && string(h.encode()) != string(b) {
			t.Fatalf("head %x became %x", b, h.encode())
		}
		if l, err := decodeLease(b); err == nil && string(l.encode()) != string(b) {
			t.Fatalf("lease %x became %x", b, l.encode())
		}
		if cols, err := decodeSchema(b); err == nil {
			if again, err := decodeSchema(encodeSchema(cols)); err != nil || !reflect.DeepEqual(again, cols) {
				t.Fatalf("schema %s: %v", b, err)
			}
		}
	})
}
