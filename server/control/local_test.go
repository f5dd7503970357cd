package control_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/internal/fault"
	"daos/server/control"
	"daos/server/control/controltest"
)

// clock is a wall clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestLocal(t *testing.T) {
	controltest.Run(t, func(t *testing.T) controltest.Harness {
		c := &clock{now: time.Unix(1_700_000_000, 0)}
		fs := vfs.NewCrashableMem()
		var open []*control.Local
		t.Cleanup(func() {
			for _, s := range open {
				_ = s.Close() // also those that a crash has abandoned
			}
		})
		return controltest.Harness{
			Open: func(t *testing.T) control.Store {
				s, err := control.Open("control", control.Options{FS: fs, Now: c.Now})
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, s)
				return s
			},
			Crash: func(*testing.T) {
				fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, 2))})
			},
			Advance: func(t *testing.T, s control.Store, d time.Duration) {
				c.Advance(d)
				if _, err := s.(*control.Local).Expire(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			Compact: func(t *testing.T, s control.Store, upto control.Rev) {
				if err := s.(*control.Local).Compact(t.Context(), upto); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

func TestLocal_ForgetsOldRevisionsByItself(t *testing.T) {
	s, err := control.Open(t.TempDir(), control.Options{Keep: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 50 {
		if _, _, err := s.Commit(t.Context(), control.Txn{Then: []control.Op{control.Put("k", []byte("v"))}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.Range(t.Context(), "", 5); !fault.Is(err, fault.EpochGone) {
		t.Fatalf("revision 5 of 50 is still there: %v", err)
	}
	if kvs, _, err := s.Range(t.Context(), "", 45); err != nil || len(kvs) != 1 {
		t.Fatalf("revision 45 of 50: %v, %v", kvs, err)
	}
}

// fullFS says how much room is left.
type fullFS struct {
	vfs.FS
	mu    sync.Mutex
	avail uint64
}

func (f *fullFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return vfs.DiskUsage{TotalBytes: 100 << 30, AvailBytes: f.avail}, nil
}

func (f *fullFS) leave(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.avail = n
}

func TestLocal_RefusesChangesOnAFullDisk(t *testing.T) {
	disk := &fullFS{FS: vfs.NewMem(), avail: 1 << 30}
	s, err := control.Open("control", control.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := func() error {
		_, _, err := s.Commit(t.Context(), control.Txn{Then: []control.Op{control.Put("k", []byte("v"))}})
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	disk.leave(1 << 20)
	if err := put(); !fault.Is(err, fault.NoSpace) {
		t.Errorf("a change on a full disk: %v", err)
	}
	if _, err := s.Grant(t.Context(), time.Minute); !fault.Is(err, fault.NoSpace) {
		t.Errorf("a lease on a full disk: %v", err)
	}
	if _, ok, err := s.Get(t.Context(), "k"); !ok || err != nil {
		t.Errorf("a read on a full disk: %v %v", ok, err)
	}
	disk.leave(1 << 30)
	if err := put(); err != nil {
		t.Errorf("after room was made: %v", err)
	}
}
