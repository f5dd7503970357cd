package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"daos/dataset/tensor"
	"daos/dataset/tensor/tensortest"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/loader/batch"
	"daos/loader/loadertest"
	"daos/loader/manifest"
)

// pickOf makes a pick of some samples.
func pickOf(base manifest.Request, source string, samples []uint64, fills *int) *manifest.Pick {
	return &manifest.Pick{Base: base, Source: source, Fill: func(_ context.Context, _ *manifest.Manifest, add func([]uint64) error) error {
		if fills != nil {
			*fills++
		}
		for i := 0; i < len(samples); i += 5000 {
			if err := add(slices.Clone(samples[i:min(i+5000, len(samples))])); err != nil {
				return err
			}
		}
		return nil
	}}
}

func openPick(t testing.TB, l *manifest.Library, p *manifest.Pick) *manifest.Manifest {
	t.Helper()
	m, _, _, err := l.OpenPicked(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestAListReadsTheSamplesOfItsBase: names, sizes, bytes, places and the id.
func TestAListReadsTheSamplesOfItsBase(t *testing.T) {
	rng := seeded(t)
	st, fs := newFS(t)
	var paths []string
	for i := range 300 {
		p := fmt.Sprintf("%c/f%03d", 'a'+i%3, i)
		paths = append(paths, p)
		write(t, fs, p, fmt.Sprintf("%0*d", 1+i%50, i))
	}
	slices.Sort(paths)
	dir := t.TempDir()
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	base := request(t, dir, st, fs, manifest.Selection{LabelDirname: true})
	whole, _, _, err := l.Open(ctx, base)
	if err != nil {
		t.Fatal(err)
	}
	wanted := make([]uint64, 0, 120)
	for _, i := range rng.Perm(300)[:120] {
		wanted = append(wanted, uint64(i))
	}
	m := openPick(t, l, pickOf(base, "x", wanted, nil))
	if m.ID() == whole.ID() || !m.Picked() || m.Base() != whole || m.Info().Samples != 120 || !m.Info().Scattered {
		t.Fatalf("%+v", m.Info())
	}
	var bytes, most uint64
	for k, i := range wanted {
		n, err := m.Names(ctx, []uint64{uint64(k)})
		if err != nil {
			t.Fatal(err)
		}
		was, err := whole.Names(ctx, []uint64{i})
		if err != nil || string(n[0].Path) != paths[i] || n[0].Size != was[0].Size {
			t.Fatalf("sample %d is %q, want %q: %v", k, n[0].Path, paths[i], err)
		}
		bytes, most = bytes+n[0].Size, max(most, n[0].Size)
	}
	if i := m.Info(); i.Bytes != bytes || i.MaxSampleBytes != most {
		t.Fatalf("%d bytes, largest %d; want %d, %d", i.Bytes, i.MaxSampleBytes, bytes, most)
	}
	indices := []uint64{7, 7, 0, 119}
	payload := func(m *manifest.Manifest, indices []uint64) []byte {
		t.Helper()
		b, err := batch.Plan(ctx, m, indices)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Release()
		out := make([]byte, b.Size())
		if err := b.Fill(out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if !slices.Equal(payload(m, indices), payload(whole, []uint64{wanted[7], wanted[7], wanted[0], wanted[119]})) {
		t.Fatal("another batch than that of the base")
	}
	segs, pos, err := m.Places(ctx, 100, 50)
	if err != nil || len(segs) != 20 {
		t.Fatalf("%d places: %v", len(segs), err)
	}
	for k := range segs {
		s, p, err := whole.Places(ctx, wanted[100+k], 1)
		if err != nil || s[0] != segs[k] || p[0] != pos[k] {
			t.Fatalf("place %d: %v", k, err)
		}
	}
	for _, bad := range [][]uint64{{120}, {0, 1 << 60}} {
		if _, err := batch.Plan(ctx, m, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("indices %v: %v", bad, err)
		}
		if _, err := m.Names(ctx, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("names of %v: %v", bad, err)
		}
	}
	again := openPick(t, l, pickOf(base, "another source", wanted, nil))
	if again.ID() != m.ID() {
		t.Error("the same samples have another id")
	}
	if other := openPick(t, l, pickOf(base, "y", wanted[1:], nil)); other.ID() == m.ID() {
		t.Error("other samples have the same id")
	}
	slices.Sort(wanted)
	sorted := openPick(t, l, pickOf(base, "sorted", wanted, nil))
	sizes, err := sorted.ClassSizes(ctx)
	if err != nil || sorted.Info().Scattered || sorted.ID() == m.ID() || len(sizes) != 3 || sizes[0]+sizes[1]+sizes[2] != 120 {
		t.Fatalf("classes %v: %v", sizes, err)
	}
	for c, n := range sizes {
		have := 0
		for _, i := range wanted {
			if paths[i][0] == byte('a'+c) {
				have++
			}
		}
		if have != int(n) {
			t.Errorf("class %d has %d samples, want %d", c, n, have)
		}
	}
	if sizes, err := m.ClassSizes(ctx); err != nil || sizes != nil {
		t.Errorf("sizes of scattered classes: %v, %v", sizes, err)
	}
	if none := openPick(t, l, pickOf(base, "none", nil, nil)); none.Info().Samples != 0 || none.Info().Bytes != 0 {
		t.Errorf("%+v", none.Info())
	}
	_, _, _, err = l.OpenPicked(ctx, pickOf(base, "beyond", []uint64{300}, nil))
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("a number of no sample: %v", err)
	}
}

// TestAListIsKeptAndMadeAgain: it is filled once, also over restarts, and again
// where the file is damaged.
func TestAListIsKeptAndMadeAgain(t *testing.T) {
	st, fs := newFS(t)
	for i := range 50 {
		write(t, fs, fmt.Sprintf("%02d", i), "x")
	}
	dir, fills := t.TempDir(), 0
	base := request(t, dir, st, fs, manifest.Selection{})
	p := pickOf(base, "x", []uint64{49, 3, 4}, &fills)
	open := func() string {
		t.Helper()
		l := manifest.NewLibrary(0, manifest.MaxOpen)
		defer l.Close()
		m := openPick(t, l, p)
		if m != openPick(t, l, p) {
			t.Fatal("opened twice")
		}
		if got := names(t, m); !slices.Equal(got, []string{"49", "03", "04"}) {
			t.Fatalf("%q", got)
		}
		return m.ID()
	}
	id := open()
	if open() != id || fills != 1 {
		t.Fatalf("filled %d times", fills)
	}
	lists, err := filepath.Glob(filepath.Join(dir, "*", "list"))
	if err != nil || len(lists) != 1 {
		t.Fatalf("%v: %v", lists, err)
	}
	b, err := os.ReadFile(lists[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, len(b) - 10, len(b) / 2} {
		bad := slices.Clone(b)
		bad[at] ^= 1
		if err := os.WriteFile(lists[0], bad, 0o600); err != nil {
			t.Fatal(err)
		}
		before := fills
		if open() != id || fills != before+1 {
			t.Fatalf("damage at %d: filled %d times", at, fills-before)
		}
	}
	p.Fill = func(context.Context, *manifest.Manifest, func([]uint64) error) error { return errors.New("no") }
	p.Source = "y"
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	if _, _, _, err := l.OpenPicked(ctx, p); err == nil || err.Error() == "" {
		t.Fatal("a fill that failed gives a list")
	}
}

// TestListsHoldTheirBase: a library that is full closes lists before what they
// are over, and trims those on disk that nobody has open.
func TestListsHoldTheirBase(t *testing.T) {
	st, fs := newFS(t)
	for i := range 9 {
		write(t, fs, fmt.Sprint(i), "x")
	}
	dir := t.TempDir()
	l := manifest.NewLibrary(0, 3)
	defer l.Close()
	base := request(t, dir, st, fs, manifest.Selection{})
	for i := range uint64(8) {
		m, h, _, err := l.OpenPicked(ctx, pickOf(base, fmt.Sprint(i), []uint64{i, i + 1}, nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := names(t, m); !slices.Equal(got, []string{fmt.Sprint(i), fmt.Sprint(i + 1)}) {
			t.Fatalf("list %d: %q", i, got)
		}
		if g, err := l.Get(h); err != nil || g != m {
			t.Fatal(err)
		}
	}
	if err := l.Trim(dir, 3); err != nil {
		t.Fatal(err)
	}
	if lists, err := filepath.Glob(filepath.Join(dir, "*", "list")); err != nil || len(lists) < 2 || len(lists) > 3 {
		t.Fatalf("%d lists on disk: %v", len(lists), err)
	}
	for i := range uint64(8) { // those that were let go of are made again
		if got := names(t, openPick(t, l, pickOf(base, fmt.Sprint(i), []uint64{i, i + 1}, nil))); got[0] != fmt.Sprint(i) {
			t.Fatalf("list %d: %q", i, got)
		}
	}
}

// TestElementsOfAList: samples laid end to end are those of the list.
func TestElementsOfAList(t *testing.T) {
	rng, st := seeded(t), loadertest.New(t)
	tab := tensor.Open(st, "p/t")
	cols := []tensor.Column{
		{Name: "tokens", Layout: tensor.Ragged, DType: tensor.Uint16, Nullable: true, ChunkSamples: 7},
		{Name: "row", Layout: tensor.Fixed, DType: tensor.Int32, Shape: []uint64{5}, ChunkSamples: 3},
		{Name: "scalar", Layout: tensor.Fixed, DType: tensor.Int32, ChunkSamples: 11},
	}
	if _, err := tab.Define(ctx, object.RequestID{}, cols); err != nil {
		t.Fatal(err)
	}
	cells := make([]tensortest.Cells, len(cols))
	for range 4 {
		part := make([]tensortest.Cells, len(cols))
		n := 1 + rng.IntN(60)
		for i := range cols {
			part[i] = tensortest.RandomCells(rng, &cols[i], n)
			for k := range part[i] {
				if i == 0 && rng.IntN(3) == 0 {
					part[i][k] = []byte{}
				}
				cells[i] = append(cells[i], part[i][k])
			}
		}
		if _, err := tab.Append(ctx, tensor.AppendOptions{}, tensortest.Source(tensortest.PackRows(cols, part))); err != nil {
			t.Fatal(err)
		}
	}
	at, err := st.ReadEpoch(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	base := manifest.Request{Dir: t.TempDir(), Store: st, Table: tab, Info: manifest.Info{Dataset: "p/t", DatasetID: 8, Snapshot: "v1", Epoch: at, Tensor: true}}
	l := manifest.NewLibrary(0, manifest.MaxOpen)
	defer l.Close()
	var wanted []uint64
	for _, i := range rng.Perm(len(cells[0]))[:len(cells[0])/2+1] {
		wanted = append(wanted, uint64(i))
	}
	m := openPick(t, l, pickOf(base, "x", wanted, nil))
	for i := range cols {
		var mine tensortest.Cells
		for _, k := range wanted {
			mine = append(mine, cells[i][k])
		}
		for extra := range uint64(2) {
			compareElements(t, rng, m, &cols[i], extra, []uint64{2, 4, 4}[i], mine)
		}
	}
}
