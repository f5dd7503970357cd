package flight

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/flight"

	"daos/dataset/posix"
	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	"daos/internal/rescue"
	flightv1 "daos/proto/gen/daos/flight/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
	"daos/query/scan"
	"daos/server/codec"
	"daos/server/pool"
)

// scanRows is how many rows a batch of a scan has that names no number: with
// the default columns and usual paths it stays below maxBatch.
const scanRows = 32 << 10

// renewPin is how often a reader of a live dataset renews its pin.
const renewPin = pool.PinTTL / 4

// DoGet sends the rows of a ticket: the same ones in the same order whenever it
// is used.
func (s *Server) DoGet(t *flight.Ticket, out flight.FlightService_DoGetServer) error {
	to, id, err := openTicket(s.o.Key, t.GetTicket())
	if err != nil {
		return err
	}
	ctx, end := s.running.add(out.Context(), string(t.GetTicket()))
	defer end()
	err = s.answer(ctx, &to, id, codec.Interrupt(ctx, out))
	if cause := context.Cause(ctx); err != nil && cause != nil && ctx.Err() != nil {
		err = cause
	}
	return err
}

func (s *Server) answer(ctx context.Context, to *target, id object.DatasetID, out stream) error {
	if to.scanPart != nil {
		if err := checkPart(to.scanPart); err != nil {
			return err
		}
	}
	all, err := to.sources(id)
	if err != nil {
		return err
	}
	var r *pool.Resolved
	for _, x := range all {
		var stop func()
		if r, stop, err = s.open(ctx, x.address, x.id, x.epoch); err != nil {
			return err
		}
		defer stop()
	}
	switch {
	case to.listing != nil:
		return s.getListing(ctx, to.listing, out)
	case to.sqlPart != nil:
		return s.getSQL(ctx, to.sqlPart, out)
	case to.scanPart != nil:
		return s.getScan(ctx, to.scanPart, out)
	case to.view != nil:
		return s.getView(ctx, to.view, r.Dataset.Type, out)
	case to.entries != nil && r.Dataset.Type == pool.TypePosix:
		return s.getEntries(ctx, to.entries, r, out)
	case to.tensor != nil && r.Dataset.Type == pool.TypeTensor:
		return s.getTensor(ctx, to.tensor, r, out)
	case to.kv != nil && r.Dataset.Type == pool.TypeKV:
		return s.getKV(ctx, to.kv, r, out)
	case to.array != nil && r.Dataset.Type == pool.TypeArray:
		return getArray(ctx, to.array, r, out)
	}
	return fault.New(fault.Invalid, "flight.get", to.address.DatasetName(), "the ticket does not fit a dataset of type %s", r.Dataset.Type)
}

