package telemetry_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"daos/internal/fault"
	"daos/server/telemetry"
)

// collector is an OTLP collector that remembers names.
type collector struct {
	tracepb.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []string
	names map[string]bool
}

// metrics is the other half of its services; both have a method Export.
type metrics struct {
	metricspb.UnimplementedMetricsServiceServer
	c *collector
}

func (c *collector) Export(_ context.Context, r *tracepb.ExportTraceServiceRequest) (*tracepb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				c.spans = append(c.spans, s.GetName())
			}
		}
	}
	return &tracepb.ExportTraceServiceResponse{}, nil
}

func (m metrics) Export(_ context.Context, r *metricspb.ExportMetricsServiceRequest) (*metricspb.ExportMetricsServiceResponse, error) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	for _, rm := range r.GetResourceMetrics() {
		for _, sm := range rm.GetScopeMetrics() {
			for _, x := range sm.GetMetrics() {
				m.c.names[x.GetName()] = true
			}
		}
	}
	return &metricspb.ExportMetricsServiceResponse{}, nil
}

func TestOTLP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{names: map[string]bool{}}
	g := grpc.NewServer()
	tracepb.RegisterTraceServiceServer(g, c)
	metricspb.RegisterMetricsServiceServer(g, metrics{c: c})
	go func() { _ = g.Serve(l) }() // ends with Stop
	defer g.Stop()
	tel, err := telemetry.New(t.Context(), telemetry.Options{Version: "test", OTLPEndpoint: l.Addr().String(), OTLPInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	_, end := tel.Start(t.Context(), "/a/B")
	end(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := tel.Close(ctx); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.spans, []string{"/a/B"}) || !c.names["daos.call.duration"] {
		t.Errorf("the collector got spans %v and metrics %v", c.spans, c.names)
	}
}

func TestPrometheus(t *testing.T) {
	tel, err := telemetry.New(t.Context(), telemetry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tel.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if err := tel.Gauge("daos.thing", "By", "A thing.", func(context.Context) []telemetry.Sample {
		return []telemetry.Sample{{Value: 7, Labels: map[string]string{"target": "1"}}}
	}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{nil, nil, fault.New(fault.NotFound, "", "", "x"), errors.New("anything")} {
		_, end := tel.Start(t.Context(), "/a/B")
		end(err)
	}
	_, begun := tel.Start(t.Context(), "/a/C")
	defer begun(nil)
	tel.Batch(time.Millisecond, 32, 1000, nil)
	rec := httptest.NewRecorder()
	tel.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	b, err := io.ReadAll(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`daos_call_duration_seconds_count{kind="ok",method="/a/B"} 2`,
		`daos_call_duration_seconds_count{kind="not found",method="/a/B"} 1`,
		`daos_call_duration_seconds_count{kind="internal error",method="/a/B"} 1`,
		`daos_call_inflight{method="/a/B"} 0`, `daos_call_inflight{method="/a/C"} 1`,
		`daos_thing_bytes{target="1"} 7`, `daos_batch_samples_total 32`, `daos_batch_bytes_total 1000`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
}
