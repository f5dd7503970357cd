package tensor

import (
	"context"
	"encoding/binary"
	"io"
	"slices"

	"daos/engine/object"
	"daos/internal/fault"
)

// Selection says which samples of which columns to read.
type Selection struct {
	Columns []string // in this order; empty: all
	// ByIndex: the samples of Indices, in this order, repeats allowed. Else
	// those from Start to Stop (exclusive; past the end: to the end) by Step
	// (0: 1).
	ByIndex           bool
	Indices           []uint64
	Start, Stop, Step uint64
}

const (
	readBytes = 8 << 20 // of one Rows, unless one sample is larger
	readRows  = 1 << 16 // of one Rows
	// readGap: rows of one chunk are read in one piece if that is at most
	// four times what is asked for, or below this.
	readGap = 64 << 10
)

// Reader hands out the samples of one Read in pieces. It is a Source.
type Reader struct {
	t     *Table
	s     *state
	idx   []int
	cols  []Column
	sel   Selection
	count uint64 // samples in all
	next  uint64
	last  []chunk // of each column, the chunk met last
}

// Read starts reading at an epoch (0: the newest); all pieces are of that one
// epoch. fault.Invalid names the first index that is out of range.
func (t *Table) Read(ctx context.Context, at object.Epoch, sel Selection) (*Reader, error) {
	s, err := t.load(ctx, at)
	if err != nil {
		return nil, err
	}
	idx, cols, err := t.pick(s, sel.Columns)
	if err != nil {
		return nil, err
	}
	r := &Reader{t: t, s: s, idx: idx, cols: cols, sel: sel, last: make([]chunk, len(cols))}
	if sel.ByIndex {
		for k, i := range sel.Indices {
			if i >= s.head.length {
				return nil, fault.New(fault.Invalid, "tensor.read", t.name, "index %d (number %d of the list) is out of range, the length is %d", i, k, s.head.length)
			}
		}
		r.count = uint64(len(sel.Indices))
		return r, nil
	}
	r.sel.Step = max(sel.Step, 1)
	if stop := min(sel.Stop, s.head.length); sel.Start < stop {
		r.count = (stop-sel.Start-1)/r.sel.Step + 1
	}
	return r, nil
}

// Columns are the columns that Next gives, in order.
func (r *Reader) Columns() []Column { return r.cols }

// Epoch is the epoch that is read.
func (r *Reader) Epoch() object.Epoch { return r.s.at }

// Length is the length of the table at that epoch.
func (r *Reader) Length() uint64 { return r.s.head.length }

// Count is the number of samples that are read in all.
func (r *Reader) Count() uint64 { return r.count }

// Next returns the next samples, io.EOF after the last. The caller owns them.
func (r *Reader) Next(ctx context.Context) (*Rows, error) {
	if r.next >= r.count {
		return nil, io.EOF
	}
	n := r.piece()
	want := make([]uint64, n)
	for k := range want {
		if r.sel.ByIndex {
			want[k] = r.sel.Indices[r.next+uint64(k)]
		} else {
			want[k] = r.sel.Start + (r.next+uint64(k))*r.sel.Step
		}
	}
	// Rows of variable length: find out how many fit before reading any.
	places := make([][]place, len(r.cols))
	budget := make([]uint64, n)
	for c := range r.cols {
		var err error
		if places[c], err = r.locate(ctx, c, want); err != nil {
			return nil, err
		}
		for k := range want {
			budget[k] += places[c][k].to - places[c][k].from
		}
	}
	var sum uint64
	for k, b := range budget {
		if sum += b; k > 0 && sum > 4*readBytes {
			n = k
			break
		}
	}
	out := &Rows{N: n, Columns: make([]Data, len(r.cols))}
	for c := range r.cols {
		if err := r.gather(ctx, c, places[c][:n], &out.Columns[c]); err != nil {
			return nil, err
		}
	}
	r.next += uint64(n)
	return out, nil
}

