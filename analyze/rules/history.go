package rules

import (
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// History is a memory over sessions, for what one session alone cannot show. Times are packet times.
//
// Implementations are used by one goroutine at a time. They never return anything about the session that is asked about, nor about
// sessions that are not DynamoDB's.
type History interface {
	// Observe takes a session after it was evaluated, each session once, best in the order of their starts. It keeps no reference to it.
	Observe(s *session.Session)
	// FailedTries returns the tries that began before s, at most within, by what looks like the same client, to the same endpoint, that
	// ended before a ServerHello, and that no answered try of the same kind followed before s. Oldest first.
	FailedTries(s *session.Session, within time.Duration) []Try
	// Baseline returns what the client program of s used to negotiate with the endpoint of s; ok is false when too little is known.
	Baseline(s *session.Session) (b Baseline, ok bool)
	// Authorities returns who certified the endpoint of s before s, in the order in which they first did; nil when nothing is known.
	Authorities(s *session.Session) []Authority
}

// Try is a handshake that failed before a ServerHello.
type Try struct {
	Start      time.Time
	OfferedMax session.Version
	// ClientPort is the try's TCP port at the client, to find it in a capture.
	ClientPort uint16
	// Outcome says how it ended: "alert protocol_version", "reset", "closed" or "silence".
	Outcome string
}

// Baseline is what a client program and an endpoint used to agree upon.
type Baseline struct {
	// Version is the highest version that they negotiated again and again.
	Version session.Version
	// Sessions counts those that negotiated it or a higher one; Last is when the latest of them began.
	Sessions int
	Last     time.Time
}

// Alerts by which a server turns a version down (RFC 8446, Section 6; RFC 7507, Section 3), and by which a client turns a certificate down.
const (
	alertCloseNotify            = 0
	alertHandshakeFailure       = 40
	alertBadCertificate         = 42
	alertUnsupportedCertificate = 43
	alertCertificateRevoked     = 44
	alertCertificateExpired     = 45
	alertCertificateUnknown     = 46
	alertUnknownCA              = 48
	alertProtocolVersion        = 70
	alertInappropriateFallback  = 86
)

// alerts are the session's, in order, also where only the first was kept.
func alerts(t *session.TLS) []session.Alert {
	if len(t.Alerts) == 0 && t.Alert != nil {
		return []session.Alert{*t.Alert}
	}
	return t.Alerts
}

// silentFor is how long a server must have left a ClientHello unanswered before the next try counts as one after silence. A lost packet
// is sent again well before (RFC 6298: one second at first, 200 ms in practice).
const silentFor = time.Second

// failure says how a try failed before a ServerHello; ok is false if it did not, or if an answer may merely have been lost. The
// judgement "silence" holds only for a later try that begins at least silentFor after it.
func failure(s *session.Session) (outcome string, ok bool) {
	t := s.TLS
	if t == nil || !t.ClientHelloSeen || t.ServerHelloSeen || t.HelloRetryRequest || t.OfferedMax.Rank() == 0 {
		return "", false
	}
	if s.Loss.Any() || s.Loss.Midstream || s.Loss.OneSided {
		return "", false
	}
	for _, a := range alerts(t) {
		if a.From != session.Server || !a.Fatal && a.Code != alertProtocolVersion {
			continue
		}
		switch a.Code {
		case alertHandshakeFailure, alertProtocolVersion, alertInappropriateFallback:
			return "alert " + a.Description, true
		}
		return "", false // the server objected to something else
	}
	switch {
	case s.Ended.RST:
		return "reset", true
	case s.Ended.FIN:
		return "closed", true
	}
	return "silence", true
}

// fallbackSuites are a hello's suites for comparison: without GREASE (RFC 8701), which changes with every hello, and without the signalling
// values 0x00FF (RFC 5746) and 0x5600 (RFC 7507), which a retry adds; at most maxTriedCiphers.
func fallbackSuites(s *session.Session) []uint16 {
	var suites []uint16
	for _, c := range s.TLS.OfferedCiphers {
		grease := c&0x0f0f == 0x0a0a && c>>8 == c&0xff
		if grease || c == 0x00ff || c == 0x5600 {
			continue
		}
		if suites = append(suites, c); len(suites) == maxTriedCiphers {
			break
		}
	}
	return suites
}

// fallsBackFrom reports whether a hello with these suites can be the retry of one with those: the same list without the suites that the
// lower version lacks, in the same order. Either list unknown, or nothing in common, is no.
func fallsBackFrom(lower, higher []uint16) bool {
	if len(lower) == 0 || len(higher) == 0 {
		return false
	}
	i := 0
	for _, suite := range higher {
		if i < len(lower) && lower[i] == suite {
			i++
		}
	}
	return i == len(lower)
}
