// Package tensor is the tensor dataset: named columns of equal length along one
// sample axis, over the object interface. It knows neither the wire nor Arrow
// (package tensorarrow does), and it is not a database: rows are only appended
// and overwritten, never deleted or inserted.
//
// Start at Open. Table.Define sets the columns, Append adds samples, Overwrite
// replaces some, Read returns samples by slice or by index list at any epoch.
//
// # How a table lies in objects
//
// One table object holds single values: the schema, the head (length and next
// chunk number), a record for each chunk of each column with its statistics,
// and leases of staged chunk numbers. Each column has one object of class SX;
// a chunk is one dkey of it (the chunk number, big-endian) with the byte arrays
// "d" (values), "o" (offsets) and "v" (validity). docs/format/tensor.md has the
// bytes.
//
// # Atomic appends of any size
//
// A small append is one transaction. A large one stages whole chunks in
// deferred transactions under chunk numbers that it has leased and that nothing
// refers to; one last transaction, a barrier, writes the chunk records and moves
// the length. Chunks have any number of samples, so that a staged chunk can be
// placed at whatever length the table has by then: an append that lost a race
// reads the head again and repeats only that last transaction.
package tensor
