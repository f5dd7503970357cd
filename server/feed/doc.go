// Package feed serves the framed protocol of docs/protocol.md ("Feed"): the
// methods of the gRPC services, and batches by sample index, over one unix or
// TCP connection without gRPC's copies.
//
// It is not a second set of services. A Registrar collects the ServiceDescs
// that the gRPC server has too, and a CALL frame runs the same handler behind
// the same interceptors. Batches come from a Batches, which the loader gives.
//
// A connection has a reader and an executor. The reader takes frames off the
// socket, at most feedframe.MaxPipelined ahead, and handles CANCEL at once; the
// executor runs calls one after another in order of arrival and writes their
// answers. A batch that nothing waits before is answered by the reader itself;
// if that lasts, another goroutine reads in its place. Without TLS both work on
// an internal/feedsocket, as waiting in Go's poller costs more than a small batch.
// What a client can make the server hold is bounded by frames, by bytes a
// connection and by bytes of all connections.
//
// # Ownership
//
// The payload of a unary request belongs to the connection: it is reused when
// the handler has returned, so a handler that keeps it must copy it. The
// payloads of a client stream belong to the handler. A response's payload is
// written before the handler's next step, so the handler may reuse it.
//
// Start with Server and conn.run.
package feed
