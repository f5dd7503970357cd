package vos_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"

	"daos/engine/object"
	"daos/engine/target"
	"daos/engine/vos"
)

// Each benchmark measures our side and the plain way to do the same job in
// one run, interleaved, and reports the ratio: ours/plain, of rates.

func benchTarget(b *testing.B) *vos.Target {
	b.Helper()
	v, err := vos.Open(vos.Options{Dir: b.TempDir(), ID: 1, Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = v.Close() })
	return v
}

// rounds runs both sides in turn and reports the rate of ours and the ratio.
func rounds(b *testing.B, unit string, ours, plain func() float64) {
	b.Helper()
	var o, p []float64
	for range 5 {
		o = append(o, ours())
		p = append(p, plain())
	}
	om, pm := median(o), median(p)
	b.ReportMetric(om, unit)
	b.ReportMetric(pm, "plain-"+unit)
	b.ReportMetric(om/pm, "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(s []float64) float64 {
	c := append([]float64(nil), s...)
	for i := range c {
		for j := i; j > 0 && c[j] < c[j-1]; j-- {
			c[j], c[j-1] = c[j-1], c[j]
		}
	}
	return c[len(c)/2]
}

// parallel runs n calls by w workers and returns calls per second.
func parallel(b *testing.B, w, n int, fn func(i int) error) float64 {
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range w {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := fn(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(start).Seconds()
}

func BenchmarkSmallDurableWrites(b *testing.B) {
	for _, w := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", w), func(b *testing.B) {
			v := benchTarget(b)
			db, err := pebble.Open(b.TempDir(), &pebble.Options{MemTableSize: 16 << 20, FormatMajorVersion: pebble.FormatNewest})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			var epoch atomic.Uint64
			data := make([]byte, 100)
			n := 200 * w
			if w > 1 {
				n = 50 * w
			}
			rounds(b, "op/s", func() float64 {
				return parallel(b, w, n, func(i int) error {
					e := epoch.Add(1)
					name := []byte(fmt.Sprintf("file-%08d", e))
					return v.Prepare(context.Background(), batch(object.Epoch(e), object.Write{
						Op: object.OpPut, OID: oid(1), Dkey: name, Akey: []byte("e"), Data: data,
					}))
				})
			}, func() float64 {
				return parallel(b, w, n, func(i int) error {
					return db.Set([]byte(fmt.Sprintf("some-prefix-of-like-length-as-ours-00000000-%016d", epoch.Add(1))), data, pebble.Sync)
				})
			})
		})
	}
}

