package dashboards

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/metrics"
)

var update = flag.Bool("update", false, "rewrite the files under grafana/")

func TestTheFilesAreWhatTheCodeMakes(t *testing.T) {
	want := make(map[string]bool)
	for _, f := range Files() {
		want[f.Name] = true
		if *update && strings.HasPrefix(f.Name, "grafana/") {
			if err := os.WriteFile(f.Name, f.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(f.Name)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(have, f.Data) {
			t.Errorf("%s is not what the code makes: run `make golden` and look at the difference", f.Name)
		}
	}
	for _, pattern := range []string{"grafana/*", "prometheus/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%v %v", files, err)
		}
		for _, f := range files {
			if !want[f] {
				t.Errorf("%s is exported by nobody", f)
			}
		}
	}
}

func TestExportWritesEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	written, err := Export(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(written) != len(Files()) {
		t.Errorf("%d files written, want %d", len(written), len(Files()))
	}
	for _, f := range Files() {
		if have, err := os.ReadFile(filepath.Join(dir, f.Name)); err != nil || !bytes.Equal(have, f.Data) {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	if _, err := Export(filepath.Join(dir, "grafana", "dynwatch-agent.json")); err == nil {
		t.Error("a folder could be made where a file is")
	}
}

// panels are all panels of a dashboard, those in collapsed rows among them; rows are not.
func (d *dashboard) all() (list []*panel) {
	for _, p := range d.Panels {
		if p.Type == "row" {
			list = append(list, p.Panels...)
		} else {
			list = append(list, p)
		}
	}
	return list
}

// Units that Grafana knows, of those that these dashboards have a use for.
var units = []string{"none", "locale", "short", "percentunit", "s", "bytes", "cps", "ops", "pps"}

func TestPanelsAreComplete(t *testing.T) {
	for name, d := range all() {
		t.Run(name, func(t *testing.T) {
			ids := make(map[int]bool)
			for _, p := range d.all() {
				if p.Title == "" || len(p.Description) < 20 || !strings.HasSuffix(p.Description, ".") {
					t.Errorf("panel %q: description %q", p.Title, p.Description)
				}
				if ids[p.ID] || p.ID == 0 {
					t.Errorf("%s: id %d", p.Title, p.ID)
				}
				ids[p.ID] = true
				if p.Datasource == nil || *p.Datasource != prom || len(p.Targets) == 0 {
					t.Errorf("%s: no templated data source, or no query", p.Title)
				}
				if !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
					t.Errorf("%s: unit %q", p.Title, p.FieldConfig.Defaults.Unit)
				}
				for _, q := range p.Targets {
					if q.Datasource != prom || q.RefID == "" {
						t.Errorf("%s: a query without a templated data source", p.Title)
					}
					if p.Type != "table" && q.LegendFormat == "" {
						t.Errorf("%s: a series without a name", p.Title)
					}
				}
			}
		})
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	for name, d := range all() {
		t.Run(name, func(t *testing.T) {
			var list []*panel
			for _, p := range d.Panels {
				list = append(append(list, p), p.Panels...)
			}
			for i, p := range list {
				if g := p.GridPos; g.X+g.W > width || g.W < 4 || g.H < 1 || g.H < 4 && p.Type != "row" {
					t.Errorf("%s: %+v", p.Title, g)
				}
				for _, q := range list[:i] {
					a, b := p.GridPos, q.GridPos
					if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
						t.Errorf("%s %+v lies on %s %+v", p.Title, a, q.Title, b)
					}
				}
			}
		})
	}
}

func TestDashboardsAreFitForProvisioning(t *testing.T) {
	uids := make(map[string]bool)
	for name, d := range all() {
		if d.Editable || d.SchemaVersion != 42 || d.UID == "" || len(d.UID) > 40 || uids[d.UID] || !slices.Contains(d.Tags, "dynwatch") || len(d.Links) == 0 {
			t.Errorf("%s: %+v", name, d)
		}
		uids[d.UID] = true
		open := 0 // queries as soon as it is opened
		for _, p := range d.Panels {
			if p.Type != "row" {
				open += len(p.Targets)
			}
		}
		if open > 20 {
			t.Errorf("%s asks %d queries when it is opened", name, open)
		}
		for _, want := range []string{"datasource", "cluster", "namespace", "job", "instance"} {
			i := slices.IndexFunc(d.Templating.List, func(v variable) bool { return v.Name == want })
			if i < 0 {
				t.Errorf("%s: no variable %s", name, want)
				continue
			}
			v := d.Templating.List[i]
			if want == "datasource" {
				if v.Type != "datasource" {
					t.Errorf("%s: %+v", name, v)
				}
				continue
			}
			if !v.Multi || !v.IncludeAll || v.Refresh != 2 || v.AllValue != ".+" && v.AllValue != ".*" || *v.Datasource != prom {
				t.Errorf("%s: %+v", name, v)
			}
		}
	}
	for name, d := range all() {
		for _, m := range regexp.MustCompile(`/d/([a-z-]+)`).FindAllStringSubmatch(string(encode(d)), -1) {
			if !uids[m[1]] {
				t.Errorf("%s leads to %s, which is not there", name, m[1])
			}
		}
	}
}

// families are what the program exports, by name.
func families() map[string]metrics.Family {
	list := make(map[string]metrics.Family)
	for _, f := range metrics.New(metrics.Options{Workloads: true}).Families() {
		list[f.Name] = f
	}
	return list
}

// foreign are metrics and labels that others export.
var foreign = map[string][]string{
	"up": nil, "ALERTS": {"alertname", "alertstate", "severity", "rule"}, "kube_node_info": {"node"},
	"process_cpu_seconds_total": nil, "process_resident_memory_bytes": nil, "process_open_fds": nil, "go_goroutines": nil, "process_start_time_seconds": nil,
}

// targetLabels come with the scrape; le is a histogram's.
var targetLabels = []string{"cluster", "namespace", "job", "instance", "node", "le"}

var (
	word      = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	quoted    = regexp.MustCompile(`"(\\.|[^"\\])*"`)
	selection = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}`)
	matching  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((\\.|[^"\\])*)"`)
	grouping  = regexp.MustCompile(`\b(by|on|without|ignoring)\s*\(([^)]*)\)`)
)

