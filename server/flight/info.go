package flight

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/flight"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensorarrow"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	flightv1 "daos/proto/gen/daos/flight/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
	"daos/query/scan"
	"daos/server/pool"
)

// rangeBytes is about how much data makes a further endpoint of a tensor
// dataset worthwhile.
const rangeBytes = 16 << 20

// info is what there is to say of a descriptor.
type info struct {
	sources    []source // what is read
	schema     *arrow.Schema
	records    int64 // -1: not known
	bytes      int64 // -1: not known
	statistics *statistics
	statement  bool // its ticket names the sources, or there are none
	view       string
	revision   uint64
	commands   []*flightv1.Command
	listing    *listing // instead of commands
}

// source is a dataset at an epoch.
type source struct {
	pool.Resolved
	epoch object.Epoch
}

// GetFlightInfo offers a dataset in pieces. A live dataset is pinned at the
// epoch of the tickets for pool.PinTTL; each use of a ticket renews that.
func (s *Server) GetFlightInfo(ctx context.Context, d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	i, err := s.info(ctx, d, s.o.Endpoints)
	if err != nil {
		return nil, err
	}
	var expires *timestamppb.Timestamp
	for _, x := range i.sources {
		if x.Snapshot != nil {
			continue
		}
		if err := s.o.Catalog.Pin(ctx, x.Dataset.ID, x.epoch); err != nil {
			return nil, err
		}
		expires = timestamppb.New(time.Now().Add(pool.PinTTL))
	}
	out, err := i.flightInfo(d)
	if err != nil {
		return nil, err
	}
	var id object.DatasetID
	if !i.statement {
		id = i.sources[0].Dataset.ID
	}
	if i.listing != nil {
		t, err := signed(s.o.Key, 0, i.listing.command)
		if err != nil {
			return nil, err
		}
		out.Endpoint = append(out.Endpoint, &flight.FlightEndpoint{Ticket: &flight.Ticket{Ticket: t}})
	}
	for _, c := range i.commands {
		t, err := ticket(s.o.Key, id, c)
		if err != nil {
			return nil, err
		}
		// No location: the client reads where it asked.
		out.Endpoint = append(out.Endpoint, &flight.FlightEndpoint{Ticket: &flight.Ticket{Ticket: t}, ExpirationTime: expires})
	}
	return out, nil
}

// GetSchema gives the schema alone.
func (s *Server) GetSchema(ctx context.Context, d *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	i, err := s.info(ctx, d, 1)
	if err != nil {
		return nil, err
	}
	b, err := schemaBytes(i.schema)
	return &flight.SchemaResult{Schema: b}, err
}

// ListFlights describes the datasets that the criteria name, without pinning
// them: a pool, a glob over "POOL/DATASET", or nothing for all.
func (s *Server) ListFlights(c *flight.Criteria, out flight.FlightService_ListFlightsServer) error {
	ctx := out.Context()
	pattern := string(c.GetExpression())
	if _, err := path.Match(pattern, ""); err != nil {
		return fault.New(fault.Invalid, "flight.list", pattern, "the criteria are not a glob").Do(`give a pool, a pattern like "p/img-*", or nothing`)
	}
	all, err := s.o.Catalog.Datasets("")
	if err != nil {
		return err
	}
	for _, d := range all {
		match, _ := path.Match(pattern, d.Address())
		if pattern != "" && pattern != d.Pool && !match {
			continue
		}
		fd := &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{d.Pool, d.Name}}
		i, err := s.info(ctx, fd, 1)
		if fault.Is(err, fault.NotFound) {
			r, gone := s.o.Catalog.Resolve(ctx, address.Address{Pool: d.Pool, Dataset: d.Name})
			if gone != nil { // destroyed meanwhile
				continue
			}
			// A tensor dataset that has no columns yet.
			i, err = &info{sources: []source{{r, 0}}, schema: arrow.NewSchema(nil, nil)}, nil
		}
		if err != nil {
			return err
		}
		fi, err := i.flightInfo(fd)
		if err != nil {
			return err
		}
		if err := out.Send(fi); err != nil {
			return err
		}
	}
	return nil
}

// infoMeta is the app_metadata of a FlightInfo, as JSON.
type infoMeta struct {
	*sourceMeta              // of one dataset
	Sources     []sourceMeta `json:"sources,omitempty"` // of a statement
	View        string       `json:"view,omitempty"`
	Revision    uint64       `json:"revision,omitempty"` // of the view
	Statistics  *statistics  `json:"statistics,omitempty"`
}

type sourceMeta struct {
	Dataset  string `json:"dataset"`
	Type     string `json:"type"`
	Epoch    uint64 `json:"epoch"`
	Snapshot string `json:"snapshot,omitempty"`
}

func (i *info) flightInfo(d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	b, err := schemaBytes(i.schema)
	if err != nil {
		return nil, err
	}
	meta := infoMeta{Statistics: i.statistics, View: i.view, Revision: i.revision}
	for _, x := range i.sources {
		meta.Sources = append(meta.Sources, sourceMeta{Dataset: x.Dataset.Address(), Type: x.Dataset.Type.String(), Epoch: uint64(x.epoch), Snapshot: x.Address.Snapshot})
	}
	if !i.statement {
		meta.sourceMeta, meta.Sources = &meta.Sources[0], nil
	}
	m, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	return &flight.FlightInfo{Schema: b, FlightDescriptor: d, TotalRecords: i.records, TotalBytes: i.bytes, Ordered: true, AppMetadata: m}, nil
}

