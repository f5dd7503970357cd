// Package scan passes over the namespace of a POSIX dataset and gives the
// entries that a filter wants as Arrow record batches.
//
// It reads the namespace plane linearly, part by part, next to the data: no
// lookup per entry, only one per directory. The order of rows is that of the
// index, the same at every retry and for any number of parts; it is not the
// order of names. A part that is missing or a record that can't be read is an
// error; there is no short list.
//
// It is not the order of samples: that is posix.View.Files. It knows nothing of
// the wire; server/* maps daos.scan.v1 onto it.
//
// Start with Plan and Open; Stream.Next gives batches. The only package of
// Arrow's that is used lies in columns.go.
package scan
