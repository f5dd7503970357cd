package manifest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"daos/dataset/tensor"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/internal/rescue"
)

// Store is what a manifest needs of the object store of its dataset.
type Store interface {
	object.Bulk
	Extents(ctx context.Context, at object.Epoch, oid object.ID, dkey, akey []byte, off, n uint64) ([]object.Extent, error)
}

// Selection says what of a dataset is in a manifest.
type Selection struct {
	Path         string   // directory, for files
	Glob         string   // over the path below it
	LabelDirname bool     // ImageFolder's rule
	Columns      []string // of a table; none: all
}

// selectionFile is the JSON form: a path is bytes, and JSON has only text.
type selectionFile struct {
	Path         string   `json:"path,omitempty"`
	PathBytes    []byte   `json:"path_bytes,omitempty"` // instead of path where that is not UTF-8
	Glob         string   `json:"glob,omitempty"`
	GlobBytes    []byte   `json:"glob_bytes,omitempty"`
	LabelDirname bool     `json:"label_dirname,omitempty"`
	Columns      []string `json:"columns,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (s Selection) MarshalJSON() ([]byte, error) {
	f := selectionFile{Path: s.Path, Glob: s.Glob, LabelDirname: s.LabelDirname, Columns: s.Columns}
	if !utf8.ValidString(s.Path) {
		f.Path, f.PathBytes = "", []byte(s.Path)
	}
	if !utf8.ValidString(s.Glob) {
		f.Glob, f.GlobBytes = "", []byte(s.Glob)
	}
	return json.Marshal(f)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Selection) UnmarshalJSON(b []byte) error {
	var f selectionFile
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*s = Selection{Path: f.Path + string(f.PathBytes), Glob: f.Glob + string(f.GlobBytes), LabelDirname: f.LabelDirname, Columns: f.Columns}
	return nil
}

// Info describes a manifest. It is the description in the logical file's tail.
type Info struct {
	Dataset   string           `json:"dataset"` // POOL/DATASET
	DatasetID object.DatasetID `json:"dataset_id"`
	Snapshot  string           `json:"snapshot"`
	Epoch     object.Epoch     `json:"epoch"`
	Tensor    bool             `json:"tensor,omitempty"`
	Selection Selection        `json:"selection"`

	Samples uint64          `json:"samples"`
	Columns []tensor.Column `json:"columns"`
	Bytes   uint64          `json:"bytes"`
	// MaxSampleBytes is the largest sample; of a table, the sum of the largest
	// of each column.
	MaxSampleBytes  uint64 `json:"max_sample_bytes"`
	SymlinksSkipped uint64 `json:"symlinks_skipped,omitempty"`
	// Classes are the names behind the labels, made UTF-8 where they are not.
	Classes []string `json:"classes,omitempty"`

	// Of a list over another manifest (list.go): the view and the condition that
	// it is of. Scattered says that its classes are not contiguous.
	View         string `json:"-"`
	ViewRevision uint64 `json:"-"`
	Where        string `json:"-"`
	Scattered    bool   `json:"-"`
}

// ID is the digest of what a manifest contains: dataset, epoch, selection and
// format version. Name and snapshot's name are not in it.
func (i *Info) ID() string {
	b, err := json.Marshal([]any{Version, i.DatasetID, i.Epoch, i.Tensor, i.Selection})
	if err != nil {
		panic(err) // numbers and strings
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:16])
}

// Manifest is an open manifest. It is safe for concurrent use.
type Manifest struct {
	id    string
	dir   string // folder of its two files
	info  Info
	built bool
	st    Store
	tree  Tree  // of a POSIX dataset
	table Table // of a tensor dataset

	logical *file
	samples part
	paths   pathReader

	base       *Manifest // of a list: what it is over; then logical is the list's file
	list       part
	classSizes part
	ends       []elementEnds // of each column
	shut       sync.Once

	view       atomic.Pointer[View]
	generation atomic.Uint64   // at which view was last known to hold
	derived    atomic.Uint64   // generation at which the location was derived by force
	mu         sync.Mutex      // one derivation at a time
	users      atomic.Int64    // the manifest while open, and each of its views
	ctx        context.Context // of derivations behind the batches' back, until Close
	end        context.CancelFunc
}

const (
	logicalName  = "logical"
	locationName = "location"
)

func (m *Manifest) isFiles() bool { return !m.info.Tensor }

// ID is the digest of what it contains, in hex.
func (m *Manifest) ID() string { return m.id }

// Info describes it; the slices are shared.
func (m *Manifest) Info() Info { return m.info }

// Built reports whether the logical part was built by the Open that made m.
func (m *Manifest) Built() bool { return m.built }

// open finds the files of a manifest in dir, or builds them.
func open(ctx context.Context, dir string, want Info, st Store, tree Tree, table Table, progress func(uint64)) (*Manifest, error) {
	m := &Manifest{id: want.ID(), info: want, st: st, tree: tree, table: table}
	m.dir = filepath.Join(dir, m.id)
	m.ctx, m.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, ioFault(err, m.dir)
	}
	if err := tidy(m.dir); err != nil {
		return nil, err
	}
	path := filepath.Join(m.dir, logicalName)
	build := func() (err error) {
		if table != nil {
			err = buildTable(ctx, m.dir, path, want, table, progress)
		} else {
			err = buildFiles(ctx, m.dir, path, want, tree, progress)
		}
		if err != nil {
			return err
		}
		m.built = true
		return m.openLogical(path)
	}
	err := m.openLogical(path)
	if fault.Is(err, fault.NotFound, fault.Corrupt, fault.Unsupported) {
		err = build()
	}
	if err != nil {
		return nil, err
	}
	err = m.openLocation(ctx)
	if fault.Is(err, fault.Corrupt) && !m.built {
		// A block of the logical file may be damaged: it is only a copy.
		m.leave()
		if err = build(); err != nil {
			return nil, err
		}
		err = m.openLocation(ctx)
	}
	if err != nil {
		m.leave()
		return nil, err
	}
	// The names of pool, dataset and snapshot may have changed; what they name has not.
	m.info.Dataset, m.info.Snapshot = want.Dataset, want.Snapshot
	return m, nil
}

// tidy removes what a process that was killed has left half written. Nobody
// else builds in dir: a server locks its folder, and a Library opens a manifest
// once.
func tidy(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ioFault(err, dir)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return ioFault(err, dir)
			}
		}
	}
	return nil
}

func (m *Manifest) openLogical(path string) error {
	f, err := openFile(path, kindLogical)
	if err != nil {
		return err
	}
	var info Info
	d := json.NewDecoder(bytes.NewReader(f.meta))
	if err := d.Decode(&info); err != nil || info.ID() != m.id || len(info.Columns) == 0 {
		f.close()
		return damaged(path, "a description of something else")
	}
	m.samples = f.part("samples")
	m.paths = pathReader{f.part("paths"), f.part("path index")}
	if !info.Tensor && (m.samples.n != sampleSize*info.Samples || m.paths.index.n != 8*((info.Samples+pathBlock-1)/pathBlock)) {
		f.close()
		return damaged(path, "%d bytes of records for %d samples", m.samples.n, info.Samples)
	}
	m.logical, m.info = f, info
	m.users.Store(1)
	return nil
}

// openLocation opens the location file if its locations still hold, else
// derives it anew.
func (m *Manifest) openLocation(ctx context.Context) error {
	generation := m.st.Generation()
	v, err := openView(m, filepath.Join(m.dir, locationName))
	if err == nil && v.meta.Generation != generation {
		if err = v.mapAll(); err != nil {
			v.Release()
		}
	}
	if err != nil {
		if v, err = m.derive(ctx, generation); err != nil {
			return err
		}
	}
	m.view.Store(v)
	m.generation.Store(generation)
	return nil
}

// derive writes the location file anew and opens it.
func (m *Manifest) derive(ctx context.Context, generation uint64) (*View, error) {
	path := filepath.Join(m.dir, locationName)
	var err error
	if m.isFiles() {
		err = m.locateFiles(ctx, generation, path)
	} else {
		err = m.locateTable(ctx, generation, path)
	}
	if err != nil {
		return nil, err
	}
	m.derived.Store(generation)
	return openView(m, path)
}

// Acquire gives the current view; the caller releases it. Where records may
// have moved since, that is looked after.
//
// The view of a list is that of its base: its samples go by the base's numbers.
func (m *Manifest) Acquire(ctx context.Context) (*View, error) {
	if m.base != nil {
		return m.base.Acquire(ctx)
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v := m.view.Load()
		if v == nil {
			return nil, m.closed()
		}
		if g := m.st.Generation(); g != m.generation.Load() {
			if err := m.refresh(g); err != nil {
				return nil, err
			}
		}
		if v.acquire() {
			return v, nil
		}
	}
}

// refresh makes sure that the locations hold in a generation: what is mapped
// does, the rest is mapped now. If something is gone all is derived anew behind
// the back of the batches, which go on with what is mapped; one that needs what
// is gone waits in Doubt.
func (m *Manifest) refresh(generation uint64) error {
	if !m.mu.TryLock() {
		return nil // somebody is at it
	}
	v := m.view.Load()
	if v == nil || m.generation.Load() == generation {
		m.mu.Unlock()
		return nil
	}
	err := v.mapAll()
	if errors.Is(err, fault.Stale) {
		go func() {
			defer m.mu.Unlock()
			if rescue.Do(func() error { return m.replace(m.ctx, v, generation) }) != nil {
				m.generation.Store(generation) // who meets a gap tries again, and is told; of a panic too
			}
		}()
		return nil
	}
	if err == nil {
		m.generation.Store(generation)
	}
	m.mu.Unlock()
	return err
}

// replace derives anew and puts the result in v's place.
func (m *Manifest) replace(ctx context.Context, v *View, generation uint64) error {
	fresh, err := m.derive(ctx, generation)
	if err != nil {
		return err
	}
	m.view.Store(fresh)
	m.generation.Store(generation)
	v.Release()
	return nil
}

// Doubt is told that a read through v failed. It reports whether to try again:
// when the locations were older than this process's, and so may not hold, they
// are derived anew; a fault in what has just been derived is real.
func (m *Manifest) Doubt(ctx context.Context, v *View, err error) bool {
	if m.base != nil {
		return m.base.Doubt(ctx, v, err)
	}
	if !fault.Is(err, fault.Corrupt, fault.Stale) {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view.Load() != v {
		return m.view.Load() != nil // replaced meanwhile
	}
	g := m.st.Generation()
	if m.derived.Load() == g {
		return false
	}
	return m.replace(ctx, v, g) == nil
}

// Close lets go of the files when the last view is released.
func (m *Manifest) Close() {
	m.end()
	if m.base != nil {
		m.shut.Do(m.leave)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.view.Swap(nil); v != nil {
		v.Release()
		m.leave()
	}
}

// leave unmaps the logical file when the manifest is closed and its last view
// is released.
func (m *Manifest) leave() {
	if m.users.Add(-1) == 0 {
		m.logical.close()
		for k := range m.ends {
			m.ends[k].close()
		}
	}
}

// Name is the path of a file and its size, or for tables just the row's number.
type Name struct {
	Path []byte
	Size uint64
}

// Names returns paths (relative to the selection's) and sizes of samples.
func (m *Manifest) Names(ctx context.Context, indices []uint64) ([]Name, error) {
	if !m.isFiles() {
		return nil, fault.New(fault.Unsupported, "loader.samples", m.info.Dataset, "samples of a tensor dataset have no paths")
	}
	if m.base != nil {
		wanted := make([]uint64, len(indices))
		if err := m.Resolve(indices, wanted); err != nil {
			return nil, err
		}
		return m.base.Names(ctx, wanted)
	}
	v, err := m.Acquire(ctx) // keeps the mapping
	if err != nil {
		return nil, err
	}
	defer v.Release()
	out := make([]Name, len(indices))
	err = guarded(m.logical.path, func() error {
		for k, i := range indices {
			if i >= m.info.Samples {
				return outOfRange(i, m.info.Samples, m.info.Dataset+"@"+m.info.Snapshot)
			}
			s, err := m.sample(i)
			if err != nil {
				return err
			}
			p, err := m.paths.path(i)
			if err != nil {
				return err
			}
			out[k] = Name{p, s.size}
		}
		return nil
	})
	return out, err
}
