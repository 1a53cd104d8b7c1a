package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// observer is dynwatch with one source.
type observer struct {
	source string // file, packet, ebpf (without library probes) or library (eBPF with them); with the clients' TLS secrets if +keys follows
	// output is what it printed, in JSON lines; stderr its messages.
	output, stderr []byte
	sessions       []*seen
	dns            []*answer
	summary        *struct{ Loss map[string]int64 }
}

// answer is a DNS answer as an observer printed it.
type answer struct {
	Question  string
	Addresses []netip.Addr
	Findings  findings
}

func (a *answer) rules() string { return a.Findings.String() }

// findings of a session or an answer.
type findings []finding

type finding struct{ Rule, Severity, Message string }

// String is rule:severity of each, sorted.
func (list findings) String() string {
	var rules []string
	for _, f := range list {
		rules = append(rules, f.Rule+":"+f.Severity)
	}
	slices.Sort(rules)
	return strings.Join(rules, " ")
}

// seen is a session as an observer printed it.
type seen struct {
	Source string
	Flow   struct {
		ClientIP   netip.Addr `json:"client_ip"`
		ClientPort int        `json:"client_port"`
		ServerIP   netip.Addr `json:"server_ip"`
		ServerPort int        `json:"server_port"`
	}
	Process *struct {
		PID       int
		Comm, Exe string
		Exited    bool
		NetNS     uint64
	}
	SDK      struct{ Guess, By string }
	Endpoint struct {
		Service, Kind, Region string
	}
	Transport string
	TLS       struct {
		Version, SNI string
		Resumed      bool
	}
	Certificate struct {
		Issuer string
		SeenBy string `json:"seen_by"`
	}
	Library *struct {
		Name, Path  string
		Verifies    *bool
		VerifiesBy  string `json:"verifies_by"`
		ServerName  string `json:"server_name"`
		NameChecked bool   `json:"name_checked"`
		CheckedName string `json:"checked_name"`
	}
	Loss struct {
		ClientGap int64 `json:"client_gap_bytes"`
		ServerGap int64 `json:"server_gap_bytes"`
		Truncated int64 `json:"truncated_packets"`
	}
	Visibility string `json:"certificate_visibility"`
	Trust      string
	HTTP       struct{ Operation, Host string }
	Verdict    string
	Findings   findings
	line       string
}

// runs is the one run of all clients under all observers.
var runs struct {
	once      sync.Once
	observers map[string]*observer
	err       error
}

// observe runs everything, the first time, and gives what dynwatch saw through a source.
func observe(t *testing.T, source string) *observer {
	t.Helper()
	r := needRig(t)
	runs.once.Do(func() {
		if runs.observers, runs.err = r.run(); runs.err != nil {
			t.Error(runs.err)
		}
	})
	if runs.err != nil {
		t.Fatal("nothing was observed: see the first test")
	}
	return runs.observers[source]
}

// firstServed goes before an observer's command: it gets a processor before the clients do. On a machine that is busy with other tests an
// observer would else be overrun, which is not what these tests are about.
var firstServed = []string{"nice", "-n", "-15"}