// piece is how many samples the next Rows has at most.
func (r *Reader) piece() int {
	size := uint64(0)
	for i := range r.cols {
		if r.cols[i].Layout == Fixed {
			size += uint64(r.cols[i].ItemSize())
		} else {
			size += 16
		}
	}
	return int(min(r.count-r.next, max(readBytes/max(size, 1), 1), readRows))
}

// place is where one row lies: its chunk, and the bytes [from, to) of the
// chunk's values.
type place struct {
	number   uint64
	row      uint64 // in the chunk
	from, to uint64
	dst      int // row of the result
}

// locate finds the places of rows, in the order wanted.
func (r *Reader) locate(ctx context.Context, c int, want []uint64) ([]place, error) {
	cd := &r.cols[c]
	ps := make([]place, len(want))
	order := sorted(want)
	size := uint64(cd.ItemSize())
	for a := 0; a < len(order); {
		i := want[order[a]]
		ch := &r.last[c]
		if ch.count == 0 || i < ch.first || i >= ch.end() {
			found, err := r.t.chunkAt(ctx, r.s, r.idx[c], i)
			if err != nil {
				return nil, err
			}
			*ch = found
		}
		b := a
		for b < len(order) && want[order[b]] < ch.end() {
			k := order[b]
			row := want[k] - ch.first
			ps[k] = place{number: ch.number, row: row, from: row * size, to: (row + 1) * size, dst: k}
			b++
		}
		if cd.Layout != Fixed {
			if err := r.offsets(ctx, c, ch, want, order[a:b], ps); err != nil {
				return nil, err
			}
		}
		a = b
	}
	return ps, nil
}

// sorted is the order of want by value; the identity where it rises already.
func sorted(want []uint64) []int {
	order := make([]int, len(want))
	for i := range order {
		order[i] = i
	}
	if !slices.IsSorted(want) {
		slices.SortFunc(order, func(a, b int) int {
			switch {
			case want[a] < want[b]:
				return -1
			case want[a] > want[b]:
				return 1
			}
			return a - b
		})
	}
	return order
}

// offsets fills in the byte ranges of rows of one chunk, given in rising order.
func (r *Reader) offsets(ctx context.Context, c int, ch *chunk, want []uint64, order []int, ps []place) error {
	for a := 0; a < len(order); {
		first := want[order[a]] - ch.first
		b, last := a+1, first
		for b < len(order) {
			row := want[order[b]] - ch.first
			if 8*(row-last) > readGap {
				break
			}
			last = row
			b++
		}
		ends, err := r.t.readEnds(ctx, r.s.at, r.idx[c], &r.cols[c], ch, first, last+1)
		if err != nil {
			return err
		}
		for ; a < b; a++ {
			p := &ps[order[a]]
			p.from, p.to = ends[p.row-first], ends[p.row-first+1]
		}
	}
	return nil
}

// readEnds returns the byte offsets that bound rows [from, to) of a chunk:
// to-from+1 of them.
func (t *Table) readEnds(ctx context.Context, at object.Epoch, col int, cd *Column, ch *chunk, from, to uint64) ([]uint64, error) {
	lo := from
	if lo > 0 {
		lo--
	}
	buf := make([]byte, 8*(to-lo))
	if err := t.st.ReadArray(ctx, at, columnOID(col), numberKey(ch.number), akeyOffsets, 8*lo, buf); err != nil {
		return nil, fault.Wrap(err, "tensor.read", t.name)
	}
	ends := make([]uint64, 0, to-from+1)
	if from == 0 {
		ends = append(ends, 0)
	}
	for ; len(buf) > 0; buf = buf[8:] {
		ends = append(ends, binary.LittleEndian.Uint64(buf))
	}
	size := uint64(cd.ItemSize())
	for i, e := range ends {
		if e > ch.bytes || i > 0 && (e < ends[i-1] || (e-ends[i-1])%size != 0 || e-ends[i-1] > MaxSampleBytes) {
			return nil, corrupt("column "+cd.Name, "the offsets of a chunk are not valid")
		}
	}
	return ends, nil
}

