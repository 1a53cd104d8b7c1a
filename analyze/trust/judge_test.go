package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var asked = Query{Name: host, At: now, TimeKnown: true}

func TestTrustWords(t *testing.T) {
	w := newWorld(t)
	good := issue(t, spec{name: dn(host, "")}, w.m01)
	forged := issue(t, spec{name: dn(host, "")}, w.fakeM)
	corp := issue(t, spec{name: dn(host, "")}, w.corp)
	self := issue(t, spec{name: dn(host, "Home")}, nil)
	crossKey := w.amazon.key
	old := issue(t, spec{name: dn("Starfield Services Root Certificate Authority - G2", "Starfield"), ca: true, usage: x509.KeyUsageCertSign}, nil)
	cross := issue(t, spec{name: amazonRootName, ca: true, key: crossKey, usage: x509.KeyUsageCertSign}, old)
	expiredM := issue(t, spec{name: amazonM01Name, ca: true, from: now.AddDate(-3, 0, 0), to: now.AddDate(0, 0, -3)}, w.amazon)
	renewedM := issue(t, spec{name: amazonM01Name, ca: true, key: expiredM.key}, w.amazon)
	underExpired := issue(t, spec{}, expiredM)
	notCA := issue(t, spec{name: dn("customer.example.com", "")}, w.m01)
	byLeaf := issue(t, spec{}, notCA)
	subCA := issue(t, spec{name: dn("Amazon RSA 2048 M99", "Amazon"), ca: true}, w.m01) // beyond the path length of M01
	corpSub := issue(t, spec{name: dn("Example Corp Sub CA", "Example Corp"), ca: true}, w.corp)
	corpDeep := issue(t, spec{}, corpSub)
	limited := issue(t, spec{name: dn("Limited", "Example Corp"), ca: true, edit: func(c *x509.Certificate) {
		c.PermittedDNSDomains = []string{"corp.example.com"}
	}}, w.corp)
	mailCA := issue(t, spec{name: dn("Mail", "Example Corp"), ca: true, purposes: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}, w.corp)
	noSign := issue(t, spec{name: dn("No Sign", "Example Corp"), ca: true, usage: x509.KeyUsageCRLSign}, w.corp)
	critical := issue(t, spec{extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: null}}}, w.m01)
	twin1 := issue(t, spec{name: dn("Twin", "Example Corp"), ca: true}, nil)
	twin2 := issue(t, spec{name: dn("Twin", "Example Corp"), ca: true}, nil)
	selfKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	selfSPKI, _ := x509.MarshalPKIXPublicKey(selfKey.Public())
	ownKey := handmade{subject: tlv(tagSequence), spki: selfSPKI, sign: signECDSA(t, selfKey, crypto.SHA256), extensions: sanExtension()}.der(t)
	stranger := issue(t, spec{name: dn("Stranger Root", "Nobody"), ca: true}, nil)

	amazonOnly := Policy{}
	tests := []struct {
		name   string
		policy Policy
		chain  [][]byte
		query  Query
		want   session.Trust
		check  func(c session.Chain) bool
	}{
		{"leaf and intermediate under an embedded root", amazonOnly, ders(good, w.m01), asked, session.TrustAmazon,
			func(c session.Chain) bool {
				return c.LeadsToAmazon && c.LeadsToAllowed && c.AllowedBy == "amazon-root" && c.Root == "CN=Amazon Root CA 1,O=Amazon,C=US" &&
					c.AmazonNamed && c.NameChecked && !c.Incomplete && !c.Disproved && c.Violation == ""
			}},
		{"the root comes with it", amazonOnly, ders(good, w.m01, w.amazon), asked, session.TrustAmazon, nil},
		{"others are in disorder", amazonOnly, ders(good, w.amazon, stranger, w.m01), asked, session.TrustAmazon, nil},
		{"certificates are repeated", amazonOnly, ders(good, w.m01, w.m01, good, w.m01), asked, session.TrustAmazon, nil},
		{"an imitated intermediate comes before the genuine one", amazonOnly, ders(good, w.fakeM, w.m01), asked, session.TrustAmazon, nil},
		{"cross-signed root, its issuer unknown", amazonOnly, ders(good, w.m01, cross), asked, session.TrustAmazon, nil},
		{"unreadable extra certificate", amazonOnly, append(ders(good, w.m01), []byte("garbage")), asked, session.TrustAmazon,
			func(c session.Chain) bool { return len(c.Problems) == 1 }},
		{"name in capitals and with final dot", amazonOnly, ders(good, w.m01), Query{Name: strings.ToUpper(host) + ".", At: now, TimeKnown: true},
			session.TrustAmazon, nil},
		{"the root itself as server", amazonOnly, ders(w.amazon), Query{At: now, TimeKnown: true}, session.TrustForged,
			func(c session.Chain) bool { return !c.LeadsToAllowed && strings.Contains(c.Violation, "is a root") }},

		{"corporate root allowed", Policy{AllowCA: allow(t, w.corp)}, ders(corp), asked, session.TrustAllowed,
			func(c session.Chain) bool { return c.LeadsToAllowed && !c.LeadsToAmazon && c.AllowedBy == "allow-ca" }},
		{"corporate root not allowed", amazonOnly, ders(corp, w.corp), asked, session.TrustPrivate,
			func(c session.Chain) bool {
				return !c.LeadsToAllowed && !c.Incomplete && !c.Disproved && !c.AmazonNamed
			}},
		{"corporate root neither allowed nor sent", amazonOnly, ders(corp), asked, session.TrustPrivate,
			func(c session.Chain) bool {
				return c.Incomplete && c.MissingIssuer == "CN=Example Corp Inspection CA,O=Example Corp,C=US"
			}},
		{"server's own certificate allowed", Policy{AllowCA: allow(t, self)}, ders(self), asked, session.TrustAllowed, nil},
		{"leaf pinned", Policy{Pins: [][32]byte{self.pin()}}, ders(self), asked, session.TrustAllowed,
			func(c session.Chain) bool { return c.AllowedBy == "pin" && c.SelfSigned }},
		{"intermediate pinned", Policy{Pins: [][32]byte{corpSub.pin()}}, ders(corpDeep, corpSub), asked, session.TrustAllowed,
			func(c session.Chain) bool {
				return c.AllowedBy == "pin" && c.Root == "CN=Example Corp Sub CA,O=Example Corp,C=US"
			}},
		{"pinned root is sent", Policy{Pins: [][32]byte{w.corp.pin()}}, ders(corp, w.corp), asked, session.TrustAllowed, nil},
		{"pinned root is not sent", Policy{Pins: [][32]byte{w.corp.pin()}}, ders(corp), asked, session.TrustPrivate, nil},
		{"pinned key in a certificate that signed nothing", Policy{Pins: [][32]byte{w.corp.pin()}}, ders(self, w.corp), asked, session.TrustSelfSigned, nil},
		{"Amazon's path wins over a pin", Policy{Pins: [][32]byte{good.pin()}}, ders(good, w.m01), asked, session.TrustAmazon, nil},
		{"pin holds where Amazon's path is out of time", Policy{Pins: [][32]byte{underExpired.pin()}}, ders(underExpired, expiredM), asked, session.TrustAllowed, nil},
		{"issuer's name allowed", Policy{AllowIssuer: []string{"CN=Example Corp Inspection CA,O=Example Corp,C=US"}}, ders(corp), asked, session.TrustAllowed,
			func(c session.Chain) bool { return c.AllowedBy == "allow-issuer" && c.LeadsToAllowed }},
		{"issuer's name allowed, but the issuer that was sent did not sign", Policy{AllowIssuer: []string{"CN=Twin,O=Example Corp,C=US"}},
			ders(issue(t, spec{}, twin1), twin2), asked, session.TrustPrivate,
			func(c session.Chain) bool { return c.BrokenSignature && c.Disproved }},

		{"leaf expired", amazonOnly, ders(issue(t, spec{from: now.AddDate(-1, 0, 0), to: now.AddDate(0, 0, -32)}, w.m01), w.m01), asked, session.TrustExpired,
			func(c session.Chain) bool { return c.LeadsToAmazon && c.Expired && c.OutOfTimeBy == 32*24*time.Hour }},
		{"intermediate expired", amazonOnly, ders(underExpired, expiredM), asked, session.TrustExpired,
			func(c session.Chain) bool { return c.OutOfTimeBy == 3*24*time.Hour }},
		{"intermediate expired, renewed one is sent too", amazonOnly, ders(underExpired, expiredM, renewedM), asked, session.TrustAmazon, nil},
		{"leaf of the future", amazonOnly, ders(issue(t, spec{from: now.Add(time.Hour), to: now.AddDate(1, 0, 0)}, w.m01), w.m01), asked, session.TrustNotYetValid,
			func(c session.Chain) bool { return c.NotYetValid && c.OutOfTimeBy == time.Hour }},
		{"expired and misnamed is expired", amazonOnly, ders(issue(t, spec{names: []string{"a.example"}, from: now.AddDate(-1, 0, 0), to: now.AddDate(0, 0, -1)}, w.m01), w.m01), asked, session.TrustExpired,
			func(c session.Chain) bool { return c.NameMismatch && c.Expired }},
		{"expired by an unknown clock", amazonOnly, ders(underExpired, expiredM), Query{Name: host, At: now}, session.TrustAmazon,
			func(c session.Chain) bool { return c.TimeUnknown && !c.Expired }},
		{"time before 2000 is no time", amazonOnly, ders(good, w.m01), Query{Name: host, At: time.Unix(0, 0), TimeKnown: true}, session.TrustAmazon,
			func(c session.Chain) bool { return c.TimeUnknown && !c.NotYetValid }},
		{"wrong name", amazonOnly, ders(good, w.m01), Query{Name: "dynamodb.eu-west-1.amazonaws.com", At: now, TimeKnown: true}, session.TrustNameMismatch,
			func(c session.Chain) bool { return c.LeadsToAmazon && c.NameMismatch && c.NameChecked }},
		{"common name is no name", amazonOnly, ders(issue(t, spec{name: dn(host, ""), names: []string{"other.example"}}, w.m01), w.m01), asked, session.TrustNameMismatch, nil},
		{"client certificate as server", amazonOnly, ders(issue(t, spec{purposes: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, w.m01), w.m01), asked, session.TrustNameMismatch,
			func(c session.Chain) bool { return c.WrongPurpose && c.LeadsToAmazon && !c.NameMismatch }},

		{"Amazon's names, other keys", amazonOnly, ders(forged, w.fakeM, w.fake), asked, session.TrustForged,
			func(c session.Chain) bool {
				return !c.LeadsToAllowed && c.AmazonNamed && c.Disproved && !c.BrokenSignature && !c.Incomplete
			}},
		{"imitated root not sent", amazonOnly, ders(forged, w.fakeM), asked, session.TrustForged,
			func(c session.Chain) bool { return c.Disproved && !c.BrokenSignature && !c.Incomplete }},
		{"genuine root as bait", amazonOnly, ders(forged, w.fakeM, w.amazon), asked, session.TrustForged,
			func(c session.Chain) bool { return c.Disproved && c.BrokenSignature }},
		{"genuine chain as bait", amazonOnly, ders(forged, w.m01, w.amazon), asked, session.TrustForged,
			func(c session.Chain) bool { return c.Disproved && c.BrokenSignature }},
		{"genuine chain behind a corporate leaf", amazonOnly, ders(corp, w.corp, w.m01, w.amazon), asked, session.TrustPrivate,
			func(c session.Chain) bool { return c.AmazonNamed && !c.Disproved }},
		{"Amazon's intermediate named but not sent", amazonOnly, ders(good), asked, session.TrustForged,
			func(c session.Chain) bool {
				return c.Incomplete && c.MissingIssuer == "CN=Amazon RSA 2048 M01,O=Amazon,C=US" && !c.Disproved && !c.BrokenSignature
			}},
		{"a customer's genuine certificate as issuer", amazonOnly, ders(byLeaf, notCA, w.m01), asked, session.TrustForged,
			func(c session.Chain) bool { return !c.LeadsToAllowed && strings.Contains(c.Violation, "is no CA") }},
		{"a CA below one that may have none", amazonOnly, ders(issue(t, spec{}, subCA), subCA, w.m01), asked, session.TrustForged,
			func(c session.Chain) bool { return strings.Contains(c.Violation, "path length") }},
		{"unknown critical extension", amazonOnly, ders(critical, w.m01), asked, session.TrustForged,
			func(c session.Chain) bool { return strings.Contains(c.Violation, "1.2.3.4") }},
		{"name constraints of an allowed CA overstepped", Policy{AllowCA: allow(t, w.corp)}, ders(issue(t, spec{}, limited), limited), asked, session.TrustPrivate,
			func(c session.Chain) bool {
				return strings.Contains(c.Violation, "name constraints") && !c.LeadsToAllowed
			}},
		{"CA for mail only", Policy{AllowCA: allow(t, w.corp)}, ders(issue(t, spec{}, mailCA), mailCA), asked, session.TrustPrivate,
			func(c session.Chain) bool { return strings.Contains(c.Violation, "extended key usage") }},
		{"CA that may not sign certificates", Policy{AllowCA: allow(t, w.corp)}, ders(issue(t, spec{}, noSign), noSign), asked, session.TrustPrivate,
			func(c session.Chain) bool { return strings.Contains(c.Violation, "key usage") }},

		{"self-signed", amazonOnly, ders(self), asked, session.TrustSelfSigned, func(c session.Chain) bool { return c.SelfSigned && !c.Incomplete }},
		{"self-signed in Amazon's name", amazonOnly, ders(issue(t, spec{name: amazonM01Name}, nil)), asked, session.TrustForged,
			func(c session.Chain) bool { return c.SelfSigned }},
		{"signed with its own key under another name, as mitmproxy does", amazonOnly, [][]byte{ownKey}, asked, session.TrustPrivate,
			func(c session.Chain) bool { return !c.SelfSigned && c.Incomplete }},
		{"no chain", amazonOnly, nil, asked, session.TrustUnseen, nil},
		{"garbage", amazonOnly, [][]byte{[]byte("garbage"), w.m01.der}, asked, session.TrustMalformed, func(c session.Chain) bool { return c.Malformed }},
		{"leaf cut off", amazonOnly, [][]byte{good.der[:len(good.der)-20], w.m01.der}, asked, session.TrustMalformed, nil},
		{"empty certificate", amazonOnly, [][]byte{nil}, asked, session.TrustMalformed, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := w.store(t, tt.policy)
			for _, round := range []string{"first", "from the cache"} {
				r := s.Judge(tt.chain, tt.query)
				if r.Trust != tt.want {
					t.Errorf("%s: trust %q, want %q; %+v", round, r.Trust, tt.want, r.Chain)
				}
				if tt.check != nil && !tt.check(r.Chain) {
					t.Errorf("%s: chain %+v", round, r.Chain)
				}
			}
		})
	}
}

