package flight_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"daos/dataset/posix"
	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/engine/memstore"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/bufpool"
	"daos/internal/fault"
	"daos/loader/manifest"
	flightv1 "daos/proto/gen/daos/flight/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
	"daos/server/codec"
	dflight "daos/server/flight"
	"daos/server/pool"
	"daos/server/wire"
)

// catalog is a Catalog over stores in memory: p/t is a tensor dataset, p/d a
// POSIX one, each with a snapshot s1 once snap was called.
type catalog struct {
	sets   map[string]*pool.Dataset
	stores map[string]object.Store
	snaps  map[string]object.Epoch
	pins   int
}

func (c *catalog) Resolve(_ context.Context, a address.Address) (pool.Resolved, error) {
	d := c.sets[a.Live().DatasetName()]
	if d == nil {
		return pool.Resolved{}, fault.New(fault.NotFound, "dataset.get", a.DatasetName(), "there is no such dataset").Do("`daos dataset list %s` shows those that there are", a.Pool)
	}
	r := pool.Resolved{Address: a, Dataset: d, Store: c.stores[d.Address()]}
	if a.Snapshot != "" {
		e, ok := c.snaps[a.DatasetName()]
		if !ok {
			return pool.Resolved{}, fault.New(fault.NotFound, "snapshot.get", a.DatasetName(), "there is no such snapshot")
		}
		r.Snapshot = &pool.Snapshot{Name: a.Snapshot, Epoch: e}
	}
	return r, nil
}

func (c *catalog) Datasets(string) ([]*pool.Dataset, error) {
	return []*pool.Dataset{c.sets["p/d"], c.sets["p/t"]}, nil
}

func (c *catalog) PoolNames() []string { return []string{"p"} }

func (c *catalog) Pin(context.Context, object.DatasetID, object.Epoch) error {
	c.pins++
	return nil
}

