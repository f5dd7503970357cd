package engine_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine"
	"daos/engine/object"
	"daos/internal/fault"
)

// Each benchmark runs our side and the plain one in turn, five times, and
// reports medians of rates and their ratio, ours / plain. Run with
// -benchtime=1x: a round has a fixed amount of work.
func interleaved(b *testing.B, ours, plain func() float64) {
	b.Helper()
	var o, p []float64
	for range 5 {
		o = append(o, ours())
		p = append(p, plain())
	}
	slices.Sort(o)
	slices.Sort(p)
	b.ReportMetric(o[2], "ops/s")
	b.ReportMetric(p[2], "plain-ops/s")
	b.ReportMetric(o[2]/p[2], "ratio")
	b.ReportMetric(0, "ns/op")
}

// rate is calls per second of n calls by w workers.
func rate(b *testing.B, w, n int, fn func(worker, i int) error) float64 {
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for g := range w {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := fn(g, int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(start).Seconds()
}

func benchEngine(b *testing.B) (*engine.Engine, *engine.Dataset) {
	e := open(b, engine.Options{Root: b.TempDir(), Logger: quiet()})
	return e, create(b, e, 1, 1)
}

func rawPebble(b *testing.B) *pebble.DB {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: nopLogger{}, MemTableSize: 16 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	return db
}

type nopLogger struct{}

func (nopLogger) Infof(string, ...any)  {}
func (nopLogger) Errorf(string, ...any) {}
func (nopLogger) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// BenchmarkSmallWrites: durable writes of 256 B to different keys, each its own
// transaction, beside synced pebble batches of the same bytes. "spread" writes
// go to an SX object, so to all targets; "two" write two keys at once, usually
// on two targets, with transaction rows.
func BenchmarkSmallWrites(b *testing.B) {
	val := make([]byte, 256)
	for _, kind := range []string{"one-target", "spread", "two"} {
		for _, w := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/writers-%d", kind, w), func(b *testing.B) {
				_, d := benchEngine(b)
				db := rawPebble(b)
				var n atomic.Uint64
				work := min(100*w+100, 3000)
				for b.Loop() {
					interleaved(b, func() float64 {
						return rate(b, w, work, func(_, _ int) error {
							k := key(n.Add(1))
							tx := &object.Tx{}
							if kind != "spread" {
								tx.Writes = append(tx.Writes, object.Write{Op: object.OpPut, OID: one, Dkey: k, Akey: []byte("a"), Data: val})
							}
							if kind != "one-target" {
								tx.Writes = append(tx.Writes, object.Write{Op: object.OpPut, OID: many, Dkey: k, Akey: []byte("a"), Data: val})
							}
							_, err := d.Commit(b.Context(), tx)
							return err
						})
					}, func() float64 {
						return rate(b, w, work, func(_, _ int) error {
							k := key(n.Add(1))
							batch := db.NewBatch()
							_ = batch.Set(k, val, nil)
							if kind == "two" {
								_ = batch.Set(append(k, 1), val, nil)
							}
							return batch.Commit(pebble.Sync)
						})
					})
				}
			})
		}
	}
}

