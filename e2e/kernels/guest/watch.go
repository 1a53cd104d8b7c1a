package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/dynwatch/dynwatch/e2e/kernels/report"
)

// session is what is looked at of one in dynwatch's output.
type session struct {
	Type, Source string
	Flow         struct {
		ServerIP string `json:"server_ip"`
	}
	Process struct {
		PID   int
		Comm  string
		Exe   string
		NetNS uint64
	}
	Endpoint  struct{ Service string }
	Transport string
	TLS       struct {
		Version, SNI string
		Established  bool
	}
	Certificate struct{ Issuer string }
	Visibility  string `json:"certificate_visibility"`
	Trust       string
	Verdict     string
	Findings    json.RawMessage // a session's; the summary has their number
	Loss        map[string]any
	Warnings    []string
}

// expected is a client and what dynwatch must say of it.
type expected struct {
	name, address, version string
	pid                    int
	// comm is its process's name, clientName if it is "".
	comm           string
	verdict, trust string
	// finding is the rule that it breaks, "" if it breaks none.
	finding string
	// incomplete: its handshake was before the start.
	incomplete bool
	// insecure: it does not verify.
	insecure bool
}

func (w *expected) start() (*started, error) {
	switch {
	case w.comm == opensslName:
		return startOpenSSL(w.address, w.version)
	case w.insecure:
		return start(w.address, w.version, "insecure")
	}
	return start(w.address, w.version)
}

func (w *expected) matches(s *session, source string) error {
	var errs []error
	want := func(what, got, want string) {
		if got != want {
			errs = append(errs, fmt.Errorf("%s %q, want %q", what, got, want))
		}
	}
	want("source", s.Source, source)
	want("server", s.Flow.ServerIP, w.address)
	want("process", s.Process.Comm, cmp.Or(w.comm, clientName))
	want("service", s.Endpoint.Service, "dynamodb")
	want("verdict", s.Verdict, w.verdict)
	var findings []struct{ Rule string }
	if err := json.Unmarshal(s.Findings, &findings); err != nil {
		errs = append(errs, err)
	}
	var found []string
	for _, f := range findings {
		found = append(found, f.Rule)
	}
	want("findings", strings.Join(found, " "), w.finding)
	if !w.incomplete {
		want("transport", s.Transport, "tls")
		want("version", s.TLS.Version, "TLS "+w.version)
		want("server name", s.TLS.SNI, endpoint)
		want("trust", s.Trust, w.trust)
		if !s.TLS.Established {
			errs = append(errs, errors.New("not established"))
		}
		if w.trust != "unseen" {
			want("issuer", s.Certificate.Issuer, "CN="+authority)
		}
	}
	return errors.Join(errs...)
}

