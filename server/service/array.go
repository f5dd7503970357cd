package service

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"

	"daos/dataset/array"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/bufpool"
	"daos/internal/fault"
	arrayv1 "daos/proto/gen/daos/array/v1"
	commonv1 "daos/proto/gen/daos/common/v1"
	"daos/server/pool"
	"daos/server/wire"
)

const (
	maxNodePage  = 1000
	maxChunkPage = 10_000
	maxKeyPage   = 10_000
	// maxGet bounds the elements of one reply.
	maxGet = 64 << 20
)

// Array implements daos.array.v1.
type Array struct {
	arrayv1.UnimplementedArrayServiceServer
	Datasets *Datasets
	// Buffers is what selections are gathered in before they are sent.
	Buffers bufpool.Pool
}

// Arrays is an open array dataset.
type Arrays struct {
	pool.Resolved
	Set *array.Dataset
}

// Err makes the resource of an error a full address.
func (a *Arrays) Err(err error) error { return fullName(a.Address, err) }

// Arrays opens an array dataset for reading.
func (d *Datasets) Arrays(ctx context.Context, addr string) (*Arrays, error) {
	a, err := address.ParseDataset(addr)
	if err != nil {
		return nil, err
	}
	return d.arrays(ctx, a)
}

// LiveArrays opens an array dataset for writing: a snapshot is fault.ReadOnly.
func (d *Datasets) LiveArrays(ctx context.Context, op, addr string) (*Arrays, error) {
	a, err := address.ParseLive(op, addr)
	if err != nil {
		return nil, err
	}
	return d.arrays(ctx, a)
}

func (d *Datasets) arrays(ctx context.Context, a address.Address) (*Arrays, error) {
	r, err := d.pools.Resolve(ctx, a)
	if err != nil {
		return nil, err
	}
	if err := wantType(r, pool.TypeArray); err != nil {
		return nil, err
	}
	opts := []array.Option{array.WithMappings(d.mappings(r.Dataset.ID))}
	if r.Snapshot != nil {
		opts = append(opts, array.Frozen())
	}
	return &Arrays{Resolved: r, Set: array.Open(r.Store, a.DatasetName(), opts...)}, nil
}

// mappings are the mapped segments of an array dataset.
func (d *Datasets) mappings(id object.DatasetID) *array.Mappings {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.maps[id]
	if m == nil {
		m = &array.Mappings{}
		d.maps[id] = m
	}
	return m
}

// view opens a dataset and finds the epoch to read at.
func (s *Array) view(ctx context.Context, dataset string, named, seen uint64) (*Arrays, object.Epoch, error) {
	a, err := s.Datasets.Arrays(ctx, dataset)
	if err != nil {
		return nil, 0, err
	}
	at, err := a.Epoch(ctx, object.Epoch(named), object.Epoch(seen))
	return a, at, a.Err(err)
}

func specMessage(s *array.Spec) *arrayv1.ArraySpec {
	return &arrayv1.ArraySpec{Dtype: s.DType.Name(), Shape: s.Shape, Chunks: s.Chunks, FillValue: s.Fill, Dims: s.Dims}
}

func nodeMessage(n *array.Node) *arrayv1.Node {
	m := &arrayv1.Node{Path: n.Path, Kind: arrayv1.NodeKind_NODE_KIND_GROUP, Id: n.ID}
	if n.Spec != nil {
		m.Kind, m.Spec = arrayv1.NodeKind_NODE_KIND_ARRAY, specMessage(n.Spec)
	}
	if len(n.Attributes) > 0 {
		m.Attributes = make(map[string][]byte, len(n.Attributes))
		for k, v := range n.Attributes {
			m.Attributes[k] = v
		}
	}
	return m
}

func attributesOf(m map[string][]byte) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func done(d array.Done) *commonv1.Changed {
	c := changed(d.Epoch)
	c.Replayed = d.Replayed
	return c
}

// CreateGroup implements the service.
func (s *Array) CreateGroup(ctx context.Context, r *arrayv1.CreateGroupRequest) (*arrayv1.CreateGroupResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := s.Datasets.LiveArrays(ctx, "array.create", r.GetDataset())
	if err != nil {
		return nil, err
	}
	d, err := a.Set.CreateGroup(ctx, r.GetPath(), array.CreateOptions{Request: id, Attributes: attributesOf(r.GetAttributes()), ExistOK: r.GetExistOk()})
	if err != nil {
		return nil, a.Err(err)
	}
	return &arrayv1.CreateGroupResponse{Changed: done(d)}, nil
}

