package vos

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/object"
	"daos/engine/segment"
	"daos/engine/target"
	"daos/internal/fault"
)

// The bytes below are the format: docs/format/index.md shows them. A change
// here is a new format version, not a new golden value.
func TestGolden_KeysAndRecords(t *testing.T) {
	p := target.Place{
		Dataset: 7, Hash: 0xa1b2c3d4, OID: object.MakeID(object.ClassSX, 5, 0x1122), Group: 9,
	}
	v := version{epoch: 0x0102030405060708, minor: 3}
	single, _ := appendAkey(nil, planeName, p, []byte("d\x00k"), []byte("a"))
	array, _ := appendAkey(nil, planeExtent, p, []byte("d"), []byte("a"))
	const head = "a1b2c3d4" + "0205000000000000" + "0000000000001122" + "0009" + "00" + "01"
	const ver = "fefdfcfbfaf9f8f7" + "fffffffc"
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"object punch", appendVersion(appendHead(nil, planePunch, p), v), "0000000000000007" + "01" + head + ver},
		{"single value", appendVersion(single, v), "0000000000000007" + "02" + head + "6400ff6b0000" + "01" + "610000" + ver},
		{"dkey punch", appendVersion(append(appendDkey(nil, planeName, p, []byte("d")), tagDkey), v), "0000000000000007" + "02" + head + "640000" + "00" + ver},
		{"array punch", appendVersion(append(bytes.Clone(array), subHole), v), "0000000000000007" + "03" + head + "640000" + "01" + "610000" + "00" + ver},
		{"extent", appendVersion(appendChunk(array, 2), v), "0000000000000007" + "03" + head + "640000" + "01" + "610000" + "01" + "0000000000000002" + "00" + ver},
		{"request", requestKey(7, object.RequestID{1, 2, 15: 3}), "0000000000000007" + "08" + "01020000000000000000000000000003"},
		{"usage", usageKey(7), "0000000000000000" + "10" + "0000000000000007"},
		{"transaction", txKey(0x1234), "0000000000000000" + "11" + "0000000000001234"},
		{"deferred", deferredKey(0x1234, 7), "0000000000000000" + "12" + "0000000000001234" + "0000000000000007"},
		{"ceiling", ceilingKey(), "0000000000000000" + "13" + hex.EncodeToString([]byte("ceiling"))},
		{"segment numbers", numberKey(), "0000000000000000" + "13" + hex.EncodeToString([]byte("segment"))},
		{"journal", journalKey(), "0000000000000000" + "13" + hex.EncodeToString([]byte("journal"))},
		{"settled", settledKey(), "0000000000000000" + "13" + hex.EncodeToString([]byte("settled"))},
		{"inline value", appendInline(nil, false, 0, []byte("123456789")), "01" + "00" + "839206e3" + hex.EncodeToString([]byte("123456789"))},
		{"inline extent", appendInline(nil, true, 300, []byte("123456789")), "01" + "00" + "ac02" + "839206e3" + hex.EncodeToString([]byte("123456789"))},
		{"stored value", appendStored(nil, false, 0, 70000, 5, 4096, []uint32{0x01020304, 0x0a0b0c0d}), "02" + "00" + "f0a204" + "f0a204" + "05" + "8020" + "04030201" + "0d0c0b0a"},
		{"stored extent", appendStored(nil, true, 300, 2000, 5, 64, []uint32{0x01020304}), "02" + "00" + "ac02" + "d00f" + "d00f" + "05" + "40" + "04030201"},
		{"hole", appendHole(nil, 300, 0), "04" + "00" + "ac02" + "00"},
		{"row", encodeRow(&target.Batch{Dataset: 7, Request: object.RequestID{9}, Participants: []uint16{1, 258}}, goldenList()),
			"0000000000000007" + "09000000000000000000000000000000" + "02" + "0001" + "0102" + "0003616263" + "00" + "020178" + "05"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func goldenList() *keyList {
	var l keyList
	l.add([]byte("abc"), 0)
	l.add([]byte("abx"), 5)
	return &l
}

func TestSuperblock_GoldenAndRefusals(t *testing.T) {
	s := superblock{state: stateReady, target: 3, pebbleFormat: 24, id: [16]byte{1, 2}, comparer: "c", schema: "ss", merger: "m"}
	b := s.encode()
	want := hex.EncodeToString([]byte(superblockMagic)) + "01000000" + "33000000" + "0300" + "02" + "00" + "18000000" +
		"01020000000000000000000000000000" + "0163" + "027373" + "016d"
	if got := hex.EncodeToString(b[:len(b)-4]); got != want {
		t.Fatalf("\n got %s\nwant %s", got, want)
	}
	if got, err := decodeSuperblock("x", b); err != nil || got != s {
		t.Fatalf("%+v %v", got, err)
	}
	for i := range b {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[i] ^= 1 << bit
			if _, err := decodeSuperblock("x", c); !fault.Is(err, fault.Corrupt) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
		}
	}
	for i := range b {
		if _, err := decodeSuperblock("x", b[:i]); err == nil {
			t.Fatalf("%d bytes were accepted", i)
		}
	}
	newer := bytes.Clone(b)
	newer[8] = 9
	n := len(newer) - 4
	sum := segment.Sum(newer[:n])
	for i := range 4 {
		newer[n+i] = byte(sum >> (8 * i))
	}
	if _, err := decodeSuperblock("x", newer); !fault.Is(err, fault.Unsupported) {
		t.Fatalf("an unknown version gave %v", err)
	}
	other := s
	other.comparer = "z"
	if err := s.check("x", other); !fault.Is(err, fault.Unsupported) {
		t.Fatalf("another key order gave %v", err)
	}
	other = s
	other.target = 4
	if err := s.check("x", other); !fault.Is(err, fault.Invalid) {
		t.Fatalf("another target gave %v", err)
	}
}