// watch runs `dynwatch capture` with a source while clients come and go, and checks what it says of each.
func (g *guest) watch(source string) {
	fail := func(name string, err error) {
		g.report.Checks = append(g.report.Checks, report.Check{Name: source + ": " + name, Failed: err.Error()})
	}
	early, err := start(listed, "1.3")
	if err != nil {
		fail("open before the start", err)
		return
	}
	// OpenSSL is found at the start because a process has it.
	other, err := startOpenSSL(listed, "1.3")
	if err != nil {
		fail("OpenSSL before the start", err)
		return
	}
	c, err := startCapture(source)
	if err != nil {
		fail("start", err)
		return
	}
	clients := []*expected{
		{name: "open before the start", address: listed, pid: early.cmd.Process.Pid, verdict: "incomplete", incomplete: true},
		{name: "TLS 1.2", address: listed, version: "1.2", verdict: "ok", trust: "allowed"},
		{name: "TLS 1.3", address: listed, version: "1.3", verdict: "unverified", trust: "unseen"},
		{name: "TLS 1.2, foreign address", address: foreign, version: "1.2", verdict: "ok", trust: "allowed"},
		{name: "TLS 1.3, OpenSSL", comm: opensslName, address: listed, version: "1.3", verdict: "unverified", trust: "unseen"},
		{name: "TLS 1.3, not verifying", insecure: true, address: listed, version: "1.3", verdict: "unverified", trust: "unseen"},
	}
	if source == "ebpf" && g.report.Lockdown != "confidentiality" {
		// The clients' own libraries are watched, and tell the certificate and whether it is verified.
		for _, w := range clients {
			if w.version == "1.3" {
				w.verdict, w.trust = "ok", "allowed"
			}
			if w.insecure {
				w.verdict, w.finding = "finding", "verification-disabled"
			}
		}
	}
	running := []*started{early, other}
	for _, w := range clients[1:] {
		s, err := w.start()
		if err != nil {
			fail(w.name, err)
			continue
		}
		w.pid = s.cmd.Process.Pid
		running = append(running, s)
	}
	if err := early.again(); err != nil {
		fail("open before the start", err)
	}
	time.Sleep(2 * time.Second) // packets do not bring their owner: it is looked up while it is there
	for _, s := range running {
		if err := s.end(); err != nil {
			fail("clients", err)
		}
	}
	time.Sleep(500 * time.Millisecond)
	sessions, summary, err := c.stop()
	if err != nil {
		fail("end", err)
		return
	}
	for _, w := range clients {
		g.check(source+": "+w.name, func() (string, error) {
			for _, s := range sessions {
				if s.Process.PID == w.pid {
					return fmt.Sprintf("pid %d, %s, %s", s.Process.PID, s.Process.Comm, s.Verdict), w.matches(s, source)
				}
			}
			return "", fmt.Errorf("no session of process %d; output: %s%s", w.pid, c.out.Bytes(), c.stderr())
		})
	}
	g.check(source+": loss", func() (string, error) {
		var lost []string
		for name, n := range summary.Loss {
			if n != 0.0 && name != "decode.not_tcp_or_udp" {
				lost = append(lost, fmt.Sprintf("%s %v", name, n))
			}
		}
		if len(lost) > 0 {
			return "", errors.New(strings.Join(lost, ", "))
		}
		if len(summary.Warnings) > 0 {
			return "none; warning: " + strings.Join(summary.Warnings, "; "), nil
		}
		return "none", nil
	})
}

// watching is a running `dynwatch capture`.
type watching struct {
	cmd     *exec.Cmd
	out     bytes.Buffer // to be read once it has ended
	errFile string
	ended   chan error
}

func startCapture(source string) (*watching, error) {
	w := &watching{errFile: "/tmp/" + source + ".err", ended: make(chan error, 1)}
	w.cmd = exec.Command("/bin/dynwatch", "capture", "-o", "json", "--source", source, "--ranges", rangesFile, "--allow-ca", caFile)
	f, err := os.Create(w.errFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	w.cmd.Stdout, w.cmd.Stderr = &w.out, f
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { w.ended <- w.cmd.Wait() }()
	for range 3000 { // five minutes: emulation on a busy machine is slow
		if strings.Contains(w.stderr(), "dynwatch: watching") {
			return w, nil
		}
		select {
		case err := <-w.ended:
			return nil, fmt.Errorf("dynwatch capture --source %s: %v: %s", source, err, w.stderr())
		case <-time.After(100 * time.Millisecond):
		}
	}
	w.cmd.Process.Kill()
	return nil, fmt.Errorf("dynwatch capture --source %s does not begin to watch: %s", source, w.stderr())
}

// stop interrupts it and reads what it has seen.
func (w *watching) stop() (sessions []*session, summary *session, err error) {
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return nil, nil, err
	}
	select {
	case err = <-w.ended:
	case <-time.After(time.Minute):
		w.cmd.Process.Kill()
		err = errors.New("does not end")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("dynwatch capture: %w: %s", err, w.stderr())
	}
	for line := range bytes.Lines(w.out.Bytes()) {
		s := new(session)
		if err := json.Unmarshal(line, s); err != nil {
			return nil, nil, fmt.Errorf("%w: %s", err, line)
		}
		switch s.Type {
		case "session":
			sessions = append(sessions, s)
		case "summary":
			summary = s
		}
	}
	if summary == nil {
		return nil, nil, fmt.Errorf("no summary: %s", w.out.Bytes())
	}
	return sessions, summary, nil
}

func (w *watching) stderr() string {
	b, _ := os.ReadFile(w.errFile)
	return string(b)
}
