package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"daos/internal/fault"
)

// Sizes of the format; see docs/format/segment.md.
const (
	// Version of the segment format.
	Version = 1
	// HeaderSize is where the payload starts.
	HeaderSize = 64
	// TrailerSize is the fixed end of a sealed segment.
	TrailerSize = 40
	// DefaultCap is the size beyond which a segment takes no more records.
	DefaultCap = 256 << 20
	// MaxEntries bounds the footer of one segment, and so the memory that an
	// open segment needs for it.
	MaxEntries = 1 << 16

	smallAlign = 64
	bulkAlign  = 4096
	bulkFrom   = 64 << 10
)

const (
	headerMagic  = "DAOSSEG\n"
	trailerMagic = "DAOSFTR\n"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum is the checksum of all records: CRC32C (Castagnoli).
func Sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Sums is the checksum list of a record: one sum over all of it up to granule
// bytes, else one per granule.
func Sums(dst []uint32, b []byte, granule int) []uint32 {
	if len(b) <= granule {
		return append(dst, Sum(b))
	}
	for len(b) > 0 {
		n := min(granule, len(b))
		dst = append(dst, Sum(b[:n]))
		b = b[n:]
	}
	return dst
}

// Align is the position not below pos at which a record of n bytes may start.
func Align(pos uint64, n int) uint64 {
	a := uint64(smallAlign)
	if n >= bulkFrom {
		a = bulkAlign
	}
	return (pos + a - 1) &^ (a - 1)
}

// Header is what the first HeaderSize bytes say.
type Header struct {
	Target  uint16
	Dataset uint64
	Number  uint64
	// Past: its large records were written past the page cache, so that the
	// first to read them is likely to find them on disk only.
	Past bool
}

const flagPast = 1

// Encode is the stored form of h.
func (h Header) Encode() []byte {
	b := make([]byte, HeaderSize)
	copy(b, headerMagic)
	binary.LittleEndian.PutUint32(b[8:], Version)
	binary.LittleEndian.PutUint16(b[12:], h.Target)
	if h.Past {
		binary.LittleEndian.PutUint16(b[14:], flagPast)
	}
	binary.LittleEndian.PutUint64(b[16:], h.Dataset)
	binary.LittleEndian.PutUint64(b[24:], h.Number)
	binary.LittleEndian.PutUint32(b[HeaderSize-4:], Sum(b[:HeaderSize-4]))
	return b
}

// DecodeHeader reads a header; name is the file, for errors.
func DecodeHeader(name string, b []byte) (Header, error) {
	if len(b) < HeaderSize || string(b[:8]) != headerMagic || binary.LittleEndian.Uint32(b[HeaderSize-4:]) != Sum(b[:HeaderSize-4]) {
		return Header{}, fault.New(fault.Corrupt, "segment.header", name, "header does not match its checksum")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Version {
		return Header{}, fault.New(fault.Unsupported, "segment.header", name, "segment format version %d is not known", v).
			Do("open it with the version of daos that wrote it, or a newer one")
	}
	return Header{
		Target:  binary.LittleEndian.Uint16(b[12:]),
		Dataset: binary.LittleEndian.Uint64(b[16:]),
		Number:  binary.LittleEndian.Uint64(b[24:]),
		Past:    binary.LittleEndian.Uint16(b[14:])&flagPast != 0,
	}, nil
}

// Entry is one record in a footer: its index key and index value, as stored.
type Entry struct{ Key, Value []byte }

// EncodeFooter is the list of entries followed by the trailer. pos is where it
// will start in the file.
func EncodeFooter(pos uint64, entries []Entry) []byte {
	n := TrailerSize
	for _, e := range entries {
		n += len(e.Key) + len(e.Value) + 2*binary.MaxVarintLen32
	}
	b := make([]byte, 0, n)
	for _, e := range entries {
		b = binary.AppendUvarint(b, uint64(len(e.Key)))
		b = append(b, e.Key...)
		b = binary.AppendUvarint(b, uint64(len(e.Value)))
		b = append(b, e.Value...)
	}
	size := uint64(len(b))
	sum := Sum(b)
	b = append(b, trailerMagic...)
	b = binary.LittleEndian.AppendUint32(b, Version)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(entries)))
	b = binary.LittleEndian.AppendUint64(b, pos)
	b = binary.LittleEndian.AppendUint64(b, size)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return binary.LittleEndian.AppendUint32(b, Sum(b[size:]))
}

type trailer struct {
	count     uint32
	pos, size uint64
	sum       uint32
}

// decodeTrailer reads the last TrailerSize bytes of a file. ok is false where
// there is no trailer: the segment was never sealed.
func decodeTrailer(name string, b []byte, fileSize uint64) (t trailer, ok bool, err error) {
	if len(b) != TrailerSize || string(b[:8]) != trailerMagic {
		return t, false, nil
	}
	if binary.LittleEndian.Uint32(b[TrailerSize-4:]) != Sum(b[:TrailerSize-4]) {
		return t, true, fault.New(fault.Corrupt, "segment.footer", name, "footer trailer does not match its checksum")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Version {
		return t, true, fault.New(fault.Unsupported, "segment.footer", name, "footer format version %d is not known", v)
	}
	t = trailer{
		count: binary.LittleEndian.Uint32(b[12:]),
		pos:   binary.LittleEndian.Uint64(b[16:]),
		size:  binary.LittleEndian.Uint64(b[24:]),
		sum:   binary.LittleEndian.Uint32(b[32:]),
	}
	if t.size > math.MaxInt32 || t.pos > fileSize || t.pos+t.size+TrailerSize != fileSize {
		return t, true, fault.New(fault.Corrupt, "segment.footer", name, "footer of %d bytes at %d does not fit a file of %d", t.size, t.pos, fileSize)
	}
	return t, true, nil
}

// decodeEntries reads the footer's list; the entries alias b.
func decodeEntries(name string, b []byte, t trailer) ([]Entry, error) {
	bad := func() error {
		return fault.New(fault.Corrupt, "segment.footer", name, "footer does not match its checksum")
	}
	if Sum(b) != t.sum || uint64(t.count) > uint64(len(b)) {
		return nil, bad()
	}
	out := make([]Entry, 0, t.count)
	field := func() ([]byte, bool) {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, false
		}
		f := b[k : k+int(n)]
		b = b[k+int(n):]
		return f, true
	}
	for range t.count {
		key, ok1 := field()
		val, ok2 := field()
		if !ok1 || !ok2 {
			return nil, bad()
		}
		out = append(out, Entry{Key: key, Value: val})
	}
	if len(b) != 0 {
		return nil, bad()
	}
	return out, nil
}

// FileName is the name of segment number n within its dataset's folder.
func FileName(n uint64) string { return fmt.Sprintf("%016x.seg", n) }

// FolderName is the name of a dataset's folder.
func FolderName(ds uint64) string { return fmt.Sprintf("%016x", ds) }
