package scan_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"daos/dataset/posix"
	"daos/engine"
	"daos/engine/object"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/scan"
)

func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DAOS_TEST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("DAOS_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 5))
}

// oddNames sort in several ways around '/', and some are not UTF-8.
var oddNames = []string{"a", "a!", "a-b", "ab", "a0", "b", "b\xff", "b\xffc", "\xfe", "é", "日", "z", "\ufffd", "A", "a.b", "~", "\xf0", "𝄞", "\x80x", "b\x80"}

// oddTree makes a random tree and returns it with the store that has marks.
func oddTree(t testing.TB, rng *rand.Rand) *posix.FS {
	t.Helper()
	e, err := engine.Open(engine.Options{Root: t.TempDir(), SweepEvery: -1, Marker: posix.Mark})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	ctx := context.Background()
	s, err := e.CreateDataset(ctx, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := posix.Create(ctx, s, posix.Properties{}); err != nil {
		t.Fatal(err)
	}
	fs, err := posix.Open(ctx, s, posix.Options{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var batch []posix.ImportEntry
	for range 700 {
		var parts []string
		for range rng.IntN(4) {
			parts = append(parts, oddNames[rng.IntN(len(oddNames))])
		}
		// A file is never where a directory is: its name has an ending of its own.
		parts = append(parts, oddNames[rng.IntN(len(oddNames))]+[]string{".f", "!f", "-f", "\xfff"}[rng.IntN(4)])
		p := strings.Join(parts, "/")
		if seen[p] {
			continue
		}
		seen[p] = true
		x := posix.ImportEntry{Path: p, Type: posix.TypeFile, Content: make([]byte, rng.IntN(50)), Mtime: 1e18 + int64(rng.IntN(1000))*1e9}
		if rng.IntN(10) == 0 {
			x.Type, x.Content, x.Target = posix.TypeSymlink, nil, "a"
		}
		batch = append(batch, x)
	}
	if _, err := fs.Import(ctx, object.RequestID{}, batch, false); err != nil {
		t.Fatal(err)
	}
	return fs
}

// agrees compares what a table with a condition gives with what the condition keeps
// of the rows of the whole table, in their order.
func agrees(t *testing.T, whole *exec.Rows, schema expr.Schema, tab *scan.Table, below, where string) exec.Counters {
	t.Helper()
	w := where
	x, err := expr.Parse(w)
	if err != nil {
		t.Fatalf("%s: %v", w, err)
	}
	p, err := expr.Bind(x, schema, w)
	if err != nil {
		t.Fatalf("%s: %v", w, err)
	}
	keep, err := p.Filter(&expr.Batch{N: whole.N, Columns: whole.Columns}, nil)
	if err != nil {
		t.Fatal(err)
	}
	paths := func(rows *exec.Rows) []string {
		out := texts(&rows.Columns[0], rows.N)
		for i, b := range texts(&rows.Columns[1], rows.N) {
			if b != "" {
				out[i] = b
			}
		}
		return out
	}
	all := paths(whole)
	var want []string
	for _, k := range keep {
		if below == "" || strings.HasPrefix(all[k], below+"/") {
			want = append(want, all[k])
		}
	}
	got, _, n := tableRows(t, tab, exec.Request{Where: x, Columns: []string{"path", "path_bytes", "size", "mtime"}})
	if have := paths(got); !slices.Equal(have, want) {
		t.Fatalf("%s below %q:\n%q\nnot\n%q", where, below, have, want)
	}
	return n
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func TestPathsPruneNoRowThatMatches(t *testing.T) {
	rng := seeded(t)
	fs := oddTree(t, rng)
	v := head(t, fs)
	tab := scan.NewTable("p/d", fs, v, "")
	whole, schema, _ := tableRows(t, tab, exec.Request{})
	shown := texts(&whole.Columns[0], whole.N)
	random := func() string {
		p := shown[rng.IntN(len(shown))]
		for rng.IntN(3) > 0 && len(p) > 0 {
			r := []rune(p)
			p = string(r[:rng.IntN(len(r)+1)])
		}
		if rng.IntN(4) == 0 {
			p += []string{"/", "!", "0", "é", "/a"}[rng.IntN(5)]
		}
		return p
	}
	var dirs []string
	kinds := texts(&whole.Columns[3], whole.N)
	for i, p := range shown {
		if kinds[i] == "directory" && !strings.Contains(p, "\ufffd") {
			dirs = append(dirs, p)
		}
	}
	pattern := func() string {
		return strings.NewReplacer("%", "", "_", "", "*", "", "?", "", "[", "", "]", "").Replace(random())
	}
	less := uint64(0)
	for range 400 {
		var w string
		switch rng.IntN(9) {
		case 0:
			w = "path = " + quote(random())
		case 1:
			w = "path like " + quote(pattern()+"%")
		case 2:
			w = "path glob " + quote(pattern()+"*")
		case 3:
			w = "prefix(path, " + quote(random()) + ")"
		case 4:
			a, b := random(), random()
			w = "path between " + quote(min(a, b)) + " and " + quote(max(a, b))
		case 5:
			w = "path >= " + quote(random()) + " and path < " + quote(random())
		case 6:
			w = "path in (" + quote(random()) + ", " + quote(random()) + ")"
		case 7:
			w = "path > " + quote(random())
		case 8:
			w = "path <= " + quote(random()) + " and size > 10"
		}
		if rng.IntN(4) == 0 {
			w += " and type = 'file'"
		}
		below, one := "", tab
		if rng.IntN(3) == 0 {
			below = dirs[rng.IntN(len(dirs))]
			one = scan.NewTable("p/d", fs, v, below)
		}
		n := agrees(t, whole, schema, one, below, w)
		if n.RowsScanned < uint64(whole.N) {
			less++
		}
	}
	if less < 200 {
		t.Errorf("%d of 400 scans were pruned", less)
	}
}

func TestPathPrunesWhatIsRead(t *testing.T) {
	fs := fill(t, onEngine(t), 40, 50, 3)
	v := head(t, fs)
	tab := scan.NewTable("p/d", fs, v, "")
	for w, most := range map[string]uint64{
		"path like 'train/n00007/%'": 50, "path = 'train/n00007/img_000003.png'": 1, "prefix(path, 'train/n0000') and size > 1": 10 + 10*50,
		"path like 'nothing/%'": 0, "prefix(path, 'train/n00007/img_000003.png/')": 0, "path in ('train/n00007', 'train/n00008/img_000001.png')": 60,
	} {
		x, err := expr.Parse(w)
		if err != nil {
			t.Fatal(err)
		}
		_, _, n := tableRows(t, tab, exec.Request{Where: x, Columns: []string{"size"}})
		if n.RowsScanned > most {
			t.Errorf("%s: %d rows were looked at, %d would do", w, n.RowsScanned, most)
		}
	}
	_, _, n := tableRows(t, scan.NewTable("p/d", fs, v, "train/n00011"), exec.Request{Columns: []string{"path"}})
	if n.RowsScanned != 50 || n.RowsOut != 50 {
		t.Errorf("below a directory: %+v", n)
	}
}

// TestTimesPruneNoRowThatMatches changes times back and forth, gives files second
// names and removes some, with the index written to disk in between: an older
// version may lie in a block of the right times while the newest does not.
func TestTimesPruneNoRowThatMatches(t *testing.T) {
	rng := seeded(t)
	ctx := context.Background()
	root := t.TempDir()
	open := func() (*engine.Engine, *posix.FS) {
		e, err := engine.Open(engine.Options{Root: root, SweepEvery: -1, Marker: posix.Mark, Targets: 2})
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.OpenDataset(1)
		if err != nil {
			if s, err = e.CreateDataset(ctx, 1, 1); err != nil {
				t.Fatal(err)
			}
			if err := posix.Create(ctx, s, posix.Properties{}); err != nil {
				t.Fatal(err)
			}
		}
		fs, err := posix.Open(ctx, s, posix.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return e, fs
	}
	e, fs := open()
	defer func() { e.Close() }()
	var names []string
	var batch []posix.ImportEntry
	for i := range 300 {
		names = append(names, fmt.Sprintf("d%d/f%03d", i%7, i))
		batch = append(batch, posix.ImportEntry{Path: names[i], Type: posix.TypeFile, Content: []byte("x"), Mtime: int64(1+i/10) * 1e9})
	}
	if _, err := fs.Import(ctx, object.RequestID{}, batch, false); err != nil {
		t.Fatal(err)
	}
	var views []object.Epoch
	for round := range 6 {
		for range 60 {
			k := rng.IntN(len(names))
			ref := posix.ByPath(names[k])
			switch rng.IntN(6) {
			case 0:
				_, _ = fs.Remove(ctx, object.RequestID{}, names[k], posix.RemoveOptions{})
			case 1:
				_, _ = fs.Link(ctx, object.RequestID{}, names[k], fmt.Sprintf("d%d/link%d-%d", rng.IntN(7), round, rng.IntN(100)))
			case 2:
				_, _ = fs.Rename(ctx, object.RequestID{}, names[k], fmt.Sprintf("d%d/moved%d-%d", rng.IntN(7), round, rng.IntN(100)), false)
			default:
				ns := int64(rng.IntN(40)) * 1e9
				_, _ = fs.SetAttr(ctx, object.RequestID{}, ref, posix.SetAttr{Mtime: &ns})
			}
		}
		v := head(t, fs)
		views = append(views, v.Epoch())
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e, fs = open()
	}
	matched := 0
	for range 60 {
		v := fs.At(views[rng.IntN(len(views))])
		tab := scan.NewTable("p/d", fs, v, "")
		whole, schema, _ := tableRows(t, tab, exec.Request{})
		lo := rng.IntN(40)
		at := func(s int) string { return "timestamp '1970-01-01 00:00:" + fmt.Sprintf("%02d", s) + "'" }
		w := []string{
			"mtime between " + at(lo) + " and " + at(lo+2), "mtime = " + at(lo), "mtime >= " + at(lo) + " and mtime < " + at(lo+1),
			"mtime < " + at(lo), "mtime <= " + at(lo) + " and type = 'file'", "mtime > " + at(lo) + " and mtime > " + at(lo/2),
		}[rng.IntN(6)]
		matched += int(agrees(t, whole, schema, tab, "", w).RowsOut)
	}
	if matched == 0 {
		t.Error("no condition matched anything")
	}
}
