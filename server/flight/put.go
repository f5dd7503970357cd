package flight

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/flight"

	"daos/dataset/kv"
	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/engine/object"
	"daos/internal/fault"
	flightv1 "daos/proto/gen/daos/flight/v1"
	"daos/server/pool"
)

// putTerms is what the first app_metadata of an upload may say, as JSON.
type putTerms struct {
	Mode         string  `json:"mode"` // "append" (the default) or "overwrite"
	Start        *uint64 `json:"start"`
	ExpectLength *uint64 `json:"expect_length"`
	RequestID    string  `json:"request_id"` // 32 hex digits
}

// uploadWait is how long an upload waits for others to end.
const uploadWait = 30 * time.Second

// putAnswer is the app_metadata of the PutResult.
type putAnswer struct {
	Start    uint64 `json:"start"`
	Count    uint64 `json:"count"`
	Epoch    uint64 `json:"epoch"`
	Replayed bool   `json:"replayed,omitempty"`
}

// upload is a DoPut under way: the messages that were read to learn its terms
// come again before the others.
type upload struct {
	in     flight.FlightService_DoPutServer
	first  []*flight.FlightData
	schema *arrow.Schema
	to     target
	terms  flightv1.TensorWrite
}

// DoPut puts pairs into a KV dataset (put_kv.go) or elements into an array
// (put_array.go), appends the uploaded rows to a tensor dataset, or overwrites
// some: all of them in one atomic step when the client has ended its stream. A
// dataset without columns gets those of the upload. Memory does not grow with its size.
func (s *Server) DoPut(in flight.FlightService_DoPutServer) error {
	ctx := in.Context()
	// Nothing is received before there is room: until then gRPC's windows bound
	// what a client can send.
	wait := time.NewTimer(uploadWait)
	defer wait.Stop()
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	case <-wait.C:
		return fault.New(fault.Overloaded, "flight.put", "", "%d uploads are running already", cap(s.uploads)).Do("retry after a while")
	case <-ctx.Done():
		return ctx.Err()
	}
	u := &upload{in: in}
	if err := u.begin(); err != nil {
		return err
	}
	if u.to.address.Snapshot != "" {
		return fault.New(fault.ReadOnly, "flight.put", u.to.address.String(), "a snapshot can't be written to").Do("write to %s", u.to.address.Live().DatasetName())
	}
	r, err := s.o.Catalog.Resolve(ctx, u.to.address)
	if err != nil {
		return err
	}
	read := tensorarrow.NewReader
	if r.Dataset.Type == pool.TypeArray {
		read = tensorarrow.NewElements
	}
	if u.schema, err = parseSchema(u.first[0], read); err != nil {
		return err
	}
	var answer putAnswer
	switch {
	case r.Dataset.Type == pool.TypeArray && u.to.write == nil:
		answer, err = u.storeArray(ctx, &r)
	case u.to.arrayWrite != nil:
		err = wrongType(u.to.address, r.Dataset.Type, u.to.command())
	case r.Dataset.Type == pool.TypeTensor && u.to.address.Path == "":
		answer, err = u.store(ctx, tensor.Open(r.Store, r.Address.DatasetName()))
	case r.Dataset.Type == pool.TypeKV && u.to.address.Path == "" && s.o.Pairs != nil:
		var d *kv.Dataset
		if d, err = s.o.Pairs(&r); err == nil {
			answer, err = u.storePairs(ctx, d)
		}
	default:
		err = fault.New(fault.Invalid, "flight.put", u.to.address.String(), "DoPut writes to tensor and KV datasets, named alone, and to arrays; this one has type %s", r.Dataset.Type).
			Do("name a tensor or KV dataset, or an array by its path or the command array_write")
	}
	if err != nil {
		return err
	}
	b, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return in.Send(&flight.PutResult{AppMetadata: b})
}

// begin reads the descriptor, the message with the schema, and the terms.
func (u *upload) begin() error {
	for len(u.first) < 2 {
		d, err := u.in.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if len(u.first) == 0 && u.to.address.Dataset == "" {
			if d.GetFlightDescriptor() == nil {
				return fault.New(fault.Invalid, "flight.put", "", "an upload without a descriptor").Do(describe)
			}
			if err := u.describe(d.GetFlightDescriptor()); err != nil {
				return err
			}
		}
		if err := u.termsFrom(d.GetAppMetadata()); err != nil {
			return err
		}
		if len(d.GetDataHeader()) == 0 {
			continue
		}
		u.first = append(u.first, d)
	}
	if len(u.first) == 0 {
		return fault.New(fault.Invalid, "flight.put", u.to.address.String(), "an upload without a schema")
	}
	return nil
}

