package kv

import (
	"context"

	"daos/engine/object"
	"daos/internal/fault"
)

// Locate says where the bytes of a value lie, as pieces in order of offset;
// holes are left out. It is for readers that keep locations.
func (v *View) Locate(ctx context.Context, key, akey []byte) ([]object.Extent, error) {
	l, ok := v.d.st.(object.Locator)
	if !ok {
		return nil, fault.New(fault.Unsupported, "kv.locate", show(key), "the store does not tell where its values lie")
	}
	if err := CheckName(key, akey); err != nil {
		return nil, err
	}
	r, _, err := l.Locate(ctx, v.at, v.d.values, key, valueAkey(akey))
	if fault.Is(err, fault.NotFound) {
		return nil, notFound(key)
	}
	if err != nil {
		return nil, err
	}
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
