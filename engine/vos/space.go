package vos

import (
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/internal/fault"
)

// spaceGauge refuses writes while the disk is nearly full. The index must
// never meet a full disk in its log: it could not go on. The free space is
// asked for again after every spaceStep bytes written, and after a refusal.
type spaceGauge struct {
	fs      vfs.FS
	dir     string
	reserve int64
	mu      sync.Mutex
	left    atomic.Int64 // bytes that may be written before the next look
}

const spaceStep = 16 << 20

func (s *spaceGauge) init(f vfs.FS, dir string, reserve int64) {
	s.fs, s.dir, s.reserve = f, dir, reserve
	if reserve != 0 {
		return
	}
	s.reserve = 256 << 20
	if u, err := f.GetDiskUsage(dir); err == nil && u.TotalBytes > 0 {
		s.reserve = min(s.reserve, int64(u.TotalBytes/20))
	}
}

// take accounts for n bytes about to be written.
func (s *spaceGauge) take(n int64) error {
	if s.reserve < 0 {
		return nil
	}
	if s.left.Add(-n) >= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left.Load() >= 0 {
		return nil
	}
	u, err := s.fs.GetDiskUsage(s.dir)
	if err != nil || u.TotalBytes == 0 {
		s.left.Store(spaceStep) // a file system that does not say
		return nil
	}
	free := int64(u.AvailBytes) - s.reserve
	if free < n {
		s.left.Store(0)
		return fault.New(fault.NoSpace, "vos.write", s.dir, "the disk is full: %d MiB are free, %d MiB of them are kept for deleting and compacting",
			u.AvailBytes>>20, s.reserve>>20).Do("free space on this file system or delete datasets; reads go on")
	}
	s.left.Store(min(free-n, spaceStep))
	return nil
}
