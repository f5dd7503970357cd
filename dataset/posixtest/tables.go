package posixtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"daos/dataset/posix"
	"daos/engine/object"
	"daos/internal/fault"
)

// fixture is a tree with calls that must work.
type fixture struct {
	Tree
	t   *testing.T
	ctx context.Context
	n   int
}

func begin(t *testing.T, open Open) *fixture {
	t.Helper()
	return &fixture{Tree: open(t), t: t, ctx: context.Background()}
}

func (f *fixture) req() object.RequestID { f.n++; return request(1<<40, f.n) }

func (f *fixture) now() object.Epoch {
	f.t.Helper()
	at, err := f.Now(f.ctx)
	f.ok(err)
	return at
}

func (f *fixture) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) fails(kind fault.Kind, err error) {
	f.t.Helper()
	if !errors.Is(err, kind) {
		f.t.Fatalf("got %v, want %v", err, kind)
	}
}

func (f *fixture) mkdir(path string) posix.Attr {
	f.t.Helper()
	a, err := f.MakeDir(f.ctx, f.req(), path, posix.MakeDirOptions{Parents: true})
	f.ok(err)
	return a
}

func (f *fixture) create(path, content string) posix.Attr {
	f.t.Helper()
	a, err := f.Create(f.ctx, f.req(), path, posix.CreateOptions{Parents: true, Exclusive: true, Content: []byte(content)})
	f.ok(err)
	return a
}

func (f *fixture) stat(path string) posix.Attr {
	f.t.Helper()
	a, err := f.Stat(f.ctx, f.now(), posix.ByPath(path), false)
	f.ok(err)
	return a
}

func (f *fixture) gone(path string) {
	f.t.Helper()
	_, err := f.Stat(f.ctx, f.now(), posix.ByPath(path), false)
	f.fails(fault.NotFound, err)
}

func (f *fixture) read(r posix.Ref) string {
	f.t.Helper()
	at := f.now()
	a, err := f.Stat(f.ctx, at, r, true)
	f.ok(err)
	p := make([]byte, a.Size+10)
	n, err := f.Read(f.ctx, at, r, p, 0)
	f.ok(err)
	if uint64(n) != a.Size {
		f.t.Fatalf("%v: read %d of %d bytes", r, n, a.Size)
	}
	return string(p[:n])
}

func (f *fixture) names(path string) string {
	f.t.Helper()
	es, more, err := f.ListDir(f.ctx, f.now(), path, "", 0)
	f.ok(err)
	if more {
		f.t.Fatal("more than a page")
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name)
	}
	return strings.Join(names, " ")
}

func testNames(t *testing.T, open Open) {
	f := begin(t, open)
	long := strings.Repeat("n", posix.MaxName)
	for _, bad := range []string{".", "..", "a/../b", "a/./b", "x\x00y", long + "n", strings.Repeat("a/", 2048) + "a"} {
		_, err := f.Create(f.ctx, f.req(), bad, posix.CreateOptions{Parents: true})
		f.fails(fault.Invalid, err)
		_, err = f.Stat(f.ctx, f.now(), posix.ByPath(bad), false)
		f.fails(fault.Invalid, err)
		_, err = f.Import(f.ctx, f.req(), []posix.ImportEntry{{Path: bad, Type: posix.TypeFile}}, false)
		f.fails(fault.Invalid, err)
	}
	for _, good := range []string{long, "\xff\xfe", " ", "...", "a\nb", "é", "-", "\x01"} {
		f.create(good, good)
		if got := f.read(posix.ByPath("//" + good + "/")); got != good {
			t.Fatalf("%q: %q", good, got)
		}
	}
	root := f.stat("")
	if root.Type != posix.TypeDir || root.Inode != f.stat("/").Inode {
		t.Fatalf("root %+v", root)
	}
	_, err := f.Create(f.ctx, f.req(), "", posix.CreateOptions{})
	f.fails(fault.IsDirectory, err)
	_, err = f.MakeDir(f.ctx, f.req(), "/", posix.MakeDirOptions{})
	f.fails(fault.Exists, err)
	_, err = f.Create(f.ctx, f.req(), "é/x", posix.CreateOptions{})
	f.fails(fault.NotDirectory, err)
	_, err = f.Create(f.ctx, f.req(), "no/x", posix.CreateOptions{})
	f.fails(fault.NotFound, err)
}

