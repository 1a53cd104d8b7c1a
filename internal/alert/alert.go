package alert

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/output"
)

// Alert is what a receiver is told. It stands for Count findings of one kind.
type Alert struct {
	// ID is the alert's own: a receiver that gets the same one twice can drop the second. Fingerprint is that of its kind.
	ID          string `json:"id"`
	Fingerprint string `json:"fingerprint"`
	Host        string `json:"host"`

	Rule     string `json:"rule"`
	Severity string `json:"severity"`
	Message  string `json:"message"`

	WorkloadKind string `json:"workload_kind,omitempty"`
	Namespace    string `json:"namespace,omitempty"`
	Workload     string `json:"workload,omitempty"`
	Endpoint     string `json:"endpoint,omitempty"`
	Region       string `json:"region,omitempty"`
	Issuer       string `json:"issuer,omitempty"`

	// Count findings are told by this alert; First and Last are the times of the first and the latest of them.
	Count uint64    `json:"count"`
	First time.Time `json:"first_seen"`
	Last  time.Time `json:"last_seen"`
	// Repeat is set if an alert of the kind was told before, Limited if the alert sums up what the rate limit held back: then it stands for
	// findings of one rule with any workload and endpoint.
	Repeat  bool `json:"repeat,omitempty"`
	Limited bool `json:"limited,omitempty"`

	// Finding is an object of type finding, as docs/events.schema.json has it: that of the latest finding, or of one that came less than ten seconds
	// before it. It is absent with Limited, if that finding is very large, and in repeats when many kinds repeat.
	Finding json.RawMessage `json:"finding,omitempty"`

	event func() ([]byte, error) // makes Finding, which most findings of a kind are folded without
}

// complete makes the alert's Finding.
func (a *Alert) complete() {
	if a.event == nil {
		return
	}
	if b, err := a.event(); err == nil && len(b) <= maxEvent { // else the message must do
		a.Finding = b
	}
	a.event = nil
}

// Bounds of what one alert holds, in bytes.
const (
	maxText  = 512
	maxEvent = 32 << 10
)

// printable makes text from the wire safe for any receiver: valid UTF-8 without characters that do not print, and not longer than limit bytes.
func printable(s string, limit int) string {
	var b strings.Builder
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > limit-len("…") && len(s) > limit {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// newID is random: no two alerts of any host share one.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// fingerprint identifies a kind of finding.
func fingerprint(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// ofSession is a finding of a session as an alert, which reads both until it is complete.
func ofSession(s *session.Session, f session.Finding) *Alert {
	a := newAlert(f, s.Process.Workload(), s.EndpointName(), s.Start)
	a.Region = printable(s.Endpoint.Region, maxText)
	if c := s.OwnCertificate(); c != nil && !c.Partial {
		a.Issuer = printable(c.Issuer, maxText)
	}
	a.Fingerprint = a.kind()
	a.event = func() ([]byte, error) { return output.FindingEvent(s, f) }
	return a
}

// ofDNS is a finding of a DNS answer as an alert.
func ofDNS(d *session.DNS, f session.Finding) *Alert {
	a := newAlert(f, flow.Workload{}, d.Question, d.Time)
	a.Fingerprint = a.kind()
	a.event = func() ([]byte, error) { return output.DNSFindingEvent(d, f) }
	return a
}

func newAlert(f session.Finding, w flow.Workload, endpoint string, at time.Time) *Alert {
	return &Alert{
		Rule: f.Rule, Severity: f.Severity.String(), Message: printable(f.Message, 4*maxText),
		WorkloadKind: w.Kind, Namespace: printable(w.Namespace, maxText), Workload: printable(w.Name, maxText),
		Endpoint: printable(endpoint, maxText), Count: 1, First: at, Last: at,
	}
}

func (a *Alert) kind() string {
	return fingerprint(a.Rule, a.WorkloadKind, a.Namespace, a.Workload, a.Endpoint, a.Issuer)
}

// severity is the alert's, none if the word is unknown.
func (a *Alert) severity() session.Severity {
	s, _ := session.ParseSeverity(a.Severity)
	return s
}

// who names the workload for people.
func (a *Alert) who() string {
	return flow.Workload{Kind: a.WorkloadKind, Namespace: a.Namespace, Name: a.Workload}.String()
}

// text is the alert in one line.
func (a *Alert) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", a.Severity, a.Rule, a.Message)
	if !a.Limited {
		fmt.Fprintf(&b, "; workload %s", a.who())
	}
	if a.Repeat && !a.Limited {
		fmt.Fprintf(&b, "; %d more since %s", a.Count, a.First.UTC().Format(time.RFC3339))
	}
	return b.String()
}

// size is what an alert takes in memory and on disk, about.
func (a *Alert) size() int {
	return 600 + len(a.Message) + len(a.Namespace) + len(a.Workload) + len(a.Endpoint) + len(a.Issuer) + len(a.Finding)
}
