package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// loss takes knowledge out of a session as missing bytes do, and marks what the capture would mark.
type loss struct {
	name string
	// bytes: what is gone was on the wire, so a verdict must not get better.
	bytes bool
	do    func(*session.Session)
}

func gap(s *session.Session, side session.Side) { s.Loss.GapBytes[side] += 100 }

// unmatch takes ways of matching out of an endpoint; what nothing matches is no endpoint.
func unmatch(s *session.Session, ways ...string) {
	e := &s.Endpoint
	e.MatchedBy = slices.DeleteFunc(slices.Clone(e.MatchedBy), func(by string) bool { return slices.Contains(ways, by) })
	if len(e.MatchedBy) == 0 {
		*e = session.Endpoint{AddrAWS: e.AddrAWS, AddrDynamoDB: e.AddrDynamoDB, AddrAllowed: e.AddrAllowed}
		return
	}
	if !slices.ContainsFunc(e.MatchedBy, func(by string) bool { return by != "range" && by != "port" }) {
		e.Name, e.Kind = "", ""
	}
}

func loseClientHello(s *session.Session) {
	gap(s, session.Client)
	t := s.TLS
	if t == nil {
		return
	}
	t.ClientHelloSeen, t.OfferedMax, t.OfferedVersions, t.OfferedCiphers = false, 0, nil, nil
	t.SNI, t.JA3, t.JA4, t.ECH, t.FallbackSCSV, t.EarlyData = "", "", "", false, false, false
	t.KeyProof = session.KeyProofNone
	if s.Chain != nil {
		s.Chain.NameChecked, s.Chain.NameMismatch = false, false
	}
	unmatch(s, "sni")
}

func loseCertificate(s *session.Session) {
	gap(s, session.Server)
	if s.TLS != nil && s.Certificate != nil && s.Certificate.SeenBy == "wire" {
		hide(s, session.VisibilityIncomplete)
		s.TLS.KeyProof = session.KeyProofNone
	}
}

func loseServerHello(s *session.Session) {
	gap(s, session.Server)
	if t := s.TLS; t != nil {
		t.ServerHelloSeen, t.Version, t.Cipher, t.CipherID, t.Sentinel = false, 0, "", 0, session.SentinelNone
		t.Resumed, t.Established, t.ServerFlightSeen, t.HelloRetryRequest = session.Unknown, session.Unknown, false, false
		t.KeyProof = session.KeyProofNone
		hide(s, session.VisibilityIncomplete)
	}
}

func loseAlerts(s *session.Session) {
	if t := s.TLS; t != nil {
		for _, a := range alerts(t) {
			gap(s, a.From)
		}
		t.Alert, t.Alerts = nil, nil
	}
}

func loseClientTail(s *session.Session) {
	gap(s, session.Client)
	if t := s.TLS; t != nil {
		t.ClientAppData, t.ClientFinished, t.ClientCloseNotify, t.ClientEncryptedAlert = false, false, false, false
		t.Established, t.HandshakeDone = session.Unknown, time.Time{}
	}
}

func loseServer(s *session.Session) {
	loseServerHello(s)
	s.Loss.OneSided = true
	if t := s.TLS; t != nil {
		t.ServerAppData = false
		t.Alerts = slices.DeleteFunc(slices.Clone(t.Alerts), func(a session.Alert) bool { return a.From == session.Server })
		t.Alert = nil
	}
	if s.Ended.By == session.Server {
		s.Ended = session.Ended{}
	}
}

func loseEnd(s *session.Session) {
	s.Ended = session.Ended{}
	if s.TLS != nil {
		s.TLS.ClientCloseNotify = false
	}
}

