package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/fault"
	systemv1 "daos/proto/gen/daos/system/v1"
)

// statusJSON is a server's state in --json.
type statusJSON struct {
	Version     string       `json:"version"`
	Root        string       `json:"root"`
	PID         int64        `json:"pid"`
	Uptime      float64      `json:"uptime_seconds"`
	Addresses   []string     `json:"addresses"`
	Epoch       uint64       `json:"epoch"`
	Connections int64        `json:"connections"`
	Ephemeral   bool         `json:"ephemeral"`
	MapVersion  uint64       `json:"map_version"`
	Targets     []targetJSON `json:"targets"`
}

type targetJSON struct {
	ID           uint32 `json:"id"`
	State        string `json:"state"`
	IndexBytes   int64  `json:"index_bytes"`
	SegmentBytes int64  `json:"segment_bytes"`
	Segments     int64  `json:"segments"`
}

func newSystem(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "system", Short: "The server: its state, scrubbing and sweeping"}
	cmd.AddCommand(systemStatus(a), systemPing(a), systemScrub(a), systemSweep(a), systemRebuild(a))
	return cmd
}

func systemStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Describe the server and its targets", Args: cobra.NoArgs,
		Example: "  daos system status\n  daos system status --addr 127.0.0.1:7000 --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			r, err := c.System.Status(ctx, &systemv1.StatusRequest{})
			if err != nil {
				return err
			}
			s := statusJSON{
				Version: r.GetVersion(), Root: r.GetRoot(), PID: r.GetPid(), Uptime: r.GetUptimeSeconds(), Addresses: r.GetAddresses(),
				Epoch: r.GetEpoch(), Connections: r.GetConnections(), Ephemeral: r.GetEphemeral(), MapVersion: r.GetMapVersion(), Targets: []targetJSON{},
			}
			t := &table{columns: []column{{head: "TARGET", right: true}, {head: "STATE", shrink: true}, {head: "INDEX", right: true}, {head: "DATA", right: true}, {head: "SEGMENTS", right: true}}, empty: "no targets"}
			for _, x := range r.GetTargets() {
				s.Targets = append(s.Targets, targetJSON{x.GetId(), x.GetState(), x.GetIndexBytes(), x.GetSegmentBytes(), x.GetSegments()})
				t.row(formatCount(x.GetId()), x.GetState(), formatSize(uint64(max(x.GetIndexBytes(), 0))), formatSize(uint64(max(x.GetSegmentBytes(), 0))), formatCount(x.GetSegments()))
			}
			return a.print(s, func() error {
				up := time.Duration(s.Uptime * float64(time.Second)).Round(time.Second)
				life := "until it is stopped"
				if s.Ephemeral {
					life = "until its last client is gone"
				}
				if err := fields(a.out, "server", fmt.Sprintf("daos %s, process %d", s.Version, s.PID), "root", s.Root,
					"addresses", strings.Join(s.Addresses, ", "), "up", fmt.Sprintf("%s, %s", up, life), "epoch", formatPlain(s.Epoch), "connections", formatCount(s.Connections)); err != nil {
					return err
				}
				if _, err := fmt.Fprintln(a.out); err != nil {
					return err
				}
				return a.table(t)
			})
		}),
	}
}

func systemPing(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "ping", Short: "See whether the server answers, and how fast", Args: cobra.NoArgs,
		Example: "  daos system ping",
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			if _, err := c.System.Ping(ctx, &systemv1.PingRequest{}); err != nil { // the first one connects
				return err
			}
			began := time.Now()
			if _, err := c.System.Ping(ctx, &systemv1.PingRequest{}); err != nil {
				return err
			}
			took := time.Since(began)
			out := struct {
				Server  string  `json:"server"`
				Seconds float64 `json:"seconds"`
			}{c.Server().Name(), took.Seconds()}
			return a.print(out, func() error {
				a.say("%s answered in %s", out.Server, formatDuration(took))
				return nil
			})
		}),
	}
}

// optionalDataset is the argument of scrub and sweep.
func (a *app) optionalDataset(args []string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	x, err := a.parseDataset(args[0])
	if err == nil && x.Snapshot != "" {
		return "", fault.New(fault.Invalid, "cli", args[0], "a snapshot has no bytes of its own").Do("name the dataset, %s", x.Live())
	}
	return x.DatasetName(), err
}

func systemScrub(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "scrub [POOL/DATASET]", Short: "Re-read every record and name those that don't match their checksum", Args: cobra.MaximumNArgs(1),
		Long:    "Re-read every record of a dataset, or of all, and name each that does not match its checksum. Exit status 9 if there is one.",
		Example: "  daos system scrub\n  daos system scrub p/photos",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			name, err := a.optionalDataset(args)
			if err != nil {
				return err
			}
			r, err := c.System.Scrub(ctx, &systemv1.ScrubRequest{Dataset: name})
			if err != nil {
				return err
			}
			bad := r.GetErrors()
			out := struct {
				Records int64    `json:"records"`
				Errors  []string `json:"errors"`
			}{r.GetRecords(), append([]string{}, bad...)}
			if err := a.print(out, func() error {
				for _, e := range bad {
					if _, err := fmt.Fprintln(a.out, printable(e)); err != nil {
						return err
					}
				}
				a.say("%s records read, %s bad", formatCount(r.GetRecords()), formatCount(len(bad)))
				return nil
			}); err != nil {
				return err
			}
			if len(bad) > 0 {
				return fault.New(fault.Corrupt, "system.scrub", name, "%d records do not match their checksum", len(bad)).Do("restore those files from a copy")
			}
			return nil
		}),
	}
}

func systemSweep(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "sweep [POOL/DATASET]", Short: "Drop versions that nothing needs any more, now instead of later", Args: cobra.MaximumNArgs(1),
		Example: "  daos system sweep\n  daos system sweep p/photos",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			name, err := a.optionalDataset(args)
			if err != nil {
				return err
			}
			r, err := c.System.Sweep(ctx, &systemv1.SweepRequest{Dataset: name})
			if err != nil {
				return err
			}
			out := struct {
				Versions int64 `json:"versions"`
				Bytes    int64 `json:"bytes"`
			}{r.GetVersions(), r.GetBytes()}
			return a.print(out, func() error {
				a.say("%s versions dropped, %s", formatCount(out.Versions), formatSize(uint64(max(out.Bytes, 0))))
				return nil
			})
		}),
	}
}
