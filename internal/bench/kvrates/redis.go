package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

var errNoRedis = errors.New("no redis-server")

// debian are the packages of a Redis, and of what it needs beside the C library.
var debian = []string{"redis-tools", "redis-server", "libjemalloc2", "liblzf1", "liblua5.1-0", "lua-cjson", "lua-bitop", "libhiredis0.14"}

// findRedis returns a redis-server and the environment that it needs: the one
// named, that of the PATH, or Debian's, unpacked into dir without root.
func findRedis(dir, named string) (bin string, env []string, err error) {
	if named != "" {
		return named, nil, nil
	}
	if bin, err := exec.LookPath("redis-server"); err == nil {
		return bin, nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	for _, p := range debian {
		cmd := exec.Command("apt-get", "download", p)
		cmd.Dir = dir
		_ = cmd.Run() // other releases have other names; the binary says what it misses
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return "", nil, err
	}
	root := filepath.Join(dir, "root")
	for _, f := range files {
		if err := exec.Command("dpkg-deb", "-x", f, root).Run(); err != nil {
			return "", nil, fmt.Errorf("dpkg-deb of %s: %w", filepath.Base(f), err)
		}
	}
	bin = filepath.Join(root, "usr/bin/redis-server")
	libs, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if err != nil {
		return "", nil, err
	}
	if len(libs) > 0 {
		env = []string{"LD_LIBRARY_PATH=" + libs[0]}
	}
	cmd := exec.Command(bin, "--version")
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("%w: install it, or name one with -redis (%w %s)", errNoRedis, err, out)
	}
	return bin, env, nil
}