var losses = []loss{
	{"ClientHello", true, loseClientHello},
	{"ServerHello", true, loseServerHello},
	{"certificate", true, loseCertificate},
	{"ServerKeyExchange", true, func(s *session.Session) {
		gap(s, session.Server)
		if s.TLS != nil {
			s.TLS.KeyProof = session.KeyProofNone
		}
	}},
	{"end of the server's flight", true, func(s *session.Session) {
		gap(s, session.Server)
		if s.TLS != nil {
			s.TLS.ServerFlightSeen = false
		}
	}},
	{"alerts", true, loseAlerts},
	{"what the client sent after its hello", true, loseClientTail},
	{"all of the server's packets", true, loseServer},
	{"how it ended", true, loseEnd},
	{"the beginning", true, func(s *session.Session) {
		loseClientHello(s)
		loseServerHello(s)
		s.Loss.Midstream = true
	}},
	{"ends of packets", true, func(s *session.Session) {
		loseCertificate(s)
		s.Loss.TruncatedPackets++
	}},
	{"the flow, to make room", true, func(s *session.Session) {
		loseEnd(s)
		s.Loss.Evicted = true
	}},
	{"request heads", true, func(s *session.Session) {
		gap(s, session.Client)
		if h := s.HTTP; h != nil {
			*h = session.HTTP{Total: h.Total, ResponseOnly: h.ResponseOnly, H2C: h.H2C, Status: h.Status}
			unmatch(s, "host", "target", "path")
		}
	}},
	{"times", true, func(s *session.Session) {
		s.Start, s.End = time.Time{}, time.Time{}
		if s.TLS != nil {
			s.TLS.HandshakeDone = time.Time{}
		}
		if c := s.Chain; c != nil {
			c.TimeUnknown, c.Expired, c.NotYetValid, c.OutOfTimeBy = true, false, false, 0
		}
	}},
	{"whether it was resumed", true, func(s *session.Session) {
		gap(s, session.Server)
		if s.TLS != nil {
			s.TLS.Resumed = session.Unknown
		}
	}},
	{"DNS answers", false, func(s *session.Session) {
		s.Endpoint.Resolved = nil
		unmatch(s, "dns")
		if s.Proxy != nil {
			s.Proxy.Names = nil
		}
	}},
	{"what the address is", false, func(s *session.Session) {
		s.Endpoint.AddrAWS, s.Endpoint.AddrDynamoDB, s.Endpoint.AddrAllowed = session.Unknown, session.Unknown, session.Unknown
	}},
}

// bases are makers of sessions of every kind.
var bases = []func() *session.Session{
	good12, good13, intercepted, left12, left13, plain, tunnel,
	func() *session.Session { return clientAlert(left13(), 48) },
	func() *session.Session { return clientAlert(left12(), 42) },
	func() *session.Session { return at(good13(), "203.0.113.9") },
	func() *session.Session { return at(good12(), "10.0.7.88") },
	func() *session.Session { return at(plain(), "127.0.0.1") },
	func() *session.Session { return try(time.Second, session.TLS12, nil) },
	func() *session.Session { return try(time.Second, session.TLS10, nil) },
	func() *session.Session { return capped(func(*session.Session) {}) },
	func() *session.Session {
		return shows(session.Chain{BrokenSignature: true, Disproved: true, AmazonNamed: true})
	},
	func() *session.Session {
		s := good12()
		s.Start = t0.Add(time.Hour)
		s.TLS.OfferedMax, s.TLS.JA4 = session.TLS13, "t13d"
		return s
	},
}

