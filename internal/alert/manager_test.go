package alert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/journal"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

const name = "dynamodb.us-east-1.amazonaws.com"

func weak(endpoint string) (*session.Session, session.Finding) {
	s := &session.Session{
		Start: time.Now(), Source: "ebpf",
		Client: netip.MustParseAddrPort("10.0.0.5:40112"), Server: netip.MustParseAddrPort("52.94.5.7:443"),
		Process:     &flow.Process{PID: 811, Exe: "/usr/bin/python3.11", Comm: "gunicorn", Pod: "orders-7d9f8b6c5d-x2x7p", Namespace: "shop"},
		Endpoint:    session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"sni"}, Name: endpoint},
		Transport:   session.TransportTLS,
		Certificate: &session.Certificate{Issuer: "CN=Amazon RSA 2048 M01,O=Amazon,C=US"},
	}
	return s, session.Finding{Rule: "weak-cipher", Severity: session.High, Message: "3DES was negotiated with " + endpoint, Evidence: map[string]any{"cipher": "3DES"}}
}

// recorder is a receiver within the test.
type recorder struct {
	mu   sync.Mutex
	got  []*Alert
	fail error
	seen chan struct{}
}

func newRecorder() *recorder { return &recorder{seen: make(chan struct{}, 1<<16)} }

func (*recorder) Kind() string { return "recorder" }
func (*recorder) Close() error { return nil }

func (r *recorder) Send(_ context.Context, alerts []*Alert) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.got = append(r.got, alerts...)
	for range alerts {
		r.seen <- struct{}{}
	}
	return nil
}

func (r *recorder) setFail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// endpoints are what was told, in order.
func (r *recorder) endpoints() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, a := range r.got {
		list = append(list, a.Endpoint)
	}
	return list
}

func (r *recorder) wait(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-r.seen:
		case <-time.After(20 * time.Second):
			t.Fatalf("only %q came", r.endpoints())
		}
	}
}

func manager(t *testing.T, o Options) *Manager {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "a")
	}
	o.Burst = 1 << 20
	m, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// start runs a manager; the returned function ends it.
func start(t *testing.T, m *Manager) func() error {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	return sync.OnceValue(func() error {
		stop()
		return <-done
	})
}

func sink(s Sink) []SinkOptions { return []SinkOptions{{Sink: s}} }

func TestAlertsGoToEverySink(t *testing.T) {
	a, b := newRecorder(), newRecorder()
	m := manager(t, Options{Host: "node-7", Sinks: []SinkOptions{{Name: "a", Sink: a}, {Name: "b", Sink: b, MinSeverity: session.Critical}}})
	end := start(t, m)
	m.Add(weak("one.example"))
	s, f := weak("two.example")
	f.Severity = session.Critical
	m.Add(s, f)
	m.AddDNS(&session.DNS{Time: time.Now(), Source: "ebpf", Question: "three.example", Findings: []session.Finding{{Rule: "unexpected-destination", Severity: session.High, Message: "m"}}})
	a.wait(t, 3)
	b.wait(t, 1)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got := a.endpoints(); !slices.Equal(got, []string{"one.example", "two.example", "three.example"}) {
		t.Errorf("a got %q", got)
	}
	if got := b.endpoints(); !slices.Equal(got, []string{"two.example"}) {
		t.Errorf("b got %q", got)
	}
	x := a.got[0]
	if x.Host != "node-7" || x.Namespace != "shop" || x.Workload != "orders" || x.Rule != "weak-cipher" || x.Severity != "high" || x.Region != "us-east-1" ||
		x.Issuer != "CN=Amazon RSA 2048 M01,O=Amazon,C=US" || !bytes.Contains(x.Finding, []byte(`"type":"finding"`)) {
		t.Errorf("%+v", x)
	}
	st := m.Stats()
	if st.Findings != 3 || st.Alerts != 3 || st.Queued != 0 || st.QueuedBytes != 0 || st.Sinks[0].Sent != 3 || st.Sinks[1].Sent != 1 || !st.Oldest.IsZero() {
		t.Errorf("%+v", st)
	}
}

