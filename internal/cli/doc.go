// Package cli is the command line: nouns and verbs over the Go client
// (internal/client), and `daos serve`, which runs the server of this process.
//
// One file holds one noun. A verb parses its arguments into values, calls the
// client, and prints through output.go: tables for people, JSON for scripts
// (--json; the keys are listed in docs/cli.md and are stable), progress on
// stderr where that is a terminal. It holds no logic of datasets.
//
// Start with root.go (the tree of commands and its global flags) and app.go
// (what every verb gets: streams, settings, client).
package cli
