package flight

import (
	"context"

	"github.com/apache/arrow/go/v17/arrow"

	"daos/dataset/tensor/tensorarrow"
	"daos/internal/fault"
	"daos/loader/manifest"
	flightv1 "daos/proto/gen/daos/flight/v1"
	"daos/server/pool"
)

// maxViewSample is the largest sample of a view that goes into a row.
const maxViewSample = 256 << 20

// view opens a view, and says what its rows are.
func (s *Server) view(ctx context.Context, v *flightv1.ViewRead, of pool.Type) (*manifest.Manifest, *arrow.Schema, error) {
	if s.o.View == nil {
		return nil, nil, fault.New(fault.Unsupported, "flight.info", v.GetDataset(), "this server does not serve views over Flight")
	}
	m, err := s.o.View(ctx, v.GetDataset(), v.GetName(), v.GetColumns())
	if err != nil {
		return nil, nil, err
	}
	i := m.Info()
	if i.MaxSampleBytes > maxViewSample {
		return nil, nil, fault.New(fault.TooBig, "flight.info", v.GetDataset(), "a sample of view %q has %d bytes, at most %d go into a row", v.GetName(), i.MaxSampleBytes, maxViewSample).
			Do("read it with pydaos")
	}
	schema := tensorarrow.SchemaOf(i.Columns)
	if name := called(of); name != "" {
		schema = arrow.NewSchema(append([]arrow.Field{{Name: name, Type: arrow.BinaryTypes.Binary}}, schema.Fields()...), nil)
	}
	return m, schema, nil
}

// called is the column of what samples of a type of dataset are called; "" where
// that is their number.
func called(t pool.Type) string {
	switch t {
	case pool.TypePosix:
		return "path"
	case pool.TypeKV:
		return "key"
	}
	return ""
}

func (s *Server) viewInfo(ctx context.Context, t *target) (*info, error) {
	if t.address.Snapshot != "" {
		return nil, fault.New(fault.Invalid, "flight.info", t.address.String(), "a view has its own snapshot").Do("name the dataset alone: %s", t.address.Live().DatasetName())
	}
	r, err := s.o.Catalog.Resolve(ctx, t.address)
	if err != nil {
		return nil, err
	}
	m, schema, err := s.view(ctx, t.view, r.Dataset.Type)
	if err != nil {
		return nil, err
	}
	about := m.Info()
	stop := about.Samples
	if t.view.GetStop() > 0 {
		stop = min(stop, t.view.GetStop())
	}
	start := min(t.view.GetStart(), stop)
	r.Address.Snapshot = about.Snapshot
	r.Snapshot = &pool.Snapshot{Name: about.Snapshot, Epoch: about.Epoch}
	i := &info{
		sources: []source{{r, about.Epoch}}, schema: schema, records: int64(stop - start), bytes: -1, view: t.view.GetName(), revision: about.ViewRevision,
	}
	if stop-start == about.Samples {
		i.bytes = int64(about.Bytes)
	}
	per := about.Bytes/max(about.Samples, 1) + 64
	n := min(uint64(s.o.Endpoints), max((stop-start)*per/rangeBytes, 1))
	for k := range n {
		i.commands = append(i.commands, &flightv1.Command{Of: &flightv1.Command_View{View: &flightv1.ViewRead{
			Dataset: t.address.DatasetName(), Name: t.view.GetName(), Columns: t.view.GetColumns(),
			Start: start + (stop-start)*k/n, Stop: start + (stop-start)*(k+1)/n, Epoch: uint64(about.Epoch), Manifest: m.ID(),
		}}})
	}
	return i, nil
}

// getView sends samples of a view that must be what it was when the ticket was
// given out.
func (s *Server) getView(ctx context.Context, v *flightv1.ViewRead, of pool.Type, out stream) error {
	m, schema, err := s.view(ctx, v, of)
	if err != nil {
		return err
	}
	if m.ID() != v.GetManifest() {
		return fault.New(fault.Stale, "flight.get", v.GetDataset(), "view %q has other samples than when this ticket was given out", v.GetName()).Do("call GetFlightInfo again")
	}
	t := &tableSender{m: m, cols: m.Info().Columns, buffers: &s.buffers, names: called(of) != ""}
	if t.sender, err = newSender(out, schema); err != nil {
		return err
	}
	return t.slice(ctx, v.GetStart(), min(v.GetStop(), m.Info().Samples))
}
