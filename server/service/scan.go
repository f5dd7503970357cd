package service

import (
	"context"
	"errors"
	"io"
	"runtime"
	"time"

	"google.golang.org/grpc"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/columnar"
	"daos/internal/fault"
	scanv1 "daos/proto/gen/daos/scan/v1"
	"daos/query/scan"
)

const (
	maxAnchors = 4096
	// pinAfter is when a scan that named no epoch begins to pin its own; a
	// short one does not have to.
	pinAfter = time.Minute
)

// Scan implements daos.scan.v1.
type Scan struct {
	scanv1.UnimplementedScanServiceServer
	Datasets *Datasets
}

// Plan implements the service. The epoch stays readable for ten minutes after
// its last use, so that the anchors can be scanned one after another.
func (s *Scan) Plan(ctx context.Context, r *scanv1.PlanRequest) (*scanv1.PlanResponse, error) {
	t, err := s.Datasets.Tree(ctx, r.GetDataset())
	if err != nil {
		return nil, err
	}
	at, err := t.Epoch(ctx, 0, object.Epoch(r.GetSeen()))
	if err != nil {
		return nil, t.Err(err)
	}
	if err := s.pin(ctx, t, at); err != nil {
		return nil, err
	}
	n := int(min(r.GetAnchors(), maxAnchors))
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	out := &scanv1.PlanResponse{Epoch: uint64(at)}
	for _, a := range scan.Plan(t.FS, n) {
		out.Anchors = append(out.Anchors, a)
	}
	return out, nil
}

// pin keeps an epoch of a live dataset readable; snapshots are kept anyway.
func (s *Scan) pin(ctx context.Context, t *Tree, at object.Epoch) error {
	if t.Snapshot != nil {
		return nil
	}
	return t.Err(s.Datasets.pools.Pin(ctx, t.Dataset.ID, at))
}

func filterOf(f *scanv1.Filter) scan.Filter {
	if f == nil {
		return scan.Filter{}
	}
	out := scan.Filter{
		Name: f.GetName(), Path: f.GetPath(), MinSize: f.MinSize, MaxSize: f.MaxSize,
		MinMtime: f.MinMtimeUnixNanos, MaxMtime: f.MaxMtimeUnixNanos, MinDepth: f.MinDepth, MaxDepth: f.MaxDepth,
	}
	for _, t := range f.GetTypes() {
		out.Types = append(out.Types, posix.Type(min(t, 255)))
	}
	return out
}

// Scan implements the service.
func (s *Scan) Scan(r *scanv1.ScanRequest, out grpc.ServerStreamingServer[scanv1.ScanResponse]) error {
	ctx := out.Context()
	t, err := s.Datasets.Tree(ctx, r.GetDataset())
	if err != nil {
		return err
	}
	v, err := t.View(ctx, r.GetEpoch(), r.GetSeen())
	if err != nil {
		return err
	}
	if r.GetEpoch() != 0 { // one of several calls: the others need the epoch too
		if err := s.pin(ctx, t, v.Epoch()); err != nil {
			return err
		}
	}
	if r.GetBatchRows() > scan.MaxBatchRows {
		return fault.New(fault.Invalid, "scan", r.GetDataset(), "%d rows a batch, at most %d are allowed", r.GetBatchRows(), scan.MaxBatchRows)
	}
	st, err := scan.Open(ctx, t.FS, v, scan.Request{
		Path: string(r.GetPath()), Filter: filterOf(r.GetFilter()), Columns: r.GetColumns(), Anchor: anchorOf(r.GetAnchor()),
		BatchRows: int(r.GetBatchRows()), Limit: r.GetLimit(),
	})
	if err != nil {
		return t.Err(err)
	}
	defer st.Close()
	return s.stream(ctx, t, v.Epoch(), st, out)
}

// anchorOf keeps the difference between no anchor and one at the end.
func anchorOf(b []byte) scan.Anchor {
	if len(b) == 0 {
		return nil
	}
	return scan.Anchor(b)
}

func (s *Scan) stream(ctx context.Context, t *Tree, at object.Epoch, st *scan.Stream, out grpc.ServerStreamingServer[scanv1.ScanResponse]) error {
	c, err := columnar.NewMessageWriter(st.Schema())
	if err != nil {
		return err
	}
	answer := func(payload []byte, anchor scan.Anchor, n scan.Counters, done bool) error {
		return out.Send(&scanv1.ScanResponse{Payload: payload, Anchor: anchor, Epoch: uint64(at), Done: done, RowsScanned: n.Scanned, RowsOut: n.Out})
	}
	if err := answer(c.Head(), st.Anchor(), st.Counters(), false); err != nil {
		return err
	}
	pinned := time.Now()
	for {
		b, err := st.Next()
		if errors.Is(err, io.EOF) {
			return answer([]byte(columnar.EndOfStream), st.Anchor(), st.Counters(), true)
		}
		if err != nil {
			return t.Err(err)
		}
		payload, err := c.Batch(b.Record)
		b.Record.Release()
		if err != nil {
			return err
		}
		if err := answer(payload, b.Anchor, b.Counters, false); err != nil {
			return err
		}
		if time.Since(pinned) > pinAfter {
			if err := s.pin(ctx, t, at); err != nil {
				return err
			}
			pinned = time.Now()
		}
	}
}
