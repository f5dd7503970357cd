package transfer

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"daos/internal/client"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// piece is how much of a large file one WriteStaged carries, and pieces how
// many are in flight.
const (
	piece  = 4 << 20
	pieces = 4
)

// localReadError marks a failure to read on this machine, as opposed to one of
// the server.
type localReadError struct{ err error }

func (e *localReadError) Error() string { return e.err.Error() }
func (e *localReadError) Unwrap() error { return e.err }

// Publish copies r into a staged file and links it whole, as pub says. Dataset
// and Path are set by the caller; Inode and Size here. size is what r is
// believed to hold: beyond it nothing is read if r is a regular file; a
// negative one means "until the end". Holes of a regular file are not sent.
// What was staged is discarded when anything fails.
func Publish(ctx context.Context, c *client.Client, pub *posixv1.PublishRequest, r io.Reader, size int64, sent *atomic.Int64) (*posixv1.Attr, error) {
	st, err := c.Posix.Stage(ctx, &posixv1.StageRequest{Dataset: pub.GetDataset()})
	if err != nil {
		return nil, err
	}
	pub.Inode = st.GetInode()
	attr, err := publish(ctx, c, pub, r, size, sent)
	if err != nil {
		// The caller's context may be over; the server would drop it by itself, later.
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_, _ = c.Posix.Discard(dctx, &posixv1.DiscardRequest{Dataset: pub.GetDataset(), Inode: pub.GetInode()})
	}
	return attr, err
}

func publish(ctx context.Context, c *client.Client, pub *posixv1.PublishRequest, r io.Reader, size int64, sent *atomic.Int64) (*posixv1.Attr, error) {
	g, gctx := errgroup.WithContext(ctx)
	free := make(chan []byte, pieces)
	for range pieces {
		free <- nil
	}
	off := int64(0)
	file, _ := r.(*os.File)
	var readErr error
	for gctx.Err() == nil && (size < 0 || off < size) {
		if file != nil && size >= 0 {
			if next, ok := nextData(file, off); ok && next > off {
				off = min(next, size)
				continue
			}
		}
		var buf []byte
		select {
		case buf = <-free:
		case <-gctx.Done():
			continue
		}
		if buf == nil {
			buf = make([]byte, piece)
		}
		want := int64(piece)
		if size >= 0 {
			want = min(want, size-off)
		}
		n, err := readPiece(r, file, buf[:want], off, size >= 0)
		if n > 0 {
			at := off
			g.Go(func() error {
				_, err := c.Posix.WriteStaged(gctx, &posixv1.WriteStagedRequest{
					Dataset: pub.GetDataset(), Inode: pub.GetInode(), Offset: uint64(at), Payload: buf[:n],
				})
				sent.Add(int64(n))
				free <- buf
				return err
			})
			off += int64(n)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				readErr = &localReadError{err}
			}
			break
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if readErr != nil {
		return nil, readErr
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	pub.Size = uint64(off)
	res, err := c.Posix.Publish(ctx, pub)
	return res.GetAttr(), err
}

// readPiece fills b; io.EOF with what was there at the end.
func readPiece(r io.Reader, file *os.File, b []byte, off int64, positioned bool) (int, error) {
	var n int
	var err error
	if file != nil && positioned {
		n, err = file.ReadAt(b, off)
	} else {
		n, err = io.ReadFull(r, b)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// nextData is the offset of the next byte at or after off that is not in a
// hole; ok is false where the file system can't say. Past the last data it is
// beyond every size.
func nextData(f *os.File, off int64) (int64, bool) {
	next, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 1<<63 - 1, true
	}
	return next, err == nil
}
