package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/alert"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/history"
	"github.com/dynwatch/dynwatch/internal/host"
	"github.com/dynwatch/dynwatch/internal/probe"
)

var update = flag.Bool("update", false, "rewrite golden files")

// now is when everything happens here.
var now = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

var build = Build{Version: "v1.2.3", Revision: "0123456789abcdef", Go: "go1.26.0", OS: "linux", Arch: "amd64"}

// tlsSession is an ordinary session.
func tlsSession() *session.Session {
	return &session.Session{
		Start: now, End: now.Add(time.Second), Source: "ebpf",
		Client: netip.MustParseAddrPort("192.0.2.10:40100"), Server: netip.MustParseAddrPort("52.94.5.7:443"),
		Process:   &flow.Process{PID: 811, Comm: "gunicorn", Pod: "orders-7d9f8b6c5d-x2k4p", Namespace: "shop", ContainerID: "c0ffee"},
		Endpoint:  session.Endpoint{Service: "dynamodb", Region: "us-east-1", Kind: "public", Name: "dynamodb.us-east-1.amazonaws.com"},
		Transport: session.TransportTLS, TLS: &session.TLS{Version: session.TLS12, SNI: "dynamodb.us-east-1.amazonaws.com", HandshakeDone: now.Add(30 * time.Millisecond)},
		Certificate: &session.Certificate{SeenBy: "wire"}, Visibility: session.VisibilityVisible, Trust: session.TrustAmazon, Verdict: session.VerdictOK,
	}
}

func plaintextSession() *session.Session {
	s := tlsSession()
	s.TLS, s.Certificate, s.Visibility, s.Trust = nil, nil, "", ""
	s.Transport, s.Verdict, s.Process = session.TransportHTTP, session.VerdictFinding, nil
	s.Findings = []session.Finding{{Rule: rules.Plaintext, Severity: session.Critical}}
	return s
}

