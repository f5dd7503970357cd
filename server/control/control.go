// Package control is the store of control state: pools, datasets, snapshots,
// leases, and later the pool map and membership. Store is the narrow interface
// that everything above uses; it has only what etcd can express, so that one
// machine keeps this state in a local pebble and a cluster in etcd.
//
// It is not for data: values are small and changes are rare. Start with Store;
// Open makes the local one. server/control/controltest is the suite that every
// implementation runs.
package control

import (
	"context"
	"strings"
	"time"

	"daos/internal/fault"
)

// Rev is a revision: each transaction that changes something gets the next one.
type Rev int64

// LeaseID names a lease; 0 is none.
type LeaseID int64

// Limits. They lie within etcd's defaults (1.5 MiB a request, 128 operations).
const (
	MaxKey   = 1024
	MaxValue = 1 << 20
	MaxOps   = 128
)

// KV is a key at a revision.
type KV struct {
	Key      string
	Value    []byte
	Created  Rev // revision that made the key
	Modified Rev // revision that wrote this value
	Lease    LeaseID
}

// Compare demands that a key was last written at a revision; 0: that it is absent.
type Compare struct {
	Key      string
	Modified Rev
}

// Op is one change. A transaction names a key at most once.
type Op struct {
	Delete bool
	Key    string
	Value  []byte
	Lease  LeaseID // the key goes when the lease ends
}

// Put writes a key.
func Put(key string, value []byte) Op { return Op{Key: key, Value: value} }

// Delete removes a key; removing one that is absent is no error.
func Delete(key string) Op { return Op{Delete: true, Key: key} }

// Absent demands that a key is not there.
func Absent(key string) Compare { return Compare{Key: key} }

// Unchanged demands that a key is as it was read.
func Unchanged(kv KV) Compare { return Compare{Key: kv.Key, Modified: kv.Modified} }

// Txn is a compare-and-swap: if every comparison holds, all of Then happens
// atomically, at one revision.
type Txn struct {
	If   []Compare
	Then []Op
}

// Event is a change seen by a watch.
type Event struct {
	Rev     Rev
	Key     string
	Value   []byte
	Deleted bool
}

// Store keeps control state. All methods are safe for concurrent use and
// linearizable.
type Store interface {
	// Commit executes t. ok is false, and nothing has changed, if a comparison
	// failed. When it returns ok the change is on disk.
	Commit(ctx context.Context, t Txn) (rev Rev, ok bool, err error)
	// Get reads one key; ok is false if it is absent.
	Get(ctx context.Context, key string) (kv KV, ok bool, err error)
	// Range reads all keys with a prefix, in byte order, at a revision (0: the
	// newest), and says which that was. fault.EpochGone if it was compacted.
	Range(ctx context.Context, prefix string, at Rev) ([]KV, Rev, error)
	// Watch calls fn for every change of keys with a prefix from a revision
	// on, in order, none left out, until ctx ends (then it returns ctx's
	// error) or fn fails. fn is also called with a nil list each time the
	// store has moved past changes that did not match, so that a watcher
	// knows how far it is. fault.EpochGone if from was compacted.
	Watch(ctx context.Context, prefix string, from Rev, fn func(upto Rev, events []Event) error) error
	// Grant makes a lease that ends ttl after its last KeepAlive.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)
	// KeepAlive renews a lease; fault.NotFound if it has ended.
	KeepAlive(ctx context.Context, id LeaseID) error
	// Revoke ends a lease and removes its keys, at one revision.
	Revoke(ctx context.Context, id LeaseID) error
	// Close ends all watches.
	Close() error
}

// Check finds what is malformed in t.
func (t *Txn) Check() error {
	if len(t.If)+len(t.Then) > MaxOps {
		return fault.New(fault.TooBig, "control.commit", "", "the transaction has %d comparisons and changes, at most %d are allowed", len(t.If)+len(t.Then), MaxOps)
	}
	seen := map[string]bool{}
	for _, c := range t.If {
		if err := CheckKey(c.Key); err != nil {
			return err
		}
	}
	for _, o := range t.Then {
		if err := CheckKey(o.Key); err != nil {
			return err
		}
		if seen[o.Key] {
			return fault.New(fault.Invalid, "control.commit", o.Key, "the transaction changes the key twice")
		}
		seen[o.Key] = true
		if len(o.Value) > MaxValue {
			return fault.New(fault.TooBig, "control.commit", o.Key, "the value has %d bytes, at most %d are allowed", len(o.Value), MaxValue)
		}
	}
	return nil
}

// CheckKey checks a key.
func CheckKey(key string) error {
	switch {
	case key == "" || strings.IndexByte(key, 0) >= 0:
		return fault.New(fault.Invalid, "control.key", key, "a key is not empty and has no NUL")
	case len(key) > MaxKey:
		return fault.New(fault.TooBig, "control.key", key[:64], "the key has %d bytes, at most %d are allowed", len(key), MaxKey)
	}
	return nil
}
