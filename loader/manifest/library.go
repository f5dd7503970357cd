package manifest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"daos/dataset/posix"
	"daos/internal/fault"
)

// Library keeps the manifests of one server, on disk and open: each is built
// once however many clients ask for it at the same time, and has a number that
// holds until the process ends.
type Library struct {
	mu       sync.Mutex
	byID     map[string]*shelf
	byHandle map[uint64]*shelf
	next     uint64
	clock    uint64 // counts uses, to find the manifest that was used longest ago
	max      int
}

// shelf is one manifest being opened, or open.
type shelf struct {
	key    string // in byID
	base   *shelf // of a list: what it is over
	lists  int    // open lists over it: it is not closed before them
	handle uint64
	used   uint64 // the library's clock at the last use
	done   chan struct{}
	m      *Manifest
	err    error
}

// MaxOpen is how many manifests a server keeps open: each costs address space
// and two mappings.
const MaxOpen = 4096

// NewLibrary makes a library whose handles begin behind first, so that those of
// another process are not taken for its own. It keeps at most open manifests
// open: for another one it closes the one that was used longest ago, whose
// handle is stale then; it is found on disk when it is opened again.
func NewLibrary(first uint64, open int) *Library {
	return &Library{byID: map[string]*shelf{}, byHandle: map[uint64]*shelf{}, next: first, max: open}
}

// Request says which manifest to open.
type Request struct {
	Dir  string // folder for manifests of this dataset
	Info Info   // Dataset, DatasetID, Snapshot, Epoch, Tensor and Selection are used
	// Store and one of Tree and Table, of the dataset at that epoch. They are
	// kept for as long as the manifest is open.
	Store Store
	Tree  Tree
	Table Table
	// Progress is called with the number of entries looked at, now and then.
	Progress func(entries uint64)
}

// Open finds a manifest or builds it, and gives its handle. built says whether
// this call has built it.
func (l *Library) Open(ctx context.Context, r Request) (m *Manifest, handle uint64, built bool, err error) {
	if (r.Tree == nil) == (r.Table == nil) || r.Info.Tensor != (r.Table != nil) {
		return nil, 0, false, fault.New(fault.Internal, "loader.manifest", r.Info.Dataset, "a manifest is of a tree or of a table")
	}
	_, isArray := r.Table.(*rowTable)
	if s := r.Info.Selection; r.Info.Tensor && (s.Path != "" && !isArray || s.Glob != "" || s.LabelDirname) || !r.Info.Tensor && len(s.Columns) > 0 {
		return nil, 0, false, fault.New(fault.Invalid, "loader.manifest", r.Info.Dataset, "path, glob and labels select files, columns select tensors").
			Do("leave out what does not belong to the type of the dataset")
	}
	if !r.Info.Tensor {
		names, err := posix.Split(r.Info.Selection.Path)
		if err != nil {
			return nil, 0, false, err
		}
		r.Info.Selection.Path = strings.Join(names, "/")
	}
	return l.open(ctx, r.Info.ID(), r.Info.Dataset, func(*shelf) (*Manifest, error) {
		return open(ctx, r.Dir, r.Info, r.Store, r.Tree, r.Table, r.Progress)
	})
}

// OpenPicked finds the manifest of a pick or makes it, with that of its base.
func (l *Library) OpenPicked(ctx context.Context, p *Pick) (m *Manifest, handle uint64, built bool, err error) {
	for {
		base, at, _, err := l.Open(ctx, p.Base)
		if err != nil {
			return nil, 0, false, err
		}
		l.mu.Lock()
		under := l.byHandle[at]
		if under != nil {
			under.lists++ // from now on it stays
		}
		l.mu.Unlock()
		if under == nil {
			continue // closed meanwhile: open it again
		}
		m, handle, built, err := l.open(ctx, listKey(base.id, p.Source), p.Base.Info.Dataset, func(s *shelf) (*Manifest, error) {
			m, err := openPicked(ctx, p, base)
			if err == nil {
				l.mu.Lock()
				s.base = under
				under.lists++
				l.mu.Unlock()
			}
			return m, err
		})
		l.mu.Lock()
		under.lists--
		l.mu.Unlock()
		return m, handle, built, err
	}
}

