package service

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"daos/internal/fault"
	"daos/internal/sqltask"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/server/auth"
)

// Queries are the queries that run in this server.
type Queries struct {
	mu   sync.Mutex
	last uint64
	all  map[string]*query
	base string // makes ids of one process unlike those of another
}

// NewQueries makes a register. session is a random number of this process.
func NewQueries(session uint64) *Queries {
	return &Queries{all: map[string]*query{}, base: strconv.FormatUint(session&0xffff, 36)}
}

type query struct {
	all     *Queries
	number  uint64
	id      string
	dataset string
	text    string
	user    string
	begun   time.Time
	cancel  context.CancelCauseFunc
	now     atomic.Pointer[exec.Counters]
	scans   exec.Counters // of a statement: its scans that have ended; under Queries.mu
}

// errKilled is the cause of a query that was killed.
var errKilled = errors.New("killed")

const maxLabel = 4096

func (q *Queries) begin(ctx context.Context, r *queryv1.ScanRequest) (context.Context, *query) {
	x := &query{all: q, dataset: r.GetDataset(), text: r.GetLabel(), begun: time.Now()}
	if x.text == "" {
		x.text = r.GetWhere()
	}
	x.text = strings.ToValidUTF8(x.text[:min(len(x.text), maxLabel)], "") // the cut may be within a letter
	if id, ok := auth.IdentityOf(ctx); ok {
		x.user = id.Name
	}
	ctx, x.cancel = context.WithCancelCause(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	x.number = q.last
	x.id = "q" + q.base + "-" + strconv.FormatUint(q.last, 10)
	q.all[x.id] = x
	return ctx, x
}

func (x *query) end() {
	x.cancel(nil)
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	delete(x.all.all, x.id)
	n := x.now.Load()
	if id, ok := sqltask.ScanOf(x.text); ok && n != nil && x.all.all[id] != nil {
		c := *n
		c.RowsOut, c.BytesOut = 0, 0 // what a scan gives is not yet the result
		x.all.all[id].scans.Add(c)
	}
}

// why is the error of a query, naming a kill as the cause where it was one.
func (x *query) why(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errKilled) {
		return fault.New(fault.Canceled, "query.scan", x.dataset, "query %s was killed", x.id)
	}
	return err
}

func (x *query) counters(c exec.Counters) *queryv1.Counters {
	x.now.Store(&c)
	return countersOf(c, time.Since(x.begun))
}

func countersOf(c exec.Counters, d time.Duration) *queryv1.Counters {
	return &queryv1.Counters{Chunks: c.Chunks, ChunksPruned: c.Pruned, ChunksRead: c.Read, RowsScanned: c.RowsScanned, RowsMatched: c.RowsMatched,
		RowsOut: c.RowsOut, BytesRead: c.BytesRead, BytesOut: c.BytesOut, ElapsedNanos: uint64(d)}
}

func (q *Queries) list() []*queryv1.Query {
	q.mu.Lock()
	all := make([]*query, 0, len(q.all))
	ended := make(map[*query]exec.Counters, len(q.all))
	for _, x := range q.all {
		all = append(all, x)
		ended[x] = x.scans
	}
	q.mu.Unlock()
	slices.SortFunc(all, func(a, b *query) int { return cmp.Compare(a.number, b.number) })
	var out []*queryv1.Query
	for _, x := range all {
		c := ended[x]
		if n := x.now.Load(); n != nil && n.RowsScanned >= c.RowsScanned {
			c = *n
		}
		out = append(out, &queryv1.Query{Id: x.id, Dataset: x.dataset, Text: x.text, User: x.user, BegunUnixNanos: x.begun.UnixNano(), Counters: countersOf(c, time.Since(x.begun))})
	}
	return out
}

func (q *Queries) kill(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	x := q.all[id]
	if x != nil {
		x.cancel(errKilled)
	}
	return x != nil
}
