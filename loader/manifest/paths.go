package manifest

import (
	"encoding/binary"

	"daos/internal/fault"
)

// pathBlock is how many paths share one front-coded block.
const pathBlock = 32

// pathWriter front-codes paths in the order of samples: in each block a path is
// (bytes shared with the one before, bytes that follow, those bytes).
type pathWriter struct {
	blob, index *sectionWriter
	last        []byte
	n           uint64
	buf         []byte
}

func (w *pathWriter) add(dir, name string) error {
	if w.n%pathBlock == 0 {
		w.buf = binary.LittleEndian.AppendUint64(w.buf[:0], w.blob.n)
		if _, err := w.index.Write(w.buf); err != nil {
			return err
		}
		w.last = w.last[:0]
	}
	w.n++
	n := len(name)
	if dir != "" {
		n += len(dir) + 1
	}
	// Byte i of the path without putting it together first.
	at := func(i int) byte {
		switch {
		case dir == "":
			return name[i]
		case i < len(dir):
			return dir[i]
		case i == len(dir):
			return '/'
		}
		return name[i-len(dir)-1]
	}
	shared := 0
	for shared < n && shared < len(w.last) && w.last[shared] == at(shared) {
		shared++
	}
	w.last = w.last[:shared]
	for i := shared; i < n; i++ {
		w.last = append(w.last, at(i))
	}
	w.buf = binary.AppendUvarint(w.buf[:0], uint64(shared))
	w.buf = binary.AppendUvarint(w.buf, uint64(n-shared))
	w.buf = append(w.buf, w.last[shared:]...)
	_, err := w.blob.Write(w.buf)
	return err
}

// maxPath bounds a stored path.
const maxPath = 1 << 20

// pathReader reads the table back.
type pathReader struct {
	blob, index part
}

// path is the path of a sample.
func (r *pathReader) path(i uint64) (p []byte, err error) {
	err = r.each(i, 1, func(found []byte) { p = found }) // the last one found: nothing follows that would change it
	return p, err
}

func outOfRange(i, n uint64, name string) error {
	return fault.New(fault.Invalid, "loader.samples", name, "sample %d is out of range, there are %d", i, n)
}
