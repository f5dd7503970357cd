package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"daos/internal/client"
	poolv1 "daos/proto/gen/daos/pool/v1"
)

// poolJSON is a pool in --json.
type poolJSON struct {
	Name     string `json:"name"`
	ID       uint64 `json:"id"`
	Quota    uint64 `json:"quota_bytes"`
	Used     uint64 `json:"used_bytes"`
	Records  uint64 `json:"records"`
	Datasets uint32 `json:"datasets"`
	Created  string `json:"created"`
}

func poolOf(p *poolv1.Pool) poolJSON {
	return poolJSON{
		Name: p.GetName(), ID: p.GetId(), Quota: p.GetQuotaBytes(), Used: p.GetUsedBytes(),
		Records: p.GetRecords(), Datasets: p.GetDatasets(), Created: jsonTime(p.GetCreatedUnixNanos()),
	}
}

func newPool(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "pool", Aliases: []string{"pools"}, Short: "Pools: named shares of the storage with a quota"}
	cmd.AddCommand(poolCreate(a), poolList(a), poolShow(a), poolSet(a), poolDestroy(a))
	return cmd
}

func poolCreate(a *app) *cobra.Command {
	var quota string
	cmd := &cobra.Command{
		Use: "create POOL", Short: "Make a pool", Args: cobra.ExactArgs(1),
		Example: "  daos pool create p --quota 50GiB\n  daos pool create scratch",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			name, err := a.poolName(args[0])
			if err != nil {
				return err
			}
			n, err := parseSize(quota)
			if err != nil {
				return err
			}
			r, err := c.Pools.CreatePool(ctx, &poolv1.CreatePoolRequest{Name: name, QuotaBytes: n})
			if err != nil {
				return err
			}
			return a.print(poolOf(r.GetPool()), func() error {
				a.say("pool %s created, quota %s", name, formatQuota(n))
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&quota, "quota", "none", "largest sum of stored bytes, such as 50GiB, or none")
	return cmd
}

func poolList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the pools", Args: cobra.NoArgs,
		Example: "  daos pool list\n  daos pool list --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			r, err := c.Pools.ListPools(ctx, &poolv1.ListPoolsRequest{})
			if err != nil {
				return err
			}
			out := make([]poolJSON, 0, len(r.GetPools()))
			for _, p := range r.GetPools() {
				out = append(out, poolOf(p))
			}
			return a.print(out, func() error {
				t := &table{
					columns: []column{{head: "POOL", shrink: true}, {head: "DATASETS", right: true}, {head: "USED", right: true}, {head: "QUOTA", right: true}, {head: "CREATED"}},
					empty:   "no pools; make one with `daos pool create NAME`",
				}
				for _, p := range r.GetPools() {
					t.row(p.GetName(), formatCount(p.GetDatasets()), formatSize(p.GetUsedBytes()), formatQuota(p.GetQuotaBytes()), formatTime(p.GetCreatedUnixNanos()))
				}
				return a.table(t)
			})
		}),
	}
}

func (a *app) showPool(p *poolv1.Pool) error {
	return a.print(poolOf(p), func() error {
		used := formatSize(p.GetUsedBytes())
		if q := p.GetQuotaBytes(); q > 0 {
			used += fmt.Sprintf(" (%.1f %% of the quota)", 100*float64(p.GetUsedBytes())/float64(q))
		}
		return fields(a.out, "pool", p.GetName(), "quota", formatQuota(p.GetQuotaBytes()), "used", used,
			"versions kept", formatCount(p.GetRecords()), "datasets", formatCount(p.GetDatasets()), "created", formatTime(p.GetCreatedUnixNanos()))
	})
}

func poolShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show POOL", Short: "Describe a pool", Args: cobra.ExactArgs(1),
		Example: "  daos pool show p",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			name, err := a.poolName(args[0])
			if err != nil {
				return err
			}
			r, err := c.Pools.GetPool(ctx, &poolv1.GetPoolRequest{Name: name})
			if err != nil {
				return err
			}
			return a.showPool(r.GetPool())
		}),
	}
}

func poolSet(a *app) *cobra.Command {
	var quota string
	cmd := &cobra.Command{
		Use: "set POOL --quota SIZE", Short: "Change a pool's quota", Args: cobra.ExactArgs(1),
		Example: "  daos pool set p --quota 100GiB\n  daos pool set p --quota none",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			name, err := a.poolName(args[0])
			if err != nil {
				return err
			}
			n, err := parseSize(quota)
			if err != nil {
				return err
			}
			r, err := c.Pools.SetPool(ctx, &poolv1.SetPoolRequest{Name: name, QuotaBytes: n})
			if err != nil {
				return err
			}
			return a.showPool(r.GetPool())
		}),
	}
	cmd.Flags().StringVar(&quota, "quota", "", "largest sum of stored bytes, such as 50GiB, or none")
	mustMark(cmd, "quota")
	return cmd
}

func poolDestroy(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "destroy POOL", Short: "Remove a pool", Args: cobra.ExactArgs(1),
		Example: "  daos pool destroy scratch\n  daos pool destroy p --force   # with all its datasets and snapshots",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			name, err := a.poolName(args[0])
			if err != nil {
				return err
			}
			if _, err := c.Pools.DestroyPool(ctx, &poolv1.DestroyPoolRequest{Name: name, Force: force}); err != nil {
				return err
			}
			return a.done("pool", name, "destroyed")
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "destroy its datasets too")
	return cmd
}

// doneJSON answers verbs that have nothing to show, in --json.
type doneJSON struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Result string `json:"result"`
}

func (a *app) done(kind, name, result string) error {
	return a.print(doneJSON{kind, name, result}, func() error {
		a.say("%s %s %s", kind, printable(name), result)
		return nil
	})
}

// mustMark makes a flag required; it fails only for a flag that isn't there.
func mustMark(cmd *cobra.Command, flag string) {
	if err := cmd.MarkFlagRequired(flag); err != nil {
		panic(err)
	}
}
