package server_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"daos/internal/fault"
	commonv1 "daos/proto/gen/daos/common/v1"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	kvv1 "daos/proto/gen/daos/kv/v1"
	"daos/server"
	"daos/server/wire"
)

func kvClient(r *running) kvv1.KvServiceClient {
	return kvv1.NewKvServiceClient(dial(r.site.t, "unix:"+r.Socket(), ""))
}

func putOp(key string, size int) *kvv1.Op {
	return &kvv1.Op{Kind: kvv1.OpKind_OP_KIND_PUT, Key: []byte(key), Size: uint64(size)}
}

// What is malformed, too large or of another type is refused by name, and
// leaves everything as it was.
func TestKVRefusals(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, k := r.clients(), kvClient(r)
	ctx := t.Context()
	c.makePool("p")
	c.makeDataset("p/k", datasetv1.Type_TYPE_KV)
	c.makeDataset("p/files", datasetv1.Type_TYPE_POSIX)
	apply := func(dataset string, payload []byte, ops ...*kvv1.Op) error {
		_, err := k.Apply(ctx, &kvv1.ApplyRequest{Dataset: dataset, Ops: ops, Payload: payload})
		return err
	}
	columns := func(puts *kvv1.Puts, payload []byte, ops ...*kvv1.Op) error {
		_, err := k.Apply(ctx, &kvv1.ApplyRequest{Dataset: "p/k", Puts: puts, Ops: ops, Payload: payload})
		return err
	}
	if err := apply("p/k", []byte("v"), putOp("k", 1)); err != nil {
		t.Fatal(err)
	}
	must[*datasetv1.CreateSnapshotResponse](t)(c.dataset.CreateSnapshot(ctx, &datasetv1.CreateSnapshotRequest{Dataset: "p/k", Name: "s"}))
	many := make([]*kvv1.Op, 16385)
	for i := range many {
		many[i] = putOp("x", 0)
	}
	keys := make([][]byte, 32769)
	for i := range keys {
		keys[i] = []byte("k")
	}
	field := func(name, kind string) *kvv1.DefineRequest {
		return &kvv1.DefineRequest{Dataset: "p/k", Schema: &kvv1.Schema{Encoding: kvv1.Encoding_ENCODING_JSON, Fields: []*kvv1.Field{{Name: name, Type: kind}}}}
	}
	err2 := func(_ any, err error) error { return err }
	for name, c := range map[string]struct {
		err  error
		kind fault.Kind
		says string
	}{
		"no dataset":        {apply("p/none", nil, putOp("x", 0)), fault.NotFound, "p/none"},
		"another type":      {apply("p/files", nil, putOp("x", 0)), fault.Invalid, "posix"},
		"a snapshot":        {apply("p/k@s", nil, putOp("x", 0)), fault.ReadOnly, "p/k@s"},
		"short payload":     {apply("p/k", []byte("abc"), putOp("x", 4)), fault.Invalid, "change 0"},
		"size overflow":     {apply("p/k", []byte("abc"), putOp("x", 3), &kvv1.Op{Kind: 1, Key: []byte("y"), Size: 1<<64 - 1}), fault.Invalid, "change 1"},
		"long payload":      {apply("p/k", []byte("abc"), putOp("x", 2)), fault.Invalid, "belong to no change"},
		"short keys":        {columns(&kvv1.Puts{Keys: []byte("ab"), KeySizes: []uint32{1, 2}, Sizes: []uint32{0, 0}}, nil), fault.Invalid, "put 1"},
		"long keys":         {columns(&kvv1.Puts{Keys: []byte("abc"), KeySizes: []uint32{1, 1}, Sizes: []uint32{0, 0}}, nil), fault.Invalid, "belong to no put"},
		"fewer values":      {columns(&kvv1.Puts{Keys: []byte("ab"), KeySizes: []uint32{1, 1}, Sizes: []uint32{0}}, nil), fault.Invalid, "2 puts with 1"},
		"values short":      {columns(&kvv1.Puts{Keys: []byte("ab"), KeySizes: []uint32{1, 1}, Sizes: []uint32{1, 1<<32 - 1}}, []byte("abc")), fault.Invalid, "change 1"},
		"values long":       {columns(&kvv1.Puts{Keys: []byte("a"), KeySizes: []uint32{1}, Sizes: []uint32{1}}, []byte("abc")), fault.Invalid, "belong to no change"},
		"empty key of puts": {columns(&kvv1.Puts{KeySizes: []uint32{0}, Sizes: []uint32{0}}, nil), fault.Invalid, "empty key"},
		"long akey of puts": {columns(&kvv1.Puts{Keys: []byte("a"), KeySizes: []uint32{1}, Sizes: []uint32{0}, Akey: make([]byte, 256)}, nil), fault.TooBig, "256"},
		"too many puts":     {columns(&kvv1.Puts{KeySizes: make([]uint32, 16384), Sizes: make([]uint32, 16384)}, nil, many[0]), fault.TooBig, "16385"},
		"empty key":         {apply("p/k", nil, putOp("", 0)), fault.Invalid, "empty key"},
		"long key":          {apply("p/k", nil, putOp(strings.Repeat("k", 1025), 0)), fault.TooBig, "1025"},
		"no kind":           {apply("p/k", nil, &kvv1.Op{Key: []byte("x")}), fault.Invalid, "unknown change"},
		"strange kind":      {apply("p/k", nil, &kvv1.Op{Kind: -1, Key: []byte("x")}), fault.Invalid, "unknown change"},
		"strange condition": {apply("p/k", nil, &kvv1.Op{Kind: 1, Key: []byte("x"), When: 77}), fault.Invalid, "unknown condition"},
		"too many":          {apply("p/k", nil, many...), fault.TooBig, "16385"},
		"request id": {err2(k.Apply(ctx, &kvv1.ApplyRequest{Dataset: "p/k", Ops: many[:1], Mutation: &commonv1.Mutation{RequestId: []byte("short")}})),
			fault.Invalid, "request id"},
		"many names":     {err2(k.Get(ctx, &kvv1.GetRequest{Dataset: "p/k", Keys: keys})), fault.TooBig, "32769"},
		"epoch":          {err2(k.Get(ctx, &kvv1.GetRequest{Dataset: "p/k@s", Keys: keys[:1], Epoch: 7})), fault.Invalid, "p/k@s"},
		"future":         {err2(k.Get(ctx, &kvv1.GetRequest{Dataset: "p/k", Keys: keys[:1], Epoch: 1 << 63})), fault.Invalid, "p/k"},
		"anchor":         {err2(k.List(ctx, &kvv1.ListRequest{Dataset: "p/k", Anchor: []byte("anchor of nothing")})), fault.Invalid, "anchor"},
		"turned anchor":  {err2(k.List(ctx, &kvv1.ListRequest{Dataset: "p/k", Anchor: append([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 'k')})), fault.Invalid, "direction"},
		"long bound":     {err2(k.List(ctx, &kvv1.ListRequest{Dataset: "p/k", Prefix: make([]byte, 5000)})), fault.TooBig, "bound"},
		"no fields":      {err2(k.Define(ctx, &kvv1.DefineRequest{Dataset: "p/k"})), fault.Invalid, "encoding"},
		"strange type":   {err2(k.Define(ctx, field("x", "decimal"))), fault.Invalid, "decimal"},
		"nameless field": {err2(k.Define(ctx, field("", "int8"))), fault.Invalid, "name"},
		"late schema":    {err2(k.Define(ctx, field("x", "int8"))), fault.NotEmpty, "p/k"},
	} {
		if err := wire.Fault(c.err); !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %v that says %q", name, c.err, c.kind, c.says)
		}
	}
	stream := must[kvPutStream](t)(k.Put(ctx))
	if _, err := stream.CloseAndRecv(); !fault.Is(wire.Fault(err), fault.Invalid) {
		t.Errorf("an empty stream: %v", err)
	}
	read := must[kvReadStream](t)(k.Read(ctx, &kvv1.ReadRequest{Dataset: "p/k", Key: []byte("none")}))
	if _, err := read.Recv(); !fault.Is(wire.Fault(err), fault.NotFound) || !strings.Contains(err.Error(), "none") {
		t.Errorf("a missing value: %v", err)
	}
	l := must[*kvv1.ListResponse](t)(k.List(ctx, &kvv1.ListRequest{Dataset: "p/k", Values: true}))
	if len(l.GetPairs()) != 1 || string(l.GetPayload()) != "v" {
		t.Errorf("what was refused has left something: %v", l)
	}
}

