package tlswire

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

func TestCipherTableIsSorted(t *testing.T) {
	if !slices.IsSortedFunc(cipherNames[:], func(a, b struct {
		id   uint16
		name string
	}) int {
		return int(a.id) - int(b.id)
	}) {
		t.Error("the table is not sorted")
	}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if CipherName(s.ID) != s.Name {
			t.Errorf("%04x is %s, crypto/tls says %s", s.ID, CipherName(s.ID), s.Name)
		}
	}
	for id, want := range map[uint16]string{
		0x0a0a: "GREASE (0x0a0a)", 0xfafa: "GREASE (0xfafa)", 0x0a1a: "0x0a1a", 0x9999: "0x9999", 0x5600: "TLS_FALLBACK_SCSV",
		0x00ff: "TLS_EMPTY_RENEGOTIATION_INFO_SCSV", 0xcc13: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0: "TLS_NULL_WITH_NULL_NULL",
	} {
		if got := CipherName(id); got != want {
			t.Errorf("%04x is %s, want %s", id, got, want)
		}
	}
}

func TestCipherNamesAgainstTshark(t *testing.T) {
	testenv.Slow(t, "runs tshark")
	out, err := testenv.Command(t, "tshark", "-G", "values").Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	compared := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) < 4 || f[0] != "V" || f[1] != "tls.handshake.ciphersuite" {
			continue
		}
		id, err := strconv.ParseUint(f[2], 0, 16)
		if err != nil || IsGREASE(uint16(id)) {
			continue
		}
		compared++
		if got := CipherName(uint16(id)); got != f[3] {
			t.Errorf("%04x is %s, tshark says %s", id, got, f[3])
		}
	}
	if compared < 300 {
		t.Errorf("tshark printed %d suites", compared)
	}
}

func TestKeyExchangeOfSuites(t *testing.T) {
	for name, want := range map[string]string{
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ecdhe true true", "TLS_ECDH_anon_WITH_AES_128_CBC_SHA": "ecdhe false true",
		"TLS_DHE_DSS_WITH_DES_CBC_SHA": "dhe true true", "TLS_DH_anon_EXPORT_WITH_RC4_40_MD5": "dhe false true",
		"TLS_DHE_RSA_EXPORT_WITH_DES40_CBC_SHA": "dhe true true", "TLS_RSA_EXPORT_WITH_RC4_40_MD5": "rsa_export true true",
		"TLS_RSA_WITH_AES_128_CBC_SHA": " false false", "TLS_ECDHE_PSK_WITH_NULL_SHA": "psk false true",
		"TLS_SRP_SHA_RSA_WITH_AES_128_CBC_SHA": "srp true true", "TLS_AES_128_GCM_SHA256": " false false",
		"TLS_ECDH_RSA_WITH_RC4_128_SHA": " false false",
	} {
		i := slices.IndexFunc(cipherNames[:], func(e struct {
			id   uint16
			name string
		}) bool {
			return e.name == name
		})
		if i < 0 {
			t.Errorf("no %s", name)
			continue
		}
		kind, signed, known := kexOf(cipherNames[i].id)
		if got := fmt.Sprintf("%s %v %v", kind, signed, known); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestOtherNames(t *testing.T) {
	for got, want := range map[string]string{
		GroupName(29): "x25519", GroupName(23): "secp256r1", GroupName(4588): "X25519MLKEM768", GroupName(0x1a1a): "GREASE (0x1a1a)", GroupName(0x7777): "0x7777",
		AlertName(48): "unknown_ca", AlertName(86): "inappropriate_fallback", AlertName(200): "alert_200",
		SignatureSchemeName(0x0804): "rsa_pss_rsae_sha256", SignatureSchemeName(0x0302): "sha224_dsa", SignatureSchemeName(0xffff): "0xffff",
		ExtensionName(51): "key_share", ExtensionName(65037): "encrypted_client_hello", ExtensionName(0x8888): "0x8888",
		SSL2CipherName(0x0700c0): "SSL2_DES_192_EDE3_CBC_WITH_MD5", SSL2CipherName(1): "0x000001", Partial.String(): "partial", State(9).String(): "state(9)",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
