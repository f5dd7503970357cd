package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	kvv1 "daos/proto/gen/daos/kv/v1"
)

// Limits of one batch of an import, and of one line of its file.
const (
	kvBatchOps   = 4096
	kvBatchBytes = 8 << 20
	kvBatchKeys  = 512 << 10
	kvLine       = 64 << 20
)

const kvFormats = `Formats, by the name of the file or --format:
  ndjson  {"key": "a", "value": "text"} a line; "akey" where there is one. Bytes that are not text are "key_base64" and
          "value_base64". A value that is no string stands for its JSON text, as values with fields have it.
  csv     a head key,value (and akey), then a line for each pair; text only. Where the values have fields, an import may name
          them in the place of value: key,loss,step. An empty cell is null where the field may be.`

func kvFormat(op, format, file string) (string, error) {
	if format == "" {
		format = "ndjson"
		if strings.HasSuffix(strings.ToLower(file), ".csv") {
			format = "csv"
		}
	}
	if format != "ndjson" && format != "csv" {
		return "", fault.New(fault.Invalid, op, format, "no format of pairs").Do("use ndjson or csv")
	}
	return format, nil
}

// kvFileJSON is the result of import and export in --json.
type kvFileJSON struct {
	File    string  `json:"file"`
	Pairs   uint64  `json:"pairs"`
	Bytes   uint64  `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

func kvImport(a *app) *cobra.Command {
	var format string
	var absent bool
	cmd := &cobra.Command{
		Use: "import FILE POOL/DATASET", Short: "Put the pairs of a file, or of standard input (-)", Args: cobra.ExactArgs(2),
		Long:    "Put the pairs of a file, or of standard input (-), in batches each of which is seen whole or not at all.\n\n" + kvFormats,
		Example: "  daos kv import settings.csv p/settings\n  daos kv create p/copy && daos kv export p/settings - | daos kv import - p/copy",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.kvLive("kv.import", args[1])
			if err != nil {
				if _, no := os.Stat(args[1]); no == nil {
					return fault.New(fault.Invalid, "kv.import", args[1], "it is a file, not a dataset").Do("the file comes first: daos kv import %s %s", args[1], args[0])
				}
				return err
			}
			if format, err = kvFormat("kv.import", format, args[0]); err != nil {
				return err
			}
			in := a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fault.New(fault.KindOf(err), "kv.import", args[0], "can't be opened").Because(unwrapPath(err))
				}
				defer f.Close()
				in = f
			}
			began := time.Now()
			im := &kvImporter{c: c, x: x, file: args[0], absent: absent, req: &kvv1.ApplyRequest{}}
			read := im.ndjson
			if format == "csv" {
				read = im.csv
			}
			if err := read(ctx, in); err != nil {
				return err
			}
			if err := im.flush(ctx); err != nil {
				return err
			}
			out := kvFileJSON{args[0], im.pairs, im.bytes, time.Since(began).Seconds()}
			return a.print(out, func() error {
				a.say("%s pairs, %s in %s", formatCount(out.Pairs), formatSize(out.Bytes), formatDuration(time.Since(began)))
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&format, "format", "", "ndjson or csv (default: by the name)")
	cmd.Flags().BoolVar(&absent, "if-absent", false, "fail at the first key that is there already")
	return cmd
}

// kvImporter collects pairs into batches.
type kvImporter struct {
	c            *client.Client
	x            address.Address
	file         string
	absent       bool
	req          *kvv1.ApplyRequest
	keys         int
	line         int
	pairs, bytes uint64
}

func (im *kvImporter) bad(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "kv.import", fmt.Sprintf("%s:%d", im.file, im.line), format, args...)
}

func (im *kvImporter) put(ctx context.Context, key, akey, value []byte) error {
	im.pairs++
	im.bytes += uint64(len(value))
	when := kvv1.When_WHEN_UNSPECIFIED
	if im.absent {
		when = kvv1.When_WHEN_ABSENT
	}
	if len(value) > kvBatchBytes {
		if err := im.flush(ctx); err != nil {
			return err
		}
		_, err := putValue(ctx, im.c, &kvv1.PutRequest{Dataset: im.x.DatasetName(), Key: key, Akey: akey, When: when, Mutation: mutation()}, bytes.NewReader(value))
		return err
	}
	if n := len(im.req.GetOps()) + len(im.req.GetPuts().GetSizes()); n == kvBatchOps || im.keys+len(key)+len(akey) > kvBatchKeys || len(im.req.GetPayload())+len(value) > kvBatchBytes {
		if err := im.flush(ctx); err != nil {
			return err
		}
	}
	im.keys += len(key) + len(akey)
	if len(akey) == 0 && !im.absent && len(im.req.GetOps()) == 0 { // as columns; what follows another form stays behind it
		if im.req.GetPuts() == nil {
			im.req.Puts = &kvv1.Puts{}
		}
		p := im.req.GetPuts()
		p.Keys = append(p.Keys, key...)
		p.KeySizes, p.Sizes = append(p.KeySizes, uint32(len(key))), append(p.Sizes, uint32(len(value)))
	} else {
		im.req.Ops = append(im.req.Ops, &kvv1.Op{Kind: kvv1.OpKind_OP_KIND_PUT, Key: key, Akey: akey, Size: uint64(len(value)), When: when})
	}
	im.req.Payload = append(im.req.Payload, value...)
	return nil
}

func (im *kvImporter) flush(ctx context.Context) error {
	if len(im.req.GetOps()) == 0 && im.req.GetPuts() == nil {
		return nil
	}
	im.req.Dataset, im.req.Mutation = im.x.DatasetName(), mutation()
	_, err := im.c.KV.Apply(ctx, im.req)
	im.req, im.keys = &kvv1.ApplyRequest{}, 0
	return err
}

func (im *kvImporter) ndjson(ctx context.Context, in io.Reader) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 1<<16), kvLine)
	for s.Scan() {
		im.line++
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		var p struct {
			Key         *string         `json:"key"`
			KeyBase64   []byte          `json:"key_base64"`
			Akey        string          `json:"akey"`
			AkeyBase64  []byte          `json:"akey_base64"`
			Value       json.RawMessage `json:"value"`
			ValueBase64 *string         `json:"value_base64"`
		}
		if err := json.Unmarshal(s.Bytes(), &p); err != nil {
			return im.bad("the line is not the JSON of a pair").Because(err)
		}
		key, akey := p.KeyBase64, p.AkeyBase64
		if p.Key != nil {
			key = []byte(*p.Key)
		}
		if p.Akey != "" {
			akey = []byte(p.Akey)
		}
		value, err := jsonValue(p.Value, p.ValueBase64)
		if err != nil {
			return im.bad("%s", err.Error())
		}
		if err := im.put(ctx, key, akey, value); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return im.bad("can't be read on").Because(err)
	}
	return nil
}

func jsonValue(raw json.RawMessage, b64 *string) ([]byte, error) {
	switch {
	case b64 != nil:
		b, err := base64.StdEncoding.DecodeString(*b64)
		if err != nil {
			return nil, errors.New("value_base64 is not base64")
		}
		return b, nil
	case raw == nil:
		return nil, errors.New("the line has no value")
	case raw[0] == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return []byte(s), err
	}
	var b bytes.Buffer
	err := json.Compact(&b, raw)
	return b.Bytes(), err
}

func kvExport(a *app) *cobra.Command {
	var format string
	var k keyFlags
	var r kvRange
	cmd := &cobra.Command{
		Use: "export POOL/DATASET[@SNAPSHOT] FILE", Short: "Write pairs to a file, or to standard output (-)", Args: cobra.ExactArgs(2),
		Long:    "Write pairs in the byte order of their keys to a file, or to standard output (-), all of one state.\n\n" + kvFormats,
		Example: "  daos kv export p/settings settings.csv\n  daos kv export p/runs@v1 - --prefix run7/ | jq .value",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.kvDataset(args[0])
			if err != nil {
				return err
			}
			if format, err = kvFormat("kv.export", format, args[1]); err != nil {
				return err
			}
			req, err := r.request(&k, x.DatasetName(), true)
			if err != nil {
				return err
			}
			began := time.Now()
			out := kvFileJSON{File: args[1]}
			write := func(w io.Writer) error {
				buf := bufio.NewWriterSize(w, 1<<18)
				if err := exportPairs(ctx, c, req, r.limit, format, buf, &out); err != nil {
					return err
				}
				return buf.Flush()
			}
			if args[1] == "-" {
				return write(a.out)
			}
			if _, err := writeWhole(args[1], func(f *os.File) error { return write(f) }); err != nil {
				return err
			}
			out.Seconds = time.Since(began).Seconds()
			return a.print(out, func() error {
				a.say("%s: %s pairs, %s in %s", printable(out.File), formatCount(out.Pairs), formatSize(out.Bytes), formatDuration(time.Since(began)))
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&format, "format", "", "ndjson or csv (default: by the name)")
	cmd.Flags().BoolVar(&k.hex, "hex", false, "bounds are written in hexadecimal")
	r.add(cmd)
	return cmd
}

func exportPairs(ctx context.Context, c *client.Client, req *kvv1.ListRequest, limit uint64, format string, w io.Writer, out *kvFileJSON) error {
	d, err := c.KV.Describe(ctx, &kvv1.DescribeRequest{Dataset: req.GetDataset()})
	if err != nil {
		return err
	}
	objects := d.GetSchema().GetEncoding() == kvv1.Encoding_ENCODING_JSON
	table := csv.NewWriter(w)
	if format == "csv" {
		if err := table.Write([]string{"key", "akey", "value"}); err != nil {
			return err
		}
	}
	err = eachPair(ctx, c, req, limit, func(p *kvv1.Pair, value []byte, epoch uint64) error {
		value, err := pairValue(ctx, c, req, p, value, epoch)
		if err != nil {
			return err
		}
		out.Pairs++
		out.Bytes += uint64(len(value))
		if format == "csv" {
			for _, b := range [][]byte{p.GetKey(), p.GetAkey(), value} {
				if !utf8.Valid(b) || bytes.IndexByte(b, '\r') >= 0 || bytes.IndexByte(b, 0) >= 0 {
					return fault.New(fault.Unsupported, "kv.export", req.GetDataset(), "the pair %s is not text, which is all that CSV has a form for", printable(string(p.GetKey()))).
						Do("export to .ndjson")
				}
			}
			return table.Write([]string{string(p.GetKey()), string(p.GetAkey()), string(value)})
		}
		j := makePair(p.GetKey(), p.GetAkey())
		if objects && json.Valid(value) {
			j.Value = json.RawMessage(value)
		} else {
			j.setValue(value)
		}
		return printJSONLine(w, j)
	})
	if err != nil {
		return err
	}
	table.Flush()
	return table.Error()
}
