package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"google.golang.org/grpc"

	"daos/internal/fault"
	commonv1 "daos/proto/gen/daos/common/v1"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	loaderv1 "daos/proto/gen/daos/loader/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
	systemv1 "daos/proto/gen/daos/system/v1"
	tensorv1 "daos/proto/gen/daos/tensor/v1"
	"daos/server"
	"daos/server/config"
	"daos/server/wire"
)

// clients are stubs of all services on one connection.
type clients struct {
	t       *testing.T
	ctx     context.Context //nolint:containedctx // of the test
	pool    poolv1.PoolServiceClient
	dataset datasetv1.DatasetServiceClient
	posix   posixv1.PosixServiceClient
	tensor  tensorv1.TensorServiceClient
	scan    scanv1.ScanServiceClient
	loader  loaderv1.LoaderServiceClient
	system  systemv1.SystemServiceClient
}

func (r *running) clients() *clients {
	cc := dial(r.site.t, "unix:"+r.Socket(), "")
	return &clients{
		r.site.t, r.site.t.Context(), poolv1.NewPoolServiceClient(cc), datasetv1.NewDatasetServiceClient(cc), posixv1.NewPosixServiceClient(cc),
		tensorv1.NewTensorServiceClient(cc), scanv1.NewScanServiceClient(cc), loaderv1.NewLoaderServiceClient(cc), systemv1.NewSystemServiceClient(cc),
	}
}

func (c *clients) makePool(name string) {
	c.t.Helper()
	must[*poolv1.CreatePoolResponse](c.t)(c.pool.CreatePool(c.ctx, &poolv1.CreatePoolRequest{Name: name}))
}

func (c *clients) makeDataset(name string, t datasetv1.Type) {
	c.t.Helper()
	must[*datasetv1.CreateDatasetResponse](c.t)(c.dataset.CreateDataset(c.ctx, &datasetv1.CreateDatasetRequest{Dataset: name, Type: t}))
}

func (c *clients) snapshot(name, snap string) *datasetv1.Snapshot {
	c.t.Helper()
	return must[*datasetv1.CreateSnapshotResponse](c.t)(c.dataset.CreateSnapshot(c.ctx, &datasetv1.CreateSnapshotRequest{Dataset: name, Name: snap})).GetSnapshot()
}

func (c *clients) put(dataset, path, content string) {
	c.t.Helper()
	must[*posixv1.CreateResponse](c.t)(c.posix.Create(c.ctx, &posixv1.CreateRequest{Dataset: dataset, Path: []byte(path), Parents: true, Truncate: true, Payload: []byte(content)}))
}

// last reads a stream to its end and returns the messages.
func drainStream[T any](t *testing.T, st grpc.ServerStreamingClient[T], err error) []*T {
	t.Helper()
	if err != nil {
		t.Fatal(wire.Fault(err))
	}
	var out []*T
	for {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(wire.Fault(err))
		}
		out = append(out, m)
	}
}

