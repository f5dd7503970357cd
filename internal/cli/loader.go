package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	"daos/internal/near"
	"daos/loader/order"
	"daos/loader/token"
	loaderv1 "daos/proto/gen/daos/loader/v1"
)

func newLoader(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "loader", Short: "The loader: what a pass reads, in which order, and where a run stands"}
	cmd.AddCommand(loaderPlan(a), loaderSimulate(a), loaderState(a))
	return cmd
}

// selection is what of a dataset is read, and in which order.
type selection struct {
	glob    string
	columns []string
	label   bool
	view    string
	where   string

	kind          string
	block, window uint64
	weights       []string
	draws         uint64
	seed          uint64
	pass          uint64
	token         string
	given         func(flag string) bool
}

func (s *selection) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.glob, "glob", "", "glob over the whole path, for files: **/*.png (default: all)")
	f.StringSliceVar(&s.columns, "columns", nil, "columns, for tensors (default: all)")
	f.BoolVar(&s.label, "label-dirname", false, "label every file by its first directory")
	f.StringVar(&s.view, "view", "", "the samples of this view, at its snapshot")
	f.StringVarP(&s.where, "where", "w", "", "only samples that meet this condition")
	f.StringVar(&s.kind, "order", string(order.Shuffle), strings.Join(kindNames(), ", "))
	f.Uint64Var(&s.block, "block", 0, "samples of a block, for --order block (default 4096) and window (default: no blocks)")
	f.Uint64Var(&s.window, "window", 0, "samples of the window, for --order window (default 65536)")
	f.StringSliceVar(&s.weights, "weights", nil, "CLASS=WEIGHT,..., for --order weighted")
	f.Uint64Var(&s.draws, "draws", 0, "draws of a pass, for --order weighted (default: the number of samples)")
	f.Uint64Var(&s.seed, "seed", 0, "seed of the order")
	f.Uint64Var(&s.pass, "pass", 0, "number of the pass")
	s.given = f.Changed
	if err := cmd.RegisterFlagCompletionFunc("order", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return kindNames(), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic(err) // the flag is there
	}
}

// addToken adds --token, from which the order and the position can come.
func (s *selection) addToken(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.token, "token", "", "resume token whose order and position are taken: JSON, a file, or - for standard input")
}

