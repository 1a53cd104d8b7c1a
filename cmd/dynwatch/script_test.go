package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/history"
	"github.com/dynwatch/dynwatch/internal/synth"
)

var update = flag.Bool("update", false, "rewrite golden files from the present output")

// TestScripts runs the transcripts of testdata/script: what a user types behind "$ ", and below it what comes out. A step is
//
//	$ capture -r sample.pcap -o yaml < input | grep WORD | tail N
//	1> a line of standard output
//	2> a line of standard error
//	? 2
//
// with the exit status last, left out if it is 0. Redirection, grep (of a fixed word), head and tail are the test's own. The commands run
// in this process, in a folder that workDir fills. Rewrite what is expected with -update, and look at the difference.
func TestScripts(t *testing.T) {
	t.Setenv("AWS_REGION", "") // probe would connect to it
	scripts, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		path, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(workDir(t))
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("the transcript differs (-update rewrites it):\n%s", firstDifference(got, string(want)))
			}
		})
	}
}

// play runs the steps of a transcript and returns it with what they gave.
func play(t *testing.T, script string) string {
	var out strings.Builder
	for line := range strings.Lines(script) {
		switch command, isCommand := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "$ "); {
		case isCommand:
			out.WriteString(line)
			step(t, &out, command)
		case strings.HasPrefix(line, "1>"), strings.HasPrefix(line, "2>"), strings.HasPrefix(line, "? "):
		default: // comments and empty lines
			out.WriteString(line)
		}
	}
	return out.String()
}

func step(t *testing.T, out *strings.Builder, command string) {
	stages := splitWords(t, command)
	args := stages[0]
	if args[0] == "capture" && len(args) == 1 {
		t.Fatal("capture alone would watch this host")
	}
	stdin := io.Reader(strings.NewReader(""))
	if n := len(args); n > 2 && args[n-2] == "<" {
		data, err := os.ReadFile(args[n-1])
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		args, stdin = args[:n-2], bytes.NewReader(data)
	}
	var stdout, stderr bytes.Buffer
	// Were a mistake of ours a correct call one day, it might watch this host for ever.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	status := run(ctx, args, stdin, &stdout, &stderr)
	if ctx.Err() != nil {
		t.Fatalf("%s: does not end", command)
	}
	lines := strings.SplitAfter(stdout.String(), "\n")
	lines = lines[:len(lines)-1]
	for _, s := range stages[1:] {
		lines = pick(t, lines, s)
	}
	for _, l := range lines {
		out.WriteString("1> " + l)
	}
	for l := range strings.Lines(stderr.String()) {
		out.WriteString("2> " + l)
	}
	if status != 0 {
		fmt.Fprintf(out, "? %d\n", status)
	}
}

// pick is what a stage of a pipe does.
func pick(t *testing.T, lines, stage []string) []string {
	n, _ := strconv.Atoi(stage[1])
	switch stage[0] {
	case "head":
		return lines[:min(n, len(lines))]
	case "tail":
		return lines[max(len(lines)-n, 0):]
	case "grep":
		var kept []string
		for _, l := range lines {
			if strings.Contains(l, stage[1]) {
				kept = append(kept, l)
			}
		}
		return kept
	}
	t.Fatalf("unknown stage %q", stage)
	return nil
}

// splitWords splits a command into the stages of its pipe, and these into words, which single quotes hold together.
func splitWords(t *testing.T, command string) [][]string {
	stages := [][]string{nil}
	var word strings.Builder
	quoted, inWord := false, false
	for _, r := range command + " " {
		last := &stages[len(stages)-1]
		switch {
		case r == '\'':
			quoted, inWord = !quoted, true
		case quoted || r != ' ' && r != '|':
			word.WriteRune(r)
			inWord = true
		default:
			if inWord {
				*last = append(*last, word.String())
			}
			word.Reset()
			inWord = false
			if r == '|' {
				stages = append(stages, nil)
			}
		}
	}
	if quoted {
		t.Fatalf("unbalanced quote: %s", command)
	}
	return stages
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < len(g) && i < len(w) && g[i] == w[i] {
		i++
	}
	end := func(lines []string) string {
		shown := slices.Clone(lines[max(i-3, 0):min(i+5, len(lines))])
		for n, l := range shown {
			if len(l) > 400 { // JSON: show where it differs
				at := 0
				for i < len(g) && i < len(w) && at < min(len(g[i]), len(w[i])) && g[i][at] == w[i][at] {
					at++
				}
				shown[n] = "…" + l[max(min(at, len(l))-100, 0):min(at+200, len(l))] + "…"
			}
		}
		return strings.Join(shown, "\n")
	}
	return fmt.Sprintf("line %d\n--- got\n%s\n--- want\n%s", i+1, end(g), end(w))
}

