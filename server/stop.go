package server

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"daos/internal/fault"
)

// closeAll stops and closes whatever has been opened, in the opposite order. It
// also serves a New that failed half-way.
func (s *Server) closeAll(ctx context.Context) error {
	var errs []error
	fail := func(err error) { errs = append(errs, err) }
	if s.registry != nil && len(s.links) > 0 {
		fail(s.registry.remove())
	}
	for _, l := range s.links {
		if l.path != "" {
			// Before the listener is closed: afterwards the name may be another server's.
			if err := os.Remove(l.path); err != nil && !errors.Is(err, os.ErrNotExist) {
				fail(err)
			}
		}
		_ = l.Close() // a second Close, the multiplexer's, fails and is no matter
	}
	if s.presence != nil {
		s.presence.stop()
	}
	s.stopCalls(ctx)
	for _, m := range s.muxes {
		fail(m.Close())
	}
	s.stop()
	s.working.Wait()
	if s.sql != nil {
		s.sql.Close()
	}
	if s.loader != nil {
		s.loader.Close()
	}
	if s.telemetry != nil {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		if err := s.telemetry.Close(flush); err != nil {
			s.log.Warn("the last telemetry was not delivered", "err", err)
		}
		cancel()
	}
	if s.pools != nil {
		fail(s.pools.Close())
	}
	if s.engine != nil {
		fail(within(closeLimit, "engine", s.engine.Close))
	}
	if s.control != nil {
		fail(within(closeLimit, "control store", s.control.Close))
	}
	if s.root != nil {
		fail(s.root.close())
	}
	return errors.Join(errs...)
}

// closeLimit is how long a part of the storage may take to close. Its background
// work does not end while the disk is full; what was answered is on disk, so that
// ending without it is no worse than a crash.
const closeLimit = 10 * time.Second

// within runs fn, and gives up on it after a while.
func within(limit time.Duration, what string, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fault.New(fault.Timeout, "server.stop", what, "it has not closed within %s", limit).
			Do("look whether the disk is full; nothing that was answered is lost")
	}
}

// stopCalls lets the calls of all transports finish until ctx ends, and cuts
// off the rest.
func (s *Server) stopCalls(ctx context.Context) {
	var wg sync.WaitGroup
	if s.feed != nil {
		wg.Go(func() {
			if err := s.feed.Shutdown(ctx); err != nil {
				s.log.Warn("calls of the feed were cut off", "err", err)
			}
		})
	}
	if s.grpc != nil {
		wg.Go(func() {
			done := make(chan struct{})
			go func() { s.grpc.GracefulStop(); close(done) }()
			select {
			case <-done:
			case <-ctx.Done():
				s.grpc.Stop()
				<-done
				s.log.Warn("calls of gRPC were cut off", "err", ctx.Err())
			}
		})
	}
	if s.http != nil {
		wg.Go(func() {
			if err := s.http.Shutdown(ctx); err != nil {
				_ = s.http.Close() // what is cut off is a scrape
			}
		})
	}
	wg.Wait()
}
