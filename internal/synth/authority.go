package synth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Every certificate of this package is valid between these two, so that captures with any sensible time can be made.
var (
	validFrom  = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Authority issues certificates. The zero value is of no use; see NewAuthority.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
	// above are the certificates that an issued chain needs between its leaf and the root: this one's own and its issuers', the root left out.
	above  [][]byte
	serial int64
}

// NewAuthority makes a root of that name. Its private key is the caller's, so that several can share one: making RSA keys takes time.
func NewAuthority(name pkix.Name, key crypto.Signer) (*Authority, error) {
	a := &Authority{key: key}
	der, err := sign(authorityTemplate(name, 1), nil, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("root %s: %w", name, err)
	}
	a.Certificate, err = x509.ParseCertificate(der)
	return a, err
}

// Intermediate makes an authority below a.
func (a *Authority) Intermediate(name pkix.Name, key crypto.Signer) (*Authority, error) {
	a.serial++
	der, err := sign(authorityTemplate(name, a.serial), a.Certificate, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("intermediate %s: %w", name, err)
	}
	below := &Authority{key: key, above: append([][]byte{der}, a.above...)}
	below.Certificate, err = x509.ParseCertificate(der)
	return below, err
}

// Server issues a leaf for those host names and addresses, and gives it with its key and the chain up to, but without, the root.
func (a *Authority) Server(key crypto.Signer, names ...string) (tls.Certificate, error) {
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: validFrom, NotAfter: validUntil,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := sign(template, a.Certificate, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("leaf %s: %w", names[0], err)
	}
	return tls.Certificate{Certificate: append([][]byte{der}, a.above...), PrivateKey: key}, nil
}

// NewHost makes an authority of that common name, and a server's certificate of it, both with one new key on P-256.
func NewHost(authority string, names ...string) (*Authority, tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	a, err := NewAuthority(pkix.Name{CommonName: authority}, key)
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	cert, err := a.Server(key, names...)
	return a, cert, err
}

// PEM is the authority's own certificate in the form that --allow-ca and SSL_CERT_FILE take.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw})
}

func authorityTemplate(name pkix.Name, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: name, NotBefore: validFrom, NotAfter: validUntil,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true,
	}
}

// sign issues a certificate; a nil parent signs itself.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) ([]byte, error) {
	if parent == nil {
		parent = template
	}
	return x509.CreateCertificate(rand.Reader, template, parent, public, key)
}
