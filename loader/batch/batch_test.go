package batch_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"daos/dataset/posix"
	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/loader/batch"
	"daos/loader/loadertest"
	"daos/loader/manifest"
)

var ctx = context.Background()

func seeded(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DAOS_TEST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("DAOS_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 3))
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// tree makes files of the given bytes, and a manifest of them.
type tree struct {
	st *loadertest.Store
	fs *posix.FS
}

func newTree(t testing.TB) *tree {
	st := loadertest.New(t)
	if err := posix.Create(ctx, st, posix.Properties{ChunkSize: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	fs, err := posix.Open(ctx, st, posix.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &tree{st, fs}
}

func (tr *tree) write(t testing.TB, path string, off uint64, data []byte) {
	t.Helper()
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		if _, err := tr.fs.MakeDir(ctx, object.RequestID{}, path[:i], posix.MakeDirOptions{Parents: true}); err != nil && !fault.Is(err, fault.Exists) {
			t.Fatal(err)
		}
	}
	if _, err := tr.fs.Create(ctx, object.RequestID{}, path, posix.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.fs.Write(ctx, object.RequestID{}, posix.ByPath(path), posix.WriteOptions{Offset: off}, data); err != nil {
		t.Fatal(err)
	}
}

func (tr *tree) request(t testing.TB, dir string, sel manifest.Selection) manifest.Request {
	t.Helper()
	v := must[*posix.View](t)(tr.fs.Head(ctx, 0))
	return manifest.Request{
		Dir: dir, Store: tr.st, Tree: v,
		Info: manifest.Info{Dataset: "p/d", DatasetID: 7, Snapshot: "v1", Epoch: v.Epoch(), Selection: sel},
	}
}

func openManifest(t testing.TB, r manifest.Request) *manifest.Manifest {
	t.Helper()
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	t.Cleanup(l.Close)
	m, _, _, err := l.Open(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// payload joins a batch, checking that its meta fits it.
func payload(t testing.TB, m *manifest.Manifest, idx []uint64) (*batch.Meta, []byte) {
	t.Helper()
	b, err := batch.Plan(ctx, m, idx)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	parts := must[[][]byte](t)(b.Parts(nil))
	all := bytes.Join(parts, nil)
	if uint64(len(all)) != b.Size() {
		t.Fatalf("parts of %d bytes, size %d", len(all), b.Size())
	}
	filled := make([]byte, b.Size())
	if err := b.Fill(filled); err != nil || !bytes.Equal(filled, all) {
		t.Fatalf("Fill and Parts differ: %v", err)
	}
	meta := must[*batch.Meta](t)(batch.ParseMeta(b.Meta(), b.Size()))
	if int(meta.Count) != len(idx) {
		t.Fatalf("count %d for %d samples", meta.Count, len(idx))
	}
	return meta, all
}

// column takes one column of a payload apart.
func column(m *batch.Meta, p []byte, i int) tensortest.Cells {
	c := &m.Columns[i]
	v := p[c.Data : c.Data+c.DataLen]
	out := make(tensortest.Cells, m.Count)
	for k := range out {
		if c.Nulls && p[c.Validity+uint64(k)] == 0 {
			continue
		}
		if c.Layout == tensor.Fixed {
			out[k] = v[k*int(c.ItemSize) : (k+1)*int(c.ItemSize)]
		} else {
			o := p[c.Offsets+8*uint64(k):]
			out[k] = v[binary.LittleEndian.Uint64(o):binary.LittleEndian.Uint64(o[8:])]
		}
		if out[k] == nil {
			out[k] = []byte{}
		}
	}
	return out
}

func compare(t testing.TB, what string, got, want tensortest.Cells) {
	t.Helper()
	for k := range want {
		if (got[k] == nil) != (want[k] == nil) || !bytes.Equal(got[k], want[k]) {
			t.Fatalf("%s: sample %d has %d bytes %.20x, want %d %.20x", what, k, len(got[k]), got[k], len(want[k]), want[k])
		}
	}
}

func random(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestFilesOfAllSizes(t *testing.T) {
	rng, tr := seeded(t), newTree(t)
	want := map[string][]byte{}
	for i, n := range []int{0, 1, 100, 1024, 1025, 5000, 16383, 16384, 65535, 65536, 65537, 200_000} {
		p := fmt.Sprintf("d%d/f%d", i%3, i)
		want[p] = random(rng, n)
		tr.write(t, p, 0, want[p])
	}
	// Sparse, and overwritten in the middle.
	sparse := make([]byte, 300_000)
	copy(sparse[150_000:], random(rng, 150_000))
	tr.write(t, "sparse", 150_000, sparse[150_000:])
	want["sparse"] = sparse
	// More chunks than are asked for one by one, few of them there.
	wide := make([]byte, 20<<20)
	for _, off := range []int{100, 64<<10 - 5, 5 << 20, len(wide) - 3000} {
		part := random(rng, 3000)
		copy(wide[off:], part)
		if off == 100 {
			tr.write(t, "wide", uint64(off), part)
		} else if _, err := tr.fs.Write(ctx, object.RequestID{}, posix.ByPath("wide"), posix.WriteOptions{Offset: uint64(off)}, part); err != nil {
			t.Fatal(err)
		}
	}
	want["wide"] = wide
	patched := random(rng, 70_000)
	tr.write(t, "patched", 0, patched)
	patch := random(rng, 3000)
	copy(patched[64<<10-1000:], patch)
	if _, err := tr.fs.Write(ctx, object.RequestID{}, posix.ByPath("patched"), posix.WriteOptions{Offset: 64<<10 - 1000}, patch); err != nil {
		t.Fatal(err)
	}
	want["patched"] = patched
	m := openManifest(t, tr.request(t, t.TempDir(), manifest.Selection{}))
	if int(m.Info().Samples) != len(want) {
		t.Fatalf("%d samples, want %d", m.Info().Samples, len(want))
	}
	var idx []uint64
	for range 5 {
		for _, i := range rng.Perm(len(want)) {
			idx = append(idx, uint64(i))
		}
	}
	names := must[[]manifest.Name](t)(m.Names(ctx, idx))
	cells := tensortest.Cells{}
	for k := range idx {
		c := want[string(names[k].Path)]
		if c == nil && len(want[string(names[k].Path)]) == 0 {
			c = []byte{}
		}
		cells = append(cells, c)
	}
	for _, n := range []int{1, 2, len(idx)} {
		meta, p := payload(t, m, idx[:n])
		compare(t, "files", column(meta, p, 0), cells[:n])
	}
	tr.st.Move() // what was mapped still holds, what was not is found again
	meta, p := payload(t, m, idx)
	compare(t, "after a move", column(meta, p, 0), cells)
}

func TestUniformFilesWithLabels(t *testing.T) {
	rng, tr := seeded(t), newTree(t)
	want := map[string][]byte{}
	for i := range 40 {
		p := fmt.Sprintf("train/%c/%02d.bin", "zac"[i%3], i)
		want[p] = random(rng, 3000)
		tr.write(t, p, 0, want[p])
	}
	tr.write(t, "train/stray.bin", 0, random(rng, 3000))
	tr.write(t, "train/a/notes.txt", 0, random(rng, 10))
	m := openManifest(t, tr.request(t, t.TempDir(), manifest.Selection{Path: "train", Glob: "**/*.bin", LabelDirname: true}))
	info := m.Info()
	if info.Samples != 40 || strings.Join(info.Classes, "") != "acz" || info.Columns[0].Layout != tensor.Fixed || info.Bytes != 40*3000 {
		t.Fatalf("%+v", info)
	}
	idx := []uint64{39, 0, 7, 7, 21}
	names := must[[]manifest.Name](t)(m.Names(ctx, idx))
	meta, p := payload(t, m, idx)
	for k, n := range names {
		if !bytes.Equal(column(meta, p, 0)[k], want["train/"+string(n.Path)]) {
			t.Fatalf("%s differs", n.Path)
		}
		label := binary.LittleEndian.Uint64(column(meta, p, 1)[k])
		if info.Classes[label] != string(n.Path[:1]) {
			t.Fatalf("%s has label %d of %v", n.Path, label, info.Classes)
		}
	}
}

func TestTablesOfAllTypes(t *testing.T) {
	rng, st := seeded(t), loadertest.New(t)
	tab := tensor.Open(st, "p/t")
	var cols []tensor.Column
	for d := tensor.Bool; d <= tensor.Float64; d++ {
		cols = append(cols,
			tensor.Column{Name: "f" + d.String(), Layout: tensor.Fixed, DType: d, Shape: []uint64{1 + rng.Uint64N(300)}, Nullable: rng.IntN(2) == 0, ChunkSamples: 1 + rng.Uint64N(30)},
			tensor.Column{Name: "r" + d.String(), Layout: tensor.Ragged, DType: d, Nullable: rng.IntN(2) == 0, ChunkSamples: 1 + rng.Uint64N(30)})
	}
	cols = append(cols,
		tensor.Column{Name: "b", Layout: tensor.Bytes, Nullable: true}, tensor.Column{Name: "s", Layout: tensor.String},
		tensor.Column{Name: "big", Layout: tensor.Fixed, DType: tensor.Uint8, Shape: []uint64{100_000}})
	if _, err := tab.Define(ctx, object.RequestID{}, cols); err != nil {
		t.Fatal(err)
	}
	cells := make([]tensortest.Cells, len(cols))
	for range 7 {
		n := 1 + rng.IntN(30)
		part := make([]tensortest.Cells, len(cols))
		for i := range cols {
			part[i] = tensortest.RandomCells(rng, &cols[i], n)
			cells[i] = append(cells[i], part[i]...)
		}
		if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(tensortest.PackRows(cols, part))); err != nil {
			t.Fatal(err)
		}
	}
	at := must[object.Epoch](t)(st.ReadEpoch(ctx, 0))
	// Writers go on while the manifest is built: it is of the epoch.
	if _, err := tab.Overwrite(ctx, tensor.OverwriteOptions{Start: 0, Columns: []string{"b"}}, tensortest.Source(tensortest.PackRows(cols[24:25], []tensortest.Cells{tensortest.RandomCells(rng, &cols[24], 5)}))); err != nil {
		t.Fatal(err)
	}
	req := manifest.Request{Dir: t.TempDir(), Store: st, Table: tab, Info: manifest.Info{Dataset: "p/t", DatasetID: 8, Snapshot: "v1", Epoch: at, Tensor: true}}
	m := openManifest(t, req)
	n := len(cells[0])
	if int(m.Info().Samples) != n {
		t.Fatalf("%d samples, want %d", m.Info().Samples, n)
	}
	for range 5 {
		var idx []uint64
		for range 1 + rng.IntN(50) {
			idx = append(idx, rng.Uint64N(uint64(n)))
		}
		meta, p := payload(t, m, idx)
		for i := range cols {
			want := tensortest.Cells{}
			for _, k := range idx {
				want = append(want, cells[i][k])
			}
			compare(t, cols[i].Name, column(meta, p, i), want)
		}
	}
	largest := 0
	for _, c := range cells[25] {
		largest = max(largest, len(c))
	}
	req.Info.Selection.Columns = []string{"s", "fint8"}
	if m := openManifest(t, req).Info().MaxSampleBytes; m != uint64(largest+cols[2].ItemSize()) {
		t.Fatalf("largest sample %d, want %d + %d", m, largest, cols[2].ItemSize())
	}
	meta, p := payload(t, openManifest(t, req), []uint64{uint64(n) - 1, 0})
	compare(t, "a selection", column(meta, p, 0), tensortest.Cells{cells[25][n-1], cells[25][0]})
	req.Info.Selection.Columns = []string{"nope"}
	if _, _, _, err := manifest.NewLibrary(0, manifest.MaxOpen).Open(ctx, req); !fault.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
}

func TestBadIndices(t *testing.T) {
	tr := newTree(t)
	tr.write(t, "a", 0, []byte("a"))
	m := openManifest(t, tr.request(t, t.TempDir(), manifest.Selection{}))
	for _, idx := range [][]uint64{{}, {0, 1, 2}, {1 << 63}, make([]uint64, batch.MaxCount+1)} {
		_, err := batch.Plan(ctx, m, idx)
		if !fault.Is(err, fault.Invalid) {
			t.Fatalf("%d indices: %v", len(idx), err)
		}
		if len(idx) == 3 && !strings.Contains(err.Error(), "index 1 (number 1 of the batch)") {
			t.Fatal(err)
		}
	}
}

func TestTooBig(t *testing.T) {
	tr := newTree(t)
	tr.write(t, "hole", 40<<20, []byte("x"))
	tr.write(t, "other", 0, []byte("x"))
	m := openManifest(t, tr.request(t, t.TempDir(), manifest.Selection{}))
	idx := make([]uint64, 26)
	if _, err := batch.Plan(ctx, m, idx); !fault.Is(err, fault.TooBig) {
		t.Fatal(err)
	}
	b, err := batch.Plan(ctx, m, idx[:25])
	if err != nil {
		t.Fatal(err)
	}
	b.Release()
}

// TestAbsurdlyBig: sizes whose products overflow are refused like others.
func TestAbsurdlyBig(t *testing.T) {
	for _, files := range []int{1, 2} {
		tr := newTree(t)
		for i := range files {
			tr.write(t, fmt.Sprint(i), 1<<60-2-uint64(i), []byte("x"))
		}
		m := openManifest(t, tr.request(t, t.TempDir(), manifest.Selection{}))
		for _, n := range []int{1, 16, 32, 65536} {
			if _, err := batch.Plan(ctx, m, make([]uint64, n)); !fault.Is(err, fault.TooBig) {
				t.Fatalf("%d of %d files of 2^60 bytes: %v", n, files, err)
			}
		}
	}
}

// TestDamagedSegments flips a byte of each segment in turn: the batch fails,
// names file and segment, and good samples are still given.
func TestDamagedSegments(t *testing.T) {
	rng, tr := seeded(t), newTree(t)
	for i := range 20 {
		tr.write(t, fmt.Sprintf("d/%02d", i), 0, random(rng, 2000+i*20_000))
	}
	dir := t.TempDir()
	req := tr.request(t, dir, manifest.Selection{})
	openManifest(t, req)
	for _, n := range tr.st.Segments() {
		path := tr.st.Path(n)
		b := must[[]byte](t)(os.ReadFile(path))
		for _, at := range []int{0, len(b) / 2} {
			bad := bytes.Clone(b)
			bad[at] ^= 0x40
			if at == 0 && bytes.Equal(b[:1], []byte{0}) {
				bad[0] = 1
			}
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			m := openManifest(t, req)
			failed, good := 0, 0
			for i := range m.Info().Samples {
				b, err := batch.Plan(ctx, m, []uint64{i})
				if err == nil {
					good++
					b.Release()
					continue
				}
				failed++
				if !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), "p/d@v1/d/") || !strings.Contains(err.Error(), path) {
					t.Fatal(err)
				}
			}
			if failed > 1 || good == 0 {
				t.Fatalf("%d samples failed, %d were good", failed, good)
			}
			if failed == 0 && at == 0 {
				t.Fatalf("a flip in %s went unnoticed", path)
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTruncatedSegment cuts a segment under its mapping: touching it raises
// SIGBUS, which must be an error.
func TestTruncatedSegment(t *testing.T) {
	rng, tr := seeded(t), newTree(t)
	tr.write(t, "a", 0, random(rng, 20_000))
	tr.write(t, "b", 0, random(rng, 60_000))
	m := openManifest(t, tr.request(t, t.TempDir(), manifest.Selection{}))
	b := must[*batch.Batch](t)(batch.Plan(ctx, m, []uint64{0}))
	if err := os.Truncate(tr.st.Path(1), 0); err != nil {
		t.Fatal(err)
	}
	if err := b.Fill(make([]byte, b.Size())); !fault.Is(err, fault.DataLoss) {
		t.Fatalf("Fill: %v", err)
	}
	b.Release()
	if _, err := batch.Plan(ctx, m, []uint64{1}); !fault.Is(err, fault.DataLoss, fault.Corrupt) {
		t.Fatalf("Plan: %v", err)
	}
}

func TestConcurrentBatchesWhileRecordsMove(t *testing.T) {
	rng, tr := seeded(t), newTree(t)
	want := tensortest.Cells{}
	for i := range 60 {
		b := random(rng, 1500+rng.IntN(40_000))
		want = append(want, b)
		tr.write(t, fmt.Sprintf("%02d", i), 0, b)
	}
	m := openManifest(t, tr.request(t, t.TempDir(), manifest.Selection{}))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		wg.Add(1)
		rng := rand.New(rand.NewPCG(uint64(w), 1))
		go func() {
			defer wg.Done()
			for range 150 {
				idx := make([]uint64, 1+rng.IntN(20))
				for k := range idx {
					idx[k] = rng.Uint64N(60)
				}
				b, err := batch.Plan(ctx, m, idx)
				if err != nil {
					t.Error(err)
					return
				}
				parts, _ := b.Parts(nil)
				all := bytes.Join(parts, nil)
				meta, err := batch.ParseMeta(b.Meta(), b.Size())
				b.Release()
				if err != nil {
					t.Error(err)
					return
				}
				for k, c := range column(meta, all, 0) {
					if !bytes.Equal(c, want[idx[k]]) {
						t.Errorf("sample %d differs", idx[k])
						return
					}
				}
			}
		}()
	}
	go func() { wg.Wait(); close(stop) }()
	for moves := 0; ; moves++ {
		select {
		case <-stop:
			t.Logf("%d moves", moves)
			return
		case <-time.After(2 * time.Millisecond):
			if moves%2 == 0 {
				tr.st.Touch()
			} else {
				tr.st.Move()
			}
		}
	}
}

func FuzzParseMeta(f *testing.F) {
	m := batch.Meta{Count: 2, Columns: []batch.Column{{Layout: tensor.Fixed, ItemSize: 4, DataLen: 8}, {Layout: tensor.String, ItemSize: 1, Nulls: true}}}
	f.Add(m.Append(nil), uint64(4096))
	f.Fuzz(func(t *testing.T, b []byte, n uint64) {
		m, err := batch.ParseMeta(b, n)
		if err == nil && !bytes.Equal(m.Append(nil), b) {
			t.Fatalf("%x read back as %x", b, m.Append(nil))
		}
	})
}
