package flight

import (
	"bytes"
	"io"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"google.golang.org/protobuf/proto"

	"daos/dataset/tensor/tensorarrow"
	flightv1 "daos/proto/gen/daos/flight/v1"
)

// FuzzDescriptor reads paths, commands and tickets that nobody vouches for.
func FuzzDescriptor(f *testing.F) {
	key := bytes.Repeat([]byte{1}, 32)
	read := &flightv1.Command{Of: &flightv1.Command_Tensor{Tensor: &flightv1.TensorRead{Dataset: "p/t@s1", Stop: 3}}}
	b, _ := proto.Marshal(read)
	good, _ := ticket(key, 7, read)
	f.Add("p", "t@s1", b)
	f.Add("p/t", "", good)
	for _, c := range []string{
		`{"scan": {"dataset": "p/t@s1/a", "where": "x > 3", "aggregates": ["avg(x)", {"function": 1}], "top": {"column": "x", "k": 3}}}`,
		`{"sql": "SELECT $k", "params": {"k": 18446744073709551615, "t": "a", "n": null, "f": 1e300}}`, `{"sql": {"text": "SELECT ?"}, "params": [true]}`,
		`{"view": {"dataset": "p/t", "name": "v"}}`, `{"kv": {"dataset": "p/kv", "prefix": "cnVu"}}`,
		"\x0a\x40type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery\x12\x0a\x0a\x08SELECT 1",
	} {
		f.Add("p", "t", []byte(c))
	}
	f.Fuzz(func(t *testing.T, a, b string, c []byte) {
		if to, err := parsePath([]string{a, b}); err == nil && to.address.Dataset == "" {
			t.Fatalf("path %q %q names no dataset", a, b)
		}
		if to, err := parseCommand(c); err == nil && (to.command() == "path" || to.address.Dataset == "" && to.command() != "sql" && to.listing == nil) {
			t.Fatalf("command %x asks for nothing: %+v", c, to)
		}
		if _, id, err := openTicket(key, c); err == nil {
			again, _, err := openTicket(bytes.Repeat([]byte{2}, 32), c)
			if err == nil {
				t.Fatalf("a ticket of dataset %d is good under two keys: %+v", id, again)
			}
		}
	})
}

// FuzzRequest reads a schema and a record batch as DoExchange does.
func FuzzRequest(f *testing.F) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int64}}, nil)
	ib := array.NewInt64Builder(memory.DefaultAllocator)
	ib.AppendValues([]int64{1, 2, 3}, nil)
	var sent []*flight.FlightData
	w := flight.NewRecordWriter(keep{&sent}, ipc.WithSchema(schema))
	if err := w.Write(array.NewRecord(schema, []arrow.Array{ib.NewArray()}, 3)); err != nil {
		f.Fatal(err)
	}
	f.Add(sent[0].DataHeader, sent[1].DataHeader, sent[1].DataBody)
	f.Fuzz(func(t *testing.T, schema, header, body []byte) {
		s := &flight.FlightData{DataHeader: schema}
		if _, err := parseSchema(s, tensorarrow.NewReader); err != nil {
			return
		}
		rec, err := parseBatch(s, &flight.FlightData{DataHeader: header, DataBody: body})
		if err != nil {
			return
		}
		if idx, err := indicesOf(rec); err == nil && int64(len(idx)) != rec.NumRows() {
			t.Fatalf("%d indices in %d rows", len(idx), rec.NumRows())
		}
	})
}

type keep struct{ to *[]*flight.FlightData }

func (k keep) Send(d *flight.FlightData) error {
	*k.to = append(*k.to, proto.CloneOf(d))
	return nil
}

func TestReceiver_IsTheStreamThatArrowWrites(t *testing.T) {
	messages := []*flight.FlightData{{DataHeader: []byte("123456789"), DataBody: []byte("body")}, {}, {AppMetadata: []byte("x")}, {DataHeader: []byte("12345678")}}
	r := &receiver{recv: func() (*flight.FlightData, error) {
		if len(messages) == 0 {
			return nil, io.EOF
		}
		d := messages[0]
		messages = messages[1:]
		return d, nil
	}}
	got, err := io.ReadAll(r)
	want := "\xff\xff\xff\xff\x10\x00\x00\x00123456789\x00\x00\x00\x00\x00\x00\x00body" + "\xff\xff\xff\xff\x08\x00\x00\x0012345678" + "\xff\xff\xff\xff\x00\x00\x00\x00"
	if err != nil || string(got) != want {
		t.Fatalf("%q, %v", got, err)
	}
}
