package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"daos/internal/fault"
	"daos/server/auth"
	"daos/server/config"
)

// What lies in a root.
const (
	lockFile     = "lock"      // held while a server runs; has its pid
	controlDir   = "control"   // server/control
	engineDir    = "engine"    // engine
	manifestsDir = "manifests" // the loader's
	queryDir     = "query"     // what SQL statements spill, while they run
	serverLog    = "serve.log" // of a server that a client has started
)

// root is the folder of a server, locked.
type root struct {
	dir  string
	lock *os.File
}

// openRoot makes the folder if it is not there, closes it to others and locks it.
func openRoot(dir string, log *slog.Logger) (*root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.KindOf(err), "server.root", dir, "the root can't be made").Because(err).Do("name another folder with --root")
	}
	if err := checkRoot(dir); err != nil {
		return nil, err
	}
	lock, err := lockRoot(dir)
	if err != nil {
		return nil, err
	}
	r := &root{dir: dir, lock: lock}
	if err := r.closeToOthers(log); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return r, nil
}

// checkRoot refuses a folder that is used for something else: `--root ~` must
// not turn a home into a root.
func checkRoot(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fault.New(fault.KindOf(err), "server.root", dir, "the root can't be read").Because(err)
	}
	foreign := ""
	for _, e := range entries {
		switch e.Name() {
		case lockFile:
			return nil // a server has run here
		case config.FileName, auth.TokenFile, serverLog, "lost+found":
		default:
			foreign = e.Name()
		}
	}
	if foreign != "" {
		return fault.New(fault.Invalid, "server.root", dir, "the folder holds other things, such as %q", foreign).
			Do("name a new or empty folder with --root")
	}
	return nil
}

// lockRoot takes the lock of a root, or says who holds it.
func lockRoot(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "server.lock", path, "the lock can't be opened").Because(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fault.New(fault.KindOf(err), "server.lock", path, "the lock can't be taken").Because(err)
		}
		who := "another server"
		b := make([]byte, 32)
		if n, _ := f.ReadAt(b, 0); n > 0 { // nothing to read: it is just starting
			who = "the server with pid " + strings.TrimSpace(string(b[:n]))
		}
		return nil, fault.New(fault.Exists, "server.lock", dir, "%s is using this root", who).
			Do("use that server, stop it, or name another folder with --root")
	}
	// In place and of one length, so that it works on a full disk too. The lock
	// counts, the number is for people.
	_, _ = f.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0)
	return f, nil
}

func (r *root) closeToOthers(log *slog.Logger) error {
	info, err := os.Stat(r.dir)
	if err != nil {
		return fault.Wrap(err, "server.root", r.dir)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	log.Info("closing the root to other users", "root", r.dir, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	if err := os.Chmod(r.dir, 0o700); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fault.Wrap(err, "server.root", r.dir)
	} else if err != nil {
		return fault.New(fault.Permission, "server.root", r.dir, "others can read the root (mode %04o), and it is not ours to close", info.Mode().Perm()).
			Do("run `chmod 700 %s` as its owner", r.dir)
	}
	return nil
}

func (r *root) path(name string) string { return filepath.Join(r.dir, name) }

// close gives the lock back. The file stays: removing it would let two servers
// hold locks on different files of one name.
func (r *root) close() error { return r.lock.Close() }
