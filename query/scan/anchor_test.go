package scan_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"daos/dataset/posix"
	"daos/engine/memstore"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/query/scan"
)

func TestUnionOfAnchorsEqualsNamespaceWhileWritersChangeIt(t *testing.T) {
	stores(t, func(t *testing.T, s object.Store) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		fs := wild(t, s, seed, 600)
		v := head(t, fs)
		want := walk(t, v, "", 1)
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for w := range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				r := rand.New(rand.NewPCG(seed, uint64(w)))
				for i := 0; ctx.Err() == nil; i++ {
					p := want[r.IntN(len(want))].path
					var none object.RequestID
					switch r.IntN(4) {
					case 0:
						fs.Remove(ctx, none, p, posix.RemoveOptions{Recursive: r.IntN(8) == 0})
					case 1:
						fs.Rename(ctx, none, p, fmt.Sprintf("moved%d-%d", w, i), false)
					case 2:
						fs.Create(ctx, none, fmt.Sprintf("%s-new%d", p, i), posix.CreateOptions{})
					default:
						fs.Write(ctx, none, posix.ByPath(p), posix.WriteOptions{Append: true}, []byte("more"))
					}
				}
			}()
		}
		defer func() { stop(); wg.Wait() }()
		var order []row
		for _, n := range []int{1, 2, 3, 7, 64, 1024} {
			var all []row
			var met int64
			for _, a := range scan.Plan(fs, n) {
				got, c, end := collect(t, fs, v, scan.Request{Anchor: a, BatchRows: 1 + int(seed%97)})
				if !end.AtEnd() {
					t.Fatal("a whole scan does not end at its end")
				}
				all = append(all, got...)
				met += int64(c.Met)
			}
			same(t, fmt.Sprintf("%d anchors", n), all, want)
			if total, err := v.CountScan(ctx, nil); err != nil || total != met {
				t.Fatalf("met %d rows, the store counts %d, %v", met, total, err)
			}
			if order == nil {
				order = all
			} else if !slices.Equal(order, all) {
				t.Fatalf("%d anchors: another order of rows", n)
			}
		}
		for _, par := range []int{1, 2, 5} {
			if got, _, _ := collect(t, fs, v, scan.Request{Parallel: par}); !slices.Equal(got, order) {
				t.Fatalf("scanned by %d workers: %d rows in another order", par, len(got))
			}
		}
	})
}

func TestResumeAfterEveryBatch(t *testing.T) {
	stores(t, func(t *testing.T, s object.Store) {
		fs := wild(t, s, 5, 300)
		v := head(t, fs)
		order, counts, _ := collect(t, fs, v, scan.Request{})
		for _, limit := range []uint64{1, 17, 100, 299} {
			var got []row
			var a scan.Anchor
			var met uint64
			for !a.AtEnd() {
				rows, c, next := collect(t, fs, v, scan.Request{Anchor: a, Limit: limit, BatchRows: 13})
				if uint64(len(rows)) > limit {
					t.Fatalf("%d rows over the limit %d", len(rows), limit)
				}
				got, a, met = append(got, rows...), next, met+c.Met
			}
			if !slices.Equal(got, order) || met != counts.Met {
				t.Fatalf("limit %d: %d rows of %d, met %d of %d", limit, len(got), len(order), met, counts.Met)
			}
		}
		// Every batch's own anchor.
		st, err := scan.Open(context.Background(), fs, v, scan.Request{BatchRows: 50, Columns: scan.Columns()})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		seen := 0
		for {
			b, err := st.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			seen += int(b.Record.NumRows())
			b.Record.Release()
			rest, _, _ := collect(t, fs, v, scan.Request{Anchor: b.Anchor})
			if !slices.Equal(rest, order[seen:]) {
				t.Fatalf("after %d rows: %d left, want %d", seen, len(rest), len(order)-seen)
			}
		}
	})
}

// broken is a store of which a part can't be read, or has wrong bytes.
type broken struct {
	posix.Store
	after int    // rows until an error
	spoil string // entry whose record is damaged
}

func (b *broken) Scan(ctx context.Context, at object.Epoch, a object.Anchor, fn func(object.Row) bool) (object.Anchor, error) {
	n := 0
	var lost error
	next, err := b.Store.Scan(ctx, at, a, func(r object.Row) bool {
		if n++; b.after > 0 && n > b.after {
			lost = fault.New(fault.Corrupt, "test.scan", "target 2", "an index block does not match its checksum")
			return false
		}
		if string(r.Dkey) == b.spoil && len(r.Value) > 0 {
			r.Value = r.Value[:20]
		}
		return fn(r)
	})
	if lost != nil {
		err = lost
	}
	return next, err
}

func TestAMissingPartIsAnErrorNeverAShortList(t *testing.T) {
	b := &broken{Store: memstore.New()}
	fs := wild(t, b, 2, 200)
	v := head(t, fs)
	try := func() error {
		s, err := scan.Open(context.Background(), fs, v, scan.Request{BatchRows: 10})
		if err != nil {
			return err
		}
		defer s.Close()
		for {
			r, err := s.Next()
			if err != nil {
				return err
			}
			r.Record.Release()
		}
	}
	if err := try(); err != io.EOF {
		t.Fatal(err)
	}
	b.after = 5
	if err := try(); !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), "target 2") {
		t.Fatalf("a part that can't be read: %v", err)
	}
	b.after, b.spoil = 0, walk(t, v, "", 1)[7].path
	b.spoil = b.spoil[strings.LastIndexByte(b.spoil, '/')+1:]
	if err := try(); !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), strings.ToValidUTF8(b.spoil, "")) && !strings.Contains(err.Error(), b.spoil) {
		t.Fatalf("a damaged record of %q: %v", b.spoil, err)
	}
}

func TestCloseInTheMiddle(t *testing.T) {
	fs := wild(t, memstore.New(), 4, 500)
	v := head(t, fs)
	for n := range 5 {
		s, err := scan.Open(context.Background(), fs, v, scan.Request{BatchRows: 3, Parallel: 3})
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			b, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			b.Record.Release()
		}
		s.Close()
		s.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := scan.Open(ctx, fs, v, scan.Request{BatchRows: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cancel()
	for err == nil {
		var b scan.Batch
		if b, err = s.Next(); err == nil {
			b.Record.Release()
		}
	}
	if !fault.Is(err, fault.Canceled) {
		t.Fatalf("canceled: %v", err)
	}
}

func FuzzAnchor(f *testing.F) {
	fs := wild(f, memstore.New(), 6, 30)
	v := head(f, fs)
	for _, a := range scan.Plan(fs, 3) {
		f.Add([]byte(a))
	}
	f.Fuzz(func(t *testing.T, a []byte) {
		s, err := scan.Open(context.Background(), fs, v, scan.Request{Anchor: append(scan.Anchor{}, a...), BatchRows: 8})
		for err == nil {
			var b scan.Batch
			if b, err = s.Next(); err == nil {
				b.Record.Release()
			}
		}
		if s != nil {
			s.Close()
		}
		if err != io.EOF && !fault.Is(err, fault.Invalid) {
			t.Fatalf("%v", err)
		}
	})
}
