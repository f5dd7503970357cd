package segment

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/internal/fault"
	"daos/internal/guardfs"
)

// Options of a Set.
type Options struct {
	FS     vfs.FS
	Dir    string // folder of all segments of one target
	Target uint16
	// Cap is the size beyond which a segment takes no more records; 0: DefaultCap.
	Cap uint64
	// Streams is how many segments of one dataset take bulk records at a time,
	// besides the one that small records share; 0: 3.
	Streams int
	// OpenFiles bounds the handles kept for reading; 0: 256.
	OpenFiles int
	// Number gives out segment numbers: rising, never one twice, not even
	// across restarts.
	Number func() (uint64, error)
}

// Set is all segments of one target.
type Set struct {
	opts Options
	tick atomic.Int64
	room room

	mu      sync.Mutex
	files   map[key]*File
	folders map[uint64]bool
	streams map[uint64][]*File // per dataset: [0] small records, then bulk
	directs map[uint64][]*File // per dataset: written past the page cache, by one writer at a time
	noPast  bool               // the disk takes no direct writes
	gone    map[key]*gone      // unlinked in this run
	graced  int                // of those, with a handle
	burial  *time.Timer        // ends the grace; nil: nothing waits
	closed  bool
}

// gone is an unlinked segment. Its handle is kept for a while, for readers
// that took a position from the index before the record moved.
type gone struct {
	f  *File // nil once the grace is over
	at time.Time
}

const (
	// grace is how long an unlinked segment can still be read.
	grace = 30 * time.Second
	// graceFiles bounds the handles kept for it, and the disk that they hold.
	graceFiles = 16
)

type key struct{ dataset, number uint64 }

// Open prepares the folder. Segments of an earlier run are never appended to.
func Open(o Options) (*Set, error) {
	if o.Cap == 0 {
		o.Cap = DefaultCap
	}
	if o.Streams == 0 {
		o.Streams = 3
	}
	if o.OpenFiles == 0 {
		o.OpenFiles = 256
	}
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, writeError(o.Dir, err)
	}
	if err := syncDir(o.FS, o.FS.PathDir(o.Dir)); err != nil {
		return nil, err
	}
	return &Set{
		opts: o, files: map[key]*File{}, folders: map[uint64]bool{}, streams: map[uint64][]*File{}, directs: map[uint64][]*File{}, gone: map[key]*gone{},
	}, nil
}

func syncDir(f vfs.FS, dir string) error {
	d, err := f.OpenDir(dir)
	if err != nil {
		return writeError(dir, err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return syncError(dir, err)
	}
	return nil
}

func (s *Set) path(ds, n uint64) string {
	return s.opts.FS.PathJoin(s.opts.Dir, FolderName(ds), FileName(n))
}

// create makes a new segment, under the lock; its directory entry is durable when it returns.
func (s *Set) create(ds uint64, past bool) (*File, error) {
	n, err := s.opts.Number()
	if err != nil {
		return nil, err
	}
	dir := s.opts.FS.PathJoin(s.opts.Dir, FolderName(ds))
	if !s.folders[ds] {
		if err := s.opts.FS.MkdirAll(dir, 0o700); err != nil {
			return nil, writeError(dir, err)
		}
		if err := syncDir(s.opts.FS, s.opts.Dir); err != nil {
			return nil, err
		}
		s.folders[ds] = true
	}
	name := s.path(ds, n)
	if _, err := s.opts.FS.Stat(name); err == nil {
		return nil, fault.New(fault.Internal, "segment.create", name, "segment exists already").
			Do("the target's numbers went back: check that its index and seg folders belong together")
	}
	vf, err := s.opts.FS.OpenReadWrite(name, "daos-segment")
	if err != nil {
		return nil, writeError(name, err)
	}
	f := &File{set: s, dataset: ds, number: n, name: name, f: vf, open: true, tail: HeaderSize}
	f.init()
	f.refs.Store(1)
	if past {
		f.direct = guardfs.OpenDirect(vf)
		f.past = f.direct != nil
	}
	err = f.write(Header{Target: s.opts.Target, Dataset: ds, Number: n, Past: f.past}.Encode(), 0)
	if err == nil {
		err = syncDir(s.opts.FS, dir)
	}
	if err != nil {
		if f.direct != nil {
			f.direct.Close()
		}
		_ = vf.Close()
		_ = s.opts.FS.Remove(name)
		return nil, err
	}
	s.evictLocked()
	s.files[key{ds, n}] = f
	return f, nil
}

// acquire gives the segment that the next record of a dataset goes to, counted
// as in use by one writer.
func (s *Set) acquire(ds uint64, bulk bool) (*File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fault.New(fault.Internal, "segment.write", s.opts.Dir, "the target is closed")
	}
	st := s.streams[ds]
	if st == nil {
		st = make([]*File, 1+s.opts.Streams)
		s.streams[ds] = st
	}
	slot := 0
	if bulk {
		slot = s.leastUsedLocked(st)
	}
	f := st[slot]
	if f != nil {
		f.mu.Lock()
		if f.open && f.err == nil {
			f.users++
			f.refs.Add(1)
			f.mu.Unlock()
			f.used.Store(s.tick.Add(1))
			return f, nil
		}
		f.mu.Unlock()
	}
	// I/O under the lock: a new segment is needed once per Cap bytes, and all
	// writers of this stream wait for it anyway.
	f, err := s.create(ds, false)
	if err != nil {
		return nil, err
	}
	st[slot] = f
	f.users++
	f.refs.Add(1)
	f.used.Store(s.tick.Add(1))
	return f, nil
}

