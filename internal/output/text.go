package output

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Text prints one line a session with its findings below, for people.
// It is not safe for concurrent use.
type Text struct {
	w io.Writer
	p palette
	b strings.Builder
	// widths grow with what was printed, so that columns stay aligned without a look ahead.
	addr, name int
}

// NewText returns a printer that writes to w, with ANSI colours if colour is set.
func NewText(w io.Writer, colour bool) *Text {
	return &Text{w: w, p: palette(colour), addr: 41, name: 36}
}

// Session prints one session.
func (t *Text) Session(s *session.Session) error {
	t.b.Reset()
	flow := s.Client.String() + " > " + s.Server.String()
	name := sessionName(s)
	t.addr, t.name = min(max(t.addr, len(flow)), 60), min(max(t.name, utf8.RuneCountInString(name)), 64)
	fmt.Fprintf(&t.b, "%s %s %-*s %-*s %-8s", clock(s), t.p.verdict(s.Verdict, pad(strings.ToUpper(string(s.Verdict)), 10)),
		t.addr, flow, t.name, name, transport(s))
	if s.TLS != nil || s.Trust != "" {
		t.b.WriteString(" " + certificate(s))
	}
	if h := s.HTTP; h != nil && len(h.Operations) > 0 {
		fmt.Fprintf(&t.b, " %s", clean(strings.Join(h.Operations, ",")))
	}
	line := strings.TrimRight(t.b.String(), " ")
	t.b.Reset()
	t.b.WriteString(line + "\n")
	for _, f := range s.Findings {
		t.finding(f)
	}
	_, err := io.WriteString(t.w, t.b.String())
	return err
}

// DNS prints an answer only if it led to a finding: the others are in the JSON output.
func (t *Text) DNS(d *session.DNS) error {
	if len(d.Findings) == 0 {
		return nil
	}
	t.b.Reset()
	fmt.Fprintf(&t.b, "%s %s %s > %s DNS %s %s\n", d.Time.UTC().Format(clockForm), t.p.verdict(session.VerdictFinding, pad("FINDING", 10)),
		d.Client, d.Server, clean(d.Question), strings.Join(addrs(d.Addrs), ","))
	for _, f := range d.Findings {
		t.finding(f)
	}
	_, err := io.WriteString(t.w, t.b.String())
	return err
}

// Summary prints what people look for at the end.
func (t *Text) Summary(s *Summary) error { return s.writeText(t.w, t.p) }

func (t *Text) finding(f session.Finding) {
	fmt.Fprintf(&t.b, "%16s %s %s: %s\n", "", t.p.severity(f.Severity, pad(f.Severity.String(), 8)), t.p.bold(f.Rule), clean(f.Message))
}

const clockForm = "15:04:05.000000"

func clock(s *session.Session) string {
	if s.Start.IsZero() {
		return pad("-", len(clockForm))
	}
	return s.Start.UTC().Format(clockForm)
}

// sessionName is what the session was for: the name that the client asked for, else what the address says.
func sessionName(s *session.Session) string {
	switch {
	case s.Endpoint.Name != "":
		return clean(s.Endpoint.Name)
	case s.TLS != nil && s.TLS.SNI != "":
		return clean(s.TLS.SNI)
	case s.HTTP != nil && s.HTTP.Host != "":
		return clean(s.HTTP.Host)
	case s.Endpoint.Known():
		return strings.TrimRight(s.Endpoint.Service+" "+s.Endpoint.Region, " ")
	}
	return "-"
}

func transport(s *session.Session) string {
	switch {
	case s.TLS != nil && s.TLS.Version != 0:
		return s.TLS.Version.String()
	case s.TLS != nil && s.TLS.OfferedMax != 0:
		return "TLS ?"
	case s.Transport == session.TransportHTTP, s.Transport == session.TransportConnectHTTP:
		return "HTTP"
	case s.Transport == session.TransportDAX:
		return "DAX"
	}
	return string(s.Transport)
}

// certificate says who vouched for the server, or why nobody knows.
func certificate(s *session.Session) string {
	if s.Certificate != nil && s.Certificate.Issuer != "" {
		by := ""
		if s.Certificate.SeenBy != "wire" {
			by = " (" + s.Certificate.SeenBy + ")"
		}
		if s.Certificate.Partial {
			return "certificate incomplete, issuer=" + clean(s.Certificate.Issuer)
		}
		return fmt.Sprintf("%s issuer=%s%s", s.Trust, clean(s.Certificate.Issuer), by)
	}
	if s.Visibility != "" {
		return "certificate " + string(s.Visibility)
	}
	return ""
}

// clean makes a string from the wire safe to print: control characters, and what does not print, are escaped as in Go source.
func clean(s string) string {
	ok := true
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	q := fmt.Sprintf("%+q", s)
	return q[1 : len(q)-1]
}

func pad(s string, width int) string { return fmt.Sprintf("%-*s", width, s) }
