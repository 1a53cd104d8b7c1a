package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/afpacket"
	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/live"
	"github.com/dynwatch/dynwatch/internal/metrics"
	"github.com/dynwatch/dynwatch/internal/privilege"
)

// fakeSource gives out what it is fed.
type fakeSource struct {
	segments chan flow.Segment
	fail     chan error
	closing  chan struct{}
	once     sync.Once

	mu       sync.Mutex
	prefixes []netip.Prefix
}

func newFake() *fakeSource {
	return &fakeSource{segments: make(chan flow.Segment, 100), fail: make(chan error, 1), closing: make(chan struct{})}
}

func (s *fakeSource) Next(seg *flow.Segment) error {
	select {
	case *seg = <-s.segments:
		return nil
	case err := <-s.fail:
		return err
	case <-s.closing:
		return io.EOF
	case <-time.After(5 * time.Millisecond):
		return capture.ErrIdle
	}
}

func (s *fakeSource) Close() error {
	s.once.Do(func() { close(s.closing) })
	return nil
}

func (s *fakeSource) Stats() capture.Stats {
	return capture.Stats{Packets: 3, Loss: map[string]uint64{}, Warnings: []string{"no btf"}}
}
func (s *fakeSource) Frame(*flow.Segment, *capture.Frame) bool { return false }
func (s *fakeSource) SetPrefixes(p []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prefixes = p
	return nil
}

func judge(t *testing.T, endpoints ...string) Judge {
	t.Helper()
	set, err := endpoint.NewSet(endpoint.Embedded(), endpoints)
	if err != nil {
		t.Fatal(err)
	}
	store, err := trust.NewStore(trust.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	return Judge{set, store, &rules.Policy{}}
}

// logBuffer can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// run is an agent that runs during a test.
type run struct {
	t    *testing.T
	o    Options
	base string
	log  *logBuffer
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, o Options) *run {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, log: &logBuffer{}, done: make(chan error, 1), base: "http://" + l.Addr().String()}
	if o.Settings == nil {
		o.Settings = &Settings{Config: config.Default(), Judge: judge(t)}
	}
	o.Listen, o.Metrics = l, metrics.New(metrics.Options{})
	o.Level = new(slog.LevelVar)
	o.Log = slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: o.Level}))
	if o.DropRights == nil {
		o.DropRights = func(*live.Watch, privilege.Set) (string, error) { return "none", nil }
	}
	if o.OpenLibrary == nil {
		o.OpenLibrary = func(library.Options) (Library, error) { return &fakeLibrary{}, nil }
	}
	if o.Pause == 0 {
		o.Pause = 20 * time.Millisecond
	}
	o.LookEvery = 10 * time.Millisecond
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	r.o = o
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.done <- Run(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-r.done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run did not return")
		}
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

func (r *run) get(path string) (status int, body string) {
	r.t.Helper()
	res, err := http.Get(r.base + path)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// await polls until what is asked for holds.
func (r *run) await(what string, ready func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ready(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s\n%s", what, r.log.String())
		}
	}
}

func (r *run) awaitMetric(line string) {
	r.t.Helper()
	r.await(line, func() bool {
		_, body := r.get("/metrics")
		return strings.Contains(body, "\n"+line+"\n")
	})
}

func TestReadyOnlyWhileASourceIsAttached(t *testing.T) {
	var mu sync.Mutex
	var sources []*fakeSource
	tries, shown := 0, make(chan struct{})
	show := sync.OnceFunc(func() { close(shown) })
	defer show()
	r := start(t, Options{Open: func(live.Options) (*live.Watch, error) {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries == 1 {
			return nil, errors.New("the cgroup file system is not there yet")
		}
		<-shown
		s := newFake()
		sources = append(sources, s)
		return &live.Watch{Source: s, Kind: live.EBPF}, nil
	}})
	r.await("the failure is shown", func() bool {
		status, body := r.get("/readyz")
		return status == 503 && strings.Contains(body, "no source is attached: open the source: the cgroup file system is not there yet")
	})
	if status, body := r.get("/livez"); status != 200 {
		t.Errorf("/livez %d %s: a source that is not there is no reason to start anew", status, body)
	}
	show()
	r.await("ready", func() bool { status, _ := r.get("/readyz"); return status == 200 })
	r.awaitMetric(`dynwatch_source_up{source="ebpf"} 1`)
	r.awaitMetric(`dynwatch_source_failures_total{source="packet"} 1`)
	r.awaitMetric(`dynwatch_source_limits 1`)
	r.awaitMetric(`dynwatch_capture_packets_total{source="ebpf"} 3`)
	mu.Lock()
	sources[0].fail <- errors.New("the ring is gone")
	mu.Unlock()
	r.awaitMetric(`dynwatch_source_starts_total{source="ebpf"} 2`)
	r.awaitMetric(`dynwatch_capture_packets_total{source="ebpf"} 6`)
	r.await("ready again", func() bool { status, _ := r.get("/readyz"); return status == 200 })
	if !strings.Contains(r.log.String(), "the ring is gone") {
		t.Error("the log does not say why")
	}
	if status, body := r.get("/nothing"); status != 404 {
		t.Errorf("/nothing: %d %s", status, body)
	}
}