// directMax is how many segments of a dataset are written past the page cache at
// a time. One writer has one for itself: a second one would extend the file
// over bytes that the first has yet to write, and readers would read them ahead.
const directMax = 8

// acquireDirect gives a segment for direct writes that nobody else writes to;
// nil if there are enough already, or the disk takes none.
func (s *Set) acquireDirect(ds uint64) (*File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fault.New(fault.Internal, "segment.write", s.opts.Dir, "the target is closed")
	}
	if s.noPast {
		return nil, nil
	}
	open := s.directs[ds][:0]
	var free *File
	for _, f := range s.directs[ds] {
		f.mu.Lock()
		if f.open && f.err == nil {
			open = append(open, f)
			if free == nil && f.users == 0 {
				free = f
				f.users++
				f.refs.Add(1)
			}
		}
		f.mu.Unlock()
	}
	clear(s.directs[ds][len(open):])
	s.directs[ds] = open
	if free == nil && len(open) < directMax {
		f, err := s.create(ds, true)
		if err != nil {
			return nil, err
		}
		if f.direct == nil {
			s.noPast = true
			s.useLocked(ds, f)
			return nil, nil
		}
		s.directs[ds] = append(open, f)
		f.users++
		f.refs.Add(1)
		free = f
	}
	if free != nil {
		free.used.Store(s.tick.Add(1))
	}
	return free, nil
}

// useLocked makes a segment that has just been created the next bulk stream.
func (s *Set) useLocked(ds uint64, f *File) {
	if s.streams[ds] == nil {
		s.streams[ds] = make([]*File, 1+s.opts.Streams)
	}
	for i := 1; i < len(s.streams[ds]); i++ {
		if s.streams[ds][i] == nil {
			s.streams[ds][i] = f
			return
		}
	}
	f.mu.Lock()
	f.open = false // empty: the sweep removes it
	f.mu.Unlock()
}

// leastUsedLocked picks a bulk stream: an idle open one, else an empty slot,
// else the one with the fewest writers.
func (s *Set) leastUsedLocked(st []*File) int {
	best, bestUsers := -1, 0
	for i := 1; i < len(st); i++ {
		users := 1 // an empty slot is better than a busy segment, worse than an idle one
		if st[i] != nil {
			st[i].mu.Lock()
			users = 2 * st[i].users
			if !st[i].open {
				users = 1
			}
			st[i].mu.Unlock()
		}
		if best < 0 || users < bestUsers {
			best, bestUsers = i, users
		}
	}
	return best
}

// Get opens a segment for reading.
func (s *Set) Get(ds, n uint64) (*File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[key{ds, n}]; f != nil {
		f.refs.Add(1)
		f.used.Store(s.tick.Add(1))
		return f, nil
	}
	return s.openLocked(ds, n)
}

