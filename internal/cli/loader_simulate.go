package cli

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/fault"
	"daos/loader/order"
	"daos/loader/simulate"
	loaderv1 "daos/proto/gen/daos/loader/v1"
)

// simulateJSON is a simulation in --json.
type simulateJSON struct {
	Manifest  string           `json:"manifest"`
	Samples   uint64           `json:"samples"`
	Bytes     uint64           `json:"bytes"`
	Order     orderJSON        `json:"order"`
	Batch     uint64           `json:"batch_size"`
	Layout    string           `json:"layout"`
	Segments  int              `json:"segments,omitempty"` // that the samples lie in
	UnitBytes uint64           `json:"unit_bytes"`
	Units     uint64           `json:"units"`
	This      *simulate.Report `json:"this_order"`
	Shuffle   *simulate.Report `json:"shuffle"`
}

// defaultPositions are simulated where --positions says nothing.
const defaultPositions = 1 << 22

func loaderSimulate(a *app) *cobra.Command {
	var s selection
	var batch, positions, start uint64
	var unit, layout string
	cmd := &cobra.Command{
		Use: "simulate POOL/DATASET@SNAPSHOT[/PATH]", Short: "Say how well an order mixes and what it costs a cache", Args: cobra.ExactArgs(1),
		Long: `Walk an order over the samples of a snapshot without reading any of them, and say
how well it mixes and how large a cache it needs, beside the same figures of a
full shuffle:

- displacement: how far samples stand from their own place, of all samples;
- correlation of neighbours in the order, and the share of them that lie less
  than a hundredth of all samples apart: 0 and 2 % in a random order;
- with --label-dirname: how long runs of one class are, and by how much the
  classes of a batch are off from those of all samples (0 to 100 %);
- of a cache that keeps what was used last, which share of the reads it serves,
  and how many bytes are fetched for each byte read.

Caches keep or drop units of --unit bytes of the segments that the samples are
stored in at present (--layout stored), or of the samples laid out in their own
order, all of mean size (--layout even). --batch-size is that of a global batch:
all ranks together.`,
		Example: "  daos loader simulate p/photos@v1/train --label-dirname --order window --window 10000\n" +
			"  daos loader simulate p/photos@v1 --order block --block 512 --unit 1MiB --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			if _, err := s.spec(); err != nil {
				return err
			}
			unitBytes, err := parseSize(unit)
			if err != nil {
				return err
			}
			if batch == 0 || batch > 1<<31 || unitBytes == 0 {
				return fault.New(fault.Invalid, "loader.simulate", "", "--batch-size %d, --unit %s", batch, unit).Do("use at least 1")
			}
			if layout != layoutStored && layout != layoutEven {
				return fault.New(fault.Invalid, "loader.simulate", "", "--layout %s", layout).Do("use stored or even")
			}
			m, err := s.open(ctx, a, c, x)
			if err != nil {
				return err
			}
			o, err := s.bind(a, m)
			if err != nil {
				return err
			}
			if start > o.Len() {
				return fault.New(fault.Invalid, "loader.simulate", "", "--start %d, and a pass has %d samples", start, o.Len())
			}
			if positions == 0 {
				positions = defaultPositions
			}
			out := simulateJSON{Manifest: m.GetId(), Samples: m.GetSamples(), Bytes: m.GetBytes(), Order: orderOf(&o.spec), Batch: batch, Layout: layout}
			in := &simulate.Input{Samples: m.GetSamples(), Batch: batch, Classes: m.GetClassSizes()}
			if layout == layoutStored {
				err = out.stored(ctx, a, c, m, in, unitBytes)
			} else {
				out.even(in, unitBytes)
			}
			if err != nil {
				return err
			}
			in.Start, in.Count = start, min(positions, o.Len()-start)
			if err := out.measure(in, o, s.seed); err != nil {
				return err
			}
			return a.print(&out, func() error { return a.showSimulation(&out, m, o) })
		}),
	}
	s.add(cmd)
	f := cmd.Flags()
	f.Uint64Var(&batch, "batch-size", 256, "samples of a global batch")
	f.Uint64Var(&positions, "positions", 0, fmt.Sprintf("positions to walk (default: the pass, at most %d; the most is %d)", defaultPositions, simulate.MaxPositions))
	f.Uint64Var(&start, "start", 0, "position to begin at")
	f.StringVar(&unit, "unit", "1MiB", "what a cache keeps or drops as a whole")
	f.StringVar(&layout, "layout", layoutStored, "where samples lie: stored, or even")
	return cmd
}