func BenchmarkBulkIngest(b *testing.B) {
	for _, w := range []int{1, 4} {
		b.Run(fmt.Sprintf("writers=%d", w), func(b *testing.B) {
			v := benchTarget(b)
			f, err := os.Create(filepath.Join(b.TempDir(), "plain"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			const size, n = 8 << 20, 16
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(rand.Uint32())
			}
			var epoch atomic.Uint64
			var off atomic.Int64
			rounds(b, "MB/s", func() float64 {
				return size / 1e6 * parallel(b, w, n, func(int) error {
					e := epoch.Add(1)
					return v.Prepare(context.Background(), batch(object.Epoch(e), write(oid(e), "f", "0", 0, data)))
				})
			}, func() float64 {
				return size / 1e6 * parallel(b, w, n, func(int) error {
					if _, err := f.WriteAt(data, off.Add(size)-size); err != nil {
						return err
					}
					return unix.Fdatasync(int(f.Fd()))
				})
			})
		})
	}
}

func BenchmarkReads(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			v := benchTarget(b)
			f, err := os.Create(filepath.Join(b.TempDir(), "plain"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			n := 64 << 20 / size
			data := make([]byte, size)
			for i := range n {
				binary.LittleEndian.PutUint64(data, uint64(i))
				bt := batch(object.Epoch(i+1), write(oid(uint64(i)), "f", "0", 0, data))
				bt.Deferred = true
				if err := v.Prepare(context.Background(), bt); err != nil {
					b.Fatal(err)
				}
				if _, err := f.WriteAt(data, int64(i*size)); err != nil {
					b.Fatal(err)
				}
			}
			if err := v.Sync(); err != nil {
				b.Fatal(err)
			}
			// What the loader does: positions are known, bytes are verified.
			recs := make([]object.Record, n)
			for i := range recs {
				ex, err := v.Extents(object.EpochMax, place(oid(uint64(i))), []byte("f"), []byte("0"), 0, uint64(size))
				if err != nil || len(ex) != 1 {
					b.Fatal(len(ex), err)
				}
				recs[i] = ex[0].Record
			}
			buf := make([]byte, size)
			order := rand.Perm(n)
			b.Run("located", func(b *testing.B) {
				rounds(b, "op/s", func() float64 {
					return parallel(b, 1, n, func(i int) error { return v.ReadRecord(testDS, recs[order[i-1]], 0, buf) })
				}, func() float64 {
					return parallel(b, 1, n, func(i int) error {
						_, err := f.ReadAt(buf, int64(order[i-1]*size))
						return err
					})
				})
			})
			b.Run("looked-up", func(b *testing.B) {
				rounds(b, "op/s", func() float64 {
					return parallel(b, 1, n, func(i int) error {
						ex, err := v.Extents(object.EpochMax, place(oid(uint64(order[i-1]))), []byte("f"), []byte("0"), 0, uint64(size))
						if err != nil {
							return err
						}
						return v.ReadRecord(testDS, ex[0].Record, 0, buf)
					})
				}, func() float64 {
					return parallel(b, 1, n, func(i int) error {
						_, err := f.ReadAt(buf, int64(order[i-1]*size))
						return err
					})
				})
			})
		})
	}
}

// fill puts n directory entries of 100 bytes into one directory of 64 groups.
func fill(b *testing.B, v *vos.Target, n int) {
	b.Helper()
	dir := object.MakeID(object.ClassSX, 1, 99)
	data := make([]byte, 100)
	for i := 0; i < n; {
		bt := &target.Batch{Dataset: testDS, Epoch: object.Epoch(i + 1), Deferred: true}
		for range min(10000, n-i) {
			name := []byte(fmt.Sprintf("img_%08d.png", i))
			g := dir.Class().Group(name)
			bt.Writes = append(bt.Writes, target.Placed{
				Write: object.Write{Op: object.OpPut, OID: dir, Dkey: name, Akey: []byte("e"), Data: data},
				Group: g, Hash: uint32(object.Mix64(uint64(g)+1) >> 32),
			})
			i++
		}
		if err := v.Prepare(context.Background(), bt); err != nil {
			b.Fatal(err)
		}
	}
	if err := v.Sync(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkScan(b *testing.B) {
	const n = 500_000
	v := benchTarget(b)
	fill(b, v, n)
	b.ResetTimer()
	for range b.N {
		rows := 0
		if err := v.Scan(context.Background(), testDS, object.EpochMax, 0, 1<<32-1, nil, func(object.Row, []byte) bool {
			rows++
			return true
		}); err != nil || rows != n {
			b.Fatal(rows, err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkGet(b *testing.B) {
	const n = 200_000
	v := benchTarget(b)
	fill(b, v, n)
	dir := object.MakeID(object.ClassSX, 1, 99)
	for _, missing := range []bool{false, true} {
		b.Run(fmt.Sprintf("missing=%v", missing), func(b *testing.B) {
			for i := range b.N {
				name := []byte(fmt.Sprintf("img_%08d.png", i*7919%n))
				if missing {
					name = append(name, 'x')
				}
				g := dir.Class().Group(name)
				p := target.Place{Dataset: testDS, OID: dir, Group: g, Hash: uint32(object.Mix64(uint64(g)+1) >> 32)}
				if _, err := v.Get(object.EpochMax, p, name, []byte("e")); (err != nil) != missing {
					b.Fatal(err)
				}
			}
		})
	}
}