func TestPublicRootIsPublicAndPinnable(t *testing.T) {
	// The leaf of a public CA cannot be made here; a public root shown as a server's certificate leads to itself.
	var some *anchor
	for _, list := range publicRoots() {
		if some == nil || list[0].subject < some.subject {
			some = list[0]
		}
	}
	w := newWorld(t)
	r := w.store(t, Policy{}).Judge([][]byte{some.Raw}, asked)
	if !r.Chain.LeadsToPublic || r.Chain.LeadsToAllowed || r.Trust != session.TrustSelfSigned {
		t.Errorf("%s: %+v", r.Trust, r.Chain)
	}
	r = w.store(t, Policy{Pins: [][32]byte{some.spki}}).Judge([][]byte{some.Raw}, asked)
	if !r.Chain.LeadsToAllowed || r.Chain.AllowedBy != "pin" {
		t.Errorf("pinned: %s: %+v", r.Trust, r.Chain)
	}
}

func TestAlgorithms(t *testing.T) {
	rsa2048, rsa1024 := rsaKey(t, 2048), rsaKey(t, 1024)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	tests := []struct {
		name          string
		ca            crypto.Signer
		algorithm     x509.SignatureAlgorithm
		signature     string
		weakKey, weak string
	}{
		{"RSA with SHA-256", rsa2048, x509.SHA256WithRSA, "SHA256-RSA", "", ""},
		{"RSA with SHA-384", rsa2048, x509.SHA384WithRSA, "SHA384-RSA", "", ""},
		{"RSA with SHA-512", rsa2048, x509.SHA512WithRSA, "SHA512-RSA", "", ""},
		{"RSA with SHA-1", rsa2048, x509.SHA1WithRSA, "SHA1-RSA", "", "SHA1-RSA"},
		{"RSA-PSS with SHA-256", rsa2048, x509.SHA256WithRSAPSS, "SHA256-RSAPSS", "", ""},
		{"RSA-PSS with SHA-384", rsa2048, x509.SHA384WithRSAPSS, "SHA384-RSAPSS", "", ""},
		{"RSA-PSS with SHA-512", rsa2048, x509.SHA512WithRSAPSS, "SHA512-RSAPSS", "", ""},
		{"short RSA", rsa1024, x509.SHA256WithRSA, "SHA256-RSA", "RSA 1024", ""},
		{"P-224", p224, x509.ECDSAWithSHA256, "ECDSA-SHA256", "", ""},
		{"P-384", p384, x509.ECDSAWithSHA384, "ECDSA-SHA384", "", ""},
		{"P-521", p521, x509.ECDSAWithSHA512, "ECDSA-SHA512", "", ""},
		{"P-384 with SHA-1", p384, x509.ECDSAWithSHA1, "ECDSA-SHA1", "", "ECDSA-SHA1"},
		{"Ed25519", ed25519Key(t), x509.PureEd25519, "Ed25519", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := issue(t, spec{name: dn("Root", "Example"), ca: true, key: tt.ca}, nil)
			leaf := issue(t, spec{algorithm: tt.algorithm}, root)
			s, err := NewStore(Policy{AllowCA: allow(t, root)})
			if err != nil {
				t.Fatal(err)
			}
			r := s.Judge(ders(leaf), asked)
			if r.Trust != session.TrustAllowed || r.Chain.WeakSignature != tt.weak || r.Chain.WeakKey != tt.weakKey || r.Chain.Unsupported != "" {
				t.Errorf("%s: %+v", r.Trust, r.Chain)
			}
			if r.Certificate.Signature != tt.signature {
				t.Errorf("signature %q, want %q", r.Certificate.Signature, tt.signature)
			}
			// One bit of the signature, and of what it covers.
			for _, at := range []int{len(leaf.der) - 1, len(leaf.der) / 3} {
				bad := bytes.Clone(leaf.der)
				bad[at] ^= 1
				if r := s.Judge([][]byte{bad}, asked); r.Chain.LeadsToAllowed {
					t.Errorf("byte %d changed: %s", at, r.Trust)
				}
			}
			// The same names, another key of the same kind.
			other := issue(t, spec{name: dn("Root", "Example"), ca: true}, nil)
			if r := s.Judge(ders(issue(t, spec{}, other), other), asked); r.Chain.LeadsToAllowed || !r.Chain.Disproved {
				t.Errorf("another key: %s: %+v", r.Trust, r.Chain)
			}
		})
	}
}

