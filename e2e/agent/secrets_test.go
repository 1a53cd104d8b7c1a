package agent

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// What must not leave: of the traffic, of the clients' processes, and of the agent's own configuration. Each is planted in one place or two and is
// unlike all others.
const (
	secretKeyID    = "ASIAQ7PLANTED5X2KEYS" // its ends may be shown
	secretKey      = "planted/secret+access/key/9Jq2"
	secretToken    = "IQoJb3JpZ2luX2VjPLANTEDsessionTOKEN//wEaCXVz+Q=="
	secretItem     = "planted-card-4111111111111111"
	secretAnswer   = "planted-attribute-of-the-answer-7731"
	secretCookie   = "planted-cookie-8842aa"
	secretQuery    = "plantedquerysignature99110022"
	secretAPIKey   = "planted-api-key-in-a-query-55"
	secretProxy    = "planted-proxy-password-31337"
	secretEnv      = "planted-environment-value-q81"
	secretArgument = "planted-command-line-password-z4"
	secretWeb      = "planted-web-password-of-the-agent"
	secretHook     = "planted-hmac-key-of-the-webhook-x"
	secretHookURL  = "planted-path-of-the-webhook-T0K3N"
	secretAM       = "planted-password-for-alertmanager"
	secretBearer   = "planted-bearer-for-the-collector"
	secretConfig   = "planted-password-in-a-wrong-file"
)

// secret is one of them, with where it must have been, else the test proves nothing.
type secret struct {
	what, value string
	seen        func(*planted) string
}

// planted is what the servers got and what /proc told of the clients.
type planted struct {
	mu                   sync.Mutex
	wire                 bytes.Buffer // requests, those inside TLS and tunnels decrypted
	answers              bytes.Buffer
	environment, command string
	receivers            bytes.Buffer // heads of the requests to receivers, and of Prometheus's to the agent
	files                string       // that the configuration names
}

func (p *planted) of(b *bytes.Buffer) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return b.String()
}

func (p *planted) note(b *bytes.Buffer, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.Write(data)
}

// secrets are all that were planted; the signature is the one that boto3 computed.
func (p *planted) secrets(t *testing.T) []secret {
	t.Helper()
	wire := func(p *planted) string { return p.of(&p.wire) }
	answers := func(p *planted) string { return p.of(&p.answers) }
	environment := func(p *planted) string { return p.environment }
	command := func(p *planted) string { return p.command }
	receivers := func(p *planted) string { return p.of(&p.receivers) }
	files := func(p *planted) string { return p.files }
	list := []secret{
		{"middle of the access key id", secretKeyID[4:16], wire}, {"secret access key", secretKey, environment}, {"session token", secretToken, wire},
		{"item", secretItem, wire}, {"answer", secretAnswer, answers}, {"cookie", secretCookie, answers}, {"signature in a query", secretQuery, wire},
		{"key in a query", secretAPIKey, wire}, {"environment", secretEnv, environment}, {"argument", secretArgument, command}, {"argument of curl", secretProxy, command},
		{"password of a proxy", base64.StdEncoding.EncodeToString([]byte("planted-user:" + secretProxy)), wire},
		{"password of the agent's page", base64.StdEncoding.EncodeToString([]byte("operator:" + secretWeb)), receivers},
		{"key of the webhook", secretHook, files}, {"path of the webhook", secretHookURL, receivers},
		{"password for Alertmanager", base64.StdEncoding.EncodeToString([]byte("am:" + secretAM)), receivers}, {"bearer", secretBearer, receivers},
		{"password in a wrong configuration", secretConfig, files},
	}
	signatures := regexp.MustCompile(`Signature=([0-9a-f]{64})`).FindAllStringSubmatch(wire(p), -1)
	if len(signatures) < 2 {
		t.Errorf("%d signatures were seen", len(signatures))
	}
	for _, s := range signatures {
		list = append(list, secret{"signature", s[1], wire})
	}
	return list
}

// forms are the ways in which a secret could be written, and its beginning.
func forms(value string) []string {
	list := []string{value, value[:min(len(value), 20)], url.QueryEscape(value), hex.EncodeToString([]byte(value)), strings.ReplaceAll(value, "/", `\/`)}
	for shift := range 3 { // base64 of it somewhere in a longer text, without the digits that its neighbours share
		b := base64.StdEncoding.EncodeToString(append(make([]byte, shift), value...))
		list = append(list, b[4:len(b)-4])
	}
	return list
}