func TestWhatWasNotSentIsSentByTheNextProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	down := newRecorder()
	down.fail = errors.New("down")
	m := manager(t, Options{Path: path, Sinks: sink(down)})
	for i := range 5 {
		m.Add(weak(fmt.Sprintf("%d.example", i)))
	}
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	m.Close() // and never ran
	up := newRecorder()
	m = manager(t, Options{Path: path, Sinks: sink(up)})
	end := start(t, m)
	up.wait(t, 5)
	if got := up.endpoints(); !slices.Equal(got, []string{"0.example", "1.example", "2.example", "3.example", "4.example"}) {
		t.Errorf("%q", got)
	}
	// What the process before told is not told again within its window.
	m.Add(weak("0.example"))
	if err := end(); err != nil {
		t.Fatal(err)
	}
	m.Close()
	again := newRecorder()
	m = manager(t, Options{Path: path, Sinks: sink(again)})
	end = start(t, m)
	m.Add(weak("0.example"))
	m.Add(weak("new.example"))
	again.wait(t, 1)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got := again.endpoints(); !slices.Equal(got, []string{"new.example"}) {
		t.Errorf("after acknowledgement: %q", got)
	}
}

// The counts of folded findings outlive the process.
func TestFoldedFindingsAreToldAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	r := newRecorder()
	m := manager(t, Options{Path: path, Sinks: sink(r), Window: 3 * time.Second})
	end := start(t, m)
	for range 7 {
		m.Add(weak("one.example"))
	}
	r.wait(t, 1)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	m.Close()
	m = manager(t, Options{Path: path, Sinks: sink(r), Window: 3 * time.Second})
	end = start(t, m)
	r.wait(t, 1)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if last := r.got[1]; last.Count != 6 || !last.Repeat || last.Fingerprint != r.got[0].Fingerprint {
		t.Errorf("%+v", last)
	}
}

func TestAReceiverThatComesBackGetsAll(t *testing.T) {
	var log bytes.Buffer
	r, other := newRecorder(), newRecorder()
	r.fail = errors.New("connection refused")
	m := manager(t, Options{Sinks: []SinkOptions{{Name: "down", Sink: r}, {Name: "up", Sink: other}}, Log: testLog(&log)})
	end := start(t, m)
	for i := range 50 {
		m.Add(weak(fmt.Sprintf("%d.example", i)))
	}
	other.wait(t, 50) // one that is down delays no other
	for m.Stats().Sinks[0].Failed < 2 {
		time.Sleep(10 * time.Millisecond)
	}
	if st := m.Stats(); st.Queued != 50 || !st.Sinks[0].Failing || st.Sinks[0].Queued != 50 || st.Sinks[1].Failing || st.Oldest.IsZero() {
		t.Errorf("%+v", st)
	}
	r.setFail(nil)
	r.wait(t, 50)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if st := m.Stats(); st.Queued != 0 || st.Sinks[0].Failing || st.Sinks[0].Sent != 50 {
		t.Errorf("%+v", st)
	}
	if l := log.String(); strings.Count(l, "does not take alerts") != 1 || strings.Count(l, "takes alerts again") != 1 {
		t.Errorf("log:\n%s", l)
	}
}

