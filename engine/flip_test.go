package engine_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
)

// files lists everything below a folder.
func files(t *testing.T, fs vfs.FS, dir string) (out []string) {
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		p := fs.PathJoin(dir, n)
		info, err := fs.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			out = append(out, files(t, fs, p)...)
		} else if info.Size() > 0 {
			out = append(out, p)
		}
	}
	return out
}

// flip inverts a bit of a file and says of which byte.
func flip(t *testing.T, fs vfs.FS, path string, rng *rand.Rand) int64 {
	info, err := fs.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	at := rng.Int64N(info.Size())
	r, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{0}
	if _, err := r.ReadAt(b, at); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	_ = r.Close()
	b[0] ^= 1 << rng.IntN(8)
	w, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	return at
}

// TestFlips inverts a bit of some file while the engine is down. It must open
// with an error that names a file, or give for every key the right bytes or an
// error: never other bytes, never "not found" for what is there.
func TestFlips(t *testing.T) {
	seed := seeds("DAOS_FLIP_SEED", uint64(time.Now().UnixNano()))
	t.Logf("DAOS_FLIP_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 9))
	mem := vfs.NewMem()
	o := engine.Options{Root: "/r", FS: mem, Targets: 2, SweepEvery: -1, Logger: quiet()}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d := create(t, e, 1, 1)
	want := map[string]string{}
	for i := range 60 {
		n := rng.IntN(300)
		if i%5 == 0 {
			n = 2000 + rng.IntN(150_000)
		}
		k := fmt.Sprint("k", i)
		want[k] = strings.Repeat(fmt.Sprintf("%d,", i), n/3)
		w := put(many, k, 0)
		w.Data = []byte(want[k])
		commit(t, d, w)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var refused, reported, harmless int
	for range seeds("DAOS_FLIPS", longer(60, 3000)) {
		// Each on a copy: opening may rewrite files.
		fs := vfs.NewMem()
		if _, err := vfs.Clone(mem, fs, "/r", "/r"); err != nil {
			t.Fatal(err)
		}
		all := files(t, fs, "/r")
		path := all[rng.IntN(len(all))]
		at := flip(t, fs, path, rng)
		o.FS = fs
		e, err := engine.Open(o)
		if err != nil {
			if !fault.Is(err, fault.Corrupt, fault.Unsupported, fault.Invalid) || !strings.Contains(err.Error(), "/r") {
				t.Errorf("bit at %d of %s: opening says %v (%v)", at, path, err, fault.KindOf(err))
			}
			refused++
			continue
		}
		bad := 0
		d, err := e.OpenDataset(1)
		if err != nil {
			t.Errorf("bit at %d of %s: %v", at, path, err)
			continue
		}
		now := now(t, d)
		for k, v := range want {
			got, err := value(t, d, now, many, k)
			switch {
			case fault.Is(err, fault.Corrupt):
				bad++
			case err != nil:
				t.Errorf("bit at %d of %s: %s reads %v (%v)", at, path, k, err, fault.KindOf(err))
			case got != v:
				t.Errorf("bit at %d of %s: %s has other bytes", at, path, k)
			}
		}
		if err := d.List(t.Context(), now, many, object.ListOptions{}, func(it object.Item) bool {
			if want[string(it.Dkey)] != string(it.Value) {
				t.Errorf("bit at %d of %s: a listing gives other bytes", at, path)
			}
			return true
		}); err != nil && !fault.Is(err, fault.Corrupt) {
			t.Errorf("bit at %d of %s: listing says %v", at, path, err)
		}
		if bad > 0 {
			reported++
		} else {
			harmless++
		}
		_ = e.Close()
	}
	t.Logf("%d flips were refused at open, %d reported by reads, %d met nothing that is read", refused, reported, harmless)
	if refused == 0 || reported == 0 {
		t.Errorf("the flips hit nothing: %d %d %d", refused, reported, harmless)
	}
}
