package rules

import "github.com/dynwatch/dynwatch/analyze/session"

// Verdict concludes a session from its findings f, as Evaluate returned them.
//
// In this order: not-applicable without a DynamoDB endpoint; finding if there is any; incomplete if bytes that matter are missing; ok if
// all that matters was seen and is right; else unverified. A handshake that failed or was given up before the certificate, with
// nothing lost, is unverified: nothing wrong was seen, and nobody saw the certificate.
func Verdict(s *session.Session, f []session.Finding) session.Verdict {
	switch {
	case !s.Endpoint.Known():
		return session.VerdictNotApplicable
	case len(f) > 0:
		return session.VerdictFinding
	case incomplete(s):
		return session.VerdictIncomplete
	case right(s):
		return session.VerdictOK
	}
	return session.VerdictUnverified
}

// incomplete reports whether bytes that matter are missing, or the session began before we looked.
func incomplete(s *session.Session) bool {
	l := s.Loss
	if l.GapBytes[0] != 0 || l.GapBytes[1] != 0 || l.TruncatedPackets != 0 || l.OneSided {
		return true
	}
	t := s.TLS
	if t == nil {
		return l.Midstream || l.Evicted
	}
	if s.Visibility == session.VisibilityIncomplete || !t.ClientHelloSeen {
		return true
	}
	if t.Established != session.Yes && (l.Midstream && !t.ServerHelloSeen || l.Evicted) {
		return true
	}
	// One byte that differs is what keep-alive probes send (RFC 9293, Section 3.8.4). More means that two versions of the stream exist, and
	// which of them the other side took is not known.
	return l.ConflictBytes[0] > 1 || l.ConflictBytes[1] > 1
}

// right reports whether everything that matters was seen and is right.
func right(s *session.Session) bool {
	t := s.TLS
	if t == nil || !t.ClientHelloSeen || !t.ServerHelloSeen || t.Established != session.Yes {
		return false
	}
	if !good(s) || s.Chain.TimeUnknown || s.Trust != session.TrustAmazon && s.Trust != session.TrustAllowed {
		return false
	}
	if t.Version.Is13() {
		return true // nobody comes to the end of a handshake of TLS 1.3 without the leaf's key
	}
	switch s.Certificate.SeenBy {
	case "wire", "resumption":
		// The chain was in clear, here or in the session that is resumed, so anybody could have sent it: only the signature shows that the
		// sender holds its key.
		return t.KeyProof == session.KeyProofValid
	}
	return true
}
