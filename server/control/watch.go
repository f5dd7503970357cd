package control

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"daos/internal/fault"
)

// Watch implements Store. It reads the log that transactions write, so a slow
// watcher costs no memory and loses nothing.
func (s *Local) Watch(ctx context.Context, prefix string, from Rev, fn func(Rev, []Event) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.users.Done()
	for {
		s.mu.Lock()
		upto, moved := s.mu.rev, s.mu.moved
		if from == 0 {
			from = upto + 1
		}
		if from <= s.mu.compacted {
			err := s.goneLocked(from)
			s.mu.Unlock()
			return err
		}
		var view *pebble.Snapshot // compaction can't touch it
		if from <= upto {
			view = s.db.NewSnapshot()
		}
		s.mu.Unlock()
		if view != nil {
			if err := errors.Join(replay(view, prefix, from, upto, fn), view.Close()); err != nil {
				return err
			}
			from = upto + 1
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return fault.New(fault.Unreachable, "control.watch", prefix, "the control store is closed")
		}
	}
}

// replay gives fn the changes of revisions [from, upto], one call a revision
// that has any that match, and a last one for the rest.
func replay(view *pebble.Snapshot, prefix string, from, upto Rev, fn func(Rev, []Event) error) error {
	it, err := view.NewIter(&pebble.IterOptions{LowerBound: logKey(from, ""), UpperBound: logKey(upto+1, "")})
	if err != nil {
		return err
	}
	var events []Event
	told := from - 1
	flush := func(rev Rev) error {
		if len(events) == 0 {
			return nil
		}
		batch := events
		events, told = nil, rev
		return fn(rev, batch)
	}
	at := from
	for ok := it.First(); ok; ok = it.Next() {
		if len(it.Key()) < 10 {
			return errors.Join(damaged("log key %x", it.Key()), it.Close())
		}
		rev, key := Rev(binary.BigEndian.Uint64(it.Key()[1:])), string(it.Key()[9:])
		if rev != at {
			if err := flush(at); err != nil {
				return errors.Join(err, it.Close())
			}
			at = rev
		}
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		kv, ok, err := get(view, key, rev)
		if err != nil {
			return errors.Join(err, it.Close())
		}
		events = append(events, Event{Rev: rev, Key: key, Value: kv.Value, Deleted: !ok})
	}
	if err := errors.Join(flush(at), it.Close()); err != nil {
		return err
	}
	if told < upto {
		return fn(upto, nil)
	}
	return nil
}

// Compact forgets states older than a revision, as etcd does when told to.
func (s *Local) Compact(ctx context.Context, upto Rev) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.users.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if upto > s.mu.rev {
		return s.goneLocked(upto)
	}
	return s.compactLocked(upto)
}

// compactLocked keeps of each key the newest version at or below upto, unless
// that is a deletion, and everything above.
func (s *Local) compactLocked(upto Rev) error {
	if upto <= s.mu.compacted {
		return nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{'v'}, UpperBound: []byte{'v' + 1}})
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	last := ""
	for ok := it.First(); ok; ok = it.Next() {
		key, rev, err := splitVersionKey(it.Key())
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if rev > upto {
			continue
		}
		if key == last {
			_ = b.Delete(it.Key(), nil)
			continue
		}
		last = key
		if v, err := decodeVersion(it.Value()); err != nil {
			return errors.Join(err, it.Close())
		} else if v.deleted {
			_ = b.Delete(it.Key(), nil)
		}
	}
	if err := it.Close(); err != nil {
		return err
	}
	_ = b.DeleteRange(logKey(0, ""), logKey(upto+1, ""), nil)
	_ = b.Set(keyCompacted, binary.LittleEndian.AppendUint64(nil, uint64(upto)), nil)
	if err := b.Commit(pebble.Sync); err != nil {
		return fault.New(fault.KindOf(err), "control.compact", "control store", "can't write").Because(err)
	}
	s.mu.compacted = upto
	return nil
}
