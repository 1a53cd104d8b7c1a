package scale

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/dashboards"
	"github.com/dynwatch/dynwatch/internal/agent"
	"github.com/dynwatch/dynwatch/internal/alert"
	"github.com/dynwatch/dynwatch/internal/history"
	"github.com/dynwatch/dynwatch/internal/metrics"
)

// Scrape is one answer of /metrics.
type Scrape struct{ Samples, Bytes, Compressed int }

// Hour is what came of a scenario. Counts are of the nodes that were computed; times their share of it they are the fleet's.
type Hour struct {
	Scenario
	Fleet
	Sessions, Findings, Alerts, Folded, Limited int
	Alertmanager, OTLP, Log                     Count
	// Alerts of the computed nodes that were firing at the same time, and groups of the fleet's.
	Active, Groups, GroupsByHost int
	// Scrapes of a node at the end, without and with workloads.
	Plain, Workloads Scrape

	share int // nodes of the fleet that a computed one stands for
}

// Run computes an hour. dir is for the agents' queues of alerts. It is called in a bubble of testing/synctest.
func Run(f Fleet, s Scenario, dir string) (*Hour, error) {
	r := newReceivers()
	server := &http.Server{Handler: r}
	var served, agents sync.WaitGroup
	served.Go(func() { _ = server.Serve(r) }) // it ends when r is closed
	h := &Hour{Scenario: s, Fleet: f}
	var mu sync.Mutex // guards h and failed
	var failed error
	stop := make(chan struct{})
	served.Go(func() {
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				r.look()
			}
		}
	})
	nodes := f.sampled()
	if s.One {
		nodes = 1
	}
	h.share = f.Nodes / nodes
	for n := range nodes {
		agents.Go(func() {
			node := &node{fleet: f, scenario: s, n: n, out: r}
			err := node.run(dir)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = fmt.Errorf("node %d: %w", n, err)
				return
			}
			h.Sessions += node.sessions
			h.Findings += int(node.stats.Findings)
			h.Alerts += int(node.stats.Alerts)
			h.Folded += int(node.stats.Folded)
			h.Limited += int(node.stats.Limited)
			if n == 0 {
				h.Plain, h.Workloads = node.plain, node.workloads
			}
		})
	}
	agents.Wait()
	close(stop)
	server.Close()
	served.Wait()
	h.Alertmanager, h.OTLP, h.Log, h.Active = r.alertmanager, r.otlp, r.log, r.active
	h.Groups, h.GroupsByHost = r.groups("alertname", "namespace", "workload"), r.groups("alertname", "host")
	return h, failed
}

// node is an agent without its source.
type node struct {
	fleet    Fleet
	scenario Scenario
	n        int
	out      *receivers

	sessions         int
	stats            alert.Stats
	plain, workloads Scrape
}

