package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/fault"
	"daos/loader/order"
	loaderv1 "daos/proto/gen/daos/loader/v1"
)

// planJSON is a plan in --json.
type planJSON struct {
	Manifest  string       `json:"manifest"`
	Dataset   string       `json:"dataset"`
	Snapshot  string       `json:"snapshot"`
	Epoch     uint64       `json:"epoch"`
	Samples   uint64       `json:"samples"`
	Bytes     uint64       `json:"bytes"`
	MaxSample uint64       `json:"max_sample_bytes"`
	Columns   []columnJSON `json:"columns"`
	View      string       `json:"view"`
	Where     string       `json:"where"`
	Classes   []string     `json:"classes"`
	Sizes     []uint64     `json:"class_sizes"`
	Skipped   uint64       `json:"symlinks_skipped"`
	Built     bool         `json:"built"`
	Order     orderJSON    `json:"order"`
	Positions uint64       `json:"positions"` // of the pass
	Start     uint64       `json:"start"`
	World     uint64       `json:"world"`
	Workers   uint64       `json:"workers"`
	Uneven    string       `json:"uneven"`
	Batches   uint64       `json:"batches"` // global ones that are left
	Repeated  uint64       `json:"repeated"`
	LeftOut   uint64       `json:"left_out"`
	Reads     []readJSON   `json:"reads"`
	First     []sampleJSON `json:"first"`
	Token     string       `json:"token"`
}

// readJSON is one batch: who reads what.
type readJSON struct {
	Step     uint64   `json:"step"`
	Rank     uint64   `json:"rank"`
	Worker   uint64   `json:"worker"`
	From     uint64   `json:"from"`
	To       uint64   `json:"to"`
	Repeated uint64   `json:"repeated"`
	Samples  []uint64 `json:"samples"`
	Paths    []string `json:"paths,omitempty"`
}

type sampleJSON struct {
	Position uint64 `json:"position"`
	Sample   uint64 `json:"sample"`
	Path     string `json:"path,omitempty"`
	Size     uint64 `json:"size,omitempty"`
}

// maxSamples is how many samples one call names.
const maxSamples = 65536

// sharing is who reads: ranks, workers, and what becomes of the tail.
type sharing struct {
	batch, world, workers uint64
	rank                  int64
	uneven                string
	drop                  bool
	steps                 uint64
	first, start          uint64
}

func (p *sharing) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64Var(&p.batch, "batch-size", 32, "samples of one rank's batch")
	f.Uint64Var(&p.world, "world", 1, "ranks that share the pass")
	f.Uint64Var(&p.workers, "workers", 1, "workers of each rank, which take turns at batches")
	f.Int64Var(&p.rank, "rank", -1, "show what this rank reads (default: all)")
	f.StringVar(&p.uneven, "uneven", "", "keep, pad or drop a tail that does not fill all ranks (default pad, of one rank keep)")
	f.BoolVar(&p.drop, "drop-last", false, "leave out a last global batch that is not full")
	f.Uint64Var(&p.steps, "steps", 0, "show who reads what in so many steps (default 2 with --world, --workers or --rank)")
	f.Uint64Var(&p.first, "first", 5, "show so many samples of the order")
	f.Uint64Var(&p.start, "start", 0, "position to begin at")
}

// plan checks the flags and makes the plan over a pass.
func (p *sharing) plan(cmd *cobra.Command, o *bound) (*order.Plan, error) {
	invalid := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "loader.plan", "", format, args...)
	}
	given := cmd.Flags().Changed
	if given("start") && given("token") {
		return nil, invalid("--token and --start were both given").Do("leave out --start: the token says it")
	}
	start := o.position
	if given("start") {
		start = p.start
	}
	if start > o.Len() {
		return nil, invalid("--start %d, and a pass has %d samples", start, o.Len())
	}
	uneven := order.Uneven(p.uneven)
	if uneven == "" {
		if uneven = order.Keep; p.world > 1 {
			uneven = order.Pad
		}
	}
	out := &order.Plan{Start: start, Samples: o.Len(), Batch: p.batch, Ranks: p.world, Workers: p.workers, DropLast: p.drop, Uneven: uneven}
	if err := out.Check(); err != nil {
		return nil, err
	}
	if given("rank") && (p.rank < 0 || uint64(p.rank) >= p.world) {
		return nil, invalid("--rank %d of --world %d", p.rank, p.world).Do("ranks go from 0 to %d", p.world-1)
	}
	if !given("steps") && (given("world") || given("workers") || given("rank")) {
		p.steps = 2
	}
	return out, nil
}