func TestMD5NeverLeadsToAllowed(t *testing.T) {
	key := rsaKey(t, 2048)
	root := issue(t, spec{name: dn("handmade", "Example"), ca: true, key: key}, nil)
	leaf := handmade{issuer: root.cert.RawSubject, algorithm: algorithmIdentifier("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", null),
		sign: signPKCS1(key, crypto.MD5), extensions: sanExtension()}.der(t)
	s, _ := NewStore(Policy{AllowCA: allow(t, root)})
	r := s.Judge([][]byte{leaf}, asked)
	if r.Chain.LeadsToAllowed || !strings.Contains(r.Chain.Violation, "MD5") || r.Chain.Disproved || r.Trust != session.TrustPrivate {
		t.Errorf("%s: %+v", r.Trust, r.Chain)
	}
}

func TestVeryShortRSA(t *testing.T) {
	key := smallRSA(t, 512)
	spki := rsaSPKI(key.N, 65537)
	rsaSHA256 := algorithmIdentifier("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", null)
	self := handmade{spki: spki, algorithm: rsaSHA256, sign: signPKCS1(key, crypto.SHA256), extensions: sanExtension()}.der(t)
	s, _ := NewStore(Policy{})
	r := s.Judge([][]byte{self}, asked)
	if r.Trust != session.TrustSelfSigned || r.Chain.WeakKey != "RSA 512" || r.Certificate.Key != "RSA 512" {
		t.Errorf("%s: %+v", r.Trust, r.Chain)
	}
	if _, ok := r.LeafKey.(*rsa.PublicKey); !ok {
		t.Errorf("leaf key %T", r.LeafKey)
	}
	// As a CA it proves nothing: anybody can factor it.
	leaf := handmade{algorithm: rsaSHA256, sign: signPKCS1(key, crypto.SHA256), extensions: sanExtension(), subject: tlv(tagSequence)}.der(t)
	var ca [32]byte
	p, err := ParseCertificate(self)
	if err != nil {
		t.Fatal(err)
	}
	ca = newCandidate(p).spki
	pinned, _ := NewStore(Policy{Pins: [][32]byte{ca}})
	r = pinned.Judge([][]byte{leaf, self}, asked)
	if r.Chain.LeadsToAllowed || r.Chain.Violation == "" || r.Chain.Disproved {
		t.Errorf("%s: %+v", r.Trust, r.Chain)
	}
}

