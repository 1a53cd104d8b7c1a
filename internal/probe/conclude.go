package probe

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
)

// ofTheClient are rules about what a client does, or offers. Here the client is ours, and does and offers it on purpose.
var ofTheClient = map[string]bool{
	rules.VerificationDisabled: true, rules.InterceptionRefused: true, rules.ClientObsolete: true,
}

// ofTheChain are the rules that an answer to a hello for an old version is judged by: another certificate may be shown there.
var ofTheChain = map[string]bool{
	rules.UnexpectedIssuer: true, rules.CertificateReplayed: true, rules.CertificateInvalid: true,
}

// conclude puts together what the attempts showed.
func (p *Prober) conclude(out *session.Probe, best *attempt, others []attempt, mainErr error) {
	s := best.session
	if s == nil || !best.answered {
		if out.Err = best.answer; mainErr != nil && (out.Err == "" || out.Err == "no connection" || out.Err == "refused") {
			out.Err = mainErr.Error()
		}
		out.Unreachable = unreachable(mainErr)
		return
	}
	out.Session = s
	findings := slices.DeleteFunc(slices.Clone(s.Findings), func(f session.Finding) bool { return ofTheClient[f.Rule] })
	shown := ""
	if s.Certificate != nil {
		shown = s.Certificate.SHA256
	}
	for _, a := range others {
		if a.session == nil || a.session.Certificate == nil || a.session == s {
			continue
		}
		for _, f := range a.session.Findings {
			same := a.session.Certificate.SHA256 == shown && f.Rule != rules.CertificateReplayed
			if !ofTheChain[f.Rule] || same || slices.ContainsFunc(findings, func(g session.Finding) bool { return g.Rule == f.Rule }) {
				continue
			}
			f.Message += fmt.Sprintf(" (to a client of %s)", a.version)
			f.Evidence["version"] = a.version.String()
			findings = append(findings, f)
		}
	}
	findings = append(findings, p.serverFindings(out, s, findings)...)
	p.describeChain(out, best)
	if f := readStapled(out, best); f != nil {
		findings = append(findings, *f)
	}
	if s.Endpoint.Known() {
		slices.SortStableFunc(findings, func(a, b session.Finding) int { return int(b.Severity) - int(a.Severity) })
		s.Findings = findings
	} else {
		s.Findings = nil
	}
	s.Verdict = rules.Verdict(s, s.Findings)
	seenByProbe(out, s)
	p.warn(out, s, mainErr)
}

// seenByProbe says who saw the certificate. The rules come first: they ask what the wire showed, and that it was our own wire.
func seenByProbe(out *session.Probe, s *session.Session) {
	if s.Certificate == nil {
		return
	}
	s.Certificate.SeenBy, s.Certificate.SeenAt, s.Certificate.ProbeTrust = session.SeenByProbe, out.Start, s.Trust
	if s.Visibility == session.VisibilityDecrypted {
		s.Visibility = session.VisibilityVisible
	}
	for _, f := range s.Findings {
		if _, ok := f.Evidence["seen_by"]; ok {
			f.Evidence["seen_by"] = "probe"
		}
	}
}

// serverFindings are about what a server takes from a client that is worse than ours.
func (p *Prober) serverFindings(out *session.Probe, s *session.Session, have []session.Finding) []session.Finding {
	var list []session.Finding
	lowest := p.o.Policy.MinVersion
	if lowest == 0 {
		lowest = rules.DefaultMinVersion
	}
	var old []string
	severity := session.Medium
	for _, v := range out.Versions {
		if v.Taken == session.Yes && v.Version.Rank() < lowest.Rank() && v.Version != s.TLS.Version {
			old = append(old, v.Version.String())
		}
	}
	if len(old) > 0 {
		if lowest.Is13() && len(old) == 1 && old[0] == session.TLS12.String() {
			severity = session.Low // every endpoint of AWS does
		}
		list = append(list, session.Finding{
			Rule: rules.TLSVersion, Severity: severity,
			Message:  fmt.Sprintf("%s takes %s too, from a client that offers nothing higher", peer(out), strings.Join(old, ", ")),
			Evidence: map[string]any{"accepted": old, "minimum": lowest.String()},
		})
	}
	if out.WeakSuite != "" && !slices.ContainsFunc(have, func(f session.Finding) bool { return f.Rule == rules.WeakCipher && f.Severity >= session.High }) {
		list = append(list, session.Finding{
			Rule: rules.WeakCipher, Severity: session.Medium,
			Message:  fmt.Sprintf("%s takes %s from a client that offers only weak suites", peer(out), out.WeakSuite),
			Evidence: map[string]any{"cipher": out.WeakSuite},
		})
	}
	return list
}

func peer(out *session.Probe) string {
	if out.Host != "" {
		return out.Host
	}
	return out.Server.String()
}

