package pool

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/server/control"
)

// MaxTTL is the longest life of an expiring snapshot after its last use.
const MaxTTL = 100 * 365 * 24 * time.Hour

func (n *Snapshot) expired(now time.Time) bool { return n.Expires != 0 && now.UnixNano() >= n.Expires }

// stale reports whether a tenth of the life of an expiring snapshot has gone by
// since it was renewed: uses in between write nothing.
func (n *Snapshot) stale(now time.Time) bool {
	return n.Expires != 0 && time.Duration(n.Expires-now.UnixNano()) < n.TTL-n.TTL/10
}

// NewSnapshot says what to make.
type NewSnapshot struct {
	Name string // empty with Auto: made up
	TTL  time.Duration
	Auto bool
	Seen object.Epoch
}

// CreateSnapshot names an epoch that contains every write answered before the
// call. The engine keeps it from then on.
func (s *Service) CreateSnapshot(ctx context.Context, a address.Address, n NewSnapshot, request object.RequestID) (*Snapshot, error) {
	const op = "snapshot.create"
	if n.TTL < 0 || n.TTL > MaxTTL {
		return nil, fault.New(fault.Invalid, op, a.DatasetName(), "a life of %s is out of range", n.TTL).Do("use 0 for ever, or up to 100 years")
	}
	if n.Name != "" || !n.Auto {
		if err := address.CheckName("snapshot", n.Name); err != nil {
			return nil, err
		}
	}
	var out *Snapshot
	err := s.mutate(ctx, mutation{
		op: op, resource: a.DatasetName() + "@" + n.Name, request: request,
		build: func(ctx context.Context) (control.Txn, any, error) {
			d, err := s.lookup(a)
			if err != nil {
				return control.Txn{}, nil, err
			}
			if s.state.countSnapshots(d.ID) >= MaxSnapshots {
				return control.Txn{}, nil, fault.New(fault.NoSpace, op, d.Address(), "the dataset has %d snapshots", MaxSnapshots).Do("destroy some that nobody needs")
			}
			store, err := s.engine.Store(ctx, d.ID)
			if err != nil {
				return control.Txn{}, nil, err
			}
			epoch, err := store.ReadEpoch(ctx, n.Seen)
			if err != nil {
				return control.Txn{}, nil, err
			}
			name := n.Name
			if name == "" {
				name = fmt.Sprintf("auto-%016x", uint64(epoch))
			}
			if _, ok := s.state.snapshot(d.ID, name); ok {
				return control.Txn{}, nil, fault.New(fault.Exists, op, d.Address()+"@"+name, "there is a snapshot of this name").Do("choose another name, or use it as it is")
			}
			now := s.now()
			out = &Snapshot{Dataset: d.ID, Name: name, Epoch: epoch, Created: now.UnixNano(), TTL: n.TTL, Auto: n.Auto}
			if n.TTL > 0 {
				out.Expires = now.Add(n.TTL).UnixNano()
			}
			key := snapshotKey(d.ID, name)
			return control.Txn{
				If:   []control.Compare{control.Absent(key), {Key: datasetKey(d.Pool, d.Name), Modified: d.modified}},
				Then: []control.Op{control.Put(key, encode(out))},
			}, out, nil
		},
		replay: func(b []byte) error { out = &Snapshot{}; return decode(a.DatasetName(), b, out) },
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DestroySnapshot removes a snapshot; versions that only it needed are swept
// later. fault.NotEmpty names the views that read it; with force they can't be
// read any more.
func (s *Service) DestroySnapshot(ctx context.Context, a address.Address, force bool, request object.RequestID) error {
	return s.mutate(ctx, mutation{
		op: "snapshot.destroy", resource: a.DatasetName(), request: request,
		build: func(ctx context.Context) (control.Txn, any, error) {
			d, n, err := s.lookupSnapshot(a)
			if err != nil {
				return control.Txn{}, nil, err
			}
			if !force {
				// A view that is made from now on writes the snapshot's record anew.
				if err := s.unread(ctx, d, n); err != nil {
					return control.Txn{}, nil, err
				}
			}
			key := snapshotKey(d.ID, n.Name)
			return control.Txn{If: []control.Compare{{Key: key, Modified: n.modified}}, Then: []control.Op{control.Delete(key)}}, nil, nil
		},
	})
}

// unread is an error where views read a snapshot.
func (s *Service) unread(ctx context.Context, d *Dataset, n *Snapshot) error {
	const named = 3
	all, err := s.viewsOf(ctx, d.ID)
	if err != nil {
		return err
	}
	var views []string
	for _, v := range all {
		if v.Snapshot == n.Name && v.Epoch == n.Epoch {
			views = append(views, v.Name)
		}
	}
	if len(views) == 0 {
		return nil
	}
	which := "view " + strings.Join(views[:min(named, len(views))], ", ")
	if more := len(views) - named; more > 0 {
		which = fmt.Sprintf("%s and %d more", which, more)
	}
	return fault.New(fault.NotEmpty, "snapshot.destroy", d.Address()+"@"+n.Name, "the snapshot is read by %s", which).
		Do("`daos view rm %s %s` removes a view, with a snapshot that it has made; or use --force (force=True): the view can't be read any more then", d.Address(), views[0])
}

func (s *Service) lookupSnapshot(a address.Address) (*Dataset, *Snapshot, error) {
	d, err := s.lookup(a)
	if err != nil {
		return nil, nil, err
	}
	n, ok := s.state.snapshot(d.ID, a.Snapshot)
	if !ok || n.expired(s.now()) {
		return nil, nil, s.noSnapshot(a, d)
	}
	return d, n, nil
}

// Touch renews an expiring snapshot; one that does not expire is left alone.
func (s *Service) Touch(ctx context.Context, a address.Address) (*Snapshot, error) {
	for range maxAttempts {
		d, n, err := s.lookupSnapshot(a)
		if err != nil {
			return nil, err
		}
		if n.Expires == 0 {
			return n, nil
		}
		err = s.touch(ctx, d, n)
		if fault.Is(err, fault.Conflict) {
			continue
		}
		if err != nil {
			return nil, err
		}
		_, n, err = s.lookupSnapshot(a)
		return n, err
	}
	return nil, fault.New(fault.Conflict, "snapshot.touch", a.DatasetName(), "others change it all the time").Do("try again")
}

// touch renews n as it was read; fault.Conflict if it has changed since.
func (s *Service) touch(ctx context.Context, d *Dataset, n *Snapshot) error {
	next := *n
	next.Expires = s.now().Add(n.TTL).UnixNano()
	key := snapshotKey(d.ID, n.Name)
	rev, ok, err := s.ctl.Commit(ctx, control.Txn{
		If:   []control.Compare{{Key: key, Modified: n.modified}},
		Then: []control.Op{control.Put(key, encode(next))},
	})
	if err != nil {
		return err
	}
	if err := s.state.wait(ctx, rev); err != nil {
		return err
	}
	if !ok {
		return fault.New(fault.Conflict, "snapshot.touch", d.Address()+"@"+n.Name, "it has changed meanwhile")
	}
	return nil
}

// pinTable remembers the leases of the pins that this process has made. Losing
// it costs nothing: the leases end by themselves.
type pinTable struct {
	sync.Mutex
	leases map[pinName]control.LeaseID
}

type pinName struct {
	id    object.DatasetID
	epoch object.Epoch
}

// PinTTL is how long an epoch stays readable for a client after its last use.
const PinTTL = 10 * time.Minute

// Pin keeps an epoch of a dataset readable for PinTTL from now on. It is for
// clients that go on at an epoch for longer than the engine's window.
//
// On a full disk it keeps nothing and is no error: reads go on there, and the
// window holds without a pin.
func (s *Service) Pin(ctx context.Context, id object.DatasetID, epoch object.Epoch) error {
	err := s.pin(ctx, id, epoch)
	if fault.Is(err, fault.NoSpace) {
		s.log.WarnContext(ctx, "can't pin an epoch", "dataset", uint64(id), "epoch", uint64(epoch), "err", err)
		return nil
	}
	return err
}

func (s *Service) pin(ctx context.Context, id object.DatasetID, epoch object.Epoch) error {
	name := pinName{id, epoch}
	s.pins.Lock()
	lease, ok := s.pins.leases[name]
	s.pins.Unlock()
	if ok {
		err := s.ctl.KeepAlive(ctx, lease)
		if !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	lease, err := s.ctl.Grant(ctx, PinTTL)
	if err != nil {
		return err
	}
	rev, _, err := s.ctl.Commit(ctx, control.Txn{Then: []control.Op{{Key: pinKey(id, epoch), Lease: lease}}})
	if err != nil {
		return err
	}
	s.pins.Lock()
	if len(s.pins.leases) >= maxPins {
		clear(s.pins.leases)
	}
	s.pins.leases[name] = lease
	s.pins.Unlock()
	return s.state.wait(ctx, rev)
}

// maxPins bounds the table of leases.
const maxPins = 10_000
