package manifest

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/internal/rescue"
)

// scanner is what a Tree may offer beside Locate: all places in one pass over
// the index. *posix.View does, where its store does.
type scanner interface {
	DataParts() int
	ScanData(ctx context.Context, part int, fn func(file object.ID, chunk uint64, xs []object.Extent) bool) error
}

const (
	// deriveRange is how many samples one goroutine locates at a time.
	deriveRange = 4096
	// scanFrom: below this many samples each is looked up.
	scanFrom = 4096
	// sparse: a pass over the index is worth it for a selection of one in
	// sparse; for fewer each is looked up.
	sparse = 48
)

// locateFiles writes the location file of a tree from the logical file: what
// one pass over the index can tell, and a look-up for the rest.
func (m *Manifest) locateFiles(ctx context.Context, generation uint64, path string) error {
	l, err := newLocationWriter(m.dir, m.info.Samples)
	if err != nil {
		return err
	}
	defer l.close()
	j := &join{m: m, l: l}
	if s, ok := m.tree.(scanner); ok && m.info.Samples >= scanFrom && m.info.Samples < math.MaxUint32 && s.DataParts() > 0 {
		if err := j.scan(ctx, s); err != nil {
			return err
		}
	}
	if err := j.lookUp(ctx); err != nil {
		return err
	}
	return l.finish(path, locationMeta{Generation: generation})
}

// join collects the places that several goroutines find.
type join struct {
	m  *Manifest
	mu sync.Mutex // guards l
	l  *locationWriter
}

func (j *join) add(d *deriver, ids []uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := j.l.add(d, ids)
	d.reset()
	return err
}

// each runs fn for 0 to n-1 on a few goroutines; the first error ends it.
func each(ctx context.Context, n int, fn func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	next := 0
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n {
					return
				}
				if err := rescue.Do(func() error { return fn(ctx, i) }); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return rescue.Again(context.Cause(ctx))
}

// scan locates the files that lie whole in their first chunk.
func (j *join) scan(ctx context.Context, s scanner) error {
	t, err := j.table()
	if err != nil || t == nil {
		return err
	}
	defer t.close()
	var met atomic.Uint64
	return each(ctx, s.DataParts(), func(ctx context.Context, part int) error {
		return guarded(j.m.logical.path, func() error {
			d := &deriver{}
			var ids []uint64
			var failed error
			err := s.ScanData(ctx, part, func(file object.ID, chunk uint64, xs []object.Extent) bool {
				i, ok := t.find(file)
				if !ok || chunk != 0 {
					// Enough of others: what is left is looked up.
					return met.Add(1) < sparse*j.m.info.Samples
				}
				x, err := j.m.sample(i)
				if err != nil {
					failed = err
					return false
				}
				last := &xs[len(xs)-1]
				if x.size > uint64(x.chunk) || last.Offset+last.Length > x.size {
					return true // looked up later
				}
				if failed = d.file(x.size, xs); failed == nil {
					if ids = append(ids, i); len(ids) == deriveRange {
						failed, ids = j.add(d, ids), ids[:0]
					}
				}
				return failed == nil
			})
			if err == nil {
				err = failed
			}
			if err == nil && len(ids) > 0 {
				err = j.add(d, ids)
			}
			return err
		})
	})
}

// lookUp locates the files that have no place yet, one by one.
func (j *join) lookUp(ctx context.Context) error {
	n := j.m.info.Samples
	return each(ctx, int((n+deriveRange-1)/deriveRange), func(ctx context.Context, part int) error {
		return guarded(j.m.logical.path, func() error {
			d := &deriver{}
			var ids []uint64
			from := uint64(part) * deriveRange
			if t, ok := j.m.tree.(namedTree); ok {
				return j.named(ctx, t, from, min(from+deriveRange, n))
			}
			for i := from; i < min(from+deriveRange, n); i++ {
				if j.l.has(i) {
					continue
				}
				s, err := j.m.sample(i)
				if err != nil {
					return err
				}
				var xs []object.Extent
				if s.size > 0 {
					a := posix.Attr{Type: posix.TypeFile, Size: s.size, ChunkSize: s.chunk, Object: s.oid, Inode: s.oid.Lo}
					if xs, err = j.m.tree.Locate(ctx, a, 0, s.size); err != nil {
						return fault.Wrap(err, "loader.location", j.m.describe(i))
					}
				}
				if err := d.file(s.size, xs); err != nil {
					return fault.Wrap(err, "loader.location", j.m.describe(i))
				}
				ids = append(ids, i)
			}
			if len(ids) == 0 {
				return nil
			}
			return j.add(d, ids)
		})
	})
}

