package manifest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"daos/dataset/kv"
	"daos/dataset/posix"
	"daos/engine/memstore"
	"daos/engine/object"
	"daos/loader/manifest"
)

// A key is a path that can be put together again, whatever its bytes are.
func TestTreeOfPairs(t *testing.T) {
	ctx := context.Background()
	d := kv.Open(memstore.New(), kv.Options{})
	keys := []string{"\x00", "\x00/x", "/", "/a", "/a/b", "a", "a.txt", "a/", "a//b", "a/b", "a/b/c", "ab", "\xff/\xfe"}
	var ops []kv.Op
	for i, k := range keys {
		ops = append(ops, kv.Op{Kind: kv.OpPut, Key: []byte(k), Value: fmt.Appendf(nil, "%0*d", i+1, i)})
	}
	ops = append(ops, kv.Op{Kind: kv.OpPut, Key: []byte("a/b"), Akey: []byte("x"), Value: []byte("no sample")})
	if _, err := d.Apply(ctx, object.RequestID{}, ops); err != nil {
		t.Fatal(err)
	}
	v, err := d.Head(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"", "a", "a/b", "none"} {
		var want, got []string
		for _, k := range keys {
			if root == "" {
				want = append(want, k)
			} else if len(k) > len(root) && k[:len(root)+1] == root+"/" {
				want = append(want, k[len(root)+1:])
			}
		}
		tree := manifest.TreeOf(v, root)
		err := tree.Files(ctx, root, func(s *posix.Sample) error {
			below := s.Dir
			if root != "" {
				below = below[len(root):]
				if below != "" {
					below = below[1:]
				}
			}
			if below != "" {
				below += "/"
			}
			got = append(got, below+s.Name)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("root %q: %q, want %q", root, got, want)
		}
	}
}
