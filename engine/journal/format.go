package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// A file is a block with a header, and groups of records: one behind the other,
// each group from the beginning of a block, with zeros to the end of its last
// one. So no block is written twice, and writes may go past the page cache.
// What follows the last group is zeros, or records of the file's earlier use,
// whose checksums belong to another generation. Integers are little-endian.
//
//	header: magic(8) version(4) generation(8) CRC32C of all before(4), zeros
//	record: length of payload(4) CRC32C of payload(4) number(8)
//	        target(4), with the highest bit set in the first of a group
//	        CRC32C of the generation(8) and all before in this record(4)
//	        payload
const (
	magic      = "DAOSJNL\n"
	version    = 1
	blockSize  = 4096
	headerSize = 24
	recordHead = 24
	firstBit   = 1 << 31
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the first block of a file.
func header(generation uint64) []byte {
	b := append(make([]byte, 0, blockSize), magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint64(b, generation)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:blockSize]
}

// blocks is how many bytes so many take up.
func blocks(n int64) int64 { return (n + blockSize - 1) &^ (blockSize - 1) }

// readHeader returns the version too, so that a newer one can be named; ok is
// false for what is no header.
func readHeader(b []byte) (ver uint32, generation uint64, ok bool) {
	if len(b) < headerSize || string(b[:8]) != magic ||
		binary.LittleEndian.Uint32(b[20:]) != crc32.Checksum(b[:20], castagnoli) {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[12:]), true
}

// appendRecord appends a record to a group.
func appendRecord(b []byte, generation uint64, target uint16, number uint64, payload []byte, sum uint32) []byte {
	at, word := len(b), uint32(target)
	if at == 0 {
		word |= firstBit
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, sum)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint32(b, word)
	b = binary.LittleEndian.AppendUint32(b, headSum(generation, b[at:]))
	return append(b, payload...)
}

func headSum(generation uint64, head []byte) uint32 {
	var g [8]byte
	binary.LittleEndian.PutUint64(g[:], generation)
	return crc32.Update(crc32.Checksum(g[:], castagnoli), castagnoli, head)
}

// record is one batch of one target.
type record struct {
	target  uint16
	first   bool // of its group
	number  uint64
	payload []byte
}

// readRecord reads the record at the beginning of b and says how long it is;
// ok is false where none of this generation begins, whole.
func readRecord(b []byte, generation uint64) (r record, size int, ok bool) {
	if len(b) < recordHead || binary.LittleEndian.Uint32(b[20:]) != headSum(generation, b[:20]) {
		return r, 0, false
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n > uint64(len(b)-recordHead) {
		return r, 0, false
	}
	size = recordHead + int(n)
	word := binary.LittleEndian.Uint32(b[16:])
	r = record{
		target: uint16(word), first: word&firstBit != 0, number: binary.LittleEndian.Uint64(b[8:]),
		payload: b[recordHead:size:size],
	}
	return r, size, crc32.Checksum(r.payload, castagnoli) == binary.LittleEndian.Uint32(b[4:])
}

// records calls fn with each record of a file, its first block left out, until
// fn fails, and returns where they end: where no group begins whole. Of a torn
// group nothing behind the tear counts, also what begins a block by chance.
func records(b []byte, generation uint64, fn func(record) error) (end int, err error) {
	for at := 0; at < len(b); at = int(blocks(int64(at))) {
		n := 0
		for ; ; n++ {
			r, size, ok := readRecord(b[at:], generation)
			if !ok || r.first != (n == 0) {
				break
			}
			if err := fn(r); err != nil {
				return at, err
			}
			at += size
		}
		if n == 0 {
			return at, nil
		}
	}
	return len(b), nil
}

// groupBehind looks for a group behind the end of the records. A group is only
// written when the one before is on the disk: so such an end is no torn one.
func groupBehind(b []byte, end int, generation uint64) (at int, found bool) {
	for at = end + blockSize; at < len(b); at += blockSize {
		if r, _, ok := readRecord(b[at:], generation); ok && r.first {
			return at, true
		}
	}
	return 0, false
}
