package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"daos/internal/fault"
	systemv1 "daos/proto/gen/daos/system/v1"
	"daos/server"
	"daos/server/wire"
)

// methods are the full names of all methods of a server.
func methods(r *running) (unary, streams []string) {
	for name, info := range r.GRPC().GetServiceInfo() {
		for _, m := range info.Methods {
			full := "/" + name + "/" + m.Name
			if m.IsClientStream || m.IsServerStream {
				streams = append(streams, full)
			} else {
				unary = append(unary, full)
			}
		}
	}
	slices.Sort(unary)
	slices.Sort(streams)
	return unary, streams
}

// call makes an empty call of any method and returns its error.
func call(ctx context.Context, cc *grpc.ClientConn, method string, stream bool) error {
	if !stream {
		return wire.Fault(cc.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{}))
	}
	st, err := cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return wire.Fault(err)
	}
	if err := st.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return wire.Fault(err)
	}
	if err := st.CloseSend(); err != nil {
		return wire.Fault(err)
	}
	for {
		if err := st.RecvMsg(&emptypb.Empty{}); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return wire.Fault(err)
		}
	}
}

// TestEveryMethodNeedsACaller walks all methods that the server has registered,
// so that one that is added later can't be forgotten.
func TestEveryMethodNeedsACaller(t *testing.T) {
	s := newSite(t)
	r := s.start(server.Options{})
	unary, streams := methods(r)
	if len(unary) < 40 || len(streams) < 10 {
		t.Fatalf("only %d and %d methods are registered", len(unary), len(streams))
	}
	wrong := strings.Repeat("0", 64)
	for name, cc := range map[string]*grpc.ClientConn{"no token": dial(t, r.Addr(), ""), "wrong token": dial(t, r.Addr(), wrong), "wrong token on the socket": dial(t, "unix:"+r.Socket(), wrong)} {
		for _, m := range unary {
			if err := call(t.Context(), cc, m, false); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%s with %s: %v", m, name, err)
			}
		}
		for _, m := range streams {
			if err := call(t.Context(), cc, m, true); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%s with %s: %v", m, name, err)
			}
		}
	}
	for name, cc := range map[string]*grpc.ClientConn{"token": dial(t, r.Addr(), s.token()), "own user": dial(t, "unix:"+r.Socket(), "")} {
		for _, m := range unary {
			if err := call(t.Context(), cc, m, false); fault.Is(err, fault.Unauthenticated, fault.Internal, fault.Permission) {
				t.Errorf("%s with %s: %v", m, name, err)
			}
		}
		for _, m := range streams {
			if err := call(t.Context(), cc, m, true); fault.Is(err, fault.Unauthenticated, fault.Internal, fault.Permission) {
				t.Errorf("%s with %s: %v", m, name, err)
			}
		}
	}
	// The header is taken in every form that clients send.
	for _, h := range []string{"Bearer " + s.token(), "bearer " + s.token(), s.token()} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", h)
		if err := call(ctx, dial(t, r.Addr(), ""), "/daos.system.v1.SystemService/Ping", false); err != nil {
			t.Errorf("authorization %q: %v", h[:8], err)
		}
	}
	for _, h := range []string{"Bearer ", "Bearer", "", " ", "Basic !!!", s.token()[:63], s.token() + "0"} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", h)
		if err := call(ctx, dial(t, r.Addr(), ""), "/daos.system.v1.SystemService/Ping", false); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("authorization %q: %v", h, err)
		}
	}
}

func TestTokenFile(t *testing.T) {
	s := newSite(t)
	r := s.start(server.Options{})
	first := s.token()
	r.end()
	r = s.start(server.Options{})
	if s.token() != first {
		t.Error("a restart has changed the token")
	}
	r.end()
	path := filepath.Join(s.root, "token")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := server.New(t.Context(), s.config(), server.Options{Getenv: s.getenv}); !fault.Is(err, fault.Permission) {
		t.Errorf("a token that others can read: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.start(server.Options{})
	if s.token() == first {
		t.Error("the new token is the old one")
	}
}

// certificate writes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "daos"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return cert, key, roots
}

func TestTLS(t *testing.T) {
	cert, key, roots := certificate(t)
	s := newSite(t)
	r := s.start(server.Options{}, "--tls-cert", cert, "--tls-key", key)
	cc, err := grpc.NewClient(r.Addr(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots})))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ping := func(ctx context.Context, cc *grpc.ClientConn) error {
		_, err := systemv1.NewSystemServiceClient(cc).Ping(ctx, &systemv1.PingRequest{})
		return wire.Fault(err)
	}
	if err := ping(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+s.token()), cc); err != nil {
		t.Errorf("with TLS and the token: %v", err)
	}
	if err := ping(t.Context(), cc); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("with TLS, without the token: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := ping(ctx, dial(t, r.Addr(), s.token())); err == nil {
		t.Error("an answer without TLS")
	}
	if err := ping(t.Context(), dial(t, "unix:"+r.Socket(), "")); err != nil {
		t.Errorf("the unix socket: %v", err)
	}
	if _, err := server.New(t.Context(), newSite(t).config("--tls-cert", key, "--tls-key", cert), server.Options{Getenv: s.getenv}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a certificate that is none: %v", err)
	}
}

func TestMetricsAndHealth(t *testing.T) {
	s := newSite(t)
	r := s.start(server.Options{})
	cc := dial(t, "unix:"+r.Socket(), "")
	must[*systemv1.PingResponse](t)(systemv1.NewSystemServiceClient(cc).Ping(t.Context(), &systemv1.PingRequest{}))
	_ = call(t.Context(), dial(t, r.Addr(), ""), "/daos.scan.v1.ScanService/Plan", false) // refused: counts nothing
	_ = call(t.Context(), cc, "/daos.scan.v1.ScanService/Plan", false)                    // INVALID
	get := func(c *http.Client, url string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	over := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", r.Socket())
	}}}
	defer over.CloseIdleConnections()
	for name, c := range map[string]*http.Client{"tcp": http.DefaultClient, "unix": over} {
		code, text := get(c, "http://"+r.Addr()+"/metrics")
		if code != http.StatusOK {
			t.Errorf("%s: /metrics answers %d", name, code)
		}
		for _, want := range []string{
			`daos_call_duration_seconds_count{kind="ok",method="/daos.system.v1.SystemService/Ping"} 1`,
			`daos_call_duration_seconds_count{kind="invalid",method="/daos.scan.v1.ScanService/Plan"} 1`,
			`daos_target_up{target="1"} 1`, `daos_connections `, `daos_journal_full `, `daos_sweep_rounds `, `daos_info{version=`, `go_goroutines `,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: /metrics has no %s", name, want)
			}
		}
		if code, text := get(c, "http://"+r.Addr()+"/healthz"); code != http.StatusOK || text != "ok\n" {
			t.Errorf("%s: /healthz answers %d %q", name, code, text)
		}
		if code, _ := get(c, "http://"+r.Addr()+"/token"); code != http.StatusNotFound {
			t.Errorf("%s: another path answers %d", name, code)
		}
	}
}
