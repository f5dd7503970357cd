package service

import (
	"bytes"
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"daos/dataset/kv"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	kvv1 "daos/proto/gen/daos/kv/v1"
	"daos/server/pool"
)

// Limits of one call.
const (
	maxNames    = 32 << 10
	maxKVBytes  = 48 << 20
	kvBytes     = streamPiece // where the caller names none
	maxPagePair = 32 << 10    // pairs of a page
	maxPageMeta = 640 << 10   // bytes of a page beside the values; a frame has room for 1 MiB
)

// KV implements daos.kv.v1.
type KV struct {
	kvv1.UnimplementedKvServiceServer
	Datasets *Datasets
}

// Pairs is an open KV dataset.
type Pairs struct {
	pool.Resolved
	KV *kv.Dataset
}

// Err makes the resource of an error a full address.
func (p *Pairs) Err(err error) error { return fullName(p.Address, err) }

// Pairs opens a KV dataset for reading.
func (d *Datasets) Pairs(ctx context.Context, addr string) (*Pairs, error) {
	a, err := address.ParseDataset(addr)
	if err != nil {
		return nil, err
	}
	return d.pairs(ctx, a)
}

// LivePairs opens a KV dataset for writing: a snapshot is fault.ReadOnly.
func (d *Datasets) LivePairs(ctx context.Context, op, addr string) (*Pairs, error) {
	a, err := address.ParseLive(op, addr)
	if err != nil {
		return nil, err
	}
	return d.pairs(ctx, a)
}

func (d *Datasets) pairs(ctx context.Context, a address.Address) (*Pairs, error) {
	r, err := d.pools.Resolve(ctx, a)
	if err != nil {
		return nil, err
	}
	k, err := d.OpenKV(&r)
	if err != nil {
		return nil, err
	}
	return &Pairs{Resolved: r, KV: k}, nil
}

// OpenKV is Pairs for a dataset that has been found already.
func (d *Datasets) OpenKV(r *pool.Resolved) (*kv.Dataset, error) {
	if err := wantType(*r, pool.TypeKV); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kvs[r.Dataset.ID]
	if k == nil {
		k = kv.Open(r.Store, kv.Options{Class: r.Dataset.Class, Now: d.now})
		d.kvs[r.Dataset.ID] = k
	}
	return k, nil
}

// view opens a dataset at the epoch that the address, or else the caller, names.
func (s *KV) view(ctx context.Context, dataset string, epoch, seen uint64) (*Pairs, *kv.View, error) {
	p, err := s.Datasets.Pairs(ctx, dataset)
	if err != nil {
		return nil, nil, err
	}
	at, err := p.Epoch(ctx, object.Epoch(epoch), object.Epoch(seen))
	if err != nil {
		return nil, nil, p.Err(err)
	}
	return p, p.KV.At(at), nil
}

// Define implements the service.
func (s *KV) Define(ctx context.Context, r *kvv1.DefineRequest) (*kvv1.DefineResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	p, err := s.Datasets.LivePairs(ctx, "kv.define", r.GetDataset())
	if err != nil {
		return nil, err
	}
	sc := kv.Schema{Encoding: kv.Encoding(min(uint32(r.GetSchema().GetEncoding()), 255))}
	if n := len(r.GetSchema().GetFields()); n > kv.MaxFields {
		return nil, p.Err(fault.New(fault.TooBig, "kv.define", "schema", "a schema of %d fields, at most %d are allowed", n, kv.MaxFields))
	}
	for _, f := range r.GetSchema().GetFields() {
		t, err := kv.ParseType(f.GetType())
		if err != nil {
			return nil, p.Err(err)
		}
		sc.Fields = append(sc.Fields, kv.Field{Name: f.GetName(), Type: t, Nullable: f.GetNullable()})
	}
	e, err := p.KV.Define(ctx, id, sc)
	if err != nil {
		return nil, p.Err(err)
	}
	return &kvv1.DefineResponse{Changed: changed(e)}, nil
}

// Describe implements the service.
func (s *KV) Describe(ctx context.Context, r *kvv1.DescribeRequest) (*kvv1.DescribeResponse, error) {
	p, v, err := s.view(ctx, r.GetDataset(), 0, r.GetSeen())
	if err != nil {
		return nil, err
	}
	sc, err := v.Schema(ctx)
	if err != nil {
		return nil, p.Err(err)
	}
	out := &kvv1.DescribeResponse{Epoch: uint64(v.Epoch())}
	if sc != nil {
		out.Schema = &kvv1.Schema{Encoding: kvv1.Encoding(sc.Encoding)}
		for _, f := range sc.Fields {
			out.Schema.Fields = append(out.Schema.Fields, &kvv1.Field{Name: f.Name, Type: f.Type.String(), Nullable: f.Nullable})
		}
	}
	if r.GetCount() {
		if out.Pairs, err = v.Count(ctx); err != nil {
			return nil, p.Err(err)
		}
	}
	return out, nil
}

