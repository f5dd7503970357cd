package api_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"daos/internal/fault"
	"daos/server/api"
	"daos/server/auth"
	"daos/server/telemetry"
	"daos/server/wire"
)

const method = "/daos.system.v1.SystemService/Ping"

type bench struct {
	*api.Guard
	log   bytes.Buffer
	spans *tracetest.SpanRecorder
}

var token = strings.Repeat("ab", 32)

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{spans: tracetest.NewSpanRecorder()}
	a, err := auth.New(token, 1000)
	if err != nil {
		t.Fatal(err)
	}
	tel, err := telemetry.New(t.Context(), telemetry.Options{Version: "test", SpanProcessor: sdktrace.SpanProcessor(b.spans)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	b.Guard = &api.Guard{Auth: a, Telemetry: tel, Log: slog.New(slog.NewTextHandler(&b.log, nil)), UnaryTimeout: 30 * time.Second, StreamTimeout: time.Minute}
	return b
}

func (b *bench) unary(ctx context.Context, h grpc.UnaryHandler) error {
	_, err := b.Unary()(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, h)
	return err
}

func incoming(t *testing.T, kv ...string) context.Context {
	t.Helper()
	return metadata.NewIncomingContext(t.Context(), metadata.Pairs(kv...))
}

func TestGuard_RefusesWhoeverIsNobody(t *testing.T) {
	b := newBench(t)
	never := func(context.Context, any) (any, error) { t.Error("the handler ran"); return nil, nil }
	for _, ctx := range []context.Context{t.Context(), incoming(t, "authorization", "Bearer "+strings.Repeat("00", 32)), incoming(t, "authorization", "")} {
		if err := b.unary(ctx, never); status.Code(err) != codes.Unauthenticated {
			t.Errorf("got %v", err)
		}
	}
	err := b.Stream()(nil, &stream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: method}, func(any, grpc.ServerStream) error { t.Error("the handler ran"); return nil })
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("a stream got %v", err)
	}
}

func TestGuard_StrangersDontFillTheLog(t *testing.T) {
	b := newBench(t)
	for range 10_000 {
		if err := b.unary(t.Context(), nil); status.Code(err) != codes.Unauthenticated {
			t.Fatal(err)
		}
	}
	if n := strings.Count(b.log.String(), "call refused"); n == 0 || n > 10 {
		t.Errorf("%d lines for 10,000 refused calls", n)
	}
}

func TestGuard_SetsADeadlineWhereThereIsNone(t *testing.T) {
	b := newBench(t)
	var left time.Duration
	h := func(ctx context.Context, _ any) (any, error) {
		d, ok := ctx.Deadline()
		if !ok {
			t.Error("no deadline")
		}
		left = time.Until(d)
		if id, ok := auth.IdentityOf(ctx); !ok || id.Name != "token" {
			t.Errorf("the caller is %v", id)
		}
		return nil, nil
	}
	ctx := incoming(t, "authorization", "Bearer "+token)
	if err := b.unary(ctx, h); err != nil || left > 30*time.Second || left < 29*time.Second {
		t.Errorf("%s left, %v", left, err)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := b.unary(short, h); err != nil || left > time.Second {
		t.Errorf("%s left, %v", left, err)
	}
	err := b.Stream()(nil, &stream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: method}, func(_ any, ss grpc.ServerStream) error {
		_, err := h(ss.Context(), nil)
		return err
	})
	if err != nil || left < 59*time.Second {
		t.Errorf("a stream: %s left, %v", left, err)
	}
	// What the handler returns when its time is up is Timeout, not Internal.
	gone, cancel := context.WithTimeout(ctx, 0)
	defer cancel()
	err = b.unary(gone, func(ctx context.Context, _ any) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
	if fault.KindOf(wire.Fault(err)) != fault.Timeout {
		t.Errorf("after the deadline: %v", err)
	}
}

func TestGuard_SurvivesAPanic(t *testing.T) {
	b := newBench(t)
	ctx := incoming(t, "authorization", "Bearer "+token)
	err := b.unary(ctx, func(context.Context, any) (any, error) {
		var m map[string]int
		m["secret"] = 1
		return nil, nil
	})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "nil map") {
		t.Errorf("the caller gets %v", err)
	}
	id := regexp.MustCompile(`id ([0-9a-f]{12})`).FindStringSubmatch(err.Error())
	if id == nil || !strings.Contains(b.log.String(), "id="+id[1]) || !strings.Contains(b.log.String(), "nil map") {
		t.Errorf("the caller gets %v, the log has %s", err, b.log.String())
	}
	if err := b.unary(ctx, func(context.Context, any) (any, error) { return nil, nil }); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestGuard_MapsErrorsAndTraces(t *testing.T) {
	b := newBench(t)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	err := b.unary(incoming(t, "authorization", "Bearer "+token, "traceparent", parent), func(context.Context, any) (any, error) {
		return nil, fault.New(fault.NotEmpty, "posix.remove", "p/d/x", "the directory is not empty").Do("remove it recursively")
	})
	var f *fault.Error
	if !errors.As(wire.Fault(err), &f) || f.Kind != fault.NotEmpty || f.Resource != "p/d/x" || f.Resolution == "" {
		t.Errorf("came back as %v", wire.Fault(err))
	}
	ended := b.spans.Ended()
	if len(ended) != 1 || ended[0].Name() != method || ended[0].Parent().TraceID().String() != parent[3:35] {
		t.Fatalf("spans %v", ended)
	}
}

// stream is a server stream that has nothing but a context.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *stream) Context() context.Context { return s.ctx }
