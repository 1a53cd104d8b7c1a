package analyze

import (
	"github.com/dynwatch/dynwatch/internal/flow"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// quietFor is how long an established handshake, or an answered request, may stand without anything that would settle it before its session
// is put out as it is, in nanoseconds.
const quietFor = int64(1e9)

// unsettledFor is how long anything else may stand: what is put out is not put out again when the answer comes, and lost packets are sent
// again for a while (RFC 6298).
const unsettledFor = int64(30e9)

// reportLive puts the session of a flow that goes on out, once. A session whose client has sent application data is settled: nothing of what
// follows can change what the rules say. Any other is watched to its end.
func (a *Analyzer) reportLive(c *conn) {
	if c.reported != nil || c.concluding || !c.inUse {
		return
	}
	s := a.build(c)
	if s == nil {
		return
	}
	a.putOut(c, s)
	a.letGo(c, s)
}

// letGo ends the reading of a flow that was put out, unless more of it could matter: the end of a handshake that the client has not built upon
// yet, or secrets that come late.
func (a *Analyzer) letGo(c *conn, s *session.Session) {
	if s.TLS != nil && (!s.TLS.ClientAppData && !c.endSeen || c.awaits != 0) {
		return
	}
	a.ignore(c)
}

// lateSecrets looks whether the secrets of a session that was put out without them have come.
func (a *Analyzer) lateSecrets(c *conn) {
	if t := c.tls(); t != nil {
		if t.Retry(); missesSecrets(t.Facts()) {
			return
		}
	}
	c.awaits = 0
	if s := a.build(c); s != nil {
		a.putOut(c, s)
		a.letGo(c, s)
	}
}

// Follows reports whether a flow is known and may still become a session: it has been neither put out and done with, nor found to be none of
// ours. cookie is the socket's, 0 where the source does not know it.
func (a *Analyzer) Follows(t *flow.FiveTuple, cookie uint64) bool {
	s := a.slotOf(t, cookie)
	return s != nil && (s.state == slotOpening || s.state == slotClosed || s.state == slotActive)
}

// Judged tells whether a flow is ours, once that is known and while it is followed, or that it is not.
func (a *Analyzer) Judged(t *flow.FiveTuple, cookie uint64) (ours, known bool) {
	s := a.slotOf(t, cookie)
	if s == nil {
		return false, false
	}
	ours = s.state == slotActive && a.conns[s.conn].ours
	return ours, ours || s.state == slotForeign
}

func (a *Analyzer) slotOf(t *flow.FiveTuple, cookie uint64) *slot {
	var k flowKey
	k.set(t, cookie)
	return a.table.find(&k)
}

// existing takes a connection that was open before the source started. Its handshake was not seen, so it is put out at once as incomplete;
// cleartext requests that it carries later are findings all the same.
func (a *Analyzer) existing(s *slot, dir uint8, o *flow.Opening, cookie uint64) {
	s.setOpener(dir)
	c := a.activate(s)
	c.opening, c.midstream, c.cookie = o, true, cookie
	if a.matchServer(c, "", false) {
		if x := a.build(c); x != nil {
			a.putOut(c, x)
		}
	}
}

// putOut judges a live session and hands it over; of one that was put out before only new findings are told.
func (a *Analyzer) putOut(c *conn, s *session.Session) {
	before := c.reported
	if before == nil {
		a.judge(s, c.kin)
		c.reported = s
		a.order.emit(s, nil)
		return
	}
	if before.Certificate == nil && s.Visibility == session.VisibilityDecrypted {
		a.stats.SecretsLate++
	}
	a.resumed.settle(s, c.kin)
	a.evaluate(s)
	if a.o.EmitFinding == nil {
		return
	}
	for _, f := range s.Findings {
		if !hasRule(before.Findings, f.Rule) {
			a.o.EmitFinding(s, f)
		}
	}
}

func hasRule(list []session.Finding, rule string) bool {
	for _, f := range list {
		if f.Rule == rule {
			return true
		}
	}
	return false
}

// reportQuiet puts out sessions that wait for something that may never come.
func (a *Analyzer) reportQuiet() {
	if !a.o.Live {
		return
	}
	for _, c := range a.conns {
		if !c.inUse || !c.ours && !(a.o.All && c.tls() != nil) {
			continue
		}
		if c.reported != nil {
			if c.awaits != 0 {
				a.lateSecrets(c)
			}
			continue
		}
		limit := unsettledFor
		if c.endSeen || c.handshakeDone != 0 || c.web != nil && c.web.Status != 0 {
			limit = quietFor
		}
		if a.now-c.heard < limit && (c.awaits == 0 || a.now-c.awaits < secretsFor) {
			continue
		}
		if !a.awaitsSecrets(c) {
			a.reportLive(c)
		}
	}
}

// maxOpenings bounds the owners that wait for a connection's first payload; without its own a session has none.
const maxOpenings = 16 << 10

// keepOpening keeps what a source told with a SYN until payload makes the flow worth a conn.
func (a *Analyzer) keepOpening(s *slot, o *flow.Opening) {
	if a.openings == nil {
		a.openings = make(map[flowKey]*flow.Opening)
	}
	if len(a.openings) < maxOpenings {
		a.openings[s.key] = o
	}
}
