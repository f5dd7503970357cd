package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"daos/internal/client"
	"daos/internal/fault"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// ExportOptions say what to copy where.
type ExportOptions struct {
	Dataset string // POOL/DATASET@SNAPSHOT: one state, however long it takes
	Under   string // directory in the dataset whose contents are copied
	Dest    string // local folder; made if it is missing
	// Overwrite copies also what is there with the same size and time.
	Overwrite bool
	// Workers copy files at the same time. 0: eight.
	Workers int
}

// Export copies a tree out of a dataset. Names are taken as single components
// inside Dest, through os.Root: neither a name nor a symbolic link that lies
// there leads out of it. Each file is written beside its place and renamed.
// When Export returns nil, everything is on disk.
func Export(ctx context.Context, c *client.Client, o ExportOptions, p *Progress) error {
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if err := os.MkdirAll(o.Dest, 0o755); err != nil {
		return fault.New(fault.KindOf(err), "export", o.Dest, "the folder can't be made").Because(err)
	}
	root, err := os.OpenRoot(o.Dest)
	if err != nil {
		return fault.New(fault.KindOf(err), "export", o.Dest, "the folder can't be opened").Because(err)
	}
	defer root.Close()
	ex := &exporter{c: c, o: o, p: p, root: root}
	top, err := openDest(root, ".", false)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Workers + 1)
	g.Go(func() error { return ex.walk(gctx, g, o.Under, "", top) })
	if err := g.Wait(); err != nil {
		return err
	}
	// Times of directories last: filling them changed them.
	for i := len(ex.dirs) - 1; i >= 0; i-- {
		d := ex.dirs[i]
		if err := errors.Join(root.Chmod(d.name, d.mode), root.Chtimes(d.name, time.Time{}, d.mtime)); err != nil {
			return fault.New(fault.KindOf(err), "export", d.name, "mode and time can't be set").Because(err)
		}
	}
	return ex.sync()
}

type exporter struct {
	c    *client.Client
	o    ExportOptions
	p    *Progress
	root *os.Root
	dirs []exportedDir // appended to by walk alone
	tmp  atomic.Int64
}

type exportedDir struct {
	name  string
	mode  os.FileMode
	mtime time.Time
}

// destDir is an open folder of the destination. Files in it are reached by
// their name alone, which costs one step instead of one for each folder above.
type destDir struct {
	*os.Root
	fresh bool // made by us: nothing lies in it
	refs  atomic.Int32
}

func openDest(parent *os.Root, name string, fresh bool) (*destDir, error) {
	r, err := parent.OpenRoot(name)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "export", name, "the folder can't be opened").Because(err)
	}
	d := &destDir{Root: r, fresh: fresh}
	d.refs.Store(1)
	return d, nil
}

func (d *destDir) unref() {
	if d.refs.Add(-1) == 0 {
		_ = d.Close() // a descriptor without data of its own
	}
}

// sync makes the whole destination file system durable: one call, where one
// fsync a file would cost more than the copy.
func (ex *exporter) sync() error {
	d, err := ex.root.Open(".")
	if err != nil {
		return fault.Wrap(err, "export", ex.o.Dest)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fault.New(fault.KindOf(err), "export", ex.o.Dest, "the files can't be made durable").Because(err)
	}
	return nil
}

// walk copies one directory and those below it. from is its path in the
// dataset, to the one below Dest, dir the folder, whose reference it owns. It
// is the only goroutine that adds work.
func (ex *exporter) walk(ctx context.Context, g *errgroup.Group, from, to string, dir *destDir) error {
	defer dir.unref()
	ex.p.Dirs.Add(1)
	var dirs []*posixv1.Entry
	req := &posixv1.ListDirRequest{Dataset: ex.o.Dataset, Path: []byte(from), Limit: 10000}
	for {
		r, err := ex.c.Posix.ListDir(ctx, req)
		if err != nil {
			return err
		}
		for _, e := range r.GetEntries() {
			name := string(e.GetName())
			if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
				return fault.New(fault.Corrupt, "export", join(from, name), "the server sent the name %q", name)
			}
			req.After = e.GetName()
			switch e.GetAttr().GetType() {
			case posixv1.FileType_FILE_TYPE_DIRECTORY:
				dirs = append(dirs, e)
			case posixv1.FileType_FILE_TYPE_SYMLINK:
				if err := ex.link(dir, name, e.GetAttr()); err != nil {
					return err
				}
			case posixv1.FileType_FILE_TYPE_FILE:
				dir.refs.Add(1)
				g.Go(func() error {
					defer dir.unref()
					return ex.file(ctx, dir, join(from, name), name, e.GetAttr())
				})
			default:
				return fault.New(fault.Unsupported, "export", join(from, name), "an entry of an unknown type %d", e.GetAttr().GetType()).Do("use a newer client")
			}
		}
		req.Epoch = r.GetEpoch()
		if !r.GetMore() || len(r.GetEntries()) == 0 {
			break
		}
	}
	for _, e := range dirs {
		if err := ex.enter(ctx, g, from, to, dir, string(e.GetName()), e.GetAttr()); err != nil {
			return err
		}
	}
	return nil
}

