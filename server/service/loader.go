package service

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/internal/rescue"
	"daos/loader/batch"
	"daos/loader/manifest"
	loaderv1 "daos/proto/gen/daos/loader/v1"
	"daos/server/feed"
	"daos/server/pool"
)

// progressEvery is the pause between two messages of progress.
const progressEvery = 200 * time.Millisecond

// Loader implements daos.loader.v1, and the feed's batches.
type Loader struct {
	loaderv1.UnimplementedLoaderServiceServer
	datasets *Datasets
	library  *manifest.Library
	dir      string
	renewals sync.Map // handle -> *atomic.Int64: when its snapshot is to be renewed, ns since 1970
}

// NewLoader makes the service; manifests are kept in dir, in one folder a
// dataset. session is a random number of this process: handles begin there, so
// that those of another process are recognised.
func NewLoader(datasets *Datasets, dir string, session uint64) *Loader {
	return &Loader{datasets: datasets, library: manifest.NewLibrary(session, manifest.MaxOpen), dir: dir}
}

// Close closes all manifests. Nobody may be using the service any more.
func (s *Loader) Close() { s.library.Close() }

func (s *Loader) folder(id object.DatasetID) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x", uint64(id)))
}

// request says which manifest a message asks for, and of which samples of it.
func (s *Loader) request(ctx context.Context, r *loaderv1.OpenManifestRequest) (*manifest.Pick, address.Address, error) {
	a, err := address.ParseDataset(r.GetDataset())
	if err != nil {
		return nil, a, err
	}
	if r.GetView() != "" {
		return s.ofView(ctx, r, a)
	}
	if a.Snapshot == "" {
		return nil, a, fault.New(fault.Invalid, "loader.open", a.String(), "a manifest is of a snapshot: what is written meanwhile must not change it").
			Do("make one with `daos snapshot create %s NAME` and use %s@NAME", a.String(), a.String())
	}
	found, err := s.datasets.pools.Resolve(ctx, a)
	if err != nil {
		return nil, a, err
	}
	req, err := s.requestAt(ctx, found, found.Snapshot.Epoch, a.Snapshot, selectionOf(r))
	p := &manifest.Pick{Base: req}
	if err == nil && r.GetWhere() != "" {
		s.addWhere(p, found, r)
	}
	return p, a, err
}

func selectionOf(r *loaderv1.OpenManifestRequest) manifest.Selection {
	return manifest.Selection{Path: string(r.GetPath()), Glob: r.GetGlob(), LabelDirname: r.GetLabelDirname(), Columns: r.GetColumns()}
}

// requestAt is the request for a manifest of a dataset at an epoch; snapshot is
// what that is called.
func (s *Loader) requestAt(ctx context.Context, found pool.Resolved, at object.Epoch, snapshot string, sel manifest.Selection) (manifest.Request, error) {
	a := found.Address.WithPath("")
	req := manifest.Request{
		Dir: s.folder(found.Dataset.ID), Store: found.Store,
		Info: manifest.Info{Dataset: a.Live().DatasetName(), DatasetID: found.Dataset.ID, Snapshot: snapshot, Epoch: at, Selection: sel},
	}
	if found.Dataset.Type == pool.TypeTensor {
		t, err := s.datasets.table(ctx, a)
		if err != nil {
			return req, err
		}
		req.Info.Tensor, req.Table = true, t.Table
		return req, nil
	}
	if found.Dataset.Type == pool.TypeArray {
		set, err := s.datasets.arrays(ctx, a)
		if err != nil {
			return req, err
		}
		req.Info.Tensor, req.Table = true, manifest.TableOf(set.Set, sel.Path)
		return req, nil
	}
	if found.Dataset.Type == pool.TypeKV {
		k, err := s.datasets.OpenKV(&found)
		if err != nil {
			return req, fullName(a, err)
		}
		req.Tree = manifest.TreeOf(k.At(at), sel.Path)
		return req, nil
	}
	fs, err := s.datasets.OpenTree(ctx, &found)
	if err != nil {
		return req, fullName(a, err)
	}
	req.Tree = fs.At(at)
	return req, nil
}

// makeFolder makes the folder of the manifests of a dataset.
func (s *Loader) makeFolder(id object.DatasetID) (string, error) {
	dir := s.folder(id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fault.New(fault.KindOf(err), "loader.open", dir, "the folder of the manifests can't be made").Because(err)
	}
	return dir, nil
}

