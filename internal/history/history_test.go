package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/journal"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

var t0 = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

const name = "dynamodb.us-east-1.amazonaws.com"

// seen is an ordinary session of TLS 1.2 at a time after t0.
func seen(after time.Duration, changes ...func(*session.Session)) *session.Session {
	s := &session.Session{
		Start: t0.Add(after), End: t0.Add(after + time.Second), Source: "ebpf",
		Client: netip.MustParseAddrPort("10.0.0.5:40112"), Server: netip.MustParseAddrPort("52.94.5.7:443"),
		Process:   &flow.Process{PID: 811, Exe: "/usr/bin/python3.11", Comm: "gunicorn", Pod: "orders-7d9f8b6c5d-x2x7p", Namespace: "shop"},
		Endpoint:  session.Endpoint{Service: "dynamodb", Region: "us-east-1", Partition: "aws", Kind: "public", MatchedBy: []string{"range", "sni"}, Name: name, AddrDynamoDB: session.Yes},
		Transport: session.TransportTLS,
		TLS: &session.TLS{Version: session.TLS12, OfferedMax: session.TLS12, Cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
			ClientHelloSeen: true, ServerHelloSeen: true, SNI: name},
		Certificate: &session.Certificate{SeenBy: "wire", Issuer: "CN=Amazon RSA 2048 M01,O=Amazon,C=US"},
		Visibility:  session.VisibilityVisible, Trust: session.TrustAmazon, Verdict: session.VerdictOK,
	}
	for _, c := range changes {
		c(s)
	}
	return s
}

func withFinding(s *session.Session) {
	s.Verdict = session.VerdictFinding
	s.Findings = append(s.Findings, session.Finding{Rule: rules.WeakCipher, Severity: session.High, Message: "3DES was negotiated", Evidence: map[string]any{"cipher": "3DES"}})
}

func endpointNamed(n string) func(*session.Session) {
	return func(s *session.Session) { s.Endpoint.Name = n }
}

