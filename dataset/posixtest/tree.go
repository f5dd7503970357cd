package posixtest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"daos/dataset/posix"
	"daos/engine/object"
)

// Changer is the mutations of a tree, as posix.FS has them.
type Changer interface {
	MakeDir(ctx context.Context, req object.RequestID, path string, o posix.MakeDirOptions) (posix.Attr, error)
	Create(ctx context.Context, req object.RequestID, path string, o posix.CreateOptions) (posix.Attr, error)
	Write(ctx context.Context, req object.RequestID, r posix.Ref, o posix.WriteOptions, data []byte) (posix.Written, error)
	Truncate(ctx context.Context, req object.RequestID, r posix.Ref, size uint64) (object.Epoch, error)
	Rename(ctx context.Context, req object.RequestID, oldPath, newPath string, exclusive bool) (object.Epoch, error)
	Remove(ctx context.Context, req object.RequestID, path string, o posix.RemoveOptions) (object.Epoch, error)
	Link(ctx context.Context, req object.RequestID, oldPath, newPath string) (posix.Attr, error)
	Symlink(ctx context.Context, req object.RequestID, target, path string) (posix.Attr, error)
	SetAttr(ctx context.Context, req object.RequestID, r posix.Ref, s posix.SetAttr) (posix.Attr, error)
	SetXattr(ctx context.Context, req object.RequestID, r posix.Ref, name string, value []byte, o posix.SetXattrOptions) (object.Epoch, error)
	Import(ctx context.Context, req object.RequestID, entries []posix.ImportEntry, overwrite bool) (posix.Imported, error)
}

// Stager is the calls of staged files.
type Stager interface {
	Stage(ctx context.Context, req object.RequestID, ttl time.Duration) (uint64, error)
	WriteStaged(ctx context.Context, req object.RequestID, inode, off uint64, data []byte) error
	Publish(ctx context.Context, req object.RequestID, inode uint64, path string, o posix.PublishOptions) (posix.Attr, error)
	Discard(ctx context.Context, inode uint64) error
}

// Reader is the reads of a tree, each at an epoch.
type Reader interface {
	Now(ctx context.Context) (object.Epoch, error)
	Stat(ctx context.Context, at object.Epoch, r posix.Ref, follow bool) (posix.Attr, error)
	ListDir(ctx context.Context, at object.Epoch, path, after string, limit int) ([]posix.Entry, bool, error)
	Read(ctx context.Context, at object.Epoch, r posix.Ref, p []byte, off uint64) (int, error)
	GetXattr(ctx context.Context, at object.Epoch, r posix.Ref, name string) ([]byte, error)
	ListXattrs(ctx context.Context, at object.Epoch, r posix.Ref) ([]string, error)
}

// Tree is what the suite tests.
type Tree interface {
	Changer
	Stager
	Reader
}

// Local is a Tree over a posix.FS in this process.
func Local(fs *posix.FS) Tree { return local{fs} }

type local struct{ *posix.FS }

func (l local) Now(ctx context.Context) (object.Epoch, error) {
	v, err := l.Head(ctx, 0)
	if err != nil {
		return 0, err
	}
	return v.Epoch(), nil
}

func (l local) Stat(ctx context.Context, at object.Epoch, r posix.Ref, follow bool) (posix.Attr, error) {
	return l.At(at).Stat(ctx, r, follow)
}

func (l local) ListDir(ctx context.Context, at object.Epoch, path, after string, limit int) ([]posix.Entry, bool, error) {
	return l.At(at).ListDir(ctx, posix.ByPath(path), after, limit)
}

func (l local) Read(ctx context.Context, at object.Epoch, r posix.Ref, p []byte, off uint64) (int, error) {
	n, _, err := l.At(at).ReadAt(ctx, r, p, off)
	return n, err
}

func (l local) GetXattr(ctx context.Context, at object.Epoch, r posix.Ref, name string) ([]byte, error) {
	return l.At(at).GetXattr(ctx, r, name)
}

func (l local) ListXattrs(ctx context.Context, at object.Epoch, r posix.Ref) ([]string, error) {
	return l.At(at).ListXattrs(ctx, r)
}

// Open makes a new empty tree. Chunks should be of 4 KiB, so that files of the
// suite have many.
type Open func(t *testing.T) Tree

// OpenStore makes a new empty object store.
type OpenStore func(t *testing.T) posix.Store

