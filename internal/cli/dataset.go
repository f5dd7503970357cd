package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/fault"
	"daos/internal/near"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
)

// datasetTypes are the names of the types, as the user writes them.
var datasetTypes = map[string]datasetv1.Type{
	"posix": datasetv1.Type_TYPE_POSIX, "kv": datasetv1.Type_TYPE_KV, "array": datasetv1.Type_TYPE_ARRAY, "tensor": datasetv1.Type_TYPE_TENSOR,
}

func typeName(t datasetv1.Type) string {
	return strings.ToLower(strings.TrimPrefix(t.String(), "TYPE_"))
}

func parseType(s string) (datasetv1.Type, error) {
	if t, ok := datasetTypes[strings.ToLower(s)]; ok {
		return t, nil
	}
	f := fault.New(fault.Invalid, "cli.type", s, "not a type of dataset")
	if near := near.Name(s, []string{"posix", "kv", "array", "tensor"}); near != "" {
		return 0, f.Do("did you mean %s?", near)
	}
	return 0, f.Do("use posix, kv, array or tensor")
}

// datasetJSON is a dataset in --json. Attributes that are not UTF-8 are written
// as "base64:...".
type datasetJSON struct {
	Name        string            `json:"name"`
	Pool        string            `json:"pool"`
	Dataset     string            `json:"dataset"`
	Snapshot    string            `json:"snapshot"`
	ID          uint64            `json:"id"`
	Type        string            `json:"type"`
	ObjectClass string            `json:"object_class"`
	ChunkBytes  uint64            `json:"chunk_bytes"`
	Quota       uint64            `json:"quota_bytes"`
	Used        uint64            `json:"used_bytes"`
	Records     uint64            `json:"records"`
	Attributes  map[string]string `json:"attributes"`
	Snapshots   uint32            `json:"snapshots"`
	Epoch       uint64            `json:"epoch"`
	Created     string            `json:"created"`
}

func datasetOf(d *datasetv1.Dataset) datasetJSON {
	attrs := make(map[string]string, len(d.GetAttributes()))
	for k, v := range d.GetAttributes() {
		attrs[k] = attrText(v)
	}
	name := d.GetPool() + "/" + d.GetName()
	if d.GetSnapshot() != "" {
		name += "@" + d.GetSnapshot()
	}
	return datasetJSON{
		Name: name, Pool: d.GetPool(), Dataset: d.GetName(), Snapshot: d.GetSnapshot(), ID: d.GetId(), Type: typeName(d.GetType()),
		ObjectClass: d.GetObjectClass(), ChunkBytes: d.GetChunkBytes(), Quota: d.GetQuotaBytes(), Used: d.GetUsedBytes(), Records: d.GetRecords(),
		Attributes: attrs, Snapshots: d.GetSnapshots(), Epoch: d.GetEpoch(), Created: jsonTime(d.GetCreatedUnixNanos()),
	}
}

func attrText(v []byte) string {
	if utf8.Valid(v) {
		return string(v)
	}
	return "base64:" + base64.StdEncoding.EncodeToString(v)
}

func newDataset(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "dataset", Aliases: []string{"datasets", "ds"}, Short: "Datasets: typed contents of a pool"}
	cmd.AddCommand(datasetCreate(a), datasetList(a), datasetShow(a), datasetSet(a), datasetDestroy(a))
	return cmd
}

func datasetCreate(a *app) *cobra.Command {
	var typ, class, chunk, quota string
	var attrs []string
	cmd := &cobra.Command{
		Use: "create POOL/DATASET --type posix|kv|array|tensor", Short: "Make a dataset", Args: cobra.ExactArgs(1),
		Example: "  daos dataset create p/photos --type posix\n  daos dataset create p/train --type tensor --class SX --attr owner=ann",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			if x.Snapshot != "" {
				return snapshotIsReadOnly("dataset.create", x)
			}
			req := &datasetv1.CreateDatasetRequest{Dataset: x.DatasetName(), ObjectClass: class}
			if req.Type, err = parseType(typ); err != nil {
				return err
			}
			if chunk != "" {
				if req.ChunkBytes, err = parseSize(chunk); err != nil {
					return err
				}
			}
			if req.QuotaBytes, err = parseSize(quota); err != nil {
				return err
			}
			if req.Attributes, err = parseAttrs(attrs); err != nil {
				return err
			}
			r, err := c.Datasets.CreateDataset(ctx, req)
			if err != nil {
				return err
			}
			return a.print(datasetOf(r.GetDataset()), func() error {
				a.say("dataset %s created, type %s", x, typeName(req.Type))
				return nil
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&typ, "type", "", "posix (files), kv (values by key), array (N-D arrays) or tensor (columns of samples)")
	f.StringVar(&class, "class", "", "object class of bulk data: SX (spread over all targets, the default) or S1")
	f.StringVar(&chunk, "chunk", "", "bytes of a file chunk, 64KiB to 64MiB (default 1MiB)")
	f.StringVar(&quota, "quota", "none", "largest sum of stored bytes, or none")
	f.StringArrayVar(&attrs, "attr", nil, "user attribute NAME=VALUE (repeatable)")
	mustMark(cmd, "type")
	return cmd
}

func parseAttrs(in []string) (map[string][]byte, error) {
	out := make(map[string][]byte, len(in))
	for _, s := range in {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return nil, fault.New(fault.Invalid, "cli.attr", s, "not an attribute").Do("write NAME=VALUE")
		}
		out[k] = []byte(v)
	}
	return out, nil
}

func datasetList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list [POOL]", Aliases: []string{"ls"}, Short: "List the datasets of a pool, or of all", Args: cobra.MaximumNArgs(1),
		Example: "  daos dataset list\n  daos dataset list p --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			req := &datasetv1.ListDatasetsRequest{}
			if len(args) == 1 {
				var err error
				if req.Pool, err = a.poolName(args[0]); err != nil {
					return err
				}
			}
			r, err := c.Datasets.ListDatasets(ctx, req)
			if err != nil {
				return err
			}
			out := make([]datasetJSON, 0, len(r.GetDatasets()))
			for _, d := range r.GetDatasets() {
				out = append(out, datasetOf(d))
			}
			return a.print(out, func() error {
				t := &table{
					columns: []column{{head: "DATASET", shrink: true}, {head: "TYPE"}, {head: "CLASS"}, {head: "USED", right: true}, {head: "QUOTA", right: true}, {head: "SNAPSHOTS", right: true}, {head: "CREATED"}},
					empty:   "no datasets; make one with `daos dataset create POOL/NAME --type posix`",
				}
				for _, d := range out {
					t.row(d.Name, d.Type, d.ObjectClass, formatSize(d.Used), formatQuota(d.Quota), formatCount(d.Snapshots), formatTime(createdNanos(d.Created)))
				}
				return a.table(t)
			})
		}),
	}
}