func loaderPlan(a *app) *cobra.Command {
	var s selection
	var p sharing
	cmd := &cobra.Command{
		Use: "plan POOL/DATASET@SNAPSHOT[/PATH]", Short: "Show what a pass reads, in which order, and who reads it", Args: cobra.ExactArgs(1),
		Long: `Build the manifest of a snapshot, or find it, and show what a pass over it reads:
samples and bytes, columns, classes, the order and its parameters, batches, the
first samples in the order of the pass, and the resume token of its beginning.
With --world, --workers or --rank also who reads what: the positions and samples
of the first steps for each rank and worker. With --token the pass goes on from
there, in the token's order.`,
		Example: "  daos loader plan p/photos@v1/train --label-dirname --batch-size 256\n" +
			"  daos loader plan p/photos@v1 --order window --window 10000 --world 4 --workers 2 --steps 3\n" +
			"  daos loader plan p/photos@v1 --token run.token --world 2 --rank 1 --json",
	}
	cmd.RunE = a.verb(func(ctx context.Context, c *client.Client, args []string) error {
		x, err := a.parse(args[0])
		if err != nil {
			return err
		}
		if s.token == "" {
			if _, err := s.spec(); err != nil {
				return err // before a manifest is built
			}
		}
		m, err := s.open(ctx, a, c, x)
		if err != nil {
			return err
		}
		o, err := s.bind(a, m)
		if err != nil {
			return err
		}
		plan, err := p.plan(cmd, o)
		if err != nil {
			return err
		}
		out := planOf(m, o, plan)
		if out.First, err = firstSamples(ctx, c, m, o, plan.Start, min(p.first, maxSamples)); err != nil {
			return err
		}
		if out.Reads, err = reads(ctx, c, m, o, plan, &p); err != nil {
			return err
		}
		return a.print(out, func() error { return a.showPlan(&out, m, o, plan) })
	})
	s.add(cmd)
	s.addToken(cmd)
	p.add(cmd)
	return cmd
}

func planOf(m *loaderv1.Manifest, o *bound, p *order.Plan) planJSON {
	out := planJSON{
		Manifest: m.GetId(), Dataset: m.GetDataset(), Snapshot: m.GetSnapshot(), Epoch: m.GetEpoch(), Samples: m.GetSamples(), Bytes: m.GetBytes(),
		MaxSample: m.GetMaxSampleBytes(), Columns: []columnJSON{}, Classes: append([]string{}, m.GetClasses()...), Sizes: append([]uint64{}, m.GetClassSizes()...),
		View: m.GetView(), Where: m.GetWhere(), Skipped: m.GetSymlinksSkipped(), Built: m.GetBuilt(), Order: orderOf(&o.spec), Positions: o.Len(), Start: p.Start,
		World: p.Ranks, Workers: p.Workers, Uneven: string(p.Uneven), Batches: p.Steps(), Reads: []readJSON{},
		Token: string(tokenOf(m, &o.spec, p.Start).Encode()),
	}
	out.Repeated, out.LeftOut = p.Tail()
	for _, c := range m.GetColumns() {
		out.Columns = append(out.Columns, columnJSON{
			Name: c.GetName(), Layout: strings.ToLower(strings.TrimPrefix(c.GetLayout().String(), "LAYOUT_")), DType: c.GetDtype(),
			Shape: append([]uint64{}, c.GetShape()...), Nullable: c.GetNullable(),
		})
	}
	return out
}