// workDir makes a folder with the files that scripts name.
func workDir(t *testing.T) string {
	t.Helper()
	sample := readSample(t, "sample.pcap")
	first, second := splitPcap(t, sample)
	wlan := append([]byte(nil), sample[:24]...)
	binary.LittleEndian.PutUint32(wlan[20:], 105)
	var gz, zst bytes.Buffer
	gw := gzip.NewWriter(&gz)
	gw.Write(sample)
	gw.Close()
	zw, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	zw.Write(sample)
	zw.Close()
	leaf, key := leafPEM(t)

	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"sample.pcap":     sample,
		"sample-ca.pem":   readSample(t, "sample-ca.pem"),
		"first.pcap":      first,
		"second.pcap":     second,
		"truncated.pcap":  sample[:20000],
		"empty.pcap":      nil,
		"wlan.pcap":       append(wlan, sample[24:24+16+int(binary.LittleEndian.Uint32(sample[24+8:]))]...),
		"notes.txt":       []byte("what I did yesterday\n"),
		"sample.pcap.gz":  gz.Bytes(),
		"sample.pcap.zst": zst.Bytes(),
		"leaf.pem":        leaf,
		"key.pem":         key,
		"http.filter":     []byte("tcp port 80\n"),
		"bad.filter":      []byte("# the web\ntcp and\n"),
		"ranges.json":     rangesJSON("2026-10-01-00-00-00", 60),
		"older.json":      rangesJSON("2020-01-01-00-00-00", 60),
		"few.json":        rangesJSON("2026-10-02-00-00-00", 2),
		"undated.json":    rangesJSON("", 60),
		"none.json":       rangesJSON("2026-10-03-00-00-00", 0),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	writeHistories(t, dir)
	return dir
}

// writeHistories makes the state folders of three agents: one with a history, one whose history is damaged, one of a newer program.
func writeHistories(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "state", history.FileName)
	h, err := history.Open(history.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	client, name := netip.MustParseAddrPort("10.0.0.5:40112"), "dynamodb.us-east-1.amazonaws.com"
	endpoint := session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"range", "sni"}, Name: name}
	pod := &flow.Process{PID: 811, Comm: "gunicorn", Exe: "/usr/bin/python3.11", Pod: "orders-7d9f8b6c5d-x2x7p", Namespace: "shop"}
	h.Add(&session.Session{
		Start: start, Source: "ebpf", Client: client, Server: netip.MustParseAddrPort("52.94.5.7:443"), Process: pod, Endpoint: endpoint,
		Transport: session.TransportTLS, TLS: &session.TLS{Version: session.TLS13, Cipher: "TLS_AES_128_GCM_SHA256"},
		Visibility: session.VisibilityEncrypted, Trust: session.TrustUnseen, Verdict: session.VerdictUnverified,
		Certificate: &session.Certificate{SeenBy: session.SeenByProbe, Issuer: "CN=Probed", SeenAt: start.Add(-20 * time.Minute), ProbeTrust: session.TrustPrivate},
	})
	hostile := endpoint
	hostile.Name = "=dynamodb\x1b[31m.evil"
	for i, f := range []session.Finding{
		{Rule: rules.WeakCipher, Severity: session.High, Message: "TLS_RSA_WITH_3DES_EDE_CBC_SHA was negotiated", Evidence: map[string]any{"cipher": "3DES"}},
		{Rule: rules.Plaintext, Severity: session.Critical, Message: "DynamoDB requests go to " + name + " over plain HTTP", Evidence: map[string]any{"requests": 3}},
		{Rule: rules.ClientObsolete, Severity: session.Medium, Message: "the client offers TLS 1.1 at most", Evidence: map[string]any{"offered_max": "TLS 1.1"}},
	} {
		s := &session.Session{
			Start: start.Add(time.Duration(i+1) * time.Hour), Source: "ebpf", Client: client, Server: netip.MustParseAddrPort("52.94.5.7:443"),
			Process: pod, Endpoint: endpoint, Transport: session.TransportTLS, Verdict: session.VerdictFinding, Findings: []session.Finding{f},
			TLS:         &session.TLS{Version: session.TLS12, Cipher: "TLS_RSA_WITH_3DES_EDE_CBC_SHA"},
			Certificate: &session.Certificate{SeenBy: "wire", Issuer: "CN=Amazon RSA 2048 M01,O=Amazon,C=US"},
			Visibility:  session.VisibilityVisible, Trust: session.TrustAmazon,
		}
		switch f.Rule {
		case rules.Plaintext:
			s.Transport, s.TLS, s.Certificate, s.Visibility, s.Trust = session.TransportHTTP, nil, nil, "", ""
		case rules.ClientObsolete:
			s.Process, s.Endpoint = nil, hostile
		}
		h.Add(s)
	}
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"damaged": bytes.Replace(data, []byte("plain HTTP"), []byte("plain HTTQ"), 1),
		"newer":   []byte("3a509f03 {\"journal\":\"history\",\"schema\":2}\n"),
	} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, history.FileName), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// readSample reads a file of the repository's testdata. It must be called before the working directory changes.
func readSample(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// splitPcap gives the packets of the first and of the second half of a capture, a file each.
func splitPcap(t *testing.T, pcap []byte) (first, second []byte) {
	t.Helper()
	at := 24
	for at < len(pcap)/2 {
		at += 16 + int(binary.LittleEndian.Uint32(pcap[at+8:]))
	}
	return pcap[:at:at], append(append([]byte(nil), pcap[:24]...), pcap[at:]...)
}

// leafPEM is a server's certificate, which is no CA, and its PEM-encoded key alone.
func leafPEM(t *testing.T) (certificate, key []byte) {
	t.Helper()
	_, leaf, err := synth.NewHost("Test CA", "dynamodb.us-east-1.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("not read")})
}

// rangesJSON is an edition of AWS's ranges with so many DYNAMODB prefixes.
func rangesJSON(date string, prefixes int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"syncToken":"1","createDate":"%s","prefixes":[{"ip_prefix":"52.95.0.0/20","region":"us-east-1","service":"AMAZON","network_border_group":"us-east-1"}`, date)
	for i := range prefixes {
		fmt.Fprintf(&b, `,{"ip_prefix":"52.95.%d.0/24","region":"us-east-1","service":"DYNAMODB","network_border_group":"us-east-1"}`, i)
	}
	b.WriteString(`],"ipv6_prefixes":[]}`)
	return b.Bytes()
}
