// Package manifest is what one pass reads: the samples of a dataset at a pinned
// epoch, numbered, and where their bytes lie. It is built once and kept on disk
// in two files that are mapped, never loaded, so that ten million samples open
// as fast as ten and cost no memory of the process:
//
//   - logical: sample index -> object, size, label, path. Immutable.
//   - location: sample index -> segment, position, length, checksum. Derived
//     from the engine's index, and derived anew when records have moved.
//
// The order of samples is a function of content: files depth first with names
// in byte order, tensors by the sample axis. docs/format/manifest.md has both
// and the bytes.
//
// It does not decide in which order samples are visited (package order) nor put
// batches together (package batch). Start at Library.
package manifest
