package tlswire

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// opensslServer is an `openssl s_server` on loopback that answers every line reversed.
type opensslServer struct {
	addr string
	// say is set if the server does not answer by itself but sends what is written here.
	say io.Writer
}

func needOpenSSL(t *testing.T) {
	t.Helper()
	testenv.Slow(t, "many processes of openssl")
	testenv.Tool(t, "openssl")
}

func startOpenSSL(t *testing.T, dir string, args ...string) *opensslServer {
	t.Helper()
	for _, kind := range []string{"rsa", "ecdsa"} {
		cert := testCert(t, kind)
		key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, kind+".pem"), slices.Concat(
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	}
	mode := "-rev"
	if slices.Contains(args, "-early_data") { // which does not go with -rev
		mode = "-4"
	}
	args = append([]string{"s_server", "-accept", "127.0.0.1:0", mode,
		"-cert", filepath.Join(dir, "rsa.pem"), "-key", filepath.Join(dir, "rsa.pem"),
		"-dcert", filepath.Join(dir, "ecdsa.pem"), "-dkey", filepath.Join(dir, "ecdsa.pem")}, args...)
	cmd := testenv.Command(t, "openssl", args...)
	cmd.Stderr = io.Discard
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := new(opensslServer)
	if mode != "-rev" {
		if s.say, err = cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("openssl s_server: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if addr, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			go io.Copy(io.Discard, out)
			s.addr = addr
			return s
		}
	}
	t.Fatal("openssl s_server did not start")
	return nil
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// connect runs `openssl s_client` through a recording proxy and returns what was carried and what the client printed.
func (s *opensslServer) connect(t *testing.T, args ...string) (*tape, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	rec := new(tape)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a, err := l.Accept()
		if err != nil {
			return
		}
		defer a.Close()
		b, err := net.Dial("tcp", s.addr)
		if err != nil {
			return
		}
		defer b.Close()
		half := make(chan struct{})
		go func() {
			io.Copy(tapeConn{a, rec, session.Server}, b)
			a.(*net.TCPConn).CloseWrite()
			close(half)
		}()
		io.Copy(tapeConn{b, rec, session.Client}, a)
		b.(*net.TCPConn).CloseWrite()
		<-half
	}()
	cmd := testenv.Command(t, "openssl", append([]string{"s_client", "-connect", l.Addr().String(), "-servername", "dynamodb.test"}, args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Ask, and stay until the answer came: by then the tickets did too.
	io.WriteString(stdin, "hello\n")
	if s.say != nil {
		io.WriteString(s.say, "olleh\n")
	}
	var text bytes.Buffer
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		text.WriteString(lines.Text() + "\n")
		if lines.Text() == "olleh" {
			break
		}
	}
	stdin.Close()
	rest, _ := io.ReadAll(stdout)
	text.Write(rest)
	cmd.Wait()
	l.Close()
	<-done
	return rec, text.String() + errOut.String()
}

// opensslView is what s_client says of its session.
type opensslView struct {
	version, cipher string
	reused          bool
}

// viewOf reads the summary line "New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384" and the version.
func viewOf(text string) (v opensslView, ok bool) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, found := strings.CutPrefix(line, "Protocol  : "); found {
			v.version = rest
		}
		for _, word := range []string{"New, ", "Reused, "} {
			if !strings.HasPrefix(line, word) {
				continue
			}
			fields := strings.Split(line, ", ")
			if len(fields) == 3 && !strings.Contains(line, "(NONE)") {
				v.reused, ok = word == "Reused, ", true
				v.cipher = strings.TrimPrefix(fields[2], "Cipher is ")
				if v.version == "" || fields[1] == "TLSv1.3" {
					v.version = fields[1]
				}
			}
		}
	}
	return v, ok
}

// stdNames maps OpenSSL's suite names to IANA's.
func stdNames(t *testing.T) map[string]string {
	t.Helper()
	out, err := testenv.Command(t, "openssl", "ciphers", "-s", "-stdname", "-psk", "-srp", "ALL:COMPLEMENTOFALL:@SECLEVEL=0").Output()
	if err != nil {
		t.Fatalf("openssl ciphers: %v", err)
	}
	m := map[string]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) >= 3 {
			m[f[2]] = f[0]
		}
	}
	return m
}

