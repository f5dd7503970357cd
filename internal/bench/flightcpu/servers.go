package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"google.golang.org/grpc"

	"daos/dataset/posix"
	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/engine"
	"daos/engine/object"
	"daos/internal/address"
	"daos/loader/manifest"
	"daos/server/codec"
	dflight "daos/server/flight"
	"daos/server/pool"
)

const (
	sampleBytes = 100 << 10
	batchRows   = 35 // 3.5 MB, about what a batch of the server has
)

// catalog knows one tensor dataset, by the name of each row, and its snapshot.
type catalog struct {
	store object.Store
	epoch object.Epoch
}

func (c catalog) Resolve(_ context.Context, a address.Address) (pool.Resolved, error) {
	return pool.Resolved{
		Address: a, Store: c.store, Dataset: &pool.Dataset{ID: 1, Pool: a.Pool, Name: a.Dataset, Type: pool.TypeTensor},
		Snapshot: &pool.Snapshot{Name: a.Snapshot, Epoch: c.epoch},
	}, nil
}
func (catalog) PoolNames() []string                                       { return []string{"p"} }
func (catalog) Datasets(string) ([]*pool.Dataset, error)                  { return nil, nil }
func (catalog) Pin(context.Context, object.DatasetID, object.Epoch) error { return nil }

// server is a side's process: it prints its address, and its CPU seconds for
// each line that it reads, and ends with its standard input.
func server(name, dir, bytesOfData string) error {
	ctx := context.Background()
	size, err := strconv.Atoi(bytesOfData)
	if err != nil {
		return err
	}
	var opts []grpc.ServerOption
	if name == "ours" {
		opts = codec.ServerOptions(codec.InstallPool())
	}
	e, err := engine.Open(engine.Options{Root: filepath.Join(dir, "engine")})
	if err != nil {
		return err
	}
	defer e.Close()
	ds, err := e.CreateDataset(ctx, 1, 1)
	if err != nil {
		return err
	}
	table, ready, err := fill(ctx, ds, size)
	if err != nil {
		return err
	}
	var service flight.FlightServer = &stock{table: table, ready: ready}
	if name == "ours" {
		epoch, err := ds.ReadEpoch(ctx, 0)
		if err != nil {
			return err
		}
		lib := manifest.NewLibrary(1, manifest.MaxOpen)
		defer lib.Close()
		s, err := dflight.New(dflight.Options{
			Manifest: func(ctx context.Context, r *pool.Resolved, columns []string) (*manifest.Manifest, error) {
				m, _, _, err := lib.Open(ctx, manifest.Request{Dir: dir, Store: r.Store, Table: table, Info: manifest.Info{
					Dataset: "p/t", DatasetID: 1, Snapshot: r.Snapshot.Name, Epoch: epoch, Tensor: true, Selection: manifest.Selection{Columns: columns},
				}})
				return m, err
			},
			Catalog: catalog{ds, epoch}, Key: bytes.Repeat([]byte{1}, 32), Endpoints: 1,
			Tree: func(context.Context, *pool.Resolved) (*posix.FS, error) { return nil, errors.New("no trees here") },
		})
		if err != nil {
			return err
		}
		service = &withMemory{Server: s, ready: ready}
	}
	g := grpc.NewServer(opts...)
	flight.RegisterFlightServiceServer(g, service)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = g.Serve(l) }()
	defer g.Stop()
	if stop, err := profile(); err != nil {
		return err
	} else {
		defer stop()
	}
	fmt.Println(l.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(cpuSeconds())
	}
	return nil
}

// profile writes a CPU profile to the file that FLIGHTCPU_PROFILE names.
func profile() (stop func(), err error) {
	name := os.Getenv("FLIGHTCPU_PROFILE")
	if name == "" {
		return func() {}, nil
	}
	f, err := os.Create(fmt.Sprintf("%s.%s", name, os.Args[2]))
	if err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, pprof.StartCPUProfile(f)
}

func fill(ctx context.Context, ds object.Store, size int) (*tensor.Table, []arrow.Record, error) {
	table := tensor.Open(ds, "p/table")
	cols := []tensor.Column{{Name: "x", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{sampleBytes}}}
	if _, err := table.Define(ctx, object.RequestID{}, cols); err != nil {
		return nil, nil, err
	}
	if _, err := table.Append(ctx, tensor.AppendOptions{}, &filler{left: size / sampleBytes}); err != nil {
		return nil, nil, err
	}
	ready, err := batches(ctx, table)
	return table, ready, err
}

