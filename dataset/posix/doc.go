// Package posix is a tree of directories, files and symbolic links on an
// object store: POSIX's namespace and file semantics, with every mutation one
// transaction and every read at one epoch.
//
// It is not a kernel file system: there are no open handles, locks or access
// checks, and it keeps no state that correctness needs. Any number of FS values
// in any number of processes may work on one dataset.
//
// # Where to start
//
// Create lays a new dataset out, Open gives an FS. FS.Head and FS.At give a
// View, which has all reads; the mutations are methods of FS. tx.go has the
// one loop that every mutation goes through. The records on disk are in
// record.go and, byte by byte, in docs/format/posix.md.
//
// # Layout
//
// A directory is an object: dkey = name, akey "e" = entry record. While a file
// has one name its entry is its inode; a second name moves the inode into the
// file object (akey "i") and makes the entries point there. Every object knows
// its parent and name (akey "p"). A file's bytes lie in its object: dkey =
// chunk index, akey "d".
//
// # What differs from a local file system
//
// A directory's times change when it is changed itself, not when entries are
// made in it; its nlink is always 1. There is no access time.
package posix
