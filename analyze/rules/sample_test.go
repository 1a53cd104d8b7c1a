package rules

import (
	"net/netip"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

var t0 = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// otherClient is another client.
var otherClient = netip.MustParseAddrPort("10.0.0.6:40112")

const name = "dynamodb.us-east-1.amazonaws.com"

func publicEndpoint() session.Endpoint {
	return session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"range", "sni"},
		Name: name, AddrAWS: session.Yes, AddrDynamoDB: session.Yes, AddrAllowed: session.No}
}

// good12 is TLS 1.2 with Amazon's chain in sight, all proven, closed in order.
func good12() *session.Session {
	return &session.Session{
		Start: t0, End: t0.Add(2 * time.Second), Source: "file",
		Client: netip.MustParseAddrPort("10.0.0.5:40112"), Server: netip.MustParseAddrPort("52.94.5.7:443"),
		Endpoint: publicEndpoint(), Transport: session.TransportTLS,
		TLS: &session.TLS{
			Version: session.TLS12, OfferedMax: session.TLS12, OfferedVersions: []session.Version{session.TLS12},
			Cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherID: 0xc02f, Group: "x25519", SNI: name, JA3: "0123", JA4: "t12d",
			OfferedCiphers:  []uint16{0xc02f, 0xc030, 0xc013, 0x2f},
			ClientHelloSeen: true, ServerHelloSeen: true, Resumed: session.No, Established: session.Yes,
			ClientAppData: true, ServerAppData: true, ClientFinished: true, ClientCloseNotify: true, ServerFlightSeen: true,
			KeyProof: session.KeyProofValid, HandshakeDone: t0.Add(100 * time.Millisecond),
		},
		Certificate: &session.Certificate{SeenBy: "wire", Subject: "CN=" + name, Issuer: "CN=Amazon RSA 2048 M01,O=Amazon,C=US",
			NotBefore: t0.AddDate(0, -1, 0), NotAfter: t0.AddDate(0, 5, 0), Names: []string{name}, ChainLength: 3},
		Visibility: session.VisibilityVisible, Trust: session.TrustAmazon,
		Chain: &session.Chain{LeadsToAllowed: true, LeadsToAmazon: true, AllowedBy: "amazon-root", Root: "CN=Amazon Root CA 1,O=Amazon,C=US",
			NameChecked: true, AmazonNamed: true},
		Ended: session.Ended{By: session.Client, FIN: true},
	}
}

// good13 is an ordinary TLS 1.3 session: the certificate is hidden.
func good13() *session.Session {
	s := good12()
	s.TLS.Version, s.TLS.OfferedMax, s.TLS.OfferedVersions = session.TLS13, session.TLS13, []session.Version{session.TLS13, session.TLS12}
	s.TLS.Cipher, s.TLS.CipherID, s.TLS.KeyProof = "TLS_AES_128_GCM_SHA256", 0x1301, session.KeyProofNone
	s.TLS.OfferedCiphers = []uint16{0x1301, 0x1302, 0xc02f, 0xc030, 0xc013, 0x2f}
	s.TLS.JA4 = "t13d"
	hide(s, session.VisibilityEncrypted)
	return s
}

// hide takes the certificate out of sight.
func hide(s *session.Session, v session.Visibility) {
	s.Certificate, s.Chain, s.Visibility, s.Trust = nil, nil, v, session.TrustUnseen
}

// intercepted is good12 with a private CA's chain.
func intercepted() *session.Session {
	s := good12()
	s.Certificate.Issuer = "CN=Example Inspection CA"
	s.Chain = &session.Chain{NameChecked: true, Root: "CN=Example Inspection CA"}
	s.Trust = session.TrustPrivate
	return s
}

// left13 is a TLS 1.3 handshake that the client left after the server's flight without a word.
func left13() *session.Session {
	s := good13()
	t := s.TLS
	t.ClientAppData, t.ServerAppData, t.ClientFinished, t.ClientCloseNotify = false, false, false, false
	t.Established, t.HandshakeDone = session.No, time.Time{}
	s.End = s.Start.Add(200 * time.Millisecond)
	return s
}

// left12 is an intercepted TLS 1.2 handshake that the client finished and left without a word.
func left12() *session.Session {
	s := intercepted()
	t := s.TLS
	t.ClientAppData, t.ServerAppData, t.ClientCloseNotify = false, false, false
	s.End = t.HandshakeDone.Add(200 * time.Millisecond)
	return s
}

