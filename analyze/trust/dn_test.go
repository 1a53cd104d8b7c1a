package trust

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// rdns makes a name of RDNs, each given as attributes.
func rdns(sets ...[][]byte) []byte {
	var out [][]byte
	for _, set := range sets {
		out = append(out, tlv(tagSet, set...))
	}
	return tlv(tagSequence, out...)
}

func attr(oid string, tag byte, value string) []byte {
	var id asn1.ObjectIdentifier
	for _, part := range strings.Split(oid, ".") {
		n := 0
		for _, c := range part {
			n = n*10 + int(c-'0')
		}
		id = append(id, n)
	}
	encoded, err := asn1.Marshal(id)
	if err != nil {
		panic(err)
	}
	return tlv(tagSequence, encoded, tlv(tag, []byte(value)))
}

const printableString = 0x13

var dnTests = []struct {
	name string
	raw  []byte
	want string
}{
	{"empty", tlv(tagSequence), ""},
	{"last RDN first", rdns([][]byte{attr("2.5.4.6", printableString, "US")}, [][]byte{attr("2.5.4.10", tagUTF8String, "Amazon")},
		[][]byte{attr("2.5.4.3", tagUTF8String, "Amazon RSA 2048 M01")}), "CN=Amazon RSA 2048 M01,O=Amazon,C=US"},
	{"common name first on the wire", rdns([][]byte{attr("2.5.4.3", tagUTF8String, "a")}, [][]byte{attr("2.5.4.6", printableString, "US")}), "C=US,CN=a"},
	{"several attributes in one RDN", rdns([][]byte{attr("2.5.4.3", tagUTF8String, "a"), attr("2.5.4.5", printableString, "7")}, [][]byte{attr("2.5.4.10", tagUTF8String, "b")}),
		"O=b,serialNumber=7+CN=a"},
	{"specials", rdns([][]byte{attr("2.5.4.10", tagUTF8String, `a,b+c"d\e<f>g;h=i#j`)}), `O=a\,b\+c\"d\\e\<f\>g\;h=i#j`},
	{"spaces and number sign at the ends", rdns([][]byte{attr("2.5.4.10", tagUTF8String, " a b ")}, [][]byte{attr("2.5.4.3", tagUTF8String, "#1")}), `CN=\#1,O=\ a b\ `},
	{"a single space", rdns([][]byte{attr("2.5.4.10", tagUTF8String, " ")}), `O=\ `},
	{"empty value", rdns([][]byte{attr("2.5.4.10", tagUTF8String, "")}), "O="},
	{"control characters", rdns([][]byte{attr("2.5.4.3", printableString, "TL\x00 CA\n\x7f")}), `CN=TL\00 CA\0A\7F`},
	{"UTF-8", rdns([][]byte{attr("2.5.4.10", tagUTF8String, "Société")}), `O=Soci\C3\A9t\C3\A9`},
	{"Cyrillic letter", rdns([][]byte{attr("2.5.4.10", tagUTF8String, "Аmazon")}), `O=\D0\90mazon`},
	{"T61 as Latin-1", rdns([][]byte{attr("2.5.4.10", 0x14, "Soci\xe9t\xe9")}), `O=Soci\C3\A9t\C3\A9`},
	{"BMPString", rdns([][]byte{attr("2.5.4.10", tagBMPString, "\x00A\x00m\x04\x10")}), `O=Am\D0\90`},
	{"UniversalString", rdns([][]byte{attr("2.5.4.10", tagUniversalString, "\x00\x00\x00A\x00\x01\xf6\x00")}), `O=A\F0\9F\98\80`},
	{"other named attributes", rdns([][]byte{attr("1.2.840.113549.1.9.1", 0x16, "a@b.example")}, [][]byte{attr("2.5.4.9", tagUTF8String, "1 Road")},
		[][]byte{attr("2.5.4.17", tagUTF8String, "94568")}, [][]byte{attr("0.9.2342.19200300.100.1.25", 0x16, "example")},
		[][]byte{attr("1.3.6.1.4.1.311.60.2.1.3", printableString, "US")}, [][]byte{attr("2.5.4.15", tagUTF8String, "Private Organization")},
		[][]byte{attr("2.5.4.97", tagUTF8String, "VAT")}, [][]byte{attr("0.9.2342.19200300.100.1.1", tagUTF8String, "u")}, [][]byte{attr("2.5.4.42", tagUTF8String, "g")}),
		"GN=g,UID=u,organizationIdentifier=VAT,businessCategory=Private Organization,jurisdictionC=US,DC=example,postalCode=94568,street=1 Road,emailAddress=a@b.example"},
	{"unknown attribute", rdns([][]byte{attr("1.3.6.1.4.1.99999.1", tagUTF8String, "Hi")}), "1.3.6.1.4.1.99999.1=#0C024869"},
}

func TestFormatDN(t *testing.T) {
	for _, tt := range dnTests {
		if got := FormatDN(tt.raw); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := FormatDN(rdns([][]byte{attr("2.5.4.10", tagBMPString, "odd")})); got != "O=#1E036F6464" {
		t.Errorf("half a character: %q", got)
	}
	if got := FormatDN([]byte{0x30, 5, 1}); got != "#300501" {
		t.Errorf("malformed: %q", got)
	}
	if got := FormatDN(rdns([][]byte{attr("2.5.4.10", tagUTF8String, strings.Repeat("a", 9999))})); len(got) != maxDNLength+3 || !strings.HasSuffix(got, "...") {
		t.Errorf("long: %d characters", len(got))
	}
	if got := FormatDN(rdns([][]byte{attr("2.5.4.10", tagUTF8String, "\xff\xfe")})); got != `O=\FF\FE` {
		t.Errorf("UTF-8 that is none: %q", got)
	}
}

func TestFormatDNAsOpenSSLPrintsIt(t *testing.T) {
	for _, tt := range dnTests {
		file := filepath.Join(t.TempDir(), "c.der")
		if err := os.WriteFile(file, handmade{issuer: tt.raw}.der(t), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := testenv.Command(t, "openssl", "x509", "-inform", "DER", "-in", file, "-noout", "-issuer", "-nameopt", "RFC2253").CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", tt.name, err, out)
			continue
		}
		if got := strings.TrimPrefix(strings.TrimSuffix(string(out), "\n"), "issuer="); got != tt.want {
			t.Errorf("%s: OpenSSL prints %q, we %q", tt.name, got, tt.want)
		}
	}
}

func TestCanonicalNames(t *testing.T) {
	a := rdns([][]byte{attr("2.5.4.10", printableString, " Example   CORP ")})
	b := rdns([][]byte{attr("2.5.4.10", tagBMPString, "\x00e\x00x\x00a\x00m\x00p\x00l\x00e\x00 \x00c\x00o\x00r\x00p")})
	if canonicalName(a) != canonicalName(b) {
		t.Errorf("%q, %q", canonicalName(a), canonicalName(b))
	}
	two := rdns([][]byte{attr("2.5.4.10", printableString, "a"), attr("2.5.4.3", printableString, "b")})
	owt := rdns([][]byte{attr("2.5.4.3", printableString, "b"), attr("2.5.4.10", printableString, "a")})
	apart := rdns([][]byte{attr("2.5.4.3", printableString, "b")}, [][]byte{attr("2.5.4.10", printableString, "a")})
	if canonicalName(two) != canonicalName(owt) || canonicalName(two) == canonicalName(apart) {
		t.Error("sets and sequences are mixed up")
	}
	if canonicalName(a) == canonicalName(rdns([][]byte{attr("2.5.4.3", printableString, "Example Corp")})) {
		t.Error("attribute types are not compared")
	}
}

func TestAmazonNames(t *testing.T) {
	yes := []pkix.Name{
		amazonRootName, amazonM01Name, dn("Amazon ECDSA 256 M04", "Amazon"), dn("Amazon RSA 2048 Root EU M1", "Amazon"), dn("amazon rsa 2048 m03", "AMAZON"),
		{CommonName: "Amazon", OrganizationalUnit: []string{"Server CA 1B"}, Organization: []string{"Amazon"}, Country: []string{"US"}},
		dn("Starfield Services Root Certificate Authority - G2", "Starfield Technologies, Inc."), dn("x", "Amazon Trust Services LLC"), dn("Amazon Root CA 1", "Evil"),
		dn("Amazon\x00 Root CA 1", "Evil"), dn("Amazon  Root CA 9", ""), {Organization: []string{"Amazon"}},
	}
	no := []pkix.Name{
		dn(host, "Amazon.com, Inc."), dn("www.amazon.com", "Amazon.com, Inc."), dn("Amazon RDS us-east-1 2019 CA", "Amazon Web Services, Inc."),
		dn("Starfield Secure Certificate Authority - G2", "Starfield Technologies, Inc."), dn("Starfield Root Certificate Authority - G2", "Starfield Technologies, Inc."),
		dn(host, "Amazon"), dn("Example Corp Inspection CA", "Example Corp"), {},
	}
	for i, names := range [][]pkix.Name{no, yes} {
		for _, n := range names {
			raw, err := asn1.Marshal(n.ToRDNSequence())
			if err != nil {
				t.Fatal(err)
			}
			if isAmazonName(raw) != (i == 1) {
				t.Errorf("%s: %v", FormatDN(raw), i == 0)
			}
		}
	}
}

func TestInterceptorLabels(t *testing.T) {
	for want, name := range map[string]pkix.Name{
		"Zscaler":            {CommonName: "Zscaler Intermediate Root CA (zscloud.net) (t)", Organization: []string{"Zscaler Inc."}},
		"Netskope":           dn("ca.tenant.goskope.com", "Example"),
		"mitmproxy":          dn("mitmproxy", "mitmproxy"),
		"Burp Suite":         dn("PortSwigger CA", "PortSwigger"),
		"Fortinet":           dn("FG100FTK19000000", "Fortinet"),
		"":                   dn("Example Corp Inspection CA", "Example Corp"),
		"Charles":            dn("Charles Proxy CA (1 Jan 2026, host)", "XK72 Ltd"),
		"Palo Alto Networks": dn("x", "Palo Alto Networks"),
	} {
		raw, _ := asn1.Marshal(name.ToRDNSequence())
		if got := interceptor(raw); got != want {
			t.Errorf("%s: %q, want %q", FormatDN(raw), got, want)
		}
	}
}

func FuzzFormatDN(f *testing.F) {
	for _, tt := range dnTests {
		f.Add(tt.raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := FormatDN(raw)
		if !isPrintable(s) || len(s) > maxDNLength+3 {
			t.Fatalf("%d characters, %q", len(s), s)
		}
		_ = isAmazonName(raw)
		_ = interceptor(raw)
		// Names that print differently are not the same name, apart from what RFC 5280 says to overlook; the same bytes are.
		if canonicalName(raw) != canonicalName([]byte(string(raw))) {
			t.Fatal("not a function")
		}
		if _, ok := readName(raw); !ok && s != hexDER(raw) {
			t.Fatalf("unreadable, yet %q", s)
		}
		if strings.HasPrefix(s, "#") && !strings.HasSuffix(s, "...") {
			if b, err := hex.DecodeString(s[1:]); err != nil || string(b) != string(raw) {
				t.Fatalf("%q is not the input", s)
			}
		}
	})
}
