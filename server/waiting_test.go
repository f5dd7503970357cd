package server_test

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"

	systemv1 "daos/proto/gen/daos/system/v1"
)

// waiter is a service whose call says when it has begun, and ends when it may.
type waiter struct {
	entered chan<- struct{}
	release <-chan struct{}
}

func (w *waiter) wait(ctx context.Context) (*systemv1.PingResponse, error) {
	w.entered <- struct{}{}
	select {
	case <-w.release:
		return &systemv1.PingResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var waiting = grpc.ServiceDesc{
	ServiceName: "daos.test.Waiting", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Wait",
		Handler: func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			req := &systemv1.PingRequest{}
			if err := dec(req); err != nil {
				return nil, err
			}
			return interceptor(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/daos.test.Waiting/Wait"}, func(ctx context.Context, _ any) (any, error) {
				return srv.(*waiter).wait(ctx)
			})
		},
	}},
}

// probeDialer finds out whether anybody takes connections.
type probeDialer struct{}

func (*probeDialer) dial(addr string) (net.Conn, error) {
	return net.DialTimeout("tcp", addr, time.Second)
}
