package output

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// fullProbe is a probe with every field set.
func fullProbe() *session.Probe {
	s := full()
	s.Certificate.SeenBy, s.Source, s.Transport = "probe", "probe", session.TransportTLS
	at := s.Start
	finding := session.Finding{Rule: "unexpected-destination", Severity: session.High, Message: "DNS gives 192.0.2.7", Evidence: map[string]any{"signal": "dns"}}
	return &session.Probe{
		Start: at, End: at.Add(1500 * time.Millisecond), Host: "dynamodb.us-east-1.amazonaws.com", Port: 443, Server: netip.MustParseAddrPort("52.94.5.7:443"),
		Proxy: "192.0.2.80:3128", From: "pid 811",
		Resolution: &session.Resolution{
			By: "dns", Resolver: netip.MustParseAddrPort("192.0.2.53:53"), Name: "dynamodb.us-east-1.amazonaws.com.local", Names: []string{"a.example", "b.example"},
			Addrs: []netip.Addr{netip.MustParseAddr("52.94.5.7"), netip.MustParseAddr("2001:db8::1")}, Findings: []session.Finding{finding},
		},
		Prefix: "52.94.4.0/22", Region: "us-east-1", Services: []string{"AMAZON", "DYNAMODB"},
		Session: s,
		Chain: []session.Certificate{
			{SeenBy: "probe", Subject: "CN=dynamodb.us-east-1.amazonaws.com", Issuer: "CN=Corp", Serial: "01", Key: "RSA 2048", Signature: "SHA256-RSA",
				NotBefore: at.AddDate(0, -3, 0), NotAfter: at.AddDate(0, 0, 20), SeenAt: at,
				Names: []string{"dynamodb.us-east-1.amazonaws.com", "b", "c", "d", "e", "f", "g", "h"}},
			{SeenBy: "probe", Subject: "CN=Corp", Key: "ECDSA P-256", Signature: "ECDSA-SHA256", NotBefore: at.AddDate(-3, 0, 0), NotAfter: at.AddDate(0, 0, -2)},
			{SeenBy: "probe", Partial: true},
		},
		OCSP: &session.OCSP{Status: "good", Verified: true, ThisUpdate: at, NextUpdate: at.AddDate(0, 0, 7)},
		Versions: []session.ProbedVersion{
			{Version: session.TLS13, Taken: session.Yes, Cipher: "TLS_AES_128_GCM_SHA256", Group: "x25519", Ciphers: []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"}},
			{Version: session.TLS12, Taken: session.Yes, Cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
			{Version: session.TLS11, Taken: session.No, Answer: "alert protocol_version"}, {Version: session.TLS10, Answer: "no answer"},
		},
		WeakTried: true, WeakSuite: "TLS_RSA_WITH_3DES_EDE_CBC_SHA", Fallback: "accepted", Sentinel: session.No,
		Plaintext: &session.PlaintextAnswer{Port: 80, Answer: "http", Status: 301, Location: "https://dynamodb.us-east-1.amazonaws.com/"},
		Warnings:  []string{"the certificate ends in 20 days, on 2026-12-11"},
		Err:       "an error",
	}
}

func showProbe(t *testing.T, p *session.Probe, width int) string {
	t.Helper()
	var b strings.Builder
	if err := NewText(&b, false).Wrap(width).Probe(p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestProbeLooksAsItDid(t *testing.T) {
	usual := fullProbe()
	usual.Err, usual.From, usual.Proxy, usual.Resolution.Findings, usual.Resolution.Names, usual.WeakSuite, usual.Plaintext = "", "", "", nil, nil, "", nil
	usual.Fallback, usual.Sentinel, usual.OCSP, usual.Warnings, usual.Session.Verdict, usual.Session.Findings = "refused", session.Yes, nil, nil, session.VerdictOK, nil
	nothing := &session.Probe{Start: usual.Start, End: usual.Start, Host: "nothing.example", Port: 443, Err: "resolve nothing.example: no such name"}
	got := showProbe(t, usual, 0) + showProbe(t, fullProbe(), 0) + showProbe(t, nothing, 0) + "--- 80 columns\n" + showProbe(t, fullProbe(), 80)
	const golden = "testdata/probe.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for line := range strings.Lines(showProbe(t, fullProbe(), 80)) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// TestHostileServersReachNoTerminal: what a server, a resolver or a proxy says is escaped.
func TestHostileServersReachNoTerminal(t *testing.T) {
	const evil = "x\x1b[31m\u202e\u009b\nOK "
	p := fullProbe()
	p.Host, p.Proxy, p.From, p.Err, p.Warnings, p.Region, p.Services = evil, evil, evil, evil, []string{evil}, evil, []string{evil}
	p.Resolution.Names, p.Plaintext.Location, p.WeakSuite = []string{evil}, evil, evil
	p.Chain[0].Subject, p.Chain[0].Names = evil, []string{evil}
	p.Session.Certificate.Issuer, p.Session.TLS.ALPN, p.Session.Findings[0].Message = evil, evil, evil
	p.Versions[0].Cipher, p.Versions[0].Ciphers, p.Versions[2].Answer = evil, []string{evil}, evil
	text := showProbe(t, p, 0)
	var b strings.Builder
	if err := NewJSON(&b).Probe(p); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\x1b", "\u202e", "\u009b", "\nOK"} {
		if strings.Contains(text, bad) {
			t.Errorf("the text holds %q:\n%s", bad, text)
		}
		if strings.Contains(b.String(), bad) {
			t.Errorf("the JSON holds %q", bad)
		}
	}
}

func TestASessionThatAProbeToldAbout(t *testing.T) {
	s := full()
	s.Visibility, s.Trust, s.Verdict, s.Findings = session.VisibilityEncrypted, session.TrustUnseen, session.VerdictUnverified, nil
	s.Certificate.SeenBy = "probe"
	s.Certificate.SeenAt = s.Start.Add(-90 * time.Second)
	if got, want := certificate(s), "certificate encrypted; a probe 1m30s before saw public issuer=CN=b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Certificate.SeenAt = s.Start.Add(5 * time.Second)
	if got, want := certificate(s), "certificate encrypted; a probe 5s later saw public issuer=CN=b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if age := *sessionObject(s).Certificate.AgeSeconds; age != -5 {
		t.Errorf("age %d", age)
	}
}
