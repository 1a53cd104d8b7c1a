package dashboards

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Record, Alert, Expr string
	For                 string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) (list []rule) {
	t.Helper()
	files, err := filepath.Glob("prometheus/*.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var f ruleFile
		if err := yaml.Unmarshal(data, &f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, g := range f.Groups {
			list = append(list, g.Rules...)
		}
	}
	if len(list) < 20 {
		t.Fatalf("%d rules", len(list))
	}
	return list
}

func TestRulesNameWhatIsExported(t *testing.T) {
	for _, r := range rules(t) {
		checkExpr(t, r.Record+r.Alert, r.Expr)
	}
}

func TestAlertsTellWhatToDo(t *testing.T) {
	uids := make(map[string]bool)
	for _, d := range all() {
		uids[d.UID] = true
	}
	var names []string
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		names = append(names, r.Alert)
		if !strings.HasPrefix(r.Alert, "Dynwatch") || !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: %v", r.Alert, r.Labels)
		}
		if !strings.Contains(r.Annotations["summary"], "$labels.") || r.Annotations["description"] == "" {
			t.Errorf("%s: %v", r.Alert, r.Annotations)
		}
		for _, g := range grouping.FindAllStringSubmatch(r.Expr, -1) {
			for _, l := range word.FindAllString(g[2], -1) {
				if r.Labels[l] != "" {
					t.Errorf("%s groups by %s, which its own label replaces: alerts that differ in nothing else are an error", r.Alert, l)
				}
			}
		}
		page := "../docs/runbooks/" + r.Alert + ".md"
		if want := runbooks + r.Alert + ".md"; r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(string(text), "# "+r.Alert+"\n\nSeverity: "+r.Labels["severity"]+".") {
			t.Errorf("%s begins with another alert or severity", page)
		}
		if r.For != "" && !strings.Contains(string(text), "Fires after "+r.For+".") {
			t.Errorf("%s: want after how long it fires: %s", page, r.For)
		}
		uid := regexp.MustCompile(`^/d/([a-z-]+)`).FindStringSubmatch(r.Annotations["dashboard_url"])
		if uid == nil || !uids[uid[1]] {
			t.Errorf("%s: dashboard %q", r.Alert, r.Annotations["dashboard_url"])
		}
	}
	pages, err := filepath.Glob("../docs/runbooks/Dynwatch*.md")
	if err != nil || len(pages) != len(names) {
		t.Errorf("%d runbooks for %d alerts: %v", len(pages), len(names), err)
	}
	index, err := os.ReadFile("../docs/runbooks/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !strings.Contains(string(index), "("+n+".md)") {
			t.Errorf("docs/runbooks/README.md does not name %s", n)
		}
	}
}

// TestEachRulesRunbookIsThatOfItsAlert holds what the agent's own alerts lead to to what Prometheus's lead to.
func TestEachRulesRunbookIsThatOfItsAlert(t *testing.T) {
	of := make(map[string]string)
	list := rules(t)
	for _, r := range list {
		for _, m := range matching.FindAllStringSubmatch(r.Expr, -1) {
			if r.Alert != "" && m[1] == "rule" && strings.HasPrefix(m[2], "=") {
				for rule := range strings.SplitSeq(m[3], "|") {
					of[rule] = r.Annotations["runbook_url"]
				}
			}
		}
	}
	if len(of) < 5 {
		t.Fatalf("%v", of)
	}
	rest := list[slices.IndexFunc(list, func(r rule) bool { return r.Alert == "DynwatchFinding" })].Annotations["runbook_url"]
	page, err := os.ReadFile("../docs/runbooks/DynwatchFinding.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range families()["dynwatch_findings_total"].Labels {
		if l.Name != "rule" {
			continue
		}
		for _, id := range l.Values {
			want, own := of[id]
			if !own {
				want = rest
			}
			if have := Runbook(id); have != want {
				t.Errorf("%s: %s, want %s", id, have, want)
			}
			if link := "(../rules.md#" + id + ")"; !own && id != "other" && !strings.Contains(string(page), link) {
				t.Errorf("docs/runbooks/DynwatchFinding.md does not lead to %s", link)
			}
		}
	}
}

