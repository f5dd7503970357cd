// Package kernel is the transaction kernel: one deterministic state machine per
// dataset that decides which transaction waits, which gets an epoch, which
// commits and which is taken back. Values go in (events), values come out
// (actions); it has no goroutines, no clock, no disk, and it never iterates over
// a map where the order could be seen. Package engine drives it with goroutines
// and real targets; the simulator in this package's tests drives the same code
// with crashes.
//
// # Life of a transaction
//
//	Begin      it claims the keys it reads and writes. A claim that meets one of
//	           an earlier transaction waits: a read waits until the writer is
//	           decided, a write until the reader is validated. Two writers never
//	           wait for each other: each makes its own version. Waiting is in
//	           order of arrival, so nothing starves and nothing deadlocks.
//	Admit      nothing that it waits for is left: it gets its epoch.
//	Validated  the driver has checked reads, conditions and the request id (Check).
//	Prepare    every participant gets its batch, durably, with a row for the
//	           transaction if there is more than one participant.
//	Prepared   on all: committed, answered. On some, and one refused: taken back
//	           on the others, then answered.
//
// An epoch is closed when no transaction at or below it is undecided and none
// can get one: reads are made at closed epochs only, so they are stable.
//
// # After a crash
//
// Resolve decides what the rows found on the targets mean: a row on every
// participant is a commit, a missing one an abort, unless that participant is
// already past the transaction (target.Settle). docs/format/transactions.md
// tells it with all reasons.
//
// Start with Kernel.Begin and read down; claims.go is who waits for whom.
package kernel
