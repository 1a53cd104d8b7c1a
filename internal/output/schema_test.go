package output

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testschema"
)

// full is a session with every field set, so that a field which output forgets or the schema does not know shows.
func full() *session.Session {
	at := time.Date(2026, 11, 21, 10, 0, 0, 123456000, time.UTC)
	alert := session.Alert{From: session.Client, Fatal: true, Code: 48, Description: "unknown_ca", Decrypted: true}
	return &session.Session{
		Start: at, End: at.Add(12300 * time.Microsecond), Source: "file",
		Client: netip.MustParseAddrPort("192.0.2.1:40112"), Server: netip.MustParseAddrPort("52.94.5.7:443"),
		RedirectedTo: netip.MustParseAddrPort("127.0.0.1:15001"),
		Process: &flow.Process{PID: 811, TID: 812, Comm: "gunicorn", Exe: "/usr/bin/python3.11", Cmdline: "gunicorn app", Parents: []string{"systemd"},
			UID: 1000, UIDKnown: true, User: "www", ContainerID: "c0ffee", ContainerName: "app", Runtime: "containerd", Pod: "p", Namespace: "n",
			Unit: "u.service", CgroupID: 7, NetNS: 3, Exited: true},
		SDK:       session.SDK{Name: "boto3", By: "user-agent"},
		Endpoint:  session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"range", "sni"}},
		Transport: session.TransportConnectTLS,
		Library: &session.Library{Name: "OpenSSL 3.0.19", Path: "/usr/lib/x86_64-linux-gnu/libssl.so.3", TID: 812,
			VerificationBy: "SSL_VERIFY_PEER", ServerName: "dynamodb.us-east-1.amazonaws.com", HostChecked: true, Host: "dynamodb.us-east-1.amazonaws.com"},
		TLS: &session.TLS{Version: session.TLS12, OfferedMax: session.TLS13, OfferedVersions: []session.Version{session.TLS13, session.TLS12},
			Cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherID: 0xc02f, Group: "x25519", SNI: "dynamodb.us-east-1.amazonaws.com", SNIInvalid: true,
			ALPN: "http/1.1", ALPNOffer: []string{"h2", "http/1.1"}, JA3: "e7d705a3286e19ea42f587b344ee6865", JA4: "t13d1516h2_8daaf6152771_b186095e22b6",
			Resumed: session.No, Established: session.Yes, HelloRetryRequest: true, EarlyData: true, ECH: true, Compression: 1, FallbackSCSV: true,
			Sentinel: session.SentinelTLS12, ClientVerifies: session.Yes, ClientCertificateSent: true, KeyProof: session.KeyProofValid, ClientAppData: true, ServerAppData: true,
			Alert: &alert, Alerts: []session.Alert{alert, {From: session.Server, Code: 0, Description: "close_notify"}}},
		Certificate: &session.Certificate{SeenBy: "wire", Subject: "CN=a", Issuer: "CN=b", Serial: "01", SHA256: "aa", SPKISHA256: "bb",
			NotBefore: at, NotAfter: at, Names: []string{"a"}, ChainLength: 3, Key: "RSA 2048", Signature: "SHA256-RSA",
			SeenAt: at.Add(-time.Hour), ProbeTrust: session.TrustPublic},
		Visibility: session.VisibilityVisible, Trust: session.TrustAmazon,
		HTTP: &session.HTTP{Method: "POST", Host: "h", Path: "/", Operation: "GetItem", Operations: []string{"GetItem"}, Requests: 1, UserAgent: "Boto3",
			Tables: []string{"t"}, AccessKeyID: "AKIA…MPLE", SignatureExposed: true, SessionTokenExposed: true, H2C: true, ResponseOnly: true, Status: 200},
		DAX:      &session.DAX{AccessKeyID: "AKIA…MPLE", SignatureExposed: true, SessionTokenExposed: true},
		Proxy:    &session.Proxy{Target: "h:443", Connect: true, Established: true, Status: 200, CredentialsExposed: true},
		Loss:     session.Loss{GapBytes: [2]int64{1, 2}, ConflictBytes: [2]int64{3, 4}, TruncatedPackets: 5, Midstream: true, OneSided: true, Evicted: true},
		Verdict:  session.VerdictFinding,
		Findings: []session.Finding{{Rule: "plaintext", Severity: session.Critical, Message: "m", Evidence: map[string]any{"host": "h", "n": 1, "yes": true, "list": []string{"a"}}}},
	}
}