// run starts the observers, runs the clients, and stops the observers when they have seen the end.
func (r *rig) run() (map[string]*observer, error) {
	if err := r.start(); err != nil {
		return nil, fmt.Errorf("set-up: %w", err)
	}
	early := r.runEarly()
	pcap := filepath.Join(r.dir, "all.pcap")
	dump, err := r.startIn(here, "", "tcpdump", append(slices.Clone(firstServed), "tcpdump", "-i", "any", "-n", "-U", "-B", "65536", "-Z", "root", "-w", pcap,
		"tcp or udp port 53"), nil)
	if err != nil {
		return nil, err
	}
	if err := r.says(dump.log, "listening on"); err != nil {
		return nil, err
	}
	running, err := r.runningPrograms()
	if err != nil {
		return nil, err
	}
	live := map[string]*process{}
	keyed := func(source string) []string { return []string{"--keylog", r.keyLog(), "-w", r.copyOf(source)} }
	for source, how := range map[string][]string{
		"packet":      {"--source", "packet", "-i", "any"},
		"ebpf":        {"--source", "ebpf", "--library-probes", "off"},
		"library":     {"--source", "ebpf"},
		"packet+keys": append([]string{"--source", "packet", "-i", "any"}, keyed("packet+keys")...),
		"ebpf+keys":   append([]string{"--source", "ebpf", "--library-probes", "off"}, keyed("ebpf+keys")...),
	} {
		arguments := r.captureCommand(how...)
		// Standard output and error have files of their own.
		arguments = slices.Concat([]string{"/bin/sh", "-c", `exec "$@" >"$0"`, r.outputOf(source)}, firstServed, arguments)
		p, err := r.startIn(here, "", source, arguments, nil)
		if err != nil {
			return nil, err
		}
		live[source] = p
	}
	for _, p := range live {
		if err := r.says(p.log, liveReady); err != nil {
			return nil, err
		}
	}
	for _, p := range running {
		p.end(syscall.SIGKILL, 0)
	}
	close(r.observing)
	r.runClients()
	<-early
	if err := mark(); err != nil {
		return nil, fmt.Errorf("the last request: %w", err)
	}
	observers := map[string]*observer{}
	if err := r.says(pcap, markerAgent); err != nil {
		return nil, err
	}
	if !dump.end(syscall.SIGINT, 10*time.Second) {
		return nil, errors.New("tcpdump did not end")
	}
	if b := tail(dump.log); !bytes.Contains(b, []byte("\n0 packets dropped by kernel")) {
		return nil, fmt.Errorf("tcpdump lost packets: %s", b)
	}
	for source, p := range live {
		if err := r.says(r.outputOf(source), markerAddress.String()); err != nil {
			return nil, err
		}
		if !p.end(syscall.SIGINT, 20*time.Second) {
			return nil, fmt.Errorf("dynwatch as %s did not end on SIGINT", source)
		}
		if code := p.ProcessState.ExitCode(); code != 0 {
			return nil, fmt.Errorf("dynwatch as %s: exit status %d\n%s", source, code, tail(p.log))
		}
		if observers[source], err = readObserver(source, r.outputOf(source), p.log); err != nil {
			return nil, err
		}
	}
	for name, arguments := range map[string][]string{
		"file":      {"-r", pcap},
		"file+keys": {"-r", pcap, "--keylog", r.keyLog()},
	} {
		cmd := command(r.captureCommand(arguments...))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("dynwatch capture -r: %w\n%s", err, stderr.Bytes())
		}
		if err := os.WriteFile(r.outputOf(name), out, 0o644); err != nil {
			return nil, err
		}
		if observers[name], err = readObserver(name, r.outputOf(name), ""); err != nil {
			return nil, err
		}
	}
	return observers, nil
}

// runningCRT has Python's binding of the AWS Common Runtime, which it takes a while to load. It makes no connection: one without data would count as half open.
const runningCRT = `
import awscrt.io, time
print("ready", flush=True)
time.sleep(600)
`

// runningPrograms starts clients before the observers, waiting for an answer that does not come: what has its TLS library in itself, or in an
// unusual place, may have too short a first run under a watch to get probes.
func (r *rig) runningPrograms() (running []*process, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	for name, arguments := range map[string][]string{
		"running-go":        {filepath.Join(r.dir, "goclient"), fmt.Sprintf(`{"region":"us-east-1","endpoint":"http://%s"}`, l.Addr())},
		"running-boringssl": {boringClient(r.dir), host, port, "insecure"},
		"running-crt":       {"/usr/bin/python3", "-c", runningCRT},
	} {
		p, err := r.startIn(here, "", name, arguments, nil)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		running = append(running, p)
		if name == "running-crt" {
			if err := r.says(p.log, "ready"); err != nil {
				return nil, errors.Join(err, l.Close())
			}
		}
	}
	go func() {
		for _, p := range running {
			<-p.done
		}
		l.Close()
	}()
	return running, nil
}

