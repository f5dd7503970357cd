package flight

import (
	"context"
	"log/slog"
	"runtime"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"daos/dataset/kv"
	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/loader/manifest"
	"daos/server/api"
	"daos/server/pool"
)

// Catalog finds datasets; *pool.Service is one.
type Catalog interface {
	Resolve(ctx context.Context, a address.Address) (pool.Resolved, error)
	Datasets(pool string) ([]*pool.Dataset, error)
	PoolNames() []string
	// Pin keeps an epoch readable for pool.PinTTL.
	Pin(ctx context.Context, id object.DatasetID, epoch object.Epoch) error
}

// Options are what a Server needs. Catalog, Tree and Key must be there.
type Options struct {
	Catalog Catalog
	// Tree opens the tree of a POSIX dataset.
	Tree func(ctx context.Context, r *pool.Resolved) (*posix.FS, error)
	// Pairs opens a KV dataset; nil: those are not served.
	Pairs func(r *pool.Resolved) (*kv.Dataset, error)
	// Manifest opens the manifest of a tensor dataset at its snapshot, from
	// which samples are read with the least work; nil: they are read through
	// the table, as those of a live dataset are.
	Manifest func(ctx context.Context, r *pool.Resolved, columns []string) (*manifest.Manifest, error)
	// View opens the manifest of a view of a dataset, at its snapshot; nil: views
	// are not served.
	View func(ctx context.Context, dataset, name string, columns []string) (*manifest.Manifest, error)
	// Queries runs scans of tables and statements; nil: those are not served.
	Queries Queries
	// Key signs tickets: 32 bytes, the same after a restart.
	Key []byte
	// Actions are what DoAction can do beside CancelFlightInfo.
	Actions []Action
	// Endpoints is how many pieces a dataset is offered in; 0: one a processor.
	Endpoints int
	// Uploads is how many DoPut calls may run at a time; each holds some tens
	// of MiB. Others wait. 0: 16.
	Uploads int
	Log     *slog.Logger // nil: nothing is logged
}

// Server implements the Flight service.
type Server struct {
	flight.BaseFlightServer
	o       Options
	actions map[string]Action
	running running
	buffers buffers
	uploads chan struct{} // a place for each DoPut under way
}

// New returns a Server.
func New(o Options) (*Server, error) {
	if o.Catalog == nil || o.Tree == nil || len(o.Key) < 16 {
		return nil, fault.New(fault.Internal, "flight.new", "", "a Flight server needs a catalogue, a way to open trees and a key")
	}
	if o.Endpoints <= 0 {
		o.Endpoints = runtime.GOMAXPROCS(0)
	}
	if o.Uploads <= 0 {
		o.Uploads = 16
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, actions: map[string]Action{}, uploads: make(chan struct{}, o.Uploads)}
	s.running.calls = map[string]map[*context.CancelCauseFunc]struct{}{}
	for _, a := range s.allActions() {
		s.actions[a.Name] = a
	}
	return s, nil
}

// Register adds the service to a gRPC server that was made with
// codec.ServerOptions: another one can't send what this sends.
func (s *Server) Register(g *grpc.Server) { flight.RegisterFlightServiceServer(g, s) }

// Handshake answers pyarrow's authenticate_basic_token: the password is the
// token, and comes back as the bearer token of all further calls. The
// interceptors have checked it already.
func (s *Server) Handshake(stream flight.FlightService_HandshakeServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	token := ""
	if v := md.Get("authorization"); len(v) > 0 {
		token = api.Token(v[0])
	}
	return stream.SendHeader(metadata.Pairs("authorization", "Bearer "+token))
}

// running are the DoGet calls under way, by ticket, so that they can be
// cancelled by it.
type running struct {
	mu    sync.Mutex
	calls map[string]map[*context.CancelCauseFunc]struct{}
}

// add notes a call; the function returned ends it.
func (r *running) add(ctx context.Context, ticket string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls[ticket] == nil {
		r.calls[ticket] = map[*context.CancelCauseFunc]struct{}{}
	}
	r.calls[ticket][&cancel] = struct{}{}
	return ctx, func() {
		cancel(nil)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.calls[ticket], &cancel)
		if len(r.calls[ticket]) == 0 {
			delete(r.calls, ticket)
		}
	}
}

// cancel ends the calls of a ticket and says how many there were.
func (r *running) cancel(ticket string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for c := range r.calls[ticket] {
		(*c)(fault.New(fault.Canceled, "flight.get", "", "the call was cancelled by CancelFlightInfo"))
		n++
	}
	return n
}
