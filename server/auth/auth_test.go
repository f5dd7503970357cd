package auth_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"daos/internal/fault"
	"daos/server/auth"
)

func TestCheck(t *testing.T) {
	token := strings.Repeat("0f", 32)
	a, err := auth.New(token, 1000)
	if err != nil {
		t.Fatal(err)
	}
	mine, other := auth.Peer{Unix: true, UID: 1000}, auth.Peer{Unix: true, UID: 1001}
	for _, c := range []struct {
		token string
		peer  auth.Peer
		name  string // empty: refused
	}{
		{token, auth.Peer{}, "token"},
		{token + "\n", auth.Peer{}, "token"},
		{token, other, "uid:1001"}, // the token lets it in, its user is known
		{token, mine, "uid:1000"},
		{"", mine, "uid:1000"},
		{"", other, ""},
		{"", auth.Peer{}, ""},
		{"", auth.Peer{UID: 1000}, ""}, // nobody has vouched for that number
		{"x", mine, ""},                // who sends a wrong token means another server
		{token[:63], auth.Peer{}, ""},
		{strings.ToUpper(token), auth.Peer{}, ""},
	} {
		id, err := a.Check(c.token, c.peer)
		if id.Name != c.name || (err != nil) != (c.name == "") || err != nil && !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("Check(%.8q, %+v) = %v, %v", c.token, c.peer, id, err)
		}
	}
	for _, bad := range []string{"", "short", strings.Repeat("zz", 32)} {
		if _, err := auth.New(bad, 0); !fault.Is(err, fault.Invalid) {
			t.Errorf("New(%q): %v", bad, err)
		}
	}
}

func TestLoadToken(t *testing.T) {
	root := t.TempDir()
	first, err := auth.LoadToken(root)
	if err != nil || len(first) != 64 {
		t.Fatal(first, err)
	}
	if again, err := auth.LoadToken(root); err != nil || again != first {
		t.Errorf("the second time %q, %v", again, err)
	}
	path := filepath.Join(root, auth.TokenFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.LoadToken(root); !fault.Is(err, fault.Invalid) {
		t.Errorf("a damaged token: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(root, ".token-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// wrapped is what a multiplexer makes of a connection.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func TestPeerOf(t *testing.T) {
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, network := range []string{"unix", "tcp"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(dir, "s")
		}
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		p := auth.PeerOf(wrapped{wrapped{accepted}})
		if p.Unix != (network == "unix") || p.Unix && (int(p.UID) != os.Getuid() || int(p.PID) != os.Getpid()) {
			t.Errorf("%s: %+v", network, p)
		}
	}
}
