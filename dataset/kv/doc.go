// Package kv is the key-value dataset: byte strings by key, listed in the byte
// order of their keys, over the object interface. It knows neither the wire nor
// Arrow. It has no indices beside the key's and no expiry.
//
// Start at Open. Dataset.Apply carries out a batch of puts, deletes, additions
// and appends in one transaction; Dataset.Put streams one large value; a View
// (Dataset.At, Dataset.Head) gets, lists and scans at an epoch.
//
// # How pairs lie in objects
//
// One object of the dataset's class holds the values: the key is the dkey, so
// that a value is found on one target, and the akey is "v" with the user's akey
// behind it. The record is one byte that says how it goes on: 1 and the value,
// or 2 and where it lies, for values too large for a single record: in a byte
// array object of their own, in chunks. A second object, of class S1, holds the
// superblock (schema, next number of a large value) and the leases of large
// values being written. docs/format/kv.md has the bytes.
//
// # What a change reads
//
// A put without a condition reads nothing but the superblock, whose version
// goes into its transaction, so that writers of one key do not wait for each
// other: the later epoch wins. Once the dataset has had a large value a put
// looks at the record that it replaces, to free what that refers to. Everything
// else (conditions, additions, appends, deletions) reads what it changes, and is
// done again if that has changed before it commits.
package kv
