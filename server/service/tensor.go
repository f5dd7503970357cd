package service

import (
	"bytes"
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/engine/object"
	"daos/internal/fault"
	tensorv1 "daos/proto/gen/daos/tensor/v1"
)

// maxIndices bounds the samples of one Read by index: 32 MiB of them.
const maxIndices = 4 << 20

// Tensor implements daos.tensor.v1.
type Tensor struct {
	tensorv1.UnimplementedTensorServiceServer
	Datasets *Datasets
}

func columnMessage(c *tensor.Column) *tensorv1.Column {
	return &tensorv1.Column{
		Name: c.Name, Layout: tensorv1.Layout(c.Layout), Dtype: c.DType.String(), Shape: c.Shape, Nullable: c.Nullable, ChunkSamples: c.ChunkSamples,
	}
}

func columnOf(dataset string, m *tensorv1.Column) (tensor.Column, error) {
	d := tensor.Uint8
	if m.GetDtype() != "" || m.GetLayout() == tensorv1.Layout_LAYOUT_FIXED || m.GetLayout() == tensorv1.Layout_LAYOUT_RAGGED {
		var err error
		if d, err = tensor.ParseDType(m.GetDtype()); err != nil {
			return tensor.Column{}, fault.New(fault.KindOf(err), "tensor.define", dataset, "column %q", m.GetName()).Because(err)
		}
	}
	return tensor.Column{
		Name: m.GetName(), Layout: tensor.Layout(min(uint32(m.GetLayout()), 255)), DType: d, Shape: m.GetShape(), Nullable: m.GetNullable(), ChunkSamples: m.GetChunkSamples(),
	}, nil
}

// Define implements the service.
func (s *Tensor) Define(ctx context.Context, r *tensorv1.DefineRequest) (*tensorv1.DefineResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	t, err := s.Datasets.LiveTable(ctx, "tensor.define", r.GetDataset())
	if err != nil {
		return nil, err
	}
	cols := make([]tensor.Column, len(r.GetColumns()))
	for i, m := range r.GetColumns() {
		if cols[i], err = columnOf(r.GetDataset(), m); err != nil {
			return nil, err
		}
	}
	e, err := t.Table.Define(ctx, id, cols)
	if err != nil {
		return nil, t.Err(err)
	}
	return &tensorv1.DefineResponse{Changed: changed(e)}, nil
}

// Describe implements the service.
func (s *Tensor) Describe(ctx context.Context, r *tensorv1.DescribeRequest) (*tensorv1.DescribeResponse, error) {
	t, err := s.Datasets.Table(ctx, r.GetDataset())
	if err != nil {
		return nil, err
	}
	at, err := t.Epoch(ctx, 0, object.Epoch(r.GetSeen()))
	if err != nil {
		return nil, t.Err(err)
	}
	info, err := t.Table.Describe(ctx, at)
	if fault.Is(err, fault.NotFound) {
		// A dataset without columns is described as what it is: empty.
		return &tensorv1.DescribeResponse{Epoch: uint64(at)}, nil
	}
	if err != nil {
		return nil, t.Err(err)
	}
	out := &tensorv1.DescribeResponse{Length: info.Length, Epoch: uint64(at)}
	for i := range info.Columns {
		out.Columns = append(out.Columns, columnMessage(&info.Columns[i]))
	}
	for _, name := range r.GetStats() {
		chunks, err := t.Table.Stats(ctx, at, name)
		if err != nil {
			return nil, t.Err(err)
		}
		if out.Stats == nil {
			out.Stats = map[string]*tensorv1.ColumnStats{}
		}
		stats := &tensorv1.ColumnStats{}
		for _, c := range chunks {
			stats.Chunks = append(stats.Chunks, &tensorv1.ChunkStats{
				First: c.First, Count: c.Count, Nulls: c.Nulls, Min: c.Min, Max: c.Max, Nans: c.NaNs, Bytes: c.Bytes,
			})
		}
		out.Stats[name] = stats
	}
	return out, nil
}

