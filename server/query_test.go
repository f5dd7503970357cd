package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"daos/internal/fault"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/server"
	"daos/server/wire"
)

func queries(r *running) queryv1.QueryServiceClient {
	return queryv1.NewQueryServiceClient(dial(r.site.t, "unix:"+r.Socket(), ""))
}

// scanQuery reads a query to its end and checks the proof that it is complete.
func scanQuery(t *testing.T, q queryv1.QueryServiceClient, r *queryv1.ScanRequest) *queryv1.Counters {
	t.Helper()
	st, err := q.Scan(t.Context(), r)
	all := drainStream[queryv1.ScanResponse](t, st, err)
	last := all[len(all)-1]
	if !last.GetDone() || all[0].GetQuery() == "" {
		t.Fatalf("a query ends with %v", last)
	}
	return last.GetCounters()
}

func TestQueryReadsASnapshotWhileFilesChange(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, q := r.clients(), queries(r)
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	for i := range 30 {
		c.put("p/d", fmt.Sprintf("a/f%02d", i), strings.Repeat("x", i))
	}
	c.snapshot("p/d", "s")
	for i := range 10 {
		c.put("p/d", fmt.Sprintf("b/g%02d", i), strings.Repeat("y", 100))
	}
	where := "type = 'file' and size >= 10"
	if n := scanQuery(t, q, &queryv1.ScanRequest{Dataset: "p/d@s", Where: where}); n.GetRowsOut() != 20 {
		t.Errorf("%d rows at the snapshot", n.GetRowsOut())
	}
	if n := scanQuery(t, q, &queryv1.ScanRequest{Dataset: "p/d", Where: where}); n.GetRowsOut() != 30 {
		t.Errorf("%d rows now", n.GetRowsOut())
	}
	// The same as a tree, and both together.
	size := func(fn queryv1.Function, n int64) *queryv1.Expr {
		return &queryv1.Expr{Node: &queryv1.Expr_Call{Call: &queryv1.Call{Function: fn, Args: []*queryv1.Expr{
			{Node: &queryv1.Expr_Column{Column: "size"}}, {Node: &queryv1.Expr_Literal{Literal: &queryv1.Literal{Value: &queryv1.Literal_Integer{Integer: n}}}}}}}}
	}
	if n := scanQuery(t, q, &queryv1.ScanRequest{Dataset: "p/d@s", Where: "type = 'file'", Predicate: size(queryv1.Function_FUNCTION_GE, 10)}); n.GetRowsOut() != 20 {
		t.Errorf("%d rows of a text and a tree", n.GetRowsOut())
	}
}

func TestQueryRefusesWhatIsTooDeep(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, q := r.clients(), queries(r)
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	deep := &queryv1.Expr{Node: &queryv1.Expr_Column{Column: "size"}}
	for range 2000 {
		deep = &queryv1.Expr{Node: &queryv1.Expr_Call{Call: &queryv1.Call{Function: queryv1.Function_FUNCTION_NOT, Args: []*queryv1.Expr{deep}}}}
	}
	for _, bad := range []*queryv1.ScanRequest{
		{Dataset: "p/d", Predicate: deep},
		{Dataset: "p/d", Predicate: &queryv1.Expr{}},
		{Dataset: "p/d", Predicate: &queryv1.Expr{Node: &queryv1.Expr_Call{Call: &queryv1.Call{Function: 9999}}}},
		{Dataset: "p/d", Predicate: &queryv1.Expr{Node: &queryv1.Expr_Call{Call: &queryv1.Call{Function: -1}}}},
		{Dataset: "p/d", Predicate: &queryv1.Expr{Node: &queryv1.Expr_Literal{Literal: &queryv1.Literal{}}}},
		{Dataset: "p/d", Where: strings.Repeat("not ", 1000) + "true"},
		{Dataset: "p/d", BatchRows: 1 << 20},
		{Dataset: "p/d", Aggregates: []*queryv1.Aggregate{{Function: 77}}},
		{Dataset: "p/d", Top: &queryv1.Top{Column: "size", K: 1 << 40}},
		{Dataset: "p/d", Sample: &queryv1.Sample{Fraction: -1}},
	} {
		st, err := q.Scan(t.Context(), bad)
		if err == nil {
			_, err = st.Recv()
		}
		if k := fault.KindOf(wire.Fault(err)); k != fault.Invalid && k != fault.TooBig && k != fault.NotFound {
			t.Errorf("%.80v: %v", bad, err)
		}
	}
	if _, err := q.Explain(t.Context(), &queryv1.ExplainRequest{}); fault.KindOf(wire.Fault(err)) != fault.Invalid {
		t.Errorf("an explain of nothing: %v", err)
	}
}