func TestOutputIsByTheSchema(t *testing.T) {
	schema := testschema.Events(t)
	partial := &session.Session{Source: "file", Client: netip.MustParseAddrPort("[2001:db8::1]:1"), Server: netip.MustParseAddrPort("[2001:db8::2]:443"),
		Transport: session.TransportUnknown, Verdict: session.VerdictIncomplete,
		Certificate: &session.Certificate{SeenBy: "wire", Issuer: "CN=b", Partial: true}}
	dns := &session.DNS{Source: "file", Client: partial.Client, Server: partial.Server, Question: "q", QueryType: "A", RCode: "NOERROR",
		Names: []string{"q"}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	unanswered := &session.Probe{Start: full().Start, End: full().Start, Port: 443, Err: "resolve x: no such name"}
	empty, whole := &Summary{Source: "file"}, &Summary{Source: "file", Loss: map[string]uint64{"a.b": 1}, Warnings: []string{"w"}, RangesDate: "2026-08-22T21:17:05Z"}
	whole.Add(full())
	for name, write := range map[string]func(*JSON) error{
		"a session with every field": func(j *JSON) error { return j.Session(full()) },
		"a session with few fields":  func(j *JSON) error { return j.Session(partial) },
		"a DNS answer":               func(j *JSON) error { return j.DNS(dns) },
		"a finding":                  func(j *JSON) error { return j.Finding(full(), full().Findings[0]) },
		"a probe with every field":   func(j *JSON) error { return j.Probe(fullProbe()) },
		"a probe of nothing":         func(j *JSON) error { return j.Probe(unanswered) },
		"an empty summary":           func(j *JSON) error { return j.Summary(empty) },
		"a summary with every field": func(j *JSON) error { return j.Summary(whole) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(NewJSON(&b)); err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(b.Bytes(), []byte("\n")); n != 1 || b.Bytes()[b.Len()-1] != '\n' {
				t.Errorf("%d line ends, want one at the end", n)
			}
			if _, err := schema.Check(b.Bytes()); err != nil {
				t.Errorf("%v\n%s", err, b.Bytes())
			}
		})
	}
}

func TestFindingEventsAreByTheSchema(t *testing.T) {
	schema, s := testschema.Events(t), full()
	event, err := FindingEvent(s, s.Findings[0])
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := NewJSON(&b).Finding(s, s.Findings[0]); err != nil || b.String() != string(event)+"\n" {
		t.Errorf("%v: the line is\n%sthe event\n%s", err, b.Bytes(), event)
	}
	answer, err := DNSFindingEvent(&session.DNS{Source: "ebpf", Client: s.Client, Server: s.Server, Question: "q", QueryType: "A"}, s.Findings[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range [][]byte{event, answer} {
		if _, err := schema.Check(e); err != nil {
			t.Errorf("%v\n%s", err, e)
		}
	}
	if bytes.Contains(answer, []byte(`"flow"`)) || !bytes.Contains(answer, []byte(`"question":"q"`)) {
		t.Errorf("%s", answer)
	}
}

// TestEveryFieldOfTheSchemaIsWritten looks for keys that the schema promises for sessions and a full session does not have: a forgotten
// assignment would show nowhere else.
func TestEveryFieldOfTheSchemaIsWritten(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "events.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs map[string]struct{ Properties map[string]json.RawMessage } `json:"$defs"`
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := NewJSON(&b).Session(full()); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	objects := map[string]any{"session": got}
	for _, name := range []string{"flow", "process", "endpoint", "tls", "certificate", "http", "dax", "proxy", "loss"} {
		objects[name] = got[name]
	}
	b.Reset()
	if err := NewJSON(&b).Probe(fullProbe()); err != nil {
		t.Fatal(err)
	}
	var probed map[string]any
	if err := json.Unmarshal(b.Bytes(), &probed); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{"probe": "", "resolution": "resolution", "prefix": "aws", "ocsp": "ocsp", "plaintext": "plaintext"} {
		if objects[name] = probed[key]; key == "" {
			objects[name] = probed
		}
	}
	versions := make(map[string]any)
	for _, v := range probed["versions"].([]any) {
		maps.Copy(versions, v.(map[string]any))
	}
	objects["version"] = versions
	// The two fields stand for a certificate that was captured in part, instead of the others.
	partial := map[string]bool{"partial": true, "partial_issuer": true}
	for name, object := range objects {
		m, ok := object.(map[string]any)
		if !ok {
			t.Errorf("no %s object", name)
			continue
		}
		for key := range schema.Defs[name].Properties {
			if _, ok := m[key]; !ok && !(name == "certificate" && partial[key]) {
				t.Errorf("%s.%s is in the schema, but a full event has none", name, key)
			}
		}
	}
}