func (u *upload) describe(d *flight.FlightDescriptor) error {
	var err error
	if u.to, err = parseDescriptor(d); err != nil {
		return err
	}
	if !u.to.writes() && u.to.command() != "path" {
		return fault.New(fault.Invalid, "flight.put", u.to.address.String(), "an upload with a command that reads").
			Do("use the path of the dataset, or the command write or array_write of daos.flight.v1.Command")
	}
	if w := u.to.arrayWrite; w != nil {
		u.terms.Overwrite, u.terms.Start = w.Start != nil, w.GetStart()
		u.terms.ExpectLength, u.terms.RequestId = w.ExpectLength, w.RequestId
	}
	if u.to.write != nil {
		u.terms.Overwrite, u.terms.Start = u.to.write.Overwrite, u.to.write.Start
		u.terms.ExpectLength, u.terms.RequestId = u.to.write.ExpectLength, u.to.write.RequestId
	}
	return u.checkID()
}

func (u *upload) checkID() error {
	if n := len(u.terms.RequestId); n != 0 && n != len(object.RequestID{}) {
		return fault.New(fault.Invalid, "flight.put", u.to.address.String(), "a request id of %d bytes, it has %d", n, len(object.RequestID{}))
	}
	return nil
}

func (u *upload) termsFrom(meta []byte) error {
	if len(meta) == 0 {
		return nil
	}
	bad := fault.New(fault.Invalid, "flight.put", u.to.address.String(), "the app_metadata of the first batch are not understood").
		Do(`give JSON: {"mode": "append"} or {"mode": "overwrite", "start": 0}, with "expect_length" and "request_id" (32 hex digits) where wanted`)
	var t putTerms
	if err := json.Unmarshal(meta, &t); err != nil {
		return bad.Because(err)
	}
	switch t.Mode {
	case "", "append":
	case "overwrite":
		u.terms.Overwrite = true
	default:
		return bad
	}
	if t.Start != nil {
		u.terms.Start = *t.Start
	}
	if t.ExpectLength != nil {
		u.terms.ExpectLength = t.ExpectLength
	}
	id, err := hex.DecodeString(t.RequestID)
	if err != nil {
		return bad.Because(err)
	}
	if len(id) > 0 {
		u.terms.RequestId = id
	}
	return u.checkID()
}

// store runs the append or overwrite.
func (u *upload) store(ctx context.Context, table *tensor.Table) (putAnswer, error) {
	have, err := table.Describe(ctx, 0)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return putAnswer{}, err
	}
	if len(have.Columns) == 0 && !u.terms.Overwrite {
		cols, err := tensorarrow.ColumnsOf(u.schema)
		if err != nil {
			return putAnswer{}, err
		}
		if _, err := table.Define(ctx, object.RequestID{}, cols); err != nil && !fault.Is(err, fault.Exists) {
			return putAnswer{}, err
		}
		if have, err = table.Describe(ctx, 0); err != nil {
			return putAnswer{}, err
		}
	}
	var id object.RequestID
	copy(id[:], u.terms.RequestId)
	if !u.terms.Overwrite {
		res, err := table.Append(ctx, tensor.AppendOptions{Request: id, ExpectLength: u.terms.ExpectLength}, tensorarrow.NewSource(have.Columns, u.streams()))
		return putAnswer{Start: res.Start, Count: res.Count, Epoch: uint64(res.Epoch), Replayed: res.Replayed}, err
	}
	names, cols, err := chosen(have.Columns, u.schema)
	if err != nil {
		return putAnswer{}, err
	}
	if want := u.terms.ExpectLength; want != nil && *want != have.Length {
		return putAnswer{}, fault.New(fault.Conflict, "flight.put", u.to.address.DatasetName(), "the length is %d, not %d as expected", have.Length, *want)
	}
	res, err := table.Overwrite(ctx, tensor.OverwriteOptions{Request: id, Start: u.terms.Start, Columns: names}, tensorarrow.NewSource(cols, u.streams()))
	return putAnswer{Start: res.Start, Count: res.Count, Epoch: uint64(res.Epoch), Replayed: res.Replayed}, err
}

// chosen are the columns of a table that an upload has.
func chosen(have []tensor.Column, s *arrow.Schema) (names []string, cols []tensor.Column, err error) {
	for _, f := range s.Fields() {
		found := false
		for _, c := range have {
			if c.Name == f.Name {
				names, cols, found = append(names, c.Name), append(cols, c), true
			}
		}
		if !found {
			return nil, nil, fault.New(fault.Invalid, "flight.put", f.Name, "there is no such column")
		}
	}
	return names, cols, nil
}

// streams gives the upload's one stream, the messages read by begin first.
func (u *upload) streams() func(context.Context) (io.Reader, error) {
	given := false
	return func(context.Context) (io.Reader, error) {
		if given {
			return nil, io.EOF
		}
		given = true
		return &receiver{recv: func() (*flight.FlightData, error) {
			if len(u.first) > 0 {
				d := u.first[0]
				u.first[0] = nil
				u.first = u.first[1:]
				return d, nil
			}
			return u.in.Recv()
		}}, nil
	}
}