func testFiles(t *testing.T, open Open) {
	f := begin(t, open)
	a := f.create("d/f", "")
	ref := posix.ByInode(a.Inode)
	write := func(off uint64, s string) {
		t.Helper()
		_, err := f.Write(f.ctx, f.req(), ref, posix.WriteOptions{Offset: off}, []byte(s))
		f.ok(err)
	}
	want := []byte{}
	for i, w := range []struct {
		off uint64
		n   int
	}{{0, 10}, {5, 10}, {4090, 20}, {20000, 1}, {3000, 9000}, {0, 1}} {
		s := bytes.Repeat([]byte{byte('a' + i)}, w.n)
		if n := int(w.off) + w.n; n > len(want) {
			want = append(want, make([]byte, n-len(want))...)
		}
		copy(want[w.off:], s)
		write(w.off, string(s))
		if got := f.read(ref); got != string(want) {
			t.Fatalf("after write %d: %d bytes, want %d", i, len(got), len(want))
		}
	}
	before := f.now()
	for _, size := range []uint64{4096, 5000, 100, 0, 9000, 8192} {
		_, err := f.Truncate(f.ctx, f.req(), ref, size)
		f.ok(err)
		if int(size) < len(want) {
			want = want[:size]
		} else {
			want = append(want, make([]byte, int(size)-len(want))...)
		}
		if got := f.read(posix.ByPath("d/f")); got != string(want) {
			t.Fatalf("cut to %d: wrong bytes", size)
		}
	}
	if at, err := f.Stat(f.ctx, before, ref, true); err != nil || at.Size != 20001 {
		t.Fatalf("before the cuts: %+v %v", at, err)
	}
	// A file with a huge hole, cut and removed.
	write(1<<40, "end")
	if got := f.stat("d/f").Size; got != 1<<40+3 {
		t.Fatalf("size %d", got)
	}
	p := make([]byte, 8)
	if n, err := f.Read(f.ctx, f.now(), ref, p, 1<<40-2); err != nil || string(p[:n]) != "\x00\x00end" {
		t.Fatalf("%q %v", p[:n], err)
	}
	_, err := f.Truncate(f.ctx, f.req(), ref, 1)
	f.ok(err)
	write(1<<40+2, "X")
	if n, err := f.Read(f.ctx, f.now(), ref, p, 1<<40-2); err != nil || string(p[:n]) != "\x00\x00\x00\x00X" {
		t.Fatalf("old bytes came back: %q %v", p[:n], err)
	}
	// O_CREAT, O_EXCL, O_TRUNC.
	_, err = f.Create(f.ctx, f.req(), "d/f", posix.CreateOptions{Exclusive: true})
	f.fails(fault.Exists, err)
	again, err := f.Create(f.ctx, f.req(), "d/f", posix.CreateOptions{})
	f.ok(err)
	if again.Inode != a.Inode || again.Size != 1<<40+3 {
		t.Fatalf("opened %+v", again)
	}
	again, err = f.Create(f.ctx, f.req(), "d/f", posix.CreateOptions{Truncate: true})
	f.ok(err)
	if again.Inode != a.Inode || again.Size != 0 || f.read(ref) != "" {
		t.Fatalf("truncated %+v", again)
	}
	_, err = f.Create(f.ctx, f.req(), "d", posix.CreateOptions{})
	f.fails(fault.IsDirectory, err)
	_, err = f.Write(f.ctx, f.req(), posix.ByPath("d"), posix.WriteOptions{}, []byte("x"))
	f.fails(fault.IsDirectory, err)
	_, err = f.Write(f.ctx, f.req(), posix.ByPath("d/none"), posix.WriteOptions{}, []byte("x"))
	f.fails(fault.NotFound, err)
	_, err = f.Write(f.ctx, f.req(), ref, posix.WriteOptions{Offset: posix.MaxFile}, []byte("x"))
	f.fails(fault.Invalid, err)
	_, err = f.Write(f.ctx, f.req(), ref, posix.WriteOptions{Offset: 1<<64 - 1}, []byte("xx"))
	f.fails(fault.Invalid, err)
	// Removed: the number names nothing any more.
	_, err = f.Remove(f.ctx, f.req(), "d/f", posix.RemoveOptions{})
	f.ok(err)
	for _, inode := range []uint64{a.Inode, 2, 3, 1 << 60, 1<<64 - 1} {
		_, err = f.Stat(f.ctx, f.now(), posix.ByInode(inode), true)
		f.fails(fault.NotFound, err)
		_, err = f.Write(f.ctx, f.req(), posix.ByInode(inode), posix.WriteOptions{}, []byte("x"))
		f.fails(fault.NotFound, err)
	}
	if got := f.create("d/f", "new").Inode; got == a.Inode {
		t.Fatal("an inode number was used again")
	}
}