func (c *catalog) snap(t testing.TB, name string) {
	t.Helper()
	e, err := c.stores[name].ReadEpoch(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	c.snaps[name+"@s1"] = e
}

type rig struct {
	*dflight.Server
	*catalog
	client flight.Client
	conn   *grpc.ClientConn
	table  *tensor.Table
	tree   *posix.FS
}

func serve(t testing.TB) *rig {
	t.Helper()
	c := &catalog{snaps: map[string]object.Epoch{}, sets: map[string]*pool.Dataset{
		"p/t": {ID: 1, Pool: "p", Name: "t", Type: pool.TypeTensor}, "p/d": {ID: 2, Pool: "p", Name: "d", Type: pool.TypePosix},
	}, stores: map[string]object.Store{"p/t": memstore.New(), "p/d": memstore.New()}}
	if err := posix.Create(t.Context(), c.stores["p/d"], posix.Properties{}); err != nil {
		t.Fatal(err)
	}
	fs, err := posix.Open(t.Context(), c.stores["p/d"], posix.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lib := manifest.NewLibrary(1, manifest.MaxOpen)
	t.Cleanup(lib.Close)
	dir := t.TempDir()
	s, err := dflight.New(dflight.Options{
		Manifest: func(ctx context.Context, r *pool.Resolved, columns []string) (*manifest.Manifest, error) {
			m, _, _, err := lib.Open(ctx, manifest.Request{Dir: dir, Store: r.Store, Table: tensor.Open(r.Store, "p/t"), Info: manifest.Info{
				Dataset: "p/t", DatasetID: r.Dataset.ID, Snapshot: r.Snapshot.Name, Epoch: r.Snapshot.Epoch, Tensor: true, Selection: manifest.Selection{Columns: columns}}})
			return m, err
		},
		Catalog: c, Key: bytes.Repeat([]byte{9}, 32), Endpoints: 3,
		Tree: func(context.Context, *pool.Resolved) (*posix.FS, error) { return fs, nil },
		Actions: []dflight.Action{{Name: "echo", Description: "answers twice", Run: func(_ context.Context, b []byte) ([][]byte, error) {
			return [][]byte{b, b}, nil
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	opts := append(codec.ServerOptions(new(bufpool.Pool)),
		grpc.UnaryInterceptor(func(ctx context.Context, q any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			a, err := h(ctx, q)
			return a, wire.Status(err)
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			return wire.Status(h(srv, ss))
		}))
	g := grpc.NewServer(opts...)
	s.Register(g)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	cc, err := grpc.NewClient("unix:"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close(); g.Stop(); <-done })
	return &rig{Server: s, catalog: c, conn: cc, client: flight.NewClientFromConn(cc, nil), tree: fs,
		table: tensor.Open(c.stores["p/t"], "p/t")}
}

// schema has a column of each layout.
var columns = []tensor.Column{
	{Name: "image", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{28, 28}},
	{Name: "label", Layout: tensor.Fixed, DType: tensor.Int64},
	{Name: "text", Layout: tensor.String, DType: tensor.Uint8, Nullable: true},
	{Name: "blob", Layout: tensor.Bytes, DType: tensor.Uint8},
	{Name: "seq", Layout: tensor.Ragged, DType: tensor.Float32},
}

// record makes n rows from a seed.
func record(n int, seed uint64) arrow.Record {
	r := rand.New(rand.NewPCG(seed, 1))
	b := array.NewRecordBuilder(memory.DefaultAllocator, tensorarrow.SchemaOf(columns))
	defer b.Release()
	for range n {
		im := b.Field(0).(*array.FixedSizeListBuilder)
		im.Append(true)
		for range 28 * 28 {
			im.ValueBuilder().(*array.Uint8Builder).Append(uint8(r.Uint32()))
		}
		b.Field(1).(*array.Int64Builder).Append(r.Int64())
		if r.IntN(4) == 0 {
			b.Field(2).AppendNull()
		} else {
			b.Field(2).(*array.StringBuilder).Append(fmt.Sprint("row ", r.IntN(1000)))
		}
		b.Field(3).(*array.BinaryBuilder).Append(make([]byte, r.IntN(300)))
		l := b.Field(4).(*array.ListBuilder)
		l.Append(true)
		for range r.IntN(20) {
			l.ValueBuilder().(*array.Float32Builder).Append(r.Float32())
		}
	}
	return b.NewRecord()
}

func at(path ...string) *flight.FlightDescriptor {
	return &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: path}
}

// put uploads records and returns the answer.
func (r *rig) put(t testing.TB, d *flight.FlightDescriptor, meta string, recs ...arrow.Record) (map[string]any, error) {
	t.Helper()
	st, err := r.client.DoPut(t.Context(), grpc.MaxCallSendMsgSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	w := flight.NewRecordWriter(st, ipc.WithSchema(recs[0].Schema()))
	w.SetFlightDescriptor(d)
	for _, rec := range recs {
		if err := w.WriteWithAppMetadata(rec, []byte(meta)); err != nil && err != io.EOF {
			break // the answer says why
		}
		meta = ""
	}
	_ = w.Close()
	_ = st.CloseSend()
	var answer map[string]any
	for {
		p, err := st.Recv()
		if err == io.EOF {
			return answer, nil
		}
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(p.AppMetadata, &answer); err != nil {
			t.Fatal(err)
		}
	}
}

// get reads one ticket into records, which the test may keep.
func (r *rig) get(t testing.TB, ticket *flight.Ticket) ([]arrow.Record, error) {
	t.Helper()
	st, err := r.client.DoGet(t.Context(), ticket)
	if err != nil {
		return nil, err
	}
	rd, err := flight.NewRecordReader(st)
	if err != nil {
		return nil, err
	}
	defer rd.Release()
	var recs []arrow.Record
	for rd.Next() {
		rd.Record().Retain()
		recs = append(recs, rd.Record())
	}
	return recs, rd.Err()
}

// all reads all endpoints of a descriptor as one table.
func (r *rig) all(t testing.TB, d *flight.FlightDescriptor) (arrow.Table, *flight.FlightInfo) {
	t.Helper()
	info, err := r.client.GetFlightInfo(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	var recs []arrow.Record
	for _, e := range info.Endpoint {
		got, err := r.get(t, e.Ticket)
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, got...)
	}
	s, err := flight.DeserializeSchema(info.Schema, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	return array.NewTableFromRecords(s, recs), info
}

func same(t testing.TB, got, want arrow.Table) {
	t.Helper()
	if !got.Schema().Equal(want.Schema()) {
		t.Fatalf("schema %v, want %v", got.Schema(), want.Schema())
	}
	if !array.TableEqual(got, want) {
		t.Fatalf("%d rows differ from the %d that were written", got.NumRows(), want.NumRows())
	}
}

func code(t testing.TB, err error, want codes.Code) {
	t.Helper()
	if status.Code(err) != want {
		t.Fatalf("%v, want %v", err, want)
	}
}

func TestPutAndGet_AllLayoutsInAllPieces(t *testing.T) {
	r := serve(t)
	recs := []arrow.Record{record(10_000, 1), record(20_000, 2), record(15_000, 3)}
	answer, err := r.put(t, at("p", "t"), "", recs...)
	if err != nil {
		t.Fatal(err)
	}
	if answer["start"] != 0.0 || answer["count"] != 45_000.0 {
		t.Fatalf("%v", answer)
	}
	want := array.NewTableFromRecords(recs[0].Schema(), recs)
	got, info := r.all(t, at("p", "t"))
	same(t, got, want)
	if info.TotalRecords != 45_000 || len(info.Endpoint) < 2 {
		t.Errorf("%d records in %d endpoints", info.TotalRecords, len(info.Endpoint))
	}
	res, err := r.client.GetSchema(t.Context(), at("p", "t"))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := flight.DeserializeSchema(res.Schema, memory.DefaultAllocator); err != nil || !s.Equal(want.Schema()) {
		t.Fatalf("%v, %v", s, err)
	}
}

func TestSnapshot_ReadThroughItsManifest(t *testing.T) {
	r := serve(t)
	recs := []arrow.Record{record(9_000, 1), record(11_000, 2)}
	if _, err := r.put(t, at("p", "t"), "", recs...); err != nil {
		t.Fatal(err)
	}
	r.snap(t, "p/t")
	if _, err := r.put(t, at("p", "t"), `{"mode":"overwrite","start":0}`, record(500, 9)); err != nil {
		t.Fatal(err)
	}
	got, info := r.all(t, at("p", "t@s1"))
	same(t, got, array.NewTableFromRecords(recs[0].Schema(), recs))
	for _, e := range info.Endpoint {
		got, err := r.get(t, e.Ticket)
		if err != nil {
			t.Fatal(err)
		}
		again, err := r.get(t, e.Ticket)
		if err != nil || len(again) != len(got) {
			t.Fatalf("%d batches, then %d, %v", len(got), len(again), err)
		}
		for i := range got {
			if !array.RecordEqual(got[i], again[i]) {
				t.Fatalf("batch %d differs at the second use of its ticket", i)
			}
		}
	}
	st, err := r.client.DoGet(t.Context(), info.Endpoint[0].Ticket)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		d, err := st.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(d.DataBody) > 4<<20 || len(d.DataBody)%64 != 0 || n > 0 && len(d.DataBody) == 0 {
			t.Fatalf("message %d has a body of %d bytes", n, len(d.DataBody))
		}
	}
	some, _ := proto.Marshal(&flightv1.Command{Of: &flightv1.Command_Tensor{Tensor: &flightv1.TensorRead{Dataset: "p/t@s1", Columns: []string{"seq", "label"}, Start: 8_990, Stop: 9_010}}})
	part, _ := r.all(t, &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: some})
	if part.NumRows() != 20 || part.Column(0).Name() != "seq" || part.Column(1).Data().Chunk(0).(*array.Int64).Value(10) != recs[1].Column(1).(*array.Int64).Value(0) {
		t.Fatalf("%v", part)
	}
	r.unpinned(t)
}

// unpinned waits until nothing is on its way to clients any more.
func (r *rig) unpinned(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); r.Pinned() > 0; time.Sleep(time.Millisecond) {
		runtime.GC() // gRPC forgets the messages of dead streams; then a cleanup counts
		if time.Now().After(deadline) {
			t.Fatalf("%d record batches are still pinned", r.Pinned())
		}
	}
}

func TestTicket_GivesTheSameRowsWhileTheDatasetGrows(t *testing.T) {
	r := serve(t)
	if _, err := r.put(t, at("p", "t"), "", record(5000, 1)); err != nil {
		t.Fatal(err)
	}
	r.snap(t, "p/t")
	for _, d := range []*flight.FlightDescriptor{at("p", "t"), at("p", "t@s1"), at("p/t@s1")} {
		before, info := r.all(t, d)
		if _, err := r.put(t, at("p", "t"), `{"mode":"overwrite","start":10}`, record(100, 7)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.put(t, at("p", "t"), "", record(50, 8)); err != nil {
			t.Fatal(err)
		}
		var again []arrow.Record
		for _, e := range info.Endpoint {
			got, err := r.get(t, e.Ticket)
			if err != nil {
				t.Fatal(err)
			}
			again = append(again, got...)
		}
		same(t, array.NewTableFromRecords(before.Schema(), again), before)
	}
}

func TestTicket_ForgedStaleAndForeignOnesAreRefused(t *testing.T) {
	r := serve(t)
	if _, err := r.put(t, at("p", "t"), "", record(10, 1)); err != nil {
		t.Fatal(err)
	}
	_, info := r.all(t, at("p", "t"))
	good := info.Endpoint[0].Ticket.Ticket
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := r.get(t, &flight.Ticket{Ticket: bad}); err == nil {
			t.Fatalf("a ticket with byte %d changed was taken", i)
		} else if c := status.Code(err); c != codes.PermissionDenied && c != codes.InvalidArgument {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	_, err := r.get(t, &flight.Ticket{Ticket: []byte("p/t")})
	code(t, err, codes.InvalidArgument)
	r.snap(t, "p/t")
	_, old := r.all(t, at("p", "t@s1"))
	if _, err := r.put(t, at("p", "t"), "", record(1, 2)); err != nil {
		t.Fatal(err)
	}
	r.snap(t, "p/t") // destroyed and made again
	_, err = r.get(t, old.Endpoint[0].Ticket)
	code(t, err, codes.FailedPrecondition)
	r.sets["p/t"].ID = 99 // destroyed and made again
	_, err = r.get(t, &flight.Ticket{Ticket: good})
	code(t, err, codes.FailedPrecondition)
}

func TestInfo_MissingFolderIsNamedInFull(t *testing.T) {
	r := serve(t)
	_, err := r.client.GetFlightInfo(t.Context(), at("p", "d", "no", "such"))
	if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "p/d/no/such: ") {
		t.Errorf("GetFlightInfo says %v", err)
	}
}

func TestDescriptor_WrongOnesSayWhatToDo(t *testing.T) {
	r := serve(t)
	if _, err := r.put(t, at("p", "t"), "", record(10, 1)); err != nil {
		t.Fatal(err)
	}
	scanOfTensor, _ := proto.Marshal(&flightv1.Command{Of: &flightv1.Command_Entries{Entries: &scanv1.ScanRequest{Dataset: "p/t"}}})
	column, _ := proto.Marshal(&flightv1.Command{Of: &flightv1.Command_Tensor{Tensor: &flightv1.TensorRead{Dataset: "p/t", Columns: []string{"nope"}}}})
	for name, c := range map[string]struct {
		d    *flight.FlightDescriptor
		want codes.Code
	}{
		"empty path":      {at(), codes.InvalidArgument},
		"pool alone":      {at("p"), codes.InvalidArgument},
		"no such dataset": {at("p", "x"), codes.NotFound},
		"no snapshot":     {at("p", "t@no"), codes.NotFound},
		"climbing":        {at("p", "d", ".."), codes.InvalidArgument},
		"slash":           {at("p", "a/b"), codes.InvalidArgument},
		"path in tensor":  {at("p", "t", "x"), codes.InvalidArgument},
		"garbage command": {&flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: []byte("\xff\xff")}, codes.InvalidArgument},
		"empty command":   {&flight.FlightDescriptor{Type: flight.DescriptorCMD}, codes.InvalidArgument},
		"wrong command":   {&flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: scanOfTensor}, codes.InvalidArgument},
		"unknown column":  {&flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: column}, codes.NotFound},
		"no type":         {&flight.FlightDescriptor{}, codes.InvalidArgument},
	} {
		_, err := r.client.GetFlightInfo(t.Context(), c.d)
		if got := status.Code(err); got != c.want && !(name == "unknown column" && got == codes.InvalidArgument) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestScan_EndpointsTogetherAreTheTree(t *testing.T) {
	r := serve(t)
	want := map[string]bool{}
	for i := range 500 {
		name := fmt.Sprintf("d%d/f%d.png", i%7, i)
		if _, err := r.tree.Create(t.Context(), object.RequestID{}, name, posix.CreateOptions{}); err != nil {
			if _, err := r.tree.MakeDir(t.Context(), object.RequestID{}, fmt.Sprintf("d%d", i%7), posix.MakeDirOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := r.tree.Create(t.Context(), object.RequestID{}, name, posix.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		want[name] = true
	}
	r.snap(t, "p/d")
	if _, err := r.tree.Remove(t.Context(), object.RequestID{}, "d1", posix.RemoveOptions{Recursive: true}); err != nil {
		t.Fatal(err)
	}
	cmd, _ := proto.Marshal(&flightv1.Command{Of: &flightv1.Command_Entries{Entries: &scanv1.ScanRequest{
		Dataset: "p/d@s1", Columns: []string{"path", "size"}, Filter: &scanv1.Filter{Name: "*.png"},
	}}})
	got, info := r.all(t, &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: cmd})
	if len(info.Endpoint) != 3 || info.TotalRecords != -1 {
		t.Errorf("%d endpoints, %d records", len(info.Endpoint), info.TotalRecords)
	}
	if int(got.NumRows()) != len(want) || got.NumCols() != 2 {
		t.Fatalf("%d rows of %d columns, %d files", got.NumRows(), got.NumCols(), len(want))
	}
	for _, ch := range got.Column(0).Data().Chunks() {
		for i := range ch.Len() {
			if p := ch.(*array.String).Value(i); !want[p] {
				t.Fatalf("%q twice, or not there", p)
			} else {
				delete(want, p)
			}
		}
	}
	below, _ := r.all(t, at("p", "d@s1", "d3"))
	if below.NumRows() != 71 {
		t.Errorf("%d entries below d3", below.NumRows())
	}
	live, _ := r.all(t, at("p", "d"))
	if live.NumRows() != 500+7-72-1 {
		t.Errorf("%d entries in the live tree", live.NumRows())
	}
}

func TestListFlightsAndActions(t *testing.T) {
	r := serve(t)
	if _, err := r.put(t, at("p", "t"), "", record(3, 1)); err != nil {
		t.Fatal(err)
	}
	for criteria, want := range map[string]int{"": 2, "p": 2, "p/t": 1, "p/*": 2, "q": 0, "*/d": 1} {
		st, err := r.client.ListFlights(t.Context(), &flight.Criteria{Expression: []byte(criteria)})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			if _, err := st.Recv(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != want {
			t.Errorf("%q lists %d flights, want %d", criteria, n, want)
		}
	}
	if r.pins != 0 {
		t.Errorf("listing has made %d pins", r.pins)
	}
	st, err := r.client.DoAction(t.Context(), &flight.Action{Type: "echo", Body: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if res, err := st.Recv(); err != nil || string(res.Body) != "x" {
			t.Fatalf("%v, %v", res, err)
		}
	}
	st, _ = r.client.DoAction(t.Context(), &flight.Action{Type: "no"})
	_, err = st.Recv()
	code(t, err, codes.Unimplemented)
}

func TestPut_TermsAndRefusals(t *testing.T) {
	r := serve(t)
	first := record(100, 1)
	if _, err := r.put(t, at("p", "t"), `{"request_id":"000102030405060708090a0b0c0d0e0f"}`, first); err != nil {
		t.Fatal(err)
	}
	if a, err := r.put(t, at("p", "t"), `{"request_id":"000102030405060708090a0b0c0d0e0f"}`, first); err != nil || a["replayed"] != true || a["count"] != 100.0 {
		t.Fatalf("a retry: %v, %v", a, err)
	}
	_, err := r.put(t, at("p", "t"), `{"expect_length":5}`, first)
	code(t, err, codes.Aborted)
	_, err = r.put(t, at("p", "t"), `{"mode":"upsert"}`, first)
	code(t, err, codes.InvalidArgument)
	_, err = r.put(t, at("p", "t"), `nonsense`, first)
	code(t, err, codes.InvalidArgument)
	_, err = r.put(t, at("p", "t"), `{"mode":"overwrite","start":99}`, first)
	code(t, err, codes.InvalidArgument)
	_, err = r.put(t, at("p", "d"), "", first)
	code(t, err, codes.InvalidArgument)
	r.snap(t, "p/t")
	_, err = r.put(t, at("p", "t@s1"), "", first)
	code(t, err, codes.FailedPrecondition)
	if got, _ := r.all(t, at("p", "t")); got.NumRows() != 100 {
		t.Fatalf("%d rows after refusals", got.NumRows())
	}
	// Some columns of some rows.
	id := uint64(3)
	cmd, _ := proto.Marshal(&flightv1.Command{Of: &flightv1.Command_Write{Write: &flightv1.TensorWrite{Dataset: "p/t", Overwrite: true, Start: id}}})
	b := array.NewInt64Builder(memory.DefaultAllocator)
	b.AppendValues([]int64{-1, -2}, nil)
	labels := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "label", Type: arrow.PrimitiveTypes.Int64}}, nil), []arrow.Array{b.NewArray()}, 2)
	if _, err := r.put(t, &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: cmd}, "", labels); err != nil {
		t.Fatal(err)
	}
	got, _ := r.all(t, at("p", "t"))
	if v := got.Column(1).Data().Chunk(0).(*array.Int64); v.Value(3) != -1 || v.Value(4) != -2 || v.Value(5) != first.Column(1).(*array.Int64).Value(5) {
		t.Fatal("the overwrite of one column is not there")
	}
}

func TestPut_MessagesOfManyMegabytes(t *testing.T) {
	r := serve(t)
	big := record(20_000, 4) // about 20 MB in one message
	if _, err := r.put(t, at("p", "t"), "", big, record(1, 5)); err != nil {
		t.Fatal(err)
	}
	got, _ := r.all(t, at("p", "t"))
	same(t, got, array.NewTableFromRecords(big.Schema(), []arrow.Record{big, record(1, 5)}))
}

func TestPut_HostileStreamsAreErrors(t *testing.T) {
	r := serve(t)
	good := record(50, 1)
	var messages []*flight.FlightData
	w := flight.NewRecordWriter(capture{&messages}, ipc.WithSchema(good.Schema()))
	if err := w.Write(good); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		st, err := r.client.DoPut(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range messages {
			m := proto.CloneOf(m)
			if i == 0 {
				m.FlightDescriptor = at("p", "t")
			}
			for _, b := range [][]byte{m.DataHeader, m.DataBody} {
				for range rnd.IntN(4) {
					if len(b) > 0 {
						b[rnd.IntN(len(b))] ^= byte(1 << rnd.IntN(8))
					}
				}
			}
			if rnd.IntN(5) == 0 {
				m.DataBody = m.DataBody[:rnd.IntN(len(m.DataBody)+1)]
			}
			if st.Send(m) != nil {
				break
			}
		}
		_ = st.CloseSend()
		_, _ = st.Recv() // rows that happen to be well-formed are taken
	}
	if _, err := r.put(t, at("p", "t"), "", good); err != nil && status.Code(err) != codes.InvalidArgument {
		t.Fatal(err) // or the first lucky upload has defined other columns
	}
}

type capture struct{ to *[]*flight.FlightData }

func (c capture) Send(d *flight.FlightData) error {
	*c.to = append(*c.to, proto.CloneOf(d))
	return nil
}

func TestExchange_SamplesByIndex(t *testing.T) {
	for _, name := range []string{"t", "t@s1"} {
		t.Run(name, func(t *testing.T) { exchange(t, name) })
	}
}

func exchange(t *testing.T, name string) {
	r := serve(t)
	all := record(2000, 1)
	if _, err := r.put(t, at("p", "t"), "", all); err != nil {
		t.Fatal(err)
	}
	r.snap(t, "p/t")
	st, err := r.client.DoExchange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int64}}, nil)
	w := flight.NewRecordWriter(st, ipc.WithSchema(schema))
	w.SetFlightDescriptor(at("p", name))
	lists := [][]int64{{5, 1999, 0, 5}, {7}, {}}
	for _, l := range lists {
		b := array.NewInt64Builder(memory.DefaultAllocator)
		b.AppendValues(l, nil)
		if err := w.Write(array.NewRecord(schema, []arrow.Array{b.NewArray()}, int64(len(l)))); err != nil {
			t.Fatal(err)
		}
	}
	rd, err := flight.NewRecordReader(st)
	if err != nil {
		t.Fatal(err)
	}
	check := func(request int, want []int64) {
		t.Helper()
		if !rd.Next() {
			t.Fatal(rd.Err())
		}
		if got, meta := rd.Record(), string(rd.LatestAppMetadata()); int(got.NumRows()) != len(want) || meta != fmt.Sprintf(`{"request":%d,"last":true}`, request) {
			t.Fatalf("request %d: %d rows, %s", request, got.NumRows(), meta)
		}
		for k, i := range want {
			for c := range int(all.NumCols()) {
				if !array.SliceEqual(rd.Record().Column(c), int64(k), int64(k+1), all.Column(c), i, i+1) {
					t.Fatalf("request %d: row %d is not sample %d in column %d", request, k, i, c)
				}
			}
		}
	}
	for n, l := range lists {
		check(n, l)
	}
	if err := st.Send(&flight.FlightData{AppMetadata: []byte(`{"start":10,"stop":16,"step":3}`)}); err != nil {
		t.Fatal(err)
	}
	check(3, []int64{10, 13})
	if err := st.Send(&flight.FlightData{AppMetadata: []byte(`{"indices":[2000]}`)}); err != nil {
		t.Fatal(err)
	}
	if rd.Next() {
		t.Fatal("an index out of range was answered")
	}
	code(t, rd.Err(), codes.InvalidArgument)
}

