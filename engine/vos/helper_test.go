package vos_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/object"
	"daos/engine/target"
	"daos/engine/vos"
)

const testDS = object.DatasetID(7)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func options(f vfs.FS, dir string) vos.Options {
	return vos.Options{Dir: dir, FS: f, ID: 3, Logger: quiet(), MemTable: 1 << 20, ReserveBytes: -1, MergeFrom: 2}
}

func open(t testing.TB, f vfs.FS, dir string) *vos.Target {
	t.Helper()
	v, err := vos.Open(options(f, dir))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return v
}

func mem(t testing.TB) (*vos.Target, vfs.FS) {
	t.Helper()
	f := vfs.NewMem()
	v := open(t, f, "t")
	t.Cleanup(func() { _ = v.Close() })
	return v, f
}

// place is where the tests put group 0 of an object.
func place(oid object.ID) target.Place {
	return target.Place{Dataset: testDS, Hash: uint32(object.Mix64(oid.Lo) >> 32), OID: oid}
}

func placed(w object.Write) target.Placed {
	return target.Placed{Write: w, Hash: place(w.OID).Hash}
}

func batch(e object.Epoch, ws ...object.Write) *target.Batch {
	b := &target.Batch{Dataset: testDS, Epoch: e}
	for _, w := range ws {
		b.Writes = append(b.Writes, placed(w))
	}
	return b
}

func prepare(t testing.TB, v *vos.Target, b *target.Batch) {
	t.Helper()
	if err := v.Prepare(context.Background(), b); err != nil {
		t.Fatalf("prepare at %d: %v", b.Epoch, err)
	}
}

func oid(n uint64) object.ID { return object.MakeID(object.ClassS1, 1, n) }

func put(o object.ID, dkey, akey string, data string) object.Write {
	return object.Write{Op: object.OpPut, OID: o, Dkey: []byte(dkey), Akey: []byte(akey), Data: []byte(data)}
}

func write(o object.ID, dkey, akey string, off uint64, data []byte) object.Write {
	return object.Write{Op: object.OpWrite, OID: o, Dkey: []byte(dkey), Akey: []byte(akey), Offset: off, Data: data}
}

func punch(op object.Op, o object.ID, dkey, akey string) object.Write {
	return object.Write{Op: op, OID: o, Dkey: []byte(dkey), Akey: []byte(akey)}
}

// value reads a single value whole; ok is false where there is none.
func value(t testing.TB, v *vos.Target, at object.Epoch, o object.ID, dkey, akey string) (string, bool) {
	t.Helper()
	s, ok, err := readValue(v, at, o, dkey, akey)
	if err != nil {
		t.Fatalf("get %s/%s at %d: %v", dkey, akey, at, err)
	}
	return s, ok
}

// bytesOf reads [off, off+n) of an array, holes as '.'.
func bytesOf(t testing.TB, v *vos.Target, at object.Epoch, o object.ID, dkey, akey string, off, n uint64) string {
	t.Helper()
	s, err := readArray(v, at, o, dkey, akey, off, n)
	if err != nil {
		t.Fatalf("extents of %s/%s at %d: %v", dkey, akey, at, err)
	}
	return s
}
