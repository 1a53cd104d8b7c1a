package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/synth"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// asDynwatch has this test binary be dynwatch: live captures give up rights and are ended by signals, so they need processes of their own.
const asDynwatch = "DYNWATCH_TEST_IS_DYNWATCH"

func TestMain(m *testing.M) {
	if os.Getenv(asDynwatch) != "" {
		main()
	}
	os.Exit(m.Run())
}

// liveSources are the arguments that watch the loopback address of a test, by each source.
func liveSourcesAt(addr netip.Addr) map[string][]string {
	return map[string][]string{
		"ebpf":   {"--source", "ebpf", "--library-probes", "off"}, // what is seen shall be the source's
		"packet": {"-i", "lo", "host " + addr.String()},
	}
}

// syncBuffer can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// watch is a live capture.
type watch struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr syncBuffer
	done           chan struct{}
}

// startWatch starts dynwatch capture and returns when nothing escapes it.
func startWatch(t *testing.T, args ...string) *watch {
	t.Helper()
	w := newWatch(t, args...)
	w.start()
	w.await("watching", func() bool { return strings.Contains(w.stderr.String(), "dynwatch: watching this host") })
	return w
}

func newWatch(t *testing.T, args ...string) *watch {
	t.Helper()
	testenv.Root(t)
	w := &watch{t: t, cmd: exec.Command(os.Args[0], append([]string{"capture"}, args...)...), done: make(chan struct{})}
	w.cmd.Env = append(os.Environ(), asDynwatch+"=1", "GORACE=halt_on_error=1")
	w.cmd.Stdout, w.cmd.Stderr = &w.stdout, &w.stderr
	w.cmd.WaitDelay = 2 * time.Second // a command that outlives dynwatch keeps its output open
	return w
}

func (w *watch) start() {
	w.t.Helper()
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		w.cmd.Wait()
		close(w.done)
	}()
	w.t.Cleanup(func() {
		w.cmd.Process.Kill()
		<-w.done
	})
}

// await polls until ready, or fails the test when the capture ends first or it takes too long.
func (w *watch) await(what string, ready func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ready(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-w.done:
			if ready() {
				return
			}
			w.t.Fatalf("%s: dynwatch has ended: %s\n%s%s", what, w.cmd.ProcessState, w.stdout.String(), w.stderr.String())
		default:
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s does not come\n%s%s", what, w.stdout.String(), w.stderr.String())
		}
	}
}

// interrupt sends what Ctrl-C sends, and waits for the end.
func (w *watch) interrupt() {
	w.t.Helper()
	w.cmd.Process.Signal(syscall.SIGINT)
	w.wait()
}

func (w *watch) wait() {
	w.t.Helper()
	w.await("the end", func() bool {
		select {
		case <-w.done:
			return true
		default:
			return false
		}
	})
}

// liveLine is what these tests look at of a line.
type liveLine struct {
	Type string
	Flow struct {
		ServerIP   string `json:"server_ip"`
		ServerPort int    `json:"server_port"`
	}
	Process     struct{ PID int }
	Transport   string
	Visibility  string `json:"certificate_visibility"`
	Trust       string
	Certificate struct {
		Issuer string
		SeenBy string `json:"seen_by"`
	}
	Verdict string
	Rule    string
	Packets int
	Loss    map[string]any
}

// lines are the JSON lines of a type that came so far; of sessions those with a server.
func linesOf(t *testing.T, output, kind string, server netip.Addr) []liveLine {
	t.Helper()
	var list []liveLine
	in := bufio.NewScanner(strings.NewReader(output))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var l liveLine
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatalf("%v: %s", err, in.Bytes())
		}
		if l.Type == kind && (kind == "summary" || l.Flow.ServerIP == server.String()) {
			list = append(list, l)
		}
	}
	return list
}

// testCA signs the servers of these tests.
var testCA = sync.OnceValue(func() *synth.Authority {
	a, err := synth.NewAuthority(pkix.Name{CommonName: "Test Root"}, testKey())
	if err != nil {
		panic(err)
	}
	return a
})

var testKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

