// Package array is the array dataset: a tree of groups and N-D chunked arrays
// over the object interface, and beside it a flat space of keys for a zarr
// store. It knows neither the wire nor Arrow, and it computes nothing on what it
// stores but statistics.
//
// Start at Open. Dataset.Create makes an array, Write and Append put elements
// into it, Read returns any strided selection at any epoch, Chunks walks the
// statistics of its chunks in order.
//
// # How an array lies in objects
//
// One catalog object holds a node for each group and array: what it is, its
// shape, its attributes. Each array has one object of class SX; a chunk is one
// dkey of it (the coordinates, big-endian) with the byte array "d" (the elements
// in C order, as wide as the chunk shape also at the edges, so that nothing moves
// when the shape changes) and the single value "s" (its record: statistics).
// docs/format/array.md has the bytes.
//
// # No read-modify-write
//
// A write of a part of a chunk writes extents, newer versions of just those
// bytes, and widens the statistics; the chunk is read only where a part is
// scattered over it in very many pieces. Each write is one transaction that says
// which shape, and which chunk records, it was made for.
//
// # Cutting off
//
// What a smaller shape cuts off is invisible at once. The chunks are dropped
// afterwards, in steps; until that is done the array's shape record says how far
// stale chunks reach, and whoever makes the array larger finishes it first.
package array
