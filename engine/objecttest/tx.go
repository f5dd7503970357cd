package objecttest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"daos/engine/object"
	"daos/internal/fault"
)

func request(n byte) object.RequestID { return object.RequestID{n, 1, 2, 3} }

func point(oid object.ID, dkey, akey string) object.Read {
	r := object.Read{OID: oid, Point: true, From: bs(dkey)}
	if akey != "" {
		r.Akey = bs(akey)
	}
	return r
}

var txCases = []testCase{
	{"conditions", func(e *env) {
		cond := func(k object.CondKind, dkey, akey string) []object.Cond {
			return []object.Cond{{Kind: k, OID: s1, Dkey: bs(dkey), Akey: bs(akey)}}
		}
		w := []object.Write{put(s1, "d", "a", "1")}
		e.refused(fault.NotFound, &object.Tx{Conds: cond(object.AkeyExists, "d", "a"), Writes: w})
		e.refused(fault.NotFound, &object.Tx{Conds: cond(object.DkeyExists, "d", ""), Writes: w})
		e.must(&object.Tx{Conds: cond(object.AkeyAbsent, "d", "a"), Writes: w})
		e.refused(fault.Exists, &object.Tx{Conds: cond(object.AkeyAbsent, "d", "a"), Writes: w})
		e.refused(fault.Exists, &object.Tx{Conds: cond(object.DkeyAbsent, "d", ""), Writes: w})
		e.must(&object.Tx{Conds: cond(object.AkeyAbsent, "d", "b"), Writes: []object.Write{put(s1, "d", "b", "2")}})
		e.must(&object.Tx{Conds: cond(object.DkeyExists, "d", ""), Writes: []object.Write{punch(object.OpPunchDkey, s1, "d", "")}})
		e.refused(fault.NotFound, &object.Tx{Conds: cond(object.AkeyExists, "d", "a"), Writes: w})
		e.must(&object.Tx{Conds: cond(object.DkeyAbsent, "d", ""), Writes: []object.Write{write(s1, "d", "arr", 0, "x")}})
		e.refused(fault.Exists, &object.Tx{Conds: cond(object.DkeyAbsent, "d", ""), Writes: w})
		e.refused(fault.Exists, &object.Tx{Conds: cond(object.AkeyAbsent, "d", "arr"), Writes: w})
		e.must(&object.Tx{Conds: cond(object.AkeyExists, "d", "arr"), Writes: []object.Write{hole(s1, "d", "arr", 0, 0)}})
		e.must(&object.Tx{Conds: cond(object.AkeyAbsent, "d", "arr"), Writes: w})
		e.want("value", e.get(e.now(), s1, "d", "a"), "1")
	}},
	{"refused-changes-nothing", func(e *env) {
		e.commit(put(s1, "d", "a", "1"))
		e.refused(fault.Exists, &object.Tx{
			Conds:  []object.Cond{{Kind: object.AkeyAbsent, OID: s1, Dkey: bs("d"), Akey: bs("a")}},
			Writes: []object.Write{put(s1, "d", "a", "2"), put(sx, "x", "y", "3"), write(s1, "d", "arr", 0, "x")},
		})
		at := e.now()
		e.want("values", e.get(at, s1, "d", "a")+e.get(at, sx, "x", "y"), "1-")
		e.want("array", e.end(at, s1, "d", "arr"), uint64(0))
	}},
	{"reads", func(e *env) {
		e.commit(put(s1, "b", "a", "1"), put(s1, "b", "z", "1"))
		at := e.now()
		try := func(kind fault.Kind, r object.Read) {
			e.Helper()
			tx := &object.Tx{ReadAt: at, Reads: []object.Read{r}, Writes: []object.Write{put(sx, "out", "a", "1")}}
			_, err := e.Commit(e.ctx, tx)
			if fault.KindOf(err) != kind && (kind != 0 || err != nil) {
				e.Fatalf("read %+v: %v, want %v", r, err, kind)
			}
		}
		point1, whole := point(s1, "b", "a"), object.Read{OID: s1}
		try(0, point1)
		try(0, whole)
		e.commit(put(s1, "b", "z", "2"))
		try(0, point1)
		try(fault.Conflict, point(s1, "b", "z"))
		try(fault.Conflict, point(s1, "b", ""))
		try(fault.Conflict, whole)
		try(0, object.Read{OID: s1, Akey: bs("a")})
		try(0, object.Read{OID: s1, From: bs("c")})
		try(0, object.Read{OID: s1, From: bs("a"), To: bs("b")})
		try(fault.Conflict, object.Read{OID: s1, From: bs("a"), To: bs("b\x00")})
		at = e.now()
		e.commit(put(s1, "new", "a", "1"))
		try(fault.Conflict, object.Read{OID: s1, From: bs("n"), To: bs("o")})
		try(0, point(s1, "b", ""))
		at = e.now()
		e.commit(punch(object.OpPunchDkey, s1, "b", ""))
		try(fault.Conflict, point(s1, "b", "a"))
		try(0, point(s1, "new", "a"))
		at = e.now()
		e.commit(punch(object.OpPunchObject, s1, "", ""))
		try(fault.Conflict, point(s1, "new", "a"))
		try(fault.Conflict, point(s1, "never", ""))
		at = e.now()
		e.commit(write(sx, "arr", "a", 0, "x"))
		try(fault.Conflict, point(sx, "arr", "a"))
		at = e.now()
		try(0, object.Read{OID: sx})
		try(fault.Conflict, object.Read{OID: sx, From: bs("ou"), To: bs("ov")}) // the write of the try before
	}},
	{"request-once", func(e *env) {
		tx := func(v, ans string) *object.Tx {
			return &object.Tx{Request: request(1), Answer: bs(ans), Writes: []object.Write{put(s1, "d", v, v), put(sx, "e", v, v)},
				Conds: []object.Cond{{Kind: object.AkeyAbsent, OID: s1, Dkey: bs("d"), Akey: bs(v)}}}
		}
		if _, ok, err := e.Replay(e.ctx, request(1)); ok || err != nil {
			e.Fatalf("replay of an unknown request: %v, %v", ok, err)
		}
		first := e.must(tx("v", "answer"))
		e.want("answer", string(first.Answer), "answer")
		e.want("replayed", first.Replayed, false)
		again := e.must(tx("v", "other"))
		e.want("replayed", fmt.Sprint(again.Replayed, again.Epoch, string(again.Answer)), fmt.Sprint(true, first.Epoch, "answer"))
		e.must(tx("w", ""))
		e.want("a retry changes nothing", e.get(e.now(), s1, "d", "w"), "-")
		r, ok, err := e.Replay(e.ctx, request(1))
		if !ok || err != nil || r.Epoch != first.Epoch || string(r.Answer) != "answer" {
			e.Fatalf("replay: %+v %v %v", r, ok, err)
		}
		e.refused(fault.Exists, &object.Tx{Request: request(2), Writes: []object.Write{put(s1, "d", "v", "x")},
			Conds: []object.Cond{{Kind: object.AkeyAbsent, OID: s1, Dkey: bs("d"), Akey: bs("v")}}})
		_, ok, _ = e.Replay(e.ctx, request(2))
		e.want("a refused request is not kept", ok, false)
		e.must(&object.Tx{Request: request(3), Answer: bs("empty")})
		r, ok, _ = e.Replay(e.ctx, request(3))
		e.want("a request without writes", fmt.Sprintf("%v %s", ok, r.Answer), "true empty")
	}},
	{"request-once-in-flight", func(e *env) {
		var wg sync.WaitGroup
		var fresh atomic.Int32
		for range 16 {
			wg.Go(func() {
				for n := range byte(20) {
					r, err := e.Commit(e.ctx, &object.Tx{Request: request(100 + n), Writes: []object.Write{put(s1, "d", "a", "v"), put(sx, "q", "a", "v")}})
					if err != nil {
						e.Errorf("commit: %v", err)
					} else if !r.Replayed {
						fresh.Add(1)
					}
				}
			})
		}
		wg.Wait()
		e.want("executions", fresh.Load(), int32(20))
	}},
	{"lost-update", func(e *env) {
		const workers, rounds = 8, 20
		e.commit(put(sx, "n", "a", ""))
		var wg sync.WaitGroup
		var conflicts atomic.Int32
		for range workers {
			wg.Go(func() {
				for range rounds {
					for {
						at, err := e.ReadEpoch(e.ctx, 0)
						if err != nil {
							e.Error(err)
							return
						}
						v, _, err := e.Get(e.ctx, at, sx, bs("n"), bs("a"))
						if err != nil {
							e.Error(err)
							return
						}
						_, err = e.Commit(e.ctx, &object.Tx{ReadAt: at, Reads: []object.Read{point(sx, "n", "a")},
							Writes: []object.Write{put(sx, "n", "a", string(v)+"+"), put(s1, "m", "a", string(v)+"+")}})
						if err == nil {
							break
						}
						if !errors.Is(err, fault.Conflict) {
							e.Error(err)
							return
						}
						conflicts.Add(1)
					}
				}
			})
		}
		wg.Wait()
		e.want("count", e.get(e.now(), sx, "n", "a"), strings.Repeat("+", workers*rounds))
		e.want("other target", e.get(e.now(), s1, "m", "a"), strings.Repeat("+", workers*rounds))
		e.Logf("%d conflicts", conflicts.Load())
	}},
	{"atomic-to-readers", func(e *env) {
		// Writers set all of several keys of both classes to one value; a reader
		// at any epoch must see them equal, and never go back.
		keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
		all := func(v string) []object.Write {
			var w []object.Write
			for _, k := range keys {
				w = append(w, put(sx, k, "v", v), put(s1, k, "v", v))
			}
			return w
		}
		e.commit(all("0")...)
		done := make(chan struct{})
		var writers, readers sync.WaitGroup
		for g := range 3 {
			writers.Go(func() {
				for i := range 30 {
					if _, err := e.Commit(e.ctx, &object.Tx{Writes: all(fmt.Sprint(g, i))}); err != nil {
						e.Error(err)
					}
				}
			})
		}
		for range 2 {
			readers.Go(func() {
				var seen object.Epoch
				for {
					at, err := e.ReadEpoch(e.ctx, 0)
					if err != nil {
						e.Error(err)
						return
					}
					v, wrote, err := e.Get(e.ctx, at, s1, bs("a"), bs("v"))
					if err != nil {
						e.Error(err)
						return
					}
					if wrote < seen {
						e.Errorf("went back from %d to %d", seen, wrote)
					}
					seen = wrote
					for _, oid := range []object.ID{s1, sx} {
						for _, k := range keys {
							if w, _, err := e.Get(e.ctx, at, oid, bs(k), bs("v")); err != nil || string(w) != string(v) {
								e.Errorf("half a transaction at %d: %s is %q (%v), not %q", at, k, w, err, v)
							}
						}
					}
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		writers.Wait()
		close(done)
		readers.Wait()
	}},
	{"deferred-then-barrier", func(e *env) {
		e.must(&object.Tx{Deferred: true, Writes: []object.Write{write(sx, "bulk", "a", 0, strings.Repeat("b", 5000)), put(s1, "x", "a", "1")}})
		e.want("visible before the barrier", e.end(e.now(), sx, "bulk", "a"), uint64(5000))
		e.must(&object.Tx{Barrier: true, Writes: []object.Write{put(s1, "ptr", "a", "bulk")}})
		e.want("visible after", e.get(e.now(), s1, "ptr", "a")+e.get(e.now(), s1, "x", "a"), "bulk1")
	}},
}
