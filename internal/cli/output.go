package cli

import (
	"encoding/json"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// printJSON writes v as one indented JSON value and a newline.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printJSONLine writes v as one line: the form of listings that stream.
func printJSONLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printable makes names safe for a terminal: control characters and bytes that
// are not UTF-8 are quoted as Go does (\n, \xff).
func printable(s string) string {
	clean := utf8.ValidString(s)
	if clean {
		for _, r := range s {
			if !unicode.IsPrint(r) {
				clean = false
				break
			}
		}
	}
	if clean {
		return s
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// width is the number of columns of a terminal; 0: no terminal, nothing is cut.
func width(w io.Writer, getenv func(string) string) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
		return n
	}
	return 80
}

// column of a table. Of those that may shrink the widest gives way on a narrow
// terminal, until others are as wide.
type column struct {
	head   string
	right  bool // numbers
	shrink bool
}

// leastWidth is what is left of a column that shrinks.
const leastWidth = 8

// table prints rows under heads, columns two spaces apart, fitted to width
// (0: as wide as needed). A table without rows prints empty instead.
type table struct {
	columns []column
	rows    [][]string
	empty   string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer, fit int) error {
	if len(t.rows) == 0 {
		_, err := io.WriteString(w, t.empty+"\n")
		return err
	}
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = utf8.RuneCountInString(c.head)
	}
	for _, r := range t.rows {
		for i, cell := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	total := 2 * (len(widths) - 1)
	for _, n := range widths {
		total += n
	}
	for ; fit > 0 && total > fit; total-- {
		widest := -1
		for i, c := range t.columns {
			if c.shrink && widths[i] > leastWidth && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	var b strings.Builder
	line := func(cells []string) {
		for i, cell := range cells {
			if i > 0 {
				b.WriteString("  ")
			}
			cell = clipMiddle(cell, widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case t.columns[i].right:
				b.WriteString(pad + cell)
			case i == len(cells)-1:
				b.WriteString(cell)
			default:
				b.WriteString(cell + pad)
			}
		}
		b.WriteByte('\n')
	}
	heads := make([]string, len(t.columns))
	for i, c := range t.columns {
		heads[i] = c.head
	}
	line(heads)
	for _, r := range t.rows {
		line(r)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// clipMiddle shortens s to n runes and keeps both ends, which tell paths apart.
func clipMiddle(s string, n int) string {
	r := []rune(s)
	if len(r) <= n || n < 3 {
		return s
	}
	head := (n - 1) / 2
	return string(r[:head]) + "…" + string(r[len(r)-(n-1-head):])
}

// fields prints "name:  value" lines, aligned.
func fields(w io.Writer, pairs ...string) error {
	n := 0
	for i := 0; i < len(pairs); i += 2 {
		n = max(n, len(pairs[i]))
	}
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString(pairs[i] + ":" + strings.Repeat(" ", n-len(pairs[i])+2) + pairs[i+1] + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
