package manifest_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/loader/loadertest"
	"daos/loader/manifest"
)

// at reads n bytes of one of the store's segments, whichever has them there.
func foundAt(t testing.TB, st *loadertest.Store, pos uint64, want []byte) bool {
	t.Helper()
	for _, n := range st.Segments() {
		b, err := os.ReadFile(st.Path(n))
		if err != nil {
			t.Fatal(err)
		}
		if pos <= uint64(len(b)) && bytes.HasPrefix(b[pos:], want) {
			return true
		}
	}
	return false
}

func TestPlacesOfFiles(t *testing.T) {
	st, fs := newFS(t)
	for i := range 20 {
		write(t, fs, fmt.Sprintf("%02d", i), strings.Repeat(fmt.Sprintf("file %02d ", i), 400))
	}
	write(t, fs, "99-short", "x")
	m := openOne(t, request(t, t.TempDir(), st, fs, manifest.Selection{}))
	segments, positions, err := m.Places(ctx, 0, 100)
	if err != nil || len(segments) != 21 || len(positions) != 21 {
		t.Fatalf("%d places: %v", len(segments), err)
	}
	for i := range 20 {
		if segments[i] == manifest.NoSegment || !foundAt(t, st, positions[i], fmt.Appendf(nil, "file %02d file %02d", i, i)) {
			t.Errorf("file %d is not at %d of segment %d", i, positions[i], segments[i])
		}
	}
	if segments[20] != manifest.NoSegment {
		t.Errorf("a short file lies in segment %d", segments[20])
	}
	if s, _, err := m.Places(ctx, 21, 5); err != nil || len(s) != 0 {
		t.Error(s, err)
	}
	if _, _, err := m.Places(ctx, 22, 1); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	if _, _, err := m.Places(ctx, 0, manifest.MaxPlaces+1); !fault.Is(err, fault.TooBig) {
		t.Error(err)
	}
}

func TestPlacesOfRows(t *testing.T) {
	rng, st := seeded(t), loadertest.New(t)
	tab := tensor.Open(st, "p/t")
	cols := []tensor.Column{
		{Name: "small", Layout: tensor.Fixed, DType: tensor.Int8}, {Name: "large", Layout: tensor.Ragged, DType: tensor.Uint16, ChunkSamples: 30},
	}
	if _, err := tab.Define(ctx, object.RequestID{}, cols); err != nil {
		t.Fatal(err)
	}
	var large tensortest.Cells
	for range 3 {
		part := []tensortest.Cells{tensortest.RandomCells(rng, &cols[0], 40), nil}
		for range 40 {
			b := make([]byte, 2*(20+rng.IntN(200)))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			part[1] = append(part[1], b)
		}
		large = append(large, part[1]...)
		if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(tensortest.PackRows(cols, part))); err != nil {
			t.Fatal(err)
		}
	}
	at, err := st.ReadEpoch(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := openOne(t, manifest.Request{Dir: t.TempDir(), Store: st, Table: tab, Info: manifest.Info{Dataset: "p/t", DatasetID: 8, Snapshot: "v1", Epoch: at, Tensor: true}})
	segments, positions, err := m.Places(ctx, 5, 100)
	if err != nil || len(segments) != 100 {
		t.Fatal(len(segments), err)
	}
	for k := range segments {
		if segments[k] == manifest.NoSegment || !foundAt(t, st, positions[k], large[5+k][:30]) {
			t.Errorf("row %d is not at %d", 5+k, positions[k])
		}
	}
}
