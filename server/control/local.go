package control

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/internal/fault"
	"daos/internal/guardfs"
)

// Options configure a local store.
type Options struct {
	FS  vfs.FS           // nil: the disk
	Now func() time.Time // nil: the wall clock
	// Keep is how many revisions can be read and watched back; 0: 10,000.
	Keep Rev
	// Logger gets pebble's messages; nil: none but the fatal ones.
	Logger pebble.Logger
}

// Local is a Store in a folder of one process. One lock makes transactions
// serial; on one machine this is the log of changes that etcd is elsewhere.
type Local struct {
	db    *pebble.DB
	guard *guardfs.FS
	fs    vfs.FS
	dir   string
	now   func() time.Time
	keep  Rev

	mu struct {
		sync.Mutex
		rev       Rev
		compacted Rev
		leases    map[LeaseID]*lease
		moved     chan struct{} // closed and replaced at each new revision
		closed    bool
		users     sync.WaitGroup
	}
	done chan struct{}
}

type lease struct {
	ttl  time.Duration
	ends time.Time
}

var _ Store = (*Local)(nil)

// Open opens or makes a local store in a folder. Leases begin anew: nobody
// could renew them while the store was closed.
func Open(dir string, o Options) (*Local, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keep <= 0 {
		o.Keep = 10_000
	}
	if o.Logger == nil {
		o.Logger = quiet{}
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	// Damage near the end of a log looks to pebble like the torn end that a crash
	// leaves; the ledger of the guard tells them apart.
	guard := guardfs.New(o.FS, "control store")
	if err := guard.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.KindOf(err), "control.open", dir, "the folder can't be made").Because(err)
	}
	if err := guard.OpenLedger(dir, dir); err != nil {
		return nil, err
	}
	db, err := pebble.Open(dir, &pebble.Options{
		FS: guard, FormatMajorVersion: pebble.FormatColumnarBlocks, Logger: o.Logger, MemTableSize: 4 << 20,
	})
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "control.open", dir, "can't open the control store").Because(err)
	}
	s := &Local{db: db, guard: guard, fs: o.FS, dir: dir, now: o.Now, keep: o.Keep, done: make(chan struct{})}
	s.mu.leases = map[LeaseID]*lease{}
	s.mu.moved = make(chan struct{})
	if err := s.load(); err != nil {
		return nil, errors.Join(fault.Wrap(err, "control.open", dir), db.Close())
	}
	return s, nil
}

func (s *Local) load() error {
	v, err := s.number(keyFormat)
	if err != nil {
		return err
	}
	if v == 0 {
		if err := s.db.Set(keyFormat, binary.LittleEndian.AppendUint64(nil, formatVersion), pebble.Sync); err != nil {
			return err
		}
	} else if v != formatVersion {
		return fault.New(fault.Unsupported, "control.open", "", "the control store has format %d, this version reads %d", v, formatVersion).
			Do("run the version of daos that wrote it")
	}
	c, err := s.number(keyCompacted)
	if err != nil {
		return err
	}
	s.mu.compacted, s.mu.rev = Rev(c), Rev(c)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{'l'}, UpperBound: []byte{'l' + 1}})
	if err != nil {
		return err
	}
	if it.Last() {
		if len(it.Key()) < 9 {
			return errors.Join(damaged("log key %x", it.Key()), it.Close())
		}
		s.mu.rev = Rev(binary.BigEndian.Uint64(it.Key()[1:]))
	}
	if err := it.Close(); err != nil {
		return err
	}
	return s.loadLeases()
}

func (s *Local) number(key []byte) (uint64, error) {
	b, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if len(b) != 8 {
		return 0, damaged("%s has %d bytes", key, len(b))
	}
	return binary.LittleEndian.Uint64(b), nil
}

// enter counts a user of the database, so that Close waits for him; the caller
// holds no lock and calls mu.users.Done when it returned nil.
func (s *Local) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return fault.New(fault.Unreachable, "control", "", "the control store is closed")
	}
	s.mu.users.Add(1)
	return nil
}

// Commit implements Store.
func (s *Local) Commit(ctx context.Context, t Txn) (Rev, bool, error) {
	if err := t.Check(); err != nil {
		return 0, false, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, false, err
	}
	defer s.mu.users.Done()
	s.mu.Lock()
	defer s.mu.Unlock() // held over the sync: transactions are serial
	for _, c := range t.If {
		kv, _, err := get(s.db, c.Key, s.mu.rev)
		if err != nil {
			return 0, false, err
		}
		if kv.Modified != c.Modified {
			return s.mu.rev, false, nil
		}
	}
	if err := s.space(); err != nil {
		return 0, false, err
	}
	for _, o := range t.Then {
		if o.Lease != 0 && s.mu.leases[o.Lease] == nil {
			return 0, false, noLease(o.Lease)
		}
	}
	rev, err := s.applyLocked(t.Then, nil)
	return rev, err == nil, err
}

// minFree is what a disk must have left for a change: pebble must not meet a
// full disk in its log. It is far below where the engine stops taking data, so
// that datasets can still be destroyed then.
const minFree = 16 << 20

func (s *Local) space() error {
	u, err := s.fs.GetDiskUsage(s.dir)
	if err != nil || u.TotalBytes == 0 {
		return nil //nolint:nilerr // a file system that does not say
	}
	if least := min(minFree, u.TotalBytes/100); u.AvailBytes < least {
		return fault.New(fault.NoSpace, "control.commit", s.dir, "the disk is full: %d KiB are free", u.AvailBytes>>10).
			Do("free space on this file system; reads go on")
	}
	return nil
}

