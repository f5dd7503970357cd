package server

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"daos/engine/object"
	"daos/internal/version"
	systemv1 "daos/proto/gen/daos/system/v1"
)

// now is the newest epoch and the version of the pool map, for the feed's
// greeting. The wall clock's epoch is closed: nothing commits in the past.
func (s *Server) now() (epoch, mapVersion uint64) {
	return uint64(object.EpochAt(time.Now())), s.engine.MapVersion()
}

// Status implements service.Info.
func (s *Server) Status(context.Context) (*systemv1.StatusResponse, error) {
	epoch, mapVersion := s.now()
	out := &systemv1.StatusResponse{
		Version: version.Version, Root: s.cfg.Root, Pid: int64(os.Getpid()), UptimeSeconds: time.Since(s.started).Seconds(), Epoch: epoch,
		Connections: int64(s.presence.count()), Ephemeral: s.cfg.Ephemeral, MapVersion: mapVersion,
	}
	for _, l := range s.links {
		out.Addresses = append(out.Addresses, l.name)
	}
	for _, t := range s.engine.Stats() {
		m := &systemv1.Target{Id: uint32(t.ID), State: "up"}
		if t.Failed != nil {
			m.State = "down: " + t.Failed.Error()
		}
		m.IndexBytes, m.SegmentBytes, m.Segments = diskUse(t.Dir)
		out.Targets = append(out.Targets, m)
	}
	return out, nil
}

// diskUse adds up the files of a target: segments and all the rest. Files come
// and go meanwhile; one that can't be looked at counts nothing.
func diskUse(dir string) (index, segments, files int64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // gone meanwhile
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile
		}
		if strings.HasSuffix(path, ".seg") {
			segments, files = segments+info.Size(), files+1
		} else {
			index += info.Size()
		}
		return nil
	})
	return index, segments, files
}

// Scrub implements service.Info.
func (s *Server) Scrub(ctx context.Context, id object.DatasetID, report func(error)) (int64, error) {
	return s.engine.Scrub(ctx, id, report)
}

// Sweep implements service.Info.
func (s *Server) Sweep(ctx context.Context) (versions, bytes int64, err error) {
	st, err := s.engine.Sweep(ctx)
	return st.Versions, st.Bytes, err
}
