package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"daos/internal/fault"
	"daos/internal/sqltask"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/server/codec"
	"daos/server/wire"
)

// SQL says how statements are run, each in a process of its own.
type SQL struct {
	Command   []string      // the binary and its hidden command
	Socket    func() string // of this server
	Token     string
	TempRoot  string // a folder of this server alone, for what statements spill
	Memory    uint64 // bytes of one statement
	TempBytes uint64
	Time      time.Duration
	Threads   int
	Most      int           // statements at once
	Idle      time.Duration // for which a process waits for a statement; 0: five minutes

	mu      sync.Mutex
	running int
	spares  spares
}

// begin counts a statement; fault.Overloaded if there are too many.
func (s *SQL) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running >= s.Most {
		return fault.New(fault.Overloaded, "query.sql", "statement", "%d statements run already", s.running).Do("try again, or end one: daos query ps")
	}
	s.running++
	return nil
}

func (s *SQL) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}

// maxStatement is the longest text of a statement.
const maxStatement = 1 << 20

// run gives a statement to a process and hands each of its replies to fn. The
// process serves no other one: it is ended when the answer is there, and its
// folder is gone when run returns. The context that fn gets ends with the statement.
func (s *SQL) run(ctx context.Context, task *queryv1.SqlTask, fn func(context.Context, *queryv1.SqlReply) error) error {
	if n := len(task.GetStatement().GetText()); n > maxStatement {
		return fault.New(fault.TooBig, "query.sql", "statement", "the statement has %d bytes, at most %d are taken", n, maxStatement)
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	ctx, cancel := context.WithTimeoutCause(ctx, s.Time, fault.New(fault.Timeout, "query.sql", "statement", "it ran for %s, the server's query.time", s.Time).
		Do("filter more, or give query.time more"))
	defer cancel()
	p, err := s.take()
	if err != nil {
		return err
	}
	defer time.AfterFunc(spareAfter, s.restock).Stop()
	defer time.AfterFunc(spareBehind, s.restock) // started when this returns
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	task.Socket, task.Token, task.TempDir, task.TempBytes = s.Socket(), s.Token, p.dir, s.TempBytes
	task.Threads = uint32(s.Threads)
	task.MemoryBytes = s.Memory
	if m := task.GetStatement().GetMemoryBytes(); m > 0 {
		task.MemoryBytes = min(m, s.Memory)
	}
	sent := sqltask.WriteFrame(p.in, task)    // it may have said already why it takes none
	if sent == nil && task.GetQuery() != "" { // so that the client can ask how far it is
		err = fn(ctx, &queryv1.SqlReply{Batch: &queryv1.SqlResponse{}})
	}
	finished := false
	for err == nil && !finished {
		var r queryv1.SqlReply
		if err = sqltask.ReadFrame(p.out, &r); err != nil {
			break
		}
		if e := r.GetError(); e != nil {
			err = wire.FromDetail(e)
			finished = true
			break
		}
		finished = r.GetPlan() != nil || r.GetBatch().GetDone()
		err = fn(ctx, &r)
	}
	if finished {
		s.done(p)
		return err
	}
	_ = p.in.Close()
	if err != nil && !died(err) || ctx.Err() != nil {
		p.kill()
	}
	<-p.ended
	reading := p.reading()
	p.bury()
	switch {
	case ctx.Err() != nil: // its client has left, or it was killed
		return fault.Wrap(context.Cause(ctx), "query.sql", "statement")
	case died(err) && reading != "":
		return fault.New(fault.Internal, "query.sql", "statement", "the process that ran it died (%s) while it read %s%s", p.cmd.ProcessState, reading, p.said).
			Do("other queries are not touched; the file may be damaged: check it, or write it anew")
	case died(err):
		return fault.New(fault.Internal, "query.sql", "statement", "the process that ran it died (%s)%s", p.cmd.ProcessState, p.said).
			Do("other queries are not touched; select less at once, or report the statement")
	}
	return err
}

// died reports whether an error of reading replies, or nil, goes with the end of
// the process.
func died(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed)
}

// Sql implements the service.
func (q *Query) Sql(r *queryv1.SqlRequest, out grpc.ServerStreamingServer[queryv1.SqlResponse]) error { //nolint:revive // the proto's name
	ctx, run := q.Running.begin(out.Context(), &queryv1.ScanRequest{Label: label(r)})
	defer run.end()
	first := true
	err := q.SQL.run(ctx, &queryv1.SqlTask{Statement: r, Query: run.id}, func(ctx context.Context, m *queryv1.SqlReply) error {
		b := m.GetBatch()
		if b == nil {
			return fault.New(fault.Internal, "query.sql", "statement", "its process sent a plan in place of rows")
		}
		if first {
			b.Query, first = run.id, false
		}
		run.note(b.GetCounters())
		return codec.Interrupt(ctx, out).SendMsg(b)
	})
	return run.why(ctx, err)
}

// ExplainSql implements the service.
func (q *Query) ExplainSql(ctx context.Context, r *queryv1.ExplainSqlRequest) (*queryv1.ExplainSqlResponse, error) { //nolint:revive // the proto's name
	if r.GetStatement() == nil {
		return nil, fault.New(fault.Invalid, "query.explain", "statement", "there is no statement to explain")
	}
	ctx, run := q.Running.begin(ctx, &queryv1.ScanRequest{Label: "explain " + label(r.GetStatement())})
	defer run.end()
	plan, err := q.SQL.plan(ctx, &queryv1.SqlTask{Statement: r.GetStatement(), Explain: true, Analyze: r.GetAnalyze()})
	return plan, run.why(ctx, err)
}

// plan runs a task that answers with a plan.
func (s *SQL) plan(ctx context.Context, task *queryv1.SqlTask) (plan *queryv1.ExplainSqlResponse, err error) {
	err = s.run(ctx, task, func(_ context.Context, m *queryv1.SqlReply) error {
		plan = m.GetPlan()
		return nil
	})
	if err == nil && plan == nil {
		err = fault.New(fault.Internal, "query.explain", "statement", "its process sent no plan")
	}
	return plan, err
}

func label(r *queryv1.SqlRequest) string {
	if r.GetLabel() != "" {
		return r.GetLabel()
	}
	return r.GetText()
}

// note keeps the counters of a statement for ListQueries.
func (x *query) note(c *queryv1.Counters) {
	if c != nil {
		x.now.Store(&exec.Counters{Chunks: c.GetChunks(), Pruned: c.GetChunksPruned(), Read: c.GetChunksRead(), RowsScanned: c.GetRowsScanned(),
			RowsMatched: c.GetRowsMatched(), RowsOut: c.GetRowsOut(), BytesRead: c.GetBytesRead(), BytesOut: c.GetBytesOut()})
	}
}

// CleanTemp removes what statements of an earlier process of this server left.
func (s *SQL) CleanTemp() error {
	old, err := os.ReadDir(s.TempRoot)
	if err != nil {
		return fmt.Errorf("folder of statements: %w", err)
	}
	for _, e := range old {
		if strings.HasPrefix(e.Name(), "sql-") {
			err = errors.Join(err, os.RemoveAll(s.TempRoot+"/"+e.Name()))
		}
	}
	return err
}
