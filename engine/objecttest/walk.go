package objecttest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"

	"daos/engine/object"
	"daos/internal/fault"
)

var listCases = []testCase{
	{"order-bounds-limits", func(e *env) {
		for _, oid := range []object.ID{s1, sx} {
			var w []object.Write
			for _, k := range []string{"b", "a", "ba", "c", "b\x00", "d", "b\xff"} {
				w = append(w, put(oid, k, "y", "2"), put(oid, k, "x", "1"))
			}
			e.commit(w...)
			at := e.now()
			type o = object.ListOptions
			x := bs("x")
			for _, c := range []struct {
				o    o
				want string
			}{
				{o{Akey: x}, "a b b\x00 ba b\xff c d"},
				{o{Akey: x, Reverse: true}, "d c b\xff ba b\x00 b a"},
				{o{Akey: x, Prefix: bs("b")}, "b b\x00 ba b\xff"},
				{o{Akey: x, Prefix: bs("b"), Reverse: true}, "b\xff ba b\x00 b"},
				{o{Akey: x, From: bs("ba")}, "ba b\xff c d"},
				{o{Akey: x, After: bs("ba")}, "b\xff c d"},
				{o{Akey: x, After: bs("ba"), From: bs("a")}, "b\xff c d"},
				{o{Akey: x, To: bs("ba")}, "a b b\x00"},
				{o{Akey: x, To: bs("ba"), Reverse: true}, "b\x00 b a"},
				{o{Akey: x, From: bs("b"), To: bs("c")}, "b b\x00 ba b\xff"},
				{o{Akey: x, Prefix: bs("b"), After: bs("b\x00"), Limit: 1}, "ba"},
				{o{Akey: x, Limit: 3}, "a b b\x00"},
				{o{Akey: x, Limit: 3, Reverse: true}, "d c b\xff"},
				{o{Akey: x, Prefix: bs("zz")}, ""},
				{o{Akey: x, From: bs("d"), To: bs("b")}, ""},
				{o{Akey: bs("none")}, ""},
				{o{Limit: 3}, "a a b"},
			} {
				var got []string
				if err := e.List(e.ctx, at, oid, c.o, func(it object.Item) bool { got = append(got, string(it.Dkey)); return true }); err != nil {
					e.Fatal(err)
				}
				e.want(fmt.Sprintf("%+v", c.o), strings.Join(got, " "), c.want)
			}
			e.want("akeys", e.list(at, oid, o{Prefix: bs("a")}), "a/x=1 a/y=2")
			e.want("akeys reversed", e.list(at, oid, o{To: bs("b"), Reverse: true}), "a/y=2 a/x=1")
			n := 0
			_ = e.List(e.ctx, at, oid, o{}, func(object.Item) bool { n++; return n < 4 })
			e.want("stopped by the callback", n, 4)
		}
	}},
	{"random-against-sorted", func(e *env) {
		rng := rand.New(rand.NewPCG(7, 8))
		for _, oid := range []object.ID{s1, sx} {
			all := map[string]string{}
			for range 20 {
				var w []object.Write
				for range 40 {
					k := fmt.Sprintf("%x", rng.Uint32N(1<<12))
					if rng.IntN(4) == 0 {
						w = append(w, punch(object.OpPunchDkey, oid, k, ""))
						delete(all, k)
					} else {
						w = append(w, put(oid, k, "v", k))
						all[k] = k
					}
				}
				e.commit(w...)
			}
			var want []string
			for k := range all {
				want = append(want, k)
			}
			sort.Strings(want)
			var got []string
			var after []byte
			for { // in pages
				n := 0
				err := e.List(e.ctx, e.now(), oid, object.ListOptions{After: after, Limit: 7}, func(it object.Item) bool {
					got = append(got, string(it.Dkey))
					n++
					return true
				})
				if err != nil {
					e.Fatal(err)
				}
				if n == 0 {
					break
				}
				after = bs(got[len(got)-1])
			}
			e.want("pages", slices.Equal(got, want), true)
			slices.Reverse(want)
			got = nil
			_ = e.List(e.ctx, e.now(), oid, object.ListOptions{Reverse: true}, func(it object.Item) bool {
				got = append(got, string(it.Dkey))
				return true
			})
			e.want("reversed", slices.Equal(got, want), true)
		}
	}},
	{"arrays", func(e *env) {
		for _, oid := range []object.ID{s1, sx} {
			e.commit(write(oid, "a", "x", 0, "1"), write(oid, "a", "y", 5, "1"), write(oid, "b", "x", 0, strings.Repeat("z", 2000)),
				put(oid, "c", "x", "single"), write(oid, "d", "x", 0, "1"), write(oid, "e", "x", 0, "1"))
			e.commit(punch(object.OpPunchDkey, oid, "d", ""), hole(oid, "e", "x", 0, 0))
			names := func(o object.ListOptions) string {
				var got []string
				if err := e.ListArrays(e.ctx, e.now(), oid, o, func(d, a []byte) bool { got = append(got, string(d)+"/"+string(a)); return true }); err != nil {
					e.Fatal(err)
				}
				return strings.Join(got, " ")
			}
			e.want("arrays", names(object.ListOptions{}), "a/x a/y b/x")
			if err := e.ListArrays(e.ctx, e.now(), oid, object.ListOptions{Reverse: true}, func(d, a []byte) bool { return true }); !fault.Is(err, fault.Unsupported) {
				e.Fatalf("arrays in falling order: %v, want unsupported", err)
			}
			e.want("akey", names(object.ListOptions{Akey: bs("x")}), "a/x b/x")
			e.want("limit", names(object.ListOptions{Limit: 2}), "a/x a/y")
			e.want("after", names(object.ListOptions{After: bs("a")}), "b/x")
			e.want("singles", e.list(e.now(), oid, object.ListOptions{}), "c/x=single")
		}
	}},
	{"big-values-and-callbacks", func(e *env) {
		big := strings.Repeat("B", object.InlineMax+1)
		e.commit(put(sx, "a", "v", big), put(sx, "b", "v", "small"))
		at := e.now()
		e.want("values", e.list(at, sx, object.ListOptions{}), "a/v="+big+" b/v=small")
		err := e.List(e.ctx, at, sx, object.ListOptions{KeysOnly: true}, func(it object.Item) bool {
			if string(it.Dkey) == "a" && it.Value != nil {
				e.Errorf("a value of a segment was read for a listing of keys")
			}
			if want := map[string]uint64{"a": uint64(len(big)), "b": 5}[string(it.Dkey)]; it.Size != want {
				e.Errorf("%s: size %d, want %d", it.Dkey, it.Size, want)
			}
			e.want("get inside a listing", e.get(at, sx, "b", "v"), "small")
			return true
		})
		if err != nil {
			e.Fatal(err)
		}
		var records []object.Record
		err = e.List(e.ctx, at, sx, object.ListOptions{Records: true, Reverse: true}, func(it object.Item) bool {
			records = append(records, it.Record)
			return true
		})
		if err != nil || len(records) != 2 {
			e.Fatalf("%d records: %v", len(records), err)
		}
		if string(records[0].Inline) != "small" || records[0].Length != 5 || records[1].Length != uint64(len(big)) || len(records[1].Sums) != 1 {
			e.Errorf("records %+v", records)
		}
	}},
}

