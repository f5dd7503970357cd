package api

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"daos/internal/fault"
	"daos/server/auth"
	"daos/server/telemetry"
	"daos/server/wire"
)

// Default time limits of a call whose caller named none.
const (
	UnaryTimeout  = 60 * time.Second
	StreamTimeout = 24 * time.Hour
)

// Guard is the gate of every call: who calls, how long it may take, what it is
// counted as, and what happens when it panics. Every method needs an
// authenticated caller; there is no list of exceptions to forget an entry in.
type Guard struct {
	Auth          *auth.Authenticator
	Telemetry     *telemetry.Telemetry
	Log           *slog.Logger
	UnaryTimeout  time.Duration // 0: UnaryTimeout
	StreamTimeout time.Duration // 0: StreamTimeout

	refused struct{ count, logged atomic.Int64 } // callers, and when one was logged last (unix seconds)
}

// refuse logs a refused caller, at most one a second: a stranger must not be
// able to fill the log.
func (g *Guard) refuse(ctx context.Context, method string, err error) {
	n, now := g.refused.count.Add(1), time.Now().Unix()
	if last := g.refused.logged.Load(); last != now && g.refused.logged.CompareAndSwap(last, now) {
		g.Log.WarnContext(ctx, "call refused", "op", method, "peer", auth.PeerFromContext(ctx).Addr, "err", err, "refused_so_far", n)
	}
}

// Do runs one call behind the gate. A transport that authenticates connections
// instead of calls (the feed, at HELLO) has put auth.WithIdentity into ctx;
// else the token is looked for in gRPC's metadata. The returned error is a
// fault, not a status.
func (g *Guard) Do(ctx context.Context, method string, limit time.Duration, fn func(context.Context) error) (err error) {
	if _, ok := auth.IdentityOf(ctx); !ok {
		md, _ := metadata.FromIncomingContext(ctx)
		id, err := g.Auth.Check(Token(first(md, "authorization")), auth.PeerFromContext(ctx))
		if err != nil {
			g.refuse(ctx, method, err)
			return err
		}
		ctx = g.Telemetry.WithTraceparent(auth.WithIdentity(ctx, id), first(md, "traceparent"))
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	ctx, end := g.Telemetry.Start(ctx, method)
	defer func() {
		if p := recover(); p != nil {
			err = g.panicked(ctx, method, p)
		}
		end(err)
	}()
	err = wire.Fault(fn(ctx))
	if fault.Is(err, fault.Internal, fault.Corrupt, fault.DataLoss) {
		g.Log.ErrorContext(ctx, "call failed", "op", method, "err", err)
	} else if err != nil {
		g.Log.DebugContext(ctx, "call failed", "op", method, "err", err)
	}
	return err
}

// Tap refuses a gRPC call when its header arrives: who may not call must not
// make the server take a message either. Do checks again, for all transports.
func (g *Guard) Tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if _, err := g.Auth.Check(Token(first(info.Header, "authorization")), auth.PeerFromContext(ctx)); err != nil {
		g.refuse(ctx, info.FullMethodName, err)
		return nil, wire.Status(err)
	}
	return ctx, nil
}

// panicked answers a panic of a handler: the log has the stack, the caller the
// number to look for.
func (g *Guard) panicked(ctx context.Context, method string, p any) error {
	var raw [6]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
	id := hex.EncodeToString(raw[:])
	g.Log.ErrorContext(ctx, "panic in a call", "op", method, "id", id, "panic", p, "stack", string(debug.Stack()))
	return fault.New(fault.Internal, method, "", "the server failed at this call (id %s)", id).
		Do("look for id %s in the server's log and report it", id)
}

// Unary guards unary calls. Errors become statuses.
func (g *Guard) Unary() grpc.UnaryServerInterceptor {
	limit := g.UnaryTimeout
	if limit <= 0 {
		limit = UnaryTimeout
	}
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
		err = g.Do(ctx, info.FullMethod, limit, func(ctx context.Context) (err error) {
			resp, err = handler(ctx, req)
			return err
		})
		if err != nil {
			return nil, wire.Status(err)
		}
		return resp, nil
	}
}

// Stream guards streaming calls. Errors become statuses.
func (g *Guard) Stream() grpc.StreamServerInterceptor {
	limit := g.StreamTimeout
	if limit <= 0 {
		limit = StreamTimeout
	}
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		err := wire.Status(g.Do(ss.Context(), info.FullMethod, limit, func(ctx context.Context) error {
			return handler(srv, &guarded{ServerStream: ss, ctx: ctx})
		}))
		if strings.HasPrefix(info.FullMethod, flightService) && ss.Context().Err() == nil {
			return aborted(err)
		}
		return err
	}
}

// flightService is how the methods of Arrow Flight begin.
const flightService = "/arrow.flight.protocol."

// aborted gives a call of Flight that was ended here the code ABORTED; its detail
// says CANCELED as always. pyarrow takes the code CANCELLED in the middle of a
// stream for its own user's Ctrl-C, and interrupts the main thread of the process.
func aborted(err error) error {
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.Canceled {
		return err
	}
	p := st.Proto()
	p.Code = int32(codes.Aborted)
	return status.ErrorProto(p)
}

// guarded is a stream with the context that Do has made.
type guarded struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // a ServerStream is asked for its context
}

func (s *guarded) Context() context.Context { return s.ctx }

// Token is the token in an authorization header: after Bearer, or as the
// password of Basic (Flight clients log in so). A header that says something
// else is a wrong token, not a missing one.
func Token(header string) string {
	scheme, rest, ok := strings.Cut(header, " ")
	switch {
	case ok && rest != "" && strings.EqualFold(scheme, "bearer"):
		return rest
	case ok && strings.EqualFold(scheme, "basic"):
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
		if err != nil {
			return header
		}
		if _, password, ok := strings.Cut(string(b), ":"); ok && password != "" {
			return password
		}
	}
	return header
}

func first(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}
