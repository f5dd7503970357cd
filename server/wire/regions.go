package wire

import (
	"context"

	"daos/engine/object"
)

type regionsKey struct{}

// WithRegions gives a handler a place for the payload of its response in
// pieces: who serves the call sends them as they lie, and releases them.
func WithRegions(ctx context.Context, out *object.Regions) context.Context {
	return context.WithValue(ctx, regionsKey{}, out)
}

// RegionsOf is where a handler may put the payload of its response instead of
// the response itself; nil where the call can't take it so.
func RegionsOf(ctx context.Context) *object.Regions {
	out, _ := ctx.Value(regionsKey{}).(*object.Regions)
	return out
}