type rowKey struct {
	oid        object.ID
	dkey, akey string
}

func (e *env) scanAll(at object.Epoch, a object.Anchor, into map[rowKey]string, order *[]rowKey) {
	e.Helper()
	end, err := e.Scan(e.ctx, at, a, func(r object.Row) bool {
		k := rowKey{r.OID, string(r.Dkey), string(r.Akey)}
		if _, twice := into[k]; twice {
			e.Errorf("%v met twice", k)
		}
		if r.Value != nil && r.Size != uint64(len(r.Value)) {
			e.Errorf("%v: size %d of %d bytes", k, r.Size, len(r.Value))
		}
		into[k] = fmt.Sprint(r.Size, ":", string(r.Value))
		if order != nil {
			*order = append(*order, k)
		}
		return true
	})
	if err != nil {
		e.Fatal(err)
	}
	if !end.AtEnd() {
		e.Fatalf("a whole scan does not end at the end")
	}
}

// fill writes a random namespace of several objects and returns its content.
func (e *env) fill(rng *rand.Rand, n int) map[rowKey]string {
	all := map[rowKey]string{}
	var w []object.Write
	for i := range n {
		oid := object.MakeID(object.ClassS1, 2, uint64(rng.IntN(n/4+1)))
		if i%2 == 0 {
			oid = object.MakeID(object.ClassSX, 2, uint64(rng.IntN(3)))
		}
		d, a := fmt.Sprintf("d%d", rng.IntN(n)), fmt.Sprintf("a%d", rng.IntN(2))
		v := strings.Repeat("v", rng.IntN(20))
		want := fmt.Sprint(len(v), ":", v)
		if i%37 == 0 {
			v = strings.Repeat("L", object.InlineMax+1+i)
			want = fmt.Sprint(len(v), ":")
		}
		w = append(w, put(oid, d, a, v), write(oid, d, "array", 0, "not in the namespace plane"))
		all[rowKey{oid, d, a}] = want
	}
	e.commit(w...)
	return all
}