func (n *node) run(dir string) error {
	http := alert.HTTPOptions{Dial: n.out.Dial}
	am, err := alert.NewAlertmanager(alert.AlertmanagerOptions{
		URLs: []string{"http://alertmanager:9093"}, Runbook: dashboards.Runbook, HTTP: http,
	})
	if err != nil {
		return err
	}
	otlp, err := alert.NewOTLP(alert.OTLPOptions{URL: "http://collector:4318", Version: "1.0.0", HTTP: http})
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, uint64(n.n)))
	time.Sleep(time.Duration(random.Int64N(int64(time.Minute)))) // agents do not begin in the same moment
	m, err := alert.Open(alert.Options{
		Path: filepath.Join(dir, fmt.Sprintf("%s-%d", strings.ReplaceAll(n.scenario.Name, " ", "-"), n.n)), Host: fmt.Sprintf("node-%05d", n.n),
		Sinks: []alert.SinkOptions{{Sink: am}, {Sink: otlp}}, PerMinute: n.scenario.PerMinute, Burst: n.scenario.Burst,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	defer stop()
	go func() { ended <- m.Run(ctx) }()

	sets := []*metrics.Set{
		metrics.New(metrics.Options{Build: build}), metrics.New(metrics.Options{Build: build, Workloads: true}),
	}
	log := agent.NewFindingLog(slog.New(slog.NewJSONHandler(n.out, nil)))
	for _, set := range sets {
		set.Configured(time.Now(), false, true)
		set.Exceptions(0, 0)
		set.SourceOpened("ebpf", 0)
	}
	for _, at := range n.plan(random) {
		time.Sleep(time.Until(at.when))
		x := n.fleet.connect(n.scenario, n.n, at.slot, n.sessions, at.since)
		n.sessions++
		for _, set := range sets {
			set.Session(x)
		}
		for _, f := range x.Findings {
			for _, set := range sets {
				set.Finding(x, f, time.Now())
			}
			log.Finding(x, nil, f)
			m.Add(x, f)
			time.Sleep(time.Microsecond) // so that it does not depend on the machine which findings share a request
		}
		log.Round()
	}
	n.stats = m.Stats()
	for i, to := range []*Scrape{&n.plain, &n.workloads} {
		n.tell(sets[i])
		if *to, err = scrape(sets[i].Registry()); err != nil {
			return err
		}
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	return m.Close()
}

// build is of the length that a release's has.
var build = metrics.Build{Version: "1.0.0", Revision: "0123456789abcdef0123456789abcdef01234567", Go: "go1.26", OS: "linux", Arch: "amd64"}

// tell is what the agent's loop brings up to date every second.
func (n *node) tell(set *metrics.Set) {
	set.Beat(time.Now())
	set.Update(metrics.Progress{
		Source: "ebpf", Capture: capture.Stats{Packets: uint64(20 * n.sessions), Bytes: uint64(9000 * n.sessions)},
		Analyze: analyze.Stats{Flows: uint64(n.sessions)},
	})
	set.Hold(metrics.Held{MaxFlows: 16384, MaxMemory: 24 << 20, MaxAddresses: 1024})
	set.History(history.Stats{})
	set.Alerts(n.stats)
}

// moment is when a workload connects.
type moment struct {
	when  time.Time
	since time.Duration // of the hour
	slot  int
}

// plan is the hour of a node. Moments are a millisecond or more apart, so that what comes of one is over before the next.
func (n *node) plan(random *rand.Rand) (list []moment) {
	began := time.Now()
	taken := make(map[int64]bool)
	for slot := range n.fleet.PerNode {
		for at := time.Duration(random.Int64N(int64(n.scenario.Every))); at < hour; at += n.scenario.Every {
			ms := at.Milliseconds()
			for taken[ms] {
				ms++
			}
			taken[ms] = true
			since := time.Duration(ms) * time.Millisecond
			list = append(list, moment{began.Add(since), since, slot})
		}
	}
	slices.SortFunc(list, func(a, b moment) int { return a.when.Compare(b.when) })
	return list
}

// scrape is what Prometheus is given. What Go and the process say of themselves has the same length each time.
func scrape(reg *prometheus.Registry) (Scrape, error) {
	families, err := reg.Gather()
	if err != nil {
		return Scrape{}, err
	}
	var text bytes.Buffer
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "dynwatch_") {
			level(f)
		}
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			return Scrape{}, err
		}
	}
	s := Scrape{Bytes: text.Len()}
	for line := range bytes.Lines(text.Bytes()) {
		if line[0] != '#' {
			s.Samples++
		}
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(text.Bytes()); err != nil {
		return Scrape{}, err
	}
	if err := z.Close(); err != nil {
		return Scrape{}, err
	}
	s.Compressed = packed.Len()
	return s, nil
}

// level sets the values of a family.
func level(f *dto.MetricFamily) {
	const value = 123456789
	for _, m := range f.Metric {
		switch {
		case m.Counter != nil:
			m.Counter.Value = proto.Float64(value)
		case m.Gauge != nil:
			m.Gauge.Value = proto.Float64(value)
		case m.Summary != nil:
			m.Summary.SampleSum, m.Summary.SampleCount = proto.Float64(value), proto.Uint64(value)
			for _, q := range m.Summary.Quantile {
				q.Value = proto.Float64(value)
			}
		}
	}
}
