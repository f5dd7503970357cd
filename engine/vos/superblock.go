package vos

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/segment"
	"daos/internal/fault"
	"daos/internal/guardfs"
)

const (
	superblockMagic   = "DAOSVOS\n"
	superblockVersion = 1
	superblockName    = "superblock"
	superblockMax     = 4096

	stateCreating = 1 // the index may not be there yet
	stateReady    = 2
)

// superblock names the format of everything else in a target's folder;
// docs/format/superblock.md has the bytes.
type superblock struct {
	state        byte
	target       uint16
	pebbleFormat uint32
	id           [16]byte
	comparer     string
	schema       string
	merger       string
}

func (s superblock) encode() []byte {
	b := append([]byte(nil), superblockMagic...)
	b = binary.LittleEndian.AppendUint32(b, superblockVersion)
	b = binary.LittleEndian.AppendUint32(b, 0) // size, below
	b = binary.LittleEndian.AppendUint16(b, s.target)
	b = append(b, s.state, 0)
	b = binary.LittleEndian.AppendUint32(b, s.pebbleFormat)
	b = append(b, s.id[:]...)
	for _, n := range []string{s.comparer, s.schema, s.merger} {
		b = append(b, byte(len(n)))
		b = append(b, n...)
	}
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)+4))
	return binary.LittleEndian.AppendUint32(b, segment.Sum(b))
}

func decodeSuperblock(name string, b []byte) (s superblock, err error) {
	bad := func() (superblock, error) {
		return superblock{}, fault.New(fault.Corrupt, "vos.open", name, "superblock does not match its checksum").
			Do("restore the file from a backup; without it the format of this target is not known")
	}
	if len(b) < 48 || string(b[:8]) != superblockMagic {
		return bad()
	}
	n := len(b) - 4
	if binary.LittleEndian.Uint32(b[n:]) != segment.Sum(b[:n]) || binary.LittleEndian.Uint32(b[12:]) != uint32(len(b)) {
		return bad()
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != superblockVersion {
		return s, fault.New(fault.Unsupported, "vos.open", name, "target format version %d is not known, this program knows %d", v, superblockVersion).
			Do("open it with the version of daos that wrote it, or a newer one")
	}
	s.target = binary.LittleEndian.Uint16(b[16:])
	s.state = b[18]
	s.pebbleFormat = binary.LittleEndian.Uint32(b[20:])
	copy(s.id[:], b[24:])
	rest := b[40:n]
	for _, f := range []*string{&s.comparer, &s.schema, &s.merger} {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return bad()
		}
		*f, rest = string(rest[1:1+rest[0]]), rest[1+rest[0]:]
	}
	return s, nil
}

// check refuses a target that this program would read wrongly.
func (s superblock) check(name string, want superblock) error {
	refuse := func(what string, have, want any) error {
		return fault.New(fault.Unsupported, "vos.open", name, "the target was written with %s %v, this program knows %v", what, have, want).
			Do("open it with the version of daos that wrote it, or a newer one")
	}
	switch {
	case s.target != want.target:
		return fault.New(fault.Invalid, "vos.open", name, "this is target %d, not %d", s.target, want.target).
			Do("target folders were swapped: put each back under its own name")
	case s.pebbleFormat != want.pebbleFormat:
		return refuse("index format", s.pebbleFormat, want.pebbleFormat)
	case s.comparer != want.comparer:
		return refuse("key order", s.comparer, want.comparer)
	case s.schema != want.schema:
		return refuse("key schema", s.schema, want.schema)
	case s.merger != want.merger:
		return refuse("counters", s.merger, want.merger)
	}
	return nil
}

// readSuperblock returns ok false where there is no superblock.
func readSuperblock(f vfs.FS, name string) (s superblock, ok bool, err error) {
	h, err := f.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fault.New(fault.Internal, "vos.open", name, "superblock can't be opened").Because(err)
	}
	defer h.Close()
	b, err := io.ReadAll(io.LimitReader(h, superblockMax))
	if err != nil {
		return s, true, fault.New(fault.Corrupt, "vos.open", name, "superblock can't be read").Because(err)
	}
	s, err = decodeSuperblock(name, b)
	return s, true, err
}

// writeSuperblock replaces the superblock in one step.
func writeSuperblock(f vfs.FS, dir string, s superblock) error {
	return writeFile(f, dir, superblockName, s.encode())
}

func writeFile(f vfs.FS, dir, name string, b []byte) error {
	path := f.PathJoin(dir, name)
	h, err := f.Create(path+".new", "daos-vos")
	if err == nil {
		_, err = h.Write(b)
		if err == nil {
			err = h.Sync()
		}
		if cerr := h.Close(); err == nil {
			err = cerr
		}
	}
	if err == nil {
		err = f.Rename(path+".new", path)
	}
	if err == nil {
		err = guardfs.SyncDir(f, dir)
	}
	if err != nil {
		return fault.New(fault.KindOf(err), "vos.open", path, "can't be written").Because(err)
	}
	return nil
}

func newTargetID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	return id
}
