package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/fault"
	kvv1 "daos/proto/gen/daos/kv/v1"
)

// kvRange is the flags of a range of keys.
type kvRange struct {
	prefix, start, stop string
	reverse             bool
	limit               uint64
}

func (r *kvRange) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.prefix, "prefix", "", "only keys that begin so")
	f.StringVar(&r.start, "start", "", "from this key (inclusive)")
	f.StringVar(&r.stop, "stop", "", "to this key (exclusive)")
	f.BoolVar(&r.reverse, "reverse", false, "in falling order")
	f.Uint64Var(&r.limit, "limit", 0, "at most so many pairs")
}

func (r *kvRange) request(k *keyFlags, dataset string, values bool) (*kvv1.ListRequest, error) {
	out := &kvv1.ListRequest{Dataset: dataset, Reverse: r.reverse, Values: values}
	for _, x := range []struct {
		to   *[]byte
		from string
	}{{&out.Prefix, r.prefix}, {&out.Start, r.start}, {&out.Stop, r.stop}} {
		var err error
		if *x.to, err = k.key(x.from); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// eachPair calls fn for the pairs of a range, page by page at one epoch. The
// values are parts of their page.
func eachPair(ctx context.Context, c *client.Client, r *kvv1.ListRequest, limit uint64, fn func(p *kvv1.Pair, value []byte, epoch uint64) error) error {
	left := limit
	for {
		r.Limit = uint32(min(left, 8192))
		page, err := c.KV.List(ctx, r)
		if err != nil {
			return err
		}
		rest := page.GetPayload()
		for _, p := range page.GetPairs() {
			var value []byte
			if r.GetValues() && !p.GetLarge() {
				if p.GetSize() > uint64(len(rest)) {
					return fault.New(fault.Internal, "kv.list", r.GetDataset(), "a page without the values of its pairs")
				}
				value, rest = rest[:p.GetSize()], rest[p.GetSize():]
			}
			if err := fn(p, value, page.GetEpoch()); err != nil {
				return err
			}
			if left--; left == 0 && limit > 0 {
				return nil
			}
		}
		if len(page.GetAnchor()) == 0 {
			return nil
		}
		r.Anchor, r.Epoch = page.GetAnchor(), page.GetEpoch()
	}
}

func kvList(a *app) *cobra.Command {
	var k keyFlags
	var r kvRange
	var long, values bool
	cmd := &cobra.Command{
		Use: "ls POOL/DATASET[@SNAPSHOT] [PREFIX]", Aliases: []string{"list"}, Short: "List keys in byte order", Args: cobra.RangeArgs(1, 2),
		Long:    "List keys in byte order, all of one state. With --json a line for each pair. Bytes that are not text are written as \\xff.",
		Example: "  daos kv ls p/runs\n  daos kv ls p/runs run7/ -l\n  daos kv ls p/runs --start a --stop b --reverse --json --values",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.kvDataset(args[0])
			if err != nil {
				return err
			}
			if len(args) > 1 {
				if r.prefix != "" {
					return fault.New(fault.Invalid, "kv.ls", args[1], "the prefix is given twice")
				}
				r.prefix = args[1]
			}
			req, err := r.request(&k, x.DatasetName(), values && a.json)
			if err != nil {
				return err
			}
			t := &table{columns: []column{{head: "SIZE", right: true}, {head: "VERSION", right: true}, {head: "AKEY", shrink: true}, {head: "KEY"}}, empty: "no pairs"}
			var b strings.Builder
			err = eachPair(ctx, c, req, r.limit, func(p *kvv1.Pair, value []byte, epoch uint64) error {
				switch {
				case a.json:
					j := makePair(p.GetKey(), p.GetAkey())
					size := p.GetSize()
					j.Size, j.Version = &size, p.GetVersion()
					if values {
						if value, err = pairValue(ctx, c, req, p, value, epoch); err != nil {
							return err
						}
						j.setValue(value)
					}
					return printJSONLine(a.out, j)
				case long:
					t.row(formatSize(p.GetSize()), formatPlain(p.GetVersion()), printable(string(p.GetAkey())), printable(string(p.GetKey())))
					if len(t.rows) == 4096 {
						err := a.table(t)
						t.rows = t.rows[:0]
						return err
					}
				default:
					b.WriteString(printable(string(p.GetKey())))
					if len(p.GetAkey()) > 0 {
						b.WriteString("\t" + printable(string(p.GetAkey())))
					}
					b.WriteByte('\n')
					if b.Len() > 1<<16 {
						_, err := a.out.Write([]byte(b.String()))
						b.Reset()
						return err
					}
				}
				return nil
			})
			if err != nil || a.json {
				return err
			}
			if long {
				return a.table(t)
			}
			_, err = a.out.Write([]byte(b.String()))
			return err
		}),
	}
	cmd.Flags().BoolVar(&k.hex, "hex", false, "bounds are written in hexadecimal")
	r.add(cmd)
	cmd.Flags().BoolVarP(&long, "long", "l", false, "with sizes, versions and akeys")
	cmd.Flags().BoolVar(&values, "values", false, "with --json: the values too")
	return cmd
}

