package manifest_test

import (
	"context"
	"fmt"
	"testing"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/loader/manifest"
)

// synthetic is a tree of n files in folders of 1000 without anything behind it:
// what is measured is the manifest alone.
type synthetic struct{ n int }

func (s synthetic) Files(_ context.Context, _ string, fn func(*posix.Sample) error) error {
	x := &posix.Sample{}
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("image_%06d.jpg", i)
	}
	for i := range s.n {
		if i%1000 == 0 {
			x.Dir = fmt.Sprintf("train/class_%06d", i/1000)
		}
		x.Name = names[i%1000]
		x.Attr = posix.Attr{Type: posix.TypeFile, Size: 4096 + uint64(i%7), ChunkSize: 1 << 20, Object: object.MakeID(object.ClassSX, 1, uint64(i))}
		if err := fn(x); err != nil {
			return err
		}
	}
	return nil
}

func (s synthetic) Locate(_ context.Context, a posix.Attr, off, n uint64) ([]object.Extent, error) {
	return []object.Extent{{Length: n, Record: object.Record{Target: uint16(a.Object.Lo % 4), Segment: 1 + a.Object.Lo>>16, Pos: a.Object.Lo << 13, Length: n, Sums: []uint32{1}}}}, nil
}

// bulk has no segments.
type bulk struct{}

func (bulk) Extents(context.Context, object.Epoch, object.ID, []byte, []byte, uint64, uint64) ([]object.Extent, error) {
	return nil, fault.New(fault.Internal, "test", "bulk", "not asked for")
}
func (bulk) Segment(uint16, uint64) (object.Mapping, error) {
	return nil, fault.New(fault.NotFound, "test", "bulk", "no segments")
}
func (bulk) Generation() uint64 { return 1 }

func buildSynthetic(b testing.TB, dir string, n int) (*manifest.Library, *manifest.Manifest) {
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	m, _, _, err := l.Open(context.Background(), manifest.Request{Dir: dir, Store: bulk{}, Tree: synthetic{n}, Info: manifest.Info{Dataset: "p/d", Snapshot: "s", Epoch: 1}})
	if err != nil {
		b.Fatal(err)
	}
	return l, m
}

func BenchmarkBuild(b *testing.B) {
	const n = 500_000
	for b.Loop() {
		dir := b.TempDir()
		l, _ := buildSynthetic(b, dir, n)
		l.Close()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	l, _ := buildSynthetic(b, dir, 500_000)
	l.Close()
	for b.Loop() {
		l, _ := buildSynthetic(b, dir, 500_000)
		l.Close()
	}
}
