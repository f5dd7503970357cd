package feed

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"daos/engine/object"
	"daos/internal/feedframe"
	"daos/internal/feedsocket"
)

// A process of the server's own user on the same machine can read the server's
// files anyway. Where it has asked for that, it is told where the bytes of a large
// answer lie and given descriptors of the files, opened for reading only, with the
// frame: it reads them itself, from the same page cache that sendfile would send
// them from, which is one copy where the socket takes two. The bytes are verified
// before. Segments are only appended to and unlinked, never written again, so that
// what a descriptor shows stays as it is, for as long as the client keeps it.

const (
	// lendFrom is the size of an answer from which that pays.
	lendFrom = 128 << 10
	// lendPart is what the places of an answer have at least on average.
	lendPart = 16 << 10
	// lendInline is how much of an answer may lie in memory, and lendShare how
	// many times as much must lie in files then.
	lendInline = 64 << 10
	lendShare  = 8
)

// lending is an answer as its client can read it.
type lending struct {
	places []feedframe.Place
	fds    []int
	inline [][]byte // of places whose bytes come in the stream
	size   int      // of inline
	span   uint64   // bytes that the client reads, with those between rows
}

// lend says where the bytes of an answer lie; false where the client has not asked
// for that, or too few of them are in files.
func (c *conn) lend(out *object.Regions) (l lending, ok bool) {
	n := len(out.Parts)
	if !c.files || out.Size() < lendFrom || n > feedframe.MaxPlaces || out.Size()/uint64(n) < lendPart {
		return l, false
	}
	l.places = make([]feedframe.Place, n)
	var known [feedframe.MaxFiles]object.RegionFile
	for i := range out.Parts {
		p := &out.Parts[i]
		if p.Mem != nil && p.Rows == 0 {
			l.inline, l.size = append(l.inline, p.Mem), l.size+len(p.Mem)
			if l.size > lendInline || out.Size()/uint64(l.size) < lendShare {
				return l, false
			}
			l.places[i] = feedframe.Place{File: feedframe.PlaceInline, Len: uint64(len(p.Mem))}
			continue
		}
		if p.File == nil || p.Off < 0 || p.Len <= 0 || p.Rows > 0 && !c.rows {
			return l, false
		}
		at := 0
		for at < len(l.fds) && known[at] != p.File {
			at++
		}
		if at == len(l.fds) {
			f, ok := p.File.(object.LentFile)
			if !ok || at == len(known) {
				return l, false
			}
			fd, ok := f.Lend()
			if !ok {
				return l, false
			}
			known[at] = p.File
			l.fds = append(l.fds, fd)
		}
		l.span += uint64(max(p.Len, p.Rows*p.Stride))
		l.places[i] = feedframe.Place{File: uint32(at), Rows: uint32(p.Rows), Off: uint64(p.Off), Len: uint64(p.Len), Stride: uint64(p.Stride)}
	}
	return l, true
}

// lent writes a response whose payload the client reads itself. b has room for the
// header and, behind it, the padded meta part. sent is false if nothing was written
// because too many descriptors are under way.
func (w *writer) lent(h feedframe.Header, b []byte, l lending, size uint64) (sent bool, err error) {
	s, ok := w.nc.(*feedsocket.Socket)
	if !ok {
		return false, nil
	}
	from := len(b)
	b = append(b, make([]byte, feedframe.Padded(len(l.places)*feedframe.PlaceSize))...)
	for i, p := range l.places {
		p.Put(b[from+i*feedframe.PlaceSize:])
	}
	for _, p := range l.inline {
		b = append(b, p...)
	}
	h.Flags, h.Slot, h.PayloadLen = feedframe.Files, uint32(len(l.places)), size
	h.Put(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since.Store(time.Now().UnixNano())
	n, err := s.WriteFiles(b, l.fds)
	w.since.Store(0)
	if n == 0 && (errors.Is(err, unix.ETOOMANYREFS) || errors.Is(err, unix.EMFILE)) {
		return false, nil
	}
	if err == nil {
		w.c.s.stats.bytesOut.Add(int64(size))
	}
	return true, w.done(n, err)
}
