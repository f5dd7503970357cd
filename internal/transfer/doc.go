// Package transfer copies trees of files between this machine and a POSIX
// dataset: Import and Export.
//
// Import walks a local tree without ever following a symbolic link, packs
// small files into messages of the Import stream (one durable transaction
// each), and stages large ones. Every message has a request id and is kept
// until it is answered, so that a connection, or a server, that dies in between
// costs a repetition and nothing else. What is there already with the same
// size and time is skipped, so an import that was cut off is simply run again.
//
// Export reads at one snapshot and writes each file whole or not at all, inside
// the destination folder whatever the names say.
//
// It prints nothing: callers watch Progress. Start with Import in import.go;
// walk.go reads the local tree, batch.go packs and sends.
package transfer
