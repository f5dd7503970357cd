package client

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"daos/internal/bufpool"
	"daos/internal/fault"
	arrayv1 "daos/proto/gen/daos/array/v1"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	kvv1 "daos/proto/gen/daos/kv/v1"
	loaderv1 "daos/proto/gen/daos/loader/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
	systemv1 "daos/proto/gen/daos/system/v1"
	tensorv1 "daos/proto/gen/daos/tensor/v1"
	viewv1 "daos/proto/gen/daos/view/v1"

	"google.golang.org/grpc/experimental"
)

// MaxMessage is the largest gRPC message that a client takes.
const MaxMessage = 80 << 20

// Options of a Client; the zero value has sensible ones.
type Options struct {
	// Timeout of a unary call whose context has no deadline; 0: two minutes.
	Timeout time.Duration
	// RetryFor is how long a call that may be repeated is repeated while the
	// server is overloaded or away; 0: three seconds. A server that was never
	// reached is not waited for.
	RetryFor time.Duration
	// UserAgent goes into the server's logs.
	UserAgent string
}

// Client is a connection to one server with a stub for each service. It is
// safe for concurrent use. Close ends it.
type Client struct {
	Pools    poolv1.PoolServiceClient
	Datasets datasetv1.DatasetServiceClient
	Posix    posixv1.PosixServiceClient
	Scan     scanv1.ScanServiceClient
	Query    queryv1.QueryServiceClient
	KV       kvv1.KvServiceClient
	Array    arrayv1.ArrayServiceClient
	Tensor   tensorv1.TensorServiceClient
	Loader   loaderv1.LoaderServiceClient
	View     viewv1.ViewServiceClient
	System   systemv1.SystemServiceClient

	server  Server
	opts    Options
	limited bool // the timeout was asked for, it is not the default
	conn    *grpc.ClientConn
	seen    atomic.Uint64 // highest epoch met in an answer
	met     atomic.Bool   // the server has answered once
}

// Open makes a client of s. It connects at the first call.
func Open(s Server, o Options) (*Client, error) {
	limited := o.Timeout > 0
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Minute
	}
	if o.RetryFor == 0 {
		o.RetryFor = 3 * time.Second
	}
	c := &Client{server: s, opts: o, limited: limited}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, s.Network, s.Addr)
		}),
		grpc.WithUserAgent(o.UserAgent),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithUnaryInterceptor(c.unary),
		grpc.WithStreamInterceptor(c.stream),
		// Windows as large as a few messages: the defaults (64 KiB) cost a round trip each 64 KiB.
		grpc.WithInitialWindowSize(16 << 20),
		grpc.WithInitialConnWindowSize(32 << 20),
		grpc.WithReadBufferSize(256 << 10),
		grpc.WithWriteBufferSize(256 << 10),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		experimental.WithBufferPool(new(bufpool.Pool)),
	}
	// The target's name is never resolved: the dialer above knows the address.
	conn, err := grpc.NewClient("passthrough:///daos", dial...)
	if err != nil {
		return nil, fault.New(fault.Internal, "client.open", s.Name(), "no connection").Because(err)
	}
	c.conn = conn
	c.Pools = poolv1.NewPoolServiceClient(conn)
	c.Datasets = datasetv1.NewDatasetServiceClient(conn)
	c.Posix = posixv1.NewPosixServiceClient(conn)
	c.Scan = scanv1.NewScanServiceClient(conn)
	c.Query = queryv1.NewQueryServiceClient(conn)
	c.KV = kvv1.NewKvServiceClient(conn)
	c.Array = arrayv1.NewArrayServiceClient(conn)
	c.Tensor = tensorv1.NewTensorServiceClient(conn)
	c.Loader = loaderv1.NewLoaderServiceClient(conn)
	c.View = viewv1.NewViewServiceClient(conn)
	c.System = systemv1.NewSystemServiceClient(conn)
	return c, nil
}

// Server is the server that c talks to.
func (c *Client) Server() Server { return c.server }

// Seen is the highest epoch met in an answer.
func (c *Client) Seen() uint64 { return c.seen.Load() }

// Close ends the connection; calls under way fail.
func (c *Client) Close() error { return c.conn.Close() }
