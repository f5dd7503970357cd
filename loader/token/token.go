// Package token is the resume token: where a run stands, as JSON of less than
// 300 bytes. It says nothing of ranks, workers or batch size, so any number of
// each goes on from it. docs/order.md has the format; pydaos writes and reads
// the same.
package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"daos/internal/fault"
	"daos/loader/order"
)

// Version is the version of the format.
const Version = 1

// MaxSize bounds the JSON that is read; MaxLen is what a token written has at
// most, for names of ordinary length.
const (
	MaxSize = 4096
	MaxLen  = 300
)

// Token is a position in a pass.
type Token struct {
	Manifest string     // id of the manifest, hex
	Snapshot string     // POOL/DATASET@SNAPSHOT
	Order    order.Kind // with its version, seed and pass: what the order is a function of
	OrderV   int
	Seed     uint64
	Pass     uint64
	Position uint64 // samples of the global order that have been consumed
	Params   order.Params
}

// file is the JSON form; numbers keep their digits.
type file struct {
	V        json.RawMessage `json:"v"`
	Manifest *string         `json:"manifest"`
	Snapshot *string         `json:"snapshot"`
	Order    *string         `json:"order"`
	OrderV   json.RawMessage `json:"order_v"`
	Seed     json.RawMessage `json:"seed"`
	Pass     json.RawMessage `json:"pass"`
	Position json.RawMessage `json:"position"`
	Params   json.RawMessage `json:"params"`
}

// fields are the keys of the JSON form.
func fields() []string {
	return []string{"v", "manifest", "snapshot", "order", "order_v", "seed", "pass", "position", "params"}
}

// param is one parameter of a kind: a number or a digest.
type param struct {
	name   string
	number *uint64
	digest *string
}

// params are the parameters of a kind, in the order in which they are written.
func params(k order.Kind, p *order.Params) []param {
	switch k {
	case order.Block:
		return []param{{name: "block", number: &p.Block}}
	case order.Window:
		return []param{{name: "block", number: &p.Block}, {name: "window", number: &p.Window}}
	case order.Weighted:
		return []param{{name: "samples", number: &p.Samples}, {name: "weights", digest: &p.Weights}}
	case order.Stratified:
		return []param{{name: "strata", digest: &p.Strata}}
	}
	return nil
}

// Spec is the order that t names.
func (t *Token) Spec() order.Spec {
	return order.Spec{Kind: t.Order, Version: t.OrderV, Seed: t.Seed, Pass: t.Pass, Params: t.Params}
}

// Encode is the JSON of t, on one line without spaces.
func (t *Token) Encode() []byte {
	q := func(s string) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			panic(err) // a string
		}
		return strings.TrimSuffix(b.String(), "\n")
	}
	out := fmt.Appendf(nil, `{"v":%d,"manifest":%s,"snapshot":%s,"order":%s,"order_v":%d,"seed":%d,"pass":%d,"position":%d`,
		Version, q(t.Manifest), q(t.Snapshot), q(string(t.Order)), t.OrderV, t.Seed, t.Pass, t.Position)
	for i, p := range params(t.Order, &t.Params) {
		if i == 0 {
			out = append(out, `,"params":{`...)
		} else {
			out = append(out, ',')
		}
		if p.number != nil {
			out = fmt.Appendf(out, "%q:%d", p.name, *p.number)
		} else {
			out = fmt.Appendf(out, "%q:%s", p.name, q(*p.digest))
		}
	}
	if len(params(t.Order, &t.Params)) > 0 {
		out = append(out, '}')
	}
	return append(out, '}')
}

func bad(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "loader.token", "resume token", format, args...)
}

