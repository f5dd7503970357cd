package posix_test

import (
	"context"
	"testing"

	"daos/dataset/posix"
	"daos/engine/memstore"
	"daos/engine/object"
)

func open(t testing.TB, s posix.Store, p posix.Properties) *posix.FS {
	t.Helper()
	if err := posix.Create(context.Background(), s, p); err != nil {
		t.Fatal(err)
	}
	fs, err := posix.Open(context.Background(), s, posix.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestFirstFile(t *testing.T) {
	ctx := context.Background()
	fs := open(t, memstore.New(), posix.Properties{})
	a, err := fs.Create(ctx, object.RequestID{1}, "a/b/c.txt", posix.CreateOptions{Parents: true, Content: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	again, err := fs.Create(ctx, object.RequestID{1}, "a/b/c.txt", posix.CreateOptions{Parents: true, Content: []byte("hello"), Exclusive: true})
	if err != nil || again != a {
		t.Fatalf("retry: %+v %v, want %+v", again, err, a)
	}
	v, _ := fs.Head(ctx, 0)
	p := make([]byte, 100)
	n, at, err := v.ReadAt(ctx, posix.ByInode(a.Inode), p, 1)
	if err != nil || string(p[:n]) != "ello" || at.Size != 5 {
		t.Fatalf("%q %+v %v", p[:n], at, err)
	}
	if got, err := v.Path(ctx, a.Inode); err != nil || got != "a/b/c.txt" {
		t.Fatalf("%q %v", got, err)
	}
}