// Create implements the service.
func (s *Array) Create(ctx context.Context, r *arrayv1.CreateRequest) (*arrayv1.CreateResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := s.Datasets.LiveArrays(ctx, "array.create", r.GetDataset())
	if err != nil {
		return nil, err
	}
	dtype, err := array.ParseDType(r.GetSpec().GetDtype())
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "array.create", r.GetDataset(), "array %q", r.GetPath()).Because(err)
	}
	spec := array.Spec{DType: dtype, Shape: r.GetSpec().GetShape(), Chunks: r.GetSpec().GetChunks(), Dims: r.GetSpec().GetDims()}
	if f := r.GetSpec().GetFillValue(); len(f) > 0 {
		spec.Fill = f
	}
	_, d, err := a.Set.Create(ctx, r.GetPath(), spec, array.CreateOptions{Request: id, Attributes: attributesOf(r.GetAttributes()), Overwrite: r.GetOverwrite()})
	if err != nil {
		return nil, a.Err(err)
	}
	n, _, err := a.Set.Describe(ctx, d.Epoch, r.GetPath())
	if err != nil {
		return nil, a.Err(err)
	}
	return &arrayv1.CreateResponse{Node: nodeMessage(n), Changed: done(d)}, nil
}

// Describe implements the service.
func (s *Array) Describe(ctx context.Context, r *arrayv1.DescribeRequest) (*arrayv1.DescribeResponse, error) {
	a, at, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	n, _, err := a.Set.Describe(ctx, at, r.GetPath())
	if err != nil {
		return nil, a.Err(err)
	}
	return &arrayv1.DescribeResponse{Node: nodeMessage(n), Epoch: uint64(at)}, nil
}

// List implements the service.
func (s *Array) List(ctx context.Context, r *arrayv1.ListRequest) (*arrayv1.ListResponse, error) {
	a, at, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	nodes, more, err := a.Set.List(ctx, at, r.GetPath(), array.ListOptions{
		Recursive: r.GetRecursive(), After: r.GetAfter(), Limit: pageOf(r.GetLimit(), maxNodePage),
	})
	if err != nil {
		return nil, a.Err(err)
	}
	out := &arrayv1.ListResponse{Nodes: make([]*arrayv1.Node, len(nodes)), More: more, Epoch: uint64(at)}
	for i, n := range nodes {
		out.Nodes[i] = nodeMessage(n)
	}
	return out, nil
}

// pageOf is the size of a page that a caller asks for; 0: the largest.
func pageOf(asked uint32, most int) int {
	if asked == 0 || asked > uint32(most) {
		return most
	}
	return int(asked)
}

// SetAttributes implements the service.
func (s *Array) SetAttributes(ctx context.Context, r *arrayv1.SetAttributesRequest) (*arrayv1.SetAttributesResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := s.Datasets.LiveArrays(ctx, "array.attributes", r.GetDataset())
	if err != nil {
		return nil, err
	}
	d, err := a.Set.SetAttributes(ctx, r.GetPath(), id, attributesOf(r.GetSet()), r.GetRemove(), r.GetReplace())
	if err != nil {
		return nil, a.Err(err)
	}
	return &arrayv1.SetAttributesResponse{Changed: done(d)}, nil
}

// Resize implements the service.
func (s *Array) Resize(ctx context.Context, r *arrayv1.ResizeRequest) (*arrayv1.ResizeResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := s.Datasets.LiveArrays(ctx, "array.resize", r.GetDataset())
	if err != nil {
		return nil, err
	}
	d, err := a.Set.Resize(ctx, r.GetPath(), r.GetShape(), id)
	if err != nil {
		return nil, a.Err(err)
	}
	return &arrayv1.ResizeResponse{Changed: done(d)}, nil
}

// Remove implements the service.
func (s *Array) Remove(ctx context.Context, r *arrayv1.RemoveRequest) (*arrayv1.RemoveResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := s.Datasets.LiveArrays(ctx, "array.remove", r.GetDataset())
	if err != nil {
		return nil, err
	}
	d, err := a.Set.Remove(ctx, r.GetPath(), id, r.GetRecursive())
	if err != nil {
		return nil, a.Err(err)
	}
	return &arrayv1.RemoveResponse{Changed: done(d)}, nil
}

func axesOf(ms []*arrayv1.Axis) []array.Axis {
	axes := make([]array.Axis, len(ms))
	for i, m := range ms {
		axes[i] = array.Axis{Start: m.GetStart(), Count: m.GetCount(), Step: m.GetStep(), Indices: m.GetIndices()}
	}
	return axes
}

// getResponse is an answer of what rd has selected.
func getResponse(rd *array.Reader, payload []byte) *arrayv1.GetResponse {
	return &arrayv1.GetResponse{
		Epoch: uint64(rd.Epoch()), Shape: rd.Shape(), ArrayShape: rd.Spec().Shape, Id: rd.ID(), Dtype: rd.Spec().DType.Name(), Payload: payload,
	}
}

