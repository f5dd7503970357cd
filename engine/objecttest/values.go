package objecttest

import (
	"bytes"
	"math/rand/v2"
	"strings"

	"daos/engine/object"
)

var singleCases = []testCase{
	{"put-get-overwrite", func(e *env) {
		e1 := e.commit(put(s1, "d", "a", "one"))
		e2 := e.commit(put(s1, "d", "a", "two"))
		if e2 <= e1 {
			e.Fatalf("epochs do not rise: %d then %d", e1, e2)
		}
		e.want("newest", e.get(e.now(), s1, "d", "a"), "two")
		e.want("pinned", e.get(e1, s1, "d", "a"), "one")
		e.want("before", e.get(e1-1, s1, "d", "a"), "-")
		e.want("between", e.get(e2-1, s1, "d", "a"), "one")
		e.want("other akey", e.get(e.now(), s1, "d", "b"), "-")
		e.want("other object", e.get(e.now(), sx, "d", "a"), "-")
		_, at, err := e.Get(e.ctx, e.now(), s1, bs("d"), bs("a"))
		if err != nil || at != e2 {
			e.Fatalf("epoch of the value: %d, %v; want %d", at, err, e2)
		}
	}},
	{"sizes", func(e *env) {
		rng := rand.New(rand.NewPCG(1, 2))
		for _, n := range []int{0, 1, object.InlineMax - 1, object.InlineMax, object.InlineMax + 1, object.Granule, object.Granule + 1, 3*object.Granule + 5} {
			v := make([]byte, n)
			for i := range v {
				v[i] = byte(rng.Uint32())
			}
			e.commit(put(sx, "size", "a", string(v)))
			got, _, err := e.Get(e.ctx, e.now(), sx, bs("size"), bs("a"))
			if err != nil || !bytes.Equal(got, v) {
				e.Fatalf("%d bytes: got %d bytes, %v", n, len(got), err)
			}
			if got == nil {
				e.Fatalf("%d bytes: a nil value for one that exists", n)
			}
			if n > 0 {
				got[0] ^= 1 // the slice is the caller's
				again, _, _ := e.Get(e.ctx, e.now(), sx, bs("size"), bs("a"))
				e.want("value after the caller changed his slice", bytes.Equal(again, v), true)
			}
		}
	}},
	{"keys-are-bytes", func(e *env) {
		keys := []string{"\x00", "\x00\x00", "\x00\xff", "\xff", "\xff\xff", "a\x00b", "a", "a\x00", strings.Repeat("k", object.MaxKey)}
		for i, k := range keys {
			e.commit(put(s1, k, k, string(rune('a'+i))))
		}
		for i, k := range keys {
			e.want("key", e.get(e.now(), s1, k, k), string(rune('a'+i)))
		}
	}},
	{"caller-may-reuse-buffers", func(e *env) {
		d, a, v := bs("dkey"), bs("akey"), bs("value")
		e.must(&object.Tx{Writes: []object.Write{{Op: object.OpPut, OID: s1, Dkey: d, Akey: a, Data: v}}})
		copy(d, "XXXX")
		copy(a, "XXXX")
		copy(v, "XXXXX")
		e.want("value", e.get(e.now(), s1, "dkey", "akey"), "value")
	}},
	{"read-your-writes", func(e *env) {
		for i := range 50 {
			s := strings.Repeat("v", i)
			r := e.must(&object.Tx{Writes: []object.Write{put(sx, "d", "a", s)}})
			at, err := e.ReadEpoch(e.ctx, r.Epoch)
			if err != nil || at < r.Epoch {
				e.Fatalf("read epoch %d, %v after commit at %d", at, err, r.Epoch)
			}
			e.want("value", e.get(at, sx, "d", "a"), s)
		}
	}},
}

