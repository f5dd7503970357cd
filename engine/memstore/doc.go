// Package memstore is an object.Store in memory: the reference model of the
// engine's tests and the fake that the packages above develop against.
//
// It does everything that the engine does except survive: versions, punches,
// conditions, read validation, request ids, snapshots of any epoch, anchors,
// quota. One mutex stands where the engine has its transaction kernel, so it is
// simple enough to be believed, and no measure of speed. Records always lie in
// the index (Inline); Segment answers fault.Unsupported.
//
// Start with New; Store.Commit is the whole write path.
package memstore