func kindNames() []string {
	names := make([]string, 0, len(order.Kinds()))
	for _, k := range order.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// spec is the order that the flags ask for, without what depends on the samples.
func (s *selection) spec() (order.Spec, error) {
	out := order.Spec{Kind: order.Kind(s.kind), Seed: s.seed, Pass: s.pass}
	if out.Kind.Version() == 0 {
		f := fault.New(fault.Invalid, "loader.order", "", "unknown order %q", s.kind)
		if near := near.Name(s.kind, kindNames()); near != "" {
			return out, f.Do("did you mean %s?", near)
		}
		return out, f.Do("use one of %s", strings.Join(kindNames(), ", "))
	}
	for _, p := range []struct {
		flag  string
		kinds []order.Kind
	}{
		{"block", []order.Kind{order.Block, order.Window}}, {"window", []order.Kind{order.Window}},
		{"weights", []order.Kind{order.Weighted}}, {"draws", []order.Kind{order.Weighted}},
	} {
		fits := false
		for _, k := range p.kinds {
			fits = fits || k == out.Kind
		}
		if s.given(p.flag) && !fits {
			return out, fault.New(fault.Invalid, "loader.order", "", "order %s takes no --%s", out.Kind, p.flag).Do("--%s is for --order %s", p.flag, p.kinds[0])
		}
	}
	switch out.Kind {
	case order.Block:
		out.Params.Block = 4096
	case order.Window:
		out.Params.Window = 65536
	}
	if s.given("block") {
		out.Params.Block = s.block
	}
	if s.given("window") {
		out.Params.Window = s.window
	}
	if out.Kind.ByGroups() {
		return out, nil // its parameters come with the manifest
	}
	return out, out.Check()
}

// bound is an order over a manifest.
type bound struct {
	order.Order
	spec     order.Spec
	position uint64 // of the token, or 0
}

// bind makes the order over a manifest: that of the flags, or of the token.
func (s *selection) bind(a *app, m *loaderv1.Manifest) (*bound, error) {
	b := &bound{}
	if s.token != "" {
		for _, flag := range []string{"order", "block", "window", "draws", "seed", "pass"} {
			if s.given(flag) {
				return nil, fault.New(fault.Invalid, "loader.order", "", "--token and --%s were both given", flag).Do("leave out --%s: the token says it", flag)
			}
		}
		text, isToken, err := a.tokenText(s.token)
		if err != nil {
			return nil, err
		}
		if !isToken {
			return nil, fault.New(fault.NotFound, "loader.token", s.token, "no such file").Do("give the token's JSON, a file that has it, or -")
		}
		t, err := token.Parse(text)
		if err != nil {
			return nil, err
		}
		if err := t.Check(m.GetId(), m.GetSamples()); err != nil {
			return nil, err
		}
		b.spec, b.position = t.Spec(), t.Position
	} else {
		var err error
		if b.spec, err = s.spec(); err != nil {
			return nil, err
		}
	}
	g, err := s.groups(b.spec.Kind, m)
	if err != nil {
		return nil, err
	}
	if g != nil {
		s.complete(&b.spec, g, m.GetSamples())
	}
	b.Order, err = b.spec.New(m.GetSamples(), g)
	return b, err
}

// complete fills in the parameters that follow from the groups.
func (s *selection) complete(spec *order.Spec, g *order.Groups, samples uint64) {
	if s.token != "" {
		return
	}
	if spec.Kind == order.Stratified {
		spec.Params.Strata = g.Digest(spec.Kind)
		return
	}
	if spec.Params.Samples = samples; s.given("draws") {
		spec.Params.Samples = s.draws
	}
	spec.Params.Weights = g.Digest(spec.Kind)
}

// groups are the classes of a manifest, with the weights of --weights.
func (s *selection) groups(kind order.Kind, m *loaderv1.Manifest) (*order.Groups, error) {
	if !kind.ByGroups() || len(m.GetClasses()) == 0 {
		return nil, nil // New says that there are no classes
	}
	if m.GetClassesScattered() {
		return nil, fault.New(fault.Invalid, "loader.order", "", "view %s has an order of its own, in which classes are no stretches of samples", m.GetView()).
			Do("use another order, or save the view without one")
	}
	g := &order.Groups{Sizes: m.GetClassSizes()}
	if kind == order.Stratified {
		return g, nil
	}
	if len(s.weights) == 0 {
		return nil, fault.New(fault.Invalid, "loader.order", "", "order weighted needs --weights").Do("give --weights %s=1,...", m.GetClasses()[0])
	}
	label := make(map[string]int, len(m.GetClasses()))
	for i, c := range m.GetClasses() {
		label[c] = i
	}
	weights, have := make([]float64, len(label)), make([]bool, len(label))
	for _, w := range s.weights {
		eq := strings.LastIndexByte(w, '=') // a class may have one in its name
		name := w[:max(eq, 0)]
		v, err := strconv.ParseFloat(w[eq+1:], 64)
		if eq < 0 || err != nil {
			return nil, fault.New(fault.Invalid, "loader.order", "", "--weights %s: not CLASS=WEIGHT", w)
		}
		i, ok := label[name]
		if !ok {
			f := fault.New(fault.NotFound, "loader.order", "", "no class %q", name)
			if near := near.Name(name, m.GetClasses()); near != "" {
				return nil, f.Do("did you mean %s?", near)
			}
			return nil, f.Do("there are %d classes; `daos loader plan --label-dirname` lists them", len(label))
		}
		weights[i], have[i] = v, true
	}
	for i, ok := range have {
		if !ok {
			return nil, fault.New(fault.Invalid, "loader.order", "", "class %q has no weight", m.GetClasses()[i]).Do("give each class one, 0 to leave it out")
		}
	}
	var err error
	g.Weights, err = order.Quantise(weights, 32)
	return g, err
}

// open builds or finds the manifest, with a meter.
func (s *selection) open(ctx context.Context, a *app, c *client.Client, x address.Address) (*loaderv1.Manifest, error) {
	if x.Snapshot == "" && s.view == "" {
		return nil, fault.New(fault.Invalid, "loader.plan", x.String(), "a pass reads a snapshot").
			Do("make one with `daos snapshot create %s v1` and read %s@v1", x.DatasetName(), x.DatasetName())
	}
	st, err := c.Loader.OpenManifest(ctx, &loaderv1.OpenManifestRequest{
		Dataset: x.DatasetName(), Path: []byte(x.Path), Glob: s.glob, Columns: s.columns, LabelDirname: s.label,
		View: s.view, Where: s.where,
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

// tokenOf is the token of a position in an order over a manifest.
func tokenOf(m *loaderv1.Manifest, s *order.Spec, position uint64) *token.Token {
	return &token.Token{
		Manifest: m.GetId(), Snapshot: m.GetDataset() + "@" + m.GetSnapshot(), Order: s.Kind, OrderV: s.Kind.Version(),
		Seed: s.Seed, Pass: s.Pass, Position: position, Params: s.Params,
	}
}

// orderJSON is an order in --json.
type orderJSON struct {
	Kind    string `json:"kind"`
	Version int    `json:"version"`
	Seed    uint64 `json:"seed"`
	Pass    uint64 `json:"pass"`
	Block   uint64 `json:"block,omitempty"`
	Window  uint64 `json:"window,omitempty"`
	Samples uint64 `json:"samples,omitempty"`
	Weights string `json:"weights,omitempty"`
	Strata  string `json:"strata,omitempty"`
}

func orderOf(s *order.Spec) orderJSON {
	p := s.Params
	return orderJSON{string(s.Kind), s.Kind.Version(), s.Seed, s.Pass, p.Block, p.Window, p.Samples, p.Weights, p.Strata}
}

// orderText is an order for people.
func orderText(s *order.Spec) string {
	p := s.Params
	text := string(s.Kind)
	switch s.Kind {
	case order.Block:
		text += fmt.Sprintf(", blocks of %s", formatCount(p.Block))
	case order.Window:
		text += fmt.Sprintf(", window of %s", formatCount(p.Window))
		if p.Block > 0 {
			text += fmt.Sprintf(" over blocks of %s", formatCount(p.Block))
		}
	case order.Weighted:
		text += fmt.Sprintf(", %s draws by weights %s", formatCount(p.Samples), p.Weights)
	case order.Stratified:
		text += ", classes " + p.Strata
	}
	return fmt.Sprintf("%s, seed %d, pass %d", text, s.Seed, s.Pass)
}
