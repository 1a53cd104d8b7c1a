package rules

import (
	"fmt"
	"slices"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// danceWindow is how long a failed try counts as the cause of a lower one.
const danceWindow = 30 * time.Second

var tlsDowngradeRule = &Rule{
	ID:       TLSDowngrade,
	Title:    "evidence of an active downgrade",
	Severity: session.Critical,
	Milder:   []session.Severity{session.High},
	Citation: "RFC 8446, Section 4.1.3 (downgrade sentinel); RFC 7507 (TLS_FALLBACK_SCSV)",
	Summary: "One of four. The ServerHello's random ends in the downgrade sentinel though the client offered more than was negotiated. A " +
		"hello with TLS_FALLBACK_SCSV was answered: critical by inappropriate_fallback, high by anything else. A client came back with a " +
		"strictly lower maximum within 30 s of a try that failed before a ServerHello (reset, closed, silence, or alert " +
		"handshake_failure, protocol_version, inappropriate_fallback). A pair of client program and endpoint that negotiated a higher " +
		"version time and again now gets a lower one, although the client still offers the higher.",
	Why: "Somebody between client and endpoint can make the two agree on less than both support, by rewriting the ClientHello or by " +
		"breaking handshakes until the client tries an older version. The sentinel is the endpoint's own word that this happened.",
	Limits: "The sentinel alone proves nothing: every modern server sends it to a client that offers 1.2 at most. A client that offered only " +
		"drafts of TLS 1.3 gets it too. Both hellos must have been seen. Tries count as one client's if they come from the same process, " +
		"or, where no process is known, from the same address, and if the lower hello's suites are the higher one's less some: other " +
		"programs on the same host have other lists. A baseline needs three sessions without a lower one between them, and holds no " +
		"more where a valid signature over both randoms, without the sentinel, proves that the endpoint itself chose less.",
	Fix: Remediation{
		Steps: []string{
			"Treat the path as hostile until explained: compare the address with `dynwatch ranges lookup`, run `dynwatch probe` from the same host, " +
				"and look for middleboxes that rewrite or reset TLS 1.3.",
			"Make the client refuse older versions, and switch off fallback in it: with the minimum at 1.2 or 1.3 there is nothing left to " +
				"fall back to.",
			"If data went over the lower version, rotate the credentials of the process: access keys are replaced, role sessions revoked " +
				"(`dynwatch explain plaintext` shows how).",
		},
		Snippets: minVersionSnippets,
	},
	Applies: func(in *Input) bool { return in.Session.TLS != nil && in.Session.TLS.ClientHelloSeen },
	Check: func(in *Input) *session.Finding {
		s := in.Session
		for _, check := range []func(*Input) *session.Finding{checkSentinel, checkFallback, checkDance, checkBaseline} {
			if f := check(in); f != nil {
				e := f.Evidence
				evidence(e).version("version", s.TLS.Version).version("offered_max", s.TLS.OfferedMax)
				return f
			}
		}
		return nil
	},
}

func downgrade(severity session.Severity, message string, e evidence) *session.Finding {
	return &session.Finding{Rule: TLSDowngrade, Severity: severity, Message: message, Evidence: e}
}

// offers13 reports whether the client offered TLS 1.3 itself. A client of a draft or experiment alone is, to a server of the final version,
// one that offers 1.2, and gets the sentinel without any attack.
func offers13(t *session.TLS) bool {
	return t.OfferedMax == session.TLS13 || slices.Contains(t.OfferedVersions, session.TLS13)
}

func checkSentinel(in *Input) *session.Finding {
	s := in.Session
	t := s.TLS
	if !t.ServerHelloSeen || t.Sentinel == session.SentinelNone || t.Version.Rank() == 0 {
		return nil
	}
	switch {
	case offers13(t) && t.Version.Rank() <= session.TLS12.Rank():
	case t.OfferedMax == session.TLS12 && t.Version.Rank() <= session.TLS11.Rank() && t.Sentinel == session.SentinelTLS11:
	default:
		return nil
	}
	mark := "DOWNGRD\\x01"
	if t.Sentinel == session.SentinelTLS11 {
		mark = "DOWNGRD\\x00"
	}
	return downgrade(session.Critical, fmt.Sprintf("the client offered %s, and the server's random says that %s was chosen because the "+
		"offer arrived changed (%s)", t.OfferedMax, t.Version, mark), evidence{"signal": "sentinel", "sentinel": mark})
}

func checkFallback(in *Input) *session.Finding {
	s := in.Session
	t := s.TLS
	if !t.FallbackSCSV {
		return nil
	}
	e := evidence{"signal": "fallback-scsv"}
	if a := serverAlert(t); a != nil {
		e.text("alert", a.Description)
		if a.Code == alertInappropriateFallback {
			return downgrade(session.Critical, fmt.Sprintf("the client fell back to %s and the server says that it supports more "+
				"(inappropriate_fallback): somebody broke the client's better tries", t.OfferedMax), e)
		}
		if !t.ServerHelloSeen && !offers13(t) {
			return downgrade(session.High, fmt.Sprintf("the client fell back to %s after failed tries (TLS_FALLBACK_SCSV), and the server "+
				"refused with %s", t.OfferedMax, a.Description), e)
		}
	}
	// Above TLS 1.3 there is nothing to fall back from: a client that marks its highest offer marks every hello.
	if !t.ServerHelloSeen || offers13(t) {
		return nil
	}
	return downgrade(session.High, fmt.Sprintf("the client fell back to %s after failed tries (TLS_FALLBACK_SCSV), and the server went on",
		t.OfferedMax), e)
}

// serverAlert is the server's first fatal alert, or nil.
func serverAlert(t *session.TLS) *session.Alert {
	for _, a := range alerts(t) {
		if a.From == session.Server && (a.Fatal || a.Code == alertInappropriateFallback) {
			return &a
		}
	}
	return nil
}

func checkDance(in *Input) *session.Finding {
	s := in.Session
	if in.History == nil || s.TLS.OfferedMax.Rank() == 0 {
		return nil
	}
	var tries []string
	highest, outcome := s.TLS.OfferedMax, ""
	for _, t := range in.History.FailedTries(s, danceWindow) {
		if t.OfferedMax.Rank() <= s.TLS.OfferedMax.Rank() {
			continue
		}
		if t.OfferedMax.Rank() > highest.Rank() {
			highest, outcome = t.OfferedMax, t.Outcome
		}
		tries = append(tries, fmt.Sprintf("%s from port %d at %s: %s", t.OfferedMax, t.ClientPort, stamp(t.Start), t.Outcome))
	}
	if len(tries) == 0 {
		return nil
	}
	client := "address and hello"
	if pidOf(s) != 0 {
		client = "process"
	}
	return downgrade(session.Critical, fmt.Sprintf("the client's try of %s failed (%s), and it came back with %s at most",
		highest, outcome, s.TLS.OfferedMax), evidence{"signal": "retry", "failed_tries": tries, "same_client_by": client})
}

func checkBaseline(in *Input) *session.Finding {
	s := in.Session
	t := s.TLS
	if in.History == nil || !t.ServerHelloSeen || t.Version.Rank() == 0 {
		return nil
	}
	b, ok := in.History.Baseline(s)
	if !ok || t.Version.Rank() >= b.Version.Rank() || t.OfferedMax.Rank() < b.Version.Rank() {
		return nil
	}
	if s.Loss.Any() || s.Visibility == session.VisibilityIncomplete || t.Version.Rank() >= session.TLS12.Rank() && endpointProven(s) {
		return nil
	}
	return downgrade(session.Critical, fmt.Sprintf("%s used to negotiate %s with this client, which still offers it, and now negotiated %s",
		peer(s), b.Version, t.Version), evidence{"signal": "baseline", "baseline_sessions": b.Sessions, "baseline_last": stamp(b.Last)}.
		version("baseline_version", b.Version).text("program", programOf(s)))
}

// endpointProven reports whether the handshake proves that the holder of a good chain's key chose what was chosen: it signed both
// randoms (RFC 5246, Section 7.4.3), its own without the sentinel.
func endpointProven(s *session.Session) bool {
	return s.TLS.KeyProof == session.KeyProofValid && good(s)
}
