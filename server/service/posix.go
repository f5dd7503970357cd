package service

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"daos/dataset/posix"
	"daos/internal/fault"
	posixv1 "daos/proto/gen/daos/posix/v1"
	"daos/server/wire"
)

// Limits of one call.
const (
	maxIO         = 16 << 20 // bytes of Read, Write, WriteStaged, Create, Import
	streamPiece   = 3 << 20  // a stock gRPC client takes messages of 4 MiB
	maxListPage   = 10_000
	maxImport     = 8192
	maxTTLSeconds = 24 * 60 * 60
)

// Posix implements daos.posix.v1.
type Posix struct {
	posixv1.UnimplementedPosixServiceServer
	Datasets *Datasets
}

func ref(path []byte, inode uint64) posix.Ref {
	if inode != 0 {
		return posix.ByInode(inode)
	}
	return posix.ByPath(string(path))
}

func notAFile(f posix.Ref, t posix.Type) error {
	if t == posix.TypeDir {
		return fault.New(fault.IsDirectory, "posix.read", f.String(), "a directory, not a file").Do("list it, or name a file in it")
	}
	return fault.New(fault.Invalid, "posix.read", f.String(), "a %s, not a file", t)
}

func attrMessage(a posix.Attr) *posixv1.Attr {
	m := &posixv1.Attr{
		Type: posixv1.FileType(a.Type), Mode: a.Mode, Uid: a.UID, Gid: a.GID, Size: a.Size, MtimeUnixNanos: a.Mtime, CtimeUnixNanos: a.Ctime,
		Inode: a.Inode, Nlink: a.Nlink, Epoch: uint64(a.Epoch),
	}
	if a.Target != "" {
		m.SymlinkTarget = []byte(a.Target)
	}
	return m
}

// view opens the tree that a read works on.
func (s *Posix) view(ctx context.Context, dataset string, epoch, seen uint64) (*Tree, *posix.View, error) {
	t, err := s.Datasets.Tree(ctx, dataset)
	if err != nil {
		return nil, nil, err
	}
	v, err := t.View(ctx, epoch, seen)
	return t, v, err
}

// Stat implements the service.
func (s *Posix) Stat(ctx context.Context, r *posixv1.StatRequest) (*posixv1.StatResponse, error) {
	t, v, err := s.view(ctx, r.GetDataset(), 0, r.GetSeen())
	if err != nil {
		return nil, err
	}
	a, err := v.Stat(ctx, ref(r.GetPath(), r.GetInode()), r.GetFollow())
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.StatResponse{Attr: attrMessage(a)}, nil
}

// ListDir implements the service.
func (s *Posix) ListDir(ctx context.Context, r *posixv1.ListDirRequest) (*posixv1.ListDirResponse, error) {
	t, v, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	entries, more, err := v.ListDir(ctx, posix.ByPath(string(r.GetPath())), string(r.GetAfter()), int(min(r.GetLimit(), maxListPage)))
	if err != nil {
		return nil, t.Err(err)
	}
	out := &posixv1.ListDirResponse{Entries: make([]*posixv1.Entry, len(entries)), More: more, Epoch: uint64(v.Epoch())}
	for i, e := range entries {
		out.Entries[i] = &posixv1.Entry{Name: []byte(e.Name), Attr: attrMessage(e.Attr)}
	}
	return out, nil
}

// Read implements the service.
func (s *Posix) Read(ctx context.Context, r *posixv1.ReadRequest) (*posixv1.ReadResponse, error) {
	if r.GetLength() > maxIO {
		return nil, fault.New(fault.TooBig, "posix.read", r.GetDataset(), "%d bytes in one call, at most %d are allowed", r.GetLength(), maxIO).
			Do("read in pieces, or use ReadStream")
	}
	t, v, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	// The file says how long it is before memory is taken for its bytes.
	f := ref(r.GetPath(), r.GetInode())
	a, err := v.Stat(ctx, f, true)
	if err != nil {
		return nil, t.Err(err)
	}
	if a.Type != posix.TypeFile {
		return nil, t.Err(notAFile(f, a.Type))
	}
	if out := wire.RegionsOf(ctx); out != nil {
		if err := v.ReadRegions(ctx, a, r.GetOffset(), r.GetLength(), out); err != nil {
			out.Release()
			return nil, t.Err(err)
		}
		return &posixv1.ReadResponse{Size: a.Size, Epoch: uint64(v.Epoch())}, nil
	}
	var buf []byte
	if r.GetOffset() < a.Size {
		buf = make([]byte, min(r.GetLength(), a.Size-r.GetOffset()))
	}
	n, err := v.ReadObject(ctx, a, buf, r.GetOffset())
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.ReadResponse{Size: a.Size, Epoch: uint64(v.Epoch()), Payload: buf[:n]}, nil
}

