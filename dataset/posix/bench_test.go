package posix_test

import (
	"context"
	"fmt"
	"testing"

	"daos/dataset/posix"
	"daos/dataset/posixtest"
	"daos/engine/memstore"
	"daos/engine/object"
)

// sink is a store that forgets what is committed, to measure the tree alone.
type sink struct{ posix.Store }

func (s sink) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	if len(tx.Writes) < 100 {
		return s.Store.Commit(ctx, tx)
	}
	return object.Result{Epoch: tx.ReadAt + 1, Answer: tx.Answer}, nil
}

func imports(n int) []posix.ImportEntry {
	in := make([]posix.ImportEntry, n)
	data := make([]byte, 800)
	for i := range in {
		in[i] = posix.ImportEntry{Path: fmt.Sprintf("train/%02d/%06d.png", i%10, i), Type: posix.TypeFile, Mode: 0o644, Mtime: 1, Content: data}
	}
	return in
}

func BenchmarkImportAlone(b *testing.B) {
	fs := posixtest.Mount(b, sink{memstore.New()})
	in := imports(8192)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := fs.Import(context.Background(), object.RequestID{}, in, false); err != nil {
			b.Fatal(err)
		}
		n += len(in)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "files/s")
}

func BenchmarkImportOnEngine(b *testing.B) {
	open := onEngine(b)
	in := imports(70_000)
	n := 0
	for b.Loop() {
		fs := posixtest.Mount(b, open(b))
		for i := 0; i < len(in); i += 8192 {
			if _, err := fs.Import(context.Background(), object.RequestID{}, in[i:min(i+8192, len(in))], false); err != nil {
				b.Fatal(err)
			}
		}
		n += len(in)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "files/s")
}
