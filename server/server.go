// Package server assembles a server: root, control store, engine, services and
// listeners, from one configuration. The parts are in its subpackages; here is
// only what starts, what stops, and in which order.
//
// Start with Run, or with New for a server inside another process (tests). The
// wire is specified in docs/protocol.md, the keys in docs/configuration.md.
package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"crypto/rand"

	"daos/dataset/posix"
	"daos/engine"
	"daos/internal/bufpool"
	"daos/internal/client"
	"daos/internal/fault"
	"daos/internal/sqltask"
	"daos/internal/version"
	"daos/server/api"
	"daos/server/auth"
	"daos/server/codec"
	"daos/server/config"
	"daos/server/control"
	"daos/server/feed"
	"daos/server/flight"
	"daos/server/mux"
	"daos/server/pool"
	"daos/server/service"
	"daos/server/telemetry"
)

// Options are what does not come from the configuration. The zero value is that
// of a process of its own.
type Options struct {
	Log    *slog.Logger
	Getenv func(string) string // nil: os.Getenv; for the runtime folder
	Pool   *bufpool.Pool       // of gRPC's messages; nil: one of its own
	// Worker is the command that runs an SQL statement; nil: this binary's own.
	Worker []string
	// Register adds services of a test to both transports.
	Register func(grpc.ServiceRegistrar)
}

// Server is a server that has opened its root and listens. Serve makes it serve.
type Server struct {
	cfg     config.Config
	log     *slog.Logger
	started time.Time

	root      *root
	control   *control.Local
	engine    *engine.Engine
	pools     *pool.Service
	datasets  *service.Datasets
	loader    *service.Loader
	views     *service.Views
	sql       *service.SQL
	telemetry *telemetry.Telemetry
	guard     *api.Guard
	services  api.Services

	grpc     *grpc.Server
	feed     *feed.Server
	http     *http.Server
	muxes    []*mux.Mux
	links    []link
	registry *registry // nil: the runtime folder can't be used
	presence *presence

	background context.Context //nolint:containedctx // of the upkeep, ended by Drain
	stop       context.CancelFunc
	working    sync.WaitGroup
	draining   atomic.Bool
	drained    sync.Once
	drainErr   error
}

// link is a listener and the multiplexer that takes its connections.
type link struct {
	net.Listener
	mux  *mux.Mux
	name string // as a client writes it
	path string // of a unix socket
}

// New opens everything and listens, but serves nobody yet. Drain must be called.
func New(ctx context.Context, cfg config.Config, o Options) (_ *Server, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Pool == nil {
		o.Pool = new(bufpool.Pool)
	}
	s := &Server{cfg: cfg, log: o.Log, started: time.Now()}
	s.background, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeAll(context.WithoutCancel(ctx)))
		}
	}()
	opened := s.sayWhileSlow("still opening the storage; a crash is being recovered from, or the disk is full")
	token, err := s.openStorage(ctx)
	opened()
	if err != nil {
		return nil, err
	}
	if err := s.openServices(o, token); err != nil {
		return nil, err
	}
	if err := s.listen(o); err != nil {
		return nil, err
	}
	return s, nil
}

// sayWhileSlow logs a line every few seconds until it is stopped.
func (s *Server) sayWhileSlow(what string) (stop func()) {
	done := make(chan struct{})
	s.working.Go(func() {
		t := time.NewTicker(5 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				s.log.Warn(what, "root", s.cfg.Root, "for", time.Since(s.started).Round(time.Second))
			case <-done:
				return
			}
		}
	})
	return func() { close(done) }
}

// openStorage opens what lies in the root and returns the token.
func (s *Server) openStorage(ctx context.Context) (token string, err error) {
	if s.root, err = openRoot(s.cfg.Root, s.log); err != nil {
		return "", err
	}
	if token, err = auth.LoadToken(s.cfg.Root); err != nil {
		return "", err
	}
	if s.control, err = control.Open(s.root.path(controlDir), control.Options{}); err != nil {
		return "", err
	}
	s.engine, err = engine.Open(engine.Options{
		Root: s.root.path(engineDir), Targets: s.cfg.Targets, Logger: s.log.With("part", "engine"),
		Window: s.cfg.Engine.Window, SweepEvery: s.cfg.Engine.Sweep, CacheBytes: s.cfg.Engine.Cache,
		Marker: posix.Mark,
	})
	if err != nil {
		return "", err
	}
	s.pools, err = pool.Open(ctx, pool.Options{Control: s.control, Engine: newStorage(s.engine, s.log), Log: s.log})
	return token, err
}

