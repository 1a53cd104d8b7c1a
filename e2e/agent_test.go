package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/testchains"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// agentAddress is where the server of these tests is, and agentClients its clients. Each speaks to an endpoint of its own, since findings of one
// workload with one endpoint are folded into one alert, and to one that no other test does: eBPF shows all that happens on this host, for which
// the bounds of alerts and findings are wide here.
const agentAddress = "127.78.0.1"

// agentClient is one that calls a good server once, verifying or not.
type agentClient struct {
	how, region string
	careless    bool
	versions    uint16 // of the server; 0 is any
	// before: it runs already when the agent starts, and has its library loaded.
	before bool
}

var agentClients = []agentClient{
	{how: "requests", region: "af-south-1", careless: true},
	{how: "requests", region: "ap-east-1"},
	{how: "boto3", region: "ap-northeast-3", careless: true},
	{how: "boto3", region: "ap-south-2"},
	{how: "urllib3", region: "me-south-1", careless: true},
	{how: "urllib3", region: "me-central-1"},
	{how: "curl", region: "il-central-1", careless: true},
	{how: "curl", region: "mx-central-1"},
	{how: "requests", region: "sa-east-1", careless: true, before: true},
	{how: "requests", region: "ca-west-1", before: true},
	{how: "requests", region: "ap-southeast-4", careless: true, versions: tls.VersionTLS12},
	{how: "curl", region: "ap-southeast-5", versions: tls.VersionTLS12},
}

// agentRights are sets that are enough for the agent with library probes (docs/deploy.md).
var agentRights = []struct {
	user string
	caps []string
}{
	{"65534", []string{"bpf", "net_admin", "perfmon", "sys_ptrace"}},
	{"0", []string{"bpf", "net_admin", "perfmon", "sys_ptrace"}},
	{"65534", []string{"sys_admin", "sys_ptrace"}},
}

// receiver takes alerts.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	alerts []told
	raw    bytes.Buffer
}

// told is what the tests look at of an alert.
type told struct {
	Rule, Severity, Message, Endpoint string
	Finding                           struct {
		Process struct {
			PID int
			Exe string
		}
		Evidence struct{ Signal, Library, Source, LibraryPath string }
	}
}

// keptLine is what they look at of a line of the inventory, and of the findings.
type keptLine struct {
	Endpoint        any // the name in the inventory, of a finding an object
	Verdict, Issuer string
	Process         struct{ PID int }
}

func newReceiver(t *testing.T) *receiver {
	h := &receiver{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
		var a told
		if err == nil && json.Unmarshal(b, &a) == nil {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.alerts = append(h.alerts, a)
			h.raw.Write(b)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *receiver) all() []told {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]told(nil), h.alerts...)
}

// agentRun is an agent with some rights.
type agentRun struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  string
	base string
}

// startTheAgent starts an agent with a configuration and exactly these rights, and returns when it is ready and its library probes are in.
func (r *rig) startTheAgent(t *testing.T, dir, config, user string, caps []string) *agentRun {
	t.Helper()
	name := filepath.Join(dir, "dynwatch.yaml")
	if err := os.WriteFile(name, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	set := "-all"
	for _, c := range caps {
		set += ",+" + c
	}
	a := &agentRun{t: t, log: filepath.Join(dir, "log")}
	a.cmd = testenv.Command(t, "setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--bounding-set", set, "--inh-caps", set,
		"--ambient-caps", set, "--", filepath.Join(r.dir, "dynwatch"), "agent", "--config", name)
	a.cmd.Env = baseEnv("/")
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	f, err := os.Create(a.log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a.cmd.Stderr = f
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.cmd.Process.Kill()
		a.cmd.Wait()
		if t.Failed() {
			t.Logf("the agent's log:\n%s", tail(a.log))
		}
	})
	var state string
	defer func() {
		if t.Failed() {
			t.Logf("/readyz: %s", state)
		}
	}()
	a.await("the agent is ready, with library probes", func() bool {
		text, _ := os.ReadFile(a.log)
		for line := range strings.Lines(string(text)) {
			var said struct{ Listen string }
			if json.Unmarshal([]byte(line), &said) == nil && said.Listen != "" {
				a.base = "http://" + said.Listen
			}
		}
		if a.base != "" {
			state = a.get("/readyz") // ok after ten seconds, though many files still get theirs
		}
		return strings.HasPrefix(state, "ok") && strings.Contains(state, "library probes: in ")
	})
	return a
}