func testRename(t *testing.T, open Open) {
	f := begin(t, open)
	mv := func(from, to string) error {
		_, err := f.Rename(f.ctx, f.req(), from, to, false)
		return err
	}
	a := f.create("d/f", "one")
	b := f.create("e/g", "two")
	f.mkdir("d/sub/deep")
	f.ok(mv("d/f", "e/f"))
	f.gone("d/f")
	if f.read(posix.ByInode(a.Inode)) != "one" || f.stat("e/f").Inode != a.Inode {
		t.Fatal("a renamed file is not itself")
	}
	_, err := f.Rename(f.ctx, f.req(), "e/f", "e/g", true)
	f.fails(fault.Exists, err)
	f.ok(mv("e/f", "e/g"))
	if f.read(posix.ByPath("e/g")) != "one" || f.names("e") != "g" {
		t.Fatal("a file was not replaced")
	}
	_, err = f.Stat(f.ctx, f.now(), posix.ByInode(b.Inode), false)
	f.fails(fault.NotFound, err)
	f.ok(mv("e/g", "e/g"))
	f.fails(fault.NotFound, mv("e/none", "x"))
	f.fails(fault.NotFound, mv("e/g", "none/x"))
	f.fails(fault.IsDirectory, mv("e/g", "d"))
	f.fails(fault.NotDirectory, mv("d", "e/g"))
	f.fails(fault.NotEmpty, mv("e", "d"))
	f.fails(fault.Invalid, mv("d", "d/sub/x"))
	f.fails(fault.Invalid, mv("d", "d/sub"))
	f.fails(fault.Invalid, mv("", "x"))
	f.fails(fault.Invalid, mv("d", "/"))
	f.fails(fault.NotDirectory, mv("e/g/x", "y"))
	// A directory over an empty one; what is below goes along.
	f.create("d/sub/deep/h", "three")
	f.mkdir("empty")
	f.ok(mv("d/sub", "empty"))
	if f.read(posix.ByPath("empty/deep/h")) != "three" || f.names("d") != "" {
		t.Fatal("a directory did not move")
	}
	h := f.stat("empty/deep/h")
	f.ok(mv("empty", "e/moved"))
	_, err = f.Write(f.ctx, f.req(), posix.ByInode(h.Inode), posix.WriteOptions{Append: true}, []byte("!"))
	f.ok(err)
	if f.read(posix.ByPath("e/moved/deep/h")) != "three!" {
		t.Fatal("a write by inode missed the moved file")
	}
	// Removing.
	rm := func(path string, o posix.RemoveOptions) error {
		_, err := f.Remove(f.ctx, f.req(), path, o)
		return err
	}
	f.fails(fault.NotEmpty, rm("e", posix.RemoveOptions{}))
	f.fails(fault.NotEmpty, rm("e", posix.RemoveOptions{Directory: true}))
	f.fails(fault.NotDirectory, rm("e/g", posix.RemoveOptions{Directory: true}))
	f.fails(fault.Invalid, rm("", posix.RemoveOptions{Recursive: true}))
	f.fails(fault.NotFound, rm("none", posix.RemoveOptions{}))
	f.ok(rm("d", posix.RemoveOptions{Directory: true}))
	f.ok(rm("e", posix.RemoveOptions{Recursive: true}))
	if got := f.names(""); got != "" {
		t.Fatalf("left: %q", got)
	}
	f.mkdir("e")
	if got := f.names("e"); got != "" {
		t.Fatalf("a new directory has the old one's %q", got)
	}
}

