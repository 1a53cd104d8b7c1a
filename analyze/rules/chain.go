package rules

import (
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// judged reports whether the server's whole chain was seen by somebody and judged.
func judged(s *session.Session) bool {
	if s.TLS == nil || s.Chain == nil || s.Certificate == nil || s.Certificate.Partial {
		return false
	}
	switch s.Visibility {
	case session.VisibilityVisible, session.VisibilityDecrypted:
		return true
	case session.VisibilityEncrypted, session.VisibilityResumed:
		// Not on this wire, but a library or the session that was resumed showed it. What a probe saw was another connection's.
		switch s.Certificate.SeenBy {
		case "library", "keylog", "resumption":
			return true
		}
	}
	return false
}

// onThisWire reports whether the chain was judged and came in this very handshake, in clear, decrypted, or inside the client's library.
func onThisWire(s *session.Session) bool {
	if !judged(s) {
		return false
	}
	switch s.Certificate.SeenBy {
	case "wire", "keylog", "library":
		return true
	}
	return false
}

// misnamed reports whether the certificate lacks the name that was asked for. With an encrypted ClientHello in TLS 1.3 the name in clear
// is an outer one, so nothing can be said.
func misnamed(s *session.Session) bool {
	return s.Chain.NameChecked && s.Chain.NameMismatch && !(s.TLS.ECH && s.TLS.Version.Is13())
}

// good reports whether a judged chain is one that a careful client accepts: it leads to Amazon or an allowed key, with nothing wrong. A
// time that is unknown counts as right here, since good refutes findings; Verdict asks for more.
func good(s *session.Session) bool {
	c := s.Chain
	return judged(s) && c.LeadsToAllowed && !c.Expired && !c.NotYetValid && !misnamed(s) && !c.WrongPurpose && !c.Malformed &&
		c.WeakKey == "" && c.WeakSignature == "" && s.TLS.KeyProof != session.KeyProofInvalid
}

// certificateEvidence are the facts of the leaf and its chain that every rule about certificates shows.
func certificateEvidence(s *session.Session) evidence {
	e := evidence{}
	if c := s.Certificate; c != nil {
		e.text("subject", c.Subject).text("issuer", c.Issuer).text("sha256", c.SHA256).text("spki_sha256", c.SPKISHA256)
		e.text("seen_by", c.SeenBy).list("names", c.Names).number("chain_length", c.ChainLength)
		if !c.NotBefore.IsZero() {
			e.text("not_before", stamp(c.NotBefore))
		}
		if !c.NotAfter.IsZero() {
			e.text("not_after", stamp(c.NotAfter))
		}
	}
	if c := s.Chain; c != nil {
		e.text("root", c.Root).text("allowed_by", c.AllowedBy).text("interceptor", c.Interceptor)
		e.yes("expired", c.Expired).yes("not_yet_valid", c.NotYetValid).yes("name_mismatch", c.NameChecked && c.NameMismatch)
		e.yes("self_signed", c.SelfSigned).yes("disproved", c.Disproved).yes("broken_signature", c.BrokenSignature)
		e.text("weak_key", c.WeakKey).text("weak_signature", c.WeakSignature).text("missing_issuer", c.MissingIssuer)
		e.list("problems", c.Problems)
	}
	return e.text("trust", string(s.Trust)).text("name", asked(s))
}

// asked is the host name that the client asked for, as well as it is known.
func asked(s *session.Session) string {
	if s.Endpoint.Name != "" {
		return s.Endpoint.Name
	}
	if s.TLS != nil {
		return strings.ToLower(s.TLS.SNI)
	}
	return ""
}

// peer names the other end for messages: the name asked for, else the server's address and port.
func peer(s *session.Session) string {
	if n := asked(s); n != "" {
		return n
	}
	return s.Server.String()
}

// stamp is how times stand in evidence.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// issuer names the leaf's issuer for messages.
func issuer(s *session.Session) string {
	if s.Certificate != nil && s.Certificate.Issuer != "" {
		return s.Certificate.Issuer
	}
	return "an issuer without a name"
}

// emulator reports whether the session is with a local stand-in for DynamoDB, which has no identity that could be checked.
func emulator(s *session.Session) bool {
	return s.Endpoint.Service == "dynamodb-local" || s.Endpoint.Kind == "local"
}

// hasTLS reports whether a TLS handshake of a real endpoint is in sight.
func hasTLS(in *Input) bool { return in.Session.TLS != nil && !emulator(in.Session) }
