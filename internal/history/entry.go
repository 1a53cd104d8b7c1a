package history

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/output"
)

// Key is what makes an inventory entry one of its own. What is unknown is empty.
type Key struct {
	WorkloadKind string `json:"workload_kind,omitempty"` // pod, unit, container, program
	Namespace    string `json:"namespace,omitempty"`
	Workload     string `json:"workload,omitempty"`
	// Endpoint is the name that was asked for, else the Region or the address that was reached.
	Endpoint  string `json:"endpoint"`
	Transport string `json:"transport"`
	Version   string `json:"version,omitempty"`
	Cipher    string `json:"cipher,omitempty"`
	Issuer    string `json:"issuer,omitempty"` // of the leaf
	Verdict   string `json:"verdict"`
}

// Entry is one line of the inventory.
type Entry struct {
	Key
	// Service, Region, EndpointKind, Visibility and Trust are those of the latest session.
	Service      string `json:"service,omitempty"`
	Region       string `json:"region,omitempty"`
	EndpointKind string `json:"endpoint_kind,omitempty"`
	Visibility   string `json:"certificate_visibility,omitempty"`
	Trust        string `json:"trust,omitempty"`
	// First and Last are the times of the first packets of the first and the latest session.
	First    time.Time `json:"first_seen"`
	Last     time.Time `json:"last_seen"`
	Sessions uint64    `json:"sessions"`
	// Shown is what a probe of the endpoint was shown, as it stood with the latest session that had such an answer; nil if none had. It is another
	// connection's: nothing else here rests on it.
	Shown *Shown `json:"certificate,omitempty"`
}

// Shown is a certificate that a probe was shown, in the words of a session's.
type Shown struct {
	SeenBy     string    `json:"seen_by"`
	Issuer     string    `json:"issuer,omitempty"` // of the leaf
	SeenAt     time.Time `json:"seen_at"`
	AgeSeconds int64     `json:"age_seconds"` // when the session began
	ProbeTrust string    `json:"probe_trust"`
}

// shownOf is what a session says of a probe's certificate.
func shownOf(s *session.Session) *Shown {
	c := s.Certificate
	if c == nil || c.SeenBy != session.SeenByProbe {
		return nil
	}
	return &Shown{c.SeenBy, clip(c.Issuer), c.SeenAt.UTC(), int64(s.Start.Sub(c.SeenAt) / time.Second), string(c.ProbeTrust)}
}

// String is the certificate in one line for people, "" for none.
func (x *Shown) String() string {
	if x == nil {
		return ""
	}
	age, when := time.Duration(x.AgeSeconds)*time.Second, "before"
	if age < 0 {
		age, when = -age, "later"
	}
	return fmt.Sprintf("%v %s: %s issuer=%s", age, when, x.ProbeTrust, x.Issuer)
}

// Finding is one finding as it was told, with what it is about.
type Finding struct {
	Time         time.Time `json:"time"`
	Rule         string    `json:"rule"`
	Severity     string    `json:"severity"`
	WorkloadKind string    `json:"workload_kind,omitempty"`
	Namespace    string    `json:"namespace,omitempty"`
	Workload     string    `json:"workload,omitempty"`
	Endpoint     string    `json:"endpoint,omitempty"`
	Issuer       string    `json:"issuer,omitempty"`
	// Message is a line for people.
	Message string `json:"message"`
	// Event is the object of type finding, as docs/events.schema.json has it.
	Event json.RawMessage `json:"event"`
}

// maxText bounds what an entry takes of one string from the wire, in bytes.
const maxText = 512

func clip(s string) string { return s[:min(len(s), maxText)] }

// keyOf is the entry that a session belongs to.
func keyOf(s *session.Session) Key {
	w := s.Process.Workload()
	k := Key{
		WorkloadKind: w.Kind, Namespace: clip(w.Namespace), Workload: clip(w.Name), Endpoint: clip(s.EndpointName()),
		Transport: string(s.Transport), Issuer: clip(issuerOf(s)), Verdict: string(s.Verdict),
	}
	if s.TLS != nil && s.TLS.Version != 0 {
		k.Version, k.Cipher = s.TLS.Version.String(), s.TLS.Cipher
	}
	return k
}

func issuerOf(s *session.Session) string {
	c := s.OwnCertificate()
	if c == nil || c.Partial {
		return ""
	}
	return c.Issuer
}

// findingOf puts a finding of a session into its stored form.
func findingOf(s *session.Session, f session.Finding) (Finding, error) {
	event, err := output.FindingEvent(s, f)
	if err != nil {
		return Finding{}, err
	}
	return aboutWorkload(Finding{
		Time: s.Start, Rule: f.Rule, Severity: f.Severity.String(), Endpoint: clip(s.EndpointName()), Issuer: clip(issuerOf(s)),
		Message: f.Message, Event: event,
	}, s.Process.Workload()), nil
}

func aboutWorkload(f Finding, w flow.Workload) Finding {
	f.WorkloadKind, f.Namespace, f.Workload = w.Kind, clip(w.Namespace), clip(w.Name)
	return f
}

// findingOfDNS does so with a finding of a DNS answer.
func findingOfDNS(d *session.DNS, f session.Finding) (Finding, error) {
	event, err := output.DNSFindingEvent(d, f)
	return Finding{Time: d.Time, Rule: f.Rule, Severity: f.Severity.String(), Endpoint: clip(d.Question), Message: f.Message, Event: event}, err
}
