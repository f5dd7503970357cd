// Package batch puts batches together: samples by index, from an open manifest,
// laid out as docs/protocol.md says. Samples of less than CopyBelow bytes are
// copied into pooled buffers, larger ones are referred to where they lie in
// mapped segments, for writev. There is no index lookup and no allocation per
// sample.
//
// It does not know the wire's frames, nor in which order samples come. Start at
// Plan.
package batch
