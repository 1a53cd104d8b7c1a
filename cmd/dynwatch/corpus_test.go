package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// record is the part of a JSON line that these tests compare.
type record struct {
	Flow struct {
		ClientIP   string `json:"client_ip"`
		ClientPort int    `json:"client_port"`
		ServerIP   string `json:"server_ip"`
		ServerPort int    `json:"server_port"`
	}
	TLS *struct {
		Version     string
		OfferedMax  string `json:"offered_max"`
		Cipher      string
		SNI         string
		Resumed     *bool
		Established *bool
	}
	Certificate *struct {
		Issuer, Subject string
		SeenBy          string `json:"seen_by"`
	}
	Endpoint *struct{ Service string }
	HTTP     *struct {
		Host       string
		Operations []string
	}
	Transport  string
	Visibility string `json:"certificate_visibility"`
	Trust      string
	Verdict    string
	Findings   []struct{ Rule, Severity, Message string }
}

// judge runs dynwatch capture on a file and returns its sessions.
func judge(t *testing.T, wantStatus []int, args ...string) []record {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := run(context.Background(), append([]string{"capture", "-o", "json"}, args...), strings.NewReader(""), &stdout, &stderr)
	ok := false
	for _, w := range wantStatus {
		ok = ok || status == w
	}
	if !ok {
		t.Fatalf("exit status %d, want %v; stderr:\n%s", status, wantStatus, stderr.String())
	}
	var out []record
	for line := range bytes.Lines(stdout.Bytes()) {
		var kind struct{ Type string }
		if err := json.Unmarshal(line, &kind); err != nil {
			t.Fatalf("not JSON: %v: %s", err, line)
		}
		if kind.Type != "session" {
			continue
		}
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("not a session: %v: %s", err, line)
		}
		out = append(out, r)
	}
	return out
}

// readIndex reads a tab-separated table with a header line: the files that it is about, in order, and the rows of each.
func readIndex(t *testing.T, path string) (files []string, byFile map[string][]map[string]string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var header []string
	byFile = make(map[string][]map[string]string)
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		cells := strings.Split(sc.Text(), "\t")
		if header == nil {
			header = cells
			continue
		}
		row := make(map[string]string, len(header))
		for i, name := range header {
			row[name] = cells[i]
		}
		if byFile[row["file"]] == nil {
			files = append(files, row["file"])
		}
		byFile[row["file"]] = append(byFile[row["file"]], row)
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return files, byFile
}

// verdictWord is the one word that the index of recorded DynamoDB traffic uses for a session, by the rules' precedence.
func verdictWord(r record) string {
	has := func(rules ...string) bool {
		for _, f := range r.Findings {
			for _, want := range rules {
				if f.Rule == want {
					return true
				}
			}
		}
		return false
	}
	switch {
	case has("plaintext"):
		return "plaintext"
	case has("unexpected-issuer"):
		return "unexpected-issuer"
	case has("certificate-invalid", "interception-refused"):
		return "validation-failed"
	case has("tls-version", "tls-downgrade", "client-obsolete"):
		return "downgraded"
	}
	return "ok"
}

func TestEveryRecordedDynamoDBSessionIsJudgedRight(t *testing.T) {
	dir := testenv.Shared(t, "corpus", "dynamodb")
	files, byFile := readIndex(t, filepath.Join(dir, "INDEX.tsv"))
	for _, withKeys := range []bool{false, true} {
		for _, file := range files {
			name := file
			args := []string{"-r", filepath.Join(dir, file), "--allow-ca", filepath.Join(dir, "certs/test-roots.pem"), "--endpoint", "127.0.0.0/8"}
			keys := filepath.Join(dir, "keys", strings.TrimSuffix(strings.TrimSuffix(file, "ng"), ".pcap")+".keylog")
			if withKeys {
				if _, err := os.Stat(keys); err != nil {
					continue
				}
				name += " with keys"
				args = append(args, "--keylog", keys)
			}
			t.Run(name, func(t *testing.T) {
				checkDynamoDBFile(t, judge(t, []int{0}, args...), byFile[file], withKeys)
			})
		}
	}
}

