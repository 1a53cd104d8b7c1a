package output

import (
	"fmt"
	"math"
	"sort"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Summary is the last line of a run: what was read, what was concluded, and everything that was lost.
type Summary struct {
	Source string
	// Packets and Bytes were read from the source; Filtered packets did not match the filter expression.
	Packets, Bytes, Filtered uint64
	// Flows seen, of any kind; Sessions put out.
	Flows, Sessions uint64
	Verdicts        map[session.Verdict]uint64
	Findings        map[string]uint64 // by rule
	MaxSeverity     session.Severity
	// CertificatesSeen of TLSSessions: in how many the certificate was seen by anyone.
	CertificatesSeen, TLSSessions uint64
	// Loss are the counters of everything that vanished, by stage and reason, as in "decode.malformed". Zero ones are listed too.
	Loss map[string]uint64
	// Warnings are lines for a person: truncated files and the like. The text form leaves them to standard error.
	Warnings []string
	// Ranges says how old the address set is.
	RangesDate string
}

// Add counts one session.
func (s *Summary) Add(x *session.Session) {
	if s.Verdicts == nil {
		s.Verdicts, s.Findings = make(map[session.Verdict]uint64), make(map[string]uint64)
	}
	s.Sessions++
	s.Verdicts[x.Verdict]++
	s.AddFindings(x.Findings)
	if x.TLS != nil {
		s.TLSSessions++
		if c := x.OwnCertificate(); c != nil && !c.Partial {
			s.CertificatesSeen++
		}
	}
}

// AddFindings counts findings.
func (s *Summary) AddFindings(list []session.Finding) {
	if s.Findings == nil {
		s.Verdicts, s.Findings = make(map[session.Verdict]uint64), make(map[string]uint64)
	}
	for _, f := range list {
		s.Findings[f.Rule]++
		s.MaxSeverity = max(s.MaxSeverity, f.Severity)
	}
}

type summaryJSON struct {
	Type             string            `json:"type"`
	Source           string            `json:"source"`
	Packets          uint64            `json:"packets"`
	Bytes            uint64            `json:"bytes"`
	Filtered         uint64            `json:"filtered"`
	Flows            uint64            `json:"flows"`
	Sessions         uint64            `json:"sessions"`
	TLSSessions      uint64            `json:"tls_sessions"`
	CertificatesSeen uint64            `json:"certificates_seen"`
	Verdicts         map[string]uint64 `json:"verdicts"`
	Findings         uint64            `json:"findings"`
	FindingsByRule   map[string]uint64 `json:"findings_by_rule"`
	Loss             map[string]uint64 `json:"loss"`
	Warnings         []string          `json:"warnings,omitempty"`
	RangesDate       string            `json:"ranges_date,omitempty"`
}

// verdicts in the order of output.
var verdicts = []session.Verdict{
	session.VerdictFinding, session.VerdictOK, session.VerdictUnverified, session.VerdictIncomplete, session.VerdictNotApplicable,
}

func (s *Summary) object() *summaryJSON {
	o := &summaryJSON{
		Type: "summary", Source: s.Source, Packets: s.Packets, Bytes: s.Bytes, Filtered: s.Filtered, Flows: s.Flows, Sessions: s.Sessions,
		TLSSessions: s.TLSSessions, CertificatesSeen: s.CertificatesSeen,
		Verdicts: make(map[string]uint64), FindingsByRule: s.Findings, Loss: s.Loss, Warnings: s.Warnings, RangesDate: s.RangesDate,
	}
	for _, v := range verdicts {
		o.Verdicts[string(v)] = s.Verdicts[v]
	}
	if o.FindingsByRule == nil {
		o.FindingsByRule = map[string]uint64{}
	}
	for _, n := range s.Findings {
		o.Findings += n
	}
	if o.Loss == nil {
		o.Loss = map[string]uint64{}
	}
	return o
}

// writeText prints the summary for people: counters that are zero are left out, except the ones that everybody looks for.
func (s *Summary) writeText(b *strings.Builder, width int, p palette) {
	read := []cell{{text: size(s.Bytes)}, {text: plural(s.Flows, "flow")}}
	if s.Filtered > 0 {
		read = append(read, cell{text: plural(s.Filtered, "packet") + " left out by the filter"})
	}
	writeList(b, width, cell{text: plural(s.Packets, "packet") + ","}, read)

	var sessions []cell
	for _, v := range verdicts {
		if n := s.Verdicts[v]; n > 0 {
			sessions = append(sessions, cell{text: fmt.Sprintf("%d %s", n, v), paint: func(s string) string { return p.verdict(v, s) }})
		}
	}
	title := cell{text: plural(s.Sessions, "session"), paint: p.bold}
	if len(sessions) > 0 {
		title.text += ":"
	}
	writeList(b, width, title, sessions)
	if s.TLSSessions > 0 {
		fmt.Fprintf(b, "certificate seen in %d of %s\n", s.CertificatesSeen, plural(s.TLSSessions, "TLS session"))
	}

	if rules := sortedKeys(s.Findings); len(rules) > 0 {
		sort.SliceStable(rules, func(i, j int) bool { return s.Findings[rules[i]] > s.Findings[rules[j]] })
		var list []cell
		for _, r := range rules {
			list = append(list, cell{text: fmt.Sprintf("%d %s", s.Findings[r], r)})
		}
		writeList(b, width, cell{text: "findings:", paint: p.bold}, list)
	}
	var lost []cell
	for _, k := range sortedKeys(s.Loss) {
		if n := s.Loss[k]; n > 0 {
			lost = append(lost, cell{text: fmt.Sprintf("%d %s", n, k)})
		}
	}
	if len(lost) == 0 {
		b.WriteString("loss: none\n")
		return
	}
	writeList(b, width, cell{text: "loss:", paint: p.warn}, lost)
}

// writeList prints a title and, separated by commas, a list, which is broken between its parts.
func writeList(b *strings.Builder, width int, title cell, list []cell) {
	if width < minWrap {
		width = math.MaxInt
	}
	w := wrapper{b: b, width: width, indent: 2}
	w.cell(title)
	for i, part := range list {
		if i < len(list)-1 {
			part.text += ","
		}
		w.cell(part)
	}
	b.WriteByte('\n')
}

func sortedKeys(m map[string]uint64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func size(n uint64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 10_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