func TestHostileKeys(t *testing.T) {
	n2048 := rsaKey(t, 2048).N
	huge := make([]byte, maxRSABits/8+1)
	huge[0], huge[len(huge)-1] = 0x7f, 1
	hugeSPKI := tlv(tagSequence, algorithmIdentifier(oidRSA, null), tlv(tagBitString, []byte{0},
		tlv(tagSequence, tlv(tagInteger, huge), tlv(tagInteger, []byte{1, 0, 1}))))
	even := bytes.Clone(n2048.Bytes())
	even[len(even)-1] &^= 1
	evenSPKI := tlv(tagSequence, algorithmIdentifier(oidRSA, null), tlv(tagBitString, []byte{0},
		tlv(tagSequence, tlv(tagInteger, []byte{0}, even), tlv(tagInteger, []byte{1, 0, 1}))))
	explicit := tlv(tagSequence, tlv(tagSequence, tlv(tagOID, []byte(oidEC)), tlv(tagSequence, tlv(tagInteger, []byte{1}))),
		tlv(tagBitString, []byte{0}, make([]byte, 65)))
	offCurve := tlv(tagSequence, tlv(tagSequence, tlv(tagOID, []byte(oidEC)), tlv(tagOID, []byte(oidCurveP256))),
		tlv(tagBitString, []byte{0, 4}, bytes.Repeat([]byte{7}, 64)))
	mldsa := tlv(tagSequence, algorithmIdentifier(oidPrefixNIST+"\x03\x11"), tlv(tagBitString, []byte{0}, make([]byte, 1312)))
	tests := []struct {
		name, algorithm string
		spki            []byte
		unsupported     bool
	}{
		{"modulus beyond 16384 bits", "RSA 16391", hugeSPKI, false},
		{"even modulus", "RSA 2048", evenSPKI, false},
		{"exponent one", "RSA 2048", rsaSPKI(n2048, 1), false},
		{"even exponent", "RSA 2048", rsaSPKI(n2048, 65536), false},
		{"exponent zero", "RSA", rsaSPKI(n2048, 0), false},
		{"endless exponent", "RSA 2048", rsaSPKI(n2048, 1<<40+1), false},
		{"negative modulus", "RSA", rsaSPKI(n2048.Neg(n2048), 65537), false},
		{"explicit curve", "ECDSA with explicit curve", explicit, false},
		{"point off the curve", "ECDSA P-256", offCurve, false},
		{"post-quantum", "ML-DSA-44", mldsa, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			der := handmade{spki: tt.spki}.der(t)
			p, err := ParseCertificate(der)
			if err != nil || p.Damage != nil {
				t.Fatal(err, p.Damage)
			}
			if p.Key.Key != nil || p.Key.Algorithm != tt.algorithm || p.Key.Unsupported != tt.unsupported || !tt.unsupported && p.Key.Problem == "" {
				t.Errorf("key %+v", p.Key)
			}
			s, _ := NewStore(Policy{})
			r := s.Judge([][]byte{der}, asked)
			if r.LeafKey != nil || r.Chain.SelfSigned || r.Trust != session.TrustPrivate {
				t.Errorf("%s: %+v", r.Trust, r.Chain)
			}
			if r.Chain.ExplicitCurve != (tt.name == "explicit curve") {
				t.Errorf("explicit curve: %v", r.Chain.ExplicitCurve)
			}
			if VerifyServerKeyExchange(r.LeafKey, 0x0303, 0x0401, make([]byte, 32), make([]byte, 32), []byte{1}, []byte{1}) != session.KeyProofUnsupported {
				t.Error("a key that cannot be used proves something")
			}
		})
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, Policy{})
	leaf := issue(t, spec{names: []string{host, "*.ddb.us-east-1.amazonaws.com", "*.dynamodb.us-east-1.vpce.amazonaws.com"},
		ips: []net.IP{net.IPv4(10, 0, 0, 7), net.ParseIP("fd00::7")}}, w.m01)
	tests := []struct {
		name string
		want bool
	}{
		{host, true},
		{"DynamoDB.us-east-1.amazonaws.com.", true},
		{"123456789012.ddb.us-east-1.amazonaws.com", true},
		{"a.123456789012.ddb.us-east-1.amazonaws.com", false},
		{"ddb.us-east-1.amazonaws.com", false},
		{"dynamodb.us-east-1.amazonaws.com.evil.example", false},
		{"10.0.0.7", true},
		{"10.0.0.8", false},
		{"fd00::7", true},
		{"[fd00::7]", true},
		{"..", false},
		{".", false},
	}
	for _, tt := range tests {
		r := s.Judge(ders(leaf, w.m01), Query{Name: tt.name, At: now, TimeKnown: true})
		if r.Chain.NameMismatch == tt.want || !r.Chain.NameChecked {
			t.Errorf("%q: mismatch %v", tt.name, r.Chain.NameMismatch)
		}
	}
	got := s.Judge(ders(leaf, w.m01), asked).Certificate.Names
	if len(got) != 5 || got[3] != "10.0.0.7" || got[4] != "fd00::7" {
		t.Errorf("names %q", got)
	}
}