var scanCases = []testCase{
	{"union-of-anchors", func(e *env) {
		rng := rand.New(rand.NewPCG(9, 10))
		all := e.fill(rng, 400)
		at := e.now()
		// Writers change the dataset meanwhile; the scan is at an epoch.
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				oid := object.MakeID(object.ClassSX, 2, uint64(i%3))
				if _, err := e.Commit(e.ctx, &object.Tx{Deferred: true, Writes: []object.Write{put(oid, fmt.Sprint("later", i%50), "a", "x"),
					punch(object.OpPunchDkey, oid, fmt.Sprint("d", i%400), "")}}); err != nil {
					e.Error(err)
					return
				}
			}
		})
		defer wg.Wait()
		defer close(done)
		var whole []rowKey
		for _, n := range []int{1, 2, 3, 16, 100, 5000} {
			got := map[rowKey]string{}
			anchors := e.Anchors(n)
			if len(anchors) < 1 || len(anchors) > n {
				e.Fatalf("%d anchors for %d asked", len(anchors), n)
			}
			var order []rowKey
			for _, a := range anchors {
				e.scanAll(at, a, got, &order)
			}
			e.compare(got, all)
			if whole == nil {
				whole = order
			}
			e.want("order does not depend on the anchors", slices.Equal(order, whole), true)
		}
		got := map[rowKey]string{}
		e.scanAll(at, nil, got, nil)
		e.compare(got, all)
		n, err := e.CountScan(e.ctx, at, nil)
		if err != nil || n != int64(len(all)) {
			e.Fatalf("count %d, %v; want %d", n, err, len(all))
		}
	}},
	{"resume", func(e *env) {
		rng := rand.New(rand.NewPCG(11, 12))
		all := e.fill(rng, 200)
		at := e.now()
		for _, step := range []int{1, 7, 50} {
			got := map[rowKey]string{}
			for _, a := range e.Anchors(3) {
				for !a.AtEnd() {
					n := 0
					next, err := e.Scan(e.ctx, at, a, func(r object.Row) bool {
						if n == step {
							return false // not consumed: it must come again
						}
						n++
						k := rowKey{r.OID, string(r.Dkey), string(r.Akey)}
						if _, twice := got[k]; twice {
							e.Errorf("%v met twice", k)
						}
						got[k] = fmt.Sprint(r.Size, ":", string(r.Value))
						return true
					})
					if err != nil {
						e.Fatal(err)
					}
					a = bytes.Clone(next)
					// What is deleted after the epoch does not disturb the token.
					e.must(&object.Tx{Deferred: true, Writes: []object.Write{punch(object.OpPunchObject, object.MakeID(object.ClassSX, 2, uint64(rng.IntN(3))), "", "")}})
				}
			}
			e.compare(got, all)
		}
	}},
	{"older-epoch", func(e *env) {
		e1 := e.commit(put(s1, "a", "v", "1"), put(sx, "b", "v", "2"))
		e2 := e.commit(punch(object.OpPunchObject, s1, "", ""), put(sx, "b", "v", "3"), put(sx, "c", "v", "4"))
		for _, c := range []struct {
			at   object.Epoch
			want int64
		}{{e1 - 1, 0}, {e1, 2}, {e2, 2}} {
			n, err := e.CountScan(e.ctx, c.at, nil)
			if err != nil || n != c.want {
				e.Fatalf("count at %d: %d, %v; want %d", c.at, n, err, c.want)
			}
		}
		got := map[rowKey]string{}
		e.scanAll(e2, nil, got, nil)
		e.compare(got, map[rowKey]string{{sx, "b", "v"}: "1:3", {sx, "c", "v"}: "1:4"})
	}},
	{"at-end", func(e *env) {
		e.commit(put(s1, "a", "v", "1"))
		end, err := e.Scan(e.ctx, e.now(), object.Anchor{}, func(object.Row) bool { e.Error("a row after the end"); return true })
		if err != nil || !end.AtEnd() {
			e.Fatalf("%v, %v", end, err)
		}
	}},
}