func (a *agentRun) await(what string, ready func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !ready(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (a *agentRun) get(path string) string {
	res, err := http.Get(a.base + path)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return string(b)
}

// metric is the value of a series, -1 if it is not there.
func (a *agentRun) metric(series string) float64 {
	value := -1.0
	for line := range strings.Lines(a.get("/metrics")) {
		if text, ok := strings.CutPrefix(line, series+" "); ok {
			fmt.Sscan(text, &value)
		}
	}
	return value
}

// serveListTables answers over TLS with the certificate that every client here may trust, in the version that the client's endpoint has.
func serveListTables(t *testing.T, dir string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "good.pem"), filepath.Join(dir, "good.key"))
	if err != nil {
		t.Fatal(err)
	}
	only := map[string]uint16{}
	for _, c := range agentClients {
		only[regional(c.region)] = c.versions
	}
	l, err := net.Listen("tcp", agentAddress+":443")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(500 * time.Millisecond) // so that the client is still there when its process is looked at
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			io.WriteString(w, `{"TableNames":[]}`)
		}),
		TLSConfig: &tls.Config{
			NextProtos: []string{"http/1.1"},
			GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				version := only[h.ServerName]
				if version == 0 {
					version = tls.VersionTLS13
				}
				return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: version, MaxVersion: version, NextProtos: []string{"http/1.1"}}, nil
			},
		},
	}
	go s.ServeTLS(l, "", "")
	t.Cleanup(func() { s.Close() })
}

// command is the client's, as launched by r.
func (c *agentClient) start(t *testing.T, r *rig, hosts, roots string) (p *exec.Cmd, begin func()) {
	t.Helper()
	verify := any(roots)
	if c.careless {
		verify = false
	}
	options, err := json.Marshal(map[string]any{"how": c.how, "name": regional(c.region), "verify": verify, "waits": c.before})
	if err != nil {
		t.Fatal(err)
	}
	arguments := []string{"/usr/bin/python3", absolute("clients/one_call.py"), string(options)}
	if c.how == "curl" {
		arguments = []string{"curl", "--silent", "--show-error", "--max-time", "20", "--output", "/dev/null", "--cacert", roots,
			"-H", "X-Amz-Target: DynamoDB_20120810.ListTables", "-d", "{}", "https://" + regional(c.region) + "/"}
		if c.careless {
			arguments = append(arguments, "-k")
		}
	}
	p = command(r.wrapped(here, hosts, arguments))
	p.Env = baseEnv(r.dir)
	var stdout, stderr bytes.Buffer
	p.Stderr = &stderr
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill() })
	if c.before {
		if _, err := out.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	}
	return p, func() {
		io.WriteString(in, "\n")
		stdout.ReadFrom(out)
		if err := p.Wait(); err != nil {
			t.Errorf("%s with %s: %v\n%s", c.how, c.region, err, stderr.Bytes())
		}
	}
}

// TestTheAgentTellsWhoDoesNotVerify: over TLS 1.3, with a server that is as it should be, and with no other rights than are documented, the agent
// alerts on each client that does not verify, and on none of their careful twins.
func TestTheAgentTellsWhoDoesNotVerify(t *testing.T) {
	r := needRig(t)
	if err := testnet.Configure("link set lo up"); err != nil {
		t.Fatal(err)
	}
	for _, rights := range agentRights {
		t.Run("user "+rights.user+", "+strings.Join(rights.caps, " "), func(t *testing.T) {
			r.agentTellsWhoDoesNotVerify(t, rights.user, rights.caps)
		})
	}
}

