package journal

import (
	"hash/crc32"
	"sync"
	"sync/atomic"

	"daos/internal/guardfs"
)

// MaxPayload is the longest batch that is taken: a longer one is worth a sync
// of its own.
const MaxPayload = 256 << 10

// Log is an open journal.
type Log struct {
	opts  Options
	guard *guardfs.FS
	found []uint64 // generations of the run before, in order, until Start

	mu      sync.Mutex
	cur     *file // nil: none yet
	next    *file // ready to be written, or nil
	full    *file // was cur; until its records are in the indexes
	queue   []*Group
	leading bool   // somebody writes, or is about to
	buf     []byte // of a group that was written
	aligned []byte // who writes has it
	started bool
	closed  bool

	noRoom atomic.Int64

	wake chan struct{} // for keep
	wg   sync.WaitGroup
}

// Group is the records that one write and one sync make durable together.
type Group struct {
	log     *Log
	f       *file
	buf     []byte
	waiters int           // in Wait; under the log's mutex
	done    chan struct{} // closed when err is known
	turn    chan struct{} // gets one token: a waiter is to write
	err     error
}

// Append adds a batch to what is written next, and returns the group to wait
// for; nil means that there is no room, or that the batch is too long: the
// caller syncs his own log. Records of a target become durable in the order of
// its calls. The payload is copied.
func (l *Log) Append(target uint16, number uint64, payload []byte) *Group {
	if len(payload) > MaxPayload || l.guard.Failed() != nil {
		return nil
	}
	sum := crc32.Checksum(payload, castagnoli)
	size := int64(recordHead + len(payload))
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started || l.closed {
		return nil
	}
	if l.cur == nil || !l.fitsLocked(size) {
		if l.next == nil {
			l.wakeLocked()
			l.noRoom.Add(1)
			return nil
		}
		l.full, l.cur, l.next = l.cur, l.next, nil
		l.wakeLocked()
	}
	if !l.fitsLocked(size) {
		l.noRoom.Add(1)
		return nil // a file that is still small
	}
	n := len(l.queue)
	if !l.openLocked() {
		l.cur.unwritten.Add(1)
		l.queue = append(l.queue, &Group{log: l, f: l.cur, buf: l.buf, done: make(chan struct{}), turn: make(chan struct{}, 1)})
		l.buf = nil
		n++
	}
	l.cur.targets[target] = true
	g := l.queue[n-1]
	g.buf = appendRecord(g.buf, l.cur.key, target, number, payload, sum)
	l.cur.used += blocks(int64(len(g.buf))) - blocks(int64(len(g.buf))-size)
	return g
}

// openLocked reports whether the last group is still to be written, to cur.
func (l *Log) openLocked() bool {
	n := len(l.queue)
	return n > 0 && l.queue[n-1].f == l.cur
}

// fitsLocked reports whether cur has room for a record of so many bytes.
func (l *Log) fitsLocked(size int64) bool {
	var have int64
	if l.openLocked() {
		have = int64(len(l.queue[len(l.queue)-1].buf))
	}
	return l.cur.used+blocks(have+size)-blocks(have) <= l.cur.size
}

// Wait returns when the group is durable. The first to come writes for all;
// every group must be waited for by those who appended to it.
func (g *Group) Wait() error {
	l := g.log
	l.mu.Lock()
	if l.leading {
		g.waiters++
		l.mu.Unlock()
		select {
		case <-g.done:
			return g.err
		case <-g.turn:
		}
		l.mu.Lock()
	}
	select {
	case <-g.done:
		l.passOnLocked()
		l.mu.Unlock()
		return g.err
	default:
	}
	l.leading = true
	for {
		h := l.queue[0]
		l.queue = l.queue[1:]
		l.mu.Unlock()
		h.err = h.write()
		h.f.unwritten.Done()
		l.mu.Lock()
		if cap(h.buf) <= 1<<20 {
			l.buf = h.buf[:0]
		}
		h.buf = nil
		close(h.done)
		if h == g {
			break
		}
	}
	l.passOnLocked()
	l.mu.Unlock()
	return g.err
}

// passOnLocked lets somebody who waits write what is left, if anybody does;
// else the next one to come.
func (l *Log) passOnLocked() {
	l.leading = false
	for _, g := range l.queue {
		if g.waiters > 0 {
			l.leading = true
			g.turn <- struct{}{}
			return
		}
	}
}

func (g *Group) write() error {
	defer func() {
		if cap(g.log.aligned) > 4<<20 {
			g.log.aligned = nil
		}
	}()
	if _, err := g.f.write(fill(&g.log.aligned, g.buf)); err != nil {
		// Part of it may be there, and nothing can follow it.
		g.log.guard.Fail(g.f.name, "write", err)
		return g.log.guard.Failed()
	}
	if err := g.f.SyncData(); err != nil {
		g.log.guard.Fail(g.f.name, "sync", err)
		return g.log.guard.Failed()
	}
	return nil
}

// fill copies bytes to memory from which they can be written past the page
// cache, with zeros up to the end of a block. room is used, and replaced where
// it is too small.
func fill(room *[]byte, b []byte) []byte {
	n := int(blocks(int64(len(b))))
	if len(*room) < n {
		more := make([]byte, 2*n+blockSize)
		for !guardfs.Aligned(more[:blockSize]) {
			more = more[1:]
		}
		*room = more[:2*n]
	}
	out := (*room)[:n]
	clear(out[copy(out, b):])
	return out
}

func (f *file) write(p []byte) (int, error) {
	if f.direct != nil {
		return f.direct.Write(p)
	}
	return f.File.Write(p)
}

// NoRoom is how many batches found no room and were refused.
func (l *Log) NoRoom() int64 { return l.noRoom.Load() }

// Stop takes no more batches, and returns when Checkpoint is not called any more.
func (l *Log) Stop() {
	l.mu.Lock()
	l.closed = true
	l.wakeLocked()
	l.mu.Unlock()
	l.wg.Wait()
}

// Close ends the journal after all groups have been waited for. With clean,
// everything in it is durable in the indexes, and its files go.
func (l *Log) Close(clean bool) (first error) {
	l.Stop()
	for _, f := range []*file{l.full, l.cur, l.next} {
		if f == nil {
			continue
		}
		if err := f.Close(); err != nil && first == nil {
			first = err
		}
		if clean && l.guard.Failed() == nil {
			if err := l.guard.Remove(f.name); err != nil && first == nil {
				first = err
			}
		}
	}
	l.full, l.cur, l.next = nil, nil, nil
	l.guard.CloseLedger()
	return first
}
