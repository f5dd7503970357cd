package client_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"daos/internal/client"
	"daos/internal/fault"
	commonv1 "daos/proto/gen/daos/common/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
	"daos/server/wire"
)

// fake answers what a test tells it to and keeps what it was asked.
type fake struct {
	poolv1.UnimplementedPoolServiceServer
	posixv1.UnimplementedPosixServiceServer
	mu     sync.Mutex
	errs   []error // answers of the next calls; nil or none left: success
	ids    []string
	tokens []string
	seen   []uint64
}

func (f *fake) next(ctx context.Context, id []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	md, _ := metadata.FromIncomingContext(ctx)
	f.tokens = append(f.tokens, strings.Join(md.Get("authorization"), ","))
	f.ids = append(f.ids, hex.EncodeToString(id))
	if len(f.errs) == 0 {
		return nil
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return wire.Status(err)
}

func (f *fake) CreatePool(ctx context.Context, r *poolv1.CreatePoolRequest) (*poolv1.CreatePoolResponse, error) {
	return &poolv1.CreatePoolResponse{Pool: &poolv1.Pool{Name: r.GetName()}}, f.next(ctx, r.GetMutation().GetRequestId())
}

func (f *fake) MakeDir(ctx context.Context, r *posixv1.MakeDirRequest) (*posixv1.MakeDirResponse, error) {
	return &posixv1.MakeDirResponse{Changed: &commonv1.Changed{Epoch: 77}}, f.next(ctx, r.GetMutation().GetRequestId())
}

func (f *fake) Stat(ctx context.Context, r *posixv1.StatRequest) (*posixv1.StatResponse, error) {
	f.mu.Lock()
	f.seen = append(f.seen, r.GetSeen())
	f.mu.Unlock()
	return &posixv1.StatResponse{Attr: &posixv1.Attr{}}, f.next(ctx, nil)
}

// serve runs f on a unix socket and returns a client of it.
func serve(t *testing.T, f *fake, o client.Options) *client.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "dc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	poolv1.RegisterPoolServiceServer(s, f)
	posixv1.RegisterPosixServiceServer(s, f)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	c, err := client.Open(client.Server{Network: "unix", Addr: path, Token: "secret"}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestRetry_OneRequestIDForAllTries(t *testing.T) {
	f := &fake{errs: []error{
		fault.New(fault.Overloaded, "x", "p", "busy"),
		fault.New(fault.Overloaded, "x", "p", "busy"),
	}}
	c := serve(t, f, client.Options{})
	r, err := c.Pools.CreatePool(t.Context(), &poolv1.CreatePoolRequest{Name: "p"})
	if err != nil || r.GetPool().GetName() != "p" {
		t.Fatal(r, err)
	}
	if len(f.ids) != 3 || f.ids[0] != f.ids[1] || f.ids[1] != f.ids[2] || len(f.ids[0]) != 32 {
		t.Errorf("request ids of the tries: %q", f.ids)
	}
	if _, err := c.Pools.CreatePool(t.Context(), &poolv1.CreatePoolRequest{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	if f.ids[3] == f.ids[0] {
		t.Error("two calls with one request id")
	}
	if f.tokens[0] != "Bearer secret" {
		t.Errorf("the token came as %q", f.tokens[0])
	}
}

func TestRetry_NotWhatFailed(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Exists, fault.Conflict, fault.NoSpace, fault.Internal, fault.Invalid, fault.Corrupt} {
		f := &fake{errs: []error{fault.New(kind, "op", "p/d/x", "detail").Do("do this")}}
		c := serve(t, f, client.Options{})
		_, err := c.Pools.CreatePool(t.Context(), &poolv1.CreatePoolRequest{Name: "p"})
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != kind || e.Op != "op" || e.Resource != "p/d/x" || e.Detail != "detail" || e.Resolution != "do this" {
			t.Errorf("%v came back as %+v", kind, err)
		}
		if len(f.ids) != 1 {
			t.Errorf("%v was tried %d times", kind, len(f.ids))
		}
	}
}

func TestRetry_GivesUp(t *testing.T) {
	f := &fake{}
	for range 1000 {
		f.errs = append(f.errs, fault.New(fault.Overloaded, "x", "p", "busy"))
	}
	c := serve(t, f, client.Options{RetryFor: 200 * time.Millisecond})
	began := time.Now()
	_, err := c.Pools.CreatePool(t.Context(), &poolv1.CreatePoolRequest{Name: "p"})
	if !fault.Is(err, fault.Overloaded) || len(f.ids) < 2 {
		t.Errorf("%d tries, %v", len(f.ids), err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("gave up after %v", took)
	}
}

func TestSeen_ReadsOwnWrites(t *testing.T) {
	f := &fake{}
	c := serve(t, f, client.Options{})
	for range 2 {
		if _, err := c.Posix.Stat(t.Context(), &posixv1.StatRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Posix.MakeDir(t.Context(), &posixv1.MakeDirRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.seen) != 2 || f.seen[0] != 0 || f.seen[1] != 77 {
		t.Errorf("reads said %v, want [0 77]", f.seen)
	}
}

func TestUnreachable_FailsAtOnceAndSaysWhere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	c, err := client.Open(client.Server{Network: "tcp", Addr: addr}, client.Options{RetryFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	_, err = c.Pools.ListPools(t.Context(), &poolv1.ListPoolsRequest{})
	if !fault.Is(err, fault.Unreachable) || !strings.Contains(err.Error(), addr) {
		t.Error(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("waited %v for a server that was never there", took)
	}
}

func TestTimeout(t *testing.T) {
	// A listener that accepts and says nothing.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := client.Open(client.Server{Network: "tcp", Addr: l.Addr().String()}, client.Options{Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Pools.ListPools(t.Context(), &poolv1.ListPoolsRequest{}); !fault.Is(err, fault.Timeout) || !strings.Contains(err.Error(), "the --timeout of 100ms") {
		t.Error(err)
	}
	// Who sets a limit of his own says which it was.
	mine := fault.New(fault.Timeout, "test", "", "my limit")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, mine)
	defer cancel()
	if _, err := c.Pools.ListPools(ctx, &poolv1.ListPoolsRequest{}); !errors.Is(err, mine) {
		t.Error(err)
	}
}

// register writes an entry as a server does; listen: somebody answers there.
func register(t *testing.T, dir, key string, started int64, listen bool) client.Entry {
	t.Helper()
	e := client.Entry{Root: "/r/" + key, Socket: filepath.Join(dir, key+".sock"), Address: "127.0.0.1:" + key, TokenFile: filepath.Join(dir, key+".token"), Started: started}
	if listen {
		l, err := net.Listen("unix", e.Socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	e.Ephemeral = strings.HasPrefix(key, "e")
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{key + ".json": string(b), key + ".token": "token-" + key + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func TestFind(t *testing.T) {
	dir, err := os.MkdirTemp("", "dr")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	find := func(w client.Where) (client.Server, error) {
		w.Runtime = dir
		return client.Find(t.Context(), w)
	}
	if _, err := find(client.Where{}); !fault.Is(err, fault.Unreachable) {
		t.Errorf("an empty folder: %v", err)
	}
	register(t, dir, "1", 100, true)
	register(t, dir, "2", 200, true)
	register(t, dir, "3", 300, false) // killed
	register(t, dir, "e5", 500, true) // ends with its last client: not for others
	if err := os.WriteFile(filepath.Join(dir, "4.json"), []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := find(client.Where{})
	if err != nil || s.Network != "unix" || s.Addr != filepath.Join(dir, "2.sock") || s.Token != "token-2" {
		t.Errorf("the one started last that answers: %+v, %v", s, err)
	}
	s, err = find(client.Where{Addr: "127.0.0.1:1"})
	if err != nil || s.Network != "tcp" || s.Token != "token-1" {
		t.Errorf("an address that is registered has its token: %+v, %v", s, err)
	}
	s, err = find(client.Where{Addr: "127.0.0.1:1", Token: " given \n"})
	if err != nil || s.Token != "given" {
		t.Errorf("a token given wins: %+v, %v", s, err)
	}
	s, err = find(client.Where{Addr: "127.0.0.1:99"})
	if err != nil || s.Token != "" {
		t.Errorf("an address that is not: %+v, %v", s, err)
	}
	s, err = find(client.Where{Addr: "unix:" + filepath.Join(dir, "1.sock"), TokenFile: filepath.Join(dir, "2.token")})
	if err != nil || s.Network != "unix" || s.Token != "token-2" {
		t.Errorf("a token file given: %+v, %v", s, err)
	}
	if _, err := find(client.Where{TokenFile: filepath.Join(dir, "none")}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a token file that is missing: %v", err)
	}

	// A folder that others may write to could name any server.
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if s, err := find(client.Where{}); !fault.Is(err, fault.Unreachable) {
		t.Errorf("a folder open to others was believed: %+v", s)
	}
}

func TestParseServer(t *testing.T) {
	for in, want := range map[string]string{"127.0.0.1:7000": "tcp 127.0.0.1:7000", "[::1]:7": "tcp [::1]:7", "unix:/a/b": "unix /a/b", "unix:///a/b": "unix /a/b", "host:1": "tcp host:1"} {
		if s, err := client.ParseServer(in); err != nil || s.Network+" "+s.Addr != want {
			t.Errorf("%q: %+v, %v", in, s, err)
		}
	}
	for _, in := range []string{"", "p/d", "host", ":7000", "host:"} {
		if s, err := client.ParseServer(in); err == nil {
			t.Errorf("%q: %+v", in, s)
		}
	}
}

func TestRuntimeDir(t *testing.T) {
	env := map[string]string{}
	get := func(k string) string { return env[k] }
	if got := client.RuntimeDir(get, 5); got != "/tmp/daos-5" {
		t.Error(got)
	}
	env["TMPDIR"] = "/t"
	if got := client.RuntimeDir(get, 5); got != "/t/daos-5" {
		t.Error(got)
	}
	env["XDG_RUNTIME_DIR"] = "/run/user/5"
	if got := client.RuntimeDir(get, 5); got != "/run/user/5/daos" {
		t.Error(got)
	}
}
