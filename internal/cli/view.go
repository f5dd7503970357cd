package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/fault"
	queryv1 "daos/proto/gen/daos/query/v1"
	viewv1 "daos/proto/gen/daos/view/v1"
)

// queryPatience is how long a query may run that is answered in one piece.
const queryPatience = time.Hour

// viewJSON is a view in --json.
type viewJSON struct {
	Dataset      string `json:"dataset"`
	Name         string `json:"name"`
	Revision     uint64 `json:"revision"`
	Snapshot     string `json:"snapshot"`
	Owns         bool   `json:"owns_snapshot"`
	SnapshotGone bool   `json:"snapshot_gone"`
	Epoch        uint64 `json:"epoch"`
	Path         string `json:"path"`
	Samples      uint64 `json:"samples"`
	Ordered      bool   `json:"ordered"`
	LeftOut      uint64 `json:"left_out"`
	Kind         string `json:"kind"`
	Query        string `json:"query"`
	User         string `json:"user"`
	Created      string `json:"created"`
	Refreshed    string `json:"refreshed"`
	RefreshedBy  string `json:"refreshed_by"`
	Digest       string `json:"digest"`
}

func viewOf(v *viewv1.View) viewJSON {
	return viewJSON{
		Dataset: v.GetDataset(), Name: v.GetName(), Revision: v.GetRevision(), Snapshot: v.GetSnapshot(), Owns: v.GetOwnsSnapshot(), SnapshotGone: v.GetSnapshotGone(),
		Epoch: v.GetEpoch(), Path: string(v.GetPath()), Samples: v.GetSamples(), Ordered: v.GetOrdered(), LeftOut: v.GetLeftOut(), Kind: v.GetKind(), Query: v.GetQuery(),
		User: v.GetUser(), Created: jsonTime(v.GetCreatedUnixNanos()), Refreshed: jsonTime(v.GetRefreshedUnixNanos()), RefreshedBy: v.GetRefreshedBy(), Digest: v.GetDigest(),
	}
}

func newView(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "view", Aliases: []string{"views"}, Short: "Views: results of queries, kept as ordered sets of samples",
		Long: "A view is an ordered set of samples of one dataset at one snapshot, under a name. It is made by a query with --save-view\n" +
			"and read by loaders: pydaos.torch.Dataset(\"p/photos\", view=\"large\"), daos loader plan p/photos --view large. It is kept in\n" +
			"the dataset, counts towards its quota and goes with it.",
	}
	cmd.AddCommand(viewList(a), viewShow(a), viewRefresh(a), viewRemove(a))
	for _, c := range cmd.Commands() {
		if c.Name() != "ls" {
			c.ValidArgsFunction = a.completeView
		}
	}
	return cmd
}

// completeView lists datasets, and behind one its views.
func (a *app) completeView(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	if len(args) == 0 {
		return a.complete(ctx, word, true, false)
	}
	c, err := a.connect(ctx)
	if err != nil || len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	r, err := c.View.ListViews(ctx, &viewv1.ListViewsRequest{Dataset: args[0]})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, v := range r.GetViews() {
		if strings.HasPrefix(v.GetName(), word) {
			out = append(out, v.GetName())
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func viewList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "ls POOL/DATASET", Aliases: []string{"list"}, Short: "List the views of a dataset", Args: cobra.ExactArgs(1),
		Example: "  daos view ls p/photos",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			r, err := c.View.ListViews(ctx, &viewv1.ListViewsRequest{Dataset: x.DatasetName()})
			if err != nil {
				return err
			}
			out := make([]viewJSON, 0, len(r.GetViews()))
			t := &table{
				columns: []column{{head: "VIEW", shrink: true}, {head: "SAMPLES", right: true}, {head: "SNAPSHOT", shrink: true}, {head: "REVISION", right: true}, {head: "CREATED"}, {head: "QUERY", shrink: true}},
				empty:   "no views; make one with `daos query find " + x.DatasetName() + " ... --save-view NAME`",
			}
			for _, v := range r.GetViews() {
				out = append(out, viewOf(v))
				snapshot := v.GetSnapshot()
				if v.GetSnapshotGone() {
					snapshot += " (gone)"
				}
				t.row(v.GetName(), formatCount(v.GetSamples()), snapshot, formatCount(v.GetRevision()), formatTime(v.GetCreatedUnixNanos()), printable(v.GetQuery()))
			}
			return a.print(out, func() error { return a.table(t) })
		}),
	}
}

func viewShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show POOL/DATASET NAME", Short: "Show what a view is of and where it came from", Args: cobra.ExactArgs(2),
		Example: "  daos view show p/photos large",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			r, err := c.View.GetView(ctx, &viewv1.GetViewRequest{Dataset: x.DatasetName(), Name: args[1]})
			if err != nil {
				return err
			}
			return a.print(viewOf(r.GetView()), func() error { return a.showView(r.GetView()) })
		}),
	}
}

// showView prints a view for people.
func (a *app) showView(v *viewv1.View) error {
	snapshot := v.GetDataset() + "@" + v.GetSnapshot()
	switch {
	case v.GetSnapshotGone():
		snapshot += " (gone: the samples can't be read)"
	case v.GetOwnsSnapshot():
		snapshot += " (made by the view)"
	}
	order := "that of the samples"
	if v.GetOrdered() {
		order = "that of the query"
	}
	pairs := []string{"view", v.GetName(), "snapshot", snapshot}
	if len(v.GetPath()) > 0 {
		pairs = append(pairs, "path", printable(string(v.GetPath())))
	}
	pairs = append(pairs, "samples", formatCount(v.GetSamples()))
	if v.GetLeftOut() > 0 {
		pairs = append(pairs, "left out", formatCount(v.GetLeftOut())+" rows that are no samples")
	}
	pairs = append(pairs, "order", order, v.GetKind(), printable(v.GetQuery()), "made", formatTime(v.GetCreatedUnixNanos())+" by "+v.GetUser())
	if v.GetRefreshedUnixNanos() != 0 {
		pairs = append(pairs, "refreshed", formatTime(v.GetRefreshedUnixNanos())+" by "+v.GetRefreshedBy())
	}
	return fields(a.out, append(pairs, "revision", formatCount(v.GetRevision()))...)
}