// TestErrorsSayWhatOnWhichResource: the resource of every error is an address
// that the caller can use.
func TestErrorsSayWhatOnWhichResource(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c := r.clients()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	c.makeDataset("p/t", datasetv1.Type_TYPE_TENSOR)
	c.put("p/d", "a/x", "1")
	c.snapshot("p/d", "s")
	ctx := c.ctx
	stat := func(dataset, path string) error {
		_, err := c.posix.Stat(ctx, &posixv1.StatRequest{Dataset: dataset, Path: []byte(path)})
		return err
	}
	for _, tc := range []struct {
		err      error
		kind     fault.Kind
		resource string
	}{
		{stat("p/d", "nothing"), fault.NotFound, "p/d/nothing"},
		{stat("p/d@s", "a/nothing"), fault.NotFound, "p/d@s/a/nothing"},
		{stat("p/d", "a/x/y"), fault.NotDirectory, "p/d/a/x/y"},
		{stat("p/d@gone", "a"), fault.NotFound, "p/d@gone"},
		{stat("p/e", "a"), fault.NotFound, "p/e"},
		{stat("q/d", "a"), fault.NotFound, "q"},
		{stat("p/t", "a"), fault.Invalid, "p/t"},
		{stat("", "a"), fault.Invalid, "pool"},
		{stat("p/d/a", ""), fault.Invalid, "p/d/a"},
		{stat("p/d", "../x"), fault.Invalid, "p/d/../x"},
		{stat("p/d", "a\x00b"), fault.Invalid, ""},
		{func() error {
			_, err := c.posix.Remove(ctx, &posixv1.RemoveRequest{Dataset: "p/d", Path: []byte("a")})
			return err
		}(), fault.NotEmpty, "p/d/a"},
		{func() error {
			_, err := c.posix.Write(ctx, &posixv1.WriteRequest{Dataset: "p/d@s", Path: []byte("a/x")})
			return err
		}(), fault.ReadOnly, "p/d@s"},
		{func() error {
			_, err := c.posix.Create(ctx, &posixv1.CreateRequest{Dataset: "p/d", Path: []byte("a/x"), Exclusive: true})
			return err
		}(), fault.Exists, "p/d/a/x"},
		{func() error {
			_, err := c.posix.Create(ctx, &posixv1.CreateRequest{Dataset: "p/d", Path: []byte("b"), Mutation: &commonv1.Mutation{RequestId: []byte("short")}})
			return err
		}(), fault.Invalid, "request_id"},
		{func() error {
			_, err := c.posix.Read(ctx, &posixv1.ReadRequest{Dataset: "p/d", Path: []byte("a"), Length: 1})
			return err
		}(), fault.IsDirectory, "p/d/a"},
		{func() error {
			_, err := c.posix.Read(ctx, &posixv1.ReadRequest{Dataset: "p/d", Path: []byte("a/x"), Length: 17 << 20})
			return err
		}(), fault.TooBig, "p/d"},
		{func() error {
			_, err := c.posix.Read(ctx, &posixv1.ReadRequest{Dataset: "p/d@s", Path: []byte("a/x"), Length: 1, Epoch: 7})
			return err
		}(), fault.Invalid, "p/d@s"},
		{func() error {
			_, err := c.posix.Read(ctx, &posixv1.ReadRequest{Dataset: "p/d", Path: []byte("a/x"), Length: 1, Seen: 1 << 63})
			return err
		}(), fault.Invalid, "p/d"},
		{func() error {
			_, err := c.dataset.DestroyDataset(ctx, &datasetv1.DestroyDatasetRequest{Dataset: "p/d@s"})
			return err
		}(), fault.Invalid, "p/d@s"},
		{func() error {
			_, err := c.dataset.CreateDataset(ctx, &datasetv1.CreateDatasetRequest{Dataset: "p/k", Type: datasetv1.Type_TYPE_KV, ChunkBytes: 1 << 20})
			return err
		}(), fault.Invalid, "p/k"},
		{func() error {
			_, err := c.dataset.CreateDataset(ctx, &datasetv1.CreateDatasetRequest{Dataset: "p/k", Type: -5})
			return err
		}(), fault.Invalid, "p/k"},
		{func() error {
			_, err := c.pool.DestroyPool(ctx, &poolv1.DestroyPoolRequest{Name: "p"})
			return err
		}(), fault.NotEmpty, "p"},
		{func() error {
			_, err := c.tensor.Define(ctx, &tensorv1.DefineRequest{Dataset: "p/t", Columns: []*tensorv1.Column{{Name: "x", Layout: tensorv1.Layout_LAYOUT_FIXED, Dtype: "complex64"}}})
			return err
		}(), fault.Invalid, "p/t"},
		{func() error {
			_, err := c.loader.ReadBatch(ctx, &loaderv1.ReadBatchRequest{Handle: 5, Indices: []uint64{0}})
			return err
		}(), fault.Stale, ""},
	} {
		var f *fault.Error
		if !errors.As(wire.Fault(tc.err), &f) || f.Kind != tc.kind {
			t.Errorf("got %v, want %v of %q", tc.err, tc.kind, tc.resource)
			continue
		}
		if tc.resource != "" && f.Resource != tc.resource {
			t.Errorf("%v: the resource is %q, want %q", f, f.Resource, tc.resource)
		}
	}
}

