package output

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

var update = flag.Bool("update", false, "rewrite golden files from the present output")

// hostile is what a server or client may write into any string: line ends, ANSI, C1 controls, direction marks, zero-width and blank letters, and
// bytes that are no UTF-8.
const hostile = "a\r\nFINDING\x1b[2J\x1b]0;owned\x07\u009b31m\u202egnp.exe\u2066\u200b\u00ad\u2028\x7f\xff\xfe\U000e0041b"

// scenes are the sessions of the golden files.
func scenes() []*session.Session {
	at := time.Date(2026, 11, 21, 23, 59, 59, 123456789, time.UTC)
	ep := func(name string) session.Endpoint {
		return session.Endpoint{Service: "dynamodb", Region: "us-east-1", Name: name, MatchedBy: []string{"sni"}}
	}
	tls := func(v session.Version, sni string) *session.TLS {
		return &session.TLS{Version: v, OfferedMax: session.TLS13, SNI: sni}
	}
	addr := netip.MustParseAddrPort
	const name = "dynamodb.us-east-1.amazonaws.com"
	amazon := &session.Certificate{SeenBy: "wire", Issuer: "CN=Amazon RSA 2048 M01,O=Amazon,C=US"}
	return []*session.Session{
		{Start: at, Client: addr("10.0.0.5:40112"), Server: addr("52.94.5.7:443"), Endpoint: ep(name), Transport: session.TransportTLS, TLS: tls(session.TLS12, name),
			Certificate: amazon, Visibility: session.VisibilityVisible, Trust: session.TrustAmazon, Verdict: session.VerdictOK},
		{Start: at.Add(time.Second), Client: addr("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535"), Server: addr("[2600:1f18:ffff:ffff:ffff:ffff:ffff:ffff]:443"),
			Endpoint: ep("123456789012.ddb.ap-northeast-1.amazonaws.com"), Transport: session.TransportTLS, TLS: tls(session.TLS13, ""),
			Visibility: session.VisibilityEncrypted, Trust: session.TrustUnseen, Verdict: session.VerdictUnverified},
		{Client: addr("10.0.0.5:40113"), Server: addr("52.94.5.7:443"), Endpoint: session.Endpoint{Service: "dynamodb", Region: "eu-west-1"},
			Transport: session.TransportUnknown, Verdict: session.VerdictIncomplete, Loss: session.Loss{GapBytes: [2]int64{0, 1448}, Midstream: true, TruncatedPackets: 2}},
		{Start: at.Add(2 * time.Second), Client: addr("10.0.0.5:40114"), Server: addr("10.0.0.80:3128"), Endpoint: ep(name), Transport: session.TransportConnectTLS,
			TLS: tls(0x7f1c, name), Visibility: session.VisibilityEncrypted, Proxy: &session.Proxy{Connect: true, Established: true}, Verdict: session.VerdictFinding,
			Process:  &flow.Process{PID: 811, Comm: "gunicorn"},
			Findings: []session.Finding{{Rule: "cleartext-proxy", Severity: session.Medium, Message: name + " was reached through the proxy 10.0.0.80:3128, which is not listed"}}},
		{Start: at.Add(3 * time.Second), Client: addr("10.0.0.5:40115"), Server: addr("10.0.0.80:3128"), Endpoint: ep(name), Transport: session.TransportHTTP,
			HTTP: &session.HTTP{Host: name, Operations: []string{"GetItem", "BatchWriteItem"}, Tables: []string{"Orders"}}, Proxy: &session.Proxy{}, Verdict: session.VerdictFinding,
			Findings: []session.Finding{{Rule: "plaintext", Severity: session.Critical, Message: "DynamoDB requests go to " + name + " over plain HTTP; exposed: access key id AKIA…MPLE, signature"}}},
		{Start: at.Add(4 * time.Second), Client: addr("10.0.0.5:40116"), Server: addr("10.0.0.90:8111"), Endpoint: session.Endpoint{Service: "dax"}, Transport: session.TransportDAX,
			DAX: &session.DAX{}, Verdict: session.VerdictFinding, Findings: []session.Finding{{Rule: "plaintext", Severity: session.Critical, Message: "the DAX protocol goes to 10.0.0.90:8111 in clear text"}}},
		{Start: at.Add(5 * time.Second), Client: addr("10.0.0.5:40117"), Server: addr("192.0.2.1:443"), Endpoint: ep(hostile), Transport: session.TransportTLS,
			TLS: tls(session.TLS12, hostile), Certificate: &session.Certificate{SeenBy: "keylog", Issuer: "CN=" + hostile + ",O=Česká pošta"}, Trust: session.TrustForged,
			Verdict: session.VerdictFinding, Findings: []session.Finding{{Rule: "unexpected-issuer", Severity: session.Critical, Message: "issued by " + hostile + "\nOK"}}},
		{Start: at.Add(6 * time.Second), Client: addr("10.0.0.5:40118"), Server: addr("192.0.2.1:443"), Transport: session.TransportTLS,
			TLS: tls(session.TLS12, "a b  OK         10.0.0.5:1 > 52.94.5.7:443 "+strings.Repeat("x", 300)), Visibility: session.VisibilityResumed, Verdict: session.VerdictNotApplicable},
		{Start: at.Add(7 * time.Second), Client: addr("10.0.0.5:40119"), Server: addr("52.94.5.7:443"), Endpoint: ep(name), Transport: session.TransportTLS,
			TLS: &session.TLS{OfferedMax: session.TLS12}, Certificate: &session.Certificate{SeenBy: "wire", Partial: true, Issuer: "CN=Amazon RSA 2048 M01,O=Amazon,C=US"},
			Visibility: session.VisibilityIncomplete, Verdict: session.VerdictIncomplete},
	}
}