// promQL are words of the language and its functions, as far as they are used.
var promQL = strings.Fields(`sum count max min topk by on group_left and or unless offset rate increase changes round vector time histogram_quantile`)

// checkExpr holds the metrics and labels of a query to what is exported, and counters to being read as such.
func checkExpr(t *testing.T, where, q string) {
	t.Helper()
	known := families()
	var inQuery []string
	q = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h").Replace(q)
	for _, s := range selection.FindAllStringSubmatch(q, -1) {
		for _, m := range matching.FindAllStringSubmatch(s[2], -1) {
			checkLabel(t, where, known, s[1], m[1], m[2], m[3])
		}
	}
	bare := quoted.ReplaceAllString(q, `""`)
	bare = regexp.MustCompile(`\{[^}]*\}|\[[^\]]*\]`).ReplaceAllString(bare, "")
	var groups []string
	for _, g := range grouping.FindAllStringSubmatch(bare, -1) {
		groups = append(groups, word.FindAllString(g[2], -1)...)
	}
	bare = grouping.ReplaceAllString(bare, "")
	for _, w := range word.FindAllString(bare, -1) {
		if slices.Contains(promQL, w) || regexp.MustCompile(`^\d`).MatchString(w) || w == "d" || w == "m" {
			continue
		}
		inQuery = append(inQuery, w)
		base := strings.TrimSuffix(w, "_bucket")
		_, others := foreign[w]
		if f, ok := known[base]; !ok && !others {
			t.Errorf("%s: nobody exports %s: %s", where, w, q)
		} else if base != w && f.Type != "histogram" {
			t.Errorf("%s: %s is no histogram", where, base)
		}
		isCounter := known[base].Type == "counter" || known[base].Type == "histogram" || strings.HasSuffix(w, "_total")
		if isCounter != regexp.MustCompile(`(rate|increase)\(`+w+`\b`).MatchString(q) {
			t.Errorf("%s: %s is read as a counter, or not, wrongly: %s", where, w, q)
		}
	}
	for _, g := range groups {
		if slices.Contains(targetLabels, g) {
			continue
		}
		if !slices.ContainsFunc(inQuery, func(m string) bool { return hasLabel(known, m, g) }) {
			t.Errorf("%s: none of %v has the label %s", where, inQuery, g)
		}
	}
}

