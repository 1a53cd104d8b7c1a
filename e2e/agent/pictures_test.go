package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/dynwatch/dynwatch/internal/testbrowser"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// Pictures are drawn on demand: scripts/pictures.
var (
	view    = flag.String("view", "", "folder of a page that draws a dashboard, dash.json, over a Prometheus, /api")
	traffic = flag.Duration("traffic", 10*time.Minute, "how long there is traffic before the pictures are drawn")
)

// drawn is somebody who talks to DynamoDB in the pictures, and the cgroup it does so from.
type drawn struct {
	client
	cgroup string
}

// The pods in the pictures, by their names.
var drawnPods = map[string]string{
	podName:                     podUID,
	"reports-5f8d7c6b9-q8w2m":   "1b2c3d4e-5f6a-4b7c-8d9e-0f1a2b3c4d5e",
	"checkout-7b9f8c5d6d-k4z9p": "2c3d4e5f-6a7b-4c8d-9e0f-1a2b3c4d5e6f",
}

// drawnClients are those of a host where most is right.
func drawnClients(roots *x509.CertPool) []drawn {
	v := func(v uint16) [2]uint16 { return [2]uint16{v, v} }
	pod := func(name string) string { return podCgroup(drawnPods[name]) }
	const reports, checkout, billing, export = "reports-5f8d7c6b9-q8w2m", "checkout-7b9f8c5d6d-k4z9p", "system.slice/billing.service", "system.slice/legacy-export.service"
	return []drawn{
		{client{what: "good, TLS 1.3", server: "203.0.113.20:443", versions: v(tls.VersionTLS13), region: "us-east-1", roots: roots, pause: 300 * time.Millisecond}, pod(podName)},
		{client{what: "good, TLS 1.2", server: "203.0.113.21:443", versions: v(tls.VersionTLS12), region: "us-east-1", roots: roots, pause: 700 * time.Millisecond}, billing},
		{client{what: "good, another region", server: "203.0.113.22:443", versions: v(tls.VersionTLS13), region: "eu-west-1", roots: roots, pause: 900 * time.Millisecond}, pod(checkout)},
		{client{what: "not verifying", server: "203.0.113.23:443", versions: v(tls.VersionTLS13), region: "eu-west-1", pause: 25 * time.Second}, pod(reports)},
		{client{what: "old", server: "203.0.113.24:443", versions: v(tls.VersionTLS10), region: "eu-central-1", roots: roots, pause: 17 * time.Second}, export},
		{client{what: "plaintext", server: "203.0.113.25:80", region: "us-east-1", pause: 40 * time.Second}, export},
		{client{what: "an unknown issuer", server: "203.0.113.26:443", versions: v(tls.VersionTLS12), unknown: true, region: "us-east-1", pause: 50 * time.Second}, pod(reports)},
		{client{what: "a certificate for another name", server: "203.0.113.27:443", versions: v(tls.VersionTLS12), wrongName: true, region: "us-east-1", pause: 90 * time.Second}, billing},
	}
}

// clientEnv makes this test binary one of drawnClients; its value is the index, and the file with the root.
const clientEnv = "DYNWATCH_AGENT_TEST_CLIENT"

func runClient(which string) error {
	number, file, _ := strings.Cut(which, " ")
	pem, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	n, err := strconv.Atoi(number)
	if list := drawnClients(roots); err == nil && roots.AppendCertsFromPEM(pem) && n < len(list) {
		return list[n].keepAsking(context.Background())
	}
	return fmt.Errorf("no client %q", which)
}

// begin starts the client's server, and the client in its cgroup.
func (d drawn) begin(t *testing.T, number int, root string) {
	t.Helper()
	d.serve(t)
	cgroup, remove := makeCgroup(t, d.cgroup)
	t.Cleanup(remove)
	dir, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", clientEnv, number, root))
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	startCommand(t, cmd)
}

