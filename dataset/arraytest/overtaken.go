package arraytest

import (
	"context"

	"daos/dataset/array"
	"daos/engine/object"
	"daos/internal/fault"
)

// overtaking is the store of a call that is sent a second time: its first sending
// is carried out (first) right after this one has looked for it in vain, or right
// before this one commits.
type overtaking struct {
	object.Store
	atCommit bool
	first    func()
}

func (o *overtaking) pass() {
	if f := o.first; f != nil {
		o.first = nil
		f()
	}
}

func (o *overtaking) Replay(ctx context.Context, id object.RequestID) (object.Result, bool, error) {
	res, ok, err := o.Store.Replay(ctx, id)
	if !o.atCommit {
		o.pass()
	}
	return res, ok, err
}

func (o *overtaking) Commit(ctx context.Context, tx *object.Tx) (object.Result, error) {
	if o.atCommit {
		o.pass()
	}
	return o.Store.Commit(ctx, tx)
}

// testOvertaken sends calls a second time while the first sending is under way:
// both get the same answer, though what the first one did is in the way of the
// second.
func testOvertaken(e *env) {
	s := array.Spec{DType: dtype("int32"), Shape: []uint64{2}, Chunks: []uint64{4}}
	n := byte(0)
	for _, atCommit := range []bool{false, true} {
		twice := func(call func(d *array.Dataset, id object.RequestID), before func()) {
			n++
			id := object.RequestID{n}
			o := &overtaking{Store: e.st, atCommit: atCommit, first: func() {
				before()
				call(e.set, id)
			}}
			call(array.Open(o, "p/a"), id)
			if o.first != nil {
				e.Fatalf("call %d was not overtaken", n)
			}
		}
		nothing := func() {}
		var numbers []uint64
		twice(func(d *array.Dataset, id object.RequestID) {
			number, _, err := d.Create(e.ctx, "x", s, array.CreateOptions{Request: id})
			e.ok(err)
			numbers = append(numbers, number)
		}, nothing)
		if numbers[0] != numbers[1] {
			e.Fatalf("one call has made arrays %v", numbers)
		}
		e.write("x", nil, ints(1, 2))
		length := uint64(2)
		var starts []uint64
		appends := func(d *array.Dataset, id object.RequestID, expect *uint64) {
			at, _, err := d.Append(e.ctx, "x", ints(3), array.AppendOptions{Request: id, Count: 1, ExpectLength: expect})
			e.ok(err)
			starts = append(starts, at)
		}
		twice(func(d *array.Dataset, id object.RequestID) { appends(d, id, &length) }, nothing)
		// Somebody else appends before the first sending does.
		if atCommit {
			twice(func(d *array.Dataset, id object.RequestID) { appends(d, id, nil) }, func() {
				_, _, err := e.set.Append(e.ctx, "x", ints(4), array.AppendOptions{Count: 1})
				e.ok(err)
			})
			e.equal(e.read(0, "x", nil), ints(1, 2, 3, 4, 3))
			if starts[2] != 4 || starts[3] != 4 {
				e.Fatalf("appended at %v", starts)
			}
		}
		if starts[0] != 2 || starts[1] != 2 {
			e.Fatalf("appended at %v", starts)
		}
		twice(func(d *array.Dataset, id object.RequestID) {
			present, _, err := d.PutKey(e.ctx, "k", []byte("v"), id, true)
			if e.ok(err); present {
				e.Fatal("a call was told that the key that it has made was there")
			}
		}, nothing)
		twice(func(d *array.Dataset, id object.RequestID) {
			removed, _, err := d.DeleteKey(e.ctx, "k", id)
			if e.ok(err); !removed {
				e.Fatal("a call was told that the key that it has removed was not there")
			}
		}, nothing)
		twice(func(d *array.Dataset, id object.RequestID) {
			_, err := d.CreateGroup(e.ctx, "g", array.CreateOptions{Request: id})
			e.ok(err)
		}, nothing)
		for _, path := range []string{"g", "x"} {
			twice(func(d *array.Dataset, id object.RequestID) {
				_, err := d.Remove(e.ctx, path, id, false)
				e.ok(err)
			}, nothing)
			_, _, err := e.set.Describe(e.ctx, 0, path)
			e.kind(err, fault.NotFound)
		}
	}
}
