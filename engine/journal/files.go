package journal

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/internal/guardfs"
)

// Sizes of files: a journal that is used little stays small.
const (
	firstSize   = 1 << 20
	defaultSize = 32 << 20
	maxSize     = 1 << 30
)

const (
	category = vfs.WriteCategoryUnspecified
	suffix   = ".log"  // the ledger of internal/guardfs takes note of such files
	spare    = "spare" // zeros, not yet a file of the journal
)

// pause is how long keep waits after a failure: a full disk stays full for a while.
const pause = time.Second

// file is one file that is being written.
type file struct {
	vfs.File
	name      string
	key       seal
	size      int64
	used      int64           // under the log's mutex
	targets   map[uint16]bool // whose records it has; under the log's mutex
	direct    *guardfs.Direct // nil where the file system can't
	unwritten sync.WaitGroup  // groups
}

func (f *file) Close() error {
	if f.direct != nil {
		f.direct.Close()
	}
	return f.File.Close()
}

func fileName(generation uint64) string { return fmt.Sprintf("%016x%s", generation, suffix) }

func parseName(name string) (generation uint64, ok bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	generation, err := strconv.ParseUint(hex, 16, 64)
	return generation, err == nil
}

// keep looks after the files: it has the next one ready before the current one
// is full. generation is the highest that was ever used.
func (l *Log) keep(generation uint64) {
	size := min(firstSize, l.opts.Size)
	said := ""            // of what keeps it from that, once
	var pausing time.Time // until then, however many ask
	for range l.wake {
		l.mu.Lock()
		closed, full, needed := l.closed, l.full, l.next == nil
		l.mu.Unlock()
		if closed {
			return
		}
		if !needed || time.Now().Before(pausing) {
			continue
		}
		if full != nil {
			full.unwritten.Wait()
			stopped, err := l.opts.Checkpoint()
			if err != nil {
				if s := err.Error(); s != said {
					said = s
					l.opts.Logger.Error("the journal waits for room: an index can't be synced", "error", err)
				}
				pausing = l.tryAgain()
				continue
			}
			if l.holds(full, stopped) {
				full = nil
			}
		}
		generation++
		next, err := l.newFile(generation, size, full)
		l.mu.Lock()
		l.full, l.next = nil, next // on an error the full one is closed too
		l.mu.Unlock()
		if err != nil {
			if s := err.Error(); s != said {
				said = s
				l.opts.Logger.Warn("no new file for the journal: targets sync one by one", "error", err)
			}
			pausing = l.tryAgain()
			continue
		}
		if said != "" {
			said = ""
			l.opts.Logger.Info("the journal has room again")
		}
		size = min(2*size, l.opts.Size)
	}
}

// holds reports whether a full file has to stay until the next start, because
// records of a target that has stopped are in it, and closes it then. A stopped
// target appends no more, so there are two such files of it at most.
func (l *Log) holds(f *file, stopped []uint16) bool {
	var which []uint16
	l.mu.Lock()
	for _, target := range stopped {
		if f.targets[target] {
			which = append(which, target)
		}
	}
	l.mu.Unlock()
	if which == nil {
		return false
	}
	l.opts.Logger.Warn("a file of the journal stays until the next start: a target has stopped", "file", f.name, "targets", which)
	_ = f.Close() // its records are on the disk
	return true
}

// tryAgain wakes keep after a while, and says when.
func (l *Log) tryAgain() time.Time {
	at := time.Now().Add(pause)
	time.AfterFunc(pause, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.wakeLocked()
	})
	return at
}

func (l *Log) wakeLocked() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// newFile makes a file whose blocks are all written, so that a sync has only
// bytes to write: from one that is free, or from zeros. What it fails to make is
// gone: on a full disk it would take the room that the indexes need.
func (l *Log) newFile(generation uint64, size int64, free *file) (*file, error) {
	g := l.guard
	from := g.PathJoin(l.opts.Dir, spare)
	if free != nil {
		if err := free.Close(); err != nil {
			return nil, err
		}
		if free.size == size {
			from = free.name
		} else if err := g.Remove(free.name); err != nil {
			return nil, err
		}
	}
	if free == nil || from != free.name {
		if err := zeros(g, from, size); err != nil {
			_ = g.Remove(from)
			return nil, err
		}
	}
	name := g.PathJoin(l.opts.Dir, fileName(generation))
	if err := g.Rename(from, name); err != nil {
		_ = g.Remove(from)
		return nil, err
	}
	f, err := l.begin(name, generation, size)
	if err != nil {
		_ = g.Remove(name)
		return nil, err
	}
	return f, nil
}

// begin writes the header of a file that has got its name.
func (l *Log) begin(name string, generation uint64, size int64) (*file, error) {
	g := l.guard
	// Before a byte changes: after a power loss the ledger may be an older one,
	// by which a file of the old name must have its old bytes.
	if err := guardfs.SyncDir(g, l.opts.Dir); err != nil {
		return nil, err
	}
	f, err := g.OpenReadWrite(name, category)
	if err != nil {
		return nil, err
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // it never fails
	salt := binary.LittleEndian.Uint64(random[:])
	var room []byte
	head := fill(&room, header(generation, salt))
	direct := guardfs.OpenDirect(f)
	if direct != nil {
		if _, err := direct.Write(head); err != nil { // a disk may not be able to after all
			direct.Close()
			direct = nil
		}
	}
	if direct == nil {
		_, err = f.Write(head)
	}
	if err == nil {
		err = f.Sync()
	}
	made := &file{File: f, name: name, key: newSeal(generation, salt), size: size, targets: map[uint16]bool{}, used: blockSize, direct: direct}
	if err != nil {
		_ = made.Close()
		return nil, err
	}
	return made, nil
}

func zeros(g *guardfs.FS, name string, size int64) error {
	f, err := g.Create(name, category)
	if err != nil {
		return err
	}
	zero := make([]byte, min(size, 1<<20))
	for left := size; left > 0 && err == nil; left -= int64(len(zero)) {
		zero = zero[:min(left, int64(len(zero)))]
		_, err = f.Write(zero)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
