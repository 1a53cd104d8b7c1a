package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// now is when the tests' sessions take place.
var now = time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC)

const host = "dynamodb.us-east-1.amazonaws.com"

// An identity is a certificate with its key.
type identity struct {
	der  []byte
	cert *x509.Certificate
	key  crypto.Signer
}

// A spec is what a made certificate is to be like. Zero values give an ordinary server certificate for host, valid around now.
type spec struct {
	name       pkix.Name
	ca         bool
	pathLen    int // with ca; 0 is none, -1 is zero
	from, to   time.Time
	names      []string
	ips        []net.IP
	purposes   []x509.ExtKeyUsage
	usage      x509.KeyUsage
	key        crypto.Signer
	algorithm  x509.SignatureAlgorithm
	extensions []pkix.Extension
	edit       func(*x509.Certificate)
}

func dn(cn, o string) pkix.Name {
	return pkix.Name{CommonName: cn, Organization: []string{o}, Country: []string{"US"}}
}

var (
	amazonRootName = dn("Amazon Root CA 1", "Amazon")
	amazonM01Name  = dn("Amazon RSA 2048 M01", "Amazon")
	serialMu       sync.Mutex
	nextSerial     = int64(1000)
)

// issue makes a certificate signed by parent; nil parent: by itself.
func issue(t testing.TB, s spec, parent *identity) *identity {
	t.Helper()
	if s.key == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.key = key
	}
	if s.from.IsZero() {
		s.from = now.AddDate(0, -1, 0)
	}
	if s.to.IsZero() {
		s.to = now.AddDate(0, 6, 0)
	}
	serialMu.Lock()
	nextSerial++
	serial := big.NewInt(nextSerial)
	serialMu.Unlock()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: s.name, NotBefore: s.from, NotAfter: s.to,
		DNSNames: s.names, IPAddresses: s.ips, ExtKeyUsage: s.purposes, KeyUsage: s.usage,
		BasicConstraintsValid: true, IsCA: s.ca, SignatureAlgorithm: s.algorithm, ExtraExtensions: s.extensions,
	}
	switch {
	case s.ca && s.pathLen == -1:
		template.MaxPathLenZero = true
	case s.ca && s.pathLen > 0:
		template.MaxPathLen = s.pathLen
	case !s.ca && s.names == nil && s.ips == nil:
		template.DNSNames = []string{host}
	}
	if s.edit != nil {
		s.edit(template)
	}
	signer, over := s.key, template
	if parent != nil {
		signer, over = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, template, over, s.key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{der, cert, s.key}
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ed25519Key(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// world is a set of authorities: a root that the store under test takes for Amazon's, a corporate one, and an impostor.
type world struct {
	amazon, m01 *identity // stand in for the genuine ones
	fake, fakeM *identity // the same names, other keys
	corp        *identity
}

func newWorld(t testing.TB) *world {
	t.Helper()
	root := spec{ca: true, from: now.AddDate(-10, 0, 0), to: now.AddDate(10, 0, 0), usage: x509.KeyUsageCertSign}
	with := func(name pkix.Name) spec { s := root; s.name = name; return s }
	w := &world{}
	w.amazon = issue(t, with(amazonRootName), nil)
	w.fake = issue(t, with(amazonRootName), nil)
	w.corp = issue(t, with(dn("Example Corp Inspection CA", "Example Corp")), nil)
	inter := with(amazonM01Name)
	inter.from, inter.to = now.AddDate(-4, 0, 0), now.AddDate(4, 0, 0)
	inter.pathLen = -1
	w.m01 = issue(t, inter, w.amazon)
	w.fakeM = issue(t, inter, w.fake)
	return w
}

// store trusts the world's Amazon root as if it were embedded.
func (w *world) store(t testing.TB, p Policy) *Store {
	t.Helper()
	root, err := ParseCertificate(w.amazon.der)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newStore(p, []*anchor{newAnchor(anchorAmazon, root)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func allow(t testing.TB, ids ...*identity) []CA {
	t.Helper()
	var out []CA
	for _, id := range ids {
		cas, err := ParseCAFile("ca.pem", id.pem())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, cas...)
	}
	return out
}

func (id *identity) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.der})
}

func (id *identity) pin() [32]byte { return sha256.Sum256(id.cert.RawSubjectPublicKeyInfo) }

func ders(ids ...*identity) [][]byte {
	var out [][]byte
	for _, id := range ids {
		out = append(out, id.der)
	}
	return out
}

// tlv makes one DER element of its parts.
func tlv(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := []byte{tag}
	switch {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	case n < 0x10000:
		out = append(out, 0x82, byte(n>>8), byte(n))
	default:
		out = append(out, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func algorithmIdentifier(oid string, params ...[]byte) []byte {
	return tlv(tagSequence, append([][]byte{tlv(tagOID, []byte(oid))}, params...)...)
}

var null = []byte{5, 0}

// handmade is a certificate that crypto/x509 would not make. Fields are raw; nil ones get an ordinary value.
type handmade struct {
	serial, issuer, validity, subject, spki, extensions []byte
	algorithm                                           []byte // AlgorithmIdentifier, both places
	sign                                                func(tbs []byte) []byte
}

func utc(t time.Time) []byte { return tlv(tagUTCTime, []byte(t.Format("060102150405Z"))) }

func (h handmade) der(t testing.TB) []byte {
	t.Helper()
	pick := func(v, other []byte) []byte {
		if v != nil {
			return v
		}
		return other
	}
	name, _ := asn1.Marshal(dn("handmade", "Example").ToRDNSequence())
	if h.spki == nil || h.sign == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if h.spki == nil {
			h.spki, _ = x509.MarshalPKIXPublicKey(key.Public())
		}
		if h.sign == nil {
			h.sign = signECDSA(t, key, crypto.SHA256)
		}
	}
	algorithm := pick(h.algorithm, algorithmIdentifier("\x2a\x86\x48\xce\x3d\x04\x03\x02"))
	tbs := tlv(tagSequence, tlv(tagContext0, tlv(tagInteger, []byte{2})),
		pick(h.serial, tlv(tagInteger, []byte{1})), algorithm, pick(h.issuer, name),
		pick(h.validity, tlv(tagSequence, utc(now.AddDate(0, -1, 0)), utc(now.AddDate(0, 1, 0)))),
		pick(h.subject, name), h.spki, h.extensions)
	return tlv(tagSequence, tbs, algorithm, tlv(tagBitString, []byte{0}, h.sign(tbs)))
}

func signECDSA(t testing.TB, key *ecdsa.PrivateKey, hash crypto.Hash) func([]byte) []byte {
	return func(tbs []byte) []byte {
		h := hash.New()
		h.Write(tbs)
		sig, err := ecdsa.SignASN1(rand.Reader, key, h.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
}

// signPKCS1 signs with an RSA key of any length, as crypto/rsa would not.
func signPKCS1(key *rsa.PrivateKey, hash crypto.Hash) func([]byte) []byte {
	return func(tbs []byte) []byte {
		var digest []byte
		h := hash.New()
		h.Write(tbs)
		digest = h.Sum(nil)
		size := (key.N.BitLen() + 7) / 8
		em := make([]byte, size)
		tail := append([]byte(digestInfo[hash]), digest...)
		em[1] = 1
		for i := 2; i < size-len(tail)-1; i++ {
			em[i] = 0xff
		}
		copy(em[size-len(tail):], tail)
		m := new(big.Int).SetBytes(em)
		return m.Exp(m, key.D, key.N).FillBytes(make([]byte, size))
	}
}

// smallRSA makes an RSA key that crypto/rsa would refuse to make.
func smallRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	for {
		p, err1 := rand.Prime(rand.Reader, bits/2)
		q, err2 := rand.Prime(rand.Reader, bits/2)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		n := new(big.Int).Mul(p, q)
		one := big.NewInt(1)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(big.NewInt(65537), phi)
		if n.BitLen() == bits && d != nil && p.Cmp(q) != 0 {
			return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, D: d}
		}
	}
}

func rsaSPKI(n *big.Int, e int64) []byte {
	key, _ := asn1.Marshal(struct {
		N *big.Int
		E *big.Int
	}{n, big.NewInt(e)})
	return tlv(tagSequence, algorithmIdentifier(oidRSA, null), tlv(tagBitString, []byte{0}, key))
}

// sanExtension is the [3] field with a subjectAltName of host and nothing else.
func sanExtension() []byte {
	names := tlv(tagSequence, tlv(generalDNS, []byte(host)))
	return tlv(tagContext3, tlv(tagSequence, tlv(tagSequence, tlv(tagOID, []byte{0x55, 0x1d, 17}), tlv(tagOctetString, names))))
}
