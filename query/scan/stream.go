package scan

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/internal/rescue"
)

// Counters tell what a scan has done. Met equals the sum of object.Scanner's
// CountScan over all parts when the scan is complete: the proof that no row was
// lost on the way.
type Counters struct {
	Met     uint64 // rows of the namespace plane, of any kind
	Scanned uint64 // entries, wanted or not, hidden ones too
	Out     uint64 // entries returned
}

func (c *Counters) add(o Counters) {
	c.Met += o.Met
	c.Scanned += o.Scanned
	c.Out += o.Out
}

// Batch is some rows and where to go on after them.
type Batch struct {
	Record arrow.Record // the receiver releases it
	Anchor Anchor
	Counters
}

// Stream gives the batches of a scan. It is for one goroutine.
type Stream struct {
	schema *arrow.Schema
	parts  []*part
	at     int // part that Next reads from
	total  Counters

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// part is one store anchor, scanned by one worker.
type part struct {
	start  object.Anchor
	out    chan partBatch
	err    error // valid once out is closed
	ended  bool  // by its end, not by a limit
	pos    object.Anchor
	counts Counters // not yet given to a batch; valid once out is closed
}

type partBatch struct {
	rec    arrow.Record
	anchor object.Anchor
	counts Counters
}

// ahead is how many finished batches a part may hold.
const ahead = 2

// Open begins a scan at a view's epoch. Close must be called.
func Open(ctx context.Context, fs *posix.FS, v *posix.View, r Request) (*Stream, error) {
	cols, err := columnNumbers(r.Columns)
	if err != nil {
		return nil, err
	}
	f, err := r.Filter.compile()
	if err != nil {
		return nil, err
	}
	if r.BatchRows < 0 || r.BatchRows > MaxBatchRows {
		return nil, fault.New(fault.Invalid, "scan.open", "batch rows", "%d rows in a batch", r.BatchRows).Do("use 1 to %d", MaxBatchRows)
	}
	if r.BatchRows == 0 {
		r.BatchRows = MaxBatchRows
	}
	workers := r.Parallel
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var anchors []object.Anchor
	if r.Anchor == nil {
		// Several parts a worker, so that none waits long for the last one.
		anchors = fs.Anchors(workers * 8)
	} else if anchors, err = decodeAnchor(r.Anchor); err != nil {
		return nil, err
	}
	ds, err := newDirs(ctx, v, r.Path)
	if err != nil {
		return nil, err
	}
	s := &Stream{schema: schemaOf(cols)}
	for _, a := range anchors {
		s.parts = append(s.parts, &part{start: a, pos: a, out: make(chan partBatch, ahead)})
	}
	if r.Limit > 0 {
		workers = 1 // it counts what is left
	}
	ctx, s.cancel = context.WithCancel(ctx)
	next := make(chan *part, len(s.parts))
	for _, p := range s.parts {
		next <- p
	}
	close(next)
	for range min(workers, len(s.parts)) {
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			w := worker{v: v, dirs: ds, filter: f, rows: r.BatchRows, b: newBuilder(cols), left: r.Limit, limit: r.Limit > 0}
			for p := range next {
				p.err = rescue.Do(func() error { return w.scan(ctx, p) })
				close(p.out)
			}
		}()
	}
	return s, nil
}

// Schema is the schema of all batches.
func (s *Stream) Schema() *arrow.Schema { return s.schema }

// Counters are those of all batches so far; after io.EOF of the whole scan.
func (s *Stream) Counters() Counters { return s.total }

// Anchor is where a new scan would go on after the batches so far.
func (s *Stream) Anchor() Anchor {
	var rest []object.Anchor
	for _, p := range s.parts[s.at:] {
		rest = append(rest, p.pos)
	}
	return encodeAnchor(rest)
}

// Next returns the next batch, which has at least one row. io.EOF is the end
// of a scan that is complete, or has reached its limit: then Anchor tells where.
func (s *Stream) Next() (Batch, error) {
	for s.at < len(s.parts) {
		p := s.parts[s.at]
		b, ok := <-p.out
		if ok {
			p.pos = b.anchor
			s.total.add(b.counts)
			return Batch{Record: b.rec, Anchor: s.Anchor(), Counters: s.total}, nil
		}
		if p.err != nil {
			return Batch{}, rescue.Again(p.err)
		}
		s.total.add(p.counts)
		p.counts = Counters{}
		if !p.ended {
			return Batch{}, io.EOF
		}
		s.at++
	}
	return Batch{}, io.EOF
}

