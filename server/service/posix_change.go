package service

import (
	"context"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
	commonv1 "daos/proto/gen/daos/common/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// write opens the tree that a mutation works on, and reads its request id.
func (s *Posix) write(ctx context.Context, op, dataset string, m *commonv1.Mutation) (*Tree, object.RequestID, error) {
	id, err := requestID(m)
	if err != nil {
		return nil, id, err
	}
	t, err := s.Datasets.LiveTree(ctx, op, dataset)
	return t, id, err
}

func checkIO(op, dataset string, payload []byte) error {
	if len(payload) > maxIO {
		return fault.New(fault.TooBig, op, dataset, "%d bytes in one call, at most %d are allowed", len(payload), maxIO).Do("write in pieces")
	}
	return nil
}

// MakeDir implements the service.
func (s *Posix) MakeDir(ctx context.Context, r *posixv1.MakeDirRequest) (*posixv1.MakeDirResponse, error) {
	t, id, err := s.write(ctx, "posix.mkdir", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := t.FS.MakeDir(ctx, id, string(r.GetPath()), posix.MakeDirOptions{Mode: r.GetMode(), Parents: r.GetParents()})
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.MakeDirResponse{Attr: attrMessage(a), Changed: changed(a.Epoch)}, nil
}

// Create implements the service.
func (s *Posix) Create(ctx context.Context, r *posixv1.CreateRequest) (*posixv1.CreateResponse, error) {
	if err := checkIO("posix.create", r.GetDataset(), r.GetPayload()); err != nil {
		return nil, err
	}
	t, id, err := s.write(ctx, "posix.create", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := t.FS.Create(ctx, id, string(r.GetPath()), posix.CreateOptions{
		Mode: r.GetMode(), Exclusive: r.GetExclusive(), Truncate: r.GetTruncate(), Parents: r.GetParents(), Content: r.GetPayload(),
	})
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.CreateResponse{Attr: attrMessage(a), Changed: changed(a.Epoch)}, nil
}

// Write implements the service.
func (s *Posix) Write(ctx context.Context, r *posixv1.WriteRequest) (*posixv1.WriteResponse, error) {
	if err := checkIO("posix.write", r.GetDataset(), r.GetPayload()); err != nil {
		return nil, err
	}
	t, id, err := s.write(ctx, "posix.write", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	w, err := t.FS.Write(ctx, id, ref(r.GetPath(), r.GetInode()), posix.WriteOptions{Offset: r.GetOffset(), Append: r.GetAppend()}, r.GetPayload())
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.WriteResponse{Offset: w.Offset, Size: w.Size, Changed: changed(w.Epoch)}, nil
}

// Truncate implements the service.
func (s *Posix) Truncate(ctx context.Context, r *posixv1.TruncateRequest) (*posixv1.TruncateResponse, error) {
	t, id, err := s.write(ctx, "posix.truncate", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	e, err := t.FS.Truncate(ctx, id, ref(r.GetPath(), r.GetInode()), r.GetSize())
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.TruncateResponse{Changed: changed(e)}, nil
}

// Rename implements the service.
func (s *Posix) Rename(ctx context.Context, r *posixv1.RenameRequest) (*posixv1.RenameResponse, error) {
	t, id, err := s.write(ctx, "posix.rename", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	e, err := t.FS.Rename(ctx, id, string(r.GetOldPath()), string(r.GetNewPath()), r.GetExclusive())
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.RenameResponse{Changed: changed(e)}, nil
}

// Remove implements the service.
func (s *Posix) Remove(ctx context.Context, r *posixv1.RemoveRequest) (*posixv1.RemoveResponse, error) {
	t, id, err := s.write(ctx, "posix.remove", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	e, err := t.FS.Remove(ctx, id, string(r.GetPath()), posix.RemoveOptions{Recursive: r.GetRecursive(), Directory: r.GetDirectory()})
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.RemoveResponse{Changed: changed(e)}, nil
}

// Link implements the service.
func (s *Posix) Link(ctx context.Context, r *posixv1.LinkRequest) (*posixv1.LinkResponse, error) {
	t, id, err := s.write(ctx, "posix.link", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := t.FS.Link(ctx, id, string(r.GetOldPath()), string(r.GetNewPath()))
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.LinkResponse{Changed: changed(a.Epoch)}, nil
}

// Symlink implements the service.
func (s *Posix) Symlink(ctx context.Context, r *posixv1.SymlinkRequest) (*posixv1.SymlinkResponse, error) {
	t, id, err := s.write(ctx, "posix.symlink", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := t.FS.Symlink(ctx, id, string(r.GetTarget()), string(r.GetPath()))
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.SymlinkResponse{Changed: changed(a.Epoch)}, nil
}

// SetAttr implements the service.
func (s *Posix) SetAttr(ctx context.Context, r *posixv1.SetAttrRequest) (*posixv1.SetAttrResponse, error) {
	t, id, err := s.write(ctx, "posix.setattr", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := t.FS.SetAttr(ctx, id, ref(r.GetPath(), r.GetInode()), posix.SetAttr{Mode: r.Mode, UID: r.Uid, GID: r.Gid, Mtime: r.MtimeUnixNanos})
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.SetAttrResponse{Attr: attrMessage(a), Changed: changed(a.Epoch)}, nil
}

// SetXattr implements the service.
func (s *Posix) SetXattr(ctx context.Context, r *posixv1.SetXattrRequest) (*posixv1.SetXattrResponse, error) {
	t, id, err := s.write(ctx, "posix.xattr", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	e, err := t.FS.SetXattr(ctx, id, posix.ByPath(string(r.GetPath())), string(r.GetName()), r.GetValue(),
		posix.SetXattrOptions{Remove: r.GetRemove(), Exclusive: r.GetExclusive()})
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.SetXattrResponse{Changed: changed(e)}, nil
}

// Stage implements the service.
func (s *Posix) Stage(ctx context.Context, r *posixv1.StageRequest) (*posixv1.StageResponse, error) {
	t, id, err := s.write(ctx, "posix.stage", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	inode, err := t.FS.Stage(ctx, id, ttl(r.GetTtlSeconds()))
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.StageResponse{Inode: inode}, nil
}

// WriteStaged implements the service.
func (s *Posix) WriteStaged(ctx context.Context, r *posixv1.WriteStagedRequest) (*posixv1.WriteStagedResponse, error) {
	if err := checkIO("posix.stage", r.GetDataset(), r.GetPayload()); err != nil {
		return nil, err
	}
	t, id, err := s.write(ctx, "posix.stage", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	if err := t.FS.WriteStaged(ctx, id, r.GetInode(), r.GetOffset(), r.GetPayload()); err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.WriteStagedResponse{}, nil
}

// Publish implements the service.
func (s *Posix) Publish(ctx context.Context, r *posixv1.PublishRequest) (*posixv1.PublishResponse, error) {
	t, id, err := s.write(ctx, "posix.publish", r.GetDataset(), r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := t.FS.Publish(ctx, id, r.GetInode(), string(r.GetPath()), posix.PublishOptions{
		Size: r.GetSize(), Mode: r.GetMode(), Parents: r.GetParents(), Exclusive: r.GetExclusive(), Mtime: r.GetMtimeUnixNanos(),
	})
	if err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.PublishResponse{Attr: attrMessage(a), Changed: changed(a.Epoch)}, nil
}

// Discard implements the service.
func (s *Posix) Discard(ctx context.Context, r *posixv1.DiscardRequest) (*posixv1.DiscardResponse, error) {
	t, err := s.Datasets.LiveTree(ctx, "posix.discard", r.GetDataset())
	if err != nil {
		return nil, err
	}
	if err := t.FS.Discard(ctx, r.GetInode()); err != nil {
		return nil, t.Err(err)
	}
	return &posixv1.DiscardResponse{}, nil
}