func writeCA(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, testCA().PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// What the clients of these tests send, and no output may hold.
const (
	liveSecret = "note-that-nobody-may-keep"
	liveName   = "dynamodb.us-east-1.amazonaws.com"
)

// serveTLS answers whatever comes with a secret, over TLS.
func serveTLS(t *testing.T, host string, version uint16, suites ...uint16) netip.AddrPort {
	t.Helper()
	cert, err := testCA().Server(testKey(), liveName, "example.com")
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", net.JoinHostPort(host, "0"), &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version, CipherSuites: suites, SessionTicketsDisabled: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return testnet.Serve(t, l, giveSecret)
}

// giveSecret answers whatever comes with a secret.
func giveSecret(c net.Conn) {
	for b := make([]byte, 4096); ; {
		if _, err := c.Read(b); err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n%s", len(liveSecret), liveSecret)
	}
}

// serveClear is the same in clear.
func serveClear(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	return testnet.Listen(t, host, giveSecret)
}

// request is a request to DynamoDB, with secrets in it.
func liveRequest() string {
	return "POST / HTTP/1.1\r\nHost: " + liveName + "\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261121/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=" +
		strings.Repeat("5e", 32) + "\r\nX-Amz-Security-Token: " + liveSecret + "\r\nContent-Length: " + fmt.Sprint(len(liveSecret)) + "\r\n\r\n" + liveSecret
}

// talkOver sends a request and reads the answer. The connection stays open, so that its owner can be found.
func talkOver(t *testing.T, c net.Conn) net.Conn {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, liveRequest()); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return c
}

func askTLS(t *testing.T, addr netip.AddrPort, name string, change ...func(*tls.Config)) net.Conn {
	t.Helper()
	o := &tls.Config{ServerName: name, InsecureSkipVerify: true}
	for _, f := range change {
		f(o)
	}
	c, err := tls.Dial("tcp", addr.String(), o)
	if err != nil {
		t.Fatal(err)
	}
	return talkOver(t, c)
}

func askClear(t *testing.T, addr netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return talkOver(t, c)
}

