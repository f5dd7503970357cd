package server_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/apache/arrow/go/v17/arrow/flight/flightsql"
	"github.com/apache/arrow/go/v17/arrow/memory"

	arrayv1 "daos/proto/gen/daos/array/v1"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	"daos/server"
)

// rows reads all rows of a listing as text, a column behind the other.
func rows(t *testing.T, c *flightsql.Client, info *flight.FlightInfo, err error) (out []string, schemas []*arrow.Schema) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range info.GetEndpoint() {
		rd, err := c.DoGet(t.Context(), e.GetTicket())
		if err != nil {
			t.Fatal(err)
		}
		for rd.Next() {
			rec := rd.Record()
			for i := range int(rec.NumRows()) {
				var row []string
				for k := range int(rec.NumCols()) {
					if b, ok := rec.Column(k).(*array.Binary); ok {
						s, err := flight.DeserializeSchema(b.Value(i), memory.DefaultAllocator)
						if err != nil {
							t.Fatal(err)
						}
						schemas = append(schemas, s)
						continue
					}
					row = append(row, rec.Column(k).ValueStr(i))
				}
				out = append(out, strings.Join(row, " "))
			}
		}
		if err := rd.Err(); err != nil {
			t.Fatal(err)
		}
		rd.Release()
	}
	return out, schemas
}

// TestFlightSQLSaysWhatThereIs: what stock clients ask before anything else.
func TestFlightSQLSaysWhatThereIs(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c := r.clients()
	c.makePool("p")
	c.makePool("q")
	c.makeDataset("p/d", datasetv1.Type_TYPE_POSIX)
	c.makeDataset("p/kv", datasetv1.Type_TYPE_KV)
	c.makeDataset("p/t", datasetv1.Type_TYPE_TENSOR) // without columns yet
	c.makeDataset("q/w", datasetv1.Type_TYPE_ARRAY)
	cc := dial(t, r.Addr(), r.site.token())
	for _, path := range []string{"g/x", "y_1"} {
		spec := &arrayv1.ArraySpec{Dtype: "float32", Shape: []uint64{4, 3}, Chunks: []uint64{2, 3}}
		must[*arrayv1.CreateResponse](t)(arrayv1.NewArrayServiceClient(cc).Create(c.ctx, &arrayv1.CreateRequest{Dataset: "q/w", Path: path, Spec: spec}))
	}
	sql := &flightsql.Client{Client: flight.NewClientFromConn(cc, nil), Alloc: memory.DefaultAllocator}
	ctx := t.Context()
	same := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	text := func(s string) *string { return &s }

	info, err := sql.GetCatalogs(ctx)
	got, _ := rows(t, sql, info, err)
	same(got, "p", "q")
	info, err = sql.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{})
	got, _ = rows(t, sql, info, err)
	same(got, "p ", "q ")
	info, err = sql.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{Catalog: text("q"), DbSchemaFilterPattern: text("%")})
	got, _ = rows(t, sql, info, err)
	same(got, "q ")
	info, err = sql.GetTableTypes(ctx)
	got, _ = rows(t, sql, info, err)
	same(got, "TABLE")
	info, err = sql.GetTables(ctx, &flightsql.GetTablesOpts{})
	got, _ = rows(t, sql, info, err)
	same(got, "p  p/d TABLE", "p  p/kv TABLE", "p  p/t TABLE", "q  q/w/g/x TABLE", "q  q/w/y_1 TABLE")
	for _, x := range []struct {
		opts *flightsql.GetTablesOpts
		want []string
	}{
		{&flightsql.GetTablesOpts{Catalog: text("q")}, []string{"q  q/w/g/x TABLE", "q  q/w/y_1 TABLE"}},
		{&flightsql.GetTablesOpts{TableNameFilterPattern: text(`%y\_1`)}, []string{"q  q/w/y_1 TABLE"}},
		{&flightsql.GetTablesOpts{TableNameFilterPattern: text(`%g_x`)}, []string{"q  q/w/g/x TABLE"}},
		{&flightsql.GetTablesOpts{TableNameFilterPattern: text(`%g\_x`)}, nil},
		{&flightsql.GetTablesOpts{TableTypes: []string{"VIEW"}}, nil},
		{&flightsql.GetTablesOpts{DbSchemaFilterPattern: text("main")}, nil},
		{&flightsql.GetTablesOpts{Catalog: text("")}, nil},
	} {
		info, err = sql.GetTables(ctx, x.opts)
		got, _ = rows(t, sql, info, err)
		same(got, x.want...)
	}
	info, err = sql.GetTables(ctx, &flightsql.GetTablesOpts{IncludeSchema: true, TableNameFilterPattern: text("%/_")})
	got, schemas := rows(t, sql, info, err)
	same(got, "p  p/d TABLE", "p  p/t TABLE", "q  q/w/g/x TABLE")
	if n := len(schemas); n != 3 || !schemas[0].HasField("path") || schemas[1].NumFields() != 0 || !schemas[2].HasField("value") {
		t.Errorf("schemas %v", schemas)
	}
	// Elements that are no column of a table keep nobody from the other tables.
	spec := &arrayv1.ArraySpec{Dtype: "complex64", Shape: []uint64{4}, Chunks: []uint64{4}}
	must[*arrayv1.CreateResponse](t)(arrayv1.NewArrayServiceClient(cc).Create(c.ctx, &arrayv1.CreateRequest{Dataset: "q/w", Path: "z", Spec: spec}))
	info, err = sql.GetTables(ctx, &flightsql.GetTablesOpts{IncludeSchema: true, Catalog: text("q")})
	got, schemas = rows(t, sql, info, err)
	same(got, "q  q/w/g/x TABLE", "q  q/w/y_1 TABLE", "q  q/w/z TABLE")
	if n := len(schemas); n != 3 || !schemas[1].HasField("value") || schemas[2].NumFields() != 0 {
		t.Errorf("schemas %v", schemas)
	}
	info, err = sql.GetSqlInfo(ctx, []flightsql.SqlInfo{flightsql.SqlInfoFlightSqlServerName, flightsql.SqlInfoFlightSqlServerReadOnly, 77777})
	if got, _ = rows(t, sql, info, err); len(got) != 2 || !strings.Contains(got[0], "daos") {
		t.Errorf("%q", got)
	}
	info, err = sql.GetSqlInfo(ctx, nil)
	if got, _ = rows(t, sql, info, err); len(got) != 10 {
		t.Errorf("%q", got)
	}
	info, err = sql.GetSqlInfo(ctx, []flightsql.SqlInfo{77777})
	got, _ = rows(t, sql, info, err)
	same(got)
	info, err = sql.GetPrimaryKeys(ctx, flightsql.TableRef{Table: "p/d"})
	got, _ = rows(t, sql, info, err)
	same(got)
	if _, err := sql.GetTables(ctx, &flightsql.GetTablesOpts{TableNameFilterPattern: text(strings.Repeat("%", 2000))}); err != nil {
		t.Fatal(err) // its ticket is what fails
	}
	if _, err := sql.GetXdbcTypeInfo(ctx, nil); err == nil || !strings.Contains(err.Error(), "is not served") {
		t.Errorf("types: %v", err)
	}
}
