package mux_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"daos/server/mux"
)

// serve runs all three servers behind one Mux on both kinds of socket.
func serve(t *testing.T, o mux.Options) (m *mux.Mux, tcp, unix net.Listener) {
	t.Helper()
	m = mux.New(func(c net.Conn) {
		defer c.Close()
		b := make([]byte, 8)
		if _, err := io.ReadFull(c, b); err == nil {
			_, _ = c.Write(b)
		}
	}, o)
	g := grpc.NewServer()
	healthpb.RegisterHealthServer(g, health.NewServer())
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })}
	var err error
	if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if unix, err = net.Listen("unix", filepath.Join(t.TempDir(), "s")); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Serve(m.HTTP2()) })
	wg.Go(func() { _ = h.Serve(m.HTTP1()) })
	wg.Go(func() { _ = m.Serve(tcp) })
	wg.Go(func() { _ = m.Serve(unix) })
	t.Cleanup(func() { _ = m.Close(); g.Stop(); _ = h.Close(); wg.Wait() })
	return m, tcp, unix
}

func feedEcho(t *testing.T, c net.Conn, pieces ...string) {
	t.Helper()
	var sent string
	for _, p := range pieces {
		if _, err := c.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
		sent += p
	}
	b := make([]byte, 8)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != sent {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestMux_EachProtocolReachesItsServer(t *testing.T) {
	_, tcp, unix := serve(t, mux.Options{})
	for _, l := range []net.Listener{tcp, unix} {
		network, address := l.Addr().Network(), l.Addr().String()
		c, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		feedEcho(t, c, "DFD1abcd")
		_ = c.Close()

		target := address
		if network == "unix" {
			target = "unix:" + address
		}
		cc, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := healthpb.NewHealthClient(cc).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatalf("gRPC over %s: %v", network, err)
		}
		_ = cc.Close()

		hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}, DisableKeepAlives: true}}
		resp, err := hc.Get("http://x/healthz")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(b) != "/healthz" {
			t.Fatalf("%q", b)
		}
	}
}

func TestMux_FirstBytesOneAtATime(t *testing.T) {
	_, tcp, unix := serve(t, mux.Options{})
	for _, l := range []net.Listener{tcp, unix} {
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		feedEcho(t, c, "D", "F", "D", "1", "a", "b", "c", "d")
		_ = c.Close()
	}
}

func TestMux_GarbageAndSilenceAreClosed(t *testing.T) {
	_, tcp, _ := serve(t, mux.Options{Sniff: 50 * time.Millisecond, Pending: 4})
	for _, say := range []string{"\x16\x03\x01\x02", "SSH-2.0", "DF", ""} {
		for range 8 { // more than may be pending at a time
			c, err := net.Dial("tcp", tcp.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, say); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Fatalf("%q: read %d bytes", say, n)
			} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Fatalf("%q: the connection was left open", say)
			}
			_ = c.Close()
		}
	}
	c, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	feedEcho(t, c, "DFD1abcd")
}

func TestMux_SilenceOnTCPKeepsNobodyFromTheSocket(t *testing.T) {
	_, tcp, unix := serve(t, mux.Options{Sniff: time.Minute, Pending: 2})
	for range 8 { // more than may be pending; they say nothing
		c, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for range 8 { // each may lose its place to one of those
		c, err := net.Dial("unix", unix.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		feedEcho(t, c, "DFD1abcd")
		_ = c.Close()
	}
}

func TestMux_EndsTLS(t *testing.T) {
	cert, pool := selfSigned(t)
	_, tcp, _ := serve(t, mux.Options{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}})
	client := &tls.Config{RootCAs: pool, ServerName: "daos.test"}
	c, err := tls.Dial("tcp", tcp.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	feedEcho(t, c, "DFD1", "abcd")
	_ = c.Close()
	cc, err := grpc.NewClient(tcp.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(client)))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if _, err := healthpb.NewHealthClient(cc).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"daos.test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
