package kernel

import (
	"bytes"
	"cmp"
	"slices"

	"daos/engine/object"
	"daos/internal/fault"
)

// ReadEpoch answers with a closed epoch not below seen and not below any epoch
// that was answered; at once where it can, else by a Closed action.
func (k *Kernel) ReadEpoch(id uint64, seen object.Epoch, out []Action) []Action {
	r := reader{id: id, need: max(seen, k.answered), seen: seen}
	if a, ok := k.closed(r); ok {
		return append(out, a)
	}
	i, _ := slices.BinarySearchFunc(k.readers, r, func(a, b reader) int {
		if c := cmp.Compare(a.need, b.need); c != 0 {
			return c
		}
		return -1 // behind those that need the same
	})
	k.readers = slices.Insert(k.readers, i, r)
	return out
}

// CancelRead forgets a ReadEpoch that waits.
func (k *Kernel) CancelRead(id uint64) {
	k.readers = slices.DeleteFunc(k.readers, func(r reader) bool { return r.id == id })
}

// closed is the answer to r, if there is one yet.
func (k *Kernel) closed(r reader) (Action, bool) {
	a := Action{Kind: Closed, ID: r.id}
	if len(k.undecided.all) == 0 {
		if e, ok := k.next(); ok && e > r.need {
			a.Epoch = e
			return a, true
		}
		// The clock stands still: what was answered is closed, and nothing more
		// will be written.
		a.Epoch = r.need
		if r.need == 0 {
			a.Err = fault.New(fault.Internal, "clock.read", "clock", "the clock's ceiling can't be kept").
				Do("check the disk that the engine's root lies on")
		}
		return a, true
	}
	oldest := k.undecided.all[0]
	if top := oldest.epoch - 1; top >= r.need || k.stuck != nil && oldest.state == unknown && top >= r.seen {
		a.Epoch = top
		return a, true
	}
	if k.stuck != nil && oldest.state == unknown {
		a.Err = fault.New(fault.Unreachable, "clock.read", "dataset", "epoch %d can't be read: a transaction before it is undecided since a target has stopped", uint64(r.seen)).
			Because(k.stuck).Do("restart the server")
		return a, true
	}
	return a, false
}

// wake answers the readers whose epoch is closed by now.
func (k *Kernel) wake(out []Action) []Action {
	n := 0
	for n < len(k.readers) {
		a, ok := k.closed(k.readers[n])
		if !ok {
			break // need rises along the list
		}
		out = append(out, a)
		n++
	}
	k.readers = slices.Delete(k.readers, 0, n)
	return out
}

// Answered is the highest epoch of a commit since the kernel was made.
func (k *Kernel) Answered() object.Epoch { return k.answered }

// Undecided is the lowest epoch of a transaction that may still commit or
// abort, object.EpochMax if there is none.
func (k *Kernel) Undecided() object.Epoch {
	if len(k.undecided.all) > 0 {
		return k.undecided.all[0].epoch
	}
	return object.EpochMax
}

// Settled is an epoch up to which no transaction has rows that must stay.
func (k *Kernel) Settled() object.Epoch {
	k.unsettled.trim(func(t *txn) bool { return t.settled })
	if len(k.unsettled.all) > 0 {
		return k.unsettled.all[0].epoch - 1
	}
	// One that is validating now pushes its row later.
	if len(k.undecided.all) > 0 {
		return k.undecided.all[0].epoch - 1
	}
	return object.EpochMax
}

// Deferred counts the deferred transactions that have ever committed. After
// every target has synced, SyncedUpTo with the count of before tells the kernel.
func (k *Kernel) Deferred() uint64 { return k.synced + uint64(len(k.deferred)) }

// Unsynced reports whether a deferred transaction is not known to be durable.
func (k *Kernel) Unsynced() bool { return len(k.deferred) > 0 }

// SyncedUpTo says that the first n of Deferred are durable.
func (k *Kernel) SyncedUpTo(n uint64) {
	if n <= k.synced {
		return
	}
	done := min(n-k.synced, uint64(len(k.deferred)))
	for _, t := range k.deferred[:done] {
		t.settled = true
	}
	k.deferred = slices.Delete(k.deferred, 0, int(done))
	k.synced += done
	k.unsettled.trim(func(t *txn) bool { return t.settled })
}

func sortByID(all []*txn) {
	slices.SortFunc(all, func(a, b *txn) int { return cmp.Compare(a.id, b.id) })
}

func cloneBytes(b []byte) []byte { return bytes.Clone(b) }
