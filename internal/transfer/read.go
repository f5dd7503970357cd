package transfer

import (
	"context"
	"errors"
	"io"

	"daos/internal/client"
	"daos/internal/fault"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// Range is a part of a file of a dataset.
type Range struct {
	Dataset string // POOL/DATASET[@SNAPSHOT]
	Path    string
	Offset  uint64
	Length  uint64 // 0: to the end
}

// ReadFile writes a part of a file to w and returns the number of bytes. A
// stream that ends before the file does is an error.
func ReadFile(ctx context.Context, c *client.Client, r Range, w io.Writer) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.Posix.ReadStream(ctx, &posixv1.ReadStreamRequest{Dataset: r.Dataset, Path: []byte(r.Path), Offset: r.Offset, Length: r.Length, Seen: c.Seen()})
	if err != nil {
		return 0, err
	}
	at, size, known := r.Offset, uint64(0), false
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return int64(at - r.Offset), err
		}
		size, known = m.GetSize(), true
		if len(m.GetPayload()) == 0 {
			continue
		}
		if m.GetOffset() != at {
			return int64(at - r.Offset), fault.New(fault.Internal, "read", r.Dataset+"/"+r.Path, "the server sent offset %d instead of %d", m.GetOffset(), at)
		}
		if _, err := w.Write(m.GetPayload()); err != nil {
			return int64(at - r.Offset), err
		}
		at += uint64(len(m.GetPayload()))
	}
	end := size
	if r.Length > 0 && r.Offset+r.Length > r.Offset {
		end = min(end, r.Offset+r.Length)
	}
	if known && at < end {
		return int64(at - r.Offset), fault.New(fault.DataLoss, "read", r.Dataset+"/"+r.Path, "the stream ended at byte %d of %d", at, end).Do("try again")
	}
	return int64(at - r.Offset), nil
}
