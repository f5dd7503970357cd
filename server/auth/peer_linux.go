package auth

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// PeerOf asks the kernel about the other end of c. Wrappers that have a NetConn
// method (the port's multiplexer, connection counters) are looked through.
func PeerOf(c net.Conn) Peer {
	p := Peer{}
	if a := c.RemoteAddr(); a != nil {
		p.Addr = a.String()
	}
	for {
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = w.NetConn()
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return p
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return p
	}
	if cred, err := peercred(raw); err == nil {
		p.Unix, p.UID, p.PID = true, cred.Uid, cred.Pid
	}
	return p
}

func peercred(raw syscall.RawConn) (cred *unix.Ucred, err error) {
	ctlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if ctlErr != nil {
		return nil, ctlErr
	}
	return cred, err
}

// transport is gRPC's view of an unencrypted connection: the bytes pass as they
// are, and the handshake notes the Peer.
type transport struct{}

// Transport returns server credentials that let PeerFromContext work.
func Transport() credentials.TransportCredentials { return transport{} }

type peerInfo struct {
	credentials.CommonAuthInfo
	peer Peer
}

func (peerInfo) AuthType() string { return "daos-peer" }

func (transport) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	p := PeerOf(c)
	level := credentials.NoSecurity
	if p.Unix {
		level = credentials.PrivacyAndIntegrity // never leaves the kernel
	}
	return c, peerInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: level}, peer: p}, nil
}

func (transport) ClientHandshake(_ context.Context, _ string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c, peerInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}, nil
}

func (transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
}

func (t transport) Clone() credentials.TransportCredentials { return t }

func (transport) OverrideServerName(string) error { return nil }

// PeerFromContext is the Peer of a gRPC call; zero if Transport was not in use.
func PeerFromContext(ctx context.Context) Peer {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}
	}
	info, _ := p.AuthInfo.(peerInfo)
	return info.peer
}
