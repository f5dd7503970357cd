package posix

import (
	"context"

	"daos/engine/object"
	"daos/internal/fault"
)

// Sample is one regular file met by Files.
type Sample struct {
	// Dir is the path of its directory below the root ("" is the root), Name its
	// name there. Dir is the same string value for all samples of a directory.
	Dir, Name string
	Attr      Attr
}

// Path is the sample's path below the root of the dataset.
func (s *Sample) Path() string {
	if s.Dir == "" {
		return s.Name
	}
	return s.Dir + "/" + s.Name
}

// page is how many entries of a directory are held at a time.
const page = 4096

// Files calls fn for each regular file below root, in the order of samples:
// depth first, in each directory all names in byte order, the files of a
// subdirectory at the place of its name. It is the same for any layout.
// Symbolic links are not followed and are no samples; a root that is a file is
// one sample. Memory is bounded by one page of entries a level. The Sample is
// valid during the call; its strings may be kept. An error of fn ends the walk
// and is returned.
func (v *View) Files(ctx context.Context, root string, fn func(*Sample) error) error {
	return v.FilesAndLinks(ctx, root, fn, func() {})
}

// FilesAndLinks is Files, and calls link for each symbolic link that it skips.
func (v *View) FilesAndLinks(ctx context.Context, root string, fn func(*Sample) error, link func()) error {
	p, err := v.find(ctx, root, true)
	if err != nil {
		return err
	}
	switch p.rec.typ {
	case TypeFile:
		names, err := Split(root)
		if err != nil {
			return err
		}
		s := Sample{Dir: join(names[:len(names)-1]), Name: names[len(names)-1], Attr: p.rec.attr()}
		return fn(&s)
	case TypeSymlink:
		return fault.New(fault.NotDirectory, "posix.files", show(root), "a symbolic link")
	}
	names, err := Split(root)
	if err != nil {
		return err
	}
	w := walker{v: v, fn: fn, link: link}
	return fault.Wrap(w.dir(ctx, p.rec.oid(), join(names), 0), "posix.files", show(root))
}

func join(names []string) string {
	s := ""
	for i, n := range names {
		if i > 0 {
			s += "/"
		}
		s += n
	}
	return s
}

// walker walks a tree. Pages of finished levels are used again.
type walker struct {
	v     *View
	fn    func(*Sample) error
	link  func()
	pages []*leaf
	s     Sample
}

// leaf is one page of a directory: records, and their names in one buffer.
type leaf struct {
	names []byte
	ends  []int
	recs  []record
}

// MaxDepth is how deep walks of a whole tree go. Renames can make a tree deeper
// than a path can tell.
const MaxDepth = 1 << 14

// MaxWalkPath is the longest path of a directory that a walk of samples goes
// into. It holds the paths of all levels: without a bound on their length a few
// thousand directories would fill the memory.
const MaxWalkPath = 64 << 10

func tooDeep(where string) error {
	return fault.New(fault.TooBig, "posix.walk", where, "nested deeper than %d directories", MaxDepth).Do("move the innermost of them up")
}

func (w *walker) dir(ctx context.Context, oid object.ID, path string, depth int) error {
	if depth > MaxDepth {
		return tooDeep("inode " + utoa(oid.Lo))
	}
	if depth == len(w.pages) {
		w.pages = append(w.pages, &leaf{})
	}
	pg := w.pages[depth]
	var after []byte
	for {
		if err := w.read(ctx, oid, after, pg); err != nil {
			return err
		}
		if len(pg.recs) == 0 {
			return nil
		}
		// One string for all names of the page.
		names := string(pg.names)
		full := len(pg.recs) == page
		from := 0
		for i := range pg.recs {
			rec := &pg.recs[i]
			name := names[from:pg.ends[i]]
			from = pg.ends[i]
			switch rec.typ {
			case TypeDir:
				sub := name
				if path != "" {
					sub = path + "/" + name
				}
				if len(sub) > MaxWalkPath {
					return fault.New(fault.TooBig, "posix.walk", "inode "+utoa(rec.oid().Lo), "the path of this directory has %d bytes, at most %d are allowed", len(sub), MaxWalkPath).
						Do("move the innermost of its parents up, or read the samples below another directory")
				}
				if err := w.dir(ctx, rec.oid(), sub, depth+1); err != nil {
					return err
				}
			case TypeSymlink:
				w.link()
			case TypeFile:
				if rec.linked() {
					in, err := w.v.inodeOf(ctx, rec.oid())
					if err != nil {
						return err
					}
					*rec = in
				}
				w.s = Sample{Dir: path, Name: name, Attr: rec.attr()}
				if err := w.fn(&w.s); err != nil {
					return err
				}
			}
			if i == len(pg.recs)-1 {
				after = append(after[:0], name...)
			}
		}
		if !full {
			return nil
		}
	}
}

func (w *walker) read(ctx context.Context, oid object.ID, after []byte, pg *leaf) error {
	pg.names, pg.ends, pg.recs = pg.names[:0], pg.ends[:0], pg.recs[:0]
	o := object.ListOptions{From: dkeyNames, Akey: akeyEntry, Limit: page}
	if after != nil {
		o.After = after
	}
	var bad error
	err := w.v.fs.store.List(ctx, w.v.at, oid, o, func(it object.Item) bool {
		rec, err := decodeRecord(it.Value, it.Epoch)
		if err != nil {
			bad = fault.Wrap(err, "posix.list", show(string(it.Dkey)))
			return false
		}
		pg.names = append(pg.names, it.Dkey...)
		pg.ends = append(pg.ends, len(pg.names))
		pg.recs = append(pg.recs, rec)
		return true
	})
	if err == nil {
		err = bad
	}
	return err
}
