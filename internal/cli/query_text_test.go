package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"daos/dataset/tensor"
	arrayv1 "daos/proto/gen/daos/array/v1"
	"daos/query/sql"
)

func TestCutStatement(t *testing.T) {
	for in, want := range map[string]string{
		"select 1; select 2":                  "select 1",
		"select ';', \";\" from x; rest":      "select ';', \";\" from x",
		"select 'it''s; so' ; x":              "select 'it''s; so' ",
		"select 1 -- a; b\n, 2; x":            "select 1 -- a; b\n, 2",
		"select /* ; */ 1; x":                 "select /* ; */ 1",
		"select $$;$$, $a$ $$ ; $a$, $1; x":   "select $$;$$, $a$ $$ ; $a$, $1",
		"select $name, $other from t; y":      "select $name, $other from t",
		"select 1":                            "",
		"select 'open; text":                  "",
		"select \"open; name":                 "",
		"select 1 /* open; comment":           "",
		"select 1 -- to the end of the line;": "",
	} {
		got, _, whole := cutStatement(in)
		if whole != (want != "") || whole && got != want {
			t.Errorf("%q: %q, %v", in, got, whole)
		}
	}
}

// Whatever is typed, nothing of it is lost or doubled.
func TestPiecesAreTheText(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	bits := []string{"'", `"`, "$$", "$a$", "$1", "--", "/*", "*/", "\n", ";", " ", "a", "é", "\xff", "select", "."}
	for range 5000 {
		var b strings.Builder
		for range rng.IntN(12) {
			b.WriteString(bits[rng.IntN(len(bits))])
		}
		s, back := b.String(), ""
		for _, p := range pieces(s) {
			back += p.text
		}
		if back != s {
			t.Fatalf("%q became %q", s, back)
		}
		if one, rest, whole := cutStatement(s); whole && one+";"+rest != s || !whole && one != s {
			t.Fatalf("%q was cut into %q and %q", s, one, rest)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"select 1\n  -- why\n, 2": "select 1 , 2",
		"  a\tb /* c */ ":         "a b",
		"select ' a  b'":          "select ' a  b'",
	} {
		if got, ok := oneLine(in); got != want || !ok {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
	for _, in := range []string{"select 'a\nb'", "select \xff"} {
		if got, ok := oneLine(in); ok {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestKeywordsAreSorted(t *testing.T) {
	if !slices.IsSorted(sql.Keywords()) || !slices.IsSorted(sqlFunctions()) {
		t.Error("they are searched by halves")
	}
}

func TestComplete(t *testing.T) {
	c := &completer{ask: lookups{
		addresses: func(word string) []string {
			switch {
			case strings.HasPrefix(word, "p/train@"):
				return []string{"p/train@v1", "p/train@v2"}
			case strings.HasPrefix(word, "p/"):
				return []string{"p/pairs", "p/train"}
			}
			return []string{"p/"}
		},
		columns: func(address string) []string {
			if strings.HasPrefix(address, "p/train") {
				return []string{"label", "quality", "odd name", "_id"}
			}
			return nil
		},
		snapshots: func(dataset string) []string {
			if dataset == "p/train" {
				return []string{"v1", "v2", "w"}
			}
			return nil
		},
	}}
	// | is the place, what is behind ; was typed in earlier lines.
	for in, want := range map[string]string{
		`.t|`:                                `|.tables .timing|`,
		`.format n|`:                         `.format |ndjson npy|`,
		`.timing |`:                          `.timing |on off|`,
		`.schema p/tr|`:                      `.schema |p/train|`,
		`.schema "p/tr|`:                     `.schema "|p/train|`,
		`select * from "|`:                   `select * from "|p/|`,
		`select * from "p/|`:                 `select * from "|p/pairs p/train|`,
		`select * from "p/train@|`:           `select * from "|p/train@v1 p/train@v2|`,
		`select * from "p/train" where qu|`:  `select * from "p/train" where |quality quantile( quantile_cont( qualify|`,
		`select * from "p/train" where qua|`: `select * from "p/train" where |quality|`,
		`select qual| from "p/train@v1"`:     `select |quality| from "p/train@v1"`,
		`select t.| from "p/train" as t`:     `select |t.label t.quality t."odd name" t._id| from "p/train" as t`,
		`select "od| from "p/train"`:         `select "|odd name"| from "p/train"`,
		`select x.| from "p/train" as t`:     `select || from "p/train" as t`,
		`FROM "p/train" GRO|`:                `FROM "p/train" |GROUP|`,
		`from "p/train" gro|`:                `from "p/train" |group|`,
		`select * from fi|`:                  `select * from |files('|`,
		`from sys.da|`:                       `from |sys.datasets|`,
		`select * from files('p/tr|`:         `select * from files('|p/train|`,
		`select * from chunks( 'p/train@|`:   `select * from chunks( '|p/train@v1 p/train@v2|`,
		`select medi|`:                       `select |median(|`,
		`select 'p/tr|`:                      `select 'p/tr||`,
		`select 1 -- fro|`:                   `select 1 -- fro||`,
		`from "p/train" at (version => '|`:   `from "p/train" at (version => '|v1 v2 w|`,
		`from "p/train" AT (VERSION=>'w|`:    `from "p/train" AT (VERSION=>'|w'|`,
		`where lab|;from "p/train"`:          `where |label|`,
		`é = lab|;from "p/train"`:            `é = |label|`,
	} {
		text, pending, _ := strings.Cut(in, ";")
		before, after, _ := strings.Cut(text, "|")
		head, words, tail := c.complete(pending, before+after, len([]rune(before)))
		if got := head + "|" + strings.Join(words, " ") + "|" + tail; got != want {
			t.Errorf("%s\n gives %s\n  not  %s", in, got, want)
		}
	}
	if _, words, _ := c.complete("", "select * from ", 14); words[0] != `"p/` || !slices.Contains(words, "files('") || !slices.Contains(words, "sys.queries") {
		t.Errorf("tables: %q", words)
	}
	// An address that is whole gets its quote.
	c.ask.addresses = func(string) []string { return []string{"p/train@v1"} }
	if _, words, _ := c.complete("", `from "p/train@v1`, 16); len(words) != 1 || words[0] != `p/train@v1"` {
		t.Errorf("%q", words)
	}
}

func TestHistory(t *testing.T) {
	dir := t.TempDir()
	env := func(k string) string { return map[string]string{"XDG_STATE_HOME": dir}[k] }
	h, err := openHistory(env)
	if err != nil {
		t.Fatal(err)
	}
	for i := range historyMost + 5 {
		h.add(fmt.Sprintf("select %d;", i))
	}
	h.add(fmt.Sprintf("select %d;", historyMost+4)) // once more: one entry
	h.add("two\nlines")
	name := filepath.Join(dir, "daos", "query_history")
	if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st, err)
	}
	h, err = openHistory(env)
	if err != nil || len(h.lines) != historyLines || h.lines[historyLines-1] != fmt.Sprintf("select %d;", historyMost+4) {
		t.Fatalf("%d lines, %v", len(h.lines), err)
	}
	b, err := os.ReadFile(name)
	if err != nil || strings.Count(string(b), "\n") != historyLines {
		t.Errorf("the file was not cut: %d lines, %v", strings.Count(string(b), "\n"), err)
	}
	if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st, err)
	}
	// A folder that can't be made is a history that is not kept.
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := openHistory(func(string) string { return filepath.Join(dir, "file") }); err == nil || len(h.lines) != 0 {
		t.Errorf("%v, %v", h, err)
	} else {
		h.add("x")
	}
}

func TestCutSlice(t *testing.T) {
	for in, want := range map[string][2]string{
		"p/w/t2m[0:24, ::2, 5]": {"p/w/t2m", "0:24, ::2, 5"}, "p/w/t2m": {"p/w/t2m", ""}, "p/w/a[1]/b": {"p/w/a[1]/b", ""},
		"p/w/a[1]/b[ 2 ]": {"p/w/a[1]/b", "2"}, "p/t[]": {"p/t", ""}, "]": {"]", ""},
	} {
		if a, s := cutSlice(in); a != want[0] || s != want[1] {
			t.Errorf("%s: %q, %q", in, a, s)
		}
	}
}

// What numpy gives for the same text, by hand.
func TestParseSlice(t *testing.T) {
	shape := []uint64{10, 7, 3}
	for in, want := range map[string]string{
		"": "10,7,3", "...": "10,7,3", "0": "7,3", "-1,": "7,3", "0:4, ::3 ,2": "4,3", "..., -3": "10,7", "1,...,2": "7",
		"5:2": "0,7,3", ":, : , :": "10,7,3", "-4:-1": "3,7,3", "8:100, :1_0": "", "::99": "1,7,3", "1,2,0": "", "0,,1": "", ":,:,:,:": "",
		"10": "", "-11": "", "a:b": "", "1:2:3:4": "", "::0": "", "::-1": "", "0 :  4 : 2": "2,7,3", "99999999999999999999": "", ",": "",
	} {
		axes, kept, err := parseSlice(in, shape)
		if in == "1,2,0" {
			if err != nil || len(axes) != 3 || len(kept) != 0 {
				t.Errorf("%q: %v, %v", in, kept, err)
			}
			continue
		}
		if (err == nil) != (want != "") || err == nil && numbersText(kept) != want {
			t.Errorf("%q: %v, %v; want %s", in, kept, err, want)
		}
	}
	_, _, err := parseSlice("0:3, é:, 1", shape)
	if want := "slice: \"é:\" is not a slice\n  0:3, é:, 1\n       ^\n  write it as"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v", err)
	}
	_, _, err = parseSlice("0:3, :, 1, 2", shape)
	if err == nil || !strings.Contains(err.Error(), "\n             ^\n") {
		t.Errorf("%v", err)
	}
}

func TestPickElements(t *testing.T) {
	axes := []*arrayv1.Axis{{Start: 1, Count: 1}, {Start: 0, Count: 2, Step: 2}}
	got := pickElements([]uint64{2, 3}, axes)
	if !slices.Equal(got, []uint64{3, 5}) {
		t.Errorf("%v", got)
	}
	b := gatherElements([]byte{0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15}, 1, 2, 6, got)
	if !slices.Equal(b, []byte{3, 5, 13, 15}) {
		t.Errorf("%v", b)
	}
}

func TestFieldOf(t *testing.T) {
	for _, c := range []struct {
		c    tensor.Column
		want string
	}{
		{tensor.Column{DType: tensor.Float32, Shape: []uint64{3, 4}, Layout: tensor.Fixed}, "float32[3,4]"},
		{tensor.Column{DType: tensor.Int64, Layout: tensor.Fixed}, "int64"},
		{tensor.Column{DType: tensor.Int64, Layout: tensor.Ragged}, "int64[]"},
		{tensor.Column{DType: tensor.Uint8, Layout: tensor.String}, "text"},
		{tensor.Column{DType: tensor.Uint8, Layout: tensor.Bytes}, "bytes"},
	} {
		f := fieldOf(&c.c)
		if got := f.TypeName(); got != c.want {
			t.Errorf("%+v: %s", c.c, got)
		}
	}
}

func TestBehind(t *testing.T) {
	for in, want := range map[string]string{"a": "b", "run/": "run0", "a\xff": "b", "a\xff\xff": "b", "\xff": "", "\xfe": "\xff"} {
		if got := string(behind([]byte(in))); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
