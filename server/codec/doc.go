// Package codec is the gRPC codec of the server. It sends a Message, a
// FlightData whose body is a list of slices, without copying the body, and
// receives FlightData with one copy instead of two. All other messages take
// the stock proto codec. On the wire nothing differs: stock clients can't tell.
//
// # Ownership
//
// SendMsg returns before the bytes are on the socket, so the slices of a
// Message must not change after it was given to SendMsg; they are never given
// back, the garbage collector takes them. Bytes that it does not own (a mapped
// file) go with a Pin: its release runs once, when gRPC has let go of the last
// slice, or when the message was dropped. gRPC does not count its references
// to the messages of a stream that was cancelled, so that a collected message
// is the only sign of it; a runtime cleanup watches for that.
//
// The stock flight.Writer must not meet a codec that sends by reference, since
// it uses one buffer for all messages; hence a type of our own.
//
// Start with New and Message.
package codec
