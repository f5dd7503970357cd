package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// liveArgs parses all arguments as paths of live datasets, before anything is
// changed. The subject is the first.
func (a *app) liveArgs(op string, args []string) ([]address.Address, error) {
	out := make([]address.Address, 0, len(args))
	for _, s := range args {
		x, err := a.parseLive(op, s)
		if err != nil {
			return nil, err
		}
		if x.Path == "" {
			return nil, fault.New(fault.Invalid, op, s, "this is the root of the dataset").Do("name a path below it")
		}
		out = append(out, x)
	}
	if len(out) > 0 {
		a.subject = out[0]
	}
	return out, nil
}

// changedJSON is what a verb that changes the tree prints in --json.
type changedJSON struct {
	Path   string `json:"path"`
	Result string `json:"result"`
	Epoch  uint64 `json:"epoch"`
}

func (a *app) changed(x address.Address, result string, epoch uint64) error {
	if a.json {
		return printJSONLine(a.out, changedJSON{strings.ToValidUTF8(x.String(), "\uFFFD"), result, epoch})
	}
	return nil
}

func fsRm(a *app) *cobra.Command {
	var recursive, force bool
	cmd := &cobra.Command{
		Use: "rm POOL/DATASET/PATH...", Aliases: []string{"remove"}, Short: "Remove entries", Args: cobra.MinimumNArgs(1),
		Long:    "Remove entries. With --recursive a directory goes with all below it, in one step whatever its size.",
		Example: "  daos fs rm p/photos/a.png\n  daos fs rm p/photos/train --recursive",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			xs, err := a.liveArgs("fs.rm", args)
			if err != nil {
				return err
			}
			for _, x := range xs {
				a.subject = x
				r, err := c.Posix.Remove(ctx, &posixv1.RemoveRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), Recursive: recursive})
				if force && fault.Is(err, fault.NotFound) {
					continue
				}
				if err != nil {
					if fault.Is(err, fault.NotEmpty, fault.IsDirectory) && !recursive {
						return fault.New(fault.KindOf(err), "fs.rm", x.String(), "this is a directory").Do("add --recursive to remove it with all below it")
					}
					return err
				}
				if err := a.changed(x, "removed", r.GetChanged().GetEpoch()); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "remove directories with all below them")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "no error for what doesn't exist")
	return cmd
}

// sameDataset checks that two addresses name one dataset.
func sameDataset(op string, from, to address.Address) error {
	if from.DatasetName() != to.DatasetName() {
		return fault.New(fault.Invalid, op, to.String(), "another dataset than %s", from.DatasetName()).
			Do("copy with `daos fs get` and `daos fs put`, or export and import")
	}
	return nil
}

func fsMv(a *app) *cobra.Command {
	var exclusive bool
	cmd := &cobra.Command{
		Use: "mv POOL/DATASET/OLD POOL/DATASET/NEW", Aliases: []string{"rename"}, Short: "Move an entry, over an existing one too", Args: cobra.ExactArgs(2),
		Long:    "Move an entry within a dataset, in one step. If NEW is a directory or ends in /, the entry goes into it under its own name.",
		Example: "  daos fs mv p/photos/a.png p/photos/b.png\n  daos fs mv p/photos/a.png p/photos/old/",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			from, err := a.liveArgs("fs.mv", args[:1])
			if err != nil {
				return err
			}
			to, err := a.parseLive("fs.mv", args[1])
			if err != nil {
				return err
			}
			a.subject = from[0]
			if err := sameDataset("fs.mv", from[0], to); err != nil {
				return err
			}
			to, err = into(ctx, c, to, args[1], from[0].Path)
			if err != nil {
				return err
			}
			r, err := c.Posix.Rename(ctx, &posixv1.RenameRequest{
				Dataset: to.DatasetName(), OldPath: []byte(from[0].Path), NewPath: []byte(to.Path), Exclusive: exclusive,
			})
			if err != nil {
				return err
			}
			return a.changed(to, "moved", r.GetChanged().GetEpoch())
		}),
	}
	cmd.Flags().BoolVarP(&exclusive, "no-replace", "n", false, "fail if NEW exists")
	return cmd
}

// into appends the last component of name to a destination that is a directory
// or was written with a / at its end.
func into(ctx context.Context, c *client.Client, to address.Address, written, name string) (address.Address, error) {
	base := name[strings.LastIndexByte(name, '/')+1:]
	slash := strings.HasSuffix(written, "/") || to.Path == ""
	if !slash {
		r, err := c.Posix.Stat(ctx, &posixv1.StatRequest{Dataset: to.DatasetName(), Path: []byte(to.Path), Follow: true})
		if err != nil && !fault.Is(err, fault.NotFound) {
			return to, err
		}
		slash = r.GetAttr().GetType() == posixv1.FileType_FILE_TYPE_DIRECTORY
	}
	if slash {
		return to.WithPath(strings.TrimPrefix(to.Path+"/"+base, "/")), nil
	}
	return to, nil
}

