// Package address is the one grammar by which everything is named, in the
// command line, in Python, in Flight paths and in SQL:
//
//	POOL/DATASET[@SNAPSHOT][/PATH]
//	daos://POOL/DATASET[@SNAPSHOT][/PATH]
//
// It parses, checks and prints; it knows no server and resolves nothing.
// docs/protocol.md has the rules. Start with Parse.
package address

import (
	"strings"

	"daos/internal/fault"
)

// Scheme begins the URL form.
const Scheme = "daos://"

// MaxName is the largest length of the name of a pool, dataset or snapshot.
const MaxName = 127

// MaxPath is the largest length of a path in bytes.
const MaxPath = 32 << 10

// Address names a dataset, perhaps at a snapshot, perhaps a path inside it.
type Address struct {
	Pool     string
	Dataset  string
	Snapshot string // empty: the live dataset
	Path     string // bytes, canonical: components joined by one '/', empty for the root
}

// Parse reads an address in either form. The path is made canonical: leading,
// trailing and doubled '/' count for nothing.
func Parse(s string) (Address, error) {
	a, err := parse(s)
	if err != nil {
		return Address{}, err
	}
	return a, nil
}

// ParseDataset is Parse for an address that must not have a path.
func ParseDataset(s string) (Address, error) {
	a, err := parse(s)
	if err != nil {
		return Address{}, err
	}
	if a.Path != "" {
		return Address{}, invalid(s, "a path is not allowed here").Do("name the dataset alone: %s", a.DatasetName())
	}
	return a, nil
}

// ParseLive is ParseDataset for an address that must not have a snapshot: that
// of a call that writes. op is the operation, for the error.
func ParseLive(op, s string) (Address, error) {
	a, err := ParseDataset(s)
	if err != nil {
		return Address{}, err
	}
	if a.Snapshot != "" {
		return Address{}, fault.New(fault.ReadOnly, op, a.String(), "a snapshot can't be written").
			Do("write to the live dataset %s", Address{Pool: a.Pool, Dataset: a.Dataset}.String())
	}
	return a, nil
}

// ParseSnapshot is ParseDataset for an address that must have a snapshot.
func ParseSnapshot(s string) (Address, error) {
	a, err := ParseDataset(s)
	if err != nil {
		return Address{}, err
	}
	if a.Snapshot == "" {
		return Address{}, invalid(s, "the snapshot is missing").Do("write %s@SNAPSHOT", a.String())
	}
	return a, nil
}

func parse(s string) (Address, error) {
	rest := strings.TrimPrefix(s, Scheme)
	if rest == s {
		if i := strings.Index(s, "://"); i >= 0 && !strings.Contains(s[:i], "/") {
			return Address{}, invalid(s, "unknown scheme %q", s[:i]).Do("write POOL/DATASET[@SNAPSHOT][/PATH], with or without %s in front", Scheme)
		}
	}
	pool, rest, ok := strings.Cut(rest, "/")
	if !ok || rest == "" {
		if err := CheckName("pool", pool); err != nil {
			return Address{}, err
		}
		return Address{}, invalid(s, "the dataset is missing").Do("write POOL/DATASET[@SNAPSHOT][/PATH], such as %s/photos", pool)
	}
	name, path, _ := strings.Cut(rest, "/")
	dataset, snapshot, at := strings.Cut(name, "@")
	if err := CheckName("pool", pool); err != nil {
		return Address{}, err
	}
	if err := CheckName("dataset", dataset); err != nil {
		return Address{}, err
	}
	if at {
		if err := CheckName("snapshot", snapshot); err != nil {
			return Address{}, err
		}
	}
	clean, err := CleanPath(path)
	if err != nil {
		return Address{}, err
	}
	return Address{Pool: pool, Dataset: dataset, Snapshot: snapshot, Path: clean}, nil
}

// CleanPath makes a path canonical. A path that would climb out ("..", NUL) or
// has "." components is refused.
func CleanPath(path string) (string, error) {
	if len(path) > MaxPath {
		return "", fault.New(fault.TooBig, "address.path", clip(path), "the path has %d bytes, at most %d are allowed", len(path), MaxPath)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return "", invalid(path, "a path can't hold a NUL byte")
	}
	if path == "" {
		return "", nil
	}
	var b strings.Builder
	b.Grow(len(path))
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "":
			continue
		case ".", "..":
			return "", invalid(path, "a path can't have the component %q", part).Do("write the path from the root of the dataset, without . and ..")
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(part)
	}
	return b.String(), nil
}

// CheckName checks the name of a pool, dataset or snapshot; what says which.
func CheckName(what, name string) error {
	const rule = "use 1 to 127 characters of A-Z a-z 0-9 . _ - and don't begin with . or -"
	switch {
	case name == "":
		return fault.New(fault.Invalid, "address.name", what, "the name of a %s is empty", what).Do(rule)
	case len(name) > MaxName:
		return fault.New(fault.Invalid, "address.name", clip(name), "the name of a %s has %d characters, at most %d are allowed", what, len(name), MaxName).Do(rule)
	case name[0] == '.' || name[0] == '-':
		return fault.New(fault.Invalid, "address.name", name, "the name of a %s can't begin with %q", what, name[:1]).Do(rule)
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return fault.New(fault.Invalid, "address.name", clip(name), "the name of a %s can't contain %q", what, name[i:i+1]).Do(rule)
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// String is the short form, POOL/DATASET[@SNAPSHOT][/PATH].
func (a Address) String() string {
	s := a.DatasetName()
	if a.Path != "" {
		s += "/" + a.Path
	}
	return s
}

// DatasetName is the address without the path.
func (a Address) DatasetName() string {
	s := a.Pool + "/" + a.Dataset
	if a.Snapshot != "" {
		s += "@" + a.Snapshot
	}
	return s
}

// URL is the long form.
func (a Address) URL() string { return Scheme + a.String() }

// WithPath is a with another path, which must be canonical already.
func (a Address) WithPath(path string) Address { a.Path = path; return a }

// Live is a without its snapshot.
func (a Address) Live() Address { a.Snapshot = ""; return a }

func invalid(resource, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "address.parse", clip(resource), format, args...)
}

// clip keeps an error about a hostile name short.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}
