package scan_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"daos/dataset/posix"
	"daos/engine"
	"daos/engine/object"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/scan"
)

// fill imports dirs*files small files and returns the tree.
func fill(t testing.TB, s posix.Store, dirs, files, content int) *posix.FS {
	t.Helper()
	ctx := context.Background()
	if err := posix.Create(ctx, s, posix.Properties{}); err != nil {
		t.Fatal(err)
	}
	fs, err := posix.Open(ctx, s, posix.Options{})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, content)
	var batch []posix.ImportEntry
	flush := func() {
		if len(batch) == 0 {
			return
		}
		if _, err := fs.Import(ctx, object.RequestID{}, batch, false); err != nil {
			t.Fatal(err)
		}
		batch = batch[:0]
	}
	for d := range dirs {
		for f := range files {
			batch = append(batch, posix.ImportEntry{Path: fmt.Sprintf("train/n%05d/img_%06d.png", d, f), Type: posix.TypeFile, Content: data})
			if len(batch) == 8192 {
				flush()
			}
		}
	}
	flush()
	return fs
}

func onEngine(t testing.TB) object.Store {
	t.Helper()
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	d, err := e.CreateDataset(context.Background(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readAll(t testing.TB, fs *posix.FS, v *posix.View, r scan.Request) scan.Counters {
	t.Helper()
	s, err := scan.Open(context.Background(), fs, v, r)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for {
		b, err := s.Next()
		if err == io.EOF {
			return s.Counters()
		}
		if err != nil {
			t.Fatal(err)
		}
		b.Record.Release()
	}
}

func BenchmarkScan(b *testing.B) {
	begin := time.Now()
	fs := fill(b, onEngine(b), 1000, 110, 100)
	b.Logf("import: %.0f files/s", 110_000/time.Since(begin).Seconds())
	v, err := fs.Head(context.Background(), 0)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		r    scan.Request
	}{
		{"all", scan.Request{}},
		{"one", scan.Request{Parallel: 1}},
		{"filtered", scan.Request{Filter: scan.Filter{Name: "*7.png", Path: "train/**"}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			rows := uint64(0)
			for b.Loop() {
				rows += readAll(b, fs, v, c.r).Scanned
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "entries/s")
		})
	}
	b.Run("samples", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if err := v.Files(context.Background(), "", func(*posix.Sample) error { n++; return nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
	})
}

// BenchmarkFind is a query of paths over 220,000 files.
func BenchmarkFind(b *testing.B) {
	fs := fill(b, onEngine(b), 220, 1000, 0)
	v, err := fs.Head(context.Background(), 0)
	if err != nil {
		b.Fatal(err)
	}
	for _, w := range []string{"type = 'file' and size > 0 and name like '%.json'", "name like '%7.png'", "path like 'train/n00017/%' and size = 0"} {
		x, err := expr.Parse(w)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(w, func(b *testing.B) {
			began, rows := cpu(), uint64(0)
			for b.Loop() {
				_, _, n := tableRows(b, scan.NewTable("p/d", fs, v, ""), exec.Request{Where: x, Columns: []string{"path"}})
				rows += n.RowsScanned
			}
			b.ReportMetric(float64(cpu()-began)/float64(max(rows, 1)), "cpu-ns/entry")
		})
	}
}

func cpu() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