// toggles change a session into another that could be.
var toggles = []func(*session.Session){
	func(s *session.Session) { s.Chain.Expired, s.Certificate.NotAfter = true, s.Start.Add(-99*time.Hour) },
	func(s *session.Session) {
		s.Chain.NotYetValid, s.Certificate.NotBefore = true, s.Start.Add(99*time.Hour)
	},
	func(s *session.Session) { s.Chain.NameMismatch = true },
	func(s *session.Session) { s.Chain.LeadsToAllowed = !s.Chain.LeadsToAllowed },
	func(s *session.Session) { s.Chain.LeadsToPublic = true },
	func(s *session.Session) {
		s.Chain.LeadsToAllowed, s.Chain.LeadsToAmazon, s.Chain.Root = true, false, "CN=Example Inspection Root,O=Example Corp"
	},
	func(s *session.Session) { s.Chain.SelfSigned = true },
	func(s *session.Session) { s.Chain.Unsupported = "ML-DSA-44" },
	func(s *session.Session) { s.Chain.WeakKey = "RSA 1024" },
	func(s *session.Session) { s.TLS.KeyProof = session.KeyProofInvalid },
	func(s *session.Session) { s.TLS.KeyProof = session.KeyProofNone },
	func(s *session.Session) { s.TLS.Cipher = "TLS_RSA_WITH_RC4_128_SHA" },
	func(s *session.Session) { s.TLS.Version = session.TLS10 },
	func(s *session.Session) { s.TLS.Version = session.TLS11 },
	func(s *session.Session) { s.TLS.OfferedMax = session.TLS13 },
	func(s *session.Session) { s.TLS.OfferedMax = session.TLS11 },
	func(s *session.Session) { s.TLS.Sentinel = session.SentinelTLS12 },
	func(s *session.Session) { s.TLS.Sentinel = session.SentinelTLS11 },
	func(s *session.Session) { s.TLS.FallbackSCSV = true },
	func(s *session.Session) { s.TLS.ClientAppData = !s.TLS.ClientAppData },
	func(s *session.Session) { s.TLS.ClientCloseNotify = !s.TLS.ClientCloseNotify },
	func(s *session.Session) { s.TLS.ClientFinished = !s.TLS.ClientFinished },
	func(s *session.Session) { s.TLS.ClientEncryptedAlert = true },
	func(s *session.Session) { s.TLS.ClientUnclear = true },
	func(s *session.Session) { s.TLS.Resumed = session.Yes; hide(s, session.VisibilityResumed) },
	func(s *session.Session) { s.TLS.ECH = true },
	func(s *session.Session) { s.TLS.EarlyData = true },
	func(s *session.Session) { s.TLS.ClientVerifies = session.No },
	func(s *session.Session) { clientAlert(s, 46) },
	func(s *session.Session) { clientAlert(s, 47) },
	func(s *session.Session) {
		s.TLS.Alerts = append(s.TLS.Alerts, session.Alert{From: session.Server, Fatal: true, Code: 86, Description: "inappropriate_fallback"})
	},
	func(s *session.Session) {
		s.TLS.Alerts = append(s.TLS.Alerts, session.Alert{From: session.Client, Code: 42, Description: "bad_certificate"})
	},
	func(s *session.Session) { s.Ended = session.Ended{By: session.Server, RST: true} },
	func(s *session.Session) { s.Ended = session.Ended{By: session.Client, RST: true} },
	func(s *session.Session) { s.Endpoint.Kind = "interface" },
	func(s *session.Session) { s.Endpoint.Partition = "aws-cn" },
	func(s *session.Session) { s.Endpoint.Partition = "aws-iso" },
	func(s *session.Session) { s.Endpoint.AddrAWS = session.No },
	func(s *session.Session) { s.Endpoint.AddrAllowed = session.Yes },
	func(s *session.Session) { s.Server = netip.MustParseAddrPort("192.168.3.4:443") },
	func(s *session.Session) { s.HTTP.Host = "s3.us-east-1.amazonaws.com" },
	func(s *session.Session) { s.HTTP.Requests, s.Endpoint.MatchedBy = 0, []string{"range"} },
	func(s *session.Session) { s.Proxy = &session.Proxy{Target: name} },
	func(s *session.Session) { s.Proxy.Established = false },
	func(s *session.Session) { hide(s, session.VisibilityNone) },
}

// apply changes s unless the change is about something that s does not have.
func apply(f func(*session.Session), s *session.Session) {
	defer func() { _ = recover() }() // a nil part: nothing was changed before it
	f(s)
}