// Apply implements the service.
func (s *KV) Apply(ctx context.Context, r *kvv1.ApplyRequest) (*kvv1.ApplyResponse, error) {
	id, err := requestID(r.GetMutation())
	if err != nil {
		return nil, err
	}
	p, err := s.Datasets.LivePairs(ctx, "kv.apply", r.GetDataset())
	if err != nil {
		return nil, err
	}
	ops, err := opsOf(r)
	if err != nil {
		return nil, p.Err(err)
	}
	done, err := p.KV.Apply(ctx, id, ops)
	if err != nil {
		return nil, p.Err(err)
	}
	out := &kvv1.ApplyResponse{Changed: changed(done.Epoch)}
	out.Changed.Replayed = done.Replayed
	for _, x := range done.Results {
		out.Results = append(out.Results, &kvv1.Result{Number: x.Number, Size: x.Size, Removed: x.Removed})
	}
	return out, nil
}

// budget is how many bytes of values an answer may have.
func budget(asked uint64) uint64 {
	if asked == 0 {
		return kvBytes
	}
	return min(asked, maxKVBytes)
}

// Get implements the service.
func (s *KV) Get(ctx context.Context, r *kvv1.GetRequest) (*kvv1.GetResponse, error) {
	n := len(r.GetKeys()) + len(r.GetNames())
	if n > maxNames {
		return nil, fault.New(fault.TooBig, "kv.get", r.GetDataset(), "%d names in one call, at most %d are allowed", n, maxNames).Do("ask in pieces")
	}
	p, v, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return nil, err
	}
	names := make([]kv.Name, 0, n)
	for _, k := range r.GetKeys() {
		names = append(names, kv.Name{Key: k})
	}
	for _, m := range r.GetNames() {
		names = append(names, kv.Name{Key: m.GetKey(), Akey: m.GetAkey()})
	}
	room := budget(r.GetBytes())
	values, err := v.GetMany(ctx, names, room)
	if err != nil {
		return nil, p.Err(err)
	}
	out := &kvv1.GetResponse{Epoch: uint64(v.Epoch()), Sizes: make([]uint64, len(values)), Versions: make([]uint64, len(values))}
	total := uint64(0)
	for i := range values {
		x := &values[i]
		if x.Found() {
			out.Sizes[i], out.Versions[i] = x.Size+1, uint64(x.Version)
		}
		if !r.GetStat() && total+x.Size > room {
			out.Sizes, out.Versions = out.Sizes[:i+1], out.Versions[:i+1]
			break
		}
		total += x.Size
		out.Served++
	}
	if r.GetStat() {
		return out, nil
	}
	out.Payload = make([]byte, 0, total)
	for i := range values[:out.GetServed()] {
		if out.Payload, err = appendValue(ctx, v, &values[i], out.GetPayload()); err != nil {
			return nil, p.Err(err)
		}
	}
	return out, nil
}

func appendValue(ctx context.Context, v *kv.View, x *kv.Value, b []byte) ([]byte, error) {
	if in, ok := x.Inline(); ok || !x.Found() {
		return append(b, in...), nil
	}
	from := len(b)
	b = append(b, make([]byte, x.Size)...)
	return b, v.ReadAt(ctx, x, 0, b[from:])
}