func testLinks(t *testing.T, open Open) {
	f := begin(t, open)
	sym := func(target, path string) {
		t.Helper()
		_, err := f.Symlink(f.ctx, f.req(), target, path)
		f.ok(err)
	}
	a := f.create("d/f", "one")
	_, err := f.SetXattr(f.ctx, f.req(), posix.ByPath("d/f"), "k", []byte("v"), posix.SetXattrOptions{})
	f.ok(err)
	l, err := f.Link(f.ctx, f.req(), "d/f", "g")
	f.ok(err)
	if l.Inode != a.Inode || l.Nlink != 2 || f.stat("d/f").Nlink != 2 {
		t.Fatalf("linked %+v", l)
	}
	_, err = f.Write(f.ctx, f.req(), posix.ByPath("g"), posix.WriteOptions{Append: true}, []byte("+"))
	f.ok(err)
	if f.stat("d/f").Size != 4 || f.read(posix.ByInode(a.Inode)) != "one+" {
		t.Fatal("names of one file differ")
	}
	_, err = f.Rename(f.ctx, f.req(), "g", "d/f", false) // the same inode: nothing happens
	f.ok(err)
	f.stat("g")
	_, err = f.Rename(f.ctx, f.req(), "d/f", "h", false)
	f.ok(err)
	_, err = f.Remove(f.ctx, f.req(), "g", posix.RemoveOptions{})
	f.ok(err)
	if s := f.stat("h"); s.Nlink != 1 || s.Inode != a.Inode || f.read(posix.ByInode(a.Inode)) != "one+" {
		t.Fatalf("%+v", s)
	}
	if x, err := f.GetXattr(f.ctx, f.now(), posix.ByPath("h"), "k"); err != nil || string(x) != "v" {
		t.Fatalf("%q %v", x, err)
	}
	f.create("other", "o")
	_, err = f.Rename(f.ctx, f.req(), "other", "h", false)
	f.ok(err)
	_, err = f.Stat(f.ctx, f.now(), posix.ByInode(a.Inode), false)
	f.fails(fault.NotFound, err)
	_, err = f.Link(f.ctx, f.req(), "d", "dd")
	f.fails(fault.IsDirectory, err)
	_, err = f.Link(f.ctx, f.req(), "h", "h")
	f.fails(fault.Exists, err)

	f.create("x/y/file", "deep")
	sym("y", "x/rel")
	sym("/x/y", "abs")
	sym("../../x/rel/file", "x/up")
	sym("../../../../../../etc/passwd", "x/climb")
	sym("loop2", "loop1")
	sym("loop1", "loop2")
	sym("nowhere", "dangling")
	for _, p := range []string{"x/rel/file", "abs/file", "x/up"} {
		if got := f.read(posix.ByPath(p)); got != "deep" {
			t.Fatalf("%s: %q", p, got)
		}
	}
	_, err = f.Stat(f.ctx, f.now(), posix.ByPath("x/climb"), true)
	f.fails(fault.NotFound, err)
	_, err = f.Stat(f.ctx, f.now(), posix.ByPath("loop1"), true)
	f.fails(fault.Invalid, err)
	s := f.stat("abs")
	if s.Type != posix.TypeSymlink || s.Target != "/x/y" || s.Size != 4 {
		t.Fatalf("%+v", s)
	}
	if byn, err := f.Stat(f.ctx, f.now(), posix.ByInode(s.Inode), false); err != nil || byn.Target != "/x/y" {
		t.Fatalf("%+v %v", byn, err)
	}
	_, err = f.Create(f.ctx, f.req(), "dangling", posix.CreateOptions{Exclusive: true})
	f.fails(fault.Exists, err)
	_, err = f.Create(f.ctx, f.req(), "dangling", posix.CreateOptions{Content: []byte("made")})
	f.ok(err)
	if f.read(posix.ByPath("nowhere")) != "made" {
		t.Fatal("a link was not followed")
	}
	_, err = f.Link(f.ctx, f.req(), "abs", "abs2")
	f.ok(err)
	if f.read(posix.ByPath("abs2/file")) != "deep" {
		t.Fatal("a linked symbolic link")
	}
	_, err = f.Symlink(f.ctx, f.req(), strings.Repeat("t", 2000), "longlink")
	f.ok(err)
	if got := f.stat("longlink"); len(got.Target) != 2000 {
		t.Fatalf("%d bytes of target", len(got.Target))
	}
	_, err = f.Symlink(f.ctx, f.req(), "", "empty")
	f.fails(fault.Invalid, err)
}