// show prints the scenes and their summary.
func show(t *testing.T, width int, colour bool) string {
	t.Helper()
	var b bytes.Buffer
	p := NewText(&b, colour).Wrap(width)
	sum := &Summary{Packets: 12345, Bytes: 25_800_000, Filtered: 1, Flows: 20, Loss: map[string]uint64{"analyze.gap_bytes": 1448, "decode.truncated": 2, "file.errors": 0}}
	for _, s := range scenes() {
		sum.Add(s)
		if err := p.Session(s); err != nil {
			t.Fatal(err)
		}
	}
	dns := &session.DNS{Time: scenes()[8].Start, Client: scenes()[0].Client, Server: netip.MustParseAddrPort("10.0.0.2:53"), Question: "dynamodb.us-east-1.amazonaws.com",
		QueryType: "A", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	if err := p.DNS(dns); err != nil {
		t.Fatal(err)
	}
	dns.Findings = []session.Finding{{Rule: "unexpected-destination", Severity: session.High, Message: "DNS gives 192.0.2.1 for dynamodb.us-east-1.amazonaws.com, which is neither AWS's nor allowed"}}
	sum.AddFindings(dns.Findings)
	if err := p.DNS(dns); err != nil {
		t.Fatal(err)
	}
	if err := p.Summary(sum); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTextLooksAsItDid(t *testing.T) {
	for name, got := range map[string]string{
		"text.txt": show(t, 0, false), "text-80.txt": show(t, 80, false), "text-120.txt": show(t, 120, false), "text-200.txt": show(t, 200, false),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs (-update rewrites it):\n%s", name, got)
		}
	}
}

func TestTextIsOneLineASessionAndOneAFinding(t *testing.T) {
	const days, dns, summary = 2, 2, 5
	want := days + dns + summary
	for _, s := range scenes() {
		want += 1 + len(s.Findings)
	}
	lines := strings.Count(show(t, 0, false), "\n")
	if lines != want {
		t.Errorf("%d lines, want %d", lines, want)
	}
}

func TestWrappedTextKeepsWithinTheTerminal(t *testing.T) {
	whole := strings.Join(strings.Fields(show(t, 0, false)), "")
	for width := minWrap; width < 220; width += 7 {
		text := show(t, width, false)
		for line := range strings.Lines(text) {
			if line = strings.TrimRight(line, "\n"); utf8.RuneCountInString(line) > width {
				t.Errorf("width %d: %d columns: %s", width, utf8.RuneCountInString(line), line)
			}
			if strings.TrimRight(line, " ") != line {
				t.Errorf("width %d: spaces at the end of %q", width, line)
			}
		}
		if strings.Join(strings.Fields(text), "") != whole {
			t.Errorf("width %d: wrapping changes more than spaces", width)
		}
	}
}

var ansi = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestColourAddsOnlyColour(t *testing.T) {
	for _, width := range []int{0, 80} {
		plain, coloured := show(t, width, false), show(t, width, true)
		if ansi.ReplaceAllString(coloured, "") != plain {
			t.Errorf("width %d: without its colours the text is another", width)
		}
		if !ansi.MatchString(coloured) || strings.Contains(plain, "\x1b") {
			t.Errorf("width %d: colours where none belong, or none where they do", width)
		}
	}
}

func TestHostileBytesReachNoTerminal(t *testing.T) {
	check := func(where, text string) {
		t.Helper()
		if !utf8.ValidString(text) {
			t.Errorf("%s: not UTF-8", where)
		}
		for _, r := range text {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%s: %U in the output", where, r)
			}
		}
	}
	for _, width := range []int{0, 60, 120} {
		text := show(t, width, false)
		check("text", text)
		if strings.Contains(text, "\nOK") {
			t.Error("a message begins a line of its own")
		}
	}
	var b bytes.Buffer
	j := NewJSON(&b)
	for _, s := range scenes() {
		if err := j.Session(s); err != nil {
			t.Fatal(err)
		}
	}
	check("JSON", b.String())
	var back struct{ TLS struct{ SNI string } }
	line := strings.Split(b.String(), "\n")[6]
	if err := json.Unmarshal([]byte(line), &back); err != nil {
		t.Fatal(err)
	}
	if want := strings.ToValidUTF8(hostile, "\ufffd"); strings.ReplaceAll(back.TLS.SNI, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
		t.Errorf("escaped and read again the name is %q, was %q", back.TLS.SNI, want)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add(hostile)
	f.Add("CN=Česká pošta,O=x")
	f.Add("\xed\xa0\x80\xf4\x90\x80\x80")
	f.Fuzz(func(t *testing.T, s string) {
		for name, got := range map[string]string{"clean": clean(s), "cleanName": cleanName(s)} {
			for _, r := range got {
				if !unicode.IsPrint(r) || name == "cleanName" && (r == ' ' || r > 0x7e && r != '…') {
					t.Fatalf("%s(%q) = %q has %U", name, s, got, r)
				}
			}
			if utf8.RuneCountInString(got) > 10*maxShownText+1 {
				t.Fatalf("%s makes %d characters", name, utf8.RuneCountInString(got))
			}
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&lineWriter{w: &b})
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		var back, direct string
		if err := json.Unmarshal(b.Bytes(), &back); err != nil {
			t.Fatalf("%v: %q", err, b.Bytes())
		}
		plain, _ := json.Marshal(s)
		if err := json.Unmarshal(plain, &direct); err != nil || back != direct {
			t.Fatalf("%q is read as %q, want %q (%v)", s, back, direct, err)
		}
		for _, r := range strings.TrimSuffix(b.String(), "\n") {
			if !unicode.IsPrint(r) {
				t.Fatalf("JSON of %q has %U", s, r)
			}
		}
	})
}
