// Package telemetry is the server's traces and metrics: OpenTelemetry for both,
// read by Prometheus at /metrics and, where an endpoint is configured, pushed
// by OTLP. Every call of every transport passes Start; what the engine and the
// server count of themselves is observed through Gauge.
//
// There is no global state: a Telemetry belongs to one server and is handed to
// those who use it.
package telemetry

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"daos/internal/fault"
)

// Options say where telemetry goes.
type Options struct {
	Version string // of the binary
	// OTLPEndpoint is HOST:PORT of a collector's gRPC port; empty: none.
	OTLPEndpoint string
	// OTLPInsecure sends without TLS.
	OTLPInsecure bool
	// SpanProcessor also gets every span; for tests.
	SpanProcessor sdktrace.SpanProcessor
}

// Telemetry makes spans and counts calls.
type Telemetry struct {
	registry *prometheus.Registry
	meters   *sdkmetric.MeterProvider
	traces   *sdktrace.TracerProvider
	tracer   trace.Tracer
	meter    metric.Meter
	duration metric.Float64Histogram
	inflight metric.Int64UpDownCounter
	batches  metric.Float64Histogram
	samples  metric.Int64Counter
	bytes    metric.Int64Counter
	prop     propagation.TraceContext
	tracing  bool     // somebody sees the spans
	calls    sync.Map // method -> *call
}

// New starts the exporters. Close ends them.
func New(ctx context.Context, o Options) (*Telemetry, error) {
	t := &Telemetry{registry: prometheus.NewRegistry()}
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := promexporter.New(promexporter.WithRegisterer(t.registry), promexporter.WithoutScopeInfo())
	if err != nil {
		return nil, fault.Wrap(err, "telemetry.open", "prometheus")
	}
	res := resource.NewSchemaless(attribute.String("service.name", "daos"), attribute.String("service.version", o.Version))
	mopts := []sdkmetric.Option{sdkmetric.WithReader(reader), sdkmetric.WithResource(res)}
	topts := []sdktrace.TracerProviderOption{sdktrace.WithResource(res)}
	if o.SpanProcessor != nil {
		topts = append(topts, sdktrace.WithSpanProcessor(o.SpanProcessor))
	}
	if o.OTLPEndpoint != "" {
		tro := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(o.OTLPEndpoint)}
		mro := []otlpmetricgrpc.Option{otlpmetricgrpc.WithEndpoint(o.OTLPEndpoint)}
		if o.OTLPInsecure {
			tro, mro = append(tro, otlptracegrpc.WithInsecure()), append(mro, otlpmetricgrpc.WithInsecure())
		}
		spans, err := otlptracegrpc.New(ctx, tro...)
		if err != nil {
			return nil, fault.Wrap(err, "telemetry.open", o.OTLPEndpoint)
		}
		metrics, err := otlpmetricgrpc.New(ctx, mro...)
		if err != nil {
			return nil, errors.Join(fault.Wrap(err, "telemetry.open", o.OTLPEndpoint), spans.Shutdown(ctx))
		}
		topts = append(topts, sdktrace.WithBatcher(spans))
		mopts = append(mopts, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics)))
	}
	t.tracing = o.OTLPEndpoint != "" || o.SpanProcessor != nil
	t.meters, t.traces = sdkmetric.NewMeterProvider(mopts...), sdktrace.NewTracerProvider(topts...)
	t.tracer, t.meter = t.traces.Tracer("daos"), t.meters.Meter("daos")
	return t, t.instruments()
}

func (t *Telemetry) instruments() (err error) {
	t.duration, err = t.meter.Float64Histogram("daos.call.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of one call, by method and kind of error."),
		metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60))
	if err != nil {
		return fault.Wrap(err, "telemetry.open", "daos.call.duration")
	}
	t.inflight, err = t.meter.Int64UpDownCounter("daos.call.inflight", metric.WithDescription("Calls under way, by method."))
	if err != nil {
		return fault.Wrap(err, "telemetry.open", "daos.call.inflight")
	}
	t.batches, err = t.meter.Float64Histogram("daos.batch.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of one batch of the feed, by kind of error."),
		metric.WithExplicitBucketBoundaries(.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 10))
	if err != nil {
		return fault.Wrap(err, "telemetry.open", "daos.batch.duration")
	}
	t.samples, err = t.meter.Int64Counter("daos.batch.samples", metric.WithDescription("Samples sent in batches of the feed."))
	if err != nil {
		return fault.Wrap(err, "telemetry.open", "daos.batch.samples")
	}
	t.bytes, err = t.meter.Int64Counter("daos.batch.bytes", metric.WithUnit("By"), metric.WithDescription("Payload bytes sent in batches of the feed."))
	return fault.Wrap(err, "telemetry.open", "daos.batch.bytes")
}