func TestGet_CancelledStreamsLeaveTheServerWell(t *testing.T) {
	r := serve(t)
	if _, err := r.put(t, at("p", "t"), "", record(20_000, 1)); err != nil {
		t.Fatal(err)
	}
	r.snap(t, "p/t")
	_, info := r.all(t, at("p", "t@s1"))
	for range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		st, err := r.client.DoGet(ctx, info.Endpoint[0].Ticket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Recv(); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	r.all(t, at("p", "t"))
	r.unpinned(t)
}

func TestCancelFlightInfo_EndsItsStreams(t *testing.T) {
	r := serve(t)
	if _, err := r.put(t, at("p", "t"), "", record(20_000, 1)); err != nil {
		t.Fatal(err)
	}
	info, err := r.client.GetFlightInfo(t.Context(), at("p", "t"))
	if err != nil {
		t.Fatal(err)
	}
	cancel := func() flight.CancelStatus {
		res, err := r.client.CancelFlightInfo(t.Context(), &flight.CancelFlightInfoRequest{Info: info})
		if err != nil {
			t.Fatal(err)
		}
		return res.Status
	}
	if s := cancel(); s != flight.CancelStatusNotCancellable {
		t.Fatalf("%v without a stream", s)
	}
	st, err := r.client.DoGet(t.Context(), info.Endpoint[0].Ticket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); err != nil { // the stream waits for its reader now
		t.Fatal(err)
	}
	if s := cancel(); s != flight.CancelStatusCancelled {
		t.Fatalf("%v", s)
	}
	for {
		if _, err = st.Recv(); err != nil {
			break
		}
	}
	code(t, err, codes.Canceled)
}
