package guardfs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/internal/fault"
)

// LedgerName is the name of the ledger in the folder of its store.
const LedgerName = "synced"

// The ledger says how much of each log and manifest of the index was synced,
// and the checksum of that much. pebble takes a damaged record near the end of
// such a file for the torn end that a crash leaves, and goes on without it and
// all behind it; with the ledger the two can be told apart before it looks.
//
// The ledger is written after each sync and before its caller is answered, but
// never synced itself: after the process is killed it is exact; after a power
// loss it may be older, and then it says less, nothing wrong. Two slots are
// written in turn, so that one of them is always whole.
//
//	slot (4096 bytes): magic(8) version(4) rows(4) sequence(8)
//	    row: length of name(1) name, synced length(8) CRC32C of so much(4)
//	    CRC32C of all before(4)
const (
	ledgerMagic   = "DAOSLGR\n"
	ledgerVersion = 1
	ledgerSlot    = 4096
	ledgerRows    = 100 // the newest files; far more than an index has
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type ledgerRow struct {
	name   string
	length uint64
	sum    uint32
}

type ledger struct {
	mu   sync.Mutex
	f    vfs.File // nil: not open yet, or it can't be written
	seq  uint64
	rows []ledgerRow // by name
}

// tracked reports whether a file of the index is in the ledger.
func tracked(name string) (string, bool) {
	base := path.Base(name)
	return base, path.Ext(base) == ".log" || strings.HasPrefix(base, "MANIFEST-")
}

func encodeLedger(seq uint64, rows []ledgerRow) []byte {
	b := append(make([]byte, 0, ledgerSlot), ledgerMagic...)
	b = binary.LittleEndian.AppendUint32(b, ledgerVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(rows)))
	b = binary.LittleEndian.AppendUint64(b, seq)
	for _, r := range rows {
		b = append(b, byte(len(r.name)))
		b = append(b, r.name...)
		b = binary.LittleEndian.AppendUint64(b, r.length)
		b = binary.LittleEndian.AppendUint32(b, r.sum)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:ledgerSlot]
}

// decodeLedger reads one slot; ok is false for one that is not whole.
func decodeLedger(b []byte) (seq uint64, rows []ledgerRow, ok bool) {
	if len(b) < 28 || string(b[:8]) != ledgerMagic || binary.LittleEndian.Uint32(b[8:]) != ledgerVersion {
		return 0, nil, false
	}
	n := binary.LittleEndian.Uint32(b[12:])
	seq = binary.LittleEndian.Uint64(b[16:])
	rest := b[24:]
	for range n {
		if len(rest) < 1 || len(rest) < 1+int(rest[0])+12 {
			return 0, nil, false
		}
		k := 1 + int(rest[0])
		rows = append(rows, ledgerRow{
			name: string(rest[1:k]), length: binary.LittleEndian.Uint64(rest[k:]), sum: binary.LittleEndian.Uint32(rest[k+8:]),
		})
		rest = rest[k+12:]
	}
	at := len(b) - len(rest)
	if len(rest) < 4 || binary.LittleEndian.Uint32(rest) != crc32.Checksum(b[:at], castagnoli) {
		return 0, nil, false
	}
	return seq, rows, true
}

// OpenLedger reads what an earlier run noted, compares the files with it, and
// starts noting.
func (g *FS) OpenLedger(dir, indexDir string) error {
	l := &g.ledger
	name := g.PathJoin(dir, LedgerName)
	if err := l.load(g.FS, name); err != nil {
		return err
	}
	kept := l.rows[:0]
	for _, r := range l.rows {
		there, err := r.verify(g.FS, g.PathJoin(indexDir, r.name))
		if err != nil {
			return err
		}
		if there {
			kept = append(kept, r)
		}
	}
	l.rows = kept
	f, err := g.FS.OpenReadWrite(name, "daos-index")
	if err != nil {
		return fault.New(fault.KindOf(err), "index.open", name, "can't be opened for writing").Because(err)
	}
	l.f = f
	return nil
}

func (l *ledger) load(f vfs.FS, name string) error {
	h, err := f.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.New(fault.KindOf(err), "index.open", name, "can't be opened").Because(err)
	}
	defer h.Close()
	b, err := io.ReadAll(io.LimitReader(h, 2*ledgerSlot))
	if err != nil {
		return fault.New(fault.Corrupt, "index.open", name, "can't be read").Because(err)
	}
	for len(b) > 0 {
		n := min(ledgerSlot, len(b))
		if seq, rows, ok := decodeLedger(b[:n]); ok && seq >= l.seq {
			l.seq, l.rows = seq, rows
		}
		b = b[n:]
	}
	return nil
}

// verify compares a file with its row. One that is gone was dropped after the
// row was last seen on disk: the ledger is older after a power loss.
func (r ledgerRow) verify(f vfs.FS, name string) (there bool, err error) {
	h, err := f.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fault.New(fault.KindOf(err), "index.open", name, "can't be opened").Because(err)
	}
	defer h.Close()
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, io.LimitReader(h, int64(r.length)))
	if err != nil {
		return true, fault.New(fault.Corrupt, "index.open", name, "can't be read at %d", n).Because(err)
	}
	if uint64(n) != r.length || sum.Sum32() != r.sum {
		return true, fault.New(fault.Corrupt, "index.open", name, "the first %d bytes were synced and do not match their checksum (%d are there)", r.length, n).
			Do("restore it from a backup: writes that were answered can't be read any more")
	}
	return true, nil
}

// synced notes that so much of a file is on disk.
func (l *ledger) synced(name string, length uint64, sum uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := slices.BinarySearchFunc(l.rows, name, func(r ledgerRow, n string) int { return cmp.Compare(r.name, n) })
	if !ok {
		l.rows = slices.Insert(l.rows, i, ledgerRow{name: name})
	}
	if r := &l.rows[i]; r.length == length && ok {
		return
	}
	l.rows[i].length, l.rows[i].sum = length, sum
	l.writeLocked()
}

// dropped notes that a file is about to go.
func (l *ledger) dropped(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := slices.BinarySearchFunc(l.rows, name, func(r ledgerRow, n string) int { return cmp.Compare(r.name, n) })
	if ok {
		l.rows = slices.Delete(l.rows, i, i+1)
		l.writeLocked()
	}
}

func (l *ledger) writeLocked() {
	if l.f == nil {
		return
	}
	rows := l.rows
	if len(rows) > ledgerRows {
		rows = rows[len(rows)-ledgerRows:]
	}
	l.seq++
	// A ledger that can't be written only knows less.
	_, _ = l.f.WriteAt(encodeLedger(l.seq, rows), int64(l.seq%2)*ledgerSlot)
}

// SyncLedger makes the ledger durable as it is: from now on no older one is met.
func (g *FS) SyncLedger() {
	l := &g.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Sync() // a ledger that can't be written only knows less
	}
}

// CloseLedger makes the ledger durable: at rest it is exact after a power loss too.
func (g *FS) CloseLedger() {
	l := &g.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Sync()
		_ = l.f.Close()
		l.f = nil
	}
}
