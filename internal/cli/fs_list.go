package cli

import (
	"bufio"
	"context"
	"fmt"
	"path"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// listDir calls fn for each page of a directory, all of one epoch.
func listDir(ctx context.Context, c *client.Client, x address.Address, fn func([]*posixv1.Entry) error) error {
	req := &posixv1.ListDirRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), Limit: 10000}
	for {
		r, err := c.Posix.ListDir(ctx, req)
		if err != nil {
			return err
		}
		entries := r.GetEntries()
		if len(entries) == 0 {
			return nil
		}
		if err := fn(entries); err != nil {
			return err
		}
		req.After, req.Epoch = entries[len(entries)-1].GetName(), r.GetEpoch()
		if !r.GetMore() {
			return nil
		}
	}
}

func fsLs(a *app) *cobra.Command {
	var long bool
	cmd := &cobra.Command{
		Use: "ls POOL/DATASET[@SNAPSHOT][/PATH]", Aliases: []string{"list"}, Short: "List a directory in byte order of the names", Args: cobra.ExactArgs(1),
		Long: "List a directory in byte order of the names, one a line, directories with a / behind.\n" +
			"With --json one object a line.",
		Example: "  daos fs ls p/photos\n  daos fs ls -l p/photos@v1/train",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			out := bufio.NewWriterSize(a.out, 64<<10)
			show := func(name string, at *posixv1.Attr) error {
				switch {
				case a.json:
					return printJSONLine(out, entryOf(name, at))
				case long:
					return longLine(out, name, at)
				}
				mark := ""
				if at.GetType() == posixv1.FileType_FILE_TYPE_DIRECTORY {
					mark = "/"
				}
				_, err := fmt.Fprintln(out, printable(name)+mark)
				return err
			}
			err = listDir(ctx, c, x, func(entries []*posixv1.Entry) error {
				for _, e := range entries {
					if err := show(string(e.GetName()), e.GetAttr()); err != nil {
						return err
					}
				}
				return out.Flush()
			})
			if fault.Is(err, fault.NotDirectory) {
				r, serr := c.Posix.Stat(ctx, &posixv1.StatRequest{Dataset: x.DatasetName(), Path: []byte(x.Path)})
				if serr != nil {
					return err // a component in the middle is no directory
				}
				if err := show(path.Base(x.Path), r.GetAttr()); err != nil {
					return err
				}
				return out.Flush()
			}
			return err
		}),
	}
	cmd.Flags().BoolVarP(&long, "long", "l", false, "show mode, links, size and time")
	return cmd
}

func longLine(out *bufio.Writer, name string, at *posixv1.Attr) error {
	typ := fileType(at.GetType())
	line := fmt.Sprintf("%s %3d %12s  %s  %s", modeString(typ, at.GetMode()), at.GetNlink(), formatSize(at.GetSize()), formatTime(at.GetMtimeUnixNanos()), printable(name))
	switch typ {
	case "symlink":
		line += " -> " + printable(string(at.GetSymlinkTarget()))
	case "directory":
		line += "/"
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

func fsStat(a *app) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "stat POOL/DATASET[@SNAPSHOT][/PATH]", Short: "Describe an entry", Args: cobra.ExactArgs(1),
		Example: "  daos fs stat p/photos/a.png\n  daos fs stat --follow p/photos@v1/latest --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			r, err := c.Posix.Stat(ctx, &posixv1.StatRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), Follow: follow})
			if err != nil {
				return err
			}
			at := r.GetAttr()
			return a.print(entryOf(x.Path, at), func() error {
				typ := fileType(at.GetType())
				pairs := []string{
					"path", printable(x.String()), "type", typ, "size", fmt.Sprintf("%s (%s bytes)", formatSize(at.GetSize()), formatCount(at.GetSize())),
					"mode", fmt.Sprintf("%04o (%s)", at.GetMode(), modeString(typ, at.GetMode())), "owner", fmt.Sprintf("%d:%d", at.GetUid(), at.GetGid()),
					"modified", time.Unix(0, at.GetMtimeUnixNanos()).Format("2006-01-02 15:04:05.000000000 -0700"),
					"changed", time.Unix(0, at.GetCtimeUnixNanos()).Format("2006-01-02 15:04:05.000000000 -0700"),
					"inode", formatPlain(at.GetInode()), "links", formatCount(at.GetNlink()), "epoch", formatPlain(at.GetEpoch()),
				}
				if typ == "symlink" {
					pairs = append(pairs, "target", printable(string(at.GetSymlinkTarget())))
				}
				return fields(a.out, pairs...)
			})
		}),
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "describe what a symbolic link points to")
	return cmd
}