// OpenManifest implements the service.
func (s *Loader) OpenManifest(r *loaderv1.OpenManifestRequest, out grpc.ServerStreamingServer[loaderv1.OpenManifestResponse]) error {
	ctx := out.Context()
	req, a, err := s.request(ctx, r)
	if err != nil {
		return err
	}
	if _, err := s.makeFolder(req.Base.Info.DatasetID); err != nil {
		return err
	}
	var entries atomic.Uint64
	req.Base.Progress = func(n uint64) { entries.Store(n) }
	type result struct {
		m      *manifest.Manifest
		handle uint64
		built  bool
		err    error
	}
	done := make(chan result, 1)
	go func() { // ends with ctx at the latest
		var res result
		res.err = rescue.Do(func() (err error) {
			if req.Fill == nil {
				res.m, res.handle, res.built, err = s.library.Open(ctx, req.Base)
			} else {
				res.m, res.handle, res.built, err = s.library.OpenPicked(ctx, req)
			}
			return err
		})
		done <- res
	}()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	told := uint64(0)
	for {
		select {
		case res := <-done:
			if res.err != nil {
				return fullName(a, rescue.Again(res.err))
			}
			msg := manifestMessage(res.m, res.handle, res.built, a)
			if msg.ClassSizes, err = res.m.ClassSizes(ctx); err != nil {
				return fullName(a, err)
			}
			return out.Send(&loaderv1.OpenManifestResponse{Entries: res.m.Info().Samples, Manifest: msg})
		case <-tick.C:
			if n := entries.Load(); n != told {
				told = n
				if err := out.Send(&loaderv1.OpenManifestResponse{Entries: n}); err != nil {
					return err
				}
			}
		}
	}
}

func manifestMessage(m *manifest.Manifest, handle uint64, built bool, a address.Address) *loaderv1.Manifest {
	info := m.Info()
	out := &loaderv1.Manifest{
		Id: m.ID(), Handle: handle, Samples: info.Samples, Epoch: uint64(info.Epoch), Snapshot: a.Snapshot, Dataset: a.Live().DatasetName(),
		SymlinksSkipped: info.SymlinksSkipped, Classes: info.Classes, Bytes: info.Bytes, MaxSampleBytes: info.MaxSampleBytes, Built: built,
		View: info.View, ViewRevision: info.ViewRevision, Where: info.Where, ClassesScattered: info.Scattered, Path: []byte(info.Selection.Path),
	}
	for i := range info.Columns {
		out.Columns = append(out.Columns, columnMessage(&info.Columns[i]))
	}
	return out
}

// get finds an open manifest. That is a use of its snapshot, which renews one
// that expires: a pass may go on for longer than that.
func (s *Loader) get(ctx context.Context, handle uint64) (*manifest.Manifest, error) {
	m, err := s.library.Get(handle)
	if err != nil {
		return nil, err
	}
	v, ok := s.renewals.Load(handle)
	if !ok {
		v, _ = s.renewals.LoadOrStore(handle, new(atomic.Int64))
	}
	due, now := v.(*atomic.Int64), s.datasets.now()
	if at := due.Load(); now.UnixNano() >= at && due.CompareAndSwap(at, now.Add(maxRenewal).UnixNano()) {
		if next := s.renew(ctx, m); next < maxRenewal {
			due.Store(now.Add(next).UnixNano())
		}
	}
	return m, nil
}

// maxRenewal is the longest pause between two looks at the snapshot of a
// manifest in use.
const maxRenewal = time.Minute

// renew uses the snapshot of a manifest and says when to do it again. A snapshot
// that is gone is no error here: what is still stored can be read.
func (s *Loader) renew(ctx context.Context, m *manifest.Manifest) time.Duration {
	info := m.Info()
	a, err := address.ParseDataset(info.Dataset + "@" + info.Snapshot)
	if err != nil {
		return maxRenewal
	}
	found, err := s.datasets.pools.Resolve(ctx, a)
	if err != nil || found.Snapshot.TTL == 0 {
		return maxRenewal
	}
	return found.Snapshot.TTL / 20
}

// Plan implements feed.Batches.
func (s *Loader) Plan(ctx context.Context, handle uint64, indices []uint64) (feed.Batch, error) {
	m, err := s.get(ctx, handle)
	if err != nil {
		return nil, err
	}
	b, err := batch.Plan(ctx, m, indices)
	if err != nil {
		return nil, nameManifest(m, err)
	}
	return b, nil
}

// nameManifest makes the resource of an error the address of what was read.
func nameManifest(m *manifest.Manifest, err error) error {
	info := m.Info()
	a, perr := address.ParseDataset(info.Dataset + "@" + info.Snapshot)
	if perr != nil {
		return err
	}
	return fullName(a, err)
}