func (e *env) compare(got, want map[rowKey]string) {
	e.Helper()
	for k, v := range want {
		if got[k] != v {
			e.Fatalf("%v: got %.40q, want %.40q", k, got[k], v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			e.Fatalf("%v should not be there", k)
		}
	}
}

var badCases = []testCase{
	{"transactions", func(e *env) {
		long := strings.Repeat("k", object.MaxKey+1)
		none := object.ID{Lo: 1}
		for name, tx := range map[string]*object.Tx{
			"op":          {Writes: []object.Write{{Op: 99, OID: s1, Dkey: bs("d"), Akey: bs("a")}}},
			"no op":       {Writes: []object.Write{{OID: s1, Dkey: bs("d"), Akey: bs("a")}}},
			"class":       {Writes: []object.Write{put(none, "d", "a", "v")}},
			"empty dkey":  {Writes: []object.Write{put(s1, "", "a", "v")}},
			"empty akey":  {Writes: []object.Write{put(s1, "d", "", "v")}},
			"range":       {Writes: []object.Write{hole(s1, "d", "a", 1<<63, 1<<63)}},
			"overflow":    {Writes: []object.Write{write(s1, "d", "a", 1<<64-2, "abc")}},
			"cond":        {Conds: []object.Cond{{Kind: 9, OID: s1, Dkey: bs("d"), Akey: bs("a")}}},
			"cond class":  {Conds: []object.Cond{{Kind: object.DkeyExists, OID: none, Dkey: bs("d")}}},
			"read":        {Reads: []object.Read{{OID: s1, From: bs("b"), To: bs("a")}}},
			"read point":  {Reads: []object.Read{{OID: s1, Point: true}}},
			"read future": {ReadAt: object.EpochMax, Reads: []object.Read{{OID: s1}}},
		} {
			if _, err := e.Commit(e.ctx, tx); !fault.Is(err, fault.Invalid) {
				e.Errorf("%s: %v, want invalid", name, err)
			}
		}
		for name, tx := range map[string]*object.Tx{
			"dkey":   {Writes: []object.Write{put(s1, long, "a", "v")}},
			"akey":   {Writes: []object.Write{put(s1, "d", long, "v")}},
			"value":  {Writes: []object.Write{put(s1, "d", "a", strings.Repeat("v", object.MaxSingle+1))}},
			"answer": {Answer: make([]byte, object.MaxAnswer+1)},
			"ops":    {Writes: make([]object.Write, object.MaxOps+1)},
		} {
			if _, err := e.Commit(e.ctx, tx); !fault.Is(err, fault.TooBig) {
				e.Errorf("%s: %v, want too big", name, err)
			}
		}
		e.want("nothing was written", e.list(e.now(), s1, object.ListOptions{}), "")
	}},
	{"reads", func(e *env) {
		at := e.now()
		check := func(name string, err error) {
			e.Helper()
			if !fault.Is(err, fault.Invalid, fault.TooBig) {
				e.Errorf("%s: %v, want invalid", name, err)
			}
		}
		_, _, err := e.Get(e.ctx, at, object.ID{}, bs("d"), bs("a"))
		check("no class", err)
		_, _, err = e.Get(e.ctx, at, s1, nil, bs("a"))
		check("no dkey", err)
		_, _, err = e.Get(e.ctx, object.EpochMax, s1, bs("d"), bs("a"))
		check("future epoch", err)
		check("overflow", e.ReadArray(e.ctx, at, s1, bs("d"), bs("a"), 1<<64-2, make([]byte, 8)))
		_, err = e.Extents(e.ctx, at, s1, bs("d"), bs("a"), 1<<63, 1<<63)
		check("extents", err)
		check("list class", e.List(e.ctx, at, object.ID{}, object.ListOptions{}, func(object.Item) bool { return true }))
		check("list limit", e.List(e.ctx, at, s1, object.ListOptions{Limit: -1}, func(object.Item) bool { return true }))
		_, err = e.ReadEpoch(e.ctx, object.EpochMax-1)
		check("seen from the future", err)
	}},
	{"anchors", func(e *env) {
		rng := rand.New(rand.NewPCG(13, 14))
		e.fill(rng, 50)
		at := e.now()
		good := e.Anchors(2)[0]
		first, _ := e.Scan(e.ctx, at, good, func(object.Row) bool { return false })
		for i := range 2000 {
			a := bytes.Clone(good)
			if i%2 == 0 && len(first) > 0 {
				a = bytes.Clone(first)
			}
			switch i % 3 {
			case 0:
				a = a[:rng.IntN(len(a))+1]
			case 1:
				a[rng.IntN(len(a))] ^= 1 << rng.IntN(8)
			default:
				for range rng.IntN(40) {
					a = append(a, byte(rng.Uint32()))
				}
			}
			// Any answer but a crash or a hang; errors say that it is the anchor.
			if _, err := e.Scan(e.ctx, at, a, func(object.Row) bool { return true }); err != nil && !fault.Is(err, fault.Invalid) {
				e.Fatalf("anchor %x: %v", a, err)
			}
		}
	}},
}
