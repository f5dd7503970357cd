package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	"daos/internal/transfer"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
)

// transferJSON is the result of an import or export in --json.
type transferJSON struct {
	Files          int64    `json:"files"`
	Directories    int64    `json:"directories"`
	Symlinks       int64    `json:"symlinks"`
	Bytes          int64    `json:"bytes"`
	Skipped        int64    `json:"skipped"`
	Special        int64    `json:"special_skipped"`
	Failed         int64    `json:"failed"`
	Seconds        float64  `json:"seconds"`
	FilesPerSecond float64  `json:"files_per_second"`
	BytesPerSecond float64  `json:"bytes_per_second"`
	Notes          []string `json:"notes"`
}

func transferOf(p *transfer.Progress, took time.Duration) transferJSON {
	t := transferJSON{
		Files: p.Files.Load(), Directories: p.Dirs.Load(), Symlinks: p.Links.Load(), Bytes: p.Bytes.Load(),
		Skipped: p.Skipped.Load(), Special: p.Special.Load(), Failed: p.Failed.Load(), Seconds: took.Seconds(), Notes: p.Notes(),
	}
	t.FilesPerSecond, t.BytesPerSecond = perSecond(t.Files, took), perSecond(t.Bytes, took)
	if t.Notes == nil {
		t.Notes = []string{}
	}
	return t
}

// transferLine is the line of the meter.
func transferLine(verb string, p *transfer.Progress) func(time.Duration) string {
	return func(elapsed time.Duration) string {
		done, total := p.Done(), p.Total.Load()
		return fmt.Sprintf("%s  %s  %s files/s  %s/s%s", verb, gauge(done, total),
			formatCount(int64(perSecond(p.Files.Load(), elapsed))), formatSize(uint64(perSecond(p.Bytes.Load(), elapsed))), eta(done, total, elapsed))
	}
}

// finish prints what a transfer did; entries that could not be read make it fail.
func (a *app) finish(verb, where string, p *transfer.Progress, took time.Duration) error {
	t := transferOf(p, took)
	if !a.json {
		for _, n := range t.Notes {
			a.warn("%s", printable(n))
		}
	}
	err := a.print(t, func() error {
		line := fmt.Sprintf("%s %s files", verb, formatCount(t.Files))
		if t.Symlinks > 0 {
			line += fmt.Sprintf(", %s symlinks", formatCount(t.Symlinks))
		}
		line += fmt.Sprintf(", %s directories, %s in %s: %s files/s, %s/s", formatCount(t.Directories), formatSize(uint64(t.Bytes)), formatDuration(took),
			formatCount(int64(t.FilesPerSecond)), formatSize(uint64(t.BytesPerSecond)))
		if t.Skipped > 0 {
			line += fmt.Sprintf("; %s were there already", formatCount(t.Skipped))
		}
		if t.Special > 0 {
			line += fmt.Sprintf("; %s sockets, pipes or devices left out", formatCount(t.Special))
		}
		a.say("%s", line)
		return nil
	})
	if err != nil {
		return err
	}
	if t.Failed > 0 {
		return fault.New(fault.Invalid, "fs.transfer", where, "%d entries could not be read and were left out", t.Failed).Do("see the lines above; run it again for the rest")
	}
	return nil
}

func fsImport(a *app) *cobra.Command {
	var o transfer.ImportOptions
	cmd := &cobra.Command{
		Use: "import FOLDER POOL/DATASET[/PATH]", Short: "Copy the contents of a local folder into a dataset", Args: cobra.ExactArgs(2),
		Long: `Copy the contents of a local folder (not the folder itself) into a dataset, under PATH.

Modes, times, symbolic links and empty folders are kept; links are copied, never
followed; sockets, pipes and devices are left out. Files that are there already
with the same size, time and mode are skipped, others are replaced: an import
that was cut off is simply run again. When it is done, everything is on disk.`,
		Example: "  daos fs import ./photos p/photos/\n  daos fs import ./train p/photos/train --overwrite",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseLive("fs.import", args[1])
			if err != nil {
				return err
			}
			if o.Overwrite && o.Exclusive {
				return fault.New(fault.Invalid, "fs.import", "", "--overwrite and --no-replace exclude each other")
			}
			o.Source, o.Dataset, o.Under = args[0], x.DatasetName(), x.Path
			o.CountFirst = !a.quiet && !a.json && width(a.err, a.getenv) > 0
			var p transfer.Progress
			began := time.Now()
			end := a.watch(transferLine("import", &p))
			err = transfer.Import(ctx, c, o, &p)
			end()
			took := time.Since(began)
			if err != nil {
				if n := p.Files.Load(); n > 0 {
					a.warn("%s files were imported and are durable; run it again for the rest", formatCount(n))
				}
				return err
			}
			return a.finish("imported", args[0], &p, took)
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&o.Overwrite, "overwrite", false, "copy also what is there with the same size, time and mode")
	f.BoolVar(&o.Overwrite, "force", false, "the same as --overwrite")
	f.BoolVarP(&o.Exclusive, "no-replace", "n", false, "fail at the first file that exists")
	f.IntVar(&o.Workers, "workers", 0, "local files read at once (default 3)")
	f.DurationVar(&o.RetryFor, "retry-for", 30*time.Second, "how long to wait for a server that is away")
	return cmd
}

func fsExport(a *app) *cobra.Command {
	var o transfer.ExportOptions
	cmd := &cobra.Command{
		Use: "export POOL/DATASET[@SNAPSHOT][/PATH] FOLDER", Short: "Copy the contents of a directory into a local folder", Args: cobra.ExactArgs(2),
		Long: `Copy the contents of a directory of a dataset into a local folder, at one state:
the snapshot named, else one made for the purpose and removed afterwards.

Each file appears whole or not at all, modes and times are kept, nothing is
written outside FOLDER. Files that are there already with the same size, time
and mode are skipped.`,
		Example: "  daos fs export p/photos@v1 ./photos\n  daos fs export p/photos/train ./train",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			pinned, release, err := a.pin(ctx, c, x)
			if err != nil {
				return err
			}
			defer release()
			o.Dataset, o.Under, o.Dest = pinned.DatasetName(), x.Path, args[1]
			var p transfer.Progress
			began := time.Now()
			end := a.watch(transferLine("export", &p))
			err = transfer.Export(ctx, c, o, &p)
			end()
			if err != nil {
				return err
			}
			return a.finish("exported", args[0], &p, time.Since(began))
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&o.Overwrite, "overwrite", false, "copy also what is there with the same size, time and mode")
	f.IntVar(&o.Workers, "workers", 0, "files copied at once (default 8)")
	return cmd
}

// pin returns x at a snapshot: its own, or one that ends by itself and that
// release removes.
func (a *app) pin(ctx context.Context, c *client.Client, x address.Address) (address.Address, func(), error) {
	if x.Snapshot != "" {
		return x, func() {}, nil
	}
	r, err := c.Datasets.CreateSnapshot(ctx, &datasetv1.CreateSnapshotRequest{Dataset: x.DatasetName(), Auto: true, TtlSeconds: 3600})
	if err != nil {
		return x, nil, err
	}
	x.Snapshot = r.GetSnapshot().GetName()
	return x, func() {
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		// It ends by itself where this fails.
		_, _ = c.Datasets.DestroySnapshot(dctx, &datasetv1.DestroySnapshotRequest{Dataset: x.DatasetName()})
	}, nil
}