// statements says how SQL is run: by this binary again, in a process for each.
func (s *Server) statements(worker []string, token string) (*service.SQL, error) {
	if worker == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, fault.New(fault.Internal, "server.start", "", "the name of this binary is not known").Because(err)
		}
		worker = []string{self, sqltask.Command}
	}
	dir := s.root.path(queryDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.KindOf(err), "server.start", dir, "the folder of statements can't be made").Because(err)
	}
	out := &service.SQL{
		Command: worker, Socket: s.Socket, Token: token, TempRoot: dir, Memory: uint64(s.cfg.Query.Memory), TempBytes: uint64(s.cfg.Query.Temp),
		Time: s.cfg.Query.Time, Threads: s.cfg.Query.Threads, Most: s.cfg.Query.Statements,
	}
	s.sql = out
	return out, out.CleanTemp()
}

// openServices makes the services and the servers of the transports.
func (s *Server) openServices(o Options, token string) error {
	authenticator, err := auth.New(token, uint32(os.Getuid()))
	if err != nil {
		return err
	}
	if s.telemetry, err = telemetry.New(s.background, telemetry.Options{Version: version.Version, OTLPEndpoint: s.cfg.OTLP.Endpoint, OTLPInsecure: s.cfg.OTLP.Insecure}); err != nil {
		return err
	}
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return fault.New(fault.Internal, "server.start", "", "no randomness").Because(err)
	}
	incarnation := binary.LittleEndian.Uint64(raw[:]) | 1
	s.guard = &api.Guard{
		Auth: authenticator, Telemetry: s.telemetry, Log: s.log, UnaryTimeout: s.cfg.Limits.CallTimeout, StreamTimeout: s.cfg.Limits.StreamTimeout,
	}
	s.datasets = service.NewDatasets(s.pools, incarnation, nil)
	manifests := s.root.path(manifestsDir)
	if err := os.MkdirAll(manifests, 0o700); err != nil {
		return fault.New(fault.KindOf(err), "server.start", manifests, "the folder of the manifests can't be made").Because(err)
	}
	statements, err := s.statements(o.Worker, token)
	if err != nil {
		return err
	}
	s.loader = service.NewLoader(s.datasets, manifests, incarnation>>1)
	s.presence = newPresence(s.cfg.Ephemeral, s.cfg.Linger)
	s.services = api.Services{
		System:  &service.System{Info: s, Datasets: s.datasets},
		Pool:    &service.Pools{Service: s.pools},
		Dataset: &service.DatasetService{Datasets: s.datasets},
		Posix:   &service.Posix{Datasets: s.datasets},
		KV:      &service.KV{Datasets: s.datasets},
		Array:   &service.Array{Datasets: s.datasets},
		Tensor:  &service.Tensor{Datasets: s.datasets},
		Scan:    &service.Scan{Datasets: s.datasets},
		Query:   &service.Query{Datasets: s.datasets, Running: service.NewQueries(incarnation), SQL: statements, Info: s, Loader: s.loader},
		Loader:  s.loader,
	}
	s.views = &service.Views{Datasets: s.datasets, Loader: s.loader, Query: s.services.Query.(*service.Query)}
	s.services.View = s.views
	s.grpc = grpc.NewServer(append(codec.ServerOptions(o.Pool),
		grpc.Creds(auth.Transport()),
		grpc.InTapHandle(s.guard.Tap),
		grpc.MaxRecvMsgSize(s.cfg.Limits.Message+1<<20), // and what is around the payload
		grpc.MaxConcurrentStreams(uint32(s.cfg.Limits.Streams)),
		grpc.MaxHeaderListSize(64<<10),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.guard.Unary()),
		grpc.ChainStreamInterceptor(s.guard.Stream()),
	)...)
	registrar := feed.NewRegistrar()
	both := feed.Tee(s.grpc, registrar)
	s.services.RegisterAll(both)
	if o.Register != nil {
		o.Register(both)
	}
	if s.feed, err = feed.New(feed.Options{
		Registrar: registrar, Unary: s.guard.Unary(), Stream: s.guard.Stream(), Auth: authenticator, Batches: s.loader, Incarnation: incarnation,
		Now: s.now, Trace: s.telemetry.WithTraceparent, OnBatch: s.telemetry.Batch, Log: s.log,
		OnConns: func(n int) { s.presence.set("feed", n) },
		Limits: feed.Limits{
			Conns: s.cfg.Limits.Connections, ConnBytes: s.cfg.Limits.ConnBytes, TotalBytes: s.cfg.Limits.TotalBytes, CallTimeout: s.cfg.Limits.CallTimeout,
		},
	}); err != nil {
		return err
	}
	fl, err := flight.New(flight.Options{
		Catalog: s.pools, Tree: s.datasets.OpenTree, Pairs: s.datasets.OpenKV, Manifest: s.loader.Table, View: s.loader.View, Queries: service.FlightQueries{Query: s.services.Query.(*service.Query)}, Key: ticketKey(token), Actions: flight.DatasetActions(s.services.Dataset), Log: s.log,
	})
	if err != nil {
		return err
	}
	fl.Register(s.grpc)
	s.http = &http.Server{
		Handler: s.web(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return s.gauges() // last: they may be read from now on
}

// ticketKey signs Flight's tickets. It comes from the token, so that it is the
// same after a restart and another one when the token is changed.
func ticketKey(token string) []byte {
	h := hmac.New(sha256.New, []byte(token))
	h.Write([]byte("daos flight tickets 1"))
	return h.Sum(nil)
}

// listen opens the unix socket and the TCP port.
func (s *Server) listen(o Options) error {
	tlsConfig, err := loadTLS(s.cfg)
	if err != nil {
		return err
	}
	local := mux.New(s.feed.ServeConn, mux.Options{})
	port := local
	s.muxes = append(s.muxes, local)
	if tlsConfig != nil {
		port = mux.New(s.feed.ServeConn, mux.Options{TLS: tlsConfig})
		s.muxes = append(s.muxes, port)
	}
	if s.registry, err = openRegistry(s.cfg.Root, o.Getenv); err != nil {
		if s.cfg.Socket == "" && s.cfg.Listen == config.NoListen {
			return err
		}
		s.log.Warn("clients will not find this server by themselves", "err", err)
		s.registry = nil
	}
	path := s.cfg.Socket
	if path == "" && s.registry != nil {
		path = s.registry.socket()
	}
	if path != "" {
		l, err := listenUnix(path)
		if err != nil {
			return err
		}
		s.links = append(s.links, link{Listener: l, mux: local, name: "unix:" + path, path: path})
	}
	l, err := listenTCP(s.cfg)
	if err != nil {
		return err
	}
	if l != nil {
		s.links = append(s.links, link{Listener: l, mux: port, name: l.Addr().String()})
	}
	return nil
}

// Serve serves until ctx ends, an ephemeral server is alone, or a listener
// fails; it does not stop what it has begun: that is Drain's. ready is called
// when clients can come.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	failed := make(chan error, 2*len(s.muxes)+len(s.links))
	report := func(err error) {
		if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			failed <- err
		}
	}
	for i, m := range s.muxes {
		calls := &countListener{Listener: m.HTTP2(), max: s.cfg.Limits.Connections, changed: func(n int) { s.presence.set(fmt.Sprintf("grpc %d", i), n) }}
		s.working.Go(func() { report(s.grpc.Serve(calls)) })
		s.working.Go(func() { report(s.http.Serve(m.HTTP1())) })
	}
	for _, l := range s.links {
		s.working.Go(func() { report(l.mux.Serve(l.Listener)) })
	}
	s.working.Go(func() { s.upkeep(s.background) })
	if err := s.register(); err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.presence.gone:
		s.log.Info("the last client is gone")
		return nil
	case err := <-failed:
		return fault.New(fault.KindOf(err), "server.serve", "", "a listener failed").Because(err)
	}
}