// Run runs the whole suite: on trees over stores that open makes.
func Run(t *testing.T, open OpenStore) {
	tree := func(t *testing.T) Tree { return Local(Mount(t, open(t))) }
	RunTree(t, tree)
	times := 1
	if os.Getenv("DAOS_TEST_LONG") != "" {
		times = 25
	}
	t.Run("Random", func(t *testing.T) { Random(t, open, 4*times, 400) })
	t.Run("Concurrent", func(t *testing.T) { Concurrent(t, open, 8*times, 6, 60) })
}

// RunTree runs the tables, which need only a Tree.
func RunTree(t *testing.T, open Open) {
	t.Run("Names", func(t *testing.T) { testNames(t, open) })
	t.Run("Files", func(t *testing.T) { testFiles(t, open) })
	t.Run("Rename", func(t *testing.T) { testRename(t, open) })
	t.Run("Links", func(t *testing.T) { testLinks(t, open) })
	t.Run("Attributes", func(t *testing.T) { testAttributes(t, open) })
	t.Run("List", func(t *testing.T) { testList(t, open) })
	t.Run("Stage", func(t *testing.T) { testStage(t, open) })
	t.Run("Import", func(t *testing.T) { testImport(t, open) })
	t.Run("Retry", func(t *testing.T) { testRetry(t, open) })
	t.Run("Twins", func(t *testing.T) { testTwins(t, open) })
	t.Run("Cycles", func(t *testing.T) { testCycles(t, open) })
	t.Run("Append", func(t *testing.T) { testAppend(t, open) })
}

// Mount makes a tree with chunks of 4 KiB in a store.
func Mount(t testing.TB, s posix.Store) *posix.FS {
	t.Helper()
	if err := posix.Create(context.Background(), s, posix.Properties{ChunkSize: 4096}); err != nil {
		t.Fatal(err)
	}
	return Remount(t, s, posix.Options{})
}

// Remount opens a tree once more, as another process would.
func Remount(t testing.TB, s posix.Store, o posix.Options) *posix.FS {
	t.Helper()
	fs, err := posix.Open(context.Background(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// Dump describes all below a directory at an epoch: path -> "type mode nlink
// size content xattrs", for comparing trees.
func Dump(ctx context.Context, r Reader, at object.Epoch, root string) (map[string]string, error) {
	out := map[string]string{}
	var walk func(path string) error
	walk = func(path string) error {
		after := ""
		for {
			entries, more, err := r.ListDir(ctx, at, path, after, 7)
			if err != nil {
				return fmt.Errorf("list %q: %w", path, err)
			}
			for _, e := range entries {
				if after >= e.Name && after != "" {
					return fmt.Errorf("list %q: %q after %q", path, e.Name, after)
				}
				after = e.Name
				sub := e.Name
				if path != "" {
					sub = path + "/" + e.Name
				}
				a := e.Attr
				data := ""
				switch a.Type {
				case posix.TypeFile:
					p := make([]byte, a.Size+1)
					n, err := r.Read(ctx, at, posix.ByInode(a.Inode), p, 0)
					if err != nil || uint64(n) != a.Size {
						return fmt.Errorf("read %q: %d of %d, %w", sub, n, a.Size, err)
					}
					data = string(p[:n])
				case posix.TypeSymlink:
					data = a.Target
				}
				names, err := r.ListXattrs(ctx, at, posix.ByInode(a.Inode))
				if err != nil {
					return fmt.Errorf("xattrs of %q: %w", sub, err)
				}
				xs := ""
				for _, n := range names {
					v, err := r.GetXattr(ctx, at, posix.ByInode(a.Inode), n)
					if err != nil {
						return fmt.Errorf("xattr %q of %q: %w", n, sub, err)
					}
					xs += fmt.Sprintf(" %s=%q", n, v)
				}
				out[sub] = describe(a.Type, a.Mode, a.Nlink, data, xs)
				if a.Type == posix.TypeDir {
					if err := walk(sub); err != nil {
						return err
					}
				}
			}
			if !more {
				return nil
			}
		}
	}
	return out, walk(root)
}

func describe(t posix.Type, mode, nlink uint32, data, xattrs string) string {
	return fmt.Sprintf("%s %o %d %d %x%s", t, mode, nlink, len(data), sum(data), xattrs)
}

// Diff says how two dumps differ, "" if they don't.
func Diff(got, want map[string]string) string {
	s := ""
	for k, v := range want {
		if g, ok := got[k]; !ok {
			s += fmt.Sprintf("missing %q: %s\n", k, v)
		} else if g != v {
			s += fmt.Sprintf("%q: got %s, want %s\n", k, g, v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			s += fmt.Sprintf("too many %q: %s\n", k, v)
		}
	}
	return s
}
