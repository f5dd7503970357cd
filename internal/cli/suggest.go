package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"daos/internal/address"
	"daos/internal/fault"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// suggest adds "did you mean" to an error about a name that doesn't exist. It
// asks the server for the names beside it, and gives up silently: the error
// itself is the answer.
func (a *app) suggest(ctx context.Context, err error) error {
	var f *fault.Error
	if a.client == nil || !errors.As(err, &f) || f.Kind != fault.NotFound || a.subject.Pool == "" {
		return err
	}
	if f.Resource != a.subject.Pool && !strings.HasPrefix(f.Resource, a.subject.Pool+"/") {
		return err // about a local file
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	near := a.nearestAddress(ctx, a.subject)
	if near == "" || strings.HasPrefix(f.Resolution, "add -p") {
		return err
	}
	return f.Do("did you mean %s?", near)
}

// nearestAddress finds the first part of x that doesn't exist and returns x
// with the nearest name that does in its place, or "".
func (a *app) nearestAddress(ctx context.Context, x address.Address) string {
	pools, err := a.client.Pools.ListPools(ctx, &poolv1.ListPoolsRequest{})
	if err != nil {
		return ""
	}
	var names []string
	for _, p := range pools.GetPools() {
		names = append(names, p.GetName())
	}
	if !contains(names, x.Pool) {
		x.Pool = nearest(x.Pool, names)
		return named(x, x.Pool)
	}
	if x.Dataset == "" {
		return ""
	}
	sets, err := a.client.Datasets.ListDatasets(ctx, &datasetv1.ListDatasetsRequest{Pool: x.Pool})
	if err != nil {
		return ""
	}
	names = nil
	for _, d := range sets.GetDatasets() {
		names = append(names, d.GetName())
	}
	if !contains(names, x.Dataset) {
		x.Dataset = nearest(x.Dataset, names)
		return named(x, x.Dataset)
	}
	if x.Snapshot != "" {
		snaps, err := a.client.Datasets.ListSnapshots(ctx, &datasetv1.ListSnapshotsRequest{Dataset: x.Live().DatasetName()})
		if err != nil {
			return ""
		}
		names = nil
		for _, s := range snaps.GetSnapshots() {
			names = append(names, s.GetName())
		}
		if !contains(names, x.Snapshot) {
			x.Snapshot = nearest(x.Snapshot, names)
			return named(x, x.Snapshot)
		}
	}
	return a.nearestPath(ctx, x)
}

func (a *app) nearestPath(ctx context.Context, x address.Address) string {
	parts := strings.Split(x.Path, "/")
	for i, part := range parts {
		dir := strings.Join(parts[:i], "/")
		page, err := a.client.Posix.ListDir(ctx, &posixv1.ListDirRequest{Dataset: x.DatasetName(), Path: []byte(dir), Limit: 10000})
		if err != nil {
			return ""
		}
		var names []string
		for _, e := range page.GetEntries() {
			names = append(names, string(e.GetName()))
		}
		if contains(names, part) {
			continue
		}
		near := nearest(part, names)
		if near == "" || page.GetMore() && !contains(names, near) {
			return ""
		}
		parts[i] = near
		return x.WithPath(strings.Join(parts[:i+1], "/")).String()
	}
	return ""
}

func named(x address.Address, found string) string {
	switch {
	case found == "":
		return ""
	case x.Dataset == "":
		return x.Pool
	}
	return x.String()
}

func contains(names []string, s string) bool {
	for _, n := range names {
		if n == s {
			return true
		}
	}
	return false
}

// nearest is the name closest to s, if one is close: at most a third of the
// longer one's letters differ, or s is its beginning.
func nearest(s string, names []string) string {
	best, bestDist := "", 1<<30
	for _, n := range names {
		d := editDistance(strings.ToLower(s), strings.ToLower(n))
		if len(s) >= 2 && strings.HasPrefix(strings.ToLower(n), strings.ToLower(s)) {
			d = min(d, 1)
		}
		d *= 2 // room for a tie-break: names that begin alike are likelier
		if len(s) > 0 && len(n) > 0 && s[0] != n[0] {
			d++
		}
		if d <= 2*max(1, max(len(s), len(n))/3)+1 && d < bestDist {
			best, bestDist = n, d
		}
	}
	return best
}

// editDistance is that of Levenshtein, a swap of neighbours counting once.
func editDistance(a, b string) int {
	if len(a) > 256 || len(b) > 256 {
		return 1 << 20
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}
