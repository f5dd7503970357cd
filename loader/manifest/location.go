package manifest

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"sync"
	"sync/atomic"

	"daos/engine/object"
	"daos/internal/fault"
)

// Records of the location file.
const (
	entrySize = 32 // a file: size, pos, first granule, segment, pieces
	pieceSize = 64 // a piece of a byte array
	chunkSize = 72 // a chunk of a column: first, count, bytes, 3 x (first piece, pieces)
	segSize   = 16 // a segment: number, target
)

// Segment numbers of an entry or a piece that are none.
const (
	segInline = 0xffffffff // the bytes lie in this file's section "inline"
	segPieces = 0xfffffffe // of an entry: pos is its first piece, pieces their number
	segZeros  = 0xfffffffd // of an entry: nothing was ever written
)

type entry struct {
	size, pos, granule uint64
	seg, pieces        uint32
}

func (e *entry) encode(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, e.size)
	b = le.AppendUint64(b, e.pos)
	b = le.AppendUint64(b, e.granule)
	b = le.AppendUint32(b, e.seg)
	return le.AppendUint32(b, e.pieces)
}

func decodeEntry(b []byte) entry {
	le := binary.LittleEndian
	_ = b[entrySize-1]
	return entry{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint32(b[24:]), le.Uint32(b[28:])}
}

// piece is length bytes at off of a byte array: bytes [skip, skip+length) of a
// record of record bytes at pos of a segment.
type piece struct {
	off, length, skip, pos, record, granule uint64
	seg                                     uint32
}

func (p *piece) encode(b []byte) []byte {
	le := binary.LittleEndian
	for _, v := range [...]uint64{p.off, p.length, p.skip, p.pos, p.record, p.granule} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, p.seg)
	return append(b, make([]byte, 12)...)
}

func decodePiece(b []byte) piece {
	le := binary.LittleEndian
	_ = b[pieceSize-1]
	return piece{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:]), le.Uint64(b[40:]), le.Uint32(b[48:])}
}

// locationMeta is the description in the location file's tail.
type locationMeta struct {
	Generation uint64 `json:"generation"`
	// Columns, of a tensor dataset: how many chunks each has, in order.
	Columns []uint64 `json:"columns,omitempty"`
}

// segment is one segment that records lie in.
type segment struct {
	target uint16
	number uint64
}

// View is one derivation of where samples lie, with the segments mapped that
// have been touched. It is valid until Release, also when records move: a
// segment once mapped never changes.
type View struct {
	m       *Manifest
	f       *file
	meta    locationMeta
	entries part
	pieces  part
	sums    part
	inline  part
	columns []Chunks
	laid    []elementSums // of each column
	segs    []segment
	maps    []atomic.Pointer[mapping]
	seen    []atomic.Uint64 // a bit for each granule verified in this process
	refs    atomic.Int64
	mu      sync.Mutex // one mapping at a time
}

type mapping struct {
	b    []byte
	name string
	h    object.Mapping
	end  func()
}

func openView(m *Manifest, path string) (*View, error) {
	f, err := openFile(path, kindLocation)
	if err != nil {
		return nil, err
	}
	v := &View{m: m, f: f, entries: f.part("entries"), pieces: f.part("pieces"), sums: f.part("sums"), inline: f.part("inline")}
	v.refs.Store(1)
	if err := guarded(path, v.open); err != nil {
		f.close()
		return nil, err
	}
	m.users.Add(1)
	return v, nil
}

func (v *View) open() error {
	if err := json.Unmarshal(v.f.meta, &v.meta); err != nil {
		return damaged(v.f.path, "a description that can't be read")
	}
	segs := v.f.part("segments")
	b, err := segs.at(0, segs.n)
	if err != nil {
		return err
	}
	if segs.n%segSize != 0 || v.sums.n%4 != 0 || v.pieces.n%pieceSize != 0 {
		return damaged(v.f.path, "sections of odd lengths")
	}
	for ; len(b) > 0; b = b[segSize:] {
		v.segs = append(v.segs, segment{uint16(binary.LittleEndian.Uint64(b[8:])), binary.LittleEndian.Uint64(b)})
	}
	v.maps = make([]atomic.Pointer[mapping], len(v.segs))
	v.seen = make([]atomic.Uint64, (v.sums.n/4+63)/64)
	if v.m.isFiles() {
		if v.entries.n != entrySize*v.m.info.Samples {
			return damaged(v.f.path, "places of %d bytes for %d samples", v.entries.n, v.m.info.Samples)
		}
		return nil
	}
	return v.openColumns()
}

