package flight

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"google.golang.org/protobuf/proto"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/columnar"
	"daos/internal/fault"
	flightv1 "daos/proto/gen/daos/flight/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/server/codec"
)

// sqlInfo describes a statement: it is prepared, not run. Its one ticket has the
// statement and the epochs of all that it reads.
func (s *Server) sqlInfo(ctx context.Context, req *queryv1.SqlRequest) (*info, error) {
	q, err := s.queries()
	if err != nil {
		return nil, err
	}
	st, err := q.Describe(ctx, req)
	if err != nil {
		return nil, err
	}
	w, err := columnar.NewRowWriter(st.Fields)
	if err != nil {
		return nil, err
	}
	i := &info{schema: w.Schema(), records: -1, bytes: -1, statement: true}
	kept := proto.CloneOf(req)
	kept.Seen, kept.Label = 0, ""
	part := &flightv1.SqlPart{Statement: kept}
	for _, name := range slices.Sorted(maps.Keys(st.Epochs)) {
		a, err := address.Parse(name)
		if err != nil {
			return nil, err
		}
		r, err := s.o.Catalog.Resolve(ctx, a)
		if err != nil {
			return nil, err
		}
		i.sources = append(i.sources, source{r, object.Epoch(st.Epochs[name])})
		part.Sources = append(part.Sources, &flightv1.SqlSource{Address: name, DatasetId: uint64(r.Dataset.ID), Epoch: st.Epochs[name]})
	}
	i.commands = []*flightv1.Command{{Of: &flightv1.Command_SqlPart{SqlPart: part}}}
	return i, nil
}

// getSQL runs a statement at the epochs of its ticket.
func (s *Server) getSQL(ctx context.Context, part *flightv1.SqlPart, out stream) error {
	q, err := s.queries()
	if err != nil {
		return err
	}
	epochs := map[string]uint64{}
	for _, x := range part.GetSources() {
		epochs[x.GetAddress()] = x.GetEpoch()
	}
	w := &statementSender{out: out}
	done := false
	err = q.Run(ctx, part.GetStatement(), epochs, func(ctx context.Context, payload []byte, last bool, c *queryv1.Counters) error {
		done = last
		return w.take(ctx, payload, last, c)
	})
	if err == nil && !done {
		err = fault.New(fault.DataLoss, "flight.get", "statement", "it ended without the proof that its result is complete").Do("read the ticket again")
	}
	return err
}

// statementSender sends the Arrow messages of a statement, in pieces that every
// client takes. A batch leaves when the next one is there, so that the last one
// is known.
type statementSender struct {
	out  stream
	w    *sender
	head []byte // the message of the schema
	held []byte // a record batch
	c    *queryv1.Counters
}

func (s *statementSender) take(ctx context.Context, payload []byte, last bool, c *queryv1.Counters) error {
	if s.head == nil {
		s.head = bytes.Clone(payload)
		rd, err := s.read(nil)
		if err != nil {
			return err
		}
		defer rd.Release()
		s.w, err = newSender(codec.Interrupt(ctx, s.out), rd.Schema())
		s.c = c
		return err
	}
	if !last || len(payload) > len(columnar.EndOfStream) {
		if err := s.flush(false); err != nil {
			return err
		}
		s.held = bytes.Clone(payload)
	}
	s.c = c
	if last {
		return s.flush(true)
	}
	return nil
}

func (s *statementSender) flush(last bool) error {
	if s.held == nil && !last {
		return nil
	}
	c := s.c
	meta, err := countersOf(exec.Counters{Chunks: c.GetChunks(), Pruned: c.GetChunksPruned(), Read: c.GetChunksRead(), RowsScanned: c.GetRowsScanned(),
		RowsMatched: c.GetRowsMatched(), RowsOut: c.GetRowsOut(), BytesRead: c.GetBytesRead(), BytesOut: c.GetBytesOut()}, last)
	if err != nil {
		return err
	}
	if s.held == nil { // no rows at all
		b := array.NewRecordBuilder(memory.DefaultAllocator, s.w.schema)
		defer b.Release()
		rec := b.NewRecord()
		defer rec.Release()
		return s.w.send(rec, meta)
	}
	rd, err := s.read(s.held)
	if err != nil {
		return err
	}
	defer rd.Release()
	s.held = nil
	rec, err := rd.Read()
	if err != nil {
		return unreadable(err)
	}
	return sendRecord(s.w, rec, meta)
}

// read opens a stream of the schema and one batch.
func (s *statementSender) read(batch []byte) (*ipc.Reader, error) {
	rd, err := ipc.NewReader(io.MultiReader(bytes.NewReader(s.head), bytes.NewReader(batch)))
	if err != nil {
		return nil, unreadable(err)
	}
	return rd, nil
}

func unreadable(err error) error {
	return fault.New(fault.Internal, "flight.get", "statement", "its process sent what is no Arrow stream").Because(err)
}
