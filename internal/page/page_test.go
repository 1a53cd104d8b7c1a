package page

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/history"
	"github.com/dynwatch/dynwatch/internal/metrics"
	"github.com/dynwatch/dynwatch/internal/testbrowser"
)

// hostile is a name that a client may have sent.
const hostile = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`

var now = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// content is a history with a critical finding, a high one, and three entries.
func content(history.Query) *history.Content {
	return &history.Content{
		Entries: []history.Entry{
			{Key: history.Key{Namespace: "shop", Workload: "orders", Endpoint: "dynamodb.us-east-1.amazonaws.com", Transport: "tls", Version: "TLS 1.3", Verdict: "unverified"},
				Visibility: "encrypted", First: now.Add(-time.Hour), Last: now, Sessions: 1234},
			{Key: history.Key{Namespace: "shop", Workload: "billing", Endpoint: "dynamodb.us-east-1.amazonaws.com", Transport: "tls", Version: "TLS 1.2", Issuer: "CN=Amazon RSA 2048 M01,O=Amazon,C=US", Verdict: "ok"},
				First: now.Add(-time.Hour), Last: now, Sessions: 56},
			{Key: history.Key{Workload: "legacy-report", Endpoint: hostile, Transport: "http", Verdict: "finding"}, First: now, Last: now, Sessions: 7},
		},
		Findings: []history.Finding{
			{Time: now, Rule: "plaintext", Severity: "critical", Workload: "legacy-report", Endpoint: hostile, Message: "DynamoDB requests go to " + hostile},
			{Time: now.Add(-time.Minute), Rule: "tls-version", Severity: "high", Namespace: "shop", Workload: "orders", Message: "TLS 1.0 was negotiated"},
		},
	}
}

// counted is a Set after three sessions.
func counted() *metrics.Set {
	m := metrics.New(metrics.Options{Build: metrics.Build{Version: "v1"}})
	m.SourceOpened("ebpf", 0)
	at := flow.Process{PID: 1, Comm: "python3"}
	m.Session(&session.Session{Transport: session.TransportTLS, TLS: &session.TLS{Version: 0x304}, Visibility: session.VisibilityEncrypted,
		Certificate: &session.Certificate{SeenBy: session.SeenByProbe}, // of another connection
		Trust:       session.TrustUnseen, Verdict: session.VerdictUnverified, Process: &at, Endpoint: session.Endpoint{Service: "dynamodb"}})
	m.Session(&session.Session{Transport: session.TransportTLS, TLS: &session.TLS{Version: 0x303}, Visibility: session.VisibilityVisible,
		Certificate: &session.Certificate{SeenBy: "wire"}, Trust: session.TrustAmazon, Verdict: session.VerdictOK, Endpoint: session.Endpoint{Service: "dynamodb"}})
	m.Session(&session.Session{Transport: session.TransportHTTP, Verdict: session.VerdictFinding, Endpoint: session.Endpoint{Service: "dynamodb"}})
	return m
}

func serve(t *testing.T, ready *atomic.Value, with func(history.Query) *history.Content) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(New(Options{
		Host: "host-1", Version: "v1", Ready: func() string { return ready.Load().(string) }, Metrics: counted().Registry(), History: with, Now: func() time.Time { return now },
	}))
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

func TestStateSaysWhatIsKnown(t *testing.T) {
	var ready atomic.Value
	ready.Store("")
	server := serve(t, &ready, content)
	_, body := get(t, server.URL+"/api/state")
	var s State
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if s.Host != "host-1" || s.NotReady != "" || len(s.Sources) != 1 || s.Sources[0] != "ebpf" || !s.HasHistory {
		t.Errorf("%+v", s)
	}
	if s.Verdicts["ok"] != 1 || s.Verdicts["finding"] != 1 || s.Versions["TLS 1.3"] != 1 || s.Transports["http"] != 1 ||
		s.Certificates.Seen != 1 || s.Certificates.Of != 2 || len(s.Lost) != 0 {
		t.Errorf("%+v", s)
	}
	if len(s.Findings) != 2 || s.FindingsOf != 2 || len(s.Inventory) != 3 || len(s.Rules) != 2 || len(s.Rules["plaintext"].Steps) == 0 {
		t.Errorf("%+v", s)
	}
	ready.Store("no source is attached: no rights")
	if _, body := get(t, server.URL+"/api/state"); !strings.Contains(body, `"not_ready":"no source is attached: no rights"`) {
		t.Error(body)
	}
	if _, body := get(t, serve(t, &ready, nil).URL+"/api/state"); !strings.Contains(body, `"has_history":false`) {
		t.Error(body)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	var ready atomic.Value
	ready.Store("")
	server := serve(t, &ready, func(history.Query) *history.Content {
		return &history.Content{Entries: make([]history.Entry, 20000), Findings: make([]history.Finding, 1000)}
	})
	_, body := get(t, server.URL+"/api/state")
	var s State
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Findings) != maxFindings || s.FindingsOf != 1000 || len(s.Inventory) != maxEntries || s.InventoryOf != 20000 {
		t.Errorf("%d of %d findings, %d of %d entries", len(s.Findings), s.FindingsOf, len(s.Inventory), s.InventoryOf)
	}
}

func TestThePageLoadsNothingFromElsewhere(t *testing.T) {
	var ready atomic.Value
	ready.Store("")
	server := serve(t, &ready, content)
	for path, kind := range map[string]string{"/": "text/html", "/static/app.js": "text/javascript", "/static/style.css": "text/css", "/api/state": "application/json"} {
		r, body := get(t, server.URL+path)
		h := r.Header
		if r.StatusCode != http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), kind) || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self';") ||
			h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, r.StatusCode, h)
		}
		if path != "/api/state" && strings.Contains(body, "://") || strings.Contains(body, "innerHTML") {
			t.Errorf("%s names another place, or writes HTML", path)
		}
	}
	for _, path := range []string{"/static/../page.go", "/nothing", "/static/nothing"} {
		if r, _ := get(t, server.URL+path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	r, err := http.Post(server.URL+"/api/state", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
}

// eval is the value of an expression in the page.
func eval[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	return testbrowser.Ask(t, ctx, chromedp.Evaluate[T](expression))
}

// prefer has the page drawn for a theme.
func prefer(theme string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, to *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, to, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
		})
		return chromedp.Void{}, err
	}
}

func TestAPersonSeesItAllWithoutAMouse(t *testing.T) {
	var reason atomic.Value
	reason.Store("")
	server := serve(t, &reason, content)
	ctx := testbrowser.New(t, 2*time.Minute)
	testbrowser.Do(t, ctx, chromedp.Navigate(server.URL), chromedp.WaitVisible("details"))
	text := testbrowser.Ask(t, ctx, chromedp.Text("body"))
	for _, want := range []string{"Watching by ebpf", "legacy-report", "TLS 1.0 was negotiated", "1,234", "CN=Amazon RSA 2048 M01", "not seen: encrypted", "50.0 %", hostile, "Nothing."} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page:\n%s", want, text)
		}
	}
	if title := testbrowser.Ask(t, ctx, chromedp.Title()); title != "dynwatch host-1" {
		t.Errorf("the title is %q: something from the wire ran", title)
	}

	// Tab leads from the top to the first finding, Enter opens it, and the next answer of the agent closes nothing and keeps the place.
	const focused = `document.activeElement.tagName`
	reached := false
	for range 12 {
		testbrowser.Do(t, ctx, chromedp.KeyEvent(kb.Tab))
		if reached = eval[string](t, ctx, focused) == "SUMMARY"; reached {
			break
		}
	}
	if !reached {
		t.Fatal("Tab does not lead to the findings")
	}
	testbrowser.Do(t, ctx, chromedp.KeyEvent(kb.Enter))
	asked(t, ctx)
	if !eval[bool](t, ctx, `document.querySelector("details").open`) || eval[string](t, ctx, focused) != "SUMMARY" {
		t.Error("what was opened does not stay open, or loses the focus")
	}
	if text := testbrowser.Ask(t, ctx, chromedp.Text("details")); !strings.Contains(text, "What to do") || !strings.Contains(text, "boto3") {
		t.Error(text)
	}

	// Filters.
	const shown = `document.querySelectorAll("details").length`
	testbrowser.Do(t, ctx, chromedp.SendKeys("#search", "shop tls"))
	if n := eval[int](t, ctx, shown); n != 1 {
		t.Errorf("%d findings match", n)
	}
	eval[bool](t, ctx, `(document.querySelector("#search").value = "") === ""`)
	testbrowser.Do(t, ctx, chromedp.Focus("#severity"), chromedp.KeyEvent("critical")) // as typed into the list
	if n := eval[int](t, ctx, shown); n != 1 {
		t.Errorf("%d findings are critical", n)
	}

	// What changes shows by itself.
	reason.Store("no source is attached: no rights")
	asked(t, ctx)
	if text := testbrowser.Ask(t, ctx, chromedp.Text("#status")); text != "Not watching: no source is attached: no rights" {
		t.Error(text)
	}
	server.Close()
	asked(t, ctx)
	if text := testbrowser.Ask(t, ctx, chromedp.Text("#status")); !strings.Contains(text, "does not answer") || !strings.Contains(text, "old") {
		t.Error(text)
	}
}

// asked waits until the page has asked the agent once more, and has shown the answer.
func asked(t *testing.T, ctx context.Context) {
	t.Helper()
	testbrowser.Ask(t, ctx, chromedp.Evaluate[bool](`ask().then(() => true)`, chromedp.EvalAwaitPromise))
}

func TestThePageAsksByItself(t *testing.T) {
	var reason atomic.Value
	reason.Store("")
	server := serve(t, &reason, content)
	ctx := testbrowser.New(t, 2*time.Minute)
	testbrowser.Do(t, ctx, chromedp.Navigate(server.URL), chromedp.WaitVisible("#status.ok"))
	reason.Store("no source is attached: no rights")
	testbrowser.Do(t, ctx, chromedp.WaitVisible("#status.bad"))
}

func TestAnEmptyPageExplainsItself(t *testing.T) {
	var reason atomic.Value
	reason.Store("")
	ctx := testbrowser.New(t, 2*time.Minute)
	testbrowser.Do(t, ctx, chromedp.Navigate(serve(t, &reason, func(history.Query) *history.Content { return &history.Content{} }).URL), chromedp.WaitVisible(".card"))
	if text := testbrowser.Ask(t, ctx, chromedp.Text("body")); !strings.Contains(text, "No finding. Every session that could be seen was right") ||
		!strings.Contains(text, "No session was seen so far.") {
		t.Error(text)
	}
	testbrowser.Do(t, ctx, chromedp.Navigate(serve(t, &reason, nil).URL), chromedp.WaitVisible(".card"))
	if text := testbrowser.Ask(t, ctx, chromedp.Text("body")); !strings.Contains(text, "No history is kept") {
		t.Error(text)
	}
}

// In both themes and on a narrow screen: text stands out from what is behind it (WCAG 2.2, 1.4.3: 4.5 to 1), nothing makes the page scroll
// sideways, and there is a picture to look at if DYNWATCH_PICTURES names a folder.
func TestThePageCanBeReadInBothThemes(t *testing.T) {
	var ready atomic.Value
	ready.Store("")
	server := serve(t, &ready, content)
	ctx := testbrowser.New(t, 2*time.Minute)
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 400} {
			testbrowser.Do(t, ctx, prefer(theme), chromedp.EmulateViewport(width, 1400), chromedp.Navigate(server.URL), chromedp.WaitVisible("details"))
			eval[bool](t, ctx, `document.querySelector("details").open = true`)
			low, wide := eval[[]string](t, ctx, contrast), eval[bool](t, ctx, `document.documentElement.scrollWidth > innerWidth`)
			picture := testbrowser.Ask(t, ctx, chromedp.FullScreenshot(100))
			if len(low) > 0 {
				t.Errorf("%s: too little contrast: %q", theme, low)
			}
			if wide {
				t.Errorf("%s: the page is wider than %d", theme, width)
			}
			if dir := os.Getenv("DYNWATCH_PICTURES"); dir != "" {
				name := filepath.Join(dir, "page-"+theme+map[bool]string{true: "-narrow"}[width < 500]+".png")
				if err := os.WriteFile(name, picture, 0o644); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// contrast lists texts whose contrast is less than 4.5.
const contrast = `(() => {
  const parse = c => c.match(/[\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = parse(c).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; const p = parse(c); if (p.length === 3 || p[3] > 0) return c; } return "rgb(255,255,255)"; };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
    const a = light(getComputedStyle(e).color), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(e.tagName + " " + e.textContent.slice(0, 30) + " " + ratio.toFixed(2));
  }
  return low;
})()`