func TestASourceThatCannotBeOpenedAgainEndsTheRun(t *testing.T) {
	s := newFake()
	first := true
	r := start(t, Options{Open: func(live.Options) (*live.Watch, error) {
		if first {
			first = false
			return &live.Watch{Source: s, Kind: live.Packet}, nil
		}
		return nil, &afpacket.PermissionError{}
	}})
	r.await("ready", func() bool { status, _ := r.get("/readyz"); return status == 200 })
	s.fail <- errors.New("the interface is gone")
	err := <-r.done
	if !errors.Is(err, ErrRights) {
		t.Errorf("Run: %v", err)
	}
	r.done <- nil // for the clean-up
}

// plain is a request to DynamoDB in clear, as the segments of its connection.
func plain(port uint16) []flow.Segment {
	client, server := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("52.94.5.7")
	there := flow.FiveTuple{SrcIP: flow.IPFrom(client), DstIP: flow.IPFrom(server), SrcPort: port, DstPort: 80, Proto: flow.TCP}
	request := "POST / HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n" +
		"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261122/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=00ff\r\n" +
		"Content-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\n\r\n{}"
	response := "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\n\r\n{}"
	now := time.Now().UnixNano()
	opening := &flow.Opening{Process: flow.Process{PID: 42, Comm: "gunicorn", Exe: "/opt/shop/gunicorn", Unit: "shop.service"}}
	segment := func(t flow.FiveTuple, flags flow.TCPFlags, seq, ack uint32, payload string) flow.Segment {
		return flow.Segment{FiveTuple: t, Time: now, Flags: flags, Seq: seq, Ack: ack, Payload: []byte(payload), Length: len(payload), Opening: opening}
	}
	n, m := uint32(len(request)), uint32(len(response))
	return []flow.Segment{
		segment(there, flow.SYN, 100, 0, ""),
		segment(there.Reverse(), flow.SYN|flow.ACK, 500, 101, ""),
		segment(there, flow.ACK, 101, 501, request),
		segment(there.Reverse(), flow.ACK, 501, 101+n, response),
		segment(there, flow.FIN|flow.ACK, 101+n, 501+m, ""),
		segment(there.Reverse(), flow.FIN|flow.ACK, 501+m, 102+n, ""),
	}
}

// The time by which sessions wait is not that of packets, whose clock may be set: these are dated as before it was set back.
func TestASessionComesWhereTheClockWasSetBack(t *testing.T) {
	s, k := newFake(), &kept{}
	r := start(t, Options{Recorders: []Recorder{k}, Open: func(live.Options) (*live.Watch, error) { return &live.Watch{Source: s, Kind: live.Packet}, nil }})
	segs := plain(40000)
	for _, seg := range append(segs[:3], segs[4]) { // the request has no answer, and the client ends the connection
		seg.Time += int64(time.Hour)
		s.segments <- seg
	}
	r.await("the session", func() bool { n, _ := k.counts(); return n == 1 })
}

// kept records and takes alerts.
type kept struct {
	mu       sync.Mutex
	sessions []*session.Session
	alerts   []session.Finding
}

func (k *kept) Session(s *session.Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sessions = append(k.sessions, s)
}
func (k *kept) Finding(*session.Session, session.Finding) {}
func (k *kept) DNS(*session.DNS)                          {}
func (k *kept) Alert(_ *session.Session, _ *session.DNS, f session.Finding) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.alerts = append(k.alerts, f)
}

func (k *kept) counts() (sessions, alerts int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.sessions), len(k.alerts)
}

