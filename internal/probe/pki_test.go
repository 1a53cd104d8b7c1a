package probe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

const name = "dynamodb.us-east-1.amazonaws.com"

// pki has a chain of each kind that a server may show.
type pki struct {
	caPEM  []byte
	chains map[string]tls.Certificate
}

// kinds and how each is judged, with the test's CA allowed.
var kinds = map[string]session.Trust{
	"good": session.TrustAllowed, "expired": session.TrustExpired, "wrong-name": session.TrustNameMismatch, "forged": session.TrustForged,
	"self-signed": session.TrustSelfSigned, "private": session.TrustPrivate,
}

var makePKI = sync.OnceValue(func() *pki {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	// RSA, which every version and every server of the tests takes.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	p := &pki{chains: make(map[string]tls.Certificate)}
	now := time.Now().UTC() // a day of local time may have 25 hours
	issue := func(template, parent *x509.Certificate) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		must(err)
		c, err := x509.ParseCertificate(der)
		must(err)
		return c
	}
	serial := int64(0)
	authority := func(name pkix.Name) *x509.Certificate {
		serial++
		t := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: name, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), IsCA: true,
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		return issue(t, t)
	}
	leaf := func(kind string, ca *x509.Certificate, host string, from, to time.Time) {
		serial++
		t := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: from, NotAfter: to,
			KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		chain := tls.Certificate{PrivateKey: key}
		if ca == nil {
			chain.Certificate = [][]byte{issue(t, t).Raw}
		} else {
			chain.Certificate = [][]byte{issue(t, ca).Raw, ca.Raw}
		}
		p.chains[kind] = chain
	}
	ca := authority(pkix.Name{CommonName: "Test Root"})
	p.caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	// foreign is a chain of a CA with a key of its own.
	foreign := func(kind string, issuer pkix.Name) {
		other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		sign := func(template, parent *x509.Certificate, public any) *x509.Certificate {
			serial++
			template.SerialNumber = big.NewInt(serial)
			der, err := x509.CreateCertificate(rand.Reader, template, parent, public, other)
			must(err)
			c, err := x509.ParseCertificate(der)
			must(err)
			return c
		}
		root := &x509.Certificate{Subject: issuer, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
		root = sign(root, root, other.Public())
		l := sign(&x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(0, 3, 0),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, root, key.Public())
		p.chains[kind] = tls.Certificate{PrivateKey: key, Certificate: [][]byte{l.Raw, root.Raw}}
	}
	foreign("forged", pkix.Name{CommonName: "Amazon RSA 2048 M01", Organization: []string{"Amazon"}, Country: []string{"US"}})
	foreign("private", pkix.Name{CommonName: "Corp Inspection"})
	leaf("good", ca, name, now.AddDate(0, 0, -1), now.AddDate(0, 3, 0))
	leaf("ends-soon", ca, name, now.AddDate(0, 0, -80), now.AddDate(0, 0, 10))
	leaf("expired", ca, name, now.AddDate(0, -3, 0), now.AddDate(0, 0, -1))
	leaf("wrong-name", ca, "db.example.com", now.AddDate(0, 0, -1), now.AddDate(0, 3, 0))
	leaf("self-signed", nil, name, now.AddDate(0, 0, -1), now.AddDate(0, 3, 0))
	return p
})

// files writes a chain and its key for a server program.
func (p *pki) files(t *testing.T, kind string) (chain, key string) {
	t.Helper()
	dir := t.TempDir()
	var b []byte
	for _, der := range p.chains[kind].Certificate {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	k, err := x509.MarshalPKCS8PrivateKey(p.chains[kind].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	chain, key = filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")
	for file, data := range map[string][]byte{chain: b, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return chain, key
}

// options are those of a prober that allows the test's CA and loopback addresses.
func options(t testing.TB, endpoints ...string) Options {
	t.Helper()
	cas, err := trust.ParseCAFile("test", makePKI().caPEM)
	if err != nil {
		t.Fatal(err)
	}
	store, err := trust.NewStore(trust.Policy{AllowCA: cas})
	if err != nil {
		t.Fatal(err)
	}
	set, err := endpoint.NewSet(endpoint.Embedded(), append(endpoints, "127.0.0.0/8"))
	if err != nil {
		t.Fatal(err)
	}
	return Options{Endpoints: set, Trust: store, Policy: &rules.Policy{OwnIssuers: true}, Timeout: 5 * time.Second}
}

// serve hands connections on loopback to a handler.
func serve(t testing.TB, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	return testnet.Listen(t, "127.0.0.1", handle)
}

// serveTLS answers handshakes, and reads until the client goes.
func serveTLS(t testing.TB, config *tls.Config) netip.AddrPort {
	t.Helper()
	return serve(t, testnet.Handshakes(config))
}

func target(at netip.AddrPort) Target { return Target{Host: name, Addr: at.Addr(), Port: at.Port()} }

// one probes one address.
func one(t testing.TB, o Options, to Target) *session.Probe {
	t.Helper()
	list := New(o).Probe(t.Context(), to)
	if len(list) != 1 {
		t.Fatalf("%d results", len(list))
	}
	return list[0]
}

func found(p *session.Probe) map[string]session.Severity {
	m := make(map[string]session.Severity)
	for _, f := range p.Findings() {
		m[f.Rule] = f.Severity
	}
	return m
}
