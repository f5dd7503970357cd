package vos

import (
	"bytes"
	"encoding/binary"

	"daos/engine/object"
	"daos/engine/target"
)

// Index keys. Everything of a dataset lies under its eight bytes:
//
//	dataset(8) plane(1) hash(4) oid(16) group(2) shard(1) kind(1)   head, 33 bytes
//	    dkey, escaped                                              end of the prefix
//	    tag(1): tagDkey: a punch of the dkey
//	            tagAkey: akey, escaped, then in the extents plane
//	                sub(1): subHole: a punch of the akey or of a range
//	                        subChunk: chunk(8), 0
//	    version(12): ^epoch(8) ^minor(4)
//
// All integers are big-endian. A version sorts newest first: epoch and minor
// are stored inverted. Minor is the place of the write in its batch, so that
// two writes of one batch to one key differ and the later one wins.
//
// Escaping keeps byte order and makes no encoded string the start of another:
// 0x00 becomes 0x00 0xFF, and 0x00 0x00 ends it.
const (
	planePunch   = 0x01 // object punches: the head alone, then the version
	planeName    = 0x02 // the namespace: single values, punches of dkeys and akeys
	planeExtent  = 0x03 // byte arrays, punches of dkeys and akeys
	planeRequest = 0x08 // request id(16)

	// Planes of the target itself, under dataset 0.
	planeUsage    = 0x10 // dataset(8): two counters
	planeTx       = 0x11 // epoch(8): row of an undecided transaction
	planeDeferred = 0x12 // epoch(8) dataset(8): row of an unsynced batch
	planeSystem   = 0x13 // name

	kindKeys = 0x01

	tagDkey  = 0x00
	tagAkey  = 0x01
	subHole  = 0x00
	subChunk = 0x01

	headSize    = 33
	versionSize = 12
)

// ChunkSize is the span of an array that one extent record stays within:
// extents are split at its multiples, so that a read of a range meets only the
// records of the chunks that it touches. Part of the format.
const ChunkSize = 1 << 20

// version orders the changes of one key: by epoch, then by place in the batch.
type version struct {
	epoch object.Epoch
	minor uint32
}

func (v version) newer(o version) bool {
	return v.epoch > o.epoch || v.epoch == o.epoch && v.minor > o.minor
}

func appendHead(b []byte, plane byte, p target.Place) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(p.Dataset))
	b = append(b, plane)
	b = binary.BigEndian.AppendUint32(b, p.Hash)
	b = binary.BigEndian.AppendUint64(b, p.OID.Hi)
	b = binary.BigEndian.AppendUint64(b, p.OID.Lo)
	b = binary.BigEndian.AppendUint16(b, p.Group)
	return append(b, 0, kindKeys)
}

func appendEscaped(b, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, 0)
		if i < 0 {
			break
		}
		b = append(b, s[:i]...)
		b = append(b, 0, 0xff)
		s = s[i+1:]
	}
	b = append(b, s...)
	return append(b, 0, 0)
}

// escapedLen is the length of the escaped string at the start of b, its end
// included; -1 where there is none.
func escapedLen(b []byte) int {
	at := 0
	for {
		i := bytes.IndexByte(b[at:], 0)
		if i < 0 || at+i+1 >= len(b) {
			return -1
		}
		at += i + 2
		if b[at-1] == 0 {
			return at
		}
		if b[at-1] != 0xff {
			return -1
		}
	}
}

// unescape appends the string of an escaped one (end included) to dst; without
// a zero byte in it the result aliases b and dst is not used.
func unescape(dst, b []byte) (s, buf []byte) {
	b = b[:len(b)-2]
	if bytes.IndexByte(b, 0) < 0 {
		return b, dst
	}
	dst = dst[:0]
	for i := 0; i < len(b); i++ {
		dst = append(dst, b[i])
		if b[i] == 0 {
			i++
		}
	}
	return dst, dst
}

func appendVersion(b []byte, v version) []byte {
	b = binary.BigEndian.AppendUint64(b, ^uint64(v.epoch))
	return binary.BigEndian.AppendUint32(b, ^v.minor)
}

// appendAt is where the newest version at or below an epoch begins.
func appendAt(b []byte, at object.Epoch) []byte {
	return appendVersion(b, version{at, 1<<32 - 1})
}