// BenchmarkReads: single values of 256 B at a closed epoch, beside pebble Gets.
func BenchmarkReads(b *testing.B) {
	const keys = 20_000
	_, d := benchEngine(b)
	db := rawPebble(b)
	val := make([]byte, 256)
	for i := 0; i < keys; {
		tx := &object.Tx{Deferred: true}
		batch := db.NewBatch()
		for range 1000 {
			tx.Writes = append(tx.Writes, object.Write{Op: object.OpPut, OID: many, Dkey: key(uint64(i)), Akey: []byte("a"), Data: val})
			_ = batch.Set(key(uint64(i)), val, nil)
			i++
		}
		if _, err := d.Commit(b.Context(), tx); err != nil {
			b.Fatal(err)
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			b.Fatal(err)
		}
	}
	at := now(b, d)
	for _, w := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("readers-%d", w), func(b *testing.B) {
			for b.Loop() {
				interleaved(b, func() float64 {
					return rate(b, w, 50_000, func(_, i int) error {
						_, _, err := d.Get(b.Context(), at, many, key(object.Mix64(uint64(i))%keys), []byte("a"))
						return err
					})
				}, func() float64 {
					return rate(b, w, 50_000, func(_, i int) error {
						_, c, err := db.Get(key(object.Mix64(uint64(i)) % keys))
						if err != nil {
							return err
						}
						return c.Close()
					})
				})
			}
		})
	}
	b.Run("allocs", func(b *testing.B) {
		b.ReportAllocs()
		k := key(7)
		for b.Loop() {
			if _, _, err := d.Get(b.Context(), at, many, k, []byte("a")); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read-epoch", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.ReadEpoch(b.Context(), 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkConflicts: read-modify-write of one counter by all writers, beside
// the same work on a counter each. Conflicts are retried until they succeed.
func BenchmarkConflicts(b *testing.B) {
	for _, w := range []int{8, 64} {
		b.Run(fmt.Sprintf("writers-%d", w), func(b *testing.B) {
			_, d := benchEngine(b)
			var retries, commits atomic.Int64
			bump := func(k []byte) error {
				for {
					at, err := d.ReadEpoch(b.Context(), 0)
					if err != nil {
						return err
					}
					v, _, err := d.Get(b.Context(), at, one, k, []byte("a"))
					if err != nil && !fault.Is(err, fault.NotFound) {
						return err
					}
					n := uint64(0)
					if len(v) == 8 {
						n = binary.BigEndian.Uint64(v)
					}
					_, err = d.Commit(b.Context(), &object.Tx{ReadAt: at, Reads: []object.Read{{OID: one, Point: true, From: k}},
						Writes: []object.Write{{Op: object.OpPut, OID: one, Dkey: k, Akey: []byte("a"), Data: key(n + 1)}}})
					if err == nil {
						commits.Add(1)
						return nil
					}
					if !errors.Is(err, fault.Conflict) {
						return err
					}
					retries.Add(1)
				}
			}
			for b.Loop() {
				interleaved(b,
					func() float64 { return rate(b, w, 400, func(_, _ int) error { return bump([]byte("hot")) }) },
					func() float64 { return rate(b, w, 400, func(g, _ int) error { return bump(key(uint64(g))) }) })
			}
			b.ReportMetric(float64(retries.Load())/float64(commits.Load()), "retries/commit")
		})
	}
}

// BenchmarkList walks 50,000 small values of an object: SX, whose 64 groups
// are merged, beside S1, which is one walk.
func BenchmarkList(b *testing.B) {
	const n = 50_000
	_, d := benchEngine(b)
	for i := 0; i < n; {
		tx := &object.Tx{Deferred: true}
		for range 1000 {
			for _, oid := range []object.ID{one, many} {
				tx.Writes = append(tx.Writes, object.Write{Op: object.OpPut, OID: oid, Dkey: key(uint64(i)), Akey: []byte("a"), Data: make([]byte, 100)})
			}
			i++
		}
		if _, err := d.Commit(b.Context(), tx); err != nil {
			b.Fatal(err)
		}
	}
	at := now(b, d)
	walk := func(oid object.ID) float64 {
		start, got := time.Now(), 0
		err := d.List(b.Context(), at, oid, object.ListOptions{}, func(object.Item) bool { got++; return true })
		if err != nil || got != n {
			b.Fatalf("%d items, %v", got, err)
		}
		return float64(n) / time.Since(start).Seconds()
	}
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			interleaved(b, func() float64 { return walk(many) }, func() float64 { return walk(one) })
		}
	})
	b.Run("first-ten-of-SX", func(b *testing.B) {
		for b.Loop() {
			if err := d.List(b.Context(), at, many, object.ListOptions{Limit: 10}, func(object.Item) bool { return true }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
