package vos

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"daos/internal/fault"
	"daos/internal/guardfs"
)

// indexError turns an error of pebble into one of ours. Corruption names the
// file: pebble says which table, log or manifest in its text.
func (t *Target) indexError(op string, err error) error {
	if err == nil {
		return nil
	}
	var fe *fault.Error
	if errors.As(err, &fe) {
		return err
	}
	dir := t.guard.PathJoin(t.opts.Dir, "index")
	name := dir
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil && info.Path != "" {
		name = info.Path
	}
	switch {
	case pebble.IsCorruptionError(err), isChecksum(err):
		return fault.New(fault.Corrupt, op, name, "the index is damaged: %v", err).
			Do("restore the target from a backup; segments can be read on their own (docs/format/index.md)")
	case guardfs.NoSpace(err):
		return fault.New(fault.NoSpace, op, dir, "the disk is full").
			Do("free space on this file system or delete datasets").Because(err)
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return fault.New(fault.Corrupt, op, dir, "the index is missing").
			Do("restore the folder from a backup, or make an index of what the segments have: `daos system rebuild %d` (docs/format/index.md)", t.opts.ID).Because(err)
	case errors.Is(err, pebble.ErrClosed):
		return fault.New(fault.Unreachable, op, dir, "the target is closed")
	}
	return fault.New(fault.KindOf(err), op, dir, "the index failed").Because(err)
}

// isChecksum knows the errors of a damaged file that pebble does not mark.
func isChecksum(err error) bool {
	s := err.Error()
	for _, w := range []string{"checksum mismatch", "corrupt", "invalid chunk", "zeroed chunk", "invalid table", "bad magic", "name from file"} {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

func (t *Target) badKey(op string, key []byte) error {
	return fault.New(fault.Corrupt, op, t.guard.PathJoin(t.opts.Dir, "index"), "an index row can't be read, key %s", formatKey(key)).
		Do("restore the target from a backup")
}

// applied is the outcome of a write to the index. pebble reports a failed
// commit to its logger only; so the guard is asked too.
func (t *Target) applied(err error) error {
	if e := t.guard.Failed(); e != nil {
		return e
	}
	return t.indexError("vos.write", err)
}

// pebbleLogger passes on what matters. pebble calls Fatalf where it cannot go
// on: a log or manifest that can't be written. The target stops writing then.
type pebbleLogger struct{ t *Target }

func (l pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.t.log.Error("index", "detail", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	var cause error
	for _, a := range args {
		if e, ok := a.(error); ok {
			cause = e
		}
	}
	l.t.guard.Fail(l.t.guard.PathJoin(l.t.opts.Dir, "index"), fmt.Sprintf(format, args...), cause)
	l.t.log.Error("index stopped", "detail", fmt.Sprintf(format, args...))
}

// listener keeps pebble from ending the process on a damaged table: the reader
// that met it gets the error.
func (t *Target) listener() *pebble.EventListener {
	return &pebble.EventListener{
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			t.log.Error("index is damaged", "file", i.Path, "detail", fmt.Sprint(i.Details))
		},
		WriteStallBegin: func(pebble.WriteStallBeginInfo) { t.backlog.stall.set(true) },
		WriteStallEnd:   func() { t.backlog.stall.set(false) },
		BackgroundError: func(err error) {
			t.log.Error("index background work failed", "error", err)
		},
		DiskSlow: func(i pebble.DiskSlowInfo) {
			t.log.Warn("disk is slow", "file", i.Path, "took", i.Duration)
		},
	}
}