func fsMkdir(a *app) *cobra.Command {
	var parents bool
	var mode string
	cmd := &cobra.Command{
		Use: "mkdir POOL/DATASET/PATH...", Short: "Make directories", Args: cobra.MinimumNArgs(1),
		Example: "  daos fs mkdir p/photos/train\n  daos fs mkdir -p p/photos/a/b/c",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			xs, err := a.liveArgs("fs.mkdir", args)
			if err != nil {
				return err
			}
			bits, err := parseMode(mode)
			if err != nil {
				return err
			}
			for _, x := range xs {
				a.subject = x
				r, err := c.Posix.MakeDir(ctx, &posixv1.MakeDirRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), Mode: bits, Parents: parents})
				if err != nil {
					return parentMissing(err, parents)
				}
				if err := a.changed(x, "made", r.GetChanged().GetEpoch()); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&parents, "parents", "p", false, "make missing parents, and no error if it is there")
	cmd.Flags().StringVar(&mode, "mode", "0755", "permission bits, octal")
	return cmd
}

// parentMissing adds what to do where a directory on the way is missing.
func parentMissing(err error, parents bool) error {
	var f *fault.Error
	if !parents && errors.As(err, &f) && f.Kind == fault.NotFound && strings.HasPrefix(f.Op, "posix.") {
		return f.Do("add -p to make missing directories")
	}
	return err
}

func parseMode(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o7777 {
		return 0, fault.New(fault.Invalid, "cli.mode", s, "not permission bits").Do("write them in octal, such as 0644")
	}
	return uint32(n), nil
}

func fsLn(a *app) *cobra.Command {
	var symbolic bool
	cmd := &cobra.Command{
		Use: "ln TARGET POOL/DATASET/PATH", Short: "Make a second name of a file, or a symbolic link", Args: cobra.ExactArgs(2),
		Long:    "Make a second name of a file: TARGET is POOL/DATASET/PATH. With -s a symbolic link: TARGET is any text, stored as it is; a link never leads out of its dataset.",
		Example: "  daos fs ln p/photos/a.png p/photos/b.png\n  daos fs ln -s ../raw/a.png p/photos/train/a.png",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			if symbolic {
				xs, err := a.liveArgs("fs.ln", args[1:])
				if err != nil {
					return err
				}
				r, err := c.Posix.Symlink(ctx, &posixv1.SymlinkRequest{Dataset: xs[0].DatasetName(), Target: []byte(args[0]), Path: []byte(xs[0].Path)})
				if err != nil {
					return err
				}
				return a.changed(xs[0], "linked", r.GetChanged().GetEpoch())
			}
			xs, err := a.liveArgs("fs.ln", args)
			if err != nil {
				return err
			}
			if err := sameDataset("fs.ln", xs[0], xs[1]); err != nil {
				return err
			}
			r, err := c.Posix.Link(ctx, &posixv1.LinkRequest{Dataset: xs[0].DatasetName(), OldPath: []byte(xs[0].Path), NewPath: []byte(xs[1].Path)})
			if err != nil {
				return err
			}
			return a.changed(xs[1], "linked", r.GetChanged().GetEpoch())
		}),
	}
	cmd.Flags().BoolVarP(&symbolic, "symbolic", "s", false, "make a symbolic link")
	return cmd
}