// runEarly starts the client that is there before the observers, and returns when it has its connection. The channel is closed when it is done.
func (r *rig) runEarly() (done chan struct{}) {
	done = make(chan struct{})
	for _, s := range r.scenarios {
		if !s.early {
			continue
		}
		go func() {
			s.outcome = r.runClient(s)
			close(done)
		}()
		select {
		case <-r.earlyConnected:
		case <-done: // it failed: TestClients says how
		}
		return done
	}
	close(done)
	return done
}

// liveReady is what a live capture says on standard error once nothing escapes it.
const liveReady = "dynwatch: watching"

func (r *rig) outputOf(source string) string { return filepath.Join(r.dir, source+".json") }

// captureCommand is dynwatch with the policy that the scenarios assume.
func (r *rig) captureCommand(arguments ...string) []string {
	c := []string{filepath.Join(r.dir, "dynwatch"), "capture", "-o", "json", "--allow-ca", filepath.Join(r.dir, "roots.pem"),
		"--ranges", filepath.Join(r.dir, "ip-ranges.json"),
		"--endpoint", "198.51.100.0/24", "--endpoint", "127.51.0.0/24", "--endpoint", "2001:db8:51::/64"}
	for _, s := range r.scenarios {
		if s.server.allowed {
			c = append(c, "--allow-proxy", netip.AddrPortFrom(s.addr, 3128).String())
		}
	}
	return append(c, arguments...)
}

// liveSources are what dynwatch can watch a host with; keyedSources watch beside them, follow the secrets that clients write down, and write a copy.
var (
	liveSources  = []string{"packet", "ebpf"}
	keyedSources = []string{"packet" + keysSuffix, "ebpf" + keysSuffix}
)

const keysSuffix = "+keys"

// keyLog is where clients write their secrets.
func (r *rig) keyLog() string { return filepath.Join(r.dir, "keys.log") }

// copyOf is what an observer writes with -w.
func (r *rig) copyOf(source string) string { return filepath.Join(r.dir, source+".pcapng") }

func readObserver(source, output, stderr string) (*observer, error) {
	o := &observer{source: source}
	var err error
	if o.output, err = os.ReadFile(output); err != nil {
		return nil, err
	}
	if stderr != "" {
		if o.stderr, err = os.ReadFile(stderr); err != nil {
			return nil, err
		}
	}
	lines := bufio.NewScanner(bytes.NewReader(o.output))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var kind struct{ Type string }
		if err := json.Unmarshal(lines.Bytes(), &kind); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", source, err, lines.Bytes())
		}
		switch kind.Type {
		case "session":
			s := &seen{line: lines.Text()}
			if err := json.Unmarshal(lines.Bytes(), s); err != nil {
				return nil, fmt.Errorf("%s: %w: %s", source, err, lines.Bytes())
			}
			o.sessions = append(o.sessions, s)
		case "dns":
			d := new(answer)
			if err := json.Unmarshal(lines.Bytes(), d); err != nil {
				return nil, fmt.Errorf("%s: %w: %s", source, err, lines.Bytes())
			}
			o.dns = append(o.dns, d)
		case "summary":
			if err := json.Unmarshal(lines.Bytes(), &o.summary); err != nil {
				return nil, err
			}
		}
	}
	if o.summary == nil {
		return nil, fmt.Errorf("%s: no summary", source)
	}
	return o, lines.Err()
}

// at are the sessions with a scenario's address. eBPF watches the whole host, where others may use the same addresses.
func (o *observer) at(s *placed) []*seen {
	var found []*seen
	for _, v := range o.sessions {
		elsewhere := v.Process != nil && v.Process.NetNS != 0 && v.Process.NetNS != theRig.netNS
		if v.Flow.ServerIP == s.addr && !elsewhere {
			found = append(found, v)
		}
	}
	return found
}

// name is what the client called the endpoint.
func (v *seen) name() string {
	if v.TLS.SNI != "" {
		return v.TLS.SNI
	}
	return v.HTTP.Host
}

func (v *seen) rules() string { return v.Findings.String() }