// serve answers requests with secrets, and notes what it gets.
func (p *planted) serve(c net.Conn) {
	in := bufio.NewReader(io.TeeReader(c, writer(func(b []byte) { p.note(&p.wire, b) })))
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.Method == http.MethodConnect {
			io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
			continue
		}
		io.Copy(io.Discard, r.Body)
		body := `{"Attributes":{"card":{"S":"` + secretAnswer + `"}}}`
		answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: Server\r\nContent-Type: application/x-amz-json-1.0\r\nSet-Cookie: session=%s\r\nContent-Length: %d\r\n\r\n%s", secretCookie, len(body), body)
		p.note(&p.answers, answer)
		c.Write(answer)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// plant starts servers and runs clients: boto3 in clear and over TLS, curl with a signed URL and through a proxy with a password.
func (p *planted) plant(t *testing.T) {
	t.Helper()
	listen := func(address string) net.Listener {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	testnet.Serve(t, listen(plantedServer+":80"), p.serve)
	testnet.Serve(t, listen(plantedProxy), p.serve)
	a := mustCertificates(t)
	leaf, err := a.unknown.Server(a.key, regional("us-east-1"))
	if err != nil {
		t.Fatal(err)
	}
	testnet.Serve(t, listen(plantedServer+":443"), func(c net.Conn) {
		p.serve(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{leaf}, MaxVersion: tls.VersionTLS12}))
	})

	// Debian's packages belong to Debian's Python.
	boto3 := exec.Command(testenv.Tool(t, "/usr/bin/python3"), "testdata/client.py", "--password", secretArgument)
	boto3.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+secretKeyID, "AWS_SECRET_ACCESS_KEY="+secretKey, "AWS_SESSION_TOKEN="+secretToken, "AWS_EC2_METADATA_DISABLED=true",
		"CARD="+secretItem, "PASSWORD="+secretEnv, "PYTHONDONTWRITEBYTECODE=1")
	stay, err := boto3.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	client := startCommand(t, boto3)
	await(t, "boto3", func() error {
		if !strings.Contains(client.stdout.String(), "done") {
			return errors.New("it is not done")
		}
		return nil
	}, client)
	read := func(name string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", client.Process.Pid, name))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	p.environment, p.command = read("environ"), read("cmdline")
	t.Cleanup(func() { stay.Close() })
	for _, args := range [][]string{
		{"http://" + regional("us-east-1") + "/?X-Amz-Credential=" + secretKeyID + "&X-Amz-Signature=" + secretQuery + "&api_key=" + secretAPIKey},
		{"--proxy", "http://planted-user:" + secretProxy + "@" + plantedProxy, "--proxytunnel", "http://" + regional("us-east-1") + "/"},
		{"--proxy", "http://planted-user:" + secretProxy + "@" + plantedProxy, "http://" + regional("us-east-1") + "/?api_key=" + secretAPIKey},
	} {
		args = append(args, "--silent", "--show-error", "--header", "X-Amz-Target: DynamoDB_20120810.PutItem", "--header", "X-Amz-Security-Token: "+secretToken,
			"--data", `{"TableName":"Orders","Item":{"card":{"S":"`+secretItem+`"}}}`)
		cmd := testenv.Command(t, "curl", args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("curl: %v: %s", err, out)
		}
		p.command += strings.Join(cmd.Args, " ")
	}
}

const (
	plantedServer = "203.0.113.20" // hosts has it for the endpoint's name
	plantedProxy  = "203.0.113.21:3128"
)

// forward passes requests on.
func forward(to *url.URL) http.Handler { return httputil.NewSingleHostReverseProxy(to) }

