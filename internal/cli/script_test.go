package cli_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the expected output of testdata/script anew")

// What differs from run to run, and what stands for it in the scripts.
var volatile = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+ [+-]\d{4})?`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\b[0-9]{18,19}\b`), "EPOCH"},
	{regexp.MustCompile(`\b(in|answered in) [0-9.]+(ns|µs|ms|s|m[0-9.]+s)`), "$1 T"},
	{regexp.MustCompile(`[0-9.,]+ (files|samples|entries)/s`), "N $1/s"},
	{regexp.MustCompile(`[0-9.,]+ ([KMG]iB|B)/s`), "N B/s"},
	{regexp.MustCompile(`("(?:files_per_second|bytes_per_second|seconds|uptime_seconds)": ?)[0-9.e+-]+`), "${1}N"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "TOKEN"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "MANIFEST"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "KEY"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`process \d+`), "process PID"},
	{regexp.MustCompile(`/\S*/dw\d+`), "WORLD"},
	{regexp.MustCompile(`up: +[0-9hms]+`), "up: T"},
	{regexp.MustCompile(`uid:\d+`), "uid:N"},
	{regexp.MustCompile(` +TIME`), " TIME"}, // widths follow what was replaced
	{regexp.MustCompile(` +EPOCH`), " EPOCH"},
	{regexp.MustCompile(`(EPOCH|SNAPSHOT) +(CREATED|EPOCH)`), "$1 $2"},
	{regexp.MustCompile(`(used:|USED|QUOTA) +CREATED`), "$1 CREATED"},
	{regexp.MustCompile(`inode: +\d+`), "inode: N"},
	{regexp.MustCompile(`("(?:inode|used_bytes|records)": ?)\d+`), "${1}N"},
	{regexp.MustCompile(`pid \d+`), "pid PID"},
	{regexp.MustCompile(` +[0-9.]+ (?:[KMG]i)?B +(none|[0-9.]+ [KMG]iB) TIME`), " USED $1 TIME"},
	{regexp.MustCompile(` +USED +QUOTA CREATED`), " USED QUOTA CREATED"},
	{regexp.MustCompile(`(used|versions kept):( +).*`), "$1:${2}N"},
}

func steady(s string) string {
	for _, v := range volatile {
		s = v.re.ReplaceAllString(s, v.to)
	}
	return s
}

// TestScripts runs each testdata/script/*.txt in a world of its own with a
// server. A script is lines of shell that begin with "$ ", each followed by
// what it prints (standard error behind standard output) and, unless it is 0,
// its exit status in brackets. -update writes that anew: review the diff.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			w.serve()
			got := runScript(w, string(b))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(b) {
				t.Errorf("%s: the output is another one (-update shows the diff in git):\n%s", file, diff(string(b), got))
			}
		})
	}
}

func runScript(w *world, script string) string {
	var out strings.Builder
	for line := range strings.SplitSeq(script, "\n") {
		switch {
		case strings.HasPrefix(line, "# "):
			out.WriteString(line + "\n")
		case strings.HasPrefix(line, "$ "):
			out.WriteString(line + "\n")
			r := w.sh(line[2:])
			out.WriteString(steady(r.stdout + r.stderr))
			if r.code != 0 {
				out.WriteString("[exit " + strconv.Itoa(r.code) + "]\n")
			}
			out.WriteString("\n")
		}
	}
	return out.String()
}

// diff shows the lines that differ, with the line before each.
func diff(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out strings.Builder
	for i := 0; i < len(a) || i < len(b); i++ {
		x, y := "", ""
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			out.WriteString("- " + x + "\n+ " + y + "\n")
			if out.Len() > 4000 {
				out.WriteString("...\n")
				break
			}
		}
	}
	return out.String()
}
