package cli

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/fault"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
)

// keysFlags are a range of keys.
type keysFlags struct {
	k                keyFlags
	prefix, from, to string
	reverse          bool
}

// condition is the range as a condition on the column key, "" for all keys.
func (k *keysFlags) condition() (string, error) {
	var conds []string
	add := func(op string, key []byte) { conds = append(conds, "key "+op+" x'"+hex.EncodeToString(key)+"'") }
	for _, b := range []struct{ text, op string }{{k.from, ">="}, {k.to, "<"}} {
		if b.text == "" {
			continue
		}
		key, err := k.k.key(b.text)
		if err != nil {
			return "", err
		}
		add(b.op, key)
	}
	if k.prefix != "" {
		p, err := k.k.key(k.prefix)
		if err != nil {
			return "", err
		}
		add(">=", p)
		if end := behind(p); end != nil {
			add("<", end)
		}
	}
	return strings.Join(conds, " and "), nil
}

// behind is the first key behind all that begin with p; nil: there is none.
func behind(p []byte) []byte {
	for n := len(p); n > 0; n-- {
		if p[n-1] != 0xff {
			end := append([]byte(nil), p[:n]...)
			end[n-1]++
			return end
		}
	}
	return nil
}

func queryKV(a *app) *cobra.Command {
	var f queryFlags
	var k keysFlags
	cmd := &cobra.Command{
		Use: "kv POOL/DATASET[@SNAPSHOT]", Short: "Print pairs of a kv dataset by key and by condition", Args: cobra.ExactArgs(1),
		Long: "Print pairs of a kv dataset in the order of their keys: those that begin so, those of a range, and of these the ones that\n" +
			"meet a condition. Only the range is read. Fields of a declared schema are columns (`daos query schema` shows them);\n" +
			"without a schema the value is one, as bytes: in JSON and CSV in hexadecimal. `daos kv ls` lists keys, `daos kv get` gives\n" +
			"one value as it is.",
		Example: "  daos query kv p/runs --prefix run7/\n  daos query kv p/runs@v1 --from a --to c -w 'lr > 0.1' -c key_text,lr --format csv\n" +
			"  daos query kv p/runs --prefix log/ --reverse --limit 10",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.kvDataset(args[0])
			if err != nil {
				return err
			}
			r, err := f.request(a, x.DatasetName())
			if err != nil {
				return err
			}
			if err := k.into(r); err != nil {
				return err
			}
			s, err := c.Query.Schema(ctx, &queryv1.SchemaRequest{Dataset: r.GetDataset()})
			if err != nil {
				return err
			}
			if s.GetType() != "kv" {
				return fault.New(fault.Invalid, "query.kv", r.GetDataset(), "it is a dataset of type %s, which has no pairs", s.GetType()).
					Do("use daos query find %s", r.GetDataset())
			}
			f.chooseColumns(a, r, s)
			n, err := a.runScan(ctx, c, r, &f)
			if err == nil && k.reverse && f.limit == 0 && n.GetRowsOut() == exec.MaxKept {
				a.warn("%s: these are the greatest %d keys; go on with --to", r.GetDataset(), exec.MaxKept)
			}
			return err
		}),
	}
	fl := cmd.Flags()
	fl.StringVar(&k.prefix, "prefix", "", "only keys that begin so")
	fl.StringVar(&k.from, "from", "", "from this key (inclusive)")
	fl.StringVar(&k.to, "to", "", "to this key (exclusive)")
	fl.BoolVar(&k.k.hex, "hex", false, "keys are written in hexadecimal")
	fl.BoolVar(&k.reverse, "reverse", false, "greatest keys first, at most 1048576 pairs")
	fl.StringVarP(&f.where, "where", "w", "", "condition that pairs must meet")
	fl.StringSliceVarP(&f.columns, "columns", "c", nil, "columns wanted, in this order (default: all but key in bytes, akey and version)")
	fl.Uint64VarP(&f.limit, "limit", "n", 0, "at most so many pairs")
	f.result(cmd)
	return cmd
}

// into narrows a scan to the range, and turns it around.
func (k *keysFlags) into(r *queryv1.ScanRequest) error {
	cond, err := k.condition()
	if err != nil {
		return err
	}
	switch {
	case cond == "":
	case strings.TrimSpace(r.GetWhere()) == "":
		r.Where = cond
	default:
		r.Where = cond + " and (" + r.GetWhere() + ")"
	}
	if k.reverse {
		n := r.GetLimit()
		if n == 0 || n > exec.MaxKept {
			n = exec.MaxKept
		}
		r.Top = &queryv1.Top{Column: "key", Descending: true, K: n}
	}
	return nil
}