// gather gives the exposition without Go's and the process's own metrics.
func gather(t *testing.T, s *Set) string {
	t.Helper()
	families, err := s.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	enc := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), namespace+"_") {
			if err := enc.Encode(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (make golden, then look at the diff):\n%s", name, firstDifference(got, string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// used is a set that everything ordinary happened to.
func used() *Set {
	s := New(Options{Build: build, Workloads: true})
	s.Configured(now, false, true)
	s.Exceptions(2, 1)
	s.Ranges(now.AddDate(0, -1, 0))
	s.SourceOpened("ebpf", 1)
	s.Beat(now)
	s.Session(tlsSession())
	p := plaintextSession()
	s.Session(p)
	s.Finding(p, p.Findings[0], now)
	s.Suppressed(p.Findings[0], SuppressedByException)
	s.DNS(&session.DNS{})
	s.Update(Progress{
		Source: "ebpf", Capture: capture.Stats{Packets: 10, Bytes: 4000, Loss: map[string]uint64{"ebpf.ring_full": 2, "ebpf.ring_full_bytes": 300}},
		Analyze: analyze.Stats{Flows: 4, HalfOpen: 1, GapBytes: 20, EvictedActive: 1, ProtocolErrors: 1}, Host: host.Stats{Lookups: 5, Gone: 2, Evicted: 1},
	})
	s.Hold(Held{Usage: analyze.Usage{Flows: 3, Reading: 1, Memory: 5000, Buffered: 100}, MaxFlows: 100, MaxMemory: 1 << 20, Addresses: 1, MaxAddresses: 1024})
	s.Library(Library{Up: true, Stats: library.Stats{
		Kinds: map[string]int{"openssl": 10, "go": 4, "brandnew": 2}, Refused: 3, Unread: 2, Over: 1, Closed: 5,
		Loss: map[string]uint64{"library.ring_full": 6, "library.execs_lost": 1},
	}})
	s.Weighs(rules.TLSCapped, session.High)
	s.History(history.Stats{Entries: 4, MaxEntries: 100, Findings: 2, MaxFindings: 10, EvictedEntries: 1, WriteErrors: 1, FileBytes: 4096})
	s.Alerts(alert.Stats{
		Findings: 9, Folded: 4, Limited: 2, Queued: 2, MaxQueued: 100, Oldest: now.Add(-time.Minute), Unsaved: 1, WriteErrors: 1,
		Sinks: []alert.SinkStats{{Name: "am", Kind: "alertmanager", Sent: 3, Failed: 2, Refused: 1, Dropped: 1, Queued: 2}, {Name: "a", Kind: "webhook", Queued: 1}, {Name: "b", Kind: "webhook", Queued: 4}},
	})
	return s
}

// TestReceiversThatGoTakeNothingWithThem: what another one of the kind has counted is not counted again, and nothing waits for one that is gone.
func TestReceiversThatGoTakeNothingWithThem(t *testing.T) {
	s := New(Options{Build: build})
	first := alert.SinkStats{Name: "first", Kind: "webhook", Sent: 100, Dropped: 1, Queued: 3}
	second := alert.SinkStats{Name: "second", Kind: "webhook", Sent: 50, Dropped: 2}
	s.Probes(Probes{Run: 1, Stats: probe.KeeperStats{Probes: 2, Failed: 1, Dropped: 1, Evicted: 1}})
	s.Alerts(alert.Stats{Sinks: []alert.SinkStats{first, second}})
	s.Alerts(alert.Stats{Sinks: []alert.SinkStats{second}})
	for result, want := range map[string]float64{"sent": 150, "dropped": 3} {
		if have := testutil.ToFloat64(s.sinkAlerts.WithLabelValues("webhook", result)); have != want {
			t.Errorf("%s: %v, want %v", result, have, want)
		}
	}
	s.Alerts(alert.Stats{})
	if have := testutil.ToFloat64(s.sinkQueue.WithLabelValues("webhook")); have != 0 {
		t.Errorf("%v wait for nobody", have)
	}
}

// TestSlowHandshakesNameTheirConnection: in OpenMetrics, which alone has exemplars.
func TestSlowHandshakesNameTheirConnection(t *testing.T) {
	s, slow := New(Options{Build: build}), tlsSession()
	s.Session(slow)
	slow.TLS.HandshakeDone = now.Add(300 * time.Millisecond)
	s.Session(slow)
	families, err := s.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	enc := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeOpenMetrics))
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	const client, server = `client="192.0.2.10:40100"`, `server="52.94.5.7:443"` // in any order
	bucket := `dynwatch_tls_handshake_duration_seconds_bucket{tls_version="older",le="1.0"} 2 # {`
	_, line, _ := strings.Cut(b.String(), bucket)
	line, _, _ = strings.Cut(line, "\n")
	if !strings.Contains(line, client) || !strings.Contains(line, server) || !strings.Contains(line, "} 0.3") || strings.Count(b.String(), "client=") != 1 {
		t.Errorf("the exemplar is %q in\n%s", line, b.String())
	}
}

func TestExpositionIsStable(t *testing.T) { golden(t, "testdata/exposition.txt", gather(t, used())) }

func TestNewSetHasAlertsCountersAtZero(t *testing.T) {
	golden(t, "testdata/empty.txt", gather(t, New(Options{Build: build})))
}

func TestLintFindsNothing(t *testing.T) {
	problems, err := testutil.GatherAndLint(used().Registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, namespace+"_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// series counts what one scrape stores: a histogram is a series for each bucket, and its sum and count.
func series(families []*dto.MetricFamily) (n int) {
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch {
			case m.Histogram != nil:
				n += len(m.Histogram.Bucket) + 3
			case m.Summary != nil:
				n += len(m.Summary.Quantile) + 2
			default:
				n++
			}
		}
	}
	return n
}