func hasLabel(known map[string]metrics.Family, metric, label string) bool {
	if slices.Contains(foreign[metric], label) {
		return true
	}
	f := known[strings.TrimSuffix(metric, "_bucket")]
	return slices.ContainsFunc(f.Labels, func(l metrics.Label) bool { return l.Name == label })
}

func checkLabel(t *testing.T, where string, known map[string]metrics.Family, metric, label, op, value string) {
	t.Helper()
	if slices.Contains(targetLabels, label) {
		return
	}
	if !hasLabel(known, metric, label) {
		t.Errorf("%s: %s has no label %s", where, metric, label)
		return
	}
	f := known[strings.TrimSuffix(metric, "_bucket")]
	i := slices.IndexFunc(f.Labels, func(l metrics.Label) bool { return l.Name == label })
	if i < 0 || f.Labels[i].Values == nil || strings.Contains(value, "$") {
		return
	}
	alternatives := []string{value}
	if strings.HasSuffix(op, "~") {
		alternatives = strings.Split(value, "|")
	}
	for _, a := range alternatives {
		if a = strings.ReplaceAll(a, `\\`, ""); !slices.Contains(f.Labels[i].Values, a) {
			t.Errorf("%s: %s of %s is never %s", where, label, metric, a)
		}
	}
}

func TestPanelsNameWhatIsExported(t *testing.T) {
	for name, d := range all() {
		for _, p := range d.all() {
			for _, q := range p.Targets {
				where := name + ": " + p.Title
				checkExpr(t, where, q.Expr)
				if !strings.Contains(q.Expr, "ALERTS{") && strings.Count(q.Expr, `job=~"$job", instance=~"$instance"`) != strings.Count(q.Expr, "{") {
					t.Errorf("%s: not limited to the chosen hosts: %s", where, q.Expr)
				}
				for _, r := range regexp.MustCompile(`\[([^\]]*)\]`).FindAllStringSubmatch(q.Expr, -1) {
					if instant := q.Instant; instant && r[1] != "$__range" || !instant && r[1] != "$__rate_interval" {
						t.Errorf("%s: over %s", where, r[1])
					}
				}
			}
		}
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			of := strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ", "+v.Name+")")
			if strings.Contains(of, "_total") {
				of = "rate(" + of + "[$__rate_interval])"
			}
			checkExpr(t, name+": variable "+v.Name, "count by ("+v.Name+") ("+of+")")
		}
	}
}

// What the check is worth: it must find these.
func TestTheCheckFindsMistakes(t *testing.T) {
	for what, q := range map[string]string{
		"an unknown metric":       `sum(rate(dynwatch_session_total{sel}[$__rate_interval]))`,
		"an unknown label":        `sum by (pod) (rate(dynwatch_sessions_total{sel}[$__rate_interval]))`,
		"an unknown label chosen": `sum(rate(dynwatch_sessions_total{sel, version="1"}[$__rate_interval]))`,
		"an unknown value":        `sum(rate(dynwatch_findings_total{sel, rule="plain-text"}[$__rate_interval]))`,
		"a counter as a gauge":    `sum(dynwatch_findings_total{sel})`,
		"a gauge as a counter":    `sum(rate(dynwatch_observe_mode{sel}[$__rate_interval]))`,
	} {
		t.Run(what, func(t *testing.T) {
			inner := new(testing.T)
			checkExpr(inner, "", expr(q))
			if !inner.Failed() {
				t.Errorf("%s passed", q)
			}
		})
	}
}