func checkOpenSSL(t *testing.T, rec *tape, text string, names map[string]string, o Options) *Facts {
	t.Helper()
	view, ok := viewOf(text)
	c := New(o)
	rec.feed(c)
	f := c.Facts()
	if !ok {
		t.Fatalf("no session: %s", lastLines(text))
	}
	if got := strings.Replace(strings.TrimSuffix(f.Version.String(), ".0"), "TLS ", "TLSv", 1); got != view.version {
		t.Errorf("version %s, openssl says %s", got, view.version)
	}
	want := view.cipher
	if n, ok := names[want]; ok {
		want = n
	}
	if f.CipherName() != want {
		t.Errorf("cipher %s, openssl says %s (%s)", f.CipherName(), want, view.cipher)
	}
	if f.Resumed != session.TriOf(view.reused) {
		t.Errorf("resumed %v, openssl says %v", f.Resumed, view.reused)
	}
	if f.Established != session.Yes || !f.ClientFinished || !f.ClientAppData || f.ProtocolError != nil {
		t.Errorf("established %v, finished %v, data %v, fault %v", f.Established, f.ClientFinished, f.ClientAppData, f.ProtocolError)
	}
	if f.ClientHello.SNI != "dynamodb.test" {
		t.Errorf("SNI %q", f.ClientHello.SNI)
	}
	if err := verifyProof(f); err != nil {
		t.Errorf("proof of the key: %v", err)
	}
	shuffled := New(o)
	rec.shuffle(shuffled, mrand.New(mrand.NewPCG(2, uint64(len(text)))))
	if got, want := snapshot(shuffled.Facts()), snapshot(f); got != want {
		t.Errorf("cut differently:\n%s\nwant:\n%s", got, want)
	}
	return f
}

func lastLines(s string) string {
	if len(s) > 600 {
		s = s[len(s)-600:]
	}
	return s
}

func TestAgainstOpenSSL(t *testing.T) {
	needOpenSSL(t)
	names := stdNames(t)
	s := startOpenSSL(t, t.TempDir(), "-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0", "-psk", "00112233445566778899aabbccddeeff",
		"-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256")
	tested := 0
	for ossl, iana := range names {
		if strings.HasPrefix(iana, "TLS_AES") || strings.HasPrefix(iana, "TLS_CHACHA") || strings.Contains(iana, "_SRP_") ||
			strings.Contains(iana, "_DSS_") {
			continue
		}
		for _, version := range []string{"-tls1", "-tls1_1", "-tls1_2"} {
			old := strings.HasSuffix(iana, "_SHA") || strings.HasSuffix(iana, "_MD5")
			// The old versions differ little by suite; a sample is enough.
			if version != "-tls1_2" && (!old || !strings.Contains(iana, "_WITH_AES_128") && !strings.Contains(iana, "RSA_WITH_NULL") || strings.Contains(iana, "PSK_")) {
				continue
			}
			tested++
			t.Run(iana+version, func(t *testing.T) {
				rec, text := s.connect(t, version, "-cipher", ossl+":@SECLEVEL=0", "-psk", "00112233445566778899aabbccddeeff", "-no_ticket")
				if _, ok := viewOf(text); !ok {
					testenv.Beyond(t, "OpenSSL: %s", lastLines(text))
				}
				f := checkOpenSSL(t, rec, text, names, Options{})
				certless := strings.Contains(iana, "_anon_") || strings.Contains(iana, "PSK_") && !strings.Contains(iana, "RSA_PSK")
				if certless != (f.Chain.State == Absent) {
					t.Errorf("chain %v", f.Chain.State)
				}
				if !certless {
					kind := "rsa"
					if strings.Contains(iana, "ECDSA") {
						kind = "ecdsa"
					}
					if !bytes.Equal(f.Chain.Certificates[0], testCert(t, kind).Certificate[0]) {
						t.Error("not the server's certificate")
					}
				}
				dh := strings.Contains(iana, "_DHE_") || strings.Contains(iana, "ECDHE_") || strings.Contains(iana, "_anon_")
				psk := strings.Contains(iana, "PSK_")
				if dh && (f.KeyExchange.State != Complete || f.KeyExchange.Anonymous != (certless || psk)) {
					t.Errorf("key exchange %v, anonymous %v", f.KeyExchange.State, f.KeyExchange.Anonymous)
				}
			})
		}
	}
	t.Logf("%d suites and versions", tested)
}