// TestAFindingIsCountedLoggedAndHandedOnUnlessItIsSuppressed runs the same session under configurations that are taken while the agent runs.
func TestAFindingIsCountedLoggedAndHandedOnUnlessItIsSuppressed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "agent.yaml")
	write := func(text string) {
		t.Helper()
		// As a careful program does: at once, by another name.
		if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	j := judge(t)
	read := func() (*Settings, error) {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f, err := config.Parse(name, data)
		if err != nil {
			return nil, err
		}
		if err := f.Validate(); err != nil {
			return nil, err
		}
		return &Settings{Config: f.Config, Judge: j, Files: []string{name}}, nil
	}
	write("")
	first, err := read()
	if err != nil {
		t.Fatal(err)
	}
	src, k := newFake(), &kept{}
	hangup := make(chan os.Signal, 1)
	r := start(t, Options{
		Settings: first, Reload: read, Hangup: hangup, Recorders: []Recorder{k}, Alerters: []Alerter{k},
		Open: func(live.Options) (*live.Watch, error) { return &live.Watch{Source: src, Kind: live.EBPF}, nil },
	})
	port := uint16(40000)
	sessions := 0
	send := func(alerts int) {
		t.Helper()
		for _, s := range plain(port) {
			src.segments <- s
		}
		port++
		sessions++
		r.await("the session", func() bool { n, _ := k.counts(); return n == sessions })
		r.await("its alerts", func() bool { _, n := k.counts(); return n == alerts })
	}
	reloaded := func(text string, how int) {
		t.Helper()
		write(text)
		r.awaitMetric(fmt.Sprintf(`dynwatch_config_reloads_total{result="ok"} %d`, how))
	}

	send(1)
	r.awaitMetric(`dynwatch_findings_total{rule="plaintext",severity="critical"} 1`)
	if !strings.Contains(r.log.String(), `"msg":"finding","rule":"plaintext","severity":"critical"`) || strings.Contains(r.log.String(), "00ff") {
		t.Errorf("the log is\n%s", r.log.String())
	}

	reloaded("severity: {plaintext: low}\n", 1)
	send(2)
	r.awaitMetric(`dynwatch_findings_total{rule="plaintext",severity="low"} 1`)

	// A wrong file changes nothing.
	write("severity: {plaintext: loud}\n")
	r.awaitMetric(`dynwatch_config_reloads_total{result="failed"} 1`)
	r.awaitMetric(`dynwatch_config_last_reload_successful 0`)
	if !strings.Contains(r.log.String(), "the new configuration is wrong; the old one stays in use") {
		t.Errorf("the log is\n%s", r.log.String())
	}
	send(3)
	r.awaitMetric(`dynwatch_findings_total{rule="plaintext",severity="low"} 2`)

	reloaded("exceptions:\n  - {rules: [plaintext], unit: shop.service, reason: a test bench, expires: 2999-01-01}\n", 2)
	r.awaitMetric(`dynwatch_config_last_reload_successful 1`)
	r.awaitMetric(`dynwatch_config_exceptions{state="active"} 1`)
	send(3)
	r.awaitMetric(`dynwatch_findings_suppressed_total{reason="exception",rule="plaintext"} 1`)

	reloaded("exceptions:\n  - {rules: [plaintext], unit: shop.service, reason: a test bench, expires: 2020-01-01}\n", 3)
	r.awaitMetric(`dynwatch_config_exceptions{state="expired"} 1`)
	if want := "exceptions[0] for plaintext has expired (2020-01-01) and no longer applies: a test bench"; !strings.Contains(r.log.String(), want) {
		t.Errorf("no %q in the log", want)
	}
	send(4)

	reloaded("observe: true\n", 4)
	r.awaitMetric(`dynwatch_observe_mode 1`)
	send(4)
	r.awaitMetric(`dynwatch_findings_suppressed_total{reason="observe",rule="plaintext"} 1`)

	reloaded("severity: {plaintext: none}\n", 5)
	send(4)
	r.awaitMetric(`dynwatch_findings_suppressed_total{reason="override",rule="plaintext"} 1`)

	// What needs a new start is said; SIGHUP does not wait for the file to change.
	reloaded("web: {listen: '127.0.0.1:1'}\nlog: {level: debug}\n", 6)
	if want := `take effect when the agent is started anew","keys":["web.listen"]`; !strings.Contains(r.log.String(), want) {
		t.Errorf("no %q in the log", want)
	}
	if r.o.Level.Level() != slog.LevelDebug {
		t.Errorf("the level is %v", r.o.Level.Level())
	}
	hangup <- os.Interrupt
	r.awaitMetric(`dynwatch_config_reloads_total{result="ok"} 7`)
	send(5)
	r.awaitMetric(fmt.Sprintf(`dynwatch_sessions_total{tls_version="none",transport="http"} %d`, sessions))
}

func TestAnotherSetOfEndpointsIsFollowed(t *testing.T) {
	src := newFake()
	w := &live.Watch{Source: src, Kind: live.Packet}
	if err := w.Retarget(judge(t, "198.51.100.0/24").Endpoints); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range src.prefixes {
		found = found || p == netip.MustParsePrefix("198.51.100.0/24")
	}
	if !found {
		t.Error("the source was not told")
	}
}

