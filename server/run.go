package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"daos/server/codec"
	"daos/server/config"
)

// Run is `daos serve`: it serves until SIGTERM, SIGINT or the end of ctx, with
// one line on standard output when it is ready and logs on standard error.
func Run(ctx context.Context, cfg config.Config) error {
	log := newLog(cfg)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	s, err := New(ctx, cfg, Options{Log: log, Pool: codec.InstallPool()})
	if err != nil {
		return err
	}
	drain, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	go func() {
		for n := 0; ; n++ {
			select {
			case sig := <-signals:
				log.Info("stopping", "signal", sig.String(), "calls_may_take", cfg.DrainTimeout)
				stop()
				if n > 0 {
					cut() // the second one means it
				}
			case <-drain.Done():
				return
			}
		}
	}()
	err = s.Serve(ctx, func() {
		fmt.Printf("ready root=%s listen=%s socket=%s pid=%d\n", cfg.Root, s.Addr(), s.Socket(), os.Getpid()) //nolint:forbidigo // what scripts wait for
	})
	patience, cancel := context.WithTimeout(drain, cfg.DrainTimeout)
	defer cancel()
	err = errors.Join(err, s.Drain(patience))
	log.Info("stopped")
	return err
}

func newLog(cfg config.Config) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Log.Level)) // checked by config
	o := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