func TestWithoutNameTheLeafMustBearOneOfDynamoDBs(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, Policy{})
	isDynamoDB := func(name string) bool {
		return name == host || strings.HasSuffix(name, ".ddb.us-east-1.amazonaws.com") && strings.HasPrefix(name, "1234")
	}
	q := Query{At: now, TimeKnown: true, DynamoDBName: isDynamoDB}
	for _, tt := range []struct {
		names []string
		want  session.Trust
	}{
		{[]string{"x.example", "DYNAMODB.us-east-1.amazonaws.com"}, session.TrustAmazon},
		{[]string{"*.ddb.us-east-1.amazonaws.com"}, session.TrustAmazon},
		{[]string{"*.us-east-1.amazonaws.com"}, session.TrustAmazon}, // it stands for dynamodb.us-east-1 as well
		{[]string{"s3.us-east-1.amazonaws.com"}, session.TrustNameMismatch},
		{[]string{"*.s3.us-east-1.amazonaws.com"}, session.TrustNameMismatch},
	} {
		r := s.Judge(ders(issue(t, spec{names: tt.names}, w.m01), w.m01), q)
		if r.Trust != tt.want || !r.Chain.NameChecked {
			t.Errorf("%q: %s", tt.names, r.Trust)
		}
	}
	r := s.Judge(ders(issue(t, spec{names: []string{"s3.us-east-1.amazonaws.com"}}, w.m01), w.m01), Query{At: now, TimeKnown: true})
	if r.Trust != session.TrustAmazon || r.Chain.NameChecked {
		t.Errorf("nobody asked for a name: %s %+v", r.Trust, r.Chain)
	}
}