// ReadBatch implements the service.
func (s *Loader) ReadBatch(ctx context.Context, r *loaderv1.ReadBatchRequest) (resp *loaderv1.ReadBatchResponse, err error) {
	if n := len(r.GetIndices()); n == 0 || n > batch.MaxCount {
		return nil, fault.New(fault.Invalid, "loader.batch", "", "%d samples in a batch", n).Do("ask for 1 to %d", batch.MaxCount)
	}
	m, err := s.get(ctx, r.GetHandle())
	if err != nil {
		return nil, err
	}
	// The bytes are copied out of mapped files: a page that can't be read is an
	// error of this batch, not the end of the process.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer manifest.Recover("batch", &err)
	b, err := batch.Plan(ctx, m, r.GetIndices())
	if err != nil {
		return nil, nameManifest(m, err)
	}
	defer b.Release()
	if b.Size() > maxBatchMessage {
		return nil, fault.New(fault.TooBig, "loader.batch", m.Info().Dataset, "a batch of %d bytes, at most %d go into one message", b.Size(), maxBatchMessage).
			Do("ask for fewer samples, or use the feed")
	}
	out := &loaderv1.ReadBatchResponse{Meta: append([]byte(nil), b.Meta()...), Payload: make([]byte, b.Size())}
	if err := b.Fill(out.GetPayload()); err != nil {
		return nil, nameManifest(m, err)
	}
	return out, nil
}

// maxBatchMessage is what a stock gRPC client can be expected to take.
const maxBatchMessage = 60 << 20

// Samples implements the service.
func (s *Loader) Samples(ctx context.Context, r *loaderv1.SamplesRequest) (*loaderv1.SamplesResponse, error) {
	m, err := s.get(ctx, r.GetHandle())
	if err != nil {
		return nil, err
	}
	indices := r.GetIndices()
	if len(indices) > batch.MaxCount || r.GetCount() > batch.MaxCount {
		return nil, fault.New(fault.TooBig, "loader.samples", m.Info().Dataset, "more than %d samples in one call", batch.MaxCount).Do("ask in pieces")
	}
	if len(indices) == 0 {
		total := m.Info().Samples
		if r.GetStart() > total {
			return nil, fault.New(fault.Invalid, "loader.samples", m.Info().Dataset, "sample %d of %d", r.GetStart(), total)
		}
		for i := range min(r.GetCount(), total-r.GetStart()) {
			indices = append(indices, r.GetStart()+i)
		}
	}
	names, err := m.Names(ctx, indices)
	if err != nil {
		return nil, nameManifest(m, err)
	}
	out := &loaderv1.SamplesResponse{}
	for _, n := range names {
		out.Paths = append(out.Paths, n.Path)
		out.Sizes = append(out.Sizes, n.Size)
	}
	return out, nil
}

// ReadElements implements the service.
func (s *Loader) ReadElements(ctx context.Context, r *loaderv1.ReadElementsRequest) (resp *loaderv1.ReadElementsResponse, err error) {
	m, err := s.get(ctx, r.GetHandle())
	if err != nil {
		return nil, err
	}
	e, err := m.ReadElements(ctx, &manifest.Ranges{
		Column: r.GetColumn(), Extra: uint64(r.GetExtra()), Count: r.GetCount(), Starts: r.GetStarts(), Samples: r.GetSamples(),
	}, maxBatchMessage)
	if err != nil {
		return nil, nameManifest(m, err)
	}
	return &loaderv1.ReadElementsResponse{Runs: e.Runs, Total: e.Total, Payload: e.Payload}, nil
}

// Places implements the service.
func (s *Loader) Places(ctx context.Context, r *loaderv1.PlacesRequest) (*loaderv1.PlacesResponse, error) {
	m, err := s.get(ctx, r.GetHandle())
	if err != nil {
		return nil, err
	}
	segments, positions, err := m.Places(ctx, r.GetStart(), r.GetCount())
	if err != nil {
		return nil, nameManifest(m, err)
	}
	return &loaderv1.PlacesResponse{Segments: segments, Positions: positions}, nil
}

// Collect removes the manifests of datasets that are gone.
func (s *Loader) Collect() error {
	// The folders first: what has one now is in the list unless it is gone.
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fault.Wrap(err, "loader.collect", s.dir)
	}
	all, err := s.datasets.pools.Datasets("")
	if err != nil {
		return err
	}
	alive := map[object.DatasetID]bool{}
	for _, d := range all {
		alive[d.ID] = true
	}
	dropped := false
	for _, e := range entries {
		n, err := strconv.ParseUint(e.Name(), 16, 64)
		if err != nil || len(e.Name()) != 16 || strings.ToLower(e.Name()) != e.Name() {
			continue
		}
		if alive[object.DatasetID(n)] {
			if err := s.library.Trim(filepath.Join(s.dir, e.Name()), manifest.MaxLists); err != nil {
				return err
			}
			continue
		}
		if !dropped {
			s.library.Drop(func(i manifest.Info) bool { return alive[i.DatasetID] })
			dropped = true
		}
		if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
			return fault.Wrap(err, "loader.collect", s.dir)
		}
	}
	return nil
}
