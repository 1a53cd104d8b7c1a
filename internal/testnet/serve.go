package testnet

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// Serve hands every connection that a TCP listener accepts to a handler, in a goroutine each, until the test ends. Connections are closed when their
// handler returns, and fail after twenty seconds. It returns the listener's address.
func Serve(t testing.TB, l net.Listener, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				handle(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// Listen is Serve on a free port of an address, which belongs to the namespace of the calling goroutine.
func Listen(t testing.TB, address string, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	return Serve(t, l, handle)
}

// Handshakes is a handler that makes the server's side of a TLS handshake and then reads until the client goes.
func Handshakes(config *tls.Config) func(net.Conn) {
	return func(c net.Conn) {
		s := tls.Server(c, config)
		if s.Handshake() != nil {
			return
		}
		for b := make([]byte, 512); ; {
			if _, err := s.Read(b); err != nil {
				return
			}
		}
	}
}

// Free is an address of loopback that nobody listens at, for a server that cannot choose a port itself. Its IP address is one of 65,024, picked at random: a port
// that was free at 127.0.0.1 is anybody's who next asks for one there, in this process or beside it.
func Free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.5.%d.%d:0", rand.IntN(256), 1+rand.IntN(254)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
