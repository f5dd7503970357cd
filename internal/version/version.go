// Package version says which build this is. It imports nothing.
package version

// Version is the version of the product, the same as pydaos'.
const Version = "0.1.0"

// Commit is set by the linker (Makefile); "unknown" in a plain go build.
var Commit = "unknown"