func TestQuotaIsNamed(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c := r.clients()
	must[*poolv1.CreatePoolResponse](t)(c.pool.CreatePool(c.ctx, &poolv1.CreatePoolRequest{Name: "p", QuotaBytes: 1 << 20}))
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	_, err := c.posix.Create(c.ctx, &posixv1.CreateRequest{Dataset: "p/d", Path: []byte("big"), Payload: make([]byte, 2<<20)})
	var f *fault.Error
	if !errors.As(wire.Fault(err), &f) || f.Kind != fault.NoSpace || f.Resource != "p" || f.Resolution == "" {
		t.Fatalf("over the quota: %+v", wire.Fault(err))
	}
	c.put("p/d", "small", "fits")
	must[*poolv1.SetPoolResponse](t)(c.pool.SetPool(c.ctx, &poolv1.SetPoolRequest{Name: "p", QuotaBytes: 8 << 20}))
	c.put("p/d", "big", strings.Repeat("x", 2<<20))
	p := must[*poolv1.GetPoolResponse](t)(c.pool.GetPool(c.ctx, &poolv1.GetPoolRequest{Name: "p"})).GetPool()
	if p.GetUsedBytes() < 2<<20 || p.GetUsedBytes() > 3<<20 || p.GetDatasets() != 1 {
		t.Errorf("the pool holds %v", p)
	}
}

func TestReadStreamAndRanges(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c := r.clients()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	content := make([]byte, 9<<20)
	for i := range content {
		content[i] = byte(i * 7)
	}
	c.put("p/d", "f", string(content))
	c.put("p/d", "empty", "")
	for _, tc := range []struct{ off, n, from, to uint64 }{
		{0, 0, 0, 9 << 20}, {1, 5, 1, 6}, {8 << 20, 100 << 20, 8 << 20, 9 << 20}, {9 << 20, 0, 0, 0}, {1 << 40, 3, 0, 0}, {5, 1 << 63, 5, 9 << 20},
	} {
		st, err := c.posix.ReadStream(c.ctx, &posixv1.ReadStreamRequest{Dataset: "p/d", Path: []byte("f"), Offset: tc.off, Length: tc.n})
		var got []byte
		for _, m := range drainStream(t, st, err) {
			if m.GetOffset() != tc.off+uint64(len(got)) || m.GetSize() != uint64(len(content)) {
				t.Errorf("a piece at %d of %d", m.GetOffset(), m.GetSize())
			}
			got = append(got, m.GetPayload()...)
		}
		if !bytes.Equal(got, content[tc.from:tc.to]) {
			t.Errorf("[%d, +%d) reads %d bytes, want %d", tc.off, tc.n, len(got), tc.to-tc.from)
		}
	}
	st, err := c.posix.ReadStream(c.ctx, &posixv1.ReadStreamRequest{Dataset: "p/d", Path: []byte("empty")})
	if ms := drainStream(t, st, err); len(ms) != 1 || len(ms[0].GetPayload()) != 0 {
		t.Errorf("an empty file reads as %v", ms)
	}
}

