package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// clockMargin is how far a leaf must be out of its validity before a client that accepts it cannot be checking dates. Signature Version 4
// refuses requests whose time is off by more than 15 minutes, so a client whose clock is wrong by an hour gets no answers from DynamoDB
// and would have been noticed; the capture's clock has the same hour.
const clockMargin = time.Hour

var verificationDisabledRule = &Rule{
	ID:       VerificationDisabled,
	Title:    "the client does not verify certificates",
	Severity: session.Critical,
	Milder:   []session.Severity{session.Low},
	Citation: "CWE-295 (improper certificate validation); RFC 5280, Section 6; RFC 9525",
	Summary: "The client sent application data over a chain that no verifying client could have accepted: the leaf was out of its validity by " +
		"more than an hour, or did not bear the server name that the client itself sent, or, in a chain that bears Amazon's names, the " +
		"issuer that was sent along did not sign, and no path leads to a known root. Or the client sent application data and its own TLS library " +
		"tells that it does not verify (library probes, live): the evidence names the library and what told it. Severity is low for an " +
		"emulator on loopback that was named with --endpoint localhost; any other name is judged like AWS's, on loopback too.",
	Why: "verify=False and its relatives accept any certificate: whoever gets into the path reads and changes everything, now or later. " +
		"It is the usual answer to a company's inspection proxy, and it ships to production.",
	Limits: "A self-signed certificate, a private CA or a forged issuer alone is no evidence: the client may have been told to trust it " +
		"(AWS_CA_BUNDLE). certificate-replayed does not count either: libraries check that proof even with verification off. Clients " +
		"that do not verify look like all others on the wire until a bad chain comes, and TLS 1.3 hides the chain, so without library probes " +
		"the absence of this finding says nothing. A client that was built to accept one pinned certificate whatever its name and date is found too.",
	Fix: Remediation{
		Steps: []string{
			"Find the switch in the process of the evidence: verify=False, --no-verify-ssl, InsecureSkipVerify, " +
				"NODE_TLS_REJECT_UNAUTHORIZED=0, TRUST_ALL_CERTIFICATES, and remove it. use_ssl is another matter: see plaintext.",
			"If it was set because of a CA that is meant to be there, give the client that CA instead, as below.",
			"Take what the process sent as read by whoever answered, and rotate its credentials (`dynwatch explain plaintext` shows how).",
		},
		Snippets: append([]Snippet{
			{"Find it", `grep -rnE 'verify *= *False|no-verify-ssl|InsecureSkipVerify: *true' .
grep -rnE 'rejectUnauthorized: *false|NODE_TLS_REJECT_UNAUTHORIZED|TRUST_ALL_CERTIFICATES' .`},
		}, trustSnippets...),
	},
	// An emulator has no identity that could be checked, but a client that was told not to check takes that along to wherever it goes next.
	Applies: func(in *Input) bool { return in.Session.TLS != nil },
	Check: func(in *Input) *session.Finding {
		s := in.Session
		f := unverified(s)
		if f != nil && emulator(s) && onLoopback(s) {
			f.Severity = session.Low
			f.Evidence["emulator"] = true
		}
		return f
	},
}

// unverified is the finding as it is of a real endpoint.
func unverified(s *session.Session) *session.Finding {
	if s.TLS.ClientVerifies == session.No && s.TLS.ClientAppData {
		return saidByLibrary(s)
	}
	faults := unacceptable(s)
	if len(faults) == 0 {
		return nil
	}
	return &session.Finding{
		Rule: VerificationDisabled, Severity: session.Critical,
		Message: fmt.Sprintf("the client sent data to %s over a certificate of %s that is %s: it does not verify", peer(s), issuer(s),
			strings.Join(faults, ", ")),
		Evidence: certificateEvidence(s).text("signal", "wire").list("faults", faults),
	}
}

// saidByLibrary is the finding where the client's own TLS library tells that it does not verify, whatever it was shown.
func saidByLibrary(s *session.Session) *session.Finding {
	e := certificateEvidence(s).text("signal", "library")
	who := "its TLS library"
	if l := s.Library; l != nil {
		e.text("library", l.Name).text("library_path", l.Path).text("source", l.VerificationBy)
		if l.Name != "" {
			who = l.Name
		}
		if l.VerificationBy != "" {
			who += ": " + l.VerificationBy
		}
	}
	return &session.Finding{
		Rule: VerificationDisabled, Severity: session.Critical, Evidence: e,
		Message: fmt.Sprintf("the client of %s accepts any certificate, says %s", peer(s), who),
	}
}

// unacceptable lists what a verifying client could not have accepted in a chain over which this client sent data. It is empty wherever
// something was not seen.
func unacceptable(s *session.Session) []string {
	t, c := s.TLS, s.Chain
	// Early data goes out before the certificate is seen, so it is no sign of approval.
	if !onThisWire(s) || !t.ClientAppData || t.EarlyData || t.Resumed == session.Yes || c.Malformed {
		return nil
	}
	if s.Loss.Any() || s.Loss.OneSided || !t.ClientHelloSeen || !t.ServerHelloSeen {
		return nil
	}
	var faults []string
	at := t.HandshakeDone
	if at.IsZero() {
		at = s.Start
	}
	if leaf := s.Certificate; !at.IsZero() && !c.TimeUnknown {
		if !leaf.NotAfter.IsZero() && at.Sub(leaf.NotAfter) > clockMargin {
			faults = append(faults, "expired since "+stamp(leaf.NotAfter))
		}
		if !leaf.NotBefore.IsZero() && leaf.NotBefore.Sub(at) > clockMargin {
			faults = append(faults, "valid only from "+stamp(leaf.NotBefore))
		}
	}
	// Where a leaf has no subjectAltName at all, older libraries take the common name for the host (RFC 6125, Section 6.4.4).
	if misnamed(s) && t.SNI != "" && !t.SNIInvalid && len(s.Certificate.Names) > 0 {
		faults = append(faults, "not for the name "+t.SNI)
	}
	// A client may know another key under the issuer's name: private CAs change their keys and keep their names, and servers go on sending
	// the old root. So a false signature counts only in Amazon's name, which nobody else's CA bears in honesty.
	if c.BrokenSignature && c.Disproved && c.AmazonNamed && !c.LeadsToAllowed && !c.LeadsToPublic && c.Root == "" {
		faults = append(faults, "not signed by the issuer that was sent with it")
	}
	return faults
}
