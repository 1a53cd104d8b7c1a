package output

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Probe prints what an own connection showed: a line as of a session, its findings, and what was asked besides, a line each.
func (t *Text) Probe(p *session.Probe) error {
	version, judged := cell{text: "-", width: 8}, ""
	if s := p.Session; s != nil {
		version.text = clean(transport(s))
		if c := s.Certificate; c != nil && c.Issuer != "" {
			judged = fmt.Sprintf("%s issuer=%s", s.Trust, clean(c.Issuer))
		} else if s.Visibility != "" {
			judged = "certificate " + string(s.Visibility)
		}
	}
	where := "-"
	switch {
	case p.Server.IsValid() && p.Proxy != "":
		where = p.Server.String() + " via " + cleanName(p.Proxy)
	case p.Server.IsValid():
		where = p.Server.String()
	case p.Proxy != "":
		where = fmt.Sprintf("port %d via %s", p.Port, cleanName(p.Proxy))
	case p.Port != 0:
		where = fmt.Sprintf("port %d", p.Port)
	}
	t.grow(&t.addr, len(where), maxFlowColumn)
	name := p.Host
	if name == "" {
		name = "-"
	}
	cells := []cell{t.verdict(p.Verdict()), {text: where, width: t.addr}, t.named(cleanName(name)), version}
	if judged != "" {
		cells = append(cells, cell{text: judged})
	}
	list := append([]session.Finding(nil), p.Findings()...)
	if p.Resolution != nil {
		list = append(list, p.Resolution.Findings...)
	}
	if err := t.entry(p.Start, cells, list); err != nil {
		return err
	}
	t.b.Reset()
	for _, l := range probeLines(p) {
		paint := t.p.dim
		if l.label == "warning" || l.label == "error" {
			paint = t.p.warn
		}
		writeLine(&t.b, t.width, cell{width: verdictColumn - 1}, cell{text: l.label, width: subjectColumn - verdictColumn - 1, paint: paint},
			cell{text: l.text, prose: true})
	}
	_, err := io.WriteString(t.w, t.b.String())
	return err
}

type labelled struct{ label, text string }

// probeLines are the lines below a probe's first one; their text is safe to print.
func probeLines(p *session.Probe) []labelled {
	var lines []labelled
	add := func(label, format string, args ...any) {
		lines = append(lines, labelled{label, fmt.Sprintf(format, args...)})
	}
	if p.Err != "" {
		add("error", "%s", clean(p.Err))
	}
	if p.From != "" {
		add("from", "the network namespace of %s", clean(p.From))
	}
	if r := p.Resolution; r != nil {
		add("resolved", "%s", resolution(r))
	}
	if p.Server.IsValid() && p.Proxy == "" {
		switch {
		case p.Prefix != "":
			add("address", "%s: %s (%s)", p.Prefix, clean(p.Region), clean(strings.Join(p.Services, ", ")))
		default:
			add("address", "in none of AWS's prefixes")
		}
	}
	lines = append(lines, versions(p)...)
	if s := p.Session; s != nil && s.TLS != nil {
		if s.TLS.ALPN != "" {
			add("ALPN", "%s", cleanName(s.TLS.ALPN))
		}
		if s.TLS.KeyProof == session.KeyProofInvalid {
			add("key", "the handshake was not signed by the certificate's key")
		}
	}
	for i := range p.Chain {
		c := &p.Chain[i]
		if c.Partial && c.Subject == "" {
			add("chain", "%d cannot be read", i+1)
			continue
		}
		left := ""
		if !c.NotAfter.IsZero() {
			left = fmt.Sprintf(", %s to %s (%s)", c.NotBefore.UTC().Format(time.DateOnly), c.NotAfter.UTC().Format(time.DateOnly), daysLeft(c.NotAfter.Sub(p.Start)))
		}
		names := ""
		if i == 0 && len(c.Names) > 0 {
			names = ", for " + cleanNames(c.Names)
		}
		add("chain", "%d %s, %s, %s%s%s", i+1, orDash(clean(c.Subject)), orDash(clean(c.Key)), orDash(clean(c.Signature)), left, names)
	}
	if o := p.OCSP; o != nil {
		checked := "signature not checked"
		if o.Verified {
			checked = "signature right"
		}
		add("OCSP", "stapled: %s, %s", o.Status, checked)
	} else if p.Session != nil && p.Session.Certificate != nil {
		add("OCSP", "not stapled")
	}
	if d := downgrade(p); d != "" {
		add("downgrade", "%s", d)
	}
	if x := p.Plaintext; x != nil {
		text := fmt.Sprintf("port %d: %s", x.Port, x.Answer)
		if x.Status != 0 {
			text += fmt.Sprintf(" %d", x.Status)
		}
		if x.Location != "" {
			text += " to " + cleanName(x.Location)
		}
		add("plaintext", "%s", text)
	}
	for _, w := range p.Warnings {
		add("warning", "%s", clean(w))
	}
	return lines
}

