package rules

import (
	"fmt"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var weakCipherRule = &Rule{
	ID:       WeakCipher,
	Title:    "a weak cipher suite was negotiated",
	Severity: session.High,
	Milder:   []session.Severity{session.Medium},
	Citation: "RFC 9325, Section 4.1 (BCP 195); RFC 7465 (RC4); CVE-2016-2183 (3DES)",
	Summary: "The negotiated suite does not encrypt (NULL), does not authenticate (anonymous), or encrypts with an export-grade, RC4, DES, " +
		"3DES, RC2 or IDEA cipher: high. It encrypts well but has no forward secrecy (static RSA, static (EC)DH, plain PSK): medium.",
	Why: "NULL is clear text inside TLS records. An anonymous suite is open to anybody on the path. The old ciphers can be broken with " +
		"recorded traffic; without forward secrecy recorded traffic can be read later by who gets the server's key.",
	Limits: "Suites that are merely offered are no finding. AWS's TLS 1.2 policies still accept static RSA, so that suite does not prove an " +
		"interceptor.",
	Fix: Remediation{
		Steps: []string{
			"DynamoDB's endpoints choose ECDHE with AES-GCM when a client offers it: a suite that was negotiated and is weak means a very " +
				"old or restricted client, or another server. Look at the certificate's findings first.",
			"Let the client offer ECDHE suites with AES-GCM or ChaCha20; the defaults of every current TLS library do.",
		},
		Snippets: []Snippet{
			{"OpenSSL, so boto3 (Django, Flask) and AWS CLI v1", `# /etc/ssl/openssl.cnf, section system_default_sect
CipherString = DEFAULT@SECLEVEL=2`},
			{"Go (aws-sdk-go-v2)", `// no CipherSuites: the defaults are right
t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
// and no GODEBUG=tlsrsakex=1 or tls3des=1`},
			{"Java (SDK v2)", `# java.security: keep what the JDK ships
jdk.tls.disabledAlgorithms=SSLv3, TLSv1, TLSv1.1, RC4, DES, 3DES_EDE_CBC, anon, NULL, …`},
			{"Node (SDK v3)", `new https.Agent({ ciphers: "ECDHE+AESGCM:ECDHE+CHACHA20" })   // or no ciphers at all`},
		},
	},
	Applies: func(in *Input) bool { return in.Session.TLS != nil && in.Session.TLS.Cipher != "" },
	Check: func(in *Input) *session.Finding {
		t := in.Session.TLS
		faults := cipherFaults(t.Cipher)
		what := faults.words()
		if len(what) == 0 {
			return nil
		}
		severity := session.High
		if faults.onlyStatic() {
			severity = session.Medium
		}
		return &session.Finding{
			Rule: WeakCipher, Severity: severity,
			Message:  fmt.Sprintf("%s was negotiated: %s", t.Cipher, strings.Join(what, ", ")),
			Evidence: evidence{"cipher": t.Cipher, "faults": what}.version("version", t.Version),
		}
	},
}

// faults of a cipher suite.
type faults struct {
	null, anonymous, export bool
	cipher                  string // the name of a weak one
	static                  bool   // no forward secrecy
}

func (f faults) words() []string {
	var w []string
	if f.null {
		w = append(w, "no encryption")
	}
	if f.anonymous {
		w = append(w, "no authentication")
	}
	if f.export {
		w = append(w, "export grade")
	}
	if f.cipher != "" {
		w = append(w, f.cipher)
	}
	if f.static {
		w = append(w, "no forward secrecy")
	}
	return w
}

func (f faults) onlyStatic() bool { return f == faults{static: true} }

// cipherFaults reads them from the IANA name (or SSL 2.0's, from its draft: SSL_CK_RC4_128_WITH_MD5). A name that it does not know the
// form of has none.
func cipherFaults(name string) faults {
	var f faults
	exchange, rest, tls12 := strings.Cut(name, "_WITH_")
	for _, word := range strings.Split(name, "_") {
		switch {
		case word == "NULL":
			f.null = true
		case word == "anon":
			f.anonymous = true
		case strings.HasPrefix(word, "EXPORT"):
			f.export = true
		case word == "3DES", word == "EDE3", word == "RC4", word == "RC2", word == "IDEA", word == "DES40":
			f.cipher = strings.Replace(word, "EDE3", "3DES", 1)
		case word == "DES":
			if f.cipher == "" {
				f.cipher = word
			}
		}
	}
	switch name {
	case "TLS_SHA256_SHA256", "TLS_SHA384_SHA384": // RFC 9150: integrity only
		f.null = true
	}
	if name == "SSL_CK_DES_192_EDE3_CBC_WITH_MD5" || name == "SSL_CK_DES_192_EDE3_CBC_WITH_SHA" {
		f.cipher = "3DES"
	}
	switch {
	case strings.HasPrefix(name, "SSL_CK_"):
		f.static = true // SSL 2.0 knows RSA only
	case !tls12 || rest == "NULL_NULL":
	default:
		f.static = staticExchange[strings.TrimSuffix(strings.TrimSuffix(exchange, "_EXPORT1024"), "_EXPORT")]
	}
	return f
}

// staticExchange are the key exchanges without forward secrecy, as they begin the names of suites.
var staticExchange = map[string]bool{
	"TLS_RSA": true, "TLS_RSA_PSK": true, "TLS_PSK": true, "TLS_KRB5": true, "TLS_RSA_FIPS": true, "SSL_RSA_FIPS": true,
	"TLS_DH_RSA": true, "TLS_DH_DSS": true, "TLS_ECDH_RSA": true, "TLS_ECDH_ECDSA": true,
}
