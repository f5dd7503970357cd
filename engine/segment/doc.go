// Package segment keeps bulk bytes in append-only files.
//
// A segment belongs to one dataset on one target. It starts with a header,
// goes on with payload (records, aligned, never overwritten) and, once sealed,
// ends with a footer that lists its records with their index keys, so that an
// index can be rebuilt. docs/format/segment.md has the bytes.
//
// The package knows files, positions and durability. It does not know epochs,
// visibility or which records are alive: that is engine/vos. Start at Set, then
// Writer (how bytes get in), File (one segment) and Footer.
package segment
