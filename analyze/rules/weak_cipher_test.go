package rules

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestWeakCipher(t *testing.T) {
	for cipher, want := range map[string]session.Severity{
		"TLS_RSA_WITH_NULL_SHA256":                      session.High,
		"TLS_NULL_WITH_NULL_NULL":                       session.High,
		"TLS_ECDHE_RSA_WITH_NULL_SHA":                   session.High,
		"TLS_ECDHE_PSK_WITH_NULL_SHA256":                session.High,
		"TLS_SHA256_SHA256":                             session.High,
		"TLS_DH_anon_WITH_AES_128_CBC_SHA":              session.High,
		"TLS_ECDH_anon_WITH_NULL_SHA":                   session.High,
		"TLS_RSA_EXPORT_WITH_RC4_40_MD5":                session.High,
		"TLS_DHE_RSA_EXPORT_WITH_DES40_CBC_SHA":         session.High,
		"TLS_RSA_EXPORT1024_WITH_RC4_56_SHA":            session.High,
		"TLS_RSA_WITH_RC4_128_SHA":                      session.High,
		"TLS_ECDHE_RSA_WITH_RC4_128_SHA":                session.High,
		"TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA":           session.High,
		"TLS_RSA_WITH_DES_CBC_SHA":                      session.High,
		"TLS_RSA_WITH_IDEA_CBC_SHA":                     session.High,
		"SSL_CK_RC4_128_WITH_MD5":                       session.High,
		"SSL_CK_DES_192_EDE3_CBC_WITH_MD5":              session.High,
		"SSL_CK_RC2_128_CBC_EXPORT40_WITH_MD5":          session.High,
		"TLS_KRB5_WITH_3DES_EDE_CBC_SHA":                session.High,
		"TLS_RSA_WITH_AES_128_GCM_SHA256":               session.Medium,
		"TLS_RSA_WITH_AES_256_CBC_SHA":                  session.Medium,
		"TLS_ECDH_ECDSA_WITH_AES_128_GCM_SHA256":        session.Medium,
		"TLS_DH_RSA_WITH_AES_128_GCM_SHA256":            session.Medium,
		"TLS_PSK_WITH_AES_128_GCM_SHA256":               session.Medium,
		"TLS_RSA_PSK_WITH_AES_128_GCM_SHA256":           session.Medium,
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256":         none,
		"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": none,
		"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA":            none,
		"TLS_DHE_RSA_WITH_AES_256_GCM_SHA384":           none,
		"TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256":         none,
		"TLS_AES_128_GCM_SHA256":                        none,
		"TLS_CHACHA20_POLY1305_SHA256":                  none,
		"TLS_AES_128_CCM_8_SHA256":                      none,
		"TLS_ECCPWD_WITH_AES_128_GCM_SHA256":            none,
		"TLS_SRP_SHA_RSA_WITH_AES_128_CBC_SHA":          none,
		"TLS_GOSTR341112_256_WITH_KUZNYECHIK_CTR_OMAC":  none,
		"0x1a1a": none,
		"":       none, // not seen
		"TLS_ECDHE_ECDSA_WITH_ARIA_128_GCM_SHA256_ANONYMITY": none, // a word that only begins like a fault
	} {
		run(t, WeakCipher, []sample{{name: cipher + " ", want: want, s: change(good12(), func(s *session.Session) { s.TLS.Cipher = cipher })}})
	}
	run(t, WeakCipher, []sample{{name: "no TLS", s: plain()}})
}

func TestWeakCipherNamesTheFaults(t *testing.T) {
	got := cipherFaults("TLS_RSA_EXPORT_WITH_RC4_40_MD5").words()
	want := []string{"export grade", "RC4", "no forward secrecy"}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("got %q, want %q", got, want)
	}
	if f := cipherFaults("SSL_CK_DES_192_EDE3_CBC_WITH_MD5"); f.cipher != "3DES" {
		t.Errorf("SSL 2.0's triple DES is %q", f.cipher)
	}
}
