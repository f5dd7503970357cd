package flight

import (
	"strings"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"google.golang.org/protobuf/proto"

	"daos/internal/address"
	"daos/internal/fault"
	flightv1 "daos/proto/gen/daos/flight/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
)

// target is what a descriptor or a ticket names: an address, and what is wanted
// of it. Of the commands at most one is there; none means "what the type of the
// dataset suggests".
type target struct {
	address address.Address
	scan    *scanv1.ScanRequest
	tensor  *flightv1.TensorRead
	write   *flightv1.TensorWrite
	kv      *flightv1.KvRead
	array   *flightv1.ArrayRead
}

const describe = `use the path ["POOL", "DATASET[@SNAPSHOT]"], or a command daos.flight.v1.Command`

// parseDescriptor reads a path or a command.
func parseDescriptor(d *flight.FlightDescriptor) (target, error) {
	switch d.GetType() {
	case flight.DescriptorPATH:
		return parsePath(d.GetPath())
	case flight.DescriptorCMD:
		return parseCommand(d.GetCmd())
	}
	return target{}, fault.New(fault.Invalid, "flight.descriptor", "", "a descriptor of type %d", d.GetType()).Do(describe)
}

// parsePath takes the components of an address; a dataset's own name may be
// part of the first one, "p/t@s1".
func parsePath(path []string) (target, error) {
	if len(path) == 0 {
		return target{}, fault.New(fault.Invalid, "flight.descriptor", "", "an empty path").Do(describe)
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

func parseCommand(b []byte) (target, error) {
	var c flightv1.Command
	if err := proto.Unmarshal(b, &c); err != nil {
		return target{}, fault.New(fault.Invalid, "flight.descriptor", "", "the command can't be read").Because(err).Do(describe)
	}
	var t target
	var name string
	switch of := c.GetOf().(type) {
	case *flightv1.Command_Scan:
		t.scan, name = of.Scan, of.Scan.GetDataset()
	case *flightv1.Command_Tensor:
		t.tensor, name = of.Tensor, of.Tensor.GetDataset()
	case *flightv1.Command_Write:
		t.write, name = of.Write, of.Write.GetDataset()
	case *flightv1.Command_Kv:
		t.kv, name = of.Kv, of.Kv.GetDataset()
	case *flightv1.Command_Array:
		t.array, name = of.Array, of.Array.GetDataset()
	default:
		return target{}, fault.New(fault.Invalid, "flight.descriptor", "", "a command that asks for nothing").Do(describe)
	}
	var err error
	t.address, err = address.ParseDataset(name)
	return t, err
}

// command names the command of a target, for errors.
func (t *target) command() string {
	switch {
	case t.scan != nil:
		return "scan"
	case t.tensor != nil:
		return "tensor"
	case t.kv != nil:
		return "kv"
	case t.array != nil:
		return "array"
	case t.write != nil:
		return "write"
	}
	return "path"
}
