package output

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Text prints one line a session with its findings below, for people. Where it is not told the width of a terminal, a session is one line
// and a finding is one, however long, so that grep finds them whole.
// It is not safe for concurrent use.
type Text struct {
	w     io.Writer
	p     palette
	width int
	b     strings.Builder
	day   string
	// addr and name are column widths. They grow with what was printed, so that columns stay aligned without a look ahead.
	addr, name int
}

// Widths of the columns for flows and names, in characters: what most need, and the widest that they become. What is longer stands out of
// its column and leaves the others where they are. A narrow terminal has no room for the wider ones.
const (
	minFlowColumn, maxFlowColumn = 41, 64
	minNameColumn, maxNameColumn = 36, 48
	wideTerminal                 = 160
)

// NewText returns a printer that writes to w, with ANSI colours if colour is set.
func NewText(w io.Writer, colour bool) *Text {
	return &Text{w: w, p: palette(colour), addr: minFlowColumn, name: minNameColumn}
}

// Wrap breaks longer lines for a terminal of that width in columns; 0 leaves them whole. It returns t.
func (t *Text) Wrap(width int) *Text {
	t.width = width
	return t
}

// Session prints one session.
func (t *Text) Session(s *session.Session) error {
	cells := []cell{
		t.verdict(s.Verdict),
		t.flow(s.Client.String(), s.Server.String()),
		t.named(sessionName(s)),
		{text: clean(transport(s)), width: 8},
	}
	for _, text := range []string{certificate(s), via(s), operations(s), process(s), guess(s), missing(s)} {
		if text != "" {
			cells = append(cells, cell{text: text})
		}
	}
	return t.entry(s.Start, cells, s.Findings)
}

// Finding prints a finding that showed after its session was put out.
func (t *Text) Finding(s *session.Session, f session.Finding) error {
	cells := []cell{t.verdict(session.VerdictFinding), t.flow(s.Client.String(), s.Server.String()), t.named(sessionName(s)), {text: "later", width: 8}}
	if text := process(s); text != "" {
		cells = append(cells, cell{text: text})
	}
	return t.entry(s.Start, cells, []session.Finding{f})
}

// DNS prints an answer only if it led to a finding: the others are in the JSON output.
func (t *Text) DNS(d *session.DNS) error {
	if len(d.Findings) == 0 {
		return nil
	}
	return t.entry(d.Time, []cell{
		t.verdict(session.VerdictFinding), t.flow(d.Client.String(), d.Server.String()), t.named(cleanName(d.Question)),
		{text: "DNS " + cleanName(d.QueryType), width: 8}, {text: strings.Join(addrs(d.Addrs), ",")},
	}, d.Findings)
}

// Summary prints what people look for at the end.
func (t *Text) Summary(s *Summary) error {
	t.b.Reset()
	s.writeText(&t.b, t.width, t.p)
	_, err := io.WriteString(t.w, t.b.String())
	return err
}

// entry prints a line that begins with the time, after a line with the day where that is another than the line before, and findings.
func (t *Text) entry(at time.Time, cells []cell, list []session.Finding) error {
	t.b.Reset()
	clock := "-"
	if !at.IsZero() {
		if day := at.UTC().Format("2006-01-02 UTC"); day != t.day {
			t.day = day
			t.b.WriteString(t.p.dim(day) + "\n")
		}
		clock = at.UTC().Format("15:04:05.000000")
	}
	writeLine(&t.b, t.width, append([]cell{{text: clock, width: verdictColumn - 1}}, cells...)...)
	for _, f := range list {
		severity := func(s string) string { return t.p.severity(f.Severity, s) }
		writeLine(&t.b, t.width, cell{width: verdictColumn - 1}, cell{text: f.Severity.String(), width: subjectColumn - verdictColumn - 1, paint: severity},
			cell{text: f.Rule + ":", paint: t.p.bold}, cell{text: clean(f.Message), prose: true})
	}
	_, err := io.WriteString(t.w, t.b.String())
	return err
}

func (t *Text) verdict(v session.Verdict) cell {
	word := strings.ToUpper(string(v))
	if v == session.VerdictNotApplicable {
		word = "N/A"
	}
	return cell{text: word, width: subjectColumn - verdictColumn - 1, paint: func(s string) string { return t.p.verdict(v, s) }}
}