// Layouts of the samples.
const (
	layoutStored = "stored"
	layoutEven   = "even"
)

// even lays the samples out in units, in their own order and of mean size.
func (out *simulateJSON) even(in *simulate.Input, unitBytes uint64) {
	mean := max(out.Bytes/max(in.Samples, 1), 1)
	each := max(unitBytes/mean, 1) // samples of a unit
	in.Units = (in.Samples + each - 1) / each
	in.Unit = func(sample uint64) uint64 { return sample / each }
	out.Units = in.Units
	out.UnitBytes = (out.Bytes + max(in.Units, 1) - 1) / max(in.Units, 1)
}

// stored asks where the samples lie, and numbers the units that they begin in.
func (out *simulateJSON) stored(ctx context.Context, a *app, c *client.Client, m *loaderv1.Manifest, in *simulate.Input, unitBytes uint64) error {
	if in.Samples > simulate.MaxUnits {
		return fault.New(fault.TooBig, "loader.simulate", "", "%s samples, at most %s are placed one by one", formatCount(in.Samples), formatCount(uint64(simulate.MaxUnits))).
			Do("use --layout even")
	}
	type key struct {
		segment uint32
		unit    uint64
	}
	numbers, segments := map[key]uint32{}, map[uint32]bool{}
	units := make([]uint32, 0, in.Samples)
	var placed atomic.Uint64
	end := a.watch(func(time.Duration) string {
		return fmt.Sprintf("places  %s of %s samples", formatCount(placed.Load()), formatCount(in.Samples))
	})
	defer end()
	for uint64(len(units)) < in.Samples {
		r, err := c.Loader.Places(ctx, &loaderv1.PlacesRequest{Handle: m.GetHandle(), Start: uint64(len(units)), Count: maxSamples})
		if err != nil {
			return err
		}
		if len(r.GetSegments()) == 0 || len(r.GetSegments()) != len(r.GetPositions()) {
			return fault.New(fault.Internal, "loader.simulate", "", "the server placed %d of %d samples", len(units), in.Samples)
		}
		for i, s := range r.GetSegments() {
			k := key{s, r.GetPositions()[i] / unitBytes}
			n, ok := numbers[k]
			if !ok {
				n = uint32(len(numbers))
				numbers[k], segments[s] = n, true
			}
			units = append(units, n)
		}
		placed.Store(uint64(len(units)))
	}
	in.Units, in.Unit = uint64(len(numbers)), func(sample uint64) uint64 { return uint64(units[sample]) }
	out.Units, out.UnitBytes, out.Segments = in.Units, unitBytes, len(segments)
	return nil
}

// measure walks the order, and a shuffle for comparison.
func (out *simulateJSON) measure(in *simulate.Input, o order.Order, seed uint64) (err error) {
	in.Order = o
	if out.This, err = simulate.Measure(in); err != nil {
		return err
	}
	if in.Order, err = (order.Spec{Kind: order.Shuffle, Seed: seed}).New(in.Samples, nil); err != nil {
		return err
	}
	in.Start = min(in.Start, in.Order.Len())
	in.Count = min(in.Count, in.Order.Len()-in.Start)
	out.Shuffle, err = simulate.Measure(in)
	return err
}

