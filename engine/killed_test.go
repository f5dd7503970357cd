package engine_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"daos/engine"
	"daos/internal/fault"
)

// TestKilled kills a process that writes, time and again, on a real disk with a
// journal whose files are small, and demands of the next one: all that was
// answered is there, and no transaction is half.
func TestKilled(t *testing.T) {
	const env = "DAOS_KILLED_ROOT"
	if root := os.Getenv(env); root != "" {
		writeUntilKilled(t, root, os.Getenv("DAOS_KILLED_ROUND"))
		return
	}
	seed := seeds("DAOS_KILLED_SEED", uint64(time.Now().UnixNano()))
	t.Logf("DAOS_KILLED_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 11))
	root := t.TempDir()
	acked := map[string]bool{}
	o := killedOptions(root)
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	create(t, e, 1, 1)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range longer(5, 100) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), env+"="+root, fmt.Sprintf("DAOS_KILLED_ROUND=%d", round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		var said []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if key, ok := strings.CutPrefix(lines.Text(), "acked "); ok {
				acked[key] = true
				once.Do(func() {
					time.AfterFunc(time.Duration(rng.IntN(150))*time.Millisecond, func() { _ = cmd.Process.Kill() })
				})
			} else {
				said = append(said, lines.Text())
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the process was not killed: %v\n%s", err, strings.Join(said, "\n"))
		}
		if round%2 == 1 {
			continue // killed again before anybody looks
		}
		e, err := engine.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.OpenDataset(1)
		if err != nil {
			t.Fatal(err)
		}
		at := now(t, d)
		for key := range acked {
			for j := range 3 {
				if v, err := value(t, d, at, many, fmt.Sprintf("%s-%d", key, j)); err != nil || len(v) != 20+j*700 {
					t.Fatalf("round %d: the answered %s-%d: %d bytes, %v", round, key, j, len(v), err)
				}
			}
		}
		halves(t, d, int(round))
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d transactions were answered", len(acked))
}

func killedOptions(root string) engine.Options {
	return engine.Options{Root: root, Targets: 3, SweepEvery: -1, SyncEvery: 20 * time.Millisecond, Logger: quiet(), JournalBytes: 64 << 10}
}

const writers = 4

// writeUntilKilled writes transactions over all targets and says which were answered.
func writeUntilKilled(t *testing.T, root, round string) {
	e, err := engine.Open(killedOptions(root))
	if err != nil {
		_, _ = io.WriteString(os.Stdout, err.Error()+"\n")
		os.Exit(3)
	}
	d, err := e.OpenDataset(1)
	if err != nil {
		_, _ = io.WriteString(os.Stdout, err.Error()+"\n")
		os.Exit(3)
	}
	var say sync.Mutex
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			for i := range 100_000 {
				key := fmt.Sprintf("k%s-%d-%d", round, g, i)
				commit(t, d, put(many, key+"-0", 20), put(many, key+"-1", 720), put(many, key+"-2", 1420))
				say.Lock()
				_, _ = io.WriteString(os.Stdout, "acked "+key+"\n")
				say.Unlock()
			}
		})
	}
	wg.Wait()
}

// halves looks at the transaction that each writer may have had under way: the
// first that has no first key is where it stopped.
func halves(t *testing.T, d *engine.Dataset, rounds int) {
	at := now(t, d)
	for round := range rounds + 1 {
		for g := range writers {
			for i, more := 0, true; more; i++ {
				have := 0
				for j := range 3 {
					_, err := value(t, d, at, many, fmt.Sprintf("k%d-%d-%d-%d", round, g, i, j))
					if err == nil {
						have++
					} else if !fault.Is(err, fault.NotFound) {
						t.Fatal(err)
					}
				}
				if have != 0 && have != 3 {
					t.Fatalf("half of transaction k%d-%d-%d is there: %d of 3", round, g, i, have)
				}
				more = have > 0
			}
		}
	}
}