// Append implements the service. Pieces go to storage as they arrive; the last
// transaction makes all of them visible.
func (s *Tensor) Append(stream grpc.ClientStreamingServer[tensorv1.AppendRequest, tensorv1.AppendResponse]) error {
	ctx := stream.Context()
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return fault.New(fault.Invalid, "tensor.append", "", "the stream of the append is empty").Do("name the dataset in the first message")
	}
	if err != nil {
		return err
	}
	id, err := requestID(first.GetMutation())
	if err != nil {
		return err
	}
	t, err := s.Datasets.LiveTable(ctx, "tensor.append", first.GetDataset())
	if err != nil {
		return err
	}
	info, err := t.Table.Describe(ctx, 0)
	if err != nil {
		return t.Err(err)
	}
	piece := first.GetPayload()
	src := tensorarrow.NewSource(info.Columns, func(context.Context) (io.Reader, error) {
		for len(piece) == 0 {
			m, err := stream.Recv()
			if err != nil {
				return nil, err // io.EOF after the last
			}
			piece = m.GetPayload()
		}
		r := bytes.NewReader(piece)
		piece = nil
		return r, nil
	})
	done, err := t.Table.Append(ctx, tensor.AppendOptions{Request: id, ExpectLength: first.ExpectLength}, src)
	if err != nil {
		return t.Err(err)
	}
	c := changed(done.Epoch)
	c.Replayed = done.Replayed
	return stream.SendAndClose(&tensorv1.AppendResponse{Start: done.Start, Count: done.Count, Changed: c})
}

// Overwrite implements the service.
func (s *Tensor) Overwrite(ctx context.Context, r *tensorv1.OverwriteRequest) (*tensorv1.OverwriteResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	t, err := s.Datasets.LiveTable(ctx, "tensor.overwrite", r.GetDataset())
	if err != nil {
		return nil, err
	}
	info, err := t.Table.Describe(ctx, 0)
	if err != nil {
		return nil, t.Err(err)
	}
	cols, names, err := columnsIn(r.GetPayload(), info.Columns)
	if err != nil {
		return nil, t.Err(err)
	}
	sent := false
	src := tensorarrow.NewSource(cols, func(context.Context) (io.Reader, error) {
		if sent {
			return nil, io.EOF
		}
		sent = true
		return bytes.NewReader(r.GetPayload()), nil
	})
	done, err := t.Table.Overwrite(ctx, tensor.OverwriteOptions{Request: id, Start: r.GetStart(), Columns: names}, src)
	if err != nil {
		return nil, t.Err(err)
	}
	c := changed(done.Epoch)
	c.Replayed = done.Replayed
	return &tensorv1.OverwriteResponse{Changed: c}, nil
}

// columnsIn are the columns of the table that an IPC stream holds.
func columnsIn(payload []byte, all []tensor.Column) (cols []tensor.Column, names []string, err error) {
	r, err := tensorarrow.NewReader(bytes.NewReader(payload))
	if err != nil {
		return nil, nil, err
	}
	for _, f := range r.Schema().Fields() {
		found := false
		for _, c := range all {
			if c.Name == f.Name {
				cols, names, found = append(cols, c), append(names, c.Name), true
			}
		}
		if !found {
			return nil, nil, fault.New(fault.NotFound, "tensor.overwrite", f.Name, "there is no such column")
		}
	}
	return cols, names, nil
}

// Read implements the service.
func (s *Tensor) Read(r *tensorv1.ReadRequest, out grpc.ServerStreamingServer[tensorv1.ReadResponse]) error {
	ctx := out.Context()
	if len(r.GetIndices()) > maxIndices {
		return fault.New(fault.TooBig, "tensor.read", r.GetDataset(), "%d indices in one call, at most %d are allowed", len(r.GetIndices()), maxIndices).Do("read in pieces")
	}
	t, err := s.Datasets.Table(ctx, r.GetDataset())
	if err != nil {
		return err
	}
	at, err := t.Epoch(ctx, object.Epoch(r.GetEpoch()), object.Epoch(r.GetSeen()))
	if err != nil {
		return t.Err(err)
	}
	stop := r.GetStop()
	rd, err := t.Table.Read(ctx, at, tensor.Selection{
		Columns: r.GetColumns(), ByIndex: r.GetByIndex(), Indices: r.GetIndices(), Start: r.GetStart(), Stop: stop, Step: r.GetStep(),
	})
	if err != nil {
		return t.Err(err)
	}
	w := &pieces{send: func(b []byte) error {
		return out.Send(&tensorv1.ReadResponse{Epoch: uint64(at), Payload: b})
	}}
	if err := tensorarrow.Write(ctx, w, rd.Columns(), rd); err != nil {
		return t.Err(err)
	}
	return w.flush()
}

// pieces cuts what is written to it into payloads.
type pieces struct {
	buf  []byte
	send func([]byte) error
}

// Write implements io.Writer.
func (p *pieces) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if len(p.buf) == 0 && len(b) >= streamPiece { // no need to collect
			if err := p.send(b[:streamPiece]); err != nil {
				return 0, err
			}
			b = b[streamPiece:]
			continue
		}
		k := min(len(b), streamPiece-len(p.buf))
		p.buf = append(p.buf, b[:k]...)
		b = b[k:]
		if len(p.buf) == streamPiece {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (p *pieces) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	err := p.send(p.buf)
	p.buf = p.buf[:0]
	return err
}
