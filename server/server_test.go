package server_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	datasetv1 "daos/proto/gen/daos/dataset/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
	"daos/server"
	"daos/server/config"
	"daos/server/wire"
)

// site is a place for a server: a root and a runtime folder.
type site struct {
	t       *testing.T
	root    string
	runtime string
	edit    func(*config.Config) // of keys that have no flag; may be nil
}

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{t: t, root: filepath.Join(t.TempDir(), "root"), runtime: shortDir(t)}
}

// shortDir is a temporary folder with a path short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (s *site) config(args ...string) config.Config {
	s.t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.Flags(fs)
	if err := fs.Parse(append([]string{"--root", s.root, "--targets", "2", "--listen", "127.0.0.1:0"}, args...)); err != nil {
		s.t.Fatal(err)
	}
	c, err := config.Load(fs, func(string) (string, bool) { return "", false })
	if err != nil {
		s.t.Fatal(err)
	}
	if s.edit != nil {
		s.edit(&c)
	}
	return c
}

func (s *site) getenv(name string) string {
	if name == "XDG_RUNTIME_DIR" {
		return s.runtime
	}
	return ""
}

// running is a server that serves until the test ends.
type running struct {
	*server.Server
	site *site
	done chan error
	stop context.CancelFunc
}

// start starts a server in this process, on real sockets.
func (s *site) start(o server.Options, args ...string) *running {
	s.t.Helper()
	o.Getenv = s.getenv
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(testWriter{s.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	srv, err := server.New(s.t.Context(), s.config(args...), o)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Server: srv, site: s, done: make(chan error, 1), stop: stop}
	ready := make(chan struct{})
	go func() { r.done <- srv.Serve(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-r.done:
		s.t.Fatalf("the server ended before it was ready: %v", err)
	}
	s.t.Cleanup(r.end)
	return r
}

func (r *running) end() {
	r.site.t.Helper()
	r.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Drain(ctx); err != nil {
		r.site.t.Errorf("drain: %v", err)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) { w.t.Logf("%s", b); return len(b), nil }

func (s *site) token() string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.root, "token"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b[:64])
}

// dial connects gRPC to an address; token may be empty.
func dial(t *testing.T, target, token string) *grpc.ClientConn {
	t.Helper()
	o := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if token != "" {
		add := func(ctx context.Context) context.Context {
			return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
		o = append(o,
			grpc.WithUnaryInterceptor(func(ctx context.Context, m string, req, resp any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				return invoke(add(ctx), m, req, resp, cc, opts...)
			}),
			grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, m string, s grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
				return s(add(ctx), d, cc, m, opts...)
			}))
	}
	cc, err := grpc.NewClient(target, o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(wire.Fault(err))
		}
		return v
	}
}

func TestFirstLight(t *testing.T) {
	s := newSite(t)
	r := s.start(server.Options{})
	ctx := t.Context()
	cc := dial(t, "unix:"+r.Socket(), "")
	pools, datasets, files := poolv1.NewPoolServiceClient(cc), datasetv1.NewDatasetServiceClient(cc), posixv1.NewPosixServiceClient(cc)
	must[*poolv1.CreatePoolResponse](t)(pools.CreatePool(ctx, &poolv1.CreatePoolRequest{Name: "p", QuotaBytes: 1 << 30}))
	must[*datasetv1.CreateDatasetResponse](t)(datasets.CreateDataset(ctx, &datasetv1.CreateDatasetRequest{Dataset: "p/d", Type: datasetv1.Type_TYPE_POSIX}))
	w := must[*posixv1.CreateResponse](t)(files.Create(ctx, &posixv1.CreateRequest{Dataset: "p/d", Path: []byte("a/b"), Parents: true, Payload: []byte("hello")}))
	snap := must[*datasetv1.CreateSnapshotResponse](t)(datasets.CreateSnapshot(ctx, &datasetv1.CreateSnapshotRequest{Dataset: "p/d", Name: "s", Seen: w.GetChanged().GetEpoch()}))
	must[*posixv1.WriteResponse](t)(files.Write(ctx, &posixv1.WriteRequest{Dataset: "p/d", Path: []byte("a/b"), Payload: []byte("HELLO!")}))

	r.end() // and again
	r = s.start(server.Options{})
	cc = dial(t, r.Addr(), s.token())
	files = posixv1.NewPosixServiceClient(cc)
	for dataset, want := range map[string]string{"p/d": "HELLO!", "p/d@s": "hello"} {
		got := must[*posixv1.ReadResponse](t)(files.Read(ctx, &posixv1.ReadRequest{Dataset: dataset, Path: []byte("a/b"), Length: 100}))
		if string(got.GetPayload()) != want {
			t.Errorf("%s reads %q, want %q", dataset, got.GetPayload(), want)
		}
	}
	if got := must[*posixv1.ReadResponse](t)(files.Read(ctx, &posixv1.ReadRequest{Dataset: "p/d@s", Path: []byte("a/b"), Length: 1})); got.GetEpoch() != snap.GetSnapshot().GetEpoch() {
		t.Errorf("read at epoch %d, the snapshot is %d", got.GetEpoch(), snap.GetSnapshot().GetEpoch())
	}
}
