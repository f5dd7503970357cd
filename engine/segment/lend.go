package segment

import (
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"daos/engine/object"
)

// lent is a descriptor of a segment that others may get: opened by itself, for
// reading only, so that nothing they do with it (positions, flags, locks) reaches
// the one that the set works with.
type lent struct{ fd int }

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
		l = &lent{d}
		if !f.lent.CompareAndSwap(nil, l) {
			_ = unix.Close(d)
			l = f.lent.Load()
		}
	}
	return l.fd, true
}

var _ object.LentFile = (*File)(nil)