func checkDynamoDBFile(t *testing.T, sessions []record, rows []map[string]string, withKeys bool) {
	byServer := make(map[string][]record)
	for _, s := range sessions {
		key := fmt.Sprintf("%s:%d", s.Flow.ServerIP, s.Flow.ServerPort)
		if strings.Contains(s.Flow.ServerIP, ":") {
			key = fmt.Sprintf("[%s]:%d", s.Flow.ServerIP, s.Flow.ServerPort)
		}
		byServer[key] = append(byServer[key], s)
	}
	used := make(map[string]int)
	for _, row := range rows {
		all := byServer[row["server"]]
		from := used[row["server"]]
		var mine []record
		want := row["verdict"]
		if withKeys {
			want = row["truth_verdict"]
		}
		switch flow := row["flow"]; {
		case want == "not-dynamodb":
			if len(all) != 0 {
				t.Errorf("flow %s (%s): reported as DynamoDB's: %+v", flow, row["shows"], all[0])
			}
			continue
		case strings.HasPrefix(flow, "each of "):
			n, _ := strconv.Atoi(strings.TrimPrefix(flow, "each of "))
			if len(all) != n {
				t.Errorf("flow %s: %d sessions", flow, len(all))
			}
			mine = all
		case strings.HasSuffix(flow, "+"):
			mine = all[min(from, len(all)):]
		default:
			mine = all[min(from, len(all)):min(from+1, len(all))]
		}
		used[row["server"]] += len(mine)
		if len(mine) == 0 {
			t.Errorf("flow %s (%s): no session", row["flow"], row["shows"])
		}
		for _, s := range mine {
			checkDynamoDBSession(t, s, row, want, withKeys)
		}
	}
}

// endsAlone are rows that rest on how the connection ended, with no alert in clear; the corpus's README accepts unverified for them.
var endsAlone = map[string]bool{"tls13-wrongname-verify.pcap": true, "tls13-forged-js-refused.pcap": true}

func checkDynamoDBSession(t *testing.T, s record, row map[string]string, want string, withKeys bool) {
	t.Helper()
	got := verdictWord(s)
	if row["file"] == "midstream-tls13.pcap" && withKeys {
		return // its key log cannot show a handshake that was not captured
	}
	if got != want && !(endsAlone[row["file"]] && !withKeys && got == "ok" && s.Verdict == "unverified") {
		t.Errorf("flow %s (%s): %s (verdict %s, findings %+v, trust %s, visibility %s), want %s", row["flow"], row["shows"], got, s.Verdict, s.Findings, s.Trust, s.Visibility, want)
	}
	var version, sni, issuer string
	if s.TLS != nil {
		version, sni = s.TLS.Version, s.TLS.SNI
	}
	if s.Certificate != nil {
		issuer = s.Certificate.Issuer
	}
	wantVersion := strings.Replace(row["negotiated"], "TLS1", "TLS 1", 1)
	if wantVersion == "none" || wantVersion == "-" {
		wantVersion = ""
	}
	if version != wantVersion {
		t.Errorf("flow %s: version %q, want %q", row["flow"], version, wantVersion)
	}
	if wantSNI := dash(row["sni"]); sni != wantSNI {
		t.Errorf("flow %s: SNI %q, want %q", row["flow"], sni, wantSNI)
	}
	if row["cert_visible"] == "yes" && issuer != dash(row["issuer_dn"]) {
		t.Errorf("flow %s: issuer %q, want %q", row["flow"], issuer, row["issuer_dn"])
	}
	if got == "ok" && s.Verdict == "ok" && row["cert_visible"] != "yes" && !withKeys && !strings.Contains(row["findings"], "resumed") {
		t.Errorf("flow %s: verdict ok though nobody saw the certificate", row["flow"])
	}
}

func dash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// versionName turns the public index's word into ours.
func versionName(s string) string {
	switch s {
	case "-":
		return ""
	case "SSLv2":
		return "SSL 2.0"
	case "SSLv3":
		return "SSL 3.0"
	}
	return strings.Replace(s, "TLSv", "TLS ", 1)
}