// pairValue is the value of a listed pair: that of its page, or read for itself.
func pairValue(ctx context.Context, c *client.Client, r *kvv1.ListRequest, p *kvv1.Pair, value []byte, epoch uint64) ([]byte, error) {
	if !p.GetLarge() {
		return value, nil
	}
	var b strings.Builder
	b.Grow(int(min(p.GetSize(), 1<<30)))
	_, err := readValue(ctx, c, &kvv1.ReadRequest{Dataset: r.GetDataset(), Key: p.GetKey(), Akey: p.GetAkey(), Epoch: epoch}, &b)
	return []byte(b.String()), err
}

// kvRemoved answers rm in --json.
type kvRemoved struct {
	Removed uint64 `json:"removed"`
}

func kvRemove(a *app) *cobra.Command {
	var k keyFlags
	var prefix string
	var all, force bool
	cmd := &cobra.Command{
		Use: "rm POOL/DATASET [KEY...]", Aliases: []string{"remove"}, Short: "Remove values", Args: cobra.MinimumNArgs(1),
		Long:    "Remove values: those of the keys named, all or none of them, or with --prefix all that begin so, in batches.",
		Example: "  daos kv rm p/settings lr\n  daos kv rm p/runs --prefix run7/",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.kvLive("kv.rm", args[0])
			if err != nil {
				return err
			}
			if (len(args) > 1) == (prefix != "") {
				return fault.New(fault.Invalid, "kv.rm", args[0], "nothing is named, or too much").Do("name keys, or a --prefix")
			}
			req := &kvv1.ApplyRequest{Dataset: x.DatasetName()}
			for _, s := range args[1:] {
				o := &kvv1.Op{Kind: kvv1.OpKind_OP_KIND_DELETE, Akey: []byte(k.akey)}
				if o.Key, err = k.key(s); err != nil {
					return err
				}
				if all {
					o.Kind, o.Akey = kvv1.OpKind_OP_KIND_DELETE_KEY, nil
				} else if !force {
					o.When = kvv1.When_WHEN_PRESENT
				}
				req.Ops = append(req.Ops, o)
			}
			var out kvRemoved
			apply := func() error {
				r, err := c.KV.Apply(ctx, req)
				for _, x := range r.GetResults() {
					out.Removed += x.GetRemoved()
				}
				req.Ops, req.Mutation = nil, nil
				return err
			}
			if prefix != "" {
				r := kvRange{prefix: prefix}
				list, err := r.request(&k, x.DatasetName(), false)
				if err != nil {
					return err
				}
				err = eachPair(ctx, c, list, 0, func(p *kvv1.Pair, _ []byte, _ uint64) error {
					req.Ops = append(req.Ops, &kvv1.Op{Kind: kvv1.OpKind_OP_KIND_DELETE, Key: p.GetKey(), Akey: p.GetAkey()})
					if len(req.Ops) == 4096 {
						return apply()
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			if len(req.GetOps()) > 0 {
				if err := apply(); err != nil {
					return err
				}
			}
			return a.print(out, func() error {
				a.say("removed %s", formatCount(out.Removed))
				return nil
			})
		}),
	}
	k.add(cmd)
	cmd.Flags().StringVar(&prefix, "prefix", "", "remove all keys that begin so, whatever their akey")
	cmd.Flags().BoolVar(&all, "all-akeys", false, "remove all values of each key")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "no error if there is no such key")
	return cmd
}
