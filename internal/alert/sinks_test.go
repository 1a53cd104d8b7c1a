package alert

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// sample is an alert with every field.
func sample() *Alert {
	a := &Alert{
		ID: "0123456789abcdef0123456789abcdef", Host: "node-7", Rule: "unexpected-issuer", Severity: "critical",
		Message:      "dynamodb.us-east-1.amazonaws.com showed a certificate of CN=\"Proxy\\] CA\"",
		WorkloadKind: "pod", Namespace: "shop", Workload: "orders", Endpoint: name, Region: "us-east-1", Issuer: `CN="Proxy\] CA"`,
		Count: 3, First: t0, Last: t0.Add(time.Minute), Repeat: true, Finding: json.RawMessage(`{"type":"finding"}`),
	}
	a.Fingerprint = a.kind()
	return a
}

func secretFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func webhook(t *testing.T, o WebhookOptions) *Webhook {
	t.Helper()
	w, err := NewWebhook(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func TestWebhookIsSigned(t *testing.T) {
	var body []byte
	var header http.Header
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		header = r.Header
	}))
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	w := webhook(t, WebhookOptions{URL: srv.URL + "/hook", KeyFile: secretFile(t, "the key"),
		HTTP: HTTPOptions{TLS: TLSOptions{CAFile: ca}, Username: "u", PasswordFile: secretFile(t, "the password")}})
	if err := w.Send(t.Context(), []*Alert{sample()}); err != nil {
		t.Fatal(err)
	}
	if err := Verify([]byte("the key"), header.Get("Dynwatch-Signature"), time.Now(), time.Minute, body); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"another key":  Verify([]byte("a key"), header.Get("Dynwatch-Signature"), time.Now(), time.Minute, body),
		"another body": Verify([]byte("the key"), header.Get("Dynwatch-Signature"), time.Now(), time.Minute, append(body, ' ')),
		"an hour late": Verify([]byte("the key"), header.Get("Dynwatch-Signature"), time.Now().Add(time.Hour), time.Minute, body),
		"no signature": Verify([]byte("the key"), "", time.Now(), time.Minute, body),
	} {
		if err == nil {
			t.Errorf("%s is verified", what)
		}
	}
	if header.Get("Dynwatch-Id") != sample().ID || header.Get("Content-Type") != "application/json" || !strings.HasPrefix(header.Get("Authorization"), "Basic ") {
		t.Errorf("%v", header)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil || got["version"] != 1.0 || got["rule"] != "unexpected-issuer" || got["count"] != 3.0 || got["workload"] != "orders" {
		t.Errorf("%v: %s", err, body)
	}
	// Without the CA the receiver is not who it says.
	if err := webhook(t, WebhookOptions{URL: srv.URL}).Send(t.Context(), []*Alert{sample()}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown CA: %v", err)
	}
}

