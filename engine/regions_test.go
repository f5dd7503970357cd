package engine_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
)

// gather brings an answer in pieces together, as who sends it would.
func gather(t *testing.T, r *object.Regions) []byte {
	t.Helper()
	var out []byte
	for i := range r.Parts {
		p := &r.Parts[i]
		if p.Mem != nil {
			out = append(out, p.Mem...)
			continue
		}
		b := make([]byte, p.Len)
		if n, err := unix.Pread(int(p.File.Fd()), b, p.Off); n != len(b) {
			t.Fatal(n, err)
		}
		out = append(out, b...)
	}
	if uint64(len(out)) != r.Size() {
		t.Fatalf("%d bytes, Size says %d", len(out), r.Size())
	}
	return out
}

// TestReadRegions compares answers in pieces with those in one, over a random
// history of inline, small and large extents, staged ones too, and holes.
func TestReadRegions(t *testing.T) {
	seed := seeds("DAOS_TEST_SEED", uint64(time.Now().UnixNano()))
	t.Logf("DAOS_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	e := open(t, engine.Options{Root: t.TempDir(), SweepEvery: -1, Logger: quiet()})
	d := create(t, e, 1, 1)
	const span = 6 << 20
	dkey, akey := []byte("k"), []byte("d")
	inFile, inMemory := 0, 0
	for i := range 40 {
		w := object.Write{Op: object.OpWrite, OID: modelObjects[0], Dkey: dkey, Akey: akey, Offset: rng.Uint64N(span)}
		n := []int{100, 5000, 70_000, 300_000, 1 << 20}[rng.IntN(5)]
		if rng.IntN(3) == 0 {
			w.Offset &^= 1<<20 - 1
			n = 1 << 20
		}
		w.Data = make([]byte, n)
		for i := range w.Data {
			w.Data[i] = byte(rng.Uint32())
		}
		if rng.IntN(8) == 0 {
			w.Op, w.Data, w.Length = object.OpPunchRange, nil, uint64(n)
		}
		res, err := d.Commit(t.Context(), &object.Tx{Writes: []object.Write{w}, Deferred: i%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			off := rng.Uint64N(span)
			want := make([]byte, rng.IntN(3<<20)+1)
			if err := d.ReadArray(t.Context(), res.Epoch, modelObjects[0], dkey, akey, off, want); err != nil {
				t.Fatal(err)
			}
			var out object.Regions
			if err := d.ReadRegions(t.Context(), res.Epoch, modelObjects[0], dkey, akey, off, uint64(len(want)), &out); err != nil {
				t.Fatal(err)
			}
			for _, p := range out.Parts {
				if p.Mem == nil {
					inFile++
				} else {
					inMemory++
				}
			}
			if !bytes.Equal(gather(t, &out), want) {
				t.Fatalf("[%d, +%d) after %d writes differs", off, len(want), i+1)
			}
			out.Release()
		}
	}
	if inFile == 0 || inMemory == 0 {
		t.Fatalf("%d pieces in files, %d in memory: one kind was not met", inFile, inMemory)
	}
}

// A granule is verified before it is given out for the first time, and again
// after sending it has failed; written through the page cache or past it.
func TestReadRegions_Verifies(t *testing.T) {
	for _, staged := range []bool{false, true} {
		root := t.TempDir()
		o := engine.Options{Root: root, SweepEvery: -1, Logger: quiet()}
		e := open(t, o)
		d := create(t, e, 1, 1)
		dkey, akey := []byte("k"), []byte("d")
		data := bytes.Repeat([]byte("granule "), 40_000) // five granules
		write := object.Write{Op: object.OpWrite, OID: modelObjects[0], Dkey: dkey, Akey: akey, Data: data}
		res, err := d.Commit(t.Context(), &object.Tx{Deferred: staged, Writes: []object.Write{write}})
		if err != nil {
			t.Fatal(err)
		}
		read := func(off, n uint64) (*object.Regions, error) {
			var out object.Regions
			err := d.ReadRegions(t.Context(), res.Epoch, modelObjects[0], dkey, akey, off, n, &out)
			if err == nil && !bytes.Equal(gather(t, &out), data[off:off+n]) {
				t.Fatalf("[%d, +%d) differs", off, n)
			}
			t.Cleanup(out.Release)
			return &out, err
		}
		const last = 4 * object.Granule
		for range 3 { // the last granule is not whole
			if _, err := read(last+100, uint64(len(data))-last-200); err != nil {
				t.Fatal(err)
			}
		}
		damage(t, root, data, 100_000)
		if _, err := read(0, object.Granule); err != nil {
			t.Fatalf("the granule before the damaged one: %v", err)
		}
		if out, err := read(10, 50_000); err != nil || len(out.Parts) != 1 || out.Parts[0].Mem != nil {
			t.Fatalf("verified bytes are copied: %v, %+v", err, out)
		}
		if _, err := read(70_000, 200_000); !fault.Is(err, fault.Corrupt) {
			t.Fatalf("damaged bytes were given out: %v", err)
		}
		if _, err := read(3*object.Granule, object.Granule); err != nil {
			t.Fatal(err)
		}
		seen, err := read(3*object.Granule, object.Granule)
		if err != nil {
			t.Fatal(err)
		}
		seen.Parts[0].File.Doubt()
		damage(t, root, data, 3*object.Granule+5)
		if _, err := read(3*object.Granule, object.Granule); !fault.Is(err, fault.Corrupt) {
			t.Fatalf("doubtful bytes were given out: %v", err)
		}
	}
}

// damage changes a byte of data in the segment file that holds it.
func damage(t *testing.T, root string, data []byte, at int) {
	t.Helper()
	done := false
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".seg") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if i := bytes.Index(b, data[:50]); i >= 0 && !done {
			done = true
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte{data[at] ^ 1}, int64(i+at))
			return err
		}
		return nil
	})
	if err != nil || !done {
		t.Fatal(done, err)
	}
}
