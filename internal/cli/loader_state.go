package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/fault"
	"daos/loader/order"
	"daos/loader/token"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
)

// stateJSON is a resume token explained, in --json.
type stateJSON struct {
	Manifest string    `json:"manifest"`
	Snapshot string    `json:"snapshot"`
	Order    orderJSON `json:"order"`
	Position uint64    `json:"position"`
	Bytes    int       `json:"token_bytes"`
	Exists   *bool     `json:"snapshot_exists,omitempty"`
	Expires  string    `json:"snapshot_expires,omitempty"`
	Others   int       `json:"other_datasets,omitempty"` // of a mixture
	// With an address to compare with.
	Matches *bool   `json:"manifest_matches,omitempty"`
	Samples *uint64 `json:"samples,omitempty"` // of a pass
	Left    *uint64 `json:"left,omitempty"`
}

func loaderState(a *app) *cobra.Command {
	var s selection
	var position uint64
	var offline bool
	cmd := &cobra.Command{
		Use: "state TOKEN|FILE|-|POOL/DATASET@SNAPSHOT[/PATH] [POOL/DATASET@SNAPSHOT[/PATH]]", Short: "Explain a resume token, or write one", Args: cobra.RangeArgs(1, 2),
		Long: `Explain a resume token, given as JSON, in a file or on standard input (-): what
is read, in which order, how far the run has come, and whether the snapshot is
still there. With an address behind it, and the selection of the run (--glob,
--columns, --label-dirname), also whether the token is of that, and how much of
the pass is left; a token of something else is an error.

Given an address alone, write the token of a position in a pass over it: a run
started from it begins there.`,
		Example: "  daos loader state run.token\n  daos loader state run.token p/photos@v1/train --label-dirname\n" +
			"  daos loader state p/photos@v1/train --seed 7 --pass 3 --position 6400 > run.token",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			text, isToken, err := a.tokenText(args[0])
			if err != nil {
				return err
			}
			if !isToken {
				if len(args) > 1 {
					return fault.New(fault.NotFound, "loader.state", args[0], "no such file").Do("give a token, a file that has one, or -")
				}
				return a.writeState(ctx, &s, args[0], position)
			}
			t, err := token.Parse(text)
			if err != nil {
				return err
			}
			out := stateJSON{Manifest: t.Manifest, Snapshot: t.Snapshot, Position: t.Position, Bytes: len(text)}
			spec := t.Spec()
			out.Order = orderOf(&spec)
			if !offline {
				if err := a.lookUp(ctx, &out); err != nil {
					return err
				}
			}
			var mismatch error
			if len(args) > 1 {
				if mismatch, err = a.compareState(ctx, &s, t, args[1], &out); err != nil {
					return err
				}
			} else if t.Order == order.Weighted {
				left := t.Params.Samples - min(t.Position, t.Params.Samples)
				out.Samples, out.Left = &t.Params.Samples, &left
			}
			if err := a.print(out, func() error { return a.showState(t, &out) }); err != nil {
				return err
			}
			return mismatch
		},
	}
	s.add(cmd)
	cmd.Flags().Uint64Var(&position, "position", 0, "samples consumed, of the token that is written")
	cmd.Flags().BoolVar(&offline, "offline", false, "ask no server whether the snapshot is still there")
	return cmd
}

// writeState prints the token of a position.
func (a *app) writeState(ctx context.Context, s *selection, arg string, position uint64) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	x, err := a.parse(arg)
	if err != nil {
		return err
	}
	if _, err := s.spec(); err != nil {
		return err
	}
	m, err := s.open(ctx, a, c, x)
	if err != nil {
		return err
	}
	o, err := s.bind(a, m)
	if err != nil {
		return err
	}
	if position > o.Len() {
		return fault.New(fault.Invalid, "loader.state", arg, "position %d, and a pass has %d samples", position, o.Len())
	}
	_, err = fmt.Fprintf(a.out, "%s\n", tokenOf(m, &o.spec, position).Encode())
	return err
}

