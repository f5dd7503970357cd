// Package guardfs is the file system under every pebble index: it stops all
// writing at the first failed sync (guard.go), and it keeps a ledger by which
// damage is told from the torn end that a crash leaves (ledger.go). The targets
// (engine/vos) and the control store open their indexes through it.
package guardfs

import (
	"errors"
	"hash/crc32"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/internal/fault"
)

// FS stops a store at the first failed sync. After that what the disk
// holds is not known, and a later sync that succeeds would prove nothing: from
// then on it lets no byte through, from the index's background work neither,
// so that the disk stays as after a crash at that moment. Reads go on.
type FS struct {
	vfs.FS
	what      string
	poison    atomic.Pointer[fault.Error]
	ledger    ledger
	stopAtLog bool
}

// New wraps a file system. `what` names the store in errors: "target".
func New(f vfs.FS, what string) *FS { return &FS{FS: f, what: what} }

// StopAtLog makes a log (.log) that can't be written stop the store at once. pebble
// says so later, with a panic that may end the process.
func (g *FS) StopAtLog() { g.stopAtLog = true }

// Failed is the error that stopped the store, or nil.
func (g *FS) Failed() error {
	if e := g.poison.Load(); e != nil {
		return e
	}
	return nil
}

// NoSpace reports whether an error says that the disk is full.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Fail makes the store refuse writes for good.
func (g *FS) Fail(name, what string, err error) {
	kind, do := fault.Internal, "check the disk, then restart the server: writes to this "+g.what+" are stopped, reads go on"
	if NoSpace(err) {
		kind, do = fault.NoSpace, "free space on this file system, then restart the server: writes to this "+g.what+" are stopped, reads go on"
	}
	e := fault.New(kind, "index.write", name, "%s failed", what).Do("%s", do)
	if err != nil {
		e = e.Because(err)
	}
	g.poison.CompareAndSwap(nil, e)
}

func (g *FS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	w := &guardFile{File: f, g: g, name: name}
	w.base, w.tracked = tracked(name)
	return w, nil
}

// Create is that of vfs.FS.
func (g *FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := g.Failed(); err != nil {
		return nil, err
	}
	if strings.HasPrefix(path.Base(name), "marker.") {
		// pebble's pointer to a manifest that it has just made: after a power
		// loss the pointer must not be there without the manifest.
		if err := SyncDir(g.FS, g.FS.PathDir(name)); err != nil {
			return nil, err
		}
	}
	f, err := g.FS.Create(name, c)
	g.pace(err)
	return g.wrap(name, f, err)
}

// OpenReadWrite is that of vfs.FS.
func (g *FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if err := g.Failed(); err != nil {
		return nil, err
	}
	f, err := g.FS.OpenReadWrite(name, c, o...)
	return g.wrap(name, f, err)
}

// ReuseForWrite is that of vfs.FS.
func (g *FS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := g.Failed(); err != nil {
		return nil, err
	}
	if base, ok := tracked(from); ok {
		g.ledger.dropped(base)
	}
	f, err := g.FS.ReuseForWrite(from, to, c)
	return g.wrap(to, f, err)
}

// OpenDir is that of vfs.FS.
func (g *FS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	return g.wrap(name, f, err)
}

// Link is that of vfs.FS.
func (g *FS) Link(from, to string) error {
	if err := g.Failed(); err != nil {
		return err
	}
	return g.FS.Link(from, to)
}

// Remove is that of vfs.FS.
func (g *FS) Remove(name string) error {
	if err := g.Failed(); err != nil {
		return err
	}
	if base, ok := tracked(name); ok {
		g.ledger.dropped(base)
	}
	return g.FS.Remove(name)
}

// RemoveAll is that of vfs.FS.
func (g *FS) RemoveAll(name string) error {
	if err := g.Failed(); err != nil {
		return err
	}
	return g.FS.RemoveAll(name)
}

// Rename is that of vfs.FS.
func (g *FS) Rename(from, to string) error {
	if err := g.Failed(); err != nil {
		return err
	}
	if base, ok := tracked(from); ok {
		g.ledger.dropped(base)
	}
	return g.FS.Rename(from, to)
}

// Unwrap is that of vfs.FS.
func (g *FS) Unwrap() vfs.FS { return g.FS }

// pace keeps the index's retries of background work from spinning on a full disk.
func (g *FS) pace(err error) {
	if NoSpace(err) {
		time.Sleep(20 * time.Millisecond)
	}
}

type guardFile struct {
	vfs.File
	g    *FS
	name string

	// For the ledger: files that are written from their beginning, by one
	// goroutine at a time, as pebble writes logs and manifests.
	tracked bool
	base    string
	written uint64
	sum     uint32
}

func (f *guardFile) Write(p []byte) (int, error) {
	if err := f.g.Failed(); err != nil {
		return 0, err
	}
	if f.tracked {
		// Before Write, which may change p. A write that fails halfway is the
		// last one to this file: pebble does not go on behind it.
		f.wrote(p)
	}
	n, err := f.File.Write(p)
	f.g.pace(err)
	if err != nil && f.g.stopAtLog && path.Ext(f.name) == ".log" {
		// Part of it may be there, and nothing can follow it.
		f.g.Fail(f.name, "write", err)
	}
	return n, err
}

func (f *guardFile) wrote(p []byte) {
	f.written += uint64(len(p))
	f.sum = crc32.Update(f.sum, castagnoli, p)
}

func (f *guardFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.g.Failed(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *guardFile) synced(err error) error {
	if err == nil {
		if f.tracked {
			f.g.ledger.synced(f.base, f.written, f.sum)
		}
		return nil
	}
	if NoSpace(err) {
		// The bytes never had a place. Who asked gives up the file: the index
		// its table, the segments that segment. Only a log can't: see the logger of the index.
		f.g.pace(err)
		return err
	}
	f.g.Fail(f.name, "sync", err)
	return err
}

func (f *guardFile) Sync() error {
	if err := f.g.Failed(); err != nil {
		return err
	}
	return f.synced(f.File.Sync())
}

func (f *guardFile) SyncData() error {
	if err := f.g.Failed(); err != nil {
		return err
	}
	return f.synced(f.File.SyncData())
}

func (f *guardFile) SyncTo(n int64) (bool, error) {
	if err := f.g.Failed(); err != nil {
		return false, err
	}
	full, err := f.File.SyncTo(n)
	if err == nil && !full {
		return false, nil
	}
	return full, f.synced(err)
}

// SyncDir makes the entries of a folder durable.
func SyncDir(f vfs.FS, dir string) error {
	d, err := f.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
