package engine

import (
	"context"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/journal"
	"daos/engine/object"
	"daos/engine/vos"
	"daos/internal/fault"
)

// RebuildTarget makes a new index for a target of a root that nobody has open,
// from the footers of its segments and from the journal: what is lost with it
// is said at vos.RebuildIndex. A transaction that a crash left undecided counts as
// prepared there: what other targets have of it stays. report is told of each
// record and segment that can't be taken in.
func RebuildTarget(ctx context.Context, o Options, target int, report func(error)) (st vos.RebuildStats, err error) {
	const op = "engine.rebuild"
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	e := &Engine{opts: o, log: o.Logger}
	var sb superblock
	if found, err := readSmall(o.FS, o.Root, superblockName, &sb); err != nil {
		return st, err
	} else if !found || !sb.Ready {
		return st, fault.New(fault.NotFound, op, o.Root, "there is no engine in this folder").Do("give the root folder of a server")
	}
	if err := e.lockRoot(); err != nil {
		return st, err
	}
	defer func() {
		if serr := e.shut(); err == nil {
			err = serr
		}
	}()
	if sb, err = e.superblock(); err != nil { // it is one of ours
		return st, err
	}
	if target < 0 || target >= sb.Targets {
		return st, fault.New(fault.NotFound, op, o.Root, "there is no target %d", target).Do("give 0 to %d", sb.Targets-1)
	}
	if sb.Format != beforeJournal {
		if e.journal, err = journal.Open(journal.Options{FS: o.FS, Dir: o.FS.PathJoin(o.Root, journalName), Logger: o.Logger}); err != nil {
			return st, err
		}
	}
	var given object.Epoch // none is above it
	if e.ceiling, given, err = openClock(o.FS, o.Root, false); err != nil {
		return st, err
	}
	return vos.RebuildIndex(ctx, vos.Options{Dir: e.targetDir(target), FS: o.FS, ID: uint16(target), Logger: o.Logger, Journal: e.journal}, given, report)
}
