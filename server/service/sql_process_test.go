package service

import (
	"os"
	"testing"
	"time"
)

// sleeper is statements whose processes do nothing.
func sleeper(t *testing.T, idle time.Duration) *SQL {
	t.Helper()
	s := &SQL{Command: []string{"sleep", "1000"}, Socket: func() string { return "" }, TempRoot: t.TempDir(), Threads: 1, Most: 1, Idle: idle}
	t.Cleanup(s.Close)
	return s
}

func folders(t *testing.T, s *SQL) int {
	t.Helper()
	all, err := os.ReadDir(s.TempRoot)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func (s *SQL) waiting() *sqlProcess {
	s.spares.mu.Lock()
	defer s.spares.mu.Unlock()
	return s.spares.ready
}

func gone(t *testing.T, p *sqlProcess) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("a process has not ended")
	}
}

func TestOneProcessIsSpare(t *testing.T) {
	s := sleeper(t, 0)
	if s.waiting() != nil || folders(t, s) != 0 {
		t.Fatal("a process waits before the first statement")
	}
	s.restock()
	s.restock()
	p := s.waiting()
	if p == nil || folders(t, s) != 1 {
		t.Fatalf("%d folders", folders(t, s))
	}
	got, err := s.take()
	if err != nil || got != p || s.waiting() != nil {
		t.Fatal("it was not taken", err)
	}
	other, err := s.take() // there is none: one is started
	if err != nil || other == p {
		t.Fatal(err)
	}
	s.done(p)
	s.done(other)
	gone(t, p)
	gone(t, other)
	s.restock()
	dead := s.waiting()
	dead.kill()
	gone(t, dead)
	fresh, err := s.take() // not the one that has died
	if err != nil || fresh == dead || !fresh.alive() {
		t.Fatal(err)
	}
	s.done(fresh)
	s.restock()
	last := s.waiting()
	s.Close()
	gone(t, last)
	if s.restock(); s.waiting() != nil {
		t.Error("a process is started after the end")
	}
	if n := folders(t, s); n != 0 {
		t.Errorf("%d folders are left", n)
	}
}

func TestASpareProcessDoesNotWaitForEver(t *testing.T) {
	s := sleeper(t, 50*time.Millisecond)
	s.restock()
	if p := s.waiting(); p != nil { // else it has gone already
		gone(t, p)
	}
	if p := s.waiting(); p != nil {
		t.Error("it is still there")
	}
}