func (s *Set) openLocked(ds, n uint64) (*File, error) {
	name := s.path(ds, n)
	if g := s.gone[key{ds, n}]; g != nil {
		if g.f == nil {
			return nil, fault.New(fault.Stale, "segment.open", name, "the record has moved or is gone").
				Do("read its position again")
		}
		g.f.refs.Add(1)
		return g.f, nil
	}
	vf, err := s.opts.FS.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.Corrupt, "segment.open", name, "the segment is missing").
				Do("restore the file from a backup").Because(err)
		}
		return nil, fault.New(fault.Internal, "segment.open", name, "can't be opened").Because(err)
	}
	f := &File{set: s, dataset: ds, number: n, name: name, f: vf}
	f.init()
	f.refs.Store(1)
	if err := f.checkHeader(s.opts.Target); err != nil {
		_ = vf.Close()
		return nil, err
	}
	s.evictLocked()
	s.files[key{ds, n}] = f
	f.refs.Add(1)
	f.used.Store(s.tick.Add(1))
	return f, nil
}

func (f *File) checkHeader(target uint16) error {
	var b [HeaderSize]byte
	if err := f.ReadAt(b[:], 0); err != nil {
		return err
	}
	h, err := DecodeHeader(f.name, b[:])
	if err != nil {
		return err
	}
	f.past = h.Past
	if h != (Header{Target: target, Dataset: f.dataset, Number: f.number, Past: h.Past}) {
		return fault.New(fault.Corrupt, "segment.header", f.name, "header belongs to segment %d of dataset %d on target %d", h.Number, h.Dataset, h.Target).
			Do("a file was moved or copied: put it back under its own name")
	}
	return nil
}

// evictLocked closes the handles used longest ago, until there is room for one.
// Where that is not enough, segments that take records but have no writer are
// closed for good: a dataset written to again begins a new one.
func (s *Set) evictLocked() {
	if len(s.files) < s.opts.OpenFiles {
		return
	}
	want := 1 + s.opts.OpenFiles/8
	if want -= s.closeIdleLocked(want); want <= 0 {
		return
	}
	var resting []*File
	for _, f := range s.files {
		f.mu.Lock()
		if f.open && f.users == 0 {
			resting = append(resting, f)
		}
		f.mu.Unlock()
	}
	byUse(resting)
	for _, f := range resting[:min(len(resting), want)] {
		f.mu.Lock()
		f.open = f.users > 0
		f.mu.Unlock()
		// I/O under the lock: rare, and who waits needs the handle. A footer
		// that fails is written by the sweeper.
		_ = f.seal()
		_ = f.Sync()
	}
	s.closeIdleLocked(want)
}

// closeIdleLocked closes up to n handles that nobody holds and that have
// nothing unsynced; it returns how many it closed.
func (s *Set) closeIdleLocked(n int) int {
	var idle []*File
	for _, f := range s.files {
		f.mu.Lock()
		ok := !f.open && f.users == 0 && f.synced == f.written && len(f.entries) == 0
		f.mu.Unlock()
		if ok && f.refs.Load() == 1 {
			idle = append(idle, f)
		}
	}
	byUse(idle)
	idle = idle[:min(len(idle), n)]
	for _, f := range idle {
		delete(s.files, key{f.dataset, f.number})
		f.Release()
	}
	return len(idle)
}