// Parse reads a token. It is strict: every field must be there, and nothing
// else; what an older or newer daos wrote is fault.Unsupported.
func Parse(b []byte) (*Token, error) {
	if len(b) > MaxSize {
		return nil, bad("%d bytes long, a token has less than %d", len(b), MaxLen)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	var f file
	keys := map[string]json.RawMessage{}
	err := d.Decode(&keys)
	if err == nil {
		err = json.Unmarshal(b[:d.InputOffset()], &f)
	}
	if err != nil {
		return nil, bad("not a token: %s", strings.TrimPrefix(err.Error(), "json: ")).Do("give the JSON that `state_dict` or `daos loader state` wrote")
	}
	for k := range keys { // encoding/json would take "V" for "v"
		if !slices.Contains(fields(), k) {
			return nil, bad("unknown field %.40q", k)
		}
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, bad("something follows the JSON object")
	}
	v, err := number("v", f.V)
	if err != nil {
		return nil, err
	}
	if v != Version {
		return nil, fault.New(fault.Unsupported, "loader.token", "resume token", "version %d, this daos reads version %d", v, Version).
			Do("use the version of daos that wrote it")
	}
	t := &Token{}
	for _, s := range []struct {
		name string
		from *string
		to   *string
	}{{"manifest", f.Manifest, &t.Manifest}, {"snapshot", f.Snapshot, &t.Snapshot}, {"order", f.Order, (*string)(&t.Order)}} {
		if s.from == nil || *s.from == "" {
			return nil, bad("%q is missing", s.name)
		}
		*s.to = *s.from
	}
	ov, err := number("order_v", f.OrderV)
	if err != nil {
		return nil, err
	}
	if ov != uint64(t.Order.Version()) || ov == 0 {
		return nil, fault.New(fault.Unsupported, "loader.token", "resume token", "order %q version %d is not known here", t.Order, ov).
			Do("use the version of daos that wrote it")
	}
	t.OrderV = int(ov)
	if t.Seed, err = number("seed", f.Seed); err != nil {
		return nil, err
	}
	if t.Pass, err = number("pass", f.Pass); err != nil {
		return nil, err
	}
	if t.Position, err = number("position", f.Position); err != nil {
		return nil, err
	}
	return t, t.readParams(f.Params)
}

// readParams reads the parameters of the order: all that the kind has, and no
// others.
func (t *Token) readParams(b json.RawMessage) error {
	want := params(t.Order, &t.Params)
	got := map[string]json.RawMessage{}
	if b != nil {
		if err := json.Unmarshal(b, &got); err != nil || len(got) == 0 {
			return bad(`"params" is %.40s, not what order %q needs`, string(b), t.Order)
		}
	}
	for k := range got {
		if !slices.ContainsFunc(want, func(p param) bool { return p.name == k }) {
			return bad("order %q has no parameter %.40q", t.Order, k)
		}
	}
	for _, p := range want {
		v, ok := got[p.name]
		if !ok {
			return bad("order %q needs the parameter %q", t.Order, p.name)
		}
		if p.number != nil {
			n, err := number(p.name, v)
			if err != nil {
				return err
			}
			*p.number = n
			continue
		}
		if err := json.Unmarshal(v, p.digest); err != nil || !isDigest(*p.digest) {
			return bad("%q is %.40s, not a digest of 16 hex digits", p.name, string(v))
		}
	}
	s := t.Spec()
	return s.Check()
}

func isDigest(s string) bool {
	return len(s) == 16 && strings.Trim(s, "0123456789abcdef") == ""
}

// number reads a whole number from 0 to 2^64-1.
func number(name string, n json.RawMessage) (uint64, error) {
	if n == nil {
		return 0, bad("%q is missing", name)
	}
	x, ok := new(big.Int), false
	if s := string(n); len(s) <= 200 {
		x, ok = x.SetString(s, 10)
	}
	if !ok {
		return 0, bad("%q is %.40s, not a whole number", name, string(n))
	}
	if !x.IsUint64() {
		return 0, bad("%q is %s, not from 0 to 2^64-1", name, x)
	}
	return x.Uint64(), nil
}

// Check compares t with the manifest that is open: fault.Conflict if it is of
// another one, fault.Invalid if its position is past the end of the pass.
func (t *Token) Check(manifest string, samples uint64) error {
	if t.Order == order.Weighted {
		samples = t.Params.Samples
	}
	if t.Manifest != manifest {
		return fault.New(fault.Conflict, "loader.token", t.Snapshot, "the token is of manifest %.16s, not of %.16s: another snapshot or another selection", t.Manifest, manifest).
			Do("open %s with the path, glob, columns and labels of the run that wrote the token", t.Snapshot)
	}
	if t.Position > samples {
		return bad("position %d is past the %d samples of %s", t.Position, samples, t.Snapshot)
	}
	return nil
}