func TestScan(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c := r.clients()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	want := []string{}
	for i := range 300 {
		path := fmt.Sprintf("dir%d/f%03d.png", i%7, i)
		c.put("p/d", path, strings.Repeat("x", i))
		if i >= 100 {
			want = append(want, path)
		}
	}
	c.snapshot("p/d", "s")
	c.put("p/d", "dir0/later.png", strings.Repeat("x", 500))
	minimum := uint64(100)
	scan := func(req *scanv1.ScanRequest) []string {
		t.Helper()
		req.Filter = &scanv1.Filter{Name: "*.png", MinSize: &minimum}
		st, err := c.scan.Scan(c.ctx, req)
		ms := drainStream(t, st, err)
		var stream []byte
		for _, m := range ms {
			stream = append(stream, m.GetPayload()...)
		}
		rd, err := ipc.NewReader(bytes.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		defer rd.Release()
		var got []string
		for rd.Next() {
			col := rd.Record().Column(rd.Schema().FieldIndices("path")[0]).(*array.String)
			for i := range col.Len() {
				got = append(got, col.Value(i))
			}
		}
		if err := rd.Err(); err != nil {
			t.Fatal(err)
		}
		end := ms[len(ms)-1]
		if !end.GetDone() || end.GetRowsOut() != uint64(len(got)) {
			t.Errorf("the last message is %v after %d rows", end, len(got))
		}
		return got
	}
	first := scan(&scanv1.ScanRequest{Dataset: "p/d@s"})
	for range 3 {
		if again := scan(&scanv1.ScanRequest{Dataset: "p/d@s", BatchRows: 16}); !slices.Equal(first, again) {
			t.Fatal("two scans of a snapshot have different orders")
		}
	}
	sorted := slices.Sorted(slices.Values(first))
	slices.Sort(want)
	if !slices.Equal(sorted, want) {
		t.Fatalf("%d rows, want %d", len(sorted), len(want))
	}
	plan := must[*scanv1.PlanResponse](t)(c.scan.Plan(c.ctx, &scanv1.PlanRequest{Dataset: "p/d", Anchors: 5}))
	c.put("p/d", "dir0/much later.png", strings.Repeat("x", 500))
	var parts []string
	for _, a := range plan.GetAnchors() {
		parts = append(parts, scan(&scanv1.ScanRequest{Dataset: "p/d", Epoch: plan.GetEpoch(), Anchor: a})...)
	}
	slices.Sort(parts)
	if want := slices.Sorted(slices.Values(append(want, "dir0/later.png"))); !slices.Equal(parts, want) {
		t.Fatalf("%d anchors give %d rows, want %d", len(plan.GetAnchors()), len(parts), len(want))
	}
	st, err := c.scan.Scan(c.ctx, &scanv1.ScanRequest{Dataset: "p/d", Anchor: []byte("junk")})
	if err == nil {
		_, err = st.Recv()
	}
	if !fault.Is(wire.Fault(err), fault.Invalid) {
		t.Errorf("a junk anchor: %v", err)
	}
	none := scan(&scanv1.ScanRequest{Dataset: "p/d@s", Path: []byte("dir0"), Limit: 1})
	if len(none) != 1 {
		t.Errorf("a limit of 1 gives %d rows", len(none))
	}
}

// TestAPlanKeepsItsEpoch: the anchors of a plan can be scanned long after the
// versions of that epoch would have been swept.
func TestAPlanKeepsItsEpoch(t *testing.T) {
	s := newSite(t)
	s.edit = func(c *config.Config) { c.Engine.Window, c.Engine.Sweep = time.Second, time.Hour }
	r := s.start(server.Options{})
	c := r.clients()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	c.put("p/d", "f", "old content")
	unpinned := must[*posixv1.StatResponse](t)(c.posix.Stat(c.ctx, &posixv1.StatRequest{Dataset: "p/d", Path: []byte("f")})).GetAttr().GetEpoch()
	plan := must[*scanv1.PlanResponse](t)(c.scan.Plan(c.ctx, &scanv1.PlanRequest{Dataset: "p/d", Anchors: 1}))
	must[*posixv1.RemoveResponse](t)(c.posix.Remove(c.ctx, &posixv1.RemoveRequest{Dataset: "p/d", Path: []byte("f")}))
	read := func(epoch uint64) (string, error) {
		m, err := c.posix.Read(c.ctx, &posixv1.ReadRequest{Dataset: "p/d", Path: []byte("f"), Epoch: epoch, Length: 100})
		return string(m.GetPayload()), wire.Fault(err)
	}
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-pause.C { // until the window has passed
		must[*systemv1.SweepResponse](t)(c.system.Sweep(c.ctx, &systemv1.SweepRequest{}))
		if _, err := read(unpinned); fault.Is(err, fault.EpochGone) {
			break
		} else if time.Now().After(end) {
			t.Fatalf("an epoch that nobody keeps is still readable: %v", err)
		}
		c.put("p/d", "other", "x") // so that there is something to sweep
	}
	if got, err := read(plan.GetEpoch()); err != nil || got != "old content" {
		t.Errorf("at the plan's epoch: %q, %v", got, err)
	}
	st, err := c.scan.Scan(c.ctx, &scanv1.ScanRequest{Dataset: "p/d", Epoch: plan.GetEpoch(), Anchor: plan.GetAnchors()[0]})
	ms := drainStream(t, st, err)
	if n := ms[len(ms)-1].GetRowsOut(); n != 1 {
		t.Errorf("the scan gives %d rows, want the one that was there", n)
	}
}

// numbers is an IPC stream of one int64 column.
func numbers(t *testing.T, name string, values ...int64) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: name, Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues(values, nil)
	rec := b.NewRecord()
	defer rec.Release()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (c *clients) append(dataset string, id *commonv1.Mutation, pieces ...[]byte) (*tensorv1.AppendResponse, error) {
	st, err := c.tensor.Append(c.ctx)
	if err != nil {
		return nil, err
	}
	for i, p := range pieces {
		m := &tensorv1.AppendRequest{Payload: p}
		if i == 0 {
			m.Dataset, m.Mutation = dataset, id
		}
		if err := st.Send(m); err != nil {
			break // CloseAndRecv says why
		}
	}
	return st.CloseAndRecv()
}

func TestTensor(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c := r.clients()
	c.makePool("p")
	c.makeDataset("p/t", datasetv1.Type_TYPE_TENSOR)
	must[*tensorv1.DefineResponse](t)(c.tensor.Define(c.ctx, &tensorv1.DefineRequest{Dataset: "p/t", Columns: []*tensorv1.Column{{Name: "n", Layout: tensorv1.Layout_LAYOUT_FIXED, Dtype: "int64"}}}))
	id := &commonv1.Mutation{RequestId: []byte("0123456789abcdef")}
	got := must[*tensorv1.AppendResponse](t)(c.append("p/t", id, numbers(t, "n", 1, 2, 3), numbers(t, "n", 4, 5)))
	if got.GetStart() != 0 || got.GetCount() != 5 {
		t.Errorf("appended %v", got)
	}
	again := must[*tensorv1.AppendResponse](t)(c.append("p/t", id, numbers(t, "n", 1, 2, 3), numbers(t, "n", 4, 5)))
	if again.GetChanged().GetEpoch() != got.GetChanged().GetEpoch() || !again.GetChanged().GetReplayed() {
		t.Errorf("a retry gets %v, the first got %v", again, got)
	}
	c.snapshot("p/t", "s")
	must[*tensorv1.OverwriteResponse](t)(c.tensor.Overwrite(c.ctx, &tensorv1.OverwriteRequest{Dataset: "p/t", Start: 1, Payload: numbers(t, "n", 20, 30)}))
	read := func(req *tensorv1.ReadRequest) []int64 {
		t.Helper()
		st, err := c.tensor.Read(c.ctx, req)
		var stream []byte
		for _, m := range drainStream(t, st, err) {
			stream = append(stream, m.GetPayload()...)
		}
		rd, err := ipc.NewReader(bytes.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		defer rd.Release()
		out := []int64{}
		for rd.Next() {
			out = append(out, rd.Record().Column(0).(*array.Int64).Int64Values()...)
		}
		return out
	}
	for _, tc := range []struct {
		req  *tensorv1.ReadRequest
		want []int64
	}{
		{&tensorv1.ReadRequest{Dataset: "p/t", Stop: 100}, []int64{1, 20, 30, 4, 5}},
		{&tensorv1.ReadRequest{Dataset: "p/t@s", Stop: 100}, []int64{1, 2, 3, 4, 5}},
		{&tensorv1.ReadRequest{Dataset: "p/t@s", Start: 1, Stop: 5, Step: 2}, []int64{2, 4}},
		{&tensorv1.ReadRequest{Dataset: "p/t", ByIndex: true, Indices: []uint64{4, 0, 4}}, []int64{5, 1, 5}},
		{&tensorv1.ReadRequest{Dataset: "p/t", ByIndex: true}, []int64{}},
	} {
		if got := read(tc.req); !slices.Equal(got, tc.want) {
			t.Errorf("%v reads %v, want %v", tc.req, got, tc.want)
		}
	}
	for name, err := range map[string]error{
		"another column": func() error { _, err := c.append("p/t", nil, numbers(t, "m", 1)); return err }(),
		"junk":           func() error { _, err := c.append("p/t", nil, []byte("not Arrow at all")); return err }(),
		"half a stream":  func() error { _, err := c.append("p/t", nil, numbers(t, "n", 1)[:100]); return err }(),
		"no message":     func() error { _, err := c.append("p/t", nil); return err }(),
	} {
		if k := fault.KindOf(wire.Fault(err)); k != fault.Invalid && k != fault.NotFound {
			t.Errorf("an append of %s: %v", name, wire.Fault(err))
		}
	}
	if _, err := c.append("p/t@s", nil, numbers(t, "n", 1)); !fault.Is(wire.Fault(err), fault.ReadOnly) {
		t.Errorf("an append to a snapshot: %v", err)
	}
	if got := read(&tensorv1.ReadRequest{Dataset: "p/t", Stop: 100}); len(got) != 5 {
		t.Errorf("failed appends have left %v", got)
	}
	d := must[*tensorv1.DescribeResponse](t)(c.tensor.Describe(c.ctx, &tensorv1.DescribeRequest{Dataset: "p/t@s", Stats: []string{"n"}}))
	if d.GetLength() != 5 || len(d.GetColumns()) != 1 || len(d.GetStats()["n"].GetChunks()) == 0 {
		t.Errorf("described as %v", d)
	}
}

func TestLoader(t *testing.T) {
	s := newSite(t)
	r := s.start(server.Options{})
	c := r.clients()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	for i := range 50 {
		c.put("p/d", fmt.Sprintf("c%d/f%02d", i%2, i), fmt.Sprintf("sample %02d", i))
	}
	c.snapshot("p/d", "s")
	c.put("p/d", "c0/f00", "changed meanwhile")
	open := func(c *clients, dataset string) (*loaderv1.Manifest, error) {
		st, err := c.loader.OpenManifest(c.ctx, &loaderv1.OpenManifestRequest{Dataset: dataset, LabelDirname: true})
		for err == nil {
			var m *loaderv1.OpenManifestResponse
			if m, err = st.Recv(); err == nil && m.GetManifest() != nil {
				return m.GetManifest(), nil
			}
		}
		return nil, wire.Fault(err)
	}
	m := must[*loaderv1.Manifest](t)(open(c, "p/d@s"))
	if m.GetSamples() != 50 || !slices.Equal(m.GetClasses(), []string{"c0", "c1"}) || !slices.Equal(m.GetClassSizes(), []uint64{25, 25}) || !m.GetBuilt() || m.GetSnapshot() != "s" {
		t.Fatalf("manifest %v", m)
	}
	if _, err := open(c, "p/d"); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a snapshot: %v", err)
	}
	names := must[*loaderv1.SamplesResponse](t)(c.loader.Samples(c.ctx, &loaderv1.SamplesRequest{Handle: m.GetHandle(), Start: 24, Count: 3}))
	if got := fmt.Sprintf("%s", names.GetPaths()); got != "[c0/f48 c1/f01 c1/f03]" {
		t.Errorf("samples 24 to 26 are %s", got)
	}
	b := must[*loaderv1.ReadBatchResponse](t)(c.loader.ReadBatch(c.ctx, &loaderv1.ReadBatchRequest{Handle: m.GetHandle(), Indices: []uint64{25, 0}}))
	if !bytes.Contains(b.GetPayload(), []byte("sample 01sample 00")) {
		t.Errorf("the batch is %q", b.GetPayload())
	}
	for _, indices := range [][]uint64{nil, {50}, {0, 1 << 63}} {
		if _, err := c.loader.ReadBatch(c.ctx, &loaderv1.ReadBatchRequest{Handle: m.GetHandle(), Indices: indices}); !fault.Is(wire.Fault(err), fault.Invalid) {
			t.Errorf("a batch of %v: %v", indices, err)
		}
	}
	r.end()
	r = s.start(server.Options{})
	c = r.clients()
	if _, err := c.loader.ReadBatch(c.ctx, &loaderv1.ReadBatchRequest{Handle: m.GetHandle(), Indices: []uint64{0}}); !fault.Is(wire.Fault(err), fault.Stale) {
		t.Errorf("a handle of an earlier process: %v", err)
	}
	again := must[*loaderv1.Manifest](t)(open(c, "p/d@s"))
	if again.GetId() != m.GetId() || again.GetBuilt() {
		t.Errorf("after a restart %v", again)
	}
	must[*datasetv1.DestroyDatasetResponse](t)(c.dataset.DestroyDataset(c.ctx, &datasetv1.DestroyDatasetRequest{Dataset: "p/d"}))
	if _, err := open(c, "p/d@s"); !fault.Is(err, fault.NotFound) {
		t.Errorf("of a destroyed dataset: %v", err)
	}
}

// TestAPassKeepsItsSnapshot: a snapshot that expires lives as long as batches
// are read from it, and no longer.
func TestAPassKeepsItsSnapshot(t *testing.T) {
	r := newSite(t).start(server.Options{}, "--targets", "1")
	c := r.clients()
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	c.put("p/d", "f", "sample")
	must[*datasetv1.CreateSnapshotResponse](t)(c.dataset.CreateSnapshot(c.ctx, &datasetv1.CreateSnapshotRequest{Dataset: "p/d", Name: "s", TtlSeconds: 1, Auto: true}))
	st, err := c.loader.OpenManifest(c.ctx, &loaderv1.OpenManifestRequest{Dataset: "p/d@s"})
	opened := drainStream(t, st, err)
	handle := opened[len(opened)-1].GetManifest().GetHandle()
	list := func() int {
		return len(must[*datasetv1.ListSnapshotsResponse](t)(c.dataset.ListSnapshots(c.ctx, &datasetv1.ListSnapshotsRequest{Dataset: "p/d"})).GetSnapshots())
	}
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); <-pause.C {
		must[*loaderv1.ReadBatchResponse](t)(c.loader.ReadBatch(c.ctx, &loaderv1.ReadBatchRequest{Handle: handle, Indices: []uint64{0}}))
	}
	if list() != 1 {
		t.Fatal("the snapshot has expired under its reader")
	}
	for end := time.Now().Add(10 * time.Second); list() != 0; <-pause.C {
		if time.Now().After(end) {
			t.Fatal("the snapshot outlives its reader")
		}
	}
}

