// Package journal is the redo log that the targets of one disk share.
//
// Each target has an index with a log of its own, and a disk makes one log
// durable at a time: a transaction that spans four targets would wait for four
// syncs, and writers of different targets would share none. So a batch goes
// into the journal, which is synced for all that wait at that moment, and into
// the index without a sync. After a crash a target takes from the journal what
// its index has lost.
//
// It is no log of transactions and knows nothing of them: a record is one batch
// of one target, as that target encodes it, with a number that rises by one
// from record to record of that target. The target keeps the number of the last
// one in its index, in the same batch, and so knows which it lacks.
//
// # Room
//
// Two files take turns. When one is full the other is written, and the targets
// are asked to sync their indexes (Options.Checkpoint); then the first is free
// again. A batch for which there is no room, because it is large or because
// that takes longer than the other file lasts, is refused without an error:
// the target then syncs its own log. So the journal never makes anybody wait
// for room, and a disk without space for it only costs speed. A file with
// records of a target that has stopped stays until the next start, and another
// one is made to take its turn.
//
// # Reading the code
//
// format.go is the bytes (docs/format/journal.md), record by record; log.go is
// the way in, files.go the files' life, replay.go what a restart reads.
package journal
