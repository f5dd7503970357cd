package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/fault"
	"daos/internal/transfer"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

func fsCat(a *app) *cobra.Command {
	var offset, length string
	cmd := &cobra.Command{
		Use: "cat POOL/DATASET[@SNAPSHOT]/PATH...", Short: "Write files to standard output", Args: cobra.MinimumNArgs(1),
		Example: "  daos fs cat p/photos@v1/labels.csv\n  daos fs cat p/photos/big.bin --offset 1GiB --length 4KiB | xxd",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			off, err := parseSize(offset)
			if err != nil {
				return err
			}
			n, err := parseSize(length)
			if err != nil {
				return err
			}
			for _, s := range args {
				x, err := a.parse(s)
				if err != nil {
					return err
				}
				if _, err := transfer.ReadFile(ctx, c, transfer.Range{Dataset: x.DatasetName(), Path: x.Path, Offset: off, Length: n}, a.out); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&offset, "offset", "0", "first byte")
	cmd.Flags().StringVar(&length, "length", "0", "number of bytes (default: to the end)")
	return cmd
}

// putJSON answers put and get in --json.
type putJSON struct {
	Path    string  `json:"path"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// smallPut is the size up to which a put is one call.
const smallPut = 1 << 20

func fsPut(a *app) *cobra.Command {
	var parents, exclusive bool
	var mode string
	cmd := &cobra.Command{
		Use: "put FILE POOL/DATASET/PATH", Short: "Write a local file, or standard input, into a dataset", Args: cobra.ExactArgs(2),
		Long: "Write a local file, or standard input (-), into a dataset. The file appears whole or not at all, replacing what was there.\n" +
			"If PATH is a directory or ends in /, FILE goes into it under its own name.",
		Example: "  daos fs put a.png p/photos/a.png\n  tar c . | daos fs put - p/photos/backup.tar",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseLive("fs.put", args[1])
			if err != nil {
				return err
			}
			in, size, bits := a.in, int64(-1), uint32(0)
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fault.New(fault.KindOf(err), "fs.put", args[0], "can't be opened").Because(unwrapPath(err))
				}
				defer f.Close()
				st, err := f.Stat()
				if err != nil {
					return fault.Wrap(err, "fs.put", args[0])
				}
				if st.IsDir() {
					return fault.New(fault.IsDirectory, "fs.put", args[0], "this is a folder").Do("daos fs import %s %s", args[0], args[1])
				}
				in, bits = f, uint32(st.Mode().Perm())
				if st.Mode().IsRegular() {
					size = st.Size()
				}
				if x, err = into(ctx, c, x, args[1], args[0]); err != nil {
					return err
				}
			}
			if x.Path == "" {
				return fault.New(fault.Invalid, "fs.put", args[1], "the name of the file is missing").Do("write %s/NAME", x)
			}
			if mode != "" {
				if bits, err = parseMode(mode); err != nil {
					return err
				}
			}
			a.subject = x
			began := time.Now()
			n, err := a.put(ctx, c, &posixv1.PublishRequest{
				Dataset: x.DatasetName(), Path: []byte(x.Path), Mode: bits, Parents: parents, Exclusive: exclusive,
			}, in, size)
			if err != nil {
				return parentMissing(err, parents)
			}
			took := time.Since(began)
			return a.print(putJSON{strings.ToValidUTF8(x.String(), "\uFFFD"), n, took.Seconds()}, func() error {
				a.say("%s: %s in %s", printable(x.String()), formatSize(uint64(n)), formatDuration(took))
				return nil
			})
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&parents, "parents", "p", false, "make missing directories")
	f.BoolVarP(&exclusive, "no-replace", "n", false, "fail if the path exists")
	f.StringVar(&mode, "mode", "", "permission bits, octal (default: those of FILE, 0644 for standard input)")
	return cmd
}

// put writes a small file in one call and stages a larger one.
func (a *app) put(ctx context.Context, c *client.Client, pub *posixv1.PublishRequest, in io.Reader, size int64) (int64, error) {
	head := make([]byte, smallPut+1)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, fault.New(fault.KindOf(err), "fs.put", "", "the input can't be read").Because(err)
	}
	if n <= smallPut {
		_, err := c.Posix.Create(ctx, &posixv1.CreateRequest{
			Dataset: pub.GetDataset(), Path: pub.GetPath(), Mode: pub.GetMode(), Exclusive: pub.GetExclusive(),
			Truncate: true, Parents: pub.GetParents(), Payload: head[:n],
		})
		return int64(n), err
	}
	var sent atomic.Int64
	end := a.watch(func(elapsed time.Duration) string {
		return fmt.Sprintf("put  %s  %s/s", formatSize(uint64(sent.Load())), formatSize(uint64(perSecond(sent.Load(), elapsed))))
	})
	defer end()
	var r io.Reader = io.MultiReader(strings.NewReader(string(head[:n])), in)
	if f, ok := in.(*os.File); ok && size >= 0 {
		r = f // read by position: holes are skipped
	} else {
		size = -1
	}
	_, err = transfer.Publish(ctx, c, pub, r, size, &sent)
	return int64(pub.GetSize()), err
}

func fsGet(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "get POOL/DATASET[@SNAPSHOT]/PATH [FILE]", Short: "Read a file into a local one, or to standard output", Args: cobra.RangeArgs(1, 2),
		Long:    "Read a file into a local one, which appears whole or not at all; FILE is - for standard output, a folder, or missing: the file's own name here.",
		Example: "  daos fs get p/photos@v1/a.png\n  daos fs get p/photos/a.png /tmp/\n  daos fs get p/photos/backup.tar - | tar t",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			if x.Path == "" {
				return fault.New(fault.Invalid, "fs.get", args[0], "the path of the file is missing").Do("daos fs export %s FOLDER copies everything", x)
			}
			from := transfer.Range{Dataset: x.DatasetName(), Path: x.Path}
			name := "."
			if len(args) == 2 {
				name = args[1]
			}
			if name == "-" {
				_, err := transfer.ReadFile(ctx, c, from, a.out)
				return err
			}
			if st, err := os.Stat(name); err == nil && st.IsDir() {
				name = filepath.Join(name, filepath.Base(x.Path))
			}
			r, err := c.Posix.Stat(ctx, &posixv1.StatRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), Follow: true})
			if err != nil {
				return err
			}
			if r.GetAttr().GetType() == posixv1.FileType_FILE_TYPE_DIRECTORY {
				return fault.New(fault.IsDirectory, "fs.get", x.String(), "this is a directory").Do("daos fs export %s FOLDER", x)
			}
			began := time.Now()
			n, err := a.get(ctx, c, from, name, os.FileMode(r.GetAttr().GetMode()&0o777), r.GetAttr().GetSize())
			if err != nil {
				return err
			}
			took := time.Since(began)
			return a.print(putJSON{name, n, took.Seconds()}, func() error {
				a.say("%s: %s in %s", printable(name), formatSize(uint64(n)), formatDuration(took))
				return nil
			})
		}),
	}
	return cmd
}

// get writes a temporary file beside name and renames it.
func (a *app) get(ctx context.Context, c *client.Client, from transfer.Range, name string, mode os.FileMode, size uint64) (int64, error) {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".daos-get-*")
	if err != nil {
		return 0, fault.New(fault.KindOf(err), "fs.get", name, "can't be written").Because(unwrapPath(err))
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	var got atomic.Int64
	end := a.watch(func(elapsed time.Duration) string {
		return fmt.Sprintf("get  %s of %s  %s/s", formatSize(uint64(got.Load())), formatSize(size), formatSize(uint64(perSecond(got.Load(), elapsed))))
	})
	n, err := transfer.ReadFile(ctx, c, from, &countWriter{tmp, &got})
	end()
	if err != nil {
		return n, err
	}
	if err := errors.Join(tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return n, fault.New(fault.KindOf(err), "fs.get", name, "can't be written").Because(err)
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return n, fault.New(fault.KindOf(err), "fs.get", name, "can't be put in place").Because(unwrapPath(err))
	}
	return n, nil
}

type countWriter struct {
	w io.Writer
	n *atomic.Int64
}

func (c *countWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// unwrapPath drops the path from an os error whose resource names it already.
func unwrapPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}