// flood does to a set whatever traffic and configuration can do.
func flood(s *Set) {
	var versions []session.Version
	for v := session.SSL20; v <= 0x0005; v++ {
		versions = append(versions, v)
	}
	versions = append(versions, 0, 0x0300, 0x0301, 0x0302, 0x0303, 0x0304, 0x7f1c, 0xfb26, 0xffff)
	visible := append(slices.Clone(visibilities), "new-word")
	for i, transport := range append(slices.Clone(transports), "new-word") {
		for j, v := range versions {
			for k := range 20 {
				x := tlsSession()
				x.Transport, x.TLS.Version = session.Transport(transport), v
				if transport != "tls" && transport != "connect+tls" {
					x.TLS = nil
				}
				x.Endpoint = session.Endpoint{
					Service: services[k%len(services)] + strings.Repeat("x", k/10), Kind: kinds[(j+k)%len(kinds)],
					Region: fmt.Sprintf("%c%c-east-%d", 'a'+i, 'a'+j, k),
				}
				x.Visibility = session.Visibility(visible[(k+j)%len(visible)])
				x.Certificate = nil
				switch x.Visibility {
				case session.VisibilityVisible:
					x.Certificate = &session.Certificate{SeenBy: "wire"}
				case session.VisibilityDecrypted:
					x.Certificate = &session.Certificate{SeenBy: "keylog"}
				case session.VisibilityResumed:
					if k%3 != 0 {
						x.Certificate = &session.Certificate{SeenBy: []string{"resumption", "probe"}[k%3-1]}
					}
				case session.VisibilityEncrypted:
					if k%3 != 0 {
						x.Certificate = &session.Certificate{SeenBy: []string{"library", "probe"}[k%3-1]}
					}
				case session.VisibilityIncomplete:
					if k%2 == 0 {
						x.Certificate = &session.Certificate{SeenBy: "wire"}
					}
				}
				if x.TLS != nil {
					x.TLS.ClientVerifies = []session.Tri{session.Unknown, session.Yes, session.No}[k%3]
				}
				if k%2 == 0 {
					x.Library = &session.Library{}
				}
				x.Trust, x.Verdict = session.Trust(append(trusts, "new-word")[k%(len(trusts)+1)]), session.Verdict(verdicts[k%len(verdicts)])
				x.Process = &flow.Process{PID: i*1000 + j, Pod: fmt.Sprintf("app%d-%d", i*1000+j*20+k, k), Namespace: "shop"}
				s.Session(x)
				f := session.Finding{Rule: s.ruleIDs[(i+j+k)%len(s.ruleIDs)] + strings.Repeat("x", k/15), Severity: session.Severity(k % 7)}
				s.Finding(x, f, now)
				s.Suppressed(f, reasons[k%len(reasons)])
			}
		}
	}
	for _, rule := range s.ruleIDs {
		for sev := session.Low; sev <= session.Critical; sev++ {
			s.Finding(nil, session.Finding{Rule: rule, Severity: sev}, now)
		}
		for _, r := range reasons {
			s.Suppressed(session.Finding{Rule: rule}, r)
		}
	}
	loss := map[string]uint64{"a.word": 1}
	for _, l := range losses {
		loss[l.name] = 3
	}
	for _, name := range []string{"ebpf", "packet"} { // an agent has no other
		s.SourceOpened(name, 2)
		s.Update(Progress{Source: name, Capture: capture.Stats{Packets: 1, Loss: loss}})
		s.SourceFailed(name)
	}
	s.Configured(now, true, false)
	s.ReloadFailed()
	s.Exceptions(1, 1)
	s.Hold(Held{})
	s.SourceClosed()
	s.History(history.Stats{})
	s.Alerts(alert.Stats{Sinks: []alert.SinkStats{{Kind: "alertmanager"}, {Kind: "webhook"}, {Kind: "syslog"}, {Kind: "journal"}, {Kind: "otlp"}}})
	for i, kind := range append(slices.Clone(libraryKinds), "new-word") {
		s.Library(Library{Run: i, Missing: append(libraryFailures, "new-word")[i], Stats: library.Stats{
			Kinds: map[string]int{kind: 1}, Refused: 2, Unread: 1, Over: 1, Closed: 1, Loss: map[string]uint64{"library.too_large": 1, "library.new": 1},
		}})
	}
}