// names are paths and sizes of samples; nil for tensors, whose samples have none.
func names(ctx context.Context, c *client.Client, m *loaderv1.Manifest, samples []uint64) (*loaderv1.SamplesResponse, error) {
	if len(samples) == 0 {
		return nil, nil
	}
	r, err := c.Loader.Samples(ctx, &loaderv1.SamplesRequest{Handle: m.GetHandle(), Indices: samples})
	if fault.Is(err, fault.Unsupported, fault.Invalid) {
		return nil, nil
	}
	return r, err
}

func pathText(r *loaderv1.SamplesResponse, i int) string {
	if i >= len(r.GetPaths()) {
		return ""
	}
	return strings.ToValidUTF8(string(r.GetPaths()[i]), "\uFFFD")
}

// firstSamples are n samples of the order from a position on, with the paths
// of files.
func firstSamples(ctx context.Context, c *client.Client, m *loaderv1.Manifest, o order.Order, start, n uint64) ([]sampleJSON, error) {
	n = min(n, o.Len()-start)
	index := make([]uint64, n)
	o.Fill(index, start)
	named, err := names(ctx, c, m, index)
	if err != nil {
		return nil, err
	}
	out := make([]sampleJSON, 0, n)
	for i, k := range index {
		s := sampleJSON{Position: start + uint64(i), Sample: k, Path: pathText(named, i)}
		if i < len(named.GetSizes()) {
			s.Size = named.GetSizes()[i]
		}
		out = append(out, s)
	}
	return out, nil
}

// reads lists the batches of the first steps.
func reads(ctx context.Context, c *client.Client, m *loaderv1.Manifest, o order.Order, p *order.Plan, show *sharing) ([]readJSON, error) {
	out := []readJSON{}
	var all []uint64
	for step := range min(show.steps, p.Steps()) {
		for rank := range p.Ranks {
			if show.rank >= 0 && rank != uint64(show.rank) {
				continue
			}
			b, ok := p.At(step, rank)
			if !ok {
				continue
			}
			if uint64(len(all))+b.Len() > maxSamples {
				return nil, fault.New(fault.TooBig, "loader.plan", "", "more than %d samples to show", maxSamples).Do("show fewer with --steps or --rank")
			}
			r := readJSON{Step: step, Rank: rank, Worker: p.Worker(step), From: b.From, To: b.To, Repeated: b.Again, Samples: make([]uint64, b.Len())}
			o.Fill(r.Samples[:b.To-b.From], b.From)
			for i := range b.Again { // they may go round more than once
				at := b.To - b.From + i
				o.Fill(r.Samples[at:at+1], (b.First+i)%o.Len())
			}
			all = append(all, r.Samples...)
			out = append(out, r)
		}
	}
	named, err := names(ctx, c, m, all)
	if err != nil || named == nil {
		return out, err
	}
	at := 0
	for i := range out {
		for range out[i].Samples {
			out[i].Paths = append(out[i].Paths, pathText(named, at))
			at++
		}
	}
	return out, nil
}

func (a *app) showPlan(out *planJSON, m *loaderv1.Manifest, o *bound, p *order.Plan) error {
	cols := make([]string, 0, len(out.Columns))
	for _, c := range m.GetColumns() {
		cols = append(cols, printable(c.GetName())+" "+typeText(c))
	}
	how := "found"
	if out.Built {
		how = "built"
	}
	pairs := []string{
		"dataset", out.Dataset + "@" + out.Snapshot, "manifest", fmt.Sprintf("%.16s (%s)", out.Manifest, how),
		"samples", formatCount(out.Samples), "bytes", fmt.Sprintf("%s, largest sample %s", formatSize(out.Bytes), formatSize(out.MaxSample)),
		"columns", strings.Join(cols, ", "), "order", orderText(&o.spec),
	}
	for _, x := range [][2]string{{"where", out.Where}, {"view", out.View}} {
		if x[1] != "" {
			pairs = slices.Insert(pairs, 2, x[0], printable(x[1]))
		}
	}
	if out.Start > 0 {
		pairs = append(pairs, "position", fmt.Sprintf("%s of %s, %s left", formatCount(out.Start), formatCount(out.Positions), formatCount(out.Positions-out.Start)))
	}
	pairs = append(pairs, "batches", batchesText(out, p))
	if len(out.Classes) > 0 {
		pairs = append(pairs, "classes", fmt.Sprintf("%d: %s", len(out.Classes), classText(out)))
	}
	if out.Skipped > 0 {
		pairs = append(pairs, "left out", formatCount(out.Skipped)+" symbolic links")
	}
	pairs = append(pairs, "token", out.Token)
	if err := fields(a.out, pairs...); err != nil {
		return err
	}
	if len(out.Reads) > 0 {
		if _, err := fmt.Fprintln(a.out); err != nil {
			return err
		}
		return a.table(readsTable(out))
	}
	if len(out.First) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(a.out); err != nil {
		return err
	}
	return a.table(firstTable(out))
}