func (r *rig) agentTellsWhoDoesNotVerify(t *testing.T, user string, caps []string) {
	dir, err := os.MkdirTemp(r.dir, "agent-")
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	for _, d := range []string{state, filepath.Join(dir, "mitm")} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(d, 0o777); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var names, lines []string
	for _, c := range agentClients {
		names = append(names, regional(c.region))
		lines = append(lines, agentAddress+" "+regional(c.region))
	}
	if err := testchains.Write(dir, names); err != nil {
		t.Fatal(err)
	}
	hosts := filepath.Join(dir, "hosts")
	if err := os.WriteFile(hosts, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	roots := filepath.Join(dir, "roots.pem")
	serveListTables(t, dir)
	h := newReceiver(t)

	pids := make(map[string]int)
	begin := make(map[string]func())
	launch := func(before bool) {
		for _, c := range agentClients {
			if c.before == before {
				p, f := c.start(t, r, hosts, roots)
				pids[regional(c.region)], begin[regional(c.region)] = p.Process.Pid, f
				if !before {
					f()
				}
			}
		}
	}
	launch(true)
	a := r.startTheAgent(t, dir, fmt.Sprintf("source: {kind: ebpf, library_probes: auto}\nstate_dir: %s\nweb: {listen: '127.0.0.1:0'}\n"+
		"policy: {endpoint: ['%s/32'], allow_ca: [%s]}\nreceivers: [{webhook: {url: '%s'}}]\n"+
		"alerts: {per_minute: 10000, burst: 10000}\nhistory: {max_findings: 100000, max_mib: 256}\n", state, agentAddress, roots, h.URL), user, caps)
	for _, c := range agentClients {
		if c.before {
			begin[regional(c.region)]()
		}
	}
	// The page has the latest findings of the host, which others make, too.
	page, watched := "", make(chan struct{})
	stopWatching := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			if text := a.get("/api/state"); page == "" || strings.Contains(text, "OpenSSL 3.") {
				page = text
			}
			select {
			case <-stopWatching:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	launch(false)

	mine := func() map[string]told {
		found := map[string]told{}
		for _, x := range h.all() {
			if x.Finding.Process.PID != 0 && x.Finding.Process.PID == pids[x.Endpoint] {
				found[x.Endpoint] = x
			}
		}
		return found
	}
	careless, hidden := 0.0, 0.0
	for _, c := range agentClients {
		if c.careless {
			careless++
		}
		if c.versions == 0 {
			hidden++
		}
	}
	for deadline := time.Now().Add(30 * time.Second); len(mine()) < int(careless) && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	for _, c := range agentClients {
		x, ok := mine()[regional(c.region)]
		if ok != c.careless {
			t.Errorf("%s with %s: told %t, careless %t: %+v", c.how, c.region, ok, c.careless, x)
		}
		if !ok {
			continue
		}
		e := x.Finding.Evidence
		if x.Rule != "verification-disabled" || x.Severity != "critical" || x.Finding.Process.PID != pids[regional(c.region)] || x.Finding.Process.Exe == "" ||
			e.Signal != "library" || !strings.HasPrefix(e.Library, "OpenSSL 3.") || e.Source == "" {
			t.Errorf("%s: %+v, its process is %d", c.how, x, pids[regional(c.region)])
		}
	}
	for series, least := range map[string]float64{
		`dynwatch_certificate_observations_total{seen_by="library",visibility="encrypted"}`: hidden,
		`dynwatch_client_verification_total{verifies="no"}`:                                 careless,
		`dynwatch_client_verification_total{verifies="yes"}`:                                float64(len(agentClients)) - careless - 1,
		`dynwatch_findings_total{rule="verification-disabled",severity="critical"}`:         careless,
		`dynwatch_library_probes_up`:                                                        1,
		`dynwatch_library_probes{library="openssl"}`:                                        2,
	} {
		if got := a.metric(series); got < least {
			t.Errorf("%s is %v, want %v or more", series, got, least)
		}
	}
	close(stopWatching)
	<-watched
	for _, want := range []string{`"rule":"verification-disabled"`, "OpenSSL 3.", "verify=False"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in the page's state", want)
		}
	}
	a.cmd.Process.Signal(syscall.SIGTERM)
	if err := a.cmd.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	stored := func(what string) (text string, lines []keptLine) {
		list, err := testenv.Command(t, filepath.Join(r.dir, "dynwatch"), what, "--state-dir", state, "-o", "json").Output()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for line := range bytes.Lines(list) {
			var k keptLine
			if err := json.Unmarshal(line, &k); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			lines = append(lines, k)
		}
		return string(list), lines
	}
	list, findings := stored("findings")
	_, inventory := stored("inventory")
	for _, c := range agentClients {
		name, verdict, want := regional(c.region), "ok", 0
		if c.careless {
			verdict, want = "finding", 1
		}
		n := 0
		for _, f := range findings {
			if f.Process.PID == pids[name] {
				n++
			}
		}
		if n != want {
			t.Errorf("%s with %s, process %d: %d findings are kept, want %d, of %d in all", c.how, c.region, pids[name], n, want, len(findings))
		}
		var entries []keptLine
		for _, e := range inventory {
			if e.Endpoint == name && e.Verdict == verdict && e.Issuer == testchains.Good.Issuer() {
				entries = append(entries, e)
			}
		}
		if len(entries) == 0 {
			t.Errorf("%s with %s: the inventory has none that is %s with the good issuer", c.how, c.region, verdict)
		}
	}
	log, err := os.ReadFile(a.log)
	if err != nil {
		t.Fatal(err)
	}
	if secret := leaked([]byte(page + list + string(log) + h.raw.String())); secret != "" {
		t.Errorf("%q came out", secret)
	}
}
