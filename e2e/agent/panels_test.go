package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// dashboard is what Grafana reads of a dashboard to ask its questions.
type dashboard struct {
	Title       string
	Panels      []panel
	Templating  struct{ List []variable }
	Annotations struct {
		List []struct{ Name, Expr, Step string }
	}
}

type panel struct {
	Title, Type string
	Targets     []struct {
		RefID, Expr string
		Instant     bool
	}
	Panels []panel // of a row that is folded
}

type variable struct {
	Name, Type, AllValue, Definition string
	IncludeAll                       bool
}

// all are the panels, those of folded rows among them.
func (d *dashboard) all() (list []panel) {
	for _, p := range d.Panels {
		list = append(append(list, p), p.Panels...)
	}
	return slices.DeleteFunc(list, func(p panel) bool { return p.Type == "row" })
}

// board is one dashboard with what is chosen in it.
type board struct {
	dashboard
	// chosen are the values of variables; one without is set to All.
	chosen map[string][]string
}

// The time range that is looked at, and how Grafana divides it with a scrape interval of a second (Prometheus data source, Step and
// $__rate_interval): it is short enough that a point is drawn for each scrape.
const (
	lookBack     = 60 * time.Second
	step         = time.Second
	rateInterval = "4s"
)

// grafanaVariable is how Grafana finds variables in a text: $name, or ${name} with a format behind a colon. It knows [[name]] as well.
var grafanaVariable = regexp.MustCompile(`\$(\w+)|\$\{(\w+)(?::\w+)?\}|\[\[(\w+)\]\]`)

// special are the characters that Grafana's Prometheus data source escapes in values, twice: for the regular expression and for the string around it.
var special = regexp.MustCompile(`[$^*{}\[\]'+?.()|]`)

