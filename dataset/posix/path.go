package posix

import (
	"strconv"
	"strings"

	"daos/internal/fault"
)

// CheckName refuses what can't be the name of an entry.
func CheckName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fault.New(fault.Invalid, "posix.name", show(name), "not a name").Do("use 1 to %d bytes without '/' and NUL, and not '.' or '..'", MaxName)
	case len(name) > MaxName:
		return fault.New(fault.Invalid, "posix.name", show(name[:32])+"...", "a name of %d bytes, at most %d are allowed", len(name), MaxName)
	case strings.IndexByte(name, 0) >= 0 || strings.IndexByte(name, '/') >= 0:
		return fault.New(fault.Invalid, "posix.name", show(name), "NUL or '/' in a name")
	}
	return nil
}

// Split cuts a path into names. A leading, trailing or doubled '/' counts for
// nothing; "" and "/" are the root. '.' and '..' are refused: a path never
// climbs.
func Split(path string) ([]string, error) {
	if len(path) > MaxPath {
		return nil, fault.New(fault.Invalid, "posix.path", show(path[:32])+"...", "a path of %d bytes, at most %d are allowed", len(path), MaxPath)
	}
	names := fields(path)
	for _, n := range names {
		if err := CheckName(n); err != nil {
			return nil, fault.New(fault.Invalid, "posix.path", show(path), "%q is not a name", n).
				Do("use names of 1 to %d bytes without NUL, and neither '.' nor '..'", MaxName)
		}
	}
	return names, nil
}

func fields(path string) []string {
	names := make([]string, 0, strings.Count(path, "/")+1)
	for rest := path; rest != ""; {
		var n string
		n, rest, _ = strings.Cut(rest, "/")
		if n != "" {
			names = append(names, n)
		}
	}
	return names
}

// show renders a path for errors: as it is if it can be printed.
func show(path string) string {
	if path == "" {
		return "/"
	}
	q := strconv.Quote(path)
	if q[1:len(q)-1] == path {
		return path
	}
	return q
}

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }
