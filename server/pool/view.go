package pool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/server/control"
)

// Limits of views.
const (
	MaxViews    = 1000 // of one dataset
	MaxViewName = 100  // characters: its snapshots have a longer name
	// MaxViewQuery is the bytes of a query that is kept.
	MaxViewQuery = 64 << 10
	// ReplacedTTL is how long the snapshot of an earlier revision lives after its
	// last use: a pass over it goes on.
	ReplacedTTL = 24 * time.Hour
)

// View is the record of a view: where its list lies, and what it came from. The
// list is in the dataset's own store (loader/view).
type View struct {
	Dataset      object.DatasetID `json:"dataset"`
	Name         string           `json:"name"`
	Revision     uint64           `json:"revision"`
	Snapshot     string           `json:"snapshot"`
	OwnsSnapshot bool             `json:"owns_snapshot,omitempty"`
	Epoch        object.Epoch     `json:"epoch"`
	Path         []byte           `json:"path,omitempty"` // below which samples are numbered
	List         uint64           `json:"list"`           // its number in the store
	Samples      uint64           `json:"samples"`
	Digest       string           `json:"digest"`
	Ordered      bool             `json:"ordered,omitempty"`
	LeftOut      uint64           `json:"left_out,omitempty"`
	Kind         string           `json:"kind"` // scan, sql
	Query        string           `json:"query"`
	Request      []byte           `json:"request"` // the message of the query
	Of           string           `json:"of,omitempty"`
	User         string           `json:"user"`
	Created      int64            `json:"created"`
	Refreshed    int64            `json:"refreshed,omitempty"`
	RefreshedBy  string           `json:"refreshed_by,omitempty"`

	modified control.Rev
}

// Prefixes of the keys of views.
const (
	prefixView   = "view/"
	prefixLitter = "list/"
)

func viewKey(id object.DatasetID, name string) string {
	return fmt.Sprintf("%s%016x/%s", prefixView, uint64(id), name)
}

// CheckViewName checks the name of a view.
func CheckViewName(name string) error {
	if err := address.CheckName("view", name); err != nil {
		return err
	}
	if len(name) > MaxViewName {
		return fault.New(fault.TooBig, "view.name", name, "the name has %d characters, at most %d are allowed", len(name), MaxViewName).Do("choose a shorter one")
	}
	return nil
}

// Views are the views of a dataset, by name.
func (s *Service) Views(ctx context.Context, a address.Address) ([]*View, error) {
	d, err := s.lookup(a)
	if err != nil {
		return nil, err
	}
	return s.viewsOf(ctx, d.ID)
}

func (s *Service) viewsOf(ctx context.Context, id object.DatasetID) ([]*View, error) {
	kvs, _, err := s.ctl.Range(ctx, viewKey(id, ""), 0)
	if err != nil {
		return nil, err
	}
	var out []*View
	for _, kv := range kvs {
		v := &View{modified: kv.Modified}
		if err := decode(kv.Key, kv.Value, v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// View finds a view.
func (s *Service) View(ctx context.Context, a address.Address, name string) (*View, error) {
	if err := CheckViewName(name); err != nil {
		return nil, err
	}
	d, err := s.lookup(a)
	if err != nil {
		return nil, err
	}
	v, err := s.viewOf(ctx, d.ID, name)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, fault.New(fault.NotFound, "view.get", d.Address(), "there is no view %q", name).
			Do("`daos view ls %s` shows those that there are", d.Address())
	}
	return v, nil
}

// viewOf is nil where there is none.
func (s *Service) viewOf(ctx context.Context, id object.DatasetID, name string) (*View, error) {
	kv, ok, err := s.ctl.Get(ctx, viewKey(id, name))
	if err != nil || !ok {
		return nil, err
	}
	// Its snapshot came in the same transaction: that is known by then.
	if err := s.state.wait(ctx, kv.Modified); err != nil {
		return nil, err
	}
	v := &View{modified: kv.Modified}
	return v, decode(kv.Key, kv.Value, v)
}

// SnapshotOf is the snapshot of a view; fault.NotFound names it where it is gone,
// or where another one has its name.
func (s *Service) SnapshotOf(a address.Address, v *View) (*Snapshot, error) {
	d, err := s.lookup(a)
	if err != nil {
		return nil, err
	}
	n, ok := s.state.snapshot(d.ID, v.Snapshot)
	why := "is gone"
	if ok && n.expired(s.now()) {
		ok = false
	}
	if ok && n.Epoch != v.Epoch {
		ok, why = false, "is another one now"
	}
	if !ok {
		return nil, fault.New(fault.NotFound, "view.open", d.Address()+"@"+v.Snapshot, "the snapshot of view %q %s", v.Name, why).
			Do("`daos view refresh %s %s` runs its query again at the present state", d.Address(), v.Name)
	}
	return n, nil
}

// OpenView finds a view and its snapshot. A refresh that takes the snapshot away
// meanwhile is no error: the view has the next one then.
func (s *Service) OpenView(ctx context.Context, a address.Address, name string) (*View, *Snapshot, error) {
	v, err := s.View(ctx, a, name)
	for err == nil {
		n, gone := s.SnapshotOf(a, v)
		if gone == nil {
			return v, n, nil
		}
		old := v.modified
		if v, err = s.View(ctx, a, name); err == nil && v.modified == old {
			return nil, nil, gone
		}
	}
	return nil, nil, err
}

// SinceView is the outcome of reading what belongs to a view: fault.Stale where it
// failed because the view is another one by now, or is gone.
func (s *Service) SinceView(ctx context.Context, op string, a address.Address, v *View, err error) error {
	if err == nil {
		return nil
	}
	if now, gone := s.View(ctx, a, v.Name); gone != nil || now.List != v.List {
		return fault.New(fault.Stale, op, a.DatasetName(), "view %q was changed meanwhile", v.Name).Do("open it again")
	}
	return err
}

// ReplayedView is the answer of a request that has made a view before.
func (s *Service) ReplayedView(ctx context.Context, op string, a address.Address, name string, request object.RequestID) (v *View, ok bool, err error) {
	v = &View{}
	ok, err = s.replay(ctx, mutation{op: op, resource: viewResource(a, name), request: request, replay: func(b []byte) error { return decode(name, b, v) }})
	return v, ok, err
}

func viewResource(a address.Address, name string) string {
	return a.Live().DatasetName() + " view " + name
}

// PutView makes a view, or the next revision of old, whose list is on disk. It
// is one transaction with the snapshot, which the view makes itself where it has
// none, at v.Epoch: the caller keeps that readable until then.
//
// An earlier revision's own snapshot expires ReplacedTTL after its last use.
func (s *Service) PutView(ctx context.Context, op string, a address.Address, v, old *View, request object.RequestID) (*View, error) {
	own := v.Snapshot == ""
	var out *View
	err := s.mutate(ctx, mutation{
		op: op, resource: viewResource(a, v.Name), request: request,
		build: func(ctx context.Context) (control.Txn, any, error) {
			d, err := s.lookup(a)
			if err != nil {
				return control.Txn{}, nil, err
			}
			if d.ID != v.Dataset {
				return control.Txn{}, nil, fault.New(fault.Conflict, op, d.Address(), "the dataset was made anew meanwhile").Do("run the query again")
			}
			now, err := s.viewOf(ctx, d.ID, v.Name)
			if err != nil {
				return control.Txn{}, nil, err
			}
			key := viewKey(d.ID, v.Name)
			row := *v
			txn := control.Txn{If: []control.Compare{{Key: datasetKey(d.Pool, d.Name), Modified: d.modified}}}
			switch {
			case now == nil && old != nil || now != nil && old != nil && now.modified != old.modified:
				return control.Txn{}, nil, fault.New(fault.Conflict, op, d.Address(), "view %q was changed meanwhile", v.Name).Do("try again")
			case now != nil && old == nil:
				return control.Txn{}, nil, viewExists(d, v.Name)
			case now == nil:
				txn.If = append(txn.If, control.Absent(key))
				kvs, err := s.viewsOf(ctx, d.ID)
				if err != nil {
					return control.Txn{}, nil, err
				}
				if len(kvs) >= MaxViews {
					return control.Txn{}, nil, fault.New(fault.NoSpace, op, d.Address(), "the dataset has %d views", MaxViews).Do("remove some that nobody needs")
				}
			default:
				txn.If = append(txn.If, control.Compare{Key: key, Modified: now.modified})
			}
			if own {
				if err := s.ownSnapshot(d, &row, &txn); err != nil {
					return control.Txn{}, nil, err
				}
			} else {
				n, ok := s.state.snapshot(d.ID, row.Snapshot)
				if !ok || n.Epoch != row.Epoch {
					return control.Txn{}, nil, fault.New(fault.NotFound, op, d.Address()+"@"+row.Snapshot, "the snapshot was destroyed meanwhile").Do("run the query again")
				}
				key := snapshotKey(d.ID, n.Name)
				txn.If = append(txn.If, control.Compare{Key: key, Modified: n.modified})
				// Written anew as it is: a call that removes it with the view that made
				// it has not seen this one.
				txn.Then = append(txn.Then, control.Put(key, encode(n)))
			}
			switch {
			case old == nil || !old.OwnsSnapshot:
			case old.Snapshot != row.Snapshot:
				if err := s.retire(ctx, d, old, &txn); err != nil {
					return control.Txn{}, nil, err
				}
			default: // it reads on what it has made
				row.OwnsSnapshot = old.Epoch == row.Epoch
			}
			txn.Then = append(txn.Then, control.Put(key, encode(row)), control.Delete(litterKey(Litter{d.ID, row.List})))
			if old != nil {
				txn.Then = append(txn.Then, control.Put(litterKey(Litter{d.ID, old.List}), nil))
			}
			out = &row
			return txn, row, nil
		},
		replay: func(b []byte) error { out = &View{}; return decode(v.Name, b, out) },
	})
	return out, err
}

func viewExists(d *Dataset, name string) error {
	return fault.New(fault.Exists, "view.save", d.Address(), "there is a view %q", name).
		Do("choose another name, replace it, or run its query again with `daos view refresh %s %s`", d.Address(), name)
}

// OwnSnapshot is the name of the snapshot that a view makes: try 1, or another one
// where that is taken.
func OwnSnapshot(v *View, try int) string {
	name := fmt.Sprintf("view-%s-%d", v.Name, v.Revision)
	if try > 1 {
		name = fmt.Sprintf("%s.%d", name, try)
	}
	return name
}

// ownSnapshot adds the snapshot that a view makes.
func (s *Service) ownSnapshot(d *Dataset, v *View, txn *control.Txn) error {
	if s.state.countSnapshots(d.ID) >= MaxSnapshots {
		return fault.New(fault.NoSpace, "view.save", d.Address(), "the dataset has %d snapshots", MaxSnapshots).Do("destroy some that nobody needs")
	}
	name := OwnSnapshot(v, 1)
	for k := 2; ; k++ { // of an earlier view of this name, still in use
		if _, ok := s.state.snapshot(d.ID, name); !ok {
			break
		}
		name = OwnSnapshot(v, k)
	}
	v.Snapshot, v.OwnsSnapshot = name, true
	n := &Snapshot{Dataset: d.ID, Name: name, Epoch: v.Epoch, Created: s.now().UnixNano()}
	key := snapshotKey(d.ID, name)
	txn.If = append(txn.If, control.Absent(key))
	txn.Then = append(txn.Then, control.Put(key, encode(n)))
	return nil
}

// retire lets the snapshot of an earlier revision expire, unless another view
// reads it.
func (s *Service) retire(ctx context.Context, d *Dataset, old *View, txn *control.Txn) error {
	n, ok := s.state.snapshot(d.ID, old.Snapshot)
	if !ok || n.Epoch != old.Epoch {
		return nil
	}
	if heir, err := s.inherit(ctx, old, txn); err != nil || heir != "" {
		return err
	}
	next := *n
	next.TTL, next.Expires = ReplacedTTL, s.now().Add(ReplacedTTL).UnixNano()
	key := snapshotKey(d.ID, n.Name)
	txn.If = append(txn.If, control.Compare{Key: key, Modified: n.modified})
	txn.Then = append(txn.Then, control.Put(key, encode(next)))
	return nil
}

// inherit makes a snapshot that a view has made and reads no longer that of
// another view that reads it, so that it goes with that one; "": there is none.
func (s *Service) inherit(ctx context.Context, v *View, txn *control.Txn) (heir string, err error) {
	all, err := s.viewsOf(ctx, v.Dataset)
	if err != nil {
		return "", err
	}
	for _, x := range all {
		if x.Name == v.Name || x.Snapshot != v.Snapshot || x.Epoch != v.Epoch {
			continue
		}
		key := viewKey(x.Dataset, x.Name)
		txn.If = append(txn.If, control.Compare{Key: key, Modified: x.modified})
		x.OwnsSnapshot = true
		txn.Then = append(txn.Then, control.Put(key, encode(x)))
		return x.Name, nil
	}
	return "", nil
}

// RemovedView says what RemoveView did.
type RemovedView struct {
	View View `json:"view"`
	// Snapshot says whether the snapshot that the view had made went with it.
	Snapshot bool `json:"snapshot"`
	// Heir is a view that reads that snapshot too: it is its own now.
	Heir string `json:"heir,omitempty"`
}

// RemoveView removes the record of a view, and the snapshot that it made unless
// another view reads it; the caller removes its list.
func (s *Service) RemoveView(ctx context.Context, a address.Address, name string, request object.RequestID) (*RemovedView, error) {
	if err := CheckViewName(name); err != nil {
		return nil, err
	}
	var out *RemovedView
	err := s.mutate(ctx, mutation{
		op: "view.remove", resource: viewResource(a, name), request: request,
		build: func(ctx context.Context) (control.Txn, any, error) {
			d, err := s.lookup(a)
			if err != nil {
				return control.Txn{}, nil, err
			}
			v, err := s.View(ctx, a, name)
			if err != nil {
				return control.Txn{}, nil, err
			}
			key := viewKey(d.ID, name)
			txn := control.Txn{If: []control.Compare{{Key: key, Modified: v.modified}}, Then: []control.Op{control.Delete(key), control.Put(litterKey(Litter{d.ID, v.List}), nil)}}
			out = &RemovedView{View: *v}
			if n, ok := s.state.snapshot(d.ID, v.Snapshot); ok && v.OwnsSnapshot && n.Epoch == v.Epoch {
				key := snapshotKey(d.ID, n.Name)
				txn.If = append(txn.If, control.Compare{Key: key, Modified: n.modified})
				if out.Heir, err = s.inherit(ctx, v, &txn); err != nil {
					return control.Txn{}, nil, err
				}
				if out.Snapshot = out.Heir == ""; out.Snapshot {
					txn.Then = append(txn.Then, control.Delete(key))
				}
			}
			return txn, out, nil
		},
		replay: func(b []byte) error { out = &RemovedView{}; return decode(name, b, out) },
	})
	return out, err
}

// Litter is a list in a dataset's store that no view has: not yet, or not any
// more. Its key is written before the list, and goes in the transaction that
// makes the view, so that a crash leaves nothing that nobody knows of.
type Litter struct {
	Dataset object.DatasetID
	List    uint64
}

func litterKeys(id object.DatasetID) string { return fmt.Sprintf("%s%016x/", prefixLitter, uint64(id)) }

func litterKey(l Litter) string { return fmt.Sprintf("%s%016x", litterKeys(l.Dataset), l.List) }

// NewList gives out the number of a list.
func (s *Service) NewList(ctx context.Context, id object.DatasetID) (Litter, error) {
	for range maxAttempts {
		l := Litter{Dataset: id, List: rand.Uint64()}
		_, ok, err := s.ctl.Commit(ctx, control.Txn{If: []control.Compare{control.Absent(litterKey(l))}, Then: []control.Op{control.Put(litterKey(l), nil)}})
		if err != nil || ok {
			return l, err
		}
	}
	return Litter{}, fault.New(fault.Internal, "view.list", "", "no number is free")
}

// AllLitter is the lists of all datasets that no view has.
func (s *Service) AllLitter(ctx context.Context) ([]Litter, error) {
	kvs, _, err := s.ctl.Range(ctx, prefixLitter, 0)
	if err != nil {
		return nil, err
	}
	var out []Litter
	for _, kv := range kvs {
		var l Litter
		if n, err := fmt.Sscanf(strings.TrimPrefix(kv.Key, prefixLitter), "%016x/%016x", (*uint64)(&l.Dataset), &l.List); err != nil || n != 2 {
			return nil, fault.New(fault.Corrupt, "pool.decode", kv.Key, "a key of the control store that is not readable")
		}
		out = append(out, l)
	}
	return out, nil
}

// IsLitter says whether no view has a list, still.
func (s *Service) IsLitter(ctx context.Context, l Litter) (bool, error) {
	_, ok, err := s.ctl.Get(ctx, litterKey(l))
	return ok, err
}

// Cleared forgets a list that was removed.
func (s *Service) Cleared(ctx context.Context, l Litter) error {
	_, _, err := s.ctl.Commit(ctx, control.Txn{Then: []control.Op{control.Delete(litterKey(l))}})
	return err
}

// ByID is the dataset with a number; nil where there is none any more.
func (s *Service) ByID(ctx context.Context, id object.DatasetID) (*Dataset, object.Store, error) {
	for _, d := range s.state.allDatasets("") {
		if d.ID == id {
			st, err := s.engine.Store(ctx, id)
			return d, st, err
		}
	}
	return nil, nil, nil
}
