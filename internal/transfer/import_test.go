package transfer_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"daos/internal/client"
	"daos/internal/fault"
	"daos/internal/transfer"
	posixv1 "daos/proto/gen/daos/posix/v1"
	"daos/server/wire"
)

// flaky is the tree of a dataset as an import sees it. It commits what comes
// and then, by chance, loses the connection instead of answering.
type flaky struct {
	posixv1.UnimplementedPosixServiceServer
	t     *testing.T
	rng   *rand.Rand
	lose  int   // of 100 messages
	fail  error // instead of the first answer
	mu    sync.Mutex
	done  map[string]uint64 // request id > entries
	files map[string]string // path > content
	lost  int
}

func (f *flaky) Stat(context.Context, *posixv1.StatRequest) (*posixv1.StatResponse, error) {
	return &posixv1.StatResponse{Attr: &posixv1.Attr{Type: posixv1.FileType_FILE_TYPE_DIRECTORY}}, nil
}

func (f *flaky) ListDir(context.Context, *posixv1.ListDirRequest) (*posixv1.ListDirResponse, error) {
	return &posixv1.ListDirResponse{}, nil
}

func (f *flaky) Import(s posixv1.PosixService_ImportServer) error {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		n, err := f.commit(m)
		if err != nil {
			return wire.Status(err)
		}
		f.mu.Lock()
		lose := f.rng.IntN(100) < f.lose
		if lose {
			f.lost++
		}
		f.mu.Unlock()
		if lose {
			return wire.Status(fault.New(fault.Unreachable, "x", "", "gone"))
		}
		if err := s.Send(&posixv1.ImportResponse{Entries: n}); err != nil {
			return err
		}
	}
}

func (f *flaky) commit(m *posixv1.ImportRequest) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return 0, f.fail
	}
	id := string(m.GetMutation().GetRequestId())
	if len(id) != 16 {
		f.t.Errorf("a message with a request id of %d bytes", len(id))
	}
	if n, ok := f.done[id]; ok {
		return n, nil
	}
	payload := m.GetPayload()
	for _, e := range m.GetEntries() {
		if e.GetType() != posixv1.FileType_FILE_TYPE_FILE {
			continue
		}
		p := string(e.GetPath())
		if _, ok := f.files[p]; ok {
			return 0, fault.New(fault.Exists, "posix.import", p, "there is a file of this name")
		}
		f.files[p], payload = string(payload[:e.GetSize()]), payload[e.GetSize():]
	}
	if len(payload) > 0 {
		f.t.Errorf("%d bytes of payload belong to no file", len(payload))
	}
	f.done[id] = uint64(len(m.GetEntries()))
	return f.done[id], nil
}

func serve(t *testing.T, f *flaky) *client.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "dt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	posixv1.RegisterPosixServiceServer(s, f)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	c, err := client.Open(client.Server{Network: "unix", Addr: filepath.Join(dir, "s")}, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newFlaky(t *testing.T) *flaky {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return &flaky{t: t, rng: rand.New(rand.NewPCG(seed, 1)), done: map[string]uint64{}, files: map[string]string{}}
}

func source(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		p := filepath.Join(dir, strconv.Itoa(i%3), strconv.Itoa(i))
		if i < 3 {
			if err := os.Mkdir(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(p, []byte(strconv.Itoa(i*i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A message whose answer got lost is sent again under its request id, so that
// it happens once; without that the server would find its files in the way.
func TestImport_LostAnswers(t *testing.T) {
	f := newFlaky(t)
	f.lose = 30
	const n = 3000
	var p transfer.Progress
	err := transfer.Import(t.Context(), serve(t, f), transfer.ImportOptions{Source: source(t, n), Dataset: "p/d", Under: "u"}, &p)
	if err != nil {
		t.Fatalf("after %d lost answers: %v", f.lost, err)
	}
	if f.lost == 0 {
		t.Error("no answer was lost: the test shows nothing")
	}
	if len(f.files) != n || p.Files.Load() != n {
		t.Errorf("%d files there, %d counted, of %d", len(f.files), p.Files.Load(), n)
	}
	for i := range n {
		path := "u/" + strconv.Itoa(i%3) + "/" + strconv.Itoa(i)
		if f.files[path] != strconv.Itoa(i*i) {
			t.Fatalf("%s holds %q", path, f.files[path])
		}
	}
}

// An error that a retry can't mend ends the import with it.
func TestImport_FailsWithTheServersError(t *testing.T) {
	f := newFlaky(t)
	f.fail = fault.New(fault.NoSpace, "posix.import", "p/d", "the quota is used up").Do("raise it")
	var p transfer.Progress
	err := transfer.Import(t.Context(), serve(t, f), transfer.ImportOptions{Source: source(t, 2000), Dataset: "p/d"}, &p)
	if !fault.Is(err, fault.NoSpace) || p.Files.Load() != 0 {
		t.Errorf("%v, %d files counted", err, p.Files.Load())
	}
}

// A server that stays away ends it too, after a while.
func TestImport_GivesUp(t *testing.T) {
	f := newFlaky(t)
	f.lose = 100
	var p transfer.Progress
	began := time.Now()
	err := transfer.Import(t.Context(), serve(t, f), transfer.ImportOptions{
		Source: source(t, 10), Dataset: "p/d", RetryFor: 300 * time.Millisecond,
	}, &p)
	if !fault.Is(err, fault.Unreachable) {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("gave up after %v", took)
	}
}

func TestImport_UnreadableFilesAreNamed(t *testing.T) {
	f := newFlaky(t)
	src := source(t, 10)
	if err := os.Symlink("nowhere", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "f"), nil, 0o000); err != nil {
		t.Fatal(err)
	}
	var p transfer.Progress
	if err := transfer.Import(t.Context(), serve(t, f), transfer.ImportOptions{Source: src, Dataset: "p/d"}, &p); err != nil {
		t.Fatal(err)
	}
	want := int64(11)
	if os.Getuid() != 0 { // root reads everything
		want = 10
		if p.Failed.Load() != 1 || len(p.Notes()) != 1 {
			t.Errorf("%d failed, notes %q", p.Failed.Load(), p.Notes())
		}
	}
	if p.Files.Load() != want || p.Links.Load() != 1 {
		t.Errorf("%d files and %d links", p.Files.Load(), p.Links.Load())
	}
}
