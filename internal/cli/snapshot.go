package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	viewv1 "daos/proto/gen/daos/view/v1"
)

// snapshotJSON is a snapshot in --json.
type snapshotJSON struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Epoch   uint64 `json:"epoch"`
	Created string `json:"created"`
	Expires string `json:"expires"`
	Auto    bool   `json:"auto"`
}

func snapshotOf(dataset string, s *datasetv1.Snapshot) snapshotJSON {
	return snapshotJSON{
		Name: s.GetName(), Address: dataset + "@" + s.GetName(), Epoch: s.GetEpoch(),
		Created: jsonTime(s.GetCreatedUnixNanos()), Expires: jsonTime(s.GetExpiresUnixNanos()), Auto: s.GetAuto(),
	}
}

func newSnapshot(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "snapshot", Aliases: []string{"snapshots", "snap"}, Short: "Snapshots: named epochs of a dataset"}
	cmd.AddCommand(snapshotCreate(a), snapshotList(a), snapshotDestroy(a))
	return cmd
}

// snapshotArgs reads "POOL/DATASET NAME" or "POOL/DATASET@NAME".
func (a *app) snapshotArgs(args []string) (address.Address, error) {
	x, err := a.parseDataset(args[0])
	if err != nil {
		return x, err
	}
	if len(args) == 2 {
		if x.Snapshot != "" {
			return x, fault.New(fault.Invalid, "cli.snapshot", args[0], "two names for one snapshot: %s and %s", x.Snapshot, args[1])
		}
		if err := address.CheckName("snapshot", args[1]); err != nil {
			return x, err
		}
		x.Snapshot = args[1]
	}
	if x.Snapshot == "" {
		return x, fault.New(fault.Invalid, "cli.snapshot", args[0], "the name of the snapshot is missing").Do("write %s NAME", x)
	}
	return x, nil
}

func snapshotCreate(a *app) *cobra.Command {
	var ttl time.Duration
	cmd := &cobra.Command{
		Use: "create POOL/DATASET NAME", Short: "Name the present state of a dataset", Args: cobra.RangeArgs(1, 2),
		Example: "  daos snapshot create p/photos v1\n  daos snapshot create p/photos@nightly --ttl 168h",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.snapshotArgs(args)
			if err != nil {
				return err
			}
			if ttl < 0 {
				return fault.New(fault.Invalid, "snapshot.create", x.String(), "negative --ttl")
			}
			r, err := c.Datasets.CreateSnapshot(ctx, &datasetv1.CreateSnapshotRequest{
				Dataset: x.Live().DatasetName(), Name: x.Snapshot, TtlSeconds: uint64(ttl.Seconds()),
			})
			if err != nil {
				a.subject.Snapshot = ""
				return err
			}
			return a.print(snapshotOf(x.Live().DatasetName(), r.GetSnapshot()), func() error {
				a.say("snapshot %s created at epoch %d", x, r.GetSnapshot().GetEpoch())
				return nil
			})
		}),
	}
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "let it end after this long without use, such as 168h (default: never)")
	return cmd
}

func snapshotList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list POOL/DATASET", Aliases: []string{"ls"}, Short: "List the snapshots of a dataset, oldest first", Args: cobra.ExactArgs(1),
		Example: "  daos snapshot list p/photos",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			name := x.Live().DatasetName()
			r, err := c.Datasets.ListSnapshots(ctx, &datasetv1.ListSnapshotsRequest{Dataset: name})
			if err != nil {
				return err
			}
			out := make([]snapshotJSON, 0, len(r.GetSnapshots()))
			for _, s := range r.GetSnapshots() {
				out = append(out, snapshotOf(name, s))
			}
			return a.print(out, func() error {
				t := &table{
					columns: []column{{head: "SNAPSHOT", shrink: true}, {head: "EPOCH", right: true}, {head: "CREATED"}, {head: "EXPIRES"}},
					empty:   "no snapshots; make one with `daos snapshot create " + name + " NAME`",
				}
				for _, s := range r.GetSnapshots() {
					expires := "never"
					if s.GetExpiresUnixNanos() != 0 {
						expires = formatTime(s.GetExpiresUnixNanos())
					}
					t.row(s.GetName(), formatPlain(s.GetEpoch()), formatTime(s.GetCreatedUnixNanos()), expires)
				}
				return a.table(t)
			})
		}),
	}
}

func snapshotDestroy(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "destroy POOL/DATASET NAME", Short: "Remove a snapshot", Args: cobra.RangeArgs(1, 2),
		Example: "  daos snapshot destroy p/photos v1\n  daos snapshot destroy p/photos@v1\n  daos snapshot destroy p/photos v1 --force   # also if views read it",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.snapshotArgs(args)
			if err != nil {
				return err
			}
			a.subject = x
			var views *viewv1.ListViewsResponse
			if force {
				views, _ = c.View.ListViews(ctx, &viewv1.ListViewsRequest{Dataset: x.Live().DatasetName()}) // for a warning
			}
			if _, err := c.Datasets.DestroySnapshot(ctx, &datasetv1.DestroySnapshotRequest{Dataset: x.DatasetName(), Force: force}); err != nil {
				return err
			}
			for _, v := range views.GetViews() {
				if v.GetSnapshot() == x.Snapshot && !v.GetSnapshotGone() {
					a.warn("view %s reads this snapshot, and can't be read any more; `daos view refresh %s %s` runs its query again", v.GetName(), v.GetDataset(), v.GetName())
				}
			}
			return a.done("snapshot", x.String(), "destroyed")
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "also if views read it, which can't be read any more then")
	return cmd
}