func (a *app) showSimulation(out *simulateJSON, m *loaderv1.Manifest, o *bound) error {
	this, shuffled := out.This, out.Shuffle
	err := fields(a.out,
		"dataset", m.GetDataset()+"@"+m.GetSnapshot(), "samples", fmt.Sprintf("%s, %s", formatCount(out.Samples), formatSize(out.Bytes)),
		"order", orderText(&o.spec), "positions", fmt.Sprintf("%s of %s, batches of %s", formatCount(this.Positions), formatCount(o.Len()), formatCount(out.Batch)),
		"unit", out.unitText())
	if err != nil {
		return err
	}
	t := &table{columns: []column{{head: "MIXING"}, {head: "THIS ORDER", right: true}, {head: "SHUFFLE", right: true}}}
	row := func(what, format string, x, y float64) { t.row(what, fmt.Sprintf(format, x), fmt.Sprintf(format, y)) }
	t.row("different samples", formatCount(this.Distinct), formatCount(shuffled.Distinct))
	t.row("a sample comes at most", formatCount(this.MostRepeats)+" x", formatCount(shuffled.MostRepeats)+" x")
	row("displacement, mean", "%.2f %%", 100*this.MeanDisplacement, 100*shuffled.MeanDisplacement)
	row("displacement, most", "%.2f %%", 100*this.MaxDisplacement, 100*shuffled.MaxDisplacement)
	row("correlation of neighbours", "%.3f", this.Correlation, shuffled.Correlation)
	row("neighbours that are near", "%.2f %%", 100*this.Near, 100*shuffled.Near)
	if x, y := this.Classes, shuffled.Classes; x != nil && y != nil {
		row("run of one class, mean", "%.2f", x.MeanRun, y.MeanRun)
		t.row("run of one class, longest", formatCount(x.LongestRun), formatCount(y.LongestRun))
		row("classes of a batch are off, mean", "%.2f %%", 100*x.Imbalance, 100*y.Imbalance)
		row("classes of a batch are off, worst", "%.2f %%", 100*x.WorstImbalance, 100*y.WorstImbalance)
		row("classes absent from a batch", "%.2f %%", 100*x.Absent, 100*y.Absent)
	}
	if x, y := this.Cache, shuffled.Cache; x != nil && y != nil {
		row("units of a batch", "%.1f", x.PerBatch, y.PerBatch)
		row("units of 100 batches", "%.1f", x.PerHundred, y.PerHundred)
		t.row("cache for 90 % of all hits", formatSize(x.WorkingUnits*out.UnitBytes), formatSize(y.WorkingUnits*out.UnitBytes))
	}
	if _, err := fmt.Fprintln(a.out); err != nil {
		return err
	}
	if err := a.table(t); err != nil || this.Cache == nil || shuffled.Cache == nil {
		return err
	}
	t = &table{columns: []column{
		{head: "CACHE", right: true}, {head: "UNITS", right: true}, {head: "HITS", right: true}, {head: "FETCHED PER BYTE READ", right: true},
		{head: "SHUFFLE: HITS", right: true}, {head: "FETCHED", right: true},
	}}
	for i, l := range this.Cache.Reuse {
		y := shuffled.Cache.Reuse[i]
		t.row(formatSize(l.Units*out.UnitBytes), formatCount(l.Units), fmt.Sprintf("%.2f %%", 100*l.Hits), out.fetched(l, this),
			fmt.Sprintf("%.2f %%", 100*y.Hits), out.fetched(y, shuffled))
	}
	if _, err := fmt.Fprintln(a.out); err != nil {
		return err
	}
	return a.table(t)
}

func (out *simulateJSON) unitText() string {
	text := fmt.Sprintf("%s, %s of them", formatSize(out.UnitBytes), formatCount(out.Units))
	if out.Layout == layoutStored {
		return text + ", in " + counted(uint64(out.Segments), "segment")
	}
	return text + ", samples laid out evenly"
}

// fetched is how many bytes a cache fetches for each byte that is read.
func (out *simulateJSON) fetched(l simulate.Level, r *simulate.Report) string {
	read := float64(r.Positions) * float64(out.Bytes) / float64(max(out.Samples, 1))
	if read == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(l.Fetched)*float64(out.UnitBytes)/read)
}
