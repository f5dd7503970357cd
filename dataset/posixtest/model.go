package posixtest

import (
	"hash/fnv"
	"slices"
	"sort"
	"strconv"
	"strings"

	"daos/dataset/posix"
	"daos/internal/fault"
)

func sum(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// model is a tree in memory: nodes and pointers, no epochs, nothing clever.
type model struct {
	root  *node
	trash []*node // removed recursively; their names count until they are reaped
}

type node struct {
	typ    posix.Type
	mode   uint32
	nlink  uint32
	data   string // or the target
	kids   map[string]*node
	xattrs map[string]string
}

func newNode(t posix.Type, mode uint32) *node {
	n := &node{typ: t, mode: mode, nlink: 1, xattrs: map[string]string{}}
	if t == posix.TypeDir {
		n.kids = map[string]*node{}
	}
	return n
}

func newModel() *model { return &model{root: newNode(posix.TypeDir, posix.DirMode)} }

// spot is a name in a directory; node is nil if there is none. dirs is the
// directories from the root to dir. For the root, dir is nil.
type spot struct {
	dir  *node
	name string
	node *node
	dirs []*node
}

func (m *model) walk(path string, follow, parents bool) (spot, error) {
	return m.from(strings.FieldsFunc(path, func(r rune) bool { return r == '/' }), follow, parents)
}

func (m *model) from(names []string, follow, parents bool) (spot, error) {
	type frame struct {
		n    *node
		name string
	}
	stack := []frame{{m.root, ""}}
	for hops := 0; len(names) > 0; {
		name := names[0]
		names = names[1:]
		top := stack[len(stack)-1].n
		if name == "." {
			continue
		}
		if name == ".." {
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		var dirs []*node
		for _, f := range stack {
			dirs = append(dirs, f.n)
		}
		kid := top.kids[name]
		if kid == nil {
			if len(names) == 0 {
				return spot{top, name, nil, dirs}, nil
			}
			if !parents {
				return spot{}, fault.NotFound
			}
			kid = newNode(posix.TypeDir, posix.DirMode)
			top.kids[name] = kid
		}
		if kid.typ == posix.TypeDir {
			stack = append(stack, frame{kid, name})
			continue
		}
		if kid.typ == posix.TypeSymlink && (follow || len(names) > 0) {
			if hops++; hops > posix.MaxLinks {
				return spot{}, fault.Invalid
			}
			if strings.HasPrefix(kid.data, "/") {
				stack = stack[:1]
			}
			names = append(strings.FieldsFunc(kid.data, func(r rune) bool { return r == '/' }), names...)
			continue
		}
		if len(names) > 0 {
			return spot{}, fault.NotDirectory
		}
		return spot{top, name, kid, dirs}, nil
	}
	if len(stack) == 1 {
		return spot{node: m.root}, nil
	}
	var dirs []*node
	for _, f := range stack[:len(stack)-1] {
		dirs = append(dirs, f.n)
	}
	return spot{dirs[len(dirs)-1], stack[len(stack)-1].name, stack[len(stack)-1].n, dirs}, nil
}

func (m *model) find(path string, follow bool) (spot, error) {
	s, err := m.walk(path, follow, false)
	if err == nil && s.node == nil {
		err = fault.NotFound
	}
	return s, err
}

// clone copies the tree, so that a failed call can be undone.
func (m *model) clone() *model {
	seen := map[*node]*node{}
	var cp func(n *node) *node
	cp = func(n *node) *node {
		if c := seen[n]; c != nil {
			return c
		}
		c := *n
		seen[n] = &c
		c.xattrs = map[string]string{}
		for k, v := range n.xattrs {
			c.xattrs[k] = v
		}
		if n.kids != nil {
			c.kids = map[string]*node{}
			for k, v := range n.kids {
				c.kids[k] = cp(v)
			}
		}
		return &c
	}
	out := &model{root: cp(m.root)}
	for _, n := range m.trash {
		out.trash = append(out.trash, cp(n))
	}
	return out
}

func (m *model) dump() map[string]string {
	out := map[string]string{}
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		for name, k := range n.kids {
			sub := name
			if path != "" {
				sub = path + "/" + name
			}
			var names []string
			for x := range k.xattrs {
				names = append(names, x)
			}
			sort.Strings(names)
			xs := ""
			for _, x := range names {
				xs += " " + x + "=" + strconv.Quote(k.xattrs[x])
			}
			out[sub] = describe(k.typ, k.mode, k.nlink, k.data, xs)
			walk(k, sub)
		}
	}
	walk(m.root, "")
	return out
}

// call is one mutation, as data: it can be applied to a tree and to a model.
type call struct {
	op         string
	path, to   string
	third      string // path of the import's link
	a, b       bool   // the call's two flags
	off        uint64
	data       string
	mode       uint32
	inodeFirst bool // name the file by inode number
}

// apply does c to the model. Failed calls change nothing.
func (m *model) apply(c call) (size uint64, off uint64, err error) {
	saved := *m
	*m = *m.clone()
	size, off, err = m.do(c)
	if err != nil {
		*m = saved
	}
	return size, off, err
}

func (m *model) do(c call) (size, off uint64, err error) {
	switch c.op {
	case "mkdir":
		s, err := m.walk(c.path, false, c.a)
		if err != nil {
			return 0, 0, err
		}
		if s.node != nil {
			if c.a && s.node.typ == posix.TypeSymlink {
				if s, err = m.find(c.path, true); err != nil {
					return 0, 0, err
				}
			}
			if !c.a || s.node.typ != posix.TypeDir {
				return 0, 0, fault.Exists
			}
			return 0, 0, nil
		}
		s.dir.kids[s.name] = newNode(posix.TypeDir, posix.DirMode)
	case "create": // a: exclusive, b: truncate
		s, err := m.walk(c.path, !c.a, false)
		if err != nil {
			return 0, 0, err
		}
		if s.node == nil {
			n := newNode(posix.TypeFile, posix.DefaultMode)
			n.data = c.data
			s.dir.kids[s.name] = n
			return uint64(len(c.data)), 0, nil
		}
		if c.a {
			return 0, 0, fault.Exists
		}
		if err := isFile(s.node); err != nil {
			return 0, 0, err
		}
		if c.b || c.data != "" {
			s.node.data = c.data
		}
		return uint64(len(s.node.data)), 0, nil
	case "write", "append":
		s, err := m.find(c.path, true)
		if err != nil {
			return 0, 0, err
		}
		if err := isFile(s.node); err != nil {
			return 0, 0, err
		}
		off := c.off
		if c.op == "append" {
			off = uint64(len(s.node.data))
		}
		if len(c.data) > 0 {
			b := []byte(s.node.data)
			if n := int(off) + len(c.data); n > len(b) {
				b = append(b, make([]byte, n-len(b))...)
			}
			copy(b[off:], c.data)
			s.node.data = string(b)
		}
		return uint64(len(s.node.data)), off, nil
	case "truncate":
		s, err := m.find(c.path, true)
		if err != nil {
			return 0, 0, err
		}
		if err := isFile(s.node); err != nil {
			return 0, 0, err
		}
		b := []byte(s.node.data)
		if int(c.off) > len(b) {
			b = append(b, make([]byte, int(c.off)-len(b))...)
		}
		s.node.data = string(b[:c.off])
	case "rename":
		return 0, 0, m.rename(c)
	case "remove": // a: recursive, b: directory
		s, err := m.find(c.path, false)
		switch {
		case err != nil:
			return 0, 0, err
		case s.dir == nil:
			return 0, 0, fault.Invalid
		case s.node.typ != posix.TypeDir && c.b:
			return 0, 0, fault.NotDirectory
		case s.node.typ == posix.TypeDir && len(s.node.kids) > 0 && !c.a:
			return 0, 0, fault.NotEmpty
		}
		if len(s.node.kids) > 0 {
			m.trash = append(m.trash, s.node)
		}
		s.dir.forget(s.name)
	case "import": // a: overwrite; path a file, to a directory, path2 a link
		return 0, 0, m.imports(c)
	case "publish": // a: exclusive, b: parents
		s, err := m.walk(c.path, !c.a, c.b)
		if err != nil {
			return 0, 0, err
		}
		if s.node != nil {
			if c.a {
				return 0, 0, fault.Exists
			}
			if err := isFile(s.node); err != nil {
				return 0, 0, err
			}
			s.dir.forget(s.name)
		}
		n := newNode(posix.TypeFile, posix.DefaultMode)
		n.data = c.data
		s.dir.kids[s.name] = n
		return uint64(len(c.data)), 0, nil
	case "reap":
		for _, n := range m.trash {
			n.reap()
		}
		m.trash = nil
	case "link":
		s, err := m.find(c.path, false)
		if err != nil {
			return 0, 0, err
		}
		if s.node.typ == posix.TypeDir {
			return 0, 0, fault.IsDirectory
		}
		to, err := m.walk(c.to, false, false)
		if err != nil {
			return 0, 0, err
		}
		if to.node != nil {
			return 0, 0, fault.Exists
		}
		s.node.nlink++
		to.dir.kids[to.name] = s.node
	case "symlink":
		s, err := m.walk(c.path, false, false)
		if err != nil {
			return 0, 0, err
		}
		if s.node != nil {
			return 0, 0, fault.Exists
		}
		n := newNode(posix.TypeSymlink, 0o777)
		n.data = c.to
		s.dir.kids[s.name] = n
	case "chmod":
		s, err := m.find(c.path, true)
		if err != nil {
			return 0, 0, err
		}
		s.node.mode = c.mode
	case "setxattr": // a: exclusive, b: remove
		s, err := m.find(c.path, true)
		if err != nil {
			return 0, 0, err
		}
		_, have := s.node.xattrs[c.to]
		switch {
		case c.b && !have:
			return 0, 0, fault.NotFound
		case c.b:
			delete(s.node.xattrs, c.to)
		case c.a && have:
			return 0, 0, fault.Exists
		default:
			s.node.xattrs[c.to] = c.data
		}
	}
	return 0, 0, nil
}

func isFile(n *node) error {
	switch n.typ {
	case posix.TypeFile:
		return nil
	case posix.TypeDir:
		return fault.IsDirectory
	}
	return fault.Invalid
}

// imports does an import: entries one by one, but names that are in the way
// are told only when nothing else is wrong.
func (m *model) imports(c call) error {
	type key struct {
		dir  *node
		name string
	}
	made := map[key]bool{}
	inTheWay := false
	for _, e := range c.entries() {
		if e.Type == posix.TypeDir {
			s, err := m.walk(e.Path, false, true)
			if err != nil {
				return err
			}
			if s.node == nil {
				s.dir.kids[s.name] = newNode(posix.TypeDir, posix.DirMode)
				continue
			}
			if s.node.typ == posix.TypeSymlink {
				if s, err = m.find(e.Path, true); err != nil {
					return err
				}
			}
			if s.node.typ != posix.TypeDir {
				return fault.Exists
			}
			continue
		}
		dir, name := m.root, e.Path
		if i := strings.LastIndexByte(e.Path, '/'); i >= 0 {
			s, err := m.walk(e.Path[:i], true, true)
			if err != nil {
				return err
			}
			if s.node == nil {
				s.node = newNode(posix.TypeDir, posix.DirMode)
				s.dir.kids[s.name] = s.node
			}
			if s.node.typ != posix.TypeDir {
				return fault.NotDirectory
			}
			dir, name = s.node, e.Path[i+1:]
		}
		if made[key{dir, name}] {
			return fault.Exists
		}
		made[key{dir, name}] = true
		if old := dir.kids[name]; old != nil {
			if !c.a {
				inTheWay = true
			} else if old.typ == posix.TypeDir {
				return fault.IsDirectory
			}
			dir.forget(name)
		}
		n := newNode(e.Type, posix.DefaultMode)
		n.data = string(e.Content)
		if e.Type == posix.TypeSymlink {
			n.data, n.mode = e.Target, 0o777
		}
		dir.kids[name] = n
	}
	if inTheWay {
		return fault.Exists
	}
	return nil
}

// reap takes from all below n the names that they have there.
func (n *node) reap() {
	for _, k := range n.kids {
		k.nlink--
		k.reap()
	}
}

// forget removes a name.
func (n *node) forget(name string) {
	k := n.kids[name]
	delete(n.kids, name)
	k.nlink--
}

func (m *model) rename(c call) error {
	from, err := m.find(c.path, false)
	if err != nil {
		return err
	}
	to, err := m.walk(c.to, false, false)
	if err != nil {
		return err
	}
	if from.dir == nil || to.dir == nil {
		return fault.Invalid
	}
	if slices.Contains(to.dirs, from.node) {
		return fault.Invalid
	}
	if to.node != nil {
		fromDir, toDir := from.node.typ == posix.TypeDir, to.node.typ == posix.TypeDir
		switch {
		case c.a:
			return fault.Exists
		case to.node == from.node:
			return nil
		case fromDir && !toDir:
			return fault.NotDirectory
		case !fromDir && toDir:
			return fault.IsDirectory
		case toDir && len(to.node.kids) > 0:
			return fault.NotEmpty
		}
		to.dir.forget(to.name)
	}
	delete(from.dir.kids, from.name)
	to.dir.kids[to.name] = from.node
	return nil
}
