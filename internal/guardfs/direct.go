package guardfs

import (
	"strconv"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// DirectAlign is what offset, length and memory of a direct write are multiples of.
const DirectAlign = 4096

// Direct writes a file past the page cache: bytes that nobody reads soon cost
// neither memory nor a copy, and a later sync finds only metadata to do. It is
// a second handle of a file; the first one's sync covers it. No byte goes by it
// after the store has stopped.
type Direct struct {
	g    *FS
	f    *guardFile // the first handle
	fd   int
	name string
}

// OpenDirect opens a file of the guard a second time, for direct writes; nil
// where the file system can't: memory, or a disk without O_DIRECT.
func OpenDirect(f vfs.File) *Direct {
	w, ok := f.(*guardFile)
	if !ok || w.g.Failed() != nil {
		return nil
	}
	fd := f.Fd()
	if fd == vfs.InvalidFd {
		return nil
	}
	// By the handle, not by the name: a wrapped file system may call it otherwise.
	d, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(fd)), unix.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &Direct{g: w.g, f: w, fd: d, name: w.name}
}

// Aligned reports whether bytes may be written as they lie in memory.
func Aligned(p []byte) bool {
	return len(p)%DirectAlign == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%DirectAlign == 0
}

// WriteAt writes all of p, which is Aligned, at a multiple of DirectAlign.
func (d *Direct) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		if err := d.g.Failed(); err != nil {
			return done, err
		}
		n, err := unix.Pwrite(d.fd, p[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
		if n == 0 || done%DirectAlign != 0 && done < len(p) {
			return done, unix.EINVAL // what is left is not aligned: the caller writes it otherwise
		}
	}
	return done, nil
}

// Write writes p, which is Aligned, behind what was written before by either
// handle, as Write of the first one does: the ledger learns of it at its sync. The first
// one must not write after it.
func (d *Direct) Write(p []byte) (int, error) {
	n, err := d.WriteAt(p, int64(d.f.written))
	if err == nil {
		d.f.wrote(p)
	}
	return n, err
}

// DirectReader reads a file past the page cache.
type DirectReader struct{ fd int }

// OpenDirectReader opens a file a second time, for direct reads; nil where the
// file system can't.
func OpenDirectReader(f vfs.File) *DirectReader {
	fd := f.Fd()
	if fd == vfs.InvalidFd {
		return nil
	}
	d, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(fd)), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &DirectReader{d}
}

// ReadAt fills p, which is Aligned, from a multiple of DirectAlign, as far as
// the file goes; fewer bytes are no error.
func (d *DirectReader) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) && done%DirectAlign == 0 {
		n, err := unix.Pread(d.fd, p[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// Close closes this handle; the file's own stays.
func (d *DirectReader) Close() { _ = unix.Close(d.fd) }

// Close closes this handle; the file's own stays.
func (d *Direct) Close() { _ = unix.Close(d.fd) }