func TestEveryPublicTLSSessionIsReadRight(t *testing.T) {
	dir := testenv.Shared(t, "corpus", "tls")
	files, byFile := readIndex(t, filepath.Join(dir, "INDEX.tsv"))
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			sessions := judge(t, []int{0, 1}, "-r", filepath.Join(dir, file), "--all")
			seen := make(map[string][]record)
			for _, s := range sessions {
				key := fmt.Sprintf("%s %d %s %d", s.Flow.ClientIP, s.Flow.ClientPort, s.Flow.ServerIP, s.Flow.ServerPort)
				seen[key] = append(seen[key], s)
			}
			used := make(map[string]int)
			for _, row := range byFile[file] {
				if row["kind"] != "tls" || notTLSOverTCP[row["file"]+" "+row["n"]] {
					continue
				}
				key := fmt.Sprintf("%s %s %s %s", row["client"], row["cport"], row["server"], row["sport"])
				n := used[key]
				used[key]++
				if n >= len(seen[key]) {
					t.Errorf("row %s %s: no session (have %d of it)", row["n"], key, len(seen[key]))
					continue
				}
				checkPublicSession(t, seen[key][n], row, key)
			}
		})
	}
}

// facts is what a row of the public index says of one session.
type facts struct{ Version, Cipher, SNI, Resumed, Established, Issuer string }

// otherThanTheIndex holds the rows, by file and number, where we read more than the tools that made the index; docs/corpus.md shows for
// each, with tshark, that what we say stands in the capture.
var otherThanTheIndex = map[string]facts{
	"sv-tls13-draft14-tls13_draft14.pcap 1": {"TLS 1.3", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "tls13.crypto.mozilla.org", "F", "T", ""},
	"ndpi-tls_missing_ch_frag.pcap 1":       {"TLS 1.3", "TLS_AES_256_GCM_SHA384", "r1---sn-5f5nxgvh5o-hjul.googlevideo.com", "F", "", ""},
	"ndpi-4in6tunnel.pcap 1":                {"TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "www.bing.com", "F", "F", ""},
	"ndpi-heuristic_tcp_ack_payload.pcap 1": {"TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "firefox.settings.services.mozilla.com", "F", "T", "CN=R3,O=Let's Encrypt,C=US"},
	"ndpi-heuristic_tcp_ack_payload.pcap 2": {"TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "moevideo.biz", "F", "T", "CN=AlphaSSL CA - SHA256 - G4,O=GlobalSign nv-sa,C=BE"},
	"ndpi-heuristic_tcp_ack_payload.pcap 3": {"TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "portal.mail.ru", "F", "T", "CN=GlobalSign RSA OV SSL CA 2018,O=GlobalSign nv-sa,C=BE"},
}

// notTLSOverTCP holds the rows whose TLS records do not stand in the TCP stream as they are: each message is wrapped by another protocol,
// which dynwatch does not unwrap (docs/corpus.md).
var notTLSOverTCP = map[string]bool{
	"zeek-globus-url-copy.pcap 2":      true, // GSI: records in base64 inside FTP's ADAT lines
	"mercury-openvpn_tcp_multi.pcap 1": true, // OpenVPN's own packets, with acknowledgements of their own
	"mercury-openvpn_tcp_multi.pcap 2": true,
}

func checkPublicSession(t *testing.T, s record, row map[string]string, key string) {
	t.Helper()
	var got facts
	if s.TLS != nil {
		got.Version, got.Cipher, got.SNI = s.TLS.Version, s.TLS.Cipher, s.TLS.SNI
		got.Resumed, got.Established = boolWord(s.TLS.Resumed), boolWord(s.TLS.Established)
	}
	if s.Certificate != nil && s.Certificate.SeenBy == "wire" { // the index knows nothing of earlier sessions
		got.Issuer = s.Certificate.Issuer
	}
	want := facts{versionName(row["version"]), dash(row["cipher"]), dash(row["sni"]), dash(row["resumed"]), dash(row["established"]), dash(row["issuer"])}
	// The index writes F also where nobody could know; absent is our word for that.
	if want.Resumed == "F" && got.Resumed == "" {
		got.Resumed = "F"
	}
	if want.Established == "F" && got.Established == "" {
		got.Established = "F"
	}
	if want.Established == "" {
		got.Established = ""
	}
	if want.Resumed == "" {
		got.Resumed = ""
	}
	if e, ok := otherThanTheIndex[row["file"]+" "+row["n"]]; ok {
		if got == want {
			t.Errorf("row %s: as the index has it; the exception is no more needed", row["n"])
		}
		want = facts(e)
	}
	if got != want {
		t.Errorf("row %s %s:\n got %+v\nwant %+v (%s)", row["n"], key, got, want, row["shows"])
	}
}

func boolWord(b *bool) string {
	switch {
	case b == nil:
		return ""
	case *b:
		return "T"
	}
	return "F"
}
