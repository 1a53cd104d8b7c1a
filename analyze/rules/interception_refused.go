package rules

import (
	"fmt"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// promptly is how soon after the handshake, or after the flow's start where the client did not finish it, a client must leave for its
// leaving to be a judgement: judging a chain takes milliseconds, round trips and a slow host less than a second or two. One that stays
// longer was idle, or timed out.
const promptly = 2 * time.Second

var interceptionRefusedRule = &Rule{
	ID:       InterceptionRefused,
	Title:    "the client refused the certificate",
	Severity: session.High,
	Milder:   []session.Severity{session.Medium},
	Citation: "RFC 8446, Section 6.2 and RFC 5246, Section 7.2.2 (error alerts)",
	Summary: "The client answered the certificate with an alert: bad_certificate, unsupported_certificate, certificate_revoked, " +
		"certificate_expired, certificate_unknown or unknown_ca. Medium, and called suspected, where no alert was readable: the client closed " +
		"by RST or FIN right after the server's flight or after its own Finished, without application data and without close_notify, or " +
		"sent one encrypted record of an alert's size instead of its Finished; and the certificate was hidden by TLS 1.3, or was seen and is bad.",
	Why: "Somebody in the path showed a certificate that is not DynamoDB's, and was turned away: no data was exposed. The application fails, " +
		"and the usual next step of its owner is to switch verification off; be there first.",
	Limits: "Never over a chain that was seen and is good, which the client refuses for want of Amazon's roots in its own store; with TLS 1.3 " +
		"that case looks the same as an interceptor. Never where the certificate or, for suspicion, any byte was lost, nor for a resumed " +
		"session, nor when the capture ends first, the server closes first or sends an alert. Alert 47 (illegal_parameter) is no refusal.",
	Fix: Remediation{
		Steps: []string{
			"Read the issuer if it was seen, or let `dynwatch probe` show it from the same host; then treat it as unexpected-issuer says.",
			"If the certificate is Amazon's, the client's CA store is the trouble: a container without ca-certificates, a wrong " +
				"SSL_CERT_FILE, SSL_CERT_DIR or AWS_CA_BUNDLE. Give it Amazon's roots.",
			"If the company's proxy is meant to be there, give its CA to the client, as below.",
		},
		Snippets: append([]Snippet{
			{"A container without roots", `RUN apt-get install -y ca-certificates        # Debian
RUN apk add --no-cache ca-certificates        # Alpine
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/   # scratch`},
		}, trustSnippets...),
	},
	Applies: func(in *Input) bool {
		t := in.Session.TLS
		return hasTLS(in) && t.ClientHelloSeen && t.ServerHelloSeen && t.Resumed != session.Yes
	},
	Check: func(in *Input) *session.Finding {
		s := in.Session
		if good(s) || s.Visibility == session.VisibilityIncomplete || s.TLS.Resumed != session.No && !onThisWire(s) {
			return nil // nothing to refuse was shown, or what was shown may have been right
		}
		e := certificateEvidence(s).text("certificate_visibility", string(s.Visibility)).version("version", s.TLS.Version)
		issued := ""
		if s.Certificate != nil {
			issued = " issued by " + issuer(s)
		}
		if a := refusal(s); a != nil {
			e.text("alert", a.Description).number("alert_code", int(a.Code))
			return &session.Finding{
				Rule: InterceptionRefused, Severity: session.High, Evidence: e,
				Message: fmt.Sprintf("the client refused the certificate of %s%s (%s)", peer(s), issued, a.Description),
			}
		}
		how := suspicion(s)
		if how == "" {
			return nil
		}
		e["suspected"] = true
		return &session.Finding{
			Rule: InterceptionRefused, Severity: session.Medium, Evidence: e.text("client", how),
			Message: fmt.Sprintf("suspected: the client refused the certificate of %s%s: it %s", peer(s), issued, how),
		}
	},
}

// refusal is the client's alert about the certificate, or nil. A mere warning counts only if nothing was lost and the client sent no data.
func refusal(s *session.Session) *session.Alert {
	t := s.TLS
	for _, a := range alerts(t) {
		if a.From != session.Client {
			continue
		}
		switch a.Code {
		case alertBadCertificate, alertUnsupportedCertificate, alertCertificateRevoked, alertCertificateExpired, alertCertificateUnknown,
			alertUnknownCA:
		default:
			continue
		}
		if a.Fatal || t.Version.Is13() || !t.ClientAppData && !s.Loss.Any() {
			return &a
		}
	}
	return nil
}

// suspicion says how a client left that seems to have refused the certificate without a word, "" if there is no reason to think so.
func suspicion(s *session.Session) string {
	t := s.TLS
	if s.Loss.Any() || s.Loss.OneSided || s.Loss.Midstream || !s.Ended.FIN && !s.Ended.RST {
		return ""
	}
	switch {
	case judged(s): // and bad, as the caller has made sure
		if !onThisWire(s) {
			return ""
		}
	case s.Visibility != session.VisibilityEncrypted:
		return ""
	}
	if !t.ServerFlightSeen || t.ClientAppData || t.ClientUnclear || t.ClientCloseNotify || t.ClientCertificateRequested {
		return ""
	}
	for _, a := range alerts(t) {
		if a.From == session.Client || a.Fatal || a.Code == alertCloseNotify {
			return "" // what was said explains the end
		}
	}
	if t.ClientEncryptedAlert && !t.ClientFinished {
		return "sent an encrypted alert instead of its Finished, and the connection ended"
	}
	since := s.Start
	if t.ClientFinished && !t.HandshakeDone.IsZero() {
		since = t.HandshakeDone
	}
	if s.Ended.By != session.Client || since.IsZero() || s.End.IsZero() || s.End.Sub(since) > promptly {
		return ""
	}
	if t.ClientFinished {
		return "finished the handshake and left at once without sending data"
	}
	return "left right after the server's flight"
}
