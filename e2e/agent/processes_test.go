package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// output of a process can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// process is one that a test started, and that ends with the test at the latest.
type process struct {
	*exec.Cmd
	stdout, stderr output
	done           chan struct{}
}

func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(name, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, done: make(chan struct{})}
	p.Stdout, p.Stderr, p.WaitDelay = &p.stdout, &p.stderr, 2*time.Second
	if p.SysProcAttr == nil {
		p.SysProcAttr = new(syscall.SysProcAttr)
	}
	p.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.done
	})
	return p
}

// end asks the process to end, and gives its exit status.
func (p *process) end(t *testing.T) int {
	t.Helper()
	p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Errorf("%s does not end\n%s", p.Path, p.tail())
		p.Process.Kill()
		<-p.done
	}
	return p.ProcessState.ExitCode()
}

// tail is the end of what it said.
func (p *process) tail() string {
	text := p.stdout.String() + p.stderr.String()
	return text[max(0, len(text)-4000):]
}

// await polls until ready gives nil. What it was that did not come is in the error; what ended meanwhile ends the test.
func await(t *testing.T, what string, ready func() error, alive ...*process) {
	t.Helper()
	awaitFor(t, 40*time.Second, what, ready, alive...)
}

// awaitFor is await for so long at most.
func awaitFor(t *testing.T, most time.Duration, what string, ready func() error, alive ...*process) {
	t.Helper()
	for deadline := time.Now().Add(most); ; time.Sleep(50 * time.Millisecond) {
		err := ready()
		if err == nil {
			return
		}
		for _, p := range alive {
			select {
			case <-p.done:
				t.Fatalf("%s: %s has ended: %s\n%s", what, p.Path, p.ProcessState, p.tail())
			default:
			}
		}
		if time.Now().After(deadline) {
			said := ""
			for _, p := range alive {
				said += p.tail()
			}
			t.Fatalf("%s: %v\n%s", what, err, said)
		}
	}
}

// agent is dynwatch agent.
type agent struct {
	*process
	address string
}

// startAgent starts an agent with a configuration, and returns when it watches.
func startAgent(t *testing.T, config string) *agent {
	t.Helper()
	a := &agent{process: start(t, program, "agent", "--config", file(t, "dynwatch.yaml", config))}
	await(t, "the agent watches", func() error {
		a.listens()
		_, err := get("http://" + a.address + "/readyz")
		return err
	}, a.process)
	return a
}

// listens reads from the log where it listens.
func (a *agent) listens() {
	for line := range strings.Lines(a.stderr.String()) {
		var said struct{ Listen string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Listen != "" {
			a.address = said.Listen
		}
	}
}

// get is the body of a page; a status other than 200 is an error.
func get(url string) (string, error) {
	res, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, res.Status, b)
	}
	return string(b), err
}

// file writes a file that ends with the test, and gives its name.
func file(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// startPrometheus starts a Prometheus at an address, and gives its API's URL when it answers.
func startPrometheus(t *testing.T, config, api string) string {
	t.Helper()
	p := start(t, testenv.Tool(t, "prometheus"), "--config.file="+file(t, "prometheus.yml", config), "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+api)
	await(t, "Prometheus", func() error { _, err := get("http://" + api + "/-/ready"); return err }, p)
	return "http://" + api
}

// startAlertmanager starts an Alertmanager that tells nobody, and gives its address.
func startAlertmanager(t *testing.T) string {
	t.Helper()
	api := testnet.Free(t)
	p := start(t, testenv.Tool(t, "prometheus-alertmanager"), "--config.file="+file(t, "alertmanager.yml", "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"),
		"--storage.path="+t.TempDir(), "--web.listen-address="+api, "--cluster.listen-address=")
	await(t, "Alertmanager", func() error { _, err := get("http://" + api + "/-/ready"); return err }, p)
	return "http://" + api
}