func (s *Server) register() error {
	if s.registry == nil {
		return nil
	}
	return s.registry.write(client.Entry{
		Root: s.cfg.Root, Socket: s.Socket(), Address: s.Addr(), TokenFile: s.root.path(auth.TokenFile), PID: int64(os.Getpid()),
		Started: s.started.UnixNano(), Version: version.Version, Ephemeral: s.cfg.Ephemeral,
	})
}

// upkeep removes what nobody needs any more, now and then.
func (s *Server) upkeep(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if err := s.pools.Collect(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "can't collect control state", "err", err)
		}
		more, err := s.datasets.Collect(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "can't collect in datasets", "err", err)
		}
		if err := s.loader.Collect(); err != nil {
			s.log.ErrorContext(ctx, "can't remove manifests", "err", err)
		}
		if err := s.views.Collect(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "can't remove lists of views", "err", err)
		}
		pause := s.cfg.Collect
		if more && err == nil { // a large removal: go on soon
			pause = min(pause, 20*time.Millisecond)
		}
		t.Reset(pause)
	}
}

// Addr is the HOST:PORT that it listens on, empty if there is none.
func (s *Server) Addr() string {
	for _, l := range s.links {
		if l.path == "" {
			return l.name
		}
	}
	return ""
}

// Socket is the path of its unix socket, empty if there is none.
func (s *Server) Socket() string {
	for _, l := range s.links {
		if l.path != "" {
			return l.path
		}
	}
	return ""
}

// Drain ends the server: no new connections and calls, those under way may
// finish until ctx ends, then everything is closed. It may be called again.
func (s *Server) Drain(ctx context.Context) error {
	s.drained.Do(func() {
		s.draining.Store(true)
		s.drainErr = s.closeAll(ctx)
	})
	return s.drainErr
}
