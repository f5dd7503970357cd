package segment

import (
	"daos/engine/object"
	"daos/internal/fault"
)

// Writer appends the records of one batch. It is used by one goroutine:
// Append for each record, Sync, then, when the index knows them, Commit; End
// in any case.
type Writer struct {
	set     *Set
	dataset uint64
	bulk    bool
	past    bool    // large records go past the page cache
	files   []*File // segments in use
	cur     *File   // of them, where the next record goes
	direct  *File   // of them, where the next large record goes that goes past the page cache

	pending []byte // small records not yet written, contiguous from pos
	pos     uint64
}

// bulkBatch is the size from which a batch gets a stream of its own.
const bulkBatch = 1 << 20

// directFrom is the size from which a record may go past the page cache.
const directFrom = 256 << 10

// pendingMax bounds the bytes gathered for one pwrite of small records.
const pendingMax = 1 << 20

// Writer begins a batch of about total bytes.
func (s *Set) Writer(ds uint64, total int) *Writer {
	return &Writer{set: s, dataset: ds, bulk: total >= bulkBatch}
}

// Past makes large records go past the page cache, where the disk can do that:
// for bytes that come in bulk and are not read soon.
func (w *Writer) Past() { w.past = true }

// Append puts one record and says where. p may be used until Sync returns.
func (w *Writer) Append(p []byte) (segment, pos uint64, err error) {
	if w.past && len(p) >= directFrom {
		f, pos, err := w.reserveDirect(len(p))
		if err != nil {
			return 0, 0, err
		}
		if f != nil {
			return f.number, pos, f.writeDirect(p, pos)
		}
		w.past = false
	}
	if f := w.cur; f != nil {
		if pos, ok := f.reserve(len(p), 1); ok {
			return f.number, pos, w.put(f, p, pos)
		}
		if err := w.flush(); err != nil {
			return 0, 0, err
		}
	}
	for {
		f, err := w.set.acquire(w.dataset, w.bulk)
		if err != nil {
			return 0, 0, err
		}
		pos, ok := f.reserve(len(p), 1)
		if !ok {
			// Another writer filled it meanwhile; acquire makes a new one.
			w.drop(f)
			continue
		}
		w.files, w.cur = append(w.files, f), f
		return f.number, pos, w.put(f, p, pos)
	}
}

// reserveDirect takes room in a segment that this writer has for itself; nil if
// there is none to be had.
func (w *Writer) reserveDirect(n int) (*File, uint64, error) {
	if w.direct != nil {
		if pos, ok := w.direct.reserve(n, 1); ok {
			return w.direct, pos, nil
		}
	}
	for {
		f, err := w.set.acquireDirect(w.dataset)
		if f == nil || err != nil {
			return nil, 0, err
		}
		pos, ok := f.reserve(n, 1)
		if !ok {
			w.drop(f)
			continue
		}
		w.files, w.direct = append(w.files, f), f
		return f, pos, nil
	}
}

// put writes a large record at once and gathers small ones that lie side by
// side. Side by side means that nothing but alignment is between them: what
// lies in any other gap belongs to another writer.
func (w *Writer) put(f *File, p []byte, pos uint64) error {
	end := w.pos + uint64(len(w.pending))
	if len(w.pending) > 0 && (len(p) >= bulkFrom || pos != Align(end, len(p)) || len(w.pending)+len(p) > pendingMax) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(p) >= bulkFrom {
		return f.write(p, pos)
	}
	if len(w.pending) == 0 {
		w.pos = pos
	} else {
		w.pending = append(w.pending, make([]byte, pos-end)...)
	}
	w.pending = append(w.pending, p...)
	return nil
}

func (w *Writer) flush() error {
	if len(w.pending) == 0 {
		return nil
	}
	err := w.cur.write(w.pending, w.pos)
	w.pending = w.pending[:0]
	return err
}

// Flush hands everything to the operating system, not yet to the disk.
func (w *Writer) Flush() error { return w.flush() }

