package flight

import (
	"context"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"daos/internal/fault"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
)

// DatasetActions are the calls of the dataset service as actions. Body and
// result are the messages of proto/daos/dataset/v1 as JSON.
func DatasetActions(s datasetv1.DatasetServiceServer) []Action {
	return []Action{
		call("dataset-info", `describes a dataset: {"dataset": "p/t@s1"}`, s.GetDataset),
		call("create-dataset", `makes a dataset: {"dataset": "p/t", "type": "TYPE_TENSOR"}`, s.CreateDataset),
		call("list-datasets", `describes the datasets of a pool: {"pool": "p"}, or of all: {}`, s.ListDatasets),
		call("create-snapshot", `names the present state: {"dataset": "p/t", "name": "s1"}`, s.CreateSnapshot),
		call("list-snapshots", `lists the snapshots of a dataset: {"dataset": "p/t"}`, s.ListSnapshots),
		call("destroy-snapshot", `removes a snapshot: {"dataset": "p/t@s1"}`, s.DestroySnapshot),
	}
}

// message is a pointer to a generated message.
type message[T any] interface {
	*T
	proto.Message
}

func call[Q, A any, QP message[Q], AP message[A]](name, description string, run func(context.Context, QP) (AP, error)) Action {
	return Action{Name: name, Description: description, Run: func(ctx context.Context, body []byte) ([][]byte, error) {
		q := QP(new(Q))
		if len(body) > 0 {
			if err := protojson.Unmarshal(body, q); err != nil {
				return nil, fault.New(fault.Invalid, "flight.action", name, "the request can't be read").Because(err).Do("give JSON: %s", description)
			}
		}
		a, err := run(ctx, q)
		if err != nil {
			return nil, err
		}
		b, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(a)
		return [][]byte{b}, err
	}}
}