// call is what is kept of a method, so that counting a call makes no garbage.
type call struct {
	method   string
	inflight metric.AddOption
	byKind   [fault.ReadOnly + 2]metric.RecordOption // the last one: of kinds that come later
}

func newCall(method string) *call {
	name := attribute.String("method", method)
	c := &call{method: method, inflight: metric.WithAttributeSet(attribute.NewSet(name))}
	for i := range c.byKind {
		kind := "ok"
		if i > 0 {
			kind = fault.Kind(i).String()
		}
		c.byKind[i] = metric.WithAttributeSet(attribute.NewSet(name, attribute.String("kind", kind)))
	}
	return c
}

// Start begins a call of a method, and its span; the returned function ends
// both with the call's error. Methods must be a closed set: each is a series.
func (t *Telemetry) Start(ctx context.Context, method string) (context.Context, func(error)) {
	v, ok := t.calls.Load(method)
	if !ok {
		v, _ = t.calls.LoadOrStore(method, newCall(method))
	}
	c := v.(*call)
	begin := time.Now()
	t.inflight.Add(ctx, 1, c.inflight)
	var span trace.Span
	if t.tracing {
		ctx, span = t.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindServer))
	}
	return ctx, func(err error) {
		kind := 0 // fault.Unknown is the kind of no error
		if err != nil {
			kind = min(int(fault.KindOf(err)), len(c.byKind)-1)
		}
		if span != nil {
			if err != nil {
				span.SetStatus(codes.Error, err.Error())
				span.SetAttributes(attribute.String("daos.kind", fault.Kind(kind).String()))
			}
			span.End()
		}
		t.inflight.Add(ctx, -1, c.inflight)
		t.duration.Record(ctx, time.Since(begin).Seconds(), c.byKind[kind])
	}
}

// Batch counts an answered BATCH frame. These have no span of their own: there
// are many, and each is short.
func (t *Telemetry) Batch(took time.Duration, samples int, bytes uint64, err error) {
	ctx := context.Background() // only carries the span of an exemplar
	kind := "ok"
	if err != nil {
		kind = fault.KindOf(err).String()
	}
	t.batches.Record(ctx, took.Seconds(), metric.WithAttributeSet(attribute.NewSet(attribute.String("kind", kind))))
	t.samples.Add(ctx, int64(samples))
	t.bytes.Add(ctx, int64(bytes))
}

// WithTraceparent makes the span of ctx's next Start a child of the caller's,
// which came as a W3C traceparent; one that is malformed is ignored.
func (t *Telemetry) WithTraceparent(ctx context.Context, traceparent string) context.Context {
	if traceparent == "" || !t.tracing {
		return ctx
	}
	return t.prop.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent})
}

// Sample is one value of a gauge.
type Sample struct {
	Value  float64
	Labels map[string]string
}

// Gauge registers a gauge whose values are asked for at each collection.
func (t *Telemetry) Gauge(name, unit, description string, read func(context.Context) []Sample) error {
	_, err := t.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description),
		metric.WithFloat64Callback(func(ctx context.Context, o metric.Float64Observer) error {
			for _, s := range read(ctx) {
				attrs := make([]attribute.KeyValue, 0, len(s.Labels))
				for k, v := range s.Labels {
					attrs = append(attrs, attribute.String(k, v))
				}
				o.Observe(s.Value, metric.WithAttributes(attrs...))
			}
			return nil
		}))
	return fault.Wrap(err, "telemetry.gauge", name)
}

// Handler serves the metrics as Prometheus text.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Close flushes and ends the exporters.
func (t *Telemetry) Close(ctx context.Context) error {
	return errors.Join(t.traces.Shutdown(ctx), t.meters.Shutdown(ctx))
}
