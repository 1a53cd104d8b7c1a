package trust

import (
	"bytes"
	"crypto/x509"
	encodingasn1 "encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// agrees holds the lenient reader to crypto/x509 where that one reads the certificate.
func agrees(t testing.TB, der []byte) {
	t.Helper()
	want, err := x509.ParseCertificate(der)
	if err != nil {
		return
	}
	p, err := ParseCertificate(der)
	if err == nil && p.Damage != nil && goesOn(want.RawTBSCertificate) {
		return
	}
	if err != nil || p.Damage != nil {
		t.Fatalf("crypto/x509 reads it, we do not: %v", err)
	}
	switch {
	case !bytes.Equal(p.Raw, want.Raw):
		t.Error("raw differs")
	case !bytes.Equal(p.RawTBS, want.RawTBSCertificate):
		t.Error("signed part differs")
	case !bytes.Equal(p.RawIssuer, want.RawIssuer):
		t.Error("issuer differs")
	case !bytes.Equal(p.RawSubject, want.RawSubject):
		t.Error("subject differs")
	case !bytes.Equal(p.RawSPKI, want.RawSubjectPublicKeyInfo):
		t.Error("public key differs")
	case new(big.Int).SetBytes(p.Serial).Cmp(want.SerialNumber) != 0:
		t.Errorf("serial %x, want %x", p.Serial, want.SerialNumber)
	case !p.ValidityRead || !p.NotBefore.Equal(want.NotBefore) || !p.NotAfter.Equal(want.NotAfter):
		t.Errorf("validity %v to %v, want %v to %v", p.NotBefore, p.NotAfter, want.NotBefore, want.NotAfter)
	case p.Version != want.Version:
		t.Errorf("version %d, want %d", p.Version, want.Version)
	case len(p.Problems) > 0:
		return // what was noted as odd here, crypto/x509 may pass over, or take for something else
	case !bytes.Equal(p.Signature, want.Signature):
		t.Error("signature differs")
	}
	x := p.Extensions
	if want.Version < 3 {
		return // crypto/x509 does not read the extensions that such a certificate should not have; we do, and judge by them
	}
	if x.BasicConstraints != want.BasicConstraintsValid || x.CA != want.IsCA {
		t.Errorf("basic constraints %v %v, want %v %v", x.BasicConstraints, x.CA, want.BasicConstraintsValid, want.IsCA)
	}
	if x.BasicConstraints && x.CA && want.MaxPathLen != x.PathLen && !(want.MaxPathLen == 0 && !want.MaxPathLenZero && x.PathLen == -1) {
		t.Errorf("path length %d, want %d", x.PathLen, want.MaxPathLen)
	}
	if (want.KeyUsage&x509.KeyUsageCertSign != 0) != x.CertSign {
		t.Errorf("key usage %v, want %v", x.CertSign, want.KeyUsage)
	}
	if x.NamesDropped == 0 {
		if strings.Join(x.DNSNames, "\n") != strings.Join(want.DNSNames, "\n") || len(x.IPAddresses) != len(want.IPAddresses) {
			t.Errorf("names %q %v, want %q %v", x.DNSNames, x.IPAddresses, want.DNSNames, want.IPAddresses)
		}
	}
	// A critical list of names without one for TLS is not handled by crypto/x509; here it matches no name.
	unknown := slices.ContainsFunc(want.UnhandledCriticalExtensions, func(id encodingasn1.ObjectIdentifier) bool {
		return len(id) != 4 || !id[:3].Equal(encodingasn1.ObjectIdentifier{2, 5, 29}) || id[3] > 255 || !harmless[byte(id[3])] && id[3] != extSubjectAltName
	})
	if unknown && x.refuse == "" && x.constraints == nil {
		t.Errorf("unhandled critical extensions %v were passed over", want.UnhandledCriticalExtensions)
	}
	if want.PublicKeyAlgorithm == x509.RSA && p.Key.Key == nil && p.Key.Problem == "" {
		t.Errorf("key %+v", p.Key)
	}
}

func TestReaderAgreesWithStandardLibrary(t *testing.T) {
	w := newWorld(t)
	for _, id := range []*identity{w.amazon, w.m01, w.corp, issue(t, spec{key: rsaKey(t, 2048), algorithm: 0}, w.m01)} {
		agrees(t, id.der)
	}
	for rest := amazonRootsPEM; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		agrees(t, block.Bytes)
	}
	read := 0
	for _, list := range publicRoots() {
		for _, a := range list {
			agrees(t, a.Raw)
			read++
		}
	}
	if read < 100 {
		t.Errorf("only %d public roots were read", read)
	}
	if t.Failed() {
		return
	}
	for _, h := range indexHandshakes(t) {
		for _, der := range h.chain {
			agrees(t, der)
		}
	}
}

func TestEmbeddedRootsAreAmazons(t *testing.T) {
	want := map[string]string{ // SHA-256 of the public key, from amazontrust.com/repository
		"CN=Amazon Root CA 1,O=Amazon,C=US": "fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2",
		"CN=Amazon Root CA 2,O=Amazon,C=US": "7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461",
		"CN=Amazon Root CA 3,O=Amazon,C=US": "36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9",
		"CN=Amazon Root CA 4,O=Amazon,C=US": "f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5",
		"CN=Starfield Services Root Certificate Authority - G2,O=Starfield Technologies\\, Inc.,L=Scottsdale,ST=Arizona,C=US": "2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92",
	}
	roots := amazonRoots()
	for _, r := range roots {
		name := FormatDN(r.RawSubject)
		if want[name] != hex.EncodeToString(r.spki[:]) {
			t.Errorf("%s: key %x", name, r.spki)
		}
		if !isAmazonName(r.RawSubject) {
			t.Errorf("%s: not taken for an Amazon name", name)
		}
		if list := publicRoots()[r.subject]; len(list) != 0 {
			t.Errorf("%s: also among the other public roots", name)
		}
	}
	if len(roots) != len(want) {
		t.Errorf("%d roots, want %d", len(roots), len(want))
	}
}

func TestOddCertificatesAreRead(t *testing.T) {
	validity := func(a, b []byte) []byte { return tlv(tagSequence, a, b) }
	general := func(s string) []byte { return tlv(tagGeneralizedTime, []byte(s)) }
	tests := []struct {
		name string
		make handmade
		edit func([]byte) []byte
		want func(p *Parsed) bool
	}{
		{name: "negative serial", make: handmade{serial: tlv(tagInteger, []byte{0xff, 0x01})},
			want: func(p *Parsed) bool { return p.SerialHex() == "-ff" }},
		{name: "lowest serial of its length", make: handmade{serial: tlv(tagInteger, []byte{0x80, 0x00})},
			want: func(p *Parsed) bool { return p.SerialHex() == "-8000" }},
		{name: "serial with sign octet", make: handmade{serial: tlv(tagInteger, []byte{0, 0xab, 0x01})},
			want: func(p *Parsed) bool { return p.SerialHex() == "ab01" && len(p.Problems) == 0 }},
		{name: "serial zero", make: handmade{serial: tlv(tagInteger, []byte{0})}, want: func(p *Parsed) bool { return p.SerialHex() == "00" }},
		{name: "empty serial", make: handmade{serial: tlv(tagInteger)}, want: func(p *Parsed) bool { return p.SerialHex() == "" }},
		{name: "dates before 1970", make: handmade{validity: validity(tlv(tagUTCTime, []byte("500101000000Z")), general("19690101000000Z"))},
			want: func(p *Parsed) bool {
				return p.NotBefore.Equal(time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)) && p.NotAfter.Year() == 1969
			}},
		{name: "no expiry (RFC 5280, 4.1.2.5)", make: handmade{validity: validity(utc(now), general("99991231235959Z"))},
			want: func(p *Parsed) bool { return p.NotAfter.Year() == 9999 }},
		{name: "no seconds, a zone", make: handmade{validity: validity(tlv(tagUTCTime, []byte("2611101200+0130")), general("202711101200Z"))},
			want: func(p *Parsed) bool {
				return p.NotBefore.Equal(time.Date(2026, 11, 10, 10, 30, 0, 0, time.UTC))
			}},
		{name: "fraction of a second, no zone", make: handmade{validity: validity(utc(now), general("20271110120000.123"))},
			want: func(p *Parsed) bool { return p.NotAfter.Equal(time.Date(2027, 11, 10, 12, 0, 0, 0, time.UTC)) }},
		{name: "30 February", make: handmade{validity: validity(utc(now), general("20270230120000Z"))},
			want: func(p *Parsed) bool { return !p.ValidityRead && p.NotAfter.IsZero() }},
		{name: "validity of a wrong type", make: handmade{validity: validity(tlv(tagInteger, []byte{1}), utc(now))},
			want: func(p *Parsed) bool { return !p.ValidityRead }},
		{name: "ends before it begins", make: handmade{validity: validity(utc(now), utc(now.AddDate(-1, 0, 0)))},
			want: func(p *Parsed) bool { return p.ValidityRead && len(p.Problems) == 1 }},
		{name: "empty names", make: handmade{issuer: tlv(tagSequence), subject: tlv(tagSequence)},
			want: func(p *Parsed) bool { return FormatDN(p.RawIssuer) == "" && p.RawIssuer != nil }},
		{name: "bytes after the certificate", edit: func(b []byte) []byte { return append(b, 1, 2, 3) },
			want: func(p *Parsed) bool { return p.Trailing == 3 && len(p.Raw) > 0 }},
		{name: "longer length octets than needed", edit: func(b []byte) []byte {
			return append([]byte{tagSequence, 0x84, 0, 0, byte((len(b) - 4) >> 8), byte(len(b) - 4)}, b[4:]...)
		}, want: func(p *Parsed) bool { return p.RawSPKI != nil }},
		{name: "unknown signature algorithm", make: handmade{algorithm: algorithmIdentifier("\x2a\x03\x04")},
			want: func(p *Parsed) bool { return p.SignatureAlgorithm.Name == "1.2.3.4" }},
		{name: "PSS parameters that are none", make: handmade{algorithm: algorithmIdentifier(oidRSAPSS, tlv(tagSequence, tlv(tagContext0, null)))},
			want: func(p *Parsed) bool { return p.SignatureAlgorithm.kind == kindUnsupported }},
		{name: "name that is no name", make: handmade{issuer: tlv(tagSequence, []byte{1, 2, 3})},
			want: func(p *Parsed) bool { return strings.HasPrefix(FormatDN(p.RawIssuer), "#30") }},
		{name: "extensions that are none", make: handmade{extensions: tlv(tagContext3, null)},
			want: func(p *Parsed) bool { return p.Extensions.refuse != "" }},
		{name: "subjectAltName that is none", make: handmade{extensions: tlv(tagContext3, tlv(tagSequence, tlv(tagSequence,
			tlv(tagOID, []byte{0x55, 0x1d, 17}), tlv(tagOctetString, tlv(tagSequence, tlv(generalDNS, []byte("ok.example")), tlv(generalIP, []byte{1}))))))},
			want: func(p *Parsed) bool { return p.Extensions.DNSNames == nil && len(p.Problems) == 1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			der := tt.make.der(t)
			if tt.edit != nil {
				der = tt.edit(der)
			}
			p, err := ParseCertificate(der)
			if err != nil || p.Damage != nil {
				t.Fatal(err, p)
			}
			if !tt.want(p) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestEveryPrefixIsTruncatedAndGivesTheIssuerOnceItIsThere(t *testing.T) {
	w := newWorld(t)
	der := issue(t, spec{name: dn(host, "")}, w.m01).der
	whole, err := ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	issuerEnd := bytes.Index(der, whole.RawIssuer) + len(whole.RawIssuer)
	for n := range len(der) {
		p, err := ParseCertificate(der[:n:n])
		if n < issuerEnd {
			if !errors.Is(err, ErrTruncated) || p != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			continue
		}
		if err != nil || !p.Partial() || !bytes.Equal(p.RawIssuer, whole.RawIssuer) {
			t.Fatalf("%d bytes: %v, %+v", n, err, p)
		}
		c := describeLeaf(p, 1)
		if !c.Partial || c.Issuer != "CN=Amazon RSA 2048 M01,O=Amazon,C=US" || c.SHA256 != "" {
			t.Fatalf("%d bytes: %+v", n, c)
		}
	}
}

func TestErrorsNameFieldAndOffset(t *testing.T) {
	w := newWorld(t)
	der := bytes.Clone(w.m01.der)
	p, _ := ParseCertificate(der)
	at := bytes.Index(der, p.RawIssuer)
	der[at] = tagSet
	_, err := ParseCertificate(der)
	var pe *ParseError
	if !errors.As(err, &pe) || pe.Field != "issuer" || pe.Offset != at || !errors.Is(err, ErrMalformed) {
		t.Errorf("%v, want issuer at %d", err, at)
	}
	for _, bad := range [][]byte{nil, {}, {0x30}, {0x30, 0x80}, {0x30, 0x85, 1, 1, 1, 1, 1}, {0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, {0x1f, 1, 1}} {
		if p, err := ParseCertificate(bad); err == nil || p != nil {
			t.Errorf("%x: %v", bad, p)
		}
	}
}

// goesOn reports whether something that RFC 5280, Section 4.1 does not know stands behind the last field: crypto/x509 passes over it.
func goesOn(tbs []byte) bool {
	var fields, field cryptobyte.String
	outer := cryptobyte.String(tbs)
	ok := outer.ReadASN1(&fields, asn1.SEQUENCE) && fields.SkipOptionalASN1(asn1.Tag(0).ContextSpecific().Constructed())
	for range 6 { // serial number to public key
		ok = ok && fields.ReadAnyASN1(&field, new(asn1.Tag))
	}
	for _, tag := range []asn1.Tag{asn1.Tag(1).ContextSpecific(), asn1.Tag(2).ContextSpecific(), asn1.Tag(3).ContextSpecific().Constructed()} {
		ok = ok && fields.SkipOptionalASN1(tag)
	}
	return !ok || !fields.Empty()
}

func FuzzParseCertificate(f *testing.F) {
	w := newWorld(f)
	f.Add(w.amazon.der)
	f.Add(issue(f, spec{}, w.m01).der)
	f.Add(handmade{serial: tlv(tagInteger, []byte{0xff})}.der(f))
	f.Add(handmade{algorithm: algorithmIdentifier(oidRSAPSS, tlv(tagSequence))}.der(f))
	for _, r := range amazonRoots() {
		f.Add(r.Raw)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		p, err := ParseCertificate(der)
		if (p == nil) == (err == nil) {
			t.Fatalf("result %v and error %v", p, err)
		}
		agrees(t, der)
		if p == nil {
			var pe *ParseError
			if !errors.As(err, &pe) || errors.Is(err, ErrTruncated) == errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if p.RawIssuer == nil || len(p.Problems) > maxProblems || len(p.Extensions.DNSNames)+len(p.Extensions.IPAddresses) > maxNames {
			t.Fatalf("%+v", p)
		}
		c := describeLeaf(p, 1)
		for _, s := range append([]string{c.Subject, c.Issuer, c.Serial, c.Key, c.Signature}, c.Names...) {
			if !isPrintable(s) {
				t.Fatalf("not printable: %q", s)
			}
		}
		if !p.Partial() {
			return
		}
		if p.Damage == nil {
			t.Fatal("partial without damage")
		}
	})
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