// receiver notes the bodies that it gets as an output of the agent, and their heads as what may hold the agent's own passwords.
func (p *planted) receiver(t *testing.T, name string, to *outputs, next http.Handler) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		p.note(&p.receivers, fmt.Appendf(nil, "%s %v\n", r.URL, r.Header))
		text := body
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err == nil {
				text, err = io.ReadAll(z)
			}
			if err != nil {
				t.Error(err)
			}
		}
		to.add(name, string(text))
		if next != nil {
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// outputs are all texts that came out, by what they came out of.
type outputs struct {
	mu   sync.Mutex
	text map[string]string
}

func (o *outputs) add(name, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text == nil {
		o.text = map[string]string{}
	}
	o.text[name] += text + "\n"
}

func (o *outputs) get(name string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text[name]
}

// holds says which secrets a text holds.
func holds(text string, secrets []secret) (found []string) {
	for _, s := range secrets {
		for _, form := range forms(s.value) {
			if i := strings.Index(text, form); i >= 0 {
				found = append(found, fmt.Sprintf("%s: …%q…", s.what, text[max(i-100, 0):min(i+100, len(text))]))
				break
			}
		}
	}
	return found
}

// run runs dynwatch to its end, whatever its status.
func run(t *testing.T, o *outputs, name string, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o.add(name, string(stdout)+stderr.String())
}

// TestNoPlantedSecretLeaves: clients send secrets in clear, over TLS and through a proxy, and have others in their environment and arguments; the agent is
// configured with secrets of its own. Everything that dynwatch then says, sends and writes is searched for them.
func TestNoPlantedSecretLeaves(t *testing.T) {
	ready(t)
	dir := t.TempDir()
	var p planted
	out := &outputs{}
	ranges, root := file(t, "ip-ranges.json", rangesJSON), file(t, "root.pem", string(mustCertificates(t).amazon.PEM()))

	// The agent, with every kind of receiver that can be watched.
	hash, err := bcrypt.GenerateFromPassword([]byte(secretWeb), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	am, err := url.Parse(startAlertmanager(t))
	if err != nil {
		t.Fatal(err)
	}
	syslog, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	testnet.Serve(t, syslog, func(c net.Conn) {
		c.SetDeadline(time.Time{})
		io.Copy(writer(func(b []byte) { out.add("syslog", string(b)) }), c)
	})
	state := filepath.Join(dir, "state")
	p.files = secretHook + secretAM + secretBearer
	config := func(more string) string {
		return fmt.Sprintf(`source: {kind: ebpf}
state_dir: %s
log: {level: debug}
metrics: {workloads: true}
web: {listen: '127.0.0.1:0', config_file: %s}
policy: {allow_ca: [%s], ranges: %s}
receivers:
- alertmanager: {urls: ['%s'], http: {username: am, password_file: %s}}
- webhook: {url: '%s/%s?token=%s', key_file: %s}
- otlp: {url: '%s/v1/logs', http: {bearer_file: %s}}
- syslog: {network: tcp, address: '%s'}
%s`, state, file(t, "web.yml", fmt.Sprintf("basic_auth_users:\n  operator: %s\n", hash)), root, ranges,
			p.receiver(t, "Alertmanager's requests", out, forward(am)), file(t, "am", secretAM),
			p.receiver(t, "webhook", out, nil), secretHookURL, secretHookURL, file(t, "key", secretHook),
			p.receiver(t, "OTLP", out, nil), file(t, "bearer", secretBearer), syslog.Addr(), more)
	}
	a := &agent{process: start(t, program, "agent", "--config", file(t, "dynwatch.yaml", config("")))}
	page := func(path, accept string) (string, error) {
		r, err := http.NewRequest(http.MethodGet, "http://"+a.address+path, nil)
		if err != nil {
			return "", err
		}
		r.SetBasicAuth("operator", secretWeb)
		r.Header.Set("Accept", accept)
		p.note(&p.receivers, fmt.Appendf(nil, "%v\n", r.Header))
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", res.Status, b)
		}
		return string(b), err
	}
	await(t, "the agent watches", func() error {
		a.listens()
		_, err := page("/readyz", "")
		return err
	}, a.process)

	// Live captures of every form.
	captures := map[string]*process{}
	copies := map[string]string{}
	for name, args := range map[string][]string{
		"text":                {"--source", "ebpf"},
		"JSON":                {"--source", "ebpf", "-o", "json", "-w", ""},
		"packets":             {"-i", "lo", "-o", "json", "--all", "--tables", "-w", ""},
		"packets with theirs": {"-i", "lo", "-w", "", "--write-payload"},
	} {
		if i := slices.Index(args, "-w"); i > 0 {
			copies[name] = filepath.Join(dir, name+".pcapng")
			args[i+1] = copies[name]
		}
		c := start(t, program, append([]string{"capture", "--allow-ca", root, "--ranges", ranges}, args...)...)
		await(t, name, func() error {
			if !strings.Contains(c.stderr.String(), "watching this host") {
				return errors.New("it does not watch")
			}
			return nil
		}, c)
		captures[name] = c
	}

	p.plant(t)
	run(t, out, "capture of a command", nil, "capture", "-o", "json", "--ranges", ranges, "--", testenv.Tool(t, "curl"), "--silent", "--output", "/dev/null",
		"--header", "X-Amz-Security-Token: "+secretToken, "http://"+regional("us-east-1")+"/?api_key="+secretAPIKey)

	// Everything has come out when the latest kind of session shows everywhere.
	sessions := []string{"plaintext", "unexpected-issuer", "cleartext-proxy"}
	all := func(name, text string) error {
		for _, s := range sessions {
			if !strings.Contains(text, s) {
				return fmt.Errorf("%s has no %s: %s", name, s, text[max(0, len(text)-2000):])
			}
		}
		return nil
	}
	for name, c := range captures {
		await(t, name, func() error { return all(name, c.stdout.String()) }, c)
		c.Process.Signal(syscall.SIGUSR1)
		c.Process.Signal(syscall.SIGINT)
		<-c.done
		out.add("capture, "+name, c.stdout.String()+c.stderr.String())
	}
	for _, name := range []string{"webhook", "OTLP", "syslog", "Alertmanager's requests"} {
		await(t, name, func() error { return all(name, out.get(name)) }, a.process)
	}
	for _, path := range []string{"/", "/api/state", "/metrics", "/livez"} {
		for _, accept := range []string{"*/*", "application/openmetrics-text"} {
			text, err := page(path, accept)
			if err != nil {
				t.Error(err)
			}
			out.add("page "+path, text)
		}
	}
	alerts, err := get(am.String() + "/api/v2/alerts")
	if err != nil {
		t.Error(err)
	}
	out.add("Alertmanager", alerts)
	// The agent writes its history a moment after what it tells of.
	for command, word := range map[string]string{"inventory": "python3", "findings": "unexpected-issuer"} {
		await(t, command+" tells of "+word, func() error {
			said, err := exec.Command(program, command, "--state-dir", state).CombinedOutput()
			if err == nil && !bytes.Contains(said, []byte(word)) {
				err = fmt.Errorf("it says %s", said)
			}
			return err
		}, a.process)
	}
	for _, form := range []string{"table", "csv", "json"} {
		run(t, out, "inventory", nil, "inventory", "--state-dir", state, "-o", form)
		run(t, out, "findings", nil, "findings", "--state-dir", state, "-o", form)
	}
	environment := []string{"HTTPS_PROXY=http://planted-user:" + secretProxy + "@" + plantedProxy, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_SESSION_TOKEN=" + secretToken, "PASSWORD=" + secretEnv}
	for _, form := range []string{"text", "json"} {
		run(t, out, "doctor", environment, "doctor", "-o", form)
		run(t, out, "probe", environment, "probe", "--ranges", ranges, "--plaintext=80", "-o", form, regional("us-east-1"))
		run(t, out, "probe by a proxy", environment, "probe", "--ranges", ranges, "--via-proxy", plantedProxy, "--brief", "-o", form, regional("us-east-1"))
	}
	// Configurations that are wrong where a password stands.
	for _, more := range []string{"- {name: b, webhook: {url: 'https://u:" + secretConfig + "@hook.example/'}}", "- {name: b, webhook: {url: 'https://hook.example/', http: {password: " + secretConfig + "}}}",
		"- {name: b, webhook: {url: 'https://hook.example/" + secretConfig + "', key: x}}", "- webhook: {url: 'https://hook.example/?t=" + secretConfig + "'}"} {
		p.files += more
		run(t, out, "config check", environment, "config", "check", file(t, "wrong.yaml", config(more)))
	}
	if status := a.end(t); status != 0 {
		t.Errorf("the agent ends with status %d: %s", status, a.tail())
	}
	out.add("the agent's log", a.stdout.String()+a.stderr.String())
	err = filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		out.add("file "+d.Name(), string(b))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for name, path := range copies {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		comments, err := testenv.Command(t, "tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.comment").Output()
		if err != nil {
			t.Fatal(err)
		}
		out.add("comments of the copy, "+name, string(comments))
		if strings.HasSuffix(name, "theirs") {
			// Whole packets are what was asked for. This is also how it shows that the secrets went by.
			for _, want := range []string{secretToken, secretItem, secretAnswer, secretQuery} {
				if !bytes.Contains(b, []byte(want)) {
					t.Errorf("%s: %s is not in the packets", name, want)
				}
			}
			continue
		}
		out.add("copy, "+name, string(b))
	}

	secrets := p.secrets(t)
	for _, s := range secrets {
		if !strings.Contains(s.seen(&p), s.value) {
			t.Errorf("%s: %s was nowhere: the test tests nothing", s.what, s.value)
		}
	}
	// Every output tells of what happened, so a secret could be in it.
	for name, word := range map[string]string{
		"capture, text": "plaintext", "capture, JSON": "session_token", "capture, packets": `"Orders"`, "capture of a command": "plaintext", "copy, JSON": "dynwatch: opened by",
		"comments of the copy, packets with theirs": "plaintext", "inventory": "python3", "findings": "unexpected-issuer", "doctor": "ebpf", "probe": regional("us-east-1"),
		"probe by a proxy": regional("us-east-1"), "page /": "<html", "page /api/state": "plaintext", "page /metrics": `rule="plaintext"`, "the agent's log": "plaintext",
		"Alertmanager": "docs/runbooks/DynwatchCleartext.md", "config check": "receivers[", "file alerts.journal": "plaintext", "file history.journal": "plaintext",
	} {
		if !strings.Contains(out.get(name), word) {
			t.Errorf("%s does not tell of %s: %.2000s", name, word, out.get(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(out.text)) {
		for _, found := range holds(out.text[name], secrets) {
			t.Errorf("%s holds %s", name, found)
		}
	}
	t.Logf("%d secrets, %d outputs", len(secrets), len(out.text))
	// The search finds what is there.
	if found := holds(p.of(&p.wire)+p.of(&p.receivers), secrets); len(found) < 10 {
		t.Errorf("on the wire only %q was found", found)
	}
}
