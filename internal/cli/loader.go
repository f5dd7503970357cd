package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	"daos/loader/order"
	"daos/loader/token"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	loaderv1 "daos/proto/gen/daos/loader/v1"
)

func newLoader(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "loader", Short: "The loader: what a pass reads, in which order, and where a run stands"}
	cmd.AddCommand(loaderPlan(a), loaderState(a))
	return cmd
}

// selection is what of a dataset is read.
type selection struct {
	glob    string
	columns []string
	label   bool
	order   string
	seed    uint64
	pass    uint64
}

func (s *selection) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.glob, "glob", "", "glob over the path, for files (default: all)")
	f.StringSliceVar(&s.columns, "columns", nil, "columns, for tensors (default: all)")
	f.BoolVar(&s.label, "label-dirname", false, "label every file by its first directory")
	f.StringVar(&s.order, "order", string(order.Shuffle), "shuffle or sequential")
	f.Uint64Var(&s.seed, "seed", 0, "seed of the order")
	f.Uint64Var(&s.pass, "pass", 0, "number of the pass")
}

func (s *selection) spec() order.Spec {
	return order.Spec{Kind: order.Kind(s.order), Seed: s.seed, Pass: s.pass}
}

// open builds or finds the manifest, with a meter.
func (s *selection) open(ctx context.Context, a *app, c *client.Client, x address.Address) (*loaderv1.Manifest, error) {
	if x.Snapshot == "" {
		return nil, fault.New(fault.Invalid, "loader.plan", x.String(), "a pass reads a snapshot").
			Do("make one with `daos snapshot create %s v1` and read %s@v1", x.DatasetName(), x.DatasetName())
	}
	st, err := c.Loader.OpenManifest(ctx, &loaderv1.OpenManifestRequest{
		Dataset: x.DatasetName(), Path: []byte(x.Path), Glob: s.glob, Columns: s.columns, LabelDirname: s.label,
	})
	if err != nil {
		return nil, err
	}
	entries := make(chan uint64, 1)
	n := uint64(0)
	end := a.watch(func(elapsed time.Duration) string {
		select {
		case n = <-entries:
		default:
		}
		return fmt.Sprintf("manifest  %s entries  %s entries/s", formatCount(n), formatCount(int64(perSecond(int64(n), elapsed))))
	})
	defer end()
	for {
		m, err := st.Recv()
		if isEOF(err) {
			return nil, fault.New(fault.Internal, "loader.plan", x.String(), "the server sent no manifest")
		}
		if err != nil {
			return nil, err
		}
		if m.GetManifest() != nil {
			return m.GetManifest(), nil
		}
		select {
		case entries <- m.GetEntries():
		default:
		}
	}
}

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
	Classes   []string     `json:"classes"`
	Skipped   uint64       `json:"symlinks_skipped"`
	Built     bool         `json:"built"`
	Batches   uint64       `json:"batches"`
	First     []sampleJSON `json:"first"`
	Token     string       `json:"token"`
}

type sampleJSON struct {
	Position uint64 `json:"position"`
	Sample   uint64 `json:"sample"`
	Path     string `json:"path,omitempty"`
	Size     uint64 `json:"size,omitempty"`
}

func loaderPlan(a *app) *cobra.Command {
	var s selection
	var batch, first, start uint64
	var drop bool
	cmd := &cobra.Command{
		Use: "plan POOL/DATASET@SNAPSHOT[/PATH]", Short: "Show what a pass reads: samples, columns, batches, first samples", Args: cobra.ExactArgs(1),
		Long: `Build the manifest of a snapshot, or find it, and show what a pass over it reads:
samples and bytes, columns, classes, batches, the first samples in the order of
the pass, and the resume token of its beginning.`,
		Example: "  daos loader plan p/photos@v1/train --label-dirname --batch-size 256\n  daos loader plan p/train@v1 --seed 7 --pass 3 --first 10 --json",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			m, err := s.open(ctx, a, c, x)
			if err != nil {
				return err
			}
			o, err := s.spec().New(m.GetSamples(), nil)
			if err != nil {
				return err
			}
			if batch == 0 {
				return fault.New(fault.Invalid, "loader.plan", args[0], "--batch-size 0").Do("use at least 1")
			}
			out := planOf(m, &s, batch, drop)
			if start > m.GetSamples() {
				return fault.New(fault.Invalid, "loader.plan", args[0], "--start %d, and there are %d samples", start, m.GetSamples())
			}
			if out.First, err = firstSamples(ctx, c, m, o, start, min(first, 65536)); err != nil {
				return err
			}
			return a.print(out, func() error { return a.showPlan(&out, m, &s, batch) })
		}),
	}
	s.add(cmd)
	f := cmd.Flags()
	f.Uint64Var(&batch, "batch-size", 32, "samples a batch, for the number of batches")
	f.BoolVar(&drop, "drop-last", false, "don't count a last batch that is not full")
	f.Uint64Var(&first, "first", 5, "show so many samples of the order")
	f.Uint64Var(&start, "start", 0, "position of the first one shown")
	return cmd
}

