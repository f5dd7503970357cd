package segment

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"daos/internal/fault"
	"daos/internal/guardfs"
)

// File is one segment: open for appending, or closed for good. Closed ones are
// immutable. Files are shared and counted: who gets one from a Set releases it.
type File struct {
	set     *Set
	dataset uint64
	number  uint64
	name    string
	f       vfs.File
	direct  *guardfs.Direct // of a segment written past the page cache, by one writer at a time; else nil
	past    bool            // large records were written past the page cache

	refs atomic.Int32 // holders; the Set's table counts as one
	used atomic.Int64 // tick of the last use, for eviction
	seen atomic.Pointer[seenMap]

	reader atomic.Pointer[guardfs.DirectReader] // opened at the first read past the page cache
	lent   atomic.Pointer[lent]                 // opened when somebody else is first to read it

	mapping sync.Mutex
	mapped  []byte // of the file, once it was asked for; as long as the file is open

	mu      sync.Mutex
	cond    sync.Cond
	open    bool   // takes records
	sealed  bool   // known to have a footer
	tail    uint64 // next free byte
	users   int    // writers that have appended and not yet ended
	written uint64 // appends whose pwrite has returned
	synced  uint64 // appends covered by a finished fdatasync
	syncing bool
	err     error // sticky: a failed sync
	entries []Entry
}

func (f *File) init() { f.cond.L = &f.mu }

// Name is the file's path, for errors.
func (f *File) Name() string { return f.name }

// Number is the segment's number in its dataset.
func (f *File) Number() uint64 { return f.number }

// Release gives the file back to its Set.
func (f *File) Release() {
	if f.refs.Add(-1) == 0 {
		if f.direct != nil {
			f.direct.Close()
		}
		if d := f.reader.Load(); d != nil {
			d.Close()
		}
		if l := f.lent.Load(); l != nil {
			_ = unix.Close(l.fd)
		}
		if f.mapped != nil {
			_ = unix.Munmap(f.mapped)
		}
		_ = f.f.Close() // read-only by now: nothing can be lost
	}
}

// ReadAt reads exactly len(p) bytes at off.
func (f *File) ReadAt(p []byte, off uint64) error {
	n, err := f.f.ReadAt(p, int64(off))
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.New(fault.Corrupt, "segment.read", f.name, "file ends before byte %d, where a record lies", off+uint64(len(p)))
	}
	if errors.Is(err, syscall.EIO) {
		return fault.New(fault.Corrupt, "segment.read", f.name, "bytes at %d can't be read", off).Because(err)
	}
	return fault.New(fault.Internal, "segment.read", f.name, "read at %d", off).Because(err)
}

// reserve takes room for n bytes; ok is false when the segment is full.
func (f *File) reserve(n int, entries int) (pos uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open || f.err != nil {
		return 0, false
	}
	pos = Align(f.tail, n)
	if pos+uint64(n) > f.set.opts.Cap && f.tail > HeaderSize || len(f.entries)+entries > MaxEntries {
		f.open = false
		return 0, false
	}
	f.tail = pos + uint64(n)
	return pos, true
}

// write puts bytes at a reserved position.
func (f *File) write(p []byte, pos uint64) error {
	if _, err := f.f.WriteAt(p, int64(pos)); err != nil {
		return writeError(f.name, err)
	}
	f.mu.Lock()
	f.written++
	f.mu.Unlock()
	return nil
}

// writeDirect puts a record past the page cache, but for its last bytes if they
// don't fill a block. The next record of such a segment begins at another page,
// and its writer is alone: no page is ever written both ways, and nobody has
// read ahead where a direct write goes.
func (f *File) writeDirect(p []byte, pos uint64) error {
	whole := len(p) &^ (guardfs.DirectAlign - 1)
	done, err := 0, error(nil)
	if b := p[:whole]; guardfs.Aligned(b) {
		done, err = f.direct.WriteAt(b, int64(pos))
	} else {
		done, err = f.copyDirect(b, pos)
	}
	if err != nil && !errors.Is(err, syscall.EINVAL) {
		return writeError(f.name, err)
	}
	// After EINVAL the disk wants more than was promised: the rest goes the usual way.
	if done == len(p) {
		f.mu.Lock()
		f.written++
		f.mu.Unlock()
		return nil
	}
	return f.write(p[done:], pos+uint64(done))
}

// aligned has memory to copy badly aligned records through.
var aligned = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }} // of this size Go's memory is aligned to pages

func (f *File) copyDirect(p []byte, pos uint64) (done int, err error) {
	buf := aligned.Get().(*[]byte)
	defer aligned.Put(buf)
	for done < len(p) && err == nil {
		n := copy(*buf, p[done:])
		n, err = f.direct.WriteAt((*buf)[:n], int64(pos)+int64(done))
		done += n
	}
	return done, err
}

// Sync makes every append that has returned durable. Concurrent calls share
// one fdatasync: the first does it for all that had written when it began.
func (f *File) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	want := f.written
	for f.synced < want && f.err == nil {
		if f.syncing {
			f.cond.Wait()
			continue
		}
		f.syncing = true
		covered := f.written
		f.mu.Unlock()
		err := f.f.SyncData()
		f.mu.Lock()
		f.syncing = false
		if err != nil {
			// What the failed sync was to cover may be lost, whatever a later
			// sync says: the segment takes nothing any more.
			f.err, f.open = syncError(f.name, err), false
		} else {
			f.synced = max(f.synced, covered)
		}
		f.cond.Broadcast()
	}
	return f.err
}

func writeError(name string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.New(fault.NoSpace, "segment.write", name, "the disk is full").
			Do("free space on this file system or delete datasets; reads go on").Because(err)
	}
	return fault.New(fault.Internal, "segment.write", name, "write failed").Because(err)
}

// ErrSync marks a failed fdatasync: the target that sees it stops writing.
var ErrSync = errors.New("sync failed")

func syncError(name string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		// Delayed allocation: the bytes of this group never got a place. No
		// committed record refers to them and the segment is given up.
		return fault.New(fault.NoSpace, "segment.sync", name, "the disk is full").
			Do("free space on this file system or delete datasets; reads go on").Because(err)
	}
	return fault.New(fault.Internal, "segment.sync", name, "fdatasync failed").
		Do("check the disk, then restart the server: writes to this target are stopped").Because(errors.Join(ErrSync, err))
}
