package agent

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// counting is a listener that counts connections.
type counting struct {
	net.Listener
	accepted atomic.Int32
}

func (l *counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

// entry is one of the inventory.
type entry struct {
	Endpoint, Workload, Issuer, Verdict, Trust string
	Sessions                                   int
	Certificate                                *struct {
		SeenBy     string `json:"seen_by"`
		Issuer     string
		AgeSeconds *int   `json:"age_seconds"`
		ProbeTrust string `json:"probe_trust"`
	}
}

// TestAProbeIsShownBesideASessionAndDecidesNothing: servers of TLS 1.3, a good one and one whose chain is of nobody known, are asked by a client
// into which nobody looks. The agent connects to them itself if it is told to, and its own connections are no sessions.
func TestAProbeIsShownBesideASessionAndDecidesNothing(t *testing.T) {
	ready(t)
	a := mustCertificates(t)
	ranges, root := file(t, "ip-ranges.json", rangesJSON), file(t, "root.pem", string(a.amazon.PEM()))
	// Every ten minutes is once: what the test waits for takes less.
	next := 60 // the last byte of a server's address
	for _, tt := range []struct {
		name, source, probe string
		enabled             bool
	}{
		{"sockets", "{kind: ebpf, library_probes: off}", "{enabled: true, every: 10m, pause: 1s}", true},
		{"packets", "{kind: packet, interfaces: [lo]}", "{enabled: true, every: 10m, pause: 1s}", true},
		// The agent's own program has probes then, too.
		{"sockets, and every library", "{kind: ebpf, library_probes: all}", "{enabled: true, every: 10m, pause: 1s}", true},
		{"not asked for", "{kind: ebpf, library_probes: off}", "{pause: 1s}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			servers := map[string]*counting{}
			var list []client
			for _, unknown := range []bool{false, true} {
				c := client{server: fmt.Sprintf("203.0.113.%d:443", next), region: fmt.Sprintf("eu-probe-%d", next), unknown: unknown, versions: [2]uint16{tls.VersionTLS13, tls.VersionTLS13}}
				next++
				from := a.amazon
				if unknown {
					from = a.unknown
				}
				leaf, err := from.Server(a.key, regional(c.region))
				if err != nil {
					t.Fatal(err)
				}
				l, err := net.Listen("tcp", c.server)
				if err != nil {
					t.Fatal(err)
				}
				servers[c.server] = &counting{Listener: l}
				config := &tls.Config{Certificates: []tls.Certificate{leaf}, SessionTicketsDisabled: true}
				testnet.Serve(t, servers[c.server], func(c net.Conn) { answer(tls.Server(c, config)) })
				list = append(list, c)
			}
			state := filepath.Join(t.TempDir(), "state")
			agent := startAgent(t, fmt.Sprintf("source: %s\nstate_dir: %s\nweb: {listen: '127.0.0.1:0'}\npolicy: {allow_ca: [%s], ranges: %s}\nprobe: %s\nlog: {level: debug}\n",
				tt.source, state, root, ranges, tt.probe))
			// Other tests of this host may have sessions of their own: only these count.
			inventory := func() (map[string]entry, error) {
				text, err := get("http://" + agent.address + "/api/state")
				if err != nil {
					return nil, err
				}
				var page struct{ Inventory []entry }
				if err := json.Unmarshal([]byte(text), &page); err != nil {
					return nil, err
				}
				found := map[string]entry{}
				for _, e := range page.Inventory {
					for _, c := range list {
						if e.Endpoint == regional(c.region) {
							// A process that could not be looked up in time has an entry of its own.
							if other, twice := found[c.server]; twice {
								e.Sessions += other.Sessions
								if e.Workload += " " + other.Workload; e.Certificate == nil {
									e.Certificate = other.Certificate
								}
							}
							found[c.server] = e
						}
					}
				}
				return found, nil
			}
			ask := func(sessions int, shown bool) {
				t.Helper()
				for _, c := range list {
					askHidden(t, c)
				}
				await(t, fmt.Sprintf("%d sessions", sessions), func() error {
					have, err := inventory()
					if err != nil {
						return err
					}
					for _, c := range list {
						if e := have[c.server]; e.Sessions != sessions || shown != (e.Certificate != nil) {
							return fmt.Errorf("%s: %+v", c.server, e)
						}
					}
					return nil
				}, agent.process)
			}

			ask(1, false)
			if tt.enabled {
				// The endpoints of whoever else is on this host come first if they were seen first, up to four seconds each.
				awaitFor(t, 5*time.Minute, "the probes", func() error {
					for _, c := range list {
						if !strings.Contains(agent.stderr.String(), fmt.Sprintf(`"a probe was shown a certificate","endpoint":"%s"`, regional(c.region))) {
							return fmt.Errorf("%s was not probed", c.server)
						}
					}
					return nil
				}, agent.process)
			} else {
				time.Sleep(5 * time.Second) // longer than a probe would wait
			}
			ask(2, tt.enabled)
			have, err := inventory()
			if err != nil {
				t.Fatal(err)
			}
			metrics, err := get("http://" + agent.address + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			if status := agent.end(t); status != 0 {
				t.Errorf("the agent ended with %d: %s", status, agent.tail())
			}
			stored := map[string]entry{}
			for _, e := range readInventory(t, state) {
				for _, c := range list {
					if e.Endpoint == regional(c.region) && e.Certificate != nil {
						stored[c.server] = e
					}
				}
			}
			for _, c := range list {
				want := int32(2)
				if tt.enabled {
					want++
				}
				if n := servers[c.server].accepted.Load(); n != want {
					t.Errorf("%s was connected to %d times, want %d", c.server, n, want)
				}
				e := have[c.server]
				if e.Sessions != 2 || e.Verdict != "unverified" || e.Trust != "unseen" || e.Issuer != "" || strings.Contains(e.Workload, "dynwatch") {
					t.Errorf("%s: %+v", c.server, e)
				}
				if !tt.enabled {
					continue
				}
				trust, issuer := "allowed", "CN=Amazon Root CA 1,O=Amazon,C=US"
				if c.unknown {
					trust, issuer = "private", "CN=Example TLS Inspection CA"
				}
				for _, e := range []entry{e, stored[c.server]} {
					if x := e.Certificate; x == nil || x.SeenBy != "probe" || x.ProbeTrust != trust || x.Issuer != issuer || x.AgeSeconds == nil || *x.AgeSeconds < 0 || *x.AgeSeconds > 600 {
						t.Errorf("%s: certificate %+v", c.server, x)
					}
				}
			}
			out, err := exec.Command(program, "findings", "--state-dir", state, "-o", "json", "--endpoint", "eu-probe-").CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("findings: %v: %s", err, out)
			}
			if got := !strings.Contains(metrics, `dynwatch_endpoint_probes_total{result="answered"} 0`); got != tt.enabled {
				t.Errorf("probes were counted: %t", got)
			}
			if line := `dynwatch_certificate_observations_total{seen_by="probe",visibility="encrypted"} `; strings.Contains(metrics, line) != tt.enabled {
				t.Errorf("%s: want it %t", line, tt.enabled)
			}
		})
	}
}

// relay passes bytes between its standard input, a socket, and a server. Then it stays, so that it can be looked up as long as the test lasts.
const relay = `
import socket, sys, threading, time
a, b = socket.socket(fileno=0), socket.create_connection((sys.argv[1], int(sys.argv[2])))
def copy(x, y):
    while data := x.recv(65536): y.sendall(data)
    y.shutdown(socket.SHUT_WR)
threading.Thread(target=copy, args=(b, a)).start()
copy(a, b)
time.sleep(600)
`

// askHidden has a client's handshake made by this process and its connection by another, so that no library tells of it.
func askHidden(t *testing.T, c client) {
	t.Helper()
	host, port, err := net.SplitHostPort(c.server)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	cmd := exec.Command(testenv.Tool(t, "/usr/bin/python3"), "-c", relay, host, port)
	cmd.Stdin = theirs
	startCommand(t, cmd)
	theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.askOver(conn); err != nil {
		t.Fatal(err)
	}
}

// readInventory is what dynwatch inventory prints.
func readInventory(t *testing.T, state string) (list []entry) {
	t.Helper()
	out, err := exec.Command(program, "inventory", "--state-dir", state, "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}