// open finds what is open under a key, or has it made.
func (l *Library) open(ctx context.Context, id, name string, fn func(*shelf) (*Manifest, error)) (m *Manifest, handle uint64, built bool, err error) {
	for {
		l.mu.Lock()
		s := l.byID[id]
		if s == nil {
			if len(l.byID) >= l.max && !l.evictLocked() {
				l.mu.Unlock()
				return nil, 0, false, fault.New(fault.Overloaded, "loader.manifest", name, "%d manifests are being built", l.max).
					Do("try again when one of them is ready")
			}
			s = &shelf{key: id, done: make(chan struct{})}
			l.byID[id] = s
			l.mu.Unlock()
			return l.build(s, name, fn)
		}
		l.mu.Unlock()
		select {
		case <-s.done:
		case <-ctx.Done():
			return nil, 0, false, ctx.Err()
		}
		if s.err == nil {
			l.mu.Lock()
			_, here := l.byHandle[s.handle]
			l.touchLocked(s)
			l.mu.Unlock()
			if !here {
				continue // closed meanwhile: open it again
			}
			return s.m, s.handle, false, nil
		}
		// Who built it failed, perhaps because his client went away: try it ourselves.
		if !fault.Is(s.err, fault.Canceled, fault.Timeout) {
			return nil, 0, false, s.err
		}
		if err := ctx.Err(); err != nil {
			return nil, 0, false, err
		}
	}
}

func (l *Library) build(s *shelf, name string, fn func(*shelf) (*Manifest, error)) (*Manifest, uint64, bool, error) {
	s.err = fault.New(fault.Internal, "loader.manifest", name, "building it has panicked")
	defer func() {
		l.mu.Lock()
		if s.err != nil {
			delete(l.byID, s.key)
		}
		l.mu.Unlock()
		close(s.done)
	}()
	m, err := fn(s)
	if err != nil {
		s.err = fault.Wrap(err, "loader.manifest", name)
		return nil, 0, false, s.err
	}
	l.mu.Lock()
	l.next++
	s.m, s.handle, s.err = m, l.next, nil
	l.byHandle[s.handle] = s
	l.touchLocked(s)
	l.mu.Unlock()
	return m, s.handle, m.built, nil
}

// Get finds an open manifest by its handle; fault.Stale if there is none.
func (l *Library) Get(handle uint64) (*Manifest, error) {
	l.mu.Lock()
	s := l.byHandle[handle]
	if s != nil {
		l.touchLocked(s)
	}
	l.mu.Unlock()
	if s == nil {
		return nil, fault.New(fault.Stale, "loader.manifest", "manifest", "handle %d is not of this server process, or was closed for others", handle).Do("open the manifest again")
	}
	return s.m, nil
}

func (l *Library) touchLocked(s *shelf) {
	l.clock++
	s.used = l.clock
}

// evictLocked closes the open manifest that was used longest ago, and reports
// whether there was one. Its readers finish first: see Manifest.Close.
func (l *Library) evictLocked() bool {
	var oldest *shelf
	for _, s := range l.byHandle {
		if s.lists == 0 && (oldest == nil || s.used < oldest.used) {
			oldest = s
		}
	}
	if oldest == nil {
		return false
	}
	l.closeLocked(oldest)
	return true
}

func (l *Library) closeLocked(s *shelf) {
	delete(l.byHandle, s.handle)
	delete(l.byID, s.key)
	if s.base != nil {
		s.base.lists--
	}
	s.m.Close()
}

// Drop closes the manifests of a dataset that is being destroyed.
func (l *Library) Drop(keep func(Info) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.byHandle {
		if !keep(s.m.info) {
			l.closeLocked(s)
		}
	}
}

// MaxLists is how many lists a dataset has on disk: more than that are let go of,
// those first that were opened longest ago. They can be made again.
const MaxLists = 512

// Trim removes lists from a folder of manifests that are too many, unless they
// are open.
func (l *Library) Trim(dir string, most int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ioFault(err, dir)
	}
	type list struct {
		path string
		used time.Time
	}
	var all []list
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if _, err := os.Stat(filepath.Join(path, listName)); err != nil {
			continue
		}
		if st, err := os.Stat(path); err == nil {
			all = append(all, list{path, st.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b list) int { return b.used.Compare(a.used) })
	for len(all) > most {
		old := all[len(all)-1].path
		all = all[:len(all)-1]
		l.mu.Lock()
		if l.byID[filepath.Base(old)] == nil {
			err = os.RemoveAll(old)
		}
		l.mu.Unlock()
		if err != nil {
			return ioFault(err, dir)
		}
	}
	return nil
}

// Close closes all manifests.
func (l *Library) Close() { l.Drop(func(Info) bool { return false }) }
