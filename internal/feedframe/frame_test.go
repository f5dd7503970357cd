package feedframe

import (
	"testing"

	"daos/internal/fault"
)

func TestHeader_SurvivesTheWire(t *testing.T) {
	var b [HeaderSize]byte
	want := Header{Kind: Reply, Flags: More | Slot, Status: 7, ID: 1<<63 + 5, MetaLen: 99, Slot: 3, PayloadLen: 1 << 33, SlotOffset: 64}
	want.Put(b[:])
	got, err := Parse(b[:])
	if err != nil || got != want {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestParse_RefusesWhatTheProtocolForbids(t *testing.T) {
	for name, spoil := range map[string]func(b []byte){
		"magic":          func(b []byte) { b[3] = '2' },
		"kind 0":         func(b []byte) { b[4] = 0 },
		"kind 12":        func(b []byte) { b[4] = 12 },
		"reserved flag":  func(b []byte) { b[5] = 8 },
		"files, a call":  func(b []byte) { b[5], b[20] = Files, 1 },
		"no places":      func(b []byte) { b[4], b[5] = byte(Reply), Files },
		"many places":    func(b []byte) { b[4], b[5], b[20], b[21] = byte(Reply), Files, 1, 2 },
		"files and slot": func(b []byte) { b[4], b[5], b[20] = byte(Reply), Files|Slot, 1 },
		"files, offset":  func(b []byte) { b[4], b[5], b[20], b[32] = byte(Reply), Files, 1, 1 },
		"slot, no flag":  func(b []byte) { b[20] = 1 },
		"meta too long":  func(b []byte) { b[18] = 0xff },
		"reserved bytes": func(b []byte) { b[63] = 1 },
	} {
		var b [HeaderSize]byte
		Header{Kind: Call, ID: 1}.Put(b[:])
		if _, err := Parse(b[:]); err != nil {
			t.Fatalf("before %s: %v", name, err)
		}
		spoil(b[:])
		if _, err := Parse(b[:]); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	var b [HeaderSize]byte
	Header{Kind: Batch, ID: 1, MetaLen: BatchRequestSize, PayloadLen: 16}.Put(b[:])
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := Parse(in)
		if err != nil {
			return
		}
		var out [HeaderSize]byte
		h.Put(out[:])
		if string(out[:]) != string(in[:HeaderSize]) {
			t.Fatalf("%x was read as %+v, which is %x", in[:HeaderSize], h, out)
		}
	})
}

func FuzzParsePlaces(f *testing.F) {
	b := make([]byte, 2*PlaceSize)
	Place{File: 1, Off: 7, Len: 100}.Put(b)
	Place{Off: 1 << 40, Len: 28}.Put(b[PlaceSize:])
	f.Add(b, 2, 2, uint64(128))
	Place{Rows: 3, Off: 9, Len: 10, Stride: 40}.Put(b)
	f.Add(b, 2, 2, uint64(58))
	f.Fuzz(func(t *testing.T, in []byte, n, files int, size uint64) {
		places, err := ParsePlaces(in, n, files, size)
		if err != nil {
			return
		}
		for _, p := range places {
			inline := p.File == PlaceInline && p.Off == 0 && p.Rows == 0
			if size -= p.Size(); int64(p.File) >= int64(files) && !inline || p.Off+uint64(max(p.Rows, 1)-1)*p.Stride+p.Len < p.Off {
				t.Fatalf("%+v of %d files", p, files)
			}
			if p.Rows == 1 || p.Rows > 1 && p.Stride < p.Len {
				t.Fatalf("rows of %+v", p)
			}
		}
		if size != 0 || len(places) != n {
			t.Fatalf("%d places, %d bytes are left", len(places), size)
		}
	})
}

func FuzzParseBatchMeta(f *testing.F) {
	m := BatchMeta{Count: 3, Columns: []Column{{Layout: 1, ItemSize: 4, DataLen: 12}, {Layout: 3, Nulls: true, ItemSize: 1, DataOffset: 128, DataLen: 5, OffsetsOffset: 64, ValidityOffset: 96}}}
	b := make([]byte, m.Size())
	m.Put(b)
	f.Add(b, uint64(256))
	f.Fuzz(func(t *testing.T, in []byte, n uint64) {
		m, err := ParseBatchMeta(in, n)
		if err != nil {
			return
		}
		for _, c := range m.Columns {
			if c.DataOffset+c.DataLen < c.DataOffset || c.DataOffset+c.DataLen > n {
				t.Fatalf("column %+v lies outside %d bytes", c, n)
			}
		}
	})
}

func FuzzParseBatchRequest(f *testing.F) {
	var b [BatchRequestSize]byte
	BatchRequest{Handle: 1, Count: 2}.Put(b[:])
	f.Add(b[:], uint64(16))
	f.Fuzz(func(t *testing.T, in []byte, n uint64) {
		r, err := ParseBatchRequest(in, n)
		if err == nil && (r.Count == 0 || uint64(r.Count)*8 != n) {
			t.Fatalf("%+v for a payload of %d bytes", r, n)
		}
	})
}