func TestAFullQueueDropsTheOldest(t *testing.T) {
	var log bytes.Buffer
	r := newRecorder()
	m := manager(t, Options{Sinks: sink(r), MaxQueued: 100, Log: testLog(&log)})
	for i := range 1000 {
		m.Add(weak(fmt.Sprintf("%d.example", i)))
		if i%10 == 0 {
			if err := m.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	st := m.Stats()
	if st.Queued > 100 || st.Queued < 89 || st.Dropped != 1000-uint64(st.Queued) || st.Sinks[0].Dropped != st.Dropped || strings.Count(log.String(), "queue is full") == 0 {
		t.Errorf("%+v\n%s", st, log.String())
	}
	end := start(t, m)
	r.wait(t, st.Queued)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got := r.endpoints(); got[len(got)-1] != "999.example" || got[0] != fmt.Sprintf("%d.example", 1000-st.Queued) {
		t.Errorf("from %s to %s", got[0], got[len(got)-1])
	}
}

func TestARefusedAlertDoesNotBlockTheRest(t *testing.T) {
	r := newRecorder()
	refuse := &refusing{recorder: r, endpoint: "bad.example"}
	m := manager(t, Options{Sinks: sink(refuse)})
	m.Add(weak("one.example"))
	m.Add(weak("bad.example"))
	m.Add(weak("two.example"))
	end := start(t, m)
	r.wait(t, 2)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if st := m.Stats(); st.Sinks[0].Refused != 1 || st.Sinks[0].Sent != 2 || st.Queued != 0 {
		t.Errorf("%+v", st)
	}
}

// refusing takes batches, and refuses those with a certain alert in it.
type refusing struct {
	*recorder
	endpoint string
}

func (*refusing) batches() {}

func (r *refusing) Send(ctx context.Context, alerts []*Alert) error {
	for _, a := range alerts {
		if a.Endpoint == r.endpoint {
			return &RefusedError{errors.New("no")}
		}
	}
	return r.recorder.Send(ctx, alerts)
}

func TestRemovedSinksAreForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	m := manager(t, Options{Path: path, Sinks: []SinkOptions{{Name: "old", Sink: newRecorder()}, {Name: "kept", Sink: newRecorder()}}})
	m.Add(weak("one.example"))
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	m.Close()
	var log bytes.Buffer
	r := newRecorder()
	m = manager(t, Options{Path: path, Sinks: []SinkOptions{{Name: "kept", Sink: r}}, Log: testLog(&log)})
	end := start(t, m)
	r.wait(t, 1)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if st := m.Stats(); st.Queued != 0 || !strings.Contains(log.String(), "sink=old") {
		t.Errorf("%+v\n%s", st, log.String())
	}
	m.Close()
	log.Reset()
	if m = manager(t, Options{Path: path, Log: testLog(&log)}); m.Stats().Queued != 0 || log.Len() > 0 {
		t.Errorf("it waits again: %s", log.String())
	}
}

func TestNamesAndOwnersAreUnique(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if _, err := Open(Options{Path: path, Sinks: []SinkOptions{{Sink: newRecorder()}, {Sink: newRecorder()}}}); err == nil || !strings.Contains(err.Error(), "recorder") {
		t.Errorf("%v", err)
	}
	manager(t, Options{Path: path})
	if _, err := Open(Options{Path: path}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("%v", err)
	}
}

// On a full disk alerts are told all the same, and nothing is told twice once there is room.
func TestAFullDisk(t *testing.T) {
	dir := testenv.SmallDisk(t, 2<<20)
	path := filepath.Join(dir, "a")
	var log bytes.Buffer
	r := newRecorder()
	r.fail = errors.New("down, too")
	m := manager(t, Options{Path: path, Sinks: sink(r), Log: testLog(&log)})
	full := testenv.FillDisk(t, dir)
	n, saved := 0, 0
	for err := error(nil); err == nil && n < 5000; n++ {
		m.Add(weak(fmt.Sprintf("%d.example", n)))
		if err = m.Sync(); err == nil {
			saved++
		} else if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	if saved < 100 {
		t.Errorf("the reserve held %d alerts", saved)
	}
	for range 20 {
		m.Add(weak(fmt.Sprintf("%d.example", n)))
		n++
	}
	if err := m.Sync(); err == nil {
		t.Fatal("the disk is not full")
	}
	if st := m.Stats(); !st.Failing || st.Unsaved < 20 || st.Queued != n || strings.Count(log.String(), "cannot write the journal") != 1 {
		t.Errorf("%+v\n%s", st, log.String())
	}
	r.setFail(nil)
	end := start(t, m)
	r.wait(t, n/2)
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	r.wait(t, n-n/2)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if st := m.Stats(); st.Failing || st.Queued != 0 || st.Unsaved != 0 || !strings.Contains(log.String(), "written again") {
		t.Errorf("%+v\n%s", st, log.String())
	}
	m.Close()
	again := newRecorder()
	m = manager(t, Options{Path: path, Sinks: sink(again)})
	end = start(t, m)
	time.Sleep(100 * time.Millisecond)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got := again.endpoints(); len(got) != 0 || len(r.endpoints()) != n {
		t.Errorf("%d told, %d of them again", len(r.endpoints()), len(got))
	}
}

// The journal does not grow with what was sent.
func TestTheJournalIsShortened(t *testing.T) {
	r := newRecorder()
	m := manager(t, Options{Sinks: sink(r), Window: time.Millisecond})
	end := start(t, m)
	for i := range 600 {
		m.Add(weak(fmt.Sprintf("%d.example", i)))
		if i%100 == 0 {
			r.wait(t, 1)
		}
	}
	r.wait(t, 600-6)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if st := m.Stats(); st.FileBytes > 5<<18+600*2000 {
		t.Errorf("%d bytes after %d alerts", st.FileBytes, st.Alerts)
	}
}

// A journal that says that findings of a kind were told must have the alert that tells them, whatever comes while it is written.
func TestAKindIsNotWrittenAsToldWithoutItsAlert(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	m := manager(t, Options{Path: path, Sinks: sink(newRecorder()), Window: time.Hour})
	s, f := weak(name)
	f.Severity = session.Medium
	m.Add(s, f)
	m.Add(s, f) // folded
	m.mu.Lock()
	b := m.collect(false)
	m.mu.Unlock()
	f.Severity = session.High
	m.Add(s, f) // told at once, being worse
	if len(b.alerts) != 1 || len(b.folds) != 1 || b.folds[0].Untold != 1 || len(m.fresh) != 1 {
		t.Fatalf("%d alerts, folds %+v, %d fresh", len(b.alerts), b.folds, len(m.fresh))
	}
	if err := m.j.Append(journal.Encode(b.records())); err != nil { // and the machine stops
		t.Fatal(err)
	}
	m.Close()
	m = manager(t, Options{Path: path, Sinks: sink(newRecorder()), Window: time.Hour})
	if k := slices.Collect(maps.Values(m.fold.folds)); len(m.items) != 1 || len(k) != 1 || k[0].Untold != 1 {
		t.Errorf("taken up: %d alerts, %+v", len(m.items), k)
	}
}

// Kinds that come again and again are written each time; the whole journal is only when that doubles it.
func TestTheJournalIsNotWrittenAnewEachTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	// No alert waits beside them.
	m := manager(t, Options{Path: path, Sinks: []SinkOptions{{Sink: newRecorder(), MinSeverity: session.Critical}}, Window: time.Hour})
	s, f := weak(name)
	f.Evidence["padding"] = strings.Repeat("x", 3000) // far more than a kind usually takes
	for i := range 400 {
		s.Endpoint.Name = fmt.Sprintf("%d.%s", i, name)
		m.Add(s, f)
		m.Add(s, f)
	}
	anew := rewrites(t, m)
	for range 100 {
		m.Add(s, f)
		if err := m.Sync(); err != nil {
			t.Fatal(err)
		}
		anew()
	}
	if n := anew(); n > 4 {
		t.Errorf("written anew %d times in 100 writes", n)
	}
}

// rewrites returns what tells how often the journal was another file than when it was asked before.
func rewrites(t *testing.T, m *Manager) func() int {
	anew, inode := 0, uint64(0)
	return func() int {
		t.Helper()
		info, err := os.Stat(m.o.Path)
		if err != nil {
			t.Fatal(err)
		}
		if n := info.Sys().(*syscall.Stat_t).Ino; n != inode {
			anew, inode = anew+1, n
		}
		return anew
	}
}

// A queue that is sent gives its room on the disk back, in a few steps; what comes and goes is no reason to write all anew.
func TestTheJournalShrinksWithTheQueue(t *testing.T) {
	m := manager(t, Options{Sinks: sink(newRecorder()), Window: time.Hour})
	add := func(from, to int, severity session.Severity, padding string) {
		for i := from; i < to; i++ {
			s, f := weak(fmt.Sprintf("%d.%s", i, name))
			f.Evidence["padding"], f.Severity = padding, severity
			m.Add(s, f)
		}
		if err := m.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	anew := rewrites(t, m)
	take := func(n int) {
		m.mu.Lock()
		m.sinks[0].remove(m.sinks[0].queue[:n], true)
		m.mu.Unlock()
		if err := m.write(false); err != nil {
			t.Fatal(err)
		}
		anew()
	}
	const n, step = 1000, 10
	add(0, n, session.High, strings.Repeat("x", 3000))
	full, before := m.j.Size(), anew()
	for range n / step {
		take(step)
	}
	if size, times := m.j.Size(), anew()-before; full < 4<<20 || size > full/2 || times > 4 {
		t.Errorf("%d bytes, then %d; written anew %d times", full, size, times)
	}
	before = anew()
	for i := 0; i < n; i += step {
		add(i, i+step, session.Critical, "")
		anew()
		take(step)
	}
	if times := anew() - before; times > 4 {
		t.Errorf("written anew %d times while alerts came and went", times)
	}
}

// What cannot be shortened is saved all the same: that is said, and not tried with each write.
func TestAJournalThatCannotBeShortened(t *testing.T) {
	dir := testenv.SmallDisk(t, 3<<20)
	var log bytes.Buffer
	m := manager(t, Options{Path: filepath.Join(dir, "a"), Sinks: sink(newRecorder()), Log: testLog(&log)})
	now := time.Now()
	m.now = func() time.Time { return now }
	full := testenv.FillDisk(t, dir) // but for what the journal has in reserve
	for i := range 200 {
		m.Add(weak(fmt.Sprintf("%d.example", i)))
	}
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	if st := m.Stats(); st.FileBytes < 256<<10 || st.WriteErrors != 0 || st.Failing || st.Unsaved != 0 {
		t.Errorf("%+v", st)
	}
	tries := 0
	untouched := time.Unix(1e9, 0)
	wait := func(d time.Duration) {
		now = now.Add(d)
		if err := os.Chtimes(dir, untouched, untouched); err != nil {
			t.Fatal(err)
		}
		if err := m.write(false); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(dir); err != nil {
			t.Fatal(err)
		} else if !info.ModTime().Equal(untouched) {
			tries++ // another file was made in it
		}
	}
	for range 50 {
		wait(time.Second)
	}
	if said := strings.Count(log.String(), "cannot be shortened"); tries != 0 || said != 1 {
		t.Errorf("tried %d more times within a minute, said %d times", tries, said)
	}
	m.stats.Failing = true // the disk did not take the latest alerts
	for range 60 {
		wait(time.Minute)
	}
	if said := strings.Count(log.String(), "cannot be shortened"); tries != 60 || said != 2 {
		t.Errorf("tried %d times within an hour, said %d times", tries, said)
	}
	if st := m.Stats(); !st.Failing {
		t.Error("without a byte written, it is told that writing succeeds again")
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		wait(time.Minute)
	}
	if tries != 61 || m.Stats().Failing || strings.Count(log.String(), "is shortened again") != 1 {
		t.Errorf("with room: tried %d times, %+v\n%s", tries, m.Stats(), log.String())
	}
}

// An alert that is too long for a record is counted, told, and holds up none that comes after it.
func TestAnAlertThatIsTooLongForTheJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	var log bytes.Buffer
	m := manager(t, Options{Path: path, Sinks: sink(newRecorder()), Log: testLog(&log)})
	long := ofSession(weak("long.example"))
	long.Message = strings.Repeat("x", journal.MaxRecord)
	m.mu.Lock()
	m.enqueue(long)
	m.mu.Unlock()
	m.Add(weak("one.example"))
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	if st := m.Stats(); st.WriteErrors != 1 || st.Failing || st.Queued != 2 || strings.Count(log.String(), "too long") != 1 {
		t.Errorf("%+v\n%s", st, log.String())
	}
	m.Add(weak("two.example"))
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	end := start(t, m)
	r := m.sinks[0].sink.(*recorder)
	r.wait(t, 3)
	if err := end(); err != nil || r.endpoints()[0] != "long.example" {
		t.Errorf("%v, %q", err, r.endpoints())
	}
}

func TestBackoff(t *testing.T) {
	for _, tt := range []struct {
		failures int
		err      error
		random   float64
		want     time.Duration
	}{
		{1, errors.New("x"), 0, 500 * time.Millisecond},
		{1, errors.New("x"), 1, time.Second},
		{3, errors.New("x"), 1, 4 * time.Second},
		{7, errors.New("x"), 1, time.Minute},
		{1000, errors.New("x"), 0, 30 * time.Second},
		{1, &LaterError{errors.New("x"), 7 * time.Second}, 0, 7 * time.Second},
		{1, fmt.Errorf("w: %w", &LaterError{errors.New("x"), 0}), 0, time.Second},
		{1, &LaterError{errors.New("x"), 1000 * time.Hour}, 0, time.Hour},
	} {
		if got := backoff(tt.failures, tt.err, tt.random); got != tt.want {
			t.Errorf("%d failures, %v, %v: %s, want %s", tt.failures, tt.err, tt.random, got, tt.want)
		}
	}
}

func TestTextFromTheWireIsMadePrintable(t *testing.T) {
	s, f := weak("dynamodb\x1b[31m\x00\u202eevil\xff.example")
	f.Message = strings.Repeat("é\n", 5000)
	s.Process.Pod, s.Process.Namespace, s.Process.Unit = "", "", ""
	s.Process.Exe = "/tmp/\x07x"
	a := ofSession(s, f)
	if a.Endpoint != "dynamodb?[31m??evil?.example" || a.Workload != "/tmp/?x" || len(a.Message) > 4*maxText || !strings.HasSuffix(a.Message, "…") || strings.Contains(a.Message, "\n") {
		t.Errorf("%q %q %q", a.Endpoint, a.Workload, a.Message)
	}
	f.Evidence = map[string]any{"names": []string{strings.Repeat("x", maxEvent)}}
	a = ofSession(s, f)
	if a.complete(); a.Finding != nil || a.Message == "" {
		t.Errorf("a huge event: %+v", a)
	}
}

func testLog(b io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
