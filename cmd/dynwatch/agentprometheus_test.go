package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// boto3 asks a server in clear for an item; what it makes of the answer does not matter.
const boto3 = `import boto3, sys
from botocore.config import Config
c = boto3.client("dynamodb", endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
    aws_secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", config=Config(retries={"max_attempts": 0}, read_timeout=5))
try:
    c.get_item(TableName="orders", Key={"id": {"S": "1"}})
except Exception as e:
    print(e)
`

// TestPrometheusScrapesTheAgent has a real Prometheus scrape a real agent, with a password, after a real boto3 client spoke in clear.
func TestPrometheusScrapesTheAgent(t *testing.T) {
	testenv.Root(t)
	prometheus := testenv.Tool(t, "prometheus")
	python := testenv.Tool(t, "/usr/bin/python3") // Debian's packages belong to Debian's Python
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("a password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	web := file("web.yml", fmt.Sprintf("basic_auth_users:\n  prometheus: %s\n", hash))
	const address = "127.0.9.23"
	config := file("dynwatch.yaml", fmt.Sprintf("source: {kind: ebpf}\nstate_dir: ''\nweb: {listen: '127.0.0.1:0', config_file: '%s'}\npolicy: {endpoint: ['%s/32']}\n",
		web, address))
	w := newWatch(t)
	w.cmd.Args = []string{w.cmd.Args[0], "agent", "--config", config}
	w.start()
	target := ""
	w.await("the agent watches", func() bool {
		for line := range strings.Lines(w.stderr.String()) {
			var said struct{ Listen string }
			if json.Unmarshal([]byte(line), &said) == nil && said.Listen != "" {
				target = said.Listen
			}
		}
		return target != "" && strings.Contains(w.stderr.String(), "watching this host")
	})
	var status int
	w.await("an answer", func() bool {
		res, err := http.Get("http://" + target + "/metrics")
		if err != nil {
			return false
		}
		res.Body.Close()
		status = res.StatusCode
		return true
	})
	if status != http.StatusUnauthorized {
		t.Errorf("without a password: %d", status)
	}
	out, err := exec.Command(python, "-c", boto3, "http://"+serveClear(t, address).String()).CombinedOutput()
	if err != nil {
		t.Fatalf("boto3: %v: %s", err, out)
	}

	api := testnet.Free(t)
	scrape := file("prometheus.yml", fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: dynwatch\n  basic_auth: {username: prometheus, password: a password}\n"+
		"  static_configs: [{targets: ['%s']}]\n", target))
	log := &syncBuffer{}
	p := exec.Command(prometheus, "--config.file="+scrape, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address="+api)
	p.Stdout, p.Stderr, p.SysProcAttr = log, log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
	})
	value := func(query string) string {
		res, err := http.Get("http://" + api + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			return ""
		}
		defer res.Body.Close()
		var answer struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		if json.NewDecoder(res.Body).Decode(&answer) != nil || len(answer.Data.Result) == 0 {
			return ""
		}
		return fmt.Sprint(answer.Data.Result[0].Value[1])
	}
	for query, want := range map[string]string{
		`up{job="dynwatch"}`:                                                  "1",
		`dynwatch_source_up{source="ebpf"}`:                                   "1",
		`sum(dynwatch_findings_total{rule="plaintext"}) > bool 0`:             "1",
		`dynwatch_findings_total{rule="tls-capped",severity="low"} >= bool 0`: "1",
	} {
		for deadline := time.Now().Add(40 * time.Second); value(query) != want; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is %q\n%s", query, value(query), log.String())
			}
		}
	}
	if strings.Contains(w.stderr.String(), "wJalrXUtnFEMI") || strings.Contains(w.stderr.String(), "Signature=") {
		t.Error("a secret came out")
	}
}
