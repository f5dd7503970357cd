package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/object"
	"daos/internal/fault"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const writeCategory = vfs.WriteCategoryUnspecified

// A small file is a line "DAOS <kind> 1 <crc32c of the rest, 8 hex digits>",
// then JSON. It is replaced as a whole: written beside, synced, renamed.
func writeSmall(f vfs.FS, dir, name string, v any) error {
	body, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fault.Wrap(err, "engine.write", name)
	}
	text := append(fmt.Appendf(nil, "DAOS %s 1 %08x\n", name, crc32.Checksum(body, castagnoli)), body...)
	path, tmp := f.PathJoin(dir, name), f.PathJoin(dir, name+".new")
	w, err := f.Create(tmp, writeCategory)
	if err == nil {
		_, err = w.Write(text)
		if err == nil {
			err = w.Sync()
		}
		if cerr := w.Close(); err == nil {
			err = cerr
		}
	}
	if err == nil {
		err = f.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(f, dir)
	}
	if err != nil {
		return fault.New(fault.KindOf(err), "engine.write", path, "can't be written").Because(err)
	}
	return nil
}

func syncDir(f vfs.FS, dir string) error {
	d, err := f.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// readSmall reads what writeSmall wrote; found is false if there is no file.
func readSmall(f vfs.FS, dir, name string, v any) (found bool, err error) {
	path := f.PathJoin(dir, name)
	text, err := readFile(f, path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fault.New(fault.KindOf(err), "engine.open", path, "can't be read").Because(err)
	}
	var version int
	var sum uint32
	head := fmt.Sprintf("DAOS %s ", name)
	if len(text) < len(head) || string(text[:len(head)]) != head {
		return false, damaged(path)
	}
	if n, err := fmt.Sscanf(string(text[len(head):min(len(text), len(head)+24)]), "%d %x\n", &version, &sum); n != 2 || err != nil {
		return false, damaged(path)
	}
	if version != 1 {
		return false, fault.New(fault.Unsupported, "engine.open", path, "format version %d is not known", version).
			Do("open it with the version of daos that wrote it, or a newer one")
	}
	i := 0
	for i < len(text) && text[i] != '\n' {
		i++
	}
	if i == len(text) || crc32.Checksum(text[i+1:], castagnoli) != sum || json.Unmarshal(text[i+1:], v) != nil {
		return false, damaged(path)
	}
	return true, nil
}

func damaged(path string) error {
	return fault.New(fault.Corrupt, "engine.open", path, "does not match its checksum").
		Do("restore the file from a backup")
}

func readFile(f vfs.FS, path string) ([]byte, error) {
	r, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// clockFile keeps the ceiling of the clock in two slots of 512 bytes that are
// written in turn, in place: it needs no new space on a full disk.
//
//	magic "DAOSCLK\n", count u64, ceiling u64, crc32c of the 24 bytes, big-endian
type clockFile struct {
	mu    sync.Mutex
	file  vfs.File
	path  string
	count uint64
	err   error // after a failed write nothing is written any more
}

const (
	clockMagic = "DAOSCLK\n"
	clockSlot  = 512
)

// openClock opens the file, or makes it where create is set.
func openClock(f vfs.FS, dir string, create bool) (*clockFile, object.Epoch, error) {
	c := &clockFile{path: f.PathJoin(dir, "clock")}
	b, err := readFile(f, c.path)
	var ceiling object.Epoch
	switch {
	case err == nil:
		valid := false
		for i := 0; i+28 <= len(b); i += clockSlot {
			s := b[i : i+28]
			if string(s[:8]) != clockMagic || binary.BigEndian.Uint32(s[24:]) != crc32.Checksum(s[:24], castagnoli) {
				continue
			}
			valid = true
			if n := binary.BigEndian.Uint64(s[8:]); n >= c.count {
				c.count = n
			}
			ceiling = max(ceiling, object.Epoch(binary.BigEndian.Uint64(s[16:])))
		}
		if !valid && !create {
			return nil, 0, damaged(c.path)
		}
	case errors.Is(err, fs.ErrNotExist) && create:
		w, err := f.Create(c.path, writeCategory)
		if err == nil {
			_, err = w.Write(make([]byte, 2*clockSlot))
			if err == nil {
				err = w.Sync()
			}
			if cerr := w.Close(); err == nil {
				err = cerr
			}
		}
		if err == nil {
			err = syncDir(f, dir)
		}
		if err != nil {
			return nil, 0, fault.New(fault.KindOf(err), "engine.open", c.path, "can't be made").Because(err)
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, fault.New(fault.Corrupt, "engine.open", c.path, "the file is missing").Do("restore it from a backup: without it epochs could go back")
	default:
		return nil, 0, fault.New(fault.KindOf(err), "engine.open", c.path, "can't be read").Because(err)
	}
	if c.file, err = f.OpenReadWrite(c.path, writeCategory); err != nil {
		return nil, 0, fault.New(fault.KindOf(err), "engine.open", c.path, "can't be opened").Because(err)
	}
	return c, ceiling, nil
}

func (c *clockFile) keep(ceiling object.Epoch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	b := append(make([]byte, 0, 28), clockMagic...)
	b = binary.BigEndian.AppendUint64(b, c.count+1)
	b = binary.BigEndian.AppendUint64(b, uint64(ceiling))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	_, err := c.file.WriteAt(b, int64((c.count+1)%2)*clockSlot)
	if err == nil {
		err = c.file.Sync()
	}
	if err != nil {
		c.err = fault.New(fault.KindOf(err), "clock.keep", c.path, "can't be written, the engine refuses writes").
			Because(err).Do("check the disk and restart the server; reads go on")
		return c.err
	}
	c.count++
	return nil
}

func (c *clockFile) close() error { return c.file.Close() }
