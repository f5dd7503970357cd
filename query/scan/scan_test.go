package scan_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"daos/dataset/posix"
	"daos/dataset/posixtest"
	"daos/engine/memstore"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/query/glob"
	"daos/query/scan"
)

// row is one row of a scan with all columns.
type row struct {
	path  string // exact
	text  string // column path
	name  string
	attr  posix.Attr
	depth uint32
}

func rowsOf(t testing.TB, rec arrow.Record) []row {
	t.Helper()
	if got := int(rec.NumCols()); got != len(scan.Columns()) {
		t.Fatalf("%d columns", got)
	}
	col := func(name string) arrow.Array { return rec.Column(rec.Schema().FieldIndices(name)[0]) }
	types := map[string]posix.Type{"file": posix.TypeFile, "directory": posix.TypeDir, "symlink": posix.TypeSymlink}
	var out []row
	for i := range int(rec.NumRows()) {
		r := row{text: col("path").(*array.String).Value(i), name: col("name").(*array.String).Value(i)}
		r.path = strings.Clone(r.text)
		if b := col("path_bytes").(*array.Binary); b.IsValid(i) {
			r.path = string(b.Value(i))
		}
		r.attr = posix.Attr{
			Type: types[col("type").(*array.String).Value(i)],
			Mode: col("mode").(*array.Uint32).Value(i), UID: col("uid").(*array.Uint32).Value(i), GID: col("gid").(*array.Uint32).Value(i),
			Size: col("size").(*array.Uint64).Value(i), Mtime: int64(col("mtime").(*array.Timestamp).Value(i)),
			Ctime: int64(col("ctime").(*array.Timestamp).Value(i)), Inode: col("inode").(*array.Uint64).Value(i),
			Nlink: col("nlink").(*array.Uint32).Value(i), Epoch: object.Epoch(col("epoch").(*array.Uint64).Value(i)),
		}
		if b := col("symlink_target").(*array.Binary); b.IsValid(i) {
			r.attr.Target = string(b.Value(i))
		}
		r.depth = col("depth").(*array.Uint32).Value(i)
		out = append(out, r)
	}
	return out
}

// collect scans and checks the batches' shape.
func collect(t testing.TB, fs *posix.FS, v *posix.View, r scan.Request) ([]row, scan.Counters, scan.Anchor) {
	t.Helper()
	r.Columns = scan.Columns()
	s, err := scan.Open(context.Background(), fs, v, r)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out []row
	for {
		b, err := s.Next()
		if errors.Is(err, io.EOF) {
			if c := s.Counters(); c.Out != uint64(len(out)) {
				t.Fatalf("counted %d rows, got %d", c.Out, len(out))
			}
			return out, s.Counters(), s.Anchor()
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := b.Record.NumRows(); n == 0 || r.BatchRows > 0 && int(n) > r.BatchRows {
			t.Fatalf("a batch of %d rows", n)
		}
		out = append(out, rowsOf(t, b.Record)...)
		b.Record.Release()
	}
}

// walk lists everything below a directory by listing: the truth.
func walk(t testing.TB, v *posix.View, dir string, depth uint32) []row {
	t.Helper()
	var out []row
	after, more := "", true
	for more {
		var es []posix.Entry
		var err error
		es, more, err = v.ListDir(context.Background(), posix.ByPath(dir), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			after = e.Name
			p := e.Name
			if dir != "" {
				p = dir + "/" + e.Name
			}
			a := e.Attr
			a.ChunkSize, a.Object = 0, object.ID{}
			out = append(out, row{path: p, text: strings.ToValidUTF8(p, "\ufffd"), name: strings.ToValidUTF8(e.Name, "\ufffd"), attr: a, depth: depth})
			if a.Type == posix.TypeDir {
				out = append(out, walk(t, v, p, depth+1)...)
			}
		}
	}
	return out
}

func sorted(rows []row) []row {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.path, b.path) })
	return rows
}

func same(t testing.TB, what string, got, want []row) {
	t.Helper()
	got, want = sorted(got), sorted(want)
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: row %d\ngot  %+v\nwant %+v", what, i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d rows, want %d", what, len(got), len(want))
	}
}