func TestSeriesStayUnderTheirCapWhateverIsSent(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		max  int
	}{
		{"by default", Options{Build: build}, MaxSeries},
		{"with workloads", Options{Build: build, Workloads: true}, MaxSeries + MaxWorkloadSeries},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New(tt.o)
			count := func() int {
				families, err := s.Registry().Gather()
				if err != nil {
					t.Fatal(err)
				}
				return series(families)
			}
			empty := count()
			flood(s)
			full := count()
			t.Logf("%d series at the start, %d at most", empty, full)
			if full > tt.max || full <= empty {
				t.Errorf("%d series, the cap is %d", full, tt.max)
			}
			if tt.o.Workloads && full < MaxWorkloadSeries {
				t.Errorf("%d series: the flood did not reach the caps", full)
			}
			if got := testutil.ToFloat64(s.endpoints.limited); got == 0 {
				t.Error("nothing says that endpoint_sessions_total is at its cap")
			}
			flood(s)
			if again := count(); again != full {
				t.Errorf("%d series after the same once more, %d before", again, full)
			}
		})
	}
}

// TestFamiliesTellTheTruth holds the descriptions to what is really exported.
func TestFamiliesTellTheTruth(t *testing.T) {
	s := New(Options{Build: build, Workloads: true})
	flood(s)
	used := map[string]*dto.MetricFamily{}
	families, err := s.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		used[f.GetName()] = f
	}
	for _, f := range s.Families() {
		got := used[f.Name]
		if got == nil {
			t.Errorf("%s is described and not exported", f.Name)
			continue
		}
		delete(used, f.Name)
		if kind := strings.ToLower(got.GetType().String()); kind != f.Type || got.GetHelp() != f.Help {
			t.Errorf("%s is a %s: %s", f.Name, kind, got.GetHelp())
		}
		if f.Most <= 0 || len(got.Metric) > f.Most {
			t.Errorf("%s has %d series, described are %d at most", f.Name, len(got.Metric), f.Most)
		}
		for _, m := range got.Metric {
			var names []string
			for _, l := range m.Label {
				names = append(names, l.GetName())
				i := slices.IndexFunc(f.Labels, func(d Label) bool { return d.Name == l.GetName() })
				if i >= 0 && f.Labels[i].Values != nil && !slices.Contains(append(f.Labels[i].Values, other), l.GetValue()) {
					t.Errorf("%s{%s=%q} is not described", f.Name, l.GetName(), l.GetValue())
				}
			}
			var want []string
			for _, l := range f.Labels {
				want = append(want, l.Name)
			}
			slices.Sort(want)
			if !slices.Equal(names, want) {
				t.Errorf("%s has the labels %v, described are %v", f.Name, names, want)
			}
		}
	}
	for name := range used {
		if strings.HasPrefix(name, namespace) {
			t.Errorf("%s is exported and not described", name)
		}
	}
}

func TestValuesOfOthersAreNeverLabels(t *testing.T) {
	s := New(Options{Build: build})
	x := tlsSession()
	x.Endpoint.Region, x.Endpoint.Kind, x.Endpoint.Service = "evil\n\"region", "kind-of-theirs", "service-of-theirs"
	x.Certificate.SeenBy, x.Trust, x.Verdict = "somebody", "their-trust", "their-verdict"
	s.Session(x)
	s.Finding(x, session.Finding{Rule: "their-rule", Severity: session.High}, now)
	out := gather(t, s)
	for _, bad := range []string{"evil", "theirs", "somebody", "their-", "orders", "gunicorn", "52.94", "amazonaws"} {
		if strings.Contains(out, bad) {
			t.Errorf("%q is in the metrics", bad)
		}
	}
	if want := `dynwatch_endpoint_sessions_total{kind="other",region="other",service="other"} 1`; !strings.Contains(out, want) {
		t.Errorf("no %s", want)
	}
}