// fill replaces variables as Grafana does. One that it does not know stays, and fails in PromQL.
func (b *board) fill(q string) string {
	return grafanaVariable.ReplaceAllStringFunc(q, func(found string) string {
		m := grafanaVariable.FindStringSubmatch(found)
		name := m[1] + m[2] + m[3]
		switch name {
		case "__rate_interval":
			return rateInterval
		case "__range":
			return fmt.Sprintf("%ds", int(lookBack.Seconds()))
		case "__interval":
			return fmt.Sprintf("%ds", int(step.Seconds()))
		}
		i := slices.IndexFunc(b.Templating.List, func(v variable) bool { return v.Name == name })
		if i < 0 {
			return found
		}
		values, ok := b.chosen[name]
		if !ok {
			return b.Templating.List[i].AllValue
		}
		var escaped []string
		for _, v := range values {
			escaped = append(escaped, special.ReplaceAllString(strings.ReplaceAll(v, `\`, `\\\\`), `\\$0`))
		}
		if len(escaped) == 1 {
			return escaped[0]
		}
		return "(" + strings.Join(escaped, "|") + ")"
	})
}

// prometheus is its API.
type prometheus string

func (p prometheus) get(path string, args url.Values, into any) error {
	body, err := get(string(p) + "/api/v1/" + path + "?" + args.Encode())
	if err != nil {
		return err
	}
	answer := struct {
		Status   string
		Warnings []string
		Data     any
	}{Data: into}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return err
	}
	if answer.Status != "success" || len(answer.Warnings) > 0 {
		return fmt.Errorf("%s", body)
	}
	return nil
}

// stranger is what else Prometheus asks in the tests: itself, and somebody who does not answer.
const stranger = "stranger:9090"

// ask is the number of series with a number in them that a query gives.
func (p prometheus) ask(q string, instant bool, every time.Duration) (series int, err error) {
	now := time.Now()
	path, args := "query_range", url.Values{"query": {q}}
	if instant {
		path = "query"
	} else {
		args["start"], args["end"] = []string{stamp(now.Add(-lookBack))}, []string{stamp(now)}
		args["step"] = []string{strconv.FormatFloat(every.Seconds(), 'f', -1, 64)}
	}
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  []any
			Values [][]any
		}
	}
	if err := p.get(path, args, &data); err != nil {
		return 0, err
	}
	for _, s := range data.Result {
		if s.Metric["instance"] == stranger {
			return 0, fmt.Errorf("it tells of %s, which is no agent: %s", stranger, q)
		}
		if slices.ContainsFunc(append(s.Values, s.Value), func(point []any) bool {
			if len(point) != 2 {
				return false
			}
			text, _ := point[1].(string)
			v, err := strconv.ParseFloat(text, 64)
			return err == nil && !math.IsNaN(v)
		}) {
			series++
		}
	}
	return series, nil
}

func stamp(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

// question is anything that a dashboard or a rule asks.
type question struct {
	where string
	ask   func() error
}

// questions are everything that a dashboard asks: panels, variables, annotations.
func (b *board) questions(p prometheus, how string) (list []question) {
	wants := func(where, q string, instant bool, every time.Duration) {
		list = append(list, question{fmt.Sprintf("%s, %s: %s", b.Title, how, where), func() error {
			n, err := p.ask(b.fill(q), instant, every)
			if err == nil && n == 0 {
				err = fmt.Errorf("no data: %s", b.fill(q))
			}
			return err
		}})
	}
	for _, panel := range b.all() {
		for _, target := range panel.Targets {
			wants("panel "+panel.Title+" "+target.RefID, target.Expr, target.Instant, step)
		}
	}
	for _, a := range b.Annotations.List {
		every, err := time.ParseDuration(a.Step)
		if err != nil {
			every = 0
		}
		wants("annotation "+a.Name, a.Expr, false, every)
	}
	for _, v := range b.Templating.List {
		if v.Type != "query" {
			continue
		}
		list = append(list, question{fmt.Sprintf("%s, %s: variable %s", b.Title, how, v.Name), func() error {
			m := labelValues.FindStringSubmatch(v.Definition)
			if m == nil {
				return fmt.Errorf("%q is not label_values(metric, label)", v.Definition)
			}
			now := time.Now()
			var have []string
			err := p.get("label/"+m[2]+"/values", url.Values{"match[]": {b.fill(m[1])}, "start": {stamp(now.Add(-lookBack))}, "end": {stamp(now)}}, &have)
			if err != nil {
				return err
			}
			for _, want := range b.chosen[v.Name] {
				if !slices.Contains(have, want) {
					return fmt.Errorf("%q is not among %q", want, have)
				}
			}
			if len(have) == 0 {
				return fmt.Errorf("nothing to choose from: %s", b.fill(v.Definition))
			}
			return nil
		}})
	}
	return list
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// TestEveryPanelShowsData: two agents see all kinds of sessions, one through the kernel's hooks, one on a cable with loss; a Prometheus scrapes them with this version's rules; then everything that the dashboards ask is asked.
func TestEveryPanelShowsData(t *testing.T) {
	ready(t)
	dir := t.TempDir()
	if out, err := testenv.Command(t, program, "dashboards", "export", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sockets, packets := startHosts(t)

	hosts := []string{sockets.address, packets.address}
	targets := fmt.Sprintf("['%s', '%s']", hosts[0], hosts[1])
	own := testnet.Free(t)
	api := prometheus(startPrometheus(t, fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ['%s/*.yml']
scrape_configs:
- job_name: dynwatch
  static_configs: [{targets: %s}]
- job_name: prometheus
  static_configs: [{targets: ['%s'], labels: {instance: '%s'}}, {targets: ['%s']}]
- job_name: dynwatch-nodes
  static_configs: [{targets: %s, labels: {cluster: 'blue (eu)', namespace: observability, node: node-7}}]
`, quickRules(t, filepath.Join(dir, "prometheus")), targets, own, stranger, testnet.Free(t), targets), own))
	await(t, "the first scrape", func() error {
		if n, err := api.ask(`dynwatch_build_info{cluster!=""}`, true, 0); err != nil || n < 2 {
			return fmt.Errorf("%d agents, %v", n, err)
		}
		return nil
	})
	makeTraffic(t)

	// A query that gives nothing is seen to give nothing.
	if n, err := api.ask(`sum(increase(dynwatch_findings_total{rule="no-rule"}[1m]))`, true, 0); n != 0 || err != nil {
		t.Errorf("%d series of nothing, %v", n, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "grafana", "*.json"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%v %v", files, err)
	}
	var open []question
	for _, name := range files {
		b := new(board)
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &b.dashboard); err != nil {
			t.Fatal(err)
		}
		open = append(open, b.questions(api, "all")...)
		for _, p := range b.all() {
			if p.Title == "Not answering" {
				open = append(open, question{p.Title, func() error {
					n, err := api.ask("("+b.fill(p.Targets[0].Expr)+") > 0", true, 0)
					if err == nil && n > 0 {
						err = fmt.Errorf("it counts who is no agent: %s", p.Targets[0].Expr)
					}
					return err
				}})
			}
		}
		chosen := *b
		chosen.chosen = map[string][]string{"cluster": {"blue (eu)"}, "namespace": {"observability"}, "job": {"dynwatch-nodes"}, "instance": hosts}
		open = append(open, chosen.questions(api, "chosen")...)
	}
	open = append(open, recordings(t, api)...)
	asked := len(open)
	var why []string
	for deadline := time.Now().Add(40 * time.Second); len(open) > 0 && time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		why = nil
		open = slices.DeleteFunc(open, func(q question) bool {
			err := q.ask()
			if err != nil {
				why = append(why, fmt.Sprintf("%s: %v", q.where, err))
			}
			return err == nil
		})
	}
	for _, w := range why {
		t.Error(w)
	}
	if asked < 150 {
		t.Errorf("only %d questions", asked)
	}
	t.Logf("%d questions", asked)
	if status := packets.end(t); status != 0 {
		t.Errorf("the agent ends with status %d: %s", status, packets.tail())
	}
}

// startHosts are two agents: one by the kernel's hooks, with two receivers, of which one is away, and more alerts than may be told at once; and one on the cable.
func startHosts(t *testing.T) (sockets, packets *agent) {
	t.Helper()
	amazon := file(t, "root.pem", string(mustCertificates(t).amazon.PEM()))
	config := func(source, more string) string {
		return fmt.Sprintf("source: %s\nstate_dir: %s\nweb: {listen: '127.0.0.1:0'}\nmetrics: {workloads: true}\nseverity: {client-obsolete: none}\n"+
			"policy: {allow_ca: [%s], ranges: %s}\n%s", source, t.TempDir(), amazon, file(t, "ip-ranges.json", rangesJSON), more)
	}
	receivers := fmt.Sprintf("alerts: {per_minute: 1, burst: 4}\nreceivers: [{alertmanager: {urls: ['%s']}}, {webhook: {url: 'http://%s/'}}]\n", startAlertmanager(t), testnet.Free(t))
	sockets = startAgent(t, config("{kind: ebpf}", receivers))
	packets = startAgent(t, config("{kind: packet, interfaces: ["+cable+"]}", ""))
	return sockets, packets
}

// makeTraffic has clients come until the test ends, and some frames.
func makeTraffic(t *testing.T) {
	t.Helper()
	list := clients()
	for _, c := range list {
		c.serve(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { // before the servers are gone
		cancel()
		running.Wait()
	})
	for _, c := range list {
		running.Go(func() {
			if err := c.keepAsking(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	ask := []string{"curl", "--silent", "--show-error", "--header", "Host: " + regional("us-east-1"), "--header", "X-Amz-Target: DynamoDB_20120810.GetItem", "--data", "{}",
		"http://" + list[0].server}
	for n := range 8 {
		put(t, lossy(t, n))
		inPod(t, ask)
		time.Sleep(500 * time.Millisecond)
	}
}

var everyMinute = regexp.MustCompile(`(?m)^    interval: 1m$`)

// quickRules are the exported rules, evaluated every second; nothing else in them is changed.
func quickRules(t *testing.T, from string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files, err := filepath.Glob(filepath.Join(from, "*.rules.yml"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v %v", files, err)
	}
	changed := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		changed += len(everyMinute.FindAll(text, -1))
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), everyMinute.ReplaceAll(text, []byte("    interval: 1s")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if changed != 1 {
		t.Fatalf("%d intervals were changed", changed)
	}
	return dir
}

// recordings are that every recording rule has a result, every rule can be evaluated, and those alerts fire whose cause is there.
func recordings(t *testing.T, p prometheus) (list []question) {
	t.Helper()
	type rules struct {
		Groups []struct {
			Rules []struct{ Name, Type, Health, LastError, State string }
		}
	}
	var loaded rules
	if err := p.get("rules", nil, &loaded); err != nil {
		t.Fatal(err)
	}
	firing := map[string]bool{"DynwatchCleartext": false, "DynwatchUnexpectedIssuer": false, "DynwatchVerificationDisabled": false, "DynwatchFinding": false}
	for _, g := range loaded.Groups {
		for _, r := range g.Rules {
			if r.Type == "recording" {
				list = append(list, question{"recording rule " + r.Name, func() error {
					n, err := p.ask(r.Name, true, 0)
					if err == nil && n == 0 {
						err = fmt.Errorf("no data")
					}
					return err
				}})
			}
		}
	}
	if len(list) < 5 {
		t.Errorf("%d recording rules", len(list))
	}
	return append(list, question{"rules", func() error {
		var now rules
		if err := p.get("rules", nil, &now); err != nil {
			return err
		}
		for _, g := range now.Groups {
			for _, r := range g.Rules {
				if r.Health != "ok" {
					return fmt.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
				}
				if _, wanted := firing[r.Name]; wanted {
					firing[r.Name] = r.State == "firing"
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(firing)) {
			if !firing[name] {
				return fmt.Errorf("%s does not fire", name)
			}
		}
		return nil
	}})
}
