package transfer

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Progress counts what has been done so far. Its fields may be read at any time.
type Progress struct {
	Files   atomic.Int64 // files copied
	Dirs    atomic.Int64 // directories met
	Links   atomic.Int64 // symbolic links copied
	Bytes   atomic.Int64 // bytes of the files copied
	Skipped atomic.Int64 // entries that were there already
	Special atomic.Int64 // sockets, devices, pipes: not copied
	Failed  atomic.Int64 // entries that could not be read
	// Total is the number of entries there are to copy, once known; 0 before.
	Total atomic.Int64

	mu struct {
		sync.Mutex
		notes []string
	}
}

// maxNotes bounds what is said about single entries.
const maxNotes = 20

// Done is the number of entries dealt with.
func (p *Progress) Done() int64 {
	return p.Files.Load() + p.Dirs.Load() + p.Links.Load() + p.Skipped.Load() + p.Special.Load() + p.Failed.Load()
}

// Notes are sentences about single entries that were left out, at most twenty.
func (p *Progress) Notes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.mu.notes...)
}

func (p *Progress) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mu.notes) < maxNotes {
		p.mu.notes = append(p.mu.notes, fmt.Sprintf(format, args...))
	}
}
