// Package client is the Go client: it finds a server, authenticates, and calls
// the services of proto/ over gRPC, on a unix socket or TCP.
//
// Over the bare stubs it adds what every caller needs and nobody should write
// twice, in interceptors (call.go): the token, request ids for mutations so
// that a retry happens once, the highest epoch seen so that a client reads its
// own writes, retries with backoff, a deadline, and errors as internal/fault.
//
// It knows nothing of files on this machine and prints nothing; import, export
// and tables are internal/cli's. Start with Find and Open.
package client