// applyLocked writes ops at the next revision; drop, where given, is a lease
// that ends with them.
func (s *Local) applyLocked(ops []Op, drop *LeaseID) (Rev, error) {
	rev := s.mu.rev + 1
	b := s.db.NewBatch()
	defer b.Close()
	changed := false
	for _, o := range ops {
		old, ok, err := get(s.db, o.Key, s.mu.rev)
		if err != nil {
			return 0, err
		}
		if o.Delete && !ok {
			continue
		}
		changed = true
		v := version{deleted: o.Delete, created: old.Created, lease: o.Lease, value: o.Value}
		if !ok {
			v.created = rev
		}
		if old.Lease != 0 {
			_ = b.Delete(leaseHold(old.Lease, o.Key), nil) // a batch in memory does not fail
		}
		if o.Lease != 0 && !o.Delete {
			_ = b.Set(leaseHold(o.Lease, o.Key), nil, nil)
		}
		_ = b.Set(versionKey(o.Key, rev), v.encode(), nil)
		_ = b.Set(logKey(rev, o.Key), nil, nil)
	}
	if drop != nil {
		_ = b.Delete(leaseKey(*drop), nil)
	}
	if !changed && drop == nil {
		return s.mu.rev, nil
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return 0, fault.New(fault.KindOf(err), "control.commit", "control store", "can't write").Because(err)
	}
	if drop != nil {
		delete(s.mu.leases, *drop)
	}
	if changed {
		s.mu.rev = rev
		close(s.mu.moved)
		s.mu.moved = make(chan struct{})
		if rev-s.mu.compacted > 2*s.keep {
			if err := s.compactLocked(rev - s.keep); err != nil {
				return rev, err
			}
		}
	}
	return s.mu.rev, nil
}

// get reads a key at a revision; a KV of an absent key has Modified 0.
func get(r pebble.Reader, key string, at Rev) (KV, bool, error) {
	prefix := versionKey(key, 0)
	prefix = prefix[:len(prefix)-8]
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: versionKey(key, at), UpperBound: after(prefix)})
	if err != nil {
		return KV{}, false, err
	}
	if !it.First() {
		return KV{}, false, it.Close()
	}
	_, rev, err := splitVersionKey(it.Key())
	v, err2 := decodeVersion(it.Value())
	if err := errors.Join(err, err2, it.Close()); err != nil {
		return KV{}, false, err
	}
	if v.deleted {
		return KV{}, false, nil
	}
	return KV{Key: key, Value: v.value, Created: v.created, Modified: rev, Lease: v.lease}, true, nil
}

// Get implements Store.
func (s *Local) Get(ctx context.Context, key string) (KV, bool, error) {
	if err := CheckKey(key); err != nil {
		return KV{}, false, err
	}
	if err := s.enter(ctx); err != nil {
		return KV{}, false, err
	}
	defer s.mu.users.Done()
	s.mu.Lock()
	defer s.mu.Unlock() // or a compaction could take the version away
	return get(s.db, key, s.mu.rev)
}

// Range implements Store.
func (s *Local) Range(ctx context.Context, prefix string, at Rev) ([]KV, Rev, error) {
	if strings.IndexByte(prefix, 0) >= 0 || len(prefix) > MaxKey {
		return nil, 0, fault.New(fault.Invalid, "control.range", "", "the prefix is not a key's")
	}
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer s.mu.users.Done()
	s.mu.Lock()
	if at == 0 {
		at = s.mu.rev
	}
	if at < s.mu.compacted || at > s.mu.rev {
		err := s.goneLocked(at)
		s.mu.Unlock()
		return nil, 0, err
	}
	lower := append([]byte{'v'}, prefix...)
	// The iterator is a stable view: compaction after this point can't touch it.
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower)})
	s.mu.Unlock()
	if err != nil {
		return nil, 0, err
	}
	var out []KV
	last := "" // the key whose version at `at` has been met; no key is empty
	for ok := it.First(); ok; ok = it.Next() {
		key, rev, err := splitVersionKey(it.Key())
		if err != nil {
			return nil, 0, errors.Join(err, it.Close())
		}
		if key == last || rev > at {
			continue
		}
		last = key
		v, err := decodeVersion(it.Value())
		if err != nil {
			return nil, 0, errors.Join(err, it.Close())
		}
		if !v.deleted {
			out = append(out, KV{Key: key, Value: v.value, Created: v.created, Modified: rev, Lease: v.lease})
		}
	}
	return out, at, it.Close()
}

func (s *Local) goneLocked(at Rev) error {
	if at > s.mu.rev {
		return fault.New(fault.Invalid, "control.range", "", "revision %d lies in the future (now %d)", at, s.mu.rev)
	}
	return fault.New(fault.EpochGone, "control.range", "", "revision %d has been compacted (kept from %d)", at, s.mu.compacted).
		Do("read the newest state and go on from its revision")
}

// Close implements Store.
func (s *Local) Close() error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil
	}
	s.mu.closed = true
	close(s.done)
	s.mu.Unlock()
	s.mu.users.Wait()
	err := s.db.Close()
	s.guard.CloseLedger()
	return err
}

// quiet drops pebble's chatter. Its fatal messages are broken invariants of the
// store: going on would risk what it holds.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fault.New(fault.Internal, "control.pebble", "control store", format, args...))
}