// TestNamesThatAreNotUTF8AreCounted: the client library panics over them.
func TestNamesThatAreNotUTF8AreCounted(t *testing.T) {
	s := New(Options{Build: build, Workloads: true})
	for _, p := range []*flow.Process{
		{PID: 7, Comm: "a\xff"}, {PID: 7, Exe: "/opt/\xff"}, {PID: 7, Unit: "x\xff.service"}, {PID: 7, ContainerName: "\xff"},
		{PID: 7, Namespace: "n\xff", Pod: "orders\xff"},
	} {
		x := tlsSession()
		x.Process = p
		s.Session(x)
		s.Finding(x, session.Finding{Rule: "plaintext", Severity: session.High}, now)
	}
	out := gather(t, s)
	for _, want := range []string{
		`dynwatch_workload_sessions_total{tls_version="TLS 1.2",workload="a?",workload_namespace=""} 1`,
		`dynwatch_workload_findings_total{rule="plaintext",workload="orders?",workload_namespace="n?"} 1`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestAWorkloadIsANameThatIsSeenAgain(t *testing.T) {
	for _, tt := range []struct {
		name            string
		in              *flow.Process
		namespace, want string
	}{
		{"of nobody", nil, "", "unknown"},
		{"a pod's controller", &flow.Process{Pod: "orders-7d9f8b6c5d-x2k4p", Namespace: "shop", ContainerID: "c0ffee"}, "shop", "orders"},
		{"a pod without a name", &flow.Process{PodUID: "6d9a7f0e-1b2c", ContainerID: "c0ffee"}, "", "unknown"},
		{"a container's name", &flow.Process{ContainerName: "web", ContainerID: "c0ffee"}, "", "web"},
		{"a container's id", &flow.Process{ContainerID: "c0ffee", Exe: "/usr/bin/python3"}, "", "unknown"},
		{"a unit", &flow.Process{Unit: "gunicorn.service", Exe: "/usr/bin/python3"}, "", "gunicorn.service"},
		{"a program", &flow.Process{Exe: "/usr/bin/python3"}, "", "/usr/bin/python3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if namespace, got := workloadOf(tt.in); namespace != tt.namespace || got != tt.want {
				t.Errorf("%q %q, want %q %q", namespace, got, tt.namespace, tt.want)
			}
		})
	}
}

func TestSessionsThatAreNotDynamoDBsAreNotCounted(t *testing.T) {
	s := New(Options{Build: build})
	before := gather(t, s)
	x := tlsSession()
	x.Endpoint = session.Endpoint{Name: "www.example.com"}
	s.Session(x)
	if got := gather(t, s); got != before {
		t.Error(firstDifference(got, before))
	}
}

// value gives one counter's value.
func value(t *testing.T, c *prometheus.CounterVec, labels ...string) float64 {
	t.Helper()
	return testutil.ToFloat64(c.WithLabelValues(labels...))
}

func TestCountersGoOnWhenTheSourceBeginsAnew(t *testing.T) {
	s := New(Options{Build: build})
	at := func(packets, lost, flows, gone uint64) Progress {
		return Progress{
			Source: "ebpf", Capture: capture.Stats{Packets: packets, Loss: map[string]uint64{"ebpf.ring_full": lost}},
			Analyze: analyze.Stats{Flows: flows}, Host: host.Stats{Lookups: gone, Gone: gone},
		}
	}
	s.SourceOpened("ebpf", 0)
	s.Update(at(100, 5, 10, 1))
	s.Update(at(150, 7, 12, 2))
	s.SourceFailed("ebpf")
	s.SourceOpened("ebpf", 0)
	s.Update(at(160, 1, 3, 3)) // more packets than before the end: only SourceOpened tells
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"packets", value(t, s.packets, "ebpf"), 310},
		{"lost", value(t, s.eventsLost, "ebpf", "ring_full"), 8},
		{"flows", value(t, s.flows), 15},
		{"processes gone, which are counted over sources", value(t, s.lookups, "gone"), 3},
		{"starts", value(t, s.sourceStarts, "ebpf"), 2},
		{"failures", value(t, s.sourceFailures, "ebpf"), 1},
		{"up", testutil.ToFloat64(s.sourceUp.WithLabelValues("ebpf")), 1},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

// TestEveryCounterOfTheAnalysisIsTold: a counter that is added there and forgotten here would be a loss that nobody sees.
func TestEveryCounterOfTheAnalysisIsTold(t *testing.T) {
	elsewhere := []string{
		"Segments", "Datagrams", "PayloadBytes", // the source counts them
		"Sessions", "DNSAnswers", // counted one by one
		"Late", "SecretsMissing", "SecretsLate", // of files and key logs only
		"EvictedFinished", // no loss; with the others in cache_evictions_total
	}
	typ := reflect.TypeFor[analyze.Stats]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		if slices.Contains(elsewhere, name) {
			continue
		}
		s := New(Options{Build: build})
		before := gather(t, s)
		var stats analyze.Stats
		reflect.ValueOf(&stats).Elem().Field(i).SetUint(7)
		s.Update(Progress{Source: "ebpf", Analyze: stats})
		if gather(t, s) == before {
			t.Errorf("analyze.Stats.%s changes no metric", name)
		}
	}
}

