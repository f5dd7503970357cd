// Package objecttest is the conformance suite of object.Store: what every
// store (in memory, the engine, a remote one) must do, as one function, Run.
//
// It knows only the interfaces of engine/object. What only some stores do
// (segments, quotas, sweeping, crashes) is tested beside those stores.
package objecttest

import (
	"context"
	"fmt"
	"testing"

	"daos/engine/object"
	"daos/internal/fault"
)

// Run runs the whole suite. newStore makes an empty dataset, and cleans up
// after itself with t.Cleanup.
func Run(t *testing.T, newStore func(t *testing.T) object.Store) {
	for _, g := range []struct {
		name  string
		cases []testCase
	}{
		{"single", singleCases}, {"array", arrayCases}, {"punch", punchCases}, {"tx", txCases},
		{"list", listCases}, {"scan", scanCases}, {"bad", badCases},
	} {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) { c.run(&env{T: t, Store: newStore(t), ctx: context.Background()}) })
			}
		})
	}
}

type testCase struct {
	name string
	run  func(e *env)
}

// env is a store under test with helpers that fail the test.
type env struct {
	*testing.T
	object.Store
	ctx context.Context
}

var (
	s1 = object.MakeID(object.ClassS1, 1, 11)
	sx = object.MakeID(object.ClassSX, 1, 12)
)

func bs(s string) []byte { return []byte(s) }

func put(oid object.ID, dkey, akey, value string) object.Write {
	return object.Write{Op: object.OpPut, OID: oid, Dkey: bs(dkey), Akey: bs(akey), Data: bs(value)}
}

func write(oid object.ID, dkey, akey string, off uint64, data string) object.Write {
	return object.Write{Op: object.OpWrite, OID: oid, Dkey: bs(dkey), Akey: bs(akey), Offset: off, Data: bs(data)}
}

func hole(oid object.ID, dkey, akey string, off, n uint64) object.Write {
	return object.Write{Op: object.OpPunchRange, OID: oid, Dkey: bs(dkey), Akey: bs(akey), Offset: off, Length: n}
}

func punch(op object.Op, oid object.ID, dkey, akey string) object.Write {
	return object.Write{Op: op, OID: oid, Dkey: bs(dkey), Akey: bs(akey)}
}

// commit commits writes and returns their epoch.
func (e *env) commit(w ...object.Write) object.Epoch {
	e.Helper()
	return e.must(&object.Tx{Writes: w}).Epoch
}

func (e *env) must(tx *object.Tx) object.Result {
	e.Helper()
	r, err := e.Commit(e.ctx, tx)
	if err != nil {
		e.Fatalf("commit: %v", err)
	}
	return r
}

// refused commits tx and demands an error of a kind.
func (e *env) refused(kind fault.Kind, tx *object.Tx) {
	e.Helper()
	r, err := e.Commit(e.ctx, tx)
	if !fault.Is(err, kind) {
		e.Fatalf("commit: got epoch %d, error %v; want kind %v", r.Epoch, err, kind)
	}
}

// now is a closed epoch that sees everything answered.
func (e *env) now() object.Epoch {
	e.Helper()
	at, err := e.ReadEpoch(e.ctx, 0)
	if err != nil {
		e.Fatalf("read epoch: %v", err)
	}
	return at
}

// get renders a single value, "-" for none.
func (e *env) get(at object.Epoch, oid object.ID, dkey, akey string) string {
	e.Helper()
	v, _, err := e.Get(e.ctx, at, oid, bs(dkey), bs(akey))
	if fault.Is(err, fault.NotFound) {
		return "-"
	}
	if err != nil {
		e.Fatalf("get: %v", err)
	}
	return string(v)
}

// read renders n bytes of an array, holes as dots.
func (e *env) read(at object.Epoch, oid object.ID, dkey, akey string, off uint64, n int) string {
	e.Helper()
	p := make([]byte, n)
	for i := range p {
		p[i] = 'x' // what was there must not shine through holes
	}
	if err := e.ReadArray(e.ctx, at, oid, bs(dkey), bs(akey), off, p); err != nil {
		e.Fatalf("read array: %v", err)
	}
	for i := range p {
		if p[i] == 0 {
			p[i] = '.'
		}
	}
	return string(p)
}

func (e *env) end(at object.Epoch, oid object.ID, dkey, akey string) uint64 {
	e.Helper()
	n, err := e.ArrayEnd(e.ctx, at, oid, bs(dkey), bs(akey))
	if err != nil {
		e.Fatalf("array end: %v", err)
	}
	return n
}

// list renders a listing as "dkey/akey=value ...".
func (e *env) list(at object.Epoch, oid object.ID, o object.ListOptions) string {
	e.Helper()
	var s string
	err := e.List(e.ctx, at, oid, o, func(it object.Item) bool {
		if s != "" {
			s += " "
		}
		s += fmt.Sprintf("%s/%s=%s", it.Dkey, it.Akey, it.Value)
		return true
	})
	if err != nil {
		e.Fatalf("list: %v", err)
	}
	return s
}

func (e *env) want(what string, got, want any) {
	e.Helper()
	if got != want {
		e.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
