package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"daos/internal/fault"
	"daos/internal/sqltask"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
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
	Most      int // statements at once

	mu      sync.Mutex
	running int
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

// run starts the process of a statement and hands each of its replies to fn. It
// returns when the process has ended; its folder is gone then.
func (s *SQL) run(ctx context.Context, task *queryv1.SqlTask, fn func(*queryv1.SqlReply) error) error {
	if n := len(task.GetStatement().GetText()); n > maxStatement {
		return fault.New(fault.TooBig, "query.sql", "statement", "the statement has %d bytes, at most %d are taken", n, maxStatement)
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	dir, err := os.MkdirTemp(s.TempRoot, "sql-")
	if err != nil {
		return fault.New(fault.KindOf(err), "query.sql", s.TempRoot, "no folder can be made for what the statement spills").Because(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // what stays is removed at the next start
	task.Socket, task.Token, task.TempDir, task.TempBytes = s.Socket(), s.Token, dir, s.TempBytes
	task.Threads = uint32(s.Threads)
	task.MemoryBytes = s.Memory
	if m := task.GetStatement().GetMemoryBytes(); m > 0 {
		task.MemoryBytes = min(m, s.Memory)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Time, fault.New(fault.Timeout, "query.sql", "statement", "it ran for %s, the server's query.time", s.Time).
		Do("filter more, or give query.time more"))
	defer cancel()
	cmd := osexec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, "LANG=C.UTF-8"}
	cmd.Dir = dir
	cmd.WaitDelay = 2 * time.Second
	said := &saidBuffer{}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		return fault.Wrap(err, "query.sql", "statement")
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fault.Wrap(err, "query.sql", "statement")
	}
	if err := cmd.Start(); err != nil {
		return fault.New(fault.Internal, "query.sql", "statement", "its process can't be started").Because(err)
	}
	err = sqltask.WriteFrame(in, task)
	if err == nil && task.GetQuery() != "" { // so that the client can ask how far it is
		err = fn(&queryv1.SqlReply{Batch: &queryv1.SqlResponse{}})
	}
	finished := false
	for err == nil && !finished {
		var r queryv1.SqlReply
		if err = sqltask.ReadFrame(out, &r); err != nil {
			break
		}
		if e := r.GetError(); e != nil {
			err = wire.FromDetail(e)
			finished = true
			break
		}
		finished = r.GetPlan() != nil || r.GetBatch().GetDone()
		err = fn(&r)
	}
	if err != nil || ctx.Err() != nil {
		cancel() // the process ends
	}
	_ = in.Close()
	wait := cmd.Wait()
	switch {
	case finished:
		return err
	case context.Cause(ctx) != nil && !errors.Is(context.Cause(ctx), context.Canceled):
		return fault.Wrap(context.Cause(ctx), "query.sql", "statement")
	case wait != nil && (err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) || strings.Contains(err.Error(), "broken pipe")):
		return fault.New(fault.Internal, "query.sql", "statement", "the process that ran it died (%s)%s", wait, said).
			Do("other queries are not touched; select less at once, or report the statement")
	}
	return err
}

// saidMost is how much is kept of the beginning of what a process says, and of its
// end.
const saidMost = 1024

// saidBuffer keeps the beginning and the end of what a process says.
type saidBuffer struct {
	head []byte
	tail bytes.Buffer
}

func (t *saidBuffer) Write(p []byte) (int, error) {
	n := min(len(p), saidMost-len(t.head))
	t.head = append(t.head, p[:n]...)
	t.tail.Write(p[n:])
	if over := t.tail.Len() - saidMost; over > 0 {
		t.tail.Next(over)
	}
	return len(p), nil
}

// String is why a process ended, where it is Go that says so: not where in its code.
func (t *saidBuffer) String() string {
	s := string(t.head)
	for _, stack := range []string{"\n\ngoroutine ", "\n\nruntime stack:"} {
		if i := strings.Index(s, stack); i >= 0 {
			return ": " + strings.TrimSpace(strings.ToValidUTF8(s[:i], ""))
		}
	}
	if s = strings.TrimSpace(strings.ToValidUTF8(s+t.tail.String(), "")); s != "" {
		return ": " + s
	}
	return ""
}

// Sql implements the service.
func (q *Query) Sql(r *queryv1.SqlRequest, out grpc.ServerStreamingServer[queryv1.SqlResponse]) error { //nolint:revive // the proto's name
	ctx, run := q.Running.begin(out.Context(), &queryv1.ScanRequest{Label: label(r)})
	defer run.end()
	first := true
	err := q.SQL.run(ctx, &queryv1.SqlTask{Statement: r, Query: run.id}, func(m *queryv1.SqlReply) error {
		b := m.GetBatch()
		if b == nil {
			return fault.New(fault.Internal, "query.sql", "statement", "its process sent a plan in place of rows")
		}
		if first {
			b.Query, first = run.id, false
		}
		run.note(b.GetCounters())
		return out.Send(b)
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
	var plan *queryv1.ExplainSqlResponse
	err := q.SQL.run(ctx, &queryv1.SqlTask{Statement: r.GetStatement(), Explain: true, Analyze: r.GetAnalyze()}, func(m *queryv1.SqlReply) error {
		plan = m.GetPlan()
		return nil
	})
	if err != nil {
		return nil, run.why(ctx, err)
	}
	if plan == nil {
		return nil, fault.New(fault.Internal, "query.explain", "statement", "its process sent no plan")
	}
	return plan, nil
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
