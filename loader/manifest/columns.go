package manifest

import (
	"context"
	"encoding/binary"

	"daos/dataset/tensor"
	"daos/engine/object"
)

// Table is what a manifest needs of a tensor dataset; *tensor.Table is one.
type Table interface {
	Describe(ctx context.Context, at object.Epoch) (tensor.Info, error)
	// Chunks walks the chunks of a column in order.
	Chunks(ctx context.Context, at object.Epoch, column string, fn func(tensor.ChunkPlace) error) error
	// Largest is the bytes of the largest sample of a column.
	Largest(ctx context.Context, at object.Epoch, column string) (uint64, error)
}

// buildTable writes the logical file of a table: it is all in the description.
func buildTable(ctx context.Context, dir, path string, info Info, src Table, progress func(uint64)) error {
	d, err := src.Describe(ctx, info.Epoch)
	if err != nil {
		return err
	}
	if info.Columns, err = tensor.Pick(info.Dataset, d.Columns, info.Selection.Columns); err != nil {
		return err
	}
	info.Samples = d.Length
	for i := range info.Columns {
		c := &info.Columns[i]
		largest, err := src.Largest(ctx, info.Epoch, c.Name)
		if err != nil {
			return err
		}
		info.MaxSampleBytes += largest
		if c.Layout == tensor.Fixed {
			info.Bytes += d.Length * largest
			continue
		}
		err = src.Chunks(ctx, info.Epoch, c.Name, func(p tensor.ChunkPlace) error {
			info.Bytes += p.Bytes
			return nil
		})
		if err != nil {
			return err
		}
	}
	if progress != nil {
		progress(info.Samples)
	}
	return newWriter(dir).finish(path, kindLogical, info)
}

// locateTable writes the location file of a table.
func (m *Manifest) locateTable(ctx context.Context, generation uint64, path string) error {
	l, err := newLocationWriter(m.dir, 0)
	if err != nil {
		return err
	}
	defer l.close()
	chunks, err := l.w.section("chunks")
	if err != nil {
		return err
	}
	meta := locationMeta{Generation: generation, Columns: make([]uint64, len(m.info.Columns))}
	for c := range m.info.Columns {
		col := &m.info.Columns[c]
		d := &deriver{}
		err := m.table.Chunks(ctx, m.info.Epoch, col.Name, func(p tensor.ChunkPlace) error {
			meta.Columns[c]++
			b := make([]byte, 0, chunkSize)
			for _, v := range [...]uint64{p.First, p.Count, p.Bytes} {
				b = binary.LittleEndian.AppendUint64(b, v)
			}
			d.reset()
			base := l.nPieces
			for _, a := range p.Arrays() {
				var xs []object.Extent
				if a.Length > 0 {
					var err error
					if xs, err = m.st.Extents(ctx, m.info.Epoch, p.Object, p.Dkey, a.Akey, 0, a.Length); err != nil {
						return err
					}
				}
				first, count, err := d.array(xs)
				if err != nil {
					return err
				}
				b = binary.LittleEndian.AppendUint64(b, base+first)
				b = binary.LittleEndian.AppendUint64(b, count)
			}
			if _, err := l.add(d, nil); err != nil {
				return err
			}
			_, err := chunks.Write(b)
			return err
		})
		if err != nil {
			return err
		}
	}
	return l.finish(path, meta)
}

// Chunks is the chunk table of one column of a view.
type Chunks struct {
	v     *View
	col   *tensor.Column
	table []byte // chunkSize bytes a chunk, mapped
	n     int
}

// chunk is one row of the table, but for its arrays.
type chunk struct{ first, count, bytes uint64 }

// run is some pieces.
type run struct{ first, count uint64 }

func (c *Chunks) at(i int) chunk {
	b := c.table[i*chunkSize:]
	_ = b[chunkSize-1]
	return chunk{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])}
}

// array is one array of chunk i: 0 values, 1 offsets, 2 validity.
func (c *Chunks) array(i, which int) run {
	b := c.table[i*chunkSize+24+16*which:]
	_ = b[15]
	return run{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

// find is the number of the chunk that holds a sample. Chunks are of similar
// size, so a guess is mostly right or near.
func (c *Chunks) find(i, samples uint64) int {
	lo, hi := 0, c.n
	if g := int(i / max(samples/uint64(c.n), 1)); g < c.n {
		first := binary.LittleEndian.Uint64(c.table[g*chunkSize:])
		if i >= first {
			if i-first < binary.LittleEndian.Uint64(c.table[g*chunkSize+8:]) {
				return g
			}
			lo = g + 1
		} else {
			hi = g
		}
	}
	for lo < hi { // the first chunk that begins after i
		mid := (lo + hi) / 2
		if binary.LittleEndian.Uint64(c.table[mid*chunkSize:]) <= i {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// openColumns checks the chunk tables: they cover every column without a gap.
func (v *View) openColumns() error {
	p := v.f.part("chunks")
	all, err := p.at(0, p.n)
	if err != nil {
		return err
	}
	if len(v.meta.Columns) != len(v.m.info.Columns) {
		return damaged(v.f.path, "%d columns instead of %d", len(v.meta.Columns), len(v.m.info.Columns))
	}
	for i, n := range v.meta.Columns {
		if n > uint64(len(all)/chunkSize) {
			return damaged(v.f.path, "a chunk table that is too short")
		}
		c := Chunks{v: v, col: &v.m.info.Columns[i], table: all[:n*chunkSize], n: int(n)}
		all = all[n*chunkSize:]
		next := uint64(0)
		for k := 0; k < c.n; k++ {
			ch := c.at(k)
			if ch.first != next || ch.count == 0 || ch.count > v.m.info.Samples-next {
				return damaged(v.f.path, "a chunk table with a gap")
			}
			next += ch.count
		}
		if next != v.m.info.Samples {
			return damaged(v.f.path, "a chunk table that ends early")
		}
		v.columns = append(v.columns, c)
	}
	v.laid = make([]elementSums, len(v.columns))
	return nil
}
