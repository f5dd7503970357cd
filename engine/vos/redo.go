package vos

import (
	"encoding/binary"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"daos/internal/fault"
)

// redoState is the target's side of the journal: batches go into the journal
// and into the index in one order, so that what a crash takes from the end of
// the index is there from some number on.
type redoState struct {
	mu   sync.Mutex
	last uint64 // number of the last batch in the journal
}

func journalKey() []byte { return append(appendDataset(nil, 0, planeSystem), "journal"...) }

func journalValue(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

// Log implements target.Staged.
func (p *preparation) Log() bool {
	t, r := p.t, &p.t.redo
	if p.b.Deferred {
		return false
	}
	r.mu.Lock() // until Apply
	if t.opts.Journal != nil {
		p.group = t.opts.Journal.Append(t.opts.ID, r.last+1, p.batch.Repr())
	}
	if p.group == nil {
		return false
	}
	r.last++
	return true
}

// Apply implements target.Staged: what the journal has waits in the backlog.
// Marks are known before what they mark.
func (p *preparation) Apply() {
	t := p.t
	if !p.b.Deferred {
		defer t.redo.mu.Unlock()
	}
	if t.opts.Marker != nil {
		t.zones.writing.RLock()
		defer t.zones.writing.RUnlock()
		t.zones.note(t.opts.Marker, p.b)
	}
	switch {
	case p.b.Deferred:
		p.failed = t.begin(p.batch, pebble.NoSync)
	case p.group == nil:
		p.failed = t.begin(p.batch, pebble.Sync)
	default:
		t.enqueue(p.batch, p.marks, t.redo.last)
	}
	if p.failed != nil {
		p.batch = nil // pebble may have it
	}
}

// durable waits until the batch is.
func (p *preparation) durable() error {
	t := p.t
	if p.group != nil {
		if err := p.group.Wait(); err != nil {
			t.fail(t.opts.Dir, "write to the journal", err)
		}
		return t.applied(p.failed)
	}
	if p.failed == nil && !p.b.Deferred {
		p.failed = t.synced(p.batch)
	}
	return t.applied(p.failed)
}

// Checkpoint makes the batches of all calls before it durable in the index
// itself, so that the journal can do without them.
func (t *Target) Checkpoint() error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	if err := t.guard.Failed(); err != nil {
		return err
	}
	t.redo.mu.Lock()   // who is between journal and index has gone through
	t.redo.mu.Unlock() //nolint:staticcheck // nothing is to be done under it
	return t.checkpoint()
}

func (t *Target) checkpoint() error {
	if err := t.absorb(); err != nil {
		return err
	}
	return t.applied(t.syncLog())
}

// replay redoes what the journal has and the index has not.
func (t *Target) replay() error {
	last, err := t.readCounter(journalKey())
	if err != nil {
		return err
	}
	t.redo.last = last
	if t.opts.Journal == nil {
		return nil
	}
	redone := 0
	redo := func(number uint64, payload []byte) error {
		b := t.db.NewBatch()
		defer b.Close()
		if err := b.SetRepr(payload); err != nil {
			return fault.New(fault.Corrupt, "vos.open", t.opts.Dir, "batch %d of the journal can't be read", number).Because(err)
		}
		if err := b.Set(journalKey(), journalValue(number), nil); err != nil {
			return t.indexError("vos.open", err)
		}
		t.redo.last = number
		redone++
		return t.applied(t.db.Apply(b, pebble.NoSync))
	}
	if t.rebuilding {
		err = t.opts.Journal.Salvage(t.opts.ID, redo)
	} else {
		err = t.opts.Journal.Replay(t.opts.ID, last, redo)
	}
	if err != nil || redone == 0 {
		return err
	}
	t.log.Info("redone from the journal", "batches", redone)
	return t.checkpoint()
}
