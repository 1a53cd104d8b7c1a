// Package testchains makes the certificate chains that the end-to-end tests have servers show.
package testchains

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Chain names what a server shows.
type Chain string

// The chains. All bear the names of the endpoints, but WrongName.
const (
	Good       Chain = "good"       // from the test's own root with the name of Amazon's
	Forged     Chain = "forged"     // the same names, another root's key
	Corp       Chain = "corp"       // a company's inspecting proxy
	SelfSigned Chain = "selfsigned" // no issuer but itself
	Expired    Chain = "expired"    // good until a month ago
	WrongName  Chain = "wrongname"  // good, for another service's name
)

// MITMIssuer is the CA of mitmproxy.
const MITMIssuer = "CN=mitmproxy,O=mitmproxy"

// Issuer is the leaf's issuer as it stands in output (RFC 2253), where names begin with that of us-east-1.
func (c Chain) Issuer() string {
	switch c {
	case Corp:
		return "CN=Zscaler Intermediate Root CA (zscloud.net) (t),OU=Zscaler Inc.,O=Zscaler Inc.,ST=California,C=US"
	case SelfSigned:
		return "CN=dynamodb.us-east-1.amazonaws.com"
	}
	return "CN=Amazon RSA 2048 M01,O=Amazon,C=US"
}

type authority struct {
	certificate *x509.Certificate
	key         *rsa.PrivateKey
}

// Write makes, for each chain, dir/CHAIN.pem and dir/CHAIN.key; dir/roots.pem, the root that clients and dynwatch are told to
// trust; and dir/mitm/mitmproxy-ca.pem, mitmproxy's own.
func Write(dir string, names []string) error {
	// One key for each holder; making them takes longest.
	keys := make([]*rsa.PrivateKey, 8)
	var wg sync.WaitGroup
	errs := make([]error, len(keys))
	for i := range keys {
		wg.Go(func() { keys[i], errs[i] = rsa.GenerateKey(rand.Reader, 2048) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	leafKey := keys[0]
	amazonRoot := pkix.Name{Country: []string{"US"}, Organization: []string{"Amazon"}, CommonName: "Amazon Root CA 1"}
	amazonCA := pkix.Name{Country: []string{"US"}, Organization: []string{"Amazon"}, CommonName: "Amazon RSA 2048 M01"}
	zscaler := pkix.Name{Country: []string{"US"}, Province: []string{"California"}, Organization: []string{"Zscaler Inc."},
		OrganizationalUnit: []string{"Zscaler Inc."}, CommonName: "Zscaler Root CA"}
	zscalerCA := zscaler
	zscalerCA.CommonName = "Zscaler Intermediate Root CA (zscloud.net) (t)"

	m := maker{serial: 1000}
	var roots [3]authority
	issuers := map[Chain]authority{}
	for i, p := range []struct {
		root, below pkix.Name
		chains      []Chain
	}{
		{amazonRoot, amazonCA, []Chain{Good, Expired, WrongName}},
		{amazonRoot, amazonCA, []Chain{Forged}},
		{zscaler, zscalerCA, []Chain{Corp}},
	} {
		roots[i] = m.ca(p.root, keys[1+2*i], nil)
		below := m.ca(p.below, keys[2+2*i], &roots[i])
		for _, c := range p.chains {
			issuers[c] = below
		}
	}
	now := time.Now()
	for _, c := range []Chain{Good, Forged, Corp, SelfSigned, Expired, WrongName} {
		template := &x509.Certificate{
			Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: now.AddDate(0, -6, 0), NotAfter: now.AddDate(0, 6, 0),
			KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			BasicConstraintsValid: true,
		}
		switch c {
		case Expired:
			template.NotAfter = now.AddDate(0, -1, 0)
		case WrongName:
			template.Subject.CommonName, template.DNSNames = "s3.us-east-1.amazonaws.com", []string{"s3.us-east-1.amazonaws.com"}
		}
		issuer, known := issuers[c]
		if !known {
			issuer = authority{template, leafKey}
		}
		leaf := m.sign(template, issuer, leafKey)
		shown := [][]byte{leaf}
		if known {
			shown = append(shown, issuer.certificate.Raw)
		}
		m.write(filepath.Join(dir, string(c)+".pem"), "CERTIFICATE", shown...)
		m.writeKey(filepath.Join(dir, string(c)+".key"), leafKey)
	}
	m.write(filepath.Join(dir, "roots.pem"), "CERTIFICATE", roots[0].certificate.Raw)
	// mitmproxy takes its CA from one file with key and certificate.
	mitm := m.ca(pkix.Name{Organization: []string{"mitmproxy"}, CommonName: "mitmproxy"}, keys[7], nil)
	m.write(filepath.Join(dir, "mitm.pem"), "CERTIFICATE", mitm.certificate.Raw)
	m.writeKey(filepath.Join(dir, "mitm", "mitmproxy-ca.pem"), keys[7], mitm.certificate.Raw)
	return m.err
}

// maker makes certificates until something fails.
type maker struct {
	serial int64
	err    error
}

func (m *maker) ca(name pkix.Name, key *rsa.PrivateKey, above *authority) authority {
	template := &x509.Certificate{
		Subject: name, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true,
	}
	if above == nil {
		above = &authority{template, key}
	}
	der := m.sign(template, *above, key)
	if m.err != nil {
		return authority{}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		m.err = err
	}
	return authority{certificate, key}
}

// sign issues a certificate for key.
func (m *maker) sign(template *x509.Certificate, issuer authority, key *rsa.PrivateKey) []byte {
	if m.err != nil {
		return nil
	}
	m.serial++
	template.SerialNumber = big.NewInt(m.serial)
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.certificate, key.Public(), issuer.key)
	if err != nil {
		m.err = fmt.Errorf("certificate of %s: %w", template.Subject, err)
	}
	return der
}

func (m *maker) write(name, kind string, blocks ...[]byte) {
	if m.err != nil {
		return
	}
	var b []byte
	for _, der := range blocks {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	m.err = os.WriteFile(name, b, 0o644)
}

// writeKey writes a key, and behind it certificates.
func (m *maker) writeKey(name string, key *rsa.PrivateKey, certificates ...[]byte) {
	if m.err != nil {
		return
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	for _, der := range certificates {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	m.err = os.WriteFile(name, b, 0o600)
}