func versionOf(key []byte) version {
	s := key[len(key)-versionSize:]
	return version{object.Epoch(^binary.BigEndian.Uint64(s)), ^binary.BigEndian.Uint32(s[8:])}
}

func appendDkey(b []byte, plane byte, p target.Place, dkey []byte) []byte {
	return appendEscaped(appendHead(b, plane, p), dkey)
}

// appendAkey is the prefix of an akey; dkeyLen is the length of its dkey's.
func appendAkey(b []byte, plane byte, p target.Place, dkey, akey []byte) (key []byte, dkeyLen int) {
	b = appendDkey(b, plane, p, dkey)
	n := len(b)
	b = append(b, tagAkey)
	return appendEscaped(b, akey), n
}

func appendChunk(b []byte, chunk uint64) []byte {
	b = append(b, subChunk)
	b = binary.BigEndian.AppendUint64(b, chunk)
	return append(b, 0)
}

// keyEnd is the first key behind all that start with b.
func keyEnd(b []byte) []byte {
	e := bytes.Clone(b)
	for i := len(e) - 1; i >= 0; i-- {
		e[i]++
		if e[i] != 0 {
			return e[:i+1]
		}
	}
	return nil
}

func appendDataset(b []byte, ds object.DatasetID, plane byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(ds))
	return append(b, plane)
}

func requestKey(ds object.DatasetID, id object.RequestID) []byte {
	return append(appendDataset(nil, ds, planeRequest), id[:]...)
}

func usageKey(ds object.DatasetID) []byte {
	return binary.BigEndian.AppendUint64(appendDataset(nil, 0, planeUsage), uint64(ds))
}

func txKey(id target.TxID) []byte {
	return binary.BigEndian.AppendUint64(appendDataset(nil, 0, planeTx), uint64(id))
}

func deferredKey(epoch object.Epoch, ds object.DatasetID) []byte {
	b := binary.BigEndian.AppendUint64(appendDataset(nil, 0, planeDeferred), uint64(epoch))
	return binary.BigEndian.AppendUint64(b, uint64(ds))
}

func ceilingKey() []byte { return append(appendDataset(nil, 0, planeSystem), "ceiling"...) }
func numberKey() []byte  { return append(appendDataset(nil, 0, planeSystem), "segment"...) }

// parsed is a key of the namespace or extents plane, taken apart. Its slices
// alias the key.
type parsed struct {
	place   target.Place
	plane   byte
	dkey    []byte // escaped, end included
	tag     byte
	akey    []byte // escaped, end included; nil for tagDkey
	sub     byte   // extents plane
	chunk   uint64
	version version
	dkeyEnd int // length of head and dkey
	verAt   int // where the version begins
}

// parseKey takes a key of planePunch, planeName or planeExtent apart; ok is
// false for anything that this code never wrote.
func parseKey(k []byte) (p parsed, ok bool) {
	if len(k) < headSize+versionSize {
		return p, false
	}
	p.place = target.Place{
		Dataset: object.DatasetID(binary.BigEndian.Uint64(k)),
		Hash:    binary.BigEndian.Uint32(k[9:]),
		OID:     object.IDFromBytes(k[13:]),
		Group:   binary.BigEndian.Uint16(k[29:]),
	}
	p.plane = k[8]
	p.verAt = len(k) - versionSize
	p.version = versionOf(k)
	body := k[headSize:p.verAt]
	if p.plane == planePunch {
		return p, len(body) == 0
	}
	n := escapedLen(body)
	if n < 0 || n >= len(body) {
		return p, false
	}
	p.dkey, p.tag, body = body[:n], body[n], body[n+1:]
	p.dkeyEnd = headSize + n
	if p.tag == tagDkey {
		return p, len(body) == 0
	}
	n = escapedLen(body)
	if p.tag != tagAkey || n < 0 {
		return p, false
	}
	p.akey, body = body[:n], body[n:]
	if p.plane == planeName {
		return p, len(body) == 0
	}
	if len(body) == 0 {
		return p, false
	}
	p.sub = body[0]
	switch {
	case p.sub == subHole && len(body) == 1:
		return p, true
	case p.sub == subChunk && len(body) == 10 && body[9] == 0:
		p.chunk = binary.BigEndian.Uint64(body[1:])
		return p, true
	}
	return p, false
}
