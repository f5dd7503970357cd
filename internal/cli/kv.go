package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	kvv1 "daos/proto/gen/daos/kv/v1"
)

func newKV(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "kv", Short: "Key-value pairs: bytes by key, in the byte order of the keys",
		Long: "Key-value pairs: bytes by key, in the byte order of the keys. Keys have 1 to 1024 bytes, values up to 1 GiB.\n" +
			"A key may have more than one value, told apart by --akey.",
	}
	cmd.AddCommand(kvCreate(a), kvShow(a), kvGet(a), kvPut(a), kvAdd(a), kvAppend(a), kvRemove(a), kvList(a), kvImport(a), kvExport(a))
	return cmd
}

// keyFlags is how keys are written in arguments.
type keyFlags struct {
	hex  bool
	akey string
}

func (k *keyFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&k.hex, "hex", false, "keys are written in hexadecimal")
	cmd.Flags().StringVar(&k.akey, "akey", "", "akey of the value (default: none)")
}

func (k *keyFlags) key(s string) ([]byte, error) {
	if !k.hex {
		return []byte(s), nil
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, fault.New(fault.Invalid, "kv.key", s, "not hexadecimal").Do("write two digits a byte, or leave --hex out")
	}
	return b, nil
}

// pairJSON is a pair in --json and in files of pairs. Text goes as it is, other
// bytes in base64.
type pairJSON struct {
	Key         *string `json:"key,omitempty"`
	KeyBase64   []byte  `json:"key_base64,omitempty"`
	Akey        string  `json:"akey,omitempty"`
	AkeyBase64  []byte  `json:"akey_base64,omitempty"`
	Value       any     `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Size        *uint64 `json:"size,omitempty"`
	Version     uint64  `json:"version,omitempty"`
}

func makePair(key, akey []byte) pairJSON {
	var p pairJSON
	if utf8.Valid(key) {
		s := string(key)
		p.Key = &s
	} else {
		p.KeyBase64 = key
	}
	if utf8.Valid(akey) {
		p.Akey = string(akey)
	} else {
		p.AkeyBase64 = akey
	}
	return p
}

func (p *pairJSON) setValue(b []byte) {
	if utf8.Valid(b) {
		p.Value = string(b)
		return
	}
	s := base64.StdEncoding.EncodeToString(b)
	p.ValueBase64 = &s
}

// kvDataset reads the address of a KV dataset that is read.
func (a *app) kvDataset(s string) (address.Address, error) {
	if x, err := address.Parse(s); err == nil && x.Path != "" {
		return x, keyApart("kv.key", s, x)
	}
	return a.parseDataset(s)
}

// kvLive reads the address of a KV dataset that is written.
func (a *app) kvLive(op, s string) (address.Address, error) {
	x, err := a.parseLive(op, s)
	if err == nil && x.Path != "" {
		return x, keyApart(op, s, x)
	}
	return x, err
}

// keyApart is the error of a key that is written behind the address.
func keyApart(op, arg string, x address.Address) *fault.Error {
	return fault.New(fault.Invalid, op, arg, "a KV dataset has no paths: the key is an argument of its own").Do("write %s %s", x.DatasetName(), x.Path)
}

// keyArgs checks the number of arguments, and tells who has written the key
// behind the address.
func keyArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err != nil && len(args) > 0 {
			if x, bad := address.Parse(args[0]); bad == nil && x.Path != "" {
				return keyApart("kv.key", args[0], x)
			}
		}
		return err
	}
}

func kvCreate(a *app) *cobra.Command {
	var fieldArgs []string
	var encoding string
	cmd := &cobra.Command{
		Use: "create POOL/DATASET [--field NAME:TYPE...]", Short: "Make a KV dataset, and declare the fields of its values", Args: cobra.ExactArgs(1),
		Long: "Make a KV dataset. With --field its values have fields, which queries see as columns; a value that does not fit is refused when\n" +
			"it is put. Types are bool, int8 to int64, uint8 to uint64, float16 to float64, string and bytes; a ? behind allows null.",
		Example: "  daos kv create p/settings\n  daos kv create p/metrics --field loss:float64 --field step:int64 --field note:string?",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.kvLive("kv.create", args[0])
			if err != nil {
				return err
			}
			schema, err := parseFields(fieldArgs, encoding)
			if err != nil {
				return err
			}
			_, err = c.Datasets.CreateDataset(ctx, &datasetv1.CreateDatasetRequest{Dataset: x.DatasetName(), Type: datasetv1.Type_TYPE_KV})
			if err != nil && (!fault.Is(err, fault.Exists) || schema == nil) {
				return err
			}
			if schema != nil {
				if _, err := c.KV.Define(ctx, &kvv1.DefineRequest{Dataset: x.DatasetName(), Schema: schema}); err != nil {
					return err
				}
			}
			return a.showKV(ctx, c, x)
		}),
	}
	cmd.Flags().StringArrayVar(&fieldArgs, "field", nil, "field NAME:TYPE (repeatable, in order)")
	cmd.Flags().StringVar(&encoding, "encoding", "json", "how the fields lie in a value: json or struct")
	return cmd
}

func parseFields(args []string, encoding string) (*kvv1.Schema, error) {
	e, ok := map[string]kvv1.Encoding{"json": kvv1.Encoding_ENCODING_JSON, "struct": kvv1.Encoding_ENCODING_STRUCT}[encoding]
	if !ok {
		return nil, fault.New(fault.Invalid, "kv.create", encoding, "no encoding of fields").Do("use json or struct")
	}
	if len(args) == 0 {
		return nil, nil
	}
	s := &kvv1.Schema{Encoding: e}
	for _, arg := range args {
		i := strings.LastIndexByte(arg, ':')
		if i <= 0 {
			return nil, fault.New(fault.Invalid, "kv.create", arg, "not a field").Do("write NAME:TYPE, such as loss:float64 or note:string?")
		}
		t, nullable := strings.CutSuffix(arg[i+1:], "?")
		s.Fields = append(s.Fields, &kvv1.Field{Name: arg[:i], Type: t, Nullable: nullable})
	}
	return s, nil
}

func kvShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show POOL/DATASET[@SNAPSHOT]", Short: "Count the pairs, and describe the fields of their values", Args: cobra.ExactArgs(1),
		Example: "  daos kv show p/metrics@v1",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.kvDataset(args[0])
			if err != nil {
				return err
			}
			return a.showKV(ctx, c, x)
		}),
	}
}

// kvJSON is a KV dataset in --json.
type kvJSON struct {
	Dataset  string        `json:"dataset"`
	Pairs    uint64        `json:"pairs"`
	Epoch    uint64        `json:"epoch"`
	Encoding string        `json:"encoding,omitempty"`
	Fields   []kvFieldJSON `json:"fields,omitempty"`
}

type kvFieldJSON struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Nullable bool   `json:"nullable"`
}

func (a *app) showKV(ctx context.Context, c *client.Client, x address.Address) error {
	d, err := c.KV.Describe(ctx, &kvv1.DescribeRequest{Dataset: x.DatasetName(), Count: true})
	if err != nil {
		return err
	}
	out := kvJSON{Dataset: x.DatasetName(), Pairs: d.GetPairs(), Epoch: d.GetEpoch()}
	t := &table{columns: []column{{head: "FIELD", shrink: true}, {head: "TYPE"}, {head: "NULLS"}}}
	if s := d.GetSchema(); s != nil {
		out.Encoding = strings.ToLower(strings.TrimPrefix(s.GetEncoding().String(), "ENCODING_"))
		for _, f := range s.GetFields() {
			out.Fields = append(out.Fields, kvFieldJSON{f.GetName(), f.GetType(), f.GetNullable()})
			nulls := "no"
			if f.GetNullable() {
				nulls = "yes"
			}
			t.row(printable(f.GetName()), f.GetType(), nulls)
		}
	}
	return a.print(out, func() error {
		if a.quiet {
			return nil
		}
		lines := []string{"dataset", out.Dataset, "pairs", formatCount(out.Pairs), "epoch", formatPlain(out.Epoch)}
		if out.Encoding != "" {
			lines = append(lines, "values", out.Encoding)
		}
		if err := fields(a.out, lines...); err != nil || len(t.rows) == 0 {
			return err
		}
		if _, err := fmt.Fprintln(a.out); err != nil {
			return err
		}
		return a.table(t)
	})
}

func kvGet(a *app) *cobra.Command {
	var k keyFlags
	cmd := &cobra.Command{
		Use: "get POOL/DATASET[@SNAPSHOT] KEY...", Short: "Write values to standard output, as they are", Args: keyArgs(cobra.MinimumNArgs(2)),
		Long:    "Write values to standard output, as they are and without a newline. With --json a line for each key, null where there is none.",
		Example: "  daos kv get p/settings lr\n  daos kv get p/models@v1 best > best.pt\n  daos kv get p/settings lr batch --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.kvDataset(args[0])
			if err != nil {
				return err
			}
			epoch := uint64(0)
			for _, s := range args[1:] {
				key, err := k.key(s)
				if err != nil {
					return err
				}
				out := a.out
				var buf bytes.Buffer
				if a.json {
					out = &buf
				}
				p, err := readValue(ctx, c, &kvv1.ReadRequest{Dataset: x.DatasetName(), Key: key, Akey: []byte(k.akey), Epoch: epoch}, out)
				if err != nil {
					return err
				}
				epoch = p.GetEpoch()
				if !a.json {
					continue
				}
				j := makePair(key, []byte(k.akey))
				j.setValue(buf.Bytes())
				j.Version = p.GetVersion()
				if err := printJSONLine(a.out, j); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	k.add(cmd)
	return cmd
}

// readValue writes a value to w, and returns the last message of its stream.
func readValue(ctx context.Context, c *client.Client, r *kvv1.ReadRequest, w io.Writer) (*kvv1.ReadResponse, error) {
	stream, err := c.KV.Read(ctx, r)
	if err != nil {
		return nil, err
	}
	var last *kvv1.ReadResponse
	for {
		m, err := stream.Recv()
		if isEOF(err) {
			return last, nil
		}
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(m.GetPayload()); err != nil {
			return nil, err
		}
		last = m
	}
}

// kvInput is where the value of put and append comes from.
func (a *app) kvInput(op string, args []string, file string) (in io.Reader, done func(), err error) {
	done = func() {}
	switch {
	case file != "" && len(args) > 2:
		return nil, nil, fault.New(fault.Invalid, op, file, "a value and a file are both given").Do("leave one out")
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return nil, nil, fault.New(fault.KindOf(err), op, file, "can't be opened").Because(unwrapPath(err))
		}
		return f, func() { _ = f.Close() }, nil
	case len(args) > 2 && args[2] != "-":
		return strings.NewReader(args[2]), done, nil
	}
	return a.in, done, nil
}

// kvWritten answers put, append and add in --json.
type kvWritten struct {
	Key     string `json:"key"`
	Size    uint64 `json:"size"`
	Value   *int64 `json:"value,omitempty"`
	Version uint64 `json:"version"`
}

// kvPiece is how much of a value goes into one message.
const kvPiece = 2 << 20

func kvPut(a *app) *cobra.Command {
	var k keyFlags
	var file string
	var absent, present bool
	var version uint64
	cmd := &cobra.Command{
		Use: "put POOL/DATASET KEY [VALUE]", Short: "Set a value: the argument, standard input, or a file", Args: keyArgs(cobra.RangeArgs(2, 3)),
		Long:    "Set a value: the argument, else standard input (-), or a file. It is seen whole or not at all.",
		Example: "  daos kv put p/settings lr 0.1\n  daos kv put p/models best --file best.pt\n  daos kv put p/settings lr 0.05 --if-version 891040950025621504",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.kvLive("kv.put", args[0])
			if err != nil {
				return err
			}
			key, err := k.key(args[1])
			if err != nil {
				return err
			}
			in, done, err := a.kvInput("kv.put", args, file)
			if err != nil {
				return err
			}
			defer done()
			first := &kvv1.PutRequest{Dataset: x.DatasetName(), Key: key, Akey: []byte(k.akey), Mutation: mutation(), Version: version}
			switch {
			case absent && (present || version != 0):
				return fault.New(fault.Invalid, "kv.put", args[1], "a value can't be asked to be absent and present")
			case absent:
				first.When = kvv1.When_WHEN_ABSENT
			case version != 0:
				first.When = kvv1.When_WHEN_VERSION
			case present:
				first.When = kvv1.When_WHEN_PRESENT
			}
			r, err := putValue(ctx, c, first, in)
			if err != nil {
				return err
			}
			return a.print(kvWritten{Key: strings.ToValidUTF8(args[1], "\uFFFD"), Size: r.GetSize(), Version: r.GetChanged().GetEpoch()}, func() error {
				a.say("%s: %s, version %s", printable(args[1]), formatSize(r.GetSize()), formatPlain(r.GetChanged().GetEpoch()))
				return nil
			})
		}),
	}
	k.add(cmd)
	f := cmd.Flags()
	f.StringVar(&file, "file", "", "take the value from this file")
	f.BoolVar(&absent, "if-absent", false, "only if there is no value")
	f.BoolVar(&present, "if-present", false, "only if there is one")
	f.Uint64Var(&version, "if-version", 0, "only if this is its version")
	return cmd
}

// putValue streams one value.
func putValue(ctx context.Context, c *client.Client, first *kvv1.PutRequest, in io.Reader) (*kvv1.PutResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.KV.Put(ctx)
	if err != nil {
		return nil, err
	}
	for m := first; ; m = new(kvv1.PutRequest) {
		buf := make([]byte, kvPiece)
		n, err := io.ReadFull(in, buf)
		last := errors.Is(err, io.ErrUnexpectedEOF) || isEOF(err)
		if err != nil && !last {
			return nil, fault.New(fault.KindOf(err), "kv.put", "input", "the value can't be read").Because(err)
		}
		if m.Payload = buf[:n]; n > 0 || m == first {
			if err := stream.Send(m); isEOF(err) {
				break // the answer tells why
			} else if err != nil {
				return nil, err
			}
		}
		if last {
			break
		}
	}
	return stream.CloseAndRecv()
}

func kvAdd(a *app) *cobra.Command {
	var k keyFlags
	cmd := &cobra.Command{
		Use: "add POOL/DATASET KEY [NUMBER]", Short: "Add to a counter and print the sum", Args: keyArgs(cobra.RangeArgs(2, 3)),
		Long:    "Add to a counter, on the server and once, and print the sum. A counter is a decimal integer of 64 bits; one that is not there is 0.",
		Example: "  daos kv add p/settings runs\n  daos kv add p/settings budget -- -5",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			n := int64(1)
			if len(args) > 2 {
				var err error
				if n, err = strconv.ParseInt(args[2], 10, 64); err != nil {
					return fault.New(fault.Invalid, "kv.add", args[2], "not an integer of 64 bits")
				}
			}
			r, err := a.applyOne(ctx, c, "kv.add", args, &k, &kvv1.Op{Kind: kvv1.OpKind_OP_KIND_ADD, Number: n}, nil)
			if err != nil {
				return err
			}
			sum := r.GetResults()[0].GetNumber()
			return a.print(kvWritten{Key: strings.ToValidUTF8(args[1], "\uFFFD"), Size: uint64(len(strconv.FormatInt(sum, 10))), Value: &sum, Version: r.GetChanged().GetEpoch()}, func() error {
				_, err := fmt.Fprintln(a.out, sum)
				return err
			})
		}),
	}
	k.add(cmd)
	return cmd
}

// maxAppend is what one append takes; the server takes more in one message
// than is sensible to hold here.
const maxAppend = 32 << 20

func kvAppend(a *app) *cobra.Command {
	var k keyFlags
	var file string
	cmd := &cobra.Command{
		Use: "append POOL/DATASET KEY [VALUE]", Short: "Append to a value: the argument, standard input, or a file", Args: keyArgs(cobra.RangeArgs(2, 3)),
		Example: "  date | daos kv append p/settings log",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			in, done, err := a.kvInput("kv.append", args, file)
			if err != nil {
				return err
			}
			defer done()
			b, err := io.ReadAll(io.LimitReader(in, maxAppend+1))
			if err != nil {
				return fault.New(fault.KindOf(err), "kv.append", "input", "the value can't be read").Because(err)
			}
			if len(b) > maxAppend {
				return fault.New(fault.TooBig, "kv.append", args[1], "more than %d bytes to append", maxAppend).Do("append in pieces")
			}
			r, err := a.applyOne(ctx, c, "kv.append", args, &k, &kvv1.Op{Kind: kvv1.OpKind_OP_KIND_APPEND, Size: uint64(len(b))}, b)
			if err != nil {
				return err
			}
			size := r.GetResults()[0].GetSize()
			return a.print(kvWritten{Key: strings.ToValidUTF8(args[1], "\uFFFD"), Size: size, Version: r.GetChanged().GetEpoch()}, func() error {
				a.say("%s: %s", printable(args[1]), formatSize(size))
				return nil
			})
		}),
	}
	k.add(cmd)
	cmd.Flags().StringVar(&file, "file", "", "take the value from this file")
	return cmd
}

// applyOne carries out one change of the key args[1] of the dataset args[0].
func (a *app) applyOne(ctx context.Context, c *client.Client, op string, args []string, k *keyFlags, o *kvv1.Op, payload []byte) (*kvv1.ApplyResponse, error) {
	x, err := a.kvLive(op, args[0])
	if err != nil {
		return nil, err
	}
	if o.Key, err = k.key(args[1]); err != nil {
		return nil, err
	}
	o.Akey = []byte(k.akey)
	return c.KV.Apply(ctx, &kvv1.ApplyRequest{Dataset: x.DatasetName(), Ops: []*kvv1.Op{o}, Payload: payload})
}