var arrayCases = []testCase{
	{"overlay", func(e *env) {
		e1 := e.commit(write(s1, "d", "a", 0, "aaaaaaaaaa"))
		e2 := e.commit(write(s1, "d", "a", 3, "bbb"))
		e3 := e.commit(write(s1, "d", "a", 5, "cccccccc"))
		e.want("1", e.read(e1, s1, "d", "a", 0, 14), "aaaaaaaaaa....")
		e.want("2", e.read(e2, s1, "d", "a", 0, 14), "aaabbbaaaa....")
		e.want("3", e.read(e3, s1, "d", "a", 0, 14), "aaabbcccccccc.")
		e.want("part", e.read(e3, s1, "d", "a", 4, 3), "bcc")
		e.want("end 1", e.end(e1, s1, "d", "a"), uint64(10))
		e.want("end 3", e.end(e3, s1, "d", "a"), uint64(13))
		e.want("end before", e.end(e1-1, s1, "d", "a"), uint64(0))
	}},
	{"holes", func(e *env) {
		e.commit(write(s1, "d", "a", 2, "xy"), write(s1, "d", "a", 1<<40, "far"))
		at := e.now()
		e.want("near", e.read(at, s1, "d", "a", 0, 6), "..xy..")
		e.want("far", e.read(at, s1, "d", "a", 1<<40-1, 5), ".far.")
		e.want("end", e.end(at, s1, "d", "a"), uint64(1<<40+3))
		xs, err := e.Extents(e.ctx, at, s1, bs("d"), bs("a"), 0, object.MaxArray)
		if err != nil || len(xs) != 2 || xs[0].Offset != 2 || xs[0].Length != 2 || xs[1].Offset != 1<<40 {
			e.Fatalf("extents %v, %v", xs, err)
		}
		e.want("nothing there", e.read(at, s1, "e", "a", 0, 3), "...")
	}},
	{"punch-range", func(e *env) {
		e1 := e.commit(write(s1, "d", "a", 0, "0123456789"))
		e2 := e.commit(hole(s1, "d", "a", 2, 3))
		e3 := e.commit(hole(s1, "d", "a", 7, 0))
		e4 := e.commit(write(s1, "d", "a", 8, "z"))
		e.want("1", e.read(e1, s1, "d", "a", 0, 10), "0123456789")
		e.want("2", e.read(e2, s1, "d", "a", 0, 10), "01...56789")
		e.want("3", e.read(e3, s1, "d", "a", 0, 10), "01...56...")
		e.want("end 3", e.end(e3, s1, "d", "a"), uint64(7))
		e.want("4", e.read(e4, s1, "d", "a", 0, 10), "01...56.z.")
		e.want("end 4", e.end(e4, s1, "d", "a"), uint64(9))
		e5 := e.commit(hole(s1, "d", "a", 0, 0))
		e.want("end 5", e.end(e5, s1, "d", "a"), uint64(0))
		xs, err := e.Extents(e.ctx, e5, s1, bs("d"), bs("a"), 0, 100)
		if err != nil || len(xs) != 0 {
			e.Fatalf("extents of a hole: %v, %v", xs, err)
		}
	}},
	{"order-in-one-transaction", func(e *env) {
		e.commit(write(s1, "d", "a", 0, "aaaaaaaaaa"),
			write(s1, "d", "a", 2, "bbbb"), hole(s1, "d", "a", 4, 4), write(s1, "d", "a", 5, "c"),
			write(s1, "d", "tail", 0, "0123456789"), hole(s1, "d", "tail", 4, 0), write(s1, "d", "tail", 8, "z"))
		e.want("later in the transaction wins", e.read(e.now(), s1, "d", "a", 0, 10), "aabb.c..aa")
		e.want("truncate then write", e.read(e.now(), s1, "d", "tail", 0, 10), "0123....z.")
	}},
	{"single-and-array-side-by-side", func(e *env) {
		e.commit(put(s1, "d", "a", "single"), write(s1, "d", "a", 0, "array"))
		e.want("single", e.get(e.now(), s1, "d", "a"), "single")
		e.want("array", e.read(e.now(), s1, "d", "a", 0, 5), "array")
	}},
	{"big-extents", func(e *env) {
		rng := rand.New(rand.NewPCG(3, 4))
		model := make([]byte, 1<<20)
		var size int
		for range 40 {
			n := 1 + rng.IntN(200_000)
			off := rng.IntN(len(model) - n)
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			e.commit(write(sx, "big", "a", uint64(off), string(b)))
			copy(model[off:], b)
			size = max(size, off+n)
		}
		at := e.now()
		e.want("end", e.end(at, sx, "big", "a"), uint64(size))
		for range 50 {
			n := 1 + rng.IntN(300_000)
			off := rng.IntN(len(model) - n)
			p := make([]byte, n)
			if err := e.ReadArray(e.ctx, at, sx, bs("big"), bs("a"), uint64(off), p); err != nil {
				e.Fatal(err)
			}
			e.want("bytes", bytes.Equal(p, model[off:off+n]), true)
		}
		xs, err := e.Extents(e.ctx, at, sx, bs("big"), bs("a"), 0, uint64(size))
		if err != nil {
			e.Fatal(err)
		}
		var pos uint64
		for _, x := range xs {
			if x.Offset < pos || x.Length == 0 || x.Skip+x.Length > x.Record.Length {
				e.Fatalf("extent out of order or out of its record: %+v after %d", x, pos)
			}
			pos = x.Offset + x.Length
		}
	}},
}