// Get implements the service.
func (s *Array) Get(ctx context.Context, r *arrayv1.GetRequest) (*arrayv1.GetResponse, error) {
	a, at, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	rd, err := a.Set.Select(ctx, at, r.GetPath(), axesOf(r.GetAxes()))
	if err != nil {
		return nil, a.Err(err)
	}
	if rd.Bytes() > maxGet {
		return nil, a.Err(fault.New(fault.TooBig, "array.get", r.GetPath(), "a selection of %d bytes, at most %d go into one reply", rd.Bytes(), maxGet).
			Do("read in pieces, or use Read"))
	}
	if out := wire.RegionsOf(ctx); out != nil {
		whole, err := rd.Regions(ctx, out)
		if err != nil {
			out.Release()
			return nil, a.Err(err)
		}
		if !whole && rd.Bytes() > 0 {
			buf := s.Buffers.Get(int(rd.Bytes()))
			out.AddLent(*buf, func() { s.Buffers.Put(buf) })
			whole, err = true, rd.ReadInto(ctx, *buf)
			if err != nil {
				out.Release()
				return nil, a.Err(err)
			}
		}
		if whole {
			return getResponse(rd, nil), nil
		}
	}
	buf := make([]byte, rd.Bytes())
	if err := rd.ReadInto(ctx, buf); err != nil {
		return nil, a.Err(err)
	}
	return getResponse(rd, buf), nil
}

// Read implements the service.
func (s *Array) Read(r *arrayv1.ReadRequest, out grpc.ServerStreamingServer[arrayv1.ReadResponse]) error {
	ctx := out.Context()
	a, at, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return err
	}
	rd, err := a.Set.Select(ctx, at, r.GetPath(), axesOf(r.GetAxes()))
	if err != nil {
		return a.Err(err)
	}
	m := &arrayv1.ReadResponse{Epoch: uint64(at), Shape: rd.Shape(), ArrayShape: rd.Spec().Shape}
	if err := out.Send(m); err != nil {
		return err
	}
	return a.Err(rd.Pieces(ctx, func(p []byte) error {
		for len(p) > 0 {
			n := min(len(p), streamPiece)
			if err := out.Send(&arrayv1.ReadResponse{Payload: p[:n]}); err != nil {
				return err
			}
			p = p[n:]
		}
		return nil
	}))
}

// Write implements the service.
func (s *Array) Write(ctx context.Context, r *arrayv1.WriteRequest) (*arrayv1.WriteResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := s.Datasets.LiveArrays(ctx, "array.write", r.GetDataset())
	if err != nil {
		return nil, err
	}
	d, err := a.Set.Write(ctx, r.GetPath(), axesOf(r.GetAxes()), r.GetPayload(), array.WriteOptions{Request: id, Broadcast: r.GetBroadcast()})
	if err != nil {
		return nil, a.Err(err)
	}
	return &arrayv1.WriteResponse{Changed: done(d)}, nil
}

// Append implements the service.
func (s *Array) Append(ctx context.Context, r *arrayv1.AppendRequest) (*arrayv1.AppendResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	a, err := s.Datasets.LiveArrays(ctx, "array.append", r.GetDataset())
	if err != nil {
		return nil, err
	}
	start, d, err := a.Set.Append(ctx, r.GetPath(), r.GetPayload(), array.AppendOptions{
		Request: id, Axis: int(r.GetAxis()), Count: r.GetCount(), ExpectLength: r.ExpectLength,
	})
	if err != nil {
		return nil, a.Err(err)
	}
	return &arrayv1.AppendResponse{Start: start, Count: r.GetCount(), Changed: done(d)}, nil
}

// Chunks implements the service.
func (s *Array) Chunks(ctx context.Context, r *arrayv1.ChunksRequest) (*arrayv1.ChunksResponse, error) {
	a, at, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	scan, err := a.Set.Scan(ctx, at, r.GetPath())
	if err != nil {
		return nil, a.Err(err)
	}
	out := &arrayv1.ChunksResponse{Epoch: uint64(at)}
	limit := pageOf(r.GetLimit(), maxChunkPage)
	var after []uint64
	if len(r.GetAfter()) > 0 {
		after = r.GetAfter()
	}
	err = scan.Chunks(ctx, after, func(c *array.ChunkStats) bool {
		if out.More = len(out.Chunks) == limit; out.More {
			return false
		}
		out.Chunks = append(out.Chunks, &arrayv1.ChunkStats{Coords: c.Coords, Count: c.Count, Nans: c.NaNs, Min: c.Min, Max: c.Max, Exact: c.Exact})
		return true
	})
	if err != nil {
		return nil, a.Err(err)
	}
	return out, nil
}
