package kv

import (
	"bytes"
	"context"
	"slices"

	"daos/engine/object"
)

const (
	// wholePairs is how many pairs are not worth cutting.
	wholePairs = 8192
	// keptKeys bounds the keys that are kept of the sample.
	keptKeys = 8192
	// cutAnchors is how finely a place is looked for that has values. They are
	// spread over 64 groups by the hash of their keys.
	cutAnchors = 256
)

// lastCuts are the cuts that were asked for last: the pieces of a range are read by
// several calls, each of which has to know them.
type lastCuts struct {
	at     object.Epoch
	lo, hi []byte
	n      int
	keys   [][]byte
}

// Cuts are keys, ascending, that cut a range into at most n pieces of about as many
// pairs: a piece ends before the key that the next one begins with. None for a
// range of few pairs. They are a function of the range, n and what the view sees.
//
// The keys of one redundancy group are a sample of all, since it is their hash
// that decides: those are read, about one in 64. Not their values.
func (v *View) Cuts(ctx context.Context, r Range, n int) ([][]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	st, ok := v.d.st.(object.Scanner)
	if !ok || n <= 1 || v.d.values.Class().Groups() == 1 {
		return nil, nil
	}
	o := object.ListOptions{Prefix: r.Prefix, From: r.Start, To: r.Stop}
	lo, hi := o.Bounds()
	if last := v.d.cuts.Load(); last != nil && last.at == v.at && last.n == n && bytes.Equal(last.lo, lo) && bytes.Equal(last.hi, hi) && (last.hi == nil) == (hi == nil) {
		return last.keys, nil
	}
	keys, err := v.cut(ctx, st, lo, hi, n)
	if err != nil {
		return nil, err
	}
	v.d.cuts.Store(&lastCuts{v.at, bytes.Clone(lo), bytes.Clone(hi), n, keys})
	return keys, nil
}

func (v *View) cut(ctx context.Context, st object.Scanner, lo, hi []byte, n int) ([][]byte, error) {
	pairs := 0
	err := v.Scan(ctx, Range{Start: lo, Stop: hi, KeysOnly: true}, func(*Pair) bool { pairs++; return pairs < wholePairs })
	if err != nil || pairs < wholePairs {
		return nil, err
	}
	s := sample{every: 1}
	for _, a := range st.Anchors(cutAnchors) {
		some := false
		_, err := st.Scan(ctx, v.at, a, func(row object.Row) bool {
			if row.OID != v.d.values {
				return true
			}
			some = true
			if bytes.Compare(row.Dkey, lo) >= 0 && (hi == nil || bytes.Compare(row.Dkey, hi) < 0) {
				s.add(row.Dkey)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		if some {
			break
		}
	}
	return s.cuts(n), nil
}

// sample keeps every so-manieth key that it is shown.
type sample struct {
	seen, every int
	keys        [][]byte
}

func (s *sample) add(key []byte) {
	if s.seen++; s.seen%s.every != 0 {
		return
	}
	if s.keys = append(s.keys, bytes.Clone(key)); len(s.keys) < keptKeys {
		return
	}
	half := s.keys[:0]
	for i := 1; i < len(s.keys); i += 2 {
		half = append(half, s.keys[i])
	}
	clear(s.keys[len(half):])
	s.keys, s.every = half, 2*s.every
}

// cuts are n-1 quantiles of the keys, or fewer.
func (s *sample) cuts(n int) [][]byte {
	slices.SortFunc(s.keys, bytes.Compare) // several groups may lie in one place
	var out [][]byte
	for i := 1; i < n; i++ {
		k := i * len(s.keys) / n
		if k == 0 || k == len(s.keys) {
			continue
		}
		if key := s.keys[k]; len(out) == 0 || !bytes.Equal(key, out[len(out)-1]) {
			out = append(out, key)
		}
	}
	return out
}

// Pieces is a range cut at keys, in the order of the range.
func (r Range) Pieces(cuts [][]byte) []Range {
	out := make([]Range, 0, len(cuts)+1)
	for i := range len(cuts) + 1 {
		p := r
		if i > 0 {
			p.Start = cuts[i-1]
		}
		if i < len(cuts) {
			p.Stop = cuts[i]
		}
		out = append(out, p)
	}
	if r.Reverse {
		slices.Reverse(out)
	}
	return out
}