func TestCrossSignedLoopsEnd(t *testing.T) {
	// CAs that all sign each other make a number of paths that grows with the factorial of theirs.
	const n = 9
	keys := make([]*identity, n)
	for i := range keys {
		keys[i] = issue(t, spec{name: dn("Loop", "Example"), ca: true}, nil)
	}
	var chain [][]byte
	leaf := issue(t, spec{}, keys[0])
	chain = append(chain, leaf.der)
	for i := range keys {
		for j := range keys {
			if i != j {
				chain = append(chain, issue(t, spec{name: dn("Loop", "Example"), ca: true, key: keys[i].key}, keys[j]).der)
			}
		}
	}
	s, _ := NewStore(Policy{})
	start := time.Now()
	r := s.Judge(chain, asked)
	t.Logf("%d certificates in %v", len(chain), time.Since(start))
	if r.Trust != session.TrustPrivate || !r.Chain.LimitExceeded {
		t.Errorf("%s: %+v", r.Trust, r.Chain)
	}
}

func TestHugeChainsAreCutAndSaidSo(t *testing.T) {
	w := newWorld(t)
	leaf := issue(t, spec{}, w.m01)
	chain := ders(leaf)
	for range MaxChain {
		chain = append(chain, w.fakeM.der)
	}
	chain = append(chain, w.m01.der)
	r := w.store(t, Policy{}).Judge(chain, asked)
	if !r.Chain.LimitExceeded || r.Certificate.ChainLength != len(chain) {
		t.Errorf("%s: %+v", r.Trust, r.Chain)
	}
	r = w.store(t, Policy{}).Judge([][]byte{make([]byte, MaxCertificate+1)}, asked)
	if r.Trust != session.TrustMalformed || !r.Chain.LimitExceeded {
		t.Errorf("%s: %+v", r.Trust, r.Chain)
	}
	var names []string
	for i := range 1500 {
		names = append(names, "n"+strings.Repeat("x", i%20)+".example.com")
	}
	many := issue(t, spec{names: append(names, host)}, w.m01)
	r = w.store(t, Policy{}).Judge(ders(many, w.m01), asked)
	if len(r.Certificate.Names) != 100 || r.Trust != session.TrustNameMismatch || len(r.Chain.Problems) == 0 {
		t.Errorf("%s: %d names, problems %q", r.Trust, len(r.Certificate.Names), r.Chain.Problems)
	}
}

