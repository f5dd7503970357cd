package transfer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"daos/internal/client"
	"daos/internal/fault"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// ImportOptions say what to copy where.
type ImportOptions struct {
	Source  string // a local folder; its contents are copied, not it
	Dataset string // POOL/DATASET
	Under   string // path in the dataset that gets the contents; empty: the root
	// Overwrite copies also what is there with the same size and time.
	Overwrite bool
	// Exclusive fails at the first file that is there already.
	Exclusive bool
	// CountFirst fills Progress.Total while copying, at the cost of a second
	// walk over the names.
	CountFirst bool
	// Workers read files; each has a stream of its own. 0: three.
	Workers int
	// RetryFor is how long to go on trying while the server is away; 0: 30 s.
	RetryFor time.Duration
}

// largeFile is the size from which a file is staged and published on its own.
const largeFile = 4 << 20

// existing is an entry that the dataset has already.
type existing struct {
	dir, link bool
	size      uint64
	mtime     int64
	mode      uint32
}

// Import copies a tree. When it returns nil everything counted is durable.
// Entries that can't be read here are counted, noted and left out: the caller
// looks at p.Failed.
func Import(ctx context.Context, c *client.Client, o ImportOptions, p *Progress) error {
	if o.Workers <= 0 {
		o.Workers = 3
	}
	if o.RetryFor == 0 {
		o.RetryFor = 30 * time.Second
	}
	root, err := openSource(o.Source)
	if err != nil {
		return err
	}
	root.dest = o.Under
	root.refs.Store(1)
	im := &importer{c: c, o: o, p: p}
	there, err := im.there(ctx, o.Under)
	switch {
	case err == nil:
		root.there = there
	case fault.Is(err, fault.NotFound):
		// The dataset is missing, or only the folder, which is made.
		if _, err := c.Posix.Stat(ctx, &posixv1.StatRequest{Dataset: o.Dataset}); err != nil {
			root.unref()
			return err
		}
	default:
		root.unref()
		return err
	}
	// Nothing there at all: the server needs to look for nothing.
	im.replace = len(root.there) > 0 && !o.Exclusive

	g, ctx := errgroup.WithContext(ctx)
	chunks := make(chan chunk, 2*o.Workers)
	if o.CountFirst {
		fd, err := unix.Dup(root.fd)
		if err == nil {
			g.Go(func() error {
				var n int64
				count(ctx, fd, &n)
				_ = unix.Close(fd) // opened for reading
				if ctx.Err() == nil {
					p.Total.Store(n + 1)
				}
				return nil
			})
		}
	}
	g.Go(func() error {
		defer close(chunks)
		w := &walker{p: p, there: im.there, out: chunks}
		return w.walk(ctx, root)
	})
	for range o.Workers {
		g.Go(func() error { return im.work(ctx, chunks) })
	}
	err = g.Wait()
	for ch := range chunks { // what nobody took after an error
		ch.dir.unref()
	}
	return err
}

type importer struct {
	c       *client.Client
	o       ImportOptions
	p       *Progress
	replace bool
}

