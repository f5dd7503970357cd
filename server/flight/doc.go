// Package flight serves Arrow Flight: the catalogue, the rows of tensor
// datasets and the scans of POSIX datasets, to clients that know nothing of
// this service. What its opaque bytes mean is in docs/protocol.md ("Arrow
// Flight") and proto/daos/flight/v1.
//
// It is the way for everybody; it is not the fast one, which is the feed.
//
// A descriptor becomes a Command, a Command with an epoch becomes signed
// tickets, and a ticket is all that DoGet needs: descriptor.go, info.go,
// ticket.go, get.go. Record batches leave through sender, which gives gRPC the
// memory of the columns itself (server/codec). Uploads and requests come in
// through receiver, which trusts nothing. Errors are faults; the interceptors
// that all services share turn them into statuses and know the caller.
package flight