// plain is HTTP on port 80.
func plain() *session.Session {
	e := publicEndpoint()
	e.MatchedBy = []string{"range", "host", "target"}
	return &session.Session{
		Start: t0, End: t0.Add(time.Second), Source: "file",
		Client: netip.MustParseAddrPort("10.0.0.5:40112"), Server: netip.MustParseAddrPort("52.94.5.7:80"),
		Endpoint: e, Transport: session.TransportHTTP,
		HTTP: &session.HTTP{Method: "POST", Host: name, Path: "/", Operation: "GetItem", Operations: []string{"GetItem"}, Requests: 1, Total: 1,
			AccessKeyID: "AKIA…MPLE", SignatureExposed: true, SessionTokenExposed: true, Status: 200},
		Ended: session.Ended{By: session.Client, FIN: true},
	}
}

// tunnel is good13 through a CONNECT proxy.
func tunnel() *session.Session {
	s := good13()
	s.Transport = session.TransportConnectTLS
	s.Server = netip.MustParseAddrPort("10.0.8.9:3128")
	s.Endpoint.MatchedBy = []string{"sni", "connect"}
	s.Endpoint.AddrAWS, s.Endpoint.AddrDynamoDB = session.No, session.No
	s.Proxy = &session.Proxy{Target: name + ":443", Connect: true, Established: true, Status: 200}
	return s
}

// fromProcess gives a session a process.
func fromProcess(s *session.Session, pid int, exe string) *session.Session {
	s.Process = &flow.Process{PID: pid, Exe: exe}
	return s
}

func change(s *session.Session, changes ...func(*session.Session)) *session.Session {
	for _, f := range changes {
		f(s)
	}
	return s
}

// sample is one session and what a rule should say of it; want none means no finding.
type sample struct {
	name string
	s    *session.Session
	p    *Policy
	h    History
	want session.Severity
	// says are words that the message must contain.
	says []string
}

// none is no finding.
const none = session.SeverityNone

func run(t *testing.T, id string, samples []sample) {
	t.Helper()
	r, ok := ByID(id)
	if !ok {
		t.Fatalf("no rule %s", id)
	}
	for _, c := range samples {
		t.Run(c.name, func(t *testing.T) {
			in := &Input{Session: c.s, Policy: c.p, History: c.h}
			var f *session.Finding
			if in.Session.Endpoint.Known() && r.Applies(in) {
				f = r.Check(in)
			}
			if f == nil {
				if c.want != none {
					t.Fatalf("no finding, want %s", c.want)
				}
				return
			}
			checkShape(t, r, f)
			if f.Severity != c.want {
				t.Fatalf("severity %s, want %s: %s %v", f.Severity, c.want, f.Message, f.Evidence)
			}
			for _, w := range c.says {
				if !contains(f.Message, w) {
					t.Errorf("message %q does not say %q", f.Message, w)
				}
			}
		})
	}
}

func contains(s, sub string) bool {
	for i := 0; i+len(sub) <= len(s); i++ {
		if s[i:i+len(sub)] == sub {
			return true
		}
	}
	return false
}

// checkShape holds a finding to what outputs rely on.
func checkShape(t *testing.T, r *Rule, f *session.Finding) {
	t.Helper()
	if f.Rule != r.ID {
		t.Errorf("finding of rule %q from rule %q", f.Rule, r.ID)
	}
	if f.Severity == none || f.Severity != r.Severity && !slices.Contains(r.Milder, f.Severity) {
		t.Errorf("severity %s, the rule states %s and %s", f.Severity, r.Severity, r.Milder)
	}
	if f.Message == "" || f.Message[len(f.Message)-1] == '.' || !utf8.ValidString(f.Message) {
		t.Errorf("message %q", f.Message)
	}
	if len(f.Evidence) == 0 {
		t.Error("no evidence")
	}
	for k, v := range f.Evidence {
		switch v := v.(type) {
		case string:
			if v == "" {
				t.Errorf("evidence %s is empty", k)
			}
		case []string:
			if len(v) == 0 || slices.Contains(v, "") {
				t.Errorf("evidence %s is %q", k, v)
			}
		case bool, int, int64:
		default:
			t.Errorf("evidence %s is a %T", k, v)
		}
		for _, c := range k {
			if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
				t.Errorf("evidence key %q is not snake_case", k)
			}
		}
	}
}
