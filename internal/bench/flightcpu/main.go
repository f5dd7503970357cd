// Command flightcpu measures what Arrow Flight costs the server: CPU seconds a
// GB of samples, of this server's writer and of the stock one of arrow/go
// beside it, in one run.
//
// Each side is a process with a tensor dataset of the same content in a real
// engine, read by the same reader; the stock side has arrow/go's writer and
// gRPC's defaults. The stock client is a third process, so that its CPU does not
// count. Trials of the two sides are interleaved. The row "writer" sends batches
// that are ready in memory, "table" reads the dataset in order, "shuffled" asks
// for 32 random samples at a time.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) == 4 && os.Args[1] == "client" {
		if err := client(os.Args[2], os.Args[3]); err != nil {
			log.Fatal(err)
		}
		return
	}
	if len(os.Args) == 5 && os.Args[1] == "server" {
		if err := server(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			log.Fatal(err)
		}
		return
	}
	pairs := flag.Int("pairs", 7, "interleaved pairs of trials")
	gb := flag.Float64("gb", 0.6, "GB a trial")
	names := flag.String("rows", "writer table shuffled", "rows to measure")
	asJSON := flag.Bool("json", false, "one JSON object on standard output")
	flag.Parse()
	if err := run(*names, *pairs, *gb, *asJSON); err != nil {
		log.Fatal(err)
	}
}

// result is one row: CPU seconds a GB of both sides, and their ratio.
type result struct {
	Row   string     `json:"row"`
	Ours  [3]float64 `json:"ours_cpu_s_per_gb"`  // first quartile, median, third
	Stock [3]float64 `json:"stock_cpu_s_per_gb"` //
	Ratio [3]float64 `json:"ratio"`
	Rate  float64    `json:"ours_gb_per_s"`
	Other float64    `json:"stock_gb_per_s"`
}

func run(names string, pairs int, gb float64, asJSON bool) error {
	var sides [2]*side
	for i, name := range []string{"ours", "stock"} {
		var err error
		if sides[i], err = startSide(name, int(gb*1e9)); err != nil {
			return err
		}
		defer sides[i].close()
	}
	var rows []result
	for _, what := range strings.Fields(names) {
		var ours, stock, ratio, rate, other []float64
		for i := -1; i < pairs; i++ { // the first pair warms up
			var cpu, speed [2]float64
			for k := range 2 {
				n := (k + i + 2) % 2 // who begins alternates
				var err error
				if cpu[n], speed[n], err = sides[n].trial(what); err != nil {
					return err
				}
			}
			if i >= 0 {
				ours, stock, ratio = append(ours, cpu[0]), append(stock, cpu[1]), append(ratio, cpu[0]/cpu[1])
				rate, other = append(rate, speed[0]), append(other, speed[1])
			}
		}
		r := result{Row: what, Ours: quartiles(ours), Stock: quartiles(stock), Ratio: quartiles(ratio), Rate: quartiles(rate)[1], Other: quartiles(other)[1]}
		rows = append(rows, r)
		if !asJSON {
			fmt.Printf("%-9s ours %.3f [%.3f, %.3f]  stock %.3f [%.3f, %.3f] cpu-s/GB  ratio %.2f [%.2f, %.2f]  %.2f and %.2f GB/s\n",
				r.Row, r.Ours[1], r.Ours[0], r.Ours[2], r.Stock[1], r.Stock[0], r.Stock[2], r.Ratio[1], r.Ratio[0], r.Ratio[2], r.Rate, r.Other)
		}
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"rows": rows, "pairs": pairs, "go": runtime.Version(), "cpus": runtime.NumCPU()})
	}
	return nil
}

// side is a server process.
type side struct {
	cmd     *exec.Cmd
	dir     string
	ask     io.WriteCloser
	answers *bufio.Reader
	address string
}

func startSide(name string, size int) (*side, error) {
	dir, err := os.MkdirTemp("", "flightcpu")
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &side{cmd: exec.Command(exe, "server", name, dir, strconv.Itoa(size)), dir: dir}
	s.cmd.Stderr = os.Stderr
	if s.ask, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.answers = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.address, err = s.answers.ReadString('\n')
	s.address = strings.TrimSpace(s.address)
	return s, err
}

// close ends the process: it goes when its standard input ends.
func (s *side) close() {
	_ = s.ask.Close()
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}

// cpu asks the process for its CPU seconds so far.
func (s *side) cpu() (float64, error) {
	if _, err := io.WriteString(s.ask, "cpu\n"); err != nil {
		return 0, err
	}
	line, err := s.answers.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(line), 64)
}

// trial lets a client read everything once and returns the server's CPU seconds
// a GB and the rate.
func (s *side) trial(what string) (cpu, rate float64, err error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.Command(exe, "client", s.address, what)
	cmd.Stderr = os.Stderr
	before, err := s.cpu()
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return 0, 0, fmt.Errorf("client of %s: %w", what, err)
	}
	took := time.Since(start).Seconds()
	after, err := s.cpu()
	if err != nil {
		return 0, 0, err
	}
	n, err := strconv.ParseFloat(string(out), 64)
	if err != nil {
		return 0, 0, err
	}
	return (after - before) / (n / 1e9), n / 1e9 / took, nil
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func quartiles(v []float64) [3]float64 {
	v = append([]float64(nil), v...)
	sort.Float64s(v)
	at := func(q float64) float64 { return v[int(q*float64(len(v)-1)+0.5)] }
	return [3]float64{at(0.25), at(0.5), at(0.75)}
}