func TestFindingsInALargeNumberDoNotFillTheLog(t *testing.T) {
	src := newFake()
	r := start(t, Options{Open: func(live.Options) (*live.Watch, error) { return &live.Watch{Source: src, Kind: live.EBPF}, nil }})
	const n = 3 * findingsBurst
	for i := range n {
		for _, s := range plain(uint16(20000 + i)) {
			src.segments <- s
		}
	}
	r.awaitMetric(fmt.Sprintf(`dynwatch_findings_total{rule="plaintext",severity="critical"} %d`, n))
	if lines := strings.Count(r.log.String(), `"msg":"finding"`); lines < findingsBurst || lines > 2*findingsBurst {
		t.Errorf("%d lines", lines)
	}
	r.await("the rest is said", func() bool { return strings.Contains(r.log.String(), "findings were not logged, there were too many") })
	for line := range strings.Lines(r.log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

func TestHealthTellsTheTruth(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	h := newHealth(func() time.Time { return now })
	expect := func(what, live, ready string) {
		t.Helper()
		if got := h.live(); got != live {
			t.Errorf("%s: live says %q, want %q", what, got, live)
		}
		if got := h.ready(); got != ready {
			t.Errorf("%s: ready says %q, want %q", what, got, ready)
		}
	}
	expect("at the start", "", "no source is attached: no source was opened yet")
	h.attached("ebpf")
	expect("with a source", "", "")
	now = now.Add(31 * time.Second)
	expect("with a loop that hangs", "the loop has not come round for 31s", "the loop has not come round for 31s")
	h.beats(now)
	expect("with a loop that lives", "", "")
	h.detached("it broke")
	expect("without a source", "", "no source is attached: it broke")
	h.attached("packet")
	h.ending()
	now = now.Add(time.Minute)
	expect("at the end", "", "the agent is ending")
}

// TestTheServiceManagerIsTold plays systemd.
func TestTheServiceManagerIsTold(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var got logBuffer
	go func() {
		b := make([]byte, 1000)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			fmt.Fprintf(&got, "%s\n", b[:n])
		}
	}()
	env := map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"}
	hangup := make(chan os.Signal, 1)
	settings := &Settings{Config: config.Default(), Judge: judge(t)}
	src := newFake()
	r := start(t, Options{
		Settings: settings, Reload: func() (*Settings, error) { return settings, nil }, Hangup: hangup,
		Getenv: func(k string) string { return env[k] },
		Open:   func(live.Options) (*live.Watch, error) { return &live.Watch{Source: src, Kind: live.EBPF}, nil },
	})
	said := func(what string) {
		t.Helper()
		r.await(what, func() bool { return strings.Contains(got.String(), what) })
	}
	said("READY=1\nSTATUS=watching this host by eBPF")
	said("WATCHDOG=1\nWATCHDOG=1")
	hangup <- os.Interrupt
	said("RELOADING=1\nMONOTONIC_USEC=")
	r.stop()
	said("STOPPING=1")
}

func TestTheWatchdogOfAnotherProcessIsNotOurs(t *testing.T) {
	env := map[string]string{"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
	if n := newNotifier(func(k string) string { return env[k] }, 7); n.watchdog != 0 {
		t.Errorf("%v", n.watchdog)
	}
	if n := newNotifier(func(k string) string { return env[k] }, 1); n.watchdog != 500*time.Millisecond {
		t.Errorf("%v", n.watchdog)
	}
}

func TestPasswordsAreAskedFor(t *testing.T) {
	name := filepath.Join(t.TempDir(), "web.yml")
	hash, err := bcrypt.GenerateFromPassword([]byte("test"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, fmt.Appendf(nil, "basic_auth_users:\n  prometheus: %s\n", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Web.ConfigFile = name
	src := newFake()
	r := start(t, Options{
		Settings: &Settings{Config: c, Judge: judge(t)},
		Open:     func(live.Options) (*live.Watch, error) { return &live.Watch{Source: src, Kind: live.EBPF}, nil },
	})
	r.await("401", func() bool { status, _ := r.get("/metrics"); return status == http.StatusUnauthorized })
	r.base = strings.Replace(r.base, "http://", "http://prometheus:test@", 1)
	if status, body := r.get("/metrics"); status != 200 {
		t.Errorf("with the password: %d %s", status, body)
	}
	if err := CheckWeb(name + "x"); err == nil {
		t.Error("a file that is not there is no error")
	}
}

func TestThePageForPeopleHasWhatIsNotAPageOfTheProgram(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page ", r.URL.Path) })
	h := newHealth(time.Now)
	for _, c := range []struct {
		page       http.Handler
		path, want string
	}{
		{page, "/", "page /"},
		{page, "/api/state", "page /api/state"},
		{page, "/livez", "ok"},
		{page, "/metrics", "dynwatch_build_info"},
		{nil, "/", "/readyz"},
	} {
		w := httptest.NewRecorder()
		routes(metrics.New(metrics.Options{}), h, c.page).ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		if !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %s", c.path, w.Body)
		}
	}
}
