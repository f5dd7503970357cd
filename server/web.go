package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"daos/internal/version"
	"daos/server/api"
	"daos/server/auth"
	"daos/server/telemetry"
)

// web answers HTTP/1.1: /metrics and /healthz. On the unix socket and to
// loopback addresses it asks for no token, so that a Prometheus on this machine
// works as it comes: what it shows is counters by method and target, no names
// and no data. From elsewhere the token is needed.
func (s *Server) web() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.trusted(s.telemetry.Handler()))
	mux.Handle("GET /healthz", s.trusted(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if s.draining.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintln(w, "draining") // the client may be gone
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})))
	return mux
}

func (s *Server) trusted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !local(r.RemoteAddr) {
			token := api.Token(r.Header.Get("Authorization"))
			if _, err := s.guard.Auth.Check(token, auth.Peer{Addr: r.RemoteAddr}); err != nil {
				http.Error(w, err.Error(), http.StatusUnauthorized)
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

// local reports whether a peer is on this machine. The peers of a unix socket
// have no host and port.
func local(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// gauges registers what the server knows of itself.
func (s *Server) gauges() error {
	if err := s.telemetry.Gauge("daos.info", "", "Version of the server; the value is 1.", func(context.Context) []telemetry.Sample {
		return []telemetry.Sample{{Value: 1, Labels: map[string]string{"version": version.Version}}}
	}); err != nil {
		return err
	}
	if err := s.telemetry.Gauge("daos.connections", "", "Connections of clients.", func(context.Context) []telemetry.Sample {
		return []telemetry.Sample{{Value: float64(s.presence.count())}}
	}); err != nil {
		return err
	}
	if err := s.telemetry.Gauge("daos.feed.held", "By", "Bytes held for clients of the feed.", func(context.Context) []telemetry.Sample {
		return []telemetry.Sample{{Value: float64(s.feed.Stats().Held)}}
	}); err != nil {
		return err
	}
	if err := s.telemetry.Gauge("daos.storage.used", "By", "Payload bytes of all kept versions, by pool.", func(ctx context.Context) []telemetry.Sample {
		pools, err := s.pools.ListPools(ctx)
		if err != nil {
			return nil
		}
		out := make([]telemetry.Sample, 0, len(pools))
		for _, p := range pools {
			out = append(out, telemetry.Sample{Value: float64(p.Usage.Bytes), Labels: map[string]string{"pool": strconv.FormatUint(uint64(p.ID), 10)}})
		}
		return out
	}); err != nil {
		return err
	}
	for _, g := range []struct {
		name, unit, doc string
		read            func(rounds, versions, bytes int64) int64
	}{
		{"daos.sweep.rounds", "", "Sweeps since the start.", func(n, _, _ int64) int64 { return n }},
		{"daos.sweep.versions", "", "Versions dropped by the sweeper since the start.", func(_, n, _ int64) int64 { return n }},
		{"daos.sweep.dropped", "By", "Payload bytes dropped by the sweeper since the start.", func(_, _, n int64) int64 { return n }},
	} {
		if err := s.telemetry.Gauge(g.name, g.unit, g.doc, func(context.Context) []telemetry.Sample {
			return []telemetry.Sample{{Value: float64(g.read(s.engine.Swept()))}}
		}); err != nil {
			return err
		}
	}
	if err := s.telemetry.Gauge("daos.journal.full", "", "Batches that found no room in the journal since the start: each was synced on its own.", func(context.Context) []telemetry.Sample {
		return []telemetry.Sample{{Value: float64(s.engine.Unshared())}}
	}); err != nil {
		return err
	}
	return s.targetGauges()
}

func (s *Server) targetGauges() error {
	for _, g := range []struct {
		name, unit, doc string
		read            func(i int) float64
	}{
		{"daos.target.up", "", "1 where the target takes writes, else 0.", func(i int) float64 {
			if s.engine.Stats()[i].Failed != nil {
				return 0
			}
			return 1
		}},
		{"daos.target.batches", "", "Batches made durable since the start.", func(i int) float64 { return float64(s.engine.Stats()[i].Prepares) }},
		{"daos.target.failures", "", "Batches that failed since the start.", func(i int) float64 { return float64(s.engine.Stats()[i].Failures) }},
		{"daos.target.written", "By", "Payload bytes made durable since the start.", func(i int) float64 { return float64(s.engine.Stats()[i].Bytes) }},
	} {
		if err := s.telemetry.Gauge(g.name, g.unit, g.doc, func(context.Context) []telemetry.Sample {
			out := make([]telemetry.Sample, s.engine.Targets())
			for i := range out {
				out[i] = telemetry.Sample{Value: g.read(i), Labels: map[string]string{"target": strconv.Itoa(i)}}
			}
			return out
		}); err != nil {
			return err
		}
	}
	return nil
}