// info describes what a descriptor names, in about so many pieces where finding out
// where they end is work.
func (s *Server) info(ctx context.Context, d *flight.FlightDescriptor, pieces int) (*info, error) {
	t, err := parseDescriptor(d)
	if err != nil {
		return nil, err
	}
	if t.writes() {
		return nil, fault.New(fault.Invalid, "flight.info", t.address.String(), "a command that writes describes no data").Do(describe)
	}
	switch {
	case t.listing != nil:
		return &info{schema: t.listing.schema(), records: -1, bytes: -1, statement: true, listing: t.listing}, nil
	case t.scan != nil:
		return s.scanInfo(ctx, t.scan)
	case t.sql != nil:
		return s.sqlInfo(ctx, t.sql)
	case t.view != nil:
		return s.viewInfo(ctx, &t)
	}
	r, err := s.o.Catalog.Resolve(ctx, t.address)
	if err != nil {
		return nil, err
	}
	switch r.Dataset.Type {
	case pool.TypePosix:
		return s.entriesInfo(ctx, &t, r)
	case pool.TypeTensor:
		return s.tensorInfo(ctx, &t, r)
	case pool.TypeKV:
		return s.kvInfo(ctx, &t, r, pieces)
	case pool.TypeArray:
		return s.arrayInfo(ctx, &t, r)
	}
	return nil, fault.New(fault.Unsupported, "flight.info", t.address.DatasetName(), "datasets of type %s can't be read over Flight", r.Dataset.Type)
}

// wrongType says that a command does not fit its dataset.
func wrongType(a address.Address, is pool.Type, want string) error {
	return fault.New(fault.Invalid, "flight.command", a.DatasetName(), "a %s command for a dataset of type %s", want, is).
		Do("use the command scan for any, entries for posix, tensor and write for tensor, kv and write for kv, array and array_write for array, or the path of the dataset")
}

func (s *Server) tensorInfo(ctx context.Context, t *target, r pool.Resolved) (*info, error) {
	if t.entries != nil || t.kv != nil || t.array != nil {
		return nil, wrongType(t.address, r.Dataset.Type, t.command())
	}
	if t.address.Path != "" {
		return nil, fault.New(fault.Invalid, "flight.info", t.address.String(), "a tensor dataset has no paths").Do("name the dataset alone")
	}
	epoch, err := r.Epoch(ctx, object.Epoch(t.tensor.GetEpoch()), 0)
	if err != nil {
		return nil, err
	}
	table := tensor.Open(r.Store, r.Address.DatasetName())
	sel := tensor.Selection{Columns: t.tensor.GetColumns(), Start: t.tensor.GetStart(), Stop: t.tensor.GetStop()}
	if sel.Stop == 0 {
		sel.Stop = 1<<64 - 1
	}
	rd, err := table.Read(ctx, epoch, sel)
	if err != nil {
		return nil, err
	}
	i := &info{sources: []source{{r, epoch}}, schema: tensorarrow.SchemaOf(rd.Columns()), records: int64(rd.Count()), bytes: -1}
	perRow, fixed := int64(0), true
	for _, c := range rd.Columns() {
		if c.Layout == tensor.Fixed {
			perRow += int64(c.ItemSize())
		} else {
			perRow += 64 // a guess, for the number of endpoints only
			fixed = false
		}
	}
	if fixed {
		i.bytes = perRow * i.records
	}
	n := min(int64(s.o.Endpoints), max(perRow*i.records/rangeBytes, 1))
	for k := range n {
		from, to := sel.Start+uint64(i.records*k/n), sel.Start+uint64(i.records*(k+1)/n)
		i.commands = append(i.commands, &flightv1.Command{Of: &flightv1.Command_Tensor{Tensor: &flightv1.TensorRead{
			Dataset: r.Address.DatasetName(), Columns: t.tensor.GetColumns(), Start: from, Stop: to, Epoch: uint64(epoch),
		}}})
	}
	return i, nil
}

// below names the directory of an error as the caller would; the tree knows
// its path only.
func below(a address.Address, dir string, err error) error {
	var e *fault.Error
	if !errors.As(err, &e) || e.Resource != dir {
		return err
	}
	a.Path = dir
	c := *e
	c.Resource = a.String()
	return &c
}

func (s *Server) entriesInfo(ctx context.Context, t *target, r pool.Resolved) (*info, error) {
	if t.tensor != nil || t.kv != nil || t.array != nil {
		return nil, wrongType(t.address, r.Dataset.Type, t.command())
	}
	req := &scanv1.ScanRequest{}
	if t.entries != nil {
		req = proto.CloneOf(t.entries)
	} else {
		req.Path = []byte(t.address.Path)
	}
	epoch, err := r.Epoch(ctx, object.Epoch(req.GetEpoch()), object.Epoch(req.GetSeen()))
	if err != nil {
		return nil, err
	}
	fs, err := s.o.Tree(ctx, &r)
	if err != nil {
		return nil, err
	}
	i := &info{sources: []source{{r, epoch}}, records: -1, bytes: -1}
	if i.schema, err = scan.Schema(req.GetColumns()); err != nil {
		return nil, err
	}
	dir := strings.Trim(string(req.GetPath()), "/")
	if _, _, err := fs.At(epoch).Dir(ctx, dir); err != nil {
		return nil, below(r.Address, dir, err)
	}
	req.Dataset, req.Epoch, req.Seen = r.Address.DatasetName(), uint64(epoch), 0
	anchors := []scan.Anchor{req.GetAnchor()}
	if len(req.GetAnchor()) == 0 && req.GetLimit() == 0 { // a limit is one for all pieces together
		anchors = scan.Plan(fs, s.o.Endpoints)
	}
	for _, a := range anchors {
		c := proto.CloneOf(req)
		c.Anchor = a
		i.commands = append(i.commands, &flightv1.Command{Of: &flightv1.Command_Entries{Entries: c}})
	}
	return i, nil
}
