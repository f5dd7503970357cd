//go:build cgo

package sqlworker

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"daos/internal/client"
	"daos/internal/columnar"
	"daos/internal/fault"
	"daos/internal/querywire"
	"daos/internal/sqltask"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/sql"
	"daos/query/sql/duck"
	"daos/server/wire"
)

// Run makes a database, waits for the task that comes on in, carries it out and
// returns the exit status of the process.
func Run(in io.Reader, out io.Writer) int {
	var limits, task queryv1.SqlTask
	w := bufio.NewWriterSize(out, 1<<20)
	reply := func(r *queryv1.SqlReply) error {
		if err := sqltask.WriteFrame(w, r); err != nil {
			return err
		}
		return w.Flush()
	}
	called(sqltask.NameSpare)
	if err := sqltask.ReadFrame(in, &limits); err != nil {
		return 1
	}
	// One thread is enough for most statements; others get theirs when they are known.
	db, broken := duck.Prepare(duck.Options{Memory: limits.GetMemoryBytes(), Threads: 1, TempDir: limits.GetTempDir(), TempBytes: limits.GetTempBytes()})
	if err := sqltask.ReadFrame(in, &task); err != nil {
		return 1
	}
	called(sqltask.NameBusy)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() { // the server holds the other end open as long as it lives
		_, _ = io.Copy(io.Discard, in)
		cancel(fault.New(fault.Canceled, "query.sql", "statement", "the server went away"))
	}()
	j := &job{task: &task, db: db, note: newNote(task.GetTempDir()), began: time.Now(), reply: reply, epochs: map[string]uint64{}, live: map[string]uint64{}, known: map[string]*resolved{}}
	err := broken
	if err == nil {
		err = j.run(ctx)
		db.Close()
	}
	if err != nil && reply(&queryv1.SqlReply{Error: wire.Detail(err)}) != nil {
		return 1
	}
	return 0
}

// called names the process, for people and tests that look for it. Where the
// system has no such file it keeps its name.
func called(name string) { _ = os.WriteFile("/proc/self/comm", []byte(name), 0) }

// job is one statement.
type job struct {
	task   *queryv1.SqlTask
	db     *duck.DB
	c      *client.Client // connects when it is needed
	feed   *feeds
	note   *note
	began  time.Time
	reply  func(*queryv1.SqlReply) error
	epochs map[string]uint64    // that were read, by address
	live   map[string]uint64    // of live datasets, by name
	known  map[string]*resolved // tables by what they are called
	tables []*remote
	files  []*parquetTable
	out    uint64
	bytes  uint64
}

// errDescribed ends a statement whose columns are known, where nothing else is asked.
var errDescribed = errors.New("described")

func (j *job) run(ctx context.Context) error {
	var err error
	j.c, err = client.Open(client.Server{Network: "unix", Addr: j.task.GetSocket(), Token: j.task.GetToken()}, client.Options{UserAgent: "daos-sql"})
	if err != nil {
		return err
	}
	defer func() { _ = j.c.Close() }() // the process ends
	j.feed = &feeds{address: "unix:" + j.task.GetSocket(), token: j.task.GetToken()}
	limitMemory(j.task.GetMemoryBytes())
	db := j.db
	text := j.task.GetStatement().GetText()
	tree, err := db.Tree(text)
	if err != nil {
		return err
	}
	if j.task.GetRepeatable() {
		if err := sql.Repeatable(tree, text); err != nil {
			return err
		}
	}
	plan, err := j.catalog(ctx).Rewrite(tree, text)
	if err != nil {
		return err
	}
	threads := int(j.task.GetThreads())
	if j.task.GetRepeatable() || plan.OneThread {
		threads = 1 // of a repeatable one: several end in another order each time, and add floats in it
	}
	if err := db.Harden(j.task.GetMemoryBytes(), threads); err != nil {
		return err
	}
	tables := j.open(ctx, plan)
	explained := &queryv1.ExplainSqlResponse{Epochs: j.epochs}
	for _, x := range plan.Conjuncts {
		explained.Conjuncts = append(explained.Conjuncts, &queryv1.Conjunct{Table: x.Table, Conjunct: x.Conjunct, Pushed: x.Pushed, Why: x.Why})
	}
	if j.task.GetExplain() && !j.task.GetAnalyze() && !j.task.GetDescribe() {
		return j.reply(&queryv1.SqlReply{Plan: explained})
	}
	params, err := j.params(plan)
	if err != nil {
		return err
	}
	var sink *sink
	err = db.Query(ctx, plan, tables, params, func(s expr.Schema) (err error) {
		explained.Fields = querywire.FromSchema(s)
		if j.task.GetDescribe() {
			return errDescribed
		}
		sink, err = newSink(s, func(payload []byte, rows int, done bool) error {
			j.out += uint64(rows)
			j.bytes += uint64(len(payload))
			if j.task.GetExplain() {
				return nil
			}
			return j.reply(&queryv1.SqlReply{Batch: &queryv1.SqlResponse{Payload: payload, Counters: j.counters(), Done: done}})
		})
		return err
	}, func(r *exec.Rows) error { return sink.add(r) })
	if errors.Is(err, errDescribed) {
		return j.reply(&queryv1.SqlReply{Plan: explained})
	}
	if err != nil {
		return err
	}
	if g := plan.Groups; g != nil && g.Left != "" { // the last row is about them
		row := explained.GetConjuncts()[len(explained.GetConjuncts())-1]
		row.Pushed, row.Why = false, g.Left
	}
	if err := sink.flush(); err != nil {
		return err
	}
	if j.task.GetExplain() {
		explained.Counters = j.counters()
		return j.reply(&queryv1.SqlReply{Plan: explained})
	}
	return j.reply(&queryv1.SqlReply{Batch: &queryv1.SqlResponse{Payload: []byte(columnar.EndOfStream), Counters: j.counters(), Done: true, Epochs: j.epochs}})
}

func (j *job) counters() *queryv1.Counters {
	out := &queryv1.Counters{RowsOut: j.out, BytesOut: j.bytes, ElapsedNanos: uint64(time.Since(j.began))}
	for _, t := range j.tables {
		c := t.counters.Load()
		if c == nil {
			continue
		}
		out.Chunks += c.GetChunks()
		out.ChunksPruned += c.GetChunksPruned()
		out.ChunksRead += c.GetChunksRead()
		out.RowsScanned += c.GetRowsScanned()
		out.RowsMatched += c.GetRowsMatched()
		out.BytesRead += c.GetBytesRead()
	}
	for _, t := range j.files {
		t.count(out)
	}
	return out
}
