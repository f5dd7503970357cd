package feed

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"daos/engine/object"
	"daos/internal/fault"
	"daos/internal/feedframe"
)

// Batches finds the samples that BATCH frames ask for.
type Batches interface {
	// Plan describes a batch. indices is valid until Release. A handle that
	// this process did not give out is fault.Stale; an index out of range is
	// fault.Invalid and names the first bad one.
	Plan(ctx context.Context, handle uint64, indices []uint64) (Batch, error)
}

// Batch is a batch whose bytes have been found and verified.
type Batch interface {
	// Meta is the meta part of the BATCH_REPLY.
	Meta() []byte
	// Size is the length of the payload.
	Size() uint64
	// Parts appends slices to dst that one behind the other are the payload.
	// They may lie in mapped files, and are valid until Release.
	Parts(dst [][]byte) ([][]byte, error)
	Release()
}

// FileBatch is an ability that a Batch may have: its bytes lie in files.
type FileBatch interface {
	// Regions appends the payload to out; false where too little of it lies in
	// files. What is in memory is valid until Release of the batch.
	Regions(out *object.Regions) bool
}

// batcher runs the batches of one connection and keeps its scratch space.
type batcher struct {
	parts [][]byte
	frame []byte
}

// run answers a BATCH. The error says that the connection is broken.
func (b *batcher) run(c *conn, k *call) error {
	at, err := b.answer(c, k)
	if f := c.s.o.OnBatch; f != nil {
		f(time.Since(k.arrived), at.samples, at.bytes, err)
	}
	if err == nil || err == errEnd { //nolint:errorlint // the sentinel is returned as it is
		return err
	}
	if at.begun { // half of the frame may be out
		c.s.o.Log.Error("a batch was broken off", "peer", c.peerName(), "error", err)
		return errEnd
	}
	return c.w.status(k.header.ID, err)
}

// progress says how far an answer went.
type progress struct {
	samples int
	bytes   uint64
	begun   bool // writing has begun
}

func (b *batcher) answer(c *conn, k *call) (at progress, err error) {
	defer func() {
		if r := recover(); r != nil { // a page of a mapped file can't be read, or a bug
			err = fault.New(fault.Corrupt, "feed.batch", "", "the samples can't be read: %v", fmt.Sprint(r))
			c.s.o.Log.Error("a batch has panicked", "panic", fmt.Sprint(r))
		}
	}()
	if k.header.Flags != 0 {
		return at, fault.New(fault.Invalid, "feed.batch", "", "a BATCH frame with flags")
	}
	req, err := feedframe.ParseBatchRequest(k.first.bytesOfMeta(), k.header.PayloadLen)
	if err != nil {
		return at, err
	}
	if c.s.o.Batches == nil {
		return at, fault.New(fault.Unsupported, "feed.batch", "", "this server has no batches")
	}
	c.mu.Lock()
	canceled := k.canceled
	c.mu.Unlock()
	if canceled {
		return at, errCanceled
	}
	plan, err := c.s.o.Batches.Plan(c.ctx, req.Handle, uint64s(*k.first.payload))
	if err != nil {
		return at, err
	}
	defer plan.Release()
	size := plan.Size()
	if size > feedframe.MaxBatchReply {
		return at, fault.New(fault.TooBig, "feed.batch", "", "a batch of %d bytes, at most %d are allowed", size, feedframe.MaxBatchReply).Do("ask for fewer samples")
	}
	c.s.stats.batches.Add(1)
	c.s.stats.samples.Add(int64(req.Count))
	at = progress{samples: int(req.Count), bytes: size, begun: true}
	h := feedframe.Header{Kind: feedframe.BatchReply, ID: k.header.ID, PayloadLen: size}
	if size >= lendFrom && size/uint64(req.Count) >= lendPart {
		if sent, err := b.lent(c, h, plan); sent {
			return at, err
		}
	}
	if b.parts, err = plan.Parts(b.parts[:0]); err != nil {
		at.begun = false
		return at, err
	}
	defer clear(b.parts)
	return at, c.w.gather(h, plan.Meta(), b.parts)
}

// lent answers with the files that a batch lies in, where that can be done.
func (b *batcher) lent(c *conn, h feedframe.Header, plan Batch) (sent bool, err error) {
	in, ok := plan.(FileBatch)
	if !ok || !c.files {
		return false, nil
	}
	var out object.Regions
	defer out.Release()
	if !in.Regions(&out) {
		return false, nil
	}
	l, ok := c.lend(&out)
	if !ok {
		return false, nil
	}
	meta := plan.Meta()
	h.MetaLen = uint32(len(meta))
	b.frame = append(b.frame[:0], make([]byte, feedframe.HeaderSize)...)
	b.frame = append(b.frame, meta...)
	b.frame = append(b.frame, make([]byte, feedframe.Padded(len(meta))-len(meta))...)
	return c.w.lent(h, b.frame, l, h.PayloadLen)
}

// uint64s views b, whose length is a multiple of 8 and which begins an
// allocation, as the little-endian numbers that it holds.
func uint64s(b []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/8)
}