var punchCases = []testCase{
	{"akey", func(e *env) {
		e1 := e.commit(put(s1, "d", "a", "1"), put(s1, "d", "b", "2"), write(s1, "d", "a", 0, "xyz"))
		e2 := e.commit(punch(object.OpPunchAkey, s1, "d", "a"))
		e.want("a", e.get(e2, s1, "d", "a"), "-")
		e.want("a array", e.end(e2, s1, "d", "a"), uint64(0))
		e.want("b", e.get(e2, s1, "d", "b"), "2")
		e.want("older", e.get(e1, s1, "d", "a")+e.read(e1, s1, "d", "a", 0, 3), "1xyz")
		e.commit(put(s1, "d", "a", "3"))
		e.want("again", e.get(e.now(), s1, "d", "a"), "3")
		e.want("array stays punched", e.end(e.now(), s1, "d", "a"), uint64(0))
	}},
	{"dkey", func(e *env) {
		e1 := e.commit(put(sx, "d", "a", "1"), put(sx, "d", "b", "2"), put(sx, "e", "a", "3"))
		e2 := e.commit(punch(object.OpPunchDkey, sx, "d", ""))
		e.want("list", e.list(e2, sx, object.ListOptions{}), "e/a=3")
		e.want("older", e.list(e1, sx, object.ListOptions{}), "d/a=1 d/b=2 e/a=3")
		e3 := e.commit(put(sx, "d", "b", "4"))
		e.want("again", e.list(e3, sx, object.ListOptions{}), "d/b=4 e/a=3")
	}},
	{"object", func(e *env) {
		e1 := e.commit(put(sx, "d", "a", "1"), put(sx, "e", "b", "2"), write(sx, "f", "a", 5, "x"), put(s1, "d", "a", "other"))
		e2 := e.commit(punch(object.OpPunchObject, sx, "", ""))
		e.want("list", e.list(e2, sx, object.ListOptions{}), "")
		e.want("array", e.end(e2, sx, "f", "a"), uint64(0))
		e.want("older", e.list(e1, sx, object.ListOptions{}), "d/a=1 e/b=2")
		e.want("other object", e.get(e2, s1, "d", "a"), "other")
		e3 := e.commit(put(sx, "e", "b", "3"))
		e.want("again", e.list(e3, sx, object.ListOptions{}), "e/b=3")
		e.want("between", e.list(e3-1, sx, object.ListOptions{}), "")
	}},
	{"order-in-one-transaction", func(e *env) {
		e.commit(put(sx, "d", "a", "old"), put(sx, "e", "a", "old"))
		e.commit(put(sx, "d", "a", "gone"), punch(object.OpPunchObject, sx, "", ""), put(sx, "d", "b", "kept"))
		e.want("punch object in the middle", e.list(e.now(), sx, object.ListOptions{}), "d/b=kept")
		e.commit(punch(object.OpPunchDkey, sx, "d", ""), put(sx, "d", "c", "1"), put(sx, "d", "c", "2"), put(sx, "d", "x", "1"), punch(object.OpPunchAkey, sx, "d", "x"))
		e.want("punch dkey first", e.list(e.now(), sx, object.ListOptions{}), "d/c=2")
	}},
	{"nothing-there", func(e *env) {
		e.commit(punch(object.OpPunchAkey, s1, "d", "a"), punch(object.OpPunchDkey, s1, "e", ""), punch(object.OpPunchObject, sx, "", ""))
		e.want("list", e.list(e.now(), s1, object.ListOptions{})+e.list(e.now(), sx, object.ListOptions{}), "")
	}},
}
