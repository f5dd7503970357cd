// Package sqlworker is the process that runs one SQL statement: the server
// starts its own binary again with a hidden command, hands it a task on stdin,
// and reads replies on stdout. It reads datasets over the server's socket like
// any client. A crash in here, or a statement that needs too much, ends this
// process and nothing else; when the server dies, stdin ends and so does it.
//
// Start at Run. A build without cgo has a Run that says so.
package sqlworker
