package array

import (
	"context"
	"runtime/debug"
	"sync"

	"daos/engine/object"
	"daos/internal/fault"
)

// mappedFrom is the size of a stretch of a chunk from which its elements are
// taken out of the mapped segment instead of being read.
const mappedFrom = 128 << 10

// maxMapped is how many segments Mappings keeps of one dataset.
const maxMapped = 32

// Mappings keeps segments of one dataset mapped from one read to the next, since
// the pages of a fresh mapping have to be found one by one, and remembers where
// chunks lie at snapshots, and what their arrays are. It lets go of all of that
// when records may have moved, so that it keeps no removed file for long.
type Mappings struct {
	mu         sync.Mutex
	generation uint64
	clock      uint64
	open       map[[2]uint64]*mapping
	laid       map[chunkName]*laid
	nodes      map[nodeName]*Node
}

// mapping is one mapped segment; it is released when nobody uses it any more and
// it is not kept.
type mapping struct {
	object.Mapping
	users int
	kept  bool
	used  uint64
}

// acquire maps a segment, or finds it mapped; done ends the use of its bytes.
func (c *Mappings) acquire(bulk object.Bulk, target uint16, segment uint64) (m *mapping, err error) {
	name := [2]uint64{uint64(target), segment}
	c.Tidy(bulk.Generation())
	c.mu.Lock()
	defer c.mu.Unlock()
	if m = c.open[name]; m == nil {
		s, err := bulk.Segment(target, segment)
		if err != nil {
			return nil, err
		}
		if len(c.open) >= maxMapped {
			c.evictLocked()
		}
		m = &mapping{Mapping: s, kept: true}
		if c.open == nil {
			c.open = map[[2]uint64]*mapping{}
		}
		c.open[name] = m
	}
	c.clock++
	m.used = c.clock
	m.users++
	return m, nil
}

func (c *Mappings) done(m *mapping) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.users--; m.users == 0 && !m.kept {
		m.Release()
	}
}

func (c *Mappings) dropLocked(name [2]uint64, m *mapping) {
	delete(c.open, name)
	if m.kept = false; m.users == 0 {
		m.Release()
	}
}

// evictLocked drops the segment that was used longest ago.
func (c *Mappings) evictLocked() {
	var name [2]uint64
	var oldest *mapping
	for n, m := range c.open {
		if oldest == nil || m.used < oldest.used {
			name, oldest = n, m
		}
	}
	if oldest != nil {
		c.dropLocked(name, oldest)
	}
}

// Tidy lets go of all segments if the store's generation is another one.
func (c *Mappings) Tidy(generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tidyLocked(generation)
}

func (c *Mappings) tidyLocked(generation uint64) {
	if c.generation != generation {
		c.generation = generation
		c.dropAllLocked()
	}
}

func (c *Mappings) dropAllLocked() {
	for name, m := range c.open {
		c.dropLocked(name, m)
	}
	c.laid, c.nodes = nil, nil
}

// forget forgets where chunks lie, and what of them has been verified.
func (c *Mappings) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.laid = nil
}

// Close lets go of all segments.
func (c *Mappings) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropAllLocked()
}

// mapper is the mapped segments that one read uses.
type mapper struct {
	bulk    object.Bulk
	regions object.RegionReader
	maps    *Mappings
	open    map[[2]uint64]*mapping
}

// newMapper says whether a dataset can be read through mappings: nil, if not.
func (d *Dataset) newMapper() *mapper {
	bulk, ok1 := d.st.(object.Bulk)
	regions, ok2 := d.st.(object.RegionReader)
	if !ok1 || !ok2 {
		return nil
	}
	m := &mapper{bulk: bulk, regions: regions, maps: d.maps, open: map[[2]uint64]*mapping{}}
	if m.maps == nil {
		m.maps = &Mappings{}
	}
	return m
}

func (m *mapper) close(d *Dataset) {
	if m == nil {
		return
	}
	for _, s := range m.open {
		m.maps.done(s)
	}
	if d.maps == nil {
		m.maps.Close()
	}
}

// segment is a mapped segment, until close.
func (m *mapper) segment(target uint16, segment uint64) (*mapping, error) {
	name := [2]uint64{uint64(target), segment}
	if s := m.open[name]; s != nil {
		return s, nil
	}
	s, err := m.maps.acquire(m.bulk, target, segment)
	if err == nil {
		m.open[name] = s
	}
	return s, err
}

// stretch is the bytes [lo, lo+n) of a chunk in mapped memory, verified; nil where
// they don't lie in one piece. They are touched in safely only.
func (m *mapper) stretch(ctx context.Context, at object.Epoch, st Store, oid object.ID, key []byte, lo, n uint64) ([]byte, error) {
	xs, err := st.Extents(ctx, at, oid, key, akeyData, lo, n)
	if err != nil || len(xs) != 1 || xs[0].Record.Inline != nil || xs[0].Offset != lo || xs[0].Length != n {
		return nil, err
	}
	// What is verified is remembered: it is done once while the segment is open.
	var seen object.Regions
	err = m.regions.ReadRegions(ctx, at, oid, key, akeyData, lo, n, &seen)
	seen.Release()
	if err != nil {
		return nil, err
	}
	r := &xs[0].Record
	s, err := m.segment(r.Target, r.Segment)
	if err != nil {
		return nil, nil //nolint:nilerr // moved meanwhile: it is read the other way
	}
	return s.piece(r.Pos+xs[0].Skip, n), nil
}

// doubt forgets that what was mapped has been verified.
func (m *mapper) doubt() {
	for _, s := range m.open {
		if f, ok := s.Mapping.(object.RegionMapping); ok {
			f.Doubt()
		}
	}
	m.maps.forget()
}

// safely runs fn, which touches mapped memory: a page that can't be read is an
// error.
func safely(what string, fn func()) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(interface{ Addr() uintptr }); !ok {
				panic(p)
			}
			err = fault.New(fault.Corrupt, "array.read", what, "a page of the segment can't be read")
		}
	}()
	fn()
	return nil
}
