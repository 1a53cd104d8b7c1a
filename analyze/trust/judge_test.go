package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
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