// filler makes random samples, some MB at a time.
type filler struct{ left int }

func (f *filler) Next(context.Context) (*tensor.Rows, error) {
	n := min(f.left, 100)
	if n == 0 {
		return nil, io.EOF
	}
	f.left -= n
	b := make([]byte, n*sampleBytes)
	for i := 0; i < len(b); i += 64 {
		b[i] = byte(rand.Uint32())
	}
	return &tensor.Rows{N: n, Columns: []tensor.Data{{Values: b}}}, nil
}

// batches reads a part of the table into memory, as ready record batches.
func batches(ctx context.Context, t *tensor.Table) ([]arrow.Record, error) {
	r, err := t.Read(ctx, 0, tensor.Selection{Stop: 70 * batchRows})
	if err != nil {
		return nil, err
	}
	var out []arrow.Record
	return out, eachBatch(ctx, r, func(rec arrow.Record) error {
		out = append(out, rec)
		return nil
	})
}

// eachBatch cuts what a reader gives into record batches over its memory.
func eachBatch(ctx context.Context, r *tensor.Reader, fn func(arrow.Record) error) error {
	schema := tensorarrow.SchemaOf(r.Columns())
	for {
		rows, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for from := 0; from < rows.N; from += batchRows {
			to := min(from+batchRows, rows.N)
			part := &tensor.Rows{N: to - from, Columns: []tensor.Data{{Values: rows.Columns[0].Values[from*sampleBytes : to*sampleBytes]}}}
			rec, err := tensorarrow.RecordOf(schema, r.Columns(), part)
			if err != nil {
				return err
			}
			if err := fn(rec); err != nil {
				return err
			}
		}
	}
}

// withMemory is the real service, but for the tickets of the row "writer".
type withMemory struct {
	*dflight.Server
	ready []arrow.Record
}

func (w *withMemory) GetFlightInfo(ctx context.Context, d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	if d.Path[1] == "writer" {
		return memoryInfo(), nil
	}
	return w.Server.GetFlightInfo(ctx, d)
}

func (w *withMemory) DoGet(t *flight.Ticket, out flight.FlightService_DoGetServer) error {
	if string(t.Ticket) != "writer" {
		return w.Server.DoGet(t, out)
	}
	return dflight.SendRecords(out, w.ready[0].Schema(), w.ready)
}

func memoryInfo() *flight.FlightInfo {
	return &flight.FlightInfo{Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: []byte("writer")}}}}
}

// stock is what the documentation of arrow/go shows: its writer on its server.
type stock struct {
	flight.BaseFlightServer
	table *tensor.Table
	ready []arrow.Record
}

func (s *stock) GetFlightInfo(ctx context.Context, d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	if d.Path[1] == "writer" {
		return memoryInfo(), nil
	}
	i, err := s.table.Describe(ctx, 0)
	return &flight.FlightInfo{TotalRecords: int64(i.Length), Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: []byte("table")}}}}, err
}

func (s *stock) DoGet(t *flight.Ticket, out flight.FlightService_DoGetServer) error {
	w := flight.NewRecordWriter(out, ipc.WithSchema(s.ready[0].Schema()))
	defer w.Close()
	if string(t.Ticket) == "writer" {
		for _, r := range s.ready {
			if err := w.Write(r); err != nil {
				return err
			}
		}
		return nil
	}
	r, err := s.table.Read(out.Context(), 0, tensor.Selection{Stop: 1 << 62})
	if err != nil {
		return err
	}
	return eachBatch(out.Context(), r, func(rec arrow.Record) error { return w.Write(rec) })
}

func (s *stock) DoExchange(both flight.FlightService_DoExchangeServer) error {
	w := flight.NewRecordWriter(both, ipc.WithSchema(s.ready[0].Schema()))
	defer w.Close()
	for {
		d, err := both.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var q struct{ Indices []uint64 }
		if err := json.Unmarshal(d.AppMetadata, &q); err != nil {
			return err
		}
		r, err := s.table.Read(both.Context(), 0, tensor.Selection{ByIndex: true, Indices: q.Indices})
		if err != nil {
			return err
		}
		if err := eachBatch(both.Context(), r, func(rec arrow.Record) error { return w.Write(rec) }); err != nil {
			return err
		}
	}
}
