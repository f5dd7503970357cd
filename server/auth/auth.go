// Package auth says who a caller is. There are two proofs: the server's token,
// and, on the unix socket, the kernel's word (SO_PEERCRED) that the peer runs
// as the server's own user. Whoever has neither is refused; there is no method
// that needs no proof.
//
// It knows nothing of gRPC's or the feed's messages: both hand over a token and
// a Peer. Start with Authenticator.Check.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"daos/internal/fault"
)

// TokenFile is the name of the file in the root that holds the token.
const TokenFile = "token"

// tokenBytes is the entropy of a token; its text has twice as many hex digits.
const tokenBytes = 32

// Identity is an authenticated caller.
type Identity struct {
	// Name is "uid:N" of who comes over the unix socket, else "token".
	Name string
}

// Peer is what the kernel says of the other end of a connection.
type Peer struct {
	Unix bool   // the connection is a unix socket and UID, PID are known
	UID  uint32 // its user when it connected
	PID  int32
	Addr string // for logs
}

// name is who a peer that may come in is known as.
func (p *Peer) name() string {
	if p.Unix {
		return fmt.Sprintf("uid:%d", p.UID)
	}
	return "token"
}

// Authenticator checks callers against one token and one user. It is immutable.
type Authenticator struct {
	sum [sha256.Size]byte // of the token: comparing digests hides its length too
	uid uint32
}

// New returns an Authenticator for a token and the user who owns the server.
func New(token string, uid uint32) (*Authenticator, error) {
	if err := checkToken(token); err != nil {
		return nil, err
	}
	return &Authenticator{sum: sha256.Sum256([]byte(token)), uid: uid}, nil
}

// Check says who presents token over a connection with this peer.
func (a *Authenticator) Check(token string, p Peer) (Identity, error) {
	const do = "send the token in ROOT/token (daos: --token-file or DAOS_TOKEN; gRPC and Flight: authorization: Bearer TOKEN)"
	switch {
	case token != "":
		sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if subtle.ConstantTimeCompare(sum[:], a.sum[:]) == 1 {
			return Identity{Name: p.name()}, nil
		}
		return Identity{}, fault.New(fault.Unauthenticated, "auth.check", "token", "the token is not this server's").Do(do)
	case p.Unix && p.UID == a.uid:
		return Identity{Name: p.name()}, nil
	case p.Unix:
		return Identity{}, fault.New(fault.Unauthenticated, "auth.check", "peer", "user %d is not the server's user and sent no token", p.UID).Do(do)
	}
	return Identity{}, fault.New(fault.Unauthenticated, "auth.check", "token", "the token is missing").Do(do)
}

// Own reports whether a peer is a process of the server's own user on this
// machine, who may read the server's files anyway.
func (a *Authenticator) Own(p Peer) bool { return p.Unix && p.UID == a.uid }

type identityKey struct{}

// WithIdentity marks ctx as belonging to an authenticated caller. Only a
// transport that has called Check may do so.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityOf is the caller that ctx belongs to; ok is false if nobody checked.
func IdentityOf(ctx context.Context) (id Identity, ok bool) {
	id, ok = ctx.Value(identityKey{}).(Identity)
	return id, ok
}

// LoadToken reads the token of a root, or makes one there (mode 0600) if there
// is none.
func LoadToken(root string) (string, error) {
	path := filepath.Join(root, TokenFile)
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		token := strings.TrimSpace(string(b))
		if err := checkToken(token); err != nil {
			return "", fault.Wrap(err, "auth.token", path)
		}
		info, err := os.Stat(path)
		if err != nil {
			return "", fault.Wrap(err, "auth.token", path)
		}
		if info.Mode().Perm()&0o077 != 0 {
			return "", fault.New(fault.Permission, "auth.token", path, "the token file can be read by others (mode %04o)", info.Mode().Perm()).
				Do("run `chmod 600 %s`, or remove it: the next start makes a new one", path)
		}
		return token, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fault.Wrap(err, "auth.token", path)
	}
	raw := make([]byte, tokenBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fault.New(fault.Internal, "auth.token", path, "no randomness").Because(err)
	}
	token := hex.EncodeToString(raw)
	if err := writeNew(path, token+"\n"); err != nil {
		return "", fault.Wrap(err, "auth.token", path)
	}
	return token, nil
}

// writeNew writes a file whole: a crash leaves it complete or absent.
func writeNew(path, content string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".token-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(content)
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

func checkToken(token string) error {
	raw, err := hex.DecodeString(token)
	if err != nil || len(raw) != tokenBytes {
		return fault.New(fault.Invalid, "auth.token", "", "a token is a line of %d hex digits, this one has %d characters", 2*tokenBytes, len(token)).
			Do("remove the token file: the next start makes a new one")
	}
	return nil
}