// compareState compares a token with what an address and the flags select.
// mismatch says that it is of something else.
func (a *app) compareState(ctx context.Context, s *selection, t *token.Token, arg string, out *stateJSON) (mismatch, err error) {
	c, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	x, err := a.parse(arg)
	if err != nil {
		return nil, err
	}
	m, err := s.open(ctx, a, c, x)
	if err != nil {
		return nil, err
	}
	samples := m.GetSamples()
	if t.Order == order.Weighted {
		samples = t.Params.Samples
	}
	mismatch = t.Check(m.GetId(), m.GetSamples())
	ok := m.GetId() == t.Manifest
	out.Matches = &ok
	if mismatch == nil {
		left := samples - t.Position
		out.Samples, out.Left = &samples, &left
	}
	return mismatch, nil
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

// others is how a token's snapshot ends that names one dataset of several.
var others = regexp.MustCompile(`^(.*) \+(\d{1,6})$`)

// lookUp finds out whether the snapshot of a token is still there, and until
// when.
func (a *app) lookUp(ctx context.Context, out *stateJSON) error {
	name := out.Snapshot
	if m := others.FindStringSubmatch(name); m != nil {
		name = m[1]
		if _, err := fmt.Sscan(m[2], &out.Others); err != nil {
			return err
		}
	}
	x, err := address.ParseDataset(name)
	if err != nil || x.Snapshot == "" {
		return nil // of a dataset that is not of this service
	}
	a.subject = x
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	found, err := findSnapshot(ctx, c, x)
	if err != nil {
		return err
	}
	ok := found != nil
	out.Exists = &ok
	if ok {
		out.Expires = jsonTime(found.GetExpiresUnixNanos())
	}
	return nil
}

// findSnapshot is nil where pool, dataset or snapshot are gone.
func findSnapshot(ctx context.Context, c *client.Client, x address.Address) (*datasetv1.Snapshot, error) {
	r, err := c.Datasets.ListSnapshots(ctx, &datasetv1.ListSnapshotsRequest{Dataset: x.Live().DatasetName()})
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	for _, s := range r.GetSnapshots() {
		if s.GetName() == x.Snapshot {
			return s, err
		}
	}
	return nil, err
}

func (a *app) showState(t *token.Token, out *stateJSON) error {
	there := "not looked up"
	switch {
	case out.Exists == nil:
	case !*out.Exists:
		there = "gone: a run can't go on from this token"
	case out.Expires != "":
		there = "there; ends at " + out.Expires + " unless it is used"
	default:
		there = "there"
	}
	manifest := printable(t.Manifest)
	switch {
	case out.Matches == nil:
	case *out.Matches:
		manifest += " (that of the address)"
	default:
		manifest += " (not that of the address)"
	}
	position := fmt.Sprintf("%s samples consumed", formatCount(t.Position))
	if out.Samples != nil {
		position += fmt.Sprintf(" of %s, %s left", formatCount(*out.Samples), formatCount(*out.Left))
		if *out.Samples > 0 {
			position += fmt.Sprintf(" (%.1f %% done)", 100*float64(t.Position)/float64(*out.Samples))
		}
	}
	spec := t.Spec()
	pairs := []string{"snapshot", printable(t.Snapshot) + " (" + there + ")"}
	if out.Others > 0 {
		pairs = append(pairs, "mixture", fmt.Sprintf("of this and %d more datasets, or subsets of them", out.Others))
	}
	pairs = append(pairs, "manifest", manifest, "order", orderText(&spec), "position", position)
	if t.Order == order.Weighted {
		pairs = append(pairs, "needs", "the weights that it was made with: the token has only their digest")
	}
	return fields(a.out, append(pairs, "token", fmt.Sprintf("%d bytes; holds for any number of ranks and workers and any batch size", out.Bytes))...)
}