func testAttributes(t *testing.T, open Open) {
	f := begin(t, open)
	f.create("f", "x")
	f.mkdir("d")
	u := func(n uint32) *uint32 { return &n }
	i := func(n int64) *int64 { return &n }
	for _, p := range []string{"f", "d", ""} {
		a, err := f.SetAttr(f.ctx, f.req(), posix.ByPath(p), posix.SetAttr{Mode: u(0o4711), UID: u(7), GID: u(8), Mtime: i(-5)})
		f.ok(err)
		s := f.stat(p)
		if s.Mode != 0o4711 || s.UID != 7 || s.GID != 8 || s.Mtime != -5 || a.Inode != s.Inode {
			t.Fatalf("%q: %+v", p, s)
		}
	}
	_, err := f.SetAttr(f.ctx, f.req(), posix.ByPath("f"), posix.SetAttr{Mode: u(0o10000)})
	f.fails(fault.Invalid, err)
	_, err = f.Write(f.ctx, f.req(), posix.ByPath("f"), posix.WriteOptions{}, []byte("y"))
	f.ok(err)
	if s := f.stat("f"); s.Mtime <= 0 {
		t.Fatalf("a write did not raise the time: %+v", s)
	}
	future := time.Now().Add(time.Hour).UnixNano()
	_, err = f.SetAttr(f.ctx, f.req(), posix.ByPath("f"), posix.SetAttr{Mtime: &future})
	f.ok(err)
	_, err = f.Write(f.ctx, f.req(), posix.ByPath("f"), posix.WriteOptions{}, []byte("z"))
	f.ok(err)
	if s := f.stat("f"); s.Mtime != future {
		t.Fatalf("a write lowered the time: %+v", s)
	}
	set := func(p, k, v string, o posix.SetXattrOptions) error {
		_, err := f.SetXattr(f.ctx, f.req(), posix.ByPath(p), k, []byte(v), o)
		return err
	}
	for _, p := range []string{"f", "d", ""} {
		f.ok(set(p, "user.b", "1", posix.SetXattrOptions{}))
		f.ok(set(p, "a\xff", "", posix.SetXattrOptions{Exclusive: true}))
		f.fails(fault.Exists, set(p, "user.b", "2", posix.SetXattrOptions{Exclusive: true}))
		f.ok(set(p, "user.b", strings.Repeat("v", posix.MaxXattr), posix.SetXattrOptions{}))
		if names, err := f.ListXattrs(f.ctx, f.now(), posix.ByPath(p)); err != nil || fmt.Sprintf("%q", names) != `["a\xff" "user.b"]` {
			t.Fatalf("%q %v", names, err)
		}
		f.ok(set(p, "a\xff", "", posix.SetXattrOptions{Remove: true}))
		f.fails(fault.NotFound, set(p, "a\xff", "", posix.SetXattrOptions{Remove: true}))
		_, err := f.GetXattr(f.ctx, f.now(), posix.ByPath(p), "a\xff")
		f.fails(fault.NotFound, err)
		if v, err := f.GetXattr(f.ctx, f.now(), posix.ByPath(p), "user.b"); err != nil || len(v) != posix.MaxXattr {
			t.Fatalf("%d bytes, %v", len(v), err)
		}
		f.fails(fault.TooBig, set(p, "k", strings.Repeat("v", posix.MaxXattr+1), posix.SetXattrOptions{}))
		f.fails(fault.Invalid, set(p, "", "v", posix.SetXattrOptions{}))
	}
	_, err = f.Rename(f.ctx, f.req(), "f", "d/f", false)
	f.ok(err)
	if v, err := f.GetXattr(f.ctx, f.now(), posix.ByPath("d/f"), "user.b"); err != nil || len(v) != posix.MaxXattr {
		t.Fatalf("after rename: %d bytes, %v", len(v), err)
	}
	_, err = f.Truncate(f.ctx, f.req(), posix.ByPath("d/f"), 0)
	f.ok(err)
	if v, err := f.GetXattr(f.ctx, f.now(), posix.ByPath("d/f"), "user.b"); err != nil || len(v) != posix.MaxXattr {
		t.Fatalf("after truncate: %d bytes, %v", len(v), err)
	}
}