type testFile struct {
	Tests []struct {
		AlertRuleTest []struct {
			Alertname string `yaml:"alertname"`
			ExpAlerts []any  `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

var testFiles = []string{"testdata/alerts.test.yml", "testdata/alerts-slow.test.yml"}

func TestEveryAlertIsSeenFiringAndNotFiring(t *testing.T) {
	fires, rests := make(map[string]bool), make(map[string]bool)
	for _, name := range testFiles {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var f testFile
		if err := yaml.Unmarshal(data, &f); err != nil {
			t.Fatal(err)
		}
		for _, c := range f.Tests {
			for _, a := range c.AlertRuleTest {
				if len(a.ExpAlerts) > 0 {
					fires[a.Alertname] = true
				} else {
					rests[a.Alertname] = true
				}
			}
		}
	}
	for _, r := range rules(t) {
		if r.Alert != "" && (!fires[r.Alert] || !rests[r.Alert]) {
			t.Errorf("%s: tested firing %v, not firing %v", r.Alert, fires[r.Alert], rests[r.Alert])
		}
	}
}

func TestPromtoolRunsTheRules(t *testing.T) {
	promtool := testenv.Tool(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "prometheus/dynwatch-recording.rules.yml", "prometheus/dynwatch-alerts.rules.yml"},
		append([]string{"test", "rules"}, testFiles...),
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestTheDocumentedConfigurationWorks follows docs/dashboards.md: the export, the configuration of Prometheus beside it, and Grafana's files.
func TestTheDocumentedConfigurationWorks(t *testing.T) {
	text, err := os.ReadFile("../docs/dashboards.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) != 4 {
		t.Fatalf("%d blocks of YAML", len(blocks))
	}
	dir := t.TempDir()
	if _, err := Export(filepath.Join(dir, "monitoring")); err != nil {
		t.Fatal(err)
	}
	overNetwork, _, _ := strings.Cut(blocks[0], "  - job_name")
	overNetwork += strings.NewReplacer("/etc/prometheus/dynwatch-ca.pem", "ca.pem", "/etc/prometheus/dynwatch.password", "password").Replace(blocks[1])
	for name, data := range map[string]string{"prometheus.yml": blocks[0], "network.yml": overNetwork, "ca.pem": "", "password": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"prometheus.yml", "network.yml"} {
		cmd := testenv.Command(t, "promtool", "check", "config", name)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "2 rule files found") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	var prometheus struct {
		Global struct {
			ScrapeInterval string `yaml:"scrape_interval"`
		}
	}
	var source struct {
		Datasources []struct {
			Type     string
			JSONData struct {
				TimeInterval string `yaml:"timeInterval"`
			} `yaml:"jsonData"`
		}
	}
	var provider struct{ Providers []struct{ Type string } }
	for i, into := range map[int]any{0: &prometheus, 2: &source, 3: &provider} {
		if err := yaml.Unmarshal([]byte(blocks[i]), into); err != nil {
			t.Errorf("%v: %s", err, blocks[i])
		}
	}
	if len(source.Datasources) != 1 || source.Datasources[0].Type != "prometheus" || len(provider.Providers) != 1 || provider.Providers[0].Type != "file" {
		t.Errorf("%+v %+v", source, provider)
	} else if have, want := source.Datasources[0].JSONData.TimeInterval, prometheus.Global.ScrapeInterval; have != want || want == "" {
		t.Errorf("Grafana is told of %q between scrapes, Prometheus of %q", have, want)
	}
}

// Every query of every panel is PromQL: promtool parses them as rules.
func TestPromtoolParsesEveryPanel(t *testing.T) {
	promtool := testenv.Tool(t, "promtool")
	var b strings.Builder
	b.WriteString("groups:\n  - name: panels\n    rules:\n")
	n := 0
	for _, d := range all() {
		for _, p := range d.all() {
			for _, q := range p.Targets {
				n++
				fmt.Fprintf(&b, "      - record: panel:query_%d\n        expr: %q\n", n, asChosen(q.Expr))
			}
		}
	}
	name := filepath.Join(t.TempDir(), "panels.rules.yml")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", name).CombinedOutput(); err != nil || !strings.Contains(string(out), fmt.Sprint(n, " rules found")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// asChosen is a query with what Grafana puts in for its variables when everything is chosen.
func asChosen(q string) string {
	q = strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h").Replace(q)
	return regexp.MustCompile(`\$[a-z_]+`).ReplaceAllString(q, ".*")
}
