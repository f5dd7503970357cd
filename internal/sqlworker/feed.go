//go:build cgo

package sqlworker

import (
	"context"
	"sync"

	"daos/internal/feedclient"
	"daos/internal/feedsocket"
)

// unread is how many batches of a scan may wait here.
const unread = 4

// feeds are connections over which tables are read: the feed has no copies that
// gRPC makes of every message, and is there after one round trip. The server runs
// the calls of a connection one after another, so each scan has its own.
type feeds struct {
	address, token string
	threads        feedsocket.Threads

	mu   sync.Mutex
	idle []*feedclient.Client
}

// take is a connection that nobody uses.
func (f *feeds) take(ctx context.Context) (*feedclient.Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.idle); n > 0 {
		c := f.idle[n-1]
		f.idle = f.idle[:n-1]
		return c, nil
	}
	return feedclient.Dial(ctx, f.address, feedclient.Options{Token: f.token, Name: "daos-sql", Window: unread, Threads: &f.threads})
}

// give takes it back: for others, if no answer of the last call is under way.
func (f *feeds) give(c *feedclient.Client, whole bool) {
	if !whole {
		_ = c.Close() // what is under way is lost
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, c)
}
