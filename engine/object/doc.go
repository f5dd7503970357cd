// Package object is the vocabulary of the storage engine and the small
// interfaces through which everything above it (dataset, query, loader) sees a
// store. It imports nothing of the project but internal/fault, and everything
// of the engine imports it.
//
// # The model
//
// A dataset (DAOS: container) holds objects. An object has a 128-bit ID, which
// carries its object class, and a two-level key: a dkey (placement unit) and an
// akey (attribute). Under (object, dkey, akey) lies either a single value,
// written and read whole, or a byte array, written and read by extents. Every
// update is a new version at an epoch; nothing is overwritten. A read names an
// epoch and sees the newest version at or below it.
//
// # Planes
//
// Single values lie in the namespace plane, array extents in the extents
// plane. Each is one contiguous range of the index per placement group, so a
// scan of all single values of a dataset (every directory entry, every chunk
// statistic) is a linear pass that never meets bulk data.
//
// # Writing
//
// A mutation is a value, Tx: a request id, the epoch its author read at, what
// he read, conditions, writes. Committer.Commit gives it to the transaction
// kernel, which answers with the epoch it got, or fault.Conflict when
// something it read has changed: then the author reads again and retries.
//
// # Reading
//
// Clock.ReadEpoch gives an epoch that is closed (no transaction can commit at
// or below it any more) and not below any epoch already answered, so that a
// client reads its own writes. All reads of one operation use one epoch.
package object