func TestUnsupportedSignatureProvesNothingEitherWay(t *testing.T) {
	w := newWorld(t)
	leaf := handmade{issuer: w.m01.cert.RawSubject, algorithm: algorithmIdentifier(oidPrefixNIST + "\x03\x11"), extensions: sanExtension()}.der(t)
	r := w.store(t, Policy{}).Judge([][]byte{leaf, w.m01.der}, asked)
	if r.Trust != session.TrustForged || r.Chain.Unsupported != "ML-DSA-44" || r.Chain.Disproved || r.Chain.BrokenSignature {
		t.Errorf("%s: %+v", r.Trust, r.Chain)
	}
}

func TestNamesChainAcrossStringTypes(t *testing.T) {
	// OpenSSL compares names by RFC 5280, Section 7.1, and corporate CAs rely on it.
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	name := func(tag byte, text string) []byte {
		return tlv(tagSequence, tlv(tagSet, tlv(tagSequence, tlv(tagOID, []byte{0x55, 4, 10}), tlv(tag, []byte(text)))))
	}
	spki, _ := x509.MarshalPKIXPublicKey(key.Public())
	ca := tlv(tagContext3, tlv(tagSequence, tlv(tagSequence, tlv(tagOID, []byte{0x55, 0x1d, 19}), tlv(tagOctetString, tlv(tagSequence, tlv(tagBoolean, []byte{0xff}))))))
	root := handmade{subject: name(0x13, "Example  Corp"), issuer: name(0x13, "Example  Corp"), spki: spki, extensions: ca, sign: signECDSA(t, key, crypto.SHA256)}.der(t)
	leaf := handmade{issuer: name(tagUTF8String, "example corp"), subject: name(tagUTF8String, "x"), extensions: sanExtension(), sign: signECDSA(t, key, crypto.SHA256)}.der(t)
	cas, err := ParseCAFile("root.der", root)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := NewStore(Policy{AllowCA: cas})
	if r := s.Judge([][]byte{leaf}, asked); r.Trust != session.TrustAllowed {
		t.Errorf("%s: %+v", r.Trust, r.Chain)
	}
}

