package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// keyLogClients are programs that write TLS secrets down, each in its own way: a request over TLS to an address, as DynamoDB's.
var keyLogClients = map[string]func(t *testing.T, addr netip.AddrPort, log string){
	"python3": func(t *testing.T, addr netip.AddrPort, log string) {
		runClient(t, "SSLKEYLOGFILE="+log, "", "/usr/bin/python3", "-c", `
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s, context.wrap_socket(s, server_hostname=sys.argv[3]) as c:
    c.sendall(sys.argv[4].encode())
    c.recv(1000)
`, addr.Addr().String(), fmt.Sprint(addr.Port()), liveName, liveRequest())
	},
	"curl": func(t *testing.T, addr netip.AddrPort, log string) {
		runClient(t, "SSLKEYLOGFILE="+log, "", "curl", "--silent", "--insecure", "--max-time", "20", "--connect-to", "::"+addr.String(), "--data", "{}", "https://"+liveName+"/")
	},
	"openssl": func(t *testing.T, addr netip.AddrPort, log string) {
		runClient(t, "", liveRequest(), "openssl", "s_client", "-connect", addr.String(), "-servername", liveName, "-keylogfile", log)
	},
}

func runClient(t *testing.T, env, stdin, name string, args ...string) {
	t.Helper()
	cmd := testenv.Command(t, name, args...)
	cmd.Env = append(os.Environ(), env)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() }).Stop()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, &out)
	}
}

// TestLiveSecretsShowTheCertificate: whoever writes them, and whatever they are written to, the certificate of TLS 1.3 is judged while the
// capture runs, and no secret comes out.
func TestLiveSecretsShowTheCertificate(t *testing.T) {
	for source, args := range liveSourcesAt(netip.MustParseAddr("127.0.9.9")) {
		t.Run(source, func(t *testing.T) {
			testenv.Root(t)
			addr := serveTLS(t, "127.0.9.9", tls.VersionTLS13)
			dir := t.TempDir()
			log, fifo, copyTo := filepath.Join(dir, "keys.log"), filepath.Join(dir, "keys.fifo"), filepath.Join(dir, "copy.pcapng")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			w := startWatch(t, append([]string{"-o", "json", "--keylog", log, "--keylog", fifo, "-w", copyTo, "--allow-ca", writeCA(t)}, args...)...)
			if !strings.Contains(w.stderr.String(), "dynwatch: note: --keylog "+log+": not there yet, waiting for it") || strings.Contains(w.stderr.String(), fifo) {
				t.Errorf("it says %q", w.stderr.String())
			}
			n := 0
			for name, client := range keyLogClients {
				for _, to := range []string{log, fifo} {
					client(t, addr, to)
					n++
					w.await(name+"'s session", func() bool { return len(linesOf(t, w.stdout.String(), "session", addr.Addr())) == n })
					s := linesOf(t, w.stdout.String(), "session", addr.Addr())[n-1]
					if s.Visibility != "decrypted" || s.Certificate.SeenBy != "keylog" || s.Trust != "allowed" || s.Certificate.Issuer != "CN=Test Root" {
						t.Errorf("%s, %s: %+v", name, filepath.Base(to), s)
					}
				}
			}
			secrets := secretsIn(t, log)
			if len(secrets) < 3*4 {
				t.Errorf("only %d secrets were written", len(secrets))
			}
			// Without secrets it is said how many lack them.
			askTLS(t, addr, liveName)
			w.await("a session without secrets", func() bool { return len(linesOf(t, w.stdout.String(), "session", addr.Addr())) == n+1 })
			w.interrupt()
			if s := linesOf(t, w.stdout.String(), "session", addr.Addr())[n]; s.Visibility != "encrypted" {
				t.Errorf("%+v", s)
			}
			summary := linesOf(t, w.stdout.String(), "summary", netip.Addr{})
			if len(summary) != 1 || summary[0].Loss["analyze.secrets_missing"] == 0.0 || summary[0].Loss["analyze.secrets_late"] != 0.0 {
				t.Errorf("summary %+v", summary)
			}
			copied, err := os.ReadFile(copyTo)
			if err != nil {
				t.Fatal(err)
			}
			for _, out := range []string{w.stdout.String(), w.stderr.String(), string(copied)} {
				for _, secret := range append(secrets, liveSecret) {
					if strings.Contains(out, secret) {
						t.Errorf("a secret came out: %s", secret)
					}
				}
			}
		})
	}
}

// secretsIn are the secrets of a key log.
func secretsIn(t *testing.T, path string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && !strings.HasPrefix(line, "#") {
			list = append(list, f[2])
		}
	}
	return list
}

func TestLateSecretsAreToldAsFindings(t *testing.T) {
	testenv.Root(t)
	addr := serveTLS(t, "127.0.9.10", tls.VersionTLS13)
	dir := t.TempDir()
	held, log := filepath.Join(dir, "held"), filepath.Join(dir, "keys.log")
	w := startWatch(t, "-o", "json", "--keylog", log, "--source", "ebpf", "--library-probes", "off") // the test's CA is not allowed
	f, err := os.Create(held)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := askTLS(t, addr, liveName, func(o *tls.Config) { o.KeyLogWriter = f })
	defer c.Close()
	w.await("the session", func() bool { return len(linesOf(t, w.stdout.String(), "session", addr.Addr())) == 1 })
	if err := os.Rename(held, log); err != nil {
		t.Fatal(err)
	}
	w.await("the finding", func() bool {
		list := linesOf(t, w.stdout.String(), "finding", addr.Addr())
		return len(list) > 0 && list[0].Rule == "unexpected-issuer"
	})
	w.interrupt()
	if s := linesOf(t, w.stdout.String(), "summary", netip.Addr{}); len(s) != 1 || s[0].Loss["analyze.secrets_late"] != 1.0 {
		t.Errorf("summary %+v", s)
	}
}

func TestAKeyLogThatCannotBeReadIsAUsageError(t *testing.T) {
	w := newWatch(t, "--keylog", t.TempDir())
	w.start()
	w.wait()
	if code := w.cmd.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(w.stderr.String(), "--keylog") {
		t.Errorf("status %d: %s", code, w.stderr.String())
	}
}