// List implements the service.
func (s *KV) List(ctx context.Context, r *kvv1.ListRequest) (*kvv1.ListResponse, error) {
	named, after := r.GetEpoch(), kv.Name{}
	if len(r.GetAnchor()) > 0 {
		a, err := parseAnchor(r.GetAnchor())
		if err != nil {
			return nil, err
		}
		if named == 0 {
			named = a.epoch
		}
		if a.reverse != r.GetReverse() {
			return nil, fault.New(fault.Invalid, "kv.list", r.GetDataset(), "the anchor is of a listing in the other direction").Do("go on as the listing was begun")
		}
		after = a.after
	}
	p, v, err := s.view(ctx, r.GetDataset(), named, r.GetSeen())
	if err != nil {
		return nil, err
	}
	limit := int(r.GetLimit())
	if limit == 0 || limit > maxPagePair {
		limit = maxPagePair
	}
	rng := kv.Range{Prefix: r.GetPrefix(), Start: r.GetStart(), Stop: none(r.GetStop()), Reverse: r.GetReverse(), After: after, KeysOnly: !r.GetValues()}
	room := budget(r.GetBytes())
	out := &kvv1.ListResponse{Epoch: uint64(v.Epoch())}
	meta, full := 0, false
	var failed error
	err = v.Scan(ctx, rng, func(x *kv.Pair) bool {
		size := x.Value.Size
		large := r.GetValues() && size > room
		if len(out.GetPairs()) > 0 && (len(out.GetPairs()) == limit || meta+len(x.Key)+len(x.Akey) > maxPageMeta ||
			r.GetValues() && !large && uint64(len(out.GetPayload()))+size > room) {
			full = true
			return false
		}
		pair := &kvv1.Pair{Key: bytes.Clone(x.Key), Akey: bytes.Clone(x.Akey), Size: size, Version: uint64(x.Value.Version), Large: large}
		meta += len(x.Key) + len(x.Akey) + 40
		out.Pairs = append(out.Pairs, pair)
		if r.GetValues() && !large {
			out.Payload, failed = appendValue(ctx, v, &x.Value, out.GetPayload())
		}
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, p.Err(err)
	}
	if full {
		last := out.GetPairs()[len(out.GetPairs())-1]
		if err := s.pin(ctx, p, v.Epoch()); err != nil {
			return nil, p.Err(err)
		}
		out.Anchor = anchor{epoch: uint64(v.Epoch()), reverse: r.GetReverse(), after: kv.Name{Key: last.GetKey(), Akey: last.GetAkey()}}.encode()
	}
	return out, nil
}

// pin keeps the epoch of a listing readable that has been going on for a while;
// a short one ends within the window that every epoch has.
func (s *KV) pin(ctx context.Context, p *Pairs, at object.Epoch) error {
	if p.Snapshot != nil || s.Datasets.now().Sub(at.Time()) < pinAfter {
		return nil
	}
	return s.Datasets.pools.Pin(ctx, p.Dataset.ID, at)
}

// none makes an absent bound of an empty one.
func none(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// Put implements the service.
func (s *KV) Put(stream grpc.ClientStreamingServer[kvv1.PutRequest, kvv1.PutResponse]) error {
	ctx := stream.Context()
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return fault.New(fault.Invalid, "kv.put", "", "the stream of the value is empty").Do("name dataset and key in the first message")
	}
	if err != nil {
		return err
	}
	id, err := requestID(first.GetMutation())
	if err != nil {
		return err
	}
	p, err := s.Datasets.LivePairs(ctx, "kv.put", first.GetDataset())
	if err != nil {
		return err
	}
	begun := false
	done, err := p.KV.Put(ctx, first.GetKey(), first.GetAkey(), kv.PutOptions{
		Request: id, When: kv.When(min(uint32(first.GetWhen()), 255)), Version: object.Epoch(first.GetVersion()),
	}, func() ([]byte, error) {
		if !begun {
			begun = true
			return first.GetPayload(), nil
		}
		m, err := stream.Recv()
		return m.GetPayload(), err
	})
	if err != nil {
		return p.Err(err)
	}
	c := changed(done.Epoch)
	c.Replayed = done.Replayed
	return stream.SendAndClose(&kvv1.PutResponse{Changed: c, Size: done.Size})
}

// Read implements the service.
func (s *KV) Read(r *kvv1.ReadRequest, out grpc.ServerStreamingServer[kvv1.ReadResponse]) error {
	ctx := out.Context()
	p, v, err := s.view(ctx, r.GetDataset(), r.GetEpoch(), r.GetSeen())
	if err != nil {
		return err
	}
	x, err := v.Get(ctx, r.GetKey(), r.GetAkey())
	if err != nil {
		return p.Err(err)
	}
	at, end := min(r.GetOffset(), x.Size), x.Size
	if n := r.GetLength(); n > 0 {
		end = at + min(n, end-at)
	}
	buf := make([]byte, min(streamPiece, end-at))
	for first := true; first || at < end; first = false {
		b := buf[:min(uint64(len(buf)), end-at)]
		if err := v.ReadAt(ctx, &x, at, b); err != nil {
			return p.Err(err)
		}
		if err := out.Send(&kvv1.ReadResponse{Size: x.Size, Version: uint64(x.Version), Epoch: uint64(v.Epoch()), Payload: b}); err != nil {
			return err
		}
		at += uint64(len(b))
	}
	return nil
}
