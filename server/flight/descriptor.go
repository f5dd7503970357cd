package flight

import (
	"strings"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"google.golang.org/protobuf/proto"

	"daos/internal/address"
	"daos/internal/fault"
	flightv1 "daos/proto/gen/daos/flight/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
)

// target is what a descriptor or a ticket names: an address, and what is wanted
// of it. Of the commands at most one is there; none means "what the type of the
// dataset suggests".
type target struct {
	address address.Address // empty of a statement
	entries *scanv1.ScanRequest
	tensor  *flightv1.TensorRead
	write   *flightv1.TensorWrite
	kv      *flightv1.KvRead
	array   *flightv1.ArrayRead
	scan    *queryv1.ScanRequest
	sql     *queryv1.SqlRequest
	view    *flightv1.ViewRead
	listing *listing

	arrayWrite *flightv1.ArrayWrite
	// In tickets alone.
	scanPart *flightv1.ScanPart
	sqlPart  *flightv1.SqlPart
}

const describe = `use the path ["POOL", "DATASET[@SNAPSHOT]"], or a command: daos.flight.v1.Command, or JSON like {"scan": {"dataset": "p/t", "where": "label = 3"}} or {"sql": "SELECT 1"}`

// maxCommand bounds a command: tickets carry it.
const maxCommand = 1 << 20

// parseDescriptor reads a path or a command.
func parseDescriptor(d *flight.FlightDescriptor) (target, error) {
	switch d.GetType() {
	case flight.DescriptorPATH:
		return parsePath(d.GetPath())
	case flight.DescriptorCMD:
		t, err := parseCommand(d.GetCmd())
		if err == nil && (t.scanPart != nil || t.sqlPart != nil) {
			err = fault.New(fault.Invalid, "flight.descriptor", "", "a command that only tickets have").Do(describe)
		}
		return t, err
	}
	return target{}, fault.New(fault.Invalid, "flight.descriptor", "", "a descriptor of type %d", d.GetType()).Do(describe)
}

// parsePath takes the components of an address; a dataset's own name may be
// part of the first one, "p/t@s1".
func parsePath(path []string) (target, error) {
	if len(path) == 0 {
		return target{}, fault.New(fault.Invalid, "flight.descriptor", "", "an empty path").Do(describe)
	}
	if len(path) == 3 && path[1] == "view" && strings.Contains(path[0], "/") { // no address: its first component would be a pool
		return targetOf(&flightv1.Command{Of: &flightv1.Command_View{View: &flightv1.ViewRead{Dataset: path[0], Name: path[2]}}})
	}
	if len(path) > 1 && (strings.Contains(path[0], "/") || strings.Contains(path[1], "/")) {
		return target{}, fault.New(fault.Invalid, "flight.descriptor", strings.Join(path, "/"), "a '/' in a component of a path").Do(describe)
	}
	a, err := address.Parse(strings.Join(path, "/"))
	if err != nil {
		return target{}, err
	}
	if a.Dataset == "" {
		return target{}, fault.New(fault.Invalid, "flight.descriptor", strings.Join(path, "/"), "the path names no dataset").Do(describe)
	}
	return target{address: a}, nil
}

// parseCommand reads a Command, its JSON, or a command of Flight SQL.
func parseCommand(b []byte) (target, error) {
	if len(b) > maxCommand {
		return target{}, fault.New(fault.TooBig, "flight.descriptor", "", "a command of %d bytes, at most %d are taken", len(b), maxCommand).Do("say less: a join does what a long list of values does")
	}
	if isJSON(b) {
		c, err := commandOfJSON(b)
		if err != nil {
			return target{}, err
		}
		return targetOf(c)
	}
	if t, ok, err := parseFlightSQL(b); ok || err != nil {
		return t, err
	}
	var c flightv1.Command
	if err := proto.Unmarshal(b, &c); err != nil {
		return target{}, fault.New(fault.Invalid, "flight.descriptor", "", "the command can't be read").Because(err).Do(describe)
	}
	return targetOf(&c)
}

func targetOf(c *flightv1.Command) (target, error) {
	var t target
	var name string
	switch of := c.GetOf().(type) {
	case *flightv1.Command_Scan:
		t.scan, name = of.Scan, of.Scan.GetDataset()
	case *flightv1.Command_ScanPart:
		t.scanPart, name = of.ScanPart, of.ScanPart.GetScan().GetDataset()
	case *flightv1.Command_Sql:
		t.sql = of.Sql
		return t, nil
	case *flightv1.Command_SqlPart:
		t.sqlPart = of.SqlPart
		return t, nil
	case *flightv1.Command_Entries:
		t.entries, name = of.Entries, of.Entries.GetDataset()
	case *flightv1.Command_View:
		t.view, name = of.View, of.View.GetDataset()
	case *flightv1.Command_Tensor:
		t.tensor, name = of.Tensor, of.Tensor.GetDataset()
	case *flightv1.Command_Write:
		t.write, name = of.Write, of.Write.GetDataset()
	case *flightv1.Command_ArrayWrite:
		t.arrayWrite, name = of.ArrayWrite, of.ArrayWrite.GetDataset()
	case *flightv1.Command_Kv:
		t.kv, name = of.Kv, of.Kv.GetDataset()
	case *flightv1.Command_Array:
		t.array, name = of.Array, of.Array.GetDataset()
	default:
		return target{}, fault.New(fault.Invalid, "flight.descriptor", "", "a command that asks for nothing").Do(describe)
	}
	parse := address.ParseDataset
	if t.scan != nil || t.scanPart != nil {
		parse = address.Parse // a table may be below a path
	}
	var err error
	if t.address, err = parse(name); err == nil && t.address.Dataset == "" {
		err = fault.New(fault.Invalid, "flight.descriptor", name, "the command names no dataset").Do(describe)
	}
	return t, err
}

// epoch is the one that a ticket names.
func (t *target) epoch() uint64 {
	switch {
	case t.entries != nil:
		return t.entries.GetEpoch()
	case t.tensor != nil:
		return t.tensor.GetEpoch()
	case t.kv != nil:
		return t.kv.GetEpoch()
	case t.array != nil:
		return t.array.GetEpoch()
	case t.view != nil:
		return t.view.GetEpoch()
	}
	return t.scanPart.GetScan().GetEpoch()
}

// command names the command of a target, for errors.
func (t *target) command() string {
	switch {
	case t.entries != nil:
		return "entries"
	case t.scan != nil, t.scanPart != nil:
		return "scan"
	case t.sql != nil, t.sqlPart != nil:
		return "sql"
	case t.listing != nil:
		return "listing of Flight SQL"
	case t.view != nil:
		return "view"
	case t.tensor != nil:
		return "tensor"
	case t.kv != nil:
		return "kv"
	case t.array != nil:
		return "array"
	case t.write != nil:
		return "write"
	case t.arrayWrite != nil:
		return "array_write"
	}
	return "path"
}

// writes reports whether the command is one of an upload.
func (t *target) writes() bool { return t.write != nil || t.arrayWrite != nil }