// Sync makes the batch durable.
func (w *Writer) Sync() error {
	if err := w.flush(); err != nil {
		return err
	}
	for _, f := range w.files {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// Commit notes what the footers will list: called once the index has it.
func (w *Writer) Commit(segment uint64, e Entry) {
	for _, f := range w.files {
		if f.number == segment {
			f.mu.Lock()
			f.entries = append(f.entries, e)
			f.mu.Unlock()
			return
		}
	}
}

// End gives the segments back.
func (w *Writer) End() {
	for _, f := range w.files {
		w.drop(f)
	}
	w.files, w.cur, w.direct = nil, nil, nil
}

func (w *Writer) drop(f *File) {
	f.mu.Lock()
	f.users--
	sealable := !f.open && f.users == 0
	f.mu.Unlock()
	if sealable {
		// A footer that can't be written is no loss: the index has its
		// entries, and the sweeper writes it later.
		_ = f.seal()
	}
	f.Release()
}

// seal writes the footer of a closed segment that nobody writes to.
func (f *File) seal() error {
	f.mu.Lock()
	if f.open || f.users > 0 || f.err != nil || len(f.entries) == 0 {
		f.mu.Unlock()
		return nil
	}
	entries, pos := f.entries, Align(f.tail, 1)
	f.entries = nil
	f.mu.Unlock()
	if err := f.write(EncodeFooter(pos, entries), pos); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	f.mu.Lock()
	f.sealed = true
	f.mu.Unlock()
	return nil
}

// Sealed reports whether a segment has a footer; one that is open has none.
func (s *Set) Sealed(ds, n uint64) (bool, error) {
	f, err := s.Get(ds, n)
	if err != nil {
		return false, err
	}
	defer f.Release()
	f.mu.Lock()
	sealed, open := f.sealed, f.open || f.users > 0
	f.mu.Unlock()
	if sealed || open {
		return sealed, nil
	}
	if _, sealed, err = f.Footer(); sealed && err == nil {
		f.mu.Lock()
		f.sealed = true
		f.mu.Unlock()
	}
	return sealed, err
}

// Seal gives a footer to a segment that a crash left without one: behind
// whatever lies at its end.
func (s *Set) Seal(ds, n uint64, entries []Entry) error {
	name := s.path(ds, n)
	st, err := s.opts.FS.Stat(name)
	if err != nil {
		return fault.New(fault.KindOf(err), "segment.seal", name, "can't be examined").Because(err)
	}
	vf, err := s.opts.FS.OpenReadWrite(name, "daos-segment")
	if err != nil {
		return writeError(name, err)
	}
	pos := Align(uint64(st.Size()), 1)
	_, err = vf.WriteAt(EncodeFooter(pos, entries), int64(pos))
	if err != nil {
		err = writeError(name, err)
	} else if err = vf.SyncData(); err != nil {
		err = syncError(name, err)
	}
	if cerr := vf.Close(); err == nil && cerr != nil {
		err = writeError(name, cerr)
	}
	return err
}

// Footer reads the footer of a sealed segment; ok is false where it has none.
func (f *File) Footer() (entries []Entry, ok bool, err error) {
	st, err := f.f.Stat()
	if err != nil || st.Size() < HeaderSize+TrailerSize {
		return nil, false, err
	}
	var b [TrailerSize]byte
	if err := f.ReadAt(b[:], uint64(st.Size())-TrailerSize); err != nil {
		return nil, false, err
	}
	t, ok, err := decodeTrailer(f.name, b[:], uint64(st.Size()))
	if !ok || err != nil {
		return nil, ok, err
	}
	p := make([]byte, t.size)
	if err := f.ReadAt(p, t.pos); err != nil {
		return nil, true, err
	}
	entries, err = decodeEntries(f.name, p, t)
	return entries, true, err
}

var _ object.Mapping = (*Mapping)(nil)