func TestKeyLogOpensEverySuiteOfTLS13(t *testing.T) {
	needOpenSSL(t)
	names := stdNames(t)
	dir := t.TempDir()
	s := startOpenSSL(t, dir, "-alpn", "http/1.1",
		"-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256")
	for _, suite := range []string{
		"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256",
	} {
		for _, extra := range []string{"", "-no_middlebox", "-groups P-521:X25519"} {
			t.Run(suite+extra, func(t *testing.T) {
				log := filepath.Join(dir, "keys-"+suite+strings.ReplaceAll(extra, " ", ""))
				rec, text := s.connect(t, append(strings.Fields(extra), "-tls1_3", "-ciphersuites", suite, "-alpn", "h2,http/1.1", "-keylogfile", log)...)
				checkOpenSSL(t, rec, text, names, Options{})
				b, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				keys := NewKeyLog(0)
				keys.Read(bytes.NewReader(b))
				f := checkOpenSSL(t, rec, text, names, Options{Secrets: keys})
				if !f.Chain.Decrypted || len(f.Chain.Certificates) != 1 {
					t.Fatalf("chain %v, decryption %v", f.Chain.State, f.Decryption)
				}
				leaf := f.Chain.Certificates[0]
				if !bytes.Equal(leaf, testCert(t, "rsa").Certificate[0]) && !bytes.Equal(leaf, testCert(t, "ecdsa").Certificate[0]) {
					t.Error("not the server's certificate")
				}
				if f.ALPN != "http/1.1" || len(f.Tickets) == 0 || !f.HandshakeEndKnown[session.Server] || f.CertificateVerify == nil {
					t.Errorf("ALPN %q, %d tickets, end known %v, verify %v", f.ALPN, len(f.Tickets), f.HandshakeEndKnown, f.CertificateVerify)
				}
			})
		}
	}
}

func TestOpenSSLResumption(t *testing.T) {
	needOpenSSL(t)
	names := stdNames(t)
	dir := t.TempDir()
	early := filepath.Join(dir, "early")
	writeFile(t, early, []byte("early data\n"))
	for _, test := range []struct {
		name           string
		server, client []string
		again          []string
	}{
		{"ticket 1.2", nil, []string{"-tls1_2"}, nil},
		{"session id 1.2", []string{"-no_ticket"}, []string{"-tls1_2"}, nil},
		{"ticket 1.0", []string{"-cipher", "ALL:@SECLEVEL=0"}, []string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, nil},
		{"PSK 1.3", nil, []string{"-tls1_3"}, nil},
		{"early data", []string{"-early_data"}, []string{"-tls1_3"}, []string{"-early_data", early}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startOpenSSL(t, dir, test.server...)
			sess := filepath.Join(dir, "session")
			log := filepath.Join(dir, "keys-"+test.name)
			rec, text := s.connect(t, append(test.client, "-sess_out", sess, "-keylogfile", log)...)
			first := checkOpenSSL(t, rec, text, names, Options{})
			if first.Resumed != session.No {
				t.Errorf("first resumed %v", first.Resumed)
			}
			args := append(append([]string{"-sess_in", sess, "-keylogfile", log}, test.client...), test.again...)
			rec, text = s.connect(t, args...)
			second := checkOpenSSL(t, rec, text, names, Options{})
			if second.Resumed != session.Yes {
				t.Errorf("second resumed %v", second.Resumed)
			}
			if want := test.again != nil; second.EarlyData != want {
				t.Errorf("early data %v", second.EarlyData)
			}
			b, _ := os.ReadFile(log)
			keys := NewKeyLog(0)
			keys.Read(bytes.NewReader(b))
			second = checkOpenSSL(t, rec, text, names, Options{Secrets: keys})
			if want := [2]DecryptState{DecryptFinished, DecryptFinished}; second.Version.Is13() && second.Decryption.State != want {
				t.Errorf("decryption %v", second.Decryption)
			}
		})
	}
}

func TestOpenSSLDowngradeSentinel(t *testing.T) {
	needOpenSSL(t)
	s := startOpenSSL(t, t.TempDir(), "-cipher", "ALL:@SECLEVEL=0")
	for _, test := range []struct {
		flag string
		want session.Sentinel
	}{{"-tls1_3", session.SentinelNone}, {"-tls1_2", session.SentinelTLS12}, {"-tls1_1", session.SentinelTLS11}} {
		rec, _ := s.connect(t, test.flag, "-cipher", "ALL:@SECLEVEL=0", "-fallback_scsv")
		f := rec.facts(Options{})
		if f.ServerHello.Seen() && f.ServerHello.Sentinel != test.want {
			t.Errorf("%s: sentinel %v", test.flag, f.ServerHello.Sentinel)
		}
		if test.flag != "-tls1_3" {
			a := f.FirstAlert()
			if !f.ClientHello.FallbackSCSV || a == nil || a.Description != "inappropriate_fallback" || a.From != session.Server {
				t.Errorf("%s: SCSV %v, alert %+v", test.flag, f.ClientHello.FallbackSCSV, a)
			}
		}
	}
	for _, test := range []struct {
		flag string
		want session.Sentinel
	}{{"-tls1_2", session.SentinelTLS12}, {"-tls1_1", session.SentinelTLS11}} {
		rec, _ := s.connect(t, test.flag, "-cipher", "ALL:@SECLEVEL=0")
		if f := rec.facts(Options{}); f.ServerHello.Sentinel != test.want {
			t.Errorf("%s: sentinel %v", test.flag, fmt.Sprint(f.ServerHello.Sentinel))
		}
	}
}