// Close stops the scan and waits for its workers. It may be called twice.
func (s *Stream) Close() {
	s.cancel()
	for _, p := range s.parts[min(s.at, len(s.parts)):] {
		for b := range p.out { // workers close the channels of all parts

			b.rec.Release()
		}
	}
	s.wg.Wait()
	s.at = len(s.parts)
}

// worker scans parts, one after the other.
type worker struct {
	v      *posix.View
	dirs   *dirs
	filter *filter
	rows   int
	b      *builder
	left   uint64
	limit  bool

	// The directory whose entries are passing.
	oid    object.ID
	dir    *dir
	selfID object.ID
	parent object.ID
	name   string
	path   []byte // scratch for the path glob
}

// quiet is how many rows pass before a batch is ended though it is not full.
const quiet = 4 << 20

func (w *worker) scan(ctx context.Context, p *part) error {
	pos := p.start
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if w.limit && w.left == 0 {
			return nil
		}
		var n Counters
		var bad error
		next, err := w.v.Scan(ctx, pos, func(r object.Row) bool {
			if w.b.full(w.rows) || n.Met >= quiet || w.limit && uint64(w.b.rows) >= w.left {
				return false
			}
			if bad = w.row(ctx, &r, &n); bad != nil {
				return false
			}
			n.Met++
			return true
		})
		if bad != nil {
			return bad
		}
		if err != nil {
			return err
		}
		pos = next
		n.Out = uint64(w.b.rows)
		p.counts.add(n)
		if w.b.rows > 0 {
			w.left -= min(w.left, n.Out)
			b := partBatch{rec: w.b.finish(w.rows), anchor: pos, counts: p.counts}
			p.counts = Counters{}
			select {
			case p.out <- b:
			case <-ctx.Done():
				b.rec.Release()
				return ctx.Err()
			}
		}
		if pos.AtEnd() {
			p.ended = true
			return nil
		}
	}
}

func (w *worker) row(ctx context.Context, r *object.Row, n *Counters) error {
	switch posix.KindOfRow(r) {
	case posix.RowOther:
		return nil
	case posix.RowSelf:
		var err error
		w.selfID = r.OID
		w.parent, w.name, err = posix.ParseSelf(r.Value)
		return fault.Wrap(err, "scan.row", r.OID.String())
	}
	n.Scanned++
	if w.dir == nil || w.oid != r.OID {
		d, err := w.dirs.find(ctx, r.OID, func() (object.ID, string, bool) { return w.parent, w.name, w.selfID == r.OID })
		if err != nil {
			return err
		}
		w.oid, w.dir = r.OID, d
	}
	if !w.dir.inside {
		return nil
	}
	var raw posix.Raw
	var err error
	epoch := r.Epoch
	if r.Value == nil {
		raw, err = w.v.EntryRaw(ctx, r.OID, r.Dkey)
	} else {
		raw, err = posix.ParseRaw(r.Value)
	}
	if err == nil && raw.Linked() {
		raw, epoch, err = w.v.LinkedInode(ctx, raw)
	}
	if err != nil {
		return damaged(err, w.dir, r.Dkey)
	}
	if !w.filter.wants(raw, r.Dkey, w.dir.depth+1) {
		return nil
	}
	if w.filter.path != nil {
		w.path = append(append(w.path[:0], w.dir.prefix[w.dir.below:]...), r.Dkey...)
		if !w.filter.path.Match(w.path) {
			return nil
		}
	}
	w.b.add(w.dir, r.Dkey, raw, epoch)
	return nil
}

// damaged names the entry that a scan could not read.
func damaged(err error, d *dir, name []byte) error {
	var e *fault.Error
	if errors.As(err, &e) {
		c := *e
		c.Op, c.Resource = "scan.row", string(d.prefix)+string(name)
		return &c
	}
	return err
}
