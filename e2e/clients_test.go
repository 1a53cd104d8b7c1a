package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What no observer may ever print.
const (
	secretKey   = "secret-key-of-the-tests"
	secretNote  = "note-of-the-tests"
	secretToken = "token-of-the-tests"
	secretProxy = "password-of-the-tests"
)

var (
	// secrets are all that, and what goes with it.
	secrets = []string{secretKey, secretNote, secretToken, secretProxy, "customer-of-the-tests"}
	// signature is one that is not masked, whoever of this host made it.
	signature = regexp.MustCompile(`Signature=[^*].{0,40}`)
)

// leaked is a secret that came out, "" if none did.
func leaked(out []byte) string {
	for _, secret := range secrets {
		if bytes.Contains(out, []byte(secret)) {
			return secret
		}
	}
	return string(signature.Find(out))
}

// outcome is how a client fared, and who it was.
type outcome struct {
	pid       int
	comm, exe string
	// thread is the name of the thread that connects, if it is not comm: the kernel's hooks tell that one.
	thread string
	// problem is the client's complaint, empty if it got its item.
	problem string
	// err is set when the client could not be run.
	err error
}

// rangesJSON is AWS's list for the tests.
const rangesJSON = `{"syncToken": "1700000000", "createDate": "2026-01-01-00-00-00", "ipv6_prefixes": [], "prefixes": [
	{"ip_prefix": "203.0.113.128/25", "region": "us-west-2", "service": "AMAZON", "network_border_group": "us-west-2"},
	{"ip_prefix": "203.0.113.128/25", "region": "us-west-2", "service": "DYNAMODB", "network_border_group": "us-west-2"}]}`

// writeClientFiles makes the list of addresses, and the configurations of OpenSSL by which Python speaks old versions, or no new ones.
func (r *rig) writeClientFiles() error {
	if err := os.WriteFile(filepath.Join(r.dir, "ip-ranges.json"), []byte(rangesJSON), 0o644); err != nil {
		return err
	}
	for name, settings := range map[string]string{
		"level0.cnf": "MinProtocol = TLSv1\nCipherString = DEFAULT@SECLEVEL=0\n",
		"max11.cnf":  "MinProtocol = TLSv1\nMaxProtocol = TLSv1.1\nCipherString = DEFAULT@SECLEVEL=0\n",
		"max12.cnf":  "MaxProtocol = TLSv1.2\nCipherString = DEFAULT@SECLEVEL=2\n",
	} {
		text := "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = default\n[default]\n" + settings
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for i, s := range r.scenarios {
		var err error
		line := s.addr.String() + " " + s.host
		switch {
		case s.byDNS:
			line = ""
		case s.mapped:
			line = "::ffff:" + line
		}
		if s.hosts, err = r.writeHosts("client-"+strconv.Itoa(i), []string{line}); err != nil {
			return err
		}
		if s.stays {
			s.ready, s.until = filepath.Join(r.dir, fmt.Sprintf("ready-%d", i)), filepath.Join(r.dir, fmt.Sprintf("until-%d", i))
		}
	}
	return nil
}

// runClients runs every scenario's client once, some at a time.
func (r *rig) runClients() {
	queue := make(chan *placed)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for s := range queue {
				if s.client == "django" || s.client == "flask" {
					s.outcome = r.askApplication(s)
				} else {
					s.outcome = r.runClient(s)
				}
			}
		})
	}
	for _, s := range r.scenarios {
		if !s.early {
			queue <- s
		}
	}
	close(queue)
	wg.Wait()
}

// fill puts the scenario's address and the rig's directory in.
func (r *rig) fill(s *placed, text string) string {
	return strings.NewReplacer("@ADDR@", bracketed(s.addr), "@DIR@", r.dir).Replace(text)
}

// optionsJSON is what the client gets as its argument.
func (r *rig) optionsJSON(s *placed) string {
	options := merged(map[string]any{"region": s.region}, s.options)
	if s.stays {
		options["ready"], options["until"] = s.ready, s.until
	}
	b, err := json.Marshal(options)
	if err != nil {
		panic(err) // a scenario that cannot be written as JSON
	}
	return r.fill(s, string(b))
}

// lateEnd has empty lines and ends late: a program of one request that reads it first lives as long as one whose server is far away. Whose code
// looks at a certificate is read from its process's mappings some milliseconds after the start, and when it is told of; it stays unknown, without a
// finding, if the program is gone by then, as one can be on a busy machine whose server answers at once.
type lateEnd struct{ lines int }

func (l *lateEnd) Read(b []byte) (int, error) {
	if l.lines += len(b); l.lines <= 1<<18 { // more than a pipe holds: what follows waits until the program itself reads
		for i := range b {
			b[i] = '\n'
		}
		return len(b), nil
	}
	time.Sleep(100 * time.Millisecond)
	return 0, io.EOF
}