// acquire takes a reference; false if the view is gone already.
func (v *View) acquire() bool {
	for {
		n := v.refs.Load()
		if n == 0 {
			return false
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release ends the use of v and of every byte got through it.
func (v *View) Release() {
	if v.refs.Add(-1) > 0 {
		return
	}
	for i := range v.maps {
		if m := v.maps[i].Load(); m != nil {
			m.end()
		}
	}
	v.f.close()
	v.m.leave()
}

func (v *View) segment(i uint32) (*mapping, error) {
	if int(i) >= len(v.maps) {
		return nil, damaged(v.f.path, "segment %d of %d", i, len(v.maps))
	}
	if m := v.maps[i].Load(); m != nil {
		return m, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if m := v.maps[i].Load(); m != nil {
		return m, nil
	}
	s := v.segs[i]
	h, err := v.m.st.Segment(s.target, s.number)
	if err != nil {
		if fault.Is(err, fault.NotFound) {
			return nil, errMoved
		}
		return nil, err
	}
	m := &mapping{h.Bytes(), h.Name(), h, h.Release}
	v.maps[i].Store(m)
	return m, nil
}

// errMoved says that a location does not hold any more.
var errMoved = fault.New(fault.Stale, "loader.location", "segment", "a record has moved")

// mapAll maps every segment, to find out whether the locations still hold.
func (v *View) mapAll() error {
	for i := range v.segs {
		if _, err := v.segment(uint32(i)); err != nil {
			return err
		}
	}
	return nil
}

// Sink takes the bytes of a sample piece by piece.
type Sink interface {
	// Bytes takes b, which is valid until the view is released.
	Bytes(b []byte)
	// Copy takes b, which is valid during the call only.
	Copy(b []byte)
	// Zeros takes n zeros.
	Zeros(n uint64)
}

// MappedSink is a Sink that wants to know where bytes lie.
type MappedSink interface {
	// Mapped is Bytes of b, which lies in h at off. h is valid until the view is
	// released.
	Mapped(h object.Mapping, off uint64, b []byte)
}

// record gives bytes [from, from+n) of a record to s, verified.
func (v *View) record(seg uint32, pos, length, granule, from, n uint64, s Sink) error {
	if n == 0 {
		return nil
	}
	if from > length || n > length-from {
		return damaged(v.f.path, "a piece beyond its record")
	}
	if seg == segInline {
		b, err := v.inline.at(pos+from, n)
		if err == nil {
			s.Bytes(b)
		}
		return err
	}
	m, err := v.segment(seg)
	if err != nil {
		return err
	}
	if size := uint64(len(m.b)); pos > size || length > size-pos {
		return v.wrong(m, pos, length, "lies beyond the end of the segment")
	}
	first, last := granule, granule
	if length > object.Granule {
		first, last = granule+from/object.Granule, granule+(from+n-1)/object.Granule
	}
	for g := first; g <= last; g++ {
		if g>>6 >= uint64(len(v.seen)) {
			return damaged(v.f.path, "granule %d is not there", g)
		}
		if v.seen[g>>6].Load()>>(g&63)&1 == 0 {
			if err := v.verify(m, pos, length, granule, g); err != nil {
				return err
			}
		}
	}
	b := m.b[pos+from : pos+from+n : pos+from+n]
	if ms, ok := s.(MappedSink); ok {
		ms.Mapped(m.h, pos+from, b)
	} else {
		s.Bytes(b)
	}
	return nil
}

// verify compares granule g, of a record whose first is base, with its checksum.
func (v *View) verify(m *mapping, pos, length, base, g uint64) error {
	want, err := v.sums.at(4*g, 4)
	if err != nil {
		return err
	}
	b := m.b[pos : pos+length]
	if length > object.Granule {
		lo := (g - base) * object.Granule
		b = b[lo:min(lo+object.Granule, length)]
		pos += lo
	}
	if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(want) {
		return v.wrong(m, pos, uint64(len(b)), "do not match their checksum")
	}
	v.seen[g>>6].Or(1 << (g & 63))
	return nil
}

func (v *View) wrong(m *mapping, pos, n uint64, what string) error {
	return fault.New(fault.Corrupt, "loader.read", m.name, "%d bytes at %d %s", n, pos, what).
		Do("restore the data from a copy; `daos system status` shows the target")
}

// file gives all bytes of an entry to s.
func (v *View) file(e *entry, s Sink) error {
	switch e.seg {
	case segZeros:
		s.Zeros(e.size)
		return nil
	case segPieces:
		return v.array(e.pos, uint64(e.pieces), 0, e.size, s)
	}
	return v.record(e.seg, e.pos, e.size, e.granule, 0, e.size, s)
}

func (v *View) piece(i uint64) (piece, error) {
	b, err := v.pieces.at(pieceSize*i, pieceSize)
	if err != nil {
		return piece{}, err
	}
	return decodePiece(b), nil
}

// array gives bytes [off, off+n) of a byte array, which lies in count pieces
// from piece first on, in order of their offset; holes are zeros.
func (v *View) array(first, count, off, n uint64, s Sink) error {
	if n == 0 {
		return nil
	}
	if first > 1<<58 || count > 1<<58 {
		return damaged(v.f.path, "pieces that are not there")
	}
	end := off + n
	if count == 1 { // mostly: written at once
		p, err := v.piece(first)
		if err != nil {
			return err
		}
		if p.off <= off && end-p.off <= p.length {
			return v.record(p.seg, p.pos, p.record, p.granule, p.skip+off-p.off, n, s)
		}
	}
	lo, hi := uint64(0), count // the first piece that ends after off
	for lo < hi {
		mid := (lo + hi) / 2
		p, err := v.piece(first + mid)
		if err != nil {
			return err
		}
		if p.off+p.length <= off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for i := lo; i < count && off < end; i++ {
		p, err := v.piece(first + i)
		if err != nil {
			return err
		}
		if p.off > off {
			gap := min(p.off, end) - off
			s.Zeros(gap)
			if off += gap; off == end {
				return nil
			}
		}
		if p.off+p.length <= off {
			return damaged(v.f.path, "pieces out of order")
		}
		k := min(p.off+p.length, end) - off
		if err := v.record(p.seg, p.pos, p.record, p.granule, p.skip+off-p.off, k, s); err != nil {
			return err
		}
		off += k
	}
	if off < end {
		s.Zeros(end - off)
	}
	return nil
}
