// Command kvrates measures KV datasets against what stores pairs elsewhere, both
// sides in one run, in interleaved trials:
//
//   - gets: batches of random keys, of a dataset in an engine of this process,
//     against pebble itself with the same pairs and the same options of reading;
//   - puts: durable batches from a Go client over a unix socket, against a Redis
//     with `appendfsync always` (MSET, which is atomic as a batch of ours is).
//
// The Redis is the one named by -redis, that of the PATH, or Debian's, unpacked
// into a scratch folder. Where none can be had the row is left out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"daos/dataset/kv"
	"daos/engine"
	"daos/engine/object"
)

const valueBytes = 100

func main() {
	log.SetFlags(0)
	pairs := flag.Int("pairs", 7, "interleaved pairs of trials")
	class := flag.String("class", "SX", "object class of our dataset")
	names := flag.String("rows", "gets puts", "rows to measure")
	n := flag.Int("n", 200_000, "pairs stored for gets")
	redis := flag.String("redis", "", "the redis-server binary (default: that of the PATH, else Debian's)")
	daos := flag.String("daos", "bin/daos", "the daos binary")
	asJSON := flag.Bool("json", false, "one JSON object a row on standard output")
	flag.Parse()
	for _, row := range strings.Fields(*names) {
		var rows []result
		var err error
		switch row {
		case "gets":
			rows, err = gets(*pairs, *n)
		case "puts":
			rows, err = puts(*pairs, *daos, *redis, *class)
			if errors.Is(err, errNoRedis) {
				fmt.Fprintln(os.Stderr, "puts: left out:", err)
				continue
			}
		default:
			log.Fatalf("there is no row %q", row)
		}
		if err != nil {
			log.Fatalf("%s: %v", row, err)
		}
		for _, r := range rows {
			if *asJSON {
				_ = json.NewEncoder(os.Stdout).Encode(r)
				continue
			}
			fmt.Printf("%-12s batch %5d  ours %9.0f/s [%.0f %.0f]  %s %9.0f/s [%.0f %.0f]  %.2fx [%.2f %.2f]  cpu %.1f us an op\n", r.Row, r.Batch,
				r.Ours[1], r.Ours[0], r.Ours[2], r.Peer, r.Theirs[1], r.Theirs[0], r.Theirs[2], r.Ratio[1], r.Ratio[0], r.Ratio[2], 1e6*r.CPU)
		}
	}
}

// result is one row: operations a second of both sides (first quartile, median,
// third), and their ratio.
type result struct {
	Row    string     `json:"row"`
	Peer   string     `json:"peer"`
	Batch  int        `json:"batch"`
	Ours   [3]float64 `json:"ours_per_s"`
	Theirs [3]float64 `json:"theirs_per_s"`
	Ratio  [3]float64 `json:"ratio"`
	CPU    float64    `json:"ours_cpu_s_per_op"` // of this process; of gets only
}

func quartiles(x []float64) [3]float64 {
	s := slices.Clone(x)
	slices.Sort(s)
	n := len(s)
	return [3]float64{s[n/4], s[n/2], s[3*n/4]}
}

// measure runs interleaved trials; each returns how many operations it did.
func measure(row, peer string, batch, pairs int, ours, theirs func() (int, error)) (result, error) {
	rate := func(fn func() (int, error)) (float64, float64, error) {
		var before, after syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		began := time.Now()
		n, err := fn()
		took := time.Since(began).Seconds()
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		cpu := float64(after.Utime.Nano()-before.Utime.Nano()+after.Stime.Nano()-before.Stime.Nano()) / 1e9
		return float64(n) / took, cpu / float64(n), err
	}
	var a, b, ratio, cpu []float64
	for i := range pairs + 1 {
		x, c, err := rate(ours)
		if err != nil {
			return result{}, err
		}
		y, _, err := rate(theirs)
		if err != nil {
			return result{}, err
		}
		if i > 0 { // the first pair warms up
			a, b, ratio, cpu = append(a, x), append(b, y), append(ratio, x/y), append(cpu, c)
		}
	}
	return result{Row: row, Peer: peer, Batch: batch, Ours: quartiles(a), Theirs: quartiles(b), Ratio: quartiles(ratio), CPU: quartiles(cpu)[1]}, nil
}

func key(i int) []byte { return fmt.Appendf(nil, "user/%08d/profile", i) }

func value(rng *rand.Rand) []byte {
	b := make([]byte, valueBytes)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func gets(pairs, n int) ([]result, error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "kvrates-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	e, err := engine.Open(engine.Options{Root: filepath.Join(dir, "engine"), Targets: 4, SweepEvery: -1})
	if err != nil {
		return nil, err
	}
	defer e.Close()
	st, err := e.CreateDataset(ctx, 1, 1)
	if err != nil {
		return nil, err
	}
	d := kv.Open(st, kv.Options{})
	db, err := pebble.Open(filepath.Join(dir, "pebble"), &pebble.Options{Cache: pebble.NewCache(256 << 20), Logger: quiet{}})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	for at := 0; at < n; at += 10_000 {
		var ops []kv.Op
		b := db.NewBatch()
		for i := at; i < min(at+10_000, n); i++ {
			v := value(rng)
			ops = append(ops, kv.Op{Kind: kv.OpPut, Key: key(i), Value: v})
			if err := b.Set(key(i), v, nil); err != nil {
				return nil, err
			}
		}
		if _, err := d.Apply(ctx, object.RequestID{}, ops); err != nil {
			return nil, err
		}
		if err := b.Commit(pebble.Sync); err != nil {
			return nil, err
		}
	}
	var out []result
	for _, batch := range []int{1, 100, 1000} {
		rounds := max(50_000/batch, 1)
		keys := make([]kv.Name, batch)
		draw := func() {
			for i := range keys {
				keys[i].Key = key(rng.IntN(n))
			}
		}
		r, err := measure("gets", "pebble", batch, pairs, func() (int, error) {
			for range rounds {
				draw()
				v, err := d.Head(ctx, 0)
				if err != nil {
					return 0, err
				}
				values, err := v.GetMany(ctx, keys, 0)
				if err != nil {
					return 0, err
				}
				for i := range values {
					if b, ok := values[i].Inline(); !ok || len(b) != valueBytes {
						return 0, fmt.Errorf("a value of %d bytes", len(b))
					}
				}
			}
			return rounds * batch, nil
		}, func() (int, error) {
			for range rounds {
				draw()
				values := make([][]byte, len(keys))
				for i := range keys {
					v, c, err := db.Get(keys[i].Key)
					if err != nil {
						return 0, err
					}
					values[i] = slices.Clone(v)
					if err := c.Close(); err != nil {
						return 0, err
					}
				}
				for _, b := range values {
					if len(b) != valueBytes {
						return 0, fmt.Errorf("a value of %d bytes", len(b))
					}
				}
			}
			return rounds * batch, nil
		})
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	log.Fatalf(format, args...)
}

// command writes a command as Redis reads it.
func command(b []byte, args ...[]byte) []byte {
	b = append(b, '*')
	b = append(strconv.AppendInt(b, int64(len(args)), 10), "\r\n"...)
	for _, a := range args {
		b = append(b, '$')
		b = append(strconv.AppendInt(b, int64(len(a)), 10), "\r\n"...)
		b = append(append(b, a...), "\r\n"...)
	}
	return b
}

// expectOK reads the answer of a SET or MSET.
func expectOK(r io.Reader) error {
	b := make([]byte, 5)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if string(b) != "+OK\r\n" {
		return fmt.Errorf("redis answered %q", b)
	}
	return nil
}
