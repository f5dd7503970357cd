package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/address"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// completeAddresses lets the shell complete the arguments of every verb that
// takes an address, by asking the server.
func (a *app) completeAddresses(cmd *cobra.Command) {
	if _, args, ok := strings.Cut(cmd.Use, " "); ok && strings.Contains(args, "POOL") && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
			defer cancel()
			return a.complete(ctx, word, strings.Contains(args, "POOL/DATASET"), strings.Contains(args, "/PATH"))
		}
	}
	for _, c := range cmd.Commands() {
		a.completeAddresses(c)
	}
}

// complete lists what word may go on as. Where there is no server, or it has
// nothing, the shell completes file names.
func (a *app) complete(ctx context.Context, word string, datasets, paths bool) ([]string, cobra.ShellCompDirective) {
	c, err := a.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var out []string
	pool, rest, inPool := strings.Cut(word, "/")
	dataset, path, inPath := strings.Cut(rest, "/")
	name, snap, inSnap := strings.Cut(dataset, "@")
	switch {
	case !inPool:
		r, err := c.Pools.ListPools(ctx, &poolv1.ListPoolsRequest{})
		if err != nil {
			break
		}
		for _, p := range r.GetPools() {
			if strings.HasPrefix(p.GetName(), pool) {
				if datasets {
					out = append(out, p.GetName()+"/")
				} else {
					out = append(out, p.GetName())
				}
			}
		}
	case inPath && paths:
		dir, base := "", path
		if i := strings.LastIndexByte(path, '/'); i >= 0 {
			dir, base = path[:i], path[i+1:]
		}
		x, err := address.Parse(pool + "/" + dataset + "/" + dir)
		if err != nil {
			break
		}
		r, err := c.Posix.ListDir(ctx, &posixv1.ListDirRequest{Dataset: x.DatasetName(), Path: []byte(x.Path), After: []byte(before(base)), Limit: 1000})
		if err != nil {
			break
		}
		for _, e := range r.GetEntries() {
			if n := string(e.GetName()); strings.HasPrefix(n, base) && n == printable(n) {
				if e.GetAttr().GetType() == posixv1.FileType_FILE_TYPE_DIRECTORY {
					n += "/"
				}
				out = append(out, strings.TrimSuffix(word, base)+n)
			}
		}
	case inSnap && !inPath:
		r, err := c.Datasets.ListSnapshots(ctx, &datasetv1.ListSnapshotsRequest{Dataset: pool + "/" + name})
		if err != nil {
			break
		}
		for _, s := range r.GetSnapshots() {
			if strings.HasPrefix(s.GetName(), snap) {
				out = append(out, pool+"/"+name+"@"+s.GetName())
			}
		}
	case !inPath:
		r, err := c.Datasets.ListDatasets(ctx, &datasetv1.ListDatasetsRequest{Pool: pool})
		if err != nil {
			break
		}
		for _, d := range r.GetDatasets() {
			if strings.HasPrefix(d.GetName(), name) {
				out = append(out, pool+"/"+d.GetName())
			}
		}
	}
	if len(out) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return out, cobra.ShellCompDirectiveNoSpace
}

// before is a name just below every name that begins with s, to list from.
func before(s string) string {
	if s == "" {
		return ""
	}
	last := s[len(s)-1]
	if last == 0 {
		return s[:len(s)-1]
	}
	return s[:len(s)-1] + string([]byte{last - 1, 0xff, 0xff})
}
