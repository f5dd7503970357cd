package manifest_test

import (
	"fmt"
	"slices"
	"testing"

	"daos/dataset/kv"
	"daos/engine/object"
	"daos/loader/loadertest"
	"daos/loader/manifest"
)

// find looks all names up, in several orders, and names that are not there.
func find(t *testing.T, m *manifest.Manifest, root string, want []string, absent []string) {
	t.Helper()
	rng := seeded(t)
	f, err := m.NewFinder(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	there := map[string]int{}
	for i, p := range want {
		there[p] = i
	}
	for _, order := range [][]int{nil, rng.Perm(len(want))} {
		for k := range want {
			i := k
			if order != nil {
				i = order[k]
			}
			got, ok, err := f.Find([]byte(root + want[i]))
			if err != nil || !ok || got != uint64(i) {
				t.Fatalf("%q is sample %d (%v), want %d: %v", root+want[i], got, ok, i, err)
			}
			name, err := f.Name(uint64(i))
			if err != nil || string(name) != root+want[i] {
				t.Fatalf("sample %d is called %q, want %q: %v", i, name, root+want[i], err)
			}
			if len(absent) > 0 {
				a := absent[rng.IntN(len(absent))]
				if _, is := there[a]; is {
					continue
				}
				if got, ok, err := f.Find([]byte(root + a)); ok || err != nil {
					t.Fatalf("%q is sample %d: %v", root+a, got, err)
				}
			}
		}
	}
	if _, err := f.Name(uint64(len(want))); err == nil {
		t.Error("a name behind the last sample")
	}
}

func TestFindFiles(t *testing.T) {
	rng := seeded(t)
	st, fs := newFS(t)
	alphabet := []string{"a", "b", "-", ".", "0", "é", "\xff", "\x01", " "}
	word := func() string {
		s := ""
		for range 1 + rng.IntN(3) {
			s += alphabet[rng.IntN(len(alphabet))]
		}
		if s == "." || s == ".." {
			return "x"
		}
		return s
	}
	var absent []string
	for range 250 {
		p := "top/d" + word()
		for range rng.IntN(3) {
			p += "/d" + word()
		}
		write(t, fs, p+fmt.Sprintf("/f%s%d", word(), rng.IntN(5)), "x")
		absent = append(absent, p[len("top/"):]+"/g", p[len("top/"):], p[len("top/"):]+"/f", word())
	}
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	for _, root := range []string{"", "top"} {
		m, _, _, err := l.Open(ctx, request(t, t.TempDir(), st, fs, manifest.Selection{Path: root}))
		if err != nil {
			t.Fatal(err)
		}
		prefix := ""
		if root != "" {
			prefix = root + "/"
		}
		find(t, m, prefix, names(t, m), absent)
	}
	one := names(t, openOne(t, request(t, t.TempDir(), st, fs, manifest.Selection{})))[0]
	m := openOne(t, request(t, t.TempDir(), st, fs, manifest.Selection{Path: one}))
	f, err := m.NewFinder(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if i, ok, err := f.Find([]byte(one)); err != nil || !ok || i != 0 {
		t.Errorf("a path that is the only sample: %d, %v, %v", i, ok, err)
	}
	if _, ok, _ := f.Find([]byte("top")); ok {
		t.Error("a directory is a sample")
	}
}

func TestFindKeys(t *testing.T) {
	st := loadertest.New(t)
	d := kv.Open(st, kv.Options{})
	var keys []string
	for i := range 200 {
		for _, form := range []string{"d/%d", "d%d", "d/-%d", "/%d", "d//%d", "\xff%d", "d.%d/x"} {
			keys = append(keys, fmt.Sprintf(form, i))
		}
	}
	var ops []kv.Op
	for _, k := range keys {
		ops = append(ops, kv.Op{Kind: kv.OpPut, Key: []byte(k), Value: []byte("v")})
	}
	if _, err := d.Apply(ctx, object.RequestID{}, ops); err != nil {
		t.Fatal(err)
	}
	v, err := d.Head(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"", "d"} {
		m := openOne(t, manifest.Request{Dir: t.TempDir(), Store: st, Tree: manifest.TreeOf(v, root),
			Info: manifest.Info{Dataset: "p/kv", DatasetID: 9, Snapshot: "v1", Epoch: v.Epoch(), Selection: manifest.Selection{Path: root}}})
		find(t, m, map[string]string{"": "", "d": "d/"}[root], names(t, m), []string{"nope", "0", "zz", "/", ""})
	}
}

// TestPicker against a set and a list.
func TestPicker(t *testing.T) {
	rng := seeded(t)
	for _, ordered := range []bool{false, true} {
		for _, n := range []uint64{0, 1, 63, 64, 65, 10_000} {
			p, err := manifest.NewPicker(t.TempDir(), n, ordered)
			if err != nil {
				t.Fatal(err)
			}
			var want []uint64
			have := map[uint64]bool{}
			for range n / 2 {
				i := rng.Uint64N(n)
				fresh, err := p.Add(i)
				if err != nil || fresh == have[i] {
					t.Fatalf("sample %d is fresh: %v: %v", i, fresh, err)
				}
				if fresh {
					have[i], want = true, append(want, i)
				}
			}
			if _, err := p.Add(n); err == nil {
				t.Error("a sample that is not there")
			}
			if !ordered {
				slices.Sort(want)
			}
			for range 2 { // also a second time
				var got []uint64
				if err := p.Each(ctx, func(x []uint64) error { got = append(got, x...); return nil }); err != nil || !slices.Equal(got, want) || p.Len() != uint64(len(want)) {
					t.Fatalf("%d of %d samples, ordered %v: %v", len(got), len(want), ordered, err)
				}
			}
			slices.Sort(want)
			var got []uint64
			for i, ok := p.Next(0); ok; i, ok = p.Next(i + 1) {
				got = append(got, i)
			}
			if !slices.Equal(got, want) || p.Has(n) {
				t.Fatalf("Next gives %d of %d", len(got), len(want))
			}
			p.Close()
		}
	}
}