// describeChain lists the certificates as sent.
func (p *Prober) describeChain(out *session.Probe, best *attempt) {
	for _, der := range best.chain[:min(len(best.chain), maxChain)] {
		parsed, err := trust.ParseCertificate(der)
		if parsed == nil || err != nil && !parsed.Partial() {
			out.Chain = append(out.Chain, session.Certificate{SeenBy: "probe", SeenAt: out.Start, Partial: true})
			continue
		}
		c := parsed.Describe()
		c.SeenBy, c.SeenAt = "probe", out.Start
		out.Chain = append(out.Chain, *c)
	}
}

// readStapled reads the OCSP response (RFC 6960) of the best attempt. A response that says "revoked", and whose signature is right, is a finding.
func readStapled(out *session.Probe, best *attempt) *session.Finding {
	if len(best.ocsp) == 0 {
		return nil
	}
	out.OCSP = &session.OCSP{Status: "unreadable"}
	leaf, issuer := leafAndIssuer(best.chain)
	r, err := ocsp.ParseResponseForCert(best.ocsp, leaf, issuer)
	if err != nil && issuer != nil {
		issuer = nil // not signed by the issuer as sent: what it says, unverified
		r, err = ocsp.ParseResponseForCert(best.ocsp, leaf, nil)
	}
	if err != nil {
		return nil
	}
	out.OCSP = &session.OCSP{Status: "unknown", Verified: issuer != nil, ThisUpdate: r.ThisUpdate.UTC(), NextUpdate: r.NextUpdate.UTC()}
	switch r.Status {
	case ocsp.Good:
		out.OCSP.Status = "good"
	case ocsp.Revoked:
		out.OCSP.Status = "revoked"
	}
	if r.Status != ocsp.Revoked || issuer == nil {
		return nil
	}
	return &session.Finding{
		Rule: rules.CertificateInvalid, Severity: session.High,
		Message:  fmt.Sprintf("%s staples an OCSP response that says its certificate was revoked", peer(out)),
		Evidence: map[string]any{"ocsp": "revoked", "revoked_at": r.RevokedAt.UTC().Format(time.RFC3339)},
	}
}

// leafAndIssuer gives the leaf and, among the others as sent, the certificate that signed it; nil for what crypto/x509 cannot read.
func leafAndIssuer(chain [][]byte) (leaf, issuer *x509.Certificate) {
	for i, der := range chain[:min(len(chain), maxChain)] {
		c, err := x509.ParseCertificate(der)
		switch {
		case err != nil:
		case i == 0:
			leaf = c
		case leaf != nil && leaf.CheckSignatureFrom(c) == nil:
			return leaf, c
		}
	}
	return leaf, nil
}

// warn says what is no finding, and worth a look.
func (p *Prober) warn(out *session.Probe, s *session.Session, mainErr error) {
	warn := func(format string, args ...any) { out.Warnings = append(out.Warnings, fmt.Sprintf(format, args...)) }
	now := out.Start
	if p.o.ExpiryWarning > 0 {
		for i, c := range out.Chain {
			left := c.NotAfter.Sub(now)
			if c.NotAfter.IsZero() || left < 0 || left > p.o.ExpiryWarning {
				continue
			}
			what := "the certificate"
			if i > 0 {
				what = "the certificate of " + c.Subject
			}
			warn("%s ends in %d days, on %s", what, int(left/(24*time.Hour)), c.NotAfter.UTC().Format(time.DateOnly))
		}
	}
	if o := out.OCSP; o != nil {
		switch {
		case o.Status == "unreadable":
			warn("the stapled OCSP response cannot be read")
		case !o.Verified && o.Status == "revoked":
			warn("a stapled OCSP response says that the certificate was revoked; its signature could not be checked")
		case !o.NextUpdate.IsZero() && o.NextUpdate.Before(now):
			warn("the stapled OCSP response is out of date since %s", o.NextUpdate.Format(time.RFC3339))
		}
	}
	if out.Sentinel == session.No {
		warn("TLS 1.2 is answered without the downgrade sentinel that a server of TLS 1.3 owes (RFC 8446, Section 4.1.3): clients cannot tell a forced downgrade")
	}
	if out.Fallback == "accepted" {
		warn("a client that fell back to a lower version is let in (TLS_FALLBACK_SCSV is ignored, RFC 7507)")
	}
	if pt := out.Plaintext; pt != nil && pt.Answer == "http" && pt.Status/100 != 3 {
		warn("port %d answers cleartext HTTP: a client with an http:// endpoint works, and shows its requests to the path", pt.Port)
	}
	if mainErr != nil {
		warn("an ordinary handshake was not completed: %v", mainErr)
	}
	if !s.Endpoint.Known() {
		warn("nothing says that this is DynamoDB's, so it was not judged: give the name, and the address with --address")
	}
}
