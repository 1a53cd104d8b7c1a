package agent

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/synth"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// rangesJSON is AWS's list for these tests.
const rangesJSON = `{"syncToken": "1700000000", "createDate": "2026-01-01-00-00-00", "ipv6_prefixes": [], "prefixes": [
	{"ip_prefix": "203.0.113.0/24", "region": "us-east-1", "service": "AMAZON", "network_border_group": "us-east-1"},
	{"ip_prefix": "203.0.113.0/24", "region": "us-east-1", "service": "DYNAMODB", "network_border_group": "us-east-1"}]}`

func regional(region string) string { return "dynamodb." + region + ".amazonaws.com" }

// authorities are the root that stands in for Amazon's and one that nobody knows; they and all servers share a key.
type authorities struct {
	key             *ecdsa.PrivateKey
	amazon, unknown *synth.Authority
}

var certificates = sync.OnceValues(func() (a authorities, err error) {
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return a, err
	}
	if a.amazon, err = synth.NewAuthority(pkix.Name{CommonName: "Amazon Root CA 1", Organization: []string{"Amazon"}, Country: []string{"US"}}, a.key); err != nil {
		return a, err
	}
	a.unknown, err = synth.NewAuthority(pkix.Name{CommonName: "Example TLS Inspection CA"}, a.key)
	return a, err
})

func mustCertificates(t *testing.T) authorities {
	t.Helper()
	a, err := certificates()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// client does one thing with a server, again and again.
type client struct {
	what   string
	server string
	// unknown: the server's chain is of the root that nobody knows. wrongName: it is for another service.
	unknown, wrongName bool
	versions           [2]uint16 // 0: in clear
	region             string
	roots              *x509.CertPool // by which it verifies; without, it does not
	pause              time.Duration  // between two requests
}

// serve has the client's server answer every request with {}.
func (c client) serve(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", c.server)
	if err != nil {
		t.Fatal(err)
	}
	if c.versions[0] == 0 {
		testnet.Serve(t, l, answer)
		return
	}
	a := mustCertificates(t)
	from, name := a.amazon, regional(c.region)
	if c.unknown {
		from = a.unknown
	}
	if c.wrongName {
		name = "s3." + c.region + ".amazonaws.com"
	}
	leaf, err := from.Server(a.key, name)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{leaf}, MinVersion: c.versions[0], MaxVersion: c.versions[1], SessionTicketsDisabled: true}
	testnet.Serve(t, l, func(conn net.Conn) { answer(tls.Server(conn, config)) })
}

func answer(c net.Conn) {
	if _, err := bufio.NewReader(c).ReadString('}'); err == nil {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\n\r\n{}")
	}
}

// ask sends a request and reads the answer.
func (c client) ask() error {
	conn, err := net.DialTimeout("tcp", c.server, 10*time.Second)
	if err != nil {
		return err
	}
	return c.askOver(conn)
}

// askOver does so over a connection that is there already.
func (c client) askOver(conn net.Conn) error {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if c.versions[0] != 0 {
		conn = tls.Client(conn, &tls.Config{ServerName: regional(c.region), RootCAs: c.roots, InsecureSkipVerify: c.roots == nil, MinVersion: c.versions[0], MaxVersion: c.versions[1]})
	}
	if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Length: 2\r\n\r\n{}", regional(c.region)); err != nil {
		return err
	}
	_, err := bufio.NewReader(conn).ReadString('}')
	return err
}

// keepAsking asks until the context ends; it gives up after the fourth request that fails.
func (c client) keepAsking(ctx context.Context) error {
	for failed := 0; ctx.Err() == nil; {
		if err := c.ask(); err != nil {
			if failed++; failed > 3 {
				return fmt.Errorf("%s: %w", c.what, err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.pause):
		}
	}
	return nil
}

// clients do right and wrong.
func clients() []client {
	v := func(v uint16) [2]uint16 { return [2]uint16{v, v} }
	list := []client{
		{what: "plaintext", server: "203.0.113.10:80", region: "us-east-1"},
		{what: "good, TLS 1.2", server: "203.0.113.11:443", versions: v(tls.VersionTLS12), region: "us-east-1"},
		{what: "good, TLS 1.3", server: "203.0.113.12:443", versions: v(tls.VersionTLS13), region: "us-east-1"},
		{what: "old", server: "203.0.113.13:443", versions: v(tls.VersionTLS10), region: "eu-west-1"},
		{what: "less old: the same rule in another severity", server: "203.0.113.16:443", versions: v(tls.VersionTLS11), region: "eu-west-2"},
		{what: "an unknown issuer", server: "203.0.113.14:443", versions: v(tls.VersionTLS12), unknown: true, region: "us-east-1"},
		{what: "a chain that nobody who verifies accepts", server: "203.0.113.15:443", versions: v(tls.VersionTLS12), wrongName: true, region: "us-east-1"},
	}
	for i := range 10 { // more regions than there are series
		list = append(list, client{what: "many regions", server: fmt.Sprintf("203.0.113.%d:443", 100+i), versions: v(tls.VersionTLS12), region: fmt.Sprintf("eu-test-%d", i)})
	}
	for i := range list {
		list[i].pause = 300 * time.Millisecond
	}
	return list
}

// lossy are the frames of a TLS session of which the server's flight has a hole, and fragments of IP that find no others.
func lossy(t *testing.T, n int) (frames [][]byte) {
	t.Helper()
	a := mustCertificates(t)
	name := regional("us-east-1")
	leaf, err := a.amazon.Server(a.key, name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := synth.TLS(&tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, &tls.Config{Certificates: []tls.Certificate{leaf}}, []byte("?"), []byte("!"))
	if err != nil {
		t.Fatal(err)
	}
	server := netip.MustParseAddrPort("192.0.2.80:443")
	packets := synth.Flow{
		Client: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), uint16(20000+n)), Server: server, Start: time.Now(), MSS: 200, ClientISN: 1, ServerISN: 1,
	}.Packets(d)
	from := server.Addr().As4()
	seen := 0
	for _, p := range packets {
		if string(p.Data[26:30]) == string(from[:]) && len(p.Data) > 200 {
			if seen++; seen == 2 {
				continue
			}
		}
		frames = append(frames, p.Data)
	}
	first := synth.Frame(netip.MustParseAddrPort("192.0.2.11:40000"), server, 1, 1, 0x18, uint16(n), make([]byte, 64))
	first[20] |= 0x20 // more fragments, of which none comes (RFC 791, Section 3.1)
	sum := uint32(0)
	first[24], first[25] = 0, 0
	for i := 14; i < 34; i += 2 {
		sum += uint32(first[i])<<8 | uint32(first[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum = ^(sum>>16 + sum)
	first[24], first[25] = byte(sum>>8), byte(sum)
	return append(frames, first)
}

// put puts frames onto the cable.
func put(t *testing.T, frames [][]byte) {
	t.Helper()
	end, err := net.InterfaceByName(cableEnd)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, f := range frames {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: end.Index}); err != nil {
			t.Fatal(err)
		}
	}
}
