package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"daos/internal/feedclient"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	kvv1 "daos/proto/gen/daos/kv/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
)

// start runs a server until stop is called, and waits for its socket.
func start(socket string, env []string, name string, args ...string) (stop func(), err error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(append(os.Environ(), "XDG_RUNTIME_DIR="+filepath.Dir(socket)), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}
	deadline := time.After(30 * time.Second)
	for {
		c, err := net.Dial("unix", socket)
		if err == nil {
			return stop, c.Close()
		}
		select {
		case err := <-ended:
			return nil, errors.Join(fmt.Errorf("%s has ended", name), err)
		case <-deadline:
			stop()
			return nil, fmt.Errorf("%s does not listen at %s", name, socket)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func puts(pairs int, daos, redis, class string) ([]result, error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "kvr-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	theirs := filepath.Join(dir, "redis.sock")
	redis, env, err := findRedis(filepath.Join(dir, "redis"), redis)
	if err != nil {
		return nil, err
	}
	stop, err := start(theirs, env, redis, "--port", "0", "--unixsocket", theirs, "--dir", dir, "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--logfile", filepath.Join(dir, "redis.log"))
	if err != nil {
		return nil, err
	}
	defer stop()
	ours := filepath.Join(dir, "daos.sock")
	stopOurs, err := start(ours, nil, daos, "serve", "--root", filepath.Join(dir, "root"), "--listen", "none", "--socket", ours)
	if err != nil {
		return nil, err
	}
	defer stopOurs()
	c, err := feedclient.Dial(ctx, "unix:"+ours, feedclient.Options{Name: "kvrates"})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := poolv1.NewPoolServiceClient(c).CreatePool(ctx, &poolv1.CreatePoolRequest{Name: "p"}); err != nil {
		return nil, err
	}
	if _, err := datasetv1.NewDatasetServiceClient(c).CreateDataset(ctx, &datasetv1.CreateDatasetRequest{Dataset: "p/kv", Type: datasetv1.Type_TYPE_KV, ObjectClass: class}); err != nil {
		return nil, err
	}
	service := kvv1.NewKvServiceClient(c)
	peer, err := net.Dial("unix", theirs)
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	var out []result
	for _, batch := range []int{1, 100, 1000} {
		rounds := max(min(20_000/batch, 200), 100)
		values := make([][]byte, batch)
		for i := range values {
			values[i] = value(rng)
		}
		r, err := measure("puts", "redis", batch, pairs, func() (int, error) {
			for range rounds {
				puts := &kvv1.Puts{}
				req := &kvv1.ApplyRequest{Dataset: "p/kv", Puts: puts}
				for i := range values {
					k := key(rng.IntN(1_000_000))
					puts.Keys = append(puts.Keys, k...)
					puts.KeySizes = append(puts.KeySizes, uint32(len(k)))
					puts.Sizes = append(puts.Sizes, valueBytes)
					req.Payload = append(req.Payload, values[i]...)
				}
				if _, err := service.Apply(ctx, req); err != nil {
					return 0, err
				}
			}
			return rounds * batch, nil
		}, func() (int, error) {
			for range rounds {
				args := [][]byte{[]byte("MSET")}
				for i := range values {
					args = append(args, key(rng.IntN(1_000_000)), values[i])
				}
				if _, err := peer.Write(command(nil, args...)); err != nil {
					return 0, err
				}
				if err := expectOK(peer); err != nil {
					return 0, err
				}
			}
			return rounds * batch, nil
		})
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}