func testList(t *testing.T, open Open) {
	f := begin(t, open)
	var entries []posix.ImportEntry
	var want []string
	for i := range 300 {
		entries = append(entries, posix.ImportEntry{Path: fmt.Sprintf("d/%03d", i), Type: posix.TypeFile})
		want = append(want, fmt.Sprintf("%03d", i))
	}
	_, err := f.Import(f.ctx, f.req(), entries, false)
	f.ok(err)
	at := f.now()
	for i := range 10 { // the pages of an epoch don't move
		_, err := f.Remove(f.ctx, f.req(), fmt.Sprintf("d/%03d", i*7), posix.RemoveOptions{})
		f.ok(err)
	}
	var got []string
	after, more := "", true
	for more {
		var es []posix.Entry
		es, more, err = f.ListDir(f.ctx, at, "d", after, 100)
		f.ok(err)
		for _, e := range es {
			got = append(got, e.Name)
			after = e.Name
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("got %d names, want %d", len(got), len(want))
	}
	if es, _, err := f.ListDir(f.ctx, f.now(), "d", "007x", 1); err != nil || es[0].Name != "008" {
		t.Fatalf("%v %v", es, err)
	}
	if es, _, err := f.ListDir(f.ctx, f.now(), "d", "", 0); err != nil || len(es) != 290 {
		t.Fatalf("%d %v", len(es), err)
	}
	_, _, err = f.ListDir(f.ctx, f.now(), "d/001", "", 0)
	f.fails(fault.NotDirectory, err)
}

func testStage(t *testing.T, open Open) {
	f := begin(t, open)
	old := f.create("ckpt", "old")
	n, err := f.Stage(f.ctx, f.req(), 0)
	f.ok(err)
	f.ok(f.WriteStaged(f.ctx, f.req(), n, 4000, bytes.Repeat([]byte("s"), 9000)))
	f.ok(f.WriteStaged(f.ctx, f.req(), n, 0, []byte("begin")))
	if f.read(posix.ByPath("ckpt")) != "old" || f.names("") != "ckpt" {
		t.Fatal("a staged file can be seen")
	}
	_, err = f.Stat(f.ctx, f.now(), posix.ByInode(n), false)
	f.fails(fault.NotFound, err)
	_, err = f.Publish(f.ctx, f.req(), n, "ckpt", posix.PublishOptions{Exclusive: true})
	f.fails(fault.Exists, err)
	req := f.req()
	a, err := f.Publish(f.ctx, req, n, "ckpt", posix.PublishOptions{Size: 5001})
	f.ok(err)
	again, err := f.Publish(f.ctx, req, n, "ckpt", posix.PublishOptions{Size: 5001})
	f.ok(err)
	if a != again || a.Inode != n {
		t.Fatalf("%+v, again %+v", a, again)
	}
	want := "begin" + strings.Repeat("\x00", 3995) + strings.Repeat("s", 1001)
	if f.read(posix.ByPath("ckpt")) != want {
		t.Fatal("published bytes differ")
	}
	_, err = f.Truncate(f.ctx, f.req(), posix.ByPath("ckpt"), 13000)
	f.ok(err)
	if f.read(posix.ByPath("ckpt")) != want+strings.Repeat("\x00", 13000-5001) {
		t.Fatal("staged bytes beyond the size came back")
	}
	_, err = f.Stat(f.ctx, f.now(), posix.ByInode(old.Inode), false)
	f.fails(fault.NotFound, err)
	f.fails(fault.NotFound, f.WriteStaged(f.ctx, f.req(), n, 0, []byte("x")))
	m, err := f.Stage(f.ctx, f.req(), time.Minute)
	f.ok(err)
	f.ok(f.WriteStaged(f.ctx, f.req(), m, 0, []byte("x")))
	f.ok(f.Discard(f.ctx, m))
	f.ok(f.Discard(f.ctx, m))
	_, err = f.Publish(f.ctx, f.req(), m, "no", posix.PublishOptions{})
	f.fails(fault.NotFound, err)
	f.gone("no")
	k, err := f.Stage(f.ctx, f.req(), 0)
	f.ok(err)
	_, err = f.Publish(f.ctx, f.req(), k, "new/dir/empty", posix.PublishOptions{Parents: true, Mtime: 42, Mode: 0o600})
	f.ok(err)
	if s := f.stat("new/dir/empty"); s.Size != 0 || s.Mtime != 42 || s.Mode != 0o600 {
		t.Fatalf("%+v", s)
	}
}

func testImport(t *testing.T, open Open) {
	f := begin(t, open)
	entries := []posix.ImportEntry{
		{Path: "a", Type: posix.TypeDir, Mode: 0o700, Mtime: 9},
		{Path: "a/one", Type: posix.TypeFile, Mode: 0o640, Mtime: 7, Content: []byte("1")},
		{Path: "a/b/c/two", Type: posix.TypeFile, Content: bytes.Repeat([]byte("2"), 10000)},
		{Path: "a/ln", Type: posix.TypeSymlink, Target: "one"},
		{Path: "top", Type: posix.TypeFile},
	}
	req := f.req()
	got, err := f.Import(f.ctx, req, entries, false)
	f.ok(err)
	again, err := f.Import(f.ctx, req, entries, false)
	f.ok(err)
	if got != again || got.Entries != 5 {
		t.Fatalf("%+v, again %+v", got, again)
	}
	if s := f.stat("a/one"); s.Mode != 0o640 || s.Mtime != 7 || f.read(posix.ByPath("a/ln")) != "1" {
		t.Fatalf("%+v", s)
	}
	if s := f.stat("a"); s.Mode != 0o700 || s.Mtime != 9 {
		t.Fatalf("%+v", s)
	}
	two := f.stat("a/b/c/two")
	if f.read(posix.ByInode(two.Inode)) != strings.Repeat("2", 10000) {
		t.Fatal("wrong bytes")
	}
	// All or nothing.
	_, err = f.Import(f.ctx, f.req(), []posix.ImportEntry{{Path: "new", Type: posix.TypeFile}, {Path: "a/one", Type: posix.TypeFile}}, false)
	f.fails(fault.Exists, err)
	if !strings.Contains(err.Error(), "a/one") {
		t.Fatalf("does not name the entry: %v", err)
	}
	f.gone("new")
	_, err = f.Import(f.ctx, f.req(), []posix.ImportEntry{{Path: "x", Type: posix.TypeFile}, {Path: "x", Type: posix.TypeFile}}, true)
	f.fails(fault.Exists, err)
	_, err = f.Import(f.ctx, f.req(), []posix.ImportEntry{{Path: "y", Type: posix.TypeDir}, {Path: "y", Type: posix.TypeFile}}, false)
	f.fails(fault.Exists, err)
	f.gone("y")
	_, err = f.Import(f.ctx, f.req(), []posix.ImportEntry{{Path: "a/one/x", Type: posix.TypeFile}}, true)
	f.fails(fault.NotDirectory, err)
	_, err = f.Import(f.ctx, f.req(), []posix.ImportEntry{{Path: "a", Type: posix.TypeFile}}, true)
	f.fails(fault.IsDirectory, err)
	_, err = f.Import(f.ctx, f.req(), []posix.ImportEntry{{Path: "q", Type: 9}}, true)
	f.fails(fault.Invalid, err)
	_, err = f.Import(f.ctx, f.req(), []posix.ImportEntry{{Path: "a/one", Type: posix.TypeFile, Content: []byte("new")}, {Path: "a", Type: posix.TypeDir}}, true)
	f.ok(err)
	if f.read(posix.ByPath("a/one")) != "new" {
		t.Fatal("not replaced")
	}
}

// testRetry makes each call twice with one request id: the second gets the
// first answer and changes nothing, though the tree has changed meanwhile.
func testRetry(t *testing.T, open Open) {
	f := begin(t, open)
	f.create("f", "x")
	r1, r2, r3 := f.req(), f.req(), f.req()
	w, err := f.Write(f.ctx, r1, posix.ByPath("f"), posix.WriteOptions{Append: true}, []byte("12"))
	f.ok(err)
	c, err := f.Create(f.ctx, r2, "g", posix.CreateOptions{Exclusive: true})
	f.ok(err)
	e, err := f.Rename(f.ctx, r3, "g", "h", false)
	f.ok(err)
	f.create("g", "another")
	if again, err := f.Write(f.ctx, r1, posix.ByPath("f"), posix.WriteOptions{Append: true}, []byte("12")); err != nil || again != w {
		t.Fatalf("%+v %v, want %+v", again, err, w)
	}
	if again, err := f.Create(f.ctx, r2, "g", posix.CreateOptions{Exclusive: true}); err != nil || again != c {
		t.Fatalf("%+v %v, want %+v", again, err, c)
	}
	if again, err := f.Rename(f.ctx, r3, "g", "h", false); err != nil || again != e {
		t.Fatalf("%d %v, want %d", again, err, e)
	}
	if f.read(posix.ByPath("f")) != "x12" || f.read(posix.ByPath("g")) != "another" || f.stat("h").Inode != c.Inode {
		t.Fatal("a retry was carried out")
	}
}

// testTwins makes calls again while the first is still under way: both get one
// answer, and it happens once.
func testTwins(t *testing.T, open Open) {
	f := begin(t, open)
	f.create("log", "")
	f.create("src/0", "")
	for i := range 30 {
		name := fmt.Sprint("x", i)
		calls := []call{
			{op: "create", path: name, a: true, data: "once"},
			{op: "append", path: "log", data: "12345"},
			{op: "mkdir", path: name + ".d"},
			{op: "rename", path: fmt.Sprint("src/", i), to: fmt.Sprint("src/", i+1), a: true},
			{op: "link", path: "log", to: name + ".l"},
		}
		for _, c := range calls {
			req := f.req()
			var got [3]outcome
			var wg sync.WaitGroup
			for k := range got {
				wg.Add(1)
				go func() {
					defer wg.Done()
					got[k] = c.on(f.ctx, f.Tree, req)
				}()
			}
			wg.Wait()
			if got[0].err != nil || got[0] != got[1] || got[0] != got[2] {
				t.Fatalf("round %d, %v: %v", i, c, got)
			}
		}
		if s := f.stat("log"); s.Size != uint64(5*(i+1)) || s.Nlink != uint32(i+2) {
			t.Fatalf("round %d: %+v", i, s)
		}
	}
}

// testCycles renames two directories into each other at once: one of them
// must lose, else both hang in the air.
func testCycles(t *testing.T, open Open) {
	f := begin(t, open)
	for i := range 20 {
		root := fmt.Sprintf("r%d/", i)
		f.mkdir(root + "a/x/y")
		f.mkdir(root + "b/x/y")
		reqs := [2]object.RequestID{f.req(), f.req()}
		var errs [2]error
		var wg sync.WaitGroup
		for k, mv := range [2][2]string{{"a", "b/x/y/a"}, {"b", "a/x/y/b"}} {
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, errs[k] = f.Tree.Rename(f.ctx, reqs[k], root+mv[0], root+mv[1], false)
			}()
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("round %d: %v, %v", i, errs[0], errs[1])
		}
		d, err := Dump(f.ctx, f.Tree, f.now(), fmt.Sprintf("r%d", i))
		f.ok(err)
		if len(d) != 6 {
			t.Fatalf("round %d: %v", i, d)
		}
	}
}

