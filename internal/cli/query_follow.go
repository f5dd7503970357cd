package cli

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"daos/internal/client"
	"daos/internal/sqltask"
	queryv1 "daos/proto/gen/daos/query/v1"
)

// followEvery is how often the server is asked how far a query is.
const followEvery = 500 * time.Millisecond

// following shows on stderr how far a query is, on a terminal and while its
// result does not go there too.
type following struct {
	id     atomic.Pointer[string]
	now    atomic.Pointer[queryv1.Counters]
	once   sync.Once
	finish func()
}

// follow begins it.
func (f *queryFlags) follow(ctx context.Context, a *app, c *client.Client, format string) *following {
	p := &following{finish: func() {}}
	file, ok := a.err.(*os.File)
	if !ok || a.quiet || f.silent || !term.IsTerminal(int(file.Fd())) || f.output == "" && format != "table" && width(a.out, a.getenv) > 0 {
		return p
	}
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	asking.Add(1)
	go func() {
		defer asking.Done()
		p.ask(ctx, c)
	}()
	wipe := a.watch(p.line)
	p.finish = func() {
		cancel()
		asking.Wait()
		wipe()
	}
	return p
}

// ask asks the server for the counters of a query that has sent nothing for a
// while.
func (p *following) ask(ctx context.Context, c *client.Client) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		id := p.id.Load()
		if id == nil {
			continue
		}
		all, err := c.Query.ListQueries(ctx, &queryv1.ListQueriesRequest{})
		if err != nil {
			continue // the query itself says what is wrong
		}
		sum := &queryv1.Counters{}
		for _, q := range all.GetQueries() {
			if n := q.GetCounters(); q.GetId() == *id || q.GetText() == sqltask.ScanLabel(*id) {
				sum.Chunks += n.GetChunks()
				sum.ChunksRead += n.GetChunksRead()
				sum.ChunksPruned += n.GetChunksPruned()
				sum.RowsScanned += n.GetRowsScanned()
				sum.RowsOut += n.GetRowsOut()
				sum.BytesRead += n.GetBytesRead()
			}
		}
		p.note("", sum)
	}
}

// note keeps what a reply said.
func (p *following) note(id string, n *queryv1.Counters) {
	if id != "" {
		p.id.CompareAndSwap(nil, &id)
	}
	if n == nil || n.GetChunks()+n.GetRowsScanned() == 0 {
		return
	}
	if was := p.now.Load(); was == nil || n.GetRowsScanned() >= was.GetRowsScanned() { // scans of a statement end and are gone
		p.now.Store(n)
	}
}

// end wipes the line; it may be called twice.
func (p *following) end() { p.once.Do(func() { p.finish() }) }

func (p *following) line(elapsed time.Duration) string {
	n := p.now.Load()
	took := elapsed.Round(100 * time.Millisecond).String()
	if n == nil {
		return "  " + took
	}
	done := int64(n.GetChunksRead() + n.GetChunksPruned())
	s := ""
	if total := int64(n.GetChunks()); total > 1 {
		s = gauge(done, total) + " chunks  "
	}
	return fmt.Sprintf("%s%s rows scanned, %s out, %s read  %s", s, formatCount(n.GetRowsScanned()), formatCount(n.GetRowsOut()), formatSize(n.GetBytesRead()), took)
}
