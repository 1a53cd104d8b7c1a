package history

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// TestWhatAProbeWasShownStandsBesideAndDecidesNothing: sessions with such a certificate and without are of one entry, which outlives the process.
func TestWhatAProbeWasShownStandsBesideAndDecidesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	h := store(t, Options{Path: path})
	unseen := func(s *session.Session) {
		s.Certificate, s.Visibility, s.Trust, s.Verdict = nil, session.VisibilityEncrypted, session.TrustUnseen, session.VerdictUnverified
	}
	shown := func(age time.Duration, issuer string) func(*session.Session) {
		return func(s *session.Session) {
			unseen(s)
			s.Certificate = &session.Certificate{SeenBy: session.SeenByProbe, Issuer: issuer, SeenAt: s.Start.Add(-age), ProbeTrust: session.TrustForged}
		}
	}
	h.Add(seen(0, unseen))
	h.Add(seen(time.Minute, shown(30*time.Second, "CN=Probed")))
	h.Add(seen(2*time.Minute, unseen))                            // what was shown stays
	h.Add(seen(30*time.Second, shown(time.Second, "CN=Earlier"))) // put out late
	h.Add(seen(3*time.Minute, shown(time.Second, "CN=Probed"), withFinding))
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	c := contentOf(t, path, Query{Verdict: "unverified"})
	want := &Shown{SeenBy: "probe", Issuer: "CN=Probed", SeenAt: t0.Add(30 * time.Second), AgeSeconds: 30, ProbeTrust: "forged"}
	if len(c.Entries) != 1 || c.Entries[0].Sessions != 4 || c.Entries[0].Issuer != "" || c.Entries[0].Trust != "unseen" || !reflect.DeepEqual(c.Entries[0].Shown, want) {
		t.Fatalf("%+v", c.Entries)
	}
	if got := c.Entries[0].Shown.String(); got != "30s before: forged issuer=CN=Probed" {
		t.Error(got)
	}
	if len(c.Findings) != 1 || c.Findings[0].Issuer != "" {
		t.Errorf("%+v", c.Findings)
	}
	same(t, contentOf(t, path, Query{}), h.Snapshot(Query{}))
}