// TestDrain: a call under way is finished, a new one is refused, a call that
// does not end is cut off.
func TestDrain(t *testing.T) {
	for _, patient := range []bool{true, false} {
		s := newSite(t)
		entered, release := make(chan struct{}), make(chan struct{})
		r := s.start(server.Options{Register: func(reg grpc.ServiceRegistrar) { reg.RegisterService(&waiting, &waiter{entered, release}) }})
		cc := dial(t, "unix:"+r.Socket(), "")
		result := make(chan error, 1)
		go func() {
			result <- wire.Fault(cc.Invoke(t.Context(), "/daos.test.Waiting/Wait", &systemv1.PingRequest{}, &systemv1.PingResponse{}))
		}()
		<-entered
		limit := 30 * time.Second
		if !patient {
			limit = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		drained := make(chan error, 1)
		go func() { drained <- r.Drain(ctx) }()
		if patient {
			// New connections are refused as soon as the drain has begun.
			for {
				probe, err := (&probeDialer{}).dial(r.Addr())
				if err != nil {
					break
				}
				_ = probe.Close()
			}
			close(release)
		}
		if err := <-drained; err != nil {
			t.Errorf("drain: %v", err)
		}
		err := <-result
		if patient && err != nil {
			t.Errorf("the call under way got %v", err)
		}
		if !patient {
			if err == nil {
				t.Error("a call that never ends was answered")
			}
			close(release)
		}
		cancel()
	}
}