func TestWebhookAnswers(t *testing.T) {
	status, after, location := 200, "", ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(status)
	}))
	defer srv.Close()
	w := webhook(t, WebhookOptions{URL: srv.URL + "/services/planted-path-secret?token=planted-query-secret"})
	for _, tt := range []struct {
		status   int
		after    string
		location string
		refused  bool
		later    time.Duration
	}{
		{200, "", "", false, -1}, {202, "", "", false, -1}, {204, "", "", false, -1},
		{400, "", "", true, 0}, {413, "", "", true, 0}, {422, "9", "", true, 0},
		{401, "", "", false, 0}, {404, "", "", false, 0}, {500, "", "", false, 0}, {502, "", "", false, 0},
		{302, "", "http://192.0.2.1/", false, 0},
		{429, "17", "", false, 17 * time.Second}, {503, "0", "", false, 0},
		{503, "nonsense", "", false, 0},
	} {
		status, after, location = tt.status, tt.after, tt.location
		err := w.Send(t.Context(), []*Alert{sample()})
		var no *RefusedError
		var later *LaterError
		if (err == nil) != (tt.later < 0) || errors.As(err, &no) != tt.refused || errors.As(err, &later) != (tt.after == "17" || tt.after == "0") {
			t.Errorf("%d: %v", tt.status, err)
		}
		if later != nil && later.After != tt.later {
			t.Errorf("%d: %s", tt.status, later.After)
		}
		if err != nil && strings.Contains(err.Error(), "planted") {
			t.Errorf("the error holds the URL's secret: %v", err)
		}
	}
	srv.Close()
	if err := w.Send(t.Context(), []*Alert{sample()}); err == nil || strings.Contains(err.Error(), "planted") {
		t.Errorf("%v", err)
	}
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	if d, ok := retryAfter("Sat, 21 Nov 2026 10:02:00 GMT", now); !ok || d != 2*time.Minute {
		t.Errorf("%s %v", d, ok)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	errOf := func(_ any, err error) error { return err }
	for want, err := range map[string]error{
		"http:// or https://": errOf(NewWebhook(WebhookOptions{URL: "ftp://x/"})),
		"a password file":     errOf(NewWebhook(WebhookOptions{URL: "https://planted:planted@example.com/"})),
		"cannot be read":      errOf(NewWebhook(WebhookOptions{URL: "https://planted\x7f/"})),
		"key: open":           errOf(NewWebhook(WebhookOptions{URL: "https://example.com/", KeyFile: missing})),
		"is empty":            errOf(NewWebhook(WebhookOptions{URL: "https://example.com/", KeyFile: empty})),
		"not both":            errOf(NewOTLP(OTLPOptions{URL: "https://example.com/", HTTP: HTTPOptions{BearerFile: empty, Username: "u", PasswordFile: empty}})),
		"user name needs":     errOf(NewOTLP(OTLPOptions{URL: "https://example.com/", HTTP: HTTPOptions{Username: "u"}})),
		"no such file":        errOf(NewOTLP(OTLPOptions{URL: "https://example.com/", HTTP: HTTPOptions{TLS: TLSOptions{CAFile: missing}}})),
		"no certificate":      errOf(NewOTLP(OTLPOptions{URL: "https://example.com/", HTTP: HTTPOptions{TLS: TLSOptions{CAFile: empty}}})),
		"needs its key":       errOf(NewOTLP(OTLPOptions{URL: "https://example.com/", HTTP: HTTPOptions{TLS: TLSOptions{CertFile: empty}}})),
		"client certificate:": errOf(NewOTLP(OTLPOptions{URL: "https://example.com/", HTTP: HTTPOptions{TLS: TLSOptions{CertFile: empty, KeyFile: empty}}})),
		"no URL":              errOf(NewAlertmanager(AlertmanagerOptions{})),
		"URL 2":               errOf(NewAlertmanager(AlertmanagerOptions{URLs: []string{"http://192.0.2.1:9093", "192.0.2.1:9093"}})),
		"name of a label":     errOf(NewAlertmanager(AlertmanagerOptions{URLs: []string{"http://192.0.2.1:9093"}, Labels: map[string]string{"a-b": "c"}})),
		"use host:port":       errOf(NewSyslog(SyslogOptions{Network: "udp", Address: "loghost"})),
		"use unix":            errOf(NewSyslog(SyslogOptions{Network: "sctp", Address: "loghost:514"})),
		"use 0 to 23":         errOf(NewSyslog(SyslogOptions{Facility: 24})),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// startAlertmanager runs the real one on a port of loopback, which tells of its alerts to hook.
func startAlertmanager(t *testing.T, addr, hook string) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("route:\n  receiver: hook\n  group_by: ['...']\n  group_wait: 100ms\n  group_interval: 1s\nreceivers:\n- name: hook\n  webhook_configs:\n  - url: %s\n", hook)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := testenv.Command(t, "prometheus-alertmanager", "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--cluster.listen-address=", "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	stop = func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	t.Cleanup(stop)
	for range 300 {
		resp, err := http.Get("http://" + addr + "/-/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return stop
			}
		}
		select {
		case <-ended:
			t.Fatalf("alertmanager ended: %s", log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("alertmanager does not become ready: %s", log.String())
	return nil
}

// amAlert is an alert as Alertmanager gives it out.
type amAlert struct {
	Labels, Annotations map[string]string
	StartsAt, EndsAt    time.Time
	GeneratorURL        string
	Status              struct{ State string }
}

func amAlerts(t *testing.T, addr string) []amAlert {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/api/v2/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list []amAlert
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestRealAlertmanager(t *testing.T) {
	notified := make(chan map[string]string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Alerts []struct{ Labels map[string]string }
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		for _, a := range body.Alerts {
			notified <- a.Labels
		}
	}))
	defer hook.Close()
	one, two, dead := testnet.Free(t), testnet.Free(t), testnet.Free(t)
	stopOne := startAlertmanager(t, one, hook.URL)
	startAlertmanager(t, two, hook.URL)
	am, err := NewAlertmanager(AlertmanagerOptions{
		URLs: []string{"http://" + dead, "http://" + one, "http://" + two}, RefreshEvery: 200 * time.Millisecond,
		GeneratorURL: "http://192.0.2.1:9464/", Runbook: func(rule string) string { return "https://runbooks.example/" + rule }, Labels: map[string]string{"cluster": "blue"},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := manager(t, Options{Host: "node-7", Sinks: sink(am)})
	// What happened hours ago, while no instance could be reached, still notifies.
	s, f := weak(name)
	s.Start = time.Now().Add(-3 * time.Hour)
	m.Add(s, f)
	end := start(t, m)
	select {
	case labels := <-notified:
		if labels["alertname"] != "DynwatchWeakCipher" {
			t.Errorf("%v", labels)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("nobody was notified: %+v %+v", m.Stats(), amAlerts(t, one))
	}
	for _, addr := range []string{one, two} {
		var list []amAlert
		for range 100 {
			if list = amAlerts(t, addr); len(list) == 1 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if len(list) != 1 {
			t.Fatalf("%s has %d alerts", addr, len(list))
		}
		a := list[0]
		want := map[string]string{
			"alertname": "DynwatchWeakCipher", "cluster": "blue", "endpoint": name, "host": "node-7", "issuer": "CN=Amazon RSA 2048 M01,O=Amazon,C=US",
			"namespace": "shop", "region": "us-east-1", "rule": "weak-cipher", "severity": "high", "source": "dynwatch", "workload": "orders", "workload_kind": "pod",
		}
		if !mapsEqual(a.Labels, want) || a.Status.State != "active" || a.GeneratorURL != "http://192.0.2.1:9464/" || a.Annotations["runbook_url"] != "https://runbooks.example/weak-cipher" ||
			!a.StartsAt.Round(time.Second).Equal(s.Start.Round(time.Second)) || time.Until(a.EndsAt) < 14*time.Minute {
			t.Errorf("%+v", a)
		}
	}
	// An instance that forgot everything is reminded of what goes on.
	m.Add(weak("second.example"))
	for range 100 {
		if len(amAlerts(t, two)) == 2 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	stopOne()
	startAlertmanager(t, one, hook.URL)
	var list []amAlert
	for range 200 {
		if list = amAlerts(t, one); len(list) > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(list) != 1 || list[0].Labels["endpoint"] != "second.example" {
		t.Errorf("after a restart: %+v", list)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if st := m.Stats(); st.Sinks[0].Sent != 2 || st.Queued != 0 || st.Sinks[0].Refused != 0 {
		t.Errorf("%+v", st)
	}
}

func mapsEqual(a, b map[string]string) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

func TestAlertNames(t *testing.T) {
	for rule, want := range map[string]string{"tls-downgrade": "DynwatchTLSDowngrade", "plaintext": "DynwatchPlaintext", "unexpected-issuer": "DynwatchUnexpectedIssuer", "": "Dynwatch"} {
		if got := alertName(rule); got != want {
			t.Errorf("%s: %s, want %s", rule, got, want)
		}
	}
}

func TestOTLP(t *testing.T) {
	var got collector.ExportLogsServiceRequest
	var rejected int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/v1/logs" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get("Authorization") != "Bearer the token" || proto.Unmarshal(body, &got) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answer, _ := proto.Marshal(&collector.ExportLogsServiceResponse{PartialSuccess: &collector.ExportLogsPartialSuccess{RejectedLogRecords: rejected, ErrorMessage: "too\x1bold"}})
		w.Write(answer)
	}))
	defer srv.Close()
	o, err := NewOTLP(OTLPOptions{URL: srv.URL, Version: "1.2.3", Resource: map[string]string{"k8s.node.name": "node-7"}, HTTP: HTTPOptions{BearerFile: secretFile(t, "the token")}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	milder := sample()
	milder.Severity = "low"
	if err := o.Send(t.Context(), []*Alert{sample(), milder}); err != nil {
		t.Fatal(err)
	}
	rl := got.ResourceLogs[0]
	attrs := map[string]string{}
	for _, kv := range rl.Resource.Attributes {
		attrs[kv.Key] = kv.Value.GetStringValue()
	}
	if want := map[string]string{"service.name": "dynwatch", "service.version": "1.2.3", "host.name": "node-7", "k8s.node.name": "node-7"}; !mapsEqual(attrs, want) {
		t.Errorf("%v", attrs)
	}
	records := rl.ScopeLogs[0].LogRecords
	if len(records) != 2 || records[0].SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_FATAL || records[1].SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_INFO ||
		records[0].TimeUnixNano != uint64(t0.Add(time.Minute).UnixNano()) || !strings.Contains(records[0].Body.GetStringValue(), "unexpected-issuer") {
		t.Errorf("%v", records)
	}
	facts := map[string]string{}
	for _, kv := range records[0].Attributes {
		facts[kv.Key] = kv.Value.GetStringValue()
	}
	if facts["dynwatch.workload"] != "orders" || facts["dynwatch.count"] != "3" || facts["dynwatch.finding"] != `{"type":"finding"}` || facts["dynwatch.id"] != sample().ID {
		t.Errorf("%v", facts)
	}
	rejected = 1
	var partly *PartlyRefusedError
	if err := o.Send(t.Context(), []*Alert{sample()}); !errors.As(err, &partly) || partly.Refused != 1 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%v", err)
	}
}

func TestJournaldsNativeProtocol(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	j := NewJournald(JournaldOptions{Socket: path})
	defer j.Close()
	a := sample()
	a.Message = "two\nlines"
	if err := j.Send(t.Context(), []*Alert{a}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for rest := buf[:n]; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		if k, v, ok := bytes.Cut(line, []byte("=")); ok {
			got[string(k)], rest = string(v), after
			continue
		}
		size := binary.LittleEndian.Uint64(after)
		got[string(line)], rest = string(after[8:8+size]), after[8+size+1:]
	}
	for k, want := range map[string]string{
		"PRIORITY": "2", "SYSLOG_IDENTIFIER": "dynwatch", "MESSAGE_ID": MessageID, "DYNWATCH_RULE": "unexpected-issuer", "DYNWATCH_NAMESPACE": "shop",
		"DYNWATCH_ISSUER": a.Issuer, "DYNWATCH_FINDING": `{"type":"finding"}`, "MESSAGE": a.text(),
	} {
		if got[k] != want {
			t.Errorf("%s is %q, want %q", k, got[k], want)
		}
	}
	// journald comes back with a new socket.
	conn.Close()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := j.Send(t.Context(), []*Alert{a}); err == nil {
		t.Error("sent to nobody")
	}
	conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := j.Send(t.Context(), []*Alert{a}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestRealRsyslog(t *testing.T) {
	dir := t.TempDir()
	at := testnet.Free(t)
	host, port, _ := net.SplitHostPort(at)
	out, sock, conf := filepath.Join(dir, "out"), filepath.Join(dir, "log"), filepath.Join(dir, "rsyslog.conf")
	text := fmt.Sprintf(`global(workDirectory=%q)
module(load="imuxsock" SysSock.Use="off")
module(load="imptcp")
module(load="imudp")
input(type="imuxsock" Socket=%q UseSpecialParser="off" UseSysTimeStamp="off" IgnoreTimestamp="off" CreatePath="on")
input(type="imptcp" port=%q address=%q)
input(type="imudp" port=%q address=%q)
template(name="t" type="string" string="%%pri%%|%%timestamp:::date-rfc3339%%|%%hostname%%|%%app-name%%|%%msgid%%|%%structured-data%%|%%msg%%\n")
action(type="omfile" file=%q template="t" asyncWriting="off" flushOnTXEnd="on")
`, dir, sock, port, host, port, host, out)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := testenv.Command(t, "rsyslogd", "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	want := fmt.Sprintf(`82|2026-11-21T10:01:00Z|node-7|dynwatch|unexpected-issuer|[dynwatch@32473 id="%s"`, sample().ID)
	for i, o := range []SyslogOptions{{Address: sock}, {Network: "tcp", Address: at}, {Network: "udp", Address: at}} {
		s, err := NewSyslog(o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for try := 0; ; try++ { // until rsyslog listens
			if err = s.Send(t.Context(), []*Alert{sample()}); err == nil {
				break
			}
			if try == 200 {
				t.Fatalf("%v: %v, %s", o, err, log.String())
			}
			time.Sleep(50 * time.Millisecond)
		}
		var lines []string
		for range 200 {
			data, _ := os.ReadFile(out)
			if lines = strings.Split(strings.TrimSpace(string(data)), "\n"); len(lines) > i && lines[i] != "" {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if len(lines) != i+1 {
			t.Fatalf("%v: %d lines: %q\n%s", o, len(lines), lines, log.String())
		}
		got := strings.NewReplacer(".000000", "", "+00:00", "Z").Replace(lines[i])
		if !strings.HasPrefix(got, want) || !strings.Contains(got, `issuer="CN=\"Proxy\\\] CA\""`) || !strings.Contains(got, "critical unexpected-issuer: ") || !strings.Contains(got, `workload="orders"`) {
			t.Errorf("%v:\n%s\nwant\n%s…", o, got, want)
		}
	}
}

type socket interface {
	net.Conn
	syscall.Conn
}

// awaitEvents waits until poll(2) tells of an event at a socket.
func awaitEvents(t *testing.T, c socket, events int16) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fds := []unix.PollFd{{Events: events}}
	var polled error = unix.EINTR
	err = raw.Control(func(fd uintptr) {
		for fds[0].Fd = int32(fd); polled == unix.EINTR; {
			_, polled = unix.Poll(fds, 20_000)
		}
	})
	if err != nil || polled != nil || fds[0].Revents&events == 0 {
		t.Fatalf("waited in vain for %#x: %v %v", events, err, polled)
	}
}

// late is a connection whose user is off the processor, some times, from when it sets a deadline for its next read until that is over.
type late struct {
	socket
	times int
}

func (l *late) SetReadDeadline(at time.Time) error {
	err := l.socket.SetReadDeadline(at)
	if l.times--; l.times >= 0 {
		time.Sleep(time.Until(at) + time.Millisecond)
	}
	return err
}

func TestAConnectionThatTheReceiverClosedIsGoneHoweverBusyTheHostIs(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil) // for its certificate
	srv.StartTLS()
	defer srv.Close()
	pair := func(t *testing.T, network, address string) (client socket, server net.Conn) {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(); a.Close() })
		return c.(socket), a
	}
	for _, tt := range []struct {
		name, network string
		version       uint16 // of TLS
		does          func(net.Conn)
		event         int16 // at the client
		want          bool
	}{
		{"TCP, open", "tcp", 0, func(net.Conn) {}, 0, false},
		{"TCP, with an answer that nobody asked for", "tcp", 0, func(c net.Conn) { _, _ = io.WriteString(c, "welcome") }, unix.POLLIN, false},
		{"TCP, closed", "tcp", 0, func(c net.Conn) { c.Close() }, unix.POLLRDHUP, true},
		{"TCP, closed after an answer", "tcp", 0, func(c net.Conn) { _, _ = io.WriteString(c, "bye"); c.Close() }, unix.POLLRDHUP, true},
		{"a stream of this host, open", "unix", 0, func(net.Conn) {}, 0, false},
		{"a stream of this host, closed", "unix", 0, func(c net.Conn) { c.Close() }, unix.POLLRDHUP, true},
		{"TLS, open, with an answer that nobody asked for", "tcp", tls.VersionTLS13, func(c net.Conn) { _, _ = io.WriteString(c, "welcome") }, unix.POLLIN, false},
		{"TLS, open, with the first byte of a record", "tcp", tls.VersionTLS13, func(c net.Conn) { _, _ = c.(*tls.Conn).NetConn().Write([]byte{23}) }, unix.POLLIN, false},
		{"TLS, closed", "tcp", tls.VersionTLS12, func(c net.Conn) { c.Close() }, unix.POLLRDHUP, true},
		{"TLS, closed but for its socket", "tcp", tls.VersionTLS12, func(c net.Conn) { _ = c.(*tls.Conn).CloseWrite() }, unix.POLLIN, true},
	} {
		for _, times := range []int{0, 1, 5} {
			t.Run(fmt.Sprintf("%s, late %d times", tt.name, times), func(t *testing.T) {
				address := "127.0.0.1:0"
				if tt.network == "unix" {
					address = filepath.Join(t.TempDir(), "s")
				}
				c, server := pair(t, tt.network, address)
				var client, far net.Conn = &late{c, times}, server
				if tt.version != 0 {
					near, over := tls.Client(client, &tls.Config{InsecureSkipVerify: true, MaxVersion: tt.version}), tls.Server(far, &tls.Config{Certificates: srv.TLS.Certificates})
					done := make(chan error)
					go func() { done <- over.Handshake() }()
					if err := errors.Join(near.Handshake(), <-done); err != nil {
						t.Fatal(err)
					}
					client, far = near, over
				}
				tt.does(far)
				if tt.event != 0 {
					awaitEvents(t, c, tt.event)
				}
				if got := gone(client); got != tt.want {
					t.Errorf("gone: %t", got)
				}
			})
		}
	}
}

// A connection that the receiver has closed is noticed before an alert is written into it.
func TestSyslogOverTLSComesBack(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil) // for its certificate
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: srv.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(c)
			size, err := in.ReadString(' ')
			n, _ := strconv.Atoi(strings.TrimSpace(size))
			message := make([]byte, n)
			if _, rerr := io.ReadFull(in, message); err == nil && rerr == nil {
				got <- string(message)
			}
			c.Close() // after each message
		}
	}()
	s, err := NewSyslog(SyslogOptions{Network: "tls", Address: l.Addr().String(), TLS: TLSOptions{CAFile: ca}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 3 {
		a := sample()
		a.ID = strconv.Itoa(i)
		if err := s.Send(t.Context(), []*Alert{a}); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-got:
			if !strings.HasPrefix(m, "<82>1 2026-11-21T10:01:00.000000Z node-7 dynwatch ") || !strings.Contains(m, fmt.Sprintf(`id="%d"`, i)) {
				t.Errorf("%q", m)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("alert %d was written, and did not arrive", i)
		}
		awaitEvents(t, s.conn.(*tls.Conn).NetConn().(socket), unix.POLLRDHUP)
	}
	if s, err = NewSyslog(SyslogOptions{Network: "tls", Address: l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), []*Alert{sample()}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown CA: %v", err)
	}
}

// Every sink, its log and the journal on disk are searched for what is secret.
func TestNoSecretLeaves(t *testing.T) {
	const key, password, token, path = "planted-hmac-key", "planted-password", "planted-bearer", "planted-hook-path"
	var out bytes.Buffer // everything but the headers that have to hold a secret
	var fail bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		if _, p, ok := r.BasicAuth(); ok && p != password || !ok && h.Get("Authorization") != "" && h.Get("Authorization") != "Bearer "+token {
			t.Errorf("not the credentials: %v", h)
		}
		h.Del("Authorization")
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(&out, "%v %s\n", h, body)
		if fail {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer srv.Close()
	hook := webhook(t, WebhookOptions{URL: srv.URL + "/" + path, KeyFile: secretFile(t, key), HTTP: HTTPOptions{Username: "u", PasswordFile: secretFile(t, password)}})
	otlp, err := NewOTLP(OTLPOptions{URL: srv.URL + "/v1/logs", HTTP: HTTPOptions{BearerFile: secretFile(t, token)}})
	if err != nil {
		t.Fatal(err)
	}
	am, err := NewAlertmanager(AlertmanagerOptions{URLs: []string{srv.URL}})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	file := filepath.Join(t.TempDir(), "a")
	m := manager(t, Options{Path: file, Sinks: []SinkOptions{{Sink: hook}, {Sink: otlp}, {Sink: am}}, Log: testLog(&log)})
	for _, fail = range []bool{true, false} {
		for _, w := range m.sinks {
			_ = w.send(t.Context(), []*item{{alert: sample()}}) // one attempt each
		}
	}
	s, f := weak(name)
	s.Process.Cmdline = "gunicorn --password=***"
	f.Evidence = map[string]any{"access_key": "AKIA…MPLE"}
	m.Add(s, f)
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stats, _ := json.Marshal(m.Stats())
	for what, text := range map[string]string{"what was sent": out.String(), "the log": log.String(), "the journal": string(stored), "the statistics": string(stats)} {
		if len(text) < 100 {
			t.Errorf("%s is too short to say anything: %q", what, text)
		}
		for _, secret := range []string{key, password, token, path} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %s", what, secret)
			}
		}
	}
}

func TestSyslogMessagesFitADatagram(t *testing.T) {
	s, err := NewSyslog(SyslogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := sample()
	a.Message, a.Issuer, a.Endpoint = strings.Repeat("é", 2000), strings.Repeat(`"`, 512), strings.Repeat("x", 512)
	a.Host, a.Rule = "host with spaces", "weak-cipher"
	m := s.message(a)
	if len(m) > maxSyslog || strings.ContainsAny(m, "\n\x00") || !strings.Contains(m, " host_with_spaces dynwatch ") {
		t.Errorf("%d bytes: %s", len(m), m)
	}
}

// Sends end with their context, whatever the receiver does.
func TestSendsEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // accepts nothing and says nothing
	hook := webhook(t, WebhookOptions{URL: "http://" + l.Addr().String()})
	sys, err := NewSyslog(SyslogOptions{Network: "tls", Address: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Sink{hook, sys} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := s.Send(ctx, []*Alert{sample()}); !slices.ContainsFunc([]error{context.DeadlineExceeded, os.ErrDeadlineExceeded}, func(e error) bool { return errors.Is(err, e) }) {
			t.Errorf("%s: %v", s.Kind(), err)
		}
		cancel()
	}
}
