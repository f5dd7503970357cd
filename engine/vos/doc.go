// Package vos is the versioned object store of one storage target: what DAOS
// calls by that name, on pebble and append-only segment files.
//
// It keeps versions (single values, array extents, punches) by object, dkey,
// akey and epoch, makes a batch of them durable in one step, and answers reads
// at an epoch. It knows nothing of other targets, decides no transaction and
// checks no condition: engine/kernel does. It is never asked at an epoch that
// may still change.
//
// # Where things lie
//
// The index (DIR/index, pebble) has keys, epochs and values up to
// object.InlineMax; longer payload lies in segments (DIR/seg, engine/segment).
// DIR/superblock names the format of both. docs/format/ has every byte.
//
// # Order of writing
//
// Payload to a segment, fdatasync, then one pebble batch with versions,
// transaction row, request row, usage counters and epoch ceiling, which the
// journal of all targets makes durable (engine/journal, redo.go); without one,
// or where it has no room, the index's own log is synced. What the journal has
// goes into the index later, much of it together, and before anybody looks for
// it (backlog.go). A crash in between leaves bytes in a segment that nothing
// refers to.
//
// # Reading the code
//
// key.go and record.go are the format; prepare.go is the way in; visible.go
// says what a reader sees; read.go, extents.go, list.go and scan.go are the
// ways out; sweep.go is what forgets. internal/guardfs stops a target at the first
// failed sync and knows damage from a torn end, rebuild.go is for a lost
// index.
package vos
