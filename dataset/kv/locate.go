package kv

import (
	"context"

	"daos/engine/object"
)

// LocateRange calls fn with the places of the values of the default akey, in
// order, for the keys from first to last (both inclusive), as pieces in order of
// offset; holes are left out. It is for readers that keep locations. The key is
// valid during the call only, the pieces may be kept.
func (v *View) LocateRange(ctx context.Context, first, last []byte, fn func(key []byte, xs []object.Extent) error) error {
	end := append(append(make([]byte, 0, len(last)+1), last...), 0)
	var failed error
	o := object.ListOptions{From: first, To: end, Akey: akeyDefault, Records: true}
	err := v.d.st.List(ctx, v.at, v.d.values, o, func(it object.Item) bool {
		var xs []object.Extent
		if xs, failed = v.pieces(ctx, it.Dkey, it.Record); failed == nil {
			failed = fn(it.Dkey, xs)
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// pieces says where the value of a record lies.
func (v *View) pieces(ctx context.Context, key []byte, r object.Record) ([]object.Extent, error) {
	if r.Inline == nil || len(r.Inline) > 0 && r.Inline[0] == formPlain {
		if r.Length <= 1 {
			return nil, nil
		}
		return []object.Extent{{Length: r.Length - 1, Skip: 1, Record: r}}, nil
	}
	p, err := decodePlace(r.Inline, key)
	if err != nil {
		return nil, err
	}
	var out []object.Extent
	for at := uint64(0); at < p.size; at += chunkSize {
		xs, err := v.d.st.Extents(ctx, v.at, v.d.bulkID(p.number), chunkKey(at/chunkSize), akeyData, 0, min(chunkSize, p.size-at))
		if err != nil {
			return nil, err
		}
		for _, x := range xs {
			x.Offset += at
			out = append(out, x)
		}
	}
	return out, nil
}
