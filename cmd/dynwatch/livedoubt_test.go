package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/testnet"
)

// inHalves sends the first bytes of what is written first, and the rest a moment later.
type inHalves struct {
	net.Conn
	first int // bytes
}

func (c *inHalves) Write(b []byte) (int, error) {
	n := min(c.first, len(b))
	if c.first = 0; n == 0 || n == len(b) {
		return c.Conn.Write(b)
	}
	if _, err := c.Conn.Write(b[:n]); err != nil {
		return 0, err
	}
	time.Sleep(50 * time.Millisecond)
	m, err := c.Conn.Write(b[n:])
	return n + m, err
}

// The kernel copies little of a connection to an address that nobody named, if the name is not among its first bytes. The analysis finds the name in a later
// segment, and from then on all is copied: the server's certificate is seen whole though it is longer than that, unless it comes within milliseconds.
func TestANameInTheSecondSegmentHasTheWholeHandshakeCopied(t *testing.T) {
	names := []string{liveName}
	for i := range 1500 {
		names = append(names, fmt.Sprintf("n%d.example.com", i))
	}
	cert, err := testCA().Server(testKey(), names...)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(cert.Certificate[0]); n < 20<<10 {
		t.Fatalf("a certificate of %d bytes is no test", n)
	}
	far := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { // so far away that a busy host has judged the second segment by then
		time.Sleep(3 * time.Second)
		return &cert, nil
	}
	l, err := tls.Listen("tcp", "127.0.7.61:0", &tls.Config{GetCertificate: far, MaxVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	addr := testnet.Serve(t, l, giveSecret)
	w := startWatch(t, "--source", "ebpf", "--library-probes", "off", "-o", "json", "--allow-ca", writeCA(t))
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	talkOver(t, tls.Client(&inHalves{c, 60}, &tls.Config{ServerName: liveName, InsecureSkipVerify: true}))
	w.await("the session", func() bool { return len(linesOf(t, w.stdout.String(), "session", addr.Addr())) > 0 })
	w.interrupt()
	s := linesOf(t, w.stdout.String(), "session", addr.Addr())[0]
	if s.Visibility != "visible" || !strings.Contains(s.Certificate.Issuer, "Test Root") || s.Verdict == "incomplete" {
		t.Errorf("%+v", s)
	}
}
