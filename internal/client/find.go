package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"daos/internal/fault"
)

// Entry is what a running server writes about itself into the runtime folder
// (docs/protocol.md, "Finding a server").
type Entry struct {
	Root      string `json:"root"`
	Socket    string `json:"socket"`
	Address   string `json:"address"`
	TokenFile string `json:"token_file"`
	PID       int64  `json:"pid"`
	Started   int64  `json:"started_unix_nanos"`
	Version   string `json:"version"`
	// Ephemeral servers end with their last client: nobody finds them by
	// themselves while another one runs.
	Ephemeral bool `json:"ephemeral"`
}

// Where is how a caller names a server. Empty fields are looked up.
type Where struct {
	Addr      string // HOST:PORT or unix:PATH, from --addr or DAOS_ADDR
	TokenFile string // path of a file, from --token-file
	Token     string // the token itself, from DAOS_TOKEN
	Runtime   string // the runtime folder, from RuntimeDir
}

// Server is one server to talk to.
type Server struct {
	Network string // "unix" or "tcp"
	Addr    string // path or HOST:PORT
	Token   string // empty: none known
	Entry   *Entry // what it registered, if it was found in the runtime folder
}

// Name is the address as a user writes it.
func (s Server) Name() string {
	if s.Network == "unix" {
		return "unix:" + s.Addr
	}
	return s.Addr
}

// RuntimeDir is the folder in which the servers of this user register:
// $XDG_RUNTIME_DIR/daos, or daos-UID in the temporary folder.
func RuntimeDir(getenv func(string) string, uid int) string {
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "daos")
	}
	tmp := getenv("TMPDIR")
	if tmp == "" {
		tmp = "/tmp"
	}
	return filepath.Join(tmp, fmt.Sprintf("daos-%d", uid))
}

// Find resolves w to one server: an address given is taken as it is, else the
// server of the runtime folder that started last and answers.
func Find(ctx context.Context, w Where) (Server, error) {
	token, err := givenToken(w)
	if err != nil {
		return Server{}, err
	}
	if w.Addr != "" {
		s, err := ParseServer(w.Addr)
		if err != nil {
			return Server{}, err
		}
		s.Token = token
		for _, e := range registered(w.Runtime) {
			if e.Socket == s.Addr || e.Address == s.Addr {
				s.Entry = &e
				if token == "" {
					s.Token, err = entryToken(e)
				}
				break
			}
		}
		return s, err
	}
	gone := 0
	for _, e := range registered(w.Runtime) {
		if !answers(ctx, e.Socket) {
			gone++
			continue
		}
		s := Server{Network: "unix", Addr: e.Socket, Token: token, Entry: &e}
		if token == "" {
			// On its own socket the user needs none; a token that can't be read is no error.
			s.Token, _ = entryToken(e)
		}
		return s, nil
	}
	detail := "no server of this user is running here"
	if gone > 0 {
		detail = fmt.Sprintf("no server of this user is running here (%d registered, none answers)", gone)
	}
	return Server{}, fault.New(fault.Unreachable, "client.find", w.Runtime, "%s", detail).
		Do("start one with `daos serve --root FOLDER`, or name one with --addr HOST:PORT or DAOS_ADDR")
}

// ParseServer reads HOST:PORT or unix:PATH.
func ParseServer(s string) (Server, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if !filepath.IsAbs(path) {
			abs, err := filepath.Abs(path)
			if err != nil {
				return Server{}, fault.New(fault.Invalid, "client.addr", s, "relative socket path").Because(err)
			}
			path = abs
		}
		return Server{Network: "unix", Addr: path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || port == "" {
		return Server{}, fault.New(fault.Invalid, "client.addr", s, "not the address of a server").
			Do("write HOST:PORT or unix:PATH; POOL/DATASET is a separate argument")
	}
	return Server{Network: "tcp", Addr: s}, nil
}

func givenToken(w Where) (string, error) {
	if w.TokenFile != "" {
		return readToken(w.TokenFile)
	}
	return strings.TrimSpace(w.Token), nil
}

func entryToken(e Entry) (string, error) {
	if e.TokenFile == "" {
		return "", nil
	}
	return readToken(e.TokenFile)
}

func readToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fault.New(fault.KindOf(err), "client.token", path, "the token can't be read").Because(err).
			Do("name the server's ROOT/token with --token-file, or put the token into DAOS_TOKEN")
	}
	return strings.TrimSpace(string(b)), nil
}

// registered reads the runtime folder: the server that started last first,
// ephemeral ones behind all others. A
// folder that others can write to is not trusted: its entries would choose who
// gets our token.
func registered(dir string) []Entry {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return nil
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil
	}
	var out []Entry
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it ended meanwhile
		}
		var e Entry
		if json.Unmarshal(b, &e) == nil && e.Socket != "" {
			out = append(out, e)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Ephemeral != out[j].Ephemeral {
			return !out[i].Ephemeral
		}
		return out[i].Started > out[j].Started
	})
	return out
}

// answers reports whether somebody listens on the socket; the file of a killed
// server stays behind and refuses.
func answers(ctx context.Context, socket string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = c.Close() // it was there only to see that somebody answers
	return true
}