// enter makes a subfolder and walks it.
func (ex *exporter) enter(ctx context.Context, g *errgroup.Group, from, to string, dir *destDir, name string, at *posixv1.Attr) error {
	sub := join(to, name)
	err := dir.Mkdir(name, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fault.New(fault.KindOf(err), "export", sub, "the folder can't be made").Because(err)
	}
	if st, lerr := dir.Lstat(name); lerr != nil || !st.IsDir() {
		return fault.New(fault.NotDirectory, "export", sub, "something else is in the way of a folder").Do("remove it, or export into an empty folder")
	}
	below, err := openDest(dir.Root, name, err == nil)
	if err != nil {
		return err
	}
	ex.dirs = append(ex.dirs, exportedDir{sub, os.FileMode(at.GetMode() & 0o777), time.Unix(0, at.GetMtimeUnixNanos())})
	return ex.walk(ctx, g, join(from, name), sub, below)
}

// same reports whether what is at name already looks like the entry.
func (ex *exporter) same(dir *destDir, name string, at *posixv1.Attr, mode fs.FileMode) bool {
	if dir.fresh || ex.o.Overwrite {
		return false
	}
	st, err := dir.Lstat(name)
	return err == nil && st.Mode() == mode && uint64(st.Size()) == at.GetSize() && st.ModTime().UnixNano() == at.GetMtimeUnixNanos()
}

func (ex *exporter) link(dir *destDir, name string, at *posixv1.Attr) error {
	target := string(at.GetSymlinkTarget())
	if have, err := dir.Readlink(name); err == nil && have == target {
		ex.p.Skipped.Add(1)
		return nil
	}
	tmp := ex.tempName()
	if err := dir.Symlink(target, tmp); err != nil {
		return fault.New(fault.KindOf(err), "export", name, "the link can't be made").Because(err)
	}
	d, err := dir.Open(".")
	if err == nil {
		ts := unix.NsecToTimespec(at.GetMtimeUnixNanos())
		err = unix.UtimesNanoAt(int(d.Fd()), tmp, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
		_ = d.Close() // opened for reading
	}
	if err == nil {
		err = dir.Rename(tmp, name)
	}
	if err != nil {
		_ = dir.Remove(tmp)
		return fault.New(fault.KindOf(err), "export", name, "the link can't be put in place").Because(err)
	}
	ex.p.Links.Add(1)
	return nil
}

func (ex *exporter) tempName() string {
	return fmt.Sprintf(".daos-export-%d-%d", os.Getpid(), ex.tmp.Add(1))
}

// file copies one file. Blocks of zeros are left as holes.
func (ex *exporter) file(ctx context.Context, dir *destDir, from, name string, at *posixv1.Attr) error {
	mode := os.FileMode(at.GetMode() & 0o777)
	if ex.same(dir, name, at, mode) {
		ex.p.Skipped.Add(1)
		return nil
	}
	tmp := ex.tempName()
	f, err := dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fault.New(fault.KindOf(err), "export", from, "the file can't be made").Because(err)
	}
	err = ex.fill(ctx, f, from, at)
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = errors.Join(dir.Chtimes(tmp, time.Time{}, time.Unix(0, at.GetMtimeUnixNanos())), dir.Rename(tmp, name))
	}
	if err != nil {
		_ = dir.Remove(tmp)
		var f *fault.Error
		if errors.As(err, &f) {
			return f
		}
		return fault.New(fault.KindOf(err), "export", from, "the file can't be written").Because(err)
	}
	ex.p.Files.Add(1)
	ex.p.Bytes.Add(int64(at.GetSize()))
	return nil
}

func (ex *exporter) fill(ctx context.Context, f *os.File, from string, at *posixv1.Attr) error {
	size := at.GetSize()
	if size == 0 {
		return nil
	}
	if size <= piece {
		r, err := ex.c.Posix.Read(ctx, &posixv1.ReadRequest{Dataset: ex.o.Dataset, Path: []byte(from), Length: size})
		if err != nil {
			return err
		}
		if uint64(len(r.GetPayload())) != size {
			return fault.New(fault.DataLoss, "export", from, "the server sent %d bytes of %d", len(r.GetPayload()), size)
		}
		if err := (&holeWriter{f: f}).put(r.GetPayload()); err != nil {
			return err
		}
		return f.Truncate(int64(size))
	}
	w := &holeWriter{f: f}
	n, err := ReadFile(ctx, ex.c, Range{Dataset: ex.o.Dataset, Path: from}, w)
	if err != nil {
		return err
	}
	if uint64(n) != size {
		return fault.New(fault.DataLoss, "export", from, "the server sent %d bytes of %d", n, size)
	}
	return f.Truncate(n)
}

// holeWriter writes at a running offset and leaves out blocks that are all
// zeros; the caller sets the length.
type holeWriter struct {
	f   *os.File
	off int64
}

const holeBlock = 64 << 10

func (w *holeWriter) put(b []byte) error {
	_, err := w.Write(b)
	return err
}

func (w *holeWriter) Write(b []byte) (int, error) {
	total := len(b)
	for len(b) > 0 {
		n := min(len(b), holeBlock-int(w.off%holeBlock))
		// A short block of zeros costs less to write than to find again.
		if n < holeBlock || !isZero(b[:n]) {
			if _, err := w.f.WriteAt(b[:n], w.off); err != nil {
				return total - len(b), err
			}
		}
		w.off += int64(n)
		b = b[n:]
	}
	return total, nil
}