func planOf(m *loaderv1.Manifest, s *selection, batch uint64, drop bool) planJSON {
	out := planJSON{
		Manifest: m.GetId(), Dataset: m.GetDataset(), Snapshot: m.GetSnapshot(), Epoch: m.GetEpoch(), Samples: m.GetSamples(), Bytes: m.GetBytes(),
		MaxSample: m.GetMaxSampleBytes(), Columns: []columnJSON{}, Classes: append([]string{}, m.GetClasses()...), Skipped: m.GetSymlinksSkipped(), Built: m.GetBuilt(),
		Batches: m.GetSamples() / batch, Token: string(tokenOf(m, s, 0).Encode()),
	}
	if !drop && m.GetSamples()%batch > 0 {
		out.Batches++
	}
	for _, c := range m.GetColumns() {
		out.Columns = append(out.Columns, columnJSON{
			Name: c.GetName(), Layout: strings.ToLower(strings.TrimPrefix(c.GetLayout().String(), "LAYOUT_")), DType: c.GetDtype(),
			Shape: append([]uint64{}, c.GetShape()...), Nullable: c.GetNullable(),
		})
	}
	return out
}

func tokenOf(m *loaderv1.Manifest, s *selection, position uint64) *token.Token {
	kind := order.Kind(s.order)
	return &token.Token{
		Manifest: m.GetId(), Snapshot: m.GetDataset() + "@" + m.GetSnapshot(), Order: kind, OrderV: kind.Version(),
		Seed: s.seed, Pass: s.pass, Position: position,
	}
}

// firstSamples are n samples of the order from a position on, with the paths
// of files.
func firstSamples(ctx context.Context, c *client.Client, m *loaderv1.Manifest, o order.Order, start, n uint64) ([]sampleJSON, error) {
	n = min(n, o.Len()-start)
	out := make([]sampleJSON, 0, n)
	if n == 0 {
		return out, nil
	}
	index := make([]uint64, n)
	o.Fill(index, start)
	names, err := c.Loader.Samples(ctx, &loaderv1.SamplesRequest{Handle: m.GetHandle(), Indices: index})
	if err != nil && !fault.Is(err, fault.Unsupported, fault.Invalid) { // tensors have no paths
		return nil, err
	}
	for i, k := range index {
		s := sampleJSON{Position: start + uint64(i), Sample: k}
		if i < len(names.GetPaths()) {
			s.Path = strings.ToValidUTF8(string(names.GetPaths()[i]), "\uFFFD")
		}
		if i < len(names.GetSizes()) {
			s.Size = names.GetSizes()[i]
		}
		out = append(out, s)
	}
	return out, nil
}

func (a *app) showPlan(out *planJSON, m *loaderv1.Manifest, s *selection, batch uint64) error {
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
		"columns", strings.Join(cols, ", "), "batches", fmt.Sprintf("%s of %s", formatCount(out.Batches), formatCount(batch)),
		"order", fmt.Sprintf("%s, seed %d, pass %d", s.order, s.seed, s.pass),
	}
	if len(out.Classes) > 0 {
		text := strings.Join(out.Classes[:min(len(out.Classes), 10)], ", ")
		if len(out.Classes) > 10 {
			text += ", ..."
		}
		pairs = append(pairs, "classes", fmt.Sprintf("%d: %s", len(out.Classes), printable(text)))
	}
	if out.Skipped > 0 {
		pairs = append(pairs, "left out", formatCount(out.Skipped)+" symbolic links")
	}
	pairs = append(pairs, "token", out.Token)
	if err := fields(a.out, pairs...); err != nil || len(out.First) == 0 {
		return err
	}
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
	if _, err := fmt.Fprintln(a.out); err != nil {
		return err
	}
	return a.table(t)
}

