package tensor

import (
	"context"

	"daos/engine/object"
)

// ChunkPlace says where one chunk of a column lies, for readers that keep
// locations (the loader's manifest).
type ChunkPlace struct {
	First, Count uint64
	Bytes        uint64 // of the values
	Object       object.ID
	Dkey         []byte
	// Values, if set, is the akey of the values, and there is nothing else: the
	// chunk is none of a table's, but looks as one of fixed shape.
	Values []byte

	column *Column
}

// ChunkArray is one byte array of a chunk and its length, 0 where the column
// has none of this kind.
type ChunkArray struct {
	Akey   []byte
	Length uint64
}

// Arrays are the values, the ends of the rows (u64 each) and the validity (a
// byte each) of a chunk.
func (p *ChunkPlace) Arrays() [3]ChunkArray {
	if p.Values != nil {
		return [3]ChunkArray{{p.Values, p.Bytes}, {akeyOffsets, 0}, {akeyValidity, 0}}
	}
	a := [3]ChunkArray{{akeyData, p.Bytes}, {akeyOffsets, 0}, {akeyValidity, 0}}
	if p.column.Layout != Fixed {
		a[1].Length = 8 * p.Count
	}
	if p.column.Nullable {
		a[2].Length = p.Count
	}
	return a
}

// Chunks calls fn for each chunk of a column at an epoch, in order.
func (t *Table) Chunks(ctx context.Context, at object.Epoch, column string, fn func(ChunkPlace) error) error {
	s, err := t.load(ctx, at)
	if err != nil {
		return err
	}
	i, err := t.column(s, column)
	if err != nil {
		return err
	}
	var places []ChunkPlace
	err = t.chunks(ctx, s, i, func(c chunk) error {
		places = append(places, ChunkPlace{First: c.first, Count: c.count, Bytes: c.bytes, Object: columnOID(i), Dkey: numberKey(c.number), column: &s.cols[i]})
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range places { // fn may use the store
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

// Largest is the bytes of the largest sample of a column at an epoch; for
// columns of variable length all offsets are read.
func (t *Table) Largest(ctx context.Context, at object.Epoch, column string) (uint64, error) {
	s, err := t.load(ctx, at)
	if err != nil {
		return 0, err
	}
	i, err := t.column(s, column)
	if err != nil {
		return 0, err
	}
	c := &s.cols[i]
	if c.Layout == Fixed {
		return uint64(c.ItemSize()), nil
	}
	var chunks []chunk
	if err := t.chunks(ctx, s, i, func(ch chunk) error { chunks = append(chunks, ch); return nil }); err != nil {
		return 0, err
	}
	largest := uint64(0)
	for k := range chunks {
		ch := &chunks[k]
		if ch.bytes <= largest {
			continue // none of it can be larger
		}
		ends, err := t.readEnds(ctx, s.at, i, c, ch, 0, ch.count)
		if err != nil {
			return 0, err
		}
		for j := 1; j < len(ends); j++ {
			largest = max(largest, ends[j]-ends[j-1])
		}
	}
	return largest, nil
}

// Pick resolves names among columns, in the order named; no names: all of them.
// The resource is for errors.
func Pick(resource string, cols []Column, names []string) ([]Column, error) {
	_, out, err := (&Table{name: resource}).pick(&state{cols: cols}, names)
	return out, err
}