func randomKey(r *rand.Rand) []byte {
	b := make([]byte, r.IntN(6))
	for i := range b {
		b[i] = []byte{0, 0, 1, 0xfe, 0xff, 'a'}[r.IntN(6)]
	}
	return b
}

// The order of keys is the order of (dkey, akey, newest first), and everything
// that was put in comes out.
func TestKey_OrderAndParse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type row struct {
		dkey, akey []byte
		v          version
	}
	cmpRow := func(a, b row) int {
		if c := bytes.Compare(a.dkey, b.dkey); c != 0 {
			return c
		}
		if c := bytes.Compare(a.akey, b.akey); c != 0 {
			return c
		}
		switch {
		case a.v == b.v:
			return 0
		case a.v.newer(b.v):
			return -1
		}
		return 1
	}
	encode := func(x row) []byte {
		k, n := appendAkey(nil, planeName, target.Place{Dataset: 1}, x.dkey, x.akey)
		if split(k) != n {
			t.Fatalf("split of %x: %d, want %d", k, split(k), n)
		}
		return appendVersion(k, x.v)
	}
	for range 20000 {
		a := row{randomKey(r), randomKey(r), version{object.Epoch(r.IntN(3)), uint32(r.IntN(3))}}
		b := row{randomKey(r), randomKey(r), version{object.Epoch(r.IntN(3)), uint32(r.IntN(3))}}
		ka, kb := encode(a), encode(b)
		if got, want := bytes.Compare(ka, kb), cmpRow(a, b); got != want {
			t.Fatalf("%+v %+v: order %d, want %d", a, b, got, want)
		}
		p, ok := parseKey(ka)
		d, _ := unescape(nil, p.dkey)
		k, _ := unescape(nil, p.akey)
		if !ok || !bytes.Equal(d, a.dkey) || !bytes.Equal(k, a.akey) || p.version != a.v {
			t.Fatalf("%+v came back as %q %q %+v (%v)", a, d, k, p.version, ok)
		}
	}
}

// pebble asks these of a comparer with a split.
func TestComparer_HoldsForAnyBytes(t *testing.T) {
	c := newComparer()
	r := rand.New(rand.NewPCG(3, 4))
	var keys [][]byte
	for range 400 {
		k := make([]byte, 33+r.IntN(12))
		k[8] = byte(planeName + r.IntN(2))
		for i := headSize; i < len(k); i++ {
			k[i] = []byte{0, 0, 0xff, 1, 'a'}[r.IntN(5)]
		}
		keys = append(keys, k, k[:r.IntN(len(k))])
	}
	slices.SortFunc(keys, bytes.Compare)
	for i, a := range keys {
		for _, b := range keys[i:] {
			pa, pb := a[:c.Split(a)], b[:c.Split(b)]
			if bytes.Compare(pa, pb) > 0 {
				t.Fatalf("prefixes of %x and %x are out of order", a, b)
			}
			if bytes.Equal(pa, pb) && c.Compare(a, b) != c.ComparePointSuffixes(a[len(pa):], b[len(pb):]) {
				t.Fatalf("suffixes of %x and %x are out of order", a, b)
			}
		}
		if len(a) > 0 && i+1 < len(keys) && bytes.Compare(a, keys[i+1]) < 0 && len(keys[i+1]) > 0 {
			s := c.Separator(nil, a, keys[i+1])
			if c.Compare(a, s) > 0 || c.Compare(s, keys[i+1]) >= 0 {
				t.Fatalf("separator %x of %x and %x", s, a, keys[i+1])
			}
		}
	}
	var _ *pebble.Comparer = c
}

func FuzzDecode(f *testing.F) {
	f.Add(appendStored(nil, true, 300, 70000, 5, 4096, []uint32{1, 2}))
	f.Add(appendInline(nil, false, 0, []byte("x")))
	f.Add(encodeRow(&target.Batch{Dataset: 7, Participants: []uint16{1}}, goldenList()))
	f.Add(superblock{comparer: "c"}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, array := range []bool{false, true} {
			if r, ok := decodeRecord(b, array); ok && (r.typ == typeSegment || r.typ == typeInline) {
				_ = r.object(1)
				_ = r.end()
			}
		}
		_, _ = parseKey(b)
		_ = split(b)
		if r, ok := decodeRow(b); ok {
			_, _ = r.each(1, func([]byte) error { return nil })
		}
		_, _ = decodeSuperblock("x", b)
	})
}