func fsChmod(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "chmod MODE POOL/DATASET/PATH...", Short: "Set permission bits", Args: cobra.MinimumNArgs(2),
		Example: "  daos fs chmod 0444 p/photos/a.png",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			mode, err := parseMode(args[0])
			if err != nil {
				return err
			}
			xs, err := a.liveArgs("fs.chmod", args[1:])
			if err != nil {
				return err
			}
			for _, x := range xs {
				a.subject = x
				r, err := c.Posix.SetAttr(ctx, &posixv1.SetAttrRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), Mode: &mode})
				if err != nil {
					return err
				}
				if err := a.changed(x, fmt.Sprintf("mode %04o", mode), r.GetChanged().GetEpoch()); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func fsTouch(a *app) *cobra.Command {
	var when string
	cmd := &cobra.Command{
		Use: "touch POOL/DATASET/PATH...", Short: "Set the time of files, making those that don't exist", Args: cobra.MinimumNArgs(1),
		Example: "  daos fs touch p/photos/done\n  daos fs touch --time 2026-01-31 p/photos/a.png",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			xs, err := a.liveArgs("fs.touch", args)
			if err != nil {
				return err
			}
			t := a.now()
			if when != "" {
				if t, err = parseTime(when, t); err != nil {
					return err
				}
			}
			nanos := t.UnixNano()
			for _, x := range xs {
				a.subject = x
				set := &posixv1.SetAttrRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), MtimeUnixNanos: &nanos}
				r, err := c.Posix.SetAttr(ctx, set)
				if fault.Is(err, fault.NotFound) {
					if _, err := c.Posix.Create(ctx, &posixv1.CreateRequest{Dataset: x.DatasetName(), Path: []byte(x.Path)}); err != nil {
						return err
					}
					r, err = c.Posix.SetAttr(ctx, &posixv1.SetAttrRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), MtimeUnixNanos: &nanos})
				}
				if err != nil {
					return err
				}
				if err := a.changed(x, "touched", r.GetChanged().GetEpoch()); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&when, "time", "", "time to set: 2026-01-31, 2026-01-31T15:04:05Z, or an age such as 2h (default: now)")
	return cmd
}

func fsTruncate(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "truncate POOL/DATASET/PATH SIZE", Short: "Set a file's size; a new part reads as zeros", Args: cobra.ExactArgs(2),
		Example: "  daos fs truncate p/photos/log 0\n  daos fs truncate p/photos/sparse 10GiB",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			xs, err := a.liveArgs("fs.truncate", args[:1])
			if err != nil {
				return err
			}
			n, err := parseSize(args[1])
			if err != nil {
				return err
			}
			r, err := c.Posix.Truncate(ctx, &posixv1.TruncateRequest{Dataset: xs[0].DatasetName(), Path: []byte(xs[0].Path), Size: n})
			if err != nil {
				return err
			}
			return a.changed(xs[0], "truncated", r.GetChanged().GetEpoch())
		}),
	}
}

func fsXattr(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "xattr", Short: "Extended attributes of entries"}
	ls := &cobra.Command{
		Use: "ls POOL/DATASET[@SNAPSHOT]/PATH", Aliases: []string{"list"}, Short: "List the names", Args: cobra.ExactArgs(1),
		Example: "  daos fs xattr ls p/photos/a.png",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			r, err := c.Posix.ListXattrs(ctx, &posixv1.ListXattrsRequest{Dataset: x.DatasetName(), Path: []byte(x.Path)})
			if err != nil {
				return err
			}
			names := make([]string, 0, len(r.GetNames()))
			for _, n := range r.GetNames() {
				names = append(names, string(n))
			}
			return a.print(names, func() error {
				for _, n := range names {
					if _, err := fmt.Fprintln(a.out, printable(n)); err != nil {
						return err
					}
				}
				return nil
			})
		}),
	}
	get := &cobra.Command{
		Use: "get POOL/DATASET[@SNAPSHOT]/PATH NAME", Short: "Print a value, byte for byte", Args: cobra.ExactArgs(2),
		Example: "  daos fs xattr get p/photos/a.png user.label",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			r, err := c.Posix.GetXattr(ctx, &posixv1.GetXattrRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), Name: []byte(args[1])})
			if err != nil {
				return err
			}
			return a.print(map[string]string{"name": args[1], "value": attrText(r.GetValue())}, func() error {
				_, err := a.out.Write(r.GetValue())
				return err
			})
		}),
	}
	set := func(use, short, example string, n int, fill func(*posixv1.SetXattrRequest, []string), result string) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Args: cobra.ExactArgs(n), Example: example,
			RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
				x, err := a.parseLive("fs.xattr", args[0])
				if err != nil {
					return err
				}
				req := &posixv1.SetXattrRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), Name: []byte(args[1])}
				fill(req, args)
				r, err := c.Posix.SetXattr(ctx, req)
				if err != nil {
					return err
				}
				return a.changed(x, result, r.GetChanged().GetEpoch())
			}),
		}
	}
	cmd.AddCommand(ls, get,
		set("set POOL/DATASET/PATH NAME VALUE", "Set a value", "  daos fs xattr set p/photos/a.png user.label cat", 3,
			func(r *posixv1.SetXattrRequest, args []string) { r.Value = []byte(args[2]) }, "set"),
		set("rm POOL/DATASET/PATH NAME", "Remove an attribute", "  daos fs xattr rm p/photos/a.png user.label", 2,
			func(r *posixv1.SetXattrRequest, _ []string) { r.Remove = true }, "removed"))
	return cmd
}