// stateJSON is a resume token explained, in --json.
type stateJSON struct {
	Manifest string `json:"manifest"`
	Snapshot string `json:"snapshot"`
	Order    string `json:"order"`
	OrderV   int    `json:"order_v"`
	Seed     uint64 `json:"seed"`
	Pass     uint64 `json:"pass"`
	Position uint64 `json:"position"`
	Bytes    int    `json:"token_bytes"`
	Exists   *bool  `json:"snapshot_exists,omitempty"`
}

func loaderState(a *app) *cobra.Command {
	var s selection
	var position uint64
	var offline bool
	cmd := &cobra.Command{
		Use: "state TOKEN|FILE|-|POOL/DATASET@SNAPSHOT[/PATH]", Short: "Explain a resume token, or write one", Args: cobra.ExactArgs(1),
		Long: `Explain a resume token, given as JSON, in a file or on standard input (-): what
is read, in which order, how far the run has come, and whether the snapshot is
still there. Given an address instead, write the token of a position in a pass
over it: a run started from it begins there.`,
		Example: "  daos loader state run.token\n  daos loader state p/photos@v1/train --seed 7 --pass 3 --position 6400 > run.token",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			text, isToken, err := a.tokenText(args[0])
			if err != nil {
				return err
			}
			if isToken {
				t, err := token.Parse(text)
				if err != nil {
					return err
				}
				return a.showState(ctx, t, len(text), offline)
			}
			c, err := a.connect(ctx)
			if err != nil {
				return err
			}
			x, err := a.parse(args[0])
			if err != nil {
				return err
			}
			m, err := s.open(ctx, a, c, x)
			if err != nil {
				return err
			}
			if _, err := s.spec().New(m.GetSamples(), nil); err != nil {
				return err
			}
			if position > m.GetSamples() {
				return fault.New(fault.Invalid, "loader.state", args[0], "position %d, and a pass has %d samples", position, m.GetSamples())
			}
			_, err = fmt.Fprintf(a.out, "%s\n", tokenOf(m, &s, position).Encode())
			return err
		},
	}
	s.add(cmd)
	cmd.Flags().Uint64Var(&position, "position", 0, "samples consumed, of the token that is written")
	cmd.Flags().BoolVar(&offline, "offline", false, "ask no server whether the snapshot is still there")
	return cmd
}

// tokenText finds out what an argument of state is.
func (a *app) tokenText(arg string) (text []byte, isToken bool, err error) {
	if strings.HasPrefix(strings.TrimSpace(arg), "{") {
		return []byte(strings.TrimSpace(arg)), true, nil
	}
	var r io.Reader = a.in
	if arg != "-" {
		f, err := os.Open(arg)
		if err != nil {
			return nil, false, nil // an address, then
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, token.MaxSize+1))
	return []byte(strings.TrimSpace(string(b))), true, err
}

func (a *app) showState(ctx context.Context, t *token.Token, size int, offline bool) error {
	out := stateJSON{t.Manifest, t.Snapshot, string(t.Order), t.OrderV, t.Seed, t.Pass, t.Position, size, nil}
	there := "not looked up"
	if !offline {
		c, err := a.connect(ctx)
		if err != nil {
			return err
		}
		x, err := a.parseDataset(t.Snapshot)
		if err != nil {
			return err
		}
		_, err = c.Datasets.GetDataset(ctx, &datasetv1.GetDatasetRequest{Dataset: x.DatasetName()})
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		ok := err == nil
		out.Exists = &ok
		there = "there"
		if !ok {
			there = "gone: a run can't go on from this token"
		}
	}
	return a.print(out, func() error {
		return fields(a.out, "snapshot", printable(t.Snapshot)+" ("+there+")", "manifest", printable(t.Manifest),
			"order", fmt.Sprintf("%s (version %d), seed %d", t.Order, t.OrderV, t.Seed), "pass", formatCount(t.Pass),
			"position", fmt.Sprintf("%s samples consumed", formatCount(t.Position)), "token", fmt.Sprintf("%d bytes", size))
	})
}
