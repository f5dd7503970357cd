package cli

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Lines of the history that are offered, and at which the file is cut to them.
const (
	historyLines = 1000
	historyMost  = 3000
)

// history is what was typed in shells of this user, a line each. Shells that
// run side by side add to the same file.
type history struct {
	name  string // "": it is not kept
	lines []string
}

// stateDir is the user's folder for such things.
func stateDir(getenv func(string) string) string {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "daos")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "daos")
	}
	return ""
}

// openHistory reads the history. It is usable, and empty, with an error too.
func openHistory(getenv func(string) string) (*history, error) {
	h := &history{}
	dir := stateDir(getenv)
	if dir == "" {
		return h, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return h, err
	}
	name := filepath.Join(dir, "query_history")
	f, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return h, err
	}
	defer f.Close()
	h.name = name
	r := bufio.NewScanner(f)
	r.Buffer(nil, 2*maxStatement)
	all := 0
	for r.Scan() {
		if l := r.Text(); l != "" && utf8.ValidString(l) {
			all++
			h.lines = append(h.lines, l)
			if len(h.lines) > historyLines {
				h.lines = h.lines[1:]
			}
		}
	}
	if r.Err() == nil && all > historyMost {
		return h, h.rewrite()
	}
	return h, r.Err()
}

// rewrite cuts the file to the lines that are offered.
func (h *history) rewrite() error {
	tmp, err := os.CreateTemp(filepath.Dir(h.name), ".query_history-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(strings.Join(h.lines, "\n") + "\n")
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), h.name)
}

// add appends a line to the file; a history that can't be written is none.
func (h *history) add(line string) {
	if h.name == "" || strings.ContainsAny(line, "\r\n") || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	f, err := os.OpenFile(h.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		h.name = ""
		return
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		h.name = ""
	}
}