// Puts that come as columns are carried out before the others of their batch.
func TestKVColumnsOfPuts(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, k := r.clients(), kvClient(r)
	ctx := t.Context()
	c.makePool("p")
	c.makeDataset("p/k", datasetv1.Type_TYPE_KV)
	puts := &kvv1.Puts{Keys: []byte("abbccc"), KeySizes: []uint32{1, 2, 3}, Sizes: []uint32{2, 0, 1}, Akey: []byte("x")}
	ops := []*kvv1.Op{
		{Kind: kvv1.OpKind_OP_KIND_APPEND, Key: []byte("a"), Akey: []byte("x"), Size: 3},
		{Kind: kvv1.OpKind_OP_KIND_DELETE, Key: []byte("bb"), Akey: []byte("x")},
	}
	done := must[*kvv1.ApplyResponse](t)(k.Apply(ctx, &kvv1.ApplyRequest{Dataset: "p/k", Puts: puts, Ops: ops, Payload: []byte("12" + "3" + "456")}))
	if got := done.GetResults(); len(got) != 2 || got[0].GetSize() != 5 || got[1].GetRemoved() != 1 {
		t.Errorf("results %v", got)
	}
	l := must[*kvv1.ListResponse](t)(k.List(ctx, &kvv1.ListRequest{Dataset: "p/k", Values: true}))
	if len(l.GetPairs()) != 2 || string(l.GetPairs()[0].GetAkey()) != "x" || string(l.GetPairs()[1].GetKey()) != "ccc" || string(l.GetPayload()) != "124563" {
		t.Errorf("there is %v", l)
	}
}