// slowQuery begins a query over many files and reads no more of it.
func slowQuery(t *testing.T, q queryv1.QueryServiceClient) (grpc.ServerStreamingClient[queryv1.ScanResponse], string) {
	t.Helper()
	st, err := q.Scan(t.Context(), &queryv1.ScanRequest{Dataset: "p/d", BatchRows: 1, Label: "slow"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.Recv()
	if err != nil {
		t.Fatal(wire.Fault(err))
	}
	return st, m.GetQuery()
}

func TestAKilledQueryEndsAndSaysSo(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, q := r.clients(), queries(r)
	c.makePool("p")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	name := strings.Repeat("n", 200)
	for i := range 3000 {
		c.put("p/d", fmt.Sprintf("%s%04d", name, i), "")
	}
	st, id := slowQuery(t, q)
	got := must[*queryv1.ListQueriesResponse](t)(q.ListQueries(t.Context(), &queryv1.ListQueriesRequest{}))
	if n := got.GetQueries(); len(n) != 1 || n[0].GetId() != id || n[0].GetText() != "slow" || n[0].GetUser() == "" {
		t.Fatalf("running: %v", n)
	}
	must[*queryv1.KillQueryResponse](t)(q.KillQuery(t.Context(), &queryv1.KillQueryRequest{Id: id}))
	var err error
	for err == nil {
		_, err = st.Recv()
	}
	if e := wire.Fault(err); errors.Is(err, io.EOF) || !fault.Is(e, fault.Canceled) || !strings.Contains(e.Error(), "was killed") {
		t.Errorf("a killed query ends with %v", err)
	}
	waitFor(t, func() bool {
		got := must[*queryv1.ListQueriesResponse](t)(q.ListQueries(t.Context(), &queryv1.ListQueriesRequest{}))
		return len(got.GetQueries()) == 0
	})
	if _, err := q.KillQuery(t.Context(), &queryv1.KillQueryRequest{Id: id}); fault.KindOf(wire.Fault(err)) != fault.NotFound {
		t.Errorf("killing it again: %v", err)
	}
	// A client that goes away ends its query too.
	ctx, cancel := context.WithCancel(t.Context())
	st2, err := q.Scan(ctx, &queryv1.ScanRequest{Dataset: "p/d", BatchRows: 1, Label: "x" + strings.Repeat("é", 3000)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st2.Recv(); err != nil {
		t.Fatal(err)
	}
	// Its label is cut between letters: the list is readable.
	got = must[*queryv1.ListQueriesResponse](t)(q.ListQueries(t.Context(), &queryv1.ListQueriesRequest{}))
	if n := got.GetQueries(); len(n) != 1 || n[0].GetText() != "x"+strings.Repeat("é", 2047) {
		t.Errorf("running: %v", n)
	}
	cancel()
	waitFor(t, func() bool {
		got := must[*queryv1.ListQueriesResponse](t)(q.ListQueries(t.Context(), &queryv1.ListQueriesRequest{}))
		return len(got.GetQueries()) == 0
	})
}

// waitFor waits for a condition that is going to hold.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to pass")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
