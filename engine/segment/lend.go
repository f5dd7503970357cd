package segment

import (
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"daos/engine/object"
)

// lent is a descriptor of a segment for long reads, which others may get too: opened
// by itself, for reading only, so that nothing they do with it (positions, flags,
// locks) reaches the one that the set works with.
//
// It is read ahead as a file is that is read from its beginning to its end. That
// brings large folios into the page cache, from which bytes are copied three to four
// times as fast as from the single pages that POSIX_FADV_WILLNEED brings.
type lent struct{ fd int }

// ReadLong reads bytes through the page cache, and ahead; false if not all came.
func (f *File) ReadLong(p []byte, pos uint64) bool {
	fd, ok := f.Lend()
	for ok && len(p) > 0 {
		n, err := unix.Pread(fd, p, int64(pos))
		switch {
		case err == unix.EINTR:
		case err != nil || n == 0:
			return false
		default:
			p, pos = p[n:], pos+uint64(n)
		}
	}
	return ok
}

// Lend implements object.LentFile.
func (f *File) Lend() (fd int, ok bool) {
	l := f.lent.Load()
	if l == nil {
		own := f.f.Fd()
		if own == vfs.InvalidFd {
			return -1, false
		}
		// By the handle, not by the name: a segment that was unlinked is read on.
		d, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(own)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, false
		}
		_ = unix.Fadvise(d, 0, 0, unix.FADV_SEQUENTIAL) // only slower without
		l = &lent{d}
		if !f.lent.CompareAndSwap(nil, l) {
			_ = unix.Close(d)
			l = f.lent.Load()
		}
	}
	return l.fd, true
}

var _ object.LentFile = (*File)(nil)