func head(t testing.TB, fs *posix.FS) *posix.View {
	t.Helper()
	v, err := fs.Head(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wild makes a tree with everything in it, by a seed.
func wild(t testing.TB, s posix.Store, seed uint64, n int) *posix.FS {
	t.Helper()
	ctx := context.Background()
	fs := posixtest.Mount(t, s)
	r := rand.New(rand.NewPCG(seed, 3))
	dirs := []string{""}
	var files []string
	var batch []posix.ImportEntry
	name := func(i int) string {
		switch r.IntN(12) {
		case 0:
			return "bad\xff" + strconv.Itoa(i)
		case 1:
			return "é" + strconv.Itoa(i) + ".PNG"
		case 2:
			return ".dot" + strconv.Itoa(i)
		}
		return "n" + strconv.Itoa(i) + [...]string{".png", ".txt", ""}[r.IntN(3)]
	}
	for i := range n {
		d := dirs[r.IntN(len(dirs))]
		p := name(i)
		if d != "" {
			p = d + "/" + p
		}
		e := posix.ImportEntry{Path: p, Type: posix.TypeFile, Mode: uint32(r.IntN(0o777) + 1), Mtime: r.Int64N(10)*100 + 100, Content: make([]byte, r.IntN(300))}
		switch r.IntN(8) {
		case 0:
			e.Type, e.Content = posix.TypeDir, nil
			dirs = append(dirs, p)
		case 1:
			e.Type, e.Content, e.Target = posix.TypeSymlink, nil, strings.Repeat("t", 1+r.IntN(1500))
		default:
			files = append(files, p)
		}
		batch = append(batch, e)
	}
	if _, err := fs.Import(ctx, object.RequestID{}, batch, false); err != nil {
		t.Fatal(err)
	}
	for i := range n / 20 {
		if _, err := fs.Link(ctx, object.RequestID{}, files[r.IntN(len(files))], "link"+strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	// Hidden: a trash with content, a staged file; and attributes, which are no entries.
	if _, err := fs.Create(ctx, object.RequestID{}, "doomed/sub/x", posix.CreateOptions{Parents: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Remove(ctx, object.RequestID{}, "doomed", posix.RemoveOptions{Recursive: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stage(ctx, object.RequestID{}, 0); err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs[:min(3, len(dirs))] {
		if _, err := fs.SetXattr(ctx, object.RequestID{}, posix.ByPath(d), "k", []byte("v"), posix.SetXattrOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// stores are what each test runs over.
func stores(t *testing.T, f func(t *testing.T, s object.Store)) {
	t.Run("memory", func(t *testing.T) { f(t, memstore.New()) })
	t.Run("engine", func(t *testing.T) { f(t, onEngine(t)) })
}

func TestFilters(t *testing.T) {
	fs := wild(t, memstore.New(), 9, 800)
	v := head(t, fs)
	all := walk(t, v, "", 1)
	var sub string // a directory with something in it
	for _, r := range all {
		if r.attr.Type == posix.TypeDir && len(walk(t, v, r.path, 1)) > 5 {
			sub = r.path
		}
	}
	u64, i64, u32 := func(n uint64) *uint64 { return &n }, func(n int64) *int64 { return &n }, func(n uint32) *uint32 { return &n }
	match := func(pattern, s string) bool {
		p, err := glob.Compile(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return p.Match([]byte(s))
	}
	last := func(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }
	for _, path := range []string{"", sub} {
		rel := func(r row) string { return strings.TrimPrefix(r.path, path+"/") }
		for i, c := range []struct {
			f    scan.Filter
			want func(row) bool
		}{
			{scan.Filter{}, func(row) bool { return true }},
			{scan.Filter{Name: "*.png"}, func(r row) bool { return match("*.png", last(r.path)) }},
			{scan.Filter{Name: "bad\xff*"}, func(r row) bool { return strings.HasPrefix(last(r.path), "bad\xff") }},
			{scan.Filter{Path: "**/n*/*"}, func(r row) bool { return match("**/n*/*", rel(r)) }},
			{scan.Filter{Path: "*"}, func(r row) bool { return r.depth == 1 }},
			{scan.Filter{Types: []posix.Type{posix.TypeDir, posix.TypeSymlink}}, func(r row) bool { return r.attr.Type != posix.TypeFile }},
			{scan.Filter{MinSize: u64(100), MaxSize: u64(200)}, func(r row) bool { return r.attr.Size >= 100 && r.attr.Size <= 200 }},
			{scan.Filter{MinMtime: i64(300), MaxMtime: i64(600)}, func(r row) bool { return r.attr.Mtime >= 300 && r.attr.Mtime < 600 }},
			{scan.Filter{MinDepth: u32(2), MaxDepth: u32(3)}, func(r row) bool { return r.depth >= 2 && r.depth <= 3 }},
			{scan.Filter{Name: "n*", MaxDepth: u32(1), Types: []posix.Type{posix.TypeFile}}, func(r row) bool {
				return r.depth == 1 && r.attr.Type == posix.TypeFile && strings.HasPrefix(last(r.path), "n")
			}},
		} {
			var want []row
			for _, r := range walk(t, v, path, 1) {
				if c.want(r) {
					want = append(want, r)
				}
			}
			got, _, _ := collect(t, fs, v, scan.Request{Path: path, Filter: c.f, BatchRows: 64})
			same(t, fmt.Sprintf("filter %d below %q", i, path), got, want)
		}
	}
}

func TestBadRequests(t *testing.T) {
	fs := wild(t, memstore.New(), 1, 20)
	v := head(t, fs)
	if _, err := fs.Create(context.Background(), object.RequestID{}, "plain", posix.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		r    scan.Request
		kind fault.Kind
	}{
		{scan.Request{Columns: []string{"nope"}}, fault.Invalid},
		{scan.Request{Columns: []string{"path", "path"}}, fault.Invalid},
		{scan.Request{Path: "no/such"}, fault.NotFound},
		{scan.Request{Path: "../x"}, fault.Invalid},
		{scan.Request{Filter: scan.Filter{Name: "a/b"}}, fault.Invalid},
		{scan.Request{Filter: scan.Filter{Path: "[z"}}, fault.Invalid},
		{scan.Request{Filter: scan.Filter{Types: []posix.Type{7}}}, fault.Invalid},
		{scan.Request{BatchRows: 1 << 30}, fault.Invalid},
		{scan.Request{BatchRows: -1}, fault.Invalid},
		{scan.Request{Anchor: scan.Anchor{}}, fault.Invalid},
		{scan.Request{Anchor: scan.Anchor("garbage")}, fault.Invalid},
		{scan.Request{Anchor: scan.Anchor{'S', 1, 0, 1, 0, 3, 9, 9, 9}}, fault.Invalid},
	} {
		s, err := scan.Open(context.Background(), fs, v, c.r)
		if err == nil {
			_, err = s.Next()
			s.Close()
		}
		if !fault.Is(err, c.kind) {
			t.Errorf("request %d: %v, want %v", i, err, c.kind)
		}
	}
	if _, err := scan.Open(context.Background(), fs, head(t, fs), scan.Request{Path: "plain"}); !fault.Is(err, fault.NotDirectory) {
		t.Errorf("a file: %v", err)
	}
}

// TestOneDirectory has very many entries in one directory: 100,000, and a
// million with DAOS_TEST_LONG (make test-long).
func TestOneDirectory(t *testing.T) {
	n := 100_000
	if os.Getenv("DAOS_TEST_LONG") != "" {
		n = 1_000_000
	}
	fs := fill(t, onEngine(t), 1, n, 0)
	v := head(t, fs)
	var got []row
	for _, a := range scan.Plan(fs, 8) {
		rows, _, _ := collect(t, fs, v, scan.Request{Path: "train/n00000", Anchor: a, BatchRows: 10_000})
		got = append(got, rows...)
	}
	if len(got) != n {
		t.Fatalf("%d of %d entries", len(got), n)
	}
	for i, r := range sorted(got) {
		if want := fmt.Sprintf("train/n00000/img_%06d.png", i); r.path != want {
			t.Fatalf("entry %d is %q, want %q", i, r.path, want)
		}
	}
	i := 0
	err := v.Files(context.Background(), "train", func(s *posix.Sample) error {
		if want := fmt.Sprintf("train/n00000/img_%06d.png", i); s.Path() != want {
			return fmt.Errorf("sample %d is %q, want %q", i, s.Path(), want)
		}
		i++
		return nil
	})
	if err != nil || i != n {
		t.Fatalf("%d samples, %v", i, err)
	}
}

// TestDeepTree nests directories deeper than a path can tell, by renames.
func TestDeepTree(t *testing.T) {
	ctx := context.Background()
	fs := posixtest.Mount(t, memstore.New())
	deep := strings.Repeat("d/", 1000)
	for i := range 4 {
		if _, err := fs.Create(ctx, object.RequestID{}, fmt.Sprintf("t%d/%sfile", i, deep), posix.CreateOptions{Parents: true}); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if _, err := fs.Rename(ctx, object.RequestID{}, fmt.Sprintf("t%d", i-1), fmt.Sprintf("t%d/%sin", i, deep), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	v := head(t, fs)
	got, _, _ := collect(t, fs, v, scan.Request{Filter: scan.Filter{Types: []posix.Type{posix.TypeFile}}})
	if len(got) != 4 {
		t.Fatalf("%d files", len(got))
	}
	var paths []string
	if err := v.Files(ctx, "", func(s *posix.Sample) error { paths = append(paths, s.Path()); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, r := range got {
		if !slices.Contains(paths, r.path) {
			t.Fatalf("%d bytes of path, depth %d, not among the samples", len(r.path), r.depth)
		}
	}
	if last := sorted(got)[0]; last.depth < 1000 || len(paths[3]) < 8000 {
		t.Fatalf("depth %d, %d bytes", last.depth, len(paths[3]))
	}
}