// open finds what a ticket reads, which must be what it was when the ticket was
// given out, and keeps its epoch readable until the function returned is called.
func (s *Server) open(ctx context.Context, a address.Address, id object.DatasetID, epoch object.Epoch) (*pool.Resolved, func(), error) {
	r, err := s.o.Catalog.Resolve(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	if r.Dataset.ID != id {
		return nil, nil, fault.New(fault.Stale, "flight.get", a.DatasetName(), "the dataset of this ticket was destroyed, another one has its name now").
			Do("call GetFlightInfo again")
	}
	if r.Snapshot != nil && r.Snapshot.Epoch != epoch {
		return nil, nil, fault.New(fault.Stale, "flight.get", a.DatasetName(), "the snapshot of this ticket was destroyed, another one has its name now").
			Do("call GetFlightInfo again")
	}
	if r.Snapshot != nil {
		return &r, func() {}, nil
	}
	stop, err := s.keepPinned(ctx, id, epoch)
	return &r, stop, err
}

// keepPinned pins an epoch until the function returned is called.
func (s *Server) keepPinned(ctx context.Context, id object.DatasetID, epoch object.Epoch) (stop func(), err error) {
	if err := s.o.Catalog.Pin(ctx, id, epoch); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(renewPin)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				err := rescue.Do(func() error { return s.o.Catalog.Pin(ctx, id, epoch) })
				if err != nil && ctx.Err() == nil {
					s.o.Log.WarnContext(ctx, "can't renew the pin of a reader", "epoch", uint64(epoch), "err", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }, nil
}

// table begins to send samples of a dataset at its snapshot; nil for a live one.
func (s *Server) table(ctx context.Context, r *pool.Resolved, columns []string, out stream) (*tableSender, error) {
	if r.Snapshot == nil || s.o.Manifest == nil {
		return nil, nil
	}
	m, err := s.o.Manifest(ctx, r, columns)
	if err != nil {
		return nil, err
	}
	t := &tableSender{m: m, cols: m.Info().Columns, buffers: &s.buffers}
	t.sender, err = newSender(out, tensorarrow.SchemaOf(t.cols))
	return t, err
}

func (s *Server) getTensor(ctx context.Context, req *flightv1.TensorRead, r *pool.Resolved, out stream) error {
	if t, err := s.table(ctx, r, req.GetColumns(), out); err != nil {
		return err
	} else if t != nil {
		return t.slice(ctx, req.GetStart(), min(req.GetStop(), t.m.Info().Samples))
	}
	rd, err := tensor.Open(r.Store, r.Address.DatasetName()).Read(ctx, object.Epoch(req.GetEpoch()),
		tensor.Selection{Columns: req.GetColumns(), Start: req.GetStart(), Stop: req.GetStop()})
	if err != nil {
		return err
	}
	w, err := newSender(out, tensorarrow.SchemaOf(rd.Columns()))
	if err != nil {
		return err
	}
	for {
		rows, err := rd.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for from := 0; from < rows.N; {
			to := fit(rd.Columns(), rows, from, maxBatch)
			if err := sendRows(w, rd.Columns(), rows, from, to, nil); err != nil {
				return err
			}
			from = to
		}
	}
}

// fit says up to which row a batch from a row on goes, to stay below limit.
func fit(cols []tensor.Column, rows *tensor.Rows, from int, limit int64) int {
	size := int64(0)
	for to := from; to < rows.N; to++ {
		for i := range cols {
			d := &rows.Columns[i]
			if cols[i].Layout == tensor.Fixed {
				size += int64(cols[i].ItemSize())
			} else {
				size += int64(d.Offsets[to+1]-d.Offsets[to]) + 4
			}
		}
		if size > limit && to > from {
			return to
		}
	}
	return rows.N
}

// sendRows sends rows [from, to) as one record batch over their own memory.
func sendRows(w *sender, cols []tensor.Column, rows *tensor.Rows, from, to int, meta []byte) error {
	if from != 0 || to != rows.N {
		rows = part(cols, rows, from, to)
	}
	rec, err := tensorarrow.RecordOf(w.schema, cols, rows)
	if err != nil {
		return err
	}
	defer rec.Release()
	return w.send(rec, meta)
}

// part is some rows, sharing the memory of all. Buffers begin where the rows
// do: slices of Arrow arrays are what foreign readers stumble over.
func part(cols []tensor.Column, rows *tensor.Rows, from, to int) *tensor.Rows {
	out := &tensor.Rows{N: to - from, Columns: make([]tensor.Data, len(cols))}
	for i := range cols {
		d, o := &rows.Columns[i], &out.Columns[i]
		lo, hi := uint64(from*cols[i].ItemSize()), uint64(to*cols[i].ItemSize())
		if cols[i].Layout != tensor.Fixed {
			lo, hi = d.Offsets[from], d.Offsets[to]
			o.Offsets = make([]uint64, to-from+1)
			for k := range o.Offsets {
				o.Offsets[k] = d.Offsets[from+k] - lo
			}
		}
		o.Values = d.Values[lo:hi:hi]
		if d.Valid != nil {
			o.Valid = d.Valid[from:to:to]
		}
	}
	return out
}

func (s *Server) getEntries(ctx context.Context, req *scanv1.ScanRequest, r *pool.Resolved, out stream) error {
	fs, err := s.o.Tree(ctx, r)
	if err != nil {
		return err
	}
	schema, err := scan.Schema(req.GetColumns())
	if err != nil {
		return err
	}
	w, err := newSender(out, schema)
	if err != nil {
		return err
	}
	in, err := scan.Open(ctx, fs, fs.At(object.Epoch(req.GetEpoch())), scanRequest(req))
	if err != nil {
		return err
	}
	defer in.Close()
	for {
		b, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = sendRecord(w, b.Record, nil)
		b.Record.Release()
		if err != nil {
			return err
		}
	}
}

// scanRequest maps the wire's request.
func scanRequest(r *scanv1.ScanRequest) scan.Request {
	f := r.GetFilter()
	q := scan.Request{
		Path: strings.Trim(string(r.GetPath()), "/"), Columns: r.GetColumns(), Anchor: r.GetAnchor(),
		BatchRows: int(min(r.GetBatchRows(), scan.MaxBatchRows+1)), Limit: r.GetLimit(),
		Filter: scan.Filter{Name: f.GetName(), Path: f.GetPath()},
	}
	for _, t := range f.GetTypes() {
		q.Filter.Types = append(q.Filter.Types, posix.Type(min(t, 255)))
	}
	if f != nil {
		q.Filter.MinSize, q.Filter.MaxSize = f.MinSize, f.MaxSize
		q.Filter.MinMtime, q.Filter.MaxMtime = f.MinMtimeUnixNanos, f.MaxMtimeUnixNanos
		q.Filter.MinDepth, q.Filter.MaxDepth = f.MinDepth, f.MaxDepth
	}
	if len(q.Anchor) == 0 {
		q.Anchor = nil
	}
	if q.BatchRows == 0 {
		q.BatchRows = scanRows
	}
	return q
}

// sendRecord sends a record batch in pieces of at most about maxBatch, meta with
// the last.
func sendRecord(w *sender, rec arrow.Record, meta []byte) error {
	size := int64(0)
	for _, c := range rec.Columns() {
		for _, b := range c.Data().Buffers() {
			if b != nil {
				size += int64(b.Len())
			}
		}
	}
	n := rec.NumRows()
	pieces := min(max((size+maxBatch-1)/maxBatch, 1), max(n, 1))
	for k := range pieces {
		if pieces == 1 {
			return w.send(rec, meta)
		}
		p := rec.NewSlice(n*k/pieces, n*(k+1)/pieces)
		var of []byte
		if k == pieces-1 {
			of = meta
		}
		err := w.send(p, of)
		p.Release()
		if err != nil {
			return err
		}
	}
	return nil
}