// readRows reads rows [from, to) of one chunk.
func (t *Table) readRows(ctx context.Context, at object.Epoch, col int, cd *Column, ch *chunk, from, to int) (*Data, error) {
	d := &Data{}
	lo, hi := uint64(from*cd.ItemSize()), uint64(to*cd.ItemSize())
	if cd.Layout != Fixed {
		ends, err := t.readEnds(ctx, at, col, cd, ch, uint64(from), uint64(to))
		if err != nil {
			return nil, err
		}
		lo, hi = ends[0], ends[len(ends)-1]
		for _, e := range ends {
			d.Offsets = append(d.Offsets, e-lo)
		}
	}
	d.Values = make([]byte, hi-lo)
	key := numberKey(ch.number)
	if err := t.st.ReadArray(ctx, at, columnOID(col), key, akeyData, lo, d.Values); err != nil {
		return nil, fault.Wrap(err, "tensor.read", t.name)
	}
	if cd.Nullable {
		d.Valid = make([]byte, to-from)
		if err := t.st.ReadArray(ctx, at, columnOID(col), key, akeyValidity, uint64(from), d.Valid); err != nil {
			return nil, fault.Wrap(err, "tensor.read", t.name)
		}
	}
	return d, nil
}

// gather reads the values and validity of places into d.
func (r *Reader) gather(ctx context.Context, c int, ps []place, d *Data) error {
	cd := &r.cols[c]
	offs := make([]uint64, len(ps)+1)
	for i, p := range ps {
		offs[i+1] = offs[i] + p.to - p.from
	}
	if cd.Layout != Fixed {
		d.Offsets = offs
	}
	d.Values = make([]byte, offs[len(ps)])
	ordered := slices.Clone(ps)
	slices.SortStableFunc(ordered, func(a, b place) int {
		switch {
		case a.number != b.number:
			if a.number < b.number {
				return -1
			}
			return 1
		case a.row < b.row:
			return -1
		case a.row > b.row:
			return 1
		}
		return 0
	})
	err := r.spans(ctx, c, akeyData, ordered, func(p *place) (uint64, uint64, []byte) {
		return p.from, p.to, d.Values[offs[p.dst]:offs[p.dst+1]]
	})
	if err == nil && cd.Nullable {
		d.Valid = make([]byte, len(ps))
		err = r.spans(ctx, c, akeyValidity, ordered, func(p *place) (uint64, uint64, []byte) {
			return p.row, p.row + 1, d.Valid[p.dst : p.dst+1]
		})
		for _, v := range d.Valid {
			if v > 1 {
				return corrupt("column "+cd.Name, "the validity of a chunk is not valid")
			}
		}
	}
	return fault.Wrap(err, "tensor.read", r.t.name)
}

// spans reads one array for places in the order of their position: neighbours
// together where that does not read much more than is asked for, into place
// where they are also neighbours in the result.
func (r *Reader) spans(ctx context.Context, c int, akey []byte, ps []place, at func(*place) (from, to uint64, dst []byte)) error {
	oid := columnOID(r.idx[c])
	var scratch []byte
	for a := 0; a < len(ps); {
		lo, hi, dst := at(&ps[a])
		need, straight := hi-lo, true
		b := a + 1
		for ; b < len(ps) && ps[b].number == ps[a].number; b++ {
			from, to, _ := at(&ps[b])
			if span := to - lo; span > readBytes || span > readGap && span > 4*(need+to-from) {
				break
			}
			straight = straight && from == hi && ps[b].dst == ps[b-1].dst+1
			need += to - from
			hi = to
		}
		key := numberKey(ps[a].number)
		if hi > lo {
			if straight {
				dst = dst[:hi-lo] // consecutive rows of the result
			} else {
				if uint64(cap(scratch)) < hi-lo {
					scratch = make([]byte, hi-lo)
				}
				dst = scratch[:hi-lo]
			}
			if err := r.t.st.ReadArray(ctx, r.s.at, oid, key, akey, lo, dst); err != nil {
				return err
			}
			if !straight {
				for k := a; k < b; k++ {
					from, to, out := at(&ps[k])
					copy(out, dst[from-lo:to-lo])
				}
			}
		}
		a = b
	}
	return nil
}
