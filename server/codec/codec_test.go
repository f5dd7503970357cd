package codec

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// decodeStock reads a message as any other client would.
func decodeStock(t *testing.T, b []byte) *flight.FlightData {
	t.Helper()
	var d flight.FlightData
	if err := proto.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

func TestMessage_IsAFlightDataToEverybody(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 127, 128, 300, 16000, 70000} {
		header := bytes.Repeat([]byte{7}, n/2+1)
		body := [][]byte{bytes.Repeat([]byte{1}, n), bytes.Repeat([]byte{2}, 2*n), {}}
		m := NewMessage(header, []byte("meta"), body, nil)
		out, err := New().Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		raw := out.Materialize()
		if len(raw) != m.Size() {
			t.Fatalf("%d bytes, Size says %d", len(raw), m.Size())
		}
		d := decodeStock(t, raw)
		if !bytes.Equal(bytes.TrimRight(d.DataHeader, "\x00"), header) || string(d.AppMetadata) != "meta" || !bytes.Equal(d.DataBody, bytes.Join(body, nil)) {
			t.Fatalf("n=%d: got %d, %q, %d bytes", n, len(d.DataHeader), d.AppMetadata, len(d.DataBody))
		}
		if n > 0 {
			if at := len(raw) - len(d.DataBody); at%bodyAlign != 0 {
				t.Errorf("n=%d: the body begins at %d", n, at)
			}
		}
	}
}

func TestPin_ReleasedOnceByTheLastSlice(t *testing.T) {
	released := 0
	m := NewMessage([]byte{1}, nil, [][]byte{make([]byte, 5000), make([]byte, 10), make([]byte, 5000)}, NewPin(func() { released++ }))
	out := m.buffers()
	m.Discard() // no longer its own
	out[1].Free()
	if released != 0 {
		t.Fatal("released with a slice in use")
	}
	out[3].Free()
	if released != 1 {
		t.Fatalf("released %d times", released)
	}
	small := NewMessage([]byte{1}, nil, [][]byte{make([]byte, 10)}, NewPin(func() { released++ }))
	if small.buffers(); released != 2 {
		t.Fatal("a message of small slices keeps its pin")
	}
	unsent := NewMessage([]byte{1}, nil, [][]byte{make([]byte, 5000)}, NewPin(func() { released++ }))
	unsent.Discard()
	unsent.Discard()
	if released != 3 {
		t.Fatal("an unsent message keeps its pin")
	}
}

func TestPin_ReleasedWhenGRPCForgetsTheMessage(t *testing.T) {
	released := make(chan struct{})
	func() {
		m := NewMessage([]byte{1}, nil, [][]byte{make([]byte, 5000)}, NewPin(func() { close(released) }))
		_ = m.buffers() // never freed
	}()
	deadline := time.After(10 * time.Second)
	for {
		runtime.GC()
		select {
		case <-released:
			return
		case <-deadline:
			t.Fatal("the pin of a forgotten message is never released")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestUnmarshal_ReadsWhatTheStockCodecWrites(t *testing.T) {
	want := &flight.FlightData{
		FlightDescriptor: &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{"p", "t"}},
		DataHeader:       []byte("header"), AppMetadata: []byte("meta"), DataBody: bytes.Repeat([]byte{3}, 100_000),
	}
	raw, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var parts mem.BufferSlice // as frames of 16 KiB
	for b := raw; len(b) > 0; {
		n := min(len(b), 16<<10)
		parts = append(parts, mem.SliceBuffer(b[:n]))
		b = b[n:]
	}
	var got flight.FlightData
	if err := New().Unmarshal(parts, &got); err != nil || !proto.Equal(&got, want) {
		t.Fatalf("%v", err)
	}
	for n := range raw[:200] {
		var cut flight.FlightData
		_ = New().Unmarshal(mem.BufferSlice{mem.SliceBuffer(raw[:n])}, &cut)
	}
}

func FuzzUnmarshal(f *testing.F) {
	raw, _ := proto.Marshal(&flight.FlightData{DataHeader: []byte("h"), AppMetadata: []byte("m"), DataBody: []byte("b")})
	f.Add(raw)
	f.Fuzz(func(t *testing.T, in []byte) {
		var ours, stock flight.FlightData
		err := New().Unmarshal(mem.BufferSlice{mem.SliceBuffer(in)}, &ours)
		if stockErr := proto.Unmarshal(in, &stock); err == nil && stockErr == nil {
			if !bytes.Equal(ours.DataBody, stock.DataBody) || !bytes.Equal(ours.DataHeader, stock.DataHeader) || !bytes.Equal(ours.AppMetadata, stock.AppMetadata) {
				t.Fatalf("%x: ours %v, stock %v", in, &ours, &stock)
			}
		}
	})
}
