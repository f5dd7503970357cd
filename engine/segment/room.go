package segment

import (
	"bytes"
	"math"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// roomFor is how long one look at the machine's memory counts.
	roomFor = time.Second
	// roomShare: there is room for what was read once while at least one part in so
	// many of all memory is free, or could be freed at once.
	roomShare = 4
)

// room says whether the machine has memory for a page cache.
type room struct {
	until  atomic.Int64 // unix nanoseconds; for ever, where it was assumed
	enough atomic.Bool
}

// plenty looks at most once in roomFor.
func (r *room) plenty() bool {
	now := time.Now()
	if at := r.until.Load(); now.UnixNano() > at && r.until.CompareAndSwap(at, now.Add(roomFor).UnixNano()) {
		b, err := os.ReadFile("/proc/meminfo")
		r.enough.Store(err == nil && roomy(b))
	}
	return r.enough.Load()
}

// AssumeRoom makes a set act as if there were room in memory, or none, whatever the
// machine has.
func (s *Set) AssumeRoom(enough bool) {
	s.room.until.Store(math.MaxInt64)
	s.room.enough.Store(enough)
}

// roomy is what the content of /proc/meminfo says; what it does not say is not so.
func roomy(meminfo []byte) bool {
	all, free := memory(meminfo, "MemTotal:"), memory(meminfo, "MemAvailable:")
	return free > 0 && free >= all/roomShare
}

// memory is a number of /proc/meminfo, in KiB; 0 if it is not there.
func memory(meminfo []byte, name string) uint64 {
	for line := range bytes.Lines(meminfo) {
		if f := bytes.Fields(line); len(f) >= 2 && string(f[0]) == name {
			n, _ := strconv.ParseUint(string(f[1]), 10, 64)
			return n
		}
	}
	return 0
}
