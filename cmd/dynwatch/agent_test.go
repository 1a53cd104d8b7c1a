package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// agentRun is dynwatch agent in a process of its own.
type agentRun struct {
	*watch
	base string
}

// startAgent starts an agent with a configuration, and returns when it watches.
func startAgent(t *testing.T, config string, args ...string) *agentRun {
	t.Helper()
	w := newWatch(t)
	w.cmd.Args = append([]string{w.cmd.Args[0], "agent", "--config", config}, args...)
	w.start()
	a := &agentRun{watch: w}
	a.await("the agent listens", func() bool {
		for line := range strings.Lines(w.stderr.String()) {
			var said struct{ Msg, Listen string }
			if json.Unmarshal([]byte(line), &said) == nil && said.Listen != "" {
				a.base = "http://" + said.Listen
			}
		}
		return a.base != ""
	})
	a.await("the agent is ready", func() bool { status, _ := a.get("/readyz"); return status == http.StatusOK })
	return a
}

func (a *agentRun) get(path string) (status int, body string) {
	res, err := http.Get(a.base + path)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

// metric is the value of one series; "" if it is not there.
func (a *agentRun) metric(series string) string {
	_, body := a.get("/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (a *agentRun) awaitMetric(series, value string) {
	a.t.Helper()
	a.await(series+" "+value, func() bool { return a.metric(series) == value })
}

// hook is a receiver of alerts.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	alerts []map[string]any
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var a map[string]any
		if json.NewDecoder(r.Body).Decode(&a) == nil {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.alerts = append(h.alerts, a)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.alerts)
}

// TestTheAgentTellsOfAFinding runs the whole agent over the loopback interface: a cleartext request becomes a metric, a line of the log, an entry
// of the inventory and an alert; a wrong configuration changes nothing, and a right one does.
func TestTheAgentTellsOfAFinding(t *testing.T) {
	for source, set := range map[string]string{"ebpf": "{kind: ebpf}", "packet": "{kind: packet, interfaces: [lo]}"} {
		t.Run(source, func(t *testing.T) {
			address := map[string]string{"ebpf": "127.0.9.21", "packet": "127.0.9.22"}[source]
			dir, h := t.TempDir(), newHook(t)
			state, name := filepath.Join(dir, "state"), filepath.Join(dir, "dynwatch.yaml")
			write := func(more string) {
				t.Helper()
				// Of packets, nothing else on this host is to be found: other tests run beside this one.
				text := fmt.Sprintf("source: %s\nstate_dir: %s\nweb: {listen: '127.0.0.1:0'}\npolicy: {endpoint: ['%s/32']}\nreceivers: [{webhook: {url: '%s'}}]\n%s",
					set, state, address, h.URL, more)
				replaceFile(t, name, text)
			}
			write("")
			a := startAgent(t, name)
			server := serveClear(t, address)
			ask := func() (client string) { return fmt.Sprintf(`"client":"%s"`, askClear(t, server).LocalAddr()) }
			findings := func(client string) (n int) {
				for line := range strings.Lines(a.stderr.String()) {
					if strings.Contains(line, `"msg":"finding"`) && strings.Contains(line, server.String()) && strings.Contains(line, client) {
						n++
					}
				}
				return n
			}
			// With eBPF others' findings are found, too, and the log takes only so many a second.
			var asked []string
			a.await("the finding in the log", func() bool {
				client := ask()
				asked = append(asked, client)
				for range 100 {
					if findings(client) > 0 {
						return true
					}
					time.Sleep(10 * time.Millisecond)
				}
				return false
			})
			a.await("the alert", func() bool { return h.count() >= 1 })
			if v := a.metric(`dynwatch_findings_total{rule="plaintext",severity="critical"}`); v == "" || v == "0" {
				t.Errorf("findings_total is %q", v)
			}
			if v := a.metric(`dynwatch_sink_alerts_total{result="sent",sink="webhook"}`); v == "" {
				t.Error("no metric of the receiver")
			}
			checkPrometheusFormat(t, a)

			write("severity: {plaintxt: high}\n")
			a.cmd.Process.Signal(syscall.SIGHUP)
			a.awaitMetric("dynwatch_config_last_reload_successful", "0")
			if !strings.Contains(a.stderr.String(), `did you mean \"plaintext\"?`) {
				t.Errorf("the log is %s", a.stderr.String())
			}
			write("exceptions: [{rules: [plaintext], process: '*.test', reason: a test, expires: 2999-01-01}]\n")
			a.cmd.Process.Signal(syscall.SIGHUP)
			a.awaitMetric("dynwatch_config_last_reload_successful", "1")
			suppressed := ask()
			a.await("the suppressed finding", func() bool {
				v := a.metric(`dynwatch_findings_suppressed_total{reason="exception",rule="plaintext"}`)
				return v != "" && v != "0"
			})
			if n := findings(suppressed); n != 0 {
				t.Errorf("%d findings in the log though there is an exception", n)
			}
			for _, client := range asked {
				if n := findings(client); n > 1 {
					t.Errorf("%d findings in the log of one connection", n)
				}
			}

			a.cmd.Process.Signal(syscall.SIGTERM)
			<-a.done
			if code := a.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("status %d: %s", code, a.stderr.String())
			}
			out, stderr, status := call(nil, "inventory", "--state-dir", state, "-o", "json")
			if status != 0 || !strings.Contains(out, `"transport":"http"`) {
				t.Errorf("inventory: %d %s%s", status, out, stderr)
			}
			out, stderr, status = call(nil, "findings", "--state-dir", state, "-o", "json")
			if status != 0 || strings.Count(out, server.String()) < 1 && !strings.Contains(out, "plaintext") {
				t.Errorf("findings: %d %s%s", status, out, stderr)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			all, err := json.Marshal(h.alerts)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(h.alerts, func(x map[string]any) bool { return x["rule"] == "plaintext" }) {
				t.Errorf("alerts %s", all)
			}
			if strings.Contains(string(all)+out+a.stderr.String(), liveSecret) {
				t.Error("a secret came out")
			}
		})
	}
}

// TestReceiversChangeWithoutANewStart begins without receivers, and is given some, other ones, wrong ones and none while it runs.
func TestReceiversChangeWithoutANewStart(t *testing.T) {
	const address = "127.0.9.23"
	dir, h := t.TempDir(), newHook(t)
	name := filepath.Join(dir, "dynwatch.yaml")
	write := func(receivers string) {
		t.Helper()
		text := fmt.Sprintf("source: {kind: packet, interfaces: [lo]}\nstate_dir: %s\nweb: {listen: '127.0.0.1:0'}\npolicy: {endpoint: ['%s/32']}\n%s\n",
			filepath.Join(dir, "state"), address, receivers)
		replaceFile(t, name, text)
	}
	write("")
	a := startAgent(t, name)
	reload := func(receivers, ok string) {
		t.Helper()
		n := strings.Count(a.stderr.String(), ok)
		write(receivers)
		a.cmd.Process.Signal(syscall.SIGHUP)
		a.await(ok, func() bool { return strings.Count(a.stderr.String(), ok) > n })
	}
	const taken, refused = "a new configuration is in use", "the old one stays in use"
	// Each Region is another endpoint, and so another kind of finding.
	find := func(region string) {
		t.Helper()
		c, err := net.Dial("tcp", serveClear(t, address).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: dynamodb.%s.amazonaws.com\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Length: 2\r\n\r\n{}", region)
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}

	reload("receivers: [{name: pager, webhook: {url: 'http://127.0.0.1:1/'}}]", taken)
	find("eu-west-1")
	a.await("an alert that waits", func() bool {
		failed := a.metric(`dynwatch_sink_alerts_total{result="failed",sink="webhook"}`)
		return a.metric(`dynwatch_sink_queue_length{sink="webhook"}`) != "0" && failed != "0" && failed != ""
	})
	reload("receivers: [{name: pager, webhook: {url: 'ftp://127.0.0.1/'}}]", refused)
	reload("receivers: [{name: pager, syslog: {network: tls, address: '127.0.0.1:1', tls: {ca_file: /nowhere/ca.pem}}}]", refused)
	a.awaitMetric("dynwatch_config_last_reload_successful", "0")
	if n := h.count(); n != 0 {
		t.Errorf("%d alerts came from nowhere", n)
	}

	// The receiver's new address: what waited goes there, long before the next attempt was due.
	reload("receivers: [{name: pager, webhook: {url: '"+h.URL+"'}}]", taken)
	a.await("the alert", func() bool { return h.count() > 0 })
	a.awaitMetric(`dynwatch_sink_queue_length{sink="webhook"}`, "0")
	before := h.count()

	reload("", taken)
	reload("receivers: [{name: other, otlp: {url: 'http://127.0.0.1:1'}}, {name: pager, webhook: {url: '"+h.URL+"'}}]", taken)
	find("eu-west-2")
	a.await("another alert", func() bool { return h.count() > before })
	a.await("one that waits for the collector", func() bool { return a.metric(`dynwatch_sink_queue_length{sink="otlp"}`) == "1" })
	reload("receivers: [{name: pager, webhook: {url: '"+h.URL+"'}}]", taken)
	a.awaitMetric("dynwatch_alerts_orphaned_total", "1")
	a.awaitMetric(`dynwatch_sink_queue_length{sink="otlp"}`, "0")
	if strings.Contains(a.stderr.String(), "take effect when the agent is started anew") {
		t.Error("a new start is asked for")
	}
}

// checkPrometheusFormat has promtool read the metrics.
func checkPrometheusFormat(t *testing.T, a *agentRun) {
	t.Helper()
	promtool := testenv.Tool(t, "promtool")
	_, body := a.get("/metrics")
	cmd := exec.Command(promtool, "check", "metrics")
	// Go's and the process's own names are not ours to mend.
	var own strings.Builder
	for line := range strings.Lines(body) {
		if strings.Contains(line, "dynwatch_") {
			own.WriteString(line)
		}
	}
	cmd.Stdin = strings.NewReader(own.String())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v: %s", err, out)
	}
}

// TestConfigCheck is the operator's view of right and wrong files.
func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		name := filepath.Join(dir, "x.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, tt := range []struct {
		name, text, stderr string
		status             int
	}{
		{"a right one", "policy: {allow_region: [eu-west-1]}\n", "", 0},
		{"an exception that has ended", "exceptions: [{rules: [plaintext], unit: x.service, reason: why, expires: 2020-01-01}]\n", "exceptions[0] for plaintext has expired (2020-01-01) and no longer applies: why", 0},
		{"an unknown key", "polcy: {}\n", `x.yaml:1:1: unknown key "polcy": did you mean "policy"?`, 2},
		{"a file that is not there", "policy: {allow_ca: [/nowhere/ca.pem]}\n", "x.yaml:1: policy.allow_ca: open /nowhere/ca.pem: no such file", 2},
		{"a file of passwords that is not there", "web: {config_file: /nowhere/web.yml}\n", "web.config_file: open /nowhere/web.yml", 2},
		{"a key that is not there", "receivers: [{webhook: {url: 'http://127.0.0.1:1', key_file: /nowhere/key}}]\n", "receivers[0]: webhook: key: open /nowhere/key", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, status := call(nil, "config", "check", file(tt.text))
			if status != tt.status || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("status %d, want %d; it says %s", status, tt.status, stderr)
			}
		})
	}
	out, _, status := call(nil, "config", "schema")
	if status != 0 || !json.Valid([]byte(out)) {
		t.Errorf("schema: %d %s", status, out)
	}
}

// replaceFile puts a file in the place of another at once, as those do whose files are watched.
func replaceFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}