// shark gives the fields of the packets of a capture that match, a line each, and fails the test at the slightest warning.
func shark(t *testing.T, stdin io.Reader, args ...string) []string {
	t.Helper()
	cmd := testenv.Command(t, "tshark", append([]string{"-n", "-l"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	cmd.Stdin = stdin
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	var unexpected []string
	for line := range strings.Lines(complaints.String()) {
		if !strings.HasPrefix(line, "Running as user \"root\"") && strings.TrimSpace(line) != "" {
			unexpected = append(unexpected, line)
		}
	}
	if err != nil || len(unexpected) > 0 {
		t.Fatalf("tshark %v: %v: %q", args, err, unexpected)
	}
	lines := strings.Split(out.String(), "\n")
	return lines[:len(lines)-1]
}

// TestACopyOnStandardOutputIsReadAsItComes: the other end of the pipe shows the handshake while the capture goes on.
func TestACopyOnStandardOutputIsReadAsItComes(t *testing.T) {
	for source, args := range liveSourcesAt(netip.MustParseAddr("127.0.9.2")) {
		t.Run(source, func(t *testing.T) {
			addr := serveTLS(t, "127.0.9.2", tls.VersionTLS12)
			w := newWatch(t, append([]string{"--all", "-o", "json", "-w", "-"}, args...)...)
			pipe, to, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer pipe.Close()
			w.cmd.Stdout = to
			w.start()
			to.Close()
			w.await("watching", func() bool { return strings.Contains(w.stderr.String(), "dynwatch: watching this host") })
			read := make(chan []string)
			go func() {
				defer close(read) // also if tshark fails the test
				read <- shark(t, pipe, "-r", "-", "-d", fmt.Sprintf("tcp.port==%d,tls", addr.Port()), "-Y", "ip.addr == 127.0.9.2 && tls.handshake.extensions_server_name",
					"-T", "fields", "-e", "tls.handshake.extensions_server_name", "-e", "frame.comment")
			}()
			askTLS(t, addr, "example.com") // with --all it is reported, though it is not DynamoDB's
			w.await("the session", func() bool { return strings.Contains(w.stderr.String(), `"verdict":"not-applicable"`) })
			w.interrupt()
			names := <-read
			if len(names) != 1 || !strings.HasPrefix(names[0], "example.com\tdynwatch: ") && !strings.Contains(names[0], "\tdynwatch: opened by pid=") {
				t.Errorf("tshark reads %q", names)
			}
			if code := w.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("status %d: %s", code, w.stderr.String())
			}
		})
	}
}

func TestACopyWhoseReaderGoesAwayIsAQuietEnd(t *testing.T) {
	addr := serveTLS(t, "127.0.9.3", tls.VersionTLS12)
	w := newWatch(t, "--source", "ebpf", "--library-probes", "off", "--endpoint", "127.0.9.3/32", "-w", "-")
	pipe, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.cmd.Stdout = to
	w.start()
	to.Close()
	w.await("watching", func() bool { return strings.Contains(w.stderr.String(), "dynwatch: watching this host") })
	pipe.Close()
	askTLS(t, addr, liveName)
	w.wait()
	if code := w.cmd.ProcessState.ExitCode(); code != 0 || strings.Contains(w.stderr.String(), "error") {
		t.Errorf("status %d: %s", code, w.stderr.String())
	}
}

// TestAReaderThatHadEnoughHidesNoFinding: it leaves before the first session, and what is found fails all the same.
func TestAReaderThatHadEnoughHidesNoFinding(t *testing.T) {
	addr := serveClear(t, "127.0.9.13")
	for severity, want := range map[string]int{"high": exitFindings, "none": exitOK} {
		w := newWatch(t, "--source", "ebpf", "--library-probes", "off", "-o", "json", "--fail-on", severity)
		pipe, to, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w.cmd.Stdout = to
		w.start()
		to.Close()
		w.await("watching", func() bool { return strings.Contains(w.stderr.String(), "dynwatch: watching this host") })
		pipe.Close()
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		talkOver(t, c).Close()
		w.wait()
		if code := w.cmd.ProcessState.ExitCode(); code != want || strings.Contains(w.stderr.String(), "error") {
			t.Errorf("--fail-on %s: status %d, want %d: %s", severity, code, want, w.stderr.String())
		}
	}
}

func TestACopyThatCannotBeWrittenEndsTheCapture(t *testing.T) {
	addr := serveTLS(t, "127.0.9.4", tls.VersionTLS12)
	w := startWatch(t, "--source", "ebpf", "--library-probes", "off", "-w", "/dev/full")
	askTLS(t, addr, liveName)
	w.wait()
	if code := w.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(w.stderr.String(), "--write: write capture: write /dev/full: no space left on device") {
		t.Errorf("status %d: %s", code, w.stderr.String())
	}
}

// checkCopy holds a copy of a TLS 1.2 session, one in clear, and one of another service to what a copy may hold. tls and clear are the
// servers; open are the arguments by which tshark finds the copy.
func checkCopy(t *testing.T, copied []byte, pid int, tlsAddr, clearAddr, other netip.AddrPort) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.pcapng")
	if err := os.WriteFile(path, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{liveSecret, "Signature=", "AKIAIOSFODNN7EXAMPLE"} {
		if bytes.Contains(copied, []byte(secret)) {
			t.Errorf("the copy holds %q", secret)
		}
	}
	port := func(a netip.AddrPort) string {
		return fmt.Sprintf("ip.addr == %s && tcp.port == %d", a.Addr(), a.Port())
	}
	if n := len(shark(t, nil, "-r", path, "-Y", port(other))); n != 0 {
		t.Errorf("%d packets of a session that was not reported", n)
	}
	if bad := shark(t, nil, "-r", path, "-Y", "_ws.malformed"); len(bad) > 0 {
		t.Errorf("malformed: %q", bad)
	}
	// With checksums verified, what is whole is right.
	if bad := shark(t, nil, "-r", path, "-o", "ip.check_checksum:TRUE", "-Y", "ip.checksum.status == Bad"); len(bad) > 0 {
		t.Errorf("bad checksums: %q", bad)
	}
	for what, x := range map[string]struct {
		addr    netip.AddrPort
		comment string
	}{"TLS": {tlsAddr, "dynwatch: verdict "}, "clear": {clearAddr, "dynwatch: plaintext (critical): "}} {
		comments := shark(t, nil, "-r", path, "-Y", port(x.addr), "-T", "fields", "-e", "frame.comment")
		if len(comments) < 4 { // two SYNs, a request, an answer; the ends may come after the interrupt
			t.Errorf("%s: %d packets", what, len(comments))
			continue
		}
		if !strings.Contains(comments[0], x.comment) {
			t.Errorf("%s: the first packet says %q", what, comments[0])
		}
		for _, c := range comments {
			if !strings.Contains(c, fmt.Sprintf("dynwatch: opened by pid=%d comm=", pid)) || !strings.Contains(c, " exe=") {
				t.Errorf("%s: a packet says %q", what, c)
			}
		}
	}
	types := strings.Join(shark(t, nil, "-r", path, "-d", fmt.Sprintf("tcp.port==%d,tls", tlsAddr.Port()), "-Y", port(tlsAddr)+" && tls.handshake", "-T", "fields", "-e", "tls.handshake.type"), ",")
	for _, want := range []string{"1", "2", "11", "12", "14", "16"} {
		if !slices.Contains(strings.Split(types, ","), want) {
			t.Errorf("tshark decodes handshake messages %s, and no %s", types, want)
		}
	}
	if data := shark(t, nil, "-r", path, "-d", fmt.Sprintf("tcp.port==%d,tls", tlsAddr.Port()), "-Y", port(tlsAddr)+" && tls.app_data"); len(data) > 0 {
		t.Errorf("application data is in the copy: %q", data)
	}
	syn := shark(t, nil, "-r", path, "-Y", port(tlsAddr)+" && tcp.flags.syn == 1", "-T", "fields", "-e", "tcp.dstport")
	if len(syn) != 2 || syn[0] != fmt.Sprint(tlsAddr.Port()) {
		t.Errorf("SYNs to ports %q", syn)
	}
}

func TestALiveCopyHoldsTheHandshakesOfReportedSessions(t *testing.T) {
	for source, args := range liveSourcesAt(netip.MustParseAddr("127.0.9.1")) {
		t.Run(source, func(t *testing.T) {
			testenv.Root(t)
			tlsAddr, clearAddr := serveTLS(t, "127.0.9.1", tls.VersionTLS12), serveClear(t, "127.0.9.1")
			path := filepath.Join(t.TempDir(), "live.pcapng")
			w := startWatch(t, append([]string{"-o", "json", "-w", path, "--allow-ca", writeCA(t)}, args...)...)
			conns := []net.Conn{askTLS(t, tlsAddr, liveName), askClear(t, clearAddr)}
			other := serveTLS(t, "127.0.9.1", tls.VersionTLS12)
			askTLS(t, other, "example.com")
			w.await("the sessions", func() bool { return len(linesOf(t, w.stdout.String(), "session", tlsAddr.Addr())) >= 2 })
			for _, c := range conns {
				c.Close()
			}
			w.interrupt()
			if code := w.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("status %d: %s", code, w.stderr.String())
			}
			copied, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			checkCopy(t, copied, os.Getpid(), tlsAddr, clearAddr, other)
			if strings.Contains(w.stdout.String()+w.stderr.String(), liveSecret) {
				t.Error("a secret came out")
			}
			summary := linesOf(t, w.stdout.String(), "summary", netip.Addr{})
			if len(summary) != 1 || summary[0].Loss["write.packets_dropped"] != 0.0 || summary[0].Loss["write.connections_forgotten"] != 0.0 {
				t.Errorf("summary %+v", summary)
			}
			doc := readDoc(t, "docs/output.md") + readDoc(t, "docs/libraries.md")
			for name := range summary[0].Loss {
				if !strings.HasPrefix(name, "ebpf.") && !strings.Contains(doc, "`"+name+"`") {
					t.Errorf("neither docs/output.md nor docs/libraries.md tells of %s", name)
				}
			}
			// The copy, read as a file, gives the same verdict.
			again, _, _ := call(nil, "capture", "-r", path, "-o", "json", "--allow-ca", writeCA(t))
			live := linesOf(t, w.stdout.String(), "session", tlsAddr.Addr())
			for _, s := range linesOf(t, again, "session", tlsAddr.Addr()) {
				if !slices.ContainsFunc(live, func(l liveLine) bool {
					return l.Flow == s.Flow && l.Trust == s.Trust && l.Certificate.Issuer == s.Certificate.Issuer
				}) {
					t.Errorf("of the copy: %+v\nlive: %+v", s, live)
				}
			}
		})
	}
}
