package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"daos/dataset/tensor"
	"daos/internal/fault"
	"daos/internal/near"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]uint64{
		"0": 0, "none": 0, "4096": 4096, "64KiB": 64 << 10, "64k": 64 << 10, "1.5GiB": 3 << 29, "50 GiB": 50 << 30, "7B": 7, "2TB": 2 << 40, "0.5K": 512,
	} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-1", "5Q", "GiB", "1e300", "99999999999999999999", "9999999PiB", "NaN", "1 2"} {
		if got, err := parseSize(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %d, %v; want an error", in, got, err)
		}
	}
}

func TestFormatSizeAndCount(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 50 << 30: "50 GiB", 1<<40 + 1: "1.0 TiB", 1 << 62: "4 EiB"} {
		if got := formatSize(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := formatCount(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"2026-01-31T15:04:05Z": time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC),
		"90m":                  now.Add(-90 * time.Minute),
		"7d":                   now.AddDate(0, 0, -7),
		"0.5d":                 now.Add(-12 * time.Hour),
	} {
		if got, err := parseTime(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "yesterday", "-5m", "2026-13-01", "d"} {
		if got, err := parseTime(in, now); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, %v; want an error", in, got, err)
		}
	}
}

func TestParseDepth(t *testing.T) {
	show := func(p *uint32) int {
		if p == nil {
			return -1
		}
		return int(*p)
	}
	for in, want := range map[string][2]int{"": {-1, -1}, "2": {2, 2}, "1-3": {1, 3}, "2-": {2, -1}, "-3": {-1, 3}} {
		lo, hi, err := parseDepth(in)
		if err != nil || show(lo) != want[0] || show(hi) != want[1] {
			t.Errorf("%q: %d to %d, %v; want %v", in, show(lo), show(hi), err, want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"import", "export", "ls", "rm", "ln", "photos", "Photos2", "training"}
	for in, want := range map[string]string{
		"imprt": "import", "improt": "import", "rn": "rm", "photo": "photos", "PHOTOS2": "Photos2", "trainnig": "training", "tr": "training", "zebra": "", "": "", "x": "",
	} {
		if got := near.Name(in, names); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestTable_FitsTheTerminal(t *testing.T) {
	tab := &table{columns: []column{{head: "NAME", shrink: true}, {head: "SIZE", right: true}}, empty: "nothing"}
	tab.row("a-very-long-name-that-does-not-fit-on-the-line", "10 B")
	tab.row("short", "1,000 KiB")
	for _, fit := range []int{0, 30, 24} {
		var b bytes.Buffer
		if err := tab.print(&b, fit); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(strings.TrimRight(b.String(), "\n"), "\n") {
			if n := len([]rune(line)); fit > 0 && n > fit {
				t.Errorf("width %d: %d columns in %q", fit, n, line)
			}
		}
		if fit == 0 && !strings.Contains(b.String(), "does-not-fit-on-the-line") {
			t.Error("cut although nothing is narrow")
		}
		if !strings.Contains(b.String(), "a-v") || !strings.Contains(b.String(), "line") {
			t.Errorf("both ends of a name stay: %q", b.String())
		}
	}
	var b bytes.Buffer
	b.Reset()
	two := &table{columns: []column{{head: "CONJUNCT", shrink: true}, {head: "N", right: true}, {head: "WHY", shrink: true}}}
	two.row("label = 3", "1", strings.Repeat("reasons ", 9)+"end")
	if err := two.print(&b, 40); err != nil || b.String() != "CONJUNCT   N  WHY\nlabel = 3  1  reasons reas…s reasons end\n" {
		t.Errorf("the widest column does not give way first: %v\n%s", err, b.String())
	}
	b.Reset()
	if err := two.print(&b, 20); err != nil || !strings.Contains(b.String(), "lab… = 3  1  rea… end\n") {
		t.Errorf("columns get narrower than they may: %v\n%s", err, b.String())
	}
	b.Reset()
	if err := (&table{empty: "nothing"}).print(&b, 0); err != nil || b.String() != "nothing\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "日本": "日本", "a\nb": `a\nb`, "\x1b[31m": `\x1b[31m`, "\xff": `\xff`, `q"q`: `q"q`} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestModeString(t *testing.T) {
	for mode, want := range map[uint32]string{0o755: "drwxr-xr-x", 0o1777: "drwxrwxrwt", 0o4755: "drwsr-xr-x", 0o2644: "drw-r-Sr--"} {
		if got := modeString("directory", mode); got != want {
			t.Errorf("%o: %s, want %s", mode, got, want)
		}
	}
}

func TestGauge(t *testing.T) {
	if got := gauge(5, 0); got != "5" {
		t.Errorf("without a total: %q", got)
	}
	for _, done := range []int64{0, 1, 50, 100} {
		if got := gauge(done, 100); !strings.HasPrefix(got, "[") || strings.Index(got, "]") != 25 {
			t.Errorf("%d of 100: %q", done, got)
		}
	}
}

func tree(t *testing.T) *cobra.Command {
	t.Helper()
	return newRoot(&app{getenv: os.Getenv, now: time.Now})
}

func visit(cmd *cobra.Command, fn func(*cobra.Command)) {
	fn(cmd)
	for _, c := range cmd.Commands() {
		visit(c, fn)
	}
}

// Every verb has a sentence and an example that begins with its own name.
func TestEveryVerbHasHelp(t *testing.T) {
	verbs := 0
	visit(tree(t), func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s: no sentence", c.CommandPath())
		}
		if c.HasSubCommands() || c.Hidden || c.Name() == "help" || c.HasParent() && c.Parent().Name() == "completion" {
			return
		}
		verbs++
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: no example of it", c.CommandPath())
		}
	})
	if verbs < 45 {
		t.Errorf("only %d verbs", verbs)
	}
}

func TestDocsAreFresh(t *testing.T) {
	var b bytes.Buffer
	if err := writeDocs(&b, tree(t)); err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, b.Bytes()) {
		t.Error("docs/cli.md is not what the commands say: make generate")
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var out, errs bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(string) string { return "" }, now: time.Now}
		if code := a.run(t.Context(), []string{"completion", shell}); code != 0 || out.Len() < 1000 {
			t.Errorf("%s: exit %d, %d bytes, %s", shell, code, out.Len(), errs.String())
		}
	}
}

func TestParseColumn(t *testing.T) {
	for _, in := range []string{"x:float32[3,224,224]", "y:int64", "w:int8[*]", "b:bytes", "s:string", "a:b:bool"} {
		c, err := parseColumn(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if back := c.Name + ":" + typeText(wireColumns([]tensor.Column{c})[0]); back != in {
			t.Errorf("%s came back as %s", in, back)
		}
	}
	for _, in := range []string{"", "x", "x:", ":int8", "x:int9", "x:int8[0]", "x:int8[-1]", "x:string[3]", "x:int8[3"} {
		if c, err := parseColumn(in); err == nil {
			t.Errorf("%s: %+v", in, c)
		}
	}
}
