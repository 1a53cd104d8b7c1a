package library

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/synth"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

const serverName = "server.example"

// Each client says that it is there, waits for a line, makes a handshake with argument 2, trusting argument 1, and waits for the end of its input.
const pythonClient = `
import socket, ssl, sys
print("ready", flush=True)
sys.stdin.readline()
host, port = sys.argv[2].split(":")
s = ssl.create_default_context(cafile=sys.argv[1]).wrap_socket(socket.create_connection((host, int(port))), server_hostname="server.example")
print("done", flush=True)
sys.stdin.read()
`

const nodeClient = `
const tls = require("tls"), fs = require("fs"), [ca, address] = process.argv.slice(1);
console.log("ready");
process.stdin.once("data", () => {
  const [host, port] = address.split(":");
  const s = tls.connect({ host, port, servername: "server.example", ca: fs.readFileSync(ca) }, () => console.log("done"));
  s.on("error", () => {});
  process.stdin.on("end", () => process.exit(0));
});
`

// goClient has this program make the handshake, in a process of its own.
const goClient = "DYNWATCH_TEST_CLIENT"

func TestMain(m *testing.M) {
	if os.Getenv(goClient) != "" {
		if err := beClient(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func beClient(ca, address string) error {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: serverName})
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println("done")
	_, err = io.Copy(io.Discard, in)
	return err
}

// TestProgramsAreSeenWhicheverCameFirst starts clients before the probes and after them.
func TestProgramsAreSeenWhicheverCameFirst(t *testing.T) {
	testenv.Root(t)
	root, leaf := newHost(t)
	ca := inFile(t, root.PEM())
	address := serveTLS(t, leaf)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	clients := []struct {
		name    string
		command func() *exec.Cmd
	}{
		{"Python", func() *exec.Cmd { return testenv.Command(t, "/usr/bin/python3", "-c", pythonClient, ca, address) }},
		{"Node.js", func() *exec.Cmd { return testenv.Command(t, "node", "-e", nodeClient, ca, address) }},
		{"Go", func() *exec.Cmd { return testenv.Command(t, self, ca, address) }},
	}
	var running []*waiting
	for _, c := range clients {
		running = append(running, startWaiting(t, c.name+", there before", c.command()))
	}
	s := openAll(t)
	for _, c := range clients {
		running = append(running, startWaiting(t, c.name+", started later", c.command()))
	}
	wait := 500 * time.Millisecond
	for _, after := range looks {
		wait += after
	}
	seen := map[int]map[[32]byte]*flow.Library{}
	poll := func() { // often, as other programs of the host make handshakes too
		if err := s.Poll(func(l *flow.Library) {
			if seen[l.PID] == nil {
				seen[l.PID] = map[[32]byte]*flow.Library{}
			}
			seen[l.PID][l.Random] = l
		}); err != nil {
			t.Fatal(err)
		}
	}
	for begin := time.Now(); time.Since(begin) < wait; time.Sleep(20 * time.Millisecond) { // what was started later has then been looked at for the last time
		poll()
	}
	for _, w := range running {
		w.goOn(t)
		poll()
	}
	for _, w := range running {
		t.Run(w.name, func(t *testing.T) {
			handshakes := seen[w.cmd.Process.Pid]
			if len(handshakes) != 1 {
				t.Fatalf("told of %d handshakes of one; problems %q, loss %v", len(handshakes), s.Stats().Problems, s.Stats().Loss)
			}
			for _, l := range handshakes {
				if len(l.Chain) != 1 || !bytes.Equal(l.Chain[0], leaf.Certificate[0]) {
					t.Errorf("told of a chain of %d certificates that is not the server's", len(l.Chain))
				}
			}
		})
	}
}

// pythonAgain makes a handshake for each line that it reads, and verifies nothing.
const pythonAgain = `
import socket, ssl, sys
host, port = sys.argv[1].split(":")
context = ssl._create_unverified_context()
print("ready", flush=True)
for line in sys.stdin:
    context.wrap_socket(socket.create_connection((host, int(port)))).close()
    print("done", flush=True)
`

// A process whose handshakes are of no interest is left in peace, by the kernel. That it was is forgotten here before it is there.
func TestAProcessThatWasLeftInPeaceIsFollowedAgain(t *testing.T) {
	testenv.Root(t)
	_, leaf := newHost(t)
	address := serveTLS(t, leaf)
	for _, others := range []int{0, 2*maxProcesses + 1} {
		t.Run(fmt.Sprintf("%d others since", others), func(t *testing.T) {
			w := startWaiting(t, "Python", testenv.Command(t, "/usr/bin/python3", "-c", pythonAgain, address))
			pid := w.cmd.Process.Pid
			s, err := Open(Options{})
			if err != nil {
				testenv.Lacks(t, "library probes: %v", err)
			}
			t.Cleanup(func() {
				if err := s.Release(); err != nil {
					t.Error(err)
				}
			})
			randoms := map[[32]byte]bool{}
			told := func() int { // of new ones
				before := len(randoms)
				if err := s.Poll(func(l *flow.Library) {
					if l.PID == pid {
						randoms[l.Random] = true
					}
				}); err != nil {
					t.Fatal(err)
				}
				return len(randoms) - before
			}
			for range trial {
				w.goOn(t)
			}
			if n := told(); n != trial {
				t.Fatalf("told of %d handshakes of %d", n, trial)
			}
			for i := range s.candidates {
				s.candidates[i].seen = time.Time{} // as if it was a while ago
			}
			told()
			w.goOn(t)
			if n := told(); n != 0 || s.Stats().PassedOver == 0 {
				t.Fatalf("told of %d handshakes of a process that is left in peace", n)
			}
			for i := range others {
				s.Follow(1<<22 + i) // no process has that number
			}
			s.Follow(pid)
			w.goOn(t)
			if n := told(); n != 1 {
				t.Errorf("told of %d handshakes of one", n)
			}
		})
	}
}

// openAll has probes in all that runs, until the test ends.
func openAll(t *testing.T) *Source {
	t.Helper()
	s, err := Open(Options{All: true})
	if err != nil {
		testenv.Lacks(t, "library probes: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Release(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newHost is an authority, and a server's certificate of it.
func newHost(t *testing.T) (*synth.Authority, tls.Certificate) {
	t.Helper()
	root, leaf, err := synth.NewHost("Test", serverName)
	if err != nil {
		t.Fatal(err)
	}
	return root, leaf
}

// inFile is a file with these bytes.
func inFile(t *testing.T, b []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "bytes")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveTLS makes handshakes until the test ends.
func serveTLS(t *testing.T, certificate tls.Certificate) (address string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_ = c.(*tls.Conn).Handshake() // then the client finds the connection closed
			}(c)
		}
	}()
	return l.Addr().String()
}

// waiting is a client.
type waiting struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

func startWaiting(t *testing.T, name string, cmd *exec.Cmd) *waiting {
	t.Helper()
	w := &waiting{name: name, cmd: cmd}
	cmd.Stderr, cmd.Env = os.Stderr, append(os.Environ(), goClient+"=1")
	var err error
	if w.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.in.Close()
		_ = cmd.Wait()
	})
	w.expect(t, "ready")
	return w
}

func (w *waiting) expect(t *testing.T, word string) {
	t.Helper()
	if line, err := w.out.ReadString('\n'); err != nil || line != word+"\n" {
		t.Fatalf("%s says %q instead of %q: %v", w.name, line, word, err)
	}
}

func (w *waiting) goOn(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(w.in, "\n"); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "done")
}
