package flight

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"daos/internal/fault"
	flightv1 "daos/proto/gen/daos/flight/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
	"daos/query/exec"
)

// isJSON tells a command that is JSON from a message: none begins with '{',
// which would be a group. Where it begins with a space it has to be JSON to its
// end, since a message may begin with a line feed.
func isJSON(b []byte) bool {
	return len(b) > 0 && (b[0] == '{' || strings.IndexByte(" \t\r\n", b[0]) >= 0 && json.Valid(b))
}

const envelope = `write {"scan": {"dataset": "POOL/DATASET", "where": "size > 3", "columns": ["path"]}}, {"sql": "SELECT ...", "params": {}}, or one of view, entries, tensor, kv, array, write and array_write with the fields of daos.flight.v1`

// commandOfJSON reads a command as people write it: the JSON form of a Command,
// and shorter where that is long. "sql" may be the text alone, with "params"
// beside it; aggregates may be texts, "avg(size)".
func commandOfJSON(b []byte) (*flightv1.Command, error) {
	bad := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "flight.descriptor", "", format, args...).Do(envelope)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, bad("the command is no JSON").Because(err)
	}
	params, hasParams := all["params"]
	delete(all, "params")
	if len(all) != 1 {
		return nil, bad("a command of %d parts, it has one", len(all))
	}
	c := &flightv1.Command{}
	for name, body := range all {
		if hasParams && name != "sql" {
			return nil, bad("params beside %q: they go with sql", clip(name))
		}
		var into proto.Message
		switch name {
		case "scan":
			of := &flightv1.Command_Scan{Scan: &queryv1.ScanRequest{}}
			c.Of, into = of, of.Scan
			var err error
			if body, err = longAggregates(body); err != nil {
				return nil, err
			}
		case "sql":
			of := &flightv1.Command_Sql{Sql: &queryv1.SqlRequest{}}
			c.Of, into = of, of.Sql
			if json.Unmarshal(body, &of.Sql.Text) == nil {
				into = nil
			}
			if hasParams {
				var err error
				if of.Sql.Params, err = paramsOf(params); err != nil {
					return nil, err
				}
			}
		case "entries":
			of := &flightv1.Command_Entries{Entries: &scanv1.ScanRequest{}}
			c.Of, into = of, of.Entries
		case "view":
			of := &flightv1.Command_View{View: &flightv1.ViewRead{}}
			c.Of, into = of, of.View
		case "tensor":
			of := &flightv1.Command_Tensor{Tensor: &flightv1.TensorRead{}}
			c.Of, into = of, of.Tensor
		case "kv":
			of := &flightv1.Command_Kv{Kv: &flightv1.KvRead{}}
			c.Of, into = of, of.Kv
		case "array":
			of := &flightv1.Command_Array{Array: &flightv1.ArrayRead{}}
			c.Of, into = of, of.Array
		case "write":
			of := &flightv1.Command_Write{Write: &flightv1.TensorWrite{}}
			c.Of, into = of, of.Write
		case "array_write":
			of := &flightv1.Command_ArrayWrite{ArrayWrite: &flightv1.ArrayWrite{}}
			c.Of, into = of, of.ArrayWrite
		default:
			return nil, bad("no command is called %q", clip(name))
		}
		if into == nil {
			continue
		}
		if err := protojson.Unmarshal(body, into); err != nil {
			return nil, bad("%q is not understood", name).Because(err)
		}
	}
	return c, nil
}

// longAggregates writes the aggregates of a scan that are texts as messages.
func longAggregates(body json.RawMessage) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	var list []json.RawMessage
	if json.Unmarshal(body, &fields) != nil || json.Unmarshal(fields["aggregates"], &list) != nil {
		return body, nil // protojson says what is wrong
	}
	for i, x := range list {
		var text string
		if json.Unmarshal(x, &text) != nil {
			continue
		}
		a, err := exec.ParseAggregate(text)
		if err != nil {
			return nil, err
		}
		if list[i], err = json.Marshal(map[string]any{"function": int(a.Fn), "column": a.Column}); err != nil {
			return nil, err
		}
	}
	var err error
	if fields["aggregates"], err = json.Marshal(list); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// paramsOf reads the values of parameters: an object by name, or a list by number.
func paramsOf(b json.RawMessage) ([]*queryv1.Param, error) {
	bad := fault.New(fault.Invalid, "flight.descriptor", "params", "the parameters are not understood").
		Do(`give an object of values by name, {"k": 3}, or a list`)
	var named map[string]any
	var list []any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		if err := d.Decode(&list); err != nil {
			return nil, bad.Because(err)
		}
		named = map[string]any{}
		for i, v := range list {
			named[strconv.Itoa(i+1)] = v
		}
	} else if err := d.Decode(&named); err != nil {
		return nil, bad.Because(err)
	}
	var out []*queryv1.Param
	for _, name := range slices.Sorted(maps.Keys(named)) { // the same request is the same ticket
		v := named[name]
		l := &queryv1.Literal{}
		switch x := v.(type) {
		case nil:
			l.Value = &queryv1.Literal_Null{Null: true}
		case bool:
			l.Value = &queryv1.Literal_Boolean{Boolean: x}
		case string:
			l.Value = &queryv1.Literal_Text{Text: x}
		case json.Number:
			if i, err := x.Int64(); err == nil {
				l.Value = &queryv1.Literal_Integer{Integer: i}
			} else if u, err := strconv.ParseUint(x.String(), 10, 64); err == nil {
				l.Value = &queryv1.Literal_Unsigned{Unsigned: u}
			} else if f, err := x.Float64(); err == nil && strings.ContainsAny(x.String(), ".eE") {
				l.Value = &queryv1.Literal_Number{Number: f}
			} else {
				return nil, fault.New(fault.Invalid, "flight.descriptor", "params", "%s is no number that a parameter can be", clip(x.String()))
			}
		default:
			return nil, bad
		}
		out = append(out, &queryv1.Param{Name: name, Value: l})
	}
	return out, nil
}
