package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

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

func TestUnsupportedSignatureProvesNothingEitherWay(t *testing.T) {
	w := newWorld(t)
	leaf := handmade{issuer: w.m01.cert.RawSubject, algorithm: algorithmIdentifier(oidPrefixNIST + "\x03\x11"), extensions: sanExtension()}.der(t)
	r := w.store(t, Policy{}).Judge([][]byte{leaf, w.m01.der}, asked)
	if r.Trust != session.TrustForged || r.Chain.Unsupported != "ML-DSA-44" || r.Chain.Disproved || r.Chain.BrokenSignature {
		t.Errorf("%s: %+v", r.Trust, r.Chain)
	}
}
