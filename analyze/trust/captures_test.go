package trust

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

func TestMadeCertificatesOfTheCorpus(t *testing.T) {
	load := func(name string) []byte {
		b, err := os.ReadFile(testenv.Shared(t, "corpus", "dynamodb", "certs", name))
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
	b, err := os.ReadFile(testenv.Shared(t, "corpus", "dynamodb", "certs", "test-roots.pem"))
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
		files, err := filepath.Glob(filepath.Join(testenv.Shared(t, "corpus", "dynamodb"), tt.pattern))
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
		for _, h := range handshakes(t, testenv.Shared(t, "corpus", "tls", file)) {
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
