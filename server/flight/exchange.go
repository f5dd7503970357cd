package flight

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/flight"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/server/pool"
)

const (
	maxIndices = 1 << 16 // of one request
	// exchangeBatch is about the largest batch that answers a request. Clients
	// that take only 4 MiB a message must ask for less, or raise their limit.
	exchangeBatch = 32 << 20
	fastBatch     = 8 << 20
)

// exchangeRequest is a request of DoExchange as JSON in app_metadata.
type exchangeRequest struct {
	Indices []uint64 `json:"indices"`
	Start   *uint64  `json:"start"`
	Stop    *uint64  `json:"stop"`
	Step    uint64   `json:"step"`
}

// exchangeMeta is the app_metadata of each batch that answers one.
type exchangeMeta struct {
	Request uint64 `json:"request"` // number of the request, from 0
	Last    bool   `json:"last"`    // the answer is complete
}

// DoExchange answers requests for samples of a tensor dataset, in order, at one
// epoch for the whole exchange. A request is a record batch with one column of
// int64 (or uint64) indices, or JSON in the app_metadata of a message without data.
func (s *Server) DoExchange(both flight.FlightService_DoExchangeServer) error {
	ctx := both.Context()
	d, err := both.Recv()
	if err == io.EOF {
		return fault.New(fault.Invalid, "flight.exchange", "", "an exchange without a descriptor").Do(describe)
	}
	if err != nil {
		return err
	}
	if d.GetFlightDescriptor() == nil {
		return fault.New(fault.Invalid, "flight.exchange", "", "an exchange without a descriptor").Do(describe)
	}
	to, err := parseDescriptor(d.GetFlightDescriptor())
	if err != nil {
		return err
	}
	if to.scan != nil || to.sql != nil || to.view != nil || to.listing != nil {
		return fault.New(fault.Invalid, "flight.exchange", to.address.String(), "DoExchange reads samples by index, not a %s", to.command()).
			Do("use the path of a tensor dataset, or the command tensor of daos.flight.v1.Command")
	}
	r, err := s.o.Catalog.Resolve(ctx, to.address)
	if err != nil {
		return err
	}
	if r.Dataset.Type != pool.TypeTensor || to.entries != nil || to.writes() {
		return fault.New(fault.Invalid, "flight.exchange", to.address.String(), "DoExchange reads samples of tensor datasets, this one has type %s", r.Dataset.Type).
			Do("use the path of a tensor dataset, or the command tensor of daos.flight.v1.Command")
	}
	epoch, err := r.Epoch(ctx, object.Epoch(to.tensor.GetEpoch()), 0)
	if err != nil {
		return err
	}
	if r.Snapshot == nil {
		stop, err := s.keepPinned(ctx, r.Dataset.ID, epoch)
		if err != nil {
			return err
		}
		defer stop()
	}
	e := &exchange{table: tensor.Open(r.Store, r.Address.DatasetName()), epoch: epoch, columns: to.tensor.GetColumns()}
	if e.fast, err = s.table(ctx, &r, e.columns, both); err != nil {
		return err
	}
	if e.fast != nil {
		e.out = e.fast.sender
	} else {
		first, err := e.table.Read(ctx, epoch, tensor.Selection{Columns: e.columns})
		if err != nil {
			return err
		}
		if e.out, err = newSender(both, tensorarrow.SchemaOf(first.Columns())); err != nil {
			return err
		}
	}
	for {
		if err := e.message(ctx, d); err != nil {
			return err
		}
		if d, err = both.Recv(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

type exchange struct {
	table   *tensor.Table
	epoch   object.Epoch
	columns []string
	out     *sender
	fast    *tableSender       // at a snapshot; nil: through table
	schema  *flight.FlightData // of the client's record batches
	next    uint64             // number of the next request
}

// message takes one message of the client.
func (e *exchange) message(ctx context.Context, d *flight.FlightData) error {
	if len(d.GetDataHeader()) > 0 {
		if e.schema == nil { // the first message with Arrow metadata is the schema
			e.schema = &flight.FlightData{DataHeader: d.GetDataHeader()}
			_, err := parseSchema(d, tensorarrow.NewReader)
			return err
		}
		rec, err := parseBatch(e.schema, d)
		if err != nil {
			return err
		}
		idx, err := indicesOf(rec)
		if err != nil {
			return err
		}
		return e.answer(ctx, tensor.Selection{ByIndex: true, Indices: idx})
	}
	if len(d.GetAppMetadata()) == 0 {
		return nil // the descriptor alone
	}
	var q exchangeRequest
	if err := json.Unmarshal(d.GetAppMetadata(), &q); err != nil {
		return fault.New(fault.Invalid, "flight.exchange", "", "the request in app_metadata can't be read").Because(err).
			Do(`give {"indices": [...]}, or {"start": 0, "stop": 10, "step": 1}`)
	}
	if len(q.Indices) > maxIndices {
		return tooMany(len(q.Indices))
	}
	if q.Indices != nil {
		return e.answer(ctx, tensor.Selection{ByIndex: true, Indices: q.Indices})
	}
	sel := tensor.Selection{Step: q.Step, Stop: 1<<64 - 1}
	if q.Start != nil {
		sel.Start = *q.Start
	}
	if q.Stop != nil {
		sel.Stop = *q.Stop
	}
	return e.answer(ctx, sel)
}

func (e *exchange) answer(ctx context.Context, sel tensor.Selection) error {
	if e.fast != nil {
		if indices := indicesIn(sel, e.fast.m.Info().Samples); len(indices) > 0 {
			number := e.next
			e.next++
			return e.fast.send(ctx, indices, fastBatch, func(last bool) ([]byte, error) {
				return json.Marshal(exchangeMeta{Request: number, Last: last})
			})
		}
	}
	sel.Columns = e.columns
	rd, err := e.table.Read(ctx, e.epoch, sel)
	if err != nil {
		return err
	}
	meta := exchangeMeta{Request: e.next}
	e.next++
	cols := rd.Columns()
	rows, err := rd.Next(ctx)
	if errors.Is(err, io.EOF) { // no samples: one batch without rows
		empty := &tensor.Rows{Columns: make([]tensor.Data, len(cols))}
		for i := range empty.Columns {
			empty.Columns[i].Offsets = []uint64{0}
		}
		return e.send(cols, empty, 0, 0, meta, true)
	}
	for {
		if err != nil {
			return err
		}
		next, nextErr := rd.Next(ctx)
		if nextErr != nil && !errors.Is(nextErr, io.EOF) {
			return nextErr
		}
		for from := 0; from < rows.N; {
			to := fit(cols, rows, from, exchangeBatch)
			if err := e.send(cols, rows, from, to, meta, to == rows.N && nextErr != nil); err != nil {
				return err
			}
			from = to
		}
		if nextErr != nil {
			return nil
		}
		rows = next
	}
}

// indicesIn lists what a selection selects; nothing for a slice of none or of
// more than maxIndices samples. Indices out of range are left to the reader.
func indicesIn(sel tensor.Selection, length uint64) []uint64 {
	if sel.ByIndex {
		return sel.Indices
	}
	step, stop := max(sel.Step, 1), min(sel.Stop, length)
	if sel.Start >= stop || (stop-sel.Start-1)/step >= maxIndices {
		return nil
	}
	out := make([]uint64, (stop-sel.Start-1)/step+1)
	for k := range out {
		out[k] = sel.Start + uint64(k)*step
	}
	return out
}

func (e *exchange) send(cols []tensor.Column, rows *tensor.Rows, from, to int, meta exchangeMeta, last bool) error {
	meta.Last = last
	b, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	return sendRows(e.out, cols, rows, from, to, b)
}

func tooMany(n int) error {
	return fault.New(fault.TooBig, "flight.exchange", "", "%d indices in one request, at most %d are allowed", n, maxIndices).Do("ask for fewer samples at a time")
}

// indicesOf reads the one column of a request.
func indicesOf(rec arrow.Record) ([]uint64, error) {
	if rec.NumCols() != 1 {
		return nil, fault.New(fault.Invalid, "flight.exchange", "", "a request of %d columns", rec.NumCols()).Do("give one column of int64 sample indices")
	}
	if rec.NumRows() > maxIndices {
		return nil, tooMany(int(rec.NumRows()))
	}
	col := rec.Column(0)
	if int64(col.Len()) != rec.NumRows() {
		return nil, fault.New(fault.Invalid, "flight.exchange", "", "a column of %d values in a batch of %d rows", col.Len(), rec.NumRows())
	}
	if col.NullN() > 0 {
		return nil, fault.New(fault.Invalid, "flight.exchange", "", "a null among the sample indices")
	}
	out := make([]uint64, col.Len())
	switch c := col.(type) {
	case *array.Int64:
		for i, v := range c.Int64Values() {
			if v < 0 {
				return nil, fault.New(fault.Invalid, "flight.exchange", "", "index %d (number %d of the list) is negative", v, i)
			}
			out[i] = uint64(v)
		}
	case *array.Uint64:
		copy(out, c.Uint64Values())
	default:
		return nil, fault.New(fault.Invalid, "flight.exchange", "", "sample indices of type %s", col.DataType()).Do("give one column of int64")
	}
	return out, nil
}