func (t *Text) flow(client, server string) cell {
	text := client + " > " + server
	t.grow(&t.addr, len(text), maxFlowColumn)
	return cell{text: text, width: t.addr}
}

func (t *Text) named(name string) cell {
	t.grow(&t.name, utf8.RuneCountInString(name), maxNameColumn)
	return cell{text: name, width: t.name}
}

func (t *Text) grow(column *int, chars, most int) {
	if chars > *column && chars <= most && (t.width == 0 || t.width >= wideTerminal) {
		*column = chars
	}
}

// sessionName is what the session was for: the name that the client asked for, else what the address says.
func sessionName(s *session.Session) string {
	switch {
	case s.Endpoint.Name != "":
		return cleanName(s.Endpoint.Name)
	case s.TLS != nil && s.TLS.SNI != "":
		return cleanName(s.TLS.SNI)
	case s.HTTP != nil && s.HTTP.Host != "":
		return cleanName(s.HTTP.Host)
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
	if c := s.Certificate; c != nil && c.Issuer != "" {
		switch issuer := clean(c.Issuer); {
		case c.Partial:
			return "certificate incomplete, issuer=" + issuer
		case c.ProbeTrust != "":
			return fmt.Sprintf("certificate %s; a probe%s saw %s issuer=%s", s.Visibility, ago(s.Start, c.SeenAt), c.ProbeTrust, issuer)
		case c.SeenBy != "wire":
			return fmt.Sprintf("%s issuer=%s (%s)", s.Trust, issuer, c.SeenBy)
		default:
			return fmt.Sprintf("%s issuer=%s", s.Trust, issuer)
		}
	}
	if s.Visibility != "" {
		return "certificate " + string(s.Visibility)
	}
	return ""
}

// ago says how long before the session began a probe was made.
func ago(start, seen time.Time) string {
	switch d := start.Sub(seen).Round(time.Second); {
	case start.IsZero() || seen.IsZero():
		return ""
	case d < 0:
		return fmt.Sprintf(" %v later", -d)
	default:
		return fmt.Sprintf(" %v before", d)
	}
}

// via names how a proxy was used; its address is the flow's.
func via(s *session.Session) string {
	switch p := s.Proxy; {
	case p == nil:
		return ""
	case p.Connect:
		return "via proxy (CONNECT)"
	}
	return "via proxy"
}

func operations(s *session.Session) string {
	if s.HTTP == nil {
		return ""
	}
	return clean(strings.Join(append(s.HTTP.Operations[:len(s.HTTP.Operations):len(s.HTTP.Operations)], s.HTTP.Tables...), ","))
}

func process(s *session.Session) string {
	if s.Process == nil || s.Process.PID == 0 {
		return ""
	}
	return fmt.Sprintf("%s[%d]", clean(s.Process.Comm), s.Process.PID)
}

// guess says what the client is probably made with, where that tells more than the program's name. What rests on a ClientHello alone, which
// many share, is left to JSON.
func guess(s *session.Session) string {
	if s.SDK.Name == "" || s.SDK.By == "client-hello" || s.Process != nil && strings.HasPrefix(s.Process.Comm, s.SDK.Name) {
		return ""
	}
	return fmt.Sprintf("probably %s (%s)", clean(s.SDK.Name), s.SDK.By)
}

// missing says why a session is incomplete.
func missing(s *session.Session) string {
	if s.Verdict != session.VerdictIncomplete {
		return ""
	}
	l := s.Loss
	var why []string
	if n := l.GapBytes[0] + l.GapBytes[1]; n > 0 {
		why = append(why, fmt.Sprintf("%d bytes missing", n))
	}
	if l.TruncatedPackets > 0 {
		why = append(why, fmt.Sprintf("%s cut by the snap length", plural(uint64(l.TruncatedPackets), "packet")))
	}
	if l.ConflictBytes[0]+l.ConflictBytes[1] > 0 {
		why = append(why, "bytes came twice with different content")
	}
	switch {
	case l.OneSided:
		why = append(why, "one side only")
	case l.Midstream:
		why = append(why, "began before the capture")
	}
	if l.Evicted {
		why = append(why, "dropped from a full table")
	}
	if len(why) == 0 {
		return "(the capture ends first)"
	}
	return "(" + strings.Join(why, ", ") + ")"
}
