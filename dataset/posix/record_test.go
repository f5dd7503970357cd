package posix

import (
	"reflect"
	"strings"
	"testing"

	"daos/engine/object"
	"daos/internal/fault"
)

func TestRecordsOnDisk(t *testing.T) {
	r := record{
		typ: TypeSymlink, class: object.ClassSX, mode: 0o4755, uid: 1, gid: 2, nlink: 3, inode: 1 << 60,
		size: 5, mtime: -7, ctime: 8, target: "there",
	}
	got, err := decodeRecord(r.encode(), 0)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Fatalf("%+v %v", got, err)
	}
	// Golden: the bytes of docs/format/posix.md.
	want := "\x01\x03\x00\x02\xed\x09\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x10\x05\x00\x00\x00\x00\x00\x00\x00\xf9\xff\xff\xff\xff\xff\xff\xff\x08\x00\x00\x00\x00\x00\x00\x00there"
	if string(r.encode()) != want {
		t.Fatalf("%q", r.encode())
	}
	s := self{held: true, parent: object.MakeID(object.ClassS1, useDir, 9), name: "n\xff"}
	back, err := decodeSelf(append(s.encode(), "rest of a longer one"...), "")
	if err != nil || back != s {
		t.Fatalf("%+v %v", back, err)
	}
	if want := "\x01\x01\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x02n\xff"; string(s.encode()) != want {
		t.Fatalf("%q", s.encode())
	}
}

func FuzzRecords(f *testing.F) {
	r := record{typ: TypeFile, chunk: 4096, nlink: 1}
	f.Add(r.encode())
	s := self{name: "x"}
	f.Add(s.encode())
	f.Add(stagedLease{1, 2}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		known := func(err error) {
			if err != nil && !fault.Is(err, fault.Corrupt, fault.Unsupported) {
				t.Fatal(err)
			}
		}
		r, err := decodeRecord(b, 1)
		known(err)
		if err == nil {
			again, err := decodeRecord(r.encode(), 1)
			if err != nil || again != r {
				t.Fatalf("%+v, again %+v, %v", r, again, err)
			}
		}
		raw, rerr := ParseRaw(b)
		known(rerr)
		if err == nil && (raw.Type() != r.typ || raw.Size() != r.size || raw.Mtime() != r.mtime || raw.Inode() != r.inode || raw.Linked() != r.linked()) {
			t.Fatalf("read in place %v, decoded %+v", raw, r)
		}
		_, err = decodeSelf(b, "")
		known(err)
		_, err = decodeLease(b, 1)
		known(err)
	})
}

func FuzzSplit(f *testing.F) {
	f.Add("a//b/\xff/")
	f.Fuzz(func(t *testing.T, p string) {
		names, err := Split(p)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		for _, n := range names {
			if CheckName(n) != nil {
				t.Fatalf("%q", n)
			}
		}
		again, err := Split("/" + strings.Join(names, "/"))
		if len(p) < MaxPath && (err != nil || !reflect.DeepEqual(names, again)) {
			t.Fatalf("%q, again %q, %v", names, again, err)
		}
	})
}
