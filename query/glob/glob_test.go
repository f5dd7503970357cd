package glob_test

import (
	"path"
	"strings"
	"testing"

	"daos/internal/fault"
	"daos/query/glob"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"*.png", "a.png", true}, {"*.png", ".png", true}, {"*.png", "a/b.png", false}, {"*.png", "a.png.txt", false},
		{"a*", "abc", true}, {"a*", "b", false}, {"abc", "abc", true}, {"abc", "abcd", false}, {"*", "x", true}, {"*", "a/b", false},
		{"?", "é", true}, {"?", "\xff", true}, {"??", "é", false}, {"a?c", "abc", true}, {"a?c", "a/c", false},
		{"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {"[!a-c]x", "dx", true}, {"[^a-c]x", "ax", false}, {"[]]", "]", true},
		{"[a-]", "-", true}, {"[é-ü]", "ö", true}, {`[\]]`, "]", true}, {`\*`, "*", true}, {`\*`, "x", false},
		{"**", "a/b/c", true}, {"**", "a", true}, {"**/x", "x", true}, {"**/x", "a/b/x", true}, {"**/x", "a/xx", false},
		{"a/**", "a/b", true}, {"a/**", "a/b/c", true}, {"a/**", "a", false}, {"a/**", "ab/c", false},
		{"a/**/b", "a/b", true}, {"a/**/b", "a/x/y/b", true}, {"a/**/b", "a/x/b/c", false}, {"a/**/b", "a/b/x/b", true},
		{"**/a/**/b", "x/a/y/b", true}, {"**/a/*/**", "a/b", false}, {"**/a/*/**", "a/b/c", true}, {"**/**/x", "x", true},
		{"**/*.png", "a.png", true}, {"**/*.png", "a/b.png", true}, {"*/*.png", "a.png", false}, {"a**b", "axxb", true}, {"a**b", "a/b", false},
		{"*a*a*a*b", strings.Repeat("a", 4000), false}, {"train/*/[0-9]*.jpg", "train/n01/42.jpg", true},
		{"\xff*", "\xff\xfe", true}, {"\xff", "\xfe", false},
	} {
		p, err := glob.Compile(c.pattern)
		if err != nil {
			t.Fatalf("%q: %v", c.pattern, err)
		}
		if got := p.Match([]byte(c.path)); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.path, got)
		}
	}
	for _, bad := range []string{"", "/a", "a//b", "[a", "[", "[z-a]", `a\`, `a\/b`, "a/", strings.Repeat("a", 5000)} {
		if _, err := glob.Compile(bad); !fault.Is(err, fault.Invalid, fault.TooBig) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzMatch checks: no panic, quoted text matches itself only, and on patterns
// that mean the same there, agreement with path.Match.
func FuzzMatch(f *testing.F) {
	f.Add("*.png", "a/b.png")
	f.Add("a/**/[!x-z]?", "a/b/c/dé")
	f.Add(`\[\*`, "\xff[")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if q, err := glob.Compile(glob.Quote(pattern)); err == nil {
			if !q.Match([]byte(pattern)) && !strings.Contains("/"+pattern+"/", "/**/") {
				t.Fatalf("quoted %q does not match itself", pattern)
			}
			if q.Match([]byte(name)) != (name == pattern) {
				t.Fatalf("quoted %q on %q", pattern, name)
			}
		}
		p, err := glob.Compile(pattern)
		if err != nil {
			return
		}
		got := p.Match([]byte(name))
		if strings.Contains(pattern, "**") || strings.ContainsAny(pattern, `[\`) || strings.ToValidUTF8(pattern+name, "") != pattern+name {
			return
		}
		if want, err := path.Match(pattern, name); err == nil && got != want {
			t.Fatalf("%q on %q: %v, path.Match says %v", pattern, name, got, want)
		}
	})
}
