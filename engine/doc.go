// Package engine puts the storage of one rank together: targets (engine/vos),
// placement, the clock and a transaction kernel per dataset, driven with
// goroutines. Above it everything is an object.Store: a Dataset.
//
// It is not the pool service: names, properties and snapshots lie in the
// server's control store. The engine knows the ids of datasets and pools, their
// quotas, the epochs that are pinned, and how far each dataset has been swept.
//
// # Folder
//
//	ROOT/LOCK        held while the engine is open
//	ROOT/engine      superblock: format, number of targets
//	ROOT/clock       the ceiling of the epochs given out
//	ROOT/journal/    the redo log of all targets (engine/journal)
//	ROOT/datasets    ids, pools, quotas, sweep horizons
//	ROOT/target-N/   one target each (engine/vos)
//
// Start with Open; Dataset.Commit (commit.go) is the write path, Dataset.Get
// (read.go) the read path, recovery is in open.go.
package engine
