package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"daos/internal/client"
	"daos/internal/fault"
)

// registry is a server's place in the runtime folder, where clients look
// (docs/protocol.md, "Finding a server").
type registry struct {
	dir string
	key string
}

// openRegistry makes the runtime folder, or says why it can't be used. A folder
// that others could write to would let them stand in for the server.
func openRegistry(root string, getenv func(string) string) (*registry, error) {
	dir := client.RuntimeDir(getenv, os.Getuid())
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fault.New(fault.KindOf(err), "server.runtime", dir, "the runtime folder can't be made").Because(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fault.New(fault.KindOf(err), "server.runtime", dir, "the runtime folder can't be made").Because(err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fault.Wrap(err, "server.runtime", dir)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return nil, fault.New(fault.Permission, "server.runtime", dir, "it is not a folder").Do("remove it, or set XDG_RUNTIME_DIR")
	case !ok || int(st.Uid) != os.Getuid():
		return nil, fault.New(fault.Permission, "server.runtime", dir, "it belongs to somebody else").Do("set XDG_RUNTIME_DIR to a folder of yours")
	case info.Mode().Perm()&0o077 != 0:
		return nil, fault.New(fault.Permission, "server.runtime", dir, "others may use it (mode %04o)", info.Mode().Perm()).Do("run `chmod 700 %s`", dir)
	}
	sum := sha256.Sum256([]byte(root))
	return &registry{dir: dir, key: hex.EncodeToString(sum[:])[:16]}, nil
}

func (r *registry) socket() string { return filepath.Join(r.dir, r.key+".sock") }

func (r *registry) file() string { return filepath.Join(r.dir, r.key+".json") }

// write publishes an entry, whole.
func (r *registry) write(e client.Entry) error {
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fault.Wrap(err, "server.register", r.file())
	}
	tmp, err := os.CreateTemp(r.dir, r.key+".new-*") // mode 0600
	if err != nil {
		return fault.Wrap(err, "server.register", r.dir)
	}
	_, err = tmp.Write(append(b, '\n'))
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), r.file())
	}
	if err != nil {
		return fault.Wrap(errors.Join(err, os.Remove(tmp.Name())), "server.register", r.file())
	}
	return nil
}

// remove takes the entry back.
func (r *registry) remove() error {
	if err := os.Remove(r.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(err, "server.register", r.file())
	}
	return nil
}