// TestPictures draws every dashboard in both themes: without a host, with hosts that have seen nothing, and with all kinds of findings; and, with
// those, the agent's own page. Files without a word behind the dashboard's name have the dark theme, and findings.
func TestPictures(t *testing.T) {
	if *view == "" {
		testenv.Beyond(t, "the tests: scripts/pictures draws")
	}
	ready(t)
	to := os.Getenv("DYNWATCH_PICTURES")
	if to == "" {
		t.Fatal("DYNWATCH_PICTURES names no folder")
	}
	if _, err := os.Stat(filepath.Join(*view, "index.html")); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if out, err := testenv.Command(t, program, "dashboards", "export", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "grafana", "dynwatch-*.json"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%v %v", files, err)
	}
	for name, uid := range drawnPods {
		if err := os.MkdirAll("/var/log/pods/"+podNamespace+"_"+name+"_"+uid, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := painter{browser: testbrowser.New(t, *traffic+20*time.Minute), folder: to}
	all := func(prometheus, state string) {
		for _, f := range files {
			name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "dynwatch-"), ".json")
			p.draw(t, prometheus, f, "dashboard-"+name+state)
		}
	}
	all(startPrometheus(t, "global: {scrape_interval: 15s}\n", testnet.Free(t)), "-nothing")
	sockets, packets := startHosts(t)
	api := startPrometheus(t, fmt.Sprintf(`global: {scrape_interval: 5s, evaluation_interval: 5s}
rule_files: ['%s/*.yml']
scrape_configs:
- job_name: dynwatch
  static_configs:
  - {targets: ['%s'], labels: {instance: 'host-1:9464'}}
  - {targets: ['%s'], labels: {instance: 'host-2:9464'}}
`, filepath.Join(dir, "prometheus"), sockets.address, packets.address), testnet.Free(t))
	time.Sleep(75 * time.Second) // rates look back over a minute
	all(api, "-quiet")

	roots := x509.NewCertPool()
	pem := mustCertificates(t).amazon.PEM()
	roots.AppendCertsFromPEM(pem)
	root := file(t, "root.pem", string(pem))
	for i, d := range drawnClients(roots) {
		d.begin(t, i, root)
	}
	for n, end := 0, time.Now().Add(*traffic); time.Now().Before(end); n++ {
		if n%6 == 0 {
			put(t, lossy(t, n))
		}
		time.Sleep(10 * time.Second)
	}
	all(api, "")
}

// painter draws by a page that others made (scripts/pictures says which), in a browser.
type painter struct {
	browser context.Context
	folder  string
}

// chosen are the variables of a dashboard in its queries, without those that Grafana itself fills.
var chosen = regexp.MustCompile(`\$[a-z][a-z_]*`)

// draw draws a dashboard in both themes.
func (p painter) draw(t *testing.T, prometheus, dashboard, name string) {
	t.Helper()
	text, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	shown, height, err := laidOpen(chosen.ReplaceAll(text, []byte(".*")))
	if err != nil {
		t.Fatal(err)
	}
	api, err := url.Parse(prometheus)
	if err != nil {
		t.Fatal(err)
	}
	pages := http.NewServeMux()
	pages.Handle("/", http.FileServer(http.Dir(*view)))
	pages.Handle("/dash.json", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(shown) }))
	pages.Handle("/api/", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(api)
		if q := r.Out.URL.Query(); q.Has("step") {
			q.Set("step", "15") // as Grafana's, for the page's time range and width
			r.Out.URL.RawQuery = q.Encode()
		}
	}})
	server := httptest.NewServer(pages)
	defer server.Close()
	for theme, suffix := range map[string]string{"dark": "", "light": "-light"} {
		testbrowser.Do(t, p.browser, chromedp.EmulateViewport(1420, height), chromedp.Navigate(server.URL+"/?theme="+theme),
			chromedp.WaitVisible(`[data-testid^="panel-"]`), chromedp.Sleep(5*time.Second))
		testbrowser.Ask(t, p.browser, chromedp.Evaluate[bool](sayWhy, chromedp.EvalAwaitPromise))
		said := testbrowser.Ask(t, p.browser, chromedp.Text("body"))
		if strings.Contains(said, "Error") || strings.Contains(said, "No data") || strings.Contains(said, "unsupported panel type") {
			t.Errorf("%s: a panel has failed, or does not say why it is empty:\n%s", name, said)
		}
		picture := testbrowser.Ask(t, p.browser, chromedp.CaptureScreenshot())
		if err := os.WriteFile(filepath.Join(p.folder, name+suffix+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sayWhy puts what a panel says when it has no data, as Grafana does, where the page has words of its own.
const sayWhy = `fetch("/dash.json").then(r => r.json()).then(d => {
  for (const p of d.panels) {
    const says = p.fieldConfig?.defaults?.noValue;
    const list = document.querySelector('[data-testid="panel-' + p.id + '"]')?.querySelectorAll("div") ?? [];
    for (const e of list) {
      if (!says || !["No data", "No rows"].includes(e.textContent) || e.childElementCount > 0 && p.type !== "table") continue;
      e.textContent = says;
      e.style.cssText = "display: grid; place-items: center; width: 100%; height: 100%";
      break;
    }
  }
  return true;
})`

// laidOpen is a dashboard whose folded rows are open, and how high it is drawn.
func laidOpen(text []byte) (shown []byte, height int64, err error) {
	var d map[string]any
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, 0, err
	}
	panels, _ := d["panels"].([]any)
	for _, p := range panels {
		row, _ := p.(map[string]any)
		inside, _ := row["panels"].([]any)
		panels = append(panels, inside...)
		delete(row, "panels")
	}
	var rows int64
	for _, p := range panels {
		q, _ := p.(map[string]any)
		at, _ := q["gridPos"].(map[string]any)
		y, _ := at["y"].(float64)
		h, _ := at["h"].(float64)
		rows = max(rows, int64(y+h))
	}
	if rows == 0 {
		return nil, 0, errors.New("no panels")
	}
	d["panels"] = panels
	shown, err = json.Marshal(d)
	return shown, rows*38 + 44, err
}