func viewRefresh(a *app) *cobra.Command {
	var snapshot string
	var names uint32
	cmd := &cobra.Command{
		Use: "refresh POOL/DATASET NAME", Short: "Run the query of a view again, and show what changed", Args: cobra.ExactArgs(2),
		Long: "Run the query of a view again, at the present state or at --snapshot, and show how many samples were added and removed,\n" +
			"told apart by their paths, keys or numbers. A pass over the earlier revision goes on; its resume tokens are of another\n" +
			"manifest. A snapshot that the view made for it ends a day after its last use.",
		Example: "  daos view refresh p/photos large\n  daos view refresh p/photos large --snapshot v2 --names 100",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			ctx, cancel := a.answered(ctx)
			defer cancel()
			r, err := c.View.RefreshView(ctx, &viewv1.RefreshViewRequest{Dataset: x.DatasetName(), Name: args[1], Snapshot: snapshot, Names: names})
			if err != nil {
				return err
			}
			out := struct {
				View     viewJSON `json:"view"`
				Compared bool     `json:"compared"`
				Added    uint64   `json:"added"`
				Removed  uint64   `json:"removed"`
				New      []string `json:"added_names"`
				Old      []string `json:"removed_names"`
			}{viewOf(r.GetView()), !r.GetNotCompared(), r.GetAdded(), r.GetRemoved(), []string{}, []string{}}
			for _, n := range r.GetAddedNames() {
				out.New = append(out.New, printable(string(n)))
			}
			for _, n := range r.GetRemovedNames() {
				out.Old = append(out.Old, printable(string(n)))
			}
			return a.print(out, func() error {
				v := r.GetView()
				a.say("view %s of %s is at revision %d: %s samples at %s", v.GetName(), v.GetDataset(), v.GetRevision(), formatCount(v.GetSamples()), v.GetSnapshot())
				if r.GetNotCompared() {
					a.say("what changed is not known: the earlier snapshot is gone")
					return nil
				}
				a.changes("+", out.Added, out.New, "added")
				a.changes("-", out.Removed, out.Old, "removed")
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&snapshot, "snapshot", "", "run it at this snapshot (default: at the present state, of which a snapshot is made)")
	cmd.Flags().Uint32Var(&names, "names", 20, "show so many names of each, at most 1000")
	return cmd
}

// changes prints a count, and names.
func (a *app) changes(sign string, n uint64, names []string, what string) {
	a.say("%s %s", formatCount(n), what)
	for _, s := range names {
		a.say("%s %s", sign, s)
	}
	if left := n - uint64(len(names)); left > 0 && len(names) > 0 {
		a.say("%s (%s more)", sign, formatCount(left))
	}
}

func viewRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rm POOL/DATASET NAME", Aliases: []string{"remove"}, Short: "Remove a view, and the snapshot that it made if no other view reads it", Args: cobra.ExactArgs(2),
		Example: "  daos view rm p/photos large",
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			x, err := a.parseDataset(args[0])
			if err != nil {
				return err
			}
			r, err := c.View.RemoveView(ctx, &viewv1.RemoveViewRequest{Dataset: x.DatasetName(), Name: args[1]})
			if err != nil {
				return err
			}
			out := struct {
				doneJSON
				Snapshot string `json:"snapshot"`
				KeptFor  string `json:"kept_for,omitempty"`
			}{doneJSON{"view", x.DatasetName() + " " + args[1], "removed"}, r.GetSnapshot(), r.GetKeptFor()}
			return a.print(out, func() error {
				switch {
				case r.GetSnapshot() != "":
					a.say("view %s of %s removed, with snapshot %s", args[1], x.DatasetName(), r.GetSnapshot())
				case r.GetKeptFor() != "":
					a.say("view %s of %s removed; its snapshot is kept for view %s", args[1], x.DatasetName(), r.GetKeptFor())
				default:
					a.say("view %s of %s removed", args[1], x.DatasetName())
				}
				return nil
			})
		}),
	}
}

// saving is the flags of a query whose result is kept as a view.
type saving struct {
	name    string
	replace bool
	of      string
}

// add adds the flags; those of a statement have one more.
func (s *saving) add(cmd *cobra.Command, statement bool) {
	fl := cmd.Flags()
	fl.StringVar(&s.name, "save-view", "", "keep the samples of the result under this name, for loaders; print no rows")
	fl.BoolVar(&s.replace, "replace", false, "with --save-view: in place of a view of this name")
	if statement {
		fl.StringVar(&s.of, "of", "", "with --save-view: the dataset that the samples are of, where the statement reads several")
	}
}

// save keeps the samples of a query, which is one of the two.
func (s *saving) save(ctx context.Context, a *app, c *client.Client, scan *queryv1.ScanRequest, sql *queryv1.SqlRequest) error {
	r := &viewv1.SaveViewRequest{Name: s.name, Replace: s.replace, Of: s.of}
	if r.Query = (&viewv1.SaveViewRequest_Scan{Scan: scan}); sql != nil {
		r.Query = &viewv1.SaveViewRequest_Sql{Sql: sql}
	}
	ctx, cancel := a.answered(ctx)
	defer cancel()
	got, err := c.View.SaveView(ctx, r)
	if err != nil {
		return err
	}
	v := got.GetView()
	return a.print(viewOf(v), func() error {
		a.say("view %s of %s: %s samples at snapshot %s", v.GetName(), v.GetDataset(), formatCount(v.GetSamples()), v.GetSnapshot())
		if n := v.GetLeftOut(); n > 0 {
			a.say("%s rows are no samples and were left out", formatCount(n))
		}
		return nil
	})
}

// check refuses what goes with --save-view only.
func (s *saving) check() error {
	if s.name == "" && (s.replace || s.of != "") {
		return fault.New(fault.Invalid, "cli.view", "", "--replace and --of go with --save-view").Do("give the view a name: --save-view NAME")
	}
	return nil
}