func resolution(r *session.Resolution) string {
	var b strings.Builder
	switch r.By {
	case "dns":
		fmt.Fprintf(&b, "by %s", addrPort(r.Resolver))
	case "hosts":
		b.WriteString("by the hosts file")
	default:
		b.WriteString("by the " + r.By)
	}
	if len(r.Names) > 0 {
		fmt.Fprintf(&b, ", alias of %s", cleanName(r.Names[len(r.Names)-1]))
	}
	if len(r.Addrs) > 0 {
		fmt.Fprintf(&b, ": %s", strings.Join(addrs(r.Addrs), ", "))
	}
	return b.String()
}

// versions are what the server takes, and how it refuses the rest.
func versions(p *session.Probe) []labelled {
	var lines []labelled
	var refused []string
	for _, v := range p.Versions {
		if v.Taken == session.Yes {
			text := v.Version.String() + " " + v.Cipher
			if v.Group != "" {
				text += " " + v.Group
			}
			lines = append(lines, labelled{"takes", clean(text)})
			if len(v.Ciphers) > 0 {
				lines = append(lines, labelled{"", clean(strings.Join(v.Ciphers, " "))})
			}
			continue
		}
		refused = append(refused, fmt.Sprintf("%s (%s)", v.Version, clean(v.Answer)))
	}
	if len(refused) > 0 {
		lines = append(lines, labelled{"not", strings.Join(refused, ", ")})
	}
	switch {
	case p.WeakSuite != "":
		lines = append(lines, labelled{"weak", clean(p.WeakSuite) + " if nothing better is offered"})
	case p.WeakTried:
		lines = append(lines, labelled{"weak", "no weak suite"})
	}
	return lines
}

func downgrade(p *session.Probe) string {
	var parts []string
	switch p.Sentinel {
	case session.Yes:
		parts = append(parts, "TLS 1.2 is marked by the sentinel")
	case session.No:
		parts = append(parts, "no sentinel in TLS 1.2")
	}
	switch p.Fallback {
	case "refused":
		parts = append(parts, "fallback refused (TLS_FALLBACK_SCSV)")
	case "accepted":
		parts = append(parts, "fallback accepted")
	}
	return strings.Join(parts, ", ")
}

func daysLeft(d time.Duration) string {
	days := int(d / (24 * time.Hour))
	if d < 0 {
		return fmt.Sprintf("ended %s ago", plural(uint64(-days), "day"))
	}
	return plural(uint64(days), "day") + " left"
}

// maxShownNames of a certificate stand in a line; JSON has more.
const maxShownNames = 6

func cleanNames(names []string) string {
	rest := len(names) - maxShownNames
	var shown []string
	for _, n := range names[:min(len(names), maxShownNames)] {
		shown = append(shown, cleanName(n))
	}
	if rest > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(shown, ", "), rest)
	}
	return strings.Join(shown, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
