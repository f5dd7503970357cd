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
//	header: magic(8) version(4) generation(8) CRC32C of all before(4)
//	        salt(8) CRC32C of all before(4), zeros
//	record: length of payload(4) CRC32C of payload XOR the salt's upper half(4)
//	        number(8) target(4), with the highest bit set in the first of a group
//	        CRC32C of the generation(8), the salt(8) and all before in this record(4)
//	        payload
//
// The salt is random and no client gets to know it: bytes of a user that look
// like a record, in a torn group or in a file's earlier use, are none. Version
// 1 had no salt.
const (
	magic      = "DAOSJNL\n"
	version    = 2
	unsalted   = 1 // is replayed, never written
	blockSize  = 4096
	headerSize = 24 // of both versions; the salt follows
	saltSize   = 12
	recordHead = 24
	firstBit   = 1 << 31
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal is what the checksums of a file's records begin with.
type seal struct{ head, payload uint32 }

func newSeal(generation, salt uint64) seal {
	b := binary.LittleEndian.AppendUint64(nil, generation)
	b = binary.LittleEndian.AppendUint64(b, salt)
	return seal{head: crc32.Checksum(b, castagnoli), payload: uint32(salt >> 32)}
}

func unsaltedSeal(generation uint64) seal {
	return seal{head: crc32.Checksum(binary.LittleEndian.AppendUint64(nil, generation), castagnoli)}
}

// header is the first block of a file.
func header(generation, salt uint64) []byte {
	b := append(make([]byte, 0, blockSize), magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint64(b, generation)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = binary.LittleEndian.AppendUint64(b, salt)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:blockSize]
}

// blocks is how many bytes so many take up.
func blocks(n int64) int64 { return (n + blockSize - 1) &^ (blockSize - 1) }

// readHeader returns the version too, so that a newer one can be named; ok is
// false for what is no header.
func readHeader(b []byte) (ver uint32, generation uint64, key seal, ok bool) {
	if len(b) < headerSize || string(b[:8]) != magic ||
		binary.LittleEndian.Uint32(b[20:]) != crc32.Checksum(b[:20], castagnoli) {
		return 0, 0, seal{}, false
	}
	ver, generation = binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[12:])
	switch ver {
	case unsalted:
		key = unsaltedSeal(generation)
	case version:
		if len(b) < headerSize+saltSize || binary.LittleEndian.Uint32(b[32:]) != crc32.Checksum(b[:32], castagnoli) {
			return 0, 0, seal{}, false
		}
		key = newSeal(generation, binary.LittleEndian.Uint64(b[24:]))
	}
	return ver, generation, key, true
}

// appendRecord appends a record to a group. sum is the payload's checksum.
func appendRecord(b []byte, key seal, target uint16, number uint64, payload []byte, sum uint32) []byte {
	at, word := len(b), uint32(target)
	if at == 0 {
		word |= firstBit
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, sum^key.payload)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint32(b, word)
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(key.head, castagnoli, b[at:]))
	return append(b, payload...)
}

// record is one batch of one target.
type record struct {
	target  uint16
	first   bool // of its group
	number  uint64
	payload []byte
}

// readRecord reads the record at the beginning of b and says how long it is;
// ok is false where none of this file begins, whole.
func readRecord(b []byte, key seal) (r record, size int, ok bool) {
	if len(b) < recordHead || binary.LittleEndian.Uint32(b[20:]) != crc32.Update(key.head, castagnoli, b[:20]) {
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
	return r, size, crc32.Checksum(r.payload, castagnoli)^key.payload == binary.LittleEndian.Uint32(b[4:])
}

// records calls fn with each record of a file, its first block left out, until
// fn fails, and returns where they end: where no group begins whole. Behind the
// tear of a torn group none begins, since a user's bytes are none.
func records(b []byte, key seal, fn func(record) error) (end int, err error) {
	for at := 0; at < len(b); at = int(blocks(int64(at))) {
		n := 0
		for ; ; n++ {
			r, size, ok := readRecord(b[at:], key)
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
func groupBehind(b []byte, end int, key seal) (at int, found bool) {
	for at = end + blockSize; at < len(b); at += blockSize {
		if r, _, ok := readRecord(b[at:], key); ok && r.first {
			return at, true
		}
	}
	return 0, false
}