// past is shared: asking a Recent changes nothing but the order of forgetting.
var past = pastOf()

func pastOf() History {
	return remember(try(0, session.TLS13, nil), try(100*time.Millisecond, session.TLS12, nil),
		good12(), good12(), good12(),
		change(good13(), func(s *session.Session) { s.Start = t0.Add(10 * time.Second) }),
		change(good13(), func(s *session.Session) { s.Start = t0.Add(11 * time.Second) }),
		change(good13(), func(s *session.Session) { s.Start = t0.Add(12 * time.Second) }))
}

var somePolicy = &Policy{Regions: []string{"eu-central-1"}, EndpointKinds: []string{"interface"}, AllowProxies: []string{"10.9.9.9:3128"}}

// judgeLoss reports what a loss made appear: a rule that was silent before, a higher severity, or a verdict of ok.
func judgeLoss(before, after *session.Session, history History, bytes bool) error {
	severities := make(map[string]session.Severity)
	first := Evaluate(&Input{Session: before, Policy: somePolicy, History: history})
	for _, f := range first {
		severities[f.Rule] = f.Severity
	}
	second := Evaluate(&Input{Session: after, Policy: somePolicy, History: history})
	for _, f := range second {
		if f.Severity > severities[f.Rule] {
			return fmt.Errorf("%s: %s before, %s after: %s %v", f.Rule, severities[f.Rule], f.Severity, f.Message, f.Evidence)
		}
	}
	if v := Verdict(after, second); bytes && v == session.VerdictOK && Verdict(before, first) != session.VerdictOK {
		return fmt.Errorf("the verdict became ok; findings before: %v", first)
	}
	return nil
}

// checkLoss builds a session from the choices and loses what lost says.
func checkLoss(base uint8, toggled, lost uint64) error {
	build := func() *session.Session {
		s := bases[int(base)%len(bases)]()
		for i, f := range toggles {
			if toggled&(1<<i) != 0 {
				apply(f, s)
			}
		}
		return s
	}
	before, after := build(), build()
	bytes := true
	var names []string
	for i, l := range losses {
		if lost&(1<<i) != 0 {
			l.do(after)
			bytes = bytes && l.bytes
			names = append(names, l.name)
		}
	}
	if err := judgeLoss(before, after, past, bytes); err != nil {
		return fmt.Errorf("base %d, toggles %x, lost %q: %w", int(base)%len(bases), toggled, names, err)
	}
	return nil
}

func TestLossMakesNoFinding(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for b := range bases {
		for l := range losses {
			if err := checkLoss(uint8(b), 0, 1<<l); err != nil {
				t.Error(err)
			}
			for i := range toggles {
				if err := checkLoss(uint8(b), 1<<i, 1<<l); err != nil {
					t.Error(err)
				}
			}
		}
		for range 300 {
			if err := checkLoss(uint8(b), r.Uint64()&r.Uint64()&r.Uint64(), r.Uint64()&r.Uint64()); err != nil {
				t.Error(err)
			}
		}
	}
}

// Every rule must be reached by the bases and toggles, else the test above says nothing about it.
func TestLossReachesEveryRule(t *testing.T) {
	reached := make(map[string]bool)
	for _, base := range bases {
		for i := range toggles {
			s := base()
			apply(toggles[i], s)
			for _, f := range Evaluate(&Input{Session: s, Policy: somePolicy, History: pastOf()}) {
				reached[f.Rule] = true
			}
		}
	}
	for _, r := range All() {
		if !reached[r.ID] {
			t.Errorf("%s is never reached", r.ID)
		}
	}
}

func FuzzLossMakesNoFinding(f *testing.F) {
	for b := range bases {
		f.Add(uint8(b), uint64(1<<b), uint64(1<<b))
	}
	f.Fuzz(func(t *testing.T, base uint8, toggled, lost uint64) {
		if err := checkLoss(base, toggled, lost); err != nil {
			t.Error(err)
		}
	})
}