func byUse(l []*File) {
	slices.SortFunc(l, func(a, b *File) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
}

// Sync makes everything appended to any segment durable.
func (s *Set) Sync() error {
	s.mu.Lock()
	var dirty []*File
	for _, f := range s.files {
		f.mu.Lock()
		if f.synced < f.written { // one that failed says so again: its bytes are lost
			f.refs.Add(1)
			dirty = append(dirty, f)
		}
		f.mu.Unlock()
	}
	s.mu.Unlock()
	var first error
	for _, f := range dirty {
		if err := f.Sync(); err != nil && first == nil {
			first = err
		}
		f.Release()
	}
	return first
}

// Numbers lists the segments of a dataset on disk, rising.
func (s *Set) Numbers(ds uint64) ([]uint64, error) {
	names, err := s.opts.FS.List(s.opts.FS.PathJoin(s.opts.Dir, FolderName(ds)))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fault.New(fault.Internal, "segment.list", FolderName(ds), "can't be listed").Because(err)
	}
	var out []uint64
	for _, name := range names {
		if n, ok := parseHex(strings.TrimSuffix(name, ".seg")); ok && strings.HasSuffix(name, ".seg") {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Datasets lists the datasets that have a folder.
func (s *Set) Datasets() ([]uint64, error) {
	names, err := s.opts.FS.List(s.opts.Dir)
	if err != nil {
		return nil, fault.New(fault.Internal, "segment.list", s.opts.Dir, "can't be listed").Because(err)
	}
	var out []uint64
	for _, name := range names {
		if n, ok := parseHex(name); ok {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

func parseHex(s string) (uint64, bool) {
	if len(s) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil
}

// Size is the length of a segment's file.
func (s *Set) Size(ds, n uint64) (uint64, error) {
	st, err := s.opts.FS.Stat(s.path(ds, n))
	if err != nil {
		return 0, fault.New(fault.KindOf(err), "segment.size", s.path(ds, n), "can't be examined").Because(err)
	}
	return uint64(st.Size()), nil
}

// Cap is the size beyond which a segment takes no more records.
func (s *Set) Cap() uint64 { return s.opts.Cap }

// Busy reports whether a segment still takes records or has writers whose
// index records may not be committed yet.
func (s *Set) Busy(ds, n uint64) bool {
	s.mu.Lock()
	f := s.files[key{ds, n}]
	s.mu.Unlock()
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open || f.users > 0
}

// Retire closes a segment that takes records, if nobody is writing to it and
// less than half of it lives; it reports whether it did.
func (s *Set) Retire(ds, n, live uint64) bool {
	s.mu.Lock()
	f := s.files[key{ds, n}]
	s.mu.Unlock()
	if f == nil {
		return false
	}
	f.mu.Lock()
	if !f.open || f.users > 0 || f.tail <= HeaderSize || live >= (f.tail-HeaderSize)/2 {
		f.mu.Unlock()
		return false
	}
	f.open = false
	f.mu.Unlock()
	_ = f.seal() // a footer that fails is written by a later sweep
	return true
}

// Remove unlinks a segment. Mappings stay valid, and for a while so do
// positions that readers have taken from the index.
func (s *Set) Remove(ds, n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removeLocked(ds, n, s.graced < graceFiles)
}

func (s *Set) removeLocked(ds, n uint64, keep bool) error {
	k := key{ds, n}
	f := s.files[k]
	if f == nil && keep {
		var err error
		if f, err = s.openLocked(ds, n); err == nil {
			f.Release() // the table's reference goes to gone
		}
	}
	delete(s.files, k)
	if err := s.opts.FS.Remove(s.path(ds, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		if f != nil {
			s.files[k] = f
		}
		return fault.New(fault.Internal, "segment.remove", s.path(ds, n), "can't be unlinked").Because(err)
	}
	if f != nil {
		f.mu.Lock()
		f.open = false
		f.entries = nil
		f.mu.Unlock()
		if !keep {
			f.Release()
			f = nil
		}
	}
	s.gone[k] = &gone{f: f, at: time.Now()}
	if f != nil {
		if s.graced++; s.burial == nil {
			s.burial = time.AfterFunc(grace, s.bury)
		}
	}
	return nil
}

// bury ends the grace of segments unlinked long enough ago.
func (s *Set) bury() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buryLocked(time.Now().Add(-grace))
	s.burial = nil
	if s.graced > 0 && !s.closed {
		s.burial = time.AfterFunc(grace, s.bury)
	}
}

func (s *Set) buryLocked(before time.Time) {
	for _, g := range s.gone {
		if g.f != nil && !g.at.After(before) {
			g.f.Release()
			g.f = nil
			s.graced--
		}
	}
}

// RemoveDataset unlinks all segments of a dataset.
func (s *Set) RemoveDataset(ds uint64) error {
	nums, err := s.Numbers(ds)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, ds)
	delete(s.directs, ds)
	delete(s.folders, ds)
	for _, n := range nums {
		if err := s.removeLocked(ds, n, false); err != nil {
			return err
		}
	}
	dir := s.opts.FS.PathJoin(s.opts.Dir, FolderName(ds))
	if err := s.opts.FS.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Internal, "segment.remove", dir, "can't be removed").Because(err)
	}
	return nil
}

// Close seals what is open and closes all handles.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var first error
	s.buryLocked(time.Now())
	if s.burial != nil {
		s.burial.Stop()
	}
	for k, f := range s.files {
		f.mu.Lock()
		f.open = false
		f.mu.Unlock()
		if err := f.seal(); err != nil && first == nil {
			first = err
		}
		delete(s.files, k)
		f.Release()
	}
	return first
}
