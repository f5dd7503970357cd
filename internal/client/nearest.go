package client

import (
	"context"
	"slices"
	"strings"

	"daos/internal/address"
	"daos/internal/near"
	arrayv1 "daos/proto/gen/daos/array/v1"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
)

// Nearest finds the first part of an address that doesn't exist and returns it
// with the nearest name that does in its place; "" where none is near, or the
// server can't be asked.
func (c *Client) Nearest(ctx context.Context, x address.Address) string {
	pools, err := c.Pools.ListPools(ctx, &poolv1.ListPoolsRequest{})
	if err != nil {
		return ""
	}
	var names []string
	for _, p := range pools.GetPools() {
		names = append(names, p.GetName())
	}
	if !slices.Contains(names, x.Pool) {
		x.Pool = near.Name(x.Pool, names)
		return named(x, x.Pool)
	}
	if x.Dataset == "" {
		return ""
	}
	sets, err := c.Datasets.ListDatasets(ctx, &datasetv1.ListDatasetsRequest{Pool: x.Pool})
	if err != nil {
		return ""
	}
	names = nil
	for _, d := range sets.GetDatasets() {
		names = append(names, d.GetName())
	}
	if !slices.Contains(names, x.Dataset) {
		x.Dataset = near.Name(x.Dataset, names)
		return named(x, x.Dataset)
	}
	if x.Snapshot != "" {
		snaps, err := c.Datasets.ListSnapshots(ctx, &datasetv1.ListSnapshotsRequest{Dataset: x.Live().DatasetName()})
		if err != nil {
			return ""
		}
		names = nil
		for _, s := range snaps.GetSnapshots() {
			names = append(names, s.GetName())
		}
		if !slices.Contains(names, x.Snapshot) {
			x.Snapshot = near.Name(x.Snapshot, names)
			return named(x, x.Snapshot)
		}
	}
	return c.nearestPath(ctx, x)
}

func (c *Client) nearestPath(ctx context.Context, x address.Address) string {
	parts := strings.Split(x.Path, "/")
	for i, part := range parts {
		names, err := c.namesIn(ctx, x.DatasetName(), strings.Join(parts[:i], "/"))
		if err != nil {
			return ""
		}
		if slices.Contains(names, part) {
			continue
		}
		found := near.Name(part, names)
		if found == "" {
			return ""
		}
		parts[i] = found
		return x.WithPath(strings.Join(parts[:i+1], "/")).String()
	}
	return ""
}

// namesIn are the names in a directory of a posix dataset, or in a group of an
// array dataset; not all of very many.
func (c *Client) namesIn(ctx context.Context, dataset, dir string) ([]string, error) {
	var names []string
	page, err := c.Posix.ListDir(ctx, &posixv1.ListDirRequest{Dataset: dataset, Path: []byte(dir), Limit: 10000})
	if err == nil {
		for _, e := range page.GetEntries() {
			names = append(names, string(e.GetName()))
		}
		return names, nil
	}
	group, err := c.Array.List(ctx, &arrayv1.ListRequest{Dataset: dataset, Path: dir})
	for _, n := range group.GetNodes() {
		names = append(names, n.GetPath()[strings.LastIndexByte(n.GetPath(), '/')+1:])
	}
	return names, err
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
