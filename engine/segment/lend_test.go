package segment_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"daos/internal/guardfs"
)

// TestLend_ForReadingOnly looks at what is given away: a descriptor that can't be
// written, that shares nothing with the set's own, and shows a segment that is gone.
func TestLend_ForReadingOnly(t *testing.T) {
	s := openSet(t, guardfs.New(vfs.Default, "target"), t.TempDir(), 8<<20)
	p := appendPast(t, s, 7, random(rand.New(rand.NewPCG(5, 6)), 300_000))[0] // still open for records
	f, err := s.Get(7, p.seg)
	if err != nil {
		t.Fatal(err)
	}
	fd, ok := f.Lend()
	if again, _ := f.Lend(); !ok || again != fd || fd == int(f.Fd()) {
		t.Fatal(fd, again, f.Fd(), ok)
	}
	given, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(given)
	f.Release()
	if flags, err := unix.FcntlInt(uintptr(given), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY {
		t.Fatalf("flags %#x, %v", flags, err)
	}
	if _, err := unix.Pwrite(given, []byte{1}, 0); err != unix.EBADF { //nolint:errorlint // an errno
		t.Fatalf("written: %v", err)
	}
	if err := s.RemoveDataset(7); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(p.data))
	if n, err := unix.Pread(given, b, int64(p.pos)); n != len(b) || err != nil || !bytes.Equal(b, p.data) {
		t.Fatalf("%d bytes of a segment that is gone, %v", n, err)
	}
}

// TestLend_NotOfMemory: a file system without descriptors has none to give.
func TestLend_NotOfMemory(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "d", 8<<20)
	p := appendPast(t, s, 7, bytes.Repeat([]byte("x"), 300_000))[0]
	f, err := s.Get(7, p.seg)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	if fd, ok := f.Lend(); ok {
		t.Fatal(fd)
	}
}
