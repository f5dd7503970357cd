package address_test

import (
	"strings"
	"testing"

	"daos/internal/address"
	"daos/internal/fault"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want address.Address
		str  string
	}{
		{"p/d", address.Address{Pool: "p", Dataset: "d"}, "p/d"},
		{"p/d/", address.Address{Pool: "p", Dataset: "d"}, "p/d"},
		{"daos://p/d@s1", address.Address{Pool: "p", Dataset: "d", Snapshot: "s1"}, "p/d@s1"},
		{"p/d@s//a///b/", address.Address{Pool: "p", Dataset: "d", Snapshot: "s", Path: "a/b"}, "p/d@s/a/b"},
		{"p/d/x@y", address.Address{Pool: "p", Dataset: "d", Path: "x@y"}, "p/d/x@y"},
		{"p/d/\xff\xfe", address.Address{Pool: "p", Dataset: "d", Path: "\xff\xfe"}, "p/d/\xff\xfe"},
		{"p/d/a://b", address.Address{Pool: "p", Dataset: "d", Path: "a:/b"}, "p/d/a:/b"},
	} {
		got, err := address.Parse(c.in)
		if err != nil || got != c.want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", c.in, got, err, c.want)
			continue
		}
		if got.String() != c.str || got.URL() != "daos://"+c.str {
			t.Errorf("String of %q = %q", c.in, got.String())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", "/", "p", "p/", "//d", "p/@s", "p/d@", "p/d@a@b", "p/.d", "-p/d", "p/d d", "s3://p/d", "daos://", "daos://p",
		"p/d/..", "p/d/a/../b", "p/d/./b", "p/d/a\x00b", "p/\xff", "ü/d",
		strings.Repeat("x", 128) + "/d",
	} {
		if a, err := address.Parse(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("Parse(%q) = %+v, %v; want Invalid", in, a, err)
		}
	}
	if _, err := address.Parse("p/d/" + strings.Repeat("x/", address.MaxPath)); !fault.Is(err, fault.TooBig) {
		t.Errorf("a huge path gives %v", err)
	}
	if _, err := address.ParseDataset("p/d/x"); !fault.Is(err, fault.Invalid) {
		t.Errorf("ParseDataset with a path gives %v", err)
	}
	if _, err := address.ParseLive("posix.write", "p/d@s"); !fault.Is(err, fault.ReadOnly) {
		t.Errorf("ParseLive with a snapshot gives %v", err)
	}
	if _, err := address.ParseSnapshot("p/d"); !fault.Is(err, fault.Invalid) {
		t.Errorf("ParseSnapshot without one gives %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"p/d", "daos://p/d@s/x/y", "p/d@s//..", "p//", "a/b@c@d/e", "\x00/\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := address.Parse(s)
		if err != nil {
			if !fault.Is(err, fault.Invalid, fault.TooBig) {
				t.Fatalf("Parse(%q): kind %v", s, fault.KindOf(err))
			}
			return
		}
		for _, form := range []string{a.String(), a.URL()} {
			b, err := address.Parse(form)
			if err != nil || b != a {
				t.Fatalf("Parse(%q) = %+v; its form %q gives %+v, %v", s, a, form, b, err)
			}
		}
		for part := range strings.SplitSeq(a.Path, "/") {
			if part == ".." || part == "." || part == "" && a.Path != "" || strings.IndexByte(part, 0) >= 0 {
				t.Fatalf("Parse(%q) let %q through", s, part)
			}
		}
	})
}
