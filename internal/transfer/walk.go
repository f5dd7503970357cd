package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sort"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"daos/internal/fault"
)

// localDir is an open directory of the source. Everything in it is reached by
// its descriptor and a single name, never through a path, so that no symbolic
// link, old or new, leads anywhere else. The last reference closes it.
type localDir struct {
	fd     int
	dest   string    // its path in the dataset
	parent *localDir // nil for the root of the source
	mode   uint32
	mtime  int64
	refs   atomic.Int32
	// there are the entries that the dataset has in dest already; nil: none.
	there map[string]existing
}

func (d *localDir) ref() *localDir { d.refs.Add(1); return d }

func (d *localDir) unref() {
	if d.refs.Add(-1) == 0 {
		_ = unix.Close(d.fd) // opened for reading
		if d.parent != nil {
			d.parent.unref()
		}
	}
}

// chunk is a number of names of one directory, for one worker.
type chunk struct {
	dir   *localDir
	names []localName
}

type localName struct {
	name string
	typ  os.FileMode // the type bits that readdir told
}

// chunkNames is how many names a worker takes at a time.
const chunkNames = 256

// walker sends every directory of the source, cut into chunks. Parents come
// before children; a chunk without names announces a directory.
type walker struct {
	p     *Progress
	there func(ctx context.Context, dest string) (map[string]existing, error)
	out   chan<- chunk
}

func openSource(path string) (*localDir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.ENOTDIR) {
			return nil, fault.New(fault.NotDirectory, "import", path, "this is a file, and import takes a folder").Do("use `daos fs put %s POOL/DATASET/PATH`", path)
		}
		return nil, fault.New(fault.KindOf(err), "import", path, "the folder can't be opened").Because(err)
	}
	d := &localDir{fd: fd}
	return d, d.stat()
}

func (d *localDir) stat() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return fault.New(fault.Internal, "import", d.dest, "no fstat of an open folder").Because(err)
	}
	d.mode, d.mtime = st.Mode&0o7777, st.Mtim.Nano()
	return nil
}

// walk goes depth first. It owns one reference to d and gives it away.
func (w *walker) walk(ctx context.Context, d *localDir) error {
	defer d.unref()
	names, err := readNames(d.fd)
	if err != nil {
		w.p.Failed.Add(1)
		w.p.note("%s: the folder can't be read: %v", d.dest, err)
		return nil
	}
	if err := w.send(ctx, chunk{dir: d}); err != nil {
		return err
	}
	var dirs []string
	var batch []localName
	for _, n := range names {
		if n.typ.IsDir() {
			dirs = append(dirs, n.name)
			continue
		}
		batch = append(batch, n)
		if len(batch) == chunkNames {
			if err := w.send(ctx, chunk{dir: d, names: batch}); err != nil {
				return err
			}
			batch = nil
		}
	}
	if len(batch) > 0 {
		if err := w.send(ctx, chunk{dir: d, names: batch}); err != nil {
			return err
		}
	}
	for _, name := range dirs {
		sub, err := w.enter(ctx, d, name)
		if err != nil {
			return err
		}
		if sub != nil {
			if err := w.walk(ctx, sub); err != nil {
				return err
			}
		}
	}
	return nil
}

// enter opens a subdirectory; nil if it can't be read, which is noted.
func (w *walker) enter(ctx context.Context, d *localDir, name string) (*localDir, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		w.p.Failed.Add(1)
		w.p.note("%s: the folder can't be opened: %v", join(d.dest, name), err)
		return nil, nil
	}
	sub := &localDir{fd: fd, dest: join(d.dest, name), parent: d.ref()}
	sub.refs.Store(1)
	if err := sub.stat(); err != nil {
		sub.unref()
		return nil, err
	}
	if e, ok := d.there[name]; ok && e.dir {
		if sub.there, err = w.there(ctx, sub.dest); err != nil {
			sub.unref()
			return nil, err
		}
	}
	return sub, nil
}

func (w *walker) send(ctx context.Context, c chunk) error {
	c.dir.ref()
	select {
	case w.out <- c:
		return nil
	case <-ctx.Done():
		c.dir.unref()
		return ctx.Err()
	}
}

// readNames lists a directory in byte order, from a descriptor of its own so
// that d's position is not touched.
func readNames(fd int) ([]localName, error) {
	own, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(own), ".")
	defer f.Close()
	var names []localName
	for {
		part, err := f.ReadDir(4096)
		for _, e := range part {
			names = append(names, localName{e.Name(), e.Type()})
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	sort.Slice(names, func(i, j int) bool { return names[i].name < names[j].name })
	return names, nil
}

// count is the number of entries below fd, for the progress bar: names only,
// no stat. It stops with ctx and never fails: an estimate is all it is.
func count(ctx context.Context, fd int, n *int64) {
	names, err := readNames(fd)
	if err != nil || ctx.Err() != nil {
		return
	}
	*n += int64(len(names))
	for _, e := range names {
		if e.typ.IsDir() {
			sub, err := unix.Openat(fd, e.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err == nil {
				count(ctx, sub, n)
				_ = unix.Close(sub) // opened for reading
			}
		}
	}
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// readLink reads a link's target whole.
func readLink(fd int, name string) ([]byte, error) {
	b := make([]byte, 4096)
	n, err := unix.Readlinkat(fd, name, b)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(b[:n]), nil
}