// there lists what the dataset has in a directory, at one epoch.
func (im *importer) there(ctx context.Context, dest string) (map[string]existing, error) {
	out := map[string]existing{}
	req := &posixv1.ListDirRequest{Dataset: im.o.Dataset, Path: []byte(dest), Limit: 10000}
	for {
		r, err := im.c.Posix.ListDir(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, e := range r.GetEntries() {
			at := e.GetAttr()
			out[string(e.GetName())] = existing{
				dir: at.GetType() == posixv1.FileType_FILE_TYPE_DIRECTORY, link: at.GetType() == posixv1.FileType_FILE_TYPE_SYMLINK,
				size: at.GetSize(), mtime: at.GetMtimeUnixNanos(), mode: at.GetMode(),
			}
			req.After = e.GetName()
		}
		req.Epoch = r.GetEpoch()
		if !r.GetMore() || len(r.GetEntries()) == 0 {
			return out, nil
		}
	}
}

// work packs the chunks it takes into messages of its own stream.
func (im *importer) work(ctx context.Context, chunks <-chan chunk) error {
	w := &worker{im: im, entries: minEntries, send: &sender{c: im.c, dataset: im.o.Dataset, retryFor: im.o.RetryFor, answered: im.answered}}
	defer w.send.drop()
	for ch := range chunks {
		err := w.take(ctx, ch)
		ch.dir.unref()
		if err != nil {
			return err
		}
	}
	if err := w.ship(ctx); err != nil {
		return err
	}
	return w.send.flush(ctx)
}

func (im *importer) answered(m *message) {
	im.p.Files.Add(m.files)
	im.p.Links.Add(m.links)
	im.p.Dirs.Add(m.dirs)
	im.p.Bytes.Add(m.bytes)
}

type worker struct {
	im      *importer
	send    *sender
	msg     *message
	dirs    map[string]bool // directories that msg has an entry of
	entries int             // how many msg may have
}

// take adds a chunk. A chunk without names counts its directory.
func (w *worker) take(ctx context.Context, ch chunk) error {
	if len(ch.names) == 0 {
		if ch.dir.parent == nil && ch.dir.dest == "" {
			w.im.p.Dirs.Add(1) // the root of the dataset is there
			return nil
		}
		w.open()
		w.addDirs(ch.dir)
		w.msg.dirs++
		return w.shipIfFull(ctx)
	}
	for _, n := range ch.names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.add(ctx, ch.dir, n); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) open() {
	if w.msg == nil {
		w.msg = w.send.newMessage(w.im.replace)
		w.dirs = map[string]bool{}
	}
}

// addDirs puts a directory and those above it into the message, unless they
// are in it: whichever message comes first makes them, with the right mode and
// time; for the others they are there.
func (w *worker) addDirs(d *localDir) {
	if d.dest == "" || w.dirs[d.dest] {
		return
	}
	if d.parent != nil {
		w.addDirs(d.parent)
	}
	w.dirs[d.dest] = true
	w.msg.req.Entries = append(w.msg.req.Entries, &posixv1.ImportEntry{
		Path: []byte(d.dest), Type: posixv1.FileType_FILE_TYPE_DIRECTORY, Mode: d.mode, MtimeUnixNanos: d.mtime,
	})
}

func (w *worker) add(ctx context.Context, d *localDir, n localName) error {
	p := w.im.p
	switch n.typ.Type() {
	case 0:
	case os.ModeSymlink:
		return w.addLink(ctx, d, n.name)
	default:
		p.Special.Add(1)
		p.note("%s: a %s is not copied", join(d.dest, n.name), typeWord(n.typ))
		return nil
	}
	if e, ok := d.there[n.name]; ok && !w.im.o.Overwrite && !w.im.o.Exclusive && !e.dir && !e.link {
		var st unix.Stat_t
		if err := unix.Fstatat(d.fd, n.name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil &&
			uint64(st.Size) == e.size && st.Mtim.Nano() == e.mtime && st.Mode&0o7777 == e.mode {
			p.Skipped.Add(1)
			return nil
		}
	}
	// O_NONBLOCK: a pipe that took the file's place must not hold us up.
	fd, err := unix.Openat(d.fd, n.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		w.unreadable(d, n.name, err)
		return nil
	}
	defer unix.Close(fd) //nolint:errcheck // opened for reading
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		w.unreadable(d, n.name, err)
		return nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		p.Special.Add(1)
		p.note("%s: is no regular file any more", join(d.dest, n.name))
		return nil
	}
	if st.Size >= largeFile {
		return w.large(ctx, d, n.name, fd, &st)
	}
	w.open()
	if len(w.msg.req.Payload)+int(st.Size) > maxPayload {
		if err := w.ship(ctx); err != nil {
			return err
		}
		w.open()
	}
	was := len(w.msg.req.Payload)
	payload, err := readWhole(fd, w.msg.req.Payload, int(st.Size))
	if err != nil {
		w.unreadable(d, n.name, err)
		return nil
	}
	w.msg.req.Payload = payload
	size := len(payload) - was
	w.addDirs(d)
	w.msg.req.Entries = append(w.msg.req.Entries, &posixv1.ImportEntry{
		Path: []byte(join(d.dest, n.name)), Type: posixv1.FileType_FILE_TYPE_FILE,
		Mode: st.Mode & 0o7777, MtimeUnixNanos: st.Mtim.Nano(), Size: uint64(size),
	})
	w.msg.files++
	w.msg.bytes += int64(size)
	return w.shipIfFull(ctx)
}

func (w *worker) addLink(ctx context.Context, d *localDir, name string) error {
	target, err := readLink(d.fd, name)
	if err != nil {
		w.unreadable(d, name, err)
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		w.unreadable(d, name, err)
		return nil
	}
	if e, ok := d.there[name]; ok && e.link && !w.im.o.Overwrite && !w.im.o.Exclusive && e.size == uint64(len(target)) && e.mtime == st.Mtim.Nano() {
		w.im.p.Skipped.Add(1)
		return nil
	}
	w.open()
	w.addDirs(d)
	w.msg.req.Entries = append(w.msg.req.Entries, &posixv1.ImportEntry{
		Path: []byte(join(d.dest, name)), Type: posixv1.FileType_FILE_TYPE_SYMLINK, SymlinkTarget: target, MtimeUnixNanos: st.Mtim.Nano(),
	})
	w.msg.links++
	return w.shipIfFull(ctx)
}

func (w *worker) unreadable(d *localDir, name string, err error) {
	w.im.p.Failed.Add(1)
	w.im.p.note("%s: can't be read: %v", join(d.dest, name), err)
}

func (w *worker) shipIfFull(ctx context.Context) error {
	if len(w.msg.req.Entries) < w.entries && len(w.msg.req.Payload) < maxPayload {
		return nil
	}
	return w.ship(ctx)
}

func (w *worker) ship(ctx context.Context) error {
	m := w.msg
	w.msg = nil
	if m == nil || len(m.req.Entries) == 0 {
		return nil
	}
	w.entries = min(2*w.entries, maxEntries)
	return w.send.put(ctx, m)
}

// readWhole appends size bytes of fd to buf, or fewer if the file got shorter.
// Bytes that were added meanwhile are left for the next import.
func readWhole(fd int, buf []byte, size int) ([]byte, error) {
	start := len(buf)
	if need := start + size; need > cap(buf) {
		grown := make([]byte, start, max(need, min(2*cap(buf), maxPayload+largeFile)))
		copy(grown, buf)
		buf = grown
	}
	got := 0
	for got < size {
		n, err := unix.Read(fd, buf[start+got:start+size])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		got += n
	}
	return buf[:start+got], nil
}

// large stages a file and publishes it whole. Its directory goes first, so that
// it gets its own mode and time.
func (w *worker) large(ctx context.Context, d *localDir, name string, fd int, st *unix.Stat_t) error {
	if d.dest != "" {
		w.open()
		w.addDirs(d)
	}
	if err := w.ship(ctx); err != nil {
		return err
	}
	if err := w.send.pump(ctx, 0); err != nil {
		return err
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fault.New(fault.KindOf(err), "import", join(d.dest, name), "no second descriptor").Because(err)
	}
	f := os.NewFile(uintptr(own), name)
	defer f.Close()
	pub := &posixv1.PublishRequest{
		Dataset: w.im.o.Dataset, Path: []byte(join(d.dest, name)), Mode: st.Mode & 0o7777,
		Parents: true, Exclusive: w.im.o.Exclusive, MtimeUnixNanos: st.Mtim.Nano(),
	}
	var readErr *localReadError
	_, err = Publish(ctx, w.im.c, pub, f, st.Size, &w.im.p.Bytes)
	if errors.As(err, &readErr) {
		w.unreadable(d, name, readErr.err)
		return nil
	}
	if err == nil {
		w.im.p.Files.Add(1)
	}
	return err
}

func typeWord(m os.FileMode) string {
	switch {
	case m&os.ModeSocket != 0:
		return "socket"
	case m&os.ModeNamedPipe != 0:
		return "pipe"
	}
	return "device"
}

// isZero reports whether b holds zeros only.
func isZero(b []byte) bool { return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }
