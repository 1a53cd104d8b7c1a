package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

func TestParsePin(t *testing.T) {
	digest := sha256.Sum256([]byte("key"))
	text := hex.EncodeToString(digest[:])
	std, url := base64.StdEncoding.EncodeToString(digest[:]), base64.URLEncoding.EncodeToString(digest[:])
	var colons []string
	for i := 0; i < len(text); i += 2 {
		colons = append(colons, text[i:i+2])
	}
	for _, s := range []string{
		text, strings.ToUpper(text), strings.Join(colons, ":"), "sha256:" + text, "SHA256/" + text, std, "sha256/" + std, "sha256//" + std, url,
		strings.TrimRight(std, "="), "sha256:" + url, " " + text + "\n",
	} {
		if got, err := ParsePin(s); err != nil || got != digest {
			t.Errorf("%q: %x, %v", s, got, err)
		}
	}
	slash := [sha256.Size]byte{0xff, 0xff, 0xff} // its Base64 begins with slashes
	encoded := base64.StdEncoding.EncodeToString(slash[:])
	for _, s := range []string{encoded, "sha256/" + encoded, "sha256//" + encoded} {
		if got, err := ParsePin(s); err != nil || got != slash {
			t.Errorf("%q: %x, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "sha256/", text[:62], text + "00", "sha1/" + std, std + "A", strings.Repeat("g", 64), strings.Repeat("!", 43)} {
		if _, err := ParsePin(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestParseCAFile(t *testing.T) {
	w := newWorld(t)
	leaf := issue(t, spec{name: dn("server", "Example")}, nil)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1, 2, 3}})
	cas, err := ParseCAFile("x.pem", bytes.Join([][]byte{[]byte("# a comment\n"), w.corp.pem(), key, leaf.pem()}, nil))
	if err != nil || len(cas) != 2 {
		t.Fatal(cas, err)
	}
	if cas[0].Warning != "" || cas[0].Subject != "CN=Example Corp Inspection CA,O=Example Corp,C=US" || cas[1].Name != "x.pem, certificate 2" ||
		!strings.Contains(cas[1].Warning, "is no CA") || !strings.Contains(cas[1].Warning, "x.pem, certificate 2") {
		t.Errorf("%+v", cas)
	}
	if cas, err := ParseCAFile("x.der", w.corp.der); err != nil || len(cas) != 1 || cas[0].Name != "x.der" {
		t.Errorf("DER: %+v, %v", cas, err)
	}
	damaged := bytes.Replace(leaf.pem(), []byte("\nMII"), []byte("\n!!!"), 1)
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "x.pem: no certificate"},
		{"text", []byte("hello"), "x.pem: no certificate"},
		{"only a key", key, "x.pem: no certificate"},
		{"second block damaged", append(w.corp.pem(), damaged...), "x.pem, certificate 2: damaged"},
		{"first block without end", append([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n"), w.corp.pem()...), "x.pem, certificate 1: damaged"},
		{"no certificate inside", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("abc")}), "x.pem, certificate 1: certificate"},
		{"cut off", w.corp.der[:100], "x.pem: certificate"},
		{"unusable key", handmade{spki: tlv(tagSequence, algorithmIdentifier("\x2a\x03"), tlv(tagBitString, []byte{0, 1}))}.der(t), "x.pem: public key 1.2.3: not supported"},
	}
	for _, tt := range tests {
		cas, err := ParseCAFile("x.pem", tt.data)
		if err == nil || cas != nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v", tt.name, cas, err)
		}
	}
	if _, err := ParseCAFile("x", w.corp.der[:100]); !errors.Is(err, ErrTruncated) {
		t.Errorf("%v", err)
	}
}

func TestNewStoreRefusesUselessPolicies(t *testing.T) {
	for _, p := range []Policy{
		{AllowIssuer: []string{""}}, {AllowIssuer: []string{"CN=Amazon RSA 2048 M01,O=Amazon,C=US"}}, {AllowIssuer: []string{"CN=x,O=Amazon"}},
		{AllowCA: []CA{{Name: "made by hand"}}}, {MinRSABits: -1},
	} {
		if s, err := NewStore(p); err == nil || s != nil {
			t.Errorf("%+v was accepted", p)
		}
	}
}

func FuzzParseCAFile(f *testing.F) {
	w := newWorld(f)
	f.Add(w.corp.pem())
	f.Add(w.corp.der)
	f.Add(append(w.corp.pem(), w.m01.pem()...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cas, err := ParseCAFile("f", data)
		if (err == nil) != (len(cas) > 0) {
			t.Fatalf("%d certificates and error %v", len(cas), err)
		}
		if err == nil {
			if _, err := NewStore(Policy{AllowCA: cas}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzParsePin(f *testing.F) {
	f.Add("sha256//////////////////////////////////////////////8=")
	f.Add(strings.Repeat("ab", 32))
	f.Fuzz(func(t *testing.T, s string) {
		pin, err := ParsePin(s)
		if err != nil {
			return
		}
		if again, err := ParsePin(hex.EncodeToString(pin[:])); err != nil || again != pin {
			t.Fatalf("%q: %x, then %x, %v", s, pin, again, err)
		}
	})
}