// testAppend lets several writers append at once, by one name and by several
// names of one file: every line is there once, whole.
func testAppend(t *testing.T, open Open) {
	f := begin(t, open)
	f.create("log", "")
	appendAll(f, "log", "log")
	f.create("log1", "")
	_, err := f.Link(f.ctx, f.req(), "log1", "log2")
	f.ok(err)
	appendAll(f, "log1", "log2")
}

func appendAll(f *fixture, names ...string) {
	f.t.Helper()
	const writers, lines = 4, 15
	reqs := make([]object.RequestID, writers*lines)
	for i := range reqs {
		reqs[i] = f.req()
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range lines {
				if _, err := f.Write(f.ctx, reqs[w*lines+i], posix.ByPath(names[i%2]), posix.WriteOptions{Append: true}, fmt.Appendf(nil, "%d.%02d\n", w, i)); err != nil {
					f.t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	last := map[byte]string{}
	got := strings.Split(strings.TrimSuffix(f.read(posix.ByPath(names[0])), "\n"), "\n")
	if len(got) != writers*lines {
		f.t.Fatalf("%d lines", len(got))
	}
	for _, l := range got {
		if len(l) != 4 || l <= last[l[0]] {
			f.t.Fatalf("line %q after %q", l, last[l[0]])
		}
		last[l[0]] = l
	}
}