// named locates the samples [from, to) of a tree whose files are found by path.
func (j *join) named(ctx context.Context, t namedTree, from, to uint64) error {
	first, err := j.m.paths.path(from)
	if err != nil {
		return err
	}
	last, err := j.m.paths.path(to - 1)
	if err != nil {
		return err
	}
	d := &deriver{}
	var ids []uint64
	i, want := from, bytes.Clone(first)
	err = t.LocatePaths(ctx, first, last, func(path []byte, xs []object.Extent) error {
		if i == to || !bytes.Equal(path, want) {
			return nil // not selected
		}
		s, err := j.m.sample(i)
		if err != nil {
			return err
		}
		if err := d.file(s.size, xs); err != nil {
			return fault.Wrap(err, "loader.location", j.m.describe(i))
		}
		ids = append(ids, i)
		if i++; i < to {
			want, err = j.m.paths.path(i)
		}
		return err
	})
	if err != nil {
		return err
	}
	if i != to {
		return fault.New(fault.Corrupt, "loader.location", j.m.describe(i), "the sample is not there any more")
	}
	return j.add(d, ids)
}

// table finds the sample of a file by its number: 4 bytes for each number
// between the first and the last, mapped from a file that has no name.
type table struct {
	hi, first uint64
	data      []byte
}

// table is nil where few files have bytes, or their numbers are too far apart.
func (j *join) table() (*table, error) {
	n := j.m.info.Samples
	t := &table{first: math.MaxUint64}
	last, full := uint64(0), uint64(0)
	same := true
	err := guarded(j.m.logical.path, func() error {
		for i := range n {
			s, err := j.m.sample(i)
			if err != nil {
				return err
			}
			if s.size == 0 {
				continue // nothing to locate
			}
			if full++; full == 1 {
				t.hi = s.oid.Hi
			}
			same = same && s.oid.Hi == t.hi
			t.first, last = min(t.first, s.oid.Lo), max(last, s.oid.Lo)
		}
		return nil
	})
	if err != nil || !same || full < scanFrom || (last-t.first)/sparse > full {
		return nil, err
	}
	f, err := os.CreateTemp(j.m.dir, ".table-*")
	if err != nil {
		return nil, ioFault(err, j.m.dir)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return nil, ioFault(err, j.m.dir)
	}
	if t.data, err = mapScratch(f, 4*(last-t.first+1)); err != nil {
		return nil, err
	}
	err = guarded(j.m.logical.path, func() error {
		for i := range n {
			s, err := j.m.sample(i)
			if err != nil {
				return err
			}
			if s.size == 0 {
				continue
			}
			// Of several names of one file the first is found here, the others
			// are looked up.
			if at := t.data[4*(s.oid.Lo-t.first):]; binary.LittleEndian.Uint32(at) == 0 {
				binary.LittleEndian.PutUint32(at, uint32(i)+1)
			}
		}
		return nil
	})
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *table) find(file object.ID) (uint64, bool) {
	if file.Hi != t.hi || file.Lo < t.first || file.Lo-t.first >= uint64(len(t.data)/4) {
		return 0, false
	}
	i := binary.LittleEndian.Uint32(t.data[4*(file.Lo-t.first):])
	return uint64(i) - 1, i > 0
}

func (t *table) close() { _ = unix.Munmap(t.data) }