// ReadStream implements the service.
func (s *Posix) ReadStream(r *posixv1.ReadStreamRequest, out grpc.ServerStreamingServer[posixv1.ReadStreamResponse]) error {
	ctx := out.Context()
	t, v, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return err
	}
	f := ref(r.GetPath(), r.GetInode())
	a, err := v.Stat(ctx, f, true)
	if err != nil {
		return t.Err(err)
	}
	if a.Type != posix.TypeFile {
		return t.Err(notAFile(f, a.Type))
	}
	end := a.Size
	if r.GetLength() != 0 && r.GetLength() < a.Size-min(r.GetOffset(), a.Size) {
		end = r.GetOffset() + r.GetLength()
	}
	// SendMsg has marshalled the payload when it returns, so one buffer serves.
	buf := make([]byte, min(streamPiece, end-min(r.GetOffset(), end)))
	for off := r.GetOffset(); ; {
		n := 0
		if off < end {
			if n, err = v.ReadObject(ctx, a, buf[:min(uint64(len(buf)), end-off)], off); err != nil {
				return t.Err(err)
			}
		}
		if n == 0 && off > r.GetOffset() {
			return nil
		}
		if err := out.Send(&posixv1.ReadStreamResponse{Offset: off, Size: a.Size, Payload: buf[:n]}); err != nil {
			return err
		}
		off += uint64(n)
		if n == 0 || off >= end {
			return nil
		}
	}
}

// GetXattr implements the service.
func (s *Posix) GetXattr(ctx context.Context, r *posixv1.GetXattrRequest) (*posixv1.GetXattrResponse, error) {
	t, v, err := s.view(ctx, r.GetDataset(), 0, r.GetSeen())
	if err != nil {
		return nil, err
	}
	b, err := v.GetXattr(ctx, posix.ByPath(string(r.GetPath())), string(r.GetName()))
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.GetXattrResponse{Value: b}, nil
}

// ListXattrs implements the service.
func (s *Posix) ListXattrs(ctx context.Context, r *posixv1.ListXattrsRequest) (*posixv1.ListXattrsResponse, error) {
	t, v, err := s.view(ctx, r.GetDataset(), 0, r.GetSeen())
	if err != nil {
		return nil, err
	}
	names, err := v.ListXattrs(ctx, posix.ByPath(string(r.GetPath())))
	if err != nil {
		return nil, t.Err(err)
	}
	out := &posixv1.ListXattrsResponse{}
	for _, n := range names {
		out.Names = append(out.Names, []byte(n))
	}
	return out, nil
}

// Import implements the service. A transaction is answered before the next one
// begins, so that its order is that of the stream.
func (s *Posix) Import(stream grpc.BidiStreamingServer[posixv1.ImportRequest, posixv1.ImportResponse]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp, err := s.importOne(stream.Context(), r)
		if err != nil {
			return err
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

func (s *Posix) importOne(ctx context.Context, r *posixv1.ImportRequest) (*posixv1.ImportResponse, error) {
	const op = "posix.import"
	t, err := s.Datasets.LiveTree(ctx, op, r.GetDataset())
	if err != nil {
		return nil, err
	}
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	if len(r.GetEntries()) > maxImport || len(r.GetPayload()) > maxIO {
		return nil, fault.New(fault.TooBig, op, r.GetDataset(), "%d entries of %d bytes in one message, at most %d of %d are allowed",
			len(r.GetEntries()), len(r.GetPayload()), maxImport, maxIO).Do("send more, smaller messages; a large file is staged and published")
	}
	entries := make([]posix.ImportEntry, len(r.GetEntries()))
	rest := r.GetPayload()
	for i, e := range r.GetEntries() {
		entries[i] = posix.ImportEntry{
			Path: string(e.GetPath()), Type: posix.Type(min(uint32(e.GetType()), 255)), Mode: e.GetMode(), Mtime: e.GetMtimeUnixNanos(), Target: string(e.GetSymlinkTarget()),
		}
		if e.GetType() != posixv1.FileType_FILE_TYPE_FILE {
			continue
		}
		if e.GetSize() > uint64(len(rest)) {
			return nil, fault.New(fault.Invalid, op, r.GetDataset()+"/"+string(e.GetPath()), "a file of %d bytes, but only %d are left of the payload", e.GetSize(), len(rest)).
				Do("send the contents of the files one behind the other")
		}
		entries[i].Content, rest = rest[:e.GetSize():e.GetSize()], rest[e.GetSize():]
	}
	if len(rest) != 0 {
		return nil, fault.New(fault.Invalid, op, r.GetDataset(), "%d bytes of the payload belong to no entry", len(rest)).
			Do("send the contents of the files one behind the other")
	}
	done, err := t.FS.Import(ctx, id, entries, r.GetOverwrite())
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.ImportResponse{Changed: changed(done.Epoch), Entries: uint64(done.Entries)}, nil
}

// ttl reads seconds; out of range is left to the layer below, which says so.
func ttl(seconds uint64) time.Duration {
	return time.Duration(min(seconds, maxTTLSeconds+1)) * time.Second
}