func (r *rig) runClient(s *placed) outcome {
	var arguments, env []string
	var in io.Reader
	for _, e := range s.env {
		env = append(env, r.fill(s, e))
	}
	var o outcome
	switch s.client {
	case "boto3":
		// Debian's packages belong to Debian's Python.
		arguments = []string{"/usr/bin/python3", absolute("clients/boto3_client.py"), r.optionsJSON(s)}
		o.comm, o.exe = "python3", "/usr/bin/python3"
	case "node":
		arguments = []string{"node", absolute("clients/client.js"), r.optionsJSON(s)}
		env = append(env, "NODE_PATH="+r.modules, "NODE_EXTRA_CA_CERTS="+filepath.Join(r.dir, "roots.pem"), "NODE_NO_WARNINGS=1")
		o.comm, o.exe = "node", "/usr/bin/node"
	case "go":
		o.comm, o.exe = "goclient", filepath.Join(r.dir, "goclient")
		arguments = []string{o.exe, r.optionsJSON(s)}
	case "boringssl":
		o.comm, o.exe = filepath.Base(boringClient(r.dir)), boringClient(r.dir)
		arguments = []string{o.exe}
		for _, a := range s.args {
			arguments = append(arguments, r.fill(s, a))
		}
	case "crt":
		arguments = []string{"/usr/bin/python3", absolute("clients/crt_client.py")}
		o.comm, o.exe, o.thread = "python3", "/usr/bin/python3", "AwsEventLoop 1"
		for _, a := range s.args {
			arguments = append(arguments, r.fill(s, a))
		}
	case "java":
		o.comm, o.exe = "java", "/usr/bin/java"
		arguments = javaCommand(r.dir)
		for _, a := range s.args {
			arguments = append(arguments, r.fill(s, a))
		}
	case "curl":
		o.comm, o.exe = "curl", "/usr/bin/curl"
		arguments = []string{"curl", "--config", "-", "--silent", "--show-error", "--max-time", "20", "--output", "/dev/null"}
		in = &lateEnd{}
		for _, a := range s.args {
			arguments = append(arguments, r.fill(s, a))
		}
	}
	if exe, err := filepath.EvalSymlinks(o.exe); err == nil {
		o.exe = exe
	}
	p, err := r.launch(s.hosts, "client/"+strings.NewReplacer("/", "_", " ", "_").Replace(s.name), arguments, env, in)
	if err != nil {
		o.err = err
		return o
	}
	o.pid = p.Process.Pid
	if s.stays {
		r.awaitReports(s, p)
	}
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		p.end(syscall.SIGKILL, 0)
		o.err = fmt.Errorf("did not end: %s", tail(p.log))
		return o
	}
	text, err := os.ReadFile(p.log)
	if err != nil {
		o.err = err
		return o
	}
	if s.client == "curl" {
		if !p.ProcessState.Success() {
			o.problem = string(text)
		}
		return o
	}
	o.problem, _, o.err = report(text)
	return o
}

// awaitReports waits until the client has done its work and each live source has told of it, for some seconds, and lets it go.
func (r *rig) awaitReports(s *placed, p *process) {
	defer os.WriteFile(s.until, nil, 0o644)
	if r.wait("a client that stays", func() error {
		_, err := os.Stat(s.ready)
		if err != nil && p.running() != nil {
			return nil
		}
		return err
	}) != nil {
		return
	}
	if s.early {
		close(r.earlyConnected)
		<-r.observing
	}
	s.told = map[string]bool{}
	deadline := time.Now().Add(10 * time.Second)
	for len(s.told) < len(liveSources) && !(s.early && s.told["ebpf"]) && time.Now().Before(deadline) {
		for _, source := range liveSources {
			if b, err := os.ReadFile(r.outputOf(source)); err == nil && bytes.Contains(b, []byte(`"server_ip":"`+s.addr.String()+`"`)) {
				s.told[source] = true
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// report reads what a client says in JSON; other lines, which are warnings, are passed over.
func report(text []byte) (problem string, pid int, err error) {
	for line := range bytes.Lines(text) {
		var said struct {
			Problem *string
			PID     int
		}
		if json.Unmarshal(line, &said) == nil && said.Problem != nil {
			return *said.Problem, said.PID, nil
		}
	}
	return "", 0, fmt.Errorf("the client said %q", text)
}

// askApplication lets the web application do the client's work.
func (r *rig) askApplication(s *placed) outcome {
	o := outcome{comm: "gunicorn", exe: "/usr/bin/python3"}
	if exe, err := filepath.EvalSymlinks(o.exe); err == nil {
		o.exe = exe
	}
	client := &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", r.appSocket(s.client))
		},
	}}
	defer client.CloseIdleConnections()
	res, err := client.Post("http://application/order", "application/json", strings.NewReader(r.optionsJSON(s)))
	if err != nil {
		o.err = err
		return o
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, o.err = b.ReadFrom(res.Body); o.err == nil {
		o.problem, o.pid, o.err = report(b.Bytes())
	}
	return o
}

// absolute is a path below this package's directory, from which the tests run.
func absolute(name string) string {
	path, err := filepath.Abs(name)
	if err != nil {
		panic(err) // there is no working directory
	}
	return path
}

// mark sends the request that ends the tests.
func mark() error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequest("POST", "http://"+markerAddress.String()+"/", strings.NewReader("{}"))
	if err != nil {
		return err
	}
	req.Host = regional("us-east-1")
	req.Header.Set("User-Agent", markerAgent)
	req.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListTables")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// markerAgent can be found in a capture file.
const markerAgent = "end-of-the-tests"