func TestMadeCertificatesOfTheCorpus(t *testing.T) {
	load := func(name string) []byte {
		b, err := os.ReadFile(corpus(t, "dynamodb", "certs", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	roots, err := ParseCAFile("test-roots.pem", load("test-roots.pem"))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := ParseCAFile("good-chain.pem", load("good-chain.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if bundle[0].Warning == "" || bundle[1].Warning != "" {
		t.Errorf("warnings %q, %q", bundle[0].Warning, bundle[1].Warning)
	}
	var chain [][]byte
	for _, c := range bundle {
		chain = append(chain, c.parsed.Raw)
	}
	genuine, _ := NewStore(Policy{})
	test, _ := NewStore(Policy{AllowCA: roots})
	if r := test.Judge(chain, asked); r.Trust != session.TrustAllowed || r.Chain.AllowedBy != "allow-ca" {
		t.Errorf("test roots allowed: %s %+v", r.Trust, r.Chain)
	}
	if r := genuine.Judge(chain, asked); r.Trust != session.TrustForged || !r.Chain.Disproved {
		t.Errorf("genuine roots only: %s %+v", r.Trust, r.Chain)
	}
	self, err := ParseCAFile("selfsigned.pem", load("selfsigned.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if r := genuine.Judge([][]byte{self[0].parsed.Raw}, asked); r.Trust != session.TrustSelfSigned {
		t.Errorf("self-signed: %s %+v", r.Trust, r.Chain)
	}
	for _, name := range []string{"corp-roots.pem", "forged-roots.pem", "mitmproxy-ca.pem"} {
		if _, err := ParseCAFile(name, load(name)); err != nil {
			t.Error(err)
		}
	}
}

// What the DynamoDB captures show, by the pattern of their names; with the test roots allowed and with the genuine ones only.
func TestDynamoDBCaptures(t *testing.T) {
	b, err := os.ReadFile(corpus(t, "dynamodb", "certs", "test-roots.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := ParseCAFile("test-roots.pem", b)
	if err != nil {
		t.Fatal(err)
	}
	test, _ := NewStore(Policy{AllowCA: roots})
	genuine, _ := NewStore(Policy{})
	tests := []struct {
		pattern       string
		test, genuine session.Trust
		interceptor   string
	}{
		{"tls1[0-2]-good-*.pcap", session.TrustAllowed, session.TrustForged, ""},
		{"tls1[0-2]-expired-*.pcap", session.TrustExpired, session.TrustForged, ""},
		{"tls1[0-2]-wrongname-*.pcap", session.TrustNameMismatch, session.TrustForged, ""},
		{"tls1[0-2]-forged-*.pcap", session.TrustForged, session.TrustForged, ""},
		{"tls1[0-2]-selfsigned-*.pcap", session.TrustSelfSigned, session.TrustSelfSigned, ""},
		{"tls1[0-2]-corp-*.pcap", session.TrustPrivate, session.TrustPrivate, "Zscaler"},
		{"mitmproxy-reverse-*.pcap", session.TrustPrivate, session.TrustPrivate, "mitmproxy"},
	}
	for _, tt := range tests {
		files, err := filepath.Glob(filepath.Join(corpus(t, "dynamodb"), tt.pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", tt.pattern, err)
		}
		seen := 0
		for _, f := range files {
			for _, h := range handshakes(t, f) {
				seen++
				q := Query{Name: h.sni, At: h.at, TimeKnown: true}
				r := test.Judge(h.chain, q)
				if r.Trust != tt.test || r.Chain.Interceptor != tt.interceptor {
					t.Errorf("%s: test roots: %s, want %s; %+v", h.file, r.Trust, tt.test, r.Chain)
				}
				if r := genuine.Judge(h.chain, q); r.Trust != tt.genuine {
					t.Errorf("%s: genuine roots: %s, want %s; %+v", h.file, r.Trust, tt.genuine, r.Chain)
				}
				if params, scheme, sig, ok := h.signedParams(); ok && h.clientHello {
					if p := VerifyServerKeyExchange(r.LeafKey, h.version, scheme, h.clientRandom, h.random, params, sig); p != session.KeyProofValid {
						t.Errorf("%s: key proof %d", h.file, p)
					}
				}
			}
		}
		if seen == 0 {
			t.Errorf("%s: no chain read", tt.pattern)
		}
	}
}

func TestGenuineAmazonChains(t *testing.T) {
	s, err := NewStore(Policy{})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"sv-base64-decode-5885.pcap", "ndpi-tls_multiple_synack_different_seq.pcapng", "ndpi-tunnelbear.pcap"} {
		found := 0
		for _, h := range handshakes(t, corpus(t, "tls", file)) {
			r := s.Judge(h.chain, Query{Name: h.sni, At: h.at, TimeKnown: true})
			if !r.Chain.AmazonNamed {
				continue
			}
			found++
			if r.Trust != session.TrustAmazon {
				t.Errorf("%s: %s %+v", file, r.Trust, r.Chain)
			}
			// Without its last certificates it still leads to the embedded root; without its intermediate it leads nowhere.
			if r := s.Judge(h.chain[:2], Query{Name: h.sni, At: h.at, TimeKnown: true}); r.Trust != session.TrustAmazon {
				t.Errorf("%s: leaf and intermediate: %s", file, r.Trust)
			}
			if r := s.Judge(h.chain[:1], Query{Name: h.sni, At: h.at, TimeKnown: true}); r.Trust != session.TrustForged || !r.Chain.Incomplete || r.Chain.Disproved {
				t.Errorf("%s: leaf alone: %s %+v", file, r.Trust, r.Chain)
			}
			if r := s.Judge(h.chain, Query{Name: h.sni, At: h.at.AddDate(4, 0, 0), TimeKnown: true}); r.Trust != session.TrustExpired {
				t.Errorf("%s: four years later: %s", file, r.Trust)
			}
		}
		if found == 0 {
			t.Errorf("%s: no chain of Amazon's", file)
		}
	}
}

// Every chain in clear of the public captures: subject and issuer as others print them, self-signed where OpenSSL says so, forged where
// signatures do not fit, and only the two known replays without key proof.
func TestPublicCaptures(t *testing.T) {
	rows := make(map[string][]map[string]string)
	for _, row := range index(t) {
		rows[row["file"]] = append(rows[row["file"]], row)
	}
	s, _ := NewStore(Policy{})
	matched, proofs, invalids := 0, 0, 0
	for _, h := range indexHandshakes(t) {
		r := s.Judge(h.chain, Query{Name: h.sni, At: h.at, TimeKnown: true})
		if r.Certificate == nil {
			if !strings.HasPrefix(h.file, "sv-bug-1450-") {
				t.Errorf("%s: certificate unreadable: %q", h.file, r.Chain.Problems)
			}
			continue
		}
		verdict := ""
		for _, row := range rows[h.file] {
			if row["subject"] == r.Certificate.Subject && row["issuer"] == r.Certificate.Issuer {
				verdict = row["openssl_verify"]
				matched++
				break
			}
		}
		switch {
		case verdict == "" && h.file != "ndpi-heuristic_tcp_ack_payload.pcap": // sessions that the index leaves out
			t.Errorf("%s: no row with subject %q, issuer %q", h.file, r.Certificate.Subject, r.Certificate.Issuer)
		case strings.HasPrefix(verdict, "self-signed certificate (18)"):
			if r.Trust != session.TrustSelfSigned {
				t.Errorf("%s: OpenSSL: %s; we: %s", h.file, verdict, r.Trust)
			}
		case strings.HasPrefix(verdict, "certificate signature failure"):
			if !r.Chain.Disproved {
				t.Errorf("%s: OpenSSL: %s; we: %s %+v", h.file, verdict, r.Trust, r.Chain)
			}
		}
		params, scheme, signature, ok := h.signedParams()
		if !ok || !h.clientHello {
			continue
		}
		proofs++
		switch p := VerifyServerKeyExchange(r.LeafKey, h.version, scheme, h.clientRandom, h.random, params, signature); {
		case h.file == "mercury-faketls_potatovpn.pcap" && p == session.KeyProofInvalid:
			invalids++
		case p != session.KeyProofValid:
			t.Errorf("%s: key proof %d with %s, scheme %04x", h.file, p, r.Certificate.Key, scheme)
		}
	}
	t.Logf("%d rows of the index found, %d key proofs checked, %d invalid", matched, proofs, invalids)
	if invalids != 2 || !testing.Short() && (matched < 380 || proofs < 330) {
		t.Errorf("too few: %d rows, %d proofs, %d invalid", matched, proofs, invalids)
	}
}