// TestWhatLibraryProbesToldIsCounted: the counters of probes that were attached anew begin at 0.
func TestWhatLibraryProbesToldIsCounted(t *testing.T) {
	s := New(Options{Build: build})
	at := func(run int, full uint64) Library {
		return Library{Up: true, Run: run, Stats: library.Stats{Kinds: map[string]int{"openssl": 9}, Loss: map[string]uint64{"library.ring_full": full}}}
	}
	s.Library(at(1, 5))
	s.Library(at(1, 7))
	s.Library(at(2, 8))
	if got := value(t, s.eventsLost, "library", "ring_full"); got != 15 {
		t.Errorf("%v lost, want 15", got)
	}
	if up, probes := testutil.ToFloat64(s.libraryUp.WithLabelValues()), testutil.ToFloat64(s.libraryProbes.WithLabelValues("openssl")); up != 1 || probes != 9 {
		t.Errorf("up %v, %v probes", up, probes)
	}
	s.Library(Library{Run: 2, Missing: LibraryNoRights})
	for what, c := range map[string]struct{ got, want float64 }{
		"up":        {testutil.ToFloat64(s.libraryUp.WithLabelValues()), 0},
		"probes":    {testutil.ToFloat64(s.libraryProbes.WithLabelValues("openssl")), 0},
		"no rights": {testutil.ToFloat64(s.libraryFailures.WithLabelValues(LibraryNoRights)), 1},
		"broken":    {testutil.ToFloat64(s.libraryFailures.WithLabelValues(LibraryBroken)), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
}

func TestSessionsAreCountedByWhatTheLibraryToldOfVerification(t *testing.T) {
	s := New(Options{Build: build})
	for _, x := range []struct {
		verifies session.Tri
		library  *session.Library
		word     string
	}{
		{session.Yes, &session.Library{}, "yes"}, {session.No, &session.Library{}, "no"}, {session.Unknown, &session.Library{}, "open"}, {session.Unknown, nil, "unseen"},
	} {
		one := tlsSession()
		one.TLS.ClientVerifies, one.Library = x.verifies, x.library
		before := value(t, s.verification, x.word)
		s.Session(one)
		if got := value(t, s.verification, x.word); got != before+1 {
			t.Errorf("%s: %v", x.word, got)
		}
	}
}

// TestASeverityThatTheOperatorGivesIsThereBeforeItsFirstFinding: increase() would not see a series that begins at 1.
func TestASeverityThatTheOperatorGivesIsThereBeforeItsFirstFinding(t *testing.T) {
	s := New(Options{Build: build})
	const series = `dynwatch_findings_total{rule="client-obsolete",severity="high"} 0`
	if strings.Contains(gather(t, s), series) {
		t.Fatal("the rule has that severity by itself")
	}
	s.Weighs(rules.ClientObsolete, session.High)
	s.Weighs(rules.ClientObsolete, session.SeverityNone)
	s.Weighs("their-rule", session.High)
	if !strings.Contains(gather(t, s), series) {
		t.Error("it is not there")
	}
}

func TestASetMayBeUsedFromManyPlaces(t *testing.T) {
	s := New(Options{Build: build, Workloads: true})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				x := tlsSession()
				x.Endpoint.Region = fmt.Sprintf("r-%d", j)
				s.Session(x)
				s.Finding(x, session.Finding{Rule: rules.TLSVersion, Severity: session.High}, now)
				s.Update(Progress{Source: "ebpf", Capture: capture.Stats{Packets: uint64(i * j)}})
				s.Beat(now)
				if j%10 == 0 {
					s.Registry().Gather()
				}
			}
		})
	}
	wg.Wait()
	if got := value(t, s.verdicts, "ok"); got != 400 {
		t.Errorf("%v sessions, want 400", got)
	}
}

func TestCountingASessionDoesNotCostMuch(t *testing.T) {
	s := New(Options{Build: build})
	x := tlsSession()
	s.Session(x)
	if n := testing.AllocsPerRun(100, func() { s.Session(x) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}
