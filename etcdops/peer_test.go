package etcdops_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// listen listens on a free port of this machine until the test ends.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // some close it themselves
	return l
}

// unused returns an address that nobody listens on.
func unused(t *testing.T) string {
	t.Helper()
	l := listen(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// blackHole returns an address where connections are made, by the kernel, and never answered.
func blackHole(t *testing.T) string {
	t.Helper()
	return listen(t).Addr().String()
}

// hangUp returns an address where connections are closed at once.
func hangUp(t *testing.T) string {
	t.Helper()
	return serve(t, func(net.Conn) {})
}

// showCertificate returns an address where a TLS server shows this certificate, and hangs up.
func showCertificate(t *testing.T, certPath, keyPath string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
	return serve(t, func(conn net.Conn) {
		_ = tls.Server(conn, config).HandshakeContext(t.Context()) // its end is for the client to judge
	})
}

// serve accepts connections, one after the other, until the test ends. Each is closed after the function.
func serve(t *testing.T, handle func(net.Conn)) (address string) {
	t.Helper()
	l := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed at the end of the test
			}
			handle(conn)
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// webServer returns the URL of a server that isn't etcd.
func webServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return server.URL
}
