package api_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"daos/server/api"
	"daos/server/auth"
	"daos/server/telemetry"
)

// BenchmarkGuard is what the gate adds to a call of the feed.
func BenchmarkGuard(b *testing.B) {
	a, err := auth.New(strings.Repeat("ab", 32), 0)
	if err != nil {
		b.Fatal(err)
	}
	tel, err := telemetry.New(b.Context(), telemetry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tel.Close(context.Background()) }()
	g := &api.Guard{Auth: a, Telemetry: tel, Log: slog.New(slog.DiscardHandler)}
	unary, info := g.Unary(), &grpc.UnaryServerInfo{FullMethod: method}
	ctx := auth.WithIdentity(b.Context(), auth.Identity{Name: "token"})
	handler := func(context.Context, any) (any, error) { return nil, nil }
	b.ReportAllocs()
	for b.Loop() {
		if _, err := unary(ctx, nil, info, handler); err != nil {
			b.Fatal(err)
		}
	}
}
