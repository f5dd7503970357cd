package cli

import (
	"context"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

func newCkpt(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "ckpt", Aliases: []string{"checkpoint"}, Short: "Checkpoints: files that pydaos.torch.Checkpoint has published"}
	cmd.AddCommand(ckptLs(a))
	return cmd
}

func ckptLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "ls POOL/DATASET[@SNAPSHOT][/PREFIX]", Aliases: []string{"list"}, Short: "List checkpoints, newest first", Args: cobra.ExactArgs(1),
		Long:    "List the checkpoints below a prefix, newest first. Each is whole: one that was being saved when its process died is not there.",
		Example: "  daos ckpt ls p/runs\n  daos ckpt ls p/runs/resnet --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			found := []entryJSON{}
			times := map[string]int64{}
			if err := walkFiles(ctx, c, x, "", func(name string, at *posixv1.Attr) {
				e := entryOf(name, at)
				times[e.Path] = at.GetMtimeUnixNanos()
				found = append(found, e)
			}); err != nil {
				return err
			}
			sort.SliceStable(found, func(i, j int) bool { return times[found[i].Path] > times[found[j].Path] })
			return a.print(found, func() error {
				t := &table{columns: []column{{head: "CHECKPOINT", shrink: true}, {head: "SIZE", right: true}, {head: "SAVED"}}, empty: "no checkpoints"}
				for _, e := range found {
					t.row(printable(e.Path), formatSize(e.Size), formatTime(times[e.Path]))
				}
				return a.table(t)
			})
		}),
	}
}

// walkFiles calls fn for each file below a directory, depth first, by name.
// Directories that vanish meanwhile are left out.
func walkFiles(ctx context.Context, c *client.Client, x address.Address, name string, fn func(string, *posixv1.Attr)) error {
	err := listDir(ctx, c, x, func(entries []*posixv1.Entry) error {
		for _, e := range entries {
			below := strings.TrimPrefix(name+"/"+string(e.GetName()), "/")
			switch e.GetAttr().GetType() {
			case posixv1.FileType_FILE_TYPE_DIRECTORY:
				sub := x.WithPath(strings.TrimPrefix(x.Path+"/"+string(e.GetName()), "/"))
				if err := walkFiles(ctx, c, sub, below, fn); err != nil {
					return err
				}
			case posixv1.FileType_FILE_TYPE_FILE:
				fn(below, e.GetAttr())
			}
		}
		return nil
	})
	if name != "" && fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
