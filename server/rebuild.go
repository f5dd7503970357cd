package server

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"daos/engine"
	"daos/engine/vos"
	"daos/internal/fault"
)

// RebuildTarget makes a new index for a target of a root that no server uses:
// engine.RebuildTarget says what is lost.
func RebuildTarget(ctx context.Context, dir string, target int, log *slog.Logger, report func(error)) (vos.RebuildStats, error) {
	if info, err := os.Stat(filepath.Join(dir, engineDir)); err != nil || !info.IsDir() {
		return vos.RebuildStats{}, fault.New(fault.NotFound, "server.rebuild", dir, "this is no root folder of a server").Do("name one with --root")
	}
	r, err := openRoot(dir, log)
	if err != nil {
		return vos.RebuildStats{}, err
	}
	st, err := engine.RebuildTarget(ctx, engine.Options{Root: r.path(engineDir), Logger: log}, target, report)
	if cerr := r.close(); err == nil {
		err = cerr
	}
	return st, err
}
