package batch

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"

	"daos/dataset/tensor"
	"daos/engine/object"
	"daos/internal/fault"
	"daos/loader/manifest"
)

// Limits of a batch.
const (
	MaxCount = 65536   // samples
	MaxBytes = 1 << 30 // of the payload
	// CopyBelow: pieces shorter than this are copied, others are referred to. A
	// copy costs more than a vector of writev well below a page: the bytes come
	// from memory that no cache has.
	CopyBelow = 2 << 10
	// arenaSize is the size of the pooled buffers that pieces are copied into.
	arenaSize = 1 << 20
)

// Batch is a batch whose bytes have been found and verified. It belongs to one
// goroutine, until Release.
type Batch struct {
	view *manifest.View
	out  sink
	lay  Meta
	meta []byte
	head []byte // offsets and validity of all columns
	// planned is what the payload will have, gaps apart, as far as it is
	// known: nothing is copied before it is known to fit.
	planned uint64

	wanted []uint64 // of a list: the numbers in its base
	sizes  []uint64
	spans  []manifest.Span
}

var batches = sync.Pool{New: func() any { return &Batch{} }}

// arena is one pooled buffer.
type arena [arenaSize]byte

var arenas = sync.Pool{New: func() any { return new(arena) }}

// Plan finds and verifies the samples of a batch. The indices may be changed
// after it has returned. fault.Invalid names the first index out of range,
// fault.Corrupt the file and segment whose bytes are wrong, fault.TooBig says
// that the payload would exceed MaxBytes.
func Plan(ctx context.Context, m *manifest.Manifest, indices []uint64) (*Batch, error) {
	if len(indices) == 0 || len(indices) > MaxCount {
		return nil, fault.New(fault.Invalid, "loader.batch", m.Info().Dataset, "%d samples in a batch", len(indices)).Do("ask for 1 to %d", MaxCount)
	}
	for {
		v, err := m.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		b := batches.Get().(*Batch)
		b.view = v
		if err = v.Guard(func() error { return b.plan(m, indices) }); err == nil {
			return b, nil
		}
		again := m.Doubt(ctx, v, err)
		b.Release()
		if !again {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func (b *Batch) plan(m *manifest.Manifest, indices []uint64) error {
	if m.Picked() { // what follows goes by the numbers of the base
		b.wanted = slices.Grow(b.wanted[:0], len(indices))[:len(indices)]
		if err := m.Resolve(indices, b.wanted); err != nil {
			return err
		}
		indices = b.wanted
	}
	if err := b.view.Check(indices); err != nil {
		return err
	}
	info := m.Info()
	n := len(indices)
	b.lay.Count = uint32(n)
	b.lay.Columns = b.lay.Columns[:0]
	fixed := uint64(0)
	for i := range info.Columns {
		c := &info.Columns[i]
		b.lay.Columns = append(b.lay.Columns, Column{Layout: c.Layout, Nulls: c.Nullable, ItemSize: uint32(c.ItemSize())})
		if c.Layout == tensor.Fixed {
			if c.ItemSize() > MaxBytes { // of files that all have as many bytes
				return tooBig(&info, uint64(c.ItemSize()))
			}
			fixed += uint64(c.ItemSize()) * uint64(n) // no overflow: 4096 columns, 2^30 bytes, 2^16 samples
		}
	}
	b.sizes = slices.Grow(b.sizes[:0], n)[:n]
	values := b.lay.place()
	if values+fixed > MaxBytes {
		return tooBig(&info, values+fixed)
	}
	b.head = slices.Grow(b.head[:0], int(values))[:values]
	clear(b.head)
	b.out.begin(values)
	b.planned = values + fixed
	if info.Tensor {
		if err := b.columns(&info, indices); err != nil {
			return err
		}
	} else if err := b.files(&info, indices); err != nil {
		return err
	}
	b.out.flush()
	b.meta = b.lay.Append(b.meta[:0])
	return nil
}

func tooBig(info *manifest.Info, n uint64) error {
	return fault.New(fault.TooBig, "loader.batch", info.Dataset+"@"+info.Snapshot, "a batch of %d bytes, at most %d are allowed", n, MaxBytes).
		Do("ask for fewer samples")
}

// files lays out column 0, the bytes of the files, and perhaps 1, the labels.
func (b *Batch) files(info *manifest.Info, indices []uint64) error {
	c := &b.lay.Columns[0]
	if c.Layout != tensor.Fixed {
		if err := b.view.Sizes(indices, b.sizes); err != nil {
			return err
		}
		if err := b.ends(info, c); err != nil {
			return err
		}
	}
	c.Data = b.out.align()
	if err := b.view.Files(indices, &b.out); err != nil {
		return err
	}
	if err := b.filled(c); err != nil {
		return err
	}
	if len(b.lay.Columns) > 1 {
		l := &b.lay.Columns[1]
		l.Data = b.out.align()
		if err := b.view.Labels(indices, &b.out); err != nil {
			return err
		}
		return b.filled(l)
	}
	return nil
}

// columns lays out the columns of a table.
func (b *Batch) columns(info *manifest.Info, indices []uint64) error {
	n := len(indices)
	b.spans = slices.Grow(b.spans[:0], n*len(b.lay.Columns))[:n*len(b.lay.Columns)]
	for i := range b.lay.Columns {
		c, spans := &b.lay.Columns[i], b.spans[i*n:(i+1)*n]
		if err := b.view.Spans(i, indices, spans); err != nil {
			return err
		}
		if c.Layout != tensor.Fixed {
			for k := range spans {
				b.sizes[k] = spans[k].Len()
			}
			if err := b.ends(info, c); err != nil {
				return err
			}
		}
		if c.Nulls {
			if err := b.view.Validity(i, spans, b.head[c.Validity:c.Validity+uint64(n)]); err != nil {
				return err
			}
		}
	}
	for i := range b.lay.Columns {
		c := &b.lay.Columns[i]
		c.Data = b.out.align()
		if err := b.view.Values(i, b.spans[i*n:(i+1)*n], &b.out); err != nil {
			return err
		}
		if err := b.filled(c); err != nil {
			return err
		}
	}
	return nil
}

// ends writes the offsets of b.sizes and notes the length of the values.
func (b *Batch) ends(info *manifest.Info, c *Column) error {
	sum := uint64(0)
	at := b.head[c.Offsets:]
	for k, s := range b.sizes {
		if sum += s; s > MaxBytes || sum > MaxBytes {
			return tooBig(info, sum)
		}
		binary.LittleEndian.PutUint64(at[8*(k+1):], sum)
	}
	c.DataLen = sum
	if b.planned += sum; b.planned > MaxBytes {
		return tooBig(info, b.planned)
	}
	return nil
}

// filled checks that the values of c are as long as they were said to be.
func (b *Batch) filled(c *Column) error {
	got := b.out.total - c.Data
	if c.Layout == tensor.Fixed {
		c.DataLen = uint64(b.lay.Count) * uint64(c.ItemSize)
	}
	if got != c.DataLen {
		return fault.New(fault.Internal, "loader.batch", "batch", "%d bytes of values instead of %d", got, c.DataLen)
	}
	return nil
}

// Meta is the BatchMeta, valid until Release.
func (b *Batch) Meta() []byte { return b.meta }

// Size is the length of the payload.
func (b *Batch) Size() uint64 { return b.out.total }

// Parts appends to dst the slices that one behind the other are the payload,
// valid until Release.
func (b *Batch) Parts(dst [][]byte) ([][]byte, error) {
	if len(b.head) > 0 {
		dst = append(dst, b.head)
	}
	return append(dst, b.out.parts...), nil
}

// Regions appends the payload to out as ranges of the files that it lies in, and
// pieces of memory; false where the mapped bytes lie in no file. What is in
// memory is valid until Release.
func (b *Batch) Regions(out *object.Regions) bool {
	out.Add(b.head)
	for i, p := range b.out.parts {
		r := b.out.refs[i]
		if r.mapped == nil {
			out.Add(p)
			continue
		}
		if m, ok := r.mapped.(object.RegionMapping); !ok || !m.AddTo(out, r.off, len(p)) {
			return false
		}
	}
	return true
}

// Fill copies the payload into dst, which has Size bytes.
func (b *Batch) Fill(dst []byte) error {
	if uint64(len(dst)) != b.Size() {
		return fault.New(fault.Invalid, "loader.batch", "batch", "a buffer of %d bytes for %d", len(dst), b.Size())
	}
	return b.view.Guard(func() error {
		n := copy(dst, b.head)
		for _, p := range b.out.parts {
			n += copy(dst[n:], p)
		}
		return nil
	})
}

// Release gives the buffers and the mappings back.
func (b *Batch) Release() {
	b.out.end()
	b.view.Release()
	b.view = nil
	batches.Put(b)
}

// sink collects the payload behind the head: short pieces copied into arenas,
// long ones referred to.
type sink struct {
	total  uint64
	parts  [][]byte
	refs   []ref // of parts
	arenas []*arena
	cur    []byte // the free rest of the last arena
	run    []byte // what has been copied and is not in parts yet
}

// ref says where a part lies.
type ref struct {
	mapped object.Mapping // nil: in memory
	off    uint64
}

func (s *sink) begin(head uint64) {
	s.total, s.parts, s.refs, s.arenas, s.cur, s.run = head, s.parts[:0], s.refs[:0], s.arenas[:0], nil, nil
}

func (s *sink) end() {
	for _, a := range s.arenas {
		arenas.Put(a)
	}
	clear(s.arenas)
	clear(s.parts)
	clear(s.refs)
	s.arenas, s.parts, s.refs, s.cur, s.run = s.arenas[:0], s.parts[:0], s.refs[:0], nil, nil
}

// flush ends the run of copied bytes.
func (s *sink) flush() {
	if len(s.run) > 0 {
		s.parts, s.refs = append(s.parts, s.run), append(s.refs, ref{})
	}
	s.run = s.cur[:0]
}

// Bytes implements manifest.Sink.
func (s *sink) Bytes(b []byte) {
	if len(b) < CopyBelow {
		s.Copy(b)
		return
	}
	s.refer(b, ref{})
}

// Mapped implements manifest.MappedSink.
func (s *sink) Mapped(h object.Mapping, off uint64, b []byte) {
	if len(b) < CopyBelow {
		s.Copy(b)
		return
	}
	s.refer(b, ref{h, off})
}

func (s *sink) refer(b []byte, r ref) {
	s.flush()
	s.parts, s.refs = append(s.parts, b), append(s.refs, r)
	s.total += uint64(len(b))
}

// Copy implements manifest.Sink.
func (s *sink) Copy(b []byte) {
	s.total += uint64(len(b))
	for {
		n := copy(s.cur, b)
		s.run = s.run[:len(s.run)+n]
		s.cur = s.cur[n:]
		if b = b[n:]; len(b) == 0 {
			return
		}
		s.more()
	}
}

// more takes a fresh arena.
func (s *sink) more() {
	s.flush()
	a := arenas.Get().(*arena)
	s.arenas = append(s.arenas, a)
	s.cur, s.run = a[:], a[:0]
}

var zeros [64 << 10]byte

// Zeros implements manifest.Sink.
func (s *sink) Zeros(n uint64) {
	for n > 0 {
		k := min(n, uint64(len(zeros)))
		s.Bytes(zeros[:k])
		n -= k
	}
}

// align pads with zeros and returns where the next part begins.
func (s *sink) align() uint64 {
	if r := s.total % align; r != 0 {
		s.Copy(zeros[:align-r])
	}
	return s.total
}
