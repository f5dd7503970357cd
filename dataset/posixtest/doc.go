// Package posixtest is the conformance suite of POSIX trees: what every
// implementation of the calls must do, by tables, by random histories against
// a model, by concurrent histories put in order by their epochs, and by calls
// whose answers are lost and which are made again.
//
// Start with Run; Local makes a Tree of a posix.FS.
package posixtest