func store(t *testing.T, o Options) *Store {
	t.Helper()
	h, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func contentOf(t *testing.T, path string, q Query) *Content {
	t.Helper()
	c, err := Read(path, q)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// same compares what two contents say.
func same(t *testing.T, got, want *Content) {
	t.Helper()
	a, _ := json.MarshalIndent(got, "", " ")
	b, _ := json.MarshalIndent(want, "", " ")
	if !bytes.Equal(a, b) {
		x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
		i := 0
		for i < len(x) && i < len(y) && x[i] == y[i] {
			i++
		}
		t.Errorf("from line %d on: got\n%s\nwant\n%s", i, strings.Join(x[i:min(i+10, len(x))], "\n"), strings.Join(y[i:min(i+10, len(y))], "\n"))
	}
}

func TestInventoryCountsSessions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	h := store(t, Options{Path: path})
	h.Add(seen(time.Minute))
	h.Add(seen(3 * time.Minute))
	h.Add(seen(2 * time.Minute)) // judged late
	h.Add(seen(0, withFinding))
	h.Add(seen(time.Hour, func(s *session.Session) { s.Process = nil }))
	h.Add(seen(time.Hour, func(s *session.Session) { s.Endpoint = session.Endpoint{Name: "s3.amazonaws.com"} }))
	h.AddFinding(seen(2*time.Hour, withFinding), session.Finding{Rule: rules.InterceptionRefused, Severity: session.Medium, Message: "later"})
	h.AddDNS(&session.DNS{Time: t0.Add(time.Minute), Source: "ebpf", Client: netip.MustParseAddrPort("10.0.0.5:5353"), Server: netip.MustParseAddrPort("10.0.0.2:53"),
		Question: name, QueryType: "A", RCode: "NOERROR", Findings: []session.Finding{{Rule: rules.UnexpectedDestination, Severity: session.High, Message: "elsewhere"}}})
	if err := h.flush(true); err != nil {
		t.Fatal(err)
	}
	c := contentOf(t, path, Query{})
	same(t, c, h.Snapshot(Query{}))
	base := Entry{
		Key: Key{WorkloadKind: "pod", Namespace: "shop", Workload: "orders", Endpoint: name, Transport: "tls", Version: "TLS 1.2",
			Cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Issuer: "CN=Amazon RSA 2048 M01,O=Amazon,C=US", Verdict: "finding"},
		Service: "dynamodb", Region: "us-east-1", EndpointKind: "public", Visibility: "visible", Trust: "amazon",
		First: t0, Last: t0.Add(2 * time.Hour), Sessions: 2,
	}
	unknown, ok := base, base
	unknown.WorkloadKind, unknown.Namespace, unknown.Workload, unknown.Verdict = "", "", "", "ok"
	unknown.First, unknown.Last, unknown.Sessions = t0.Add(time.Hour), t0.Add(time.Hour), 1
	ok.Verdict, ok.First, ok.Last, ok.Sessions = "ok", t0.Add(time.Minute), t0.Add(3*time.Minute), 3
	if want := []Entry{base, unknown, ok}; !reflect.DeepEqual(c.Entries, want) {
		t.Errorf("entries\n%+v\nwant\n%+v", c.Entries, want)
	}
	var told []string
	for _, f := range c.Findings {
		told = append(told, f.Rule+" "+f.Severity+" "+f.Workload+" "+f.Endpoint)
	}
	if want := []string{"interception-refused medium orders " + name, "unexpected-destination high  " + name, "weak-cipher high orders " + name}; !slices.Equal(told, want) {
		t.Errorf("findings %q, want %q", told, want)
	}
	if e := string(c.Findings[1].Event); !strings.Contains(e, `"dns":{"client":"10.0.0.5:5353","resolver":"10.0.0.2:53"`) {
		t.Errorf("event %s", e)
	}
}

func TestHistoryOutlivesItsProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	h := store(t, Options{Path: path})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	for i := range 3 {
		s := seen(time.Duration(i)*time.Minute, withFinding, func(s *session.Session) {
			s.TLS.Version, s.TLS.OfferedMax, s.TLS.JA4 = session.TLS13, session.TLS13, "t13d"
		})
		h.Add(s)
		h.Memory().Observe(s)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := h.Snapshot(Query{})
	h.Close()
	h = store(t, Options{Path: path})
	same(t, h.Snapshot(Query{}), want)
	next := seen(10*24*time.Hour, func(s *session.Session) { s.TLS.OfferedMax = session.TLS13 })
	if b, ok := h.Memory().Baseline(next); !ok || b.Version != session.TLS13 || b.Sessions != 3 {
		t.Errorf("after ten days: %+v %v", b, ok)
	}
	if _, ok := h.Memory().Baseline(seen(UsualFor+time.Hour, func(s *session.Session) { s.TLS.OfferedMax = session.TLS13 })); ok {
		t.Error("what was usual never ends")
	}
	h.Add(seen(time.Hour, withFinding))
	if got := h.Snapshot(Query{}).Findings; len(got) != 4 {
		t.Errorf("%d findings after the restart", len(got))
	}
}

// The memory as the rule uses it: a change of who certifies an endpoint is found by the next process.
func TestIssuerChangeIsFoundAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	certified := func(after time.Duration, amazon bool, root string) *session.Session {
		return seen(after, func(s *session.Session) {
			s.Chain = &session.Chain{LeadsToAllowed: true, LeadsToAmazon: amazon, Root: root, NameChecked: true}
		})
	}
	h := store(t, Options{Path: path})
	for i := range 3 {
		h.Memory().Observe(certified(time.Duration(i)*time.Minute, true, "CN=Amazon Root CA 1,O=Amazon,C=US"))
	}
	if err := h.flush(true); err != nil {
		t.Fatal(err)
	}
	h.Close()
	h = store(t, Options{Path: path})
	found := func(s *session.Session) bool {
		return slices.ContainsFunc(rules.Evaluate(&rules.Input{Session: s, History: h.Memory()}), func(f session.Finding) bool { return f.Rule == rules.IssuerChanged })
	}
	if !found(certified(time.Hour, false, "CN=Inspection,O=Example Corp")) {
		t.Error("an allowed CA in Amazon's place is no finding")
	}
	if found(certified(time.Hour, true, "CN=Amazon Root CA 3,O=Amazon,C=US")) {
		t.Error("Amazon's own rotation is a finding")
	}
}

func TestBoundsHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	h := store(t, Options{Path: path, MaxEntries: 50, MaxFindings: 20, MaxBytes: 1 << 20})
	for i := range 500 {
		h.Add(seen(time.Duration(i)*time.Second, endpointNamed(fmt.Sprintf("%d.example", i)), withFinding))
		if i%7 == 0 {
			if err := h.flush(false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.flush(true); err != nil {
		t.Fatal(err)
	}
	st := h.Stats()
	if st.Entries != 50 || st.Findings != 20 || st.EvictedEntries != 450 || st.EvictedFindings != 480 {
		t.Errorf("%+v", st)
	}
	want := h.Snapshot(Query{})
	if want.Entries[0].Endpoint != "499.example" || want.Entries[49].Endpoint != "450.example" {
		t.Errorf("from %s to %s: the oldest should be gone", want.Entries[0].Endpoint, want.Entries[49].Endpoint)
	}
	same(t, contentOf(t, path, Query{}), want)
	h.Close()
	// With narrower bounds the next process forgets more.
	h = store(t, Options{Path: path, MaxEntries: 10, MaxFindings: 5})
	if st := h.Stats(); st.Entries != 10 || st.Findings != 5 {
		t.Errorf("%+v", st)
	}
	if err := h.flush(true); err != nil {
		t.Fatal(err)
	}
	same(t, contentOf(t, path, Query{}), h.Snapshot(Query{}))
}

func TestBytesAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	h := store(t, Options{Path: path, MaxBytes: 200 << 10, MaxEntries: 1 << 20, MaxFindings: 1 << 20})
	long := strings.Repeat("x", 400)
	for i := range 3000 {
		h.Add(seen(time.Duration(i)*time.Second, endpointNamed(fmt.Sprint(i, long)), withFinding))
		if st := h.Stats(); st.Bytes > 200<<10 {
			t.Fatalf("%d bytes after %d sessions", st.Bytes, i)
		}
		if i%50 == 0 {
			if err := h.flush(false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.flush(true); err != nil {
		t.Fatal(err)
	}
	st := h.Stats()
	if st.Entries < 20 || st.Findings < 20 {
		t.Errorf("one pushed the other out: %+v", st)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 2*200<<10+2<<20 {
		t.Errorf("the file has %d bytes: %v", info.Size(), err)
	}
	same(t, contentOf(t, path, Query{}), h.Snapshot(Query{}))
	huge := seen(0, withFinding)
	huge.Findings[0].Message = strings.Repeat("x", journal.MaxRecord)
	h.Add(huge)
	if got := h.Stats().DroppedFindings; got != 1 {
		t.Errorf("%d findings dropped", got)
	}
}

// A finding that is longer as a record than it was guessed to be is counted, and holds up none that comes after it.
func TestAFindingThatIsTooLongForARecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	h := store(t, Options{Path: path})
	h.keep(Finding{Time: t0, Message: strings.Repeat("\x01", journal.MaxRecord/4), Event: []byte("{}")}, nil)
	h.keep(Finding{Time: t0, Message: "another", Event: []byte("{}")}, nil)
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	if st := h.Stats(); st.DroppedFindings != 1 || st.WriteErrors != 0 || st.Failing {
		t.Errorf("%+v", st)
	}
	if got := contentOf(t, path, Query{}).Findings; len(got) != 1 || got[0].Message != "another" {
		t.Errorf("%d findings are in the file", len(got))
	}
}

func TestUsualFitsItsRecords(t *testing.T) {
	var snap rules.Snapshot
	long := strings.Repeat("é", 128) // 256 bytes, as long as rules keeps
	for i := range usualPairs {
		p := rules.PairMemory{Client: long, Program: fmt.Sprint(i, long), Endpoint: long}
		for v := session.SSL30; v <= session.TLS13; v++ {
			p.Negotiated = append(p.Negotiated, rules.Negotiated{Version: v, Sessions: 1 << 40, Last: t0})
		}
		e := rules.EndpointMemory{Endpoint: fmt.Sprint(i, long)}
		for range 8 {
			e.Authorities = append(e.Authorities, rules.Authority{Name: long, First: t0, Last: t0, Sessions: 1 << 40, Replaced: long})
		}
		snap.Pairs, snap.Endpoints = append(snap.Pairs, p), append(snap.Endpoints, e)
	}
	st := newState()
	for range 2 {
		for _, l := range usualLines(snap) {
			r, err := json.Marshal(l)
			if err != nil || len(r) > journal.MaxRecord {
				t.Fatalf("%d bytes, %v", len(r), err)
			}
			if err := st.replay(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !reflect.DeepEqual(st.usual, snap) {
		t.Error("what was read is not what was written")
	}
}

func TestQuery(t *testing.T) {
	h := store(t, Options{Path: filepath.Join(t.TempDir(), "h")})
	h.Add(seen(0, endpointNamed("a.example")))
	h.Add(seen(time.Hour, endpointNamed("a.example")))
	h.Add(seen(2*time.Hour, endpointNamed("b.example"), withFinding))
	h.Add(seen(3*time.Hour, endpointNamed("c.example"), withFinding, func(s *session.Session) {
		s.Process = &flow.Process{Unit: "carts.service"}
		s.Findings[0].Severity, s.Findings[0].Rule = session.Critical, rules.Plaintext
	}))
	for _, tt := range []struct {
		name              string
		q                 Query
		entries, findings string
	}{
		{"all", Query{}, "cba", "cb"},
		{"since", Query{Since: t0.Add(2 * time.Hour)}, "cb", "cb"},
		{"an entry counts as long as it was seen", Query{Since: t0.Add(time.Minute), Until: t0.Add(2 * time.Minute)}, "a", ""},
		{"until", Query{Until: t0.Add(2 * time.Hour)}, "ba", "b"},
		{"workload", Query{Workload: "SHOP/ord"}, "ba", "b"},
		{"endpoint", Query{Endpoint: "C.ex"}, "c", "c"},
		{"verdict", Query{Verdict: "ok"}, "a", "cb"},
		{"rule", Query{Rule: "plaintext"}, "cba", "c"},
		{"severity", Query{MinSeverity: session.Critical}, "cba", "c"},
		{"severity below", Query{MinSeverity: session.High}, "cba", "cb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := h.Snapshot(tt.q)
			var entries, findings string
			for _, e := range c.Entries {
				entries += e.Endpoint[:1]
			}
			for _, f := range c.Findings {
				findings += f.Endpoint[:1]
			}
			if entries != tt.entries || findings != tt.findings {
				t.Errorf("entries %s, findings %s, want %s and %s", entries, findings, tt.entries, tt.findings)
			}
		})
	}
}

func TestDamageIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	h := store(t, Options{Path: path})
	for i := range 10 {
		h.Add(seen(0, endpointNamed(fmt.Sprintf("%d.example", i)), withFinding))
	}
	if err := h.flush(true); err != nil {
		t.Fatal(err)
	}
	h.Close()
	data, _ := os.ReadFile(path)
	i := bytes.Index(data, []byte("3.example"))
	data[i] = 'X'
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := contentOf(t, path, Query{}); c.Damaged != 1 || len(c.Entries) != 9 || len(c.Findings) != 10 {
		t.Errorf("%d damaged, %d entries, %d findings", c.Damaged, len(c.Entries), len(c.Findings))
	}
	var log bytes.Buffer
	h = store(t, Options{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if h.Stats().DamagedRecords != 1 || !strings.Contains(log.String(), "set_aside=") {
		t.Errorf("%+v, log %s", h.Stats(), log.String())
	}
	h.Add(seen(0, endpointNamed("next.example")))
	if err := h.flush(true); err != nil {
		t.Fatal(err)
	}
	same(t, contentOf(t, path, Query{}), h.Snapshot(Query{}))
}

func TestOnlyOneWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	store(t, Options{Path: path})
	if _, err := Open(Options{Path: path}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("%v", err)
	}
}

// A full disk is said once, counted, and costs nothing but time.
func TestAFullDisk(t *testing.T) {
	dir := testenv.SmallDisk(t, 1<<20)
	path := filepath.Join(dir, "h")
	var log bytes.Buffer
	h := store(t, Options{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 700<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	errs := 0
	for i := range 600 {
		h.Add(seen(time.Duration(i)*time.Second, endpointNamed(fmt.Sprintf("%d.example", i)), withFinding))
		if i%20 == 19 && h.flush(false) != nil {
			errs++
		}
	}
	st := h.Stats()
	if errs == 0 || st.WriteErrors != uint64(errs) || !st.Failing || strings.Count(log.String(), "cannot write") != 1 || !strings.Contains(log.String(), "no space left") {
		t.Errorf("%d errors, %+v, log:\n%s", errs, st, log.String())
	}
	if c := contentOf(t, path, Query{}); c.Damaged != 0 || len(c.Entries) == 0 {
		t.Errorf("the file on the full disk: %d damaged, %d entries", c.Damaged, len(c.Entries))
	}
	if err := os.Remove(filepath.Join(dir, "full")); err != nil {
		t.Fatal(err)
	}
	if err := h.flush(false); err != nil {
		t.Fatal(err)
	}
	if h.Stats().Failing || !strings.Contains(log.String(), "writing again") {
		t.Errorf("%+v, log:\n%s", h.Stats(), log.String())
	}
	same(t, contentOf(t, path, Query{}), h.Snapshot(Query{}))
}

// Whoever reads while another writes sees a history that stood at some moment: counts never go down.
// What cannot be shortened is written to all the same; shortening is not tried with each write.
func TestAFileThatCannotBeShortened(t *testing.T) {
	dir := testenv.SmallDisk(t, 4<<20)
	var log bytes.Buffer
	h := store(t, Options{Path: filepath.Join(dir, "h"), Log: slog.New(slog.NewTextHandler(&log, nil))})
	write := func() {
		for i := range 100 {
			h.Add(seen(0, endpointNamed(fmt.Sprint(i))))
		}
		if err := h.flush(false); err != nil {
			t.Fatal(err)
		}
	}
	write()
	for st := h.Stats(); st.FileBytes < 2*st.Bytes+1<<20-64<<10; st = h.Stats() {
		write()
	}
	testenv.FillDisk(t, dir) // but for what the file has in reserve
	writes := 0
	for ; !strings.Contains(log.String(), "cannot shorten") && writes < 10; writes++ {
		write()
	}
	if writes == 10 {
		t.Fatalf("the file is not too long, or was shortened: %+v", h.Stats())
	}
	untouched := time.Unix(1e9, 0)
	if err := os.Chtimes(dir, untouched, untouched); err != nil {
		t.Fatal(err)
	}
	write()
	if info, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	} else if !info.ModTime().Equal(untouched) {
		t.Error("another file was made with the next write")
	}
	if st := h.Stats(); st.Failing || st.WriteErrors != 0 || strings.Count(log.String(), "cannot shorten") != 1 {
		t.Errorf("%+v\n%s", st, log.String())
	}
}

func TestReadingWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	h := store(t, Options{Path: path, FlushEvery: time.Millisecond, MaxBytes: 100 << 10})
	ctx, stop := context.WithCancel(t.Context())
	adding, enough := context.WithCancel(t.Context())
	var runs, adds sync.WaitGroup
	runs.Go(func() { h.Run(ctx) })
	adds.Go(func() {
		for i := 0; adding.Err() == nil; i++ {
			h.Add(seen(time.Duration(i)*time.Second, endpointNamed("one.example")))
			h.Add(seen(time.Duration(i)*time.Second, endpointNamed(fmt.Sprintf("%d.example", i)), withFinding))
			h.Memory().Observe(seen(time.Duration(i) * time.Second))
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	})
	high, reads := uint64(0), 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); reads++ {
		c := contentOf(t, path, Query{Endpoint: "one.example"})
		if c.Damaged != 0 {
			t.Fatalf("read %d: %d damaged", reads, c.Damaged)
		}
		for _, e := range c.Entries {
			if e.Endpoint == "one.example" {
				if e.Sessions < high {
					t.Fatalf("read %d: %d sessions after %d", reads, e.Sessions, high)
				}
				high = e.Sessions
			}
		}
	}
	enough()
	adds.Wait()
	stop() // writes what is left
	runs.Wait()
	if high == 0 || reads < 3 {
		t.Errorf("%d sessions seen in %d reads", high, reads)
	}
	if st := h.Stats(); st.WriteErrors != 0 || st.LastWrite.IsZero() {
		t.Errorf("%+v", st)
	}
	same(t, contentOf(t, path, Query{}), h.Snapshot(Query{}))
}

func BenchmarkAdd(b *testing.B) {
	h, err := Open(Options{Path: filepath.Join(b.TempDir(), "h")})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	s := seen(0)
	b.ReportAllocs()
	for b.Loop() {
		h.Add(s)
	}
}
