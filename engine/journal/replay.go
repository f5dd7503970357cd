package journal

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/internal/fault"
	"daos/internal/guardfs"
)

// Options of a journal.
type Options struct {
	FS     vfs.FS
	Dir    string
	Logger *slog.Logger
	// Size is that of a file that is used much, up to 1 GiB; 0: 32 MiB.
	Size int64
	// Create makes the folder; without it a folder that is missing is an error.
	Create bool
	// Checkpoint makes all that was appended before the call durable in the
	// indexes, but those of targets that have stopped for good, which it names.
	// It is called in a goroutine of the journal's.
	Checkpoint func() (stopped []uint16, err error)
}

// Open opens a journal to be replayed. Nothing can be appended before Start.
func Open(o Options) (*Log, error) {
	if o.Size == 0 {
		o.Size = defaultSize
	}
	o.Size = min(o.Size, maxSize) // what read takes
	l := &Log{opts: o, guard: guardfs.New(o.FS, "journal"), wake: make(chan struct{}, 1)}
	if o.Create {
		if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, fault.New(fault.KindOf(err), "journal.open", o.Dir, "the folder can't be made").Because(err)
		}
		if err := guardfs.SyncDir(o.FS, o.FS.PathDir(o.Dir)); err != nil {
			return nil, fault.New(fault.KindOf(err), "journal.open", o.Dir, "the folder can't be made durable").Because(err)
		}
	}
	names, err := o.FS.List(o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Corrupt, "journal.open", o.Dir, "the folder of the journal is missing: writes that were answered may be lost").
			Do("restore it from a backup; only if the server was stopped, not killed, an empty folder serves as well")
	}
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "journal.open", o.Dir, "the folder can't be listed").Because(err)
	}
	for _, name := range names {
		if generation, ok := parseName(name); ok {
			l.found = append(l.found, generation)
		}
	}
	slices.Sort(l.found)
	if err := l.guard.OpenLedger(o.Dir, o.Dir); err != nil {
		return nil, err
	}
	return l, nil
}

// Replay calls fn with the batches of a target whose numbers are above after,
// in order. The payload is fn's to keep. It is an error if one is missing
// between after and the last one; a target that is new (0) takes them from
// wherever they begin.
func (l *Log) Replay(target uint16, after uint64, fn func(number uint64, payload []byte) error) error {
	return l.replay(target, after, func(name string, last, number uint64) error {
		return fault.New(fault.Corrupt, "journal.replay", name, "target %d has writes up to number %d, and the journal goes on at %d", target, last, number).
			Do("the target or the journal is of another time: restore the whole root from one backup")
	}, fn)
}

// Salvage is Replay for a target whose index is lost. Numbers may be missing
// between two files: one that stayed for another target that had stopped, and
// those after it, when what lay between was in the index.
func (l *Log) Salvage(target uint16, fn func(number uint64, payload []byte) error) error {
	return l.replay(target, 0, func(string, uint64, uint64) error { return nil }, fn)
}

func (l *Log) replay(target uint16, after uint64, missing func(name string, last, number uint64) error, fn func(number uint64, payload []byte) error) error {
	last := after
	for _, generation := range l.found {
		name := l.guard.PathJoin(l.opts.Dir, fileName(generation))
		b, key, err := l.read(name, generation)
		if err != nil {
			return err
		}
		end, err := records(b, key, func(r record) error {
			if r.target != target || r.number <= last {
				return nil
			}
			if r.number != last+1 && last > 0 {
				if err := missing(name, last, r.number); err != nil {
					return err
				}
			}
			last = r.number
			return fn(r.number, r.payload)
		})
		if err != nil {
			return err
		}
		if at, found := groupBehind(b, end, key); found {
			return fault.New(fault.Corrupt, "journal.replay", name, "the records at %d can't be read, and later ones at %d can", blockSize+end, blockSize+at).
				Do("restore the whole root from a backup: writes that were answered can't be read any more")
		}
	}
	return nil
}

// read returns the records of a file. One whose header never got to the disk,
// so that there are zeros or that of the file's earlier use, has none: nothing
// was appended to it.
func (l *Log) read(name string, generation uint64) ([]byte, seal, error) {
	f, err := l.opts.FS.Open(name)
	if err != nil {
		return nil, seal{}, fault.New(fault.KindOf(err), "journal.open", name, "can't be opened").Because(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return nil, seal{}, fault.New(fault.Corrupt, "journal.open", name, "can't be read").Because(err)
	}
	ver, have, key, ok := readHeader(b)
	switch {
	case !ok && len(bytes.Trim(b[:min(blockSize, len(b))], "\x00")) > 0:
		return nil, seal{}, fault.New(fault.Corrupt, "journal.open", name, "the header can't be read").
			Do("restore the whole root from a backup: writes that were answered can't be read any more")
	case !ok, have != generation:
		return nil, seal{}, nil
	case ver != version && ver != unsalted:
		return nil, seal{}, fault.New(fault.Unsupported, "journal.open", name, "version %d is not known", ver).
			Do("open it with the version of daos that wrote it, or a newer one")
	}
	return b[min(blockSize, len(b)):], key, nil
}

// Start drops what was replayed, which the caller has made durable in the
// indexes, and takes batches from then on.
func (l *Log) Start() error {
	highest := uint64(0)
	for _, generation := range l.found {
		highest = generation
		if err := l.guard.Remove(l.guard.PathJoin(l.opts.Dir, fileName(generation))); err != nil {
			return fault.New(fault.KindOf(err), "journal.open", l.opts.Dir, "a file that was replayed can't be removed").Because(err)
		}
	}
	// Generations may begin anew next time: after a power loss then no older
	// ledger may know files of these names.
	l.guard.SyncLedger()
	l.found = nil
	l.mu.Lock()
	l.started = true
	l.mu.Unlock()
	l.wg.Go(func() { l.keep(highest) })
	return nil
}
