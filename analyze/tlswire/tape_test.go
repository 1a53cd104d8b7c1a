package tlswire

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// tape is what a connection carried, in the order in which it was written.
type tape struct {
	mu     sync.Mutex
	pieces []piece
}

type piece struct {
	from session.Side
	data []byte
}

func (t *tape) add(from session.Side, b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pieces = append(t.pieces, piece{from, slices.Clone(b)})
}

// stream is all bytes of one side.
func (t *tape) stream(from session.Side) []byte {
	var b []byte
	for _, p := range t.pieces {
		if p.from == from {
			b = append(b, p.data...)
		}
	}
	return b
}

// feed runs the tape through c as it was recorded.
func (t *tape) feed(c *Conn) {
	for _, p := range t.pieces {
		c.Feed(p.from, p.data)
	}
	c.End()
}

// facts of the tape.
func (t *tape) facts(o Options) *Facts {
	c := New(o)
	t.feed(c)
	return c.Facts()
}

// shuffle feeds the tape cut into random pieces, the two sides interleaved at random.
func (t *tape) shuffle(c *Conn, r *mrand.Rand) {
	left := [2][]byte{t.stream(session.Client), t.stream(session.Server)}
	longest := 1 + r.IntN(1<<r.IntN(12))
	for len(left[0])+len(left[1]) > 0 {
		side := r.IntN(2)
		if len(left[side]) == 0 {
			continue
		}
		n := min(1+r.IntN(longest), len(left[side]))
		// Feed must not keep the slice: hand out a copy and spoil it.
		b := slices.Clone(left[side][:n])
		c.Feed(session.Side(side), b)
		for i := range b {
			b[i] = 0xee
		}
		left[side] = left[side][n:]
	}
	c.End()
}

// tapeConn records what is written through it.
type tapeConn struct {
	net.Conn
	tape *tape
	from session.Side
}

func (c tapeConn) Write(b []byte) (int, error) {
	c.tape.add(c.from, b)
	return c.Conn.Write(b)
}

// snapshot prints all facts that must not depend on how the bytes were fed.
func snapshot(f *Facts) string {
	g := *f
	g.EarlyData = false
	for i, known := range g.HandshakeEndKnown {
		if !known {
			g.HandshakeEnd[i] = 0
		}
	}
	alerts := slices.Clone(g.Alerts)
	slices.SortStableFunc(alerts, func(a, b session.Alert) int { return int(a.From) - int(b.From) })
	g.Alerts = alerts
	s := fmt.Sprintf("hello %+v\nserver %+v\nkex %+v\n", *g.ClientHello, *g.ServerHello, *g.KeyExchange)
	if g.FirstHello != nil {
		s += fmt.Sprintf("first %+v\n", *g.FirstHello)
	}
	if g.HelloRetryRequest != nil {
		s += fmt.Sprintf("retry %+v\n", *g.HelloRetryRequest)
	}
	if g.SSL2 != nil {
		s += fmt.Sprintf("ssl2 %+v\n", *g.SSL2)
	}
	if g.CertificateVerify != nil {
		s += fmt.Sprintf("verify %+v\n", *g.CertificateVerify)
	}
	if g.ProtocolError != nil {
		s += fmt.Sprintf("fault %+v\n", *g.ProtocolError)
	}
	chain := *g.Chain
	chain.raw = nil // in a buffer that may hold more
	s += fmt.Sprintf("chain %+v\n", chain)
	g.ClientHello, g.FirstHello, g.ServerHello, g.HelloRetryRequest, g.SSL2, g.Chain, g.KeyExchange, g.CertificateVerify =
		nil, nil, nil, nil, nil, nil, nil, nil
	g.ProtocolError = nil
	return s + fmt.Sprintf("%+v", g)
}

// testCert makes a self-signed certificate for names; kind is rsa, ecdsa or ed25519.
func testCert(tb testing.TB, kind string) tls.Certificate {
	tb.Helper()
	testCerts.Lock()
	defer testCerts.Unlock()
	if c, ok := testCerts.m[kind]; ok {
		return c
	}
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		tb.Fatalf("no key kind %q", kind)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "test " + kind}, DNSNames: []string{"dynamodb.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	c := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	if c.Leaf, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	testCerts.m[kind] = c
	return c
}

var testCerts = struct {
	sync.Mutex
	m map[string]tls.Certificate
}{m: map[string]tls.Certificate{}}
