package manifest

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"daos/internal/fault"
)

// A container file is a body of sections, a tail that describes them, and a
// footer of footerSize bytes. The tail is verified when the file is opened, the
// body block by block when it is first touched.
const (
	// Version of both files.
	Version = 1

	blockSize  = 64 << 10
	footerSize = 64
	magic      = "DAOSMFST"
	maxTail    = 1 << 30
)

// Kinds of container files.
const (
	kindLogical  = 1
	kindLocation = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// tail is the JSON before the block checksums.
type tail struct {
	Sections map[string]section `json:"sections"`
	Meta     json.RawMessage    `json:"meta"`
}

type section struct {
	Offset uint64 `json:"offset"`
	Length uint64 `json:"length"`
}

// writer puts a container file together. Sections grow side by side in files of
// their own, which are gone when it is done, so that memory stays flat.
type writer struct {
	dir      string
	names    []string
	sections map[string]*sectionWriter
}

// sectionWriter is one section being written.
type sectionWriter struct {
	f   *os.File
	b   *bufio.Writer
	n   uint64
	err error
}

func newWriter(dir string) *writer { return &writer{dir: dir, sections: map[string]*sectionWriter{}} }

// section adds one; sections lie in the file in the order in which they were added.
func (w *writer) section(name string) (*sectionWriter, error) {
	f, err := os.CreateTemp(w.dir, ".section-*")
	if err != nil {
		return nil, ioFault(err, w.dir)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, ioFault(err, w.dir)
	}
	s := &sectionWriter{f: f, b: bufio.NewWriterSize(f, 1<<18)}
	w.names = append(w.names, name)
	w.sections[name] = s
	return s, nil
}

func (s *sectionWriter) Write(p []byte) (int, error) {
	n, err := s.b.Write(p)
	s.n += uint64(n)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

func (w *writer) close() {
	for _, s := range w.sections {
		s.f.Close()
	}
}

// finish writes the container to path: to a name of its own first, synced,
// then renamed. The writer is used up.
func (w *writer) finish(path string, kind uint32, meta any) (err error) {
	defer w.close()
	out, err := os.CreateTemp(w.dir, ".manifest-*")
	if err != nil {
		return ioFault(err, w.dir)
	}
	defer func() {
		out.Close()
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	sum := &summer{w: bufio.NewWriterSize(out, 1<<20)}
	t := tail{Sections: map[string]section{}}
	for _, name := range w.names {
		s := w.sections[name]
		if s.err == nil {
			s.err = s.b.Flush()
		}
		if s.err != nil {
			return ioFault(s.err, path)
		}
		if _, err := s.f.Seek(0, io.SeekStart); err != nil {
			return ioFault(err, path)
		}
		if err := sum.pad(64); err != nil {
			return ioFault(err, path)
		}
		t.Sections[name] = section{sum.n, s.n}
		if _, err := io.Copy(sum, s.f); err != nil {
			return ioFault(err, path)
		}
	}
	if err := sum.pad(blockSize); err != nil {
		return ioFault(err, path)
	}
	if t.Meta, err = json.Marshal(meta); err != nil {
		return fault.New(fault.Internal, "manifest.write", path, "its description can't be encoded").Because(err)
	}
	text, err := json.Marshal(t)
	if err != nil {
		return fault.New(fault.Internal, "manifest.write", path, "its description can't be encoded").Because(err)
	}
	end := append([]byte(nil), text...)
	for _, c := range sum.sums {
		end = binary.LittleEndian.AppendUint32(end, c)
	}
	f := make([]byte, 0, footerSize)
	f = append(f, magic...)
	f = binary.LittleEndian.AppendUint32(f, Version)
	f = binary.LittleEndian.AppendUint32(f, kind)
	f = binary.LittleEndian.AppendUint64(f, sum.n)
	f = binary.LittleEndian.AppendUint64(f, uint64(len(text)))
	f = binary.LittleEndian.AppendUint64(f, uint64(len(end)))
	f = append(f, make([]byte, footerSize-8-len(f))...)
	f = binary.LittleEndian.AppendUint32(f, crc32.Checksum(end, castagnoli))
	f = binary.LittleEndian.AppendUint32(f, crc32.Checksum(f, castagnoli))
	for _, b := range [][]byte{end, f} {
		if _, err := sum.w.Write(b); err != nil {
			return ioFault(err, path)
		}
	}
	if err := sum.w.Flush(); err != nil {
		return ioFault(err, path)
	}
	if err := out.Sync(); err != nil {
		return ioFault(err, path)
	}
	if err := os.Rename(out.Name(), path); err != nil {
		return ioFault(err, path)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return ioFault(err, dir)
	}
	defer d.Close()
	return ioFault(d.Sync(), dir)
}

func ioFault(err error, path string) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.KindOf(err), "manifest.file", path, "the manifest's file can't be written or read").Because(err)
}

// summer writes the body and sums its blocks.
type summer struct {
	w    *bufio.Writer
	n    uint64
	cur  uint32
	fill int
	sums []uint32
}

func (s *summer) Write(p []byte) (int, error) {
	for q := p; len(q) > 0; {
		k := min(len(q), blockSize-s.fill)
		s.cur = crc32.Update(s.cur, castagnoli, q[:k])
		if s.fill += k; s.fill == blockSize {
			s.sums, s.cur, s.fill = append(s.sums, s.cur), 0, 0
		}
		q = q[k:]
	}
	s.n += uint64(len(p))
	return s.w.Write(p)
}

func (s *summer) pad(to uint64) error {
	if r := s.n % to; r != 0 {
		_, err := s.Write(make([]byte, to-r))
		return err
	}
	return nil
}

// file is an open container.
type file struct {
	path     string
	data     []byte // the whole file, mapped
	sums     []byte
	sections map[string]section
	meta     json.RawMessage
	seen     []atomic.Uint64 // a bit for each verified block
}

// openFile maps a container and verifies its tail.
func openFile(path string, kind uint32) (_ *file, err error) {
	h, err := os.Open(path)
	if err != nil {
		return nil, ioFault(err, path)
	}
	defer h.Close()
	st, err := h.Stat()
	if err != nil {
		return nil, ioFault(err, path)
	}
	if st.Size() < footerSize || st.Size() > 1<<46 {
		return nil, damaged(path, "a length of %d bytes", st.Size())
	}
	data, err := unix.Mmap(int(h.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, ioFault(err, path)
	}
	f := &file{path: path, data: data}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	err = guarded(path, func() error { return f.parse(kind) })
	return f, err
}

// parse reads footer and tail of f.data.
func (f *file) parse(kind uint32) error {
	n := uint64(len(f.data))
	if n < footerSize {
		return damaged(f.path, "a length of %d bytes", n)
	}
	foot := f.data[n-footerSize:]
	le := binary.LittleEndian
	if string(foot[:8]) != magic {
		return damaged(f.path, "no footer")
	}
	if v := le.Uint32(foot[8:]); v != Version {
		return fault.New(fault.Unsupported, "manifest.open", f.path, "version %d of the format, this daos reads version %d", v, Version)
	}
	if le.Uint32(foot[60:]) != crc32.Checksum(foot[:60], castagnoli) {
		return damaged(f.path, "a footer that does not match its checksum")
	}
	if k := le.Uint32(foot[12:]); k != kind {
		return damaged(f.path, "kind %d instead of %d", k, kind)
	}
	body, text, end := le.Uint64(foot[16:]), le.Uint64(foot[24:]), le.Uint64(foot[32:])
	blocks := body / blockSize
	if body%blockSize != 0 || end > maxTail || text > end || body > n || body+end+footerSize != n || end-text != 4*blocks {
		return damaged(f.path, "a footer with impossible lengths")
	}
	rest := f.data[body : body+end]
	if le.Uint32(foot[56:]) != crc32.Checksum(rest, castagnoli) {
		return damaged(f.path, "a description that does not match its checksum")
	}
	var t tail
	if err := json.Unmarshal(rest[:text], &t); err != nil {
		return damaged(f.path, "a description that can't be read: %v", err)
	}
	for name, s := range t.Sections {
		if s.Offset%64 != 0 || s.Offset > body || s.Length > body-s.Offset {
			return damaged(f.path, "section %q beyond the end", name)
		}
	}
	f.sections, f.meta, f.sums = t.Sections, t.Meta, rest[text:]
	f.seen = make([]atomic.Uint64, (blocks+63)/64)
	return nil
}

func damaged(path, format string, args ...any) error {
	return fault.New(fault.Corrupt, "manifest.open", path, "the manifest's file is damaged: %s", fmt.Sprintf(format, args...)).
		Do("remove it; it is built again")
}

// close unmaps. Nobody may hold a part of the file any more.
func (f *file) close() {
	if f.data != nil {
		_ = unix.Munmap(f.data)
		f.data = nil
	}
}

// part is one section; its bytes are got through at.
type part struct {
	f    *file
	base uint64
	n    uint64
}

func (f *file) part(name string) part {
	s := f.sections[name]
	return part{f, s.Offset, s.Length}
}

// at returns n bytes from off on, verified. The caller is guarded.
func (p *part) at(off, n uint64) ([]byte, error) {
	if off > p.n || n > p.n-off {
		return nil, damaged(p.f.path, "a reference of %d bytes at %d beyond a section of %d", n, off, p.n)
	}
	off += p.base
	for b := off / blockSize; b*blockSize < off+n; b++ {
		if p.f.seen[b>>6].Load()>>(b&63)&1 == 0 {
			if err := p.f.verify(b); err != nil {
				return nil, err
			}
		}
	}
	return p.f.data[off : off+n : off+n], nil
}

func (f *file) verify(b uint64) error {
	if crc32.Checksum(f.data[b*blockSize:(b+1)*blockSize], castagnoli) != binary.LittleEndian.Uint32(f.sums[4*b:]) {
		return damaged(f.path, "block %d (bytes %d to %d) does not match its checksum", b, b*blockSize, (b+1)*blockSize)
	}
	f.seen[b>>6].Or(1 << (b & 63))
	return nil
}

// guarded runs fn so that a page of a mapped file that can't be read is an
// error and not the end of the process.
func guarded(what string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer Recover(what, &err)
	return fn()
}

// Recover turns the fault of a mapped page into fault.DataLoss, where it is
// deferred under debug.SetPanicOnFault(true). Other panics go on.
func Recover(what string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	if _, ok := p.(interface{ Addr() uintptr }); ok {
		*err = fault.New(fault.DataLoss, "manifest.read", what, "a mapped page can't be read").
			Do("look for errors of the disk in the kernel's log")
		return
	}
	panic(p)
}
