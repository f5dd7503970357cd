package manifest

import (
	"context"
	"strings"
	"sync"

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
	id := r.Info.ID()
	for {
		l.mu.Lock()
		s := l.byID[id]
		if s == nil {
			if len(l.byID) >= l.max && !l.evictLocked() {
				l.mu.Unlock()
				return nil, 0, false, fault.New(fault.Overloaded, "loader.manifest", r.Info.Dataset, "%d manifests are being built", l.max).
					Do("try again when one of them is ready")
			}
			s = &shelf{done: make(chan struct{})}
			l.byID[id] = s
			l.mu.Unlock()
			return l.build(ctx, id, s, r)
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

func (l *Library) build(ctx context.Context, id string, s *shelf, r Request) (*Manifest, uint64, bool, error) {
	s.err = fault.New(fault.Internal, "loader.manifest", r.Info.Dataset, "building it has panicked")
	defer func() {
		l.mu.Lock()
		if s.err != nil {
			delete(l.byID, id)
		}
		l.mu.Unlock()
		close(s.done)
	}()
	m, err := open(ctx, r.Dir, r.Info, r.Store, r.Tree, r.Table, r.Progress)
	if err != nil {
		s.err = fault.Wrap(err, "loader.manifest", r.Info.Dataset)
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
		if oldest == nil || s.used < oldest.used {
			oldest = s
		}
	}
	if oldest == nil {
		return false
	}
	delete(l.byHandle, oldest.handle)
	delete(l.byID, oldest.m.id)
	oldest.m.Close()
	return true
}

// Drop closes the manifests of a dataset that is being destroyed.
func (l *Library) Drop(keep func(Info) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for h, s := range l.byHandle {
		if !keep(s.m.info) {
			delete(l.byHandle, h)
			delete(l.byID, s.m.id)
			s.m.Close()
		}
	}
}

// Close closes all manifests.
func (l *Library) Close() { l.Drop(func(Info) bool { return false }) }