func batchesText(out *planJSON, p *order.Plan) string {
	text := fmt.Sprintf("%s of %s", formatCount(out.Batches), formatCount(p.Batch))
	if p.Ranks > 1 || p.Workers > 1 {
		text = fmt.Sprintf("%s of %s x %s, %s each", formatCount(out.Batches), formatCount(p.Batch), counted(p.Ranks, "rank"), counted(p.Workers, "worker"))
	}
	if out.Repeated > 0 {
		text += fmt.Sprintf(", %s again at the end (--uneven pad)", counted(out.Repeated, "sample"))
	}
	if out.LeftOut > 0 {
		text += fmt.Sprintf(", %s left out", counted(out.LeftOut, "sample"))
	}
	return text
}

// counted is "1 rank", "2 ranks".
func counted(n uint64, what string) string {
	if n != 1 {
		what += "s"
	}
	return formatCount(n) + " " + what
}

func classText(out *planJSON) string {
	var parts []string
	for i, c := range out.Classes[:min(len(out.Classes), 10)] {
		text := printable(c)
		if i < len(out.Sizes) {
			text += " " + formatCount(out.Sizes[i])
		}
		parts = append(parts, text)
	}
	if len(out.Classes) > 10 {
		parts = append(parts, "...")
	}
	return strings.Join(parts, ", ")
}

func firstTable(out *planJSON) *table {
	t := &table{columns: []column{{head: "POSITION", right: true}, {head: "SAMPLE", right: true}, {head: "SIZE", right: true}, {head: "PATH", shrink: true}}}
	if out.First[0].Path == "" { // tensors
		t.columns = t.columns[:2]
	}
	for _, x := range out.First {
		if x.Path == "" {
			t.row(formatCount(x.Position), formatCount(x.Sample))
			continue
		}
		t.row(formatCount(x.Position), formatCount(x.Sample), formatSize(x.Size), printable(x.Path))
	}
	return t
}

// readsTable has a row a batch, with its first few samples.
func readsTable(out *planJSON) *table {
	t := &table{columns: []column{
		{head: "STEP", right: true}, {head: "RANK", right: true}, {head: "WORKER", right: true}, {head: "POSITIONS"}, {head: "SAMPLES"}, {head: "FIRST PATH", shrink: true},
	}}
	paths := false
	for i := range out.Reads {
		paths = paths || len(out.Reads[i].Paths) > 0
	}
	if !paths {
		t.columns = t.columns[:5]
	}
	for i := range out.Reads {
		r := &out.Reads[i]
		var positions []string
		switch {
		case r.To > r.From+1:
			positions = append(positions, fmt.Sprintf("%s to %s", formatCount(r.From), formatCount(r.To-1)))
		case r.To > r.From:
			positions = append(positions, formatCount(r.From))
		}
		if r.Repeated > 0 {
			positions = append(positions, formatCount(r.Repeated)+" again")
		}
		var few []string
		for _, s := range r.Samples[:min(len(r.Samples), 5)] {
			few = append(few, formatPlain(s))
		}
		if len(r.Samples) > 5 {
			few = append(few, "...")
		}
		row := []string{formatCount(r.Step), formatCount(r.Rank), formatCount(r.Worker), strings.Join(positions, ", "), strings.Join(few, " ")}
		if paths {
			row = append(row, printable(r.Paths[0]))
		}
		t.row(row...)
	}
	return t
}