type kvPutStream = interface {
	Send(*kvv1.PutRequest) error
	CloseAndRecv() (*kvv1.PutResponse, error)
}

type kvReadStream = interface {
	Recv() (*kvv1.ReadResponse, error)
}

// Answers fit into what a stock gRPC client takes, and go on where they ended.
func TestKVAnswersAreBounded(t *testing.T) {
	r := newSite(t).start(server.Options{})
	c, k := r.clients(), kvClient(r)
	ctx := t.Context()
	c.makePool("p")
	c.makeDataset("p/k", datasetv1.Type_TYPE_KV)
	var keys [][]byte
	for i := range 40 {
		key := string([]byte{byte('a' + i/26), byte('a' + i%26)})
		keys = append(keys, []byte(key))
		size := 200_000
		if i == 17 {
			size = 5 << 20
		}
		if _, err := k.Apply(ctx, &kvv1.ApplyRequest{Dataset: "p/k", Ops: []*kvv1.Op{putOp(key, size)}, Payload: bytes.Repeat([]byte{byte(i)}, size)}); err != nil {
			t.Fatal(err)
		}
	}
	calls := 0
	for at := 0; at < len(keys); calls++ {
		g := must[*kvv1.GetResponse](t)(k.Get(ctx, &kvv1.GetRequest{Dataset: "p/k", Keys: keys[at:]}))
		if len(g.GetPayload()) > 3<<20 {
			t.Fatalf("%d bytes at once", len(g.GetPayload()))
		}
		pos := 0
		for i := range int(g.GetServed()) {
			n := int(g.GetSizes()[i]) - 1
			if g.GetPayload()[pos] != byte(at+i) || g.GetPayload()[pos+n-1] != byte(at+i) {
				t.Fatalf("value %d is another one", at+i)
			}
			pos += n
		}
		at += int(g.GetServed())
		if g.GetServed() > 0 {
			continue
		}
		if at != 17 || g.GetSizes()[0] != 5<<20+1 {
			t.Fatalf("value %d was not served: %v", at, g.GetSizes())
		}
		st := must[kvReadStream](t)(k.Read(ctx, &kvv1.ReadRequest{Dataset: "p/k", Key: keys[at], Epoch: g.GetEpoch(), Offset: 100}))
		n := 0
		for {
			m, err := st.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n += len(m.GetPayload())
		}
		if n != 5<<20-100 {
			t.Fatalf("%d bytes of the large value", n)
		}
		at++
	}
	if calls < 4 {
		t.Errorf("%d calls", calls)
	}
	req := &kvv1.ListRequest{Dataset: "p/k", Values: true}
	var seen []string
	for {
		l := must[*kvv1.ListResponse](t)(k.List(ctx, req))
		if len(l.GetPayload()) > 3<<20 {
			t.Fatalf("%d bytes in a page", len(l.GetPayload()))
		}
		for _, p := range l.GetPairs() {
			seen = append(seen, string(p.GetKey()))
			if p.GetLarge() != (string(p.GetKey()) == string(keys[17])) {
				t.Errorf("%q: large %v", p.GetKey(), p.GetLarge())
			}
		}
		if len(l.GetAnchor()) == 0 {
			break
		}
		req.Anchor = l.GetAnchor()
	}
	if strings.Join(seen, "") != string(bytes.Join(keys, nil)) {
		t.Errorf("listed %q", seen)
	}
}
