package scan_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/scan"
)

// mixed is a tree with files of many sizes and times, links, odd names and
// empty directories.
func mixed(t testing.TB) (*posix.FS, *posix.View) {
	t.Helper()
	ctx := context.Background()
	s := onEngine(t)
	if err := posix.Create(ctx, s, posix.Properties{}); err != nil {
		t.Fatal(err)
	}
	fs, err := posix.Open(ctx, s, posix.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var batch []posix.ImportEntry
	for i := range 600 {
		name := fmt.Sprintf("d%d/e%d/f%03d.%s", i%5, i%3, i, []string{"png", "txt", "tar.gz"}[i%3])
		if i%50 == 0 {
			name = fmt.Sprintf("d%d/odd\xff%d", i%5, i)
		}
		batch = append(batch, posix.ImportEntry{Path: name, Type: posix.TypeFile, Content: make([]byte, i*7%1000)})
	}
	batch = append(batch, posix.ImportEntry{Path: "d0/link", Type: posix.TypeSymlink, Target: "e0"}, posix.ImportEntry{Path: "empty", Type: posix.TypeDir})
	if _, err := fs.Import(ctx, object.RequestID{}, batch, false); err != nil {
		t.Fatal(err)
	}
	return fs, head(t, fs)
}

func tableRows(t testing.TB, s exec.Source, r exec.Request) (*exec.Rows, expr.Schema, exec.Counters) {
	t.Helper()
	st, err := exec.Open(context.Background(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	out := &exec.Rows{Columns: make([]expr.Vector, len(st.Schema()))}
	for {
		rows, err := st.Next()
		if err == io.EOF {
			return out, st.Schema(), st.Counters()
		}
		if err != nil {
			t.Fatal(err)
		}
		for c := range rows.Columns {
			exec.Append(&st.Schema()[c], &out.Columns[c], out.N, &rows.Columns[c], rows.N)
		}
		out.N += rows.N
	}
}

func texts(v *expr.Vector, n int) []string {
	var out []string
	for i := range n {
		out = append(out, string(v.Values[v.Offsets[i]:v.Offsets[i+1]]))
	}
	return out
}

func TestTableKeepsWhatThePredicateKeeps(t *testing.T) {
	fs, v := mixed(t)
	tab := scan.NewTable("p/d", fs, v, "")
	all, schema, _ := tableRows(t, tab, exec.Request{})
	// 600 files, the link, "empty", d0..d4 and their e0..e2.
	if all.N != 600+2+5+15 {
		t.Fatalf("%d rows in all", all.N)
	}
	now := time.Now().UTC().Add(time.Hour).Format("2006-01-02 15:04:05")
	for _, w := range []string{"size > 500", "size = 7", "size between 10 and 20", "size < 3.5 and type = 'file'", "type = 'symlink'", "name like '%.png'",
		"ext = 'gz' and size >= 900", "path glob 'd1/*'", "path_bytes is not null", "depth = 1", "mtime > timestamp '" + now + "'", "mtime <= '" + now + "' and depth = 2",
		"symlink_target = 'e0'", "type = 'directory' and name = 'empty'", "size > 5 and size > 900 and size < 100000 and size <= 990",
		"size > 0", "0 < size", "size >= 0", "size < 0", "size < 1", "size <= 0", "size != 0", "not size > 7", "size > 14 and size < 28", "size < 15", "size > 13 and size < 22", "size > 6 and size < 8", "size >= 14 and size <= 14",
		"size = 7 and size = 14", "size > 13 and size = 14", "size > 14 and size = 14", "size < 14 and size = 14", "size > 9223372036854775807", "size < 9223372036854775807"} {
		x, err := expr.Parse(w)
		if err != nil {
			t.Fatal(err)
		}
		p, err := expr.Bind(x, schema, w)
		if err != nil {
			t.Fatal(err)
		}
		keep, err := p.Filter(&expr.Batch{N: all.N, Columns: all.Columns}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, _, n := tableRows(t, tab, exec.Request{Where: x, Columns: []string{"path", "size", "ext"}})
		want := exec.Pick(&schema[0], &all.Columns[0], keep)
		if !slices.Equal(texts(&got.Columns[0], got.N), texts(&want, len(keep))) {
			t.Errorf("%s: %d rows, not %d", w, got.N, len(keep))
		}
		pruned := strings.HasPrefix(w, "path ")
		if n.RowsScanned > uint64(all.N) || !pruned && n.RowsScanned != uint64(all.N) || n.RowsOut != uint64(got.N) {
			t.Errorf("%s: %+v", w, n)
		}
	}
}

func TestTableBelowADirectory(t *testing.T) {
	fs, v := mixed(t)
	got, _, _ := tableRows(t, scan.NewTable("p/d", fs, v, "d1/e1"), exec.Request{Columns: []string{"path"}})
	for _, p := range texts(&got.Columns[0], got.N) {
		if !strings.HasPrefix(p, "d1/e1/") {
			t.Errorf("%s is not below d1/e1", p)
		}
	}
	if got.N == 0 {
		t.Error("nothing below d1/e1")
	}
}

func TestTableGroupsAndTop(t *testing.T) {
	fs, v := mixed(t)
	tab := scan.NewTable("p/d", fs, v, "")
	x, _ := expr.Parse("type = 'file'")
	got, _, _ := tableRows(t, tab, exec.Request{Where: x, Group: []string{"ext"}, Aggregates: []exec.Aggregate{{Fn: exec.Count}}})
	if e := texts(&got.Columns[0], got.N); !slices.Equal(e, []string{"", "gz", "png", "txt"}) {
		t.Errorf("extensions %q", e)
	}
	got, _, _ = tableRows(t, tab, exec.Request{Top: &exec.Top{Column: "size", Desc: true, K: 3}, Columns: []string{"size", "path"}})
	if got.N != 3 || got.Columns[0].Values[0] != 0xe5 { // 997 = 0x3e5
		t.Errorf("largest: %v", got)
	}
}
