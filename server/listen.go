package server

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"daos/internal/fault"
	"daos/server/config"
)

// maxSocketPath is what fits into a sockaddr_un.
const maxSocketPath = 107

// listenUnix opens a unix socket with mode 0600. What a dead server has left at
// the path is removed; a live server there is an error.
func listenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fault.New(fault.Invalid, "server.listen", path, "the path of a socket has at most %d bytes, this one has %d", maxSocketPath, len(path)).
			Do("set socket (--socket) to a shorter path")
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The socket gets its name when nobody else can use it any more.
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".s") // mode 0700
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "server.listen", path, "the folder of the socket can't be used").Because(err)
	}
	defer os.Remove(tmp)
	hidden := filepath.Join(tmp, "s")
	if len(hidden) > maxSocketPath {
		hidden = path
	}
	l, err := net.Listen("unix", hidden)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "server.listen", path, "the socket can't be made").Because(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the name changes; Drain removes it
	err = os.Chmod(hidden, 0o600)
	if err == nil && hidden != path {
		err = os.Rename(hidden, path)
	}
	if err != nil {
		return nil, errors.Join(fault.Wrap(err, "server.listen", path), l.Close(), os.Remove(hidden))
	}
	return l, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, "server.listen", path)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fault.New(fault.Exists, "server.listen", path, "there is something that is not a socket").Do("remove it, or set socket (--socket) to another path")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
		return fault.New(fault.Exists, "server.listen", path, "another server listens there").Do("set socket (--socket) to another path")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fault.New(fault.Exists, "server.listen", path, "there is a socket that can't be used").Because(err).Do("remove it, or set socket (--socket) to another path")
	}
	return fault.Wrap(os.Remove(path), "server.listen", path)
}

// listenTCP opens the port; nil if there shall be none. Where nobody has chosen
// a port and the default one is taken, a free one serves as well: clients find
// it in the registry.
func listenTCP(c config.Config) (net.Listener, error) {
	if c.Listen == config.NoListen {
		return nil, nil
	}
	l, err := net.Listen("tcp", c.Listen)
	if errors.Is(err, syscall.EADDRINUSE) && !c.ListenChosen {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fault.New(fault.Exists, "server.listen", c.Listen, "the port is in use").Do("choose another with --listen, or 127.0.0.1:0 for a free one")
	}
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "server.listen", c.Listen, "can't listen there").Because(err).Do("choose another address with --listen")
	}
	return l, nil
}

// loadTLS reads the certificate of the port; nil if there is none.
func loadTLS(c config.Config) (*tls.Config, error) {
	if c.TLS.Cert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		return nil, fault.New(fault.Invalid, "server.tls", c.TLS.Cert, "the certificate can't be used").Because(err).Do("check tls.cert and tls.key")
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}, nil
}