func (a *app) showDataset(d *datasetv1.Dataset) error {
	out := datasetOf(d)
	return a.print(out, func() error {
		pairs := []string{
			"dataset", out.Name, "type", out.Type, "object class", out.ObjectClass,
			"quota", formatQuota(out.Quota), "used", formatSize(out.Used), "versions kept", formatCount(out.Records),
			"snapshots", formatCount(out.Snapshots), "epoch", fmt.Sprint(out.Epoch), "created", formatTime(d.GetCreatedUnixNanos()),
		}
		if out.ChunkBytes > 0 {
			pairs = slices.Insert(pairs, 6, "chunk", formatSize(out.ChunkBytes))
		}
		names := make([]string, 0, len(out.Attributes))
		for k := range out.Attributes {
			names = append(names, k)
		}
		sort.Strings(names)
		for _, k := range names {
			pairs = append(pairs, "attr "+printable(k), printable(out.Attributes[k]))
		}
		return fields(a.out, pairs...)
	})
}

func datasetShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show POOL/DATASET[@SNAPSHOT]", Short: "Describe a dataset", Args: cobra.ExactArgs(1),
		Example: "  daos dataset show p/photos\n  daos dataset show p/photos@v1 --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			r, err := c.Datasets.GetDataset(ctx, &datasetv1.GetDatasetRequest{Dataset: x.DatasetName()})
			if err != nil {
				return err
			}
			return a.showDataset(r.GetDataset())
		}),
	}
}

func datasetSet(a *app) *cobra.Command {
	var quota string
	var set, remove []string
	cmd := &cobra.Command{
		Use: "set POOL/DATASET", Short: "Change quota and user attributes", Args: cobra.ExactArgs(1),
		Example: "  daos dataset set p/photos --quota 10GiB --attr license=cc0 --remove-attr draft",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			req := &datasetv1.SetDatasetRequest{Dataset: x.DatasetName(), RemoveAttributes: remove, SetQuota: quota != ""}
			if req.SetAttributes, err = parseAttrs(set); err != nil {
				return err
			}
			if req.SetQuota {
				if req.QuotaBytes, err = parseSize(quota); err != nil {
					return err
				}
			}
			if !req.SetQuota && len(set)+len(remove) == 0 {
				return fault.New(fault.Invalid, "dataset.set", x.String(), "nothing to change").Do("give --quota, --attr or --remove-attr")
			}
			r, err := c.Datasets.SetDataset(ctx, req)
			if err != nil {
				return err
			}
			return a.showDataset(r.GetDataset())
		}),
	}
	f := cmd.Flags()
	f.StringVar(&quota, "quota", "", "largest sum of stored bytes, or none")
	f.StringArrayVar(&set, "attr", nil, "set a user attribute NAME=VALUE (repeatable)")
	f.StringArrayVar(&remove, "remove-attr", nil, "remove a user attribute (repeatable)")
	return cmd
}

func datasetDestroy(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "destroy POOL/DATASET", Short: "Remove a dataset with all its snapshots", Args: cobra.ExactArgs(1),
		Example: "  daos dataset destroy p/photos",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			if x.Snapshot != "" {
				return fault.New(fault.Invalid, "dataset.destroy", x.String(), "this is a snapshot").Do("daos snapshot destroy %s %s", x.Live(), x.Snapshot)
			}
			if _, err := c.Datasets.DestroyDataset(ctx, &datasetv1.DestroyDatasetRequest{Dataset: x.DatasetName()}); err != nil {
				return err
			}
			return a.done("dataset", x.String(), "destroyed")
		}),
	}
}

// createdNanos reads jsonTime back.
func createdNanos(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0
	}
	return t.UnixNano()
}
